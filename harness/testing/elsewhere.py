"""Other processes: what it costs there to list a plugin's offers, and the results of using them.

`python -m harness.testing.elsewhere` reads a question (JSON, on a line) and then prints a line for each line that it
reads: the listing, or the digest of the offer of that number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from harness.api.errors import HarnessError, describe
from harness.testing.streams import take_streams

HEAVY = (
    *("torch", "transformers", "datasets", "pandas", "sklearn", "scipy", "matplotlib", "tensorflow", "jax"),
    *("sentence_transformers", "open_clip", "torchvision", "pyarrow"),
)
"""Modules that listing offers must not import: each takes from a tenth of a second to several."""

_MARK = "harness.testing.elsewhere: "
"""Beginning of the lines that are answers; plugins may print others."""


@dataclass(frozen=True)
class Elsewhere:
    """Answers of other processes, with another hash seed and working folder. Each is asked when it is first needed, and
    for one offer at a time, so that one that hangs or dies takes no other with it.

    `plugin` and `distribution` are those of the plugin whose listing is looked at, `plugins` the modules to load
    besides installed plugins, and `subjects` the offers to use, each as (kind, reference, beside).
    """

    plugin: str
    distribution: str
    plugins: tuple[str, ...]
    subjects: Sequence[tuple[str, Any, Mapping[str, str]]]
    cache_dir: Path | None = None
    _users: list[_Process] = field(default_factory=list, repr=False)

    @cached_property
    def listing(self) -> Mapping[str, Any]:
        """The `heavy` modules that listing imported, and the `offers` that it gave; or `error`."""
        process = _Process(self._question(uses=False))
        found = process.ask("list")
        listing: Mapping[str, Any] = {"error": process.last_words()} if found is None else found
        process.end()
        return listing

    def digest(self, number: int) -> str:
        """Return the digest of the results of a subject, or the error that came in their place."""
        if not self._users:
            self._users.append(_Process(self._question(uses=True)))
        found = self._users[0].ask(str(number))
        if found is None:
            lost = self._users.pop()
            found = lost.last_words()
            lost.end()
        return str(found)

    def _question(self, *, uses: bool) -> dict[str, Any]:
        return {
            "plugin": self.plugin,
            "is_installed": not self.distribution.startswith(f"{self.plugin}@"),
            "plugins": self.plugins,
            "subjects": self.subjects if uses else None,
            "cache_dir": str(self.cache_dir) if self.cache_dir else None,
        }


class _Process:
    """Process that answers a question, line by line; it ends with this object."""

    def __init__(self, question: Mapping[str, Any]) -> None:
        path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
        folder = tempfile.TemporaryDirectory()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed by `_end`
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.testing.elsewhere"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            cwd=folder.name,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "12345"},
        )
        self.end = weakref.finalize(self, _end, self._process, self._said, folder)
        self._write(json.dumps(question))

    def ask(self, line: str) -> Any:
        """Return the answer to a line; None where the process has ended."""
        self._write(line)
        assert self._process.stdout is not None
        for answer in iter(self._process.stdout.readline, ""):
            if answer.startswith(_MARK):
                return json.loads(answer.removeprefix(_MARK))
        return None

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, which `ask` says
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def last_words(self) -> str:
        """Return the last line that a process which has ended wrote on standard error, else its status."""
        status = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"status {status}"


def _end(process: subprocess.Popen[str], said: IO[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, said):
        with suppress(OSError):
            if stream is not None:
                stream.close()
    folder.cleanup()


def main() -> None:
    """Answer the question on standard input, once for each line after it."""
    questions, answers = take_streams()
    question = json.loads(questions.readline())
    answer = _list if question["subjects"] is None else _open_uses(question)
    for line in iter(questions.readline, ""):
        found = answer(question, line.strip())
        answers.write(_MARK + json.dumps(found) + "\n")
        answers.flush()


def _list(question: Mapping[str, Any], line: str) -> dict[str, Any]:
    from harness.registry.loading import find_candidates, load_plugins
    from harness.testing.listing import list_offers

    name = question["plugin"]
    chosen: dict[str, Any] = {"only": [name]} if question["is_installed"] else {"only": [], "modules": [name]}
    try:
        candidates = find_candidates(**chosen)
        before = {*sys.modules}
        loaded = load_plugins(candidates)
    except HarnessError as error:
        return {"error": str(error)}
    heavy = [one for one in HEAVY if one in sys.modules and one not in before]
    if loaded.faults or not loaded.loaded:
        return {"error": "; ".join(map(str, loaded.faults)) or "it cannot be found"}
    return {"heavy": heavy, "offers": list_offers(loaded.loaded[0])}


def _open_uses(question: Mapping[str, Any]) -> Callable[[Mapping[str, Any], str], str]:
    """Return the function that uses the subject of a number, and returns the digest of its results or its error."""
    from harness.registry.opening import open_registry
    from harness.testing.check import Subject
    from harness.testing.checks import CHECKS as _  # noqa: F401  the import registers the exercises of all kinds
    from harness.testing.exercises import use
    from harness.testing.results import digest

    cache = question["cache_dir"]
    registry = open_registry(question["plugins"], cache_dir=Path(cache) if cache else None)

    def answer(question: Mapping[str, Any], line: str) -> str:
        kind, reference, beside = question["subjects"][int(line)]
        try:
            choice = registry.choose(kind, reference)
            subject = Subject(
                kind=kind,
                name=choice.name,
                plugin=registry.plugins.find(choice.plugin),
                registry=registry,
                folder=Path.cwd(),
                reference=reference,
                beside=beside,
            )
            return digest(use(subject))
        except Exception as error:  # a stranger's code may raise anything
            return describe(error)

    return answer


if __name__ == "__main__":
    main()
