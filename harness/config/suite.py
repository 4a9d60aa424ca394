"""Suites: which tasks × models × sites × representations × … × seeds one evaluation covers.

A suite is read from a YAML file with the overrides of the command line. Names in it are resolved later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from harness.api.errors import UsageError
from harness.config.yaml import Name, Strict, Whole, read_value, read_yaml

DEFAULT_SITES = ("resid_post.50%",)


def _check_reference(value: Any) -> str | dict[str, Any]:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("string_type")
    if "name" not in value:
        raise PydanticCustomError("reference", "a mapping needs a 'name'")
    if not isinstance(value["name"], str):
        raise PydanticCustomError("reference", "the 'name' of a mapping is text; others need quotes")
    return value


Reference = Annotated[
    str | dict[str, Any],
    PlainValidator(_check_reference),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
            ]
        }
    ),
]
"""A reference to an offer of a plugin: its name, or a mapping of its `name` and its parameters."""

_Count = Annotated[Whole, Field(ge=1)]
_Seed = Annotated[Whole, Field(ge=0, lt=1 << 32)]
"""Random generators take seeds of 32 bits."""

MOST_SEEDS = 1000
"""Limit on the seeds of a suite; an expanded range has one more, so that validation reports it."""


# ── short spellings ──────────────────────────────────────────────────────────────────────────────────────

_Scalar = str | bool | int | float | None


def _expand(key: str, value: Any) -> Any:
    """Return `{key: value}` for a name alone, and for what YAML reads as none, which is then told to be quoted."""
    return {key: value} if isinstance(value, _Scalar) else value


def _expand_seeds(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return list(range(min(value, MOST_SEEDS + 1))) if is_number else value


def _short(key: str, model: type) -> BeforeValidator:
    """Return the validator of what may be a model or, in short, its field `key`."""
    return BeforeValidator(partial(_expand, key), json_schema_input_type=str | model)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_SiteList = Annotated[tuple[str, ...], Field(min_length=1)]
_Sites = Annotated[_SiteList, BeforeValidator(_listed, json_schema_input_type=str | _SiteList)]
_ReferenceList = tuple[Reference, ...]
_References = Annotated[_ReferenceList, BeforeValidator(_listed, json_schema_input_type=str | _ReferenceList)]
_SeedList = Annotated[tuple[_Seed, ...], Field(min_length=1, max_length=MOST_SEEDS)]
_Seeds = Annotated[
    _SeedList,
    BeforeValidator(
        _expand_seeds, json_schema_input_type=Annotated[int, Field(ge=1, le=MOST_SEEDS)] | _SeedList
    ),
]


RemovedLeaks = Literal["exact", "near"]
"""Leaks that a suite may have removed; tasks that keep theirs are published ones, and say so themselves."""


Borrowed = Literal["sites", "representations", "suite"]
"""Sites and representations of another model's entry, and the representations of the whole suite."""


class TaskChoice(Strict):
    """A task of a suite."""

    name: str
    """The task, as `harness ls tasks` or a task file has it."""
    limit: _Count | None = None
    """The number of its rows to read, stratified by label; with `test_limit`, of all but test rows."""
    # Left out if not given, so that suites equal those in older run folders, which lack the field.
    test_limit: _Count | None = Field(default=None, exclude_if=lambda limit: limit is None)
    """The number of its test rows to read."""
    # Left out if not given, so that suites equal those in older run folders, which lack the field.
    leaks: RemovedLeaks | None = Field(default=None, exclude_if=lambda leaks: leaks is None)
    """The leaks to remove from it."""

    @property
    def is_limited(self) -> bool:
        """True if the suite itself limits the rows of the task."""
        return self.limit is not None or self.test_limit is not None


class ModelChoice(BaseModel):
    """A model of a suite. Any other field is a parameter of the model, such as `dtype`."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    ref: str
    """The model: a name of `harness ls models`, a hub id or a folder."""
    sites: _Sites = DEFAULT_SITES
    """Site that is read, such as `resid_post.12`, `resid_post.[5,12]` or `resid_post.50%`; one, or a list."""
    # Left out if empty, so that suites equal those in older run folders, which lack the field.
    representations: _References = Field(default=(), exclude_if=lambda references: not references)
    """Representations of this model alone, beside those of the suite; one, or a list."""

    # Private, as no file may say it, and run.json holds the suite as it was resolved.
    _borrowed: frozenset[Borrowed] = PrivateAttr(default=frozenset())

    @property
    def borrowed(self) -> frozenset[Borrowed]:
        """Fields taken over from the suite's own models, whose place this one took on the command line."""
        return self._borrowed

    @property
    def parameters(self) -> dict[str, Any]:
        """The given parameters of the model."""
        return dict(self.__pydantic_extra__ or {})


