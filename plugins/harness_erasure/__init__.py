"""Command `harness erase-concept`: what a fresh probe finds of a concept after its erasure, and what erasing costs."""

from __future__ import annotations

import harness

HARNESS_API = 1


@harness.hookimpl
def harness_commands() -> list[harness.CommandSpec]:
    """Offer the command, which is imported when it is called."""
    summary = "Erase a task's classes from a model's activations, and measure what is left and what it costs."
    return [
        harness.CommandSpec(name="erase-concept", summary=summary, load="harness_erasure.command:command")
    ]


@harness.hookimpl
def harness_results() -> list[harness.ResultSpec]:
    """Offer the page of what the command leaves."""
    summary = "Concepts erased from activations: what a fresh probe still finds, and what it costs."
    return [
        harness.ResultSpec(
            name="erasure", summary=summary, pattern="erasure-*.json", load="harness_erasure.page:describe"
        )
    ]
