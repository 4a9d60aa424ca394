"""A whole language model in memory: batches of tokens in, next-token losses out, with activations replaced on the way.

The logits are those of the model's own head, but only of the positions that predict something, slice by slice:
`[batch, tokens, vocabulary]` is never there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from harness import Tokens
from harness_transformers.forward import Padded, pad
from harness_transformers.structure import Place

LOGITS = 2**25
"""Logits in memory at once, at most: 128 MiB in float32, and what the head makes on the way."""

Splice = Callable[[torch.Tensor], torch.Tensor]


class SplicedTransformer:
    """A causal language model with a place where the activations of content tokens can be replaced. `holder` is the
    module in its decoder that runs the blocks: most often the decoder itself.
    """

    def __init__(self, model: Any, holder: nn.Module, place: Place) -> None:
        self._model, self._holder, self._place = model, holder, place

    @torch.inference_mode()
    def losses(self, batch: Sequence[Tokens], splice: Splice | None = None) -> torch.Tensor:
        """Losses in nats `[content tokens that have a position before them]`, float32, one example after the other."""
        batch = [tokens for tokens in batch if tokens.content.any()]
        device = next(self._model.parameters()).device
        if not batch:
            return torch.empty(0, device=device)
        padded = pad(batch).to(device)
        with contextlib.nullcontext() if splice is None else _replace(self._place, padded, splice):
            output = self._model.base_model(**padded.inputs)
        targets = padded.rows[padded.rows % padded.ids.shape[1] > 0]
        # content is never padding, so neither is the position before it
        hidden = output.last_hidden_state.flatten(0, 1).index_select(0, targets - 1)
        answers = padded.ids.flatten().index_select(0, targets)
        size = max(1, LOGITS // self._model.config.vocab_size)
        parts = zip(torch.split(hidden, size), torch.split(answers, size), strict=True)
        return torch.cat([self._cross_entropy(output, *part) for part in parts])

    def _cross_entropy(self, output: Any, hidden: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Losses `[rows]` of what the head makes of `hidden [rows, width]`."""
        given = type(output)(**{**output, "last_hidden_state": hidden[None]})
        with _giving(self._holder, given):
            logits = self._model(input_ids=answers[None], use_cache=False).logits[0]
        return nn.functional.cross_entropy(logits.float(), answers, reduction="none")


@contextlib.contextmanager
def _giving(module: nn.Module, output: Any) -> Iterator[None]:
    """While this lasts, the module does nothing but give `output`, so that what comes after it runs alone."""
    module.forward = lambda *args, **kwargs: output
    try:
        yield
    finally:
        del module.forward  # the class's own is there again


def _replace(place: Place, padded: Padded, splice: Splice) -> Any:
    """Hook a place so that its content rows become what `splice` makes of them; all other rows stay."""

    def replace(value: Any) -> Any:
        if isinstance(value, tuple):
            return (replace(value[0]), *value[1:])
        flat = value.reshape(-1, place.width)
        rows = flat.index_select(0, padded.rows)
        spliced = splice(rows)
        if spliced.shape != rows.shape:
            raise ValueError(f"a splice of {tuple(rows.shape)} must not give {tuple(spliced.shape)}")
        return flat.index_copy(0, padded.rows, spliced.to(flat)).reshape(value.shape)

    if place.side == "input":
        return place.module.register_forward_pre_hook(lambda module, inputs: replace(inputs))
    return place.module.register_forward_hook(lambda module, inputs, output: replace(output))
