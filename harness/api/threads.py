"""Settings of how threads of numeric libraries wait, which the libraries read when they are loaded."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# Idle threads of OpenMP (PyTorch's products, scikit-learn's loops) sleep. By default they spin, and so does whoever
# waits for a thread that has no core: beside busy processes a forward pass took four times the CPU seconds.
WAIT_POLICY = ("OMP_WAIT_POLICY", "PASSIVE")

# Threads of OpenBLAS (NumPy's and SciPy's products) know no such word, and products here are short and many.
ONE_BLAS_THREAD = ("OPENBLAS_NUM_THREADS", "1")


def let_threads_sleep(
    environment: MutableMapping[str, str] = os.environ, *, whole_process: bool = False
) -> None:
    """Say in the environment that waiting threads sleep, for libraries that are not loaded yet; what it says already
    stays.

    With `whole_process`, where no work but the harness's has this environment, OpenBLAS is given one thread too.
    """
    for name, value in (WAIT_POLICY, *((ONE_BLAS_THREAD,) if whole_process else ())):
        environment.setdefault(name, value)
