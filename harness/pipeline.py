"""Pipeline of a run: cells, figures and leaderboard, the one place where these three meet."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from harness import leaderboard
from harness.api.errors import NothingSelectedError
from harness.api.events import RunFinished, Summary
from harness.planning.cells import Plan
from harness.runs.context import RunContext
from harness.runs.messages import lose_unwritable
from harness.runs.runner import run_plan


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Result of a run: its summary and its leaderboard, None if no cell ended well."""

    summary: Summary
    board: leaderboard.Board | None


def run(plan: Plan, context: RunContext) -> RunResult:
    """Run a plan into its folder, and write its leaderboard and figures there.

    Raise WriteError when results cannot be written, UnavailableError when another process works on the folder.
    """
    folder = context.folder
    with folder.hold(), context.store.in_use(), lose_unwritable():
        finished = run_plan(plan, context)
        leaderboard.remove(folder.path)  # whatever fails now, an old board must not pass for this run's
        board = None
        with folder.marked_when_cut(), suppress(NothingSelectedError):  # raised where no cell ended well
            board = leaderboard.build([folder])
            _draw_figures(plan, board, context)
            leaderboard.write(board, folder.path)
        has_failed = finished.status == "finished" and not finished.summary.is_whole
        folder.finish("failed" if has_failed else finished.status)
        context.notify("run_finished", event=RunFinished(summary=finished.summary), summary=finished.summary)
        return RunResult(summary=finished.summary, board=board)


def _draw_figures(plan: Plan, board: leaderboard.Board, context: RunContext) -> None:
    """Draw the figures of the displayed cells of image tasks; what cannot be drawn is an event of the run."""
    if not any(bundle.data.spec.modality == "image" for bundle in plan.bundles):
        return
    from harness.figures.illustrate import illustrate  # imports torch, which takes seconds

    drawn = illustrate(
        plan,
        leaderboard.displayed_cell_ids(board),
        folder=context.folder,
        store=context.store,
        device=context.own_device,
        batch_size=context.batch_size,
    )
    for note in drawn.notes:
        context.folder.add_event("not drawn", reason=note)
