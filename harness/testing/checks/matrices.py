"""Checks of what is fitted on pooled features: transforms, classifiers and alignments."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.api.errors import HarnessError
from harness.api.protocols import GridClassifier, LinearClassifier
from harness.registry.parameters import parameters_of
from harness.testing import samples
from harness.testing.check import CONTRACT, CheckFailed, NotApplicable, Subject, check, fail_unless
from harness.testing.checks.common import check_pickles
from harness.testing.exercises import exercise
from harness.testing.results import as_array, check_same

FITTED = ("transforms", "classifiers", "alignments")


def _train(subject: Subject) -> tuple[Any, ...]:
    """Return what `fit` is given."""
    if subject.kind == "alignments":
        return samples.matrix(width=5, seed=8), samples.matrix()
    return _columns(subject, samples.matrix()), samples.labels()


def _rows(subject: Subject) -> np.ndarray[Any, Any]:
    """Return new rows `[21, features]`."""
    return _columns(subject, samples.matrix(21, seed=9))


def _columns(subject: Subject, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the matrix, with one feature for each class where a representation names this classifier as its only one:
    such features are the scores of classes.
    """
    offers = subject.registry.catalogs["representations"].values()
    only = {entry.spec.only.get("classifiers") for entries in offers for entry in entries}
    return X[:, : samples.CLASSES] if subject.name in only else X


def _fitted(subject: Subject, *given: Any, **changed: Any) -> Any:
    """Return an offer that was made anew and fitted."""
    made = subject.make(**changed)
    made.fit(*(given or _train(subject)))
    return made


def _apply(subject: Subject, fitted: Any, X: Any) -> Any:
    return fitted.predict_proba(X) if subject.kind == "classifiers" else fitted.transform(X)


@exercise("transforms")
@exercise("classifiers")
@exercise("alignments")
def fit_and_apply(subject: Subject) -> list[np.ndarray[Any, Any]]:
    """Return the results on new rows after a fit."""
    return [as_array(_apply(subject, _fitted(subject), _rows(subject)))]


@check(*FITTED, requires=())
def contract(subject: Subject) -> None:
    """After a fit, new rows give a matrix of as many rows: of numbers, and of a column for each class where it
    classifies.
    """
    made = subject.make()
    for name in ("fit", "predict_proba" if subject.kind == "classifiers" else "transform"):
        fail_unless(callable(getattr(made, name, None)), f"what its factory returns has no method {name}")
    made.fit(*_train(subject))
    X = _rows(subject)
    result = _apply(subject, made, X)
    fail_unless(
        hasattr(result, "shape") and len(result.shape) == 2,
        f"it returns {type(result).__name__}, and no matrix of rows and columns",
    )
    fail_unless(result.shape[0] == len(X), f"it returns {result.shape[0]} rows for {len(X)}")
    expected = {"classifiers": samples.CLASSES, "alignments": 5}.get(subject.kind)
    fail_unless(
        expected is None or result.shape[1] == expected,
        f"it returns {result.shape[1]} columns where {expected} are expected",
    )
    fail_unless(as_array(result).dtype.kind in "fiub", f"it returns {as_array(result).dtype}, and no numbers")


@check(*FITTED)
def rows(subject: Subject) -> None:
    """The result of a row depends on what was fitted and on this row alone."""
    fitted = _fitted(subject)
    X = _rows(subject)
    whole = as_array(_apply(subject, fitted, X))
    check_same(
        whole[:1], _apply(subject, fitted, X[:1]), "a row alone gives another result than among others"
    )
    check_same(
        whole[::-1], _apply(subject, fitted, X[::-1].copy()), "rows in another order give other results"
    )


@check(*FITTED)
def inputs(subject: Subject) -> None:
    """Neither matrices nor labels are changed."""
    given = [one.copy() for one in _train(subject)]
    X = _rows(subject)
    kept = [one.copy() for one in (*given, X)]
    _apply(subject, _fitted(subject, *given), X)
    for before, now in zip(kept, (*given, X), strict=True):
        check_same(before, now, "it changes what it is given")


@check(*FITTED, requires=(CONTRACT, "inputs"))
def read_only(subject: Subject) -> None:
    """It works on matrices that are read-only, as arrays in shared memory and memory-mapped files are."""
    given = [one.copy() for one in _train(subject)]
    X = _rows(subject)
    for one in (*given, X):
        one.flags.writeable = False
    with _speaking("read-only matrices"):
        _apply(subject, _fitted(subject, *given), X)


