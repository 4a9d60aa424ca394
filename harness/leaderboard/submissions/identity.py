"""Checks of what a submission is: whole runs, of known versions, and of nothing that the board has already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

from harness.api.errors import name_some
from harness.leaderboard.published.store import unpublishable
from harness.leaderboard.submissions.files import read_suite_of
from harness.leaderboard.submissions.submitted import (
    Submitted,
    fault,
    find_unlike,
    note,
)
from harness.runs.record import Record
from harness.validation.finding import Finding
from harness.validation.records import check_flags, check_records, check_whole
from harness.validation.run import check_coverage, check_places


def check_each(submitted: Submitted) -> Iterator[Finding]:
    """Check each run by itself: whole, consistent, and of its own suite."""
    for entry in submitted.entries:
        records, suite = entry.run.records(), read_suite_of(entry)
        sentences = [
            *unpublishable(entry.run),
            *check_records(records),
            *check_whole(records),
            *check_places(suite, records),
            *check_coverage(suite, records),
        ]
        yield from (fault(f"'{entry.origin}': {sentence}") for sentence in dict.fromkeys(sentences))
        yield from check_flags(records)
    names = {run.name.casefold() for run in submitted.published}  # some file systems tell no case
    for entry in submitted.entries:
        if entry.run.name.casefold() in names:
            yield fault(
                f"a run named '{entry.run.name}' is published already: give '{entry.origin}' another name"
            )


def check_versions(submitted: Submitted) -> Iterator[Finding]:
    """Compare versions of the harness, tasks, poolings, transforms and classifiers with those here and on the board."""
    ours = version("sae-harness")
    for entry in submitted.entries:
        theirs = entry.run.about()["distributions"].get("sae-harness") or ""
        if _numbers(theirs) > _numbers(ours):
            yield fault(
                f"'{entry.origin}' was run with version {theirs} of the harness, newer than {ours} here: update it "
                f"here first"
            )
    known = {cell.record.task: cell.record.task_version for cell in submitted.references}
    for task, own in dict.fromkeys((cell.record.task, cell.record.task_version) for cell in submitted.cells):
        if known.get(task, own) > own:
            yield fault(
                f"task '{task}' is of version {own}, and the board has {known[task]}: run it again with a newer harness"
            )
        elif known.get(task, own) < own:
            yield fault(
                f"task '{task}' is of version {own}, newer than {known[task]} on the board: the board is to be "
                f"made anew first"
            )
    yield from map(fault, find_unlike(submitted, "protocol", _protocol))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"[0-9]{1,9}", text)[:3]))


def _protocol(record: Record) -> Mapping[str, tuple[object, str | None]]:
    parts = " ".join(filter(None, (record.pooling, record.transform, record.classifier)))
    return {f"'{parts}' is of another revision, or was tried on another grid,": (parts, record.protocol_hash)}


def check_duplicates(submitted: Submitted) -> Iterator[Finding]:
    """Find cells, runs, models and representations that the board has already, perhaps under another name."""
    known = {cell.cell_id: cell for cell in submitted.references}
    seen = {str(run.path): _content(run.records()) for run in submitted.published}
    for entry in submitted.entries:
        own, content = entry.run.records(), _content(entry.run.records())
        if other := next((path for path, each in seen.items() if content <= each), ""):
            yield fault(f"'{entry.origin}' holds no cell, and no prediction, that '{other}' lacks")
        seen[str(entry.origin)] = content
        both = [(record, known[record.cell_id]) for record in own if record.cell_id in known]
        equal = sum(record.predictions_hash == cell.record.predictions_hash for record, cell in both)
        if both:
            yield note(
                f"{len(both)} of the {len(own)} cells of '{entry.origin}' are on the board already, {equal} of them "
                f"with equal predictions; of two runs the board shows that with the last name"
            )
    yield from map(fault, _find_renamed(submitted))
    yield from map(fault, find_unlike(submitted, "files", _identities))
    yield from map(fault, find_unlike(submitted, "words", _roles))
    yield from map(fault, _find_baselines(submitted))


def _content(records: Sequence[Record]) -> frozenset[tuple[str, str | None]]:
    return frozenset((record.cell_id, record.predictions_hash) for record in records)


def _find_renamed(submitted: Submitted) -> Iterator[str]:
    """Yield a sentence for each model or representation that has the hash of another one of the board."""
    known: dict[tuple[object, ...], set[str]] = {}
    for cell in submitted.references:
        for key, name in _hashes(cell.record).items():
            known.setdefault(key, set()).add(name)
    told: dict[str, None] = {}
    for cell in submitted.cells:
        for key, name in _hashes(cell.record).items():
            names = known.setdefault(key, {name})
            if name not in names:
                others = name_some(sorted(f"'{each}'" for each in names))
                told[f"{key[0]} '{name}' is the same as {others}, by its hash: submit it under that name"] = (
                    None
                )
    yield from told


def _hashes(record: Record) -> dict[tuple[object, ...], str]:
    """Return the names of a record's model and representation by what identifies their numbers."""
    if record.model is None or record.model_hash is None:
        return {}
    place = (record.model_hash, record.site)
    found: dict[tuple[object, ...], str] = {("model", *place): record.model}
    # Representations that differ in what they read share the hash of hidden states.
    if record.representation_hash is not None and not record.baseline:
        found["representation", *place, record.representation_hash] = record.representation
    return found


def _identities(record: Record) -> Mapping[str, tuple[object, str | None]]:
    model, arm = (record.model, record.site), (record.model, record.site, record.representation)
    return {
        f"model '{record.model}' has other weights": (model, record.model_hash),
        f"representation '{record.representation}' is another one": (arm, record.representation_hash),
    }


def _roles(record: Record) -> Mapping[str, tuple[object, str | None]]:
    """Return what a board takes a record's word for, and uses to compare and rank."""
    representation, regime = record.representation, record.regime
    return {
        f"'{representation}' is a baseline, or is none, otherwise": (representation, str(record.baseline)),
        f"'{representation}' is a control, or is none, otherwise": (representation, _word(record.control)),
        f"'{representation}' goes with other choices": (representation, ", ".join(record.only)),
        f"model '{record.model}' is a toy, or is none, otherwise": (record.model, _word(record.toy)),
        f"regime '{regime}' leaves other rows as they are": (regime, record.natural),
    }


def _word(value: bool | None) -> str | None:
    return None if value is None else str(value)


def _find_baselines(submitted: Submitted) -> Iterator[str]:
    """Yield a sentence for each baseline that is none of the board's: a baseline is compared with nothing."""
    known = {cell.record.representation for cell in submitted.references if cell.record.baseline}
    own = {cell.record.representation for cell in submitted.cells if cell.record.baseline}
    if known:
        for name in sorted(own - known):
            yield f"'{name}' is said to be a baseline, and the board's is {name_some(sorted(known))}"
