"""Construction of a board from the records of runs. No model is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median

import numpy as np

from harness.data.cleaning import Hygiene
from harness.leaderboard.analyses.ablation import ablate, choose_ablation
from harness.leaderboard.analyses.noise import find_repeats
from harness.leaderboard.analyses.quiver import compare_quivers
from harness.leaderboard.board import BOTH, Board, Repeats, Row, TaskResult, TaskSummary, Verdict
from harness.leaderboard.names import name_targets, name_units
from harness.leaderboard.scoring import TaskScores, mean, mean_of, score_units
from harness.leaderboard.selection import (
    BySeed,
    Cell,
    Choice,
    Choices,
    RowKey,
    Unit,
    check_consistent,
    choose,
    group_by,
    in_natural_order,
    once,
    read_cells,
)
from harness.runs.record import Results
from harness.stats import bootstrap, few_groups

RANKED_OVER = 5
"""Least number of tasks, languages and regimes of one counted once, that give rank intervals over tasks."""

_DRAWS = 2000
"""Most resamples used for rank intervals over tasks. Ranks are whole numbers, so that more would change little."""


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """Facts of a board that all of its rows share. `held` counts the ranked tasks by modality, `unfinished` are the
    paths of runs that lack cells.
    """

    choices: Choices
    scores: Mapping[Unit, TaskScores]
    names: Mapping[Unit, str]
    targets: Mapping[Unit, str]
    repeats: Mapping[RowKey, Repeats]
    held: Mapping[str, int]
    unfinished: Container[Path]

    def is_supported(self, unit: Unit) -> bool:
        """Return whether the task's test rows have groups enough for an interval."""
        return self.scores[unit].support.has_interval


def build(runs: Sequence[Results], *, resamples: int = 1000) -> Board:
    """Build the board of all cells of `runs`.

    1. Read every cell once, and check that equal names mean equal things.
    2. Choose the cells of each row on validation; rows are ranked by the tasks in `choices.main_units`.
    3. Score the chosen cells on test, task by task, with resamples that all rows share. Tasks whose test rows have too
       few groups for an interval are left out of what follows, for all rows.
    4. Make the rows: compare with the baseline task by task, adjust p-values, average.
    5. Rank the rows that have every task of their modality.
    6. Put rows, ablation and quivers together.

    With more than ten ranked tasks each takes 100 resamples, so that the adjusted p-value of one clear task can fall
    below .05. Raise NothingSelectedError when no cell ended well, UnavailableError when predictions are missing or arms
    of one task were tested on different rows.
    """
    # 1. Cells.
    cells = read_cells(runs)
    check_consistent(cells)
    by_row, by_unit = group_by(cells, lambda cell: cell.row), group_by(cells, lambda cell: cell.unit)
    # 2. Choices.
    choices = choose(cells)
    ablation = choose_ablation(cells, choices)
    units, main = choices.units(), frozenset(choices.main_units)
    # 3. Scores. Those that only the ablation needs are not kept, since there may be very many.
    plain, resamples = resamples, max(resamples, 100 * len(main))
    scores: dict[Unit, TaskScores] = {}

    def score() -> Iterator[tuple[Unit, TaskScores]]:
        for unit, scored in score_units(
            {unit: once([*choices.cells(unit), *ablation.cells(unit)]) for unit in units},
            resamples=lambda unit: plain if unit.is_across and unit not in main else resamples,
        ):
            kept = {cell.cell_id: scored.of(cell) for cell in choices.cells(unit)}
            scores[unit] = replace(scored, by_cell=kept)
            yield unit, scored

    ablated = ablate(ablation, score())
    # 4. Rows.
    shared = _Shared(
        choices=choices,
        scores=scores,
        names=name_units(units),
        targets=name_targets(units),
        repeats=find_repeats(runs),
        held=Counter(by_unit[unit][0].record.modality for unit in main if scores[unit].support.has_interval),
        unfinished={run.path for run in runs if not run.is_whole},
    )
    # 5. Ranks.
    rows = _rank([_make_row(key, own, shared) for key, own in by_row.items()], held=shared.held)
    # 6. Board.
    places = {row.key: place for place, row in enumerate(rows)}
    axes = list(Choice._fields)
    return Board(
        suites=tuple(sorted({cell.record.suite for cell in cells})),
        resamples=resamples,
        tasks=tuple(_summarize(unit, by_unit[unit], shared) for unit in choices.main_units),
        rows=rows,
        ablation=tuple(
            sorted(
                ablated, key=lambda one: (axes.index(one.axis), places[one.row], in_natural_order(one.value))
            )
        ),
        left_out=tuple(sorted(ablation.left_out, key=lambda key: places[key])),
        quivers=compare_quivers(
            choices,
            {unit: scored for unit, scored in scores.items() if scored.support.has_interval},
            toys={row.model for row in rows if row.model is not None and row.toy},
        ),
    )


