"""Readers of table files (parquet, CSV, JSON): each value as the file has it, whatever the other rows hold.

A path is opened as it is written. Nothing is guessed: every field of a CSV is text, and a value of JSON has the type
that the file gives it. A .tsv is separated by tabs; a .csv by commas, or by what its header shows where it has none.
Rows are counted from 0 as in other messages; in messages about a CSV, row 0 is its header.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from harness.api.errors import name_some
from harness.data.formats import TableError, format_of, open_text
from harness.storage.parsing import ParseError
from harness.storage.reading import open_parquet
from harness.storage.strict_json import parse_json_at

Columns = dict[str, list[Any]]
"""Column → its values, one for each row."""

_TOGETHER = 10_000
"""Number of rows in a block."""


SEPARATORS: Mapping[str, str] = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""Character that may separate the fields of a CSV → its name in messages."""


def read_columns(
    path: Path, *, needed: Collection[str], label: str | None = None, separator: str | None = None
) -> Columns:
    """Read a table whole; a value that a row lacks is None. Class numbers of `label` become names if the file has any.

    `separator` is that of a CSV's fields, where it is not to be told from the file.

    Raises TableError for a fault of the file, among them a `needed` column that it has twice; and the errors of the
    operating system and of pyarrow.
    """
    columns: Columns = {}
    count = 0
    for block in read_blocks(path, needed=needed, label=label, separator=separator):
        size = len(next(iter(block.values()), ()))
        for name in block:
            columns.setdefault(name, [None] * count)
        for name, values in columns.items():
            values.extend(block.get(name) or [None] * size)
        count += size
    return columns


def read_blocks(
    path: Path, *, needed: Collection[str], label: str | None = None, separator: str | None = None
) -> Iterator[Columns]:
    """Yield the columns of a table, some thousand rows at a time. Raises as `read_columns`."""
    kind = format_of(path)
    if kind == "parquet":
        yield from _read_parquet(path, needed, label)
    elif kind in ("csv", "tsv"):
        yield from _read_csv(path, needed, separator or _find_separator(path, needed))
    else:
        rows = _read_json(path)
        while block := list(islice(rows, _TOGETHER)):
            names = dict.fromkeys(name for row in block for name in row)
            yield {name: [row.get(name) for row in block] for name in names}


def name_classes(values: Iterable[int | None], names: Sequence[str]) -> list[str | None]:
    """Return class names in place of class numbers; None for a label that is withheld, which the hub writes as -1."""
    return [None if value is None or value < 0 else names[value] for value in values]


def _check_names(names: Sequence[str], needed: Collection[str]) -> None:
    for name in needed:
        if names.count(name) > 1:
            raise TableError(f"the column '{name}' stands twice in it: rename one")


# ── parquet ──────────────────────────────────────────────────────────────────────────────────────────────


def _read_parquet(path: Path, needed: Collection[str], label: str | None) -> Iterator[Columns]:
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        _check_names(names, needed)
        features = _read_features(file)
        classes = features.get(label or "", {}).get("names")
        packed = [name for name, feature in features.items() if feature.get("_type") == "Json"]
        for batch in file.iter_batches(_TOGETHER):
            block = {name: values.to_pylist() for name, values in zip(names, batch.columns, strict=True)}
            if label in block and classes:
                block[label] = name_classes(block[label], classes)
            for name in block.keys() & packed:
                block[name] = [value and json.loads(value) for value in block[name]]
            yield block


