"""Simulation by rules as a score of a dictionary, whose reliability is measured: few features, short fragments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness import LabelledTask, NotTestableError, Session, UnavailableError, UsageError
from harness_autointerp.fragments import Half, read_halves
from harness_autointerp.measure import Setting, explain_arm, score_planted
from harness_autointerp.result import is_able
from harness_autointerp.rules import Rules

SCORE = "simulation"

FEATURES = 30

TOP = RANDOM = 5

LENGTH = 32
"""Tokens of a fragment."""

FRAGMENTS = 200
"""Fragments that are read in each half."""


def open_simulation(task: LabelledTask) -> Callable[[str, int], float]:
    """Read fragments of a task; return the score of a dictionary: the mean correlation of its features with what rules
    on tokens simulate.

    Raise NotTestableError where a model's tokens cannot be spelled, texts are too few, or rules do not tell planted
    features from chance.
    """
    session = Session(task.registry, data_dir=None, cache_dir=task.registry.cache_dir, device="cpu")
    rules = Rules(n=8).open(session)
    setting = Setting(
        n_features=FEATURES, top=TOP, random=RANDOM, explainer=rules, scorer=rules, device="cpu",
        tell=lambda line: None,
    )  # fmt: skip
    try:
        halves = read_halves(task, length=LENGTH, fragments=FRAGMENTS, device="cpu")
        fewest = min(map(len, halves))
        planted = score_planted(setting, halves[1]) if fewest >= 2 * (TOP + RANDOM) else {}
    except (UsageError, UnavailableError) as error:
        raise NotTestableError(str(error)) from error
    if not planted:
        raise NotTestableError(
            f"task '{task.spec.name}' has {fewest} fragments of {LENGTH} tokens in a half, and {2 * (TOP + RANDOM)} "
            "are needed"
        )
    if not is_able(planted.get(SCORE), SCORE):
        raise NotTestableError("rules do not tell planted features from chance")

    def measure(dictionary: str, seed: int) -> float:
        drawn = _draw(halves[0], seed), _draw(halves[1], seed)
        arm, _ = explain_arm(setting, task, dictionary, drawn, is_scored=True, is_first=True)
        if SCORE not in arm.scores:
            raise NotTestableError(arm.note)
        return arm.scores[SCORE].own.value

    return measure


def _draw(half: Half, seed: int) -> Half:
    """Return fragments drawn with replacement; those of the half itself for the seed 0."""
    if seed == 0:
        return half
    rows = np.random.default_rng(seed).integers(len(half), size=len(half)).tolist()
    return Half(words=tuple(half.words[row] for row in rows), activations=half.activations[rows])
