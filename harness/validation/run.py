"""Checks of a finished run. Nothing here runs a model or changes a file.

Validation scores and costs cannot be recomputed from predictions, so records are believed there. Rows and labels are
compared with the data where it is available; which rows a model could not read only a new run can tell.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from harness.api.errors import HarnessError, UnavailableError, UsageError
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite, TaskChoice
from harness.data.partitions import make_draws
from harness.data.task import TaskData, load_task
from harness.planning.plan import choose_task, find_trained_on
from harness.registry.catalog import Registry
from harness.runs.folder import RunFolder
from harness.runs.record import Record, Results, are_scored
from harness.stats.metrics import score
from harness.validation.finding import Finding

if TYPE_CHECKING:
    import pandas as pd


ROUNDING = 1e-9
"""Largest difference between a recomputed metric and the recorded one: machines sum in different orders."""

_MEASURED = {
    *("schema_version", "cell_id", "status", "error", "classifier_params", "metrics", "validation_metrics"),
    *("n_train", "n_validation", "n_test", "n_features", "selected_on", "tried", "predictions_hash", "used"),
    *("control", "hygiene", "fidelity", "cost", "flags", "origins"),
}
"""Fields of a record that do not identify its cell; all others together do."""


def check_run(
    run: RunFolder,
    registry: Registry | None = None,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
) -> tuple[Finding, ...]:
    """Return all that keeps a run from being published, and notes on what a board flags.

    Faults are cells without a record or with a failed one, inconsistent records, predictions that are missing or do
    not give the recorded scores, and a limit on rows; with a registry also rows that differ from those of the data
    (`check_data`). Raise UnavailableError when there is no run.
    """
    about = run.about()
    try:
        suite, cells = Suite.model_validate(about.get("suite")), list(map(str, about["cells"]))
    except (ValidationError, KeyError, TypeError):
        sentence = f"'{run.path / 'run.json'}' does not hold a suite and its cells as a run writes them"
        return (Finding("fault", sentence),)
    try:
        records = run.records()
    except UnavailableError as error:
        return (Finding("fault", str(error)),)
    sentences = [
        *_check_end(run, about, cells, records),
        *_check_limit(suite, records),
        *check_records(records),
        *_check_places(suite, records),
        *([] if about.get("left_out") or len(records) < len(cells) else _check_coverage(suite, records)),
        *(_check_only(records, registry) if registry else ()),
        *_check_predictions(run, [record for record in records if record.status == "ok"]),
    ]
    return (
        *(Finding("fault", sentence) for sentence in sentences),
        *check_flags(records),
        *_check_checksums(records),
        *(check_data(run, suite, registry, data_dir=data_dir, included=included) if registry else ()),
    )


def _check_end(
    run: RunFolder, about: Mapping[str, Any], cells: Sequence[str], records: Sequence[Record]
) -> Iterator[str]:
    """Yield a sentence unless the run is finished and every cell has a good record."""
    if (status := run.status) != "finished":
        yield f"the run is {status}, not finished"
    for name, reason in dict(about.get("left_out") or {}).items():
        yield f"'{name}' was left out: {reason}"
    if len(set(cells)) < len(cells):
        yield "a cell stands twice in run.json"
    known = {record.cell_id for record in records}
    if lacking := [cell for cell in cells if cell not in known]:
        yield f"{len(lacking)} of {len(cells)} cells have no record, the first '{lacking[0]}'"
    failed = Counter(f"{record.status}: {record.error}" for record in records if record.status != "ok")
    for error, count in failed.most_common():
        yield f"{count} of {len(cells)} cells {error}"


def _check_limit(suite: Suite, records: Sequence[Record]) -> Iterator[str]:
    if suite.limit is not None or any("limited" in record.flags for record in records):
        yield "the run was limited with -L, so it is not publishable"


def check_records(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the faults of records: scores of a failed cell or a good cell without scores, two records of one cell, two
    cells of one evaluation, one task with two sets of rows.
    """
    times = Counter(record.cell_id for record in records)
    sentences = [f"cell '{cell_id}' has {count} records" for cell_id, count in times.items() if count > 1]
    known: dict[str, str] = {}
    rows: dict[tuple[object, ...], str | None] = {}
    for record in records:
        what = f"cell '{record.cell_id}'"
        if record.status == "ok" and not {"macro_f1", "accuracy"} <= record.metrics.keys():
            sentences.append(f"{what} ended well, but its record lacks macro_f1 or accuracy")
        if record.status != "ok" and record.metrics:
            sentences.append(f"{what} is {record.status}, but its record holds scores")
        place = record.model_dump_json(exclude=_MEASURED)
        if (other := known.setdefault(place, record.cell_id)) != record.cell_id:
            sentences.append(f"{what} and cell '{other}' are the same evaluation")
        task = (record.task, record.task_version, record.train_language, record.test_language)
        if rows.setdefault(task, record.data) != record.data:
            sentences.append(f"{what} was tested on other rows of '{record.task}' than others of the run")
    return tuple(sentences)


