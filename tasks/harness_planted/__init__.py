"""Tasks with planted labels, so that the right verdict about them is known.

`harness_planted.generate` describes each task and derives its right scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness

HARNESS_API = 1

HERE = Path(__file__).parent


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    return [
        _task(
            "planted_token",
            "Does the text have the word 'lantern'? Whoever sees words can know; length cannot.",
        ),
        _task(
            "planted_random",
            "Labels that have nothing to do with the text: no arm can be right but by chance.",
        ),
        _task(
            "planted_length",
            "Is the text longer than the median? Its words tell nothing but how many they are.",
        ),
        _task(
            "planted_leak",
            "planted_random, with 50 further test rows that stand in training: 30 by text, 12 by group, 8 by both.",
            grouped=True,
        ),
        _task(
            "planted_noise",
            "Does the text have the word 'lantern'? One label in ten is wrong: the best accuracy is .90.",
        ),
        _task(
            "planted_advantage",
            "A label that the word 'lantern' tells right nine times in ten, and length seven: .90 against .70.",
        ),
    ]


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((HERE / "suites").glob("*.yaml"))


def _task(name: str, summary: str, *, grouped: bool = False) -> harness.TaskSpec:
    return harness.TaskSpec(
        name=name,
        version=1,
        summary=summary,
        source=harness.FileSource(file=HERE / "data" / f"{name}.jsonl"),
        languages=("en",),
        licence="Apache-2.0",
        citation="sae-harness planted data",
        columns=harness.Columns(group="group" if grouped else None),
    )
