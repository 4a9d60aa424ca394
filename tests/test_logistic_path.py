"""Products and preconditioners of logistic regression: parts give the whole, and each way leads to one optimum."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from harness_classifiers import centred, preconditioner
from harness_classifiers.centred import CentredRows
from harness_classifiers.path import LogisticPath
from harness_classifiers.preconditioner import Diagonal, Directions, Factorized, make_preconditioner
from numpy.testing import assert_allclose
from scipy import sparse


def make_rows(form: str, *, n: int = 300, d: int = 40) -> Any:
    drawn = np.random.default_rng(0).normal(size=(n, d)) * np.linspace(0.1, 2, d)
    drawn = drawn.astype(np.float32)
    share = {"dense": 1.0, "half": 0.5, "some": 0.1, "few": 0.02}[form]
    drawn *= np.random.default_rng(1).random((n, d)) < share
    return drawn + np.float32(1) if form == "dense" else sparse.csr_array(drawn)


FORMS = ["dense", "half", "some", "few"]


@pytest.mark.parametrize("form", FORMS)
def test_the_covariance_is_that_of_numpy(form: str) -> None:
    X = make_rows(form)
    rows = CentredRows(X, 2.0)
    dense = (X.toarray() if sparse.issparse(X) else X)[:, rows.columns]
    assert_allclose(rows.covariance(), np.cov(dense.T, bias=True) / 4, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("columns", [1, 3, 9])
def test_parts_of_rows_multiply_as_all_of_them(
    form: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = CentredRows(make_rows(form), 1.5)
    monkeypatch.setattr(centred, "PART_BYTES", 4 * 40 * 70)
    parts = list(rows.split(columns))
    assert len(parts) == (5 if rows.is_dense and columns <= centred.ONE_BY_ONE else 1)
    V = np.asarray(
        np.random.default_rng(2).normal(size=(rows.shape[1], columns)), np.float32, order=rows.order
    )
    made = rows.times(V)
    assert_allclose(np.concatenate([part.times(V) for _, part in parts]), made, atol=1e-5)
    back = sum(part.transposed_times(made[place]) for place, part in parts)
    assert_allclose(back, rows.transposed_times(made), rtol=1e-4, atol=1e-3)


def test_a_factor_inverts_up_to_rounding_and_is_made_anew_where_it_would_be_far_off() -> None:
    rows = CentredRows(make_rows("dense"), 1.0)
    inverse = Factorized(rows)
    G = np.asfortranarray(np.random.default_rng(3).normal(size=(40, 2)).astype(np.float32))
    factors = []
    for curvature, penalty in [(0.2, 0.01), (0.15, 0.01), (0.05, 0.01), (0.05, 0.001)]:
        found = inverse.multiply(G, curvature=curvature, penalty=penalty, out=np.empty_like(G))
        factors.append(inverse._factor)
        if inverse._made_for == (penalty, curvature):
            wanted = np.linalg.solve(curvature * rows.covariance() + penalty * np.eye(40), G)
            assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    assert [one is two for one, two in pairwise(factors)] == [True, False, False]


@pytest.mark.parametrize("form", FORMS)
def test_a_factor_of_rows_with_large_means_and_small_variances_exists(form: str) -> None:
    """Their covariance in float32 may have negative eigenvalues."""
    X = make_rows(form)
    large = np.full((300, 5), 1000, np.float32)
    X = sparse.hstack([large, X / 1000], format="csr") if sparse.issparse(X) else np.hstack([large, X / 1000])
    rows = CentredRows(X, 2236.0)
    G = np.ones((rows.shape[1], 1), np.float32, order="F")
    found = Factorized(rows).multiply(G, curvature=0.25, penalty=1e-60, out=np.empty_like(G))
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("form", "n", "columns", "wanted"),
    [
        ("dense", 300, 1, Factorized),
        ("some", 300, 3, Factorized),
        ("dense", 60, 1, Directions),
        ("dense", 60, 3, Factorized),
        ("dense", 300, 20, Directions),
        ("some", 60, 1, Diagonal),
        ("some", 300, 20, Diagonal),
    ],
)
def test_rows_have_the_preconditioner_that_pays(form: str, n: int, columns: int, wanted: type) -> None:
    assert type(make_preconditioner(CentredRows(make_rows(form, n=n), 1.0), columns)) is wanted


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_every_preconditioner_leads_to_the_same_optimum(
    form: str, n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = make_rows(form)
    y = np.random.default_rng(4).integers(n_classes, size=X.shape[0])
    found = []
    for most in (preconditioner.MOST_FEATURES, 0):
        monkeypatch.setattr(preconditioner, "MOST_FEATURES", most)
        path = LogisticPath(X, y, 1.0)
        found.append([path.solve(C, 1000) for C in (0.1, 1.0, 10.0)])
    for one, other in zip(*found, strict=True):
        assert one.has_converged and other.has_converged
        decided, wanted = (np.asarray(X @ each.coef.T) + each.intercept for each in (one, other))
        assert_allclose(decided, wanted, atol=2e-3)


def test_fits_import_no_library_that_takes_seconds() -> None:
    """Each worker process imports all that its fits do."""
    program = (
        "import sys, numpy, harness.runs.worker; from harness_classifiers.logreg import LogReg\n"
        "X, y = numpy.eye(8, dtype='f4'), numpy.arange(8) % 2\n"
        "LogReg(C=1.0, max_iter=99, seed=0).fit(X, y).predict_proba(X)\n"
        "sys.exit(str({'sklearn', 'torch', 'pandas', 'scipy.stats'} & {*sys.modules} or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""
