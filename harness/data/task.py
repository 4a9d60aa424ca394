"""A task in, its examples out: read, cleaned, split. Nothing here depends on a model or a seed.

An image is known by its decoded pixels; one that cannot be decoded is left out, counted and named. Text is read in
Unicode's normal form C, so that one text has one id however it was typed; how many rows that changed is counted. What
hygiene removes is counted, never silently dropped. Rows are split by their official split, else by a hash of their
group or content, so that no later stage and no other row can move an example between splits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.api.data import Conversation, Examples, Split
from harness.api.errors import DataError, UnavailableError, UsageError, did_you_mean
from harness.api.tasks import Columns, FileSource, TaskSpec
from harness.data.cleaning import Hygiene, by_text, clean, contents_of, leak_finder, normalise_text
from harness.data.sources import Rows, Table, quote_path, read_source
from harness.data.splits import parse_split, split_examples, take_stratified
from harness.registry.catalog import Registry
from harness.storage.hashing import hash_lines

MOST_FAULTS = 50
"""So many images that cannot be decoded are named; all are counted."""
LONGEST_PATH = 250


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """A task's clean examples, its classes in their fixed order, and what cleaning removed."""

    spec: TaskSpec
    examples: Examples
    classes: tuple[str, ...]
    hygiene: Hygiene
    limit: int | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over every id, label, split, group and language, in order."""
        columns = self.examples
        rows = zip(
            columns.ids, columns.labels, columns.splits, columns.groups, columns.languages, strict=True
        )
        return hash_lines("\x1f".join("" if part is None else part for part in row) for row in rows)


def load_task(
    spec: TaskSpec,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    trained_on: TaskSpec | None = None,
    strict: bool = False,
) -> TaskData:
    """Read a task (from the mirror in `data_dir` if that is given), clean it, split it, limit it. `trained_on` is
    the task of that name where the spec asks for one.

    DataError when it is not there, unreadable, or unfit (no labels, one class, no training rows); UsageError when
    `strict` and an image cannot be decoded.
    """
    if spec.trained_on is None:
        read, found = _examples(spec, data_dir)
        examples, hygiene = clean(split_examples(read), keep_leaks=spec.keep_leaks)
        hygiene = _merged(hygiene, found)
    elif trained_on is None:
        raise UnavailableError(f"task '{spec.name}' learns from '{spec.trained_on}', which was not given")
    else:
        examples, hygiene = _transfer(spec, trained_on, data_dir, limit)
    if strict and hygiene.faults:
        raise UsageError(f"task '{spec.name}' {hygiene.faults[0]}")
    if limit is not None and spec.trained_on is None:
        examples = take_stratified(examples, limit)
    return TaskData(
        spec=spec, examples=examples, classes=_classes(spec, examples, hygiene), hygiene=hygiene, limit=limit
    )


def _merged(cleaned: Hygiene, found: Hygiene) -> Hygiene:
    """What cleaning removed, with what reading found."""
    return replace(cleaned, broken=found.broken, faults=found.faults, normalised=found.normalised)


def without(data: TaskData, rows: Iterable[int]) -> TaskData:
    """The same task less some rows that no model can use, counted as empty."""
    dropped = set(rows)
    if not dropped:
        return data
    kept = data.examples.take([row for row in range(len(data.examples)) if row not in dropped])
    hygiene = replace(data.hygiene, empty=data.hygiene.empty + len(dropped))
    return replace(data, examples=kept, hygiene=hygiene, classes=_classes(data.spec, kept, hygiene))


def _transfer(
    spec: TaskSpec, other: TaskSpec, data_dir: Path | None, limit: int | None
) -> tuple[Examples, Hygiene]:
    """What is learnt from `other`, and every row of the task's own as a test row, unless its text or its group
    stands in what is learnt. What is counted is of the task's own rows, but for broken images: those of `other` are
    named with its name. With a limit, the rows learnt from are those that `other` itself learns from under it, and at
    most as many are tested on.
    """
    taught, lost = _examples(other, data_dir)
    learnt, _ = clean(split_examples(taught))
    if limit is not None:
        learnt = take_stratified(learnt, limit)
    learnt = learnt.take([row for row, split in enumerate(learnt.splits) if split != "test"])
    own, found = _examples(spec, data_dir)
    faults = (*found.faults, *(f"{other.name} {fault}" for fault in lost.faults))
    found = replace(found, broken=found.broken + lost.broken, faults=faults[:MOST_FAULTS])
    test: Split = "test"
    own, hygiene = clean(replace(own, splits=(test,) * len(own)))
    if limit is not None:
        own = take_stratified(own, limit)
    if spec.columns.group != other.columns.group:
        # A group is the same thing in two sets only where the same column names it.
        own = replace(own, groups=tuple(one and f"{spec.name}/{one}" for one in own.groups))
    both = _joined(learnt, own)
    leaks = leak_finder(by_text(both), range(len(both)))
    kept = [row for row in range(len(both)) if row < len(learnt) or not leaks(row)]
    leaked = hygiene.leaks + len(both) - len(kept)
    return both.take(kept), replace(_merged(hygiene, found), leaks=leaked)


def _joined(one: Examples, other: Examples) -> Examples:
    return Examples(
        **{field.name: getattr(one, field.name) + getattr(other, field.name) for field in fields(Examples)}
    )


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────


def _examples(spec: TaskSpec, data_dir: Path | None) -> tuple[Examples, Hygiene]:
    """The task's rows as they are, not yet split or cleaned; and what was found in reading their inputs."""
    table = read_source(spec, data_dir)
    columns = table.columns
    rows = _where(spec, table.rows)
    if not rows:
        only = "".join(f" where {name} is '{value}'" for name, value in spec.where.items())
        raise DataError(f"task '{spec.name}' has no rows{only}")
    inputs, names, found = _read_inputs(spec, table, rows)

    def kept(column: str) -> list[Any]:
        values = _column(spec, table.rows, column)
        return [values[row] for row in names]

    labels = [
        _as_label(spec, value, name) for name, value in zip(names.values(), kept(columns.label), strict=True)
    ]
    labels = [table.classes.get(label, label) for label in labels]
    splits: Sequence[Split] = ["train"] * len(inputs)
    if columns.split is not None and (columns.split in table.rows or columns.split != Columns().split):
        splits = [parse_split(spec, value) for value in kept(columns.split)]
        named = _column(spec, table.rows, columns.split)
        lost = {parse_split(spec, named[row]) for row in rows} - set(splits)
        if (
            "test" in lost and "train" in splits
        ):  # else some of these would be made test rows, and none be missed
            raise DataError(
                f"task '{spec.name}' has no test rows left; removed were {found.broken} broken; the first broken one "
                f"is {found.faults[0]}"
            )
    languages = [spec.languages[0]] * len(inputs)
    if columns.language is None and len(spec.languages) > 1:
        raise DataError(
            f"task '{spec.name}' is in {len(spec.languages)} languages, but no column says which row is in which: "
            f"name it as columns.language"
        )
    if columns.language:
        tags = zip(names.values(), kept(columns.language), strict=True)
        languages = [_as_language(spec, value, name) for name, value in tags]
    groups = kept(columns.group) if columns.group else [None] * len(inputs)
    examples = Examples(
        ids=tuple(
            hash_lines([*contents_of(one), language])[:16]
            for one, language in zip(inputs, languages, strict=True)
        ),
        inputs=tuple(inputs),
        labels=tuple(labels),
        splits=tuple(splits),
        languages=tuple(languages),
        groups=tuple(None if _is_absent(group) else str(group) for group in groups),
    )
    return examples, found


