"""What SAE features are compared with: hidden states, linear maps of them, a random dictionary, and arms that read
only the input.
"""

from __future__ import annotations

import harness


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
            name="hidden", summary="the model's activations as they are", make=_hidden, needs="tokens"
        ),
        harness.RepresentationSpec(
            name="random_sae",
            summary="a TopK dictionary with random unit directions: what sparsity and width alone give",
            make=_random_sae,
            needs="tokens",
            control=True,
        ),
        harness.RepresentationSpec(
            name="pca",
            summary="principal components of the training tokens: the best linear summary of as many numbers",
            make=_pca,
            needs="tokens",
            fitted=True,
            control=True,
        ),
        harness.RepresentationSpec(
            name="top_neurons",
            summary="the coordinates that vary most over the training tokens",
            make=_top_neurons,
            needs="tokens",
            fitted=True,
            control=True,
        ),
        harness.RepresentationSpec(
            name="random_projection",
            summary="random directions, linear: what fewer numbers alone keep",
            make=_random_projection,
            needs="tokens",
            control=True,
        ),
        harness.RepresentationSpec(
            name="random_rotation",
            summary="the activations in other axes: what the model's own coordinates add, or nothing",
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
            summary="TF-IDF of 1 to n characters inside words: what languages of one script have in common",
            make=_char_ngrams,
            needs="text",
            fitted=True,
        ),
        harness.RepresentationSpec(
            name="text_length", summary="characters and words, nothing else", make=_text_length, needs="text"
        ),
        harness.RepresentationSpec(
            name="pixels",
            summary="an image shrunk to size × size pixels: what colours and coarse outlines tell",
            make=_pixels,
            needs="images",
        ),
        harness.RepresentationSpec(
            name="majority", summary="nothing: the most frequent class", make=_majority, needs="nothing"
        ),
    ]
