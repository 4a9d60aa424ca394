"""The classifier by itself; what holds for every classifier is checked by the harness."""

import harness_knn
import numpy as np
import pytest

X = np.array([[1, 0], [2, 0.1], [0, 1], [0.1, 3]], dtype=np.float32)
Y = np.array([0, 0, 1, 1])


def test_the_nearest_row_decides_whatever_its_length():
    assert harness_knn.make(k=1).fit(X, Y).predict_proba(10 * X).argmax(axis=1).tolist() == Y.tolist()


def test_votes_are_shares():
    assert harness_knn.make(k=4).fit(X, Y).predict_proba(X) == pytest.approx(0.5)


def test_few_rows_are_asked_all():
    assert harness_knn.make(k=99).fit(X, Y).predict_proba(X).shape == (4, 2)


def test_no_neighbour_is_refused():
    with pytest.raises(ValueError, match="k=0"):
        harness_knn.make(k=0)
