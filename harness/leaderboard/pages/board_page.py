"""Pages and files of a board. Names from outside are escaped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from statistics import median

from harness.dictionaries.gate import Fidelity
from harness.leaderboard.analyses.controls import controls
from harness.leaderboard.analyses.transfer import find_matrices
from harness.leaderboard.board import VERDICTS, Board, Row, TaskResult, TaskSummary, mean_metric
from harness.leaderboard.pages import (
    cost_section,
    features_page,
    few_groups_section,
    hygiene_section,
    markdown,
    quiver_section,
    regimes_section,
)
from harness.leaderboard.pages.frames import choice_on
from harness.leaderboard.pages.markdown import ARM, NONE
from harness.leaderboard.selection import in_natural_order
from harness.validation.page import spell
from harness.validation.reliability import LEAD, read_shipped

MANY_TASKS = 20
"""Number of tasks above which the page shows each in one line a model; leaderboard-tasks.csv has all numbers."""


@dataclass(frozen=True, kw_only=True)
class Sections:
    """Sections of a board behind its scores, each a heading and its parts, or nothing."""

    how_to_read: Sequence[str]
    quivers: Sequence[str]
    controls: Sequence[str]
    regimes: Sequence[str]
    noise: Sequence[str]
    dictionaries: Sequence[str]
    hygiene: Sequence[str]
    few_groups: Sequence[str]
    cost: Sequence[str]

    def __iter__(self) -> Iterator[Sequence[str]]:
        """Yield those that there are, in the order in which a page of HTML shows them."""
        return filter(None, (getattr(self, field.name) for field in fields(self)))


def make_sections(board: Board) -> Sections:
    """Return the sections of a board: pages of both kinds hold them."""
    return Sections(
        how_to_read=["## How to read this", _how_to_read(board, _main_columns(board, board.rows))],
        quivers=quiver_section.section(board.quivers),
        controls=_controls(board),
        regimes=regimes_section.section(board),
        noise=_noise(board),
        dictionaries=_dictionaries(board),
        hygiene=hygiene_section.section(board),
        few_groups=few_groups_section.section(board),
        cost=cost_section.section(board),
    )


def to_markdown(
    board: Board, folder: Path | None = None, *, about: str = "", sections: Sections | None = None
) -> str:
    """Return leaderboard.md: what its models are, how to read it, the rows, regimes, task by task, details behind the
    scores. `sections` are those of the board, where they are made already.
    """
    made = sections or make_sections(board)
    return markdown.join(
        f"# Leaderboard: {title_of(board)}",
        _describe_models(board),
        markdown.escape(about),
        *made.how_to_read[1:],
        *_main_tables(board),
        _other_pages(board, folder),
        *made.regimes,
        *made.quivers,
        *_task_by_task(board, _main_columns(board, board.rows)),
        *made.few_groups,
        *made.controls,
        *made.noise,
        *made.dictionaries,
        *made.hygiene,
    )


def title_of(board: Board) -> str:
    """Return the names of the suites, and that all models are toys where they are."""
    are_toys = [group.of_toys for group in board.groups] == [True]
    return markdown.escape(", ".join(board.suites)) + (" on toy models (trained here)" if are_toys else "")


def _describe_models(board: Board) -> str:
    """Return a sentence on toys; "" without any."""
    kinds = [group.of_toys for group in board.groups]
    if kinds == [True]:
        return (
            "**All models here are toys**, small ones trained here to try the harness out: the page compares machinery,"
            " and says nothing of real models and their dictionaries."
        )
    if True in kinds:
        return (
            "Some models here are toys, small ones trained here to try the harness out. They have a table of their own,"
            " and share no rank with the others; arms without a model stand in both tables."
        )
    return ""


def _main_tables(board: Board) -> list[str]:
    """Return the table of each group of rows that are ranked together, under a heading where there are two."""
    parts = []
    for group in board.groups:
        if len(board.groups) > 1:
            parts.append("## Toy models (trained here)" if group.of_toys else "## Models")
        columns = _main_columns(board, group.rows)
        parts.append(markdown.table(list(columns), list(zip(*columns.values(), strict=True))))
    return parts


def _how_to_read(board: Board, columns: Container[str]) -> str:
    regimes = ", ".join(sorted({result.regime for row in board.rows for result in row.results}))
    over = (
        f" learnt under the regime {markdown.escape(regimes)} (below, the others)" if board.has_others else ""
    )
    if board.is_by_language:
        over = ", each language learnt and tested by itself (below, what was learnt otherwise)"
    if board.is_over_regimes:
        over = " and over regimes, as no task was learnt as it is: each counts once a regime (below, regimes apart)"
    flags = {flag.partition(":")[0] for row in board.rows for flag in row.flags}
    said = {
        f"Each row's site,{' token set,' * ('tokens' in columns)} pooling, transform and classifier were chosen on"
        f" validation; macro-F1 is on test, its mean over tasks{over}, with 95 % intervals ({board.resamples} paired"
        " bootstrap resamples).": True,
        "Δ hidden compares with the selected hidden states of the same model, Δ matched with hidden states at the"
        " row's own choice. A rank is the range of places that noise leaves. Rows that share a number under *ties*"
        " in leaderboard.csv are not told apart: their order says nothing.": True,
        "Where a flag says folds:n/m, n of the row's m cells were chosen on folds of the training rows, as rows for"
        " validation were too few.": "folds" in flags,
        "Tasks whose test rows have too few groups for an interval are left out of means, ranks and adjustments, for"
        " all rows; their scores stand [below](#too-few-groups-for-an-interval).": any(
            not task.is_ranked_by for task in board.tasks
        ),
        "Where a flag says groups:n, a class of a task has n groups of test rows, too few for intervals that hold what"
        " they promise (they cover .85 to .92 in simulation), or for a test, whose p is then left out.": "groups"
        in flags,
        "Where a flag says single:n/m, n of m classes have one group of test rows, whose luck no interval holds.": (
            "single" in flags
        ),
        "Where a flag says absent:n/m, n of m classes have no test row: each counts 0 in macro-F1, whatever is"
        " predicted, so that no arm can have more than the ceiling shown task by task.": "absent" in flags,
        "That is for these tasks; rank_low and rank_high in leaderboard.csv are for tasks like these: tasks are drawn"
        " anew too.": any(row.rank_interval for row in board.rows),
        "A task is tied unless its Holm-adjusted p is below .05.": True,
        _describe_reliability(): any(
            cell.record.dictionary for row in board.rows for result in row.results for cell in result.cells
        ),
        "*Tried* counts the configurations, points of the classifier's grid included, that the choice was made from for"
        " each task and seed.": "tried" in columns,
        "tokens/s is that of the forward pass that made the row's features, together with all others it made: it tells"
        " runs apart, not rows.": True,
        "Rows are ranked among those that read the same kind of task.": "reads" in columns,
        "Beside images/s stands the share of that time in which the model waited for images to be decoded.": (
            "images/s (waiting)" in columns
        ),
    }
    return " ".join(sentence for sentence, applies in said.items() if applies)


def _describe_reliability() -> str:
    """Return a sentence on how well the score that rows are ranked by tells dictionaries apart, as it is shipped."""
    shipped = read_shipped()
    lead = shipped.find(LEAD)
    return markdown.escape(
        f"No interval shows noise over trainings of a dictionary: the lead of {shipped.model}'s dictionaries over"
        f" hidden states in macro-F1 has a signal-to-noise of {spell(lead.run)} from the first to the last checkpoint,"
        f" and tells {lead.n_told} of {len(lead.steps)} neighbouring checkpoints apart ({shipped.seeds} seeds,"
        f" {shipped.date}; all scores: harness check-statistics --dictionaries)."
    )


def _main_columns(board: Board, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the columns of a table of rows, by head. Optional ones without information on the board are left out."""
    columns = {head: [write(row) or NONE for row in rows] for head, write in _COLUMNS.items()}
    empty = {
        head for head in _OPTIONAL if {_COLUMNS[head](row) or NONE for row in board.rows} <= {NONE, "content"}
    }
    if not board.is_mixed:
        empty.add("reads")
    return {head: texts for head, texts in columns.items() if head not in empty}


