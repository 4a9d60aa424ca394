"""Results of `harness check-statistics --dictionaries`: what is measured, and the verdicts that follow from it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.storage.reading import read_description
from harness.storage.results import ResultModel

SHIPPED = Path(__file__).with_name("reliability.json")
"""Result that boards refer to."""

LEAD = "macro-F1 lead"
"""Score that boards rank by: the lead over hidden states in macro-F1 of a probe on all features."""

K_SPARSE = "k-sparse lead"
"""Lead over hidden states of a probe on the five features whose class means differ most."""

EXPLAINED = "explained variance"

Verdict = Literal["holds", "does not hold", "undecided"]


class Measured(ResultModel):
    """Number with its 95 % interval."""

    value: float
    low: float
    high: float


class Step(ResultModel):
    """Two neighbouring checkpoints: tokens of training, and the signal-to-noise between them; None without noise."""

    earlier: int
    later: int
    signal_to_noise: Measured | None


class ScoreReliability(ResultModel):
    """Reliability of one score."""

    name: str
    scores: tuple[tuple[float, ...], ...]
    """Raw scores, a row for each checkpoint and a column for each seed; means over tasks."""
    seed_noise: float
    """Standard deviation over dictionary seeds, pooled over checkpoints."""
    data_noise: float
    """Standard deviation over data drawn anew, for the trained dictionaries."""
    selection_range: float | None
    """Largest minus smallest test score over the points of the grid that validation cannot tell from the best, mean
    over dictionaries and tasks; None where nothing is chosen."""
    run: Measured | None
    """Signal-to-noise from the first checkpoint to the last; None where the score does not move over seeds."""
    steps: tuple[Step, ...] = Field(min_length=1)
    synthetic: tuple[tuple[float, ...], ...]
    """Raw scores of dictionaries of known features, a row for each seed and a column for each setting; empty for a
    score that needs a language model."""
    validity: Measured | None
    """Rank correlation with true recovery over these dictionaries."""

    @property
    def n_told(self) -> int:
        """Number of neighbouring checkpoints of which the later is told to be better."""
        return sum(step.signal_to_noise is not None and step.signal_to_noise.low > 0 for step in self.steps)

    @property
    def discriminates(self) -> Verdict:
        """Verdict that the score tells the last checkpoint from the first, to the good."""
        return _judge(self.run)

    @property
    def is_valid(self) -> Verdict | None:
        """Verdict that the score orders synthetic dictionaries as true recovery does; None where it has none."""
        return _judge(self.validity) if self.synthetic else None


class Unmeasured(ResultModel):
    """Score that could not be measured, and why."""

    name: str
    is_testable: bool
    """False where the model cannot do what the score needs; True where its measurement failed."""
    reason: str


class GridPoint(ResultModel):
    """Point of a classifier's grid: its parameters, and its macro-F1 on validation and on test rows."""

    parameters: str
    validation: float
    test: float


class Choosing(ResultModel):
    """Points of a grid that were tried with one representation, and the number of rows that they are chosen on."""

    representation: str
    rows: int = Field(ge=1)
    points: tuple[GridPoint, ...] = Field(min_length=1)

    @property
    def equal(self) -> tuple[GridPoint, ...]:
        """Points whose validation score is within one standard error of the best: that of a share of the rows that are
        chosen on.
        """
        best = max(point.validation for point in self.points)
        least = best - (max(best * (1 - best), 0) / self.rows) ** 0.5
        return tuple(point for point in self.points if point.validation >= least)

    @property
    def spread(self) -> float:
        """Largest minus smallest test score over these points."""
        found = [point.test for point in self.equal]
        return max(found) - min(found)


class Transfer(ResultModel):
    """Choice of a probe that is trained and chosen in one language and tested in another."""

    task: str
    source: str
    target: str
    train: int
    """Rows that probes were fitted on."""
    test: int
    """Rows that they were tested on."""
    tried: tuple[Choosing, ...] = Field(min_length=1)
    """The hidden states, then the trained dictionary of each seed."""


class Reliability(ResultModel):
    """Reliability of scores of dictionaries of one model."""

    version: Literal[2] = 2
    date: str
    model: str
    site: str
    tasks: tuple[str, ...]
    rows: int
    """Examples of each task read at most."""
    seeds: int
    tokens: tuple[int, ...] = Field(min_length=2)
    """Training tokens at each checkpoint."""
    scores: tuple[ScoreReliability, ...]
    unmeasured: tuple[Unmeasured, ...]
    truth: tuple[tuple[float, ...], ...]
    """True recovery of the dictionaries of known features, in the order of their scores."""
    transfers: tuple[Transfer, ...]
    cpu_minutes: float

    def find(self, name: str) -> ScoreReliability:
        """Return a score's reliability; KeyError for one that was not measured."""
        return {one.name: one for one in self.scores}[name]


def _judge(measured: Measured | None) -> Verdict:
    if measured is None or measured.low <= 0 <= measured.high:
        return "undecided"
    return "holds" if measured.low > 0 else "does not hold"


@cache
def read_shipped() -> Reliability:
    """Return the result that is shipped with the package."""
    return Reliability.model_validate_json(read_description(SHIPPED))
