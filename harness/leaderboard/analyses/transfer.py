"""Transfer between languages and data sets: every row by its training and its test languages.

**Pair.** A row of the board on one task, trained in some languages and tested in others. *Native*: in one language by
itself. A language is **seen** if it is in the training text of the model; several languages trained on together are
seen if one of them is. This is unknown for arms without a model, and for models that do not say.
**Mean.** Over the tested languages, of each the mean over training languages; intervals are those of the board
(`harness.leaderboard.scoring`), which draw the translations of an item together. Means over pairs seen on both sides
are separate.
**Few groups.** Pairs whose test rows have too few groups for an interval have a score, and enter no mean.
**Gap.** Native minus the mean, over the languages that have both, paired.
**Resource level.** Spearman's correlation of the mean by tested language with the megabytes of it that the model saw.
**Data sets.** If at least two tasks each were trained on at least two others, these are in the same file.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import attrgetter, itemgetter
from typing import Literal

from harness.leaderboard.analyses.scripts import script_of
from harness.leaderboard.board import Board, Row, TaskResult
from harness.leaderboard.pages import markdown
from harness.leaderboard.scoring import Estimate, difference, mean, mean_all, mean_of
from harness.leaderboard.selection import Unit, group_by, in_natural_order
from harness.runs.record import Record

Languages = Literal["seen", "unseen", "all"]
"""Pairs of a mean: seen on both sides, not on one or both, or all, where it is unknown."""

IN_TEXT = 14
"""Most languages of a matrix that is written as text."""

ENGLISH = "en"
"""Training language with a column of its own beside the mean over all training languages."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Result of a row on one pair of languages. `task` is its name without languages."""

    task: str
    row: Row
    result: TaskResult

    @property
    def train(self) -> str:
        """Training languages, joined with `+`."""
        return self.result.unit.train_language

    @property
    def test(self) -> str:
        """Tested languages, joined with `+`."""
        return self.result.unit.test_language

    @property
    def records(self) -> tuple[Record, ...]:
        """Records of every seed."""
        return tuple(cell.record for cell in self.result.cells)

    @property
    def is_native(self) -> bool:
        """True if one language was trained and tested by itself."""
        return self.train == self.test and "+" not in self.test and self.result.unit.natural is not None

    @property
    def is_direct(self) -> bool:
        """True if it has a place in a matrix: native, or from one language to another."""
        return self.is_native or (
            self.train != self.test
            and "+" not in self.train + self.test
            and self.records[0].learnt_on is None
        )

    @cached_property
    def seen(self) -> tuple[float, float] | None:
        """Megabytes of the model's training text in the training and in the tested languages; None if unknown."""
        known = next((record.seen for record in self.records if record.seen is not None), None)
        if known is None:
            return None
        train, test = (
            sum(known.get(one, 0.0) for one in side.split("+")) for side in (self.train, self.test)
        )
        return train, test

    @property
    def languages(self) -> Languages:
        """Kind of means that the pair belongs to."""
        if self.seen is None:
            return "all"
        return "seen" if min(self.seen) > 0 else "unseen"

    def share(self, name: str) -> float | None:
        """Return a number of the records' `sharing`, its mean over seeds; None where a seed has none."""
        return mean_all(getattr(record.sharing, name, None) for record in self.records)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Pairs of a task that is trained in some languages and tested in others; those of a row are adjacent."""

    task: str
    pairs: tuple[Pair, ...]

    @cached_property
    def rows(self) -> Mapping[str, Sequence[Pair]]:
        """Pairs of each row, by the row's name."""
        return group_by(self.pairs, lambda pair: markdown.name_arm(pair.row.key))

    @cached_property
    def summaries(self) -> Sequence[Summary]:
        """Summaries of the rows, as `summarize` gives them."""
        return tuple(summarize(self))

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
        """Languages by falling amount of training text, then by name."""
        most = {
            language: max(known.get(language, 0.0) for known in self.seen.values())
            for language in {one for known in self.seen.values() for one in known}
        }
        every = {one for pair in self.pairs if pair.is_direct for one in (pair.train, pair.test)}
        return sorted(every, key=lambda language: (-most.get(language, 0.0), in_natural_order(language)))

    def mark(self, language: str, row: Row) -> str:
        """Return the language, with a `*` where the row's model never saw it."""
        return f"{language}*" if self.seen.get(row.model or "", {}).get(language) == 0 else language


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """Transfer on a board: between languages, and between data sets."""

    tasks: tuple[Matrix, ...]
    datasets: tuple[Pair, ...]

    def __bool__(self) -> bool:
        return bool(self.tasks or self.datasets)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Means of a row on a task over its pairs of one kind: `trained` names the regime, and the language where it is one
    of several. `n_delta` and `n_gap` are the languages that have a difference from hidden states and a native score.
    `worst` is the tested language with the lowest mean; `resource` Spearman's correlation and the number of languages,
    None of fewer than three or where either side is constant.
    """

    task: str
    row: Row
    languages: Languages
    trained: str
    n_pairs: int
    n_languages: int
    macro_f1: Estimate
    delta: Estimate | None
    gap: Estimate | None
    n_delta: int
    n_gap: int
    worst: tuple[str, float]
    resource: tuple[float, int] | None


@lru_cache(maxsize=1)  # asked for by each page of a board
def find_matrices(board: Board) -> Matrices:
    """Return matrices of the tasks that have a pair of different languages, by name."""
    every = [(row, result) for row in board.rows for result in (*row.all_results, *row.unsupported)]
    found = group_by(every, lambda one: attrgetter("task", "version", "trained_on")(one[1].unit))
    versions = Counter(task for task, _ in {(task, version) for task, version, _ in found})
    tasks = []
    for (task, version, other), results in sorted(found.items(), key=itemgetter(0)):
        if any(result.unit.is_across for _, result in results):
            name = f"{task}{f'@{version}' * (versions[task] > 1)}{f' ← {other}' * bool(other)}"
            pairs = tuple(Pair(task=name, row=row, result=result) for row, result in results)
            tasks.append(Matrix(task=name, pairs=pairs))
    return Matrices(tasks=tuple(tasks), datasets=_find_datasets(board))


def _find_datasets(board: Board) -> tuple[Pair, ...]:
    """Return tasks trained on others, if at least two others each train two tasks, and these others by themselves."""
    pairs = [
        Pair(task=result.unit.task, row=row, result=result) for row in board.rows for result in row.results
    ]
    learners = Counter(source for source, _ in {(pair.result.unit.trained_on, pair.task) for pair in pairs})
    sources = {source for source, count in learners.items() if source and count > 1}
    return tuple(
        pair for pair in pairs if len(sources) > 1 and (pair.result.unit.trained_on or pair.task) in sources
    )


# ── means ────────────────────────────────────────────────────────────────────────────────────────────────


def summarize(matrix: Matrix) -> Iterator[Summary]:
    """Yield summaries by row, seen and unseen, natural regimes first, then the others in natural order; without pairs
    whose test rows have too few groups for an interval.
    """
    for pairs in matrix.rows.values():
        single = [pair for pair in pairs if "+" not in pair.test and pair.result.support.has_interval]
        native = {pair.test: pair.result.macro_f1 for pair in single if pair.is_native}
        for languages in HEADINGS:
            kinds = _by_kind([pair for pair in single if pair.languages == languages])
            for trained, kind in kinds.items():
                yield _summarize(trained, kind, native=native)


def _by_kind(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Return pairs by regime; and for a regime with several single training languages also those from English, within
    one script, and between scripts.
    """
    found = sorted(pairs, key=lambda pair: _order(pair.result.unit))
    kinds = {}
    for regime, same in group_by(found, lambda pair: pair.result.regime).items():
        kinds[regime] = same
        english = [pair for pair in same if pair.train == ENGLISH != pair.test]
        if english and any(pair.is_direct and pair.train not in (ENGLISH, pair.test) for pair in same):
            kinds[f"{regime} from {ENGLISH}"] = english
        within, across = _by_script([pair for pair in same if pair.is_direct and pair.train != pair.test])
        if within and across:
            kinds |= {f"{regime} within a script": within, f"{regime} across scripts": across}
    return kinds


