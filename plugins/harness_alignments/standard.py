"""Standardisation of pooled features, dense or CSR, and checks of aligned matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

CONSTANT = 1e-5
"""Deviation, relative to the root mean square, up to which a feature is constant.

Two passes over the same tokens differ by about 1e-6 of a value.
"""

BLOCK_CELLS = 1 << 22
"""Number of values in a dense block: 32 MiB in float64."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """Standardised features of a matrix `[rows, width]`, in float64.

    `mean` and `deviation` `[width]` describe every feature (deviation 0 if constant); `varying` holds the
    numbers of the features that are not constant, `scaled [rows, varying]` their standardised values, and
    `centre [varying]` the means of `scaled`, which are not 0 for CSR.
    """

    mean: Any
    deviation: Any
    varying: Any
    scaled: Any
    centre: Any

    def scale(self, X: Any) -> Any:
        """Return the varying features of other rows `[n, width]`, scaled in the same way."""
        return _scale(X, self.mean, self.deviation, self.varying)


def standardise(X: Any) -> Standard:
    """Standardise a matrix, dense or CSR."""
    mean, deviation = spread(X)
    varying = np.flatnonzero(deviation)
    scaled = _scale(X, mean, deviation, varying)
    return Standard(
        mean=mean,
        deviation=deviation,
        varying=varying,
        scaled=scaled,
        centre=mean[varying] / deviation[varying] if sparse.issparse(X) else np.zeros(len(varying)),
    )


def spread(X: Any) -> tuple[Any, Any]:
    """Return mean and standard deviation of each feature in float64; 0 deviation for a constant feature."""
    n = X.shape[0]
    if sparse.issparse(X):
        # scipy's sum and mean of float32 accumulate in float32, even if another dtype is given.
        fired = np.bincount(X.indices, minlength=X.shape[1])
        mean = np.bincount(X.indices, X.data, minlength=X.shape[1]) / n
        squares = np.bincount(X.indices, np.square(X.data - mean[X.indices]), minlength=X.shape[1])
        deviation = np.sqrt((squares + (n - fired) * mean**2) / n)
    else:
        mean = X.mean(axis=0, dtype=np.float64)
        deviation = np.sqrt(np.square(X - mean).mean(axis=0))
    return mean, np.where(deviation > CONSTANT * np.hypot(mean, deviation), deviation, 0.0)


def check_pair(source: Any, target: Any) -> tuple[Any, Any]:
    """Return both matrices as ndarray or `csr_array`.

    Raise ValueError if they have no rows or different numbers of rows, or if values are not finite.
    """
    source, target = _check("source", source), _check("target", target)
    if source.shape[0] != target.shape[0]:
        raise ValueError(
            "an alignment needs the same rows of both models, but the source has "
            f"{source.shape[0]} and the target {target.shape[0]}"
        )
    if source.shape[0] == 0:
        raise ValueError("an alignment needs at least one row to fit, but was given none")
    return source, target


def check_width(target: Any, width: int) -> Any:
    """Return the matrix as ndarray or `csr_array`.

    Raise ValueError unless it has `width` features, all finite.
    """
    target = _check("target", target)
    if target.shape[1] != width:
        raise ValueError(
            f"the alignment was learnt on {width} target features, but is given {target.shape[1]}"
        )
    return target


def multiply(left: Any, right: Any) -> Any:
    """Return the dense product of two matrices, each dense or sparse."""
    product = left @ right
    return product.toarray() if sparse.issparse(product) else product


def _check(name: str, X: Any) -> Any:
    X = sparse.csr_array(X) if sparse.issparse(X) else np.asarray(X)
    if not np.isfinite(X.data if sparse.issparse(X) else X).all():
        raise ValueError(f"an alignment needs finite values, but some of the {name} are not")
    return X


def _scale(X: Any, mean: Any, deviation: Any, varying: Any) -> Any:
    """Divide the varying features by their deviations; centre them only if dense, so that CSR stays sparse."""
    taken = X[:, varying].astype(np.float64)
    if sparse.issparse(X):
        taken.data /= deviation[varying][taken.indices]
        return taken
    return (taken - mean[varying]) / deviation[varying]