def _make_row(key: RowKey, cells: Sequence[Cell], shared: _Shared) -> Row:
    choices, main = shared.choices, frozenset(shared.choices.main_units)
    every = sorted(choices.selected.get(key, {}))
    units = [unit for unit in every if shared.is_supported(unit)]
    unsupported = tuple(
        _judge_alone(_result(key, unit, shared)) for unit in every if not shared.is_supported(unit)
    )
    # P-values are adjusted within the ranked tasks, and within each other regime by itself.
    families = group_by(units, lambda unit: "" if unit in main else unit.regime)
    judged = {
        name: _judge([_result(key, unit, shared) for unit in family]) for name, family in families.items()
    }
    results = judged.pop("", ())
    tested = [*results, *(one for one in unsupported if one.unit in main)]
    ranked = [choices.selected[key][unit] for unit in units if unit in main]
    records = [cell.record for cell in cells]
    modalities = {record.modality for record in records}
    reads = BOTH if len(modalities) > 1 else min(modalities)
    speeds = [record.cost.tokens_per_s for record in records if record.cost.tokens_per_s > 0]
    seconds = [record.cost.seconds for record in records if record.cost.seconds > 0]
    return Row(
        **vars(key),
        results=results,
        macro_f1=mean_of(result.macro_f1 for result in results),
        delta=mean_of(result.delta for result in results),
        matched=mean_of(result.matched for result in results),
        seed_means=_seed_means(ranked, shared.scores),
        tokens_per_s=median(speeds) if speeds else None,
        seconds=median(seconds) if seconds else None,
        peak_memory=max(record.cost.peak_memory for record in records) or None,
        flags=(
            *_record_flags(results, tested),
            *_flags(results, cells, n_tasks=_count_tasks(reads, shared.held)),
            *_row_flags(tested),
            *_search_flags(key, cells, shared),
        ),
        suites=tuple(sorted({record.suite for record in records})),
        reads=reads,
        others=tuple(result for family in judged.values() for result in family),
        unsupported=unsupported,
        tried=_count_tried([cell for cell in cells if cell.unit in main]),
        repeats=shared.repeats.get(key),
        is_baseline=key.model is not None and any(record.baseline for record in records),
        toy=any(record.toy for record in records),
    )


def _result(key: RowKey, unit: Unit, shared: _Shared) -> TaskResult:
    own, scores = shared.choices.selected[key][unit], shared.scores[unit]
    cells = tuple(own[seed] for seed in sorted(own))
    return TaskResult(
        task=shared.names[unit],
        target=shared.targets[unit],
        cells=cells,
        macro_f1=mean([scores.of(cell) for cell in cells]),
        delta=scores.compare(own, shared.choices.hidden_for(key, unit)),
        matched=scores.compare(own, shared.choices.matched_for(key, unit)),
        chance=scores.chance,
        n_test=len(scores.labels),
        support=scores.support,
        absent=scores.absent,
    )


def _judge(results: Sequence[TaskResult]) -> tuple[TaskResult, ...]:
    """Return the results with p-values adjusted over the compared ones (Holm), verdicts and detectable differences."""
    tested = {
        result.task: result.delta.p_value
        for result in results
        if result.delta is not None and result.delta.p_value is not None
    }
    adjusted = bootstrap.holm(list(tested.values()))
    p_values = dict(zip(tested, map(float, adjusted), strict=True))
    alpha = 0.05 / max(1, len(tested))
    return tuple(
        result
        if result.delta is None
        else replace(
            result,
            p_value=p_values.get(result.task),
            verdict=_verdict(result.delta.value, p_values.get(result.task)),
            detectable=bootstrap.minimum_detectable_difference(result.delta.spread, alpha=alpha),
        )
        for result in results
    )


