"""Result of annotating prompts: its form in JSON, and the verdicts that follow from its numbers by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from harness import ResultModel, Score

Verdict = Literal["holds", "does not hold", "undecided", "not testable on this model"]
Judgement = Literal["better", "no better", "undecided"]

NOT_TESTABLE: Final = "not testable on this model"

LARGEST: Final = 0.10
"""Largest smallest detectable gain at which a claim is tested, and the gain below which an annotation is no better."""

LEVEL: Final = 0.05


class Feature(ResultModel):
    """Feature found on the first half: whether it fires more on texts that are read rightly, and its explanation."""

    number: int
    speaks_for: Literal["right", "wrong"]
    explanation: tuple[str, ...]


class Arm(ResultModel):
    """Way to annotate, measured on the second half."""

    name: str
    accuracy: Score
    gain: Score | None
    """Gain over the plain prompt; None for the plain prompt itself."""
    annotated: float
    """Share of the items that have an annotation."""
    example: str = ""
    """First annotation of all."""


class Comparison(ResultModel):
    """Annotation by features against one control, on the same items."""

    against: str
    gain: Score
    only_features: int
    """Items that only the annotation by features has right."""
    only_control: int
    """Items that only the control has right."""
    p: float
    """Exact McNemar test."""
    p_holm: float
    """The same, adjusted for all comparisons of the result."""

    @property
    def judgement(self) -> Judgement:
        """`better`: by the test and the interval over templates. `no better`: a gain of LARGEST is ruled out."""
        if self.p_holm < LEVEL and self.gain.lower > 0:
            return "better"
        return "no better" if self.gain.upper < LARGEST else "undecided"


class Way(ResultModel):
    """Prompts re-run in one way of answering."""

    way: Literal["likelihood", "generation"]
    form: Literal["question", "cloze"] = "question"
    """A question that names the choices, or the beginning of a sentence that a choice ends."""
    calibrated: bool = False
    """True if a choice counts by how much likelier the text makes it."""
    n: int
    """Items of the second half."""
    templates: int
    """Templates of the second half."""
    accuracy: Score
    """Accuracy with the plain prompt."""
    blind: float
    """Accuracy without the text, never calibrated."""
    chance: float
    """Accuracy of guessing, of the commonest answer, or without the text: whichever is largest."""
    probe_auroc: Score | None
    """AUROC of a probe of the dictionary's features for right and wrong answers, on templates of the first half that it
    was not trained on.
    """
    churn: float | None
    """Share of answers that differ between plain, random and placebo prompts, as often for the better as for the worse;
    of the largest pair.
    """
    detectable_gain: float | None
    """Smallest gain that this many items would show."""
    features: tuple[Feature, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    reason: str


class Threshold(ResultModel):
    """One of the three thresholds of Wang et al. (2025), beside the dictionary report's value."""

    name: str
    claimed: str
    value: float
    met: bool


class Result(ResultModel):
    """Annotation of one set of items for one model, by one dictionary."""

    version: Literal[1] = 1
    items: str
    model: str
    site: str
    dictionary: str
    shots: int
    """Solved items at the beginning of every prompt."""
    explanations: str
    """Source of the explanations of features."""
    ways: tuple[Way, ...] = Field(min_length=1)
    thresholds: tuple[Threshold, ...]
    report_tokens: int
    """Tokens that the dictionary report was made on."""
    cpu_minutes: float
    device: str


def judge_ability(accuracy: Score, chance: float) -> str | None:
    """Return why a model cannot do the task, or None if its accuracy is above chance by its interval."""
    if accuracy.lower > chance:
        return None
    return f"with the plain prompt its accuracy is {accuracy}, not above chance ({chance:.3f})"


def judge_power(detectable: float, n: int) -> str | None:
    """Return why too few items were measured, or None if a gain of LARGEST would show."""
    if detectable <= LARGEST:
        return None
    return f"the smallest gain that {n} items would show is {100 * detectable:.1f} points, and at most 10 are allowed"


def judge_room(accuracy: Score, detectable: float) -> str | None:
    """Return why no gain could show, or None if at least as many answers are wrong as the smallest gain mends."""
    wrong = 1 - accuracy.value
    if wrong >= detectable:
        return None
    return (
        f"with the plain prompt {100 * wrong:.1f} % of answers are wrong, fewer than the smallest gain that would show "
        f"({100 * detectable:.1f} points): nothing is left to mend"
    )


def judge_claim(comparisons: Sequence[Comparison]) -> tuple[Verdict, str]:
    """Return whether annotation by features mends answers, and why.

    It holds if it is better than the plain prompt, random words and placebo features; one that it is no better than
    refutes it. TF-IDF refutes nothing: it says whether features are needed.
    """
    needed = [one for one in comparisons if one.against != "tfidf"]
    refuting = [one for one in needed if one.judgement == "no better"]
    tfidf = "".join(
        f"; a TF-IDF rule {'does worse' if one.judgement == 'better' else 'is not shown to do worse'}"
        for one in comparisons
        if one.against == "tfidf"
    )
    if refuting:
        worst = min(refuting, key=lambda one: one.gain.value)
        return "does not hold", f"against {worst.against} the gain is {worst.gain}{tfidf}"
    unclear = [one for one in needed if one.judgement == "undecided"]
    if unclear:
        one = max(unclear, key=lambda one: one.p_holm)
        return (
            "undecided",
            f"against {one.against} the gain is {one.gain}, p = {one.p_holm:.3f} by Holm{tfidf}",
        )
    least = min(needed, key=lambda one: one.gain.value)
    return "holds", f"the least gain, against {least.against}, is {least.gain}{tfidf}"
