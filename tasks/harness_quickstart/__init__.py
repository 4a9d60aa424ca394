"""Three small tasks with text of our own, for a demo that needs no download and runs in minutes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness

HERE = Path(__file__).parent

SUMMARIES = {
    "quickstart_tone": "Is a message to a customer service or a co-worker polite or hostile?",
    "quickstart_topic": "Is a short note about cooking, travel, money, health or technology?",
    "quickstart_roles": "Is the receiver (ABBA) or the giver (BABA) named first? A bag of words cannot tell.",
}


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    return [
        harness.TaskSpec(
            name=name,
            version=1,
            summary=summary,
            source=harness.FileSource(file=HERE / "data" / f"{name}.jsonl"),
            languages=("en",),
            licence="Apache-2.0",
            citation="sae-harness quickstart data",
            columns=harness.Columns(group="group"),
        )
        for name, summary in SUMMARIES.items()
    ]


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((HERE / "suites").glob("*.yaml"))
