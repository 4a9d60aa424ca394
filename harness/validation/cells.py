"""Checks of the predictions of good cells, each by itself and together with the cells of the same task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.api.errors import UnavailableError
from harness.runs.predicted import Predicted
from harness.runs.reader import RunReader
from harness.runs.record import ROUNDING, Record, Results, are_scored, classes_of, is_scored
from harness.stats.bootstrap import number_groups
from harness.stats.few_groups import Support, assess, tabulate
from harness.stats.metrics import accuracy, auroc, balanced_accuracy, macro_f1


def check_predictions(run: RunReader, records: Sequence[Record]) -> Iterator[str]:
    """Yield the faults of predictions, cell by cell, and of cells of one task that were tested on different rows."""
    first: dict[tuple[object, ...], tuple[str, list[tuple[Any, Any]]]] = {}
    for record in records:
        if (read := run.scored(record)) is not None:
            tested = _of_numbers(record, *read)
            faults, rows = _judge(record, tested), read[0].rows.pairs
        else:
            try:
                frame = run.predictions(record.cell_id)
            except UnavailableError as error:
                yield str(error)
                continue
            faults = check_cell(record, frame)
            rows = [] if faults else sorted(zip(frame["example_id"], frame["label"], strict=True))
        yield from faults
        if faults:
            continue
        language = (record.train_language, record.test_language)
        task = (record.task, record.task_version, *language, record.regime)
        other, common = first.setdefault(task, (record.cell_id, rows))
        if rows != common:
            yield f"cells '{other}' and '{record.cell_id}' were not tested on the same rows of '{record.task}'"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tested:
    """Test rows of a cell: their classes `y [rows]` and `predicted [rows]` as numbers, −1 for none of the `n_classes`,
    and `scores [rows, classes]`, None where the file has none; their groups, whether an example stands twice, and
    whether they have the checksum of the record.
    """

    y: NDArray[np.integer[Any]]
    predicted: NDArray[np.integer[Any]]
    scores: NDArray[np.float64] | None
    n_classes: int
    groups: Sequence[Any]
    has_twins: bool
    is_scored: bool


def _of_numbers(record: Record, found: Predicted, scores: NDArray[np.float64] | None) -> _Tested:
    return _Tested(
        y=found.y,
        predicted=found.numbers,
        scores=scores,
        n_classes=len(found.classes),
        groups=found.rows.groups.tolist(),
        has_twins=False,
        is_scored=is_scored(record, found),
    )


def check_stored(run: Results, record: Record) -> tuple[str, ...]:
    """Return the faults of a good cell's predictions as a run holds them, without what their scores give. A frame,
    which is slow, says what is wrong with unusual ones.

    Raise UnavailableError when they are missing or cannot be read.
    """
    found = run.predicted(record)
    if found is None:
        return check_cell(record, run.predictions(record.cell_id))
    return _judge(record, _of_numbers(record, found, None))


def check_cell(record: Record, frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the faults of a good cell's predictions: columns, rows, classes, checksum, and recomputed metrics.

    Without scores the classes are the categories of `label`, and AUROC is not checked.
    """
    what = f"the predictions of cell '{record.cell_id}'"
    if lacking := {"example_id", "label", "prediction"} - set(map(str, frame.columns)):
        return (f"{what} lack the column {', '.join(sorted(lacking))}",)
    names = [str(name) for name in frame.columns if str(name).startswith("score_")]
    classes = classes_of(frame)
    if not classes:
        return (f"{what} lack the scores of the classes",)
    numbers = {name: number for number, name in enumerate(classes)}
    y, predicted = (
        np.array([numbers.get(name, -1) for name in frame[column]], dtype=np.int64)
        for column in ("label", "prediction")
    )
    tested = _Tested(
        y=y,
        predicted=predicted,
        scores=frame[names].to_numpy(np.float64) if names else None,
        n_classes=len(classes),
        groups=frame["group"].astype(object).tolist() if "group" in frame else [None] * len(frame),
        has_twins=bool(frame["example_id"].duplicated().any()),
        is_scored=are_scored(record, frame),
    )
    return _judge(record, tested)


def _judge(record: Record, tested: _Tested) -> tuple[str, ...]:
    """Return the faults of the test rows of a good cell."""
    what = f"the predictions of cell '{record.cell_id}'"
    y, predicted = tested.y, tested.predicted
    if len(y) != record.n_test:
        return (f"{what} have {len(y)} rows, but its record says {record.n_test}",)
    if tested.has_twins:
        return (f"{what} hold an example twice",)
    if (y < 0).any() or (predicted < 0).any():
        return (f"{what} name a class that it did not choose from",)
    scores = tested.scores
    if scores is not None and not np.isfinite(scores).all():
        return (f"{what} hold scores that are not finite",)
    sentences = []
    if not tested.is_scored:
        sentences.append(f"{what} are not those that were scored: their checksum differs from the record's")
    bare = [name for name, metric in record.metrics.items() if metric.low is None and metric.method]
    if bare and _support(tested).has_interval:
        sentences.append(f"{what} allow an interval of {bare[0]}, and the record has none")
    if scores is not None and (wrong := int(np.count_nonzero(scores.argmax(axis=1) != predicted))):
        sentences.append(f"{what} do not name the class with the highest score in {wrong} rows")
    found = {
        "macro_f1": macro_f1(y, predicted, n_classes=tested.n_classes),
        "accuracy": accuracy(y, predicted),
        "balanced_accuracy": balanced_accuracy(y, predicted),
        "auroc": None if scores is None else auroc(y, scores),
    }
    for name, value in found.items():
        if name in record.metrics and value is not None:
            said = record.metrics[name].value
            if abs(said - value) > ROUNDING:
                sentences.append(f"{what} give {name} {value:.9f}, but its record says {said:.9f}")
    return tuple(sentences)


def _support(tested: _Tested) -> Support:
    """Return what the groups of test rows allow to say."""
    named = [None if pd.isna(group) else str(group) for group in tested.groups]
    return assess(tabulate(np.unique(tested.y, return_inverse=True)[1], number_groups(named)))
