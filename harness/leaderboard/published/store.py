"""Store of published runs: a few small files, from which the same board is built.

<name>.jsonl                 every Record, one a line, without snippets and the names of broken images;
                             <name>.jsonl.gz where plain text would break the limit
<name>.predictions.parquet   one row a task: its test rows once, beside them what each cell of the board predicted, and
                             of its ablation, unless that would break the limit
<name>.env.json              the resolved suite, when it ran, where and with what
<name>.rerun.json            the report of a rerun, if cells were run again (`harness leaderboard add --rerun`)
leaderboard*, matrix*        the board of all runs published in the folder
"""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.errors import GateError, UnavailableError, UsageError, WriteError
from harness.api.tasks import TaskSpec
from harness.leaderboard.analyses.ablation import choose_ablation
from harness.leaderboard.build import build
from harness.leaderboard.files import PAGE, write
from harness.leaderboard.published.rerun_report import place_report
from harness.leaderboard.scoring import read_predictions
from harness.leaderboard.selection import Cell, Unit, choose, once, read_cells
from harness.registry.catalog import Registry
from harness.runs.folder import RunFolder
from harness.runs.predicted import Predicted, TableRows, as_objects
from harness.runs.record import Record, Results, check_frame, is_scored, read_records
from harness.storage.atomic import whole_file, write_json
from harness.storage.parsing import parsing, read_mapping
from harness.storage.reading import open_parquet
from harness.validation.finding import Finding
from harness.validation.run import check_run

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LIMIT = 2_000_000
"""Most bytes of a published run, small enough for a repository even if boards are often rebuilt."""

RECORDS = (".jsonl", ".jsonl.gz")
"""Endings of files of records."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that a published run can have."""

_UNIT = ("train_language", "test_language", "trained_on", "regime")
_FACTS = ("python", "os", "cpu", "cores", "memory", "device", "gpu", "plugins")
_ADDED_FACTS = ("interfaces", "checks")
"""Facts that older runs do not have."""

_DISTRIBUTIONS = ("sae-harness", "torch", "transformers", "scikit-learn", "scipy", "numpy", "pandas")


_Pool = dict[tuple[tuple[Any, ...], ...], TableRows]
"""Test rows by their ids, groups and labels."""


