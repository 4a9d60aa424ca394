"""Arms of a benchmark: the harness, its stages, the limit and the loops, each a function without arguments."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from harness.api.errors import UsageError
from harness.api.memory import find_memory_error
from harness.benchmark import limit, loops
from harness.benchmark.rounds import time_once
from harness.benchmark.setting import Setting, find_blocks
from harness.features.featurize import Pooled, Reading, featurize
from harness.runs.forward import Shards
from harness.storage.feature_store import FeatureStore

BATCH_SIZES = (8, 32, 128)
"""Sizes of which a loop runs at the best."""

LOOPS: Mapping[str, Callable[[loops.Work, int], loops.Rows]] = {
    "sae-lens": loops.run_sae_lens,
    "transformers": loops.run_per_dictionary,
    "transformers-once": loops.run_once,
}
"""Loops by name: the last runs the model once for all dictionaries, which scripts hardly ever do."""


def make_readings(setting: Setting, poolings: Sequence[str] | None = None) -> list[Reading]:
    """Return one reading for each dictionary, with all poolings or some; feature keys are `LAYER-WIDTH-POOLING`."""
    sites = {site.layer: site for site in setting.sites}
    return [
        Reading(
            site=sites[layer],
            encoder=dictionary,
            sparse=True,
            poolings={
                f"{layer}-{width}-{name}": pooling
                for name, pooling in setting.poolings.items()
                if poolings is None or name in poolings
            },
        )
        for (layer, width), dictionary in setting.dictionaries.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Harness:
    """Arm of the harness: from token ids to pooled rows on the host."""

    setting: Setting

    def rows(self, poolings: Sequence[str] | None = None) -> list[Pooled]:
        """Featurize every batch."""
        return list(
            featurize(
                model=self.setting.loaded,
                tokens=self.setting.tokens,
                readings=make_readings(self.setting, poolings),
                batches=self.setting.batches,
                on_halved=_refuse_halving,
            )
        )

    @torch.inference_mode()
    def forward(self) -> None:
        """Run the model on every batch, and drop what it gives."""
        for batch in self.setting.batches:
            self.setting.loaded.forward([self.setting.tokens[row] for row in batch])

    def write(self, rows: Sequence[Pooled]) -> int:
        """Write rows into a store of their own, and return its bytes."""
        with tempfile.TemporaryDirectory(prefix="harness-bench-") as root:
            shards = Shards(FeatureStore(Path(root)))
            for pooled in rows:
                shards.add(pooled)
            shards.flush()
            return sum(path.stat().st_size for path in Path(root).rglob("*") if path.is_file())

    def tokenize(self) -> object:
        """Tokenise the texts again."""
        return self.setting.model.tokenize(self.setting.texts)


def make_limit(setting: Setting) -> limit.Limit:
    """Return the limit on the harness's own batches."""
    weights: dict[int, list[Any]] = {site.layer: [] for site in setting.sites}
    for (layer, _), dictionary in setting.dictionaries.items():
        weights[layer].append(dictionary.W_enc)
    return limit.Limit(
        setting.decoder,
        find_blocks(setting.decoder, setting.sites),
        weights,
        [limit.pad([setting.tokens[row] for row in batch], setting.device) for batch in setting.batches],
    )


def check_loops(names: Sequence[str]) -> None:
    """Raise UsageError for a loop of another name, or whose library is not installed."""
    for name in names:
        if name not in LOOPS:
            raise UsageError(f"there is no loop '{name}': compare with {', '.join(LOOPS)}")
    if "sae-lens" in names and find_spec("sae_lens") is None:
        raise UsageError("the loop of sae-lens needs its library: pip install 'sae-harness[train]'")


def make_loop(setting: Setting, name: str) -> tuple[Callable[[], loops.Rows], dict[int, float]]:
    """Return a loop at the best of BATCH_SIZES, and the seconds that it took at each; one out of memory is left out.

    Raise UsageError where no size fits into memory.
    """
    work = loops.Work(
        decoder=setting.deepen(),
        tokens=setting.tokens,
        dictionaries=setting.dictionaries,
        device=setting.device,
    )
    seconds: dict[int, float] = {}
    for size in BATCH_SIZES:
        try:
            seconds[size] = time_once(partial(LOOPS[name], work, size), setting.device).of(setting.device)
        except Exception as error:  # memory runs out by errors of many types
            if find_memory_error(error) is None:
                raise
    if not seconds:
        raise UsageError(
            f"the loop of {name} needs more memory than there is: use fewer features, with --width"
        )
    best = min(seconds, key=seconds.__getitem__)
    return partial(LOOPS[name], work, best), seconds


def _refuse_halving(rows: Sequence[int]) -> None:
    raise RuntimeError(f"a batch of {len(rows)} texts did not fit, so no time of this run means anything")
