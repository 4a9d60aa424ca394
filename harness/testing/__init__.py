"""Conformance checks for authors of plugins, and what they are made of: a toy model, samples, a device that is not.

The name of a plugin, a module or an offer enters; the outcomes of the checks of its kind leave. `harness check` and
`pytest --harness-plugin` run the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.testing.check import Check, CheckFailed, Outcome

if TYPE_CHECKING:
    from harness.testing.run import check
    from harness.testing.toy_model import ToyModel

__all__ = ["Check", "CheckFailed", "Outcome", "ToyModel", "check"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: these need torch.
    if name == "check":
        from harness.testing.run import check

        return check
    if name == "ToyModel":
        from harness.testing.toy_model import ToyModel

        return ToyModel
    raise AttributeError(f"module 'harness.testing' has no attribute '{name}'")
