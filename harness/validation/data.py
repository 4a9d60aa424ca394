"""Comparison of a run with the data of its tasks, and with what its suite gives here. Nothing here runs a model.

Which rows a model cannot read, its tokenizer tells; where the model is unavailable, only a new run can tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.api.errors import HarnessError, UnavailableError, UsageError, name_some
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite, TaskChoice
from harness.data.partitions import make_draws
from harness.data.splits import SplitLimits
from harness.data.task import TaskData, load_task
from harness.planning.cells import Plan
from harness.planning.plan import choose_task, find_trained_on, make_plan
from harness.registry.catalog import Registry
from harness.runs.record import Record, Results, classes_of
from harness.validation.finding import Finding
from harness.validation.planned import compare_with_plan


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Place of the data and the offers that a run is compared with."""

    suite: Suite
    registry: Registry
    data_dir: Path | None
    included: Sequence[TaskSpec]

    def spec(self, record: Record) -> TaskSpec:
        """Return the task of a record. Raise UnavailableError if it is of another version here."""
        spec, _ = self._choose(record.task)
        if spec.version != record.task_version:
            raise UnavailableError(
                f"task '{spec.name}' is of version {spec.version} here, and of {record.task_version} in the run"
            )
        return spec

    def _choose(self, name: str) -> tuple[TaskSpec, int | SplitLimits | None]:
        """Return a task as the suite has it, and the limit of its rows. Raise UsageError when there is none."""
        task = next((task for task in self.suite.tasks if task.name == name), TaskChoice(name=name))
        return choose_task(task, self.suite, self.registry, self.included)

    def plan(self, tasks: Collection[str]) -> tuple[Plan | None, str]:
        """Plan some tasks of the suite. Return the plan, None where that is impossible here, and what it lacks."""
        if not tasks:
            return None, ""
        chosen = tuple(task for task in self.suite.tasks if task.name in tasks)
        suite = self.suite.model_copy(update={"tasks": chosen})
        try:
            plan = make_plan(suite, self.registry, data_dir=self.data_dir, included=self.included)
        except HarnessError as error:
            return None, str(error)
        return plan, next(iter(plan.left_out.values()), "")

    def load(self, spec: TaskSpec) -> TaskData:
        """Return a task with the rows of the run. Raise HarnessError when they are unavailable."""
        _, limit = self._choose(spec.name)
        other = find_trained_on(spec, self.registry, self.included)
        return load_task(spec, data_dir=self.data_dir, limit=limit, trained_on=other)


def check_data(
    run: Results,
    suite: Suite,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
    is_published: bool = False,
) -> Iterator[Finding]:
    """Compare the rows of a run with the data of its tasks: the fingerprint of all rows, and for each task and regime
    the ids, labels and groups of the test rows of one cell (`check_run` compares the cells with one another). Compare
    its records with the plan of its suite, as far as models and dictionaries are available.

    Rows in which an unavailable model found no content are not in the run, which changes its fingerprint. Then the
    remaining rows are compared, no more test rows may be missing than are counted as unreadable, and a note says how
    many these are. Notes also name what is unavailable here, and tasks without a fingerprint.
    """
    source = _Source(suite=suite, registry=registry, data_dir=data_dir, included=included)
    by_task: dict[str, list[Record]] = {}
    for record in run.records():
        if record.status == "ok":
            by_task.setdefault(record.task, []).append(record)
    absent: dict[str, str] = {}
    specs: dict[str, TaskSpec] = {}
    for name, records in by_task.items():
        try:
            specs[name] = source.spec(records[0])
        except UsageError as error:
            absent[name] = f"{error} (validate takes the file of a task as --include)"
        except HarnessError as error:
            absent[name] = str(error)
    plan, lacking = source.plan(specs)
    planned = {data.spec.name: data for data in plan.tasks} if plan else {}
    for name, spec in specs.items():
        try:
            data = planned.get(name) or source.load(spec)
        except HarnessError as error:
            absent[name] = str(error)
            continue
        is_exact = name in planned and not lacking
        yield from dict.fromkeys(_compare_with_data(run, by_task[name], data, registry, is_exact=is_exact))
    good = [record for name in planned for record in by_task[name]]
    if plan:
        yield from compare_with_plan(good, plan, is_published=is_published)
    if lacking and set(specs) - set(absent):
        yield Finding(
            "note",
            f"not every record was compared with what its suite gives here, for some of that is not at hand: "
            f"{lacking}",
        )
    if absent:
        yield Finding(
            "note",
            f"the rows of {len(absent)} of {len(by_task)} tasks were not compared with the data, which is "
            f"not at hand: {next(iter(absent.values()))}",
        )


def _compare_with_data(
    run: Results, records: Sequence[Record], data: TaskData, registry: Registry, *, is_exact: bool
) -> Iterator[Finding]:
    """Compare the fingerprints of a task's records with that of the data, then one cell of each regime row by row.

    The rows of the data are those of the run if `is_exact`, else some may be unreadable by models that are not here.
    """
    task, stated = f"task '{records[0].task}'", {record.data for record in records}
    # Where the fingerprint is that of the data, no row was unreadable, whatever the records count.
    same = is_exact or stated == {data.fingerprint}
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
    if (chosen := set(classes_of(frame))) and chosen != {*data.classes}:
        yield Finding(
            "fault",
            f"{what} choose among {name_some(sorted(chosen))}, and the data has {name_some(data.classes)}",
        )
    if wrong := _count_regrouped(frame, {examples.ids[row]: examples.groups[row] for row in test}):
        yield Finding("fault", f"{what} have another group than the data in {wrong} of {len(given)} rows")
    if (shared := len(given.keys() & labels.keys() & in_training)) and not data.spec.keep_leaks:
        yield Finding("fault", f"{what} are of {shared} rows that are also learnt from")


def _count_regrouped(frame: pd.DataFrame, groups: Mapping[str, str | None]) -> int:
    """Return the number of rows whose group is not that of the data; published runs have numbers in place of names."""
    column = frame["group"] if "group" in frame else pd.Series([None] * len(frame), dtype=object)
    given = column.astype(object).where(column.notna(), None)
    pairs = [
        (groups[str(row)], group)
        for row, group in zip(frame["example_id"], given, strict=True)
        if str(row) in groups
    ]
    forward = dict(reversed(pairs))
    backward = {group: own for own, group in reversed(pairs)}
    return sum(
        (own is None) != (group is None)
        or (own is not None and (forward[own], backward[group]) != (group, own))
        for own, group in pairs
    )


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
