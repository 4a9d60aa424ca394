"""Specs: frozen descriptions of what a plugin offers, one class for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import click


Needs = Literal["tokens", "text", "images", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An offer: a name, one sentence, and a factory whose keyword parameters are its whole parameter schema.

    `revision` is part of the identity of every result: change it when results change for a reason that no
    parameter shows. `alias_of` is given in place of `make`: the name then stands for another, or for a mapping of its
    `name` and parameters, and is all that the other is.
    """

    name: str
    summary: str
    make: Callable[..., Any] | None = None
    alias_of: str | Mapping[str, Any] | None = None
    revision: str = "1"

    def __post_init__(self) -> None:
        if (self.make is None) == (self.alias_of is None):
            raise TypeError(
                f"{type(self).__name__} '{self.name}' needs either make or alias_of, and not both"
            )


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A command of the command line: `harness NAME`.

    `load` is called when the command is, and not before: a function without arguments that returns a
    `click.Command`, or where one is, as `module:attribute`. The command's `context.obj` holds the values of `-p`, for
    `harness.open(plugins=…)`; an integer that it returns is the exit code.
    """

    name: str
    summary: str
    load: str | Callable[[], click.Command]

    def __post_init__(self) -> None:
        if isinstance(self.load, str) and not all(self.load.partition(":")):
            raise TypeError(
                f"CommandSpec '{self.name}' loads '{self.load}', which is not of the form module:attribute"
            )


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """`make(**parameters) -> Model`, which reads configuration and tokenizer, but no weights."""


@dataclass(frozen=True, kw_only=True)
class RepresentationSpec(Spec):
    """What is pooled. `needs="tokens"`: `make(**parameters) -> TokenRepresentation`;
    otherwise `make(**parameters) -> InputRepresentation`, which sees the inputs and no model; with
    `needs="text"` every input as `str`, with `needs="images"` every input as Image; either only on tasks of that kind.
    A `control` is there for dictionaries to be compared with, and is none. `only` names, by kind, the one pooling,
    transform or classifier that it goes with in place of the suite's: `{"classifiers": "scores"}`.
    """

    needs: Needs
    fitted: bool = False
    control: bool = False
    only: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PoolingSpec(Spec):
    """`make(**parameters) -> Pooling`."""


@dataclass(frozen=True, kw_only=True)
class TransformSpec(Spec):
    """`make(**parameters) -> Transform`, fitted on training rows only."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec(Spec):
    """`make(**parameters) -> Classifier`; `grid` holds the values tried on validation for each parameter
    that the suite does not fix. A parameter called `seed` is filled with the cell's seed.
    """

    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RegimeSpec(Spec):
    """`make(**parameters) -> Regime`. One that tests on other rows than the task's own says `moves_test`; one
    `by_language` gives several partitions, each of which learns from some of the task's languages and is tested on one.
    """

    moves_test: bool = False
    by_language: bool = False


@dataclass(frozen=True, kw_only=True)
class AlignmentSpec(Spec):
    """`make(**parameters) -> Alignment`."""
