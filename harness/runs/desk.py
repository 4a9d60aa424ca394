"""Desk at which work is done: the store, the device, and who listens, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from harness.api.events import BatchFinished
from harness.models.loaded import KeptModel
from harness.storage.feature_store import FeatureStore


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Surroundings of a piece of work. `tell(event, **fields)` takes a line for the events of the run, `progress` a
    batch that went through a model. `models` is where a loaded model is kept for the next piece of work.
    """

    store: FeatureStore
    device: str = "cpu"
    models: KeptModel = field(default_factory=KeptModel)
    tell: Callable[..., None] = lambda event, **fields: None
    progress: Callable[[BatchFinished], None] = lambda event: None
