"""Command `harness autointerp`: explain features in words, and score the words on fragments not seen before."""

from __future__ import annotations

import os
from pathlib import Path

import click

import harness

PATH = click.Path(path_type=Path)


@click.command("autointerp")
@click.argument("task")
@click.option("-m", "--model", required=True, metavar="REF", help="Explain features of this model.")
@click.option("--site", required=True, help="Read it at this site, such as resid_post.50%.")
@click.option("--dtype", help="Open the model with this dtype.")
@click.option(
    "-r",
    "--representation",
    "representations",
    required=True,
    multiple=True,
    metavar="REF",
    help="Explain features of this representation; may be given several times, and the first is compared with others.",
)
@click.option(
    "--explainer",
    default="rules",
    show_default=True,
    metavar="NAME",
    help="Explain by this, as NAME or NAME[key=value,…].",
)
@click.option("--scorer", metavar="NAME", help="Score by this, as NAME or NAME[key=value,…] [the explainer].")
@click.option(
    "-n",
    "--features",
    "n_features",
    type=click.IntRange(min=2),
    default=50,
    show_default=True,
    help="Explain so many features of each representation.",
)
@click.option(
    "--top",
    type=click.IntRange(min=2),
    default=10,
    show_default=True,
    help="Take so many fragments of each half on which a feature fires most.",
)
@click.option(
    "--random",
    "n_random",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Take so many random fragments of each half.",
)
@click.option(
    "--length",
    type=click.IntRange(min=2),
    default=64,
    show_default=True,
    help="Cut texts into fragments of so many tokens.",
)
@click.option(
    "--fragments",
    type=click.IntRange(min=8),
    default=1000,
    show_default=True,
    help="Read so many fragments in each half.",
)
@click.option("-L", "--limit", type=click.IntRange(min=1), help="Read this many rows of the task.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("autointerp"),
    show_default=True,
    help="Write the result to this folder; `harness leaderboard build` makes the page of all results there.",
)
@click.option("--include", multiple=True, type=PATH, help="Add a task file (YAML).")
@click.option("--data-dir", type=PATH, help="Read mirrored datasets from this folder [HARNESS_DATA_DIR].")
@click.option("--cache-dir", type=PATH, help="Use the cache in this folder [HARNESS_CACHE_DIR].")
@click.option("--offline", is_flag=True, help="Send no request to a hub.")
@click.option(
    "-d", "--device", default="auto", show_default=True, help="Compute on auto, cpu, cuda or cuda:N."
)
@click.option("-b", "--batch-size", type=click.IntRange(min=1), help="Set the fragments in a batch.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    task: str,
    model: str,
    site: str,
    dtype: str | None,
    representations: tuple[str, ...],
    explainer: str,
    scorer: str | None,
    n_features: int,
    top: int,
    n_random: int,
    length: int,
    fragments: int,
    limit: int | None,
    output: Path,
    include: tuple[Path, ...],
    data_dir: Path | None,
    cache_dir: Path | None,
    offline: bool,
    device: str,
    batch_size: int | None,
    as_json: bool,
) -> None:
    """Explain features of representations from one half of TASK's texts, and score the explanations on the other.

    `harness ls explainers` lists what explains and scores. A scorer is first tried on planted features; what it cannot
    tell there from chance is not asked of any other.
    """
    if offline:  # read by the hub's clients when they are imported
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    if len(set(representations)) < len(representations):
        raise harness.UsageError("a representation is given twice with -r")
    session = harness.open(
        plugins=context.obj or (), data_dir=data_dir, cache_dir=cache_dir, device=device, include=include
    )
    from harness_autointerp import page
    from harness_autointerp.measure import measure

    harness.check_writable(output)
    result = measure(
        session,
        session.load_task(
            task, model={"ref": model, **({"dtype": dtype} if dtype else {})}, site=site, limit=limit
        ),
        representations=representations,
        explainer=explainer,
        scorer=scorer or explainer,
        n_features=n_features,
        top=top,
        random=n_random,
        length=length,
        fragments=fragments,
        batch_size=batch_size,
        tell=lambda line: click.echo(harness.printable(line), err=True),
    )
    path = page.write(result, output)
    if as_json:
        click.echo(harness.printable(result.model_dump_json()))
    else:
        click.echo(harness.printable(f"{page.to_markdown(result)}\n\n{path}"))
