"""Explainers, which put into words where a feature fires, and scorers, which say from the words where it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

STRONGEST = 10.0
"""Activation of a feature where it fires most in the fragments that its explanation is made from."""


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """Part of a text: its tokens as they are spelled, and the `activations [tokens]` of one feature, from 0 to 10."""

    tokens: tuple[str, ...]
    activations: Array


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Part of a text whose activations are not shown; `marked` are the places of tokens that are marked, if any are."""

    tokens: tuple[str, ...]
    marked: tuple[int, ...] | None = None


class Opening(Protocol):
    """Session as an explainer sees it."""

    @property
    def device(self) -> str:
        """Device to compute on."""

    def open_model(self, model: str | Mapping[str, Any], *sites: str) -> Any:
        """Return a `harness.OpenModel`; no weights are read."""


@runtime_checkable
class Explainer(Protocol):
    """Way of explaining features, before anything is loaded or asked."""

    def open(self, session: Opening) -> OpenExplainer:
        """Load what is needed. Raise UnavailableError for what is absent, UsageError for a model that is unfit."""


@runtime_checkable
class OpenExplainer(Protocol):
    """Explainer in memory. It may be a Simulator, a Judge, or both, and then serves as a scorer too."""

    def explain(self, fragments: Sequence[Fragment]) -> str:
        """Return an explanation of the feature whose activations the fragments show: one line of text."""


@runtime_checkable
class Simulator(Protocol):
    """Scorer that predicts activations from an explanation."""

    def simulate(self, explanation: str, passages: Sequence[Passage]) -> list[Array]:
        """Return the activations `[tokens]` of each passage that the explanation leads to expect, in any unit; NaN
        where no answer could be read.
        """


@runtime_checkable
class Judge(Protocol):
    """Scorer that decides from an explanation whether a feature fires."""

    def judge(self, explanation: str, passages: Sequence[Passage]) -> Array:
        """Return for each passage the probability that the feature fires in it; where tokens are marked, that these
        are the ones on which it fires. NaN where no answer could be read.
        """
