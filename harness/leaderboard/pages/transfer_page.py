"""Page and CSV files of transfer between languages and data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.leaderboard.analyses.quiver import is_dictionary
from harness.leaderboard.analyses.transfer import (
    HEADINGS,
    IN_TEXT,
    Grid,
    Matrices,
    Matrix,
    Pair,
    Summary,
    axes,
    find_grid,
    mean_share,
    name_row,
    rank_correlation,
    summarize,
)
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.frames import write_csv, write_numbers
from harness.leaderboard.pages.markdown import NONE


def to_csv(matrices: Matrices) -> str:
    """matrix.csv: one line for each row and pair; "" where nothing carries over."""
    pairs = [*(pair for matrix in matrices.tasks for pair in matrix.pairs), *matrices.datasets]
    if not pairs:
        return ""
    return write_csv(pd.DataFrame([_line(pair) for pair in pairs]).astype({"width": "Int64"}))


def _line(pair: Pair) -> dict[str, Any]:
    result, seen = pair.result, pair.seen or (None, None)
    low, high = result.macro_f1.interval
    delta_low, delta_high = result.delta.interval if result.delta else (None, None)
    return {
        "task": pair.task,
        "model": pair.row.model or NONE,
        "representation": pair.row.representation,
        "width": pair.row.width,
        "regime": result.regime,
        "train_language": pair.train,
        "test_language": pair.test,
        "macro_f1": result.macro_f1.value,
        "low": low,
        "high": high,
        "delta_vs_hidden": result.delta.value if result.delta else None,
        "delta_low": delta_low,
        "delta_high": delta_high,
        "n_train": pair.records[0].n_train,
        "n_validation": pair.records[0].n_validation,
        "n_test": result.n_test,
        "chance": result.chance,
        "seen_train": seen[0],
        "seen_test": seen[1],
        "weight_shared": pair.share("weight"),
        "weight_even": pair.share("even"),
        "features_both": pair.share("both"),
        "features_only_train": pair.share("only_train"),
        "features_only_test": pair.share("only_test"),
        "top_overlap": pair.share("overlap"),
        "trained_on": result.unit.trained_on or result.unit.task,
    }


def to_summary_csv(matrices: Matrices) -> str:
    """matrix-summary.csv: one line for each row, seen or unseen, and regime; "" where no task crosses languages."""
    lines = [_summary_line(one) for matrix in matrices.tasks for one in summarize(matrix)]
    if not lines:
        return ""
    return write_csv(pd.DataFrame(lines).astype({"width": "Int64", "resource_languages": "Int64"}))


def _summary_line(one: Summary) -> dict[str, Any]:
    return {
        "task": one.task,
        "model": one.row.model or NONE,
        "representation": one.row.representation,
        "width": one.row.width,
        "languages": one.languages,
        "learnt": one.learnt,
        "n_pairs": one.n_pairs,
        "n_languages": one.n_languages,
        **write_numbers("macro_f1", one.macro_f1),
        **write_numbers("delta_vs_hidden", one.delta),
        "n_delta": one.n_delta,
        **write_numbers("gap", one.gap),
        "n_gap": one.n_gap,
        "worst_language": one.worst[0],
        "worst_macro_f1": one.worst[1],
        "resource_spearman": one.resource[0] if one.resource else None,
        "resource_languages": one.resource[1] if one.resource else None,
    }


def page(matrices: Matrices, *, title: str, pictures: Mapping[tuple[str, str], str]) -> str:
    """leaderboard-matrix.md: means, then a matrix for each model where there are few languages. `pictures` are the
    places of the heat maps by task and row.
    """
    if not matrices:
        return ""
    parts = [f"# Across languages and data: {title}"]
    if matrices.tasks:
        parts.append(
            "Macro-F1 on test by what was learnt in and what was tested in; choices were made on rows of the languages"
            " that were learnt from. Means are over tested languages, of each the mean over what was learnt from; the"
            " 95 % intervals draw the translations of an item together. *Gap* is native minus the mean, over the"
            " languages that have both, paired; Δ hidden is paired too. *Resource level* is Spearman's correlation of"
            " the mean by tested language with the megabytes of it in the model's training text, and of how many"
            " languages. Several languages that were learnt together count as seen where one of them was. A mean of"
            " fewer languages than another in its column has both numbers behind it. matrix.csv"
            " has every pair, matrix-summary.csv these means; the rows are those of [leaderboard.md](leaderboard.md)."
        )
    for matrix in matrices.tasks:
        parts += [f"## {markdown.escape(matrix.task)}", *_summary_tables(matrix)]
        parts += [*_sharing_table(matrix), *_grids(matrix, pictures)]
    return "\n\n".join([*parts, *_dataset_table(matrices.datasets)]) + "\n"


def _summary_tables(matrix: Matrix) -> Iterator[str]:
    found = list(summarize(matrix))
    for model, known in sorted(matrix.seen.items()):
        if never := [language for language in matrix.order if known.get(language) == 0]:
            yield f"{markdown.escape(model)} never saw: {markdown.escape(', '.join(never))}."
    for languages, (heading, said) in HEADINGS.items():
        if same := [one for one in found if one.languages == languages]:
            yield f"### {heading}"
            if said:
                yield said
            for name, write, count in _TABLES:
                if table := _table(name, same, write, count):
                    yield table


def _sharing_table(matrix: Matrix) -> Iterator[str]:
    """What dictionaries share from one language to another, and how that goes with the score."""
    lines = []
    for pairs in matrix.rows.values():
        one_to_one = [pair for pair in pairs if pair.is_direct and pair.share("even") is not None]
        if not one_to_one:
            continue
        row, overlaps = pairs[0].row, [pair.share("overlap") for pair in one_to_one]
        known = [overlap for overlap in overlaps if overlap is not None]
        lines.append(
            [
                row.model or NONE,
                row.representation,
                markdown.integer(row.width),
                str(len(one_to_one)),
                *(mean_share(one_to_one, name, ".3f") for name in ("weight", "even")),
                *(mean_share(one_to_one, name, ".0f") for name in ("both", "only_train", "only_test")),
                markdown.point(sum(known) / len(known)) if known else NONE,
                rank_correlation(one_to_one),
            ]
        )
    if lines:
        yield "### What features the languages share"
        yield (
            "From one language to another, in the mean over pairs: the share of the classifier's effect on features"
            " that fire in both languages; that share with each feature counted by its lower over its higher share of"
            " firing rows; features that fire in both, and in one only; the Jaccard index of the twenty features that"
            " tell the label best in each; and Spearman's correlation, over pairs, of the even share with macro-F1."
        )
        yield markdown.table(
            [
                *("model", "representation", "width", "pairs", "on shared", "evenly shared", "in both"),
                *("only learnt", "only tested", "overlap of the top", "with macro-F1"),
            ],
            lines,
        )


def _worst(one: Summary) -> str:
    return f"{one.worst[0]} {markdown.point(one.worst[1])}"


def _resource(one: Summary) -> str:
    return NONE if one.resource is None else f"{markdown.signed(one.resource[0])} ({one.resource[1]})"


_TABLES: Sequence[tuple[str, Callable[[Summary], str], Callable[[Summary], int]]] = (
    ("macro-F1", lambda one: markdown.score(one.macro_f1), lambda one: one.n_languages),
    ("gap", lambda one: markdown.difference(one.gap), lambda one: one.n_gap),
    ("Δ hidden", lambda one: markdown.difference(one.delta), lambda one: one.n_delta),
    ("worst language", _worst, lambda one: one.n_languages),
    ("resource level", _resource, lambda _: 0),  # says of how many itself
)
"""Tables by name: what stands in a cell, and of how many languages it is."""


def _table(
    name: str, found: Sequence[Summary], write: Callable[[Summary], str], count: Callable[[Summary], int]
) -> str:
    """Rows × what was learnt, without what no row has; "" where that leaves nothing."""
    most: Counter[str] = Counter()
    for one in found:
        most[one.learnt] = max(most[one.learnt], count(one))
    texts = {
        (one.row.key, one.learnt): text + _of(count(one), most[one.learnt])
        for one in found
        if (text := write(one)) != NONE
    }
    known = {learnt for _, learnt in texts}
    kinds = [kind for kind in dict.fromkeys(one.learnt for one in found) if kind in known]
    lines = [
        [
            row.model or NONE,
            row.representation,
            markdown.integer(row.width),
            *(texts.get((row, kind), NONE) for kind in kinds),
        ]
        for row in dict.fromkeys(row for row, _ in texts)
    ]
    return markdown.table([f"{name}: model", "representation", "width", *kinds], lines) if lines else ""


def _of(count: int, most: int) -> str:
    """Of how many languages a number is, where others in its column are of more."""
    return f" ({count}/{most})" if count < most else ""


def _grids(matrix: Matrix, pictures: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Of each model hidden states and the first of its dictionaries, and where to find the heat maps."""
    links = [
        f"[{markdown.escape(name)}]({pictures[matrix.task, name]})"
        for name in matrix.rows
        if (matrix.task, name) in pictures
    ]
    if links:
        yield f"Heat maps: {', '.join(links)}."
    if len(matrix.order) > IN_TEXT:
        return
    shown: set[tuple[str, bool]] = set()
    for name, pairs in matrix.rows.items():
        row = pairs[0].row
        kind = (row.model or "", row.is_baseline)
        if row.model is None or kind in shown or not (row.is_baseline or is_dictionary(pairs[0].records[0])):
            continue
        if grid := find_grid(pairs):
            shown.add(kind)
            yield f"### {markdown.escape(name)}"
            yield "Learnt in ↓, tested in →; * was not in the model's training text."
            yield _grid_table(matrix, grid)


