"""Reliability of scores in words: its table, its page beside other results, and the claims that it bears on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.api.claims import Claim, ClaimVerdict, ResultPage
from harness.api.events import Score
from harness.api.specs import ResultSpec
from harness.api.text import escape_markdown, markdown_table
from harness.storage.results import read_result
from harness.validation.reliability import (
    EXPLAINED,
    K_SPARSE,
    Measured,
    Reliability,
    ScoreReliability,
    Transfer,
    Unmeasured,
)

NONE = "–"
"""Text of a value that is not there."""

WORK = "Chanin 2026"
COARSE = "scores of dictionaries discriminate less than is assumed"
MOST_RELIABLE = "k-sparse probing is the most reliable score of features"

TOLD_BY_ONE = 1.96 * 2**0.5
"""Signal-to-noise from which one training of each of two dictionaries tells them apart, 95 times of 100: the difference
of two scores has √2 times the noise of one."""

HEADS = (
    "score", "noise: dictionary seeds", "noise: data", "selection: range on test", "signal-to-noise of the run",
    "neighbours told apart", "tells checkpoints?", "rank correlation with the truth", "valid?",
)  # fmt: skip

METHOD = """\
Dictionaries of several seeds are scored after each part of their training. *Noise* is a standard deviation: over
trainings that differ in their seed, and over data drawn anew for the trained dictionaries. *Selection* is the largest
minus the smallest test score over those points of a probe's grid that validation cannot tell from the best: the choice
among them is luck, and no interval of a board shows it. *Signal-to-noise* is the difference between two states of a
training over the noise of seeds; the 95 % interval inverts the noncentral t distribution. *Tells checkpoints?* holds
where the interval from the first checkpoint to the last lies above 0, *neighbours told apart* counts neighbouring ones
of which it does. The *rank correlation with the truth* is Spearman's, over dictionaries of one width trained on
activations of known features, with their true recovery; a score that needs a language model has none. The harness's
page on interpretation says how each number is made.
"""

OWN = ResultSpec(
    name="reliability",
    summary="Reliability of scores: whether they can tell dictionaries apart.",
    pattern="reliability-*.json",
    load="harness.validation.page:describe",
)
"""Results of the harness's own command."""


def describe(paths: Sequence[Path]) -> ResultPage:
    """Return the page of results, with the claims that they bear on. Raise UnavailableError for a file that is none."""
    found = [read_result(path, Reliability, command="check-statistics --dictionaries") for path in paths]
    results = sorted(found, key=lambda one: (one.model, one.site))
    text = "\n\n".join(["# Reliability of scores", METHOD.strip(), *map(_to_section, results)])
    if not results:
        text += "\n\nThere are no results."
    return ResultPage(
        markdown=f"{text}\n", claims=tuple(claim for one in results for claim in find_claims(one))
    )


def to_markdown(result: Reliability) -> str:
    """Return a result as tables, with a sentence on how it was measured."""
    rows = [*map(_cells, result.scores), *map(_spell_unmeasured, result.unmeasured)]
    said = (
        f"{result.model} at {result.site}, {result.date}: {result.seeds} seeds × {len(result.tokens)} checkpoints"
        f" ({result.tokens[0]:,} to {result.tokens[-1]:,} tokens), tasks {', '.join(result.tasks)} (at most"
        f" {result.rows:,} rows); {sum(map(len, result.truth))} synthetic dictionaries;"
        f" {result.cpu_minutes:.1f} CPU minutes."
    )
    return "\n\n".join(
        [markdown_table(HEADS, rows), escape_markdown(said), *map(_describe_transfer, result.transfers)]
    )


def spell(measured: Measured | None, *, digits: int = 1) -> str:
    """Return a number with its interval: `3.2 [0.4, 6.1]`."""
    if measured is None:
        return NONE
    return f"{measured.value:.{digits}f} [{measured.low:.{digits}f}, {measured.high:.{digits}f}]"


def find_claims(result: Reliability) -> list[Claim]:
    """Return the claims of published work that a result bears on, each with a verdict by rule."""
    found = [_claim_coarse(result, one) for one in result.scores]
    found += [_claim_untestable(result, one) for one in result.unmeasured if not one.is_testable]
    return [*found, *_claim_most_reliable(result)]


def _to_section(result: Reliability) -> str:
    return f"## {escape_markdown(f'{result.model}, {result.site}')}\n\n{to_markdown(result)}"


def _cells(one: ScoreReliability) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.seed_noise:.4f}",
        f"{one.data_noise:.4f}",
        NONE if one.selection_range is None else f"{one.selection_range:.4f}",
        spell(one.run),
        f"{one.n_told} of {len(one.steps)}",
        one.discriminates,
        spell(one.validity, digits=2),
        one.is_valid or NONE,
    )


