"""Fragments of a task's texts, in two halves: one from which features are explained, and one on which they are scored.

No text has fragments in both. All arms share the fragments, and an order of them that decides which are "random".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness import (
    Encoder,
    Fragment,
    LabelledTask,
    Passage,
    SpellingModel,
    Tokens,
    UnavailableError,
    UsageError,
    plan_batches,
    run_batches,
)

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

LARGEST = 10.0
"""Activation of a feature where it fires most in what its explanation is made from."""

TOGETHER = 32
"""Fragments encoded at once."""

LIT = 0.5
"""Share of a fragment's largest activation from which a token counts as one on which the feature fires."""

MOST_LIT = 0.25
"""Largest share of a fragment's tokens that fuzzing marks."""


@dataclass(frozen=True, kw_only=True)
class Half:
    """Fragments of one half, of equal length in content tokens: `words [fragments]` as they are spelled, and
    activations of the model `[fragments, length, d]`, float32.
    """

    words: tuple[tuple[str, ...], ...]
    activations: Tensor

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Fragments of a half for one feature, by number: those with the largest activations, random others, and random
    ones whose largest activation is at most the median of all fragments.
    """

    top: tuple[int, ...]
    random: tuple[int, ...]
    quiet: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Positive part of one feature on a half's fragments, `activations [fragments, length]`, with the fragments drawn
    for it.
    """

    half: Half
    activations: Array
    draw: Draw

    def show(self) -> list[Fragment]:
        """Return top and random fragments with activations from 0 to 10."""
        scale = LARGEST / float(self.activations.max())
        return [
            Fragment(tokens=self.half.words[row], activations=self.activations[row] * scale)
            for row in (*self.draw.top, *self.draw.random)
        ]

    def hide(self, rows: Sequence[int]) -> list[Passage]:
        """Return fragments without their activations."""
        return [Passage(tokens=self.half.words[row]) for row in rows]

    def mark(self, seed: int) -> tuple[list[Passage], Array]:
        """Return the top fragments twice, with the tokens marked on which the feature fires, and as many on which it
        fires least, of equal ones random ones; and which have the right marks.
        """
        draw = np.random.default_rng(seed)
        right: list[Passage] = []
        wrong: list[Passage] = []
        for row in self.draw.top:
            values = self.activations[row]
            order = np.lexsort((draw.random(len(values)), -values))
            n = min(int((values >= LIT * values.max()).sum()), max(1, int(MOST_LIT * len(values))))
            for found, places in ((right, order[:n]), (wrong, order[-n:])):
                found.append(Passage(tokens=self.half.words[row], marked=tuple(sorted(places.tolist()))))
        return [*right, *wrong], np.arange(len(right) + len(wrong)) < len(right)


def read_halves(
    task: LabelledTask, *, length: int, fragments: int, device: str, batch_size: int | None = None
) -> tuple[Half, Half]:
    """Return both halves of a task's texts, each of at most `fragments` fragments of `length` content tokens. Raise
    UsageError for a model whose tokens cannot be spelled, and UnavailableError where texts are too short or too few.
    """
    if not isinstance(task.model.model, SpellingModel):
        raise UsageError(
            f"model '{task.model.label}' does not spell its tokens, so nobody can be shown where it fires"
        )
    groups = np.unique(task.groups)
    is_first = dict(
        zip(groups.tolist(), np.random.default_rng(0).permutation(len(groups)) % 2 == 0, strict=True)
    )
    cut: tuple[list[Tokens], list[Tokens]] = ([], [])
    for row in np.random.default_rng(1).permutation(len(task.tokens)).tolist():
        half = cut[0 if is_first[task.groups[row].item()] else 1]
        half += _cut(task.tokens[row], length)
    first, second = (
        _read(task, half[:fragments], length, device=device, batch_size=batch_size) for half in cut
    )
    return first, second


