"""Image encoder (ViT, DINOv2, the vision tower of SigLIP), opened without weights, loaded as deep as a site needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import nn

from harness import Image, Site, Tokens, UsageError
from harness_transformers.card import read_tasks
from harness_transformers.drawing import draw_tensors
from harness_transformers.filling import check_added, check_complete, fill, reading_dtype, settle
from harness_transformers.modality import is_pair
from harness_transformers.opening import PROCESSOR_FILES, build_bare, check_computing, read_config
from harness_transformers.patches import check_order, find_patches
from harness_transformers.processing import ImageProcessing
from harness_transformers.references import Files
from harness_transformers.seeds import check_seed
from harness_transformers.seeing import LoadedImageEncoder
from harness_transformers.structure import KINDS, Place, added_layers, locate, truncate
from harness_transformers.weights import check_blocks, read_tower, tower_shards

TOWER = "vision"
"""Name of the tower in sites."""


class ImageEncoder:
    """Opened image encoder: everything that is known without its weights.

    Its sites are `vision.resid_post.L`, `vision.attn_out.L`, `vision.mlp_out.L`, `vision.attn_z.L`, and
    `vision.output.{n-1}`, the last hidden state, after the final norm where that is of all positions. The content of
    an image is its patches; its class token, if it has one, is its summary, and registers are neither.
    """

    def __init__(self, files: Files, *, dtype: str, attention: str, random_weights: int | None) -> None:
        self.name = files.name
        self._files = files
        check_computing(self.name, dtype=dtype, attention=attention)
        check_seed(self.name, random_weights)
        self._dtype, self._attention, self._seed = dtype, attention, random_weights
        config = read_config(files, decoder=False)
        self.architecture = str(config.model_type)
        self.n_layers = self._count_layers(config)
        self._part, self._skeleton = self._build(config)
        self._config = self._skeleton.config
        self._processing = ImageProcessing.read(files)
        self._processor_files = [file for file in PROCESSOR_FILES if files.find(file)]
        self._patches = find_patches(self.name, self._skeleton, self._processing.size)
        self.n_parameters = sum(p.numel() for p in self._blocks(self._skeleton).parameters())

    @property
    def towers(self) -> Mapping[str, int]:
        """Number of blocks of the vision tower."""
        return {TOWER: self.n_layers}

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self._patches.grid

    @property
    def output_site(self) -> Site:
        """Site of the last hidden state."""
        return Site(tower=TOWER, kind="output", layer=self.n_layers - 1)

    @cached_property
    def seen_tasks(self) -> tuple[str, ...]:
        """Tasks that the model's card names under `datasets`; empty if weights are random."""
        return read_tasks(self._files) if self._seed is None else ()

    def width(self, site: Site) -> int:
        """Return the size of activations at `site`; raise UsageError if the model has no such site."""
        return self._place(self._skeleton, site).width

    def identity(self, site: Site) -> Mapping[str, Any]:
        """Return hashes of the files that can influence `site`, and the options that can."""
        self.width(site)
        files = ["config.json", *self._processor_files]
        if self._seed is None:
            files += tower_shards(
                self._files, self._part, n_layers=self.n_layers, n_blocks=self._depth([site])
            )
        return {
            "kind": "transformers",
            "modality": "image",
            "files": self._files.hashes(list(dict.fromkeys(files))),
            "resized_with": self._processing.backend,
            "dtype": self._dtype,
            "attention": self._attention,
            **({} if self._seed is None else {"random_weights": self._seed}),
        }

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """Return one Tokens for each image: ids are positions, and the patches are content."""
        for number, one in enumerate(inputs):
            if not isinstance(one, Image):
                raise UsageError(
                    f"model '{self.name}' reads images, and input {number} is {type(one).__name__}"
                )
        positions = np.arange(self._patches.n_prefix + self._patches.n_patches, dtype=np.int64)
        content = positions >= self._patches.n_prefix
        summary = positions == 0 if self._patches.has_class else None
        return [Tokens(ids=positions, content=content, image=one, summary=summary) for one in inputs]

    def view(self, image: Image) -> PIL.Image.Image:
        """Return the image as resized for the model, without colour normalisation."""
        return self._processing.view(image)

    def load(self, sites: Sequence[Site], device: str) -> LoadedImageEncoder:
        """Load the encoder up to the deepest of `sites` onto a device."""
        for site in sites:
            self.width(site)
        depth = self._depth(sites)
        tensors = self._tensors(depth, self._needed(sites))
        model, faulty = fill(
            self.name,
            type(self._skeleton),
            truncate(self._config, depth),
            tensors,
            dtype=self._dtype,
            attention=self._attention,
        )
        # A parameter of the encoder itself, in none of its parts, is needed too.
        unneeded = {part for part, _ in model.named_children()} - self._needed(sites)
        check_complete(self.name, (name for name in faulty if name.split(".")[0] not in unneeded))
        settle(self.name, model, device, dtype=self._dtype, files=[self._files])
        check_order(self.name, model, self._patches, self._processing.size)
        self._check_added(model, sites)
        return LoadedImageEncoder(
            self.name,
            model,
            {site: self._place(model, site) for site in sites},
            processing=self._processing,
        )

    def _build(self, config: Any) -> tuple[str, Any]:
        """Return the encoder on the meta device, and the part of the whole model that it is."""
        model = build_bare(self.name, config, self._attention)
        if not is_pair(config):
            return "", model
        kind = type(getattr(config, "vision_config", None))
        towers = [
            part for part, child in model.named_children() if type(getattr(child, "config", None)) is kind
        ]
        if len(towers) != 1:
            raise UsageError(
                f"model '{self.name}' ({config.model_type}) has no vision tower that can be read alone"
            )
        return towers[0], model.get_submodule(towers[0])

    def _count_layers(self, config: Any) -> int:
        """Return the number of blocks; raise UnavailableError if weights cannot have as many, before any are built."""
        towers = [config.vision_config, config.get_text_config()] if is_pair(config) else [config]
        counts: list[Any] = [getattr(tower, "num_hidden_layers", None) for tower in towers]
        for count in counts:
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise UsageError(
                    f"model '{self.name}' ({config.model_type}) has no patches to read: it has no list of "
                    f"transformer blocks"
                )
            if self._seed is None:
                check_blocks(self._files, count)
        return int(counts[0])

    def _blocks(self, model: nn.Module) -> Any:
        return model.get_submodule(self._patches.layout.blocks)

    def _depth(self, sites: Sequence[Site]) -> int:
        return max(site.layer for site in sites) + 1

    def _needed(self, sites: Sequence[Site]) -> frozenset[str]:
        """Return the parts whose weights the sites need."""
        reads_output = any(site.kind == "output" for site in sites)
        return self._patches.layout.parts | (self._patches.norms if reads_output else frozenset())

    def _place(self, model: nn.Module, site: Site) -> Place:
        kinds = [f"{TOWER}.{kind}.LAYER" for kind in KINDS]
        known = f"it has {', '.join(kinds)} and {self.output_site}"
        if site == self.output_site:
            return Place(module=model, side="output", width=self._patches.width)
        if site.tower != TOWER:
            raise UsageError(f"model '{self.name}' has no site '{site}': {known}")
        return locate(self.name, self._blocks(model), site, self._patches.width, known)

    def _tensors(self, depth: int, parts: frozenset[str]) -> dict[str, torch.Tensor]:
        """Read or draw the weights of the first `depth` blocks and of other parts."""
        if self._seed is None:
            return read_tower(
                self._files,
                self._part,
                n_layers=self.n_layers,
                n_blocks=depth,
                dtype=reading_dtype(self._skeleton, self._dtype),
            )
        layout = self._patches.layout.including(parts)
        dtype = getattr(torch, self._dtype)
        return draw_tensors(self.name, self._skeleton, layout, depth, seed=self._seed, dtype=dtype)

    def _check_added(self, model: nn.Module, sites: Sequence[Site]) -> None:
        """Raise UsageError unless attention and MLP add to the residual stream what the sites read."""

        def read(places: Mapping[str, Place]) -> Mapping[str, torch.Tensor]:
            noise = np.random.default_rng(0).standard_normal((1, *self._processing.size), dtype=np.float32)
            found = LoadedImageEncoder(self.name, model, places, processing=self._processing)
            return found.read(torch.from_numpy(noise))

        for layer in added_layers(sites):
            check_added(self.name, read, self._blocks(model)[layer], self._patches.width, self._dtype)
