"""A sentence embedding that is made here: latent semantic analysis of the training texts, no network, no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import numpy as np

HARNESS_API = 1


class Lsa:
    """The first `n` singular directions of TF-IDF over character n-grams (Deerwester et al. 1990), at unit length."""

    def __init__(self, *, n: int, ngrams: int) -> None:
        if n < 1 or ngrams < 1:
            raise ValueError(f"n={n} and ngrams={ngrams} must be positive whole numbers")
        self.n, self.ngrams = n, ngrams

    def fit(self, inputs: Sequence[str]) -> Lsa:
        """Learn the n-grams and the directions of the training texts."""
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.words = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(1, self.ngrams), sublinear_tf=True, dtype=np.float32
        )
        try:
            counted = self.words.fit_transform(inputs)
        except ValueError:  # no text has a letter
            self.directions = None
            return self
        # Few texts have few directions. The exact decomposition has no seed, and one sign is as good as the other.
        values, vectors = np.linalg.eigh((counted @ counted.T).toarray().astype(np.float64))
        kept = np.flatnonzero(values > 1e-6 * values[-1])[::-1][: self.n]
        directions = counted.T @ (vectors[:, kept] / np.sqrt(values[kept]))
        signs = np.sign(directions[np.abs(directions).argmax(axis=0), range(len(kept))])
        self.directions = (directions * signs).astype(np.float32)
        return self

    def transform(self, inputs: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return `[texts, n]`, or fewer columns where the training texts had fewer directions."""
        import numpy as np

        if self.directions is None:
            return np.zeros((len(inputs), 1), dtype=np.float32)
        placed = self.words.transform(inputs) @ self.directions
        lengths = np.linalg.norm(placed, axis=1, keepdims=True)
        embedded: np.ndarray[Any, Any] = (placed / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return embedded


def make(*, n: int = 100, ngrams: int = 4) -> harness.InputRepresentation:
    """Return the representation. A suite may set these parameters: `lsa[n=300]`."""
    return Lsa(n=n, ngrams=ngrams)


@harness.hookimpl
def harness_representations() -> list[harness.RepresentationSpec]:
    return [
        harness.RepresentationSpec(
            name="lsa",
            summary="latent semantic analysis of character n-grams: an embedding of the whole text, fitted on training",
            make=make,
            needs="text",
            fitted=True,
        )
    ]
