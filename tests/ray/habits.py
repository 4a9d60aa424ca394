"""Plugin of tests/ray/test_library.py: a pooling and classifiers with the habits that Ray, or PyTorch under Ray, is
sensitive to. They note in `habits.txt` of the working folder what they find around them.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

import harness

HARNESS_API = 1

used = 0
"""Number of times that something of this module was used in this process."""


class TwoPartError(Exception):
    """Error that is not made from one text: Ray cannot bring it back as it is."""

    def __init__(self, what: str, how: int) -> None:
        super().__init__(f"{what} broke {how} times")
        self.what, self.how = what, how


def note(what: str) -> None:
    """Note the surroundings of this process, before anything is left behind."""
    import torch

    found: dict[str, Any] = {
        "what": what,
        "pid": os.getpid(),
        "folder": str(Path.cwd()),
        "words": Path("words.txt").read_text(),
        "threads": torch.get_num_threads(),
        "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "secret": os.environ.get("SECRET"),
        "used": used,
    }
    if "default_worker" in str(sys.argv):  # of Ray
        import ray

        found["shipped"] = json.loads(ray.get_runtime_context().get_runtime_env_string())
    with Path("habits.txt").open("a") as file:
        file.write(json.dumps(found) + "\n")


def leave_a_mess() -> None:
    """Change whatever a process keeps between two pieces of work."""
    global used
    import torch

    used += 1
    random.seed(used)
    np.random.seed(used)
    torch.manual_seed(used)
    torch.set_num_threads(3)
    os.environ["HABIT"] = str(used)


def make_messy() -> harness.Pooling:
    """Return the mean over tokens; it leaves a mess."""
    from harness_poolings.segments import mean

    def messy(values: Any, offsets: Any) -> Any:
        note("forward")
        if Path("death.once").exists():
            Path("death.once").unlink()
            os._exit(1)
        leave_a_mess()
        return mean(values, offsets)

    return messy


class Messy(LogisticRegression):
    """Logistic regression that leaves a mess. `how` says what else it does."""

    def __init__(self, how: str = "writing", C: float = 1.0) -> None:
        super().__init__(C=C)
        self.how = how

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit, write into the matrix, or raise."""
        note("fit")
        print("a line of a classifier on standard output")
        leave_a_mess()
        if self.how == "raising":
            try:
                raise KeyError("the cause")
            except KeyError as cause:
                raise TwoPartError("the probe", 2) from cause
        if self.how == "writing":
            if hasattr(X, "sort_indices"):
                X.has_sorted_indices = False
                X.sort_indices()
                X.data *= 1.0
            else:
                X *= 1.0
        return super().fit(X, y)


@harness.hookimpl
def harness_poolings() -> list[harness.PoolingSpec]:
    """Offer the pooling."""
    return [harness.PoolingSpec(name="messy", summary="the mean over tokens, with a mess", make=make_messy)]


@harness.hookimpl
def harness_classifiers() -> list[harness.ClassifierSpec]:
    """Offer the classifier."""
    return [harness.ClassifierSpec(name="messy", summary="", make=lambda *, how="writing": Messy(how))]
