"""Loaded models, kept from one piece of work to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.api.data import Site
from harness.api.protocols import LoadedModel
from harness.models.opened import OpenModel

_Loading = tuple[tuple[Site, ...], str]


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """Loaded forms of one model, kept as long as nobody asks for another one: the forward pass of a bundle and its
    fidelity gate read other sites. With `keeps` False nothing is kept, and memory is free while probes are trained.
    """

    keeps: bool = False
    _loaded: dict[_Loading, LoadedModel] = field(default_factory=dict)
    _of: list[OpenModel] = field(default_factory=list)

    def load(self, opened: OpenModel, sites: Sequence[Site], device: str) -> LoadedModel:
        """Return a model loaded as deep as its sites need, in the form that was kept if there is one."""
        if not self.keeps:
            return opened.model.load(sites, device)
        if not self._of or self._of[0].model is not opened.model:
            self._loaded.clear()  # before the other one is loaded: both may not fit
            self._of[:] = [opened]
        loading = (tuple(sites), device)
        if loading not in self._loaded:
            self._loaded[loading] = opened.model.load(sites, device)
        return self._loaded[loading]
