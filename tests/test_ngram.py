"""The n-gram model against one of plain dictionaries, and against what a distribution has to be."""

import math
from collections import Counter

import numpy as np
import pytest
from harness_minigemma import ngram
from hypothesis import given
from hypothesis import strategies as st

TEXTS = ["the cat sat on the mat", "the hat", "", "ein Hut, ein Hütchen, ein 帽子", "aaaaaaaa"]
OTHERS = ["the cat had a hat", "帽子", "zzz", "Hütte"]


def plain_bits(train: list[str], scored: list[str], *, order: int) -> float:
    """Witten-Bell as its formula is written, with one dictionary and one byte at a time."""
    start = [ngram.START] * (order - 1)
    seen: Counter[tuple[int, ...]] = Counter()
    for text in train:
        symbols = [*start, *text.encode()]
        for end in range(order, len(symbols) + 1):
            seen.update(tuple(symbols[end - length : end]) for length in range(1, order + 1))

    def probability(history: list[int], byte: int) -> float:
        found = 1 / 256
        for length in range(order):
            context = tuple(history[len(history) - length :])
            follows = [seen[*context, other] for other in range(256)]
            total, kinds = sum(follows), sum(count > 0 for count in follows)
            if total:
                found = (follows[byte] + kinds * found) / (total + kinds)
        return found

    return -sum(
        math.log2(probability([*start, *text.encode()[:place]], byte))
        for text in scored
        for place, byte in enumerate(text.encode())
    )


@pytest.mark.parametrize("order", [1, 2, 3, 5, 7])
def test_bits_are_those_of_plain_dictionaries(order: int) -> None:
    model = ngram.fit(TEXTS, order)
    assert model.order == order
    for scored in (TEXTS, OTHERS):
        assert model.bits(scored) == pytest.approx(plain_bits(TEXTS, scored, order=order))


@given(st.binary(max_size=8), st.integers(1, 7))
def test_probabilities_add_up_to_one_after_any_bytes(before: bytes, order: int) -> None:
    found = ngram.fit(TEXTS, order).distribution(before)
    assert found.shape == (256,)
    assert (found > 0).all()
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("before", [b"", b"the ", b"on the c", b"\xff\xfe"])
def test_probabilities_add_up_to_one_after_seen_bytes_and_unseen(before: bytes) -> None:
    assert ngram.fit(TEXTS).distribution(before).sum() == pytest.approx(1)


def test_order_one_is_the_frequency_of_bytes_mixed_with_the_uniform() -> None:
    data = "".join(TEXTS).encode()
    counts = np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
    kinds = (counts > 0).sum()
    wanted = (counts + kinds / 256) / (len(data) + kinds)
    np.testing.assert_allclose(ngram.fit(TEXTS, 1).distribution(b"the"), wanted)


def test_the_text_that_a_model_was_fitted_to_costs_least() -> None:
    english, german = ["the cat sat on the mat. " * 3], ["die Katze saß auf der Matte. " * 3]
    assert ngram.fit(english).bits(english) < ngram.fit(german).bits(english)
    assert ngram.fit(german).bits(german) < ngram.fit(english).bits(german)


def test_a_document_begins_without_the_one_before() -> None:
    model = ngram.fit(TEXTS)
    assert model.bits(OTHERS) == pytest.approx(sum(model.bits([text]) for text in OTHERS))
    assert model.bits(reversed(OTHERS)) == pytest.approx(model.bits(OTHERS))
    assert ngram.fit(["ab", "cd"]).bits(["abcd"]) > ngram.fit(["abcd"]).bits(["abcd"])


def test_text_counted_in_blocks_gives_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ngram.fit(TEXTS).bits(OTHERS)
    monkeypatch.setattr(ngram, "BLOCK_BYTES", 10)
    assert ngram.fit(TEXTS).bits(OTHERS) == pytest.approx(whole)


def test_a_model_of_nothing_knows_nothing() -> None:
    assert ngram.fit([]).bits(["four"]) == pytest.approx(32)
    assert ngram.fit(TEXTS).bits([]) == 0


def test_an_order_that_does_not_fit_is_refused() -> None:
    with pytest.raises(SystemExit, match="order from 1 to 7, not 8"):
        ngram.fit(TEXTS, 8)
