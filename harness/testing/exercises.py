"""Plain use of an offer of each kind on samples, whose results the common checks compare, hash and watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.testing.check import Subject

EXERCISES: dict[str, Callable[[Subject], Any]] = {}
"""Kind → function that makes an offer anew, uses it once, and returns its results as nested numbers and texts."""


def exercise(kind: str) -> Callable[[Callable[[Subject], Any]], Callable[[Subject], Any]]:
    """Register a function as the plain use of a kind's offers."""

    def register(function: Callable[[Subject], Any]) -> Callable[[Subject], Any]:
        EXERCISES[kind] = function
        return function

    return register


def use(subject: Subject) -> Any:
    """Return the results of an offer that is made anew and used once."""
    return EXERCISES[subject.kind](subject)
