"""Result of explaining features: its form in JSON, and the verdicts that follow from its numbers by rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from harness import ResultModel, Score
from harness_autointerp.scores import CHANCE

NOT_TESTABLE: Final = "not testable on this model"
"""Verdict where the scorer does not tell right explanations from none."""

LEADING = ("simulation", "detection", "detection AUROC")
"""Scores on which a verdict rests: the first that the scorer gives better than chance."""

FEWEST = 10
"""Features of either arm below which nothing is decided."""

Verdict = Literal["holds", "does not hold", "undecided", "not testable on this model"]


class Compared(ResultModel):
    """Score of an arm's own explanations, and of those of other features of the arm, over the same fragments."""

    own: Score
    shuffled: Score
    gain: Score
    """Difference of both, paired by feature."""
    n: int
    """Features; one whose answers cannot be read is left out."""


class Example(ResultModel):
    """Feature with its explanation and its scores."""

    feature: int
    explanation: str
    scores: Mapping[str, float]


class Arm(ResultModel):
    """Representation whose features were explained; without scores if the scorer is not able, or none could be."""

    name: str
    width: int
    alive: int
    """Number of features that fire in enough fragments of both halves."""
    scores: Mapping[str, Compared]
    lead: Mapping[str, Score]
    """The first arm's score minus this one's; empty for the first arm itself."""
    examples: tuple[Example, ...]
    note: str = ""
    """Why an arm has no scores."""


class Result(ResultModel):
    """Explanations of one model's features at one site."""

    version: Literal[1] = 1
    """Version of the form of a result."""
    task: str
    model: str
    site: str
    explainer: str
    scorer: str
    length: int
    """Tokens of a fragment."""
    fragments_explained: int
    fragments_scored: int
    top: int
    """Top fragments of a feature, in each half."""
    random: int
    """Random fragments of a feature, in each half."""
    scorer_scores: Mapping[str, Compared]
    """Scores of true explanations of planted features, each of which fires on one word."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    """Arms; the first is the one that is compared with the others."""
    cpu_minutes: float
    device: str

    def find_leading(self) -> str | None:
        """Return the score on which verdicts rest; None for a scorer that is not able."""
        return next((name for name in LEADING if is_able(self.scorer_scores.get(name), name)), None)


def is_able(planted: Compared | None, name: str) -> bool:
    """Return True if a scorer's score of true explanations of planted features is above chance by its interval, and
    above that of other explanations.
    """
    return planted is not None and planted.own.lower > CHANCE[name] and planted.gain.lower > 0


def judge(result: Result, against: Arm) -> tuple[Verdict, str]:
    """Return whether the first arm's features have higher scores than those of another, and why.

    `not testable`: the scorer is not able. `undecided`: either arm has too few features, the interval of the
    difference holds 0, the first arm's explanations do not score above those of its other features, or such shuffled
    ones score above chance.
    """
    name = result.find_leading()
    if name is None:
        planted = "; ".join(
            f"{one}: {score.own}, others {score.shuffled}" for one, score in result.scorer_scores.items()
        )
        return (
            NOT_TESTABLE,
            f"the scorer does not tell right explanations of planted features from others ({planted})",
        )
    own, other = result.arms[0].scores.get(name), against.scores.get(name)
    if own is None or other is None:
        return "undecided", against.note or result.arms[0].note or "nothing was scored"
    if min(own.n, other.n) < FEWEST:
        return "undecided", f"only {own.n} and {other.n} features could be scored"
    if own.gain.lower <= 0:
        return "undecided", f"its own explanations lead those of other features by {own.gain}"
    if own.shuffled.lower > CHANCE[name] or other.shuffled.lower > CHANCE[name]:
        return "undecided", "explanations of other features score above chance, too"
    lead = against.lead[name]
    said = f"it leads by {lead}"
    if lead.lower > 0:
        return "holds", said
    return ("does not hold" if lead.upper < 0 else "undecided"), said
