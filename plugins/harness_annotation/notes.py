"""Annotations of prompts: one sentence that says what a text is about, and what not, in the same words for all arms."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness_annotation.result import Feature

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

MOST = 3
"""Features, or n-grams of the TF-IDF rule, that one annotation names."""

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class Note:
    """Annotation: what the text is about, and what it is not about."""

    about: tuple[str, ...] = ()
    not_about: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"{word} about {', '.join(what)}"
            for word, what in (("this is", self.about), ("it is not", self.not_about))
            if what
        ]
        return f"Note: {'; '.join(parts)}." if parts else ""


def note_features(
    features: Sequence[Feature],
    firing: Array,
    *,
    effects: Array,
    typical: Array,
    counts: Sequence[int] | None = None,
) -> list[Note]:
    """Return the note of each text `firing [texts, features]`: the explanations of the features that say most there, by
    activation in deviations times `effects [features]` on the probe.

    Those are named whose activation is above their mean on the first half (`typical [2, features]`, means and
    deviations), at most MOST; or, with `counts [texts]`, as many as that, whether they are above it or not.
    """
    strength = firing / np.maximum(typical[1], 1e-9) * effects
    above = firing > typical[0]
    notes = []
    for row, strong in enumerate(strength):
        order = np.argsort(-strong, kind="stable")
        places = (
            [place for place in order if above[row, place]][:MOST] if counts is None else order[: counts[row]]
        )
        notes.append(
            _make_note((features[place].speaks_for, features[place].explanation) for place in places)
        )
    return notes


def draw_notes(
    notes: Sequence[Note], vocabulary: Sequence[str], count_tokens: Callable[[str], int]
) -> list[Note]:
    """Return notes of random words, as many as each note has and of as near a length in tokens as twenty draws give."""
    generator = random.Random(0)

    def draw(note: Note) -> Note:
        words = [word for part in (*note.about, *note.not_about) for word in part.split()]
        if not words or len(vocabulary) < len(words):
            return note
        wanted = count_tokens(str(note))
        drawn = [_like(note, generator.sample(list(vocabulary), len(words))) for _ in range(20)]
        return min(drawn, key=lambda one: abs(count_tokens(str(one)) - wanted))

    return [draw(note) for note in notes]


def note_rule(texts: Sequence[str], right: Sequence[bool], others: Sequence[str]) -> list[Note]:
    """Return notes of `others` by a TF-IDF rule of `texts`: the words and pairs of words in each that speak most for a
    right or a wrong answer, in a logistic regression.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"[^\W_]+")
    rule = LogisticRegression(max_iter=1000).fit(vectorizer.fit_transform(texts), right)
    effects = vectorizer.transform(others).multiply(rule.coef_[0]).tocsr()
    names = vectorizer.get_feature_names_out()
    notes = []
    for row in range(len(others)):
        one = effects[[row]].tocoo()
        places = sorted(zip(one.col, one.data, strict=True), key=lambda pair: (-abs(pair[1]), pair[0]))[:MOST]
        notes.append(
            _make_note(("right" if effect > 0 else "wrong", (names[col],)) for col, effect in places)
        )
    return notes


def explain(
    texts: Sequence[Sequence[str]], activations: Sequence[Array], most: int = 2
) -> list[tuple[str, ...]]:
    """Return the explanation of each feature by a rule: the words on which it is largest on average.

    `activations` are those of each text's words, `[words, features]`. A word that comes once counts a third, as one
    that comes often is surer.
    """
    places: dict[str, int] = {}
    owners: list[int] = []
    for words in texts:
        owners += [places.setdefault(word.casefold(), len(places)) for word in words]
    names = list(places)
    if not names:
        return [() for _ in range(activations[0].shape[1] if activations else 0)]
    values = np.concatenate(activations)
    counts = np.bincount(owners, minlength=len(names))
    found = []
    for column in values.T:
        sums = np.bincount(owners, column, minlength=len(names))
        scores = sums / (counts + 2)
        best = [place for place in np.argsort(-scores, kind="stable")[:most] if scores[place] > 0]
        # A second word far behind the first is none that the feature is about.
        found.append(tuple(names[place] for place in best if scores[place] >= scores[best[0]] / 2))
    return found


def split_words(text: str) -> list[tuple[str, int]]:
    """Return the words of a text, each with the place of its end."""
    return [(match[0], match.end()) for match in _WORD.finditer(text)]


def _like(note: Note, words: Sequence[str]) -> Note:
    """Return a note with other words in the places of its own."""
    rest = iter(words)

    def swap(parts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(" ".join(next(rest) for _ in part.split()) for part in parts)

    return Note(about=swap(note.about), not_about=swap(note.not_about))


def _make_note(said: Iterable[tuple[str, tuple[str, ...]]]) -> Note:
    parts: Mapping[str, dict[str, None]] = {"right": {}, "wrong": {}}
    seen: set[str] = set()
    for side, words in said:
        for word in words:
            if word not in seen:  # said of a text once, by its strongest feature
                parts[side][word] = None
                seen.add(word)
    return Note(about=tuple(parts["right"]), not_about=tuple(parts["wrong"]))
