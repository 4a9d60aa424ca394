"""Claims of published work, as re-run by the commands of plugins, and the page of such results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.api.events import Score

ClaimVerdict = Literal["holds", "does not hold", "undecided", "not testable on this model"]
"""Verdict on a claim: `undecided` where items are too few to tell, and the last one where a model cannot do what the
claim is about.
"""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Claim of a published work as re-run on one model: one line of the table of claims.

    A claim is stated once its precondition is measured, such as that a model does a task better than by chance.
    """

    work: str
    """Work that claims it, as it is cited: `Cunningham et al. 2023`."""
    claimed: str
    """Claim of the work, in a sentence without full stop."""
    model: str
    """Model on which it was re-run."""
    measure: str
    """Measure of `measured`, with its unit."""
    measured: Score | None
    """Value on which the verdict rests, with its interval; None where nothing could be measured."""
    n: int
    """Number of items that it was measured on."""
    items: str
    """Kind of these items: `test rows`."""
    control: str
    """Baseline, placebo or shuffled arm that it is compared with; empty without any."""
    control_value: Score | None = None
    """Value of the control by the same measure."""
    verdict: ClaimVerdict
    reason: str
    """Reason for the verdict, in a sentence without full stop."""
    cpu_minutes: float
    """Processor time that it took."""
    device: str = "cpu"
    """Device that it was measured on."""


@dataclass(frozen=True, kw_only=True)
class ResultPage:
    """Page about all results of one kind in a folder: Markdown, with the claims that they bear on.

    `markdown` begins with a heading of the first level and escapes what comes from outside
    (`harness.escape_markdown`). It follows from the results alone: made twice, it is the same.
    """

    markdown: str
    claims: tuple[Claim, ...] = ()
