"""Models of the Hugging Face library transformers: decoders, encoders of texts and images, vision-language models."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from harness import (
    Model,
    ModelSpec,
    RepresentationSpec,
    TokenRepresentation,
    UsageError,
    hookimpl,
    local_path,
)

if TYPE_CHECKING:
    from harness_transformers.references import Files

HARNESS_API = 1

HUB_REFERENCE = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*(@[^@]+)?")
"""Form of a model's name on the hub, `ORG/REPO[@REVISION]`."""
HUB_GGUF = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)/(?P<file>[^@]+\.gguf)(@(?P<revision>[^@]+))?"
)
"""Form of a GGUF file on the hub, `ORG/REPO/FILE.gguf[@REVISION]`."""


@hookimpl
def harness_resolve_model(ref: str, name: str) -> ModelSpec | None:
    """Return a spec for a local folder with a config.json, for GGUF, or for a name of the hub's form."""
    from harness_transformers.references import find_gguf

    path = local_path(ref)
    if (path / "config.json").is_file():
        summary = "a Hugging Face model in a local folder"
    elif find_gguf(name, path):
        summary = "a model in GGUF, which is converted once"
    elif path.exists():
        return None
    elif HUB_GGUF.fullmatch(ref):
        summary = "a model in GGUF on the Hugging Face hub, which is converted once"
    elif HUB_REFERENCE.fullmatch(ref):
        summary = "a model on the Hugging Face hub"
    else:
        return None
    return ModelSpec(name=ref, summary=summary, make=functools.partial(open_model, ref, name))


@hookimpl(specname="harness_resolve_model", tryfirst=True)
def draw_model(ref: str, name: str) -> ModelSpec | None:
    """Return a spec for `shape:NAME`, a decoder with drawn weights."""
    if not ref.startswith("shape:"):
        return None

    def make() -> Model:
        from harness_transformers.shapes import ShapeModel

        return ShapeModel(ref.removeprefix("shape:"))

    return ModelSpec(
        name=ref, summary="drawn weights at a published shape, for measuring", make=make, toy=True
    )


@hookimpl(specname="harness_resolve_model", trylast=True)
def refuse_model(ref: str, name: str) -> None:
    """Raise UnavailableError for a file or folder that no plugin can read: it says what lies there."""
    from harness_transformers.refusals import refuse

    path = local_path(ref)
    if path.exists():
        raise refuse(name, path)


def open_model(
    ref: str,
    name: str,
    /,
    *,
    dtype: str = "float32",
    attention: str = "eager",
    max_length: int = 512,
    template: str = "none",
    system: str | None = None,
    bos: str | None = None,
    random_weights: int | None = None,
    modality: str | None = None,
    prompt: str = "",
    language_model: str | None = None,
) -> Model:
    """Open a model: read its configuration and tokenizer, but no weights. One in GGUF is converted first, once.

    `template="chat"` applies the tokenizer's chat template to every input, `template="PATH.jinja"` the one in a file;
    a text becomes one message of the user. `system="first-user"` puts a system message before the user's first
    message, for templates without a system role. `bos="add"` puts one BOS token before every input, also where
    tokenizer or template put none; `bos="none"` leaves it out. `random_weights`, a seed, gives the untrained model:
    weights are drawn at random, and no weight file is needed.

    Without a `modality`, an image encoder (ViT, DINOv2, the vision tower of SigLIP or CLIP) reads images, and any
    other model texts. `modality="image"` opens a vision-language model that reads images, each with the same
    `prompt`. `language_model` then names the model with the weights of the language tower, for checkpoints
    without them. `max_length`, `template`, `system` and `bos` apply to texts only.

    Messages call it `name`. Raise UsageError for a parameter that does not fit the modality or the model.
    """
    from harness_transformers.opening import check_choice, read_settings
    from harness_transformers.references import open_files
    from harness_transformers.sketch import SKETCHED_ATTENTION, VISION_LANGUAGE, sketch

    if modality is not None:
        check_choice(name, "modality", modality, ("text", "image"))
    files = open_files(ref, name=name)
    settings = read_settings(files)
    known = sketch(settings) if attention in SKETCHED_ATTENTION else None
    has_decoder = known is not None or settings.get("model_type") == VISION_LANGUAGE
    if modality != "text" and not has_decoder and _is_image_encoder(files):
        from harness_transformers.image_encoder import ImageEncoder

        _refuse_texts(
            name, template=template, system=system, bos=bos, prompt=prompt, language_model=language_model
        )
        return ImageEncoder(files, dtype=dtype, attention=attention, random_weights=random_weights)
    if modality == "image":
        from harness_transformers.vision import VisionLanguageModel

        if bos is not None:
            raise UsageError(
                f"model '{name}' takes bos with modality=text alone: write the token into the prompt, before <image>"
            )
        if template != "none":
            raise UsageError(
                f"model '{name}' takes template=none with modality=image: write it into the prompt"
            )
        if system is not None:
            raise UsageError(
                f"model '{name}' takes system with modality=text alone: write it into the prompt"
            )
        return VisionLanguageModel(
            files,
            dtype=dtype,
            attention=attention,
            prompt=prompt,
            language_model=language_model,
            random_weights=random_weights,
        )
    for option, given in (("prompt", prompt or None), ("language_model", language_model)):
        if given is not None:
            raise UsageError(f"model '{name}' takes {option} with modality=image alone")
    from harness_transformers.model import TransformersModel

    return TransformersModel(
        files,
        known,
        dtype=dtype,
        attention=attention,
        max_length=max_length,
        template=template,
        system=system,
        bos=bos,
        random_weights=random_weights,
    )


def _is_image_encoder(files: Files) -> bool:
    from harness_transformers.modality import is_image_encoder
    from harness_transformers.opening import read_config

    return is_image_encoder(read_config(files, decoder=False))


def _refuse_texts(ref: str, *, template: str, **given: str | None) -> None:
    """Raise UsageError for a parameter of texts that is given for an image encoder, which reads none."""
    given["template"] = None if template == "none" else template
    for name, value in given.items():
        if value:
            raise UsageError(f"model '{ref}' reads images alone, without any text: leave {name} out")


def _vision_output() -> TokenRepresentation:
    from harness_transformers.output import VisionOutput

    return VisionOutput()


@hookimpl
def harness_representations() -> list[RepresentationSpec]:
    """Return the representation that reads the output of a vision tower."""
    return [
        RepresentationSpec(
            name="vision_output",
            summary="the output of a vision tower or image encoder after its final norm, unchanged",
            make=_vision_output,
            needs="tokens",
        )
    ]