def _judge_alone(result: TaskResult) -> TaskResult:
    """Return a result whose test rows have too few groups to show a difference."""
    return replace(result, p_value=result.delta.p_value, verdict="tied") if result.delta else result


def _verdict(delta: float, p_value: float | None) -> Verdict | None:
    if p_value is None:
        return None
    if p_value >= 0.05 or delta == 0:
        return "tied"
    return "won" if delta > 0 else "lost"


def _seed_means(tasks: Sequence[BySeed], scores: Mapping[Unit, TaskScores]) -> tuple[float, ...]:
    """Return the mean macro-F1 over tasks by seed, of the seeds that every task has."""
    seeds = set.intersection(*map(set, tasks)) if tasks else set()
    cells = [[task[seed] for task in tasks] for seed in sorted(seeds)]
    return tuple(mean([scores[cell.unit].of(cell) for cell in same]).value for same in cells)


def _count_tried(cells: Sequence[Cell]) -> tuple[int, int] | None:
    """Return the least and the most configurations compared over tasks and seeds; None if a record does not say."""
    good = [cell for cell in cells if cell.record.status == "ok"]
    if not good or any(cell.record.tried < 1 for cell in good):
        return None
    counts: Counter[tuple[Unit, int]] = Counter()
    for cell in good:
        counts[cell.unit, cell.record.seed] += cell.record.tried
    return min(counts.values()), max(counts.values())


def _record_flags(results: Sequence[TaskResult], tested: Sequence[TaskResult]) -> tuple[str, ...]:
    """Return the flags of the row's chosen cells, those of tasks with too few groups of test rows among them; folds are
    counted in ranked results, and in all where none is ranked.
    """
    flags = {flag for result in tested for cell in result.cells for flag in cell.record.flags}
    chosen = [cell.record.selected_on for result in results or tested for cell in result.cells]
    folds = chosen.count("folds")
    return (
        *sorted(flag for flag in flags if flag.partition(":")[0] not in few_groups.FLAGS),
        *([f"folds:{folds}/{len(chosen)}"] if folds else []),
    )


def _flags(results: Sequence[TaskResult], cells: Sequence[Cell], *, n_tasks: int) -> tuple[str, ...]:
    """Return the flags for missing comparisons, cells and tasks."""
    flags: list[str] = []
    for name, attribute in (
        ("hidden", "delta"),
        ("matched", "matched"),
    ):  # `hidden` is a word of published boards
        known = sum(getattr(result, attribute) is not None for result in results)
        if 0 < known < len(results):
            flags.append(f"{name}:{known}/{len(results)}")
    if failed := sum(cell.record.status in ("failed", "oom") for cell in cells):
        flags.append(f"failed:{failed}")
    if len(results) < n_tasks:
        flags.append("incomplete")
    return tuple(flags)


def _row_flags(results: Sequence[TaskResult]) -> tuple[str, ...]:
    """Return the flags of the test rows: their groups, and classes without any; classes of all tasks together."""
    absent, classes = (
        sum(one.absent for one in results),
        sum(one.absent + one.support.classes for one in results),
    )
    return (
        *few_groups.summarize([one.support for one in results]),
        *([f"absent:{absent}/{classes}"] if absent else []),
    )


def _search_flags(key: RowKey, cells: Sequence[Cell], shared: _Shared) -> tuple[str, ...]:
    """Return `searched:n/m+k` when the baseline was chosen from m cells and the row from n of the same and k others, so
    that the two had unlike budgets; `unfinished` when a run of the row lacks cells.
    """
    own = {(cell.unit, cell.choice, cell.record.seed) for cell in cells if cell.record.status == "ok"}
    budget = shared.choices.budget(key)
    common = {unit for unit, *_ in own} & {unit for unit, *_ in budget}
    own, budget = ({place for place in places if place[0] in common} for places in (own, budget))
    more = f"+{len(own - budget)}" if own - budget else ""
    flags = [f"searched:{len(own & budget)}/{len(budget)}{more}"] if own != budget else []
    if any(cell.run.path in shared.unfinished for cell in cells):
        flags.append("unfinished")
    return tuple(flags)


def _count_tasks(reads: str, held: Mapping[str, int]) -> int:
    """Return the number of ranked tasks of a row's modality."""
    return sum(held.values()) if reads == BOTH else held.get(reads, 0)


