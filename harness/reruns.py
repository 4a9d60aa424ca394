"""Reruns: cells of a published run, drawn at random, run again here and compared with what was published.

Only cells are run whose task, model, representation and every other part is an offer of an installed plugin, under the
same id as here: the id covers data, weights, dictionary and code. Names of a submission are looked up among the offers;
none is taken for a path, a repository or a file. The caller keeps the session offline.
"""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, UnavailableError
from harness.config.suite import ModelChoice, Suite
from harness.leaderboard.published.rerun_report import (
    Machine,
    RerunCell,
    RerunReport,
    Tolerance,
    hash_published,
)
from harness.leaderboard.published.store import PublishedRun
from harness.leaderboard.submissions.references import TOLERANCE, measure
from harness.planning.cells import Plan
from harness.registry.catalog import Registry, parse_reference
from harness.runs.environment import environment, now
from harness.runs.folder import RunFolder
from harness.runs.record import REPORTED_DISTRIBUTIONS, Record
from harness.session import Session

_AXES = {
    "representations": "representation",
    "poolings": "pooling",
    "transforms": "transform",
    "classifiers": "classifier",
    "regimes": "regime",
}
"""Lists of a suite, and the field of a record that holds the label of one of their entries."""

_WORD = re.compile(r"[A-Za-z0-9_%+-]*")
_LONGEST = 1_000
"""Most letters of a reference that is looked up."""

_HARDWARE = ("os", "cpu", "device", "gpu")


class _CannotRunError(Exception):
    """A cell cannot be run again here; the message says why."""