def _read_inputs(
    spec: TaskSpec, table: Table, rows: Sequence[int]
) -> tuple[list[Any], dict[int, str], Hygiene]:
    """The inputs that can be read; the rows of the source they are of, with how sentences name each; what was found."""
    values = _column(spec, table.rows, table.columns.input)
    if spec.modality == "image":
        return _read_images(table, {row: values[row] for row in rows})
    names = {row: f"row {row}" for row in rows}
    given = [_as_input(spec, values[row], name) for row, name in names.items()]
    inputs = [normalise_text(one) for one in given]
    normalised = sum(one != other for one, other in zip(given, inputs, strict=True))
    return inputs, names, Hygiene(normalised=normalised)


def _read_images(table: Table, values: Mapping[int, Any]) -> tuple[list[Any], dict[int, str], Hygiene]:
    from harness.data.image_limits import Broken
    from harness.data.images import read_images

    sources = {row: _located(value, table.folder) for row, value in values.items()}
    images, names, faults = [], {}, []
    for (row, source), image in zip(sources.items(), read_images([*sources.values()]), strict=True):
        name = f"row {row}{_path_of(source, table.folder)}"
        if isinstance(image, Broken):
            faults.append(f"{name}: {image.kind}: {image.reason}")
        else:
            images.append(image)
            names[row] = name
    faults += table.faults
    return images, names, Hygiene(broken=len(faults), faults=tuple(faults[:MOST_FAULTS]))