def _rank(rows: Sequence[Row], *, held: Mapping[str, int]) -> tuple[Row, ...]:
    """Rank the rows that have all tasks of their modality. On a board of texts and images, arms that read nothing have
    tasks of both and are not ranked.
    """
    ranked: list[Row] = []
    for reads, same in group_by(rows, lambda row: row.reads).items():
        n_tasks = None if reads == BOTH else _count_tasks(reads, held)
        by_count = group_by(same, lambda row: len(row.results))
        complete = by_count.pop(n_tasks, []) if n_tasks else []
        ranked += _rank_apart(complete)
        ranked += (row for rest in by_count.values() for row in rest)
    return tuple(sorted(ranked, key=_order))


def _rank_apart(rows: Sequence[Row]) -> Iterator[Row]:
    """Rank toys and other models each by themselves, with the arms without a model."""
    toys, others, arms = (
        [row for row in rows if row.model is not None and row.toy],
        [row for row in rows if row.model is not None and not row.toy],
        [row for row in rows if row.model is None],
    )
    if not toys or not others:
        yield from _rank_complete(rows)
        return
    ranked_toys = {row.key: row for row in _rank_complete([*toys, *arms])}
    for row in _rank_complete([*others, *arms]):
        yield replace(row, among_toys=ranked_toys.pop(row.key, None))
    yield from ranked_toys.values()


def _rank_complete(rows: Sequence[Row]) -> Iterator[Row]:
    complete = sorted(rows, key=_order)
    samples = np.array([row.macro_f1.samples for row in complete if row.macro_f1])
    places = []
    apart = np.zeros((len(complete), len(complete)), bool)
    for own, told_apart in zip(samples, apart, strict=True):
        lows, highs = np.quantile(bootstrap.paired_differences(samples, own), [0.025, 0.975], axis=1)
        better, worse = int(np.count_nonzero(lows > 0)), int(np.count_nonzero(highs < 0))
        places.append((1 + better, len(complete) - worse))
        told_apart[:] = (lows > 0) | (highs < 0)
    found = zip(complete, places, bootstrap.tie_groups(apart), _rank_over_tasks(complete), strict=True)
    for row, (first, last), groups, interval in found:
        yield replace(row, rank=first, last_rank=last, ties=groups, rank_interval=interval)


def _rank_over_tasks(rows: Sequence[Row]) -> list[tuple[int, int] | None]:
    """Return rank intervals over tasks as well: tasks are resampled, the languages and regimes of one together. None
    with fewer than RANKED_OVER tasks, which would say nothing. `rows` have the same results in the same order.
    """
    first_row = rows[0].results if rows else ()
    by_task = group_by(range(len(first_row)), lambda place: first_row[place].unit.task)
    if len(by_task) < RANKED_OVER or len(rows) < 2:
        return [None] * len(rows)
    results = np.stack([[result.macro_f1.samples[:_DRAWS] for result in row.results] for row in rows], axis=1)
    # A task counts with the sum over its results, as in the mean: by how many to divide is the same for all rows.
    share = len(by_task) / len(results)
    low, high = bootstrap.rank_intervals(
        np.stack([results[places].sum(axis=0) * share for places in by_task.values()]), seed=0
    )
    return [(int(first), int(last)) for first, last in zip(low, high, strict=True)]


def _order(row: Row) -> tuple[int, bool, float, str, tuple[tuple[str, float], ...], int]:
    value = -row.macro_f1.value if row.macro_f1 else 0.0
    kind = ("text", "image", BOTH).index(row.reads)
    name = in_natural_order(row.representation)
    return kind, row.rank is None, value, row.model or "", name, row.width or 0


def _summarize(unit: Unit, cells: Sequence[Cell], shared: _Shared) -> TaskSummary:
    scores = shared.scores[unit]
    counts = [cell.record.hygiene for cell in cells if cell.record.status == "ok"]
    return TaskSummary(
        name=shared.names[unit],
        n_test=len(scores.labels),
        n_classes=scores.n_classes,
        chance=scores.chance,
        hygiene=Hygiene(
            **{
                field.name: max(known)
                for field in fields(Hygiene)
                if (known := [value for one in counts if (value := getattr(one, field.name)) is not None])
            }
        ),
        support=scores.support,
        absent=scores.absent,
    )
