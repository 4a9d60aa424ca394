"""Names with a meaning of their own."""

from __future__ import annotations

HIDDEN = "hidden"


FULL = "full"
"""The regime that changes nothing, and goes unsaid."""


NATIVE = "native"
"""The regime under which every language of a task is learnt and tested by itself."""
