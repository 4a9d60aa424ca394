"""Checks of explainers, on fragments in which a feature fires on one word."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.api.explainers import STRONGEST, Explainer, Fragment, Judge, OpenExplainer, Passage, Simulator
from harness.session import Session
from harness.testing.check import Subject, check, fail_unless
from harness.testing.exercises import exercise

_TEXTS = ("the cat sat down", "a dog and a cat", "no rain today", "one dog ran off")


def _fragments() -> list[Fragment]:
    return [
        Fragment(
            tokens=tuple(words),
            activations=np.array([STRONGEST * (word == "cat") for word in words]),
        )
        for words in (text.split() for text in _TEXTS)
    ]


def _open(subject: Subject) -> Any:
    session = Session(subject.registry, data_dir=None, cache_dir=subject.registry.cache_dir, device="cpu")
    return subject.make().open(session)


@exercise("explainers")
def results(subject: Subject) -> list[Any]:
    """Return an explanation, and what is simulated and judged by it."""
    opened, fragments = _open(subject), _fragments()
    passages = [Passage(tokens=one.tokens) for one in fragments]
    marked = [Passage(tokens=one.tokens, marked=(1,)) for one in fragments]
    explanation = opened.explain(fragments)
    found: list[Any] = [explanation]
    if isinstance(opened, Simulator):
        found.append(opened.simulate(explanation, passages))
    if isinstance(opened, Judge):
        found += [opened.judge(explanation, passages), opened.judge(explanation, marked)]
    return found


@check("explainers", requires=())
def contract(subject: Subject) -> None:
    """It explains fragments in one line; where it scores, it gives an activation for each token, and a probability for
    each passage, marked or not.
    """
    made = subject.make()
    fail_unless(isinstance(made, Explainer), f"it makes {type(made).__name__}, which has no open")
    opened, fragments = _open(subject), _fragments()
    fail_unless(
        isinstance(opened, OpenExplainer), f"it opens as {type(opened).__name__}, which has no explain"
    )
    explanation = opened.explain(fragments)
    fail_unless(
        isinstance(explanation, str) and len(explanation.splitlines()) == 1,
        f"its explanation is {explanation!r}, and must be one line of text",
    )
    passages = [Passage(tokens=one.tokens) for one in fragments]
    if isinstance(opened, Simulator):
        shapes = [np.shape(one) for one in opened.simulate(explanation, passages)]
        wanted = [(len(one.tokens),) for one in passages]
        fail_unless(shapes == wanted, f"it simulates activations of the shapes {shapes}, of tokens {wanted}")
    if isinstance(opened, Judge):
        for place in (None, (1,)):
            given = [Passage(tokens=one.tokens, marked=place) for one in fragments]
            found = np.asarray(opened.judge(explanation, given))
            fail_unless(found.shape == (len(given),), f"of {len(given)} passages it judges {found.shape}")
            known = found[~np.isnan(found)]
            fail_unless(((known >= 0) & (known <= 1)).all(), "it judges by numbers outside 0 to 1")
