"""Test rows of a suite, from which the smallest detectable difference follows."""

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
    """Numbers of test rows, classes and groups of a task under a regime, for one pair of languages.

    Languages are joined with `+`; a regime without languages has all of them on both sides. A row without group is a
    group of its own. `effective` is the number of independent rows that hold as much information.
    """

    __test__ = False  # pytest would take it for a class of tests

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
    """Return the test rows of every task, regime and pair of languages, and the reasons of what is unavailable by name.

    No model is read, so rows that a model cannot read are counted. Raise UnavailableError where nothing is available.
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
    """Return, by regime, the effective rows of the mean over its tasks; regimes of one task are left out."""
    by_regime: dict[str, dict[str, float]] = defaultdict(dict)
    for each in counted:
        least = by_regime[each.regime].get(each.task, math.inf)
        by_regime[each.regime][each.task] = min(each.effective, least)
    return {regime: pooled_rows([*tasks.values()]) for regime, tasks in by_regime.items() if len(tasks) > 1}
