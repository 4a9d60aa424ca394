"""`harness label`: items and a model in, a file out that says of each item whether the model answered it right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.api.errors import NothingSelectedError, UsageError
from harness.cli.options import batch_option, json_option, machine_options, open_session, read_batch_size

if TYPE_CHECKING:
    from harness.labelling.answers import Score

SCORES = ("per-byte", "per-token", "sum", "exact", "refusal")


@click.command("label")
@click.argument("items", type=click.Path(path_type=Path))
@click.option("-m", "--model", required=True, metavar="REF", help="Model that answers.")
@click.option("--dtype", help="The model's dtype, as a parameter of the model.")
@click.option(
    "--score",
    type=click.Choice(SCORES),
    default="per-byte",
    show_default=True,
    help="The likeliest choice by byte, by token or in all; or a written answer, compared or searched for refusal.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Tokens of a written answer.",
)
@click.option("--lines", is_flag=True, help="Let a written answer go on after its first line.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.parquet.")
@click.option("--replace", is_flag=True, help="Write over a file that is there.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where ITEMS is looked for too [HARNESS_DATA_DIR]."
)
@machine_options
@batch_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    items: Path,
    model: str,
    dtype: str | None,
    score: Score,
    most: int,
    lines: bool,
    output: Path,
    replace: bool,
    batch_size: str,
    as_json: bool,
    data_dir: Path | None,
    **machine: Any,
) -> None:
    """Have MODEL answer ITEMS, and write each prompt with the label correct or incorrect (refused or answered), for
    tasks that predict this.

    ITEMS is .parquet or .jsonl with the columns prompt (text or messages), choices and answer (one of them, or its
    number from 0), or prompt and answers; split, group, language and others are kept.
    """
    if output.suffix != ".parquet":
        raise UsageError(f"'{output}' must end in .parquet")
    if output.exists() and not replace:
        raise UsageError(f"'{output}' is there already: write over it with --replace, or name another")
    examples = read_batch_size(batch_size)
    session = open_session(context, data_dir=data_dir, **machine)

    from harness.config.suite import ModelChoice
    from harness.labelling.answers import CHOOSING, answer, check_answering
    from harness.labelling.labels import as_record, find_items, make_card, read_items, write_labels
    from harness.models.opened import open_model

    source = find_items(items, session.data_dir)
    rows = read_items(source, score)
    given: dict[str, Any] = {"ref": model, **({"dtype": dtype} if dtype else {})}
    opened = open_model(ModelChoice(**given, sites=("resid_post.0",)), session.registry)
    able = check_answering(opened.model)
    answers = answer(
        [row.item for row in rows],
        able.load_answering(session.device),
        score=score,
        device=session.device,
        batch_size=examples,
        most=most,
        one_line=not lines,
    )
    written = [as_record(row, one) for row, one in zip(rows, answers, strict=True) if one is not None]
    if not written:
        raise NothingSelectedError(f"every item of '{items}' is longer than model '{opened.label}' reads")
    ties = sum(one is not None and one.margin == 0 for one in answers)
    card = make_card(
        written,
        model=opened.label,
        identity=able.answering_identity(),
        items=source,
        score=score,
        left_out=len(rows) - len(written),
        details={"ties": ties} if score in CHOOSING else {"most": most, "lines": lines},
    )
    write_labels(written, card, output)
    click.echo(json.dumps(card, ensure_ascii=False) if as_json else _describe(card, written, output))


def _describe(card: Mapping[str, Any], records: Sequence[Mapping[str, Any]], path: Path) -> str:
    """What was written, and the task file that makes a task of it."""
    counts = ", ".join(f"{count} {label}" for label, count in card["labels"].items())
    left_out = f"; {card['left_out']} too long for the model" if card["left_out"] else ""
    does = "refuse this" if card["score"] == "refusal" else "answer this rightly"
    columns = ", ".join(f"{name}: {name}" for name in ("group", "language") if name in records[0])
    languages = sorted({str(record.get("language") or "en") for record in records})
    lines = [
        f"{path}: {counts}{left_out}",
        "",
        "# a task file for `harness run --include`, to be put beside the labels",
        f"name: {path.stem}",
        f"summary: does {card['model']} {does}?",
        f"source: {{file: {path.name}}}",
        *([f"columns: {{{columns}}}"] if columns else []),
        f"languages: [{', '.join(languages)}]",
        "licence: that of the items",
        "citation: that of the items",
    ]
    return "\n".join(lines)
