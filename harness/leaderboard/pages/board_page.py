"""A Board in, its pages and files out. Ties read as ties; names from outside are escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from harness.dictionaries.gate import Fidelity
from harness.leaderboard.analyses.controls import controls
from harness.leaderboard.analyses.transfer import find_matrices
from harness.leaderboard.board import Board, Row, TaskResult, TaskSummary, mean_metric
from harness.leaderboard.pages import (
    ablation_page,
    features_page,
    quiver_section,
    regimes_section,
    transfer_page,
)
from harness.leaderboard.pages.frames import choice_of, to_ablation_csv, to_csv, to_regimes_csv, to_task_csv
from harness.leaderboard.pages.heatmap import draw, name_pictures
from harness.leaderboard.pages.markdown import (
    NONE,
    difference,
    escape,
    integer,
    optional,
    point,
    score,
    signed,
    table,
)
from harness.leaderboard.selection import in_natural_order
from harness.storage.atomic import whole_file

_COLUMNS = {
    "reads": "reads",
    "rank": "rank",
    "model": "model",
    "representation": "representation",
    "width": "width",
    "macro_f1": "macro-F1",
    "auroc": "AUROC",
    "delta": "Δ hidden",
    "matched": "Δ matched",
    "outcome": "won / tied / lost",
    "site": "site",
    "tokens": "tokens",
    "pooling": "pooling",
    "transform": "transform",
    "classifier": "classifier",
    "tried": "tried",
    "n_tasks": "tasks",
    "tokens_per_s": "tokens/s",
    "images_per_s": "images/s (waiting)",
    "flags": "flags",
}


MANY_TASKS = 20
"""Above this the page shows each task in one line a model; leaderboard-tasks.csv has all numbers."""


FILES = (
    "leaderboard.md", "leaderboard.csv", "leaderboard-tasks.csv", "leaderboard-regimes.csv",
    "leaderboard-ablation.md", "leaderboard-ablation.csv", "leaderboard-features.md",
    "leaderboard-matrix.md", "matrix.csv", "matrix-summary.csv",
)  # fmt: skip
"""All texts that a board may be written as; of a board to which one does not apply, it is not."""

PICTURES = "matrix"
"""The folder beside them of a board's heat maps."""


def render(board: Board, folder: Path | None = None) -> dict[str, str]:
    """The board's texts by name; with links to its runs' pictures, as they lie from `folder`, where one is given."""
    title = escape(", ".join(board.suites))
    matrices = find_matrices(board)
    places = {place: f"{PICTURES}/{name}" for place, name in name_pictures(matrices).items()}
    texts = (
        to_markdown(board, folder),
        to_csv(board),
        to_task_csv(board),
        to_regimes_csv(board),
        ablation_page.page(board.ablation, board.left_out, title=title),
        to_ablation_csv(board),
        features_page.page(board, title=title, folder=folder),
        transfer_page.page(matrices, title=title, pictures=places),
        transfer_page.to_csv(matrices),
        transfer_page.to_summary_csv(matrices),
    )
    return {name: text for name, text in zip(FILES, texts, strict=True) if text}