def _spell_unmeasured(one: Unmeasured) -> tuple[str, ...]:
    said = one.reason if one.is_testable else f"not testable on this model: {one.reason}"
    return (one.name, said, *[NONE] * (len(HEADS) - 2))


def _describe_transfer(one: Transfer) -> str:
    """Return the choice of a probe across languages as a table, a row for each representation."""
    heads = (
        "chosen and tested with",
        "points",
        "equal on validation",
        "their scores there",
        "on test",
        "range",
    )
    rows = []
    for tried in one.tried:
        equal = tried.equal
        validation, test = ([getattr(point, name) for point in equal] for name in ("validation", "test"))
        rows.append(
            (
                tried.representation,
                str(len(tried.points)),
                str(len(equal)),
                f"{min(validation):.3f} to {max(validation):.3f}",
                f"{min(test):.3f} to {max(test):.3f}",
                f"{tried.spread:.3f}",
            )
        )
    said = (
        f"Selection in {one.task}, from {one.source} to {one.target}: macro-F1 of probes trained on {one.train:,} rows"
        f" of the first, chosen on {one.tried[0].rows:,} others of it and tested on {one.test:,} of the second."
    )
    return f"{escape_markdown(said)}\n\n{markdown_table(heads, rows)}"


# ── claims ───────────────────────────────────────────────────────────────────────────────────────────────


def _claim_coarse(result: Reliability, one: ScoreReliability) -> Claim:
    """State whether one training of each tells the last checkpoint from the one before it: it `holds` that it does not
    if their signal-to-noise lies below the least that is needed by its interval, it does not if above.
    """
    step = one.steps[-1]
    found = step.signal_to_noise
    verdict: ClaimVerdict = "undecided"
    if found is not None and not found.low <= TOLD_BY_ONE <= found.high:
        verdict = "holds" if found.high < TOLD_BY_ONE else "does not hold"
    return _claim(
        result,
        claimed=f"{COARSE}: {one.name} does not tell a dictionary from its earlier checkpoint, one training of each",
        measure=f"signal-to-noise from {step.earlier:,} to {step.later:,} tokens, {result.site}",
        measured=_score(found),
        verdict=verdict,
        reason=f"one training of each tells them apart from {TOLD_BY_ONE:.2f} on",
    )


def _claim_untestable(result: Reliability, one: Unmeasured) -> Claim:
    return _claim(
        result,
        claimed=f"{COARSE}: {one.name} does not tell a dictionary from its earlier checkpoint, one training of each",
        measure=f"signal-to-noise, {result.site}",
        measured=None,
        verdict="not testable on this model",
        reason=one.reason,
    )


def _claim_most_reliable(result: Reliability) -> list[Claim]:
    """State whether the k-sparse lead has the largest signal-to-noise of the run, by its interval and that of the best
    other score. Explained variance is left aside: it is what is trained for, and no score of features.
    """
    runs = {one.name: one.run for one in result.scores if one.run is not None and one.name != EXPLAINED}
    own = runs.pop(K_SPARSE, None)
    if own is None or not runs:
        return []
    name, best = max(runs.items(), key=lambda item: item[1].value)
    verdict: ClaimVerdict = "undecided"
    if own.low > best.high or own.high < best.low:
        verdict = "holds" if own.low > best.high else "does not hold"
    return [
        _claim(
            result,
            claimed=MOST_RELIABLE,
            measure=f"signal-to-noise from the first checkpoint to the last, {result.site}",
            measured=_score(own),
            control=name,
            control_value=_score(best),
            verdict=verdict,
            reason="the intervals of both overlap"
            if verdict == "undecided"
            else "the intervals of both are apart",
        )
    ]


def _claim(
    result: Reliability,
    *,
    claimed: str,
    measure: str,
    measured: Score | None,
    verdict: ClaimVerdict,
    reason: str,
    control: str = "",
    control_value: Score | None = None,
) -> Claim:
    return Claim(
        work=WORK,
        claimed=claimed,
        model=result.model,
        measure=measure,
        measured=measured,
        n=result.seeds * len(result.tokens),
        items="dictionaries",
        control=control,
        control_value=control_value,
        verdict=verdict,
        reason=reason,
        cpu_minutes=result.cpu_minutes,
    )


def _score(measured: Measured | None) -> Score | None:
    if measured is None:
        return None
    return Score(value=measured.value, low=measured.low, high=measured.high, method="noncentral t")
