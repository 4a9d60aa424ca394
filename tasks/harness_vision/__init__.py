"""Image tasks, and suites that run them on vision towers and vision-language models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness
from harness_vision import tasks

HARNESS_API = 1


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    return tasks.TASKS


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((Path(__file__).parent / "suites").glob("*.yaml"))