def _other_pages(board: Board, folder: Path | None) -> str:
    """Return links to the other pages."""
    links = []
    if find_matrices(board):
        links.append(
            "[across languages and data](leaderboard-matrix.md): every pair that was learnt and tested"
        )
    if board.ablation:
        links.append("[the ablation](leaderboard-ablation.md): every row at every value of what was searched")
    elif board.left_out:
        links.append(
            "no ablation over what was searched, as not all predictions that it needs were published"
        )
    if features_page.is_pictured(board, folder):
        links.append("[what classifiers go by](leaderboard-features.md), with pictures")
    elif any(cell.record.used for row in board.rows for cell in row.cells):
        links.append("[what classifiers go by](leaderboard-features.md)")
    return f"Apart from this page: {'; '.join(links)}." if links else ""


def _task_by_task(board: Board, columns: Container[str]) -> list[str]:
    """Return the section of the tasks that rows are ranked by; [] without any."""
    if not any(task.is_ranked_by for task in board.tasks):
        return []
    return ["## Task by task", _how_to_read_tasks(board, columns), *_task_tables(board)]


def _how_to_read_tasks(board: Board, columns: Container[str]) -> str:
    beside = ": read AUROC beside it" if "AUROC" in columns else ""
    said = (
        "Macro-F1 on test beside the model's selected hidden states. p is Holm-adjusted over the row's tasks;"
        " *detectable* is the true difference that this test set would show with probability .8."
    )
    if len(board.tasks) > MANY_TASKS:
        said = (
            "Macro-F1 on test of the model's selected hidden states, then the difference of every other row from them;"
            " won and lost where the Holm-adjusted p over the row's tasks is below .05, a bare number is a tie."
            " Intervals, p-values and detectable differences stand in leaderboard-tasks.csv."
        )
    return (
        f"{said} On tasks of which arms know little, a difference in macro-F1 may be one of how often classes are"
        f" predicted{beside}."
    )


