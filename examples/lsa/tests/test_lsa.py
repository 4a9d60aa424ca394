"""The embedding by itself; what holds for every representation is checked by the harness."""

import harness_lsa
import numpy as np

TEXTS = ["the cat sat on the mat", "a cat on a mat", "stocks fell on Monday", "shares fell on Tuesday"]


def test_texts_of_one_subject_are_near():
    near = harness_lsa.make(n=2).fit(TEXTS).transform(TEXTS)
    likeness = near @ near.T
    assert likeness[0, 1] > likeness[0, 2] and likeness[2, 3] > likeness[1, 3]


def test_it_is_the_singular_value_decomposition():
    fitted = harness_lsa.make(n=4).fit(TEXTS)
    counted = fitted.words.transform(TEXTS).toarray()
    _, _, wanted = np.linalg.svd(counted, full_matrices=False)
    np.testing.assert_allclose(np.abs(fitted.directions.T), np.abs(wanted), atol=1e-4)


def test_there_are_no_more_directions_than_texts():
    assert harness_lsa.make(n=100).fit(TEXTS).transform(["a mat"]).shape == (1, 4)


def test_texts_without_letters_are_zero():
    assert not harness_lsa.make().fit(["", " "]).transform(["a", ""]).any()
