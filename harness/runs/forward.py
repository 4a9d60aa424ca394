"""Support for one forward pass: load encoders, write pooled rows as shards, measure throughput."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from harness.api.errors import ENDS_RUN
from harness.api.events import BatchFinished, BundleFinished
from harness.api.protocols import Encoder, LoadedModel
from harness.dictionaries.dictionary import Dictionary
from harness.features.cached_model import KeptActivations
from harness.features.featurize import Pooled, Reading, stack
from harness.planning.cells import Bundle, ModelFeatures
from harness.runs.record import Cost
from harness.storage.feature_store import FeatureStore

FLUSH_ROWS = 2048
FLUSH_SECONDS = 20.0
"""Rows or seconds after which a shard is written: the most that a killed run loses."""


def make_readings(
    features: Iterable[ModelFeatures], device: str, fitted: Mapping[str, Dictionary]
) -> tuple[list[Reading], dict[str, Exception]]:
    """Load each dictionary once for each site, with all its poolings. `fitted` are the dictionaries by fitted key.

    Return the readings, and the errors of dictionaries that cannot be loaded, by feature key.
    """
    grouped: dict[tuple[str, str], list[ModelFeatures]] = {}
    for one in features:
        grouped.setdefault((str(one.site), one.representation.label), []).append(one)
    readings = []
    broken: dict[str, Exception] = {}
    for group in grouped.values():
        first = group[0]
        poolings = {one.key: one.pooling.make() for one in group}
        try:
            load = first.placed.load
            encoder: Encoder = load(device) if load else fitted[str(first.fitted_key)].to(device)
        except ENDS_RUN:
            raise
        except Exception as error:  # a loader of any plugin may fail in any way
            broken |= dict.fromkeys(poolings, error)
            continue
        readings.append(
            Reading(
                site=first.site,
                encoder=encoder,
                sparse=first.placed.sparse,
                poolings=poolings,
                owner=first.representation.owner,
                owners={one.key: one.pooling.owner for one in group},
            )
        )
    return readings, broken


def read_tokens_of(model: LoadedModel) -> int:
    """Return the content tokens that were read from kept activations, not forwarded."""
    return model.read_tokens if isinstance(model, KeptActivations) else 0


class Shards:
    """Writer of pooled batches, collected until they fill a shard."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.waiting: list[Pooled] = []
        self.since = time.perf_counter()

    def add(self, pooled: Pooled) -> None:
        """Add a batch, and write a shard when enough rows or seconds have passed."""
        self.waiting.append(pooled)
        rows = sum(len(batch.rows) for batch in self.waiting)
        if rows >= FLUSH_ROWS or time.perf_counter() - self.since > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the batches that are waiting."""
        if not self.waiting:
            return
        for key in self.waiting[0].features:  # later batches have no more, and fewer where one broke
            batches = [batch for batch in self.waiting if key in batch.features]
            rows = [row for batch in batches for row in batch.rows]
            self.store.write(key, rows, stack([batch.features[key] for batch in batches]))
        self.waiting = []
        self.since = time.perf_counter()


class Meter:
    """Meter of the tokens, seconds and memory of one forward pass."""

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
        """Count a batch."""
        self.tokens += pooled.tokens
        self.positions += pooled.positions
        self.padded += pooled.padded_tokens
        self.seconds += pooled.seconds
        self.images += pooled.images
        self.waited += pooled.waited

    def progress(self) -> BatchFinished:
        """Return the event of a batch's end."""
        return BatchFinished(
            bundle=self.name,
            tokens_done=self.tokens,
            tokens_total=self.tokens_total,
            seconds=time.perf_counter() - self.started,
        )

    def stats(self) -> BundleFinished:
        """Return the event of the bundle's end. Speeds are 0, for unknown, if kept activations were read in part."""
        tokens_per_s = self.tokens / self.seconds if self.seconds and not self.read_tokens else 0.0
        return BundleFinished(
            bundle=self.name,
            tokens=self.tokens - self.read_tokens,
            calibration_tokens=self.calibration_tokens,
            seconds=self.seconds,
            tokens_per_s=tokens_per_s,
            padding_share=1 - self.positions / self.padded if self.padded else 0.0,
            peak_memory=peak_memory(self.device),
            images_per_s=self.images / self.seconds if tokens_per_s else 0.0,
            waiting_share=self.waited / self.seconds if self.seconds else 0.0,
        )

    def cost(self, *, resumed: bool) -> Cost:
        """Return the cost for records; tokens and seconds of a resumed pass are unknown, and its speed is not."""
        stats = asdict(self.stats()) | ({"tokens": 0, "seconds": 0.0} if resumed else {})
        return Cost(**{name: stats[name] for name in Cost.model_fields if name in stats})


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
