"""Command `harness label`: label each item by whether a model answers it correctly."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

import harness
from harness import NothingSelectedError, UsageError

if TYPE_CHECKING:
    from harness_labelling.answers import Score

PATH = click.Path(path_type=Path)

SCORES = ("per-byte", "per-token", "sum", "exact", "refusal")


NEW_NAMES = {"most": "--max-new-tokens", "lines": "--multiline"}
"""Earlier option → its present name."""


def _warn_of_rename(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Print a line of warning where an option is given by its earlier name."""
    if value:
        said = f"harness: the option '--{parameter.name}' is now called '{NEW_NAMES[str(parameter.name)]}'"
        click.echo(harness.printable(said), err=True)
    return value


@click.command("label")
@click.argument("items", type=PATH)
@click.option("-m", "--model", required=True, metavar="REF", help="Use this model.")
@click.option("--dtype", help="Open the model with this dtype.")
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
@click.option("--most", hidden=True, callback=_warn_of_rename, type=click.IntRange(min=1))
@click.option("--lines", hidden=True, callback=_warn_of_rename, is_flag=True)
@click.option("-o", "--output", required=True, type=PATH, help="Write to this FILE.parquet.")
@click.option("--replace", is_flag=True, help="Overwrite an existing file.")
@click.option("--data-dir", type=PATH, help="Look for ITEMS in this folder too [HARNESS_DATA_DIR].")
@click.option("--cache-dir", type=PATH, help="Use the feature cache in this folder [HARNESS_CACHE_DIR].")
@click.option("--offline", is_flag=True, help="Send no request to a hub.")
@click.option(
    "-d", "--device", default="auto", show_default=True, help="Compute on auto, cpu, cuda or cuda:N."
)
@click.option(
    "-b", "--batch-size", default="auto", show_default=True, help="Set the examples in a batch, or auto."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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
    cache_dir: Path | None,
    offline: bool,
    device: str,
) -> None:
    """Let MODEL answer ITEMS and write each prompt with a label: correct or incorrect, or refused or answered.

    A task can then predict these labels. ITEMS is a table (.parquet, .jsonl, .csv …) with the columns prompt (text or
    messages), choices and answer (a choice, or its number from 0 where that is no other choice), or prompt and answers.
    Other columns such as split, group and language are kept.
    """
    if output.suffix != ".parquet":
        raise UsageError(f"'{output}' must end in .parquet")
    if output.exists() and not replace:
        raise UsageError(f"'{output}' is there already: write over it with --replace, or name another")
    examples = _read_batch_size(batch_size)
    limit, all_lines = most or max_new_tokens, lines or multiline
    if offline:  # read by the hub's clients when they are imported
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    session = harness.open(plugins=context.obj or (), data_dir=data_dir, cache_dir=cache_dir, device=device)

    from harness_labelling.answers import CHOOSING, answer
    from harness_labelling.labels import as_record, find_items, make_card, read_items, write_labels

    source = find_items(items, session.data_dir)
    if output.exists() and output.samefile(source):
        raise UsageError(
            f"'{output}' is the file of the items, which would be lost: name another for the answers"
        )
    items_sha256 = harness.hash_file(source)
    with harness.unchanged({source: items_sha256}):
        rows = read_items(source, score)
    opened = session.open_model({"ref": model, **({"dtype": dtype} if dtype else {})})
    able = harness.check_answering(opened.model)
    flags = _tell_flags(able)
    identity = able.answering_identity()  # before the weights are loaded, which must be those that it names
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
        identity=identity,
        items_sha256=items_sha256,
        score=score,
        left_out=len(rows) - len(written),
        # The names of the card's fields stay, so that older and newer cards read alike.
        details={
            **({"ties": ties} if score in CHOOSING else {"most": limit, "lines": all_lines}),
            **({"flags": flags} if flags else {}),
        },
    )
    write_labels(written, card, output)
    said = json.dumps(card, ensure_ascii=False) if as_json else _describe(card, written, output)
    click.echo(harness.printable(said))


def _tell_flags(model: harness.Model) -> list[str]:
    """Return the flags of a model at its last site, and print a line on each."""
    if not isinstance(model, harness.Flagged):
        return []
    flags = model.flags(harness.Site(kind="resid_post", layer=model.n_layers - 1))
    for sentence in flags.values():
        click.echo(harness.printable(f"note: {sentence}"), err=True)
    return sorted(flags)


def _describe(card: Mapping[str, Any], records: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Describe the labels written, with a task file for them."""
    counts = ", ".join(f"{count} {label}" for label, count in card["labels"].items())
    left_out = f"; {card['left_out']} too long for the model" if card["left_out"] else ""
    name = re.sub("[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "labels"
    does = "refuse this" if card["score"] == "refusal" else "answer this rightly"
    summary = f"does {card['model']} {does}?"
    columns = ", ".join(f"{name}: {name}" for name in ("group", "language") if name in records[0])
    languages = sorted({str(record.get("language") or "en") for record in records})
    lines = [
        f"{path}: {counts}{left_out}",
        "",
        "# a task file for `harness run --include`, to be put beside the labels",
        f"name: {_spell(name)}",
        f"summary: {_spell(summary)}",
        f"source: {{file: {_spell(path.name)}}}",
        *([f"columns: {{{columns}}}"] if columns else []),
        f"languages: [{', '.join(map(_spell, languages))}]",
        "licence: that of the items",
        "citation: that of the items",
    ]
    return "\n".join(lines)


def _spell(text: str) -> str:
    """Return a text as YAML reads it, in quotes where it would be something else, as `no` and `a: b` would."""
    is_plain = re.fullmatch(r"[A-Za-z][\w./? -]*", text) and yaml.safe_load(text) == text
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _read_batch_size(text: str) -> int | None:
    """Return None for `auto`, else the positive number; raise click.BadParameter for anything else."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"'{text}' is neither auto nor a positive number", param_hint="--batch-size")
    return int(text)
