"""Command `harness bench`: measure featurizing on this machine."""

from __future__ import annotations

import json
from typing import Any

import click

from harness.api.errors import UsageError
from harness.cli import options as shared
from harness.cli.streams import echo

DEFAULT = "gemma-3-270m"
"""Shape that is measured where nothing is named: small enough for a laptop, large enough to mean something."""

WIDTHS = (16_384, 65_536)
"""Widths at a drawn shape: those of Gemma Scope."""

TEXTS = {"cpu": 64, "cuda": 4000}
"""Texts where no number is given, by kind of device: about a minute."""


@click.command("bench")
@click.option("-m", "--model", metavar="REF", help="Measure this model, with dictionaries of drawn weights.")
@click.option(
    "--shape",
    metavar="NAME",
    help="Measure a decoder with weights drawn at this shape: gemma-3-270m, gemma-2-2b, gemma-2-9b or gemma-2-27b. "
    f"[default: {DEFAULT}]",
)
@click.option(
    "--against",
    default="",
    metavar="LOOP,…",
    help="Compare with loops as people write them: sae-lens, transformers, transformers-once.",
)
@click.option(
    "--site", "sites", multiple=True, metavar="SITE", help="Read this site. [default: resid_post.50%]"
)
@click.option(
    "--width", "widths", multiple=True, type=click.IntRange(min=1), help="Encode with this many features."
)
@click.option("--texts", "n_texts", type=click.IntRange(min=1), help="Featurize this many texts.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Repeat the comparison this many times.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Use this many threads of the CPU.")
@click.option(
    "-d", "--device", default="auto", show_default=True, help="Compute on auto, cpu, cuda or cuda:N."
)
@shared.json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    model: str | None,
    shape: str | None,
    against: str,
    widths: tuple[int, ...],
    n_texts: int | None,
    rounds: int,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure featurizing against this machine's limit.

    The limit is the same batches through the bare decoder and the bare products of the encoders. Both take turns; the
    ratio is the median of all rounds, with the least and the greatest. On a CPU, CPU seconds are compared.

    --against adds loops as people write them, on the same texts, weights and dictionaries, each at its best batch size.
    Nothing is downloaded for a shape, and all dictionaries have drawn weights.
    """
    if model and shape:
        raise UsageError("use --model or --shape, not both")
    session = shared.open_session(context, device=options["device"])
    import torch

    from harness.benchmark import report
    from harness.benchmark.setting import Asked, make_setting

    if threads:
        torch.set_num_threads(threads)
    asked = Asked(
        model=model or f"shape:{shape or DEFAULT}",
        sites=options["sites"] or ("resid_post.50%",),
        widths=widths or (() if model else WIDTHS),
        n_texts=n_texts or TEXTS[session.device.split(":")[0]],
        device=session.device,
    )
    wanted = [name.strip() for name in against.split(",") if name.strip()]
    found = report.run(make_setting(asked, session.registry), against=wanted, rounds=rounds)
    echo(json.dumps(found, indent=1) if as_json else "\n".join(report.lines(found)))
