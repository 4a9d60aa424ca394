"""The TF-IDF arm's words in every script; on English they are scikit-learn's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

import harness
from harness.registry.catalog import Registry

ENGLISH = [
    "It's a test, isn't it? The 1st of 3_000 tests…",
    "I'd say: no stop words — not one of them, the naïve café's or anyone's!",
    "e-mail me@example.org, 50% off, a b c; ALL CAPS and camelCase x_1",
    "",
    "the the the of of and",
]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return harness.open(device="cpu").registry


def tfidf(registry: Registry, texts: list[str], ngrams: int = 2) -> tuple[Any, list[str]]:
    """The matrix and its n-grams."""
    fitted = registry.choose("representations", f"tfidf[ngrams={ngrams}]").make().fit(texts)
    return fitted.transform(texts), list(fitted.vectorizer.get_feature_names_out())


def words(registry: Registry, text: str) -> set[str]:
    return set(tfidf(registry, [text], 1)[1])


def assert_is_scikit_learns(registry: Registry, texts: list[str], ngrams: int) -> None:
    plain = TfidfVectorizer(ngram_range=(1, ngrams), sublinear_tf=True, dtype=np.float32)
    wanted = plain.fit_transform(texts)
    got, names = tfidf(registry, texts, ngrams)
    assert names == plain.get_feature_names_out().tolist()
    np.testing.assert_array_equal(got.toarray(), wanted.toarray())


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_on_english_the_matrix_is_scikit_learns(registry: Registry, ngrams: int) -> None:
    assert_is_scikit_learns(registry, ENGLISH, ngrams)


# The lower case of İ is an i and a mark, which here belongs to its word and there ends it.
@given(st.lists(st.text(st.characters(max_codepoint=0x2FF, exclude_characters="İ")), max_size=4))
def test_on_any_latin_text_the_matrix_is_scikit_learns(registry: Registry, texts: list[str]) -> None:
    assert_is_scikit_learns(registry, ["some words", *texts], 2)


@pytest.mark.parametrize(
    "text, wanted",
    {
        "私はカメラを買った。": {"私", "は", "カ", "メ", "ラ", "を", "買", "っ", "た"},
        "ที่นี่ดี": {"ที่", "นี่", "ดี"},
        "मैं हिन्दी पढ़ता हूँ": {"मैं", "हिन्दी", "पढ़ता", "हूँ"},
        "தமிழ் மொழி": {"தமிழ்", "மொழி"},
        "كَتَبَ الوَلَدُ": {"كَتَبَ", "الوَلَدُ"},
        "می‌خواهم بروم": {"می‌خواهم", "بروم"},
        "한국어 문장": {"한국어", "문장"},
        "买了iPhone手机3台，A股!": {"买", "了", "iphone", "手", "机", "台", "股"},
        "ភាសាខ្មែរ": {"ភា", "សា", "ខ្", "មែ", "រ"},
    }.items(),
)
def test_words_keep_their_marks_and_spaceless_scripts_fall_into_characters(
    registry: Registry, text: str, wanted: set[str]
) -> None:
    assert words(registry, text) == wanted


def test_chinese_has_pairs_of_characters_and_a_mark_of_punctuation_is_no_character(
    registry: Registry,
) -> None:
    _, names = tfidf(registry, ["天气好。天气"])
    assert set(names) == {"天", "气", "好", "天 气", "气 好", "好 天"}


def test_no_word_of_any_language_is_a_stop_word(registry: Registry) -> None:
    texts = {"the of and": 3, "der die das": 3, "le la les": 3, "और का है": 3, "的了": 2}
    assert all(len(words(registry, text)) == count for text, count in texts.items())


@pytest.mark.parametrize("n", [1, 3, 4])
def test_character_ngrams_are_scikit_learns(registry: Registry, n: int) -> None:
    texts = [*ENGLISH, "天气好。天气", "der Straßenname"]
    plain = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, n), sublinear_tf=True, dtype=np.float32)
    wanted = plain.fit_transform(texts)
    fitted = registry.choose("representations", f"char_ngrams[n={n}]").make().fit(texts)
    assert fitted.vectorizer.get_feature_names_out().tolist() == plain.get_feature_names_out().tolist()
    np.testing.assert_array_equal(fitted.transform(texts).toarray(), wanted.toarray())


def test_character_ngrams_do_not_depend_on_how_a_letter_and_its_mark_are_written(registry: Registry) -> None:
    fitted = (
        registry.choose("representations", "char_ngrams").make().fit(["caf\u00e9 na\u00efve", "other words"])
    )
    one, other = fitted.transform(["caf\u00e9"]), fitted.transform(["cafe\u0301"])
    np.testing.assert_array_equal(one.toarray(), other.toarray())


def test_character_ngrams_are_shared_inside_a_script_and_not_across(registry: Registry) -> None:
    fitted = registry.choose("representations", "char_ngrams[n=3]").make().fit(["internationale politik"])
    assert fitted.transform(["international politics"]).nnz > 20
    across = fitted.transform(["международная политика"])
    names = fitted.vectorizer.get_feature_names_out()
    assert set(names[across.indices]) <= {" "}


@pytest.mark.parametrize("n", [0, -1, "true", 2.5])
def test_a_length_of_ngrams_that_is_none_is_refused(registry: Registry, n: Any) -> None:
    with pytest.raises(harness.UsageError, match="must be a whole number, at least 1"):
        registry.choose("representations", f"char_ngrams[n={n}]").make()


def test_the_identity_of_word_ngrams_is_as_published(registry: Registry) -> None:
    """Boards hold cells of this identity: no parameter may be added to it."""
    assert registry.choose("representations", "tfidf").identity == {
        "distribution": "sae-harness", "name": "tfidf", "revision": "2", "parameters": {"ngrams": 2},
    }  # fmt: skip
