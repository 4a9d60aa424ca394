"""Text representations that use no model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from harness_baselines.words import split_words


class Tfidf:
    """TF-IDF of word n-grams up to length `ngrams`, with sublinear counts and no stop words.

    In scripts that do not separate words, they are n-grams of characters.
    """

    def __init__(self, *, ngrams: int) -> None:
        if ngrams < 1:
            raise ValueError(f"ngrams={ngrams} must be at least 1")
        self.ngrams = ngrams

    @cached_property
    def vectorizer(self) -> Any:
        """Vectorizer of scikit-learn, which is imported only when texts are read."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(
            tokenizer=split_words,
            token_pattern=None,
            ngram_range=(1, self.ngrams),
            sublinear_tf=True,
            dtype=np.float32,
        )

    def fit(self, inputs: Sequence[str]) -> Tfidf:
        self.vectorizer.fit(inputs)
        return self

    def transform(self, inputs: Sequence[str]) -> Any:
        """Return `[texts, n-grams]` as CSR in float32."""
        from scipy import sparse

        return sparse.csr_array(self.vectorizer.transform(inputs))


class CharNgrams:
    """TF-IDF of n-grams of 1 to `n` characters inside words, with sublinear counts.

    This is scikit-learn's `char_wb` on lower-cased text in normal form C (McNamee and Mayfield 2004,
    "Character N-Gram Tokenization for European Language Text Retrieval"). Languages of one script share
    names, loanwords and stems, so a classifier may transfer between them; across scripts little more than
    digits and punctuation is shared.
    """

    def __init__(self, *, n: int) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n={n} must be a whole number, at least 1")
        self.n = n

    @cached_property
    def vectorizer(self) -> Any:
        """Vectorizer of scikit-learn, which is imported only when texts are read."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(
            preprocessor=_fold,
            analyzer="char_wb",
            ngram_range=(1, self.n),
            sublinear_tf=True,
            dtype=np.float32,
        )

    def fit(self, inputs: Sequence[str]) -> CharNgrams:
        self.vectorizer.fit(inputs)
        return self

    def transform(self, inputs: Sequence[str]) -> Any:
        """Return `[texts, n-grams]` as CSR in float32."""
        from scipy import sparse

        return sparse.csr_array(self.vectorizer.transform(inputs))


class TextLength:
    """Logarithms of the number of characters and of words, standardised on the training texts."""

    def fit(self, inputs: Sequence[str]) -> TextLength:
        lengths = _lengths(inputs)
        self.mean = lengths.mean(axis=0)
        self.scale = np.maximum(lengths.std(axis=0), 1e-6)  # texts may all have one length
        return self

    def transform(self, inputs: Sequence[str]) -> Any:
        """Return `[texts, 2]`: characters, words."""
        return (_lengths(inputs) - self.mean) / self.scale


class Constant:
    """Constant feature, from which a classifier can learn only the class frequencies."""

    def fit(self, inputs: Sequence[Any]) -> Constant:
        return self

    def transform(self, inputs: Sequence[Any]) -> Any:
        """Return ones, `[inputs, 1]`."""
        return np.ones((len(inputs), 1), dtype=np.float32)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text.lower())


def _lengths(inputs: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return log(1 + n) of the characters and words of each text, `[texts, 2]`."""
    return np.log1p(np.array([[len(text), len(text.split())] for text in inputs], dtype=np.float32))
