"""Checks of the predictions of good cells, each by itself and together with the cells of the same task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.api.errors import UnavailableError
from harness.runs.reader import RunReader
from harness.runs.record import ROUNDING, Record, are_scored, classes_of, is_scored
from harness.stats.bootstrap import number_groups
from harness.stats.few_groups import Support, assess, tabulate
from harness.stats.metrics import accuracy, auroc, balanced_accuracy, macro_f1, score


def check_predictions(run: RunReader, records: Sequence[Record]) -> Iterator[str]:
    """Yield the faults of predictions, cell by cell, and of cells of one task that were tested on different rows."""
    first: dict[tuple[object, ...], tuple[str, list[tuple[Any, Any]]]] = {}
    for record in records:
        rows = _rows_of_sound(run, record)
        if rows is None:
            try:
                frame = run.predictions(record.cell_id)
            except UnavailableError as error:
                yield str(error)
                continue
            faults = check_cell(record, frame)
            yield from faults
            if faults:
                continue
            rows = sorted(zip(frame["example_id"], frame["label"], strict=True))
        language = (record.train_language, record.test_language)
        task = (record.task, record.task_version, *language, record.regime)
        other, common = first.setdefault(task, (record.cell_id, rows))
        if rows != common:
            yield f"cells '{other}' and '{record.cell_id}' were not tested on the same rows of '{record.task}'"


def _rows_of_sound(run: RunReader, record: Record) -> list[tuple[Any, Any]] | None:
    """Return the ids and labels of the rows of a cell in which `check_cell` would find no fault; None of any other,
    which is then read as a data frame.
    """
    read = run.scored(record)
    if read is None:
        return None
    found, scores = read
    y, n_classes = found.y, len(found.classes)
    if (
        len(y) != record.n_test
        or any(metric.low is None and metric.method for metric in record.metrics.values())
        or not np.isfinite(scores).all()
        or not np.array_equal(scores.argmax(axis=1), found.numbers)
        or not is_scored(record, found)
    ):
        return None
    values = {
        "macro_f1": macro_f1(y, found.numbers, n_classes=n_classes),
        "accuracy": accuracy(y, found.numbers),
        "balanced_accuracy": balanced_accuracy(y, found.numbers),
        "auroc": auroc(y, scores),
    }
    known = {
        name: (record.metrics[name].value, value) for name, value in values.items() if name in record.metrics
    }
    if any(value is not None and abs(said - value) > ROUNDING for said, value in known.values()):
        return None
    return found.rows.pairs


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
    if len(frame) != record.n_test:
        return (f"{what} have {len(frame)} rows, but its record says {record.n_test}",)
    if frame["example_id"].duplicated().any():
        return (f"{what} hold an example twice",)
    numbers = {name: number for number, name in enumerate(classes)}
    y, predicted = (
        np.array([numbers.get(name, -1) for name in frame[column]], dtype=np.int64)
        for column in ("label", "prediction")
    )
    if (y < 0).any() or (predicted < 0).any():
        return (f"{what} name a class that it did not choose from",)
    scores = frame[names].to_numpy(np.float64) if names else np.eye(len(classes))[predicted]
    if not np.isfinite(scores).all():
        return (f"{what} hold scores that are not finite",)
    sentences = []
    if not are_scored(record, frame):
        sentences.append(f"{what} are not those that were scored: their checksum differs from the record's")
    bare = [name for name, metric in record.metrics.items() if metric.low is None and metric.method]
    if bare and _support(frame, y).has_interval:
        sentences.append(f"{what} allow an interval of {bare[0]}, and the record has none")
    if wrong := int(np.count_nonzero(scores.argmax(axis=1) != predicted)):
        sentences.append(f"{what} do not name the class with the highest score in {wrong} rows")
    found = score(y, predicted, scores, weights=None)
    for name in ("macro_f1", "accuracy", "balanced_accuracy", *(["auroc"] if names else [])):
        if name in record.metrics and name in found:
            said, value = record.metrics[name].value, found[name].value
            if abs(said - value) > ROUNDING:
                sentences.append(f"{what} give {name} {value:.9f}, but its record says {said:.9f}")
    return tuple(sentences)


def _support(frame: pd.DataFrame, y: np.ndarray[Any, Any]) -> Support:
    """Return what the groups of test rows allow to say."""
    groups = frame["group"].astype(object) if "group" in frame else [None] * len(frame)
    named = [None if pd.isna(group) else str(group) for group in groups]
    return assess(tabulate(np.unique(y, return_inverse=True)[1], number_groups(named)))