def _check_places(suite: Suite, records: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence for each record of a cell that is not in the run's suite."""
    tasks = {task.name for task in suite.tasks}
    for record in records:
        if record.suite != suite.name or record.task not in tasks or record.seed not in suite.seeds:
            yield (
                f"cell '{record.cell_id}' is of suite '{record.suite}', task '{record.task}', seed {record.seed}, "
                f"which the run's suite does not hold"
            )


def _check_coverage(suite: Suite, records: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence for each arm of a whole run that lacks a point of the search on some task, regime and seed.

    A cell may have been taken out of both the records and run.json.
    """
    arms: dict[tuple[str | None, ...], list[Record]] = defaultdict(list)
    every: dict[str, set[tuple[str, str, int]]] = defaultdict(set)
    for record in records:
        arms[record.model, record.site, record.representation].append(record)
        every[record.modality].add((record.task, record.regime, record.seed))
    for arm, own in arms.items():
        counts = Counter((record.task, record.regime, record.seed) for record in own)
        places = sorted(set[tuple[str, str, int]]().union(*(every[record.modality] for record in own)))
        points = _count_points(suite, own[0])
        lacking = {place: points - counts[place] for place in places if counts[place] < points}
        for task, regime, seed in list(lacking)[:1]:
            yield (
                f"'{' '.join(part for part in arm if part)}' lacks {sum(lacking.values())} of {points * len(places)} "
                f"cells, the first on task '{task}', regime '{regime}', seed {seed}"
            )
    named = len({record.representation for record in records})
    if named < len(suite.representations):
        yield f"the suite has {len(suite.representations)} representations, and the run {named}"


def _check_only(records: Sequence[Record], registry: Registry) -> Iterator[str]:
    """Yield a sentence for each representation whose recorded `only` differs from its own.

    A longer `only` would hide choices that lost.
    """
    for name, only in dict.fromkeys((record.representation, record.only) for record in records):
        with suppress(UsageError, UnavailableError):  # of a plugin or folder that is not here
            own = registry.choose("representations", name).spec.only
            if set(only) != set(own):
                yield (
                    f"'{name}' is recorded as going with one only of: {', '.join(only) or 'nothing'}; it goes with one "
                    f"only of: {', '.join(sorted(own)) or 'nothing'}"
                )


def _count_points(suite: Suite, record: Record) -> int:
    """Return the number of cells of an arm on one task, under one regime and seed."""
    axes = {"transforms": suite.transforms, "classifiers": suite.classifiers, "poolings": suite.poolings}
    own = {*record.only, *(["poolings"] if record.model is None else [])}
    return math.prod(len(values) for kind, values in axes.items() if kind not in own)


_LEAK_FLAGS = {
    "leaks": "themselves",
    "near-leaks": "but for case, blanks, final punctuation or look-alikes",
    "shared-groups": "by their group",
}
"""Flag of test rows that are kept → how they are in training."""


def check_flags(records: Sequence[Record]) -> Iterator[Finding]:
    """Yield a note for each flag of test rows that are kept though they, or their groups, are also in training."""
    flagged = dict.fromkeys(
        (record.task, record.regime, *flag.split(":", 1))
        for record in records
        for flag in record.flags
        if flag.startswith(tuple(f"{kind}:" for kind in _LEAK_FLAGS))
    )
    for task, regime, flag, count in flagged:
        what = _LEAK_FLAGS[flag]
        yield Finding(
            "note",
            f"task '{task}' under regime '{regime}' is flagged {flag}:{count}: so many test rows stand in "
            f"training {what}",
        )


def _check_checksums(records: Sequence[Record]) -> Iterator[Finding]:
    """Yield a note if good cells are older than checksums of predictions."""
    good = [record for record in records if record.status == "ok"]
    if bare := sum(record.predictions_hash is None for record in good):
        yield Finding(
            "note",
            f"{bare} of {len(good)} cells have no checksum of their predictions, so edits of them may not show",
        )


def check_data(
    run: Results,
    suite: Suite,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
) -> Iterator[Finding]:
    """Compare the rows of a run with the data of its tasks: the fingerprint of all rows, and for each task and regime
    the ids and labels of the test rows of one cell (`check_run` compares the cells with one another).

    Rows in which a model found no content are not in the run, which changes its fingerprint. Then the remaining rows
    are compared, no more test rows may be missing than are counted as unreadable, and a note says how many these are.
    Notes also name tasks that are unavailable here or have no fingerprint.
    """
    absent: dict[str, str] = {}
    by_task: dict[str, list[Record]] = {}
    for record in run.records():
        if record.status == "ok":
            by_task.setdefault(record.task, []).append(record)
    for name, records in by_task.items():
        try:
            data = _load(name, records[0].task_version, suite, registry, data_dir, included)
        except HarnessError as error:
            absent[name] = str(error)
            continue
        yield from dict.fromkeys(_compare_with_data(run, records, data, registry))
    if absent:
        yield Finding(
            "note",
            f"the rows of {len(absent)} of {len(by_task)} tasks were not compared with the data, which is "
            f"not at hand: {next(iter(absent.values()))}",
        )


def _load(
    name: str,
    version: int,
    suite: Suite,
    registry: Registry,
    data_dir: Path | None,
    included: Sequence[TaskSpec],
) -> TaskData:
    """Return a task with the rows of the run. Raise UnavailableError or UsageError when they are unavailable."""
    task = next((task for task in suite.tasks if task.name == name), TaskChoice(name=name))
    spec, limit = choose_task(task, suite, registry, included)
    if spec.version != version:
        raise UnavailableError(
            f"task '{name}' is of version {spec.version} here, and of {version} in the run"
        )
    other = find_trained_on(spec, registry, included)
    return load_task(spec, data_dir=data_dir, limit=limit, trained_on=other)


def _compare_with_data(
    run: Results, records: Sequence[Record], data: TaskData, registry: Registry
) -> Iterator[Finding]:
    """Compare the fingerprints of a task's records with that of the data, then one cell of each regime row by row."""
    task, stated = f"task '{records[0].task}'", {record.data for record in records}
    # Where the fingerprint is that of the data, no row was unreadable, whatever the records count.
    same = stated == {data.fingerprint}
    unread = 0 if same else max(0, min(record.hygiene.empty for record in records) - data.hygiene.empty)
    if stated - {data.fingerprint, None} and not unread:
        yield Finding(
            "fault", f"{task} has other rows in the run than in the data here: their fingerprints differ"
        )
    if None in stated:
        yield Finding(
            "note",
            f"{task} has no fingerprint in the run, so what it learns from was not compared with the data",
        )
    for regime in dict.fromkeys(record.regime for record in records):
        done = (record for record in records if record.regime == regime and run.has_predictions(record))
        if (record := next(done, None)) is not None:
            yield from _compare_rows(record, run.predictions(record.cell_id), data, registry, unread)


def _compare_rows(
    record: Record, frame: pd.DataFrame, data: TaskData, registry: Registry, unread: int
) -> Iterator[Finding]:
    """Compare the test rows of a cell with those of the data: their ids and labels, and none of them in training.

    At most `unread` rows, counted as unreadable by a model, may be missing.
    """
    what = f"the predictions of cell '{record.cell_id}' on task '{record.task}'"
    examples = data.examples
    test, in_training = _split(record, data, registry)
    labels = {examples.ids[row]: examples.labels[row] for row in test}
    given = dict(zip(map(str, frame["example_id"]), map(str, frame["label"]), strict=True))
    lacking = len(labels.keys() - given.keys())
    if unread and lacking <= unread:
        yield Finding(
            "note",
            f"{unread} rows of task '{record.task}', {lacking} of them test rows, are said to be unreadable "
            f"by a model; only running it again tells",
        )
    if strange := given.keys() - labels.keys():
        outside = {one for one, split in zip(examples.ids, examples.splits, strict=True) if split != "test"}
        trained = len(strange & outside)
        yield Finding(
            "fault",
            f"{what} are of {len(strange)} rows that are no test rows of the data, {trained} of them training rows",
        )
    if lacking > unread:
        but = f"; {unread} rows are said to be unreadable by a model" if unread else ""
        yield Finding("fault", f"{what} lack {lacking} of the {len(labels)} test rows of the data{but}")
    if wrong := sum(labels[row] != label for row, label in given.items() if row in labels):
        yield Finding("fault", f"{what} have another label than the data in {wrong} of {len(given)} rows")
    if (shared := len(given.keys() & labels.keys() & in_training)) and not data.spec.keep_leaks:
        yield Finding("fault", f"{what} are of {shared} rows that are also learnt from")


def _split(record: Record, data: TaskData, registry: Registry) -> tuple[Sequence[int], set[str]]:
    """Return the test rows of a cell, and the ids of its training and validation rows; under a regime that is
    unknown or unavailable here, all rows of the test split.
    """
    examples = data.examples
    try:
        draws = make_draws(examples, registry.choose("regimes", record.regime), record.seed)
        pair = (record.train_language, record.test_language)
        rows = next(draw.partition for draw in draws if (draw.train_language, draw.test_language) == pair)
    except (HarnessError, StopIteration):
        test = [row for row, split in enumerate(examples.splits) if split == "test"]
        return test, {examples.ids[row] for row in range(len(examples)) if examples.splits[row] != "test"}
    return rows.test, {examples.ids[row] for row in (*rows.train, *rows.validation)}


def _check_predictions(run: RunFolder, records: Sequence[Record]) -> Iterator[str]:
    """Yield the faults of predictions, cell by cell, and of cells of one task that were tested on different rows."""
    first: dict[tuple[object, ...], tuple[str, list[tuple[Any, Any]]]] = {}
    for record in records:
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


def check_cell(record: Record, frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the faults of a good cell's predictions: columns, rows, classes, checksum, and recomputed metrics.

    Without scores the classes are the categories of `label`, and AUROC is not checked.
    """
    what = f"the predictions of cell '{record.cell_id}'"
    if lacking := {"example_id", "label", "prediction"} - set(map(str, frame.columns)):
        return (f"{what} lack the column {', '.join(sorted(lacking))}",)
    names = [str(name) for name in frame.columns if str(name).startswith("score_")]
    classes = [name.removeprefix("score_") for name in names] or _categories(frame["label"])
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
    if wrong := int(np.count_nonzero(scores.argmax(axis=1) != predicted)):
        sentences.append(f"{what} do not name the class with the highest score in {wrong} rows")
    found = score(y, predicted, scores, weights=None)
    for name in ("macro_f1", "accuracy", "balanced_accuracy", *(["auroc"] if names else [])):
        if name in record.metrics and name in found:
            said, value = record.metrics[name].value, found[name].value
            if abs(said - value) > ROUNDING:
                sentences.append(f"{what} give {name} {value:.9f}, but its record says {said:.9f}")
    return tuple(sentences)


def _categories(labels: pd.Series[Any]) -> list[str]:
    return [str(name) for name in labels.cat.categories] if hasattr(labels, "cat") else []
