"""Model for trials: a seeded language model of a few thousand numbers that a representation can be placed at."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.data import Site, Tokens
from harness.api.errors import UsageError

if TYPE_CHECKING:
    import torch

VOCABULARY = 512


class ToyModel:
    """Model of three blocks with activations of size 16: words are hashed into an embedding, and each block mixes a
    token with the one before it. It is never trained, so what is read from it means nothing.
    """

    name = "toy"
    architecture = "toy"
    n_layers = 3
    n_parameters = 3 * 2 * 16 * 16
    size = 16

    def width(self, site: Site) -> int:
        """Return 16. Raise UsageError for another site than resid_post.0 to resid_post.2."""
        if site.tower or site.kind != "resid_post" or not 0 <= site.layer < self.n_layers:
            raise UsageError(f"model 'toy' has no site '{site}': it has resid_post.0 to resid_post.2")
        return self.size

    def identity(self, site: Site) -> Mapping[str, Any]:
        """Return what decides the activations."""
        return {"model": "harness.testing.ToyModel", "version": 1}

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """Encode words as numbers, after a first token that is no content."""
        return [self._encode(str(one).split()) for one in inputs]

    def _encode(self, words: Sequence[str]) -> Tokens:
        ids = [0, *(1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in words)]
        return Tokens(ids=np.array(ids, dtype=np.int64), content=np.arange(len(ids)) > 0)

    def load(self, sites: Sequence[Site], device: str) -> _LoadedToy:
        """Load the model."""
        for site in sites:
            self.width(site)
        return _LoadedToy(sites, device)

    def load_whole(self, site: Site, device: str) -> _LoadedToy:
        """Load the model with a hook at `site`."""
        self.width(site)
        return _LoadedToy([site], device)


class _LoadedToy:
    def __init__(self, sites: Sequence[Site], device: str) -> None:
        import torch

        draw = torch.Generator().manual_seed(0)
        size = ToyModel.size

        def normal(*shape: int) -> torch.Tensor:
            drawn: torch.Tensor = torch.randn(*shape, generator=draw) / shape[0] ** 0.5
            return drawn.to(device)

        self.sites = tuple(sites)
        self.embedding = normal(VOCABULARY, size) * VOCABULARY**0.5
        self.blocks = [(normal(size, size), normal(size, size)) for _ in range(ToyModel.n_layers)]

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        """Return the activations of content tokens at each site."""
        import torch

        found: dict[Site, list[torch.Tensor]] = {site: [] for site in self.sites}
        for one in batch:
            states = self._run([one])
            content = torch.from_numpy(one.content).to(states[0].device)
            for site in self.sites:
                found[site].append(states[site.layer][content])
        return {site: torch.cat(parts) for site, parts in found.items()}

    def losses(
        self, batch: Sequence[Tokens], splice: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return next-token losses, with the activations at the one site replaced."""
        import torch

        last = self._run(batch, {self.sites[0]: splice} if splice else {})[-1]
        found = []
        for one, state in zip(batch, torch.split(last, [len(one.ids) for one in batch]), strict=True):
            logits = state @ self.embedding.T
            losses = torch.nn.functional.cross_entropy(
                logits[:-1], torch.from_numpy(one.ids[1:]).to(logits.device), reduction="none"
            )
            found.append(losses[torch.from_numpy(one.content[1:]).to(logits.device)])
        return torch.cat(found)

    def next_logits(
        self,
        batch: Sequence[Tokens],
        splices: Mapping[Site, Callable[[torch.Tensor], torch.Tensor]] | None = None,
    ) -> torch.Tensor:
        """Return the logits after the last content token of each example, with activations replaced.

        Raise ValueError for an example without content.
        """
        if not all(one.content.any() for one in batch):
            raise ValueError("an example without content predicts nothing")
        starts = np.cumsum([0, *(len(one.ids) for one in batch)])
        ends = [start + int(one.content.nonzero()[0][-1]) for start, one in zip(starts, batch, strict=False)]
        logits: torch.Tensor = self._run(batch, splices or {})[-1][ends] @ self.embedding.T
        return logits

    def compare(
        self, batch: Sequence[Tokens], splices: Sequence[Callable[[torch.Tensor], torch.Tensor] | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses with each splice at the one site, and the divergences of its predictions from the own ones."""
        import torch

        ids = torch.from_numpy(np.concatenate([one.ids for one in batch])).to(self.embedding.device)
        predicted = np.concatenate([one.content & (np.arange(len(one.ids)) > 0) for one in batch])
        places = torch.from_numpy(predicted.nonzero()[0]).to(ids)

        def predict(splice: Any) -> torch.Tensor:
            states = self._run(batch, {self.sites[0]: splice} if splice else {})[-1]
            logits: torch.Tensor = states[places - 1] @ self.embedding.T
            return logits.log_softmax(-1)

        own, spliced = predict(None), torch.stack([predict(splice) for splice in splices])
        losses = -spliced[:, torch.arange(len(places)), ids[places]]
        return losses, (own.exp() * (own - spliced)).sum(-1)

    def _run(
        self, batch: Sequence[Tokens], splices: Mapping[Site, Any] = MappingProxyType({})
    ) -> list[torch.Tensor]:
        """Return the residual stream after each block `[tokens of the batch, 16]`."""
        import torch

        device = self.embedding.device
        state = self.embedding[torch.from_numpy(np.concatenate([one.ids for one in batch])).to(device)]
        content = torch.from_numpy(np.concatenate([one.content for one in batch])).to(device)
        goes_on = torch.from_numpy(np.concatenate([np.arange(len(one.ids)) > 0 for one in batch])).to(device)
        states = []
        for layer, (here, before) in enumerate(self.blocks):
            last = state.roll(1, 0) * goes_on[:, None]
            state = state + torch.relu(state @ here + last @ before)
            if splice := splices.get(Site(kind="resid_post", layer=layer)):
                replaced = state.clone()
                replaced[content] = splice(state[content])
                state = replaced
            states.append(state)
        return states
