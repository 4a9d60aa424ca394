"""English text tasks on safety, sentiment, emotion, intent, behaviour and reasoning, with suites that run them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness
from harness_text import persona, tasks, toxicity

HARNESS_API = 1


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    return (*tasks.TASKS, *toxicity.TASKS, *persona.TASKS)


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((Path(__file__).parent / "suites").glob("*.yaml"))
