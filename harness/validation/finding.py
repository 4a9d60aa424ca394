"""Findings of a check, and the exit code that they lead to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harness.api.errors import GateError, UnavailableError

Severity = Literal["fault", "missing", "note"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was seen: a fault, something that is missing here and now, or only a note."""

    severity: Severity
    sentence: str


def exit_code(findings: Iterable[Finding]) -> int:
    """0 where all are notes, 4 where there is a fault, else 3."""
    severities = {finding.severity for finding in findings}
    if "fault" in severities:
        return GateError.exit_code
    return UnavailableError.exit_code if "missing" in severities else 0
