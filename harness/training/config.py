"""Training configuration of one SAE, with defaults."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from harness.api.errors import UsageError
from harness.features.outliers import check_ratio

Architecture = Literal["batchtopk", "topk", "jumprelu", "standard", "tied"]
ARCHITECTURES: tuple[Architecture, ...] = ("batchtopk", "topk", "jumprelu", "standard", "tied")

_L1 = {"standard": 3.0, "tied": 1.0}
"""Default weight of the penalty, by the architectures that have one."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Training configuration of one SAE, with defaults.

    `l0` is the target number of active features per token of `batchtopk`, `topk` and `jumprelu`. `standard` and `tied`
    take the weight `l1` of their penalty instead, for activations scaled to a mean squared norm of `d_in`. The learning
    rate rises over the first thirtieth of the steps and falls to zero over the last third. Tokens with a norm above
    `max_norm_ratio` times the median norm at the site are left out: a few attention sinks would else rule the loss.
    UsageError for invalid values.
    """

    architecture: Architecture = "batchtopk"
    width: int
    tokens: int
    l0: int | None = None
    l1: float | None = None
    batch_tokens: int = 1024
    buffer_tokens: int = 131_072
    learning_rate: float
    max_norm_ratio: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        wanted, other = ("l1", "l0") if self.architecture in _L1 else ("l0", "l1")
        if getattr(self, other) is not None or getattr(self, wanted) is None:
            raise UsageError(f"architecture '{self.architecture}' takes {wanted}, not {other}")
        if self.l0 is not None and not 1 <= self.l0 <= self.width:
            raise UsageError(f"l0 is {self.l0}, which is not between 1 and the width {self.width}")
        if self.l1 is not None and not 0 <= self.l1 < math.inf:
            raise UsageError(f"l1 is {self.l1}, which is no number from 0 on")
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"the learning rate is {self.learning_rate}, which is no number above 0")
        if self.width < 1 or self.batch_tokens < 2 or self.seed < 0:
            raise UsageError(
                "a dictionary has a width of at least 1, batches of at least 2 and a seed from 0 on"
            )
        if self.max_norm_ratio is not None:
            check_ratio(self.max_norm_ratio)
        if self.steps < 1:
            raise UsageError(f"{self.tokens} tokens do not fill one batch of {self.batch_tokens}")

    @property
    def steps(self) -> int:
        """Number of whole batches in the tokens."""
        return self.tokens // self.batch_tokens

    @property
    def warm_up_steps(self) -> int:
        """Number of steps over which the learning rate rises."""
        return self.steps // 30

    @property
    def decay_steps(self) -> int:
        """Number of steps over which the learning rate falls to zero."""
        return self.steps // 3

    @property
    def dead_steps(self) -> int:
        """Number of steps without firing after which a feature is dead: a twelfth of all, or ten million tokens."""
        return max(1, min(self.steps // 12, 10_000_000 // self.batch_tokens))


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Training options as a user gives them: `width` is 1024, 16k or a multiple 8x of the activations' size; None
    stands for a default.
    """

    width: str
    tokens: int
    architecture: Architecture = "batchtopk"
    l0: int | None = None
    l1: float | None = None
    learning_rate: float | None = None
    batch_tokens: int = 1024
    max_norm_ratio: float | None = None
    seed: int = 0

    def at(self, d_in: int) -> TrainingConfig:
        """Return the configuration for activations of size `d_in`; UsageError if it is invalid."""
        width = read_width(self.width, d_in)
        l0 = None if self.architecture in _L1 else max(1, d_in // 6)
        defaults: dict[str, Any] = {
            "l0": l0,
            "l1": _L1.get(self.architecture),
            "learning_rate": default_learning_rate(width),
        }
        given = {name: value for name, value in vars(self).items() if value is not None}
        return TrainingConfig(**{**defaults, **given, "width": width})


def read_width(text: str, d_in: int) -> int:
    """Return the width for `1024`, `16k`, `1m` (powers of two) or `8x`, a multiple of `d_in`; UsageError otherwise."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([xkm]?)", text.strip())
    if match is None:
        raise UsageError(f"width '{text}' is not of the form 1024, 16k or 8x")
    return int(match[1]) * {"": 1, "x": d_in, "k": 1 << 10, "m": 1 << 20}[match[2]]


def default_learning_rate(width: int) -> float:
    """Return the default learning rate, which falls with the root of the width, as in Gao et al. 2024 (§A.3)."""
    # 6e-3 was the best of 3e-3, 6e-3 and 12e-3 at 1,024 features, for half a million tokens of a small model.
    return 6e-3 * math.sqrt(1024 / max(width, 1024))
