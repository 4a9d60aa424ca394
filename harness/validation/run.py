"""Checks of a finished run. Nothing here runs a model or changes a file.

Validation scores and costs cannot be recomputed from predictions, so records are believed there. Rows, labels and what
identifies a cell are compared with the data and the suite where these are available.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.api.errors import UnavailableError, UsageError
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite
from harness.registry.catalog import Registry
from harness.runs.folder import RunFolder
from harness.runs.record import Record
from harness.storage.parsing import parsing
from harness.validation.cells import check_predictions
from harness.validation.data import check_data
from harness.validation.finding import Finding
from harness.validation.parameters import check_parameters
from harness.validation.records import check_checksums, check_flags, check_records, check_whole


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
        with parsing(f"'{run.path / 'run.json'}' does not hold a suite and its cells as a run writes them"):
            suite, cells = Suite.model_validate(about.get("suite")), list(map(str, about["cells"]))
    except UnavailableError as error:
        return (Finding("fault", str(error)),)
    try:
        records = run.records()
    except UnavailableError as error:
        return (Finding("fault", str(error)),)
    sentences = [
        *_check_end(run, about, cells, records),
        *_check_limit(suite, records, run),
        *check_records(records),
        *check_whole(records),
        *check_places(suite, records),
        *([] if about.get("left_out") or len(records) < len(cells) else check_coverage(suite, records)),
        *(_check_only(records, registry) if registry else ()),
        *check_predictions(run, [record for record in records if record.status == "ok"]),
    ]
    return (
        *(Finding("fault", sentence) for sentence in sentences),
        *check_flags(records),
        *check_checksums(records),
        *(check_parameters(records, registry) if registry else ()),
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


def _check_limit(suite: Suite, records: Sequence[Record], run: RunFolder) -> Iterator[str]:
    """Yield a sentence for a limited run, and one where only a part of its marks says that it is limited."""
    limited = sum("limited" in record.flags for record in records)
    if suite.limit is not None or limited:
        yield "the run was limited with -L, so it is not publishable"
    if suite.limit is not None and limited < len(records):
        yield f"run.json says that the run was limited, and {len(records) - limited} of its records do not"
    asked = [run.about().get("argv"), *(event.get("argv") for event in run.events())]
    if suite.limit is None and any(_asks_for_limit(argv) for argv in asked if isinstance(argv, list)):
        yield "the run was started with -L, which neither its suite nor its records say"
    own = {task.name for task in suite.tasks if task.is_limited}
    if suite.limit is None and any(
        record.hygiene.drawn_from and record.task not in own for record in records
    ):
        yield "records count rows that a limit left out, and the suite has none for their task"


def _asks_for_limit(argv: Sequence[Any]) -> bool:
    """Return whether the arguments of a command limit the rows of its suite."""
    words = [str(word) for word in argv]
    is_set = any(word.removeprefix("--set=").startswith("limit=") for word in words)
    return is_set or any(re.match(r"-L|--limit(=|$)", word) for word in words)


def check_places(suite: Suite, records: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence for each record of a cell that is not in the run's suite."""
    tasks = {task.name for task in suite.tasks}
    for record in records:
        if record.suite != suite.name or record.task not in tasks or record.seed not in suite.seeds:
            yield (
                f"cell '{record.cell_id}' is of suite '{record.suite}', task '{record.task}', seed {record.seed}, "
                f"which the run's suite does not hold"
            )


def check_coverage(suite: Suite, records: Sequence[Record]) -> Iterator[str]:
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
