"""The page itself: what a board says, put into its HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.api.text import plain_line, printable, shorten
from harness.config.board_file import NOTHING_SAID, About
from harness.leaderboard.analyses.transfer import find_matrices
from harness.leaderboard.board import Board, TaskSummary
from harness.leaderboard.exports.exported import runs_of
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.board_page import Sections
from harness.leaderboard.plots import Plot
from harness.leaderboard.plugins import describe, describe_plugin, find_plugins
from harness.leaderboard.provenance import RunFacts, find_facts
from harness.leaderboard.published.badge import badge_of
from harness.leaderboard.web.commands import find_commands
from harness.leaderboard.web.flags import explain
from harness.leaderboard.web.matrices import encode_matrices
from harness.leaderboard.web.overview import Overview, describe_scores, judge, make_overviews
from harness.leaderboard.web.rendering import make_environment, render_markdown
from harness.leaderboard.web.stated import NOTHING_STATED, Stated
from harness.leaderboard.web.tables import GROUP, Behind, Table, encode, make_tables

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

ROWS_WITHOUT_SCRIPTS = 200
"""Rows that the page shows where scripts are off."""

LARGEST = 20_000_000
"""Bytes of tables that stand in the page itself; larger ones have files beside it."""

PIECE = 50_000
"""Lines of a table in a file beside the page."""

PIECES = "leaderboard-*-[0-9]*.js"
"""Pattern of the names of these files."""


def to_html(
    board: Board,
    downloads: Sequence[str],
    sections: Sections,
    *,
    about: About = NOTHING_SAID,
    stated: Stated = NOTHING_STATED,
    plots: Sequence[Plot] = (),
) -> dict[str, str]:
    """Return leaderboard.html, and the files beside it that hold tables too large for it; `downloads` are the names of
    the board's other files, `sections` what stands behind its scores.
    """
    overviews = make_overviews(board, about.awaited)
    names = [
        one.name for one in overviews if (one.lines and any(line.scores for line in one.lines)) or one.others
    ]
    behind = Behind(commands=find_commands(board), plugins=find_plugins(board))
    tables = make_tables(board, names or [overviews[-1].name], behind)
    encoded = [encode(table) for table in tables]
    beside = _split(encoded)
    matrices = encode_matrices(find_matrices(board))
    told = dict.fromkeys(str(line["flags"]) for table in tables for line in table.lines if line.get("flags"))
    flags = explain(dict.fromkeys(flag for text in told for flag in text.split(", ")))
    runs = runs_of([cell for row in board.rows for cell in row.cells])
    data = {
        "groups": names,
        "piece": PIECE,
        "tasks": {plain_line(shorten(task.name)): _describe_task(task) for task in board.tasks},
        "tables": encoded,
        "matrices": matrices,
        "flags": {plain_line(one.name): one.reason for one in flags},
    }
    page = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            board=board,
            title=plain_line(shorten(", ".join(board.suites))),
            about=about.text,
            beside_boards=about.beside,
            stated=stated,
            scores=describe_scores(board),
            overviews=overviews,
            scale=_find_scale(overviews),
            tables=tables,
            static=_static(tables),
            sections=_render_sections(sections),
            flags=flags,
            runs=[(find_facts(run), badge_of(run)) for run in runs],
            plugins_of=_list_plugins,
            plots=plots,
            matrices=bool(matrices),
            downloads=downloads,
            data=_to_script(data),
            beside=list(beside),
        )
    )
    return {"leaderboard.html": page, **beside}


def _list_plugins(facts: RunFacts) -> str:
    """Return the plugins of a run in one line, with interface and check where the run tells of them."""
    told = (
        f"{name} ({version}{f'; {describe(*describe_plugin(name, facts))}' if name in facts.interfaces else ''})"
        for name, version in facts.plugins.items()
    )
    return ", ".join(told)


def _describe_task(task: TaskSummary) -> dict[str, str]:
    """Return what a task is, by what it is called on the page."""
    removed = {name: count for name, count in task.hygiene.removed.items() if count}
    told = {
        "test rows": f"{task.n_test:,}",
        "classes": str(task.n_classes),
        "macro-F1 of guessing": markdown.point(task.chance),
        "ceiling": markdown.point(task.ceiling) if task.absent else "",
        "removed": ", ".join(f"{count:,} {name}" for name, count in removed.items()) or "nothing",
        "rows drawn": f"{task.hygiene.drawn:,} of {task.hygiene.drawn_from:,}"
        if task.hygiene.drawn_from
        else "all",
        "flags": ", ".join(task.flags),
        "enters means and ranks": "yes" if task.is_ranked_by else "no: too few groups of test rows",
    }
    return {name: text for name, text in told.items() if text}


def _split(encoded: list[dict[str, Any]]) -> dict[str, str]:
    """Move the values of tables that are too large together into files beside the page, the largest table first.

    A file is a script, since a page that is opened from a disk can read no other file.
    """
    beside: dict[str, str] = {}
    sizes = {table["name"]: len(json.dumps(table["values"])) for table in encoded}
    for table in sorted(encoded, key=lambda table: -sizes[table["name"]]):
        if sum(sizes.values()) <= LARGEST:
            break
        sizes[table["name"]] = 0
        table["files"] = []
        for begin in range(0, table["n"], PIECE):
            name = f"leaderboard-{table['name']}-{begin // PIECE + 1}.js"
            piece = {key: _cut(values, begin) for key, values in table["values"].items()}
            beside[name] = f"harnessPiece({json.dumps(table['name'])}, {begin}, {_dump(piece)});\n"
            table["files"].append(name)
        table["values"] = {}
    return beside


def _cut(values: Any, begin: int) -> Any:
    if isinstance(values, Mapping):
        return {"texts": values["texts"], "at": values["at"][begin : begin + PIECE]}
    return values[begin : begin + PIECE]


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _to_script(data: Any) -> Markup:
    """Return JSON that can stand in an element of HTML: no text in it ends the element."""
    from markupsafe import Markup

    return Markup(_dump(data).replace("<", "\\u003c"))  # JSON without any `<` is no markup


def _find_scale(overviews: Sequence[Overview]) -> float:
    """Return the largest end of an interval of a difference, which the bars reach."""
    ends = [
        abs(end)
        for one in overviews
        for answer in one.answers
        for delta in (
            answer.delta,
            answer.over_control,
            answer.over_words,
            answer.without_largest,
            answer.added,
        )
        if delta is not None
        for end in delta.interval or ()
    ]
    return max(ends, default=0.0) or 0.1


def _static(tables: Sequence[Table]) -> list[tuple[str, Table, list[Mapping[str, Any]]]]:
    """Return the first rows of each group for readers without scripts."""
    rows = next((table for table in tables if table.name == "rows"), None)
    if rows is None:
        return []
    groups = dict.fromkeys(line[GROUP] for line in rows.lines)
    return [
        (name, rows, [line for line in rows.lines if line[GROUP] == name][:ROWS_WITHOUT_SCRIPTS])
        for name in groups
    ]


def _render_sections(sections: Sections) -> list[tuple[str, str, Markup]]:
    """Return headings, anchors and texts of what stands one click away, as on leaderboard.md."""
    found = []
    for heading, *rest in sections:
        name = heading.removeprefix("## ")
        # As links from one section to another have it.
        place = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
        found.append((name, place, render_markdown(markdown.join(*rest))))
    return found


@cache
def _environment() -> Environment:
    environment = make_environment()
    environment.filters |= {
        "score": markdown.score,
        "difference": markdown.difference,
        "judge": judge,
        # YAML reads letters, and not the pairs of escapes that JSON has for rare ones.
        "tojson_text": lambda value: printable(json.dumps(value, ensure_ascii=False, indent=1)),
        "trusted": _trust,
        "flags": lambda text: explain(filter(None, text.split(", "))),
    }
    environment.globals["write"] = _write
    return environment


def _write(column: Any, line: Mapping[str, Any]) -> str:
    """Return the text of a cell of the table without scripts."""
    value = line.get(column.key)
    if value is None or value == "":
        return markdown.NONE
    if column.look in ("score", "difference"):
        write = markdown.signed if column.look == "difference" else markdown.point
        low, high = line.get(column.low), line.get(column.high)
        return (
            f"{write(value)} [{write(low)}, {write(high)}]"
            if low is not None and high is not None
            else write(value)
        )
    if column.look == "bytes":
        return f"{value / 1e9:.1f} GB"
    if column.look == "number":
        return markdown.point(value)
    return f"{value:,.0f}" if column.look == "count" and not isinstance(value, str) else str(value)


def _trust(svg: str) -> Markup:
    """Return a drawing of this package, whose texts the drawing library escaped."""
    from markupsafe import Markup

    return Markup(svg)
