"""OpenCLIP vision towers as models, with image embeddings and zero-shot scores as representations.

A model is a local folder, one of open_clip's own names with a tag, or `hf-hub:ORG/REPO[@REVISION]`.
"""

from __future__ import annotations

import functools
import re

import harness

HARNESS_API = 1

TAG_REFERENCE = re.compile(r"[A-Za-z0-9][\w.-]*:[\w.-]+")
"""Form of one of open_clip's names with a tag of weights, `MODEL:TAG`."""
HUB_REFERENCE = re.compile(r"hf-hub:[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*(@[^@]+)?")
"""Form of a model's name on the hub, `hf-hub:ORG/REPO[@REVISION]`."""
CONFIG = "open_clip_config.json"
"""Name of the configuration file."""


# tryfirst: repositories of OpenCLIP models often also hold the config.json of the same model in another library.
@harness.hookimpl(tryfirst=True)
def harness_resolve_model(ref: str, name: str) -> harness.ModelSpec | None:
    """Return a spec for a local folder with an open_clip_config.json, or for a name of one of the two forms."""
    if (harness.local_path(ref) / CONFIG).is_file():
        summary = "an OpenCLIP model in a local folder"
    elif HUB_REFERENCE.fullmatch(ref):
        summary = "an OpenCLIP model on the Hugging Face hub"
    elif TAG_REFERENCE.fullmatch(ref):
        summary = "a model and weights named by open_clip"
    else:
        return None
    return harness.ModelSpec(name=ref, summary=summary, make=functools.partial(open_model, ref, name))


def open_model(
    ref: str, name: str, /, *, dtype: str = "float32", random_weights: int | None = None
) -> harness.ImageModel:
    """Open a model: read its configuration, but no weights.

    `random_weights`, a seed, gives the untrained model: weights are drawn at random, and no weight file is needed.
    Messages call it `name`.
    """
    from harness_open_clip.model import OpenClipModel
    from harness_open_clip.references import open_checkpoint

    return OpenClipModel(open_checkpoint(ref, name), dtype=dtype, random_weights=random_weights)


def _clip_embedding() -> harness.TokenRepresentation:
    from harness_open_clip.embeddings import ClipEmbedding

    return ClipEmbedding()


def _zero_shot() -> harness.TokenRepresentation:
    from harness_open_clip.embeddings import ZeroShot

    return ZeroShot()


@harness.hookimpl
def harness_representations() -> list[harness.RepresentationSpec]:
    return [
        harness.RepresentationSpec(
            name="clip_embedding",
            summary="an OpenCLIP model's embedding of the whole image, before normalisation to unit length",
            make=_clip_embedding,
            needs="tokens",
            only={"poolings": "mean"},  # all rows of one image are the same
        ),
        harness.RepresentationSpec(
            name="zero_shot",
            summary="similarity of the image and each class name according to an OpenCLIP model; nothing is trained",
            make=_zero_shot,
            needs="tokens",
            only={"poolings": "mean", "transforms": "none", "classifiers": "scores"},
        ),
    ]
