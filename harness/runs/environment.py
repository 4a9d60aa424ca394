"""Description of the machine and the packages of a run."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.registry.checked import read_checked
from harness.storage.hashing import hash_lines

if TYPE_CHECKING:
    from harness.registry.loading import Plugins


def environment(plugins: Plugins, device: str, *, cache_dir: Path | None = None) -> dict[str, Any]:
    """Return the distributions, machine and plugins: no paths, no environment variables, no secrets.

    Checks of plugins are read in the cache folder `cache_dir`, None for the default one.
    """
    import psutil

    checks = {plugin.name: read_checked(plugin, cache_dir) for plugin in plugins.loaded}
    return {
        "python": sys.version.split()[0],
        "os": platform.platform(),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "device": device,
        "gpu": _gpu(),
        "plugins": {plugin.name: plugin.distribution for plugin in plugins.loaded},
        "interfaces": {plugin.name: plugin.interface for plugin in plugins.loaded},
        "checks": {name: asdict(checked) for name, checked in checks.items() if checked},
        "left_out": [_without_paths(str(fault)) for fault in plugins.faults],
        "distributions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Return the version of every distribution that has a name; of two with one name, that of the one imported."""
    found: dict[str, str] = {}
    for one in distributions():
        about = one.metadata  # parsed anew whenever it is asked for, `one.version` included
        if about["Name"]:
            found.setdefault(about["Name"], about["Version"])
    return dict(sorted(found.items()))


def _without_paths(text: str) -> str:
    """Return a message without paths: those of Python's import errors end in one."""
    return re.sub(r"(?<![\w.])(?:/|[A-Za-z]:\\)[^\s'\"():]+", "…", text)


def may_have_gpu() -> bool:
    """Return False where it is plain that torch, which takes seconds to import, would find no GPU."""
    if "torch" in sys.modules or not sys.platform.startswith("linux"):
        return True
    # Nodes that the drivers of NVIDIA, of its Jetson, of AMD and of WSL make; without one, no program can open a GPU.
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/nvmap", "/dev/kfd", "/dev/dxg"))


def _gpu() -> dict[str, str] | None:
    if not may_have_gpu():
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    return {"name": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}


def machine_id() -> str:
    """Return an identifier of this machine that does not show its name."""
    return hash_lines([platform.node()])[:16]


def this_process() -> dict[str, Any]:
    """Return the process id, start time and machine of this process."""
    import psutil

    return {"pid": os.getpid(), "started": psutil.Process().create_time(), "machine": machine_id()}


def is_alive(process: Mapping[str, Any]) -> bool:
    """Return whether a process still runs. Its id may be in use again, so the start time must agree, to a second."""
    import psutil

    try:
        found = psutil.Process(process["pid"])
        alive = found.status() != psutil.STATUS_ZOMBIE
        return bool(alive and abs(found.create_time() - process["started"]) < 1)
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False


def now() -> str:
    """Return the time in UTC, as `2026-01-31T12:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
