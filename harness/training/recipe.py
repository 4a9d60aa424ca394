"""What is asked for in, how a dictionary is trained out, with what is chosen where nobody says."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from harness.api.errors import UsageError

Architecture = Literal["batchtopk", "topk", "jumprelu", "standard", "tied"]
ARCHITECTURES: tuple[Architecture, ...] = ("batchtopk", "topk", "jumprelu", "standard", "tied")

_PENALISED = ("standard", "tied")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one dictionary is trained.

    `l0` is the mean number of features per token that `batchtopk`, `topk` and `jumprelu` aim at; `standard` and `tied`
    take the weight `l1` of their penalty instead, for activations scaled to a mean squared norm of `d_in`. The learning
    rate rises over the first thirtieth of the steps and falls to zero over the last third. UsageError for what cannot
    be trained.
    """

    architecture: Architecture = "batchtopk"
    width: int
    tokens: int
    l0: int | None = None
    l1: float | None = None
    batch_tokens: int = 1024
    buffer_tokens: int = 131_072
    learning_rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        wanted, other = ("l1", "l0") if self.architecture in _PENALISED else ("l0", "l1")
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
        if self.steps < 1:
            raise UsageError(f"{self.tokens} tokens do not fill one batch of {self.batch_tokens}")

    @property
    def steps(self) -> int:
        """Whole batches in the tokens."""
        return self.tokens // self.batch_tokens

    @property
    def warm_up_steps(self) -> int:
        return self.steps // 30

    @property
    def decay_steps(self) -> int:
        return self.steps // 3

    @property
    def dead_steps(self) -> int:
        """Steps without firing after which a feature counts as dead: a twelfth of all, or ten million tokens."""
        return max(1, min(self.steps // 12, 10_000_000 // self.batch_tokens))


def make_recipe(
    width: str,
    d_in: int,
    *,
    architecture: Architecture,
    tokens: int,
    l0: int | None,
    l1: float | None,
    learning_rate: float | None,
    batch_tokens: int,
    seed: int,
) -> Recipe:
    """The recipe for activations of size `d_in`; what is None takes its default. UsageError where it cannot be."""
    features = read_width(width, d_in)
    return Recipe(
        architecture=architecture,
        width=features,
        tokens=tokens,
        l0=default_l0(d_in) if l0 is None and architecture not in _PENALISED else l0,
        l1=default_l1(architecture) if l1 is None else l1,
        batch_tokens=batch_tokens,
        learning_rate=default_learning_rate(features) if learning_rate is None else learning_rate,
        seed=seed,
    )


def read_width(text: str, d_in: int) -> int:
    """`1024`, `16k`, `1m` (powers of two), or `8x`, a multiple of the activations' size; else UsageError."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([xkm]?)", text.strip())
    if match is None:
        raise UsageError(f"width '{text}' is not of the form 1024, 16k or 8x")
    return int(match[1]) * {"": 1, "x": d_in, "k": 1 << 10, "m": 1 << 20}[match[2]]


def default_l0(d_in: int) -> int:
    """A sixth of the activations' size."""
    return max(1, d_in // 6)


def default_l1(architecture: Architecture) -> float | None:
    """The weight of the penalty where there is one."""
    return {"standard": 3.0, "tied": 1.0}.get(architecture)


def default_learning_rate(width: int) -> float:
    """6e-3 up to 1,024 features: the best of 3e-3, 6e-3 and 12e-3 there, for half a million tokens of a small model. It
    falls with the root of the width, as in Gao et al. 2024 (§A.3).
    """
    return 6e-3 * math.sqrt(1024 / max(width, 1024))
