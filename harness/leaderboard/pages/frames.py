"""Data frames of a board, and the CSV files made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from harness.api.text import csv_text
from harness.leaderboard.analyses.regimes import UnderRegime, under_regimes
from harness.leaderboard.board import VERDICTS, Ablated, Board, Row, TaskResult, mean_metric
from harness.leaderboard.pages.markdown import NONE
from harness.leaderboard.scoring import Estimate, mean_known
from harness.leaderboard.selection import Choice, RowKey, in_natural_order

_WHOLE = (
    *("rank", "width", "n_tasks", "won", "tied", "lost", "last_rank", "seeds", "peak_memory"),
    *("tried", "tried_least", "rank_low", "rank_high", "repeats", "resource_languages"),
)
"""Columns of whole numbers, which may be empty."""


def to_frame(board: Board) -> pd.DataFrame:
    """Return the columns of leaderboard.csv, one line a row, in the board's order; `toys` says whether a row is ranked
    among toys, and arms without a model have a line each for toys and for other models where a board has both.
    """
    rows = [(row, group.of_toys) for group in board.groups for row in group.rows]
    frame = make_frame({**row_line(row), "toys": of_toys} for row, of_toys in rows)
    if board.is_mixed:
        frame["reads"] = [row.reads for row, _ in rows]
    return frame


def to_csv(board: Board) -> str:
    """Return leaderboard.csv."""
    return write_csv(to_frame(board))


def to_task_csv(board: Board) -> str:
    """Return leaderboard-tasks.csv."""
    return write_csv(to_task_frame(board))


def to_task_frame(board: Board) -> pd.DataFrame:
    """Return the columns of leaderboard-tasks.csv: one line for each row and task. Unranked results of a language
    trained in another are in matrix.csv.
    """
    shown = {row.key: [one for one in row.others if not one.unit.is_across] for row in board.rows}
    lines = (
        result_line(row, one) for row in board.rows for one in (*row.results, *shown[row.key], *row.below)
    )
    return make_frame(lines)


def to_regimes_csv(board: Board) -> str:
    """Return leaderboard-regimes.csv: one line for each row and regime; "" where there is one regime only."""
    return write_csv(make_frame(map(_regime_line, under_regimes(board))))


def to_ablation_csv(board: Board) -> str:
    """Return leaderboard-ablation.csv: one line for each axis, value and row; "" where there is no ablation."""
    return write_csv(make_frame(map(ablation_line, board.ablation)))


def make_frame(lines: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a frame of lines, with whole numbers as such also where some are missing."""
    frame = pd.DataFrame(list(lines))
    return frame.astype({name: "Int64" for name in _WHOLE if name in frame})


