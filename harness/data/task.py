"""Loader of a task's examples: read, cleaned, split and limited, independent of any model or seed.

An image is identified by its decoded pixels; one that cannot be decoded is left out, counted and named. Text is
converted to Unicode's normal form C, so that one text has one id however it was typed; the number of rows changed is
counted. Rows that cleaning removes are counted, never dropped silently. Rows keep their official split; otherwise a
hash of their group or content decides it, so that no later stage and no other row can move an example.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.api.data import Conversation, Examples, Split
from harness.api.errors import UnavailableError, UsageError, did_you_mean
from harness.api.tasks import Columns, FileSource, TaskSpec
from harness.data.cleaning import (
    Hygiene,
    by_text,
    clean,
    contents_of,
    handle_near_leaks,
    leak_finder,
    normalise_text,
)
from harness.data.inputs import parse_input
from harness.data.sources import Rows, Table, data_error, quote_path, read_source
from harness.data.spellings import find_alike
from harness.data.splits import SplitLimits, parse_split, split_examples, take_stratified
from harness.registry.catalog import Registry
from harness.storage.hashing import hash_lines

MOST_FAULTS = 50
"""Limit on the images that are named as broken; all are counted."""
LONGEST_PATH = 250
"""Limit on the characters of a path in a message; a longer text is data in the place of a path."""


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """Clean examples of a task, its classes in their fixed order, and counts of what cleaning removed."""

    spec: TaskSpec
    examples: Examples
    classes: tuple[str, ...]
    hygiene: Hygiene
    limit: int | SplitLimits | None = None

    @cached_property
    def alike_labels(self) -> tuple[Mapping[str, int], ...]:
        """Sets of labels that differ only by case or blanks, with their numbers of rows."""
        return find_alike(self.examples.labels)

    @cached_property
    def alike_groups(self) -> tuple[Mapping[str, int], ...]:
        """Sets of groups that differ only by case or blanks, with their numbers of rows."""
        return find_alike(self.examples.groups)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over every id, label, split, group and language, in order."""
        table = self.examples
        rows = zip(table.ids, table.labels, table.splits, table.groups, table.languages, strict=True)
        return hash_lines("\x1f".join("" if part is None else part for part in row) for row in rows)


def load_task(
    spec: TaskSpec,
    *,
    data_dir: Path | None = None,
    limit: int | SplitLimits | None = None,
    trained_on: TaskSpec | None = None,
    strict: bool = False,
) -> TaskData:
    """Read a task, clean it, split it and limit it.

    `data_dir` holds the local mirror; `trained_on` is the task that `spec.trained_on` names. Raises DataError if the
    data are missing, unreadable or unfit (no labels, one class, no training rows), and UsageError if `strict` and an
    image cannot be decoded, or if the task's leaks cannot be removed as it says.
    """
    _check_leaks(spec)
    if spec.trained_on is None:
        read, found = read_examples(spec, data_dir)
        cleaned, hygiene = clean(split_examples(read), leaks="kept" if spec.keep_leaks else spec.leaks)
        examples = take_stratified(cleaned, limit)
        hygiene = _count_drawn(_merge(hygiene, found), len(examples), len(cleaned))
    elif trained_on is None:
        raise UnavailableError(f"task '{spec.name}' learns from '{spec.trained_on}', which was not given")
    else:
        examples, hygiene = _load_transfer(spec, trained_on, data_dir, limit)
    if strict and hygiene.faults:
        raise UsageError(f"task '{spec.name}' {hygiene.faults[0]}")
    classes = _find_classes(spec, examples, hygiene)
    return TaskData(spec=spec, examples=examples, classes=classes, hygiene=hygiene, limit=limit)


def _check_leaks(spec: TaskSpec) -> None:
    if spec.leaks == "near" and spec.modality == "image":
        raise UsageError(
            f"task '{spec.name}' holds images, of which only exact duplicates are found: it cannot have 'leaks: near'"
        )
    if spec.leaks == "near" and spec.keep_leaks:
        raise UsageError(
            f"task '{spec.name}' keeps its leaks, so that published results on them can be checked: it cannot have "
            f"'leaks: near'"
        )


