"""Table of a leaderboard in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness.api.names import short_names
from harness.cli.tables import Column, print_note, print_tables, without_width

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    Column(head="rank"),
    Column(head="model", is_name=True),
    Column(head="representation", is_name=True),
    Column(head="width"),
    Column(head="macro-F1"),
    Column(head="[95 %]", called="[95 %] of macro-F1"),
    Column(head="Δ hidden"),
    Column(head="[95 %]", called="[95 %] of Δ hidden"),
    Column(head="won/tied/lost"),
    Column(head="chosen", is_name=True),
    Column(head="flags", is_name=True),
)

IMPORTANCE = (
    *("Δ hidden", "rank", "width", "[95 %] of Δ hidden", "won/tied/lost", "[95 %] of macro-F1"),
    *("chosen", "flags"),
)
"""Columns that a narrow terminal lacks, the first of them last: those are kept that say whether features beat hidden
states, then by how much. Names and the score are always there, and rows stand in their order without a rank, too.
"""


def print_board(board: pd.DataFrame, *, wide: bool) -> None:
    """Print a leaderboard: a table for each kind of model and of task that are ranked apart."""
    rows: list[Any] = board.astype(object).where(board.notna(), None).to_dict("records")
    names = {kind: short_names(row[kind] for row in rows) for kind in ("model", "representation")}
    tables: dict[str, list[list[str]]] = {}
    for title, row in zip(_titles(rows), rows, strict=True):
        shown = {kind: known[row[kind]] for kind, known in names.items()}
        tables.setdefault(title, []).append(_cells({**row, **shown}))
    named = [(title, *row[1:3]) for title, cells in tables.items() for row in cells]
    print_tables(COLUMNS, tables, importance=without_width(IMPORTANCE, named), wide=wide)
    if not any(row["n_tasks"] for row in rows):
        print_note(
            "no task has groups of test rows enough for an interval: leaderboard.md, written by a run and by"
            " leaderboard build, has the scores",
            wide=wide,
        )


def _titles(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the title of each row's table; "" where there is one table only."""
    parts = [
        ("toy models (trained here)" if row["toys"] else "models", f"tasks of {row.get('reads')}")
        for row in rows
    ]
    several = [len(set(values)) > 1 for values in zip(*parts, strict=True)]
    return [", ".join(part for part, shown in zip(pair, several, strict=True) if shown) for pair in parts]


def _cells(row: Mapping[str, Any]) -> list[str]:
    """Return the texts of a row, one for each of the COLUMNS."""
    outcome = "" if row["won"] is None else f"{row['won']}/{row['tied']}/{row['lost']}"
    tokens = "" if row["tokens"] in ("", "content") else f"tokens={row['tokens']}"
    chosen = (row["site"], row["pooling"], row["transform"], row["classifier"], tokens)
    return [
        _span(row["rank"], row["last_rank"]),
        row["model"],
        row["representation"],
        "" if row["width"] is None else str(row["width"]),
        *_estimate(row, "macro_f1"),
        *_estimate(row, "delta_vs_hidden", "delta", sign="+"),
        outcome,
        " ".join(filter(None, chosen)),
        row["flags"],
    ]


def _estimate(row: Mapping[str, Any], name: str, ends: str | None = None, sign: str = "") -> tuple[str, str]:
    """Return a value and its interval."""
    value, low, high = row[name], row[f"{ends or name}_low"], row[f"{ends or name}_high"]
    if value is None:
        return "", ""
    return f"{value:{sign}.3f}", "" if low is None else f"[{low:{sign}.3f}, {high:{sign}.3f}]"


def _span(first: int | None, last: int | None) -> str:
    return "" if first is None else str(first) if first == last else f"{first}–{last}"