def count_outcomes(row: Row) -> str:
    """Return the numbers of tasks won, tied and lost; a dash where none could be tested."""
    counts = [row.count(verdict) for verdict in VERDICTS]
    return NONE if None in counts else " / ".join(map(str, counts))


def _images(row: Row) -> str:
    """Return medians over the row's cells that read images; "" where none does."""
    costs = [cell.record.cost for cell in row.cells if cell.record.cost.images_per_s]
    if not costs:
        return ""
    waiting = median(cost.waiting_share for cost in costs)
    return f"{median(cost.images_per_s for cost in costs):,.0f} ({waiting:.0%})"


def _task_tables(board: Board) -> list[str]:
    """Return a table of tasks and arms without a model, then for each model one of its rows against the baseline."""
    inputs = [row for row in board.rows if row.model is None]
    tasks = [task for task in board.tasks if task.is_ranked_by]
    columns = {head: write for head, write in _TASK_COLUMNS.items() if any(map(write, tasks))}
    header = [*columns, *(row.representation for row in inputs)]
    lines = [
        [*(write(task) or NONE for write in columns.values()), *_input_scores(task, inputs)] for task in tasks
    ]
    tables = [markdown.table(header, lines)]
    for model in sorted({row.model for row in board.rows if row.model is not None}, key=in_natural_order):
        rows = [row for row in board.rows if row.model == model]
        rows.sort(key=lambda row: not row.is_baseline)
        if len(board.tasks) > MANY_TASKS:
            header = ["task", *(f"{row.representation} {markdown.integer(row.width)}" for row in rows)]
            lines = [[task.name, *(_short(_find(row, task)) for row in rows)] for task in tasks]
        else:
            header = ["task", "representation", "width", "macro-F1", "Δ hidden", "p", "detectable", "outcome"]
            lines = [line for task in tasks for line in _model_lines(task, rows)]
        tables += [f"### {markdown.escape(model)}", markdown.table(header, lines)]
    return tables


