"""Command `harness bench`: featurizing against the limit of this machine, and against loops as people write them."""

from __future__ import annotations

import harness


@harness.hookimpl
def harness_commands() -> list[harness.CommandSpec]:
    """Offer the command, which is imported when it is called."""
    summary = "Measure featurizing against this machine's limit and against other loops."
    return [harness.CommandSpec(name="bench", summary=summary, load="harness_bench.command:command")]