@check(*FITTED, requires=(CONTRACT, "deterministic"))
def sparse(subject: Subject) -> None:
    """Sparse features (CSR) give the results of the same features as a dense matrix, those of a transform up to the
    mean of each column.
    """
    X = _rows(subject)
    given = [samples.csr(one) if one.ndim == 2 else one for one in _train(subject)]
    with _speaking("features in CSR"):
        result = _apply(subject, _fitted(subject, *given), samples.csr(X))
    dense = fit_and_apply(subject)[0]
    result = as_array(result)
    if subject.kind == "transforms" and result.shape == dense.shape:
        # Centring would fill the zeros in: a transform may leave the columns' means where they are.
        dense, result = dense - dense.mean(axis=0), result - result.mean(axis=0)
    _check_close(dense, result, "sparse features give other results than dense ones")


def _check_close(one: Any, other: Any, sentence: str) -> None:
    """Compare what two ways of fitting gave: solvers stop where they are near enough."""
    first, second = as_array(one), as_array(other)
    fail_unless(first.shape == second.shape, f"{sentence}: {list(first.shape)} and {list(second.shape)}")
    scale = max(1e-6, float(np.abs(first).max(initial=0)))
    fail_unless(np.allclose(first, second, rtol=0.02, atol=0.02 * scale, equal_nan=True), sentence)


@check(*FITTED, requires=(CONTRACT, "finite"))
def degenerate(subject: Subject) -> None:
    """Columns of one value, columns of zeros and a class of one row give finite results, or one sentence."""
    given = [one.copy() for one in _train(subject)]
    for one in given:
        if one.ndim == 2:
            one[:, 0], one[:, 1] = 0.0, 3.0
    if subject.kind != "alignments":
        keep = np.flatnonzero((given[1] != 2) | (np.arange(len(given[1])) < samples.CLASSES))
        given = [one[keep] for one in given]
    X = _rows(subject)
    with _speaking("a column of zeros, a column of one value and a class of one row"):
        try:
            result = _apply(subject, _fitted(subject, *given), X)
        except HarnessError as error:
            fail_unless(len(str(error).splitlines()) == 1, "its error has several lines")
            return
    fail_unless(np.isfinite(as_array(result)).all(), "a column of one value gives values that are not finite")


@check(*FITTED, requires=(CONTRACT, "deterministic"))
def refit(subject: Subject) -> None:
    """A second fit forgets the first."""
    other = [one[::-1][:30].copy() for one in _train(subject)]
    made = subject.make()
    made.fit(*other)
    made.fit(*_train(subject))
    again = _apply(subject, made, _rows(subject))
    _check_close(
        fit_and_apply(subject)[0], again, "what was fitted before changes the results of a second fit"
    )


@check(*FITTED)
def pickles(subject: Subject) -> None:
    """A fitted object can be pickled, and the copy gives the same results."""
    X = _rows(subject)
    fitted = _fitted(subject)
    check_pickles(fitted, _apply(subject, fitted, X), lambda copy: _apply(subject, copy, X))


@check("transforms", "classifiers")
def one_class(subject: Subject) -> None:
    """Training rows of one class give a matrix of the right form, or an error of the harness or ValueError."""
    X, y = _columns(subject, samples.matrix(20)), np.zeros(20, dtype=int)
    try:
        result = _apply(subject, _fitted(subject, X, y), _rows(subject))
    except (HarnessError, ValueError):
        return
    except Exception as error:
        raise CheckFailed(f"training rows of one class raise {type(error).__name__}: {error}") from error
    fail_unless(result.shape[0] == 21, f"training rows of one class give {result.shape[0]} rows for 21")
    fail_unless(
        subject.kind == "transforms" or result.shape[1] == 1,
        f"training rows of one class give {result.shape[1]} columns",
    )


@check("classifiers")
def classes(subject: Subject) -> None:
    """Column i holds the scores of class number i: rows that it was fitted on are mostly given their own class."""
    fitted = _fitted(subject)
    X, y = _train(subject)
    found = as_array(_apply(subject, fitted, X))
    own = found[np.arange(len(y)), y].mean()
    # With columns in another order, rows get the scores of other classes.
    for order in itertools.permutations(range(samples.CLASSES)):
        other = found[:, order][np.arange(len(y)), y].mean()
        fail_unless(own >= other - 1e-9, f"scores fit better with columns in the order {list(order)}")


