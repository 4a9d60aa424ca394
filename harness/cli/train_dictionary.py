"""`harness train-dictionary`: a model and texts or images in, dictionaries of its activations in Gemma Scope's layout
out.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import batch_option, json_option, machine_options, open_session, read_batch_size

if TYPE_CHECKING:
    from harness.training import Progress, Trained

ARCHITECTURES = ("batchtopk", "topk", "jumprelu", "standard", "tied")
"""Those of harness.training, which is not imported for --help."""

LINES = 20
"""About so many lines tell how far training is."""


@click.command("train-dictionary")
@click.option("-m", "--model", required=True, metavar="REF", help="Model.")
@click.option(
    "--site",
    "sites",
    required=True,
    multiple=True,
    help="Where to read: resid_post.12, resid_post.50%, vision.resid_post.9.",
)
@click.option("--width", required=True, help="Features: 1024, 16k, or 8x the site's size.")
@click.option("--tokens", required=True, type=click.IntRange(min=1), help="Content tokens to learn from.")
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="Texts: .jsonl, .jsonl.zst, .json, .parquet, .csv, .txt, or a folder of such files. Of a model that reads "
    "images: .parquet with a column 'image', or a folder of image files.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of dictionaries."
)
@click.option("--architecture", type=click.Choice(ARCHITECTURES), default="batchtopk", show_default=True)
@click.option("--l0", type=click.IntRange(min=1), help="Features per token [a sixth of the site's size].")
@click.option("--l1", type=float, help="Weight of the penalty [standard 3, tied 1].")
@click.option("--learning-rate", type=float, help="[6e-3, less for more than 1024 features]")
@click.option("--batch-tokens", type=click.IntRange(min=2), default=1024, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--dtype", help="The model's dtype, as a parameter of the model.")
@click.option("--replace", is_flag=True, help="Replace a dictionary of the same layer and width.")
@machine_options
@batch_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    model: str,
    sites: tuple[str, ...],
    data: tuple[Path, ...],
    dtype: str | None,
    device: str,
    cache_dir: Path | None,
    offline: bool,
    batch_size: str,
    as_json: bool,
    **recipe: Any,
) -> None:
    """Train one dictionary for each site, and measure it on held-out data. An interrupted training begins anew."""
    batch = read_batch_size(batch_size)
    session = open_session(context, device=device, cache_dir=cache_dir, offline=offline)

    from harness.config.suite import ModelChoice
    from harness.training import train_dictionaries

    choice: dict[str, Any] = {"ref": model, "sites": sites, **({"dtype": dtype} if dtype else {})}
    written = train_dictionaries(
        session.registry,
        model=ModelChoice(**choice),
        data=data,
        device=session.device,
        batch_size=batch,
        report=Lines(),
        tell=lambda line: click.echo(f"harness: {line}", err=True),
        **recipe,
    )
    for path, trained in written.items():
        click.echo(json.dumps(to_row(path, trained)) if as_json else to_line(path, trained))


class Lines:
    """A line on stderr for each twentieth of the tokens, and one when the data is read again."""

    def __init__(self) -> None:
        self.told = 0
        self.passes = 1

    def __call__(self, progress: Progress) -> None:
        if progress.passes > self.passes == 1:
            self.passes = progress.passes
            click.echo("harness: the data holds fewer tokens than asked for and is read again", err=True)
        place = progress.tokens * LINES // progress.tokens_total
        if place > self.told:
            self.told = place
            lost = ", ".join(f"{site} {value:.4f}" for site, value in progress.unexplained.items())
            click.echo(
                f"{progress.tokens:,} of {progress.tokens_total:,} tokens, {progress.tokens_per_s:,.0f} a second, "
                f"not explained: {lost}",
                err=True,
            )


def to_line(path: Path, trained: Trained) -> str:
    return (
        f"{path}: explained variance {trained.fit.explained_variance:.3f}, L0 {trained.fit.l0:.1f}, "
        f"dead {trained.dead:.1%}"
    )


def to_row(path: Path, trained: Trained) -> dict[str, Any]:
    return {
        "path": str(path),
        "site": str(trained.site),
        "width": trained.dictionary.width,
        **asdict(trained.fit),
        "dead": trained.dead,
        "training_tokens": trained.tokens,
        "seconds": trained.seconds,
    }
