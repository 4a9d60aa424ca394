"""A truncated decoder in memory: batches of tokens in, the activations of their content tokens out."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import Tokens
from harness_transformers.structure import Place


class LoadedTransformer:
    """A truncated decoder in memory, read at places that each have a key."""

    def __init__(self, model: nn.Module, places: Mapping[Any, Place]) -> None:
        self._model = model
        self._places = places

    @torch.inference_mode()
    def forward(self, batch: Sequence[Tokens]) -> Mapping[Any, torch.Tensor]:
        """For each place the content tokens of the batch: `[content tokens, width]`, in the model's dtype."""
        batch = [tokens for tokens in batch if tokens.content.any()]
        parameter = next(self._model.parameters())
        if not batch:
            return {key: parameter.new_empty(0, place.width) for key, place in self._places.items()}
        ids, mask, rows = (part.to(parameter.device) for part in _pad(batch))
        kept: dict[Any, torch.Tensor] = {}
        with contextlib.ExitStack() as hooks:
            for key, place in self._places.items():
                hooks.enter_context(_keep(place, key, ids.numel(), rows, kept))
            self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
                use_cache=False,
            )
        return kept


def _pad(batch: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and mask `[batch, longest]`, padded on the right; and where content stands when both are flat."""
    shape = len(batch), max(len(tokens.ids) for tokens in batch)
    ids, mask, content = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    for row, tokens in enumerate(batch):
        length = len(tokens.ids)
        ids[row, :length], mask[row, :length], content[row, :length] = tokens.ids, 1, tokens.content
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(content.ravel().nonzero()[0])


def _keep(
    place: Place, key: Hashable, n_positions: int, rows: torch.Tensor, kept: dict[Any, torch.Tensor]
) -> Any:
    """Hook a place so that its content rows, and no padded tensor, outlive the forward pass."""

    def keep(value: Any) -> None:
        value = value[0] if isinstance(value, tuple) else value
        kept[key] = value.reshape(n_positions, place.width).index_select(0, rows)

    if place.side == "input":
        return place.module.register_forward_pre_hook(lambda module, inputs: keep(inputs))
    return place.module.register_forward_hook(lambda module, inputs, output: keep(output))
