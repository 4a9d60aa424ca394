"""Test rows in, the smallest true difference of two arms that they can show out: before a run from counts alone, after
it beside what its own bootstrap says.

**Computed.** The test is McNemar's, of two arms on the same rows: what counts is on how many rows exactly one of them
is right. Whoever plans does not know that share, so it is a parameter.
**Groups.** Rows of one group (a template, a translation) are no independent witnesses. With a correlation `icc` of
their differences, n rows in groups of sizes m tell as much as n / (1 + icc · (Σm²/n − 1)) rows (the design effect for
groups of unlike sizes: Donner, Birkett, Buck 1981, "Randomization by cluster"). With `icc` 1, the worst case, groups of
one size count once each.
**Mean over tasks.** Tasks are independent: the mean over T tasks tells as much as T² / Σ(1/n) rows of one. Pairs of
languages are not, as their rows may be translations: a task that has several counts as the one that tells least.
**Observed.** Of a finished run, each arm against its baseline: on which share of rows exactly one of the two is right,
what the formula makes of that share, and the minimum detectable difference of the paired bootstrap. That is smaller
than computed where there are several seeds, whose mean is steadier, and where two arms are right on unlike classes,
whose counts every resample keeps.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from harness.api import TaskSpec
from harness.data import TaskData, load_task
from harness.errors import MissingError, UsageError
from harness.leaderboard.choice import choose, read_cells
from harness.leaderboard.comparison import Arm, by_place, cells_by_unit, find_baseline
from harness.leaderboard.estimate import difference, mean, score_units
from harness.partition import Draw, make_draws
from harness.plan import find_trained_on
from harness.records import Results
from harness.registry import Registry
from harness.stats import minimum_detectable_difference
from harness.suite import Suite

POWER, ALPHA = 0.8, 0.05


@dataclass(frozen=True, kw_only=True)
class TestRows:
    """What a task is tested on under a regime, learnt in some languages and tested in others (joined with `+`; a regime
    that does not go by language has all on both sides): rows, classes, groups (a row without one is its own), and the
    number of independent rows that tell as much.
    """

    __test__ = False  # no test of pytest's

    task: str
    regime: str
    train_language: str
    test_language: str
    rows: int
    classes: int
    groups: int
    effective: float


@dataclass(frozen=True, kw_only=True)
class Observed:
    """An arm against its baseline in a finished run: the share of rows on which exactly one of them is right (mean over
    seeds), and the smallest difference in accuracy to be found at `ALPHA` by the formula and by the bootstrap.
    """

    arm: Arm
    regime: str
    train_language: str
    test_language: str
    rows: int
    disagreement: float
    computed: float | None
    bootstrap: float


def detectable_difference(
    rows: float, disagreement: float, *, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """The smallest true difference in accuracy that a two-sided McNemar test at `alpha` finds with probability `power`,
    of two arms of which exactly one is right on a share `disagreement` of `rows` independent rows. None where no
    difference is large enough: it cannot be larger than the share.

    n = (z_{1−alpha/2} √d + z_power √(d − δ²))² / δ² (Connor 1987, "Sample size for testing differences in proportions
    for the paired-sample design", Biometrics 43), solved for δ. ValueError for a share outside (0, 1] or no rows.
    """
    if not 0 < disagreement <= 1 or rows <= 0:
        raise ValueError(f"there is no test of {rows} rows of which a share of {disagreement} disagree")
    found, wanted = float(ndtri(1 - alpha / 2)), float(ndtri(power))
    inner = rows - found**2 + wanted**2
    if inner < 0:
        return None
    numerator = math.sqrt(rows) * found + wanted * math.sqrt(inner)
    delta = math.sqrt(disagreement) * numerator / (rows + wanted**2)
    return delta if delta <= disagreement else None


def effective_rows(groups: Iterable[str | None], *, icc: float = 1.0) -> float:
    """How many independent rows tell as much as these, whose groups are given (None: a group of its own)."""
    sizes = Counter(groups)
    alone = sizes.pop(None, 0)
    n = alone + sum(sizes.values())
    return n / (1 + icc * ((alone + sum(size**2 for size in sizes.values())) / n - 1))


def pooled_rows(effective: Sequence[float]) -> float:
    """How many rows of one task tell as much as the unweighted mean over tasks with so many."""
    return len(effective) ** 2 / sum(1 / rows for rows in effective)


def count_test_rows(
    suite: Suite,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
    icc: float = 1.0,
) -> tuple[tuple[TestRows, ...], dict[str, str]]:
    """The test rows of every task under every regime, for each pair of languages where that goes by language, from data
    alone (rows that a model cannot read are among them); and by name what cannot be had, and why. MissingError where
    that is everything.
    """
    by_name = {spec.name: spec for spec in included}
    regimes = [registry.choose("regimes", reference) for reference in suite.regimes]
    counted: list[TestRows] = []
    left_out: dict[str, str] = {}
    for task in suite.tasks:
        spec = by_name.get(task.name) or registry.get("tasks", task.name).spec
        limit = min((limit for limit in (task.limit, suite.limit) if limit), default=None)
        other = find_trained_on(spec, registry, included)
        try:
            data = load_task(spec, data_dir=data_dir, limit=limit, trained_on=other)
        except MissingError as error:
            left_out[spec.name] = str(error)
            continue
        for regime in regimes:
            try:
                draws = make_draws(data.examples, regime, suite.seeds[0])
                counted += [_count(data, draw, icc=icc) for draw in draws]
            except MissingError as error:
                left_out[f"{spec.name} under {regime.label}"] = str(error)
    if not counted:
        raise MissingError(next(iter(left_out.values())))
    return tuple(counted), left_out


def _count(data: TaskData, draw: Draw, *, icc: float) -> TestRows:
    groups = [data.examples.groups[row] for row in draw.partition.test]
    return TestRows(
        task=data.spec.name,
        regime=draw.regime.label,
        train_language=draw.train_language,
        test_language=draw.test_language,
        rows=len(groups),
        classes=len(data.classes),
        groups=len({group for group in groups if group is not None}) + groups.count(None),
        effective=effective_rows(groups, icc=icc),
    )


def means_over_tasks(counted: Sequence[TestRows]) -> dict[str, float]:
    """By regime, how many rows the mean over its tasks is worth; none for one task."""
    by_regime: dict[str, dict[str, float]] = defaultdict(dict)
    for each in counted:
        least = by_regime[each.regime].get(each.task, math.inf)
        by_regime[each.regime][each.task] = min(each.effective, least)
    return {regime: pooled_rows([*tasks.values()]) for regime, tasks in by_regime.items() if len(tasks) > 1}


def observe(
    run: Results, *, baseline: str = "hidden", icc: float = 1.0, resamples: int = 1000
) -> tuple[Observed, ...]:
    """Every arm of a run against its baseline, task by task, each by the cell chosen on validation. UsageError when no
    arm has that baseline beside it.
    """
    places = by_place(choose(read_cells([run])))
    observed = []
    cells = cells_by_unit(places, {unit for _, unit in places})
    for unit, scored in score_units(cells, metric="accuracy", resamples=lambda _: resamples):
        worth = effective_rows(map(str, scored.groups.tolist()), icc=icc)
        for row in (row for row, other in places if other == unit):
            own, base = places[row, unit], find_baseline(places, row, unit, baseline) or {}
            pairs = [
                (own[seed].record.cell_id, base[seed].record.cell_id)
                for seed in sorted(own.keys() & base.keys())
            ]
            if not pairs:
                continue
            share = float(np.mean([np.mean(scored.hits[one] != scored.hits[two]) for one, two in pairs]))
            change = mean([difference(scored.by_cell[one], scored.by_cell[two]) for one, two in pairs])
            observed.append(
                Observed(
                    arm=Arm(
                        task=unit.task, model=row.model, representation=row.representation, width=row.width
                    ),
                    regime=unit.regime,
                    train_language=unit.train_language,
                    test_language=unit.test_language,
                    rows=len(scored.labels),
                    disagreement=share,
                    computed=detectable_difference(worth, share) if share else None,
                    bootstrap=minimum_detectable_difference(change.samples, power=POWER, alpha=ALPHA),
                )
            )
    if not observed:
        raise UsageError(f"no arm of '{run.path}' has '{baseline}' beside it on a task and seed")
    return tuple(observed)