def _cut(tokens: Tokens, length: int) -> list[Tokens]:
    """Return consecutive fragments of `length` content tokens, each after what stands before the text (BOS)."""
    held = np.flatnonzero(tokens.content)
    before = tokens.ids[: held[0]] if len(held) else tokens.ids
    return [
        Tokens(
            ids=np.concatenate([before, tokens.ids[held[start : start + length]]]),
            content=np.arange(len(before) + length) >= len(before),
        )
        for start in range(0, len(held) - length + 1, length)
    ]


def _read(
    task: LabelledTask, cut: Sequence[Tokens], length: int, *, device: str, batch_size: int | None
) -> Half:
    if not cut:
        raise UnavailableError(
            f"task '{task.spec.name}' has too few texts of {length} tokens or more: give a smaller --length, or "
            "another task"
        )
    model = task.model.model
    loaded = model.load([task.site], device)
    found: dict[int, Tensor] = {}

    @torch.inference_mode()
    def work(rows: Sequence[int]) -> None:
        read = loaded.forward([cut[row] for row in rows])[task.site].float().cpu()
        found.update(zip(rows, read.reshape(len(rows), length, -1), strict=True))

    batches = plan_batches([len(one.ids) for one in cut], batch_size=batch_size, device=device)
    for _ in run_batches(batches, work):
        pass
    activations = torch.stack([found[row] for row in range(len(cut))])
    if not bool(torch.isfinite(activations).all()):
        raise UnavailableError(
            f"model '{task.model.label}' has activations at '{task.site}' that are not finite"
        )
    assert isinstance(model, SpellingModel)  # checked before anything is read
    words = tuple(tuple(model.spell(one)[-length:]) for one in cut)
    return Half(words=words, activations=activations)


@torch.inference_mode()
def find_maxima(encoder: Encoder, half: Half, device: str) -> Array:
    """Return the largest activation of each feature in each fragment, at least 0: `[fragments, width]`, float32."""
    parts = []
    for part in torch.split(half.activations, TOGETHER):
        features = encoder.encode(part.flatten(0, 1).to(device)).reshape(*part.shape[:2], -1)
        parts.append(features.amax(dim=1).clamp(min=0).cpu())
    return torch.cat(parts).numpy()


@torch.inference_mode()
def take_features(encoder: Encoder, half: Half, features: Sequence[int], device: str) -> Array:
    """Return the positive part of some features, `[features, fragments, length]`, float32."""
    chosen = torch.as_tensor(list(features), device=device)
    parts = [
        encoder.encode(part.flatten(0, 1).to(device))[:, chosen]
        .clamp(min=0)
        .reshape(*part.shape[:2], -1)
        .cpu()
        for part in torch.split(half.activations, TOGETHER)
    ]
    return torch.cat(parts).permute(2, 0, 1).numpy()


def choose_features(maxima: Sequence[Array], n: int, top: int, seed: int) -> tuple[list[int], int]:
    """Return at most `n` random features that fire in at least `top` fragments of each half, and the number of all of
    these. `maxima` are `[fragments, width]` of each half.
    """
    enough = np.logical_and.reduce([(one > 0).sum(axis=0) >= top for one in maxima])
    candidates = np.flatnonzero(enough)
    chosen = np.random.default_rng(seed).permutation(candidates)[:n]
    return sorted(chosen.tolist()), len(candidates)


def draw_fragments(maxima: Array, top: int, n_random: int, seed: int) -> Draw:
    """Return the fragments of a half for a feature by its largest activation in each, `maxima [fragments]`; those of
    one seed come in one order for all features.
    """
    order = np.random.default_rng(seed).permutation(len(maxima))
    # Fragments in which a feature fires alike are taken in the order drawn: by their numbers they would be the first
    # texts, for every feature the same.
    strongest = order[np.argsort(-maxima[order], kind="stable")][:top].tolist()
    rest = [row for row in order.tolist() if row not in strongest]
    middle = np.median(maxima)
    quiet = [row for row in rest if maxima[row] <= middle]
    return Draw(top=tuple(strongest), random=tuple(rest[:n_random]), quiet=tuple(quiet[:top]))
