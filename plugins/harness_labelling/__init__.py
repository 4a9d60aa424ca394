"""Command `harness label`: labels of items by whether a model answers them correctly, or refuses."""

from __future__ import annotations

import harness

HARNESS_API = 1


@harness.hookimpl
def harness_commands() -> list[harness.CommandSpec]:
    """Offer the command, which is imported when it is called."""
    summary = "Label items by whether a model answers them correctly."
    return [harness.CommandSpec(name="label", summary=summary, load="harness_labelling.command:command")]
