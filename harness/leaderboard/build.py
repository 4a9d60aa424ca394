"""Construction of a board from the records of runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from dataclasses import fields, replace
from pathlib import Path
from statistics import median

import numpy as np

from harness.data.cleaning import Hygiene
from harness.leaderboard.analyses.ablation import ablate, choose_ablation
from harness.leaderboard.analyses.noise import find_repeats
from harness.leaderboard.analyses.quiver import compare_quivers
from harness.leaderboard.board import (
    BOTH,
    Board,
    Repeats,
    Row,
    TaskResult,
    TaskSummary,
    Verdict,
    mean_of,
)
from harness.leaderboard.names import name_targets, name_units
from harness.leaderboard.scoring import Estimate, TaskScores, difference, mean, score_units
from harness.leaderboard.selection import (
    BySeed,
    Cell,
    Choice,
    Choices,
    RowKey,
    Unit,
    check_consistent,
    choose,
    in_natural_order,
    read_cells,
)
from harness.runs.record import Results
from harness.stats.bootstrap import (
    bootstrap_p_value,
    holm,
    minimum_detectable_difference,
    paired_differences,
    rank_intervals,
    tie_groups,
)

RANKED_OVER = 5
"""So many tasks at least, however many languages and regimes each has, are needed to say how rows would rank on other
tasks like them.
"""


_DRAWS = 2000
"""Resamples that ranks over tasks are drawn from, however many there are: ranks are whole numbers."""


def build(runs: Sequence[Results], *, resamples: int = 1000) -> Board:
    """The board of all cells of `runs`. More than ten tasks that rows are ranked by take 100 resamples for each, so
    that the adjusted p-value of one clear task can fall below .05. NothingSelectedError when no cell ended well,
    UnavailableError when predictions are missing or arms of one task were tested on different rows.
    """
    cells = read_cells(runs)
    check_consistent(cells)
    choices = choose(cells)
    by_row: dict[RowKey, list[Cell]] = defaultdict(list)
    by_unit: dict[Unit, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_row[cell.row].append(cell)
        by_unit[cell.unit].append(cell)
    units, main = choices.units(), frozenset(choices.main_units)
    plain, resamples = resamples, max(resamples, 100 * len(main))
    ablation = choose_ablation(cells, choices)
    scores: dict[Unit, TaskScores] = {}

    def score() -> Iterator[tuple[Unit, TaskScores]]:
        """Each cell once; of those that only the ablation needs no scores are kept, as there may be very many."""
        needed = {
            unit: {cell.record.cell_id: cell for cell in (*choices.cells(unit), *ablation.cells(unit))}
            for unit in units
        }
        for unit, scored in score_units(
            {unit: list(cells.values()) for unit, cells in needed.items()},
            resamples=lambda unit: plain if unit.is_across and unit not in main else resamples,
        ):
            kept = [cell.record.cell_id for cell in choices.cells(unit)]
            scores[unit] = replace(scored, by_cell={cell_id: scored.by_cell[cell_id] for cell_id in kept})
            yield unit, scored

    ablated = ablate(ablation, score())
    held = Counter(by_unit[unit][0].record.modality for unit in main)
    names, targets, repeats = name_units(units), name_targets(units), find_repeats(runs)
    unfinished = {
        run.path for run in {cell.run.path: cell.run for cell in cells}.values() if not run.is_whole
    }
    rows = _rank(
        [
            _make_row(
                key,
                by_row[key],
                choices=choices,
                scores=scores,
                names=names,
                targets=targets,
                repeats=repeats.get(key),
                unfinished=unfinished,
                held=held,
            )
            for key in by_row
        ],
        held=held,
    )
    places = {row.key: place for place, row in enumerate(rows)}
    axes = list(Choice._fields)
    return Board(
        suites=tuple(sorted({cell.record.suite for cell in cells})),
        resamples=resamples,
        tasks=tuple(_summarize(names[unit], by_unit[unit], scores[unit]) for unit in choices.main_units),
        rows=rows,
        ablation=tuple(
            sorted(
                ablated,
                key=lambda one: (axes.index(one.axis), places[one.row], in_natural_order(one.value)),
            )
        ),
        left_out=tuple(sorted(ablation.left_out, key=lambda key: places[key])),
        quivers=compare_quivers(choices, scores),
    )


def _make_row(
    key: RowKey,
    cells: Sequence[Cell],
    *,
    choices: Choices,
    scores: Mapping[Unit, TaskScores],
    names: Mapping[Unit, str],
    targets: Mapping[Unit, str],
    repeats: Repeats | None,
    unfinished: Container[Path],
    held: Mapping[str, int],
) -> Row:
    main = frozenset(choices.main_units)
    units = sorted(choices.selected.get(key, {}))
    by_family: dict[str, list[TaskResult]] = defaultdict(list)  # what p-values are adjusted over
    for unit in units:
        result = _result(
            key, unit, choices=choices, scores=scores[unit], name=names[unit], target=targets[unit]
        )
        by_family["" if unit in main else unit.regime].append(result)
    results = _judge(by_family.pop("", []))
    records = [cell.record for cell in cells]
    reads = _name_modalities({record.modality for record in records})
    speeds = [record.cost.tokens_per_s for record in records if record.cost.tokens_per_s > 0]
    seconds = [record.cost.seconds for record in records if record.cost.seconds > 0]
    return Row(
        model=key.model,
        representation=key.representation,
        width=key.width,
        results=results,
        macro_f1=mean_of([result.macro_f1 for result in results]),
        delta=mean_of([result.delta for result in results]),
        matched=mean_of([result.matched for result in results]),
        seed_means=_seed_means([choices.selected[key][unit] for unit in units if unit in main], scores),
        tokens_per_s=median(speeds) if speeds else None,
        seconds=median(seconds) if seconds else None,
        peak_memory=max((record.cost.peak_memory for record in records), default=0) or None,
        flags=(
            *_flags(results, cells, n_tasks=_count_tasks(reads, held)),
            *_search_flags(key, cells, choices, unfinished=unfinished),
        ),
        suites=tuple(sorted({record.suite for record in records})),
        reads=reads,
        others=tuple(result for family in by_family.values() for result in _judge(family)),
        tried=_count_tried([cell for cell in cells if cell.unit in main]),
        repeats=repeats,
        is_baseline=key.model is not None and any(record.baseline for record in records),
    )


def _result(
    key: RowKey, unit: Unit, *, choices: Choices, scores: TaskScores, name: str, target: str
) -> TaskResult:
    own = choices.selected[key][unit]
    return TaskResult(
        task=name,
        target=target,
        cells=tuple(own[seed] for seed in sorted(own)),
        macro_f1=mean([scores.by_cell[own[seed].record.cell_id] for seed in sorted(own)]),
        delta=_compare(own, choices.hidden_for(key, unit), scores),
        matched=_compare(own, choices.matched_for(key, unit), scores),
        chance=scores.chance,
        n_test=len(scores.labels),
    )


def _compare(own: BySeed, other: BySeed, scores: TaskScores) -> Estimate | None:
    return mean_of(
        [
            difference(scores.by_cell[own[seed].record.cell_id], scores.by_cell[other[seed].record.cell_id])
            for seed in sorted(own.keys() & other.keys())
        ]
    )


def _judge(results: Sequence[TaskResult]) -> tuple[TaskResult, ...]:
    """Give every compared task its p-value, adjusted over these tasks, and what follows from it."""
    deltas = [(result.task, result.delta) for result in results if result.delta is not None]
    adjusted = holm([bootstrap_p_value(delta.samples) for _, delta in deltas])
    p_values = {task: float(p) for (task, _), p in zip(deltas, adjusted, strict=True)}
    return tuple(
        result
        if result.delta is None
        else replace(
            result,
            p_value=p_values[result.task],
            verdict=_verdict(result.delta.value, p_values[result.task]),
            detectable=minimum_detectable_difference(result.delta.samples, alpha=0.05 / len(deltas)),
        )
        for result in results
    )


def _verdict(delta: float, p_value: float) -> Verdict:
    if p_value >= 0.05 or delta == 0:
        return "tied"
    return "won" if delta > 0 else "lost"


def _seed_means(tasks: Sequence[BySeed], scores: Mapping[Unit, TaskScores]) -> tuple[float, ...]:
    """Mean macro-F1 over tasks by seed, of the seeds that every task has."""
    seeds = set.intersection(*(set(by_seed) for by_seed in tasks)) if tasks else set()
    return tuple(
        mean(
            [scores[cell.unit].by_cell[cell.record.cell_id] for cell in (task[seed] for task in tasks)]
        ).value
        for seed in sorted(seeds)
    )


def _count_tried(cells: Sequence[Cell]) -> tuple[int, int] | None:
    """Configurations compared, the least and the most over tasks and seeds; None where an older record does not say."""
    good = [cell for cell in cells if cell.record.status == "ok"]
    if not good or any(cell.record.tried < 1 for cell in good):
        return None
    counts: dict[tuple[Unit, int], int] = defaultdict(int)
    for cell in good:
        counts[cell.unit, cell.record.seed] += cell.record.tried
    return min(counts.values()), max(counts.values())


def _flags(results: Sequence[TaskResult], cells: Sequence[Cell], *, n_tasks: int) -> tuple[str, ...]:
    """Flags of the cells the row goes by, then what is missing."""
    records = [cell.record for result in results for cell in result.cells]
    flags = sorted({flag for record in records for flag in record.flags})
    if folds := sum(record.selected_on == "folds" for record in records):
        flags.append(f"folds:{folds}/{len(records)}")
    for name, deltas in (
        ("hidden", [result.delta for result in results]),
        ("matched", [result.matched for result in results]),
    ):
        if 0 < (known := sum(delta is not None for delta in deltas)) < len(deltas):
            flags.append(f"{name}:{known}/{len(deltas)}")
    if failed := sum(cell.record.status in ("failed", "oom") for cell in cells):
        flags.append(f"failed:{failed}")
    if len(results) < n_tasks:
        flags.append("incomplete")
    return tuple(flags)


def _search_flags(
    key: RowKey, cells: Sequence[Cell], choices: Choices, *, unfinished: Container[Path]
) -> tuple[str, ...]:
    """`searched:n/m+k` when a row's cells are not the m that its model's hidden states were chosen from, but n of these
    and k others, so that the two did not compete on one budget; `unfinished` when a run of the row lacks cells.
    """
    own = {(cell.unit, cell.choice, cell.record.seed) for cell in cells if cell.record.status == "ok"}
    budget = choices.budget(key)
    common = {unit for unit, *_ in own} & {unit for unit, *_ in budget}
    own, budget = ({place for place in places if place[0] in common} for places in (own, budget))
    more = f"+{len(own - budget)}" if own - budget else ""
    flags = [f"searched:{len(own & budget)}/{len(budget)}{more}"] if own != budget else []
    if any(cell.run.path in unfinished for cell in cells):
        flags.append("unfinished")
    return tuple(flags)


def _name_modalities(found: Set[str]) -> str:
    return BOTH if len(found) > 1 else min(found)


def _count_tasks(reads: str, held: Mapping[str, int]) -> int:
    """How many of the board's tasks hold what a row reads."""
    return sum(held.values()) if reads == BOTH else held.get(reads, 0)


