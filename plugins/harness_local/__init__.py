"""Executor of one machine: forward passes in the process of the run, probes there or in worker processes."""

from __future__ import annotations

import harness

HARNESS_API = 1


def _local(*, jobs: int | None = 1) -> harness.Executor:
    from harness_local.executor import Local

    return Local(jobs=jobs)


@harness.hookimpl
def harness_executors() -> list[harness.ExecutorSpec]:
    return [
        harness.ExecutorSpec(
            name="local",
            summary="this process, with `jobs` worker processes for probes",
            make=_local,
            default=True,
            keeps_forwards=True,
        )
    ]
