"""A Board in, data frames out, and the CSV files made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from harness.leaderboard.analyses.regimes import UnderRegime, under_regimes
from harness.leaderboard.board import Ablated, Board, Row, TaskResult, mean_metric
from harness.leaderboard.pages.markdown import NONE
from harness.leaderboard.scoring import Estimate
from harness.leaderboard.selection import Choice, in_natural_order

# fmt: off
_WHOLE = [
    "rank", "width", "n_tasks", "won", "tied", "lost", "last_rank", "seeds", "peak_memory",
    "tried", "tried_least", "rank_low", "rank_high", "repeats",
]
# fmt: on


def to_frame(board: Board) -> pd.DataFrame:
    """One line a row, in the board's order; the columns of leaderboard.csv."""
    frame = pd.DataFrame([_line(row) for row in board.rows])
    if board.is_mixed:
        frame["reads"] = [row.reads for row in board.rows]
    return frame.astype(dict.fromkeys(_WHOLE, "Int64"))


def to_csv(board: Board) -> str:
    """leaderboard.csv: numbers to six digits after the point, empty where there is none."""
    return write_csv(to_frame(board))


def to_task_csv(board: Board) -> str:
    """leaderboard-tasks.csv: one line for each row and task; what was learnt in other languages, and is not what rows
    are ranked by, stands in matrix.csv.
    """
    lines = [
        _result_line(row, result)
        for row in board.rows
        for result in (*row.results, *(other for other in row.others if not other.unit.is_across))
    ]
    return write_csv(pd.DataFrame(lines).astype({"width": "Int64"}))


def to_regimes_csv(board: Board) -> str:
    """leaderboard-regimes.csv: one line for each row and regime; "" where there is one regime only."""
    lines = [_regime_line(one) for one in under_regimes(board)]
    return write_csv(pd.DataFrame(lines).astype({"width": "Int64"})) if lines else ""


def to_ablation_csv(board: Board) -> str:
    """leaderboard-ablation.csv: one line for each axis, value and row; "" where there is no ablation."""
    lines = [_ablation_line(one) for one in board.ablation]
    return write_csv(pd.DataFrame(lines).astype({"width": "Int64"})) if lines else ""


def write_csv(frame: pd.DataFrame) -> str:
    """Numbers to six digits after the point, empty where there is none."""
    return str(frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def _line(row: Row) -> dict[str, Any]:
    choice = choice_of(row)
    tokens = choice.pop("tokens")
    return {
        "rank": row.rank,
        "model": row.model or NONE,
        "representation": row.representation,
        "width": row.width,
        **choice,
        "n_tasks": len(row.results),
        **write_numbers("macro_f1", row.macro_f1),
        "delta_vs_hidden": row.delta.value if row.delta else None,
        "delta_low": row.delta.interval[0] if row.delta else None,
        "delta_high": row.delta.interval[1] if row.delta else None,
        **write_numbers("delta_matched", row.matched),
        "won": row.count("won"),
        "tied": row.count("tied"),
        "lost": row.count("lost"),
        "tokens_per_s": row.tokens_per_s,
        "flags": ", ".join(row.flags),
        "suite": ", ".join(row.suites),
        "last_rank": row.last_rank,
        "seeds": len({cell.record.seed for cell in row.cells}),
        "seed_sd": row.seed_sd,
        "accuracy": mean_metric(row.results, "accuracy"),
        "auroc": mean_metric(row.results, "auroc"),
        "dictionary": " ".join(
            sorted(
                {cell.record.dictionary for cell in row.cells if cell.record.dictionary}, key=in_natural_order
            )
        ),
        "fidelity": join(cell.record.fidelity.verdict for cell in row.cells),
        "explained_variance": _mean_fidelity(row, "explained_variance"),
        "l0": _mean_fidelity(row, "l0"),
        "published_l0": _mean_fidelity(row, "published_l0"),
        "seconds": row.seconds,
        "peak_memory": row.peak_memory,
        "tokens": tokens,
        "tried": row.tried[1] if row.tried else None,
        "tried_least": row.tried[0] if row.tried else None,
        "rank_low": row.rank_interval[0] if row.rank_interval else None,
        "rank_high": row.rank_interval[1] if row.rank_interval else None,
        "ties": " ".join(str(group + 1) for group in row.ties),
        "seed_range": row.seed_range,
        "repeats": row.repeats.cells if row.repeats else None,
        "repeat_median": row.repeats.median if row.repeats else None,
        "repeat_largest": row.repeats.largest if row.repeats else None,
        "repeat_differing": row.repeats.differing if row.repeats else None,
    }


def _result_line(row: Row, result: TaskResult) -> dict[str, Any]:
    return {
        "task": result.task,
        "model": row.model or NONE,
        "representation": row.representation,
        "width": row.width,
        **write_numbers("macro_f1", result.macro_f1),
        **write_numbers("delta_vs_hidden", result.delta),
        **write_numbers("delta_matched", result.matched),
        "p_value": result.p_value,
        "detectable": result.detectable,
        "outcome": result.verdict,
    }


def _regime_line(one: UnderRegime) -> dict[str, Any]:
    return {
        "model": one.row.model or NONE,
        "representation": one.row.representation,
        "width": one.row.width,
        "regime": one.regime,
        "n_tasks": one.n_tasks,
        **write_numbers("macro_f1", one.macro_f1),
        "auroc": one.auroc,
        **write_numbers("delta_vs_hidden", one.delta),
    }


def _ablation_line(one: Ablated) -> dict[str, Any]:
    compared = "hidden overall" if one.overall else "hidden at the value"
    return {
        "axis": one.axis,
        "value": one.value,
        "model": one.row.model or NONE,
        "representation": one.row.representation,
        "width": one.row.width,
        "n_tasks": one.n_tasks,
        **write_numbers("macro_f1", one.macro_f1),
        "auroc": one.auroc,
        "validation_macro_f1": one.validation,
        **write_numbers("delta_vs_hidden", one.delta),
        "compared_with": compared if one.delta else None,
    }


def choice_of(row: Row) -> dict[str, str]:
    """What the row goes by on each axis of what was searched; several values are joined."""
    return {name: join(getattr(cell.choice, name) for cell in row.cells) for name in Choice._fields}


def _has_token_sets(board: Board) -> bool:
    """Whether any row pools other tokens than content, which then is worth a column."""
    return any(choice_of(row)["tokens"] not in ("", "content") for row in board.rows)


def join(values: Iterable[str]) -> str:
    """The distinct values, `max/mean`; at most three, then an ellipsis."""
    distinct = sorted({value for value in values if value}, key=in_natural_order)
    return "/".join(distinct[:3] + ["…"] * (len(distinct) > 3))


def write_numbers(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """The columns of an estimate: the value, and the ends of its interval."""
    low, high = estimate.interval if estimate else (None, None)
    return {name: estimate.value if estimate else None, f"{name}_low": low, f"{name}_high": high}


def _mean_fidelity(row: Row, name: str) -> float | None:
    """A fidelity number's mean over the row's cells that have it; None where none has."""
    values = [getattr(cell.record.fidelity, name) for cell in row.cells]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
