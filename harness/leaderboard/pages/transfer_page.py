"""Page and CSV files of transfer between languages and data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.leaderboard.analyses import transfer
from harness.leaderboard.analyses.quiver import is_dictionary
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.frames import make_frame, name_arm, pick, write_csv, write_numbers
from harness.leaderboard.pages.markdown import NONE
from harness.leaderboard.scoring import mean_known
from harness.leaderboard.selection import group_by


def to_csv(matrices: transfer.Matrices) -> str:
    """Return matrix.csv: one line for each row and pair; "" where nothing carries over."""
    pairs = [*(pair for matrix in matrices.tasks for pair in matrix.pairs), *matrices.datasets]
    return write_csv(make_frame(map(_line, pairs)))


_SHARES = {
    **{"weight_shared": "weight", "weight_even": "even"},
    **{f"features_{name}": name for name in ("both", "only_train", "only_test")},
    "top_overlap": "overlap",
}
"""Columns of matrix.csv that hold numbers of a record's `sharing`, by column."""


def _line(pair: transfer.Pair) -> dict[str, Any]:
    result, seen = pair.result, pair.seen or (None, None)
    return {
        "task": pair.task,
        **name_arm(pair.row),
        "regime": result.regime,
        "train_language": pair.train,
        "test_language": pair.test,
        **write_numbers("macro_f1", result.macro_f1, ends=""),
        **write_numbers("delta_vs_hidden", result.delta, ends="delta_"),
        **pick(pair.records[0], "n_train", "n_validation"),
        **pick(result, "n_test", "chance"),
        **dict(zip(("seen_train", "seen_test"), seen, strict=True)),
        **{column: pair.share(name) for column, name in _SHARES.items()},
        "trained_on": result.unit.trained_on or result.unit.task,
        "flags": ", ".join(result.flags),
    }


def to_summary_csv(matrices: transfer.Matrices) -> str:
    """Return matrix-summary.csv: one line for each row, seen or unseen, and regime; "" without languages."""
    return write_csv(make_frame(_summary_line(one) for matrix in matrices.tasks for one in matrix.summaries))


def _summary_line(one: transfer.Summary) -> dict[str, Any]:
    return {
        "task": one.task,
        **name_arm(one.row),
        "languages": one.languages,
        "learnt": one.trained,
        **pick(one, "n_pairs", "n_languages"),
        **write_numbers("macro_f1", one.macro_f1),
        **write_numbers("delta_vs_hidden", one.delta),
        "n_delta": one.n_delta,
        **write_numbers("gap", one.gap),
        "n_gap": one.n_gap,
        **dict(zip(("worst_language", "worst_macro_f1"), one.worst, strict=True)),
        **dict(zip(("resource_spearman", "resource_languages"), one.resource or (None, None), strict=True)),
    }


