"""Names of the commands of the harness itself, which no plugin may offer, and the import of offers by their place."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from harness.api.specs import CommandSpec, DictionaryScoreSpec, ResultSpec

COMMANDS: Mapping[str, str] = {
    "bench": "Measure featurizing against this machine's limit.",
    "cache": "Inspect, verify and prune the feature cache.",
    "card": "Write the card of a folder of dictionaries.",
    "check": "Check a plugin or an offer against the contract of its kind.",
    "check-statistics": "Check confidence intervals and tests on simulated data.",
    "compare": "Compare two runs arm by arm, paired.",
    "doctor": "Report versions, device, plugins, and what was left out and why.",
    "export": "Write results in the formats of SAEBench and the Hugging Face hub.",
    "features": "Write pooled features of texts to a file.",
    "leaderboard": "Build, publish, make and check leaderboards.",
    "ls": "List tasks, models, plugins and everything else that has a name.",
    "new": "Write the package of a plugin, with tests that pass.",
    "plan": "Show what a run would do, before anything is loaded.",
    "plugins": "List plugins with version, interface, and whether they were checked.",
    "power": "Compute how small a difference the test rows of a suite can detect.",
    "report-dictionary": "Report how well a dictionary fits a model on held-out text.",
    "run": "Run a suite; the same command again resumes it.",
    "show": "Show one entry: its origin, parameters, licence, …",
    "status": "Show the progress of a run, and whether a process works on it.",
    "train-dictionary": "Train sparse autoencoders on a model's activations.",
    "upload": "Upload a board to a folder or to the Hugging Face hub.",
    "validate": "Check a suite before it is run, or a run before it is published.",
}
"""Name → summary, as listed by `harness --help`."""

RENAMED: Mapping[str, str] = {"truths": "check-statistics"}
"""Earlier name → present name. The earlier name still works, with a line of warning."""


def import_loaded(spec: CommandSpec | ResultSpec | DictionaryScoreSpec) -> Any:
    """Return what a plugin offers as a command, or as the function that describes results or opens a score: it may be
    anything.

    Whatever its module raises is raised here.
    """
    if isinstance(spec.load, str):
        module, _, attribute = spec.load.partition(":")
        return getattr(importlib.import_module(module), attribute)
    return spec.load() if isinstance(spec, CommandSpec) else spec.load
