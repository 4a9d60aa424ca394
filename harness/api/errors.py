"""The errors a user or a plugin author can mend, each with its exit code.

HarnessError            70  never raised itself
├── UsageError           2  a name, parameter, suite or command line that cannot work
├── UnavailableError         3  data, weights, a plugin or a package that is not there or is broken
│   ├── DataError        3  the data of a task or corpus is missing, broken or unreadable
│   ├── PluginResultError 3  a plugin returned values that are no result: not finite, or not a row for each row
│   ├── ChangedError     3  a file has changed since it was read or hashed
│   └── WriteError       3  results, cache or output cannot be written
├── GateError            4  the run finished, but a gate that was asked for is not met
└── NothingSelectedError 5  the selection is empty
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class HarnessError(Exception):
    """One sentence for the user: the thing, what was wanted, what was given, and how to mend it."""

    exit_code = 70


class UsageError(HarnessError):
    """Request that cannot be done as asked."""

    exit_code = 2


class UnavailableError(HarnessError):
    """Something outside the suite (data, weights, a package, a disk) is missing or broken."""

    exit_code = 3


class DataError(UnavailableError):
    """The data of a task or corpus is missing, broken or unreadable."""


class PluginResultError(UnavailableError):
    """A plugin returned values that cannot be a result; the sentence names the plugin and the row."""


class ChangedError(UnavailableError):
    """A file has changed since it was read or hashed; what is made of it now would carry a wrong identity."""

    @classmethod
    def of(cls, path: Path, what: str = "") -> ChangedError:
        """Return the error for a file, after a word on `what` it is, that was written, replaced or removed."""
        return cls(f"{what}'{path}' has changed since it was first read: run the same command again")


class WriteError(UnavailableError):
    """Results, cache or output cannot be written; going on would only lose more work."""

    @classmethod
    def from_os(cls, what: str, error: OSError) -> WriteError:
        """Return the error for `what` (a quoted path, or `the cache 'path'`) that the system refused to write."""
        return cls(f"{what} cannot be written: {error.strerror or error}")


ENDS_RUN = (ChangedError, WriteError)
"""Errors of one cell or bundle that end a whole run: its plan no longer holds, or its work would be lost."""


class EmptyInputWarning(UserWarning):
    """Inputs without content tokens, whose rows of features are zero."""


class FlagWarning(UserWarning):
    """A peculiarity of a model, which its results carry as a flag."""


class GateError(HarnessError):
    """The work is done and saved, but a gate that was asked for is not met."""

    exit_code = 4


class NothingSelectedError(HarnessError):
    """The suite and its overrides leave nothing to do."""

    exit_code = 5


MOST_NAMES = 30
"""Most known names in one sentence; `harness ls` lists all."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` with the nearest known name, else the first known names, else nothing."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"; known: {', '.join(names[:MOST_NAMES])}{more}" if names else ""


def describe(error: BaseException) -> str:
    """Return an error in one line: its type, and the first line of its message."""
    try:
        text = str(error).strip().splitlines()
    except Exception:  # an error of a plugin may fail to say what it is
        text = []
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
