"""Checks of each kind of offer. Importing this room registers all of them, in the order in which they run."""

from harness.testing.check import CHECKS as CHECKS
from harness.testing.checks import (
    common,  # isort: skip
    declared,  # isort: skip
    executors,  # isort: skip
    explainers,  # isort: skip
    matrices,  # isort: skip
    models,  # isort: skip
    plugins,  # isort: skip
    poolings,  # isort: skip
    regimes,  # isort: skip
    representations,  # isort: skip
)
from harness.testing.exercises import EXERCISES as EXERCISES

MODULES = (
    plugins,
    poolings,
    matrices,
    regimes,
    representations,
    models,
    declared,
    executors,
    explainers,
    common,
)
