"""Command `harness patch`: localise a behaviour of a model in the features of a dictionary."""

from __future__ import annotations

import os
from pathlib import Path

import click

import harness

PATH = click.Path(path_type=Path)


@click.command("patch")
@click.argument("behaviour")
@click.option("-m", "--model", required=True, metavar="REF", help="Use this model.")
@click.option("--site", required=True, help="Patch at this site, such as resid_post.50%.")
@click.option(
    "-r", "--representation", required=True, metavar="REF", help="Patch features of this dictionary."
)
@click.option("--dtype", help="Open the model with this dtype.")
@click.option(
    "-k",
    "--features",
    "sizes",
    multiple=True,
    type=click.IntRange(min=1),
    default=(1, 2, 4, 8, 16, 32, 64),
    show_default=True,
    help="Patch so many features at once; may be given several times.",
)
@click.option(
    "-n",
    "--items",
    type=click.IntRange(min=20),
    default=60,
    show_default=True,
    help="Draw so many prompts, each with its twin, to choose features on, and as many others to measure on.",
)
@click.option(
    "--edges", "later", metavar="SITE", help="Measure edges to features of the dictionary at this later site."
)
@click.option(
    "--n-edges",
    type=click.IntRange(min=1, max=64),
    default=4,
    show_default=True,
    help="Measure edges from so many features, and to as many.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("patching"),
    show_default=True,
    help="Write the result to this folder; `harness leaderboard build` makes the page of all results there.",
)
@click.option("--cache-dir", type=PATH, help="Use the cache in this folder [HARNESS_CACHE_DIR].")
@click.option("--offline", is_flag=True, help="Send no request to a hub.")
@click.option(
    "-d", "--device", default="auto", show_default=True, help="Compute on auto, cpu, cuda or cuda:N."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    behaviour: str,
    model: str,
    site: str,
    representation: str,
    dtype: str | None,
    sizes: tuple[int, ...],
    items: int,
    later: str | None,
    n_edges: int,
    output: Path,
    cache_dir: Path | None,
    offline: bool,
    device: str,
    as_json: bool,
) -> None:
    """Patch features from prompts into their counterfactual twins, and measure how much of BEHAVIOUR follows.

    BEHAVIOUR is indirect-object, agreement, gendered-pronoun, or a file (YAML) of your own. Features are chosen on one
    half of its templates and words and measured on the other, against as many principal components, neurons, random
    directions and features of a random dictionary.
    """
    if offline:  # read by the hub's clients when they are imported
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    from harness_patching import page
    from harness_patching.behaviours import read_behaviour
    from harness_patching.measure import patch

    if later is None and context.get_parameter_source("n_edges") is click.core.ParameterSource.COMMANDLINE:
        raise harness.UsageError("--n-edges counts edges, which are measured with --edges SITE only")
    read = read_behaviour(behaviour)
    session = harness.open(plugins=context.obj or (), cache_dir=cache_dir, device=device)
    harness.check_writable(output)
    result = patch(
        session,
        read,
        model={"ref": model, **({"dtype": dtype} if dtype else {})},
        site=site,
        representation=representation,
        sizes=sorted(set(sizes)),
        n_items=items,
        later=later,
        n_edges=n_edges,
        device=session.device,
        tell=lambda line: click.echo(harness.printable(line), err=True),
    )
    path = page.write(result, output)
    if as_json:
        click.echo(harness.printable(result.model_dump_json()))
    else:
        click.echo(harness.printable(f"{page.to_markdown(result)}\n\n{path}"))
