"""Messages between this process and a worker process: their length, and so many bytes."""

from __future__ import annotations

import pickle
from typing import IO

import harness

SIZE = 8
"""Bytes that say how long a message is."""


def send(stream: IO[bytes], data: bytes) -> None:
    """Write one message."""
    stream.write(len(data).to_bytes(SIZE, "little") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes:
    """Read one message. Raise EOFError where the other side has ended."""
    return _read(stream, int.from_bytes(_read(stream, SIZE), "little"))


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


class Sender:
    """Writer of units for one worker, to which the rows of a bundle go once."""

    def __init__(self) -> None:
        self._sent = ""

    def write(self, packed: harness.Packed) -> bytes:
        """Return the message of a packed unit."""
        shared = packed.shared() if packed.shared_key and packed.shared_key != self._sent else None
        self._sent = packed.shared_key or self._sent
        return pickle.dumps((packed.body, shared))

    def forget(self) -> None:
        """Send the rows again next time: the worker is another one, or could not read them."""
        self._sent = ""
