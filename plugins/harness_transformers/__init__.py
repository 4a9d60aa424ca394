"""Hugging Face decoders as models: a local folder, or `ORG/REPO[@REVISION]` of the hub."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from harness import Model, ModelSpec, hookimpl

HUB_REFERENCE = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*(@[^@]+)?")


@hookimpl
def harness_resolve_model(ref: str) -> ModelSpec | None:
    """A spec for a folder with a config.json, or for a name of the hub's form."""
    if (Path(ref).expanduser() / "config.json").is_file():
        summary = "A Hugging Face model in a local folder."
    elif HUB_REFERENCE.fullmatch(ref):
        summary = "A model of the Hugging Face hub."
    else:
        return None
    return ModelSpec(name=ref, summary=summary, make=functools.partial(open_model, ref))


def open_model(
    ref: str,
    *,
    dtype: str = "float32",
    attention: str = "eager",
    max_length: int = 512,
    template: str = "none",
    random_weights: int | None = None,
) -> Model:
    """Read configuration and tokenizer of a model, no weights. `template="chat"` puts every input into the
    tokenizer's chat template, a text as one message of the user. `random_weights`, a seed, gives the same model
    untrained: its weights are drawn anew, and no weight file is needed.
    """
    from harness_transformers.model import TransformersModel
    from harness_transformers.references import open_files

    return TransformersModel(
        open_files(ref),
        dtype=dtype,
        attention=attention,
        max_length=max_length,
        template=template,
        random_weights=random_weights,
    )
