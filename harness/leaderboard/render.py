"""A Board in, Markdown, CSV or a data frame out. Ties read as ties; names from outside are escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.files import whole_file
from harness.leaderboard.board import Board, Row, TaskResult, TaskSummary
from harness.leaderboard.choice import Choice, in_natural_order
from harness.leaderboard.controls import controls
from harness.leaderboard.estimate import Estimate
from harness.records import Fidelity

NONE = "—"

_WHOLE = ["rank", "width", "n_tasks", "won", "tied", "lost", "last_rank", "seeds", "peak_memory"]
_COLUMNS = {
    "rank": "rank",
    "model": "model",
    "representation": "representation",
    "width": "width",
    "macro_f1": "macro-F1",
    "delta": "Δ hidden",
    "matched": "Δ matched",
    "outcome": "won / tied / lost",
    "site": "site",
    "tokens": "tokens",
    "pooling": "pooling",
    "transform": "transform",
    "classifier": "classifier",
    "n_tasks": "tasks",
    "tokens_per_s": "tokens/s",
    "flags": "flags",
}


MANY_TASKS = 20
"""Above this the page shows each task in one line a model; leaderboard-tasks.csv has all numbers."""


def render(board: Board) -> dict[str, str]:
    """The board's files by name."""
    return {
        "leaderboard.md": to_markdown(board),
        "leaderboard.csv": to_csv(board),
        "leaderboard-tasks.csv": to_task_csv(board),
    }


def remove(folder: Path) -> None:
    """Take an earlier board away."""
    for name in ("leaderboard.md", "leaderboard.csv", "leaderboard-tasks.csv"):
        (folder / name).unlink(missing_ok=True)


def write(board: Board, folder: Path) -> None:
    """Write the board's files, each whole; MissingError when the disk refuses."""
    for name, text in render(board).items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(text, "utf-8")


def to_frame(board: Board) -> pd.DataFrame:
    """One line a row, in the board's order; the columns of leaderboard.csv."""
    frame = pd.DataFrame([_line(row) for row in board.rows])
    return frame.astype(dict.fromkeys(_WHOLE, "Int64"))


def to_csv(board: Board) -> str:
    """leaderboard.csv: numbers to six digits after the point, empty where there is none."""
    return _to_csv(to_frame(board))


def to_task_csv(board: Board) -> str:
    """leaderboard-tasks.csv: one line for each row and task."""
    lines = [_result_line(row, result) for row in board.rows for result in row.results]
    return _to_csv(pd.DataFrame(lines).astype({"width": "Int64"}))


