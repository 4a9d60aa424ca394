"""Facts by which a process is known to others that share a place with it, none of which depends on a clock."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.runs.environment import machine_id
from harness.storage.lease import Holder
from harness.storage.reading import read_file


def this_holder() -> Holder:
    """Return the facts of this process. Those of Linux tell a process of this machine that has ended at once."""
    return Holder(
        facts={**_surroundings(), "pid": os.getpid(), "started": _started(os.getpid())}, has_ended=has_ended
    )


def has_ended(facts: Mapping[str, Any]) -> bool:
    """Return whether a process has ended; False where that cannot be known, as of one in another container."""
    here, pid = _surroundings(), facts.get("pid")
    if not here or not isinstance(pid, int) or not facts.get("started"):
        return False
    if any(facts.get(name) != value for name, value in here.items()):
        return False
    return bool(_started(pid) != facts["started"])


def _surroundings() -> dict[str, str]:
    """Return the machine, its start and the namespace in which process ids count; nothing where these are not known."""
    try:
        boot = read_file(Path("/proc/sys/kernel/random/boot_id")).decode().strip()
        return {"machine": machine_id(), "boot": boot, "namespace": str(Path("/proc/self/ns/pid").readlink())}
    except OSError:
        return {}


def _started(pid: int) -> str:
    """Return the ticks from the machine's start to that of a process, which no clock moves; empty if there is none."""
    try:
        # The name of the program stands in parentheses, and may hold any character.
        fields = read_file(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
        return "" if fields[0] == b"Z" else fields[19].decode()
    except (OSError, IndexError):
        return ""