def page(matrices: transfer.Matrices, *, title: str, pictures: Mapping[tuple[str, str], str]) -> str:
    """Return leaderboard-matrix.md: means, then a matrix for each model where there are few languages. `pictures` are
    the paths of the heat maps by task and row.
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
            " languages; pairs whose test rows have too few groups for an interval are in no mean."
            " Several languages that were learnt together count as seen where one of them was. A mean of"
            " fewer languages than another in its column has both numbers behind it. matrix.csv"
            " has every pair, matrix-summary.csv these means; the rows are those of [leaderboard.md](leaderboard.md)."
        )
    for matrix in matrices.tasks:
        parts += [f"## {markdown.escape(matrix.task)}", *_summary_tables(matrix)]
        parts += [*_sharing_table(matrix), *_grids(matrix, pictures)]
    return markdown.join(*parts, *_dataset_table(matrices.datasets))


def _summary_tables(matrix: transfer.Matrix) -> Iterator[str]:
    found = list(matrix.summaries)
    for model, known in sorted(matrix.seen.items()):
        if never := [language for language in matrix.order if known.get(language) == 0]:
            yield f"{markdown.escape(model)} never saw: {markdown.escape(', '.join(never))}."
    for languages, (heading, said) in transfer.HEADINGS.items():
        if same := [one for one in found if one.languages == languages]:
            yield f"### {heading}"
            if said:
                yield said
            for name, write, count in _TABLES:
                if table := _table(name, same, write, count):
                    yield table


def _sharing_table(matrix: transfer.Matrix) -> Iterator[str]:
    """Yield a table of what dictionaries share between languages, and its correlation with the score."""
    lines = []
    for pairs in matrix.rows.values():
        one_to_one = [pair for pair in pairs if pair.is_direct and pair.share("even") is not None]
        if not one_to_one:
            continue
        scores = [pair.result.macro_f1.value for pair in one_to_one]
        correlation = transfer.rank_correlation([pair.share("even") or 0.0 for pair in one_to_one], scores)
        shares = {name: mean_known(pair.share(name) for pair in one_to_one) for name in _SHARES.values()}
        lines.append(
            [
                *markdown.arm(pairs[0].row.key),
                str(len(one_to_one)),
                *(markdown.optional(shares[name]) for name in ("weight", "even")),
                *(f"{shares[name]:.0f}" for name in ("both", "only_train", "only_test")),
                markdown.optional(shares["overlap"]),
                NONE if correlation is None else markdown.signed(correlation),
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
                *(*markdown.ARM, "pairs", "on shared", "evenly shared", "in both"),
                *("only learnt", "only tested", "overlap of the top", "with macro-F1"),
            ],
            lines,
        )


def _worst(one: transfer.Summary) -> str:
    return f"{one.worst[0]} {markdown.point(one.worst[1])}"


def _resource(one: transfer.Summary) -> str:
    return NONE if one.resource is None else f"{markdown.signed(one.resource[0])} ({one.resource[1]})"


_TABLES: Sequence[tuple[str, Callable[[transfer.Summary], str], Callable[[transfer.Summary], int]]] = (
    ("macro-F1", lambda one: markdown.score(one.macro_f1), lambda one: one.n_languages),
    ("gap", lambda one: markdown.difference(one.gap), lambda one: one.n_gap),
    ("Δ hidden", lambda one: markdown.difference(one.delta), lambda one: one.n_delta),
    ("worst language", _worst, lambda one: one.n_languages),
    ("resource level", _resource, lambda _: 0),  # says of how many itself
)
"""Tables by name: the text of a cell, and the number of languages it is the mean of."""


def _table(
    name: str,
    found: Sequence[transfer.Summary],
    write: Callable[[transfer.Summary], str],
    count: Callable[[transfer.Summary], int],
) -> str:
    """Return a table of rows × training kinds, without kinds that no row has; "" without any."""
    kinds = group_by(found, lambda one: one.trained)
    most = {kind: max(map(count, same)) for kind, same in kinds.items()}
    texts = {
        (one.row.key, one.trained): text + _of(count(one), most[one.trained])
        for one in found
        if (text := write(one)) != NONE
    }
    known = {kind for _, kind in texts}
    return markdown.wide_table(name, [kind for kind in kinds if kind in known], texts)


def _of(count: int, most: int) -> str:
    """Return the number of languages of a mean, where others in its column are of more."""
    return f" ({count}/{most})" if count < most else ""


def _grids(matrix: transfer.Matrix, pictures: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield links to the heat maps, then for each model the matrix of its baseline and of its first dictionary."""
    links = [
        markdown.link_to(name, pictures[matrix.task, name])
        for name in matrix.rows
        if (matrix.task, name) in pictures
    ]
    if links:
        yield f"Heat maps: {', '.join(links)}."
    if len(matrix.order) > transfer.IN_TEXT:
        return
    shown: set[tuple[str, bool]] = set()
    for name, pairs in matrix.rows.items():
        row = pairs[0].row
        kind = (row.model or "", row.is_baseline)
        if row.model is None or kind in shown or not (row.is_baseline or is_dictionary(pairs[0].records[0])):
            continue
        if grid := transfer.find_grid(pairs):
            shown.add(kind)
            yield f"### {markdown.escape(name)}"
            yield "Learnt in ↓, tested in →; * was not in the model's training text."
            yield _grid_table(matrix, grid)


def _grid_table(matrix: transfer.Matrix, grid: transfer.Grid) -> str:
    trained, tested = transfer.axes(matrix, grid)
    row = next(iter(grid.values())).row
    lines = [
        [
            matrix.mark(train, row),
            *(
                markdown.optional(pair.result.macro_f1.value if (pair := grid.get((train, test))) else None)
                for test in tested
            ),
        ]
        for train in trained
    ]
    return markdown.table(["", *(matrix.mark(test, row) for test in tested)], lines)


def _dataset_table(pairs: Sequence[transfer.Pair]) -> list[str]:
    """Return a table of tasks by the task trained on. Numbers of examples are those of the first row that has them."""
    if not pairs:
        return []
    rows = list(dict.fromkeys(markdown.name_arm(pair.row.key) for pair in pairs))
    scores = {
        (pair.result.task, markdown.name_arm(pair.row.key)): markdown.score(pair.result.macro_f1)
        for pair in pairs
    }
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
