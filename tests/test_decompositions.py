"""Decompositions as arms: their encoders recover what was planted, at the sparsity that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF

import harness

TOKENS, SIZE = 3000, 12


def fit(reference: str, x: np.ndarray[Any, Any]) -> harness.Dictionary:
    """Fit a representation on activations `[tokens, d]`."""
    choice = harness.open(device="cpu").registry.choose("representations", reference)
    placed = choice.make().at(Sized(x.shape[1]), harness.Site.parse("resid_post.0"))
    made = placed.fit(torch.from_numpy(x).float())
    assert isinstance(made, harness.Dictionary)
    return made


class Sized:
    """Model of which only the size of its activations is asked."""

    def __init__(self, size: int) -> None:
        self.size = size

    def width(self, site: harness.Site) -> int:
        return self.size


def encode(made: harness.Dictionary, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return made.encode(torch.from_numpy(x).float()).numpy()


def mixed(seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Sources that are mostly near zero and sometimes large, `[tokens, d]`, and a mixture of them about a mean."""
    random = np.random.default_rng(seed)
    sources = random.exponential(size=(TOKENS, SIZE)) ** 2
    return sources, (sources - sources.mean(0)) @ random.normal(size=(SIZE, SIZE)) + 5


def best_correlations(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The largest correlation of each wanted column with any that was found, signs counted."""
    n = found.shape[1]
    table: np.ndarray[Any, Any] = np.corrcoef(found.T, wanted.T)[:n, n:].max(0)
    return table


def test_ica_recovers_planted_sources_with_their_signs() -> None:
    sources, x = mixed()
    found = encode(fit("ica", x), x)
    assert best_correlations(found, sources).min() >= 0.95
    np.testing.assert_allclose(found.std(0), 1, atol=0.01)
    # Principal components of the same activations do not.
    assert best_correlations(encode(fit(f"pca[n={SIZE}]", x), x), sources).min() < 0.95


@pytest.mark.parametrize("reference", ["ica[k=3]", "nmf[k=3]", "kmeans[k=3]", "neurons[k=3]"])
def test_a_token_keeps_as_many_features_as_are_asked_for(reference: str) -> None:
    _, x = mixed()
    choice = harness.open(device="cpu").registry.choose("representations", reference)
    placed = choice.make().at(Sized(SIZE), harness.Site.parse("resid_post.0"))
    made = placed.load_or_fit("cpu", lambda: torch.from_numpy(x).float())
    active = (made.encode(torch.from_numpy(x).float()) != 0).sum(1)
    assert int(active.max()) == 3 and float(active.float().mean()) > 2
    assert placed.sparse and placed.width == SIZE


def test_neurons_keep_the_coordinates_farthest_from_zero() -> None:
    choice = harness.open(device="cpu").registry.choose("representations", "neurons[k=2]")
    made = choice.make().at(Sized(4), harness.Site.parse("resid_post.0")).load("cpu")
    x = np.array([[0.5, -3.0, 1.0, 0.0], [2.0, 0.1, -0.2, 4.0]])
    np.testing.assert_allclose(encode(made, x), [[0, -3, 1, 0], [2, 0, 0, 4]], atol=1e-7)


def test_the_largest_feature_of_kmeans_is_the_nearest_centre() -> None:
    random = np.random.default_rng(1)
    centres = random.normal(scale=4, size=(5, SIZE))
    x = centres[random.integers(0, 5, TOKENS)] + random.normal(size=(TOKENS, SIZE))
    wanted = KMeans(5, n_init=1, max_iter=400, random_state=0).fit(x)
    every, one = encode(fit("kmeans[n=5]", x), x), encode(fit("kmeans[n=5,k=1]", x), x)
    np.testing.assert_array_equal(every.argmax(1), wanted.labels_)
    np.testing.assert_array_equal(one.argmax(1), wanted.labels_)
    assert ((one > 0).sum(1) == 1).all()
    distances = wanted.transform(x) ** 2
    nearer = (distances.mean(1, keepdims=True) - distances) / 2
    np.testing.assert_allclose(every, nearer.clip(min=0), rtol=1e-3, atol=1e-2)


def test_features_of_nmf_follow_the_codes_of_scikit_learn() -> None:
    random = np.random.default_rng(2)
    x = (random.exponential(size=(TOKENS, 4)) ** 2) @ random.exponential(size=(4, SIZE)) ** 3
    codes = NMF(4, init="nndsvda", max_iter=400, random_state=0).fit_transform(
        np.hstack([x.clip(min=0), (-x).clip(min=0)])
    )
    found = encode(fit("nmf[n=4]", x), x)
    assert (found >= 0).all()
    own = [np.corrcoef(found[:, one], codes[:, one])[0, 1] for one in range(4)]
    assert min(own) >= 0.95


def test_a_seed_gives_the_same_features_each_time_and_another_one_others() -> None:
    _, x = mixed()
    for name in ("ica", "kmeans[n=7]"):
        first, again = encode(fit(name, x), x), encode(fit(name, x), x)
        np.testing.assert_array_equal(first, again)
    other = encode(fit("kmeans[n=7,seed=1]", x), x)
    assert not np.allclose(other, encode(fit("kmeans[n=7]", x), x))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("ica[n=13]", "ica: 13 is more than the activations' size, 12"),
        ("nmf[n=25]", "nmf: 25 is more than 2 times the activations' size, 12"),
        ("kmeans[k=13]", "kmeans: k=13 is more than its 12 features"),
        ("neurons[k=13]", "neurons: k=13 is more than the activations' size, 12"),
        ("kmeans[n=4]", "kmeans: 4 training tokens are too few for 4 features"),
    ],
)
def test_numbers_that_cannot_be_are_refused(reference: str, said: str) -> None:
    with pytest.raises(harness.UsageError, match=said):
        fit(reference, np.ones((4, SIZE)))


def test_a_fit_that_does_not_converge_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness_baselines.decompositions.ROUNDS", 1)
    with pytest.warns(UserWarning, match="ica has not converged after 1 iterations"):
        fit("ica", mixed()[1])
