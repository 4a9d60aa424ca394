"""English text tasks on safety, sentiment and intent, and the suites that run them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness
from harness_text.tasks import TASKS


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    return TASKS


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((Path(__file__).parent / "suites").glob("*.yaml"))
