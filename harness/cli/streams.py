"""Standard streams of the command line: closed ones are opened, and what cannot be written is given up."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
    """Print a line of an answer, or of a message with `err`; no name in it can steer the terminal, nor
    fill it in a message."""
    click.echo(printable(shorten(str(message)) if err else str(message)), err=err)


class StdoutLost(OSError):
    """Standard output cannot take what a command prints; the cause says why.

    It has no `errno`: click and rich end the process by themselves where they see that of a broken pipe.
    """


class AnswerStream(PassingStream):
    """Standard output of a command, whose answer is there or the command fails with StdoutLost."""

    @contextmanager
    def guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StdoutLost from error


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
