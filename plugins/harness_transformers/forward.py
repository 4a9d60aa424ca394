"""Truncated decoder in memory that reads the activations of content tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import Tokens, UnavailableError
from harness_transformers.opening import first_line
from harness_transformers.structure import Place


class LoadedTransformer:
    """Truncated decoder in memory, `model`, read at places identified by keys."""

    def __init__(self, model: nn.Module, places: Mapping[Any, Place]) -> None:
        self.model = model
        self._places = places

    @torch.inference_mode()
    def forward(self, batch: Sequence[Tokens]) -> Mapping[Any, torch.Tensor]:
        """Return for each place the batch's content tokens, `[content tokens, width]`, in the model's dtype."""
        batch = [tokens for tokens in batch if tokens.content.any()]
        parameter = next(self.model.parameters())
        if not batch:
            return {key: parameter.new_empty(0, place.width) for key, place in self._places.items()}
        padded = pad(batch).to(parameter.device)
        kept: dict[Any, torch.Tensor] = {}
        with contextlib.ExitStack() as hooks:
            for key, place in self._places.items():
                hooks.enter_context(keep(place, key, select_rows(padded.rows, place.width), kept))
            try:
                self.model(**padded.inputs)
            # Of a configuration that contradicts itself; a lack of memory is a RuntimeError.
            except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
                raise UnavailableError(
                    f"a {type(self.model).__name__} cannot be run as its config.json says: {first_line(error)}"
                ) from error
        return kept


@dataclass(frozen=True, kw_only=True)
class Padded:
    """Ids and mask `[batch, longest]`, padded on the right, and indices of content in the flattened batch."""

    ids: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor

    def to(self, device: torch.device) -> Padded:
        return Padded(ids=self.ids.to(device), mask=self.mask.to(device), rows=self.rows.to(device))

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of a decoder's forward pass."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "position_ids": (self.mask.cumsum(-1) - 1).clamp(min=0),
            "use_cache": False,
        }


def pad(batch: Sequence[Tokens]) -> Padded:
    """Pad the tokens of a batch to one tensor on the CPU."""
    shape = len(batch), max(len(tokens.ids) for tokens in batch)
    ids, mask, content = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    for row, tokens in enumerate(batch):
        length = len(tokens.ids)
        ids[row, :length], mask[row, :length], content[row, :length] = tokens.ids, 1, tokens.content
    return Padded(
        ids=torch.from_numpy(ids),
        mask=torch.from_numpy(mask),
        rows=torch.from_numpy(content.ravel().nonzero()[0]),
    )


def select_rows(rows: torch.Tensor, width: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that selects rows by index from `[…, width]`, flattened to two dimensions.

    What it returns is on the device of `rows`, also where a block of a spread model is on another.
    """
    return lambda value: value.reshape(-1, width).index_select(0, rows.to(value.device)).to(rows.device)


def keep(
    place: Place,
    key: Hashable,
    choose: Callable[[torch.Tensor], torch.Tensor],
    kept: dict[Any, torch.Tensor],
) -> Any:
    """Hook a place to store `choose` of its value under `key`."""

    # Only what is chosen outlives the forward pass; the padded tensor does not.
    def note(value: Any) -> None:
        kept[key] = choose(value if isinstance(value, torch.Tensor) else value[0])

    if place.side == "input":
        return place.module.register_forward_pre_hook(lambda module, inputs: note(inputs))
    return place.module.register_forward_hook(lambda module, inputs, output: note(output))
