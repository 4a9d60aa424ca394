"""Arm of `against_checkout.py`: featurize the same texts with the same dictionaries, in whichever checkout is imported.

Started as a process of its own. It reads a folder with `setting.json` and `dictionaries.safetensors`, says `ready`, and
answers each line of its input with the CPU seconds of one run; `rows FILE` writes the pooled rows.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

import harness
from harness import Dictionary, Site

try:
    from harness.features.featurize import Reading, featurize, plan_batches, stack
except ImportError:  # before the core had rooms
    from harness.featurize import Reading, featurize, plan_batches, stack  # type: ignore[import-not-found, no-redef]  (its name there)


def make_run(folder: Path) -> Any:
    """Return a function without arguments that featurizes, and returns pooled batches."""
    said = json.loads((folder / "setting.json").read_text("utf-8"))
    tensors = load_file(folder / "dictionaries.safetensors")
    registry = harness.open(device="cpu").registry
    model = registry.choose("models", said["model"]).make()
    sites = {layer: Site(kind="resid_post", layer=layer) for layer in said["layers"]}
    loaded = model.load(list(sites.values()), "cpu")
    tokens = model.tokenize(said["texts"])
    poolings = {name: registry.choose("poolings", name).make() for name in said["poolings"]}
    readings = [
        Reading(
            site=sites[layer],
            encoder=Dictionary(
                name="drawn",
                width=width,
                activation="jumprelu",
                **{name: tensors[f"{layer}.{width}.{name}"] for name in ("W_enc", "b_enc", "threshold")},
            ),
            sparse=True,
            poolings={f"{layer}-{width}-{name}": pooling for name, pooling in poolings.items()},
        )
        for layer, width in said["dictionaries"]
    ]
    batches = plan_batches([len(one.ids) for one in tokens], batch_size=None, device="cpu")
    return lambda: list(featurize(model=loaded, tokens=tokens, readings=readings, batches=batches))


def write_rows(pooled: list[Any], path: Path) -> None:
    """Write dense rows in the order of the texts, by feature key."""
    order = np.argsort([row for batch in pooled for row in batch.rows])
    keys = list(pooled[0].features)
    np.savez(path, **{key: stack([batch.features[key] for batch in pooled])[order].toarray() for key in keys})


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    run = make_run(Path(sys.argv[1]))
    run()
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.process_time()
        pooled = run()
        seconds = time.process_time() - started
        if line.startswith("rows "):
            write_rows(pooled, Path(line.removeprefix("rows ").strip()))
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