class PublishedRun:
    """Published run, named by the path of its records. `pool` keeps test rows that published runs share once."""

    def __init__(self, path: Path, pool: _Pool | None = None) -> None:
        self.path = path
        self._pool: _Pool = {} if pool is None else pool

    @property
    def name(self) -> str:
        """File name without endings."""
        return self.path.name.removesuffix(".gz").removesuffix(".jsonl")

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Records, predictions, environment."""
        return self.path, self._beside(".predictions.parquet"), self._beside(".env.json")

    @property
    def all_files(self) -> tuple[Path, ...]:
        """The files, and the place of the report of a rerun, which a run need not have."""
        return (*self.files, place_report(self.path))

    @property
    def size(self) -> int:
        """Bytes of the files that exist."""
        return sum(path.stat().st_size for path in self.files if path.is_file())

    @property
    def is_whole(self) -> bool:
        """True if every cell of the run has a record."""
        return len(self.records()) >= int(self.about()["cells"])

    def move(self, folder: Path) -> None:
        """Move the files into a folder, in place of others of the same names. Raise OSError when the disk refuses."""
        for path in self.files:
            shutil.move(path, folder / path.name)
        self.path = folder / self.path.name

    def environment(self) -> Mapping[str, Any]:
        """Return what `about` reads: one file says both."""
        return self.about()

    def about(self) -> dict[str, Any]:
        """Read `<name>.env.json`. Raise UnavailableError when it is missing or damaged."""
        path = self._beside(".env.json")
        about = read_mapping(path, f"'{path}' is missing or damaged")
        with parsing(f"'{path}' is damaged"):
            return {**about, "cells": int(about["cells"])}

    def records(self) -> list[Record]:
        """Read the records. Raise UnavailableError with the number of the first line that is not one."""
        return list(self._records)

    @property
    def remedy(self) -> str:
        """Command that makes wrong predictions anew, for messages."""
        return "publish the run anew"

    def has_predictions(self, record: Record) -> bool:
        """Return whether a cell ended well and its predictions were published; their checksum is not read."""
        return record.status == "ok" and record.cell_id in self._cells

    def predicted(self, record: Record) -> Predicted | None:
        """Return the published predictions of a good cell as class numbers if they are those that were scored. None
        where they are not, or are missing or of an unusual form.
        """
        found = self._predicted.get(record.cell_id) if record.status == "ok" else None
        return found if found is not None and is_scored(record, found) else None

    def predictions(self, cell_id: str) -> pd.DataFrame:
        """Return the test predictions of a published cell: example_id, group (a number), label, prediction; the
        categories of the last two are the classes.
        """
        import pandas as pd

        path = self._beside(".predictions.parquet")
        task = self._tasks.get(cell_id)
        if task is None:
            raise UnavailableError(
                f"'{path}' lacks the predictions of cell '{cell_id}', which the board needs;"
                " publish the run anew, or one run with all rows"
            )
        with parsing(f"the predictions '{path}' are damaged"):  # lists of unlike lengths, missing columns
            columns: dict[str, Any] = {"example_id": task["example_id"]}
            if task["group"] is not None:
                columns["group"] = pd.array(task["group"], "Int64")
            predicted = task["prediction"][task["cell_id"].index(cell_id)]
            for name, values in (("label", task["label"]), ("prediction", predicted)):
                columns[name] = pd.Categorical(values, task["classes"])
            return check_frame(pd.DataFrame(columns))

    @cached_property
    def _records(self) -> list[Record]:
        return read_records(self.path)

    @cached_property
    def _table(self) -> pa.Table:
        path = self._beside(".predictions.parquet")
        with parsing(self._damage), open_parquet(path) as file:
            return file.read()

    @cached_property
    def _cells(self) -> Set[str]:
        """Ids of the cells whose predictions were published."""
        with parsing(self._damage):
            return {cell_id for cells in self._table["cell_id"].to_pylist() for cell_id in cells}

    @cached_property
    def _predicted(self) -> Mapping[str, Predicted]:
        """Predictions of the tasks that are as a run is published."""
        found: dict[str, Predicted | None] = {}
        with parsing(self._damage):
            for number in range(len(self._table)):
                task = {name: self._table[name][number] for name in self._table.schema.names}
                found |= dict.fromkeys(task["cell_id"].as_py()) | _read_task(task, self._pool)
        return {cell_id: arm for cell_id, arm in found.items() if arm is not None}

    @cached_property
    def _tasks(self) -> Mapping[str, Mapping[str, Any]]:
        """Row of the task that holds a cell's predictions, by cell id."""
        with parsing(self._damage):
            tasks = self._table.to_pylist()
            return {cell_id: task for task in tasks for cell_id in task["cell_id"]}

    @property
    def _damage(self) -> str:
        return f"the predictions '{self._beside('.predictions.parquet')}' are missing or damaged"

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.name + ending)