_TASK_COLUMNS: Mapping[str, Callable[[TaskSummary], str]] = {
    "task": lambda task: task.name,
    "test rows": lambda task: str(task.n_test),
    "classes": lambda task: str(task.n_classes),
    "chance": lambda task: markdown.point(task.chance),
    "ceiling": lambda task: markdown.point(task.ceiling) if task.absent else "",
    "flags": lambda task: ", ".join(task.flags),
}
"""Columns of the table of tasks, by head; one that is empty for every task is left out."""


def _input_scores(task: TaskSummary, inputs: Sequence[Row]) -> list[str]:
    found = [_find(row, task) for row in inputs]
    return [markdown.score(result.macro_f1 if result else None) for result in found]


def _model_lines(task: TaskSummary, rows: Sequence[Row]) -> list[list[str]]:
    return [
        [
            task.name,
            *markdown.arm(row.key)[1:],
            markdown.score(result.macro_f1),
            markdown.difference(result.delta),
            *map(markdown.optional, (result.p_value, result.detectable)),
            result.verdict or NONE,
        ]
        for row in rows
        if (result := _find(row, task))
    ]


def _short(result: TaskResult | None) -> str:
    """Return a score alone, or a difference with its outcome."""
    if result is None:
        return NONE
    if result.delta is None:
        return markdown.point(result.macro_f1.value)
    outcome = f" {result.verdict}" if result.verdict in ("won", "lost") else ""
    return markdown.signed(result.delta.value) + outcome


def _controls(board: Board) -> list[str]:
    """Return a table of baselines against arms that should know less; [] where a board lacks one of them."""
    lines = []
    for one in controls(board):
        task, least = one.least
        counts = " / ".join(str(one.count(sign)) for sign in (1, 0, -1))
        lines.append(
            [one.model, one.control, counts, markdown.difference(one.mean), task, markdown.difference(least)]
        )
    if not lines:
        return []
    return [
        "## Hidden states against what should know less",
        "Macro-F1 of a model's selected hidden states minus that of an arm without a model, or of the same model under"
        " other parameters (random weights); paired, with 95 % intervals that are not adjusted for the number of"
        " tasks. Where a control scores below guessing every class equally often (*chance*), chance takes its place.",
        markdown.table(
            ["model", "control", "above / tied / below", "mean", "least ahead on", "there"], lines
        ),
    ]


def _noise(board: Board) -> list[str]:
    """Return a table of the variation of rows over seeds and repeats; [] where there are neither."""
    seeds = any(row.seed_sd is not None for row in board.rows)
    repeats = any(row.repeats for row in board.rows)
    if not seeds and not repeats:
        return []
    said = []
    header = [*ARM]
    if seeds:
        said.append(
            "Over seeds: standard deviation and range of the mean macro-F1 over tasks, choices made for each seed; the"
            " intervals above do not hold it."
        )
        header += ["seeds", "sd", "range"]
    if repeats:
        said.append(
            "Over repeats, cells that more than one of the board's runs holds: how many, the absolute difference in"
            " macro-F1 between two runs of one, and the share of test predictions that differ."
        )
        header += ["repeats", "median", "largest", "predictions"]
    lines = []
    for row in board.rows:
        numbers = []
        if seeds:
            numbers += [str(len(row.seed_means) or NONE), _small(row.seed_sd), _small(row.seed_range)]
        if repeats:
            found = row.repeats
            apart = (found.median, found.largest, found.differing) if found else (None, None, None)
            numbers += [markdown.integer(found.cells if found else None), *map(_small, apart)]
        if row.repeats or row.seed_sd is not None:
            lines.append([*markdown.arm(row.key), *numbers])
    return ["## Noise floor", " ".join(said), markdown.table(header, lines)]


def _small(value: float | None) -> str:
    """Return four digits, enough for differences of the size of noise."""
    return NONE if value is None else f"{value:.4f}".removeprefix("0")


