"""Results of `harness check-statistics --dictionaries`: what is measured, its verdicts, and the table of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from harness.api.text import escape_markdown
from harness.storage.reading import read_description
from harness.storage.results import ResultModel

SHIPPED = Path(__file__).with_name("reliability.json")
"""Result that boards refer to."""

LEAD = "macro-F1 lead"
"""Score that boards rank by: the lead over hidden states in macro-F1 of a probe on all features."""

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
    """Standard deviation over training and test rows drawn anew, for the trained dictionaries."""
    selection_range: float | None
    """Largest minus smallest test score over the points of the grid that validation cannot tell from the best, mean
    over dictionaries and tasks; None where nothing is chosen."""
    run: Measured | None
    """Signal-to-noise from the first checkpoint to the last; None where the score does not move over seeds."""
    steps: tuple[Step, ...]
    validity: Measured | None
    """Rank correlation with true recovery over synthetic dictionaries."""

    @property
    def n_told(self) -> int:
        """Number of neighbouring checkpoints of which the later is told to be better."""
        return sum(step.signal_to_noise is not None and step.signal_to_noise.low > 0 for step in self.steps)

    @property
    def discriminates(self) -> Verdict:
        """Verdict that the score tells the trained dictionary from its first checkpoint."""
        return _judge(self.run)

    @property
    def is_valid(self) -> Verdict:
        """Verdict that the score orders synthetic dictionaries as true recovery does."""
        return _judge(self.validity)


class Reliability(ResultModel):
    """Reliability of the scores of boards on one model."""

    version: Literal[1] = 1
    date: str
    model: str
    site: str
    tasks: tuple[str, ...]
    rows: int
    """Examples of each task read at most."""
    seeds: int
    tokens: tuple[int, ...]
    """Training tokens at each checkpoint."""
    synthetic_dictionaries: int
    scores: tuple[ScoreReliability, ...]
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


def to_markdown(result: Reliability) -> str:
    """Return a result as a table, with a sentence on how it was measured."""
    head = (
        "score", "noise: dictionary seeds", "noise: data", "selection: range on test", "signal-to-noise of the run",
        "neighbours told apart", "tells checkpoints?", "rank correlation with the truth", "valid?",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for one in result.scores:
        cells = (
            one.name,
            f"{one.seed_noise:.4f}",
            f"{one.data_noise:.4f}",
            "–" if one.selection_range is None else f"{one.selection_range:.4f}",
            spell(one.run),
            f"{one.n_told} of {len(one.steps)}",
            one.discriminates,
            spell(one.validity, digits=2),
            one.is_valid,
        )
        lines.append(f"| {' | '.join(map(escape_markdown, cells))} |")
    said = (
        f"{result.model} at {result.site}, {result.date}: {result.seeds} seeds × {len(result.tokens)} checkpoints"
        f" ({result.tokens[0]:,} to {result.tokens[-1]:,} tokens), tasks {', '.join(result.tasks)} (at most"
        f" {result.rows:,} rows); {result.synthetic_dictionaries} synthetic dictionaries;"
        f" {result.cpu_minutes:.1f} CPU minutes."
    )
    return "\n".join([*lines, "", escape_markdown(said)])


def spell(measured: Measured | None, *, digits: int = 1) -> str:
    """Return a number with its interval: `3.2 [0.4, 6.1]`."""
    if measured is None:
        return "–"
    return f"{measured.value:.{digits}f} [{measured.low:.{digits}f}, {measured.high:.{digits}f}]"
