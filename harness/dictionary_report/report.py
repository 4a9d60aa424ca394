"""Report on a dictionary: measurements of itself, and of other representations of the same activations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.dictionaries.gate import Fidelity
from harness.dictionary_report.contexts import Validation

DENSE = 0.1
"""Share of tokens above which a feature counts as dense."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Reconstruction quality of one representation: explained variance, that of all but the large channels, that of all
    tokens where some were left out, the median over dimensions, active features per token, the share of features that
    never fire, next-token loss in nats with rebuilt activations spliced in, and `recovered`, the share of the loss of
    mean ablation that they recover. None where not measurable.
    """

    name: str
    explained_variance: float | None = None
    small_channels_explained_variance: float | None = None
    all_tokens_explained_variance: float | None = None
    median_explained_variance: float | None = None
    l0: float | None = None
    dead: float | None = None
    loss: float | None = None
    recovered: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Large channel: a dimension of the activations, and its share of their variance."""

    number: int
    variance_share: float


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """Tokens that are left out: their number in both halves, the limit on norms as such and as a ratio to the median,
    and their share of the squared distances from the mean of the second half.
    """

    tokens: int
    limit: float
    max_norm_ratio: float
    variance_share: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """Measurements of a dictionary; `frequencies [width]` are the shares of tokens on which features fire, `fidelity`
    is the gate's judgement on the second half, without neighbouring layers. `tokens` are those that were measured,
    without outliers.
    """

    dictionary: str
    model: str
    site: str
    width: int
    d_in: int
    published_l0: float | None
    tokens: int
    loss_tokens: int
    dead: float
    dense: float
    arms: tuple[Arm, ...]
    validation: Validation
    control: Validation | None
    fidelity: Fidelity
    frequencies: NDArray[np.float64]
    large_channels: tuple[Channel, ...] = ()
    outliers: Outliers | None = None

    @property
    def own(self) -> Arm:
        """Arm of the dictionary itself."""
        return self.arms[0]


def facts(report: Report) -> dict[str, Any]:
    """Return the report as JSON, without the frequencies of single features."""
    found = asdict(report)
    del found["frequencies"]
    return {**found, "l0_share": (report.own.l0 or 0.0) / report.width}