def _dictionaries(board: Board) -> list[str]:
    """Return a table of the exact dictionaries at the chosen sites, and their fidelity there; [] without any."""
    found: dict[tuple[str, ...], dict[str, Fidelity]] = defaultdict(dict)
    every = (
        (result.task, cell.record)
        for row in board.rows
        for result in (*row.results, *row.below)
        for cell in result.cells
    )
    for task, record in every:
        if record.dictionary or record.fidelity.verdict == "flagged":
            place = (record.model, record.representation, record.site, record.dictionary)
            found[tuple(part or NONE for part in place)][task] = record.fidelity
    if not found:
        return []
    places = sorted(found, key=lambda place: [in_natural_order(part) for part in place])
    measured = [one for by_task in found.values() for one in by_task.values()]
    # Records of older versions lack the last columns; a page of those alone does not show them.
    shown = [
        name
        for name in _FIDELITY_COLUMNS
        if name not in _ADDED_COLUMNS or any(getattr(one, name) is not None for one in measured)
    ]
    heads = ["model", "representation", "site", "dictionary", *(_FIDELITY_COLUMNS[name][0] for name in shown)]
    return [
        "## Dictionaries",
        "Explained variance on each task's own training tokens, lowest and highest over tasks: at the site, and with"
        " the same dictionary one layer down and up, where it should be lower. L0 beside the published one. What is"
        " flagged reads something else than what it was trained on: its scores stand, and mean little.",
        markdown.table(
            [*heads, "fidelity"], [[*place, *_fidelity_line(found[place], shown)] for place in places]
        ),
    ]


_FIDELITY_COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "explained_variance": ("explained variance", markdown.point),
    "below": ("one down", markdown.point),
    "above": ("one up", markdown.point),
    "l0": ("L0", "{:.1f}".format),
    "published_l0": ("published", "{:g}".format),
    "other_reading": ("other b_dec", markdown.point),
    "random": ("random directions", markdown.point),
    "dead": ("dead", markdown.point),
}
"""Head and spelling of each measurement."""

_ADDED_COLUMNS = ("other_reading", "random", "dead")


def _fidelity_line(by_task: Mapping[str, Fidelity], shown: Sequence[str]) -> list[str]:
    numbers = [
        _range([getattr(one, name) for one in by_task.values()], _FIDELITY_COLUMNS[name][1]) for name in shown
    ]
    return [*numbers, _fidelity(by_task)]


def _range(values: Iterable[float | None], write: Callable[[float], str]) -> str:
    """Return the lowest and the highest of the known values, once where they are written alike."""
    known = sorted(value for value in values if value is not None)
    ends = dict.fromkeys(write(value) for value in (*known[:1], *known[-1:]))
    return " … ".join(ends) or NONE


def _fidelity(by_task: Mapping[str, Fidelity]) -> str:
    """Return `ok`, or the fault: the verdict, the number of tasks, and the reasons of the first of them."""
    for verdict in ("flagged", "not measurable"):
        found = [one for one in by_task.values() if one.verdict == verdict]
        if found:
            share = f" on {len(found)} of {len(by_task)} tasks" if len(found) < len(by_task) else ""
            return f"{verdict}{share}: {'; '.join(found[0].reasons.values())}"
    return next(iter(by_task.values())).verdict


def _find(row: Row, task: TaskSummary) -> TaskResult | None:
    return next((result for result in row.results if result.task == task.name), None)


_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "reads": lambda row: row.reads,
    "rank": lambda row: markdown.span(row.rank, row.last_rank),
    "model": lambda row: row.model or NONE,
    "representation": lambda row: row.representation,
    "width": lambda row: markdown.integer(row.width),
    "macro-F1": lambda row: markdown.score(row.macro_f1),
    "AUROC": lambda row: markdown.optional(mean_metric(row.results, "auroc")),
    "Δ hidden": lambda row: markdown.difference(row.delta),
    "Δ matched": lambda row: markdown.difference(row.matched),
    "won / tied / lost": count_outcomes,
    **{axis: partial(choice_on, axis) for axis in ("site", "tokens", "pooling", "transform", "classifier")},
    "tried": lambda row: markdown.span(*(row.tried or (None, None))),
    "tasks": lambda row: str(len(row.results)),
    "tokens/s": lambda row: NONE if row.tokens_per_s is None else f"{row.tokens_per_s:,.0f}",
    "images/s (waiting)": _images,
    "flags": lambda row: ", ".join(row.flags),
}
"""Columns of the main table: the text of a row's cell, by head."""

_OPTIONAL = ("AUROC", "tokens", "tried", "images/s (waiting)")
