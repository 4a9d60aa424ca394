"""OpenCLIP vision tower, opened without weights and loaded only as deep as a site needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import Image, Site, Tokens, UnavailableError, UsageError, parsing
from harness_open_clip.card import read_datasets
from harness_open_clip.references import Checkpoint
from harness_open_clip.seeds import check_seed
from harness_open_clip.sketch import read_prompts, sketch
from harness_open_clip.structure import Layout, find_layout

if TYPE_CHECKING:
    import torch

    from harness_open_clip.forward import LoadedOpenClip
    from harness_open_clip.preprocessing import Preprocessing
    from harness_open_clip.prompts import TextTower

DTYPES = ("float32", "bfloat16", "float16")
"""Choices of the parameter `dtype`."""
TOWER = "vision"
"""Name of the vision tower in sites."""


class OpenClipModel:
    """Opened OpenCLIP model: everything that is known without its weights.

    Where its structure is known by a sketch of its configuration, only loading it imports open_clip and torch.

    Its sites are `vision.resid_post.L`, the output of block L, and `vision.embed.L` for the last L, the
    image's embedding before normalisation to unit length.
    """

    architecture = "open_clip"

    def __init__(self, checkpoint: Checkpoint, *, dtype: str, random_weights: int | None) -> None:
        self.name = checkpoint.name
        if dtype not in DTYPES:
            raise UsageError(f"model '{self.name}' takes dtype {', '.join(DTYPES)}, not {dtype!r}")
        check_seed(self.name, random_weights)
        self._checkpoint, self._dtype, self._seed = checkpoint, dtype, random_weights
        self._sketch = sketch(checkpoint)
        self._layout, self.n_parameters = (
            (self._sketch.layout, self._sketch.n_parameters) if self._sketch else self._built
        )
        self._prepared_as = self._sketch.preprocessing if self._sketch else self._preprocessing.identity
        self.n_layers = self._layout.n_blocks
        self.embedding_site = Site(tower=TOWER, kind="embed", layer=self.n_layers - 1)

    @cached_property
    def _built(self) -> tuple[Layout, int]:
        """Layout of the tower that open_clip builds, and the number of its blocks' parameters."""
        from harness_open_clip.towers import build_vision

        tower = build_vision(self._checkpoint)
        layout = find_layout(self.name, tower)
        return layout, sum(p.numel() for p in tower.get_submodule(layout.blocks).parameters())

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        from harness_open_clip.preprocessing import Preprocessing

        return Preprocessing(self.name, self._checkpoint.preprocessing, self._layout.image_size)

    def _check_sketch(self) -> None:
        """Raise UnavailableError unless what was planned is what open_clip makes of the checkpoint."""
        made = (*self._built, self._preprocessing.identity)
        if made != (self._layout, self.n_parameters, self._prepared_as):
            raise UnavailableError(
                f"model '{self.name}': open_clip builds another model of its configuration than the harness takes it "
                f"for: use a version of open_clip that the harness was made for"
            )

    @property
    def towers(self) -> Mapping[str, int]:
        """Number of blocks of the vision tower."""
        return {TOWER: self.n_layers}

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self._layout.grid

    @cached_property
    def seen_tasks(self) -> tuple[str, ...]:
        """Data sets that the model's card names as training data; empty if weights are random."""
        return read_datasets(self._checkpoint.files) if self._seed is None else ()

    def width(self, site: Site) -> int:
        """Return the size of activations at `site`; raise UsageError if the model has no such site."""
        if site.tower == TOWER and site.kind == "resid_post" and 0 <= site.layer < self.n_layers:
            return self._layout.width
        if site == self.embedding_site:
            return self._layout.embedding
        last = self.n_layers - 1
        raise UsageError(
            f"model '{self.name}' has no site '{site}': it has {TOWER}.resid_post.0 to {TOWER}.resid_post.{last}, and "
            f"{self.embedding_site}"
        )

    def identity(self, site: Site) -> Mapping[str, Any]:
        """Return the hash of the weights, and the options that can influence `site`."""
        self.width(site)
        return {
            **self._identity(("embed_dim", "quick_gelu", "vision_cfg")),
            "preprocessing": self._prepared_as,
        }

    def text_identity(self) -> Mapping[str, Any]:
        """Return what determines the embedding of a prompt, except the tokenizer."""
        return self._identity(("embed_dim", "init_logit_scale", "quick_gelu", "text_cfg"))

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """Return one Tokens for each image: ids are positions, and the patches are content."""
        for number, one in enumerate(inputs):
            if not isinstance(one, Image):
                raise UsageError(
                    f"model '{self.name}' reads images, and input {number} is {type(one).__name__}"
                )
        positions = np.arange(self._layout.n_prefix + self._layout.n_patches, dtype=np.int64)
        content = positions >= self._layout.n_prefix
        summary = positions == 0 if self._layout.has_class else None
        return [Tokens(ids=positions, content=content, image=one, summary=summary) for one in inputs]

    def view(self, image: Image) -> Any:
        """Return the image as the model sees it: a PIL image in RGB, resized and cropped."""
        return self._preprocessing.view(image)

    def load(self, sites: Sequence[Site], device: str) -> LoadedOpenClip:
        """Load the vision tower up to the deepest of `sites` onto a device."""
        import torch

        from harness_open_clip.forward import LoadedOpenClip
        from harness_open_clip.towers import load_vision

        widths = {site: self.width(site) for site in sites}
        self._check_sketch()
        depth = max(site.layer for site in sites) + 1
        tower = load_vision(
            self._checkpoint, self._layout, depth, seed=self._seed, dtype=getattr(torch, self._dtype)
        )
        return LoadedOpenClip(
            tower.to(device), self._layout, widths=widths, prepare=self._preprocessing.prepare
        )

    def tokenize_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return token ids `[prompts, context]`; raise UnavailableError without a tokenizer."""
        found = self._encode_prompts and self._encode_prompts(prompts)
        if found:
            return found
        with parsing(f"model '{self.name}': the tokenizer of its text tower cannot encode a prompt"):
            ids: list[list[int]] = self._read_prompts(list(prompts)).tolist()
            return ids

    def load_text(self, device: str) -> TextTower:
        """Load the text tower onto a device."""
        import torch

        from harness_open_clip.prompts import TextTower
        from harness_open_clip.towers import load_text

        tower, scale = load_text(self._checkpoint, seed=self._seed, dtype=getattr(torch, self._dtype))
        return TextTower(tower.to(device), scale)

    @cached_property
    def _encode_prompts(self) -> Callable[[Sequence[str]], list[list[int]] | None] | None:
        return read_prompts(self._checkpoint)

    @cached_property
    def _read_prompts(self) -> Callable[[list[str]], torch.Tensor]:
        from harness_open_clip.prompts import read_tokenizer

        return read_tokenizer(self._checkpoint)

    def _identity(self, keys: Sequence[str]) -> dict[str, Any]:
        weights = (
            {"weights": self._checkpoint.files.weights_hash()}
            if self._seed is None
            # The weights of a seed may change with the version of a library, but are as good a control.
            else {"random_weights": self._seed}
        )
        return {
            "kind": "open_clip",
            "config": {key: self._checkpoint.model[key] for key in keys if key in self._checkpoint.model},
            "dtype": self._dtype,
            **weights,
        }
