"""Predictions of cells as class numbers. Cells that were tested on the same rows share them.

The long way is a data frame for each cell (`Results.predictions`). What is read here is what it would hold; where a
file has another form than a run writes, nothing is returned, and the long way says what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


COLUMNS = ("example_id", "label", "prediction")
"""Columns that predictions have at least."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TableRows:
    """Test rows in the order of their file, `[rows]`: ids, groups (None for a row without one) and labels.

    Rows that are equal are one object, whatever cell they were read for.
    """

    ids: NDArray[np.object_]
    groups: NDArray[np.object_]
    labels: NDArray[np.object_]
    _numbers: dict[tuple[str, ...], NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)
    _starts: dict[int, NDArray[np.object_]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def number(self, classes: tuple[str, ...]) -> NDArray[np.int64]:
        """Return the labels as numbers into `classes`, −1 for one that is none of them."""
        if classes not in self._numbers:
            known = {name: number for number, name in enumerate(classes)}
            self._numbers[classes] = np.array([known.get(name, -1) for name in self.labels], np.int64)
        return self._numbers[classes]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Places of the rows, sorted by id."""
        return np.argsort(self.ids, kind="stable")

    @cached_property
    def sorted_ids(self) -> NDArray[np.object_]:
        """Ids of the rows, sorted."""
        return self.ids[self.order]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Ids with their labels, sorted."""
        return sorted(zip(self.ids.tolist(), self.labels.tolist(), strict=True))

    @cached_property
    def are_unique(self) -> bool:
        """True if no id stands twice."""
        return len(set(self.ids.tolist())) == len(self.ids)

    @cached_property
    def _lines(self) -> list[bytes]:
        """Bytes of id and label of each row, sorted by id."""
        begun = [f"{row}\x1f{label}\x1f" for row, label in zip(self.ids, self.labels, strict=True)]
        return [begun[place].encode("utf-8", "surrogatepass") for place in self.order.tolist()]

    def _begun(self, size: int) -> NDArray[np.object_]:
        """Return the hashed bytes of each row, sorted by id, before the name of a class of `size` bytes."""
        if size not in self._starts:
            lines = [(len(line) + size).to_bytes(8, "little") + line for line in self._lines]
            self._starts[size] = as_objects(lines)
        return self._starts[size]

    def hash(self, classes: Sequence[str], numbers: NDArray[np.integer[Any]]) -> str:
        """Return `hash_predictions` of unique rows of which each is predicted as one of `classes`."""
        names = as_objects([name.encode("utf-8", "surrogatepass") for name in classes])
        ordered = numbers[self.order]
        parts = np.empty((len(self), 2), object)
        parts[:, 1] = names[ordered]
        sizes = np.array([len(name) for name in names])
        for size in np.unique(sizes).tolist():
            rows = sizes[ordered] == size
            parts[rows, 0] = self._begun(size)[rows]
        return hashlib.sha256(b"".join(parts.ravel().tolist())).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """Predictions of a cell: `numbers [rows]` into its classes."""

    rows: TableRows
    classes: tuple[str, ...]
    numbers: NDArray[np.integer[Any]]

    @property
    def y(self) -> NDArray[np.int64]:
        """Labels `[rows]` as numbers into the classes."""
        return self.rows.number(self.classes)

    @cached_property
    def hash(self) -> str:
        """Return the checksum that a record of these predictions holds."""
        return self.rows.hash(self.classes, self.numbers)


@dataclass(frozen=True, kw_only=True)
class _Form:
    """Columns of predictions, as a run writes them: those of rows, and the classes, which `known` holds too."""

    rows: tuple[str, ...]
    classes: tuple[str, ...]
    known: pa.Array


class RowsPool:
    """Test rows of many cells, and the columns of their files, each kept once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], list[tuple[pa.Table, TableRows]]] = {}
        self._forms: list[tuple[pa.Schema, _Form | None]] = []

    def of(self, table: pa.Table) -> TableRows | None:
        """Return the rows of a table of `example_id`, `label` and perhaps `group`; None if an id stands twice."""
        ids = table["example_id"]
        ends = [ids[place].as_py() for place in (0, len(ids) // 2, -1)]
        alike = self._known.setdefault((len(ids), tuple(table.column_names), *ends), [])
        for known, rows in alike:
            if known.equals(table):
                return rows
        rows = TableRows(
            ids=ids.to_numpy(),
            groups=table["group"].to_numpy()
            if "group" in table.column_names
            else np.full(len(ids), None, object),
            labels=table["label"].to_numpy(),
        )
        if not rows.are_unique:
            return None
        alike.append((table, rows))
        return rows

    def form_of(self, schema: pa.Schema) -> _Form | None:
        """Return the form of tables of a schema; None for one that no run writes."""
        for known, form in self._forms:
            if known.equals(schema):
                return form
        self._forms.append((schema, _find_form(schema)))
        return self._forms[-1][1]


def _find_form(schema: pa.Schema) -> _Form | None:
    """Return the form of tables of a schema; None for one that no run writes."""
    import pyarrow as pa

    scores = [name for name in schema.names if name.startswith("score_")]
    rows = [name for name in schema.names if name in ("example_id", "label", "group")]
    known = {*COLUMNS, *rows, *scores}
    if (
        not scores
        or sorted(schema.names) != sorted(known)
        or any(not _is_text(schema.field(name).type) for name in (*COLUMNS, *rows))
        or any(schema.field(name).type not in (pa.float64(), pa.float32()) for name in scores)
    ):
        return None
    classes = tuple(name.removeprefix("score_") for name in scores)
    return _Form(rows=tuple(rows), classes=classes, known=pa.array(classes, schema.field("prediction").type))


def read_predicted(table: pa.Table, pool: RowsPool) -> Predicted | None:
    """Return the predictions of a table as `RunFolder.write_predictions` writes it; None for one of another form."""
    import pyarrow.compute as pc

    form = pool.form_of(table.schema)
    if form is None or not len(table):
        return None
    if any(
        column.null_count
        for name, column in zip(table.column_names, table.itercolumns(), strict=True)
        if name != "group"
    ):
        return None
    shared = pool.of(table.select(form.rows))
    numbers = pc.index_in(table["prediction"], value_set=form.known)
    if shared is None or numbers.null_count or (shared.number(form.classes) < 0).any():
        return None
    return Predicted(
        rows=shared,
        classes=form.classes,
        numbers=numbers.to_numpy().astype(np.min_scalar_type(len(form.classes))),
    )


def read_scores(table: pa.Table) -> NDArray[np.float64]:
    """Return the scores `[rows, classes]` of a table that `read_predicted` reads."""
    columns = [table[name].to_numpy() for name in table.schema.names if name.startswith("score_")]
    return np.column_stack(columns).astype(np.float64, copy=False)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def as_objects(values: Sequence[object]) -> NDArray[np.object_]:
    """Return values as an array of objects, whatever they are."""
    made = np.empty(len(values), object)
    made[:] = values
    return made
