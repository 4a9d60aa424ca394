"""Command `harness patch`: how much of a behaviour few features carry, by patching them from a run into its twin."""

from __future__ import annotations

import harness

HARNESS_API = 1


@harness.hookimpl
def harness_commands() -> list[harness.CommandSpec]:
    """Offer the command, which is imported when it is called."""
    summary = "Patch features from a prompt into its counterfactual twin, and measure how much of a behaviour follows."
    return [harness.CommandSpec(name="patch", summary=summary, load="harness_patching.command:command")]


@harness.hookimpl
def harness_dictionary_scores() -> list[harness.DictionaryScoreSpec]:
    """Offer the area under the curve of each behaviour."""
    behaviours = ("indirect-object", "agreement", "gendered-pronoun")
    return [
        harness.DictionaryScoreSpec(
            name=f"patched area ({name})",
            summary=f"Area under KL recovered against patched features, {name}.",
            load=f"harness_patching.reliability:open_{name.replace('-', '_')}",
            by_task=False,
        )
        for name in behaviours
    ]


@harness.hookimpl
def harness_results() -> list[harness.ResultSpec]:
    """Offer the page of what the command leaves."""
    summary = "Behaviours localised by patching: what follows against the number of patched features."
    return [
        harness.ResultSpec(
            name="patching", summary=summary, pattern="patching-*.json", load="harness_patching.page:describe"
        )
    ]
