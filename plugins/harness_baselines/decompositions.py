"""Decompositions of activations by scikit-learn, as encoders: ICA, NMF, k-means, and the model's own coordinates.

Each is fitted on the activations of training tokens and becomes a `harness.Dictionary`. With `k`, a token keeps `k` of
its features, so that arms can be compared at the same sparsity, as in Cunningham et al. 2023, figure 2.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import harness

if TYPE_CHECKING:
    import torch

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

ROUNDS = 400
"""Most iterations of a fit. One that has not come to rest by then is warned of, and used as it is."""

RIDGE = 1e-6
"""Ridge of the regression of codes on activations, as a share of their mean variance: it keeps the solution finite."""


@dataclass(frozen=True)
class Encoding:
    """Linear encoder `pre = (x − subtract) directions + bias`: `directions [d, n]`, `bias [n]`, `subtract [d]`.

    A feature of a `signed` one may be below zero; else it is relu(pre).
    """

    directions: Array
    bias: Array
    subtract: Array
    signed: bool = False


Decompose: TypeAlias = "Callable[[Array, int, int], Encoding]"
"""Function from activations `[tokens, d]`, a number of features and a seed to an encoder of these features."""


class Decomposition:
    """Encoder fitted by `decompose`, with `n` features, of which a token keeps `k`.

    `n` defaults to the size of the activations, and `k` to all features that the method gives. `most` is the largest
    `n` in sizes of the activations, None for any.
    """

    def __init__(
        self,
        kind: str,
        decompose: Decompose,
        *,
        n: int | None,
        k: int | None,
        seed: int,
        most: int | None = None,
    ) -> None:
        for name, value in (("n", n), ("k", k)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name}={value} is not a positive whole number")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed={seed} is not a whole number")
        self.kind, self.decompose, self.most = kind, decompose, most
        self.n, self.k, self.seed = n, k, seed

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        """Return the encoder at a site. Raise UsageError for more features than there can be."""
        d_in = model.width(site)
        n = self.n or d_in
        if self.most and n > self.most * d_in:
            times = "" if self.most == 1 else f"{self.most} times "
            raise harness.UsageError(f"{self.kind}: {n} is more than {times}the activations' size, {d_in}")
        if self.k is not None and self.k > n:
            raise harness.UsageError(f"{self.kind}: k={self.k} is more than its {n} features")
        return harness.PlacedRepresentation(
            identity={"kind": self.kind, "n": n, "k": self.k, "seed": self.seed},
            d_in=d_in,
            width=n,
            fit=lambda x: self._fit(x, n),
            sparse=self.k is not None,
        )

    def _fit(self, x: torch.Tensor, n: int) -> harness.Dictionary:
        """Return the encoder of `x [tokens, d]`. Raise UsageError unless there are more than `n` tokens."""
        if len(x) <= n:
            raise harness.UsageError(f"{self.kind}: {len(x)} training tokens are too few for {n} features")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made = self.decompose(x.double().cpu().numpy(), n, self.seed)
        if any(issubclass(one.category, UserWarning) and "onverge" in str(one.message) for one in caught):
            warnings.warn(f"{self.kind} has not converged after {ROUNDS} iterations", stacklevel=2)
        return _as_dictionary(self.kind, made, k=self.k, like=x)


class Neurons:
    """Model's own coordinates, of which a token keeps the `k` that are farthest from zero."""

    def __init__(self, *, k: int) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k={k} is not a positive whole number")
        self.k = k

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        """Return the encoder at a site. Raise UsageError where `k` is more than its coordinates."""
        d_in = model.width(site)
        if self.k > d_in:
            raise harness.UsageError(f"neurons: k={self.k} is more than the activations' size, {d_in}")
        return harness.PlacedRepresentation(
            identity={"kind": "neurons", "d_in": d_in, "k": self.k},
            d_in=d_in,
            width=d_in,
            load=lambda device: self._make(d_in, device),
            sparse=True,
            published_l0=self.k,
        )

    def _make(self, d_in: int, device: str) -> harness.Dictionary:
        import torch

        eye = torch.eye(d_in, device=device)
        return harness.Dictionary(
            name="neurons",
            width=d_in,
            activation="abstopk",
            W_enc=eye,
            b_enc=eye.new_zeros(d_in),
            W_dec=eye,
            k=self.k,
        )


def independent_components(x: Array, n: int, seed: int) -> Encoding:
    """Return the encoder of FastICA (Hyvärinen and Oja 2000): sources of unit variance, each skewed upwards."""
    from scipy.stats import skew
    from sklearn.decomposition import FastICA

    fitted = FastICA(n, whiten="unit-variance", max_iter=ROUNDS, random_state=seed).fit(x)
    # A source's sign is arbitrary: a feature that is mostly zero and sometimes large is then large above zero.
    signs = np.where(skew((x - fitted.mean_) @ fitted.components_.T) < 0, -1.0, 1.0)
    directions = fitted.components_.T * signs
    return Encoding(directions=directions, bias=np.zeros(n), subtract=fitted.mean_, signed=True)


def nonnegative_factors(x: Array, n: int, seed: int) -> Encoding:
    """Return an encoder of the codes of non-negative matrix factorisation (Lee and Seung 1999).

    Positive and negative parts of the activations, side by side, are factorised. Codes of new tokens would each need an
    optimisation; the encoder is the ridge regression of codes on activations, and its features are the positive parts
    of what it predicts.
    """
    from sklearn.decomposition import NMF

    parts = np.hstack([x.clip(min=0), (-x).clip(min=0)])
    codes = NMF(n, init="nndsvda", max_iter=ROUNDS, random_state=seed).fit_transform(parts)
    mean = x.mean(0)
    centred = x - mean
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += max(RIDGE * np.trace(gram) / len(gram), np.finfo(float).tiny)
    directions = np.linalg.solve(gram, centred.T @ (codes - codes.mean(0)))
    return Encoding(directions=directions, bias=codes.mean(0), subtract=mean)


def cluster_distances(x: Array, n: int, seed: int) -> Encoding:
    """Return the encoder of k-means: how much nearer than on average a token is to the centre of each cluster.

    The features are half the mean squared distance to all centres minus that to each, where positive (Coates and Ng
    2012, with squared distances). The cluster of a token is its largest feature: the only one that it keeps for k=1.
    """
    from sklearn.cluster import KMeans

    centres = KMeans(n, n_init=1, max_iter=ROUNDS, random_state=seed).fit(x).cluster_centers_
    middle = centres.mean(0)
    apart = centres - middle
    half = (apart**2).sum(1) / 2
    return Encoding(directions=apart.T, bias=half.mean() - half, subtract=middle)


def _as_dictionary(name: str, made: Encoding, *, k: int | None, like: torch.Tensor) -> harness.Dictionary:
    """Return an encoder as a dictionary on the device of `like`."""
    import torch

    def put(values: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).float().to(like.device)

    # Of signed features those count that are far from zero.
    every: harness.Activation = "identity" if made.signed else "relu"
    some: harness.Activation = "abstopk" if made.signed else "topk"
    return harness.Dictionary(
        name=name,
        width=made.directions.shape[1],
        activation=every if k is None else some,
        W_enc=put(made.directions),
        b_enc=put(made.bias),
        subtract=put(made.subtract),
        k=k,
    )