def _by_script(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs of one script and those of two, of languages whose script is known."""
    scripts = [(script_of(pair.train), script_of(pair.test), pair) for pair in pairs]
    known = [(train == test, pair) for train, test, pair in scripts if train and test]
    within, across = ([pair for same, pair in known if same is wanted] for wanted in (True, False))
    return within, across


def _order(unit: Unit) -> tuple[int, tuple[tuple[str, float], ...]]:
    """Return a sort key: the task as it is, each language by itself, then the other regimes."""
    return ("task", "language", None).index(unit.natural), in_natural_order(unit.regime)


def _summarize(trained: str, pairs: Sequence[Pair], *, native: Mapping[str, Estimate]) -> Summary:
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
        trained=trained,
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
    """Return the mean over training languages by tested language, without missing estimates."""
    known = [(pair.test, estimate) for pair, estimate in estimates if estimate is not None]
    return {test: mean([one for _, one in same]) for test, same in group_by(known, itemgetter(0)).items()}


def _correlate(seen: Mapping[str, float], scores: Mapping[str, Estimate]) -> tuple[float, int] | None:
    levels = [math.log(megabytes) for megabytes in seen.values()]
    found = rank_correlation(levels, [scores[test].value for test in seen])
    return None if found is None else (found, len(levels))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's correlation; None of fewer than three pairs, or where either side is constant."""
    from scipy.stats import spearmanr

    if len(set(one)) < 2 or len(set(other)) < 2 or len(one) < 3:
        return None
    return float(spearmanr(one, other).statistic)


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
"""Headings of the page, each with a sentence, by the pairs of the means below them."""


Grid = Mapping[tuple[str, str], Pair]
"""Pairs by training and tested language."""


def find_grid(pairs: Iterable[Pair]) -> Grid:
    """Return a row's matrix; {} where no two languages differ. Of several regimes, the first counts."""
    grid: dict[tuple[str, str], Pair] = {}
    for pair in sorted(pairs, key=lambda pair: _order(pair.result.unit)):
        if pair.is_direct:
            grid.setdefault((pair.train, pair.test), pair)
    return grid if any(train != test for train, test in grid) else {}


def axes(matrix: Matrix, grid: Grid) -> tuple[list[str], list[str]]:
    """Return training languages and tested languages, in the task's order."""
    trained, tested = ({place[side] for place in grid} for side in (0, 1))
    return [one for one in matrix.order if one in trained], [one for one in matrix.order if one in tested]