@check(
    "classifiers",
    requires=("deterministic", "inputs"),
    applies=lambda subject: bool(subject.choice.spec.grid),
)
def grid(subject: Subject) -> None:
    """Each value of its grid can be fitted, and a grid fitted at once gives what its points give one by one."""
    values: Mapping[str, tuple[Any, ...]] = subject.choice.spec.grid
    for name, tried in values.items():
        for value in tried:
            with _speaking(f"{name}={value} of its grid"):
                _fitted(subject, **{name: value})
    made = subject.make()
    if isinstance(made, GridClassifier):
        _check_grid_fit(subject, made, values)


def _check_grid_fit(subject: Subject, made: Any, values: Mapping[str, tuple[Any, ...]]) -> None:
    points = [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())][:4]
    X = _rows(subject)
    fitted = [*made.fit_grid(*_train(subject), points)]
    fail_unless(
        len(fitted) == len(points), f"fit_grid yields {len(fitted)} classifiers for {len(points)} points"
    )
    for point, one in zip(points, fitted, strict=True):
        alone = _apply(subject, _fitted(subject, **point), X)
        _check_close(alone, _apply(subject, one, X), f"fit_grid gives other results than fit at {point}")


@check(
    "classifiers",
    requires=(CONTRACT, "finite"),
    applies=lambda subject: isinstance(_fitted(subject), LinearClassifier),
)
def weights(subject: Subject) -> None:
    """Its weights `[classes, features]` are its decision function: the scores of rows follow from them."""
    fitted = _fitted(subject)
    found = as_array(fitted.weights)
    fail_unless(
        list(found.shape) == [samples.CLASSES, _rows(subject).shape[1]],
        f"its weights have the form {list(found.shape)}, not {[samples.CLASSES, _rows(subject).shape[1]]}",
    )
    X = _rows(subject)
    scores = as_array(_apply(subject, fitted, X)).astype(float)
    linear = X @ found.T
    for one, other in itertools.combinations(range(samples.CLASSES), 2):
        gaps = linear[:, one] - linear[:, other]
        if np.ptp(gaps) < 1e-9:  # strong penalties leave no weight: the scores are constant, too
            fail_unless(
                np.ptp(scores[:, one] - scores[:, other]) < 1e-6,
                f"scores of classes {one} and {other} do not follow its weights",
            )
            continue
        # Probabilities are linear in their logarithm, decisions as they are.
        odds = np.log(np.clip(scores, 1e-12, None))
        follows = [np.corrcoef(gaps, kind[:, one] - kind[:, other])[0, 1] for kind in (odds, scores)]
        # One class against the rest, normalised, bends both; a wrong sign or order gives less than zero.
        fail_unless(max(follows) > 0.7, f"scores of classes {one} and {other} do not follow its weights")


@check("classifiers", requires=(), applies=lambda subject: getattr(subject.spec, "selects", None) is not None)
def selects(subject: Subject) -> None:
    """The parameter that holds its k is one of its factory."""
    name = subject.spec.selects
    fail_unless(
        name in parameters_of(subject.choice.spec),
        f"it says that '{name}' holds its k, and its factory has no such parameter",
    )


@check(
    "transforms", requires=(CONTRACT, "finite"), applies=lambda subject: hasattr(_fitted(subject), "chosen")
)
def chosen(subject: Subject) -> None:
    """The columns that it says it keeps are those of its result."""
    fitted = _fitted(subject)
    X = _rows(subject)
    kept = np.asarray(fitted.chosen)
    result = as_array(fitted.transform(X))
    fail_unless(kept.ndim == 1 and kept.size == result.shape[1], "it keeps other columns than it says")
    fail_unless(
        kept.size and kept.min() >= 0 and kept.max() < X.shape[1],
        "it says it keeps columns that do not exist",
    )
    for place, column in enumerate(kept):
        fail_unless(
            _follows(result[:, place], X[:, column]), f"column {place} does not come from feature {column}"
        )


def _follows(result: np.ndarray[Any, Any], feature: np.ndarray[Any, Any]) -> bool:
    """Return True if equal values of a feature give equal results."""
    return all(np.ptp(result[feature == value]) < 1e-6 for value in np.unique(feature))


class _speaking:
    """Context in which an error of a plugin fails the check, with `what` it was given."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, HarnessError | CheckFailed | NotApplicable):
            said = str(error).strip().splitlines() or [""]
            raise CheckFailed(f"{self.what}: {type(error).__name__}: {said[0][:160]}") from error
