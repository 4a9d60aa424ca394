"""Runs in, a Board out: rows compared with hidden states, task by task, and ranked.

**Score.** On each task and for each seed a row goes by its cell with the best validation macro-F1; the test
macro-F1 of these cells is averaged over seeds, then over tasks, unweighted. Intervals are of the test rows:
stratified bootstrap, independent from task to task, shared by all rows; where a task is tested in several languages,
of its source items, so that translations of one are drawn together. Seeds are not resampled: `seed_sd`.
**Comparison.** `delta` is the row minus the selected `hidden` cells of its model (over all sites and
poolings), `matched` the row minus `hidden` at the row's own choice; both are paired, over the seeds and tasks
both have. A flag `hidden:n/m` or `matched:n/m` says where that is fewer than the row's tasks. Rows of hidden
states and of arms without a model are compared with nothing.
**Task by task.** won or lost where the Holm-adjusted p-value over the row's tasks is below .05, else tied.
**Rank.** 1 + the number of rows that are better beyond noise: the paired interval of the difference in mean
lies above 0. `last_rank` is the lowest place that noise leaves: all but the rows that are worse beyond noise
may be above. `ties` are the groups of rows of which no two are told apart by that interval. Only rows with every
task of the board are ranked; the others stand below, unranked, flagged `incomplete`. `rank_interval` is of tasks
drawn anew as well (`harness.stats.rank_intervals`), each with all its languages and regimes.
**Regimes.** Where some tasks were learnt as they are, under `full`, all of this is over those alone, and what was
learnt under other regimes stands in `others`: a mean over regimes would be one of how they were chosen. Where none
was, it is over the languages that were learnt by themselves (`native`), and what was learnt across languages or from
another model's features stands in `others`. Where there is nothing of the kind, it is a mean over regimes, and the
page says so. What is tested in another language than it was learnt in takes no more than the plain number of resamples.
**Chosen on.** A flag `folds:n/m` says that n of the m cells a row goes by were chosen on folds of the training rows,
as rows for validation were too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Literal

from harness.data.cleaning import Hygiene
from harness.leaderboard.scoring import Estimate, mean
from harness.leaderboard.selection import (
    Cell,
    RowKey,
    Unit,
)

Verdict = Literal["won", "tied", "lost"]


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A row on one task: its score, and beside it that of the model's selected hidden cells.

    `p_value` is Holm-adjusted over the row's tasks; `detectable` is the true difference from hidden that this
    test set would show with probability .8. `target` names what it was tested on alone, whatever it learnt from.
    """

    task: str
    target: str
    cells: tuple[Cell, ...]
    macro_f1: Estimate
    delta: Estimate | None
    matched: Estimate | None
    p_value: float | None = None
    verdict: Verdict | None = None
    detectable: float | None = None
    chance: float
    n_test: int

    @property
    def unit(self) -> Unit:
        """What was learnt and tested."""
        return self.cells[0].unit

    @property
    def regime(self) -> str:
        """What it was learnt under."""
        return self.unit.regime


