"""Executor `ray`: workers of a Ray cluster, which is found at an address or started for the run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import harness
from harness_ray.link import Link, check_address, check_installed
from harness_ray.messages import Setting
from harness_ray.places import Places
from harness_ray.pool import RayPool


class RayExecutor:
    """Executor on a Ray cluster. `jobs` is the most workers, None for as many as there is room for.

    `address` is HOST:PORT, `auto` for the cluster of this node, `local` for one that is started here. If it is empty,
    the variable RAY_ADDRESS counts, and without that one is started here. `threads` are those of a forward pass.
    """

    def __init__(self, *, jobs: int | None, address: str, threads: int) -> None:
        for name, number in (("jobs", jobs), ("threads", threads)):
            if number is not None and (type(number) is not int or number < 1):  # neither 1.5 nor True
                raise harness.UsageError(
                    f"{name} of the executor 'ray' must be a whole number from 1; it is {number}"
                )
        check_installed()
        asked = address or os.environ.get("RAY_ADDRESS", "")
        self._address = "" if asked == "local" else asked
        if self._address:
            check_address(self._address)
        self._jobs, self._threads = jobs, threads
        self._link: Link | None = None

    def find_device(self, wanted: str) -> str:
        """Return `cpu` or `cuda`, the device of all workers. Raise UsageError for a numbered one: Ray numbers them.

        Raise UnavailableError where no node has a GPU that is wanted.
        """
        if wanted.startswith("cuda:"):
            raise harness.UsageError(
                f"Ray gives each worker GPUs of its own: use --device cuda in place of {wanted}"
            )
        if not self._address or wanted not in ("auto", "cuda"):
            return harness.resolve_device(wanted).partition(":")[0]
        if any(node.gpus for node in self._connect().up.nodes):
            return "cuda"
        if wanted == "cuda":
            raise harness.UnavailableError(f"no node of the Ray cluster at {self._address} has a GPU")
        return "cpu"

    @contextmanager
    def open(self, workplace: harness.Workplace) -> Iterator[harness.Pool]:
        """Open a pool for the block; its workers end with it, whatever they do.

        Where a user interrupts it, what they have done by then is delivered.
        """
        link, self._link = self._connect(), None
        try:
            with marked(workplace.setting.store) as marker:
                pool = self._open_pool(link, workplace, marker)
                try:
                    yield pool
                except KeyboardInterrupt:
                    pool.take_done()
                    raise
        finally:
            link.close()

    def _open_pool(self, link: Link, workplace: harness.Workplace, marker: str) -> RayPool:
        setting = replace(workplace.setting, threads=self._threads)
        link.send(Setting(setting=pickle.dumps(setting), marker=marker, threads=self._threads))
        nodes = link.up.nodes
        workplace.tell(
            "workers",
            executor="ray",
            version=link.up.version,
            jobs=self._jobs,
            threads=self._threads,
            nodes=[{"host": node.host, "cpus": node.cpus, "gpus": node.gpus} for node in nodes],
        )
        places = Places(nodes, uses_gpus=setting.device != "cpu", jobs=self._jobs, threads=self._threads)
        return RayPool(link, places, workplace.tell)

    def _connect(self) -> Link:
        """Return the link of this executor, opened once."""
        if self._link is None:
            needed = self._jobs * self._threads if self._jobs else 1
            cpus = None if self._address else max(needed, os.cpu_count() or 1)
            self._link = Link(address=self._address, cpus=cpus)
        return self._link


@contextmanager
def marked(store: str) -> Iterator[str]:
    """Put a file into the feature store for the block, and return its path: a worker that does not see it has another
    store. A store with an address is the same everywhere, and gets none.
    """
    if "://" in store:
        yield ""
        return
    marker = Path(store, f".ray-{uuid4().hex}")
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise harness.WriteError(f"cannot write to the feature store: {harness.describe(error)}") from error
    try:
        yield str(marker)
    finally:
        with suppress(OSError):
            marker.unlink()
