"""Power analysis: the smallest true difference of two arms that test rows can show. Before a run it is computed from
counts alone; after a run it is compared with the run's own bootstrap.

**Computed.** The test is McNemar's, of two arms on the same rows: it depends on the number of rows on which exactly one
of them is right. That share is unknown before a run, so it is a parameter.
**Groups.** Rows of one group (a template, a translation) are not independent. With a correlation `icc` of
their differences, n rows in groups of sizes m tell as much as n / (1 + icc · (Σm²/n − 1)) rows (the design effect for
groups of unlike sizes: Donner, Birkett, Buck 1981, "Randomization by cluster"). With `icc` 1, the worst case, groups of
one size count once each.
**Mean over tasks.** Tasks are independent: the mean over T tasks tells as much as T² / Σ(1/n) rows of one. Pairs of
languages are not, as their rows may be translations: a task that has several counts as the one that tells least.
**Observed.** Of a finished run, each arm against its baseline: the share of rows on which exactly one of the two is
right, the formula's result for that share, and the minimum detectable difference of the paired bootstrap. The latter is
smaller with several seeds, whose mean varies less, and when two arms are right on different classes, whose counts every
resample keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.api.errors import UsageError
from harness.leaderboard.analyses.comparison import Arm, by_place, cells_by_unit, find_baseline
from harness.leaderboard.scoring import score_units
from harness.leaderboard.selection import choose, read_cells
from harness.runs.record import Results
from harness.stats.bootstrap import minimum_detectable_difference
from harness.stats.power import ALPHA, POWER, detectable_difference, effective_rows


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Observed power of an arm against its baseline: the share of rows on which exactly one of them is right (mean over
    seeds), and the smallest difference in accuracy found at `ALPHA` by the formula and by the bootstrap; by the latter
    None where the rows have too few groups for an interval.
    """

    arm: Arm
    regime: str
    train_language: str
    test_language: str
    rows: int
    disagreement: float
    computed: float | None
    bootstrap: float | None


def observe(
    run: Results, *, baseline: str = "hidden", icc: float = 1.0, resamples: int = 1000
) -> tuple[Observed, ...]:
    """Return the observed power of every arm of a run against its baseline, task by task, each by the cell chosen on
    validation. Raise UsageError when no arm has that baseline beside it.
    """
    places = by_place(choose(read_cells([run])))
    observed = []
    cells = cells_by_unit(places, {unit for _, unit in places})
    for unit, scored in score_units(cells, metric="accuracy", resamples=lambda _: resamples):
        worth = effective_rows(map(str, scored.groups.tolist()), icc=icc)
        for row in (row for row, other in places if other == unit):
            own, base = places[row, unit], find_baseline(places, row, unit, baseline) or {}
            change = scored.compare(own, base)
            if change is None:
                continue
            hits = [
                [scored.hits[one[seed].cell_id] for one in (own, base)]
                for seed in sorted(own.keys() & base.keys())
            ]
            share = float(np.mean([np.mean(mine != other) for mine, other in hits]))
            observed.append(
                Observed(
                    arm=Arm(task=unit.task, **vars(row)),
                    regime=unit.regime,
                    train_language=unit.train_language,
                    test_language=unit.test_language,
                    rows=len(scored.labels),
                    disagreement=share,
                    computed=detectable_difference(worth, share) if share else None,
                    bootstrap=minimum_detectable_difference(change.samples, power=POWER, alpha=ALPHA)
                    if change.has_interval
                    else None,
                )
            )
    if not observed:
        raise UsageError(f"no arm of '{run.path}' has '{baseline}' beside it on a task and seed")
    return tuple(observed)
