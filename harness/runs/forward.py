"""Around one forward pass: the dictionaries it reads with, the shards it leaves, and what it costs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping

from harness.api.events import BatchFinished, BundleFinished
from harness.api.protocols import Encoder, LoadedModel, PlacedRepresentation
from harness.dictionaries.dictionary import Dictionary
from harness.features.cached_model import KeptActivations
from harness.features.featurize import Pooled, Reading, stack
from harness.planning.cells import Bundle, Features
from harness.runs.record import Cost
from harness.storage.feature_store import FeatureStore

FLUSH_ROWS = 2048
FLUSH_SECONDS = 20.0
"""A shard is written after so many rows or seconds: what a cut can cost."""


def make_readings(
    features: Iterable[Features], device: str, fitted: Mapping[str, Dictionary]
) -> tuple[list[Reading], dict[str, Exception]]:
    """Each dictionary at each site once, with all its poolings; and the keys of those that cannot be loaded.
    `fitted` are the dictionaries of features that have a fitted key.
    """
    grouped: dict[tuple[str, str], list[Features]] = {}
    for one in features:
        grouped.setdefault((str(one.site), one.representation.label), []).append(one)
    readings = []
    broken: dict[str, Exception] = {}
    for group in grouped.values():
        first = group[0]
        assert first.site and first.located
        poolings = {one.key: one.pooling.make() for one in group if one.key and one.pooling}
        try:
            encoder: Encoder = (
                fitted[first.fitted_key].to(device) if first.fitted_key else _load(first.located, device)
            )
        except Exception as error:  # a loader of any plugin may fail in any way
            broken |= dict.fromkeys(poolings, error)
            continue
        readings.append(
            Reading(site=first.site, encoder=encoder, sparse=first.located.sparse, poolings=poolings)
        )
    return readings, broken


def _load(located: PlacedRepresentation, device: str) -> Encoder:
    assert located.load is not None
    return located.load(device)


def read_tokens_of(model: LoadedModel) -> int:
    """Content tokens that were not forwarded, but read from what was kept."""
    return model.read_tokens if isinstance(model, KeptActivations) else 0


class Shards:
    """Pooled batches collected until they are worth a shard."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.waiting: list[Pooled] = []
        self.since = time.perf_counter()

    def add(self, pooled: Pooled) -> None:
        self.waiting.append(pooled)
        rows = sum(len(batch.rows) for batch in self.waiting)
        if rows >= FLUSH_ROWS or time.perf_counter() - self.since > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if not self.waiting:
            return
        rows = [row for batch in self.waiting for row in batch.rows]
        for key in self.waiting[0].features:
            self.store.write(key, rows, stack([batch.features[key] for batch in self.waiting]))
        self.waiting = []
        self.since = time.perf_counter()


class Meter:
    """What one forward pass costs, counted as it goes."""

    def __init__(self, bundle: Bundle, device: str) -> None:
        self.name = bundle.name
        self.device = device
        if device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats()
        self.tokens = self.positions = self.padded = self.tokens_total = 0
        self.calibration_tokens = self.read_tokens = self.images = 0
        self.seconds = self.waited = 0.0
        self.started = time.perf_counter()

    def add(self, pooled: Pooled) -> None:
        self.tokens += pooled.tokens
        self.positions += pooled.positions
        self.padded += pooled.padded_tokens
        self.seconds += pooled.seconds
        self.images += pooled.images
        self.waited += pooled.waited

    @property
    def forwarded(self) -> int:
        """Tokens that went through the model, and were not read from kept activations."""
        return self.tokens - self.read_tokens

    @property
    def tokens_per_s(self) -> float:
        """0, for unknown, of a pass that partly read what was kept."""
        return self.tokens / self.seconds if self.seconds and not self.read_tokens else 0.0

    @property
    def images_per_s(self) -> float:
        """0 of texts, and where the speed is unknown."""
        return self.images / self.seconds if self.tokens_per_s else 0.0

    @property
    def waiting_share(self) -> float:
        """The share of the seconds in which the model waited for images to be decoded."""
        return self.waited / self.seconds if self.seconds else 0.0

    def progress(self) -> BatchFinished:
        return BatchFinished(
            bundle=self.name,
            tokens_done=self.tokens,
            tokens_total=self.tokens_total,
            seconds=time.perf_counter() - self.started,
        )

    def stats(self) -> BundleFinished:
        return BundleFinished(
            bundle=self.name,
            tokens=self.forwarded,
            calibration_tokens=self.calibration_tokens,
            seconds=self.seconds,
            tokens_per_s=self.tokens_per_s,
            padding_share=1 - self.positions / self.padded if self.padded else 0.0,
            peak_memory=peak_memory(self.device),
            images_per_s=self.images_per_s,
            waiting_share=self.waiting_share,
        )

    def cost(self, *, resumed: bool) -> Cost:
        """Of a resumed pass the speed is known, and what it took in all is not."""
        return Cost(
            tokens=0 if resumed else self.forwarded,
            tokens_per_s=self.tokens_per_s,
            seconds=0.0 if resumed else self.seconds,
            peak_memory=peak_memory(self.device),
            images_per_s=self.images_per_s,
            waiting_share=self.waiting_share,
        )


def peak_memory(device: str) -> int:
    """Return the most bytes held so far: on the GPU by tensors, on the CPU by this process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource  # there is none on Windows, and psutil knows no peak elsewhere

    unit = 1 if sys.platform == "darwin" else 1024  # bytes, or KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
