"""Hugging Face decoders and vision-language models: a local folder, or `ORG/REPO[@REVISION]` of the hub."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from harness import Model, ModelSpec, RepresentationSpec, TokenRepresentation, UsageError, hookimpl

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
    modality: str = "text",
    prompt: str = "",
    language_model: str | None = None,
) -> Model:
    """Read configuration and tokenizer of a model, no weights. `template="chat"` puts every input into the
    tokenizer's chat template, a text as one message of the user. `random_weights`, a seed, gives the same model
    untrained: its weights are drawn anew, and no weight file is needed.

    `modality="image"` opens a vision-language model to read images, each with the same `prompt`; `language_model` then
    names the model whose weights the language tower has, where its own has none. `max_length` and `template` are for
    texts.
    """
    from harness_transformers.opening import check_choice
    from harness_transformers.references import open_files

    check_choice(ref, "modality", modality, ("text", "image"))
    if modality == "image":
        from harness_transformers.vision import VisionLanguageModel

        if template != "none":
            raise UsageError(
                f"model '{ref}' takes template=none with modality=image: write it into the prompt"
            )
        return VisionLanguageModel(
            open_files(ref),
            dtype=dtype,
            attention=attention,
            prompt=prompt,
            language_model=language_model,
            random_weights=random_weights,
        )
    for name, given in (("prompt", prompt or None), ("language_model", language_model)):
        if given is not None:
            raise UsageError(f"model '{ref}' takes {name} with modality=image alone")
    from harness_transformers.model import TransformersModel

    return TransformersModel(
        open_files(ref),
        dtype=dtype,
        attention=attention,
        max_length=max_length,
        template=template,
        random_weights=random_weights,
    )


def _vision_output() -> TokenRepresentation:
    from harness_transformers.output import VisionOutput

    return VisionOutput()


@hookimpl
def harness_representations() -> list[RepresentationSpec]:
    """What a vision tower gives to the language model behind it."""
    return [
        RepresentationSpec(
            name="vision_output",
            summary="what the vision tower of a vision-language model hands to its projector, as it is",
            make=_vision_output,
            needs="tokens",
        )
    ]
