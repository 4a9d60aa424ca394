"""Provenance of a board: where, when and with what each of its runs was made, as the runs say themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.registry.checked import Checked
from harness.runs.record import Results
from harness.storage.parsing import parsing

VERSIONS = ("sae-harness", "torch", "transformers", "scikit-learn")
"""Distributions that are named where there is room for a few."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts of one run. `suite` is the resolved one; `versions` and `plugins` are by name. Days are of the form
    2026-01-31, "" where a run does not say; `minutes` are those from its first start to its end, pauses between two
    starts included, None where it does not say. `interfaces` are the versions that plugins declare, None for one that
    declares none, and `checks` those that had been checked; older runs record neither.
    """

    name: str
    cells: int
    minutes: int | None
    suite: Mapping[str, Any]
    started: str
    finished: str
    machine: str
    python: str
    versions: Mapping[str, str]
    plugins: Mapping[str, str]
    interfaces: Mapping[str, int | None]
    checks: Mapping[str, Checked]

    @property
    def described_versions(self) -> str:
        """The most important versions in one line; "" where none is known."""
        return ", ".join(f"{name} {self.versions[name]}" for name in VERSIONS if name in self.versions)


def find_facts(run: Results) -> RunFacts:
    """Return the facts of a run.

    Raise UnavailableError where a run describes its machine in another form.
    """
    about = {**run.environment(), **run.about()}
    with parsing(f"'{run.path}' does not say of its plugins what it should"):
        interfaces = {
            str(name): None if one is None else int(one)
            for name, one in (about.get("interfaces") or {}).items()
        }
        checks = {str(name): Checked(**one) for name, one in (about.get("checks") or {}).items()}
    with parsing(f"'{run.path}' does not say on which machine it was made"):
        starts = about.get("starts") or []
        began = str(about.get("started") or (starts[0]["time"] if starts else ""))
        ended = str(about.get("finished") or "")
        cells = about.get("cells", 0)
        return RunFacts(
            name=run.name,
            suite=dict(about.get("suite") or {}),
            cells=cells if isinstance(cells, int) else len(cells),
            minutes=_count_minutes(began, ended),
            started=began[:10],
            finished=ended[:10],
            machine=_describe_machine(about),
            python=str(about.get("python") or ""),
            versions={str(name): str(one) for name, one in (about.get("distributions") or {}).items() if one},
            plugins={str(name): str(one) for name, one in (about.get("plugins") or {}).items()},
            interfaces=interfaces,
            checks=checks,
        )


def _count_minutes(began: str, ended: str) -> int | None:
    if not began or not ended:
        return None
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    return max(0, round(seconds / 60))


def _describe_machine(about: Mapping[str, Any]) -> str:
    if gpu := about.get("gpu"):
        return f"{gpu['name']} (CUDA {gpu['cuda']})"
    return f"{about.get('cores', '?')} cores of a CPU ({about.get('cpu', 'unknown')})"
