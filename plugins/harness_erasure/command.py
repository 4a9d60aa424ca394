"""Command `harness erase-concept`: erase a task's classes from a model, and measure what is left and what it costs."""

from __future__ import annotations

import os
from pathlib import Path

import click

import harness

PATH = click.Path(path_type=Path)


@click.command("erase-concept")
@click.argument("task")
@click.option("-m", "--model", required=True, metavar="REF", help="Use this model.")
@click.option("--site", required=True, help="Erase at this site, such as resid_post.50%.")
@click.option("--dtype", help="Open the model with this dtype.")
@click.option(
    "-r",
    "--representation",
    metavar="REF",
    help="Remove features of this dictionary [features are no arm].",
)
@click.option(
    "-k",
    "--features",
    "sizes",
    multiple=True,
    type=click.IntRange(min=1),
    default=(1, 4, 16),
    show_default=True,
    help="Remove so many features, components and neurons at once; may be given several times.",
)
@click.option("-L", "--limit", type=click.IntRange(min=1), help="Read this many rows of the task.")
@click.option(
    "--loss-tokens",
    type=click.IntRange(min=1),
    default=8192,
    show_default=True,
    help="Measure next-token losses on test rows with this many tokens: each eraser needs a pass of the whole model.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("erasure"),
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
@click.option("-b", "--batch-size", type=click.IntRange(min=1), help="Set the examples in a batch.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    task: str,
    model: str,
    site: str,
    dtype: str | None,
    representation: str | None,
    sizes: tuple[int, ...],
    limit: int | None,
    loss_tokens: int,
    output: Path,
    include: tuple[Path, ...],
    data_dir: Path | None,
    cache_dir: Path | None,
    offline: bool,
    device: str,
    batch_size: int | None,
    as_json: bool,
) -> None:
    """Erase the classes of TASK from the activations of MODEL, and measure what a fresh probe still finds.

    Erasers are LEACE (extra [erasure]), the difference of class means, features of a dictionary, components, neurons
    and random directions; each is measured by the size of its edit and by the loss of the next token too.
    """
    if offline:  # read by the hub's clients when they are imported
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    session = harness.open(
        plugins=context.obj or (), data_dir=data_dir, cache_dir=cache_dir, device=device, include=include
    )
    from harness_erasure import page
    from harness_erasure.measure import measure

    harness.check_writable(output)
    result = measure(
        session.load_task(
            task, model={"ref": model, **({"dtype": dtype} if dtype else {})}, site=site, limit=limit
        ),
        representation=representation,
        sizes=sorted(set(sizes)),
        loss_tokens=loss_tokens,
        device=session.device,
        batch_size=batch_size,
        tell=lambda line: click.echo(harness.printable(line), err=True),
    )
    path = page.write(result, output)
    if as_json:
        click.echo(harness.printable(result.model_dump_json()))
    else:
        click.echo(harness.printable(f"{page.to_markdown(result)}\n\n{path}"))
