"""Parameters of offers: which ones a factory takes, and their values from what is given, defaults and grids."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from harness.api.errors import UsageError, did_you_mean
from harness.api.specs import ClassifierSpec, Spec
from harness.storage.hashing import hash_json


def parameters_of(spec: Spec) -> dict[str, Any]:
    """Return the named parameters of a factory with their defaults, `inspect.Parameter.empty` for none."""
    if spec.make is None:
        return {}
    filled = isinstance(spec, ClassifierSpec)  # the harness gives a classifier the seed of its cell
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        name: parameter.default
        for name, parameter in inspect.signature(spec.make).parameters.items()
        if parameter.kind in by_name and not (name == "seed" and filled)
    }


def bind(spec: Spec, given: Mapping[str, Any], *, owner: str, beside: Iterable[str] = ()) -> dict[str, Any]:
    """Return all parameters of an offer: those given, else their defaults, else the first value of their grid, which
    serves where nothing can be chosen. Raise UsageError for unknown and missing ones.

    `owner` describes the offer in messages. Of an unknown name, what stands `beside` the parameters may be meant too.
    """
    known = parameters_of(spec)
    for key in given:
        if key not in known:
            raise UsageError(
                f"{owner} has no parameter '{key}'{did_you_mean(key, (*known, *beside), owner_has='it takes')}"
            )
    grid = spec.grid if isinstance(spec, ClassifierSpec) else {}
    bound = {
        key: given.get(key, grid[key][0] if default is inspect.Parameter.empty and key in grid else default)
        for key, default in known.items()
    }
    for key, may_be_none in _takes_number(spec).items():
        if key in given and not (may_be_none and given[key] is None):
            bound[key] = _as_number(given[key], f"{owner} takes a number as {key}")
    for key, value in bound.items():
        if value is inspect.Parameter.empty:
            raise UsageError(f"{owner} needs its parameter '{key}'")
        try:
            hash_json({key: value})
        # NaN, dates, integers beyond 2^53, lists in themselves: JSON cannot identify a result by them
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{owner} cannot take {key}={write_value(value)}: {error}") from error
    return bound


def _takes_number(spec: Spec) -> dict[str, bool]:
    """Return the parameters of a factory that are declared to be a number, and whether each may be None too."""
    parameters = inspect.signature(spec.make).parameters if spec.make else {}
    written = {name: inspect.formatannotation(one.annotation).strip("'") for name, one in parameters.items()}
    return {name: _NUMBER[annotation] for name, annotation in written.items() if annotation in _NUMBER}


_NUMBER = {"int": False, "float": False, "int | None": True, "float | None": True}
"""Annotation of a number → True if None is a value too."""


def _as_number(value: Any, said: str) -> Any:
    """Return a number as it is, and one that YAML reads as text, 1e3, as what it says: both give one identity.

    Raise UsageError for NaN and infinity, which Python would read from text, and for what is no number.
    """
    if isinstance(value, int | float):
        return value
    try:
        number = float(value)
    except (ValueError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{said}, not {write_value(value)}")
    return number


def singular(kind: str) -> str:
    """Return the word for one offer of a kind."""
    return kind.removesuffix("s").replace("_", " ")


def name_offer(kind: str, name: str, distribution: str) -> str:
    """Return the description of an offer in messages: `pooling 'max' (sae-harness 0.1.0)`."""
    return f"{singular(kind)} '{name}' ({distribution})"


def write_value(value: Any) -> str:
    """Return a parameter as it is written in a reference."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def find_grid_fault(spec: ClassifierSpec) -> str:
    """Return what is wrong with a classifier's grid, as the end of the sentence `it is offered …`; empty if nothing."""
    known = parameters_of(spec)
    for name, values in spec.grid.items():
        if name not in known:
            hint = did_you_mean(str(name), known, owner_has="it takes")
            return f"with a grid of '{name}', which is no parameter of its factory that a suite may set{hint}"
        if not isinstance(values, tuple | list) or not values:
            return f"with a grid of '{name}' that is no tuple of one value or more"
        try:
            hash_json({name: list(values)})
        except (ValueError, RecursionError) as error:  # what JSON cannot write
            return f"with a grid of '{name}' with values that cannot identify a result: {error}"
    return ""