def without(data: TaskData, rows: Iterable[int]) -> TaskData:
    """Return the task without some rows that no model can use; they are counted as empty."""
    dropped = set(rows)
    if not dropped:
        return data
    kept = data.examples.take([row for row in range(len(data.examples)) if row not in dropped])
    hygiene = replace(data.hygiene, empty=data.hygiene.empty + len(dropped))
    return replace(data, examples=kept, hygiene=hygiene, classes=_find_classes(data.spec, kept, hygiene))


def _merge(cleaned: Hygiene, found: Hygiene) -> Hygiene:
    """Return the counts of cleaning together with those of reading."""
    return replace(cleaned, broken=found.broken, faults=found.faults, normalised=found.normalised)


def _count_drawn(hygiene: Hygiene, drawn: int, drawn_from: int) -> Hygiene:
    """Return the counts with how many rows a limit left of how many, if it left some out."""
    return replace(hygiene, drawn=drawn, drawn_from=drawn_from) if drawn < drawn_from else hygiene


def _load_transfer(
    spec: TaskSpec, other: TaskSpec, data_dir: Path | None, limit: int | SplitLimits | None
) -> tuple[Examples, Hygiene]:
    """Load the training and validation rows of `other`, and every row of the task itself as a test row.

    Test rows whose text or group is also among the rows of `other` are leaks. The counts are of the task's own rows,
    except for broken images: those of `other` are counted too, and named with its name. `limit` applies to each of
    the two; the rows of `other` are those that it has itself under that limit.
    """
    read, lost = read_examples(other, data_dir)
    whole = clean(split_examples(read))[0]
    training = take_stratified(whole, limit)
    training = training.take([row for row, split in enumerate(training.splits) if split != "test"])
    n_rows = len(whole) - whole.splits.count("test")
    own, found = read_examples(spec, data_dir)
    faults = (*found.faults, *(f"{other.name} {fault}" for fault in lost.faults))
    found = replace(found, broken=found.broken + lost.broken, faults=faults[:MOST_FAULTS])
    test: Split = "test"
    own, hygiene = clean(replace(own, splits=(test,) * len(own)))
    n_rows += len(own)
    own = take_stratified(own, limit)
    hygiene = _count_drawn(_merge(hygiene, found), len(training) + len(own), n_rows)
    if spec.columns.group != other.columns.group:
        # A group means the same in two sets only if the same column names it.
        own = replace(own, groups=tuple(one and f"{spec.name}/{one}" for one in own.groups))
    names = [field.name for field in fields(Examples)]
    both = Examples(**{name: getattr(training, name) + getattr(own, name) for name in names})
    leaks = leak_finder(by_text(both), range(len(both)))
    kept = [row for row in range(len(both)) if row < len(training) or not leaks(row)]
    hygiene = replace(hygiene, leaks=hygiene.leaks + len(both) - len(kept))
    both, near = handle_near_leaks(both.take(kept), first=len(training), remove=spec.leaks == "near")
    return both, replace(hygiene, **near)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────


def read_examples(spec: TaskSpec, data_dir: Path | None) -> tuple[Examples, Hygiene]:
    """Read a task's rows as examples, not yet split or cleaned, with counts of broken and normalised inputs."""
    table = read_source(spec, data_dir)
    columns = table.columns
    rows = select_rows(spec, table.rows)
    if not rows:
        only = "".join(f" where {name} is '{value}'" for name, value in spec.where.items())
        raise data_error(spec, f" has no rows{only}")
    inputs, names, found = _read_inputs(spec, table, rows)

    def values(column: str) -> list[tuple[Any, str]]:
        """Return the value of each readable row in one column, with the name of the row."""
        every = _column(spec, table.rows, column)
        found = [(every[row], name) for row, name in names.items()]
        _check_types(spec, column, found)
        return found

    labels = [_parse_label(spec, *pair) for pair in values(columns.label)]
    splits: Sequence[Split] = ["train"] * len(inputs)
    if columns.split is not None and (columns.split in table.rows or columns.split != Columns().split):
        splits = [parse_split(spec, value) for value, _ in values(columns.split)]
        every = _column(spec, table.rows, columns.split)
        lost = {parse_split(spec, every[row]) for row in rows} - set(splits)
        # Otherwise some training rows would become test rows, and nobody would miss the official ones.
        if "test" in lost and "train" in splits:
            removed = f"removed were {found.broken} broken; the first broken one is {found.faults[0]}"
            raise data_error(spec, f" has no test rows left; {removed}")
    languages = [spec.languages[0]] * len(inputs)
    if columns.language:
        languages = [_parse_language(spec, *pair) for pair in values(columns.language)]
    elif len(spec.languages) > 1:
        hint = "but no column says which row is in which: name it as columns.language"
        raise data_error(spec, f" is in {len(spec.languages)} languages, {hint}")
    groups = [value for value, _ in values(columns.group)] if columns.group else [None] * len(inputs)
    pairs = zip(inputs, languages, strict=True)
    examples = Examples(
        ids=tuple(hash_lines([*contents_of(one), language])[:16] for one, language in pairs),
        inputs=tuple(inputs),
        labels=tuple(table.classes.get(label, label) for label in labels),
        splits=tuple(splits),
        languages=tuple(languages),
        groups=tuple(None if _is_absent(group) else str(group) for group in groups),
    )
    return examples, found


