"""Comparison of the records of a run with the cells that its suite gives here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from harness.data.cleaning import Hygiene
from harness.planning.cells import Cell, Plan
from harness.runs.draw_rows import rows_by_draw
from harness.runs.make_record import make_record
from harness.runs.record import Record
from harness.validation.finding import Finding, Severity
from harness.validation.records import MEASURED

_NAMES = (
    *("task", "train_language", "test_language", "model", "site", "tokens", "representation", "pooling"),
    *("transform", "classifier", "regime", "learnt_on", "alignment", "seed"),
)
"""Fields that say which cell of a suite a record is of."""

_COUNTS = tuple(field.name for field in fields(Hygiene) if field.name != "faults")


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """Cell of a plan, with the record that it has before it is run."""

    cell: Cell
    record: Record


def compare_with_plan(records: Sequence[Record], plan: Plan, *, is_published: bool) -> Iterator[Finding]:
    """Compare good records with the plan of their suite: what identifies a cell, and what is decided before anything is
    trained. Records of other data are passed over: `check_data` reports them.

    A published run may be older than what is here. Cells of another identity, and flags and counts that its records
    lack, are notes there and faults in a run folder, where the same run again makes them.
    """
    planned = {_name(one.record): one for one in _expect(plan)}
    severity: Severity = "note" if is_published else "fault"
    told: dict[tuple[Severity, str], list[str]] = {}
    for record in records:
        one = planned.get(_name(record))
        if one is None:
            found = [] if plan.left_out else [(severity, "the suite gives no such cells here")]
        elif record.data not in (one.record.data, None):
            found = []
        elif record.cell_id != one.record.cell_id:
            found = [(severity, _describe_other(record, one.record))]
        else:
            found = [("fault", said) for said in _compare(record, one)]
            found += [(severity, said) for said in _compare_counts(record, one.record)]
        for each in found:
            told.setdefault(each, []).append(record.cell_id)
    for (kind, said), cells in told.items():
        yield Finding(kind, f"{len(cells)} of {len(records)} cells, the first '{cells[0]}': {said}")


def _expect(plan: Plan) -> Iterator[_Expected]:
    for bundle in plan.cell_bundles:
        rows = rows_by_draw(bundle)
        for cell in bundle.cells:
            record = make_record(cell, bundle, plan, status="skipped", rows=rows[cell.draw.key])
            yield _Expected(cell=cell, record=record)


def _name(record: Record) -> tuple[object, ...]:
    return tuple(getattr(record, name) for name in _NAMES)


def _differing(record: Record, expected: Record) -> list[str]:
    """Return the identifying fields that differ. Fields that are newer than the record are passed over."""
    return [
        name
        for name in Record.model_fields
        if name not in MEASURED
        and name in record.model_fields_set
        and getattr(record, name) != getattr(expected, name)
    ]


def _describe_other(record: Record, expected: Record) -> str:
    """Return the sentence on a cell that has another id than the plan gives it."""
    differing = ", ".join(_differing(record, expected))
    more = f"; other fields of the record: {differing}" if differing else ""
    return f"the suite gives them other ids here, by other code, models, dictionaries or plugins{more}"


def _compare(record: Record, one: _Expected) -> Iterator[str]:
    """Yield the faults of a record that is of the planned cell: fields and numbers of rows."""
    for name in _differing(record, one.record):
        yield f"the record says {name} {getattr(record, name)!r}, and it is {getattr(one.record, name)!r} here"
    partition = one.cell.draw.partition
    for name, rows in (
        ("n_train", partition.train),
        ("n_validation", partition.validation),
        ("n_test", partition.test),
    ):
        if getattr(record, name) != len(rows):
            yield f"the record says {name} {getattr(record, name)}, and the data has {len(rows)} such rows"


def _compare_counts(record: Record, expected: Record) -> Iterator[str]:
    """Yield a sentence for each flag that a record lacks, and each count of cleaning that is another."""
    for flag in expected.flags:
        if flag not in record.flags:
            yield f"the record lacks the flag '{flag}'; `harness run --rerun all` writes it anew"
    for name in _COUNTS:
        said, found = getattr(record.hygiene, name), getattr(expected.hygiene, name)
        if None not in (said, found) and said != found:
            yield f"the record says hygiene.{name} {said}, and it is {found} here"
