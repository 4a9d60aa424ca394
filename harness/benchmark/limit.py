"""The limit: what the hardware needs for the same numbers, without anything that a harness adds.

The same batches through the same decoder, to the deepest site, and the products of all encoders into one kept buffer,
in the same dtype and with the same threads. No bias, activation, pooling, tokenising, transfer or writing; padded
inputs are on the device before the clock starts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.api.data import Tokens

COLUMNS = {"cpu": 1024, "cuda": 8192}
"""Columns of an encoder multiplied at once, by kind of device: full speed in both, in a buffer that stays in use."""


@dataclass(frozen=True, kw_only=True)
class PaddedBatch:
    """Inputs of one batch on the device: `inputs` of the decoder, and `rows`, the content of the flattened batch."""

    inputs: Mapping[str, Any]
    rows: Tensor


def pad(batch: Sequence[Tokens], device: str) -> PaddedBatch:
    """Return a batch padded on the right, on the device; texts without content are left out, as the harness does."""
    batch = [tokens for tokens in batch if tokens.content.any()]
    shape = len(batch), max(len(tokens.ids) for tokens in batch)
    ids, mask, content = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    for row, tokens in enumerate(batch):
        length = len(tokens.ids)
        ids[row, :length], mask[row, :length], content[row, :length] = tokens.ids, 1, tokens.content
    attention = torch.from_numpy(mask).to(device)
    inputs = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": attention,
        "position_ids": (attention.cumsum(-1) - 1).clamp(min=0),
        "use_cache": False,
    }
    return PaddedBatch(inputs=inputs, rows=torch.from_numpy(content.ravel().nonzero()[0]).to(device))


class Limit:
    """Limit of the hardware: a decoder, its `blocks` by layer, and the encoder `weights [d_in, width]` read at each."""

    def __init__(
        self,
        decoder: nn.Module,
        blocks: Mapping[int, nn.Module],
        weights: Mapping[int, Sequence[Tensor]],
        batches: Sequence[PaddedBatch],
    ) -> None:
        self.decoder, self.blocks, self.weights, self.batches = decoder, blocks, weights, batches
        device = next(decoder.parameters()).device
        self.columns = COLUMNS.get(device.type, COLUMNS["cpu"])
        most = max(len(batch.rows) for batch in batches)
        self.buffer = torch.empty(most * self.columns, device=device)

    @torch.inference_mode()
    def run(self) -> None:
        """Run every batch once."""
        for batch in self.batches:
            kept: dict[int, Tensor] = {}
            with contextlib.ExitStack() as hooks:
                for layer, block in self.blocks.items():
                    hooks.enter_context(block.register_forward_hook(_keeper(kept, layer, batch.rows)))
                self.decoder(**batch.inputs)
            for layer, x in kept.items():
                for weight in self.weights[layer]:
                    self._multiply(x.to(weight.dtype), weight)

    def _multiply(self, x: Tensor, weight: Tensor) -> None:
        for start in range(0, weight.shape[1], self.columns):
            part = weight[:, start : start + self.columns]
            torch.mm(x, part, out=self.buffer[: len(x) * part.shape[1]].view(len(x), part.shape[1]))


def _keeper(kept: dict[int, Tensor], layer: int, rows: Tensor) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        value = output if isinstance(output, Tensor) else output[0]
        kept[layer] = value.reshape(-1, value.shape[-1]).index_select(0, rows)

    return keep