def rerun(
    session: Session,
    run: PublishedRun,
    *,
    count: int,
    seed: int,
    fresh: bool,
    known: Collection[tuple[str, str | None]] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> RerunReport:
    """Run `count` cells of a published run again, drawn by `seed`, and return how far they differ.

    Cells of which nothing is new, as id and hash of predictions are among the `known`, are drawn only if there are no
    others. Cells that cannot be run here are passed over, with the reason. `fresh`: nobody could know the seed.
    """
    suite = Suite.model_validate(run.about()["suite"])
    records = sorted(
        (record for record in run.records() if run.has_predictions(record)), key=lambda record: record.cell_id
    )
    new = [record for record in records if (record.cell_id, record.predictions_hash) not in known]
    candidates = new or records
    random.Random(seed).shuffle(candidates)
    done: list[RerunCell] = []
    skipped: dict[str, str] = {}
    absent: dict[object, str] = {}  # what is not here is not looked for again with every cell
    for record in candidates:
        if len(done) == count:
            break
        parts = (record.task, record.model, record.representation, record.site)
        if parts in absent:
            skipped[record.cell_id] = absent[parts]
            continue
        tell(f"running cell {record.cell_id[:12]} again")
        try:
            done.append(RerunCell(cell_id=record.cell_id, difference=_run_again(session, run, record, suite)))
        except (_CannotRunError, HarnessError) as error:
            skipped[record.cell_id] = absent[parts] = " ".join(str(error).split())
    records_sha256, predictions_sha256 = hash_published(run.path)
    return RerunReport(
        date=now(),
        seed=seed,
        fresh=fresh,
        candidates=len(candidates),
        cells=tuple(done),
        skipped=skipped,
        tolerance=TOLERANCE,
        submitted=_describe(run.about()),
        here=_describe(environment(session.registry.plugins, session.device)),
        records_sha256=records_sha256,
        predictions_sha256=predictions_sha256,
    )


def find_differences(report: RerunReport) -> Iterator[str]:
    """Yield a sentence for each cell that differs by more than the tolerance, and one if no cell could be run."""
    limit = report.tolerance
    for cell in report.cells:
        if not limit.holds(cell.difference):
            yield (
                f"cell '{cell.cell_id}', run again, differs in {cell.difference.differing:.1%} of predictions and "
                f"{cell.difference.macro_f1:.3f} of macro-F1 (allowed: {limit.differing:.1%} and {limit.macro_f1:.3f})"
            )
    if not report.cells:
        first = next(iter(report.skipped.values()), "it has none with predictions")
        yield f"none of {report.candidates} cells could be run again here, for the first: {first}"


def _run_again(session: Session, run: PublishedRun, record: Record, suite: Suite) -> Tolerance:
    """Run one cell in a temporary folder, and return how far it is from what was published."""
    plan = _plan(session, record, suite)
    published = run.predicted(record)
    with tempfile.TemporaryDirectory(prefix="rerun-") as place:
        own = Session(
            session.registry,
            data_dir=session.data_dir,
            cache_dir=Path(place) / "cache",
            device=session.wanted_device,
            included=session.included,
        )
        folder = RunFolder(own.run(plan, output=Path(place) / "run").folder)
        again = next((each for each in folder.records() if each.cell_id == record.cell_id), None)
        if again is None or again.status != "ok":
            raise _CannotRunError(f"it did not end well here: {again.error if again else 'it has no record'}")
        found = folder.predicted(again)
    if published is None or found is None:
        raise _CannotRunError("its predictions cannot be read")
    difference = measure(published, found)
    return difference or Tolerance(differing=1.0, macro_f1=1.0)  # other test rows: nothing agrees


def _plan(session: Session, record: Record, suite: Suite) -> Plan:
    """Plan the one cell of a record. Raise _CannotRunError or HarnessError where it is none of what is here."""
    plan = session.plan(_restrict(suite, record, session))
    if plan.left_out:
        raise UnavailableError(next(iter(plan.left_out.values())))
    if record.cell_id not in {cell.cell_id for cell in plan.cells}:
        raise _CannotRunError(
            "what its suite names has another id here: other data, weights, dictionaries or code, or another version"
        )
    return plan


def _restrict(suite: Suite, record: Record, session: Session) -> Suite:
    """Return the part of a suite that the cell of a record is in, of offers of installed plugins only."""
    registry = session.registry
    if record.learnt_on is not None:
        raise _CannotRunError("cells of transfers between models are not run again")
    task = next((task for task in suite.tasks if task.name == record.task), None)
    if task is None or task.name not in {*registry.names("tasks"), *(spec.name for spec in session.included)}:
        raise _CannotRunError(f"no plugin here offers the task '{record.task}'")
    fields: dict[str, Any] = {"tasks": (task,), "seeds": (record.seed,)}
    fields |= dict.fromkeys(("models", "transfers", "alignments"), ())
    references = suite.representations
    if record.model is not None:
        model = _find(record.model, "models", {_reference(each): each for each in suite.models}, registry)
        fields["models"] = (model.model_copy(update={"sites": (record.site,), "representations": ()}),)
        references = (*references, *model.representations)
    for axis, name in _AXES.items():
        wanted = getattr(record, name)
        if wanted is None or axis in record.only:  # none, or what the representation itself decides
            fields[axis] = Suite.model_fields[axis].default
        else:
            listed = references if axis == "representations" else getattr(suite, axis)
            fields[axis] = (_find(wanted, axis, {_spell(each): each for each in listed}, registry),)
    return suite.model_copy(update=fields).without_borrowing()


def _find(label: str, kind: str, listed: Mapping[str, Any], registry: Registry) -> Any:
    """Return the entry of a suite, given by its reference as JSON, that an installed plugin offers under a label.

    Raise _CannotRunError when there is none. A name is looked up among the offers first, and only that of the label is:
    to resolve another, such as a folder or a repository, would ask whether it is there.
    """
    for spelt, entry in listed.items():
        with suppress(HarnessError):
            if len(spelt) > _LONGEST:
                continue
            name, given = parse_reference(json.loads(spelt))
            is_offered = name in registry.names(kind) and all(map(_is_plain, given.values()))
            # A pair of name and parameters: a text could be taken for a path.
            is_meant = is_offered and label.startswith(name)
            if is_meant and registry.choose(kind, {"name": name, **given}).label == label:
                return entry
    raise _CannotRunError(f"no plugin here offers the {kind.removesuffix('s')} '{label}'")


def _reference(choice: ModelChoice) -> str:
    return _spell({"name": choice.ref, **choice.parameters})


def _spell(reference: str | Mapping[str, Any]) -> str:
    return json.dumps(reference)  # in this order, which labels show


def _is_plain(value: object) -> bool:
    """Return whether a parameter cannot be a path or a repository: a number, or a word without dots and slashes.

    Lists are refused: YAML can write one of a thousand letters that has more values than any machine can count.
    """
    if isinstance(value, str):
        return bool(_WORD.fullmatch(value))
    return value is None or isinstance(value, bool | int | float)


def _describe(facts: Mapping[str, Any]) -> Machine:
    """Return hardware and versions of `env.json`, or of this machine."""
    versions = dict(facts.get("distributions") or {})
    gpu = facts.get("gpu")
    hardware = {name: facts.get(name) for name in _HARDWARE} | {"gpu": gpu.get("name") if gpu else None}
    hardware["os"] = str(hardware["os"] or "").split("-")[0] or None  # the rest names a host's own kernel
    return Machine(
        hardware={**hardware, "cores": str(facts["cores"]) if facts.get("cores") else None},
        versions={"python": facts.get("python")}
        | {name: versions.get(name) for name in REPORTED_DISTRIBUTIONS},
    )
