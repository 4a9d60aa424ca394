"""Worker of a run as an actor of Ray. It is sent to the nodes as it is, so that one without `harness` can say so: what
it imports beyond the standard library is imported in its methods.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Settings of numeric libraries. Ray would set the first one by the cores of the worker."""


class Worker:
    """Doer of units. What it returns are plain values: own exceptions do not come through Ray whole."""

    def __init__(self) -> None:
        self._worker: Any = None

    def open(self, setting: bytes, marker: str, threads: int) -> dict[str, Any]:
        """Make this process like that of the run; return the fields of a `Ready`."""
        import ray

        os.environ.update(dict.fromkeys(THREADS, str(threads)))
        host, error, is_blind = socket.gethostname(), "", False
        try:
            import harness

            self._worker = harness.open_worker(pickle.loads(setting))
        except BaseException as reason:  # plugins are imported here, and may end the process
            error = f"a worker on {host} cannot be used: {type(reason).__name__}: {reason}"
        if not error and marker and not Path(marker).exists():
            is_blind = True
            error = (
                f"a worker on {host} does not see the feature store {Path(marker).parent}: "
                "name one that every node has, with --store"
            )
        node = ray.get_runtime_context().get_node_id()
        return {"node": node, "host": host, "pid": os.getpid(), "error": error, "is_blind": is_blind}

    def run(self, body: bytes, shared: bytes | None) -> Iterator[bytes]:
        """Yield the pickled answers on a unit as they come."""
        for answer in self._worker.run(body, shared):
            yield pickle.dumps(answer)


def measure_gpus() -> int:
    """Return the bytes of the smallest GPU of this node; 0 where that cannot be asked."""
    import subprocess

    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return min((int(line) for line in told.split() if line.isdigit()), default=0) << 20
