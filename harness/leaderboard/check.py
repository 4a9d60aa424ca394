"""Results in, findings out, one sentence each: what is wrong, and where.

`check_records` and `check_cell` look at what any run holds; `check_published` at a folder of published runs and the
pages beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError
from harness.leaderboard.board import build
from harness.leaderboard.choice import choose, read_cells
from harness.leaderboard.estimate import classes_of
from harness.leaderboard.published import LIMIT, PublishedRun, find_published, unpublishable
from harness.leaderboard.render import render
from harness.metrics import score
from harness.records import Record

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 1e-9
"""A recomputed metric may differ by this from the recorded one: another machine may sum in another order."""


def check_records(records: Sequence[Record]) -> tuple[str, ...]:
    """What is wrong with records taken together, and with each: scores without a good end or a good end without
    them, two records of one cell, one task with two sets of rows.
    """
    times = Counter(record.cell_id for record in records)
    sentences = [f"cell '{cell_id}' has {count} records" for cell_id, count in times.items() if count > 1]
    rows: dict[tuple[object, ...], str | None] = {}
    for record in records:
        what = f"cell '{record.cell_id}'"
        if record.status == "ok" and not {"macro_f1", "accuracy"} <= record.metrics.keys():
            sentences.append(f"{what} ended well, but its record lacks macro_f1 or accuracy")
        if record.status != "ok" and record.metrics:
            sentences.append(f"{what} is {record.status}, but its record holds scores")
        task = (record.task, record.task_version, record.train_language, record.test_language)
        if rows.setdefault(task, record.data) != record.data:
            sentences.append(f"{what} was tested on other rows of '{record.task}' than others of the run")
    return tuple(sentences)


def check_cell(record: Record, frame: pd.DataFrame) -> tuple[str, ...]:
    """What is wrong with the predictions of a cell that ended well: their columns, rows and classes, and whether they
    give the recorded macro-F1, accuracy and, where scores were kept, AUROC.
    """
    what = f"the predictions of cell '{record.cell_id}'"
    if lacking := {"example_id", "label", "prediction"} - set(map(str, frame.columns)):
        return (f"{what} lack the column {', '.join(sorted(lacking))}",)
    classes = classes_of(frame)
    if not classes:
        return (f"{what} lack the scores of the classes",)
    if len(frame) != record.n_test:
        return (f"{what} have {len(frame)} rows, but its record says {record.n_test}",)
    if frame["example_id"].duplicated().any():
        return (f"{what} hold an example twice",)
    y, predicted = (_numbers(frame[column], classes) for column in ("label", "prediction"))
    if (y < 0).any() or (predicted < 0).any():
        return (f"{what} name a class that it did not choose from",)
    names = [f"score_{name}" for name in classes]
    scored = set(names) <= set(frame.columns)
    scores = frame[names].to_numpy(np.float64) if scored else np.eye(len(classes))[predicted]
    if not np.isfinite(scores).all():
        return (f"{what} hold scores that are not finite",)
    found = score(y, predicted, scores, weights=None)
    return tuple(
        f"{what} give {name} {found[name].value:.9f}, but its record says {record.metrics[name].value:.9f}"
        for name in ("macro_f1", "accuracy", *(["auroc"] if scored else []))
        if name in record.metrics
        and name in found
        and abs(record.metrics[name].value - found[name].value) > ROUNDING
    )


def check_published(folder: Path) -> tuple[str, ...]:
    """All that is wrong with the runs published in `folder`, and with the pages when the runs are well."""
    runs = find_published(folder)
    if not runs:
        return (f"'{folder}' holds no published run",)
    findings = [finding for run in runs for finding in dict.fromkeys(_check_run(run))]
    return tuple(findings or _check_pages(folder, runs))


def _check_run(run: PublishedRun) -> Iterator[str]:
    where = f"'{run.path}'"
    if run.size > LIMIT:
        yield f"{where} and the files beside it take {run.size:,} bytes, {run.size - LIMIT:,} more than allowed"
    try:
        yield from (f"{where} should not stand here: {fault}" for fault in unpublishable(run))
        yield from (f"{where}: {finding}" for finding in check_records(run.records()))
        choices = choose(read_cells([run]))
        for cell in (cell for unit in choices.units() for cell in choices.cells(unit)):
            frame = run.predictions(cell.record.cell_id)
            yield from (f"{where}: {finding}" for finding in check_cell(cell.record, frame))
    except HarnessError as error:  # nothing more can be said of a run that cannot be read
        yield str(error)


def _check_pages(folder: Path, runs: Sequence[PublishedRun]) -> Iterator[str]:
    try:
        pages = render(build(runs))
    except HarnessError as error:
        yield str(error)
        return
    for name, text in pages.items():
        page = folder / name
        if not page.is_file() or page.read_bytes() != text.encode():
            yield (
                f"'{page}' is not what the published runs give; `harness leaderboard build {folder}` writes it anew"
            )


def _numbers(names: pd.Series[Any], classes: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    known = {name: number for number, name in enumerate(classes)}
    return np.array([known.get(name, -1) for name in names.to_numpy(object)], dtype=np.int64)
