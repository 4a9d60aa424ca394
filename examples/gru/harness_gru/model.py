"""The GRU: what it is, how it reads a text, and its activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import harness

if TYPE_CHECKING:
    import torch

WEIGHTS = Path(__file__).with_name("weights.safetensors")
WIDTH, LAYERS = 96, 2
START = 256
"""Number of the token that begins every text, beyond all bytes; it is no content."""
MAX_LENGTH = 1024


class Recurrent:
    """The model before its weights are loaded."""

    name = "gru"
    architecture = "gru"
    n_layers = LAYERS
    n_parameters = LAYERS * 6 * WIDTH * (WIDTH + 1)

    @cached_property
    def sha256(self) -> str:
        """Hash of the file of weights, which is a part of every identity."""
        with harness.parsing(f"the weights of model '{self.name}' cannot be read"):
            return harness.hash_file(WEIGHTS)

    def width(self, site: harness.Site) -> int:
        """Return the size of the activations at a site, which is the output of a layer."""
        if site.tower or site.kind != "resid_post" or site.layer >= LAYERS:
            raise harness.UsageError(
                f"model '{self.name}' has no site '{site}': it has resid_post.0 to resid_post.{LAYERS - 1}"
            )
        return WIDTH

    def identity(self, site: harness.Site) -> Mapping[str, Any]:
        """Return all that decides an activation."""
        return {"kind": "harness_gru", "weights": self.sha256, "max_length": MAX_LENGTH}

    def tokenize(self, inputs: Sequence[Any]) -> list[harness.Tokens]:
        """Return the bytes of each text, or of the text of a conversation."""
        return [encode(str(each)) for each in inputs]

    def load(self, sites: Sequence[harness.Site], device: str) -> LoadedRecurrent:
        """Read the weights, only as deep as the deepest of the sites."""
        depth = 1 + max(site.layer for site in sites)
        embedding, layers = read_weights(self.name, self.sha256, depth)
        return LoadedRecurrent(sites, embedding.to(device), [layer.to(device) for layer in layers], device)


class LoadedRecurrent:
    """The model in memory."""

    def __init__(
        self,
        sites: Sequence[harness.Site],
        embedding: torch.nn.Embedding,
        layers: Sequence[torch.nn.GRU],
        device: str,
    ) -> None:
        self.sites, self.embedding, self.layers, self.device = tuple(sites), embedding, layers, device

    def forward(self, batch: Sequence[harness.Tokens]) -> Mapping[harness.Site, torch.Tensor]:
        """Return the outputs of the layers at the content tokens, example after example."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        with torch.inference_mode():
            # Padding stands at the end, where a layer that reads from left to right has passed all bytes already.
            ids = pad_sequence([torch.from_numpy(each.ids) for each in batch], batch_first=True)
            content = pad_sequence([torch.from_numpy(each.content) for each in batch], batch_first=True)
            values, content, outputs = self.embedding(ids.to(self.device)), content.to(self.device), []
            for layer in self.layers:
                values, _ = layer(values)
                outputs.append(values)
            return {site: outputs[site.layer][content] for site in self.sites}


def encode(text: str) -> harness.Tokens:
    """Return the bytes of a text in UTF-8, after the token that begins it."""
    data = text.encode("utf-8", errors="replace")
    ids = np.array([START, *data[:MAX_LENGTH]], dtype=np.int64)
    return harness.Tokens(ids=ids, content=ids != START, truncated=len(data) > MAX_LENGTH)


def build(depth: int) -> tuple[torch.nn.Embedding, list[torch.nn.GRU]]:
    """Return the layers with weights that are still to be filled in."""
    import torch

    embedding = torch.nn.Embedding(START + 1, WIDTH)
    return embedding, [torch.nn.GRU(WIDTH, WIDTH, batch_first=True) for _ in range(depth)]


def read_weights(name: str, sha256: str, depth: int) -> tuple[torch.nn.Embedding, list[torch.nn.GRU]]:
    """Return the layers as they were trained. Raise UnavailableError for a file that is broken, or another one."""
    import torch
    from safetensors.torch import load_file

    said = f"the weights of model '{name}' cannot be read"
    with harness.parsing(said, hint="install it anew"), harness.unchanged({WEIGHTS: sha256}):
        # In float32 they are copies, and no longer the memory of the file, which may be replaced.
        tensors = {key: tensor.to(torch.float32) for key, tensor in load_file(WEIGHTS).items()}
        with torch.random.fork_rng(devices=[]):
            embedding, layers = build(depth)
        embedding.load_state_dict({"weight": tensors["embedding.weight"]})
        for number, layer in enumerate(layers):
            start = f"layers.{number}."
            layer.load_state_dict(
                {key.removeprefix(start): each for key, each in tensors.items() if key.startswith(start)}
            )
    return embedding, layers
