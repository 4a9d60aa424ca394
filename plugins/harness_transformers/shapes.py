"""Decoders with weights drawn at the shapes of published models, for measuring: nothing is downloaded or read.

Sizes are those of the models' own config.json; a text's words are given numbers by their spelling.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import Site, Tokens, UsageError
from harness_transformers.forward import LoadedTransformer
from harness_transformers.structure import find_place

PREFIX = "shape:"
"""Beginning of the reference of such a model, `shape:NAME`."""

FIRST_ID = 3
"""Lowest number of a word: those below are special tokens, of which 2 begins a text."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a decoder, by the names of the configuration class `kind` of transformers."""

    kind: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    query_pre_attn_scalar: int
    sliding_window: int = 4096
    vocab_size: int = 256_000

    def config(self, n_blocks: int) -> Any:
        """Return the configuration of the decoder's first `n_blocks` blocks."""
        import transformers

        sizes = {**vars(self), "num_hidden_layers": n_blocks}
        return getattr(transformers, f"{sizes.pop('kind')}Config")(**sizes)


def _gemma_2(hidden: int, layers: int, heads: int, head_dim: int, inner: int, scalar: int) -> Shape:
    return Shape(
        kind="Gemma2",
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=head_dim,
        intermediate_size=inner,
        query_pre_attn_scalar=scalar,
    )


SHAPES: Mapping[str, Shape] = {
    "gemma-3-270m": Shape(
        kind="Gemma3Text",
        hidden_size=640,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        intermediate_size=2048,
        query_pre_attn_scalar=256,
        sliding_window=512,
        vocab_size=262_144,
    ),
    "gemma-2-2b": _gemma_2(2304, 26, 8, 256, 9216, 256),
    "gemma-2-9b": _gemma_2(3584, 42, 16, 256, 14_336, 256),
    "gemma-2-27b": _gemma_2(4608, 46, 32, 128, 36_864, 144),
    "toy": _gemma_2(64, 4, 2, 32, 256, 32),
}
"""Shapes by name; `toy` measures nothing, and tries a benchmark out in seconds."""


class ShapeModel:
    """Model whose weights are drawn on the device when it is loaded: bfloat16 on a GPU, float32 on a CPU."""

    def __init__(self, name: str) -> None:
        if name not in SHAPES:
            raise UsageError(f"there is no shape '{name}': choose one of {', '.join(SHAPES)}")
        self.name = f"{PREFIX}{name}"
        self.shape = SHAPES[name]
        self.architecture = self.shape.config(1).model_type
        self.n_layers = self.shape.num_hidden_layers
        heads = self.shape.num_attention_heads + self.shape.num_key_value_heads
        width = self.shape.hidden_size
        self.n_parameters = (
            self.n_layers * width * (2 * heads * self.shape.head_dim + 3 * self.shape.intermediate_size)
        )

    def width(self, site: Site) -> int:
        """Return the size of the activations; raise UsageError for any other site than a residual stream."""
        if site.kind != "resid_post" or site.tower or site.layer >= self.n_layers:
            last = self.n_layers - 1
            raise UsageError(
                f"model '{self.name}' has no site '{site}': it has resid_post.0 to resid_post.{last}"
            )
        return self.shape.hidden_size

    def identity(self, site: Site) -> Mapping[str, Any]:
        """Raise UsageError: other weights are drawn on another device, so no result of theirs may be kept."""
        raise UsageError(
            f"model '{self.name}' has drawn weights and is there to be measured: use harness bench"
        )

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """Return a beginning of sequence, and one token for each word."""
        if not all(isinstance(text, str) for text in inputs):
            raise UsageError(f"model '{self.name}' reads texts, no conversations and no images")
        return [self._encode(text) for text in inputs]

    def _encode(self, text: str) -> Tokens:
        room = self.shape.vocab_size - FIRST_ID
        ids = [
            2,
            *(FIRST_ID + zlib.crc32(word.encode("utf-8", "surrogatepass")) % room for word in text.split()),
        ]
        return Tokens(ids=np.array(ids), content=np.arange(len(ids)) > 0)

    def load(self, sites: Sequence[Site], device: str) -> LoadedTransformer:
        """Draw the blocks up to the deepest of `sites`; those of another depth begin with the same weights."""
        import torch
        import transformers

        config = self.shape.config(max(site.layer for site in sites) + 1)
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        with torch.random.fork_rng(), torch.device(device):
            model = transformers.AutoModel.from_config(
                config, dtype=dtype, attn_implementation="eager", trust_remote_code=False
            ).eval()
        for name, weight in model.named_parameters():
            if (
                weight.ndim > 1
            ):  # by its name, since a whole model is drawn in another order than a part of it
                generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
                torch.nn.init.normal_(weight, std=0.02, generator=generator)
        places = {site: find_place(model.layers[site.layer], site.kind, self.width(site)) for site in sites}
        return LoadedTransformer(model, {site: place for site, place in places.items() if place is not None})
