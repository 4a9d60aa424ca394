"""Commands that run what a page shows, as text for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.config.board_file import Awaited
from harness.leaderboard.board import Board, Row
from harness.leaderboard.exports.exported import runs_of
from harness.storage.parsing import parsing


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Commands of a board's rows. `models` are those of each suite as it spells them, by the suite's name."""

    models: Mapping[str, Sequence[str]]

    def run_row(self, row: Row, tasks: Iterable[str] = ()) -> str:
        """Return the command that runs a row and its baseline, on some tasks of the suite or on all: one a line where
        the row is of several suites. A suite that is not registered is the file that it was read from.
        """
        chosen = [word for task in tasks for word in ("-t", task)]
        return "\n".join(
            shlex.join(["harness", "run", suite, *self._choose_model(row.model, suite), *chosen])
            for suite in row.suites
        )

    def run_model(self, rows: Iterable[Row]) -> str:
        """Return the command that runs all rows of one model, one a line where they are of several suites."""
        return "\n".join(dict.fromkeys(line for row in rows for line in self.run_row(row).splitlines()))

    def _choose_model(self, label: str | None, suite: str) -> list[str]:
        """Return the option for a model of the suite, whose label may have parameters that the suite gives."""
        if label is None:
            return ["--set", "models=[]"]
        fitting = [ref for ref in self.models.get(suite, ()) if label == ref or label.startswith(f"{ref}[")]
        return ["-m", max(fitting, key=len, default=label)]


def find_commands(board: Board) -> Commands:
    """Return the commands of a board's rows.

    Raise UnavailableError where a run does not say what its suite was.
    """
    models: dict[str, list[str]] = {}
    for run in runs_of(cell for row in board.rows for cell in row.cells):
        with parsing(f"'{run.path}' does not say which models its suite has"):
            suite = run.about()["suite"]
            known = [
                str(model["ref"] if isinstance(model, dict) else model) for model in suite.get("models") or ()
            ]
            models.setdefault(str(suite["name"]), []).extend(known)
    return Commands(models=models)


def command_to_await(one: Awaited) -> str:
    """Return the command that runs a model that a board has not."""
    return shlex.join(["harness", "run", one.suite, "-m", one.model])