def _located(source: Any, folder: Path | None) -> Any:
    """What an image is read from, with its path, if it is known by that, from the folder on."""
    path = source.get("path") if isinstance(source, Mapping) and source.get("bytes") is None else source
    if folder is None or not isinstance(path, str):
        return source
    return folder / path if path.strip() else None


def _path_of(source: Any, folder: Path | None) -> str:
    """The path of an image in brackets, where there is one; what is too long is data in the place of a path."""
    path = source.get("path") if isinstance(source, Mapping) else source
    if not isinstance(path, str | Path) or len(quoted := quote_path(path, folder)) > LONGEST_PATH:
        return ""
    return f" ({quoted})"


def _where(spec: TaskSpec, rows: Rows) -> Sequence[int]:
    """Which rows hold what the task asks for."""
    kept: Sequence[int] = range(len(next(iter(rows.values()), ())))
    for name, wanted in spec.where.items() if rows else ():
        column = _column(spec, rows, name)
        kept = [row for row in kept if str(column[row]) == wanted]
    return kept


def _column(spec: TaskSpec, rows: Rows, name: str) -> Sequence[Any]:
    if name not in rows:
        raise DataError(f"task '{spec.name}' has no column '{name}'; it has: {', '.join(sorted(rows))}")
    return rows[name]


def _as_input(spec: TaskSpec, value: Any, name: str) -> str | Conversation:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise DataError(f"task '{spec.name}' {name}: the input is {type(value).__name__}, not text")
    try:
        return Conversation.parse(value)
    except UsageError as error:
        raise DataError(f"task '{spec.name}' {name}: {error}") from error


def _as_label(spec: TaskSpec, value: Any, name: str) -> str:
    if _is_absent(value):
        raise DataError(f"task '{spec.name}' {name} has no label")
    if not isinstance(value, str | int | float):
        raise DataError(
            f"task '{spec.name}' {name}: the label is {type(value).__name__}, neither text nor a number"
        )
    return str(value)


def _as_language(spec: TaskSpec, value: Any, name: str) -> str:
    if _is_absent(value):
        raise DataError(f"task '{spec.name}' {name} has no language")
    if str(value) not in spec.languages:
        hint = did_you_mean(str(value), spec.languages)
        raise DataError(
            f"task '{spec.name}' {name} is in '{value}', which is none of the task's languages{hint}"
        )
    return str(value)


def _is_absent(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


# ── hygiene and splits ───────────────────────────────────────────────────────────────────────────────────


def _classes(spec: TaskSpec, examples: Examples, hygiene: Hygiene) -> tuple[str, ...]:
    """The labels of the training rows, sorted; refuses what cannot be learnt or scored."""
    by_split: dict[Split, set[str]] = defaultdict(set)
    for split, label in zip(examples.splits, examples.labels, strict=True):
        by_split[split].add(label)
    for split in ("train", "test"):
        if not by_split[split]:
            removed = ", ".join(f"{count} {why}" for why, count in hygiene.removed.items())
            left = f" left; removed were {removed}" if removed else ""
            left += f"; the first broken one is {hygiene.faults[0]}" if hygiene.faults else ""
            raise DataError(f"task '{spec.name}' has no {split} rows{left}")
    if len(by_split["train"]) < 2:
        raise DataError(f"task '{spec.name}' has one class only: '{min(by_split['train'])}'")
    strange = (by_split["test"] | by_split["validation"]) - by_split["train"]
    if strange:
        raise DataError(f"task '{spec.name}' has the label '{min(strange)}' outside training only")
    return tuple(sorted(by_split["train"]))


def shipped_texts(registry: Registry) -> list[str]:
    """Return the test inputs of every text task that a plugin ships, each once, in an order by their hashes."""
    specs = [registry.get("tasks", name).spec for name in registry.names("tasks")]
    shipped = [spec for spec in specs if isinstance(spec.source, FileSource) and spec.modality == "text"]
    examples = [load_task(spec).examples for spec in shipped]
    texts = {
        str(one)
        for each in examples
        for one, split in zip(each.inputs, each.splits, strict=True)
        if split == "test"
    }
    if not texts:
        raise UnavailableError("no plugin ships a text task: give texts with --data")
    return sorted(texts, key=lambda text: hash_lines([text]))
