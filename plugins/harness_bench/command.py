"""Command `harness bench`: measure featurizing on this machine."""

from __future__ import annotations

import json

import click

from harness import UsageError
from harness_bench.shapes import SHAPES

DEFAULT = "gemma-3-270m"
"""Shape that is measured where none is named: small enough for a laptop, large enough to mean something."""


@click.command("bench")
@click.option("-m", "--model", metavar="REF", help="Measure this model, with dictionaries of drawn weights.")
@click.option(
    "--shape",
    type=click.Choice(list(SHAPES)),
    help=f"Draw weights at this shape; nothing is downloaded. [default: {DEFAULT}]",
)
@click.option(
    "--against",
    default="",
    metavar="LOOP,…",
    help="Compare with loops as people write them: sae-lens, transformers, transformers-once.",
)
@click.option("--site", "depths", multiple=True, metavar="P%", help="Read this depth. [default: 50%]")
@click.option(
    "--width", "widths", multiple=True, type=click.IntRange(min=1), help="Encode with this many features."
)
@click.option("--texts", "n_texts", type=click.IntRange(min=1), help="Featurize this many texts.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Alternate this often."
)
@click.option("--threads", type=click.IntRange(min=1), help="Use this many threads of the CPU.")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Draw weights in this dtype."
)
@click.option(
    "-d", "--device", default="auto", show_default=True, help="Compute on auto, cpu, cuda or cuda:N."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    model: str | None,
    shape: str | None,
    against: str,
    depths: tuple[str, ...],
    widths: tuple[int, ...],
    n_texts: int | None,
    rounds: int,
    threads: int | None,
    dtype: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Measure featurizing against this machine's limit.

    The limit is the same batches through the bare decoder and the bare products of the encoders. Both take turns; the
    ratio is the median of all rounds, with the least and the greatest. CPU seconds are compared on a CPU.

    --against adds loops as people write them, on the same texts, weights and dictionaries, each at its best batch size.
    """
    if model and shape:
        raise UsageError("--model and --shape exclude each other: a shape's weights are drawn")
    if model and dtype:
        raise UsageError("--dtype goes with --shape: a model's is in its reference, REF@dtype=float32")
    import torch

    import harness
    from harness_bench import report, setting

    device = harness.open(device=device).device
    if threads:
        torch.set_num_threads(threads)
    is_gpu = device.startswith("cuda")
    read = setting.Reads(
        depths=depths or ("50%",), widths=widths, n_texts=n_texts or (4000 if is_gpu else 64), device=device
    )
    if model:
        made = setting.open_model(model, read)
    else:
        name = shape or DEFAULT
        made = setting.draw_model(
            name, SHAPES[name], read, dtype=dtype or ("bfloat16" if is_gpu else "float32")
        )
    wanted = [name.strip() for name in against.split(",") if name.strip()]
    found = report.run(made, against=wanted, rounds=rounds)
    click.echo(json.dumps(found, indent=1) if as_json else "\n".join(report.lines(found)))