class TransferChoice(Strict):
    """A transfer: classifiers trained on features of one model are tested on those of another."""

    model_config = ConfigDict(populate_by_name=True)

    source: str = Field(alias="from")
    """The model that classifiers are trained on."""
    target: str = Field(alias="to")
    """The model whose features they are tested on."""


class Suite(Strict):
    """Configuration of one evaluation, with unresolved names.

    Every task is evaluated with every model, site, representation, pooling, transform, classifier, regime and seed
    that fit together. A reference is a name, a name with parameters as in `pca[n=4]` or `count(t=0)`, or a mapping of
    both as in `{name: count, t: 0}`.
    """

    name: Name
    """The name in records and on boards; `runs/NAME` is where its run goes."""
    version: Whole = 1
    """A whole number, raised when what it covers changes."""
    summary: str = ""
    """One line for `harness ls suites`."""
    tasks: tuple[Annotated[TaskChoice, _short("name", TaskChoice)], ...] = Field(min_length=1)
    """Tasks: names, or mappings of `name`, `limit`, `test_limit` and `leaks`."""
    models: tuple[Annotated[ModelChoice, _short("ref", ModelChoice)], ...] = ()
    """Models: references, or mappings of `ref`, `sites`, `representations` and the model's parameters."""
    representations: tuple[Reference, ...] = Field(min_length=1)
    """Representations that are pooled: `hidden`, dictionaries, controls, and arms without a model."""
    tokens: Reference = "content"
    """The tokens that are pooled: `content`, `prompt`, `last(k=5)`, `all` or `cls`."""
    poolings: tuple[Reference, ...] = Field(default=("mean",), min_length=1)
    """Poolings of tokens into one vector for each example; the best on validation counts."""
    transforms: tuple[Reference, ...] = Field(default=("none",), min_length=1)
    """Transforms of pooled features; the best on validation counts."""
    classifiers: tuple[Reference, ...] = Field(default=("logreg",), min_length=1)
    """Classifiers, each with its grid; the best on validation counts."""
    regimes: tuple[Reference, ...] = Field(default=("full",), min_length=1)
    """The rows that are trained on."""
    alignments: tuple[Reference, ...] = ()
    """Maps from the features of one model to those of another, for `transfers`."""
    transfers: tuple[TransferChoice, ...] = ()
    """Pairs of models, `{from: REF, to: REF}`; both are among `models`."""
    seeds: _Seeds = (0,)
    """The seeds; a number stands for so many, from 0 on."""
    limit: _Count | None = None
    """The number of rows to read of every task; such a run cannot be published."""
    leaks: RemovedLeaks | None = Field(default=None, exclude_if=lambda leaks: leaks is None)
    """The leaks to remove from every task of texts that does not say so itself."""
    fuzzy_leaks: Annotated[bool, Field(strict=True)] = Field(
        default=False, exclude_if=lambda count: not count
    )
    """Count of texts that resemble one of an earlier split."""

    def without_borrowing(self) -> Suite:
        """Return the same suite, of which every representation must fit every model."""
        return Suite.model_validate(self.model_dump(by_alias=True))


def read_suite(
    path: Path,
    *,
    models: Sequence[str] = (),
    tasks: Sequence[str] = (),
    limit: int | None = None,
    seeds: int | None = None,
    dtype: str | None = None,
    settings: Sequence[str] = (),
) -> Suite:
    """Read a suite with command-line overrides; `settings` are `a.b=value`, applied last."""
    file = read_yaml(path, "suite")
    tree = file.tree
    _expand_names(tree)
    named = {str(model.get("ref")) for model in _mappings(tree.get("models"))}
    if models:
        tree["models"] = [_override_model(tree.get("models"), ref) for ref in models]
        _drop_transfers(tree, models)
    if tasks:
        known = {str(task.get("name")): task for task in _mappings(tree.get("tasks"))}
        tree["tasks"] = [known.get(name, {"name": name}) for name in tasks]
    if dtype is not None:
        tree["models"] = [{**model, "dtype": dtype} for model in _mappings(tree.get("models"))]
    if limit is not None:
        tree["limit"] = limit
    if seeds is not None:
        tree["seeds"] = seeds
    _apply_settings(tree, settings)
    replaced = {re.split("[.=]", setting)[0] for setting in settings}
    given = {"models": models, "tasks": tasks, "limit": limit, "seeds": seeds}
    file = file.without_lines({*replaced, *(field for field, value in given.items() if value)})
    suite = file.validate(Suite)
    for field, what in _LISTS.items():
        file.check_twins((field,), what, [*map(_spell, getattr(suite, field))])
    for number, model in enumerate(suite.models):
        if model.ref in models and model.ref not in named:
            model._borrowed = frozenset(_find_borrowed(number, settings))
    return suite


