"""Another process: what it costs there to list a plugin's offers, and the results of using them.

`python -m harness.testing.elsewhere` reads a question (JSON) and prints two answers, each on a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, describe

HEAVY = (
    *("torch", "transformers", "datasets", "pandas", "sklearn", "scipy", "matplotlib", "tensorflow", "jax"),
    *("sentence_transformers", "open_clip", "torchvision", "pyarrow"),
)
"""Modules that listing offers must not import: each takes from a tenth of a second to several."""

_MARK = "harness.testing.elsewhere: "
"""Beginning of the lines that are answers; plugins may print others."""


@dataclass(frozen=True)
class Elsewhere:
    """Answers of another process, with another hash seed and working folder. It is asked when the first is needed.

    `plugin` and `distribution` are those of the plugin whose listing is looked at, `plugins` the modules to load
    besides installed plugins, and `subjects` the offers to use, each as (kind, reference, beside).
    """

    plugin: str
    distribution: str
    plugins: tuple[str, ...]
    subjects: Sequence[tuple[str, Any, Mapping[str, str]]]
    cache_dir: Path | None = None

    @cached_property
    def _answers(self) -> tuple[Any, Any]:
        path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
        question = {
            "plugin": self.plugin,
            "is_installed": not self.distribution.startswith(f"{self.plugin}@"),
            "plugins": self.plugins,
            "subjects": self.subjects,
            "cache_dir": str(self.cache_dir) if self.cache_dir else None,
        }
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-m", "harness.testing.elsewhere"],
                input=json.dumps(question),
                capture_output=True,
                text=True,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "12345"},
            )
        found = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
        answers = [json.loads(line) for line in found]
        lost = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return (
            answers[0] if answers else {"error": lost},
            answers[1] if len(answers) > 1 else {"error": lost},
        )

    @property
    def listing(self) -> Mapping[str, Any]:
        """The `heavy` modules that listing imported, and the `offers` that it gave; or `error`."""
        listing: Mapping[str, Any] = self._answers[0]
        return listing

    def digest(self, number: int) -> str:
        """Return the digest of the results of a subject, or the error that came in their place."""
        results = self._answers[1]
        return str(results.get(str(number), results.get("error")))


def main() -> None:
    """Answer the question on standard input."""
    question = json.loads(sys.stdin.read())
    os.environ["HARNESS_PLUGINS"] = os.environ.get("HARNESS_PLUGINS", "")
    print(_MARK + json.dumps(_list(question)), flush=True)
    print(_MARK + json.dumps(_use(question)), flush=True)


def _list(question: Mapping[str, Any]) -> dict[str, Any]:
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


def _use(question: Mapping[str, Any]) -> dict[str, str]:
    from harness.registry.opening import open_registry
    from harness.testing.check import Subject
    from harness.testing.checks import CHECKS as _  # noqa: F401  the kinds' exercises are registered by this import
    from harness.testing.exercises import use
    from harness.testing.results import digest

    cache = question["cache_dir"]
    registry = open_registry(question["plugins"], cache_dir=Path(cache) if cache else None)
    found = {}
    for number, (kind, reference, beside) in enumerate(question["subjects"]):
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
            found[str(number)] = digest(use(subject))
        except Exception as error:  # a stranger's code may raise anything
            found[str(number)] = describe(error)
    return found


if __name__ == "__main__":
    main()