BOTH = "text and image"
"""What a row reads that has tasks of either kind."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the board; what is None does not exist for it: a rank, a score, a comparison, a cost.

    `others` are results under regimes that the row is not ranked by. `seed_means` are macro-F1 by seed, of the seeds
    that every task has. `tried` is of how many configurations (cells × points of the classifier's grid) the row's
    choice was made, the least and the most over tasks and seeds. `ties` are the groups of rows, numbered from 0 at the
    best, of which no two are told apart. `reads` is what its tasks hold: `text`, `image`, or BOTH, and rows are ranked
    among those that read the same.
    """

    model: str | None
    representation: str
    width: int | None
    results: tuple[TaskResult, ...]
    macro_f1: Estimate | None
    delta: Estimate | None
    matched: Estimate | None
    seed_means: tuple[float, ...]
    tokens_per_s: float | None
    seconds: float | None
    peak_memory: int | None
    flags: tuple[str, ...]
    suites: tuple[str, ...]
    reads: str = "text"
    others: tuple[TaskResult, ...] = ()
    tried: tuple[int, int] | None = None
    repeats: Repeats | None = None
    is_baseline: bool = False
    rank: int | None = None
    last_rank: int | None = None
    rank_interval: tuple[int, int] | None = None
    ties: tuple[int, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells the row goes by."""
        return tuple(cell for result in self.results for cell in result.cells)

    @property
    def key(self) -> RowKey:
        """Model, representation, width."""
        return RowKey(model=self.model, representation=self.representation, width=self.width)

    @property
    def all_results(self) -> tuple[TaskResult, ...]:
        """Those the row is ranked by, and those under other regimes."""
        return self.results + self.others

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation over seeds of the mean over tasks; None with fewer than two."""
        return stdev(self.seed_means) if len(self.seed_means) > 1 else None

    @property
    def seed_range(self) -> float | None:
        """From the lowest to the highest of these means."""
        return max(self.seed_means) - min(self.seed_means) if len(self.seed_means) > 1 else None

    def count(self, verdict: Verdict) -> int | None:
        """On how many tasks the row won, tied or lost; None when it was compared on none."""
        verdicts = [result.verdict for result in self.results if result.verdict is not None]
        return verdicts.count(verdict) if verdicts else None


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """A task of the board: test rows, macro-F1 of guessing every class equally often, and what was removed
    (the most over the task's cells: inputs cut depend on the model).
    """

    name: str
    n_test: int
    n_classes: int
    chance: float
    hygiene: Hygiene


@dataclass(frozen=True, kw_only=True)
class Board:
    """Rows by falling macro-F1, the unranked ones last; the tasks they are ranked by, by name. `left_out` are rows that
    the ablation lacks.
    """

    suites: tuple[str, ...]
    resamples: int
    tasks: tuple[TaskSummary, ...]
    rows: tuple[Row, ...] = field(repr=False)
    ablation: tuple[Ablated, ...] = field(default=(), repr=False)
    left_out: tuple[RowKey, ...] = ()
    quivers: tuple[Quiver, ...] = ()

    @property
    def is_mixed(self) -> bool:
        """Whether it holds tasks of text and of images."""
        return len({row.reads for row in self.rows}) > 1

    @property
    def all_results(self) -> tuple[TaskResult, ...]:
        """All results of all rows."""
        return tuple(result for row in self.rows for result in row.all_results)

    @property
    def has_others(self) -> bool:
        """Whether there are results under regimes that rows are not ranked by."""
        return any(row.others for row in self.rows)

    @property
    def is_over_regimes(self) -> bool:
        """Whether what rows are ranked by is a mean over several regimes."""
        return len(self._regimes) > 1

    @property
    def is_by_language(self) -> bool:
        """Whether rows are ranked by languages that were learnt by themselves, as nothing was learnt as it is."""
        natural = {result.unit.natural for row in self.rows for result in row.results}
        return self.has_others and "task" not in natural

    @property
    def _regimes(self) -> set[str]:
        return {result.regime for row in self.rows for result in row.results}


def mean_of(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """The mean of those that are there; None where none is."""
    known = [estimate for estimate in estimates if estimate is not None]
    return mean(known) if known else None


def mean_metric(results: Sequence[TaskResult], name: str) -> float | None:
    """A metric's mean over seeds, then tasks, from the records; None where a cell lacks it."""
    means = []
    for result in results:
        found = [cell.record.metrics[name].value for cell in result.cells if name in cell.record.metrics]
        if len(found) < len(result.cells):
            return None
        means.append(sum(found) / len(found))
    return sum(means) / len(means) if means else None


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """A row at one value of an axis: means over seeds, then tasks. `overall`: its model's hidden states have no such
    value, so `delta` is against those chosen over all values.
    """

    axis: str
    value: str
    row: RowKey
    n_tasks: int
    macro_f1: Estimate
    auroc: float | None
    validation: float | None
    delta: Estimate | None
    overall: bool


@dataclass(frozen=True, kw_only=True)
class Quiver:
    """Over the arms of a model and those without one; `model` None: over all arms. `choices` counts tasks × seeds, and
    `taken` those of them in which a dictionary was best on validation. `unknown` are representations left out, of whose
    records none says whether they are dictionaries.
    """

    model: str | None
    n_tasks: int
    choices: int
    taken: int
    without: Estimate
    added: Estimate
    delta: Estimate
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """The cells of a row that several runs hold: how many, the median and the largest absolute difference in macro-F1
    between two runs of one, and the share of test predictions that differ between them; None where no two runs kept
    their predictions.
    """

    cells: int
    median: float
    largest: float
    differing: float | None
