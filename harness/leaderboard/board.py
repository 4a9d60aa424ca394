"""Board: rows compared with their model's baseline, task by task, and ranked.

1. **Choice.** On each task and for each seed a row takes its cell with the best validation macro-F1.
2. **Score.** The test macro-F1 of these cells is averaged over seeds, then over tasks, unweighted. Intervals are of
   test rows: a stratified bootstrap, independent from task to task and shared by all rows. Where a task is tested in
   several languages, source items are drawn, so that translations of one item are drawn together. Seeds are not
   resampled; `seed_sd` reports their variation.
3. **Comparison.** `delta` is the row minus the selected baseline cells of its model (over all sites and poolings),
   `matched` the row minus the baseline at the row's own choice. Both are paired, over the seeds and tasks that both
   have; a flag `hidden:n/m` or `matched:n/m` reports fewer tasks than the row has. Baselines and arms without a model
   are not compared.
4. **Verdict.** A task is won or lost if the p-value, adjusted by Holm over the row's tasks, is below .05, else tied.
5. **Rank.** 1 + the number of rows that are better beyond noise: the paired interval of the difference in mean lies
   above 0. `last_rank` is the lowest place: all rows may be above but those that are worse beyond noise. `ties` are the
   groups of rows of which no two differ by that interval. Toys and other models never share a rank: each kind is
   ranked by itself, with the arms without a model. Rows without every task of the board are last, unranked and
   flagged `incomplete`. `rank_interval` resamples tasks as well (`harness.stats.rank_intervals`), each with all its
   languages and regimes.
6. **Regimes.** If tasks were trained as they are, steps 2 to 5 use those alone, and results under other regimes are in
   `others`: a mean over regimes would depend on how they were chosen. Otherwise they use the languages trained by
   themselves; if there are none either, they are means over regimes, and the page says so. Pairs of different languages
   take the plain number of resamples.
7. **Few groups.** Tasks whose test rows have too few groups for an interval (`harness.stats.few_groups`) are in
   `unsupported`, with their scores: they enter no mean, no rank and no adjustment of any row. A flag `groups:n` reports
   that a class has n groups, too few for intervals that hold what they promise, `single:n/m` that n of m classes have
   one group, whose luck no interval holds, `absent:n/m` that n of m classes have no test row: they count 0 in macro-F1.
8. **Folds.** A flag `folds:n/m` reports that n of the row's m cells were chosen on folds of the training rows, since
   rows for validation were too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Literal, get_args

from harness.data.cleaning import Hygiene
from harness.leaderboard.scoring import Estimate, mean_all
from harness.leaderboard.selection import Cell, RowKey, Unit
from harness.stats.few_groups import Support

Verdict = Literal["won", "tied", "lost"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """Result of a row on one task: its score, compared with the model's selected baseline cells.

    `p_value` is Holm-adjusted over the row's tasks, 1 where the rows have too few groups to show anything, None where
    tests on such rows raise false alarms; `detectable` is the true difference from the baseline that this
    test set would show with probability .8. `target` names the test rows, whatever was trained on.
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
    support: Support
    absent: int

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the test rows: too few groups, classes without any row."""
        return flag_rows(self.support, self.absent)

    @property
    def unit(self) -> Unit:
        """Task, languages and regime of the result."""
        return self.cells[0].unit

    @property
    def regime(self) -> str:
        """Training regime, and source model of a transfer."""
        return self.unit.regime


def flag_rows(support: Support, absent: int) -> tuple[str, ...]:
    """Return the flags of test rows of which `absent` classes have none."""
    lacking = f"absent:{absent}/{absent + support.classes}"
    return (*support.flags, *([lacking] if absent else []))


BOTH = "text and image"
"""Modality of a row that has tasks of text and of images."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Row of the board. A rank, score, comparison or cost that does not exist is None.

    `others` are results under regimes that the row is not ranked by, `unsupported` those of test rows with too few
    groups for an interval. `seed_means` are macro-F1 by seed, of the seeds
    that every task has. `tried` is the number of configurations (cells × points of the classifier's grid) that
    the row's choice was made from, the least and the most over tasks and seeds. `ties` are the groups of rows, numbered
    from 0 at the best, of which no two differ. `reads` is the modality of its tasks: `text`, `image`, or BOTH; rows are
    ranked among those of the same modality. A `toy` is of a model that was trained to try the harness out; where a
    board has other models, too, `among_toys` is an arm without a model as it is ranked among the toys.
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
    unsupported: tuple[TaskResult, ...] = ()
    tried: tuple[int, int] | None = None
    repeats: Repeats | None = None
    is_baseline: bool = False
    rank: int | None = None
    last_rank: int | None = None
    rank_interval: tuple[int, int] | None = None
    ties: tuple[int, ...] = ()
    toy: bool = False
    among_toys: Row | None = None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Chosen cells of the ranked results; of those shown below the board where none is ranked."""
        return tuple(cell for result in self.results or self.below for cell in result.cells)

    @property
    def below(self) -> tuple[TaskResult, ...]:
        """Results with too few groups of test rows, which are shown below the board; without pairs of languages."""
        return tuple(result for result in self.unsupported if not result.unit.is_across)

    @property
    def key(self) -> RowKey:
        """Model, representation, width."""
        return RowKey(model=self.model, representation=self.representation, width=self.width)

    @property
    def all_results(self) -> tuple[TaskResult, ...]:
        """Ranked results, and those under other regimes; without the unsupported ones."""
        return self.results + self.others

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation over seeds of the mean over tasks; None with fewer than two."""
        return stdev(self.seed_means) if len(self.seed_means) > 1 else None

    @property
    def seed_range(self) -> float | None:
        """Highest minus lowest of these means; None with fewer than two."""
        return max(self.seed_means) - min(self.seed_means) if len(self.seed_means) > 1 else None

    def count(self, verdict: Verdict) -> int | None:
        """Return the number of tasks won, tied or lost; None when none was compared."""
        verdicts = [result.verdict for result in self.results if result.verdict is not None]
        return verdicts.count(verdict) if verdicts else None


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """Summary of a task: test rows, macro-F1 of guessing every class equally often, and removed examples (the most over
    the task's cells: inputs cut depend on the model). `absent` classes have no test row.
    """

    name: str
    n_test: int
    n_classes: int
    chance: float
    hygiene: Hygiene
    support: Support
    absent: int

    @property
    def is_ranked_by(self) -> bool:
        """True if the task enters means and ranks."""
        return self.support.has_interval

    @property
    def ceiling(self) -> float:
        """Macro-F1 of an arm that has every test row right."""
        return 1 - self.absent / self.n_classes

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the task's test rows."""
        return flag_rows(self.support, self.absent)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that are ranked together: those of toys or of other models, and arms without a model."""

    of_toys: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, eq=False)  # two boards are never equal: resamples are not compared
class Board:
    """Leaderboard: rows by falling macro-F1, the unranked ones last, and the ranked tasks. `left_out` are rows that the
    ablation lacks.
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
        """True if there are tasks of text and of images."""
        return len({row.reads for row in self.rows}) > 1

    @property
    def groups(self) -> tuple[Group, ...]:
        """The rows that are ranked together: other models first, then toys; one group where there is one kind."""
        kinds = sorted({row.toy for row in self.rows if row.model is not None}) or [False]
        if len(kinds) == 1:
            return (Group(of_toys=kinds[0], rows=self.rows),)
        toys = (row.among_toys or row for row in self.rows if row.toy or row.model is None)
        return (
            Group(of_toys=False, rows=tuple(row for row in self.rows if not row.toy)),
            Group(of_toys=True, rows=tuple(toys)),
        )

    @property
    def all_results(self) -> tuple[TaskResult, ...]:
        """All results of all rows."""
        return tuple(result for row in self.rows for result in row.all_results)

    @property
    def has_others(self) -> bool:
        """True if there are results under regimes that rows are not ranked by."""
        return any(row.others for row in self.rows)

    @property
    def is_over_regimes(self) -> bool:
        """True if ranked scores are means over several regimes."""
        return len(self._regimes) > 1

    @property
    def is_by_language(self) -> bool:
        """True if rows are ranked by languages trained by themselves, as no task was trained as it is."""
        natural = {result.unit.natural for row in self.rows for result in row.results}
        return self.has_others and "task" not in natural

    @property
    def _regimes(self) -> set[str]:
        return {result.regime for row in self.rows for result in row.results}


def mean_metric(results: Sequence[TaskResult], name: str) -> float | None:
    """Return a metric's mean over seeds, then tasks, from the records; None where a cell lacks it."""
    return mean_all(mean_all(cell.metric(name) for cell in result.cells) for result in results)


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """Row at one value of an axis: means over seeds, then tasks. `overall`: its model's baseline has no such value, so
    `delta` is against the baseline chosen over all values.
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
    """Best arm on validation without and with dictionaries, among the arms of a model and those without one; `model`
    None: among all arms, of a board with toys and other models those of one kind, as `of_toys` says. `choices` counts
    tasks × seeds, `taken` those in which a dictionary was best on validation. `unknown` are representations left out,
    whose records do not say whether they are dictionaries.
    """

    model: str | None
    n_tasks: int
    choices: int
    taken: int
    without: Estimate
    added: Estimate
    delta: Estimate
    unknown: tuple[str, ...] = ()
    of_toys: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Repeats of a row's cells in several runs: their number, the median and the largest absolute difference in
    macro-F1 between two runs of one, and the share of test predictions that differ between them; None where no two runs
    kept their predictions.
    """

    cells: int
    median: float
    largest: float
    differing: float | None