def _rank(rows: Sequence[Row], *, held: Mapping[str, int]) -> tuple[Row, ...]:
    """Ranks of the rows that have all tasks of their kind. Where a board holds texts and images, arms that read nothing
    have both, and compete with none.
    """
    by_kind: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_kind[row.reads].append(row)
    ranked: list[Row] = []
    for reads, same in by_kind.items():
        complete = [row for row in same if len(row.results) == _count_tasks(reads, held) and reads != BOTH]
        ranked += _rank_complete(complete)
        ranked += (row for row in same if not any(row is one for one in complete))
    return tuple(sorted(ranked, key=_order))


def _rank_complete(rows: Sequence[Row]) -> Iterator[Row]:
    complete = sorted(rows, key=_order)
    samples = (
        np.stack([row.macro_f1.samples for row in complete if row.macro_f1]) if complete else np.empty(0)
    )
    places = []
    apart = np.zeros((len(complete), len(complete)), bool)
    for own, told_apart in zip(samples, apart, strict=True):
        lows, highs = np.quantile(paired_differences(samples, own), [0.025, 0.975], axis=1)
        better, worse = int(np.count_nonzero(lows > 0)), int(np.count_nonzero(highs < 0))
        places.append((1 + better, len(complete) - worse))
        told_apart[:] = (lows > 0) | (highs < 0)
    over_tasks = _rank_over_tasks(complete)
    for row, (first, last), groups, interval in zip(
        complete, places, tie_groups(apart), over_tasks, strict=True
    ):
        yield replace(row, rank=first, last_rank=last, ties=groups, rank_interval=interval)


