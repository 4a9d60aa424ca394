"""Baselines for SAE features: hidden states, decompositions, a random dictionary, and input-only features."""

from __future__ import annotations

import harness

HARNESS_API = 1


def _hidden() -> harness.TokenRepresentation:
    from harness_baselines.on_tokens import Hidden

    return Hidden()


def _random_sae(*, width: int | None = None, k: int = 32, seed: int = 0) -> harness.TokenRepresentation:
    from harness_baselines.on_tokens import RandomSae

    return RandomSae(width=width, k=k, seed=seed)


def _pca(*, n: int | None = None) -> harness.TokenRepresentation:
    from harness_baselines.on_tokens import Fitted, principal_components

    return Fitted("pca", principal_components, n=n)


def _top_neurons(*, k: int | None = None) -> harness.TokenRepresentation:
    from harness_baselines.on_tokens import Fitted, most_varying

    return Fitted("top_neurons", most_varying, k=k)


def _ica(*, n: int | None = None, k: int | None = None, seed: int = 0) -> harness.TokenRepresentation:
    from harness_baselines.decompositions import Decomposition, independent_components

    return Decomposition("ica", independent_components, n=n, k=k, seed=seed, most=1)


def _nmf(*, n: int | None = None, k: int | None = None, seed: int = 0) -> harness.TokenRepresentation:
    from harness_baselines.decompositions import Decomposition, nonnegative_factors

    return Decomposition("nmf", nonnegative_factors, n=n, k=k, seed=seed, most=2)


def _kmeans(*, n: int | None = None, k: int | None = None, seed: int = 0) -> harness.TokenRepresentation:
    from harness_baselines.decompositions import Decomposition, cluster_distances

    return Decomposition("kmeans", cluster_distances, n=n, k=k, seed=seed)


def _neurons(*, k: int = 32) -> harness.TokenRepresentation:
    from harness_baselines.decompositions import Neurons

    return Neurons(k=k)


def _random_projection(*, n: int | None = None, seed: int = 0) -> harness.TokenRepresentation:
    from harness_baselines.on_tokens import RandomProjection

    return RandomProjection(n=n, seed=seed)


def _random_rotation(*, seed: int = 0) -> harness.TokenRepresentation:
    from harness_baselines.on_tokens import RandomRotation

    return RandomRotation(seed=seed)


def _tfidf(*, ngrams: int = 2) -> harness.InputRepresentation:
    from harness_baselines.on_inputs import Tfidf

    return Tfidf(ngrams=ngrams)


def _char_ngrams(*, n: int = 4) -> harness.InputRepresentation:
    from harness_baselines.on_inputs import CharNgrams

    return CharNgrams(n=n)


def _text_length() -> harness.InputRepresentation:
    from harness_baselines.on_inputs import TextLength

    return TextLength()


def _pixels(*, size: int = 16) -> harness.InputRepresentation:
    from harness_baselines.on_images import Pixels

    return Pixels(size=size)


def _majority() -> harness.InputRepresentation:
    from harness_baselines.on_inputs import Constant

    return Constant()


@harness.hookimpl
def harness_representations() -> list[harness.RepresentationSpec]:
    return [
        harness.RepresentationSpec(
            name="hidden",
            summary="the model's activations as they are",
            make=_hidden,
            needs="tokens",
            baseline=True,
        ),
        harness.RepresentationSpec(
            name="random_sae",
            summary="a TopK dictionary with random unit directions: the effect of sparsity and width alone",
            make=_random_sae,
            needs="tokens",
            control=True,
        ),
        harness.RepresentationSpec(
            name="pca",
            summary="principal components of the activations of training tokens",
            make=_pca,
            needs="tokens",
            fitted=True,
            control=True,
        ),
        harness.RepresentationSpec(
            name="top_neurons",
            summary="the coordinates with the highest variance over the training tokens",
            make=_top_neurons,
            needs="tokens",
            fitted=True,
            control=True,
        ),
        harness.RepresentationSpec(
            name="ica",
            summary="independent components of the activations of training tokens",
            make=_ica,
            needs="tokens",
            fitted=True,
            control=True,
        ),
        harness.RepresentationSpec(
            name="nmf",
            summary="non-negative factors of the positive and negative parts of the activations of training tokens",
            make=_nmf,
            needs="tokens",
            fitted=True,
            control=True,
        ),
        harness.RepresentationSpec(
            name="kmeans",
            summary="nearness to the centres of clusters of the activations of training tokens",
            make=_kmeans,
            needs="tokens",
            fitted=True,
            control=True,
        ),
        harness.RepresentationSpec(
            name="neurons",
            summary="the model's own coordinates, of which a token keeps those farthest from zero",
            make=_neurons,
            needs="tokens",
            control=True,
        ),
        harness.RepresentationSpec(
            name="random_projection",
            summary="a random linear projection: the effect of fewer dimensions alone",
            make=_random_projection,
            needs="tokens",
            control=True,
        ),
        harness.RepresentationSpec(
            name="random_rotation",
            summary="the activations in randomly rotated axes: the effect of the model's own coordinates",
            make=_random_rotation,
            needs="tokens",
            control=True,
        ),
        harness.RepresentationSpec(
            name="tfidf",
            summary="TF-IDF of words and word pairs; of characters where a script does not separate words",
            make=_tfidf,
            needs="text",
            fitted=True,
            revision="2",
        ),
        harness.RepresentationSpec(
            name="char_ngrams",
            summary="TF-IDF of n-grams of 1 to n characters inside words",
            make=_char_ngrams,
            needs="text",
            fitted=True,
        ),
        harness.RepresentationSpec(
            name="text_length",
            summary="number of characters and words, nothing else",
            make=_text_length,
            needs="text",
        ),
        harness.RepresentationSpec(
            name="pixels",
            summary="an image shrunk to size × size pixels: colours and coarse outlines",
            make=_pixels,
            needs="images",
        ),
        harness.RepresentationSpec(
            name="majority",
            summary="a constant feature: predicts the most frequent class",
            make=_majority,
            needs="nothing",
        ),
    ]
