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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from harness.leaderboard.analyses.scripts import script_of
from harness.leaderboard.board import Board, Row, TaskResult, mean_of
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.markdown import NONE
from harness.leaderboard.scoring import Estimate, difference, mean
from harness.leaderboard.selection import Unit, in_natural_order
from harness.runs.record import Record

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
        return self.train == self.test and "+" not in self.test and self.result.unit.natural is not None

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
        for languages in HEADINGS:
            kinds = _by_kind([pair for pair in single if pair.languages == languages])
            for learnt, kind in kinds.items():
                yield _summarize(learnt, kind, native=native)


def _by_kind(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """By regime; and where a regime learns from several languages one by one, beside it from English alone, within one
    script, and from one script to another.
    """
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: _order(pair.result.unit)):
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


def _order(unit: Unit) -> tuple[int, list[tuple[str, float]]]:
    """Return a sort key: the task as it is, each language by itself, then the other regimes."""
    return ("task", "language", None).index(unit.natural), in_natural_order(unit.regime)


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


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────

HEADINGS: Mapping[Languages, tuple[str, str]] = {
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


def mean_share(pairs: Sequence[Pair], name: str, form: str) -> str:
    values = [value for pair in pairs if (value := pair.share(name)) is not None]
    return format(sum(values) / len(values), form).removeprefix("0" if form == ".3f" else "")


def rank_correlation(pairs: Sequence[Pair]) -> str:
    from scipy.stats import spearmanr

    shares = [pair.share("even") for pair in pairs]
    scores = [pair.result.macro_f1.value for pair in pairs]
    if len(pairs) < 3 or len(set(shares)) < 2 or len(set(scores)) < 2:
        return NONE
    return markdown.signed(float(spearmanr(shares, scores).statistic))


Grid = Mapping[tuple[str, str], Pair]
"""By the language that was learnt and the one that was tested."""


def find_grid(pairs: Iterable[Pair]) -> Grid:
    """The places of a row's matrix; {} where no two languages differ. What several regimes give, the first gives."""
    grid: dict[tuple[str, str], Pair] = {}
    for pair in sorted(pairs, key=lambda pair: _order(pair.result.unit)):
        if pair.is_direct:
            grid.setdefault((pair.train, pair.test), pair)
    return grid if any(train != test for train, test in grid) else {}


def axes(matrix: Matrix, grid: Grid) -> tuple[list[str], list[str]]:
    """The languages that are learnt, and those that are tested, in the task's order."""
    trained, tested = ({place[side] for place in grid} for side in (0, 1))
    return [one for one in matrix.order if one in trained], [one for one in matrix.order if one in tested]
