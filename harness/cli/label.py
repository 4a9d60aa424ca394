"""Command `harness label`: label each item by whether a model answers it correctly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.api.errors import NothingSelectedError, UsageError
from harness.cli.options import (
    PATH,
    batch_option,
    dtype_option,
    earlier_option,
    json_option,
    machine_options,
    model_fields,
    model_option,
    open_session,
    read_batch_size,
)

if TYPE_CHECKING:
    from harness.labelling.answers import Score

SCORES = ("per-byte", "per-token", "sum", "exact", "refusal")


@click.command("label")
@click.argument("items", type=PATH)
@model_option
@dtype_option
@click.option(
    "--score",
    type=click.Choice(SCORES),
    default="per-byte",
    show_default=True,
    help="Take the likeliest choice per byte, per token or in sum; or compare a written answer or find refusals.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Generate at most this many tokens of a written answer.",
)
@click.option("--multiline", is_flag=True, help="Allow a written answer to continue after its first line.")
@earlier_option("--most", "--max-new-tokens", type=click.IntRange(min=1))
@earlier_option("--lines", "--multiline", is_flag=True)
@click.option("-o", "--output", required=True, type=PATH, help="Write to this FILE.parquet.")
@click.option("--replace", is_flag=True, help="Overwrite an existing file.")
@click.option("--data-dir", type=PATH, help="Look for ITEMS in this folder too [HARNESS_DATA_DIR].")
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
    max_new_tokens: int,
    multiline: bool,
    most: int | None,
    lines: bool,
    output: Path,
    replace: bool,
    batch_size: str,
    as_json: bool,
    data_dir: Path | None,
    **machine: Any,
) -> None:
    """Let MODEL answer ITEMS and write each prompt with a label: correct or incorrect, or refused or answered.

    A task can then predict these labels. ITEMS is .parquet or .jsonl with the columns prompt (text or messages),
    choices and answer (a choice, or its number from 0), or prompt and answers. Other columns such as split, group and
    language are kept.
    """
    if output.suffix != ".parquet":
        raise UsageError(f"'{output}' must end in .parquet")
    if output.exists() and not replace:
        raise UsageError(f"'{output}' is there already: write over it with --replace, or name another")
    examples = read_batch_size(batch_size)
    limit, all_lines = most or max_new_tokens, lines or multiline
    session = open_session(context, data_dir=data_dir, **machine)

    from harness.config.suite import ModelChoice
    from harness.labelling.answers import CHOOSING, answer, check_answering
    from harness.labelling.labels import as_record, find_items, make_card, read_items, write_labels
    from harness.models.opened import open_model

    source = find_items(items, session.data_dir)
    rows = read_items(source, score)
    choice = ModelChoice(**model_fields(model, dtype), sites=("resid_post.0",))
    opened = open_model(choice, session.registry)
    able = check_answering(opened.model)
    answers = answer(
        [row.item for row in rows],
        able.load_answering(session.device),
        score=score,
        device=session.device,
        batch_size=examples,
        most=limit,
        one_line=not all_lines,
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
        # The names of the card's fields stay, so that older and newer cards read alike.
        details={"ties": ties} if score in CHOOSING else {"most": limit, "lines": all_lines},
    )
    write_labels(written, card, output)
    click.echo(json.dumps(card, ensure_ascii=False) if as_json else _describe(card, written, output))


def _describe(card: Mapping[str, Any], records: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Describe the labels written, with a task file for them."""
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
