"""Units that a run of a plan will have: a forward pass for each bundle, then the probes of each of its matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.planning.cells import Bundle, Cell, ModelFeatures, Plan
from harness.planning.cost import (
    encoder_size,
    estimate,
    gated_size,
    matrix_bytes,
    probe_seconds,
    stored_bytes,
    weight_bytes,
)
from harness.planning.schedule import PlannedUnit

LOAD_SECONDS = 1.0
"""Seconds to make a model of weights that were read: to build its layers, and to copy them to the device.

Assumed, as the rates of `Cluster` are; that of the embedded models, which are small, is below it.
"""

Cached = Callable[[str], bool]


def plan_units(plan: Plan, *, device: str, cached: Cached) -> tuple[PlannedUnit, ...]:
    """Return the units of a plan in the order of submission; `cached` says whether a feature key is in the store."""
    units: list[PlannedUnit] = []
    forwards: dict[tuple[str, str], str] = {}
    for number, bundle in enumerate(plan.bundles):
        after: tuple[str, ...] = ()
        if bundle.model and any(not cached(features.key) for features in bundle.model_features):
            forward = _forward(bundle, f"forward {number}", device=device, cached=cached)
            units.append(forward)
            after = (forward.key,)
            forwards[_place(bundle)] = forward.key
        units += _probes(bundle, f"probe {number}", after)
    for number, transfer in enumerate(plan.transfers):
        both = (forwards.get(_place(one)) for one in (transfer.source, transfer.target))
        after = tuple(dict.fromkeys(key for key in both if key))
        units += _probes(transfer.target, f"transfer {number}", after, name=transfer.name)
    return tuple(units)


def _forward(bundle: Bundle, key: str, *, device: str, cached: Cached) -> PlannedUnit:
    """Return the forward pass of a bundle."""
    assert bundle.model
    model = bundle.model
    missing = [features for features in bundle.model_features if not cached(features.key)]
    expected = estimate(replace(bundle, cells=()), device=device, cached=cached)
    return PlannedUnit(
        key=key,
        name=bundle.name,
        kind="forward",
        model=model.label,
        model_bytes=weight_bytes(model) * model.model.n_parameters,
        load_seconds=LOAD_SECONDS,
        read_bytes=4 * (encoder_size(missing) + 2 * gated_size(missing)),  # the gate reads decoders too
        seconds=expected.seconds,
        written_bytes=expected.disk,
        memory=expected.memory,
    )


def _probes(bundle: Bundle, key: str, after: tuple[str, ...], *, name: str = "") -> Iterator[PlannedUnit]:
    """Yield the probes of a bundle, a unit for each matrix."""
    by_matrix: dict[int, list[Cell]] = {}
    for cell in bundle.cells:
        by_matrix.setdefault(id(cell.features), []).append(cell)
    for number, cells in enumerate(by_matrix.values()):
        features = cells[0].features
        stored = features if isinstance(features, ModelFeatures) else None
        yield PlannedUnit(
            key=f"{key}.{number}",
            name=name or bundle.name,
            kind="probe",
            read_bytes=stored_bytes(stored, bundle) if stored else 0,
            seconds=probe_seconds(cells, bundle),
            memory=matrix_bytes(stored, len(bundle.data.examples)) if stored else 0,
            after=after,
        )


def _place(bundle: Bundle) -> tuple[str, str]:
    """Return the task and the model of a bundle, which transfers share with the bundles that they read."""
    return bundle.data.spec.name, bundle.model.label if bundle.model else ""