def _read_task(task: Mapping[str, Any], pool: _Pool) -> dict[str, Predicted]:
    """Return the predictions of a task's cells, of one row of the table; none of a task of an unusual form. Rows that
    another task in `pool` has too, as regimes of one test set do, are kept once.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells, classes = task["cell_id"].as_py(), tuple(task["classes"].as_py())
    ids, labels = (task[name].as_py() for name in ("example_id", "label"))
    groups = task["group"].as_py() or [None] * len(ids)
    arms = task["prediction"].values
    if not len(ids) or {len(labels), len(groups), *arms.value_lengths().to_pylist()} != {len(ids)}:
        return {}
    columns = tuple(ids), tuple(groups), tuple(labels)
    rows = pool.get(columns) or pool.setdefault(
        columns, TableRows(ids=as_objects(ids), groups=as_objects(groups), labels=as_objects(labels))
    )
    flat = arms.flatten()
    numbers = pc.index_in(flat, value_set=pa.array(classes, flat.type))
    if (
        len(arms) != len(cells)
        or numbers.null_count
        or (rows.number(classes) < 0).any()
        or not rows.are_unique
    ):
        return {}
    by_arm = numbers.to_numpy().astype(np.min_scalar_type(len(classes))).reshape(len(arms), len(ids))
    return {
        cell_id: Predicted(rows=rows, classes=classes, numbers=own)
        for cell_id, own in zip(
            reversed(cells), by_arm[::-1], strict=True
        )  # of two of one id, the first counts
    }


def find_published(folder: Path) -> list[PublishedRun]:
    """Return the runs published in a folder, by name; where two hold the same cell, the last one counts. A run folder
    has none.
    """
    if RunFolder(folder).exists:
        return []
    # Names with a dot in front are what systems keep beside files, no records.
    paths = {path for ending in RECORDS for path in folder.glob(f"[!.]*{ending}")}
    pool: _Pool = {}
    found = [PublishedRun(path, pool) for path in sorted(paths, key=lambda path: PublishedRun(path).name)]
    for run in found:
        if not NAME.fullmatch(run.name):
            raise UnavailableError(
                f"'{run.path}' has no name that a published run can have, and may be a copy of one: remove or rename it"
            )
    return found


def find_all_results(paths: Iterable[Path]) -> list[Results]:
    """Return the results at each path. Raise UnavailableError when there are none."""
    return [result for path in paths for result in find_results(path)]


def find_results(path: Path) -> list[Results]:
    """Return the run folder `path`, or the published runs there. Raise UnavailableError when there is none."""
    if path.is_file() and path.name.endswith(RECORDS):
        return [PublishedRun(path)]
    if published := find_published(path):
        return [*published]
    run = RunFolder(path)
    run.about()
    return [run]


def unpublishable(run: Results) -> tuple[str, ...]:
    """Return the reasons against publishing a run: cells are missing, failed, or were run on some rows only."""
    records = run.records()
    limited = sum("limited" in record.flags for record in records)
    failed = sum(record.status != "ok" for record in records)
    faults = {
        "it is unfinished (the same `harness run` resumes it)": not run.is_whole,
        f"{failed} of its {len(records)} cells failed": failed,
        f"{limited} of its {len(records)} cells saw a part of the rows only (--limit)": limited,
        "it holds no cell": not records,
    }
    return tuple(fault for fault, found in faults.items() if found)


def publish(
    run: RunFolder,
    folder: Path,
    *,
    name: str | None = None,
    replace: bool = False,
    registry: Registry | None = None,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
    tell: Callable[[str], None] = lambda note: None,
) -> PublishedRun:
    """Write the files of `run` that a board needs into `folder`, and the board of all runs published there. With
    `replace`, the run takes the place of all others. Records are written without snippets, which are text of the data
    and may not be published, and without the names of broken images. If the run would be too large, the board has no
    ablation. With a `registry`, the run is first checked by `check_run`, whose notes `tell` receives.

    Raise GateError when the run is not whole, failed somewhere, was limited, has any other fault or is too large;
    UsageError when another run is published under `name` (default: the day the run began). Nothing is changed then.
    """
    about = run.about()
    if (status := run.status) not in {"finished", "failed"}:
        raise GateError(f"the run in '{run.path}' cannot be published: it is {status}")
    if faults := unpublishable(run):
        raise GateError(f"the run in '{run.path}' cannot be published: {'; '.join(faults)}")
    name = name or str(about.get("started", ""))[:10]
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot name a published run: letters, digits, '.', '_' and '-' can")
    if folder.exists() and not folder.is_dir():
        raise UnavailableError(f"'{folder}' is a file, not a folder")
    if RunFolder(folder).exists:
        raise UsageError(f"'{folder}' is a run folder; publish into another, such as leaderboards/<suite>")
    earlier = find_published(folder)
    for other in earlier:
        if other.name == name and not replace and other.records() != without_texts(run):
            raise UsageError(
                f"another run is published as '{other.path}'; give --name, or --replace what is published there"
            )
    if registry:
        _check_sound(run, check_run(run, registry, data_dir=data_dir, included=included), tell)
    others = [other for other in earlier if other.name != name and not replace]
    with staging(folder) as stage:
        staged = _write_run(run, stage, name)
        runs = sorted([*others, staged], key=lambda run: run.name)
        board = build(runs)  # before anything is changed: it may need a cell that another run did not publish
        for other in earlier:
            if other not in others:
                is_same = other.name == name and not replace  # its records are those that replace it
                for path in other.files if is_same else other.all_files:
                    path.unlink(missing_ok=True)
        staged.move(folder)
    write(board, folder)
    return staged


def _check_sound(run: RunFolder, findings: Iterable[Finding], tell: Callable[[str], None]) -> None:
    """Raise GateError with the first fault of a run; without any, pass its notes to `tell`."""
    sentences: dict[str, list[str]] = {"fault": [], "missing": [], "note": []}
    for finding in dict.fromkeys(findings):
        sentences[finding.severity].append(finding.sentence)
    if faults := sentences["fault"]:
        others = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
        remedy = f"`harness validate {shlex.quote(str(run.path))}`"
        raise GateError(
            f"the run in '{run.path}' cannot be published: {faults[0]}{others} ({remedy} tells all)"
        )
    for note in (*sentences["missing"], *sentences["note"]):
        tell(note)


def replace_published(staged: Path, folder: Path) -> Path:
    """Move the runs published in `staged` to `folder` in place of all runs there; return the page of their board.

    Raise WriteError when the disk refuses.
    """
    runs = find_published(staged)
    board = build(runs)  # before anything is changed
    with staging(folder):
        for earlier in find_published(folder):
            for path in earlier.all_files:
                path.unlink(missing_ok=True)
        for run in runs:
            run.move(folder)
    write(board, folder)
    return folder / PAGE


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a folder inside `folder` that is removed afterwards. Raise WriteError when the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".publishing-", dir=folder) as stage:
            yield Path(stage)
    except OSError as error:
        raise WriteError.from_os(f"'{folder}'", error) from error


def without_texts(run: RunFolder) -> list[Record]:
    """Return the run's records without text of the data and without names of broken images."""
    return [
        record.model_copy(
            update={
                "used": tuple(replace(used, snippets=()) for used in record.used),
                "hygiene": replace(record.hygiene, faults=()),
            }
        )
        for record in run.records()
    ]


