"""Executor on Ray: the units of a run on every GPU of a machine or a cluster."""

from __future__ import annotations

import harness

HARNESS_API = 1


def _ray(*, jobs: int | None = None, address: str = "", threads: int = 1) -> harness.Executor:
    from harness_ray.executor import RayExecutor

    return RayExecutor(jobs=jobs, address=address, threads=threads)


@harness.hookimpl
def harness_executors() -> list[harness.ExecutorSpec]:
    return [
        harness.ExecutorSpec(
            name="ray",
            summary="workers of a Ray cluster at `address`, or of one that is started here",
            make=_ray,
        )
    ]
