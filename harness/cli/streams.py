"""Standard streams of the command line: closed ones are opened, and what cannot be written is given up."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from harness.api.text import printable, shorten
from harness.runs.messages import PassingStream


def open_closed_streams() -> None:
    """Open the null device in place of each standard stream that was closed when Python began.

    Its number would go to the next file that is opened, such as one of results, and whatever writes to a stream by its
    number, as native libraries do, would write into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def echo(message: object = "", *, err: bool = False) -> None:
    """Print a line of an answer, or of a message with `err`; no name in it can steer the terminal, nor fill it in a
    message.
    """
    click.echo(printable(shorten(str(message)) if err else str(message)), err=err)


ESCAPED = "harness-escaped"
"""Name of the error handler that writes a character as JSON escapes it."""


def escape_unwritable() -> None:
    """Let standard output and error write a character that their encoding lacks as JSON does: Δ as \\u0394.

    Encodings such as cp1252 and ASCII lack characters of tables and of the user's own names.
    """
    codecs.register_error(ESCAPED, _escape)
    for stream in (sys.stdout, sys.stderr):
        # It flushes the stream first, which fails where that is closed, full or read by nobody.
        with suppress(OSError, ValueError):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors=ESCAPED)


def as_written(text: str) -> str:
    """Return a text as standard output will show it: spelled as `printable` does, and in the letters it can write."""
    text = printable(text)
    if getattr(sys.stdout, "errors", None) != ESCAPED:
        return text
    return text.encode(sys.stdout.encoding, ESCAPED).decode(sys.stdout.encoding)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    halves = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    codes = (halves[start : start + 2].hex() for start in range(0, len(halves), 2))
    return "".join(f"\\u{code}" for code in codes), error.end


class StdoutLost(OSError):
    """Standard output cannot take what a command prints; `cause` says why.

    It has no `errno`: click and rich end the process by themselves where they see that of a broken pipe.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__()
        self.cause = cause


class AnswerStream(PassingStream):
    """Standard output of a command, whose answer is there or the command fails with StdoutLost.

    A reader that goes away, as `head` does, has what it wants: the rest is discarded, and the command goes on.
    """

    @contextmanager
    def guard(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            discard_stdout()
        except OSError as error:
            raise StdoutLost(error) from error


def discard_stdout() -> None:
    """Lead standard output to the null device, so that Python can end without an error of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stdout_as_message() -> Iterator[None]:
    """Give up what the block prints if standard output cannot take it: it lies elsewhere too, and changes no exit
    code.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError:
        discard_stdout()