def _write_run(run: RunFolder, folder: Path, name: str) -> PublishedRun:
    records = "".join(f"{record.model_dump_json()}\n" for record in without_texts(run)).encode()
    cells = read_cells([run])
    choices = choose(cells)
    ablation = choose_ablation(cells, choices)
    written = PublishedRun(folder / f"{name}.jsonl")
    write_json(written.files[2], _environment(run))
    for with_ablation in (True, False):
        tasks = {
            unit: [*choices.cells(unit), *(ablation.cells(unit) if with_ablation else ())]
            for unit in choices.units()
        }
        _write_predictions(tasks, written.files[1])
        path, text = written.path, records
        if written.size + len(records) > LIMIT:
            path, text = path.with_name(f"{path.name}.gz"), gzip.compress(records, mtime=0)
        with whole_file(path) as temporary:
            temporary.write_bytes(text)
        if (found := PublishedRun(path)).size <= LIMIT:
            return found
        path.unlink()
    raise GateError(
        f"the run in '{run.path}' cannot be published: it would take {found.size + len(text):,} bytes,"
        f" {found.size + len(text) - LIMIT:,} more than the {LIMIT:,} that a published run may take"
    )


def _write_predictions(cells: Mapping[Unit, Sequence[Cell]], path: Path) -> None:
    """Write predictions without scores, which a board does not need, and with numbers in place of the names of groups,
    which may be text of the data. The numbers are the same in every language and every run.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    strings = pa.list_(pa.string())
    schema = pa.schema(
        {"task": pa.string(), "task_version": pa.int32(), **dict.fromkeys(_UNIT, pa.string())}
        | {"classes": strings, "example_id": strings, "group": pa.list_(pa.int64())}
        | {"label": strings, "cell_id": strings, "prediction": pa.list_(strings)}
    )
    tasks = [_task_row(unit, once(each)) for unit, each in cells.items()]
    repeated = ["label.list.element", "prediction.list.element.list.element"]
    with whole_file(path) as temporary:
        pq.write_table(
            pa.Table.from_pylist(tasks, schema),
            temporary,
            compression="zstd",
            compression_level=19,
            use_dictionary=repeated,
            write_statistics=False,
            write_page_checksum=True,
        )


def _task_row(unit: Unit, cells: Sequence[Cell]) -> dict[str, Any]:
    first = read_predictions(cells[0])
    arms = [first, *(read_predictions(cell, like=first) for cell in cells[1:])]
    names = np.array(first.classes, object)
    numbers = [None if digits is None else int(digits) for digits in first.sources.tolist()]
    return {
        "task": unit.task,
        "task_version": unit.version,
        **{name: getattr(unit, name) for name in _UNIT},
        "classes": first.classes,
        "example_id": first.ids,
        "group": numbers if any(number is not None for number in numbers) else None,
        "label": names[first.labels],
        "cell_id": [arm.cell.cell_id for arm in arms],
        "prediction": [names[arm.predicted] for arm in arms],
    }


def _environment(run: RunFolder) -> dict[str, Any]:
    """Return the suite, times, machine and software of a run, without arguments and paths."""
    about = run.about()
    path = run.path / "env.json"
    facts = read_mapping(path, f"'{path}' is missing or damaged")
    starts = [event for event in run.events() if event.get("event") == "started"]
    for told in (facts, *starts):
        told["os"] = str(told.get("os")).split("-")[0]  # the rest names a host's own kernel
    distributions = facts.get("distributions")
    known = distributions if isinstance(distributions, dict) else {}
    return {
        "cells": len(about["cells"]),
        "finished": about.get("finished"),
        **{name: facts.get(name) for name in _FACTS},
        **{name: facts[name] for name in _ADDED_FACTS if name in facts},
        "distributions": {name: known.get(name) for name in _DISTRIBUTIONS},
        # a resumed run may have begun elsewhere
        "starts": [
            {name: told for name, told in start.items() if name not in ("argv", "event")} for start in starts
        ],
        "suite": about["suite"],
    }
