"""The errors a user or a plugin author can mend, each with its exit code.

HarnessError            70  never raised itself
├── UsageError           2  a name, parameter, suite or command line that cannot work
├── UnavailableError         3  data, weights, a plugin or a package that is not there or is broken
│   ├── DataError        3  the data of a task or corpus is missing, broken or unreadable
│   ├── PluginResultError 3  a plugin returned values that are no result: not finite, or not a row for each row
│   ├── NotTestableError 3  a score says nothing on this model
│   ├── ChangedError     3  a file has changed since it was read or hashed
│   └── WriteError       3  results, cache or output cannot be written
├── GateError            4  the run finished, but a gate that was asked for is not met
└── NothingSelectedError 5  the selection is empty
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

EXIT_CODES: Mapping[int, str] = {
    0: "all is well",
    1: "some cells failed or were left out, or some checks of a plugin failed; the rest is saved",
    2: "usage: a name, parameter, suite or command line that cannot work",
    3: "the environment, data, a file or a plugin is missing or broken, or something cannot be written",
    4: "a gate that was asked for is not met, or a check found a fault; the work is saved",
    5: "nothing is selected",
    70: "a bug, in the harness or in the plugin that the message names",
    130: "interrupted (Ctrl-C); what is done is saved",
    143: "terminated (SIGTERM); what is done is saved",
}
"""Exit codes of every command of the harness, each with its meaning."""


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


class NotTestableError(UnavailableError):
    """A score says nothing on this model, which cannot do what it needs; the sentence stands in place of numbers."""


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


MOST_NAMES = 5
"""Most known names in one sentence."""

_NEAR, _AS_NEAR = 0.6, 0.05
"""Likeness of a name that may be meant, from 0 to 1, and the most by which others may be less like it."""


def did_you_mean(name: str, known: Iterable[str], *, listed_by: str = "", owner_has: str = "") -> str:
    """Return `; did you mean 'x'?` with the names that are likest to an unknown one, else some known names by likeness
    and how many more there are, else nothing.

    `listed_by` is the command that lists all of them. With `owner_has`, such as `it takes`, a few names are all given,
    in their order.
    """
    given = [*dict.fromkeys(known)]
    if owner_has and len(given) <= MOST_NAMES:
        return f"; {owner_has}: {', '.join(given)}" if given else f"; {owner_has} none"
    names = sorted(given)
    likest = _by_likeness(name, names)
    if likest and likest[0][0] >= _NEAR:
        near = [f"'{one}'" for likeness, one in likest if likeness >= likest[0][0] - _AS_NEAR]
        return f"; did you mean {' or '.join(filter(None, (', '.join(near[:-1]), near[-1])))}?"
    few = len(names) <= MOST_NAMES
    said = name_some(names if few else [one for _, one in likest], of=len(names))
    return f"; known: {said}{f' (`{listed_by}` lists all)' if listed_by and not few else ''}" if names else ""


def name_some(names: Iterable[object], *, of: int | None = None, nothing: str = "none") -> str:
    """Return the first names in one text, at most MOST_NAMES, and how many more there are of all, `of`."""
    texts = [str(name) for name in names]
    more = (len(texts) if of is None else of) - len(texts[:MOST_NAMES])
    return ", ".join(texts[:MOST_NAMES]) + (f" and {more:,} more" if more else "") or nothing


def _by_likeness(name: str, names: Iterable[str]) -> list[tuple[float, str]]:
    """Return the names that are likest to another one, at most MOST_NAMES, likest first."""
    matcher = difflib.SequenceMatcher(b=name[:LONGEST].casefold())
    ratios = []
    for one in names:
        matcher.set_seq1(one[:LONGEST].casefold())
        ratios.append((matcher.ratio(), one))
    return sorted(ratios, key=lambda pair: -pair[0])[:MOST_NAMES]


LONGEST = 200
"""Letters of a name beyond these are not compared."""


LONGEST_MESSAGE = 160
"""Most characters of a stranger's message in a sentence: parsers may quote a whole file."""


def describe(error: BaseException) -> str:
    """Return an error in one line: its type, and the first line of its message, cut if it is long."""
    try:
        text = str(error).strip().splitlines()
    except Exception:  # an error of a plugin may fail to say what it is
        text = []
    said = text[0][:LONGEST_MESSAGE] + "…" * (len(text[0]) > LONGEST_MESSAGE) if text else ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
