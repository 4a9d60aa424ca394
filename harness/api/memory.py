"""Recognition of a lack of memory, whatever reports it."""

from __future__ import annotations

import errno

from harness.api.errors import HarnessError, describe

_TEXTS = (
    "DefaultCPUAllocator",  # PyTorch's allocator raises a plain RuntimeError
    "CUDA error: out of memory",  # the driver an AcceleratorError, which stands for other faults too
    "failed to map segment from shared object",  # the loader an ImportError, whatever the package
    "Cannot allocate memory",
)
"""Texts of errors that report a lack of memory and have no type of their own: the only place that reads text."""

_TYPES = frozenset({"OutOfMemoryError"})
"""Names of such types in libraries that the core does not import for this: PyTorch's, and those of databases."""


def find_memory_error(error: BaseException) -> BaseException | None:
    """Return the error that reports a lack of memory: `error`, or one it was raised from or after; None without one.

    A reader that wraps whatever its library raises ("… is broken") thus hides no lack of memory.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        if _is_memory_error(one):
            return one
        seen.add(id(one))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return None


def explain(error: BaseException) -> str:
    """Return an error in one sentence: a lack of memory first, then a HarnessError's own, else type and message."""
    if (found := find_memory_error(error)) is not None:
        return (
            f"memory ran out ({describe(found)}): end other programs, use a smaller batch or fewer rows, or a machine "
            "with more"
        )
    return str(error) if isinstance(error, HarnessError) else describe(error)


def _is_memory_error(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in _TYPES:
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if not isinstance(error, RuntimeError | ImportError | OSError):
        return False
    said = describe(error)  # an error of a plugin may fail to say what it is
    return any(text in said for text in _TEXTS)
