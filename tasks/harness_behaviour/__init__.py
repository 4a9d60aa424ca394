"""Tasks on whether a model answers correctly, with labels made by `harness label`.

The labels are predicted from features of the same model or of a smaller one. There are items of our own, answered by
the embedded models, and records for items of public datasets, answered by Gemma.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness

HARNESS_API = 1

HERE = Path(__file__).parent

FAMILIES = {
    "agreement": "make the verb agree with its subject",
    "names": "name the receiver and not the giver",
    "facts": "complete a sentence of common knowledge",
}
"""Families that have a task of their own for minigemma-l → its summary.

In `grammar` it has too few wrong answers (9 %) to train on; in `cloze` it guesses (49 % right, of two choices), so
that there is nothing to predict.
"""

LICENCES = {
    "piqa": ("AFL-3.0", "Bisk, Zellers, Le Bras, Gao & Choi 2020 PIQA (AAAI)"),
    "boolq": ("CC BY-SA 3.0", "Clark et al. 2019 BoolQ (NAACL)"),
    "pubmedqa": ("MIT", "Jin, Dhingra, Liu, Cohen & Lu 2019 PubMedQA (EMNLP)"),
    "gsm8k": ("MIT", "Cobbe et al. 2021 Training Verifiers to Solve Math Word Problems (arXiv:2110.14168)"),
}
"""Dataset of `harness_behaviour.items` → its licence and citation."""


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    return [
        *(_own(model, f"Does minigemma-{model} continue a sentence correctly?") for model in ("l", "m")),
        *(_own("l", f"Does minigemma-l {does}?", family=name) for name, does in FAMILIES.items()),
        *(_mirrored(name) for name in LICENCES),
    ]


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((HERE / "suites").glob("*.yaml"))


def _own(size: str, summary: str, *, family: str | None = None) -> harness.TaskSpec:
    """Return the task on the answers of an embedded model, to all items or to one family."""
    return harness.TaskSpec(
        name=f"answers_{size}_{family}" if family else f"answers_minigemma_{size}",
        version=1,
        summary=summary,
        source=harness.FileSource(file=HERE / "data" / f"answers_minigemma_{size}.parquet"),
        languages=("en",),
        licence="Apache-2.0",
        citation="sae-harness behaviour data",
        columns=harness.Columns(group="group"),
        where={"family": family} if family else {},
    )


def _mirrored(name: str) -> harness.TaskSpec:
    """Return the task on the answers of Gemma; its labels are made by each user in their own data folder."""
    licence, citation = LICENCES[name]
    return harness.TaskSpec(
        name=f"answers_gemma_{name}",
        version=1,
        summary=f"Does Gemma 2 9B answer an item of {name} correctly? Its labels are made with harness label.",
        languages=("en",),
        licence=licence,
        citation=citation,
        columns=harness.Columns(group="group"),
    )
