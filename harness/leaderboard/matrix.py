"""A Board in, what carries over out: every row by what was learnt in and what was tested in, in numbers and on a page.

**Pair.** A row of the board on one task, learnt in some languages and tested in others. *Native*: in one language by
itself. A language is **seen** where it is in the training text of the model; of several languages that are learnt from
together, where one of them is. Of arms without a model, and of models that do not say, nothing of the kind is known.
**Mean.** Over the languages that are tested, of each the mean over what was learnt from; intervals are those of the
board (`harness.leaderboard.estimate`), which draw the translations of an item together. Means of what the model saw on
both sides stand apart from the rest.
**Gap.** Native minus the mean, over the languages that have both, paired.
**Resource level.** Spearman's correlation of the mean by tested language with the megabytes of it that the model saw.
**Data sets.** Where at least two tasks each were learnt from at least two others, these stand in the same file.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from harness.leaderboard import markdown
from harness.leaderboard.board import Board, Row, TaskResult, mean_of
from harness.leaderboard.choice import FULL, NATIVE, in_natural_order
from harness.leaderboard.estimate import Estimate, difference, mean
from harness.leaderboard.frames import write_csv, write_numbers
from harness.leaderboard.markdown import NONE
from harness.leaderboard.quiver import is_dictionary
from harness.leaderboard.scripts import script_of
from harness.records import Record

Languages = Literal["seen", "unseen", "all"]
"""Which pairs a mean is of: seen on both sides, not on one or both, or all, where nothing is known of that."""

IN_TEXT = 14
"""Matrices of more languages are not written as text."""

ENGLISH = "en"
"""What is learnt from this language alone has a column beside the mean over all that were learnt from."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A row of the board on one pair. `task` is its name without languages."""

    task: str
    row: Row
    result: TaskResult

    @property
    def train(self) -> str:
        """The languages that were learnt from, joined with `+`."""
        return self.result.unit.train_language

    @property
    def test(self) -> str:
        """The languages that were tested, joined with `+`."""
        return self.result.unit.test_language

    @property
    def records(self) -> tuple[Record, ...]:
        """Of every seed."""
        return tuple(cell.record for cell in self.result.cells)

    @property
    def is_native(self) -> bool:
        """Whether one language was learnt and tested as it is."""
        return self.train == self.test and "+" not in self.test and self.result.regime in (NATIVE, FULL)

    @property
    def is_direct(self) -> bool:
        """Whether it has a place in a matrix: native, or from one language to another."""
        return self.is_native or (
            self.train != self.test
            and "+" not in self.train + self.test
            and self.records[0].learnt_on is None
        )

    @cached_property
    def seen(self) -> tuple[float, float] | None:
        """Megabytes of the model's training text in what was learnt from and in what was tested."""
        known = next((record.seen for record in self.records if record.seen is not None), None)
        if known is None:
            return None
        train, test = (
            sum(known.get(one, 0.0) for one in side.split("+")) for side in (self.train, self.test)
        )
        return train, test

    @property
    def languages(self) -> Languages:
        """Which means it belongs to."""
        if self.seen is None:
            return "all"
        return "seen" if min(self.seen) > 0 else "unseen"

    def share(self, name: str) -> float | None:
        """A number of the record's `sharing`, its mean over seeds; None where a seed has none."""
        values = [getattr(record.sharing, name) for record in self.records if record.sharing is not None]
        known = [float(value) for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(self.records) else None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Everything of a task that is learnt in some languages and tested in others; a row's pairs stand together."""

    task: str
    pairs: tuple[Pair, ...]

    @cached_property
    def rows(self) -> Mapping[str, tuple[Pair, ...]]:
        """The pairs of each row, by what the row is called."""
        found: dict[str, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            found[name_row(pair.row)].append(pair)
        return {name: tuple(pairs) for name, pairs in found.items()}

    @cached_property
    def seen(self) -> Mapping[str, Mapping[str, float]]:
        """Megabytes by model and language, of the models that say."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for pair in self.pairs:
            for record in pair.records:
                if record.model is not None and record.seen is not None:
                    found[record.model] |= record.seen
        return found

    @cached_property
    def order(self) -> Sequence[str]:
        """The languages: what models saw most of first, then by name."""
        most = {
            language: max(known.get(language, 0.0) for known in self.seen.values())
            for language in {one for known in self.seen.values() for one in known}
        }
        every = {one for pair in self.pairs if pair.is_direct for one in (pair.train, pair.test)}
        return sorted(every, key=lambda language: (-most.get(language, 0.0), in_natural_order(language)))

    def mark(self, language: str, row: Row) -> str:
        """The language, with a `*` where the row's model never saw it."""
        return f"{language}*" if self.seen.get(row.model or "", {}).get(language) == 0 else language


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """What carries over on a board: across languages, and across data sets."""

    tasks: tuple[Matrix, ...]
    datasets: tuple[Pair, ...]

    def __bool__(self) -> bool:
        return bool(self.tasks or self.datasets)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Means of a row on a task over its pairs of one kind: `learnt` names the regime, and the language where it is one
    of several. `n_delta` and `n_gap` are the languages that have a difference from hidden states and a native score.
    `worst` is the tested language with the lowest mean; `resource` Spearman's correlation and the number of languages,
    None of fewer than three or where either side is constant.
    """

    task: str
    row: Row
    languages: Languages
    learnt: str
    n_pairs: int
    n_languages: int
    macro_f1: Estimate
    delta: Estimate | None
    gap: Estimate | None
    n_delta: int
    n_gap: int
    worst: tuple[str, float]
    resource: tuple[float, int] | None


def name_row(row: Row) -> str:
    """Model, representation and width, as far as there are such."""
    return " ".join(filter(None, (row.model, row.representation, str(row.width or ""))))


def find_matrices(board: Board) -> Matrices:
    """Of tasks that have a pair of unlike languages, by name."""
    found: dict[tuple[str, int, str], list[tuple[Row, TaskResult]]] = defaultdict(list)
    versions: dict[str, set[int]] = defaultdict(set)
    for row in board.rows:
        for result in row.all_results:
            unit = result.unit
            found[unit.task, unit.version, unit.trained_on].append((row, result))
            versions[unit.task].add(unit.version)
    tasks = []
    for (task, version, other), results in sorted(found.items(), key=lambda item: item[0]):
        if any(result.unit.is_across for _, result in results):
            name = f"{task}{f'@{version}' * (len(versions[task]) > 1)}{f' ← {other}' * bool(other)}"
            pairs = tuple(Pair(task=name, row=row, result=result) for row, result in results)
            tasks.append(Matrix(task=name, pairs=pairs))
    return Matrices(tasks=tuple(tasks), datasets=_find_datasets(board))


def _find_datasets(board: Board) -> tuple[Pair, ...]:
    """Tasks that learn from others, where of two others at least two each learn, and these others by themselves."""
    learnt: dict[str, set[str]] = defaultdict(set)
    for row in board.rows:
        for result in row.results:
            learnt[result.unit.trained_on].add(result.unit.task)
    sources = {source for source, tasks in learnt.items() if source and len(tasks) > 1}
    if len(sources) < 2:
        return ()
    return tuple(
        Pair(task=result.unit.task, row=row, result=result)
        for row in board.rows
        for result in row.results
        if (result.unit.trained_on or result.unit.task) in sources
    )


# ── means ────────────────────────────────────────────────────────────────────────────────────────────────


def summarize(matrix: Matrix) -> Iterator[Summary]:
    """By row, seen and unseen, native first and then the other regimes in natural order."""
    for pairs in matrix.rows.values():
        single = [pair for pair in pairs if "+" not in pair.test]
        native = {pair.test: pair.result.macro_f1 for pair in single if pair.is_native}
        for languages in _HEADINGS:
            kinds = _by_kind([pair for pair in single if pair.languages == languages])
            for learnt, kind in kinds.items():
                yield _summarize(learnt, kind, native=native)


def _by_kind(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """By regime; and where a regime learns from several languages one by one, beside it from English alone, within one
    script, and from one script to another.
    """
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: _order(pair.result.regime)):
        found[pair.result.regime].append(pair)
    kinds = {}
    for regime, same in found.items():
        kinds[regime] = same
        english = [pair for pair in same if pair.train == ENGLISH != pair.test]
        if english and any(pair.is_direct and pair.train not in (ENGLISH, pair.test) for pair in same):
            kinds[f"{regime} from {ENGLISH}"] = english
        within, across = _by_script([pair for pair in same if pair.is_direct and pair.train != pair.test])
        if within and across:
            kinds |= {f"{regime} within a script": within, f"{regime} across scripts": across}
    return kinds


def _by_script(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Those of one script and those of two, of languages whose script is known."""
    within: list[Pair] = []
    across: list[Pair] = []
    for pair in pairs:
        train, test = script_of(pair.train), script_of(pair.test)
        if train and test:
            (within if train == test else across).append(pair)
    return within, across


def _order(regime: str) -> tuple[int, list[tuple[str, float]]]:
    return {FULL: 0, NATIVE: 1}.get(regime, 2), in_natural_order(regime)


def _summarize(learnt: str, pairs: Sequence[Pair], *, native: Mapping[str, Estimate]) -> Summary:
    scores = _by_test((pair, pair.result.macro_f1) for pair in pairs)
    deltas = _by_test((pair, pair.result.delta) for pair in pairs)
    gaps = {}
    if not all(pair.is_native for pair in pairs):
        gaps = {test: difference(native[test], score) for test, score in scores.items() if test in native}
    worst = min(scores, key=lambda test: (scores[test].value, test))
    seen = {pair.test: pair.seen[1] for pair in pairs if pair.seen and pair.languages == "seen"}
    return Summary(
        task=pairs[0].task,
        row=pairs[0].row,
        languages=pairs[0].languages,
        learnt=learnt,
        n_pairs=len(pairs),
        n_languages=len(scores),
        macro_f1=mean(list(scores.values())),
        delta=mean_of(list(deltas.values())),
        gap=mean_of(list(gaps.values())),
        n_delta=len(deltas),
        n_gap=len(gaps),
        worst=(worst, scores[worst].value),
        resource=_correlate(seen, scores),
    )


def _by_test(estimates: Iterable[tuple[Pair, Estimate | None]]) -> dict[str, Estimate]:
    """By tested language, the mean over what was learnt from, as far as there is an estimate."""
    found: dict[str, list[Estimate]] = defaultdict(list)
    for pair, estimate in estimates:
        if estimate is not None:
            found[pair.test].append(estimate)
    return {test: mean(each) for test, each in found.items()}


def _correlate(seen: Mapping[str, float], scores: Mapping[str, Estimate]) -> tuple[float, int] | None:
    from scipy.stats import spearmanr

    levels = [math.log(megabytes) for megabytes in seen.values()]
    values = [scores[test].value for test in seen]
    if len(set(levels)) < 2 or len(set(values)) < 2 or len(levels) < 3:
        return None
    return float(spearmanr(levels, values).statistic), len(levels)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────

_HEADINGS: Mapping[Languages, tuple[str, str]] = {
    "seen": ("Languages that the model saw", ""),
    "unseen": (
        "Languages that the model never saw",
        "Pairs of which the model saw the one language, or the other, or neither.",
    ),
    "all": (
        "All languages",
        "Arms without a model, and models that do not say what they saw: over all pairs, whatever other models saw.",
    ),
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
    for languages, (heading, said) in _HEADINGS.items():
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
                *(_mean(one_to_one, name, ".3f") for name in ("weight", "even")),
                *(_mean(one_to_one, name, ".0f") for name in ("both", "only_train", "only_test")),
                markdown.point(sum(known) / len(known)) if known else NONE,
                _rank_correlation(one_to_one),
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


def _mean(pairs: Sequence[Pair], name: str, form: str) -> str:
    values = [value for pair in pairs if (value := pair.share(name)) is not None]
    return format(sum(values) / len(values), form).removeprefix("0" if form == ".3f" else "")


def _rank_correlation(pairs: Sequence[Pair]) -> str:
    from scipy.stats import spearmanr

    shares = [pair.share("even") for pair in pairs]
    scores = [pair.result.macro_f1.value for pair in pairs]
    if len(pairs) < 3 or len(set(shares)) < 2 or len(set(scores)) < 2:
        return NONE
    return markdown.signed(float(spearmanr(shares, scores).statistic))


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
        kind = (row.model or "", row.is_hidden)
        if row.model is None or kind in shown or not (row.is_hidden or is_dictionary(pairs[0].records[0])):
            continue
        if grid := find_grid(pairs):
            shown.add(kind)
            yield f"### {markdown.escape(name)}"
            yield "Learnt in ↓, tested in →; * was not in the model's training text."
            yield _grid_table(matrix, grid)


Grid = Mapping[tuple[str, str], Pair]
"""By the language that was learnt and the one that was tested."""


def find_grid(pairs: Iterable[Pair]) -> Grid:
    """The places of a row's matrix; {} where no two languages differ. What several regimes give, the first gives."""
    grid: dict[tuple[str, str], Pair] = {}
    for pair in sorted(pairs, key=lambda pair: _order(pair.result.regime)):
        if pair.is_direct:
            grid.setdefault((pair.train, pair.test), pair)
    return grid if any(train != test for train, test in grid) else {}


def axes(matrix: Matrix, grid: Grid) -> tuple[list[str], list[str]]:
    """The languages that are learnt, and those that are tested, in the task's order."""
    trained, tested = ({place[side] for place in grid} for side in (0, 1))
    return [one for one in matrix.order if one in trained], [one for one in matrix.order if one in tested]


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
