"""Artifacts of a run in the feature store: fitted dictionaries, measurements of the gate, kept activations."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import torch
from pydantic import TypeAdapter

from harness.dictionaries.dictionary import Dictionary
from harness.dictionaries.gate import Fidelity
from harness.storage.feature_store import FeatureStore

_FIDELITY = TypeAdapter(Fidelity)


def read_fitted(store: FeatureStore, key: str, device: str) -> Dictionary | None:
    """Return the dictionary fitted under `key`, on `device`; None when there is none."""

    def make(tensors: dict[str, torch.Tensor], about: dict[str, str]) -> Dictionary:
        parameters: dict[str, Any] = {**json.loads(about["dictionary"]), **tensors}
        return Dictionary(**parameters)

    return store.read_tensors("fitted", key, device, make)


def write_fitted(store: FeatureStore, key: str, dictionary: Dictionary) -> None:
    """Keep a fitted dictionary, so that every shard of its features is made by the same one."""
    values = {field.name: getattr(dictionary, field.name) for field in fields(dictionary)}
    settings = {name: value for name, value in values.items() if not isinstance(value, torch.Tensor)}
    store.write_tensors("fitted", key, dictionary.tensors, {"dictionary": json.dumps(settings)})


def read_measured(store: FeatureStore, key: str) -> Fidelity | None:
    """Return what the fidelity gate measured under `key`; None when it has not measured yet."""
    return store.read_tensors(
        "fidelity", key, "cpu", lambda _, about: _FIDELITY.validate_python(json.loads(about["measured"]))
    )


def write_measured(store: FeatureStore, key: str, measured: Fidelity) -> None:
    """Keep a measurement of the gate, so that a run whose features are all stored needs no forward pass."""
    # Without the verdict: a change of the rules judges the same numbers anew.
    numbers = {name: value for name, value in asdict(measured).items() if name not in ("verdict", "reasons")}
    store.write_tensors("fidelity", key, {}, {"measured": json.dumps(numbers, allow_nan=False)})


def read_activations(store: FeatureStore, key: str, device: str) -> torch.Tensor | None:
    """Return activations `[content tokens, width]` of one batch at one site; None when they were not kept."""
    return store.read_tensors("activations", key, device, lambda tensors, _: tensors["activations"])


def write_activations(store: FeatureStore, key: str, activations: torch.Tensor) -> None:
    """Keep the activations of one batch at one site, in the dtype they have."""
    store.write_tensors("activations", key, {"activations": activations}, {})
