"""Command `harness train-dictionary`: train dictionaries on a model's activations, in the layout of Gemma Scope."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options as shared
from harness.cli.streams import echo

if TYPE_CHECKING:
    from harness.training import Progress, Trained

ARCHITECTURES = ("batchtopk", "topk", "jumprelu", "standard", "tied")
"""Architectures of harness.training, repeated because it is not imported for --help."""

LINES = 20
"""Approximate number of lines that report the progress of a training."""


@click.command("train-dictionary")
@shared.model_option
@click.option(
    "--site",
    "sites",
    required=True,
    multiple=True,
    help="Read at this site: resid_post.12, resid_post.50%, vision.resid_post.9.",
)
@click.option("--width", required=True, help="Train this many features: 1024, 16k, or 8x the site's size.")
@click.option(
    "--tokens", required=True, type=click.IntRange(min=1), help="Train on this many content tokens."
)
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=shared.PATH,
    help="Read texts: .jsonl, .parquet, .csv, .tsv, .txt … (or .jsonl.zst, .csv.gz), or a folder of such files. For a "
    "model of images: .parquet with a column 'image', or a folder of image files.",
)
@click.option("-o", "--output", required=True, type=shared.PATH, help="Write dictionaries to this folder.")
@click.option(
    "--architecture",
    type=click.Choice(ARCHITECTURES),
    default="batchtopk",
    show_default=True,
    help="Train this architecture.",
)
@click.option(
    "--l0",
    type=click.IntRange(min=1),
    help="Aim at this many features per token [a sixth of the site's size].",
)
@click.option("--l1", type=float, help="Weight the sparsity penalty [standard 3, tied 1].")
@click.option(
    "--learning-rate", type=float, help="Set the learning rate [6e-3, less for more than 1024 features]."
)
@click.option(
    "--batch-tokens",
    type=click.IntRange(min=2),
    default=1024,
    show_default=True,
    help="Set the tokens per step.",
)
@click.option(
    "--max-norm-ratio",
    type=float,
    help="Leave out tokens with a norm above this many times the median: attention sinks [none is left out].",
)
@click.option(
    "--checkpoints",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Write the dictionary after each of this many equal parts of the training; earlier ones go to "
    "OUTPUT/checkpoints/tokens_N.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Set the random seed.")
@shared.dtype_option
@click.option("--replace", is_flag=True, help="Replace a dictionary of the same layer and width.")
@shared.machine_options
@shared.batch_option
@shared.json_option
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
    **settings: Any,
) -> None:
    """Train one dictionary per site and evaluate it on held-out data. An interrupted training starts again."""
    batch = shared.read_batch_size(batch_size)
    session = shared.open_session(context, device=device, cache_dir=cache_dir, offline=offline)

    from harness.config.suite import ModelChoice
    from harness.training import train_dictionaries

    written = train_dictionaries(
        session.registry,
        model=ModelChoice(**shared.model_fields(model, dtype), sites=sites),
        data=data,
        device=session.device,
        batch_size=batch,
        report=ProgressLines(),
        tell=lambda line: echo(f"harness: {line}", err=True),
        **settings,
    )
    for path, trained in written.items():
        echo(json.dumps(to_row(path, trained)) if as_json else to_line(path, trained))


class ProgressLines:
    """Printer of a line on stderr for each twentieth of the tokens, and of one if the data is read again."""

    def __init__(self) -> None:
        self.printed = 0
        self.passes = 1

    def __call__(self, progress: Progress) -> None:
        if progress.passes > self.passes == 1:
            self.passes = progress.passes
            echo("harness: the data holds fewer tokens than asked for and is read again", err=True)
        place = progress.tokens * LINES // progress.tokens_total
        if place > self.printed:
            self.printed = place
            lost = ", ".join(f"{site} {value:.4f}" for site, value in progress.unexplained.items())
            echo(
                f"{progress.tokens:,} of {progress.tokens_total:,} tokens, {progress.tokens_per_s:,.0f} a second, "
                f"not explained: {lost}",
                err=True,
            )


def to_line(path: Path, trained: Trained) -> str:
    """Describe a trained dictionary in one line."""
    return (
        f"{path}: explained variance {trained.fit.explained_variance:.3f}, L0 {trained.fit.l0:.1f}, "
        f"dead {trained.fit.dead or 0:.1%}"
    )


def to_row(path: Path, trained: Trained) -> dict[str, Any]:
    """Return the measurements of a trained dictionary as JSON."""
    return {
        "path": str(path),
        "site": str(trained.site),
        "width": trained.dictionary.width,
        **asdict(trained.fit),
        "training_tokens": trained.tokens,
        "seconds": trained.seconds,
    }
