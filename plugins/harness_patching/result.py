"""Result of patching: its form in JSON, and the verdict that follows from its numbers by rule."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from pydantic import Field

from harness import ResultModel, Score

NOT_TESTABLE: Final = "not testable on this model"
"""Verdict where a model does not show the behaviour."""

CHANCE = 0.5
"""Accuracy of guessing, and of a model that gives prompt and twin the same answer."""

AGAINST: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pca": "principal components",
        "neurons": "neurons",
        "random directions": "random directions",
        "random dictionary": "features of a random dictionary",
    }
)
"""Arms that a dictionary is compared with at equal count, and what one of each is, in the plural."""

Verdict = Literal["holds", "does not hold", "undecided", "not testable on this model"]


class Point(ResultModel):
    """Behaviour with `patched` features of an arm patched: 0 as in the twin, 1 as in the prompt."""

    patched: int
    kl: Score
    """1 − KL(prompt ‖ patched) / KL(prompt ‖ twin), of the distribution of the next token."""
    logits: Score
    """Share of the difference in logits between both answers that is recovered."""


class Curve(ResultModel):
    """Arm with its points by number of features; `kl_area` and `logit_area` are the means over these numbers."""

    name: str
    features: tuple[int, ...]
    """Numbers of the features, in the order in which they are patched."""
    points: tuple[Point, ...] = Field(min_length=1)
    kl_area: Score
    logit_area: Score


class Node(ResultModel):
    """Control of the dictionary: all its features without what it does not reconstruct, that alone, or its
    reconstruction in the place of the prompt's own activations.
    """

    name: str
    kl: Score
    logits: Score


class Difference(ResultModel):
    """Area under the dictionary's curve minus that of another arm, over the same items."""

    against: str
    kl: Score
    logits: Score


class Edge(ResultModel):
    """Share of the difference in logits that follows if a feature at the later site takes the value that it has where
    one feature at the earlier site is patched.
    """

    earlier: int
    later: int
    effect: Score
    alone: Score | None = None
    """Share that follows if the earlier feature is patched and everything after it follows."""
    placebo: int | None = None
    """Another feature at the later site, among those whose difference between prompts and twins is nearest; None
    where there is none."""
    placebo_effect: Score | None = None
    """Effect of the edge that leads to the placebo instead."""
    lead: Score | None = None
    """Effect of the edge minus that of its placebo, over the same items."""


class Result(ResultModel):
    """Behaviour of one model, localised at one site."""

    version: Literal[1] = 1
    """Version of the form of a result."""
    behaviour: str
    summary: str
    model: str
    site: str
    later_site: str | None
    """Site of the features that edges lead to; None without edges."""
    dictionary: str
    n_choosing: int
    """Items on which features were chosen."""
    n_measured: int
    """Items, of other templates and words, on which everything else was measured."""
    n_left_out: int
    """Items whose answers are no single tokens of the model, or whose twin has another length."""
    accuracy: Score | None
    """Share of prompts and twins to which the right answer is the likelier one of the two; None with too few items."""
    curves: tuple[Curve, ...]
    nodes: tuple[Node, ...]
    differences: tuple[Difference, ...]
    edges: tuple[Edge, ...]
    verdict: Verdict
    reason: str
    cpu_minutes: float
    device: str

    def find_nearest(self) -> Curve | None:
        """Return the curve of the other arm with the largest area under KL recovered; None without."""
        others = [curve for curve in self.curves if curve.name in AGAINST]
        return max(others, key=lambda curve: curve.kl_area.value, default=None)

    def find(self, name: str) -> Curve | None:
        """Return the curve of an arm; None without."""
        return next((curve for curve in self.curves if curve.name == name), None)


def is_testable(accuracy: Score) -> bool:
    """Return True if the model shows the behaviour: accuracy above chance by its interval."""
    return accuracy.low is not None and accuracy.low > CHANCE


def judge(differences: tuple[Difference, ...]) -> tuple[Verdict, str]:
    """Return the verdict that a dictionary localises a behaviour in fewer features than other arms, and why.

    It holds if the area under its curve of KL recovered is larger than that of each arm in `AGAINST`, by the interval
    of the difference; it does not hold if it is smaller than one of them by that interval; else it is undecided.
    """
    if not differences:
        return "undecided", "no other arm was measured"
    below = [one for one in differences if one.kl.high is not None and one.kl.high < 0]
    below.sort(key=lambda one: one.kl.value)
    if below:
        return (
            "does not hold",
            f"{AGAINST[below[0].against]} recover more with as many: dictionary minus these {below[0].kl} of the area",
        )
    open_ones = [one for one in differences if one.kl.low is None or one.kl.low <= 0]
    if open_ones:
        first = open_ones[0]
        return (
            "undecided",
            f"not told apart from {AGAINST[first.against]}: dictionary minus these {first.kl} of the area",
        )
    least = min(differences, key=lambda one: one.kl.value)
    return "holds", f"nearest are {AGAINST[least.against]}: dictionary minus these {least.kl} of the area"
