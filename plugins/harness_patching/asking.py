"""Questions to a model: prompts and twins, what it predicts, and its activations at sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness import LanguageModel, OpenModel, PredictingModel, Site, UnavailableError, UsageError

if TYPE_CHECKING:
    from harness import Tokens
    from harness_patching.behaviours import Encoded

BATCH = 16
"""Items in a batch."""

Splices = Mapping[Site, Callable[[Tensor], Tensor]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Batch of items as a model answers them: log-probabilities `[items, vocabulary]` of prompts, and differences in
    logits between right and wrong answer `[items]` and activations `[tokens, d]` by site, of prompts and twins.
    """

    items: Sequence[Encoded]
    log_probabilities: Tensor
    prompt_gap: Tensor
    twin_gap: Tensor
    twin_kl: Tensor
    prompt_rows: Mapping[Site, Tensor]
    twin_rows: Mapping[Site, Tensor]


def load(opened: OpenModel, site: Site, device: str) -> PredictingModel:
    """Load a whole model. Raise UsageError for one without predictions of the next token."""
    model = opened.model
    if not isinstance(model, LanguageModel):
        raise UsageError(f"model '{opened.label}' predicts no next token, so it shows no such behaviour")
    whole = model.load_whole(site, device)
    if not isinstance(whole, PredictingModel):
        raise UsageError(
            f"model '{opened.label}' gives losses and no logits, so nothing can be patched in it"
        )
    return whole


def batches_of(items: Sequence[Encoded]) -> list[Sequence[Encoded]]:
    """Return items in batches, by length: prompts of a batch are padded little."""
    ordered = sorted(items, key=lambda item: len(item.prompt.ids))
    return [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]


@torch.inference_mode()
def ask(whole: PredictingModel, items: Sequence[Encoded], sites: Sequence[Site]) -> Asked:
    """Ask a model a batch of prompts, and their twins, and keep its activations at the sites."""
    prompt_rows: dict[Site, Tensor] = {}
    twin_rows: dict[Site, Tensor] = {}

    def keeping(rows: dict[Site, Tensor], site: Site) -> Callable[[Tensor], Tensor]:
        def keep(activations: Tensor) -> Tensor:
            rows[site] = activations.float()
            return activations

        return keep

    prompts, twins = (
        predict(whole, [getattr(item, name) for item in items], {site: keeping(rows, site) for site in sites})
        for name, rows in (("prompt", prompt_rows), ("twin", twin_rows))
    )
    return Asked(
        items=items,
        log_probabilities=prompts,
        prompt_gap=gap_of(prompts, items),
        twin_gap=gap_of(twins, items),
        twin_kl=kl_of(prompts, twins),
        prompt_rows=prompt_rows,
        twin_rows=twin_rows,
    )


def predict(whole: PredictingModel, batch: Sequence[Tokens], splices: Splices) -> Tensor:
    """Return log-probabilities of the next token `[examples, vocabulary]`."""
    return whole.next_logits(batch, splices).log_softmax(-1)


def gap_of(log_probabilities: Tensor, items: Sequence[Encoded]) -> Tensor:
    """Return the difference in logits between the right and the wrong answer to the prompt, `[items]`."""
    rows = torch.arange(len(items), device=log_probabilities.device)
    right, wrong = (
        torch.tensor([getattr(item, name) for item in items], device=log_probabilities.device)
        for name in ("right", "wrong")
    )
    return log_probabilities[rows, right] - log_probabilities[rows, wrong]


def kl_of(prompts: Tensor, others: Tensor) -> Tensor:
    """Return KL(prompts ‖ others) in nats of log-probabilities `[items, vocabulary]`."""
    return (prompts.exp() * (prompts - others)).sum(-1)


def slope_at(whole: PredictingModel, asked: Asked, site: Site) -> Tensor:
    """Return the gradient `[tokens, d]` of the difference in logits, at the twins' activations at a site.

    Raise UnavailableError for a model that records no gradients.
    """
    leaves: list[Tensor] = []

    def start(rows: Tensor) -> Tensor:
        leaves.append(rows.detach().clone().requires_grad_())
        return leaves[0]

    with torch.enable_grad():
        predicted = predict(whole, [item.twin for item in asked.items], {site: start})
        gaps = gap_of(predicted, asked.items).sum()
        if not gaps.requires_grad:
            raise UnavailableError(
                "the model's predictions have no gradients, and features are chosen by them: its `next_logits` must "
                "record them where torch does"
            )
        (slope,) = torch.autograd.grad(gaps, leaves)
    return slope.float()
