"""Suites: which tasks × models × sites × representations × … × seeds one evaluation covers.

A suite is read from a YAML file with the overrides of the command line. Names in it are resolved later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from harness.api.errors import UsageError
from harness.config.yaml import Strict, UnsupportedValueError, Whole, read_value, read_yaml

DEFAULT_SITES = ("resid_post.50%",)


def _check_reference(value: Any) -> str | dict[str, Any]:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("string_type")
    if not isinstance(value.get("name"), str):
        raise PydanticCustomError("reference", "a mapping needs a 'name'")
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


RemovedLeaks = Literal["exact", "near"]
"""Leaks that a suite may have removed; tasks that keep theirs are published ones, and say so themselves."""


class TaskChoice(Strict):
    """A task of a suite; `limit` is the number of its rows to read, stratified, and `leaks` those to remove."""

    name: str
    limit: _Count | None = None
    # Left out if not given, so that suites equal those in older run folders, which lack the field.
    leaks: RemovedLeaks | None = Field(default=None, exclude_if=lambda leaks: leaks is None)


class ModelChoice(BaseModel):
    """A model of a suite, with the sites to read and representations beside those of the suite.

    Any other field is a parameter of the model.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    ref: str
    sites: tuple[str, ...] = Field(default=DEFAULT_SITES, min_length=1)
    # Left out if empty, so that suites equal those in older run folders, which lack the field.
    representations: tuple[Reference, ...] = Field(default=(), exclude_if=lambda references: not references)

    @property
    def parameters(self) -> dict[str, Any]:
        """The given parameters of the model."""
        return dict(self.__pydantic_extra__ or {})


class TransferChoice(Strict):
    """A transfer: classifiers trained on features of the model `source` are tested on those of `target`."""

    model_config = ConfigDict(populate_by_name=True)

    source: str = Field(alias="from")
    target: str = Field(alias="to")


class Suite(Strict):
    """Configuration of one evaluation, with unresolved names.

    `leaks` are those to remove from every task of texts that does not say so itself; with `fuzzy_leaks`, texts that
    resemble one of an earlier split are counted.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: Whole = 1
    summary: str = ""
    tasks: tuple[TaskChoice, ...] = Field(min_length=1)
    models: tuple[ModelChoice, ...] = ()
    representations: tuple[Reference, ...] = Field(min_length=1)
    tokens: Reference = "content"
    poolings: tuple[Reference, ...] = Field(default=("mean",), min_length=1)
    transforms: tuple[Reference, ...] = Field(default=("none",), min_length=1)
    classifiers: tuple[Reference, ...] = Field(default=("logreg",), min_length=1)
    regimes: tuple[Reference, ...] = Field(default=("full",), min_length=1)
    alignments: tuple[Reference, ...] = ()
    transfers: tuple[TransferChoice, ...] = ()
    seeds: tuple[_Seed, ...] = Field(default=(0,), min_length=1, max_length=MOST_SEEDS)
    limit: _Count | None = None
    leaks: RemovedLeaks | None = Field(default=None, exclude_if=lambda leaks: leaks is None)
    fuzzy_leaks: Annotated[bool, Field(strict=True)] = Field(
        default=False, exclude_if=lambda count: not count
    )


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
    _normalise(tree)
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
        tree["seeds"] = list(range(min(seeds, MOST_SEEDS + 1)))
    _apply_settings(tree, settings)
    _normalise(tree)
    suite = file.validate(Suite)
    # The lines of a list that the command line replaces say nothing; what is twice there is found in the plan.
    replaced = {re.split("[.=]", setting)[0] for setting in settings}
    replaced |= {field for field, given in (("models", models), ("tasks", tasks), ("seeds", seeds)) if given}
    for field, what in _LISTS.items():
        if field not in replaced:
            file.check_twins((field,), what, [*map(_spell, getattr(suite, field))])
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
    kept = [each for each in transfers if {each.get("from"), each.get("to")} <= {*models}]
    if tree.get("transfers") and not kept:
        del tree["transfers"]
        tree.pop("alignments", None)
    elif kept:
        tree["transfers"] = kept


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────


def _normalise(tree: dict[str, Any]) -> None:
    """Expand short spellings: a name of a task or model, a single site or representation, a number of seeds."""
    for field, key in (("tasks", "name"), ("models", "ref")):
        if isinstance(tree.get(field), list):
            tree[field] = [item if isinstance(item, dict | list) else {key: item} for item in tree[field]]
    for model in _mappings(tree.get("models")):
        for field in ("sites", "representations"):
            if isinstance(model.get(field), str):
                model[field] = [model[field]]
    seeds = tree.get("seeds")
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        tree["seeds"] = list(range(min(seeds, MOST_SEEDS + 1)))


def _mappings(value: Any) -> Iterable[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _override_model(models: Any, ref: str) -> dict[str, Any]:
    """Return the suite's entry for `ref`, else `ref` with the settings of the suite's first model."""
    entries = list(_mappings(models))
    other = {**(entries[0] if entries else {}), "ref": ref}
    return next((entry for entry in entries if entry.get("ref") == ref), other)


def _apply_settings(tree: dict[str, Any], settings: Sequence[str]) -> None:
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise UsageError(f"--set '{setting}' is not of the form a.b=value")
        try:
            value = read_value(text, f"--set '{path}'")
        except (yaml.YAMLError, UnsupportedValueError) as error:
            raise UsageError(f"--set '{setting}': '{text}' is not a YAML value") from error
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
