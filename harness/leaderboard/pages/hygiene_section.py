"""Section of the board page on rows that were removed, cut or drawn before anything was fitted."""

from __future__ import annotations

from collections.abc import Callable

from harness.data.cleaning import Hygiene
from harness.leaderboard.board import Board
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.markdown import NONE

MOST = "The most over the task's cells; cut inputs depend on the model. Tasks without any are left out."
NEAR = (
    "Near leaks are texts that are in an earlier split but for case, blanks, final punctuation or look-alike letters"
    " (in brackets those with another label there); they are kept, and their rows flagged, unless `leaks: near`"
    " removes them."
)
FUZZY = (
    "Fuzzy leaks are further texts whose sequences of 5 characters are to four fifths or more those of a text in an"
    " earlier split (Jaccard index ≥ .8): reposts and small edits. In a set made of templates, any two rows of one"
    " template may be that near; there the count says how the set was made, and not that it leaks."
)


def section(board: Board) -> list[str]:
    """Return the section: a table of the tasks of which anything was removed or found, and what its counts mean."""
    tasks = {task.name: task.hygiene for task in board.tasks}
    columns: dict[str, Callable[[Hygiene], str]] = {
        "duplicates": lambda one: str(one.duplicates),
        "leaks": lambda one: str(one.leaks),
        "near leaks": lambda one: _count(one.near_leaks, one.near_opposite),
        "fuzzy leaks": lambda one: _count(one.fuzzy_leaks, one.fuzzy_opposite),
        "conflicts": lambda one: str(one.conflicts),
        "empty": lambda one: str(one.empty),
        "broken images": lambda one: str(one.broken),
        "cut inputs": lambda one: str(one.cut),
        "rows drawn": lambda one: f"{one.drawn:,} of {one.drawn_from:,}" if one.drawn_from else "all",
    }
    is_fuzzy = any(one.fuzzy_leaks is not None for one in tasks.values())
    shown = {
        "fuzzy leaks": is_fuzzy,
        "broken images": any(one.broken for one in tasks.values()),
        "rows drawn": any(one.drawn_from for one in tasks.values()),
    }
    columns = {name: text for name, text in columns.items() if shown.get(name, True)}
    lines = [
        [name, *(text(one) for text in columns.values())]
        for name, one in tasks.items()
        if _is_noteworthy(one)
    ]
    unknown = sum(one.near_leaks is None for one in tasks.values())
    uncounted = (
        f"Near leaks were not counted in {unknown} of {len(tasks)} tasks: images, or records from before that count."
        if unknown
        else ""
    )
    said = [MOST, NEAR, FUZZY if is_fuzzy else "", uncounted] if lines else ["None.", uncounted]
    table = [markdown.table(["task", *columns], lines)] if lines else []
    return ["## Removed examples", " ".join(filter(None, said)), *table]


def _is_noteworthy(one: Hygiene) -> bool:
    """Return True if anything was removed, cut or left out by a limit, or is a near or fuzzy leak."""
    return any((*one.removed.values(), one.cut, one.near_leaks, one.fuzzy_leaks, one.drawn_from))


def _count(leaks: int | None, opposite: int | None) -> str:
    if leaks is None:
        return NONE
    return f"{leaks} ({opposite})" if opposite else str(leaks)