_LISTS = {
    "tasks": "task",
    "models": "model",
    "representations": "representation",
    "poolings": "pooling",
    "transforms": "transform",
    "classifiers": "classifier",
    "regimes": "regime",
    "alignments": "alignment",
    "seeds": "seed",
}


def _spell(entry: TaskChoice | ModelChoice | str | int | dict[str, Any]) -> str:
    """Return an entry of a list by what tells it from others, as `NAME` or `NAME[parameter=value]`."""
    if isinstance(entry, TaskChoice | str | int):
        return entry.name if isinstance(entry, TaskChoice) else str(entry)
    given = entry.parameters if isinstance(entry, ModelChoice) else dict(entry)
    name = entry.ref if isinstance(entry, ModelChoice) else given.pop("name")
    inside = ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(given.items()))
    return f"{name}[{inside}]" if inside else name


def _drop_transfers(tree: dict[str, Any], models: Sequence[str]) -> None:
    """Keep only transfers between the given models; drop alignments if no transfer remains."""
    transfers = _mappings(tree.get("transfers"))
    kept = [each for each in transfers if all(each.get(end) in models for end in ("from", "to"))]
    if tree.get("transfers") and not kept:
        del tree["transfers"]
        tree.pop("alignments", None)
    elif kept:
        tree["transfers"] = kept


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────


def _expand_names(tree: dict[str, Any]) -> None:
    """Expand the short spellings in lists of tasks and models, so that each part can be overridden."""
    for field, key in (("tasks", "name"), ("models", "ref")):
        if isinstance(tree.get(field), list):
            tree[field] = [_expand(key, item) for item in tree[field]]
    for model in _mappings(tree.get("models")):
        model |= {field: _listed(model[field]) for field in ("sites", "representations") if field in model}


def _mappings(value: Any) -> Iterable[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _override_model(models: Any, ref: str) -> dict[str, Any]:
    """Return the suite's entry for `ref`, else `ref` with the settings of the suite's first model."""
    entries = list(_mappings(models))
    other = {**(entries[0] if entries else {}), "ref": ref}
    return next((entry for entry in entries if entry.get("ref") == ref), other)


def _find_borrowed(number: int, settings: Sequence[str]) -> Iterator[Borrowed]:
    """Yield what the model at a place in the suite took from it, and what no setting replaced."""
    places = [setting.partition("=")[0] for setting in settings]
    if not any(place.partition(".")[0] == "representations" for place in places):
        yield "suite"
    fields: tuple[Literal["sites", "representations"], ...] = ("sites", "representations")
    for field in fields:
        wholes = ("models", f"models.{number}", own := f"models.{number}.{field}")
        if not any(place in wholes or place.startswith(f"{own}.") for place in places):
            yield field


def _apply_settings(tree: dict[str, Any], settings: Sequence[str]) -> None:
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise UsageError(f"--set '{setting}' is not of the form a.b=value")
        value = read_value(text, f"--set '{path}'")
        _set(tree, path.split("."), value, setting)


def _set(tree: Any, path: Sequence[str], value: Any, setting: str) -> None:
    for depth, key in enumerate(path, 1):
        place: Any = int(key) if isinstance(tree, list) and key.isdecimal() else key
        if not (isinstance(tree, dict) or (isinstance(tree, list) and place in range(len(tree)))):
            raise UsageError(f"--set '{setting}': the suite has no place '{key}' there")
        if depth == len(path):
            tree[place] = value
        else:
            tree = tree.setdefault(place, {}) if isinstance(tree, dict) else tree[place]