_Inputs = tuple[list[Any], dict[int, str], Hygiene]
"""Readable inputs; the row number of each in the source → its name in messages; counts."""


def _read_inputs(spec: TaskSpec, table: Table, rows: Sequence[int]) -> _Inputs:
    values = _column(spec, table.rows, table.columns.input)
    if spec.modality == "image":
        return _read_images(table, {row: values[row] for row in rows})
    names = {row: table.name_row(row) for row in rows}
    given = [_parse_input(spec, values[row], name) for row, name in names.items()]
    inputs = [normalise_text(one) for one in given]
    normalised = sum(one != other for one, other in zip(given, inputs, strict=True))
    return inputs, names, Hygiene(normalised=normalised)


def _read_images(table: Table, values: Mapping[int, Any]) -> _Inputs:
    from harness.data.image_limits import Broken
    from harness.data.images import read_images

    sources = {row: _resolve_source(value, table.folder) for row, value in values.items()}
    images, names, faults = [], {}, []
    for (row, source), image in zip(sources.items(), read_images([*sources.values()]), strict=True):
        name = f"{table.name_row(row)}{_quote_source(source, table.folder)}"
        if isinstance(image, Broken):
            faults.append(f"{name}: {image.kind}: {image.reason}")
        else:
            images.append(image)
            names[row] = name
    faults += table.faults
    return images, names, Hygiene(broken=len(faults), faults=tuple(faults[:MOST_FAULTS]))


def _resolve_source(source: Any, folder: Path | None) -> Any:
    """Return the source of an image; a path is resolved against `folder`, and an empty one becomes None."""
    path = source.get("path") if isinstance(source, Mapping) and source.get("bytes") is None else source
    if folder is None or not isinstance(path, str):
        return source
    return folder / path if path.strip() else None


def _quote_source(source: Any, folder: Path | None) -> str:
    """Return the path of an image in brackets, or an empty text if it has none."""
    path = source.get("path") if isinstance(source, Mapping) else source
    if not isinstance(path, str | Path) or len(quoted := quote_path(path, folder)) > LONGEST_PATH:
        return ""
    return f" ({quoted})"


def select_rows(spec: TaskSpec, rows: Rows) -> Sequence[int]:
    """Return the numbers of the rows that hold the values in `spec.where`."""
    kept: Sequence[int] = range(len(next(iter(rows.values()), ())))
    for name, wanted in spec.where.items() if rows else ():
        column = _column(spec, rows, name)
        kept = [row for row in kept if str(column[row]) == wanted]
    return kept


def _column(spec: TaskSpec, rows: Rows, name: str) -> Sequence[Any]:
    if name not in rows:
        raise data_error(
            spec, f" has no column '{name}'{did_you_mean(name, sorted(rows), owner_has='it has')}"
        )
    return rows[name]


def _parse_input(spec: TaskSpec, value: Any, name: str) -> str | Conversation:
    try:
        return parse_input(value)
    except UsageError as error:
        raise data_error(spec, f" {name}: {error}") from error


