"""Streams for messages, which lose what cannot be written: whoever reads along cannot disturb a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from typing import Any


class PassingStream:
    """Text stream that passes everything on to another one; `guard` decides about what that one cannot take."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def guard(self) -> AbstractContextManager[None]:
        """Return what every call of the other stream is made in."""
        return nullcontext()

    def write(self, text: Any) -> int:
        """Write one text, and return its length."""
        with self.guard():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the other stream."""
        with self.guard():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        return type(self)(found) if name == "buffer" else found


class LossyStream(PassingStream):
    """Stream of messages, each of which is lost where the reader went away, the disk is full or the file closed."""

    def guard(self) -> AbstractContextManager[None]:
        """Return what loses an error of the other stream."""
        return suppress(OSError, ValueError)  # ValueError is what a closed file raises


@contextmanager
def lose_unwritable() -> Iterator[None]:
    """Let standard output and standard error lose what cannot be written, for the block.

    Observers, warnings, loggers and the progress bars of libraries all write there.
    """
    with redirect_stdout(_lossy(sys.stdout)), redirect_stderr(_lossy(sys.stderr)):
        yield


def _lossy(stream: Any) -> Any:
    return stream and LossyStream(stream)  # there is none where it was closed before Python began
