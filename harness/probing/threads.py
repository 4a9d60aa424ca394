"""Threads of numeric libraries around a fit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with one thread for each library of linear algebra (BLAS, OpenMP, PyTorch), and restore them.

    The products of a fit are short and many. Threads of OpenBLAS and OpenMP wait for one another after each by
    spinning, and for a whole time slice of the system where another process has the core of one of them: beside busy
    processes a fit with a thread for each core takes many times longer than with one.
    """
    # PyTorch keeps a number of its own beside OpenMP's. Where nothing has imported it, nothing of it runs.
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with _find_libraries(len(sys.modules)).limit(limits=1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _find_libraries(modules: int) -> ThreadpoolController:
    """Return the libraries that are loaded with so many modules; to look for them takes milliseconds.

    One that something has loaded by hand since the last import is not seen.
    """
    return ThreadpoolController()