def _rank_over_tasks(rows: Sequence[Row]) -> list[tuple[int, int] | None]:
    """Rank intervals when tasks are drawn anew too, the languages and regimes of one together; None with few tasks, of
    which they would say nothing. `rows` have the same results in the same order.
    """
    by_task: dict[str, list[int]] = defaultdict(list)
    for place, result in enumerate(rows[0].results if rows else ()):
        by_task[result.cells[0].unit.task].append(place)
    if len(by_task) < RANKED_OVER or len(rows) < 2:
        return [None] * len(rows)
    results = np.stack([[result.macro_f1.samples[:_DRAWS] for result in row.results] for row in rows], axis=1)
    # A task counts with the sum over its results, as in the mean: by how many to divide is the same for all rows.
    share = len(by_task) / len(results)
    low, high = rank_intervals(
        np.stack([results[places].sum(axis=0) * share for places in by_task.values()]), seed=0
    )
    return [(int(first), int(last)) for first, last in zip(low, high, strict=True)]


def _order(row: Row) -> tuple[int, bool, float, str, list[tuple[str, float]], int]:
    value = -row.macro_f1.value if row.macro_f1 else 0.0
    kind = ("text", "image", BOTH).index(row.reads)
    return (
        kind,
        row.rank is None,
        value,
        row.model or "",
        in_natural_order(row.representation),
        row.width or 0,
    )


def _summarize(name: str, cells: Sequence[Cell], scores: TaskScores) -> TaskSummary:
    counts = [cell.record.hygiene for cell in cells if cell.record.status == "ok"]
    return TaskSummary(
        name=name,
        n_test=len(scores.labels),
        n_classes=scores.n_classes,
        chance=scores.chance,
        hygiene=Hygiene(
            **{
                key: max(getattr(count, key) for count in counts)
                for key in [field.name for field in fields(Hygiene)]
            }
        ),
    )
