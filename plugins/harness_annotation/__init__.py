"""Command `harness annotate-prompts`: does naming what a model misreads, by its features, mend its answers?"""

from __future__ import annotations

import harness

HARNESS_API = 1


@harness.hookimpl
def harness_commands() -> list[harness.CommandSpec]:
    """Offer the command, which is imported when it is called."""
    summary = "Annotate prompts by features that tell right from wrong answers, and measure what that mends."
    return [
        harness.CommandSpec(
            name="annotate-prompts", summary=summary, load="harness_annotation.command:command"
        )
    ]


@harness.hookimpl
def harness_results() -> list[harness.ResultSpec]:
    """Offer the page of what the command leaves."""
    summary = (
        "Prompts annotated by features: what it mends, beside placebo features, random words and TF-IDF."
    )
    return [
        harness.ResultSpec(
            name="annotation",
            summary=summary,
            pattern="annotation-*.json",
            load="harness_annotation.page:describe",
        )
    ]
