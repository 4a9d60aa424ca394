"""Reader of a task's activations: one forward pass, of which means over tokens and a sample of tokens are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harness import Dictionary, LabelledTask, UnavailableError, load_decoder, plan_batches, run_batches

if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

SAMPLE_TOKENS = 16384
"""Content tokens of test rows on which the size of an edit is measured."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """Means over the content tokens of each example: activations `[examples, d]` and features `[examples, width]`, both
    float64 on the CPU, and the activations of a sample of test tokens `[tokens, d]`, float32.
    """

    hidden: Tensor
    features: Tensor | None
    sample: Tensor


def find_decoder(task: LabelledTask, representation: str, device: str) -> Dictionary:
    """Load a dictionary at the task's site with its decoder. Raises as `harness.load_decoder`."""
    return load_decoder(task.place(representation), representation, task.site, device)


def read(
    task: LabelledTask, dictionary: Dictionary | None, *, device: str, batch_size: int | None = None
) -> Means:
    """Run the model over all examples of a task, and return their means and a sample of test tokens."""
    loaded = task.model.model.load([task.site], device)
    sampled = set(take_rows(task, SAMPLE_TOKENS))
    hidden: dict[int, Tensor] = {}
    features: dict[int, Tensor] = {}
    kept: dict[int, Tensor] = {}

    @torch.inference_mode()
    def work(rows: Sequence[int]) -> None:
        batch = [task.tokens[row] for row in rows]
        counts = [int(one.content.sum()) for one in batch]
        activations = loaded.forward(batch)[task.site].float()
        parts = torch.split(activations, counts)
        for row, part in zip(rows, parts, strict=True):
            hidden[row] = part.double().mean(0).cpu()
            if row in sampled:
                kept[row] = part.cpu()
        if dictionary is not None:
            for row, part in zip(rows, torch.split(dictionary.encode(activations), counts), strict=True):
                features[row] = part.double().mean(0).cpu()

    for _ in run_batches(batches_of(task, range(len(task.tokens)), device, batch_size), work):
        pass
    order = range(len(task.tokens))
    found = Means(
        hidden=torch.stack([hidden[row] for row in order]),
        features=torch.stack([features[row] for row in order]) if features else None,
        sample=torch.cat([kept[row] for row in sorted(kept)]),
    )
    if not bool(torch.isfinite(found.hidden).all()):
        raise UnavailableError(
            f"model '{task.model.label}' has activations at '{task.site}' that are not finite"
        )
    return found


def take_rows(task: LabelledTask, limit: int) -> list[int]:
    """Return the first test rows that hold `limit` content tokens together, or all."""
    taken, total = [], 0
    for row in task.test.tolist():
        if total >= limit:
            break
        taken.append(row)
        total += int(task.tokens[row].content.sum())
    return taken


def batches_of(
    task: LabelledTask, rows: Sequence[int], device: str, batch_size: int | None
) -> list[list[int]]:
    """Return batches of row numbers, the longest inputs first."""
    lengths = [len(task.tokens[row].ids) for row in rows]
    return [
        [rows[place] for place in batch]
        for batch in plan_batches(lengths, batch_size=batch_size, device=device)
    ]


def measure_edit(erased: Tensor, sample: Tensor) -> tuple[float, float]:
    """Return the share of tokens that an eraser changes, and the mean of ‖x − x'‖ / ‖x‖, of a sample `[tokens, d]`."""
    change = (erased - sample).norm(dim=1)
    sizes = sample.norm(dim=1).clamp(min=torch.finfo(sample.dtype).tiny)
    return float((change > 0).float().mean()), float((change / sizes).double().mean())
