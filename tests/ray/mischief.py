"""Plugin of the tests of Ray: a pooling and a classifier that do to their process what the test asks for.

It asks with files in the working folder, which every worker has: `NAME.once` is for the first process that finds it,
`NAME.always` for each; `full.always` names the nodes whose disk is full. NODE is set in the environment of a node.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

from sklearn.linear_model import LogisticRegression

import harness

HARNESS_API = 1

if os.environ.get("NODE") == "2" and Path("clock.always").exists():
    ahead, now = float(Path("clock.always").read_text()), time.time
    time.time = lambda: now() + ahead  # every worker of this node does so
    with Path("told.txt").open("a") as file:
        file.write(f"clock {ahead} {os.getpid()} 2 1\n")


def is_asked(what: str) -> bool:
    """Return whether this process is to do something; note it."""
    asked = Path(f"{what}.always").exists()
    try:
        Path(f"{what}.once").rename(f"{what}.{os.getpid()}")
        asked = True
    except FileNotFoundError:
        pass
    if asked:
        with Path("done.txt").open("a") as file:
            file.write(f"{what} {os.getpid()}\n")
    return asked


def die() -> None:
    """End this process as the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def note(what: str) -> None:
    """Note that this process did something."""
    with Path("told.txt").open("a") as file:
        file.write(f"{what} {os.getpid()} {os.environ.get('NODE')} {os.environ.get('OMP_NUM_THREADS')}\n")


def make_odd() -> harness.Pooling:
    """Return the mean over tokens, with mischief."""
    from harness_poolings.segments import mean

    def odd(values: Any, offsets: Any) -> Any:
        import torch

        note(f"forward {torch.get_num_threads()}")
        if Path("slow.always").exists():
            time.sleep(0.5)
        if Path("unhurried.always").exists():
            time.sleep(0.3)
        if is_asked("forward"):
            die()
        if is_asked("exit"):
            os._exit(0)
        if is_asked("write"):
            replace = os.replace

            def break_off(source: Any, target: Any) -> None:
                if "features" in str(target):
                    die()
                replace(source, target)

            # Typed as functions of the library that nobody replaces.
            os.replace = break_off  # type: ignore[assignment]  # to die amid the write
            Path.replace = lambda self, target: break_off(self, target)  # type: ignore[assignment, method-assign]  # too
        if (
            Path("full.always").exists()
            and str(os.environ.get("NODE")) in Path("full.always").read_text().split()
        ):
            is_asked("full")

            def refuse(source: Any, target: Any) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            os.replace = refuse  # type: ignore[assignment]  # as a full disk does
            Path.replace = lambda self, target: refuse(self, target)  # type: ignore[assignment, method-assign]  # too
        return mean(values, offsets)

    return odd


class Odd(LogisticRegression):
    """Logistic regression with mischief."""

    def __init__(self, how: str = "well", C: float = 1.0) -> None:
        super().__init__(C=C)
        self.how = how

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit, or do something else."""
        note("fit")
        print("chatter of a worker on standard output")
        if self.how == "leaving":
            raise SystemExit(0)
        if is_asked("probe"):
            die()
        if os.environ.get("NODE") == "2" and Path("lame.always").exists():
            time.sleep(0.5)
        if Path("slow.always").exists():
            time.sleep(0.1)
        return super().fit(X, y)


@harness.hookimpl
def harness_poolings() -> list[harness.PoolingSpec]:
    """Offer the pooling."""
    return [harness.PoolingSpec(name="odd", summary="the mean over tokens, with mischief", make=make_odd)]


@harness.hookimpl
def harness_classifiers() -> list[harness.ClassifierSpec]:
    """Offer the classifier."""
    return [
        harness.ClassifierSpec(name="odd", summary="", make=lambda *, how="well": Odd(how)),
    ]
