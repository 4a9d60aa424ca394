"""Badge of a run: how far its scores can be believed without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.api.errors import HarnessError, UnavailableError
from harness.leaderboard.published.rerun_report import RerunReport, read_report
from harness.leaderboard.selection import choose, read_cells
from harness.runs.record import Record, Results
from harness.validation.cells import check_stored

Kind = Literal["recomputed", "rerun", "self-reported"]


@dataclass(frozen=True)
class Badge:
    """Kind of proof, and a plain text on what it proves and what not. The text may hold names from a file: escape it
    as any other text.
    """

    kind: Kind
    text: str


def badge_of(run: Results) -> Badge:
    """Return the badge of a published run or a run folder. What cannot be read is self-reported.

    Nothing is run: the predictions of the cells that the run's board shows are read, once, and scored.
    """
    try:
        cells = displayed_records(run)
        wrong = sum(not _is_recomputed(run, record) for record in cells)
    except HarnessError:
        return Badge("self-reported", "self-reported: the records or their predictions cannot be read")
    if wrong:
        return Badge(
            "self-reported",
            f"self-reported: {wrong} of the {len(cells)} cells that the board shows have no predictions that give "
            f"their scores",
        )
    try:
        report = read_report(run)
    except UnavailableError:
        report = None  # `harness leaderboard check` names the fault
    return _describe_rerun(report, len(cells)) if report else _describe_recomputed(len(cells))


def displayed_records(run: Results) -> list[Record]:
    """Return the records that the board of a run shows: the chosen cells, and the baselines they are compared with.

    Raise NothingSelectedError when none ended well.
    """
    choices = choose(read_cells([run]))
    cells = (cell for unit in choices.units() for cell in choices.cells(unit))
    return list({cell.cell_id: cell.record for cell in cells}.values())


def _is_recomputed(run: Results, record: Record) -> bool:
    """Return whether predictions that are those that were scored give macro-F1 and accuracy of a record."""
    if not {"macro_f1", "accuracy"} <= record.metrics.keys():
        return False
    try:
        return not check_stored(run, record)
    except UnavailableError:
        return False


def _describe_recomputed(cells: int) -> Badge:
    return Badge(
        "recomputed",
        f"recomputed: the scores of all {_count(cells)} that the board shows follow from the published predictions; "
        f"this does not prove that the predictions came from the model",
    )


def _describe_rerun(report: RerunReport, cells: int) -> Badge:
    largest, limit = report.largest, report.tolerance
    return Badge(
        "rerun",
        f"rerun: {_count(len(report.cells))}, drawn by {report.draw}, were run again on "
        f"{report.date[:10]} ({_name(report.here.hardware)}) and differ from the published ones in at most "
        f"{largest.differing:.2%} of predictions and {largest.macro_f1:.4f} of macro-F1 (allowed: "
        f"{limit.differing:.2%} and {limit.macro_f1:.4f}); the scores of all {_count(cells)} that the board shows "
        f"follow from the published predictions; this does not prove the predictions of cells that were not run again",
    )


def _count(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"


def _name(facts: Mapping[str, str | None]) -> str:
    named = [facts.get(name) for name in ("os", "cpu", "gpu")]
    return ", ".join(filter(None, named)) or "hardware unknown"
