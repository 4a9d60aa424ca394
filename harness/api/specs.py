"""Specs: frozen descriptions of what a plugin offers, one class for each kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from harness.api.claims import ResultPage


Needs = Literal["tokens", "text", "images", "nothing"]


Natural = Literal["task", "language"]
"""Unit that a regime leaves as it is: the whole task, or each of its languages by itself."""


Reference = str | Mapping[str, Any]
"""Name of an offer, or a mapping of `name` and parameters."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Offer of a plugin: a name, one sentence, and a factory whose keyword parameters are the whole parameter schema.

    `revision` is part of the identity of every result: change it when results change for a reason that no
    parameter shows. Results of a plugin that does not come with the harness are named by a hash of its files too.
    `alias_of`, given in place of `make`, is a reference to another offer (a name, or a mapping of `name` and
    parameters) for which this name is a shorter one, or a function without arguments that returns one: it is called
    when the name is used, and may first make what the reference leads to.
    """

    name: str
    summary: str
    make: Callable[..., Any] | None = None
    alias_of: Reference | Callable[[], Reference] | None = None
    revision: str = "1"

    def __post_init__(self) -> None:
        if (self.make is None) == (self.alias_of is None):
            raise TypeError(
                f"{type(self).__name__} '{self.name}' needs either make or alias_of, and not both"
            )


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """Command of the command line: `harness NAME`.

    `load` is called when the command is, and not before: a function without arguments that returns a `click.Command`,
    or the place of one, as `module:attribute`. The command's `context.obj` holds the values of `-p`, for
    `harness.open(plugins=…)`; an integer that it returns is the exit code.
    """

    name: str
    summary: str
    load: str | Callable[[], click.Command]

    def __post_init__(self) -> None:
        _check_place(self)


@dataclass(frozen=True, kw_only=True)
class ResultSpec:
    """Kind of results that a command of a plugin leaves in a folder, one JSON file each.

    Files whose names match `pattern`, such as `erasure-*.json`, are of this kind. `load` gives a function
    `describe(paths) -> ResultPage` of all such files of a folder, by name, or is its place, as `module:attribute`; it
    is imported when such a file is found. The function raises UnavailableError for a file that holds no such result.
    """

    name: str
    summary: str
    pattern: str
    load: str | Callable[[Sequence[Path]], ResultPage]

    def __post_init__(self) -> None:
        _check_place(self)
        if not _PATTERN.fullmatch(self.pattern):
            raise TypeError(
                f"ResultSpec '{self.name}' has the pattern '{self.pattern}', which is not of the form NAME-*.json"
            )


Measure = Callable[[str, int], float]
"""Function `measure(dictionary, seed)` that scores a dictionary, given by its reference."""


@dataclass(frozen=True, kw_only=True)
class DictionaryScoreSpec:
    """Score of a dictionary, whose reliability `harness check-statistics --dictionaries FOLDER` measures.

    `load` is a function `open(task) -> measure`, or its place, as `module:attribute`; it is imported when a score is
    measured. `task` is a `harness.LabelledTask`, and `measure(dictionary, seed) -> float` scores a dictionary by its
    reference, such as its folder: with the data as they come for the seed 0, with data drawn anew for any other. More
    is better. Either raises `harness.NotTestableError`, with a sentence, where the score says nothing on the task's
    model. One that reads the model and no rows is not `by_task`: it is measured once, whatever the tasks.
    """

    name: str
    summary: str
    load: str | Callable[[Any], Measure]
    by_task: bool = True

    def __post_init__(self) -> None:
        _check_place(self)


_PATTERN = re.compile(r"[a-z][a-z0-9_-]*-\*\.json")


def _check_place(spec: CommandSpec | ResultSpec | DictionaryScoreSpec) -> None:
    if isinstance(spec.load, str) and not all(spec.load.partition(":")):
        raise TypeError(
            f"{type(spec).__name__} '{spec.name}' loads '{spec.load}', which is not of the form module:attribute"
        )


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """Offer of a model: `make(**parameters) -> Model`, which reads configuration and tokenizer, but no weights.

    A `toy` was trained to try the harness out: boards rank it apart from other models, and their titles say so.
    """

    toy: bool = False


@dataclass(frozen=True, kw_only=True)
class RepresentationSpec(Spec):
    """Offer of a representation, which is pooled and probed.

    With `needs="tokens"`, `make(**parameters) -> TokenRepresentation`; else `make(**parameters) ->
    InputRepresentation`, which reads the inputs and no model: with `needs="text"` every input as `str`, with
    `needs="images"` every input as Image, each on tasks of that modality only; one that reads files, too, is an
    IdentifiedRepresentation. A `baseline` is a model's hidden states as they are, with which boards compare its other
    representations. A `control` is no dictionary, but something that dictionaries are compared with. `only` names, by
    kind, the one pooling, transform or classifier that is used in place of the suite's: `{"classifiers": "scores"}`.
    """

    needs: Needs
    fitted: bool = False
    baseline: bool = False
    control: bool = False
    only: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PoolingSpec(Spec):
    """Offer of a pooling: `make(**parameters) -> Pooling`."""


@dataclass(frozen=True, kw_only=True)
class TransformSpec(Spec):
    """Offer of a transform: `make(**parameters) -> Transform`, fitted on training rows only."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec(Spec):
    """Offer of a classifier: `make(**parameters) -> Classifier`.

    `grid` holds the values that are tried on validation rows for each parameter that the suite does not fix; such a
    parameter needs no default: the first of its values serves where there are too few rows to choose on. A parameter
    called `seed` receives the cell's seed. `bytes_per_weight` is the memory that a fit takes at its peak for
    each class and feature, 0 where that is unknown or little: plans warn of fits that are larger than the machine.
    `selects` names the parameter of a k-sparse classifier that holds its k, the number of features that it reads.
    """

    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    bytes_per_weight: int = 0
    selects: str | None = None


@dataclass(frozen=True, kw_only=True)
class RegimeSpec(Spec):
    """Offer of a regime: `make(**parameters) -> Regime`.

    A regime that tests on other rows than the task's own declares `moves_test`; one `by_language` returns several
    partitions, each trained on some of the task's languages and tested on one.
    `natural` declares that no training rows are changed: `task`, all rows of the task; `language`, each language
    trained and tested by itself. Boards rank by results under such regimes, if there are any.
    """

    moves_test: bool = False
    by_language: bool = False
    natural: Natural | None = None


@dataclass(frozen=True, kw_only=True)
class AlignmentSpec(Spec):
    """Offer of an alignment: `make(**parameters) -> Alignment`."""


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec(Spec):
    """Offer of an executor, which decides where the work of a run is done: `make(**parameters) -> Executor`.

    A parameter called `jobs` receives the number of `--jobs`, None for as many as there is room for. One executor is
    the `default`, which runs a suite where none is asked for. One that `keeps_forwards` does all forward passes in the
    process of the run, however many jobs there are. No number may depend on the executor.
    """

    default: bool = False
    keeps_forwards: bool = False


@dataclass(frozen=True, kw_only=True)
class ExplainerSpec(Spec):
    """Offer of an explainer of features: `make(**parameters) -> Explainer`, which loads and asks nothing.

    A key for a service is no parameter, because parameters are written into results: it comes from the environment.
    """
