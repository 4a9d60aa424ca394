"""Streams of a process that answers questions about a plugin, apart from those that the plugin sees."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import IO


def take_streams() -> tuple[IO[str], IO[str]]:
    """Return the streams of questions and of answers. A plugin that reads finds nothing from now on, and what it prints
    goes to standard error.
    """
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return questions, answers