def remove(folder: Path) -> None:
    """Take an earlier board away."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    _keep_pictures(folder / PICTURES, [])


def write(board: Board, folder: Path) -> None:
    """Write the board's files, each whole, and remove those of an earlier board that this one does not have;
    UnavailableError when the disk refuses.
    """
    texts, pictures = render(board, folder), dict(draw(find_matrices(board)))
    for name, text in texts.items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(text, "utf-8")
    for name in FILES:
        if name not in texts:
            (folder / name).unlink(missing_ok=True)
    for name, picture in pictures.items():
        with whole_file(folder / PICTURES / name) as temporary:
            temporary.write_bytes(picture)
    _keep_pictures(folder / PICTURES, pictures)


def _keep_pictures(folder: Path, names: Iterable[str]) -> None:
    """Remove the other pictures, and the folder when none is left in it."""
    kept = set(names)
    for path in folder.glob("*.png"):
        if path.name not in kept:
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def to_markdown(board: Board, folder: Path | None = None) -> str:
    """leaderboard.md: how to read it, the rows, regimes, task by task, what is behind the scores."""
    parts = [
        f"# Leaderboard: {escape(', '.join(board.suites))}",
        _how_to_read(board),
        _main_table(board),
        _other_pages(board, folder),
        *regimes_section.section(board),
        *quiver_section.section(board.quivers),
        "## Task by task",
        _how_to_read_tasks(board),
        *_task_tables(board),
        *_controls(board),
        *_noise(board),
        *_dictionaries(board),
        "## Removed examples",
        _removed_examples(board),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _how_to_read(board: Board) -> str:
    columns = _columns(board)
    over = " learnt under the regime full (below, the others)" if board.has_others else ""
    if board.is_by_language:
        over = ", each language learnt and tested by itself (below, what was learnt otherwise)"
    if board.is_over_regimes:
        over = " and over regimes, as no task was learnt as it is: each counts once a regime (below, regimes apart)"
    said = [
        f"Each row's site,{' token set,' * ('tokens' in columns)} pooling, transform and classifier were chosen on"
        f" validation; macro-F1 is on test, its mean over tasks{over}, with 95 % intervals ({board.resamples} paired"
        " bootstrap resamples).",
        "Δ hidden compares with the selected hidden states of the same model, Δ matched with hidden states at the"
        " row's own choice. A rank is the range of places that noise leaves. Rows that share a number under *ties*"
        " in leaderboard.csv are not told apart: their order says nothing.",
    ]
    if any(flag.startswith("folds:") for row in board.rows for flag in row.flags):
        said.append(
            "Where a flag says folds:n/m, n of the row's m cells were chosen on folds of the training rows, as rows"
            " for validation were too few."
        )
    if any(row.rank_interval for row in board.rows):
        said.append(
            "That is for these tasks; rank_low and rank_high in leaderboard.csv are for tasks like these: tasks are"
            " drawn anew too."
        )
    said.append("A task is tied unless its Holm-adjusted p is below .05.")
    if "tried" in columns:
        said.append(
            "*Tried* counts the configurations, points of the classifier's grid included, that the choice was made"
            " from for each task and seed."
        )
    said.append(
        "tokens/s is that of the forward pass that made the row's features, together with all others it made: it tells"
        " runs apart, not rows."
    )
    if "reads" in columns:
        said.append("Rows are ranked among those that read the same kind of task.")
    if "images_per_s" in columns:
        said.append(
            "Beside images/s stands the share of that time in which the model waited for images to be decoded."
        )
    return " ".join(said)


def _columns(board: Board) -> list[str]:
    """Those of the main table that say something: of token sets where rows pool others than content."""
    empty = {
        "auroc": not any(mean_metric(row.results, "auroc") for row in board.rows),
        "tokens": all(choice_of(row)["tokens"] in ("", "content") for row in board.rows),
        "tried": not any(row.tried for row in board.rows),
        "reads": not board.is_mixed,
        "images_per_s": not any(map(_images, board.rows)),
    }
    return [name for name in _COLUMNS if not empty.get(name)]


def _main_table(board: Board) -> str:
    columns = _columns(board)
    lines = [_main_line(row) for row in board.rows]
    return table(
        [_COLUMNS[name] for name in columns], [[line[name] or NONE for name in columns] for line in lines]
    )


def _other_pages(board: Board, folder: Path | None) -> str:
    """Links to what stands apart."""
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


def _how_to_read_tasks(board: Board) -> str:
    beside = ": read AUROC beside it" if "auroc" in _columns(board) else ""
    near_chance = (
        " On tasks of which arms know little, a difference in macro-F1 may be one of how often classes are predicted"
        f"{beside}."
    )
    if len(board.tasks) > MANY_TASKS:
        return (
            "Macro-F1 on test of the model's selected hidden states, then the difference of every other row from them;"
            " won and lost where the Holm-adjusted p over the row's tasks is below .05, a bare number is"
            " a tie. Intervals, p-values and detectable differences stand in leaderboard-tasks.csv."
            + near_chance
        )
    return (
        "Macro-F1 on test beside the model's selected hidden states. p is Holm-adjusted over the row's tasks;"
        " *detectable* is the true difference that this test set would show with probability .8."
        + near_chance
    )


def _main_line(row: Row) -> dict[str, str]:
    compared = [row.count("won"), row.count("tied"), row.count("lost")]
    return {
        "reads": row.reads,
        "rank": _rank(row),
        "model": row.model or NONE,
        "representation": row.representation,
        "width": integer(row.width),
        "macro_f1": score(row.macro_f1),
        "auroc": optional(mean_metric(row.results, "auroc")),
        "delta": difference(row.delta),
        "matched": difference(row.matched),
        "outcome": NONE if None in compared else " / ".join(str(count) for count in compared),
        **choice_of(row),
        "tried": _tried(row),
        "n_tasks": str(len(row.results)),
        "tokens_per_s": NONE if row.tokens_per_s is None else f"{row.tokens_per_s:,.0f}",
        "images_per_s": _images(row),
        "flags": ", ".join(row.flags),
    }


def _images(row: Row) -> str:
    """Medians over the row's cells that read images; "" where none does."""
    costs = [cell.record.cost for cell in row.cells if cell.record.cost.images_per_s]
    if not costs:
        return ""
    waiting = median(cost.waiting_share for cost in costs)
    return f"{median(cost.images_per_s for cost in costs):,.0f} ({waiting:.0%})"


