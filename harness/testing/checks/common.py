"""Checks of every offer that is made by a factory."""

from __future__ import annotations

import inspect
import json
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.api.errors import HarnessError, UsageError, describe
from harness.registry.parameters import parameters_of
from harness.testing.check import CONTRACT, NotApplicable, Subject, check, fail_unless
from harness.testing.exercises import use
from harness.testing.guards import watching
from harness.testing.results import as_array, check_same, digest

MADE = (
    "models",
    "representations",
    "poolings",
    "transforms",
    "classifiers",
    "regimes",
    "alignments",
)
"""Kinds whose offers have a factory, and give numbers."""

FACTORIES = (*MADE, "executors", "explainers")
"""Kinds whose offers have a factory."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_DIGEST = re.compile(r"[0-9a-f]{16}")

LONGEST = 300
"""Letters of an error's sentence."""


def is_made(subject: Subject) -> bool:
    """Return True for an offer with a factory of its own; an alias has that of another."""
    return subject.spec.make is not None


@check(*FACTORIES, requires=())
def metadata(subject: Subject) -> None:
    """Name, summary and revision are texts, and every parameter is a named one whose default JSON can hold."""
    spec = subject.spec
    fail_unless(
        _NAME.fullmatch(spec.name), f"its name '{spec.name}' is not letters, digits and . _ / - alone"
    )
    check_summary(spec.summary)
    fail_unless(
        isinstance(spec.revision, str) and spec.revision.strip(),
        f"its revision is {spec.revision!r}, and must be a text that is not empty",
    )
    for name, parameter in inspect.signature(spec.make).parameters.items() if spec.make else ():
        fail_unless(
            parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD),
            f"its factory takes '{parameter}': what is not a named parameter is no part of the identity of results",
        )
        if parameter.default is not parameter.empty:
            fail_unless(
                _is_json(parameter.default),
                f"the default of its parameter '{name}' is {type(parameter.default).__name__}, which JSON cannot hold",
            )


def check_summary(summary: Any) -> None:
    """Raise CheckFailed unless a summary is one line of text."""
    fail_unless(isinstance(summary, str) and summary.strip(), "it has no summary")
    fail_unless(len(summary.splitlines()) == 1, "its summary has several lines, and lists show one")


def _is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == _listed(value))
    except (TypeError, ValueError):
        return False


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


@check(*FACTORIES, requires=(), applies=lambda subject: is_made(subject) and any(_nonsense(subject)))
def errors(subject: Subject) -> None:
    """A value of a type that no parameter takes is refused when the offer is made, in one sentence."""
    for changed in _nonsense(subject):
        said = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        try:
            subject.make(**changed)
        except HarnessError as error:
            text = str(error)
            fail_unless(len(text.splitlines()) == 1, f"its refusal of {said} has several lines")
            fail_unless(len(text) <= LONGEST, f"its refusal of {said} has {len(text)} letters")
        else:
            fail_unless(
                False,
                f"it takes {said}, which fails later, when a model has run: annotate it as int or float, or refuse it",
            )


def _nonsense(subject: Subject) -> Iterator[dict[str, Any]]:
    """Yield parameters of which one is a text in place of a number."""
    for name, value in subject.choice.parameters.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield {name: "nonsense"}


@check(*(kind for kind in MADE if kind != "regimes"))
def finite(subject: Subject) -> None:
    """Results hold finite numbers only."""
    for array in _arrays(use(subject)):
        if array.dtype.kind == "f":
            bad = array[~np.isfinite(array)]
            fail_unless(not bad.size, f"its results hold {bad.flat[0] if bad.size else ''}")


def _arrays(results: Any) -> Iterator[np.ndarray[Any, Any]]:
    if isinstance(results, dict):
        results = list(results.values())
    if isinstance(results, list | tuple):
        for one in results:
            yield from _arrays(one)
    elif not isinstance(results, str) and results is not None:
        yield as_array(results)


@check(*MADE, requires=(CONTRACT, "finite"))
def deterministic(subject: Subject) -> None:
    """Made twice, it gives the same results: what is drawn is drawn by a seed that is a parameter."""
    first, second = [*_arrays(use(subject))], [*_arrays(use(subject))]
    fail_unless(len(first) == len(second), "two uses give different numbers of results")
    for one, other in zip(first, second, strict=True):
        check_same(one, other, "two uses give different results")


@check(*MADE, requires=(CONTRACT, "finite", "deterministic"))
def reproducible(subject: Subject) -> None:
    """Another process, with another hash seed and working folder, gets the same results."""
    there = subject.elsewhere()
    if there is None:
        raise NotApplicable("no other process was asked")
    fail_unless(_DIGEST.fullmatch(there), f"in another process it fails: {there}")
    fail_unless(
        there == digest(use(subject)),
        "another process gets other results: they depend on the order of a set, the folder, the time or the like",
    )


@check(*MADE)
def no_network(subject: Subject) -> None:
    """Making and using it asks nothing of the network."""
    with watching() as notes:
        use(subject)
    fail_unless(not notes.hosts, f"it asks {', '.join(notes.hosts[:3])} over the network")


@check(*FACTORIES)
def no_writes(subject: Subject) -> None:
    """Making and using it writes no file outside the cache of the harness and the system's temporary folder."""
    from harness.storage.cache_place import default_cache_dir

    with watching(subject.registry.cache_dir or default_cache_dir(), subject.folder) as notes:
        use(subject)
    fail_unless(not notes.written, f"it writes '{notes.written[0] if notes.written else ''}'")


def check_pickles(value: Any, used: Any, again: Any) -> None:
    """Raise CheckFailed unless a fitted `value` gives the results `used` after pickling; `again(copy)` uses a copy."""
    try:
        copy = pickle.loads(pickle.dumps(value))
    except Exception as error:  # pickling runs code of any class
        fail_unless(
            False, f"what it returns cannot be pickled, so no other process can have it: {describe(error)}"
        )
    check_same(used, again(copy), "a pickled copy gives other results")


def vary(value: Any) -> Iterator[Any]:
    """Yield other values of a parameter, by the type of its default; none where a type does not tell."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, max(1, value // 2))
    elif isinstance(value, float):
        yield from (value + 0.5, value / 2)


def variants(subject: Subject) -> Iterator[dict[str, Any]]:
    """Yield parameters of which one has another value that the factory takes."""
    for name, value in subject.choice.parameters.items():
        for other in vary(value):
            if other == value:
                continue
            try:
                subject.make(**{name: other})
            except UsageError:
                continue
            yield {name: other}
            break


def required(spec: Any) -> dict[str, Any]:
    """Return values for parameters without default: small numbers, by their annotation; no entry where it does not
    tell.
    """
    taken = inspect.signature(spec.make).parameters if spec.make else {}
    known = {"int": 4, "float": 0.5, "bool": True}
    found = {}
    grid = getattr(spec, "grid", {})  # whose values fill their parameters
    for name, default in parameters_of(spec).items():
        annotation = inspect.formatannotation(taken[name].annotation).strip("'")
        if default is inspect.Parameter.empty and annotation in known and name not in grid:
            found[name] = known[annotation]
    return found
