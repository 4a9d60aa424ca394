"""Representations of a whole image by an OpenCLIP model: its embedding and zero-shot class scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import harness
from harness_open_clip.model import OpenClipModel
from harness_open_clip.templates import make_prompts

if TYPE_CHECKING:
    import torch


class ClipEmbedding:
    """Embedding of the image, at whichever site is given."""

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        own = _require_open_clip(model, "clip_embedding")
        width = own.width(own.embedding_site)
        return harness.PlacedRepresentation(
            identity={"kind": "clip_embedding"},
            d_in=width,
            width=width,
            load=lambda device: harness.Dictionary(name="clip_embedding", width=width, activation="identity"),
            sparse=False,
            site=own.embedding_site,
        )


class ZeroShot:
    """Zero-shot class scores: scaled cosines of the image's embedding and those of prompts.

    One feature for each class (Radford et al. 2021, section 3.1). A trained bias (SigLIP) is left out because
    it is the same for all classes.
    """

    def at(self, model: harness.Model, site: harness.Site) -> harness.PlacedRepresentation:
        own = _require_open_clip(model, "zero_shot")
        own.tokenize_prompts([""])  # a missing tokenizer is reported once, not for every task
        return harness.PlacedRepresentation(
            identity={"kind": "zero_shot"},
            d_in=own.width(own.embedding_site),
            width=0,  # known once the classes are known
            for_task=lambda spec, classes: self._for_task(own, spec, classes),
            sparse=False,
            site=own.embedding_site,
        )

    def _for_task(
        self, model: OpenClipModel, spec: harness.TaskSpec, classes: Sequence[str]
    ) -> harness.PlacedRepresentation:
        prompts = make_prompts(spec, classes)
        ids = [model.tokenize_prompts(of_class) for of_class in prompts]

        def load(device: str) -> ClassScorer:
            import torch

            text = model.load_text(device)
            return ClassScorer(text.directions(torch.tensor(ids)), text.scale)

        return harness.PlacedRepresentation(
            identity={
                "kind": "zero_shot",
                "text": dict(model.text_identity()),
                "prompts": prompts,
                "ids": harness.hash_json({"ids": ids}),  # the tokenizer's only effect
            },
            d_in=model.width(model.embedding_site),
            width=len(classes),
            load=load,
            sparse=False,
            site=model.embedding_site,
        )


class ClassScorer:
    """Encoder from embeddings to `scale` times their cosines with `directions [classes, embedding]`."""

    def __init__(self, directions: torch.Tensor, scale: float) -> None:
        self._directions = directions
        self._scale = scale

    @property
    def width(self) -> int:
        """Number of classes."""
        return len(self._directions)

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        """Return scores `[tokens, classes]` in float32 for `activations [tokens, embedding]`."""
        from torch.nn.functional import normalize

        return self._scale * normalize(activations.float(), dim=-1) @ self._directions.T


def _require_open_clip(model: harness.Model, name: str) -> OpenClipModel:
    """Return the model as an OpenClipModel; raise UsageError if it is another kind of model."""
    if not isinstance(model, OpenClipModel):
        raise harness.UsageError(f"'{name}' is of OpenCLIP models, and '{model.name}' is none")
    return model
