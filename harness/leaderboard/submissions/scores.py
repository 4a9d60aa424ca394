"""Checks of predictions: the scores that they give, and the test rows that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.api.errors import HarnessError, name_some
from harness.leaderboard.published.badge import displayed_records
from harness.leaderboard.selection import Cell
from harness.leaderboard.submissions.submitted import (
    Submitted,
    fault,
    find_unlike,
    note,
)
from harness.runs.predicted import Predicted
from harness.runs.record import Record
from harness.validation.cells import check_stored
from harness.validation.finding import Finding


def check_scores(submitted: Submitted) -> Iterator[Finding]:
    """Recompute every score that published predictions give."""
    for entry in submitted.entries:
        run, records = entry.run, entry.run.records()
        shown = {record.cell_id for record in displayed_records(run)}
        bare = 0
        for record in records:
            if run.has_predictions(record):
                try:
                    sentences = check_stored(run, record)
                except HarnessError as error:
                    sentences = (entry.tell(str(error)),)
                yield from map(fault, sentences)
            elif record.cell_id in shown:
                yield fault(
                    f"cell '{record.cell_id}' is shown by the board, and its predictions are not published"
                )
            else:
                bare += record.status == "ok"
        more = f"; the scores of {bare} cells that no row shows are not recomputed" if bare else ""
        yield note(
            f"'{entry.origin}': AUROC, scores on validation rows, and so the choice of each row's cells, features used "
            f"and costs do not follow from predictions and are believed{more}"
        )


def check_rows(submitted: Submitted) -> Iterator[Finding]:
    """Compare ids, labels and groups of test rows with those of the board's entries on the same task."""
    known: dict[object, dict[str, tuple[str, object]]] = {}
    for cell in submitted.references:
        if _tested_on(cell) not in known and (found := cell.run.predicted(cell.record)) is not None:
            known[_tested_on(cell)] = _rows(found)
    told: dict[str, None] = {}
    checked: dict[tuple[object, int], None] = {}
    unknown: set[str] = set()
    for cell in submitted.cells:
        found = cell.run.predicted(cell.record)
        if found is None or (_tested_on(cell), id(found.rows)) in checked:
            continue
        checked[_tested_on(cell), id(found.rows)] = None
        if (reference := known.get(_tested_on(cell))) is None:
            unknown.add(cell.record.task)
        else:
            told |= dict.fromkeys(_compare_rows(cell, _rows(found), reference))
    yield from map(fault, told)
    yield from map(fault, find_unlike(submitted, "data", _data))
    yield from map(fault, _find_counts(submitted))
    if unknown and submitted.references:
        yield note(
            f"test rows of {name_some(sorted(unknown))} were not compared: the board has no such entry"
        )


_DATA_FLAGS = ("leaks:", "near-leaks:", "shared-groups:")
"""Beginnings of the flags of test rows, which all cells on these rows have."""


def _find_counts(submitted: Submitted) -> Iterator[str]:
    """Yield a sentence for each task whose cells were trained on other numbers of rows, or lack a flag of its rows."""
    known = {(_tested_on(cell), cell.record.seed): cell.record for cell in submitted.references}
    told: dict[str, None] = {}
    for cell in submitted.cells:
        record = cell.record
        other = known.get((_tested_on(cell), record.seed))
        if other is None:
            continue
        where = f"task '{record.task}' ({record.test_language}, regime '{record.regime}', seed {record.seed})"
        own, wanted = ((each.n_train, each.n_validation, each.n_test) for each in (record, other))
        if own != wanted:
            told[
                f"{where} has {own[0]}, {own[1]} and {own[2]} rows to train, validate and test, and on the board "
                f"{wanted[0]}, {wanted[1]} and {wanted[2]}"
            ] = None
        flags = {flag for flag in other.flags if flag.startswith(_DATA_FLAGS)}
        if lacking := sorted(flags - {*record.flags}):
            told[f"{where} lacks the flag {name_some(lacking)} that the board's entries have"] = None
    yield from told


def _tested_on(cell: Cell) -> object:
    """Return what test rows depend on: the task and its languages, and the regime that drew them."""
    record = cell.record
    return record.task, record.task_version, record.train_language, record.test_language, record.regime


def _data(record: Record) -> Mapping[str, tuple[object, str | None]]:
    task = (record.task, record.task_version, record.train_language, record.test_language)
    return {f"task '{record.task}' has other rows": (task, record.data)}


def _rows(found: Predicted) -> dict[str, tuple[str, object]]:
    rows = found.rows
    values = zip(rows.labels.tolist(), rows.groups.tolist(), strict=True)
    return dict(zip(rows.ids.tolist(), values, strict=True))


def _compare_rows(
    cell: Cell, own: Mapping[str, tuple[str, object]], wanted: Mapping[str, tuple[str, object]]
) -> Iterator[str]:
    both = own.keys() & wanted.keys()
    counts = {
        f"lack {len(wanted.keys() - own.keys())} of the": len(wanted.keys() - own.keys()),
        f"hold {len(own.keys() - wanted.keys())} rows beside the": len(own.keys() - wanted.keys()),
    }
    for what, at in (("label", 0), ("group", 1)):
        unlike = sum(own[row][at] != wanted[row][at] for row in both)
        counts[f"have another {what} in {unlike} of the"] = unlike
    for said, count in counts.items():
        if count:
            record = cell.record
            yield (
                f"the test rows of task '{record.task}' ({record.test_language}, regime '{record.regime}') {said} "
                f"{len(wanted)} rows that the board's entries were tested on"
            )
