"""Suites on sparse probing (few rows, rare classes, wrong labels, shifted inputs, k features), and sets of
sae-probes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness

HARNESS_API = 1

HERE = Path(__file__).parent


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    from harness_probing import sae_probes

    return sae_probes.tasks()


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((HERE / "suites").glob("*.yaml"))
