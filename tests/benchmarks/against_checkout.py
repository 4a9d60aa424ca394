"""Featurize in this checkout and in another one, in turn: ratios to the limit, and the largest difference of rows.

    python tests/benchmarks/against_checkout.py CHECKOUT PYTHON [-m minigemma-l] [--width 1792 --width 7168] …

CHECKOUT is an older worktree and PYTHON the interpreter of its own environment, a process that stays; the limit and
this checkout run in this one. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from featurize_arm import write_rows
from safetensors.torch import save_file

import harness
from harness.benchmark import arms
from harness.benchmark.rounds import time_once
from harness.benchmark.setting import POOLINGS, Asked, Setting, make_setting

HERE = Path(__file__).resolve().parent


def write_setting(setting: Setting, folder: Path) -> None:
    """Write what both sides read."""
    said = {
        "model": setting.name,
        "layers": [site.layer for site in setting.sites],
        "texts": list(setting.texts),
        "poolings": list(POOLINGS),
        "dictionaries": list(setting.dictionaries),
    }
    (folder / "setting.json").write_text(json.dumps(said), "utf-8")
    tensors = {
        f"{layer}.{width}.{name}": tensor.contiguous()
        for (layer, width), dictionary in setting.dictionaries.items()
        for name, tensor in dictionary.tensors.items()
    }
    save_file(tensors, folder / "dictionaries.safetensors")


class Other:
    """Process that featurizes in the other checkout."""

    def __init__(self, python: str, checkout: Path, folder: Path) -> None:
        paths = [str(checkout / part) for part in (".", "plugins", "tasks")]
        self.process = subprocess.Popen(
            [python, str(HERE / "featurize_arm.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )
        self.ask(None)

    def ask(self, line: str | None) -> float:
        """Have it run once, and return its CPU seconds; None waits until it is ready."""
        assert self.process.stdin and self.process.stdout
        if line is not None:
            print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"the other process ended with code {self.process.wait()}")
        return 0.0 if line is None else float(answer)


def largest_difference(one: Path, other: Path) -> float:
    """Return the largest difference of two files of rows, in units of the largest value of each feature key."""
    first, second = np.load(one), np.load(other)
    return max(float(np.abs(first[key] - second[key]).max() / np.abs(second[key]).max()) for key in second)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("python")
    parser.add_argument("-m", "--model", default="minigemma-l")
    parser.add_argument("--site", action="append")
    parser.add_argument("--width", action="append", type=int)
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    setting = make_setting(
        Asked(
            model=asked.model,
            sites=asked.site or ("resid_post.50%",),
            widths=asked.width or (1792, 7168),
            n_texts=asked.texts,
            device="cpu",
        ),
        harness.open(device="cpu").registry,
    )
    limit = arms.make_limit(setting)
    found: dict[str, list[float]] = {"limit": [], "this": [], "other": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_setting(setting, folder)
        other, this = Other(asked.python, asked.checkout, folder), arms.Harness(setting=setting)
        limit.run()
        write_rows(this.rows(), folder / "this.npz")
        for _ in range(asked.rounds):
            found["limit"].append(time_once(limit.run, "cpu").cpu)
            found["this"].append(time_once(this.rows, "cpu").cpu)
            found["other"].append(other.ask(f"rows {folder / 'other.npz'}"))
        difference = largest_difference(folder / "this.npz", folder / "other.npz")
    print(json.dumps(summarize(found) | {"tokens": setting.n_tokens, "largest_difference": difference}))


def summarize(found: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians of ratios within rounds, with the least and the greatest."""

    def ratio(one: str, other: str) -> list[float]:
        ratios = [a / b for a, b in zip(found[one], found[other], strict=True)]
        return [round(statistics.median(ratios), 3), round(min(ratios), 3), round(max(ratios), 3)]

    return {
        "this over limit": ratio("this", "limit"),
        "other over limit": ratio("other", "limit"),
        "other over this": ratio("other", "this"),
    }


if __name__ == "__main__":
    main()
