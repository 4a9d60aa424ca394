"""Language model in memory that gives next-token losses, with activations replaced at one site.

Logits come from the model's own head, but only at positions that predict a content token, slice by slice:
`[batch, tokens, vocabulary]` never exists.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from harness import Site, Tokens
from harness_transformers.forward import Padded, pad
from harness_transformers.structure import Place

LOGITS = 2**25
"""Largest number of logits at once: 128 MiB in float32, plus the head's temporaries."""

Splice = Callable[[torch.Tensor], torch.Tensor]
"""Function from activations `[content tokens, width]` to their replacement of the same shape."""


class SplicedTransformer:
    """Causal language model in which activations of content tokens can be replaced at one place.

    `holder` is the module of the decoder that runs the blocks, usually the decoder itself; `place` is where losses are
    spliced, and `find_place` gives that of any site.
    """

    def __init__(
        self, model: Any, holder: nn.Module, place: Place, find_place: Callable[[Site], Place]
    ) -> None:
        self._model, self._holder, self._place, self._find_place = model, holder, place, find_place

    @torch.inference_mode()
    def losses(self, batch: Sequence[Tokens], splice: Splice | None = None) -> torch.Tensor:
        """Return losses in nats, float32, of the content tokens except those at a first position.

        Examples follow one another, without padding.
        """
        parts = self._read(batch, splice)
        if parts is None:
            return self._nothing()
        output, hidden, answers = parts
        slices = zip(*(torch.split(rows, self._slice) for rows in (hidden, answers)), strict=True)
        return torch.cat([self._cross_entropy(output, *part) for part in slices])

    @torch.inference_mode()
    def compare(
        self, batch: Sequence[Tokens], splices: Sequence[Splice | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses with each splice, as `losses`, and KL(own ‖ spliced) of predictions there, in nats, both
        `[splices, positions]` in float32.
        """
        own = self._read(batch, None)
        if own is None:
            return (self._nothing().expand(len(splices), 0),) * 2
        output, hidden, answers = own
        # Of the decoder's outputs the rows alone are kept: there may be many splices.
        spliced = [parts[1] for splice in splices if (parts := self._read(batch, splice))]
        losses, divergences = (torch.empty(len(splices), len(answers), device=hidden.device) for _ in "lk")
        for start in range(0, len(answers), self._slice):
            rows = slice(start, start + self._slice)
            wanted = self._predict(output, hidden[rows]).float().log_softmax(-1)
            shares = wanted.exp()
            for number, changed in enumerate(spliced):
                found = self._predict(output, changed[rows]).float().log_softmax(-1)
                losses[number, rows] = nn.functional.nll_loss(found, answers[rows], reduction="none")
                # In place: at 262,144 tokens each temporary is 128 MiB.
                divergences[number, rows] = found.sub_(wanted).mul_(shares).sum(-1).neg_()
        return losses, divergences

    def next_logits(
        self, batch: Sequence[Tokens], splices: Mapping[Site, Splice] | None = None
    ) -> torch.Tensor:
        """Return logits `[examples, vocabulary]`, float32, of the token after the last content token of each example.

        Raise ValueError for an example without content.
        """
        counts = [int(tokens.content.sum()) for tokens in batch]
        if not all(counts):
            raise ValueError("an example without content predicts nothing")
        device = next(self._model.parameters()).device
        padded = pad(batch).to(device)
        with contextlib.ExitStack() as hooks:
            for site, splice in (splices or {}).items():
                hooks.enter_context(_replace(self._find_place(site), padded, splice))
            output = self._model.base_model(**padded.inputs)
        ends = torch.tensor(counts, device=device).cumsum(0) - 1
        hidden = output.last_hidden_state.to(device).flatten(0, 1)
        hidden = hidden.index_select(0, padded.rows.index_select(0, ends))
        parts = torch.split(hidden, self._slice)
        return torch.cat([self._predict(output, part).float() for part in parts])

    def _read(
        self, batch: Sequence[Tokens], splice: Splice | None
    ) -> tuple[Any, torch.Tensor, torch.Tensor] | None:
        """Return the decoder's output, its rows `[positions, width]` that predict a content token, and these tokens;
        None for a batch without content.
        """
        batch = [tokens for tokens in batch if tokens.content.any()]
        device = next(self._model.parameters()).device
        if not batch:
            return None
        padded = pad(batch).to(device)
        with contextlib.nullcontext() if splice is None else _replace(self._place, padded, splice):
            output = self._model.base_model(**padded.inputs)
        targets = padded.rows[padded.rows % padded.ids.shape[1] > 0]
        # Content is never padding, so the position before it is not padding either. The last block of a spread model
        # is on another device.
        hidden = output.last_hidden_state.to(device).flatten(0, 1).index_select(0, targets - 1)
        return output, hidden, padded.ids.flatten().index_select(0, targets)

    @property
    def _slice(self) -> int:
        """Positions whose logits are computed at once."""
        size: int = self._model.config.vocab_size
        return max(1, LOGITS // size)

    def _nothing(self) -> torch.Tensor:
        return torch.empty(0, device=next(self._model.parameters()).device)

    def _cross_entropy(self, output: Any, hidden: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Return losses `[rows]` of the head's logits for `hidden [rows, width]`."""
        return nn.functional.cross_entropy(self._predict(output, hidden).float(), answers, reduction="none")

    def _predict(self, output: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Return the head's logits `[rows, vocabulary]` for `hidden [rows, width]`, in the model's dtype."""
        given = type(output)(**{**output, "last_hidden_state": hidden[None]})
        unread = torch.zeros((1, len(hidden)), dtype=torch.long, device=hidden.device)
        with _fixed_output(self._holder, given):
            logits: torch.Tensor = self._model(input_ids=unread, use_cache=False).logits[0]
        return logits


@contextlib.contextmanager
def _fixed_output(module: nn.Module, output: Any) -> Iterator[None]:
    """Replace a module's forward pass by a fixed output inside the context.

    Only what follows the module is then computed.
    """
    own = vars(module).get("forward")  # that of a spread model, which moves what it is given
    module.forward = lambda *args, **kwargs: output
    try:
        yield
    finally:
        del module.forward  # uncovers the class's own method
        if own is not None:
            module.forward = own


def _replace(place: Place, padded: Padded, splice: Splice) -> Any:
    """Hook a place to replace its content rows by `splice` of them and keep all other rows."""

    def replace(value: Any) -> Any:
        if isinstance(value, tuple):
            return (replace(value[0]), *value[1:])
        flat = value.reshape(-1, place.width)
        chosen = padded.rows.to(flat.device)
        rows = flat.index_select(0, chosen).to(padded.rows.device)
        spliced = splice(rows)
        if spliced.shape != rows.shape:
            raise ValueError(f"a splice of {tuple(rows.shape)} must not give {tuple(spliced.shape)}")
        return flat.index_copy(0, chosen, spliced.to(flat.device, flat.dtype)).reshape(value.shape)

    if place.side == "input":
        return place.module.register_forward_pre_hook(lambda module, inputs: replace(inputs))
    return place.module.register_forward_hook(lambda module, inputs, output: replace(output))
