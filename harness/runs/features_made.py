"""What a run wants of a bundle's features, and what it knows of the dictionaries behind them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.dictionaries.gate import Fidelity, not_measurable
from harness.planning.cells import Bundle, Features, ModelFeatures


def wanted_features(bundle: Bundle) -> list[Features]:
    """Return the features that pending cells of a bundle read."""
    return [
        features for features in bundle.features if any(cell.features is features for cell in bundle.cells)
    ]


def find_fidelity(features: Features, judged: Mapping[str, Fidelity]) -> Fidelity:
    """Return the judgement of features: of `judged` by their gate key, else the reason why they have none."""
    if isinstance(features, ModelFeatures) and (found := judged.get(features.gate_key or "")):
        return found
    if not isinstance(features, ModelFeatures) or not features.placed.sparse:
        return Fidelity()
    return not_measurable("it has no decoder")
