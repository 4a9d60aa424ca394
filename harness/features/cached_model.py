"""Model whose activations are kept on disk, so that a batch runs through it only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from harness.api.data import Site, Tokens
from harness.api.protocols import LoadedModel
from harness.features.artifacts import read_activations, write_activations
from harness.features.featurize import is_finite
from harness.features.prefetch import ImagePrefetcher, run_forward
from harness.models.opened import OpenModel, activation_identity
from harness.storage.feature_store import FeatureStore
from harness.storage.hashing import hash_json, hash_lines


class KeptActivations:
    """LoadedModel that reads activations from a store, and loads the model itself for the first batch not in it.

    `read_tokens` counts the content tokens that were read.
    """

    def __init__(self, store: FeatureStore, model: OpenModel, sites: Sequence[Site], device: str) -> None:
        self.store = store
        self.model = model
        self.sites = sites
        self.device = device
        self.read_tokens = 0
        self._loaded: LoadedModel | None = None
        self._identities = {site: hash_json(activation_identity(model, site)) for site in sites}

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        """Return the activations of a batch as the model does, which runs only when a site is not in the store."""
        keys = {site: self._key(site, batch) for site in self.sites}
        found = {site: read_activations(self.store, key, self.device) for site, key in keys.items()}
        kept = {site: one for site, one in found.items() if one is not None}
        if len(kept) == len(keys):
            self.read_tokens += sum(int(one.content.sum()) for one in batch)
            return kept
        if self._loaded is None:
            self._loaded = self.model.model.load(self.sites, self.device)
        rows = range(len(batch))
        # A prefetcher of its own: only now is known that the images of this batch are needed.
        with ImagePrefetcher(self._loaded, batch, [rows]) as images:
            activations = run_forward(self._loaded, batch, images.take(rows))
        for site, key in keys.items():
            if site not in kept and is_finite(activations[site]):  # else whoever reads them says so
                write_activations(self.store, key, activations[site])
        return activations

    def _key(self, site: Site, batch: Sequence[Tokens]) -> str:
        """Return the key of a whole batch, not of single rows, because padding changes the last bits."""
        parts = [part for one in batch for part in (one.key, one.content.tobytes().hex())]
        return hash_lines([self._identities[site], *parts])
