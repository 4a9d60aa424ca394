"""Findings of a check, and the exit code that they lead to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harness.api.errors import GateError, UnavailableError

Severity = Literal["fault", "missing", "note"]


@dataclass(frozen=True)
class Finding:
    """Result of a check: a fault, something that is unavailable here and now, or a note."""

    severity: Severity
    sentence: str


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 4 if any finding is a fault, else 3 if something is missing, else 0."""
    severities = {finding.severity for finding in findings}
    if "fault" in severities:
        return GateError.exit_code
    return UnavailableError.exit_code if "missing" in severities else 0