def _parse_label(spec: TaskSpec, value: Any, name: str) -> str:
    if _is_absent(value):
        raise data_error(spec, f" {name} has no label")
    if not isinstance(value, str | int | float):
        raise data_error(spec, f" {name}: the label is {type(value).__name__}, neither text nor a number")
    return str(value)


def _parse_language(spec: TaskSpec, value: Any, name: str) -> str:
    if _is_absent(value):
        raise data_error(spec, f" {name} has no language")
    if (tag := str(value)) not in spec.languages:
        hint = did_you_mean(tag, spec.languages, listed_by=f"harness show {spec.name}")
        raise data_error(spec, f" {name} is in '{tag}', which is none of the task's languages{hint}")
    return tag


def _check_types(spec: TaskSpec, column: str, values: Iterable[tuple[Any, str]]) -> None:
    """Raise DataError that names a row if a column holds text and numbers, or one number in two spellings.

    As classes or groups the text "0.10" and the number 0.1 may be one or two; only the author knows.
    """
    first: dict[str, tuple[Any, str]] = {}
    counts: Counter[str] = Counter()
    spelled: dict[Any, Any] = {}
    for value, name in values:
        if _is_absent(value) or not isinstance(value, str | int | float):
            continue
        kind = (
            "text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a number"
        )
        first.setdefault(kind, (value, name))
        counts[kind] += 1
        if kind == "a number" and str(other := spelled.setdefault(value, value)) != str(value):
            raise data_error(
                spec, f" {name}: '{column}' is {value}, elsewhere {other}: spell one number in one way"
            )
    if len(counts) > 1:
        (usual, _), *_, (rare, _) = counts.most_common()
        value, name = first[rare]
        said = f"{value!r} under '{column}' is {rare}, and other rows have {usual} there"
        raise data_error(spec, f" {name}: {said}: write every value of this column in quotes")


def _is_absent(value: Any) -> bool:
    """Return True for None, NaN and blank text."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def count_removed(spec: TaskSpec, hygiene: Hygiene) -> dict[str, int]:
    """Return counts of removed rows by reason, without zeros."""
    near = hygiene.near_leaks if spec.leaks == "near" else 0
    return hygiene.removed | ({"near leaks": near} if near else {})


# ── classes ──────────────────────────────────────────────────────────────────────────────────────────────


def _find_classes(spec: TaskSpec, examples: Examples, hygiene: Hygiene) -> tuple[str, ...]:
    """Return the labels of the training rows, sorted; raise DataError if nothing can be trained or scored."""
    by_split: dict[Split, set[str]] = defaultdict(set)
    for split, label in zip(examples.splits, examples.labels, strict=True):
        by_split[split].add(label)
    first = f"; the first broken one is {hygiene.faults[0]}" if hygiene.faults else ""
    for split in ("train", "test"):
        if not by_split[split]:
            removed = ", ".join(f"{count} {why}" for why, count in count_removed(spec, hygiene).items())
            left = f" left; removed were {removed}" if removed else ""
            raise data_error(spec, f" has no {split} rows{left}{first}")
    if len(by_split["train"]) < 2:
        raise data_error(spec, f" has one class only: '{min(by_split['train'])}'{first}")
    if strange := (by_split["test"] | by_split["validation"]) - by_split["train"]:
        number = len(set().union(*by_split.values()))
        many = f": it has {number:,} labels for {len(examples):,} rows, is '{spec.columns.label}' the column of labels?"
        said = many if 2 * number > len(examples) else ""
        raise data_error(spec, f" has the label '{min(strange)}' outside training only{said}")
    return tuple(sorted(by_split["train"]))


def shipped_texts(registry: Registry) -> list[str]:
    """Return the test inputs of every text task that a plugin ships, each once, in an order by their hashes."""
    specs = [registry.get("tasks", name).spec for name in registry.names("tasks")]
    shipped = [spec for spec in specs if isinstance(spec.source, FileSource) and spec.modality == "text"]
    examples = [load_task(spec).examples for spec in shipped]
    pairs = [pair for each in examples for pair in zip(each.inputs, each.splits, strict=True)]
    texts = {str(one) for one, split in pairs if split == "test"}
    if not texts:
        raise UnavailableError("no plugin ships a text task: give texts with --data")
    return sorted(texts, key=lambda text: hash_lines([text]))
