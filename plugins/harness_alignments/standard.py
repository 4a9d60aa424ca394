"""A pooled matrix in; its features measured and made comparable out. CSR stays CSR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

CONSTANT = 1e-5
"""Two passes over the same tokens differ by about 1e-6 of a value: what varies by no more than this, relative to its
root mean square, is taken to be constant."""

BLOCK_CELLS = 1 << 22
"""Numbers of a dense block that exist at once: 32 MiB in float64."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """The features of a matrix `[rows, width]`, in float64.

    `mean` and `deviation` `[width]` are those of every feature (0 deviation where constant), `varying` the numbers of
    those that are not constant, `scaled` what `scale` makes of the matrix, and `centre` `[varying]` the means of that.
    """

    mean: Any
    deviation: Any
    varying: Any
    scaled: Any
    centre: Any

    def scale(self, X: Any) -> Any:
        """The varying features of other rows, `[n, varying]`, as in `scaled`."""
        return _scale(X, self.mean, self.deviation, self.varying)


def standardise(X: Any) -> Standard:
    """The matrix, dense or CSR, as a Standard."""
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
    """Mean and standard deviation of each feature, in float64; 0 for a feature that is constant."""
    n = X.shape[0]
    if sparse.issparse(X):
        # scipy's own sum and mean of float32 are added up in float32, whatever dtype they are asked for.
        fired = np.bincount(X.indices, minlength=X.shape[1])
        mean = np.bincount(X.indices, X.data, minlength=X.shape[1]) / n
        squares = np.bincount(X.indices, np.square(X.data - mean[X.indices]), minlength=X.shape[1])
        deviation = np.sqrt((squares + (n - fired) * mean**2) / n)
    else:
        mean = X.mean(axis=0, dtype=np.float64)
        deviation = np.sqrt(np.square(X - mean).mean(axis=0))
    return mean, np.where(deviation > CONSTANT * np.hypot(mean, deviation), deviation, 0.0)


def check_pair(source: Any, target: Any) -> tuple[Any, Any]:
    """Both matrices, as ndarray or `csr_array`; ValueError where their rows cannot be the same."""
    source, target = _check("source", source), _check("target", target)
    if source.shape[0] != target.shape[0]:
        raise ValueError(
            "an alignment needs the same rows of both models, but the source has "
            f"{source.shape[0]} and the target {target.shape[0]}"
        )
    if source.shape[0] == 0:
        raise ValueError("an alignment needs at least one row to learn from, but was given none")
    return source, target


def check_width(target: Any, width: int) -> Any:
    """The matrix, as ndarray or `csr_array`; ValueError where it has not `width` features."""
    target = _check("target", target)
    if target.shape[1] != width:
        raise ValueError(
            f"the alignment was learnt on {width} target features, but is given {target.shape[1]}"
        )
    return target


def multiply(left: Any, right: Any) -> Any:
    """The product of two matrices of either kind, dense."""
    product = left @ right
    return product.toarray() if sparse.issparse(product) else product


def _check(name: str, X: Any) -> Any:
    X = sparse.csr_array(X) if sparse.issparse(X) else np.asarray(X)
    if not np.isfinite(X.data if sparse.issparse(X) else X).all():
        raise ValueError(f"an alignment needs finite values, but some of the {name} are not")
    return X


def _scale(X: Any, mean: Any, deviation: Any, varying: Any) -> Any:
    """Some features in deviations: from their mean where dense; where CSR from zero, so that zeros stay zeros."""
    taken = X[:, varying].astype(np.float64)
    if sparse.issparse(X):
        taken.data /= deviation[varying][taken.indices]
        return taken
    return (taken - mean[varying]) / deviation[varying]
