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

import torch
from torch import Tensor, nn

COLUMNS = {"cpu": 1024, "cuda": 8192}
"""Columns of an encoder multiplied at once, by kind of device: full speed in both, in a buffer that stays in use."""


@dataclass(frozen=True, kw_only=True)
class PaddedBatch:
    """Inputs of one batch on the device: `inputs` of the decoder, and `rows`, the content of the flattened batch."""

    inputs: Mapping[str, Any]
    rows: Tensor


class Limit:
    """One decoder, the outputs of its blocks by layer, and the encoder weights `[d_in, width]` read at each."""

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
