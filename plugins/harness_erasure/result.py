"""Result of an erasure: its form in JSON, and the verdicts that follow from its numbers by rule."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from harness import ResultModel, Score

NOT_TESTABLE: Final = "not testable on this model"
"""Verdict where a probe does not find the concept before anything is erased."""

GUESSED = 0.5
"""AUROC of guessing."""

NEAR = 0.1
"""Distance from it within which an interval must end before a concept counts as erased: one that merely reaches down to
½ may come of few test rows."""

Verdict = Literal["found", "not testable on this model", "erased", "partly", "kept", "undecided"]
Claim = Literal["holds", "does not hold", "undecided", "not testable on this model"]


class Cost(ResultModel):
    """Change that an eraser makes to tokens, and what it costs in predicting the next one."""

    tokens_edited: float
    """Share of test tokens that it changes."""
    edit: float
    """Mean of ‖x − x'‖ / ‖x‖ over test tokens."""
    loss: Score | None
    """Increase in next-token loss in nats; None for a model without."""
    kl: Score | None = None
    """KL(original ‖ erased) of predictions of the next token, in nats a token; None for a model without logits."""


class Arm(ResultModel):
    """One eraser: what fresh probes still find, and what it costs.

    The eraser is fitted on one half of the training rows. `auroc`, `balanced_accuracy`, `macro_f1` and `accuracy` are
    those of a probe trained on the other half; `same_rows` is the AUROC of one trained on the eraser's own rows.
    """

    name: str
    size: int
    """Number of directions or features removed; of a placebo, that of the features that it is a control of."""
    features: tuple[int, ...]
    """Numbers of the dictionary's features removed; empty for other erasers. A placebo may have more than `size`."""
    auroc: Score
    balanced_accuracy: Score
    macro_f1: Score
    accuracy: Score
    same_rows: Score
    cost: Cost | None
    verdict: Verdict | None
    """None for controls that erase nothing."""


class Result(ResultModel):
    """Erasure of one task's classes from one model at one site."""

    version: Literal[1] = 1
    """Version of the form of a result."""
    task: str
    model: str
    site: str
    dictionary: str | None
    classes: tuple[str, ...]
    rows_eraser: int
    rows_probe: int
    rows_test: int
    sample_tokens: int
    loss_tokens: int
    chance: float
    """Balanced accuracy of guessing: 1 / classes; AUROC of guessing is ½."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    claim: Claim
    reason: str
    cpu_minutes: float
    device: str

    def find(self, name: str) -> list[Arm]:
        """Return the arms of a name, by size."""
        return [arm for arm in self.arms if arm.name == name]

    @model_validator(mode="after")
    def _follow(self) -> Result:
        """Refuse verdicts that do not follow from the numbers beside them."""
        before = self.arms[0]
        pairs = [[arm.size for arm in self.find(name)] for name in ("features", "placebo")]
        if before.name != "none" or not self.find("leace") or pairs[0] != pairs[1]:
            raise ValueError(
                "arms begin with 'none', and have 'leace', and a 'placebo' for each of 'features'"
            )
        testable = is_testable(before, self.chance)
        for arm in self.arms[1:]:
            if arm.verdict is not None:
                due = judge(before.auroc, arm.auroc) if testable else NOT_TESTABLE
                if arm.verdict != due:
                    raise ValueError(
                        f"the verdict on '{arm.name}' of size {arm.size} is '{due}' by its numbers, not '{arm.verdict}'"
                    )
        claim, _ = judge_claim(self.arms, self.chance)
        if self.claim != claim:
            raise ValueError(f"the claim's verdict is '{claim}' by its arms, not '{self.claim}'")
        return self


def is_testable(before: Arm, chance: float) -> bool:
    """Return True if a probe finds the concept before anything is erased: balanced accuracy and AUROC are above chance
    by their intervals.
    """
    return before.balanced_accuracy.lower > chance and before.auroc.lower > GUESSED


def judge(before: Score, after: Score) -> Verdict:
    """Return the verdict on an eraser of a concept that is found, from the AUROC of fresh probes before and after.

    `erased`: the interval after reaches down to ½, ends within `NEAR` of it, and lies below the one before. `partly`:
    it lies below the one before, and above ½. `kept`: it does not lie below the one before. `undecided`: it reaches
    from ½ further up, so the test rows are too few. AUROC needs no threshold: of rare classes accuracy would miss what
    is left.
    """
    is_lower = after.upper < before.lower
    if after.lower <= GUESSED:
        return "erased" if is_lower and after.upper <= GUESSED + NEAR else "undecided"
    return "partly" if is_lower else "kept"


def judge_claim(arms: tuple[Arm, ...], chance: float) -> tuple[Claim, str]:
    """Return whether removing few features erases the concept with a smaller edit than LEACE, as is claimed of ablation
    of less than rank one (Cunningham et al. 2023), and why.

    It holds where for some number of features a fresh probe is at chance, LEACE's edit is larger, and placebo features,
    with as large an edit if there are enough, do not erase it. It is undecided where test rows are too few to tell that
    of some number, and where LEACE does not erase it, so that there is no edit to compare with.
    """
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        found.setdefault(arm.name, []).append(arm)
    before, leace = found["none"][0], found["leace"][0]
    if not is_testable(before, chance):
        said = f"before erasure a probe has a balanced accuracy of {before.balanced_accuracy}"
        return NOT_TESTABLE, f"{said} (chance: {chance:.3f}) and an AUROC of {before.auroc}"
    if "features" not in found:
        return NOT_TESTABLE, "no dictionary was given"
    if leace.verdict != "erased":
        said = "LEACE itself does not erase it, so that there is no edit to compare with"
        return "undecided", f"{said}: a fresh probe has an AUROC of {leace.auroc}"
    open_, at_chance, edits = None, None, ""
    for arm, placebo in zip(found["features"], found["placebo"], strict=True):
        assert arm.cost is not None and leace.cost is not None  # those of every eraser are measured
        edits = f"their edit is {arm.cost.edit:.3f} of a token's norm and LEACE's {leace.cost.edit:.3f}"
        pair = {arm.verdict, placebo.verdict}
        if (
            arm.cost.edit < leace.cost.edit
            and placebo.verdict != "erased"
            and arm.verdict in ("erased", "undecided")
        ):
            if "undecided" not in pair:
                return "holds", f"without {arm.size} features a fresh probe is at chance; {edits}"
            open_ = open_ or (
                f"without {arm.size} features a fresh probe has an AUROC of {arm.auroc}, and without placebo features "
                f"one of {placebo.auroc}: test rows are too few"
            )
        if arm.verdict == "erased":
            at_chance = at_chance or arm.size
    if open_:
        return "undecided", open_
    if at_chance is None:
        last = found["features"][-1]
        said = f"without {last.size} features a fresh probe still has an AUROC of {last.auroc}"
        return "does not hold", f"{said}; {edits}"
    return (
        "does not hold",
        f"without {at_chance} features a fresh probe is at chance, but LEACE's edit is not larger, or placebo features "
        "do the same",
    )
