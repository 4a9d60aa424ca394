"""OpenCLIP vision towers as models, with their image embeddings and zero-shot scores as representations. A model is a
local folder, one of open_clip's own names with a tag, or `hf-hub:ORG/REPO[@REVISION]`.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import harness

TAG_REFERENCE = re.compile(r"[A-Za-z0-9][\w.-]*:[\w.-]+")
HUB_REFERENCE = re.compile(r"hf-hub:[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*(@[^@]+)?")
CONFIG = "open_clip_config.json"


# First, since repositories of OpenCLIP models often hold the config.json of the same model in another library too.
@harness.hookimpl(tryfirst=True)
def harness_resolve_model(ref: str) -> harness.ModelSpec | None:
    """A spec for a folder with an open_clip_config.json, or for what looks like a name with a tag."""
    if (Path(ref).expanduser() / CONFIG).is_file():
        summary = "An OpenCLIP model in a local folder."
    elif HUB_REFERENCE.fullmatch(ref):
        summary = "An OpenCLIP model of the Hugging Face hub."
    elif TAG_REFERENCE.fullmatch(ref):
        summary = "A model with weights that open_clip knows by a tag."
    else:
        return None
    return harness.ModelSpec(name=ref, summary=summary, make=functools.partial(open_model, ref))


def open_model(ref: str, *, dtype: str = "float32", random_weights: int | None = None) -> harness.ImageModel:
    """Read the configuration of a model, no weights. `random_weights`, a seed, gives the same model untrained: its
    weights are drawn anew, and no weight file is needed.
    """
    from harness_open_clip.model import OpenClipModel
    from harness_open_clip.references import open_checkpoint

    return OpenClipModel(open_checkpoint(ref), dtype=dtype, random_weights=random_weights)


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
            summary="an OpenCLIP model's embedding of the whole image, before it is brought to unit length",
            make=_clip_embedding,
            needs="tokens",
            only={"poolings": "mean"},  # the rows of one image are all the same
        ),
        harness.RepresentationSpec(
            name="zero_shot",
            summary="how near an OpenCLIP model finds the image to the name of each class; learns nothing",
            make=_zero_shot,
            needs="tokens",
            only={"poolings": "mean", "transforms": "none", "classifiers": "scores"},
        ),
    ]