def to_markdown(board: Board) -> str:
    """leaderboard.md: how to read it, the rows, task by task, removed examples."""
    parts = [
        f"# Leaderboard: {_escape(', '.join(board.suites))}",
        _how_to_read(board),
        _main_table(board),
        "## Task by task",
        _how_to_read_tasks(board),
        *_task_tables(board),
        *_controls(board),
        *_dictionaries(board),
        "## Removed examples",
        _removed_examples(board),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# ── the frame ────────────────────────────────────────────────────────────────────────────────────────────


def _line(row: Row) -> dict[str, Any]:
    choice = _choice(row)
    tokens = choice.pop("tokens")
    return {
        "rank": row.rank,
        "model": row.model or NONE,
        "representation": row.representation,
        "width": row.width,
        **choice,
        "n_tasks": len(row.results),
        **_numbers("macro_f1", row.macro_f1),
        "delta_vs_hidden": row.delta.value if row.delta else None,
        "delta_low": row.delta.interval[0] if row.delta else None,
        "delta_high": row.delta.interval[1] if row.delta else None,
        **_numbers("delta_matched", row.matched),
        "won": row.count("won"),
        "tied": row.count("tied"),
        "lost": row.count("lost"),
        "tokens_per_s": row.tokens_per_s,
        "flags": ", ".join(row.flags),
        "suite": ", ".join(row.suites),
        "last_rank": row.last_rank,
        "seeds": len({cell.record.seed for cell in row.cells}),
        "seed_sd": row.seed_sd,
        "accuracy": _mean_metric(row, "accuracy"),
        "auroc": _mean_metric(row, "auroc"),
        "dictionary": " ".join(
            sorted(
                {cell.record.dictionary for cell in row.cells if cell.record.dictionary}, key=in_natural_order
            )
        ),
        "fidelity": _join(cell.record.fidelity.verdict for cell in row.cells),
        "explained_variance": _mean_fidelity(row, "explained_variance"),
        "l0": _mean_fidelity(row, "l0"),
        "published_l0": _mean_fidelity(row, "published_l0"),
        "seconds": row.seconds,
        "peak_memory": row.peak_memory,
        "tokens": tokens,
    }


def _result_line(row: Row, result: TaskResult) -> dict[str, Any]:
    return {
        "task": result.task,
        "model": row.model or NONE,
        "representation": row.representation,
        "width": row.width,
        **_numbers("macro_f1", result.macro_f1),
        **_numbers("delta_vs_hidden", result.delta),
        **_numbers("delta_matched", result.matched),
        "p_value": result.p_value,
        "detectable": result.detectable,
        "outcome": result.verdict,
    }


def _to_csv(frame: pd.DataFrame) -> str:
    return str(frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def _choice(row: Row) -> dict[str, str]:
    return {name: _join(getattr(cell.choice, name) for cell in row.cells) for name in Choice._fields}


def _has_token_sets(board: Board) -> bool:
    """Whether any row pools other tokens than content, which then is worth a column."""
    return any(_choice(row)["tokens"] not in ("", "content") for row in board.rows)


def _join(values: Iterable[str]) -> str:
    """The distinct values, `max/mean`; at most three, then an ellipsis."""
    distinct = sorted({value for value in values if value}, key=in_natural_order)
    return "/".join(distinct[:3] + ["…"] * (len(distinct) > 3))


def _numbers(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    low, high = estimate.interval if estimate else (None, None)
    return {name: estimate.value if estimate else None, f"{name}_low": low, f"{name}_high": high}


def _mean_metric(row: Row, name: str) -> float | None:
    """A metric's mean over seeds, then tasks, of the row's cells; None where a cell lacks it."""
    means = []
    for result in row.results:
        found = [cell.record.metrics[name].value for cell in result.cells if name in cell.record.metrics]
        if len(found) < len(result.cells):
            return None
        means.append(sum(found) / len(found))
    return sum(means) / len(means) if means else None


def _mean_fidelity(row: Row, name: str) -> float | None:
    """A fidelity number's mean over the row's cells that have it; None where none has."""
    values = [getattr(cell.record.fidelity, name) for cell in row.cells]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────


def _how_to_read(board: Board) -> str:
    return (
        f"Each row's site,{' token set,' * _has_token_sets(board)} pooling, transform and classifier were chosen on"
        " validation; macro-F1 is on test,"
        f" its mean over tasks, with 95 % intervals ({board.resamples} paired bootstrap resamples)."
        " Δ hidden compares with the selected hidden states of the same model, Δ matched with hidden states"
        " at the row's own choice. A rank is the range of places that noise leaves: where ranges overlap, the"
        " order says nothing. A task is tied unless its Holm-adjusted p is below .05. tokens/s is that of the forward"
        " pass that made the row's features, together with all others it made: it tells runs apart, not rows."
    )


def _main_table(board: Board) -> str:
    columns = [name for name in _COLUMNS if name != "tokens" or _has_token_sets(board)]
    lines = [_main_line(row) for row in board.rows]
    return _table(
        [_COLUMNS[name] for name in columns], [[line[name] or NONE for name in columns] for line in lines]
    )


def _how_to_read_tasks(board: Board) -> str:
    if len(board.tasks) > MANY_TASKS:
        return (
            "Macro-F1 on test of the model's selected hidden states, then the difference of every other row from them;"
            " won and lost where the Holm-adjusted p over the row's tasks is below .05, a bare number is"
            " a tie. Intervals, p-values and detectable differences stand in leaderboard-tasks.csv."
        )
    return (
        "Macro-F1 on test beside the model's selected hidden states. p is Holm-adjusted over the row's tasks;"
        " *detectable* is the true difference that this test set would show with probability .8."
    )


def _main_line(row: Row) -> dict[str, str]:
    compared = [row.count("won"), row.count("tied"), row.count("lost")]
    return {
        "rank": _rank(row),
        "model": row.model or NONE,
        "representation": row.representation,
        "width": _integer(row.width),
        "macro_f1": _score(row.macro_f1),
        "delta": _difference(row.delta),
        "matched": _difference(row.matched),
        "outcome": NONE if None in compared else " / ".join(str(count) for count in compared),
        **_choice(row),
        "n_tasks": str(len(row.results)),
        "tokens_per_s": NONE if row.tokens_per_s is None else f"{row.tokens_per_s:,.0f}",
        "flags": ", ".join(row.flags),
    }


def _task_tables(board: Board) -> list[str]:
    """A table of tasks and their arms without a model, then for each model one of its rows against hidden."""
    inputs = [row for row in board.rows if row.model is None]
    header = ["task", "test rows", "classes", "chance", *(row.representation for row in inputs)]
    lines = [_task_line(task, inputs) for task in board.tasks]
    tables = [_table(header, lines)]
    for model in sorted({row.model for row in board.rows if row.model is not None}, key=in_natural_order):
        rows = [row for row in board.rows if row.model == model]
        rows.sort(key=lambda row: not row.is_hidden)
        if len(board.tasks) > MANY_TASKS:
            header = ["task", *(f"{row.representation} {_integer(row.width)}" for row in rows)]
            lines = [[task.name, *(_short(_find(row, task)) for row in rows)] for task in board.tasks]
        else:
            header = ["task", "representation", "width", "macro-F1", "Δ hidden", "p", "detectable", "outcome"]
            lines = [line for task in board.tasks for line in _model_lines(task, rows)]
        tables += [f"### {_escape(model)}", _table(header, lines)]
    return tables


def _task_line(task: TaskSummary, inputs: Sequence[Row]) -> list[str]:
    found = [_find(row, task) for row in inputs]
    arms = [_score(result.macro_f1) if result else NONE for result in found]
    return [task.name, str(task.n_test), str(task.n_classes), _point(task.chance), *arms]


def _model_lines(task: TaskSummary, rows: Sequence[Row]) -> list[list[str]]:
    lines = []
    for row in rows:
        if result := _find(row, task):
            numbers = [_difference(result.delta), _optional(result.p_value), _optional(result.detectable)]
            line = [task.name, row.representation, _integer(row.width), _score(result.macro_f1), *numbers]
            lines.append([*line, result.verdict or NONE])
    return lines


def _short(result: TaskResult | None) -> str:
    """A score alone, or a difference with its outcome."""
    if result is None:
        return NONE
    if result.delta is None:
        return _point(result.macro_f1.value)
    outcome = f" {result.verdict}" if result.verdict in ("won", "lost") else ""
    return _signed(result.delta.value) + outcome


def _removed_examples(board: Board) -> str:
    lines = []
    for task in board.tasks:
        counts = task.hygiene
        numbers = (counts.duplicates, counts.leaks, counts.conflicts, counts.empty, counts.cut)
        if any(numbers):
            lines.append([task.name, *(str(number) for number in numbers)])
    if not lines:
        return "None."
    return (
        "The most over the task's cells; cut inputs depend on the model. Tasks without any are left out.\n\n"
        + _table(["task", "duplicates", "leaks", "conflicts", "empty", "cut inputs"], lines)
    )


def _controls(board: Board) -> list[str]:
    """A table of hidden states against what should know less; [] where a board has neither."""
    lines = []
    for one in controls(board):
        task, least = one.least
        lines.append(
            [
                one.model,
                one.control,
                f"{one.count(1)} / {one.count(0)} / {one.count(-1)}",
                _difference(one.mean),
                task,
                _difference(least),
            ]
        )
    if not lines:
        return []
    return [
        "## Hidden states against what should know less",
        "Macro-F1 of a model's selected hidden states minus that of an arm without a model, or of the same model under"
        " other parameters (random weights); paired, with 95 % intervals that are not adjusted for the number of"
        " tasks.",
        _table(["model", "control", "above / tied / below", "mean", "least ahead on", "there"], lines),
    ]


def _dictionaries(board: Board) -> list[str]:
    """A table of the exact dictionaries at the sites that rows go by, and of how they fit there; [] without any."""
    found: dict[tuple[str, ...], dict[str, Fidelity]] = {}
    for row in board.rows:
        for result in row.results:
            for cell in result.cells:
                record = cell.record
                if record.dictionary or record.fidelity.verdict == "flagged":
                    place = (row.model, row.representation, record.site, record.dictionary)
                    of_place = found.setdefault(tuple(part or NONE for part in place), {})
                    of_place[result.task] = record.fidelity
    if not found:
        return []
    places = sorted(found, key=lambda place: [in_natural_order(part) for part in place])
    return [
        "## Dictionaries",
        "Explained variance on each task's own training tokens, lowest and highest over tasks: at the site, and with"
        " the same dictionary one layer down and up, where it should be lower. L0 beside the published one. What is"
        " flagged reads something else than what it was trained on: its scores stand, and mean little.",
        _table(_FIDELITY_HEADS, [[*place, *_fidelity_line(found[place])] for place in places]),
    ]


_FIDELITY_HEADS = (
    "model", "representation", "site", "dictionary", "explained variance", "one down", "one up", "L0", "published",
    "fidelity",
)  # fmt: skip


def _fidelity_line(by_task: Mapping[str, Fidelity]) -> list[str]:
    seen = list(by_task.values())
    return [
        _range([one.explained_variance for one in seen], _point),
        _range([one.below for one in seen], _point),
        _range([one.above for one in seen], _point),
        _range([one.l0 for one in seen], lambda value: f"{value:.1f}"),
        _range([one.published_l0 for one in seen], lambda value: f"{value:g}"),
        _fidelity(by_task),
    ]


def _range(values: Iterable[float | None], write: Callable[[float], str]) -> str:
    """The lowest and the highest of the values that are there, once where they are written alike."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    low, high = write(min(known)), write(max(known))
    return low if low == high else f"{low} … {high}"


def _fidelity(by_task: Mapping[str, Fidelity]) -> str:
    """`ok`, or what is wrong: the verdict, on how many tasks, and the reasons of the first of them."""
    for verdict in ("flagged", "not measurable"):
        found = [one for one in by_task.values() if one.verdict == verdict]
        if found:
            share = f" on {len(found)} of {len(by_task)} tasks" if len(found) < len(by_task) else ""
            return f"{verdict}{share}: {'; '.join(found[0].reasons.values())}"
    return next(iter(by_task.values())).verdict


def _find(row: Row, task: TaskSummary) -> TaskResult | None:
    return next((result for result in row.results if result.task == task.name), None)


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(_escape(cell) for cell in row)} |" for row in rows)


def _escape(text: str) -> str:
    """Text that can neither leave its table cell nor be read as HTML; control characters become spaces."""
    clean = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in text)
    for letter in "\\|`":
        clean = clean.replace(letter, f"\\{letter}")
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _rank(row: Row) -> str:
    """`2`, or `2–4` where noise leaves several places."""
    if row.rank is None or row.last_rank is None:
        return NONE
    return str(row.rank) if row.rank == row.last_rank else f"{row.rank}–{row.last_rank}"


def _score(estimate: Estimate | None) -> str:
    if estimate is None:
        return NONE
    low, high = estimate.interval
    return f"{_point(estimate.value)} [{_point(low)}, {_point(high)}]"


def _difference(estimate: Estimate | None) -> str:
    if estimate is None:
        return NONE
    low, high = estimate.interval
    return f"{_signed(estimate.value)} [{_signed(low)}, {_signed(high)}]"


def _point(value: float) -> str:
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + text.removeprefix("0")


def _signed(value: float) -> str:
    text = _point(value)
    return text if text.startswith("−") or not float(text) else f"+{text}"


def _optional(value: float | None) -> str:
    return NONE if value is None else _point(value)


def _integer(value: int | None) -> str:
    return NONE if value is None else str(value)
