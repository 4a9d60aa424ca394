"""Four small tasks with text of our own, for a demo that needs no download and runs in minutes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness
from harness_quickstart.compose import LANGUAGES

HARNESS_API = 1

HERE = Path(__file__).parent


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    return [
        _task(
            "quickstart_tone",
            "Is a message to a customer service or a co-worker polite or hostile? In six languages.",
            version=2,
            languages=LANGUAGES,
        ),
        _task(
            "quickstart_requests",
            "Is a request to an assistant harmless or harmful? In six languages.",
            languages=LANGUAGES,
            content_warning=True,
        ),
        _task("quickstart_topic", "Is a short note about cooking, travel, money, health or technology?"),
        _task(
            "quickstart_roles",
            "Is the receiver (ABBA) or the giver (BABA) named first? A bag of words cannot tell.",
        ),
    ]


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((HERE / "suites").glob("*.yaml"))


def _task(
    name: str,
    summary: str,
    *,
    version: int = 1,
    languages: tuple[str, ...] = ("en",),
    content_warning: bool = False,
) -> harness.TaskSpec:
    return harness.TaskSpec(
        name=name,
        version=version,
        summary=summary,
        source=harness.FileSource(file=HERE / "data" / f"{name}.jsonl"),
        languages=languages,
        licence="Apache-2.0",
        citation="sae-harness quickstart data",
        columns=harness.Columns(group="group", language="language" if len(languages) > 1 else None),
        content_warning=content_warning,
    )
