"""Tokens of prompts as open_clip makes them, and their directions in the space of image embeddings."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import nn
from torch.nn.functional import normalize

from harness import HubFiles, is_offline, parsing
from harness_open_clip.references import Checkpoint
from harness_open_clip.structure import first_of

BATCH_SIZE = 256
"""Number of prompts in one batch."""


def read_tokenizer(checkpoint: Checkpoint) -> Callable[[list[str]], torch.Tensor]:
    """Read the tokenizer that open_clip chooses for a text tower; raise UnavailableError if it is unavailable."""
    config = checkpoint.model["text_cfg"]
    named = config.get("hf_tokenizer_name")
    # A folder may have a config.json of its own, which must not be written over.
    more = (
        f"--local-dir {shlex.quote(str(checkpoint.tokenizer))}"
        if checkpoint.tokenizer
        else "--include config.json"
    )
    wanted = "--include '*token*' --include 'vocab*' --include 'merges*' --include '*.model'"
    remedy = f"when online, run `hf download {named} {wanted} {more}`" if named else ""
    tokenizer: Callable[[list[str]], torch.Tensor]
    with parsing(f"model '{checkpoint.name}': the tokenizer of its text tower is unavailable", hint=remedy):
        parameters: dict[str, Any] = dict(config.get("tokenizer_kwargs") or {})
        if "context_length" in config:
            parameters["context_length"] = config["context_length"]
        if named:
            source = str(checkpoint.tokenizer or named)
            mode = config.get("tokenizer_mode")
            hub = HubFiles(f"model '{checkpoint.name}': its tokenizer '{named}'", named)
            try:
                tokenizer = HFTokenizer(source, tokenizer_mode=mode, trust_remote_code=False, **parameters)
            except Exception as error:  # a tokenizer's code may raise any type
                if not checkpoint.tokenizer and not is_offline() and hub.is_answer(error):
                    raise hub.refusal(error) from error
                raise
        else:
            tokenizer = SimpleTokenizer(**parameters)
    return tokenizer


class TextTower:
    """Text tower in memory; `scale` is the factor of its cosines."""

    def __init__(self, tower: nn.Module, scale: float) -> None:
        self._tower = tower
        self.scale = scale

    @torch.inference_mode()
    def directions(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the direction of each class, `[classes, embedding]` in float32.

        `ids` are `[classes, templates, context]`. A direction is the mean of its prompts' embeddings at unit
        length, normalised again (Radford et al. 2021, section 3.1.4).
        """
        device = next(self._tower.parameters()).device
        parts = [
            first_of(self._tower(part.to(device))).float()
            for part in torch.split(ids.flatten(0, 1), BATCH_SIZE)
        ]
        embeddings = normalize(torch.cat(parts), dim=-1)
        return normalize(embeddings.reshape(*ids.shape[:2], -1).mean(1), dim=-1)
