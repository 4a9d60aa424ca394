"""Test rows of a suite, and the smallest difference that they can show."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.api.errors import UnavailableError
from harness.api.tasks import TaskSpec
from harness.config.suite import Suite
from harness.data.partitions import Draw, make_draws
from harness.data.task import TaskData, load_task
from harness.models.opened import skip_if_unavailable
from harness.planning.plan import choose_task, find_trained_on
from harness.registry.catalog import Registry
from harness.stats.power import effective_rows, pooled_rows


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


def count_test_rows(
    suite: Suite,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    included: Sequence[TaskSpec] = (),
    icc: float = 1.0,
) -> tuple[tuple[TestRows, ...], dict[str, str]]:
    """The test rows of every task under every regime, for each pair of languages where that goes by language, from
    data alone (rows that a model cannot read are among them); and by name what cannot be had, and why.
    UnavailableError where that is everything.
    """
    regimes = [registry.choose("regimes", reference) for reference in suite.regimes]
    counted: list[TestRows] = []
    left_out: dict[str, str] = {}
    for task in suite.tasks:
        spec, limit = choose_task(task, suite, registry, included)
        other = find_trained_on(spec, registry, included)
        with skip_if_unavailable(spec.name, left_out):
            data = load_task(spec, data_dir=data_dir, limit=limit, trained_on=other)
            for regime in regimes:
                with skip_if_unavailable(f"{spec.name} under {regime.label}", left_out):
                    draws = make_draws(data.examples, regime, suite.seeds[0])
                    counted += [_count(data, draw, icc=icc) for draw in draws]
    if not counted:
        raise UnavailableError(next(iter(left_out.values())))
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