def write_csv(frame: pd.DataFrame) -> str:
    """Return CSV text: numbers to six digits after the point, empty where there is none; "" without lines.

    No text in it is a formula.
    """
    if frame.empty:
        return ""
    texts = {
        str(name): [csv_text(value) if isinstance(value, str) else value for value in column]
        for name, column in frame.select_dtypes(exclude="number").items()
    }
    return str(frame.assign(**texts).to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def row_line(row: Row) -> dict[str, Any]:
    """Return the line of a row in leaderboard.csv."""
    choice, repeats = choice_of(row), row.repeats
    tokens = choice.pop("tokens")
    dictionaries = {cell.record.dictionary for cell in row.cells if cell.record.dictionary}
    least, most = row.tried or (None, None)
    low, high = row.rank_interval or (None, None)
    return {
        "rank": row.rank,
        **name_arm(row),
        **choice,
        "n_tasks": len(row.results),
        **write_numbers("macro_f1", row.macro_f1),
        **write_numbers("delta_vs_hidden", row.delta, ends="delta_"),
        **write_numbers("delta_matched", row.matched),
        **{verdict: row.count(verdict) for verdict in VERDICTS},
        "tokens_per_s": row.tokens_per_s,
        "flags": ", ".join(row.flags),
        "suite": ", ".join(row.suites),
        "last_rank": row.last_rank,
        "seeds": len({cell.record.seed for cell in row.cells}),
        "seed_sd": row.seed_sd,
        **{name: mean_metric(row.results, name) for name in ("accuracy", "auroc")},
        "dictionary": " ".join(sorted(dictionaries, key=in_natural_order)),
        "fidelity": join(cell.record.fidelity.verdict for cell in row.cells),
        **{
            name: mean_known(getattr(cell.record.fidelity, name) for cell in row.cells)
            for name in ("explained_variance", "l0", "published_l0")
        },
        **pick(row, "seconds", "peak_memory"),
        "tokens": tokens,
        "tried": most,
        "tried_least": least,
        "rank_low": low,
        "rank_high": high,
        "ties": " ".join(str(group + 1) for group in row.ties),
        "seed_range": row.seed_range,
        "repeats": repeats and repeats.cells,
        **{
            f"repeat_{name}": repeats and getattr(repeats, name)
            for name in ("median", "largest", "differing")
        },
    }


def result_line(row: Row, result: TaskResult) -> dict[str, Any]:
    """Return the line of a row and a task in leaderboard-tasks.csv."""
    return {
        "task": result.task,
        **name_arm(row),
        **write_numbers("macro_f1", result.macro_f1),
        **write_numbers("delta_vs_hidden", result.delta),
        **write_numbers("delta_matched", result.matched),
        **pick(result, "p_value", "detectable"),
        "outcome": result.verdict,
        "flags": ", ".join(result.flags),
    }


def _regime_line(one: UnderRegime) -> dict[str, Any]:
    return {
        **name_arm(one.row),
        "regime": one.regime,
        "n_tasks": len(one.tasks),
        **write_numbers("macro_f1", one.macro_f1),
        "auroc": one.auroc,
        **write_numbers("delta_vs_hidden", one.delta),
    }


def ablation_line(one: Ablated) -> dict[str, Any]:
    """Return the line of a row at a value in leaderboard-ablation.csv."""
    compared = "hidden overall" if one.overall else "hidden at the value"
    return {
        **pick(one, "axis", "value"),
        **name_arm(one.row),
        "n_tasks": one.n_tasks,
        **write_numbers("macro_f1", one.macro_f1),
        "auroc": one.auroc,
        "validation_macro_f1": one.validation,
        **write_numbers("delta_vs_hidden", one.delta),
        "compared_with": compared if one.delta else None,
    }


def pick(one: object, *names: str) -> dict[str, Any]:
    """Return columns that have the names of their attributes."""
    return {name: getattr(one, name) for name in names}


def name_arm(row: Row | RowKey) -> dict[str, Any]:
    """Return the columns that name a row."""
    return {"model": row.model or NONE, "representation": row.representation, "width": row.width}


def choice_of(row: Row) -> dict[str, str]:
    """Return the row's chosen value on each axis of the search."""
    return {axis: choice_on(axis, row) for axis in Choice._fields}


def choice_on(axis: str, row: Row) -> str:
    """Return the row's chosen value on one axis of the search; several values are joined."""
    return join(getattr(cell.choice, axis) for cell in row.cells)


def join(values: Iterable[str]) -> str:
    """Return the distinct values, such as `max/mean`; at most three, then an ellipsis."""
    distinct = sorted({value for value in values if value}, key=in_natural_order)
    return "/".join(distinct[:3] + ["…"] * (len(distinct) > 3))


def write_numbers(
    name: str, estimate: Estimate | None, *, ends: str | None = None
) -> dict[str, float | None]:
    """Return the columns of an estimate: the value, and `low` and `high` of its interval after `ends`, by default the
    name.
    """
    value = estimate.value if estimate else None
    low, high = (estimate and estimate.interval) or (None, None)
    ends = f"{name}_" if ends is None else ends
    return {name: value, f"{ends}low": low, f"{ends}high": high}
