"""Clusters that a run is planned for: what an executor is known to use, and what is assumed of the rest."""

from __future__ import annotations

from harness.api.errors import UsageError
from harness.planning.schedule import Cluster
from harness.registry.catalog import Choice

START_SECONDS = 5.0
"""Core seconds in which a worker process imports its libraries, measured on the two cores of the other constants."""

CORES_A_GPU = 12
"""Assumed cores beside each GPU: machines that are let with eight have 96 to 112."""

GPU_MEMORY = 80 * 10**9
"""Bytes of a GPU where nobody says how many."""


def find_cluster(
    executor: Choice, *, cores: int, gpus: int | None = None, gpu_memory: int | None = None
) -> Cluster:
    """Return the cluster that an executor is expected to use: so many GPUs, or this machine with its `cores`.

    Raise UsageError where the executor has no use for several GPUs, and for a number of jobs below one.
    """
    jobs = executor.parameters.get("jobs")
    if jobs is not None and (type(jobs) is not int or jobs < 1):  # neither 1.5 nor True
        raise UsageError(
            f"jobs must be a whole number from 1, or None for one process per free core; it is {jobs}"
        )
    is_here = executor.spec.keeps_forwards
    if gpus is None:
        workers = jobs or cores
        return Cluster(workers=workers, cores=cores, start_seconds=START_SECONDS, forwards_here=is_here)
    if is_here and gpus > 1:
        raise UsageError(
            f"the executor '{executor.label}' does all forward passes in one process, on one GPU: name another one "
            "with --executor (`harness ls executors` lists them)"
        )
    beside = CORES_A_GPU * gpus
    probers = beside - gpus
    return Cluster(
        gpus=gpus,
        gpu_memory=gpu_memory or GPU_MEMORY,
        probers=min(probers, jobs) if jobs else probers,
        cores=beside,
        start_seconds=START_SECONDS,
    )
