"""Texts or images in, activations out: tokens again and again, what a model makes of them, and in which order they are
learnt.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from harness.api.data import Image, Site, Tokens
from harness.api.errors import UnavailableError
from harness.api.protocols import LoadedModel, Model
from harness.features.featurize import check_finite, plan_batches, run_batches
from harness.features.prefetch import ImagePrefetcher, run_forward
from harness.training.recipe import Recipe

HELDOUT_TOKENS = 32_768
"""Held-out activations on which the fit is measured, at most."""

_GROUP = 256
"""Inputs that are tokenized at once."""


class TokenStream:
    """The tokens of inputs, again and again. `content` counts those of one time through, once that is known.
    UnavailableError when there are none.
    """

    def __init__(self, model: Model, inputs: Sequence[str | Image]) -> None:
        self.model, self.inputs = model, inputs
        self.content: int | None = None

    def __iter__(self) -> Iterator[Tokens]:
        while True:
            content = 0
            for tokens in tokenize_all(self.model, self.inputs):
                content += int(tokens.content.sum())
                yield tokens
            if not content:
                raise UnavailableError("what is to be learnt from has no content tokens")
            self.content = content

    def passes(self, tokens: int) -> int:
        """How often the inputs were begun for so many tokens; what is read ahead does not count."""
        return math.ceil(tokens / self.content) if self.content else 1


def tokenize_all(model: Model, inputs: Iterable[str | Image]) -> Iterator[Tokens]:
    """Every input that has content, once. A text longer than the model's maximum is halved until its beginning fits;
    what is left of it comes after all others, so that neighbours in the stream are of different texts.
    """
    waiting = deque(inputs)
    while waiting:
        batch = [waiting.popleft() for _ in range(min(_GROUP, len(waiting)))]
        while batch:
            long = []
            for given, one in zip(batch, model.tokenize(batch), strict=True):
                if one.truncated and isinstance(given, str) and len(given) >= 2:
                    long.append(given)
                elif one.content.any():
                    yield one
            halves = [halve(text) for text in long]
            waiting.extend(rest for _, rest in halves)
            batch = [begin for begin, _ in halves]


def halve(text: str) -> tuple[str, str]:
    """A text of at least two characters as two, cut after a space of its second quarter if there is one."""
    middle = len(text) // 2
    space = max(text.rfind(mark, len(text) // 4, middle) for mark in " \n")
    middle = space + 1 if space > 0 else middle
    return text[:middle], text[middle:]


def read_activations(
    model: LoadedModel,
    stream: Iterable[Tokens],
    sites: Sequence[Site],
    *,
    batch_size: int | None,
    device: str,
) -> Iterator[Mapping[Site, Tensor]]:
    """Activations `[content tokens, width]` of one batch after the other at each site, float32, on the device."""

    def read(group: Sequence[Tokens]) -> Iterator[Mapping[Site, Tensor]]:
        batches = plan_batches([len(one.ids) for one in group], batch_size=batch_size, device=device)
        with ImagePrefetcher(model, group, batches) as images:

            @torch.inference_mode()
            def work(rows: Sequence[int]) -> Mapping[Site, Tensor]:
                activations = run_forward(model, [group[row] for row in rows], images.take(rows))
                for site in sites:
                    check_finite(activations[site], site)
                return {site: activations[site].float() for site in sites}

            yield from run_batches(batches, work)

    source = iter(stream)
    while group := list(islice(source, _GROUP)):
        yield from read(group)


def fill_buffers(parts: Iterator[Mapping[Site, Tensor]], recipe: Recipe) -> Iterator[Mapping[Site, Tensor]]:
    """Activations of many inputs `[buffer, width]` in random order, the same at all sites, until there are as many as
    the recipe's steps take; each buffer holds whole batches.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    room = max(1, recipe.buffer_tokens // recipe.batch_tokens)
    waiting: dict[Site, list[Tensor]] = {}
    for first in range(0, recipe.steps, room):
        size = min(room, recipe.steps - first) * recipe.batch_tokens
        while not waiting or sum(map(len, next(iter(waiting.values())))) < size:
            for site, part in next(parts).items():
                waiting.setdefault(site, []).append(part)
        order = torch.randperm(size, generator=generator)
        buffer = {}
        for site, several in waiting.items():
            joined = torch.cat(several)
            waiting[site] = [joined[size:].clone()]
            buffer[site] = joined[order.to(joined.device)]
        yield buffer


def cut_batches(buffer: Mapping[Site, Tensor], batch_tokens: int) -> Iterator[Mapping[Site, Tensor]]:
    """The batches `[batch_tokens, width]` of a buffer, at each site."""
    for start in range(0, len(next(iter(buffer.values()))), batch_tokens):
        yield {site: x[start : start + batch_tokens] for site, x in buffer.items()}


def read_heldout(
    model: Model,
    loaded: LoadedModel,
    inputs: Sequence[str | Image],
    sites: Sequence[Site],
    *,
    batch_size: int | None,
    device: str,
) -> Mapping[Site, Tensor]:
    """At most HELDOUT_TOKENS activations of held-out inputs at each site. UnavailableError when they have no
    content.
    """
    taken: list[Tokens] = []
    total = 0
    for tokens in tokenize_all(model, inputs):
        taken.append(tokens)
        total += int(tokens.content.sum())
        if total >= HELDOUT_TOKENS:
            break
    if not taken:
        raise UnavailableError("what is held out has no content tokens")
    parts = list(read_activations(loaded, taken, sites, batch_size=batch_size, device=device))
    return {site: torch.cat([part[site] for part in parts])[:HELDOUT_TOKENS] for site in sites}
