"""Files of behaviour tasks: reader of items, writer of labels with their card."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import (
    Conversation,
    NothingSelectedError,
    UnavailableError,
    UsageError,
    hash_json,
    parse_input,
    parse_json,
    read_table,
    whole_file,
)
from harness_labelling.answers import CHOOSING, Item

if TYPE_CHECKING:
    from harness_labelling.answers import Answer, Score

OWN = ("text", "label", "said", "answer", "margin", "sum", "per_token", "per_byte")
"""Columns written here; all other columns of the items are kept, except those of READ."""

READ = ("prompt", "choices", "answer", "answers")
"""Columns of items that are read here."""

VERSIONS = ("sae-harness", "torch", "transformers", "tokenizers")
"""Packages whose versions a card states, if installed."""

CARD = 1
"""Version of the form of a card."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Item, with the other columns of its row."""

    item: Item
    kept: Mapping[str, Any]


def find_items(path: Path, data_dir: Path | None) -> Path:
    """Return the path of the items, as given or below the data folder."""
    places = [path, *([data_dir / path] if data_dir else [])]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        named = " or ".join(f"'{place}'" for place in places)
        raise UnavailableError(f"there is no file {named}")
    return found


def read_items(path: Path, score: Score) -> list[Row]:
    """Return the items of a file; UsageError with the number of the first row that does not fit the score."""
    records = _read_records(path)
    if not records:
        raise NothingSelectedError(f"'{path}' holds no items")
    return [_as_row(record, score, f"'{path}' row {number}") for number, record in enumerate(records, 1)]


def as_record(row: Row, answer: Answer) -> dict[str, Any]:
    """Return the record of one item, with scores to 5 decimals, the precision of float32."""
    item = row.item
    text = item.prompt if isinstance(item.prompt, str) else [asdict(one) for one in item.prompt.messages]
    record = {"text": text, "label": answer.label, **row.kept, "said": answer.said}
    if answer.scores is None or answer.margin is None:
        return {**record, **({"answer": item.accepted[0]} if item.accepted else {})}
    scores = asdict(answer.scores)
    return {
        **record,
        "answer": item.choices[item.right],
        "margin": round(answer.margin, 5),
        **{name: [round(value, 5) for value in values] for name, values in scores.items()},
    }


def make_card(
    records: Sequence[Mapping[str, Any]],
    *,
    model: str,
    identity: Mapping[str, Any],
    items_sha256: str,
    score: Score,
    left_out: int,
    details: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the card of a file of labels: model, weights, items, score, counts and versions. `details` are the number
    of ties among choices, or the options of written answers.
    """
    return {
        "schema": CARD,
        "model": model,
        "model_identity": hash_json(identity),
        "items_sha256": items_sha256,
        "score": score,
        **details,
        "rows": len(records),
        "left_out": left_out,
        "labels": dict(sorted(Counter(record["label"] for record in records).items())),
        "versions": {name: version(name) for name in VERSIONS if _is_installed(name)},
    }


def write_labels(records: Sequence[Mapping[str, Any]], card: Mapping[str, Any], path: Path) -> None:
    """Write records and their card beside them, each atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    beside = card_path(path)
    beside.unlink(missing_ok=True)  # no card may describe other records
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(records)), temporary, compression="zstd")
    with whole_file(beside) as temporary:
        text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(f"{text}\n", "utf-8")


def card_path(path: Path) -> Path:
    """Return the path of the card of a file of labels."""
    return path.with_name(f"{path.name}.card.json")


def _read_records(path: Path) -> list[dict[str, Any]]:
    columns = read_table(path, needed=READ)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _as_row(record: Mapping[str, Any], score: Score, where: str) -> Row:
    prompt = _as_prompt(record.get("prompt"), where)
    kept = {name: value for name, value in record.items() if name not in (*READ, *OWN)}
    if score in CHOOSING:
        choices = _as_texts(record.get("choices"), "choices", where)
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise UsageError(f"{where} needs two or more unlike choices, and has {list(choices)}")
        right = _as_place(record.get("answer"), choices, where)
        return Row(item=Item(prompt=prompt, choices=choices, right=right), kept=kept)
    if score == "refusal":
        return Row(item=Item(prompt=prompt), kept=kept)
    accepted = _as_texts(record.get("answers"), "answers", where)
    if not accepted or not all(text.strip() for text in accepted):
        raise UsageError(f"{where} needs one or more answers that are not empty")
    return Row(item=Item(prompt=prompt, accepted=accepted), kept=kept)


def _as_prompt(value: Any, where: str) -> str | Conversation:
    try:
        prompt = parse_input(value)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    if not str(prompt).strip():
        raise UsageError(f"{where} has no text and no messages under 'prompt'")
    return prompt


def _as_texts(value: Any, name: str, where: str) -> tuple[str, ...]:
    """Return a list of texts, which is JSON in a table whose columns hold text alone."""
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f'{where} has a text under \'{name}\' that is no list in JSON: write ["…", "…"]'
            ) from error
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{where} has no list of texts under '{name}'")
    return tuple(value)


def _as_place(value: Any, choices: Sequence[str], where: str) -> int:
    """Return the number of the right choice, which is given as a number or as its text.

    Raise UsageError where a number may be read as either of two choices.
    """
    if isinstance(value, str) and value in choices:
        return choices.index(value)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,6}", value):
        value = int(value)  # all fields of a CSV are text
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(choices):
        spelled = next((choice for choice in choices if _is_number(choice, value)), None)
        if spelled is not None and choices.index(spelled) != value:
            raise UsageError(
                f"{where}: its answer {value} may mean the choice '{spelled}' or choice number {value} (from 0), "
                f'\'{choices[value]}\'; write which as text: "answer": "{spelled}" or "answer": "{choices[value]}"'
            )
        return value
    raise UsageError(f"{where}: its answer {value!r} is none of its choices, nor the number of one")


def _is_number(text: str, number: int) -> bool:
    """Return True if a text is nothing but this number, as `3`, `3.0` or ` 03` is 3."""
    try:
        return float(text) == number
    except ValueError:
        return False


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