def _task_tables(board: Board) -> list[str]:
    """A table of tasks and their arms without a model, then for each model one of its rows against hidden."""
    inputs = [row for row in board.rows if row.model is None]
    header = ["task", "test rows", "classes", "chance", *(row.representation for row in inputs)]
    lines = [_task_line(task, inputs) for task in board.tasks]
    tables = [table(header, lines)]
    for model in sorted({row.model for row in board.rows if row.model is not None}, key=in_natural_order):
        rows = [row for row in board.rows if row.model == model]
        rows.sort(key=lambda row: not row.is_baseline)
        if len(board.tasks) > MANY_TASKS:
            header = ["task", *(f"{row.representation} {integer(row.width)}" for row in rows)]
            lines = [[task.name, *(_short(_find(row, task)) for row in rows)] for task in board.tasks]
        else:
            header = ["task", "representation", "width", "macro-F1", "Δ hidden", "p", "detectable", "outcome"]
            lines = [line for task in board.tasks for line in _model_lines(task, rows)]
        tables += [f"### {escape(model)}", table(header, lines)]
    return tables


def _task_line(task: TaskSummary, inputs: Sequence[Row]) -> list[str]:
    found = [_find(row, task) for row in inputs]
    arms = [score(result.macro_f1) if result else NONE for result in found]
    return [task.name, str(task.n_test), str(task.n_classes), point(task.chance), *arms]


def _model_lines(task: TaskSummary, rows: Sequence[Row]) -> list[list[str]]:
    lines = []
    for row in rows:
        if result := _find(row, task):
            numbers = [difference(result.delta), optional(result.p_value), optional(result.detectable)]
            line = [task.name, row.representation, integer(row.width), score(result.macro_f1), *numbers]
            lines.append([*line, result.verdict or NONE])
    return lines


def _short(result: TaskResult | None) -> str:
    """A score alone, or a difference with its outcome."""
    if result is None:
        return NONE
    if result.delta is None:
        return point(result.macro_f1.value)
    outcome = f" {result.verdict}" if result.verdict in ("won", "lost") else ""
    return signed(result.delta.value) + outcome


def _removed_examples(board: Board) -> str:
    kinds = {"duplicates": "duplicates", "leaks": "leaks", "conflicts": "conflicts", "empty": "empty"}
    kinds |= {"broken": "broken images"} if any(task.hygiene.broken for task in board.tasks) else {}
    kinds |= {"cut": "cut inputs"}
    lines = []
    for task in board.tasks:
        numbers = [getattr(task.hygiene, kind) for kind in kinds]
        if any(numbers):
            lines.append([task.name, *map(str, numbers)])
    if not lines:
        return "None."
    return (
        "The most over the task's cells; cut inputs depend on the model. Tasks without any are left out.\n\n"
        + table(["task", *kinds.values()], lines)
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
                difference(one.mean),
                task,
                difference(least),
            ]
        )
    if not lines:
        return []
    return [
        "## Hidden states against what should know less",
        "Macro-F1 of a model's selected hidden states minus that of an arm without a model, or of the same model under"
        " other parameters (random weights); paired, with 95 % intervals that are not adjusted for the number of"
        " tasks. Where a control scores below guessing every class equally often (*chance*), chance takes its place.",
        table(["model", "control", "above / tied / below", "mean", "least ahead on", "there"], lines),
    ]


def _noise(board: Board) -> list[str]:
    """A table of what rows vary by over seeds and repeats; [] where there are neither."""
    seeds = any(row.seed_sd is not None for row in board.rows)
    repeats = any(row.repeats for row in board.rows)
    if not seeds and not repeats:
        return []
    said = []
    header = ["model", "representation", "width"]
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
            numbers += (
                [str(found.cells), *map(_small, (found.median, found.largest, found.differing))]
                if found
                else [NONE] * 4
            )
        if row.repeats or row.seed_sd is not None:
            lines.append([row.model or NONE, row.representation, integer(row.width), *numbers])
    return ["## Noise floor", " ".join(said), table(header, lines)]


def _small(value: float | None) -> str:
    """Four digits: what is about the size of noise."""
    return NONE if value is None else f"{value:.4f}".removeprefix("0")


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
        table(_FIDELITY_HEADS, [[*place, *_fidelity_line(found[place])] for place in places]),
    ]


_FIDELITY_HEADS = (
    "model", "representation", "site", "dictionary", "explained variance", "one down", "one up", "L0", "published",
    "fidelity",
)  # fmt: skip


def _fidelity_line(by_task: Mapping[str, Fidelity]) -> list[str]:
    seen = list(by_task.values())
    return [
        _range([one.explained_variance for one in seen], point),
        _range([one.below for one in seen], point),
        _range([one.above for one in seen], point),
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


def _rank(row: Row) -> str:
    """`2`, or `2–4` where noise leaves several places."""
    if row.rank is None or row.last_rank is None:
        return NONE
    return str(row.rank) if row.rank == row.last_rank else f"{row.rank}–{row.last_rank}"


def _tried(row: Row) -> str:
    """`20`, or `10–20` where tasks or seeds differ."""
    if row.tried is None:
        return NONE
    least, most = row.tried
    return str(most) if least == most else f"{least}–{most}"
