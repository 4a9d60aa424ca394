"""Commands that run what a page shows, as text for a shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.board_file import Awaited
from harness.leaderboard.board import Board, Row, TaskResult
from harness.leaderboard.exports.exported import runs_of
from harness.leaderboard.selection import group_by
from harness.storage.parsing import parsing


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Commands of a board's rows. `suites` are the suites as they were run, by the path of the run."""

    suites: Mapping[Path, Mapping[str, Any]]

    def run_row(self, row: Row, result: TaskResult | None = None) -> str:
        """Return the command that runs a row and its baseline, on all tasks or for one result; one a line where several
        runs were made otherwise.

        A suite is named as it was; one that no plugin offers is to be read from a file.
        """
        results = (*row.all_results, *row.unsupported) if result is None else (result,)
        by_run = group_by((cell for one in results for cell in one.cells), lambda cell: cell.run.path)
        tasks = () if result is None else ("-t", result.unit.task)
        lines = [] if by_run else [self._run_failed(row)]
        for path, cells in by_run.items():
            suite = self.suites[path]
            # Both models of a transfer, or it is dropped.
            labels = dict.fromkeys((row.model, *(cell.record.learnt_on for cell in cells)))
            chosen = _choose_models([label for label in labels if label is not None], suite)
            lines.append(
                shlex.join(["harness", "run", str(suite["name"]), *chosen, *tasks, *_override(suite)])
            )
        return "\n".join(dict.fromkeys(lines))

    def _run_failed(self, row: Row) -> str:
        """Return the command of a row of which no cell ended well."""
        model = ["--set", "models=[]"] if row.model is None else ["-m", row.model]
        return "\n".join(shlex.join(["harness", "run", suite, *model]) for suite in row.suites)


def _choose_models(labels: Iterable[str], suite: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options for models of a suite, whose labels may have parameters that the suite gives."""
    entries = (model if isinstance(model, Mapping) else {"ref": model} for model in suite.get("models") or ())
    known = {str(entry["ref"]): entry for entry in entries}
    dtypes = []
    for label in labels:
        fitting = [ref for ref in known if label == ref or label.startswith(f"{ref}[")]
        ref = max(fitting, key=len, default=label)
        dtypes.append(known.get(ref, {}).get("dtype"))
        yield from ("-m", ref)
    if not dtypes:
        yield from ("--set", "models=[]")
        if suite.get("transfers"):  # between models that are not run
            yield from ("--set", "transfers=[]", "--set", "alignments=[]")
    elif None not in dtypes and len(set(dtypes)) == 1:
        yield from ("--dtype", str(dtypes[0]))


def _override(suite: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options for seeds and rows, which may have been given on the command line."""
    seeds = list(suite.get("seeds") or [0])
    if seeds == list(range(len(seeds))) and len(seeds) > 1:
        yield from ("--seeds", str(len(seeds)))
    elif seeds != [0]:
        yield from ("--set", f"seeds={json.dumps(seeds)}")
    if suite.get("limit"):
        yield from ("-L", str(suite["limit"]))


def find_commands(board: Board) -> Commands:
    """Return the commands of a board's rows.

    Raise UnavailableError where a run does not say what its suite was.
    """
    suites: dict[Path, Mapping[str, Any]] = {}
    cells = (cell for row in board.rows for one in (*row.all_results, *row.unsupported) for cell in one.cells)
    for run in runs_of(cells):
        with parsing(f"'{run.path}' does not say what its suite was"):
            suite = run.about()["suite"]
            suites[run.path] = {**suite, "name": str(suite["name"])}
    return Commands(suites=suites)


def command_to_await(one: Awaited) -> str:
    """Return the command that runs a model that a board has not."""
    return shlex.join(["harness", "run", one.suite, "-m", one.model])