def _read_features(file: Any) -> dict[str, dict[str, Any]]:
    """Return what the library `datasets` wrote into a parquet file about each column, if it wrote the file."""
    written = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(written).get("info", {}).get("features") or {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────


def _read_csv(path: Path, needed: Collection[str], separator: str) -> Iterator[Columns]:
    with open_text(path, newline="") as file:
        rows = _read_fields(_open_csv(file, separator), separator)
        header = next(rows, None)
        if header is None:
            raise TableError("it is empty, without a header")
        _check_names(header, needed)
        while block := list(islice(rows, _TOGETHER)):
            yield dict(zip(header, map(list, zip(*block, strict=True)), strict=True))


def _open_csv(file: IO[str], separator: str) -> Any:
    csv.field_size_limit(2**31 - 1)  # the module's own limit is 128 KiB, less than some texts have
    return csv.reader(file, delimiter=separator, strict=True)


def _find_separator(path: Path, needed: Collection[str]) -> str:
    """Return what separates the fields of a file: tabs in a .tsv, commas in a .csv.

    A .csv without a comma in its header is read by the one separator that gives it a `needed` column. Raises
    TableError, with the columns of each reading, for a header that has none of them and may be read otherwise.
    """
    usual = "\t" if format_of(path) == "tsv" else ","
    header = _read_header(path, usual)
    if header is None or {*header} & {*needed}:
        return usual
    readings = {mark: _read_header(path, mark) or [] for mark in SEPARATORS if mark != usual}
    readings = {mark: names for mark, names in readings.items() if len(names) > 1}
    fitting = [mark for mark, names in readings.items() if {*names} & {*needed}]
    if usual == "," and len(header) == len(fitting) == 1:
        return fitting[0]
    if not fitting and (len(header) > 1 or not readings):
        return usual  # then it lacks columns, which is not a matter of separators
    said = " or ".join(
        f"{SEPARATORS[mark]} the columns {name_some(repr(name[:60]) for name in readings[mark])}"
        for mark in fitting or readings
    )
    raise TableError(
        f"its header has none of {name_some(map(repr, needed))} where {SEPARATORS[usual]} separate it, and by {said}: "
        f"give the columns these names, or write {SEPARATORS[usual]}; a task file may say which separator is right, "
        'as separator: ";" beside file'
    )


def _read_header(path: Path, separator: str) -> list[str] | None:
    """Return the names of a CSV's columns as one separator gives them; None for an empty file.

    A header with quotes that do not fit the separator is one name.
    """
    with open_text(path, newline="") as file:
        try:
            return next(filter(None, _open_csv(file, separator)), None)
        except csv.Error:
            return [""]


def _read_fields(reader: Any, separator: str) -> Iterator[list[str]]:
    """Yield the header and the rows of a CSV, without empty lines; raise TableError for a row of another length."""
    header: list[str] | None = None
    number = 0
    while True:
        line = reader.line_num + 1
        place = f"row {number}" if number else "its header"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise TableError(f"{place} (line {line}) {_explain(error)}") from error
        if not row or (header and len(header) > len(row) == 1 and not row[0].strip()):
            continue  # an empty line
        if header is None:
            header = row
        elif len(row) != len(header):
            raise TableError(
                f"{place} has {_count(row)}, the header {len(header)} (line {line}): {_hint(row, header, separator)}"
            )
        number += 1
        yield row


def _explain(error: csv.Error) -> str:
    """Return what is wrong with a row, for the two faults of quotes that a strict reader knows."""
    if "expected after" in str(error):
        return 'ends a quoted text with " before its end: write a quote inside quotes as "", not as \\"'
    if "end of data" in str(error):
        return 'opens a quoted text that never ends: close it with ", and write a quote inside quotes as ""'
    return f"cannot be read: {error}"


def _count(row: Sequence[str]) -> str:
    return f"{len(row)} field{'s' if len(row) != 1 else ''}"


def _hint(row: Sequence[str], header: Sequence[str], separator: str) -> str:
    mark = {"\t": "tab", ";": "semicolon", "|": "bar"}.get(separator, "comma")
    if len(row) < len(header):
        return f"write a {mark} for each field, and put a text with a line end into quotes"
    if not any(field.strip() for field in row[len(header) :]):
        return f"remove the {mark} at its end, or name that column in the header"
    return f'put a text that holds a {mark} into quotes, as "…"'


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────

_BLANK = re.compile(r"[ \t\n\r]*")


def _read_json(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of JSON objects, one after another or in one list. A list of texts is a column `text`."""
    with open_text(path, newline="") as file:
        text = file.read()
    escaped = _HALF.search(text) is not None
    start = _skip(text, 0)
    number = 0
    while start < len(text):
        try:
            value, end = parse_json_at(text, start)
            if escaped:
                _check_characters(value)
        except json.JSONDecodeError as error:
            raise TableError(f"line {error.lineno}: {error.msg}") from error
        except ParseError as error:
            raise TableError(f"row {number} (line {_line(text, start)}): {error}") from error
        is_list = isinstance(value, list) and not number and _skip(text, end) == len(text)
        for row in value if is_list else (value,):
            if is_list and isinstance(row, str):
                row = {"text": row}
            if not isinstance(row, dict):
                raise TableError(f"row {number} (line {_line(text, start)}) is no JSON object")
            yield row
            number += 1
        start = _skip(text, end)


def _skip(text: str, start: int) -> int:
    blank = _BLANK.match(text, start)
    assert blank  # the pattern matches nothing at all, too
    return blank.end()


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Escape of one half of a character beyond U+FFFF; the other half has to follow or to come before it."""


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise TableError(
            "it holds half of a character, a lone surrogate: write the whole character"
        ) from error
