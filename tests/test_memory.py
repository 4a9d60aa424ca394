"""Memory that runs out: recognized whoever reports it, recorded as such, and said in place of its consequences."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.api.errors import UnavailableError
from harness.api.memory import explain, find_memory_error
from harness.runs.folder import RunFolder

ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)

REPORTS: dict[str, Exception] = {
    "Python": MemoryError(),
    "PyTorch on a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    "PyTorch on the CPU": RuntimeError(ALLOCATOR),
    "the driver": torch.AcceleratorError(
        "CUDA error: out of memory\nCUDA kernel errors might be reported later"
    ),
    "the system": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "the loader of libraries": ImportError("libtorch_cpu.so: failed to map segment from shared object"),
}

OTHERS: dict[str, Exception] = {
    "a shape": RuntimeError("The size of tensor a (2) must match the size of tensor b (3)"),
    "a missing package": ModuleNotFoundError("No module named 'memory'"),
    "a full disk": OSError(errno.ENOSPC, "No space left on device"),
    "a text that speaks of memory": ValueError("DefaultCPUAllocator is no name of a column"),
    "another fault of the driver": torch.AcceleratorError("CUDA error: device-side assert triggered"),
}


@pytest.mark.parametrize("reporter", REPORTS)
def test_a_lack_of_memory_is_found_whoever_reports_it_and_whoever_takes_it_for_something_else(
    reporter: str,
) -> None:
    report = REPORTS[reporter]
    wrapped: Exception = UnavailableError("model 'm': shard 3 is broken: delete it and fetch it again")
    wrapped.__cause__ = report
    try:
        try:
            raise report
        except Exception:
            raise OSError("a config cannot be read")  # noqa: B904 - as libraries do
    except OSError as error:
        late = error
    for error in (report, wrapped, late):
        assert find_memory_error(error) is report
        assert explain(error).startswith(
            f"memory ran out ({type(report).__name__}"
        ) and "broken" not in explain(error)


@pytest.mark.parametrize("other", OTHERS)
def test_other_errors_are_not_taken_for_a_lack_of_memory(other: str) -> None:
    assert find_memory_error(OTHERS[other]) is None


TOY = """
import harness
import numpy as np
import torch

def grow(*arguments, **more):
    torch.empty(1 << 50)

def wrap(*arguments, **more):
    try:
        torch.empty(1 << 50)
    except RuntimeError as error:
        raise harness.UnavailableError("a file is broken: delete it and fetch it again") from error

class Grows:
    def fit(self, X, y=None):
        np.empty(1 << 50)

class Encoder:
    width, dtype = 8, torch.float32
    def __init__(self, device): pass
    encode = grow

class Placed:
    def __init__(self, **how): self.how = how
    def at(self, model, site):
        facts = {"identity": {"toy": list(self.how)}, "d_in": model.width(site), "width": 8, "sparse": True}
        return harness.PlacedRepresentation(**facts, **self.how)

@harness.hookimpl
def harness_poolings():
    return [harness.PoolingSpec(name="grown", summary="", make=lambda: grow)]

@harness.hookimpl
def harness_transforms():
    return [harness.TransformSpec(name="grown", summary="", make=lambda: Grows())]

@harness.hookimpl
def harness_classifiers():
    return [harness.ClassifierSpec(name="grown", summary="", make=lambda: Grows())]

@harness.hookimpl
def harness_representations():
    return [
        harness.RepresentationSpec(name="read", summary="", make=lambda: Grows(), needs="text"),
        harness.RepresentationSpec(name="encoded", summary="", needs="tokens", make=lambda: Placed(load=Encoder)),
        harness.RepresentationSpec(name="loaded", summary="", needs="tokens", make=lambda: Placed(load=wrap)),
        harness.RepresentationSpec(name="fitted", summary="", needs="tokens", make=lambda: Placed(fit=grow)),
    ]
"""

MOMENTS = {
    "pooling": "poolings=[grown]",
    "fitting a transform": "transforms=[grown]",
    "fitting a classifier": "classifiers=[grown]",
    "reading the inputs": "representations=[read]",
    "encoding": "representations=[encoded]",
    "loading a dictionary, whose loader takes it for a broken file": "representations=[loaded]",
    "fitting a representation": "representations=[fitted]",
    "loading the weights": "harness.runs.featurizer.Featurizer._open",
    "a forward pass": "harness.features.featurize.run_forward",
    "the read of the features": "harness.storage.feature_store.FeatureStore.read",
}


def grow(*arguments: object, **more: object) -> None:
    torch.empty(1 << 50)


@pytest.mark.parametrize("moment", MOMENTS)
def test_memory_that_runs_out_is_recorded_as_such_wherever_it_does(
    moment: str,
    harness_command: Any,
    install: Any,
    toy_suite: Path,
    toy_task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The allocations are real ones, and far too large."""
    install(TOY)
    where, settings = MOMENTS[moment], "representations=[hidden]"
    if "=" in where:
        settings = where
    else:
        monkeypatch.setattr(where, grow)
    more = ("--set", "representations=[hidden]", "--set", settings)
    assert harness_command("run", toy_suite, "--include", toy_task, *more, "-o", "full").code == 1
    (record,) = RunFolder(tmp_path / "full").records()
    assert record.status == "oom"
    assert str(record.error).startswith("memory ran out (")


@pytest.mark.parametrize("reporter", ["Python", "PyTorch on the CPU", "the loader of libraries"])
def test_a_command_that_runs_out_of_memory_says_so_and_not_that_it_has_a_bug(
    reporter: str, harness_command: Any, toy_suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise REPORTS[reporter]

    monkeypatch.setattr("harness.session.Session.plan", fail)
    told = harness_command("plan", toy_suite)
    assert (told.code, len(told.said)) == (3, 1)
    assert told.said[0].startswith("harness: memory ran out (")


IMPORTS = {
    "a plugin": ("raise MemoryError", ["ls", "poolings"]),
    "a library that a plugin needs": (
        "def make(): raise ImportError('libx.so: failed to map segment from shared object')",
        ["plan", "toy_suite.yaml", "--include", "toy_task.yaml", "--set", "poolings=[late]"],
    ),
    "the module of a plugin's command": (
        "def make(): pass\ndef load(): raise MemoryError",
        ["toy-late"],
    ),
}


@pytest.mark.parametrize("place", IMPORTS)
def test_an_import_that_does_not_fit_is_no_fault_of_the_package(
    place: str, harness_command: Any, install: Any, toy_suite: Path, toy_task: Path
) -> None:
    source, arguments = IMPORTS[place]
    install(
        f"""
import harness
{source}
@harness.hookimpl
def harness_poolings():
    return [harness.PoolingSpec(name="late", summary="", make=make)]
@harness.hookimpl
def harness_commands():
    return [harness.CommandSpec(name="toy-late", summary="", load=load)] if "load" in globals() else []
"""
    )
    told = harness_command(*arguments)
    assert told.code == 3
    assert told.said[-1].startswith("harness: memory ran out (")
    assert not any("package" in line or "left out" in line for line in told.said)
