"""Options of a reference that change how a dictionary is read: at any site, and the convention of b_dec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import harness


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options of a reference. `subtract_b_dec` None is the convention of the file's format.

    UsageError for a value that is neither true nor false.
    """

    any_site: bool = False
    subtract_b_dec: bool | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, bool | None):
                raise harness.UsageError(f"{name}={value!r} is neither true nor false")

    def subtracts(self, declared: bool) -> bool:
        """Return whether b_dec is subtracted from the input, for a file whose format says `declared`."""
        return declared if self.subtract_b_dec is None else self.subtract_b_dec

    @property
    def identity(self) -> dict[str, Any]:
        """Part of a dictionary's identity; empty where the convention is that of the format."""
        return {} if self.subtract_b_dec is None else {"subtract_b_dec": self.subtract_b_dec}

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of every result."""
        return ("any-site",) if self.any_site else ()
