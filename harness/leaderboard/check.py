"""Results in, findings out, one sentence each. What is found says which file, what is wrong and how it is mended.

`check_records` and `check_predictions` look at one run, published or not; `check_published` at a folder under
`leaderboards/`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.errors import HarnessError, MissingError
from harness.leaderboard.board import build
from harness.leaderboard.choice import Cell, choose, read_cells
from harness.leaderboard.estimate import read_predictions
from harness.leaderboard.published import LIMIT, PublishedRun, find_published, unpublishable
from harness.leaderboard.render import render
from harness.metrics import score
from harness.records import Results

_ROUNDING = 1e-9
"""A recomputed metric may differ by this from the recorded one, which another machine may have summed."""


def check_records(run: Results) -> tuple[str, ...]:
    """Records that cannot be read, stand twice, or claim to be whole without a score."""
    try:
        records = run.records()
    except MissingError as error:
        return (str(error),)
    times = Counter(record.cell_id for record in records)
    twice = [f"cell '{cell_id}' in '{run.path}' has {n} records" for cell_id, n in times.items() if n > 1]
    scoreless = [
        f"cell '{record.cell_id}' in '{run.path}' ended well but has no macro_f1"
        for record in records
        if record.status == "ok" and "macro_f1" not in record.metrics
    ]
    return (*twice, *scoreless)


def check_predictions(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Cells that ended well whose predictions are not there, are damaged, are not of as many rows as the record
    says, or do not give the metrics that it says. AUROC is looked at where scores were kept.
    """
    return tuple(finding for cell in cells for finding in _compare(cell))


def check_published(folder: Path) -> tuple[str, ...]:
    """All that is wrong with the runs published in `folder` and the pages beside them."""
    runs = find_published(folder)
    if not runs:
        return (f"'{folder}' holds no published run",)
    findings = [finding for run in runs for finding in _check_run(run)]
    return (*findings, *(() if findings else _check_pages(folder, runs)))


def _check_run(run: PublishedRun) -> tuple[str, ...]:
    findings = [*check_records(run)]
    if run.size > LIMIT:
        findings.append(f"'{run.path}' and its files take {run.size:,} bytes, more than {LIMIT:,}")
    if not findings:
        try:
            findings += [f"'{run.path}' should not stand here: {fault}" for fault in unpublishable(run)]
            choices = choose(read_cells([run]))
            findings += check_predictions(cell for unit in choices.units() for cell in choices.cells(unit))
        except HarnessError as error:
            findings.append(str(error))
    return tuple(dict.fromkeys(findings))


def _check_pages(folder: Path, runs: Sequence[PublishedRun]) -> tuple[str, ...]:
    try:
        pages = render(build(runs))
    except HarnessError as error:
        return (str(error),)
    return tuple(
        f"'{folder / name}' is not what the published runs give; `harness leaderboard build {folder}` writes it"
        for name, text in pages.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    )


def _compare(cell: Cell) -> Iterator[str]:
    record = cell.record
    where = f"cell '{record.cell_id}' in '{cell.run.path}'"
    try:
        rows = read_predictions(cell)
        frame = cell.run.predictions(record.cell_id)
    except MissingError as error:
        yield str(error)
        return
    if len(rows.ids) != record.n_test or len(np.unique(rows.ids)) != len(rows.ids):
        yield f"the predictions of {where} are not one for each of its {record.n_test} test rows"
        return
    names = [f"score_{name}" for name in rows.classes]
    scored = set(names) <= set(frame.columns)
    scores = (
        frame.sort_values("example_id")[names].to_numpy()
        if scored
        else np.eye(len(rows.classes))[rows.predicted]
    )
    if not np.isfinite(scores).all():
        yield f"the scores of {where} are not finite"
        return
    found = score(rows.labels, rows.predicted, scores, weights=None)
    for name in ("macro_f1", "accuracy", *(["auroc"] if scored else [])):
        if name in record.metrics and name in found:
            said, value = record.metrics[name].value, found[name].value
            if not math.isclose(said, value, abs_tol=_ROUNDING):
                yield f"{where} records {name} {said:.6f}, but its predictions give {value:.6f}"
