"""Stream of activations for training: tokens of the inputs, repeated, their activations, in random order."""

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
from harness.features.activations import take_content
from harness.features.featurize import check_finite, plan_batches, run_batches
from harness.features.prefetch import ImagePrefetcher, run_forward
from harness.training.config import TrainingConfig

HELDOUT_TOKENS = 32_768
"""Maximum number of held-out activations on which the fit is measured."""

_GROUP = 256
"""Number of inputs tokenized at once."""


class TokenStream:
    """Endless iterator over the tokens of the inputs. `content` is the number of content tokens of one pass, once
    known. UnavailableError if there are none.
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
                raise UnavailableError("the training data has no content tokens")
            self.content = content

    def passes(self, tokens: int) -> int:
        """Return the passes over the inputs begun for so many tokens; tokens read ahead do not count."""
        return math.ceil(tokens / self.content) if self.content else 1


def tokenize_all(model: Model, inputs: Iterable[str | Image]) -> Iterator[Tokens]:
    """Yield the tokens of every input with content, once. A text longer than the model's maximum is halved until its
    beginning fits; the rest comes after all other texts, so that neighbours in the stream are of different texts.
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
    """Return a text of at least two characters in two parts, split after a space of its second quarter if any."""
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
    """Yield the activations `[content tokens, width]` of each batch by site, float32, on the device."""

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


def fill_buffers(
    parts: Iterator[Mapping[Site, Tensor]], config: TrainingConfig
) -> Iterator[Mapping[Site, Tensor]]:
    """Yield activations of many inputs `[buffer, width]` in one random order for all sites, as many as the steps of the
    configuration take; each buffer holds whole batches.
    """
    generator = torch.Generator().manual_seed(config.seed)
    room = max(1, config.buffer_tokens // config.batch_tokens)
    waiting: dict[Site, list[Tensor]] = {}
    for first in range(0, config.steps, room):
        size = min(room, config.steps - first) * config.batch_tokens
        # Sites may have lost different tokens; each takes its own first ones, so that none depends on another.
        while not waiting or min(sum(map(len, several)) for several in waiting.values()) < size:
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
    """Yield the batches `[batch_tokens, width]` of a buffer by site."""
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
    """Return at most HELDOUT_TOKENS activations of held-out inputs at each site. UnavailableError if they have no
    content.
    """
    taken = list(take_content(tokenize_all(model, inputs), HELDOUT_TOKENS))
    if not taken:
        raise UnavailableError("the held-out data has no content tokens")
    parts = list(read_activations(loaded, taken, sites, batch_size=batch_size, device=device))
    return {site: torch.cat([part[site] for part in parts])[:HELDOUT_TOKENS] for site in sites}
