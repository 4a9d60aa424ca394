"""Names of the commands that the harness itself has; no plugin may offer another under one of them."""

from __future__ import annotations

from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "cache": "Look at, verify and prune the feature cache.",
    "compare": "Compare two runs arm by arm, paired.",
    "doctor": "Say what works here, what was left out, and why.",
    "features": "Write pooled features of texts to a file.",
    "label": "Say which items a model answers rightly, as labels to predict.",
    "leaderboard": "Build, publish and check leaderboards.",
    "ls": "List what can be named: tasks, models, plugins, …",
    "plan": "Say what a run would do, before anything is loaded.",
    "power": "Say how small a difference a suite's test rows can show.",
    "report-dictionary": "Say how well a dictionary fits a model on held-out text.",
    "run": "Run a suite; the same command again resumes it.",
    "show": "Show one thing: its origin, parameters, licence, …",
    "status": "Say how far a run is, and whether a process is at it.",
    "train-dictionary": "Train sparse autoencoders on a model's activations.",
    "truths": "Try the intervals and tests on arms whose truth is known.",
    "validate": "Check a suite before it is run, or a run before it is published.",
}
"""Name → summary, as `harness --help` lists them."""