def _grid_table(matrix: Matrix, grid: Grid) -> str:
    trained, tested = axes(matrix, grid)
    row = next(iter(grid.values())).row
    lines = [
        [
            matrix.mark(train, row),
            *(
                markdown.point(grid[train, test].result.macro_f1.value) if (train, test) in grid else NONE
                for test in tested
            ),
        ]
        for train in trained
    ]
    return markdown.table(["", *(matrix.mark(test, row) for test in tested)], lines)


def _dataset_table(pairs: Sequence[Pair]) -> list[str]:
    """Tasks by the task they learnt from; where rows of the board had unlike numbers of rows, those of the first."""
    if not pairs:
        return []
    rows = list(dict.fromkeys(name_row(pair.row) for pair in pairs))
    scores = {(pair.result.task, name_row(pair.row)): markdown.score(pair.result.macro_f1) for pair in pairs}
    counts: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs:
        place = pair.result.unit.trained_on or pair.task, pair.task, pair.result.task
        counts.setdefault(place, [str(pair.records[0].n_train), str(pair.result.n_test)])
    return [
        "## Across data sets",
        "Macro-F1 on the test rows of each task by the task whose rows were learnt from.",
        markdown.table(
            ["learnt from", "tested on", "n_train", "n_test", *rows],
            [
                [source, task, *ns, *(scores.get((name, row), NONE) for row in rows)]
                for (source, task, name), ns in sorted(counts.items())
            ],
        ),
    ]
