"""Check of the parameters that probes were trained with against the grids of their classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from harness.api.errors import UnavailableError, UsageError, name_some
from harness.planning.cells import hash_protocol
from harness.registry.catalog import Choice, Registry
from harness.runs.record import Record
from harness.storage.hashing import hash_json
from harness.validation.finding import Finding


def check_parameters(records: Sequence[Record], registry: Registry) -> Iterator[Finding]:
    """Yield a fault for each good cell with parameters that its classifier cannot have been trained with.

    A note counts the cells whose pooling, transform or classifier is unavailable here, or of another revision.
    """
    known: dict[tuple[str | None, ...], tuple[str, Choice] | None] = {}
    good = [record for record in records if record.status == "ok"]
    unchecked = 0
    for record in good:
        names = (record.pooling, record.transform, record.classifier)
        if names not in known:
            known[names] = _find(record, registry)
        found = known[names]
        if found is None or record.protocol_hash != found[0]:
            unchecked += 1
        else:
            yield from (Finding("fault", sentence) for sentence in _compare(record, found[1]))
    if unchecked:
        yield Finding(
            "note",
            f"the parameters of {unchecked} of {len(good)} cells were not checked: their pooling, transform or "
            f"classifier is unavailable here, or of another revision",
        )


def _find(record: Record, registry: Registry) -> tuple[str, Choice] | None:
    """Return the hash of a record's protocol as it is here, and its classifier; None where a part is unavailable."""
    try:
        pooling = None if record.pooling is None else registry.choose("poolings", record.pooling)
        transform = registry.choose("transforms", record.transform)
        classifier = registry.choose("classifiers", record.classifier)
    except (UsageError, UnavailableError):  # of a plugin that is not here
        return None
    return hash_protocol(pooling, transform, classifier), classifier


def _compare(record: Record, classifier: Choice) -> Iterator[str]:
    """Yield what is wrong with parameters: each is what the suite gives, else a point of the grid, else the default or,
    without one, the first value of the grid."""
    what, given = f"cell '{record.cell_id}'", record.classifier_params
    grid = classifier.searched
    if given.keys() != classifier.parameters.keys():
        known = ", ".join(sorted(classifier.parameters)) or "none"
        yield f"{what} names the parameters {', '.join(sorted(given)) or 'none'}; {classifier.owner} takes: {known}"
    for name in sorted(given.keys() & classifier.parameters.keys()):
        possible = tuple(grid[name]) if name in grid and record.tried else (classifier.parameters[name],)
        if _spell(given[name]) not in map(_spell, possible):
            listed = name_some(possible)
            yield f"{what} has {name}={given[name]}, and {classifier.owner} was tried with {listed}"
    points = prod(len(values) for values in grid.values())
    if record.selected_on != "nothing" and record.tried != points:
        yield f"{what} tried {record.tried} points of a grid of {points}"


def _spell(value: Any) -> str:
    """Return a parameter as its JSON: a file holds a list where a plugin has a tuple."""
    return hash_json({"value": value})
