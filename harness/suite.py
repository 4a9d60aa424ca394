"""YAML in, a Suite out: which tasks × models × sites × representations × … × seeds.

Task files (`--include`) are read here too. Every fault is one sentence with the file and the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from harness.api import Columns, FileSource, HubSource, TaskSpec
from harness.errors import MissingError, UsageError
from harness.identity import hash_json

DEFAULT_SITES = ("resid_post.50%",)


def _has_name(reference: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(reference.get("name"), str):
        raise ValueError("a mapping needs a 'name'")
    return reference


Reference = str | Annotated[dict[str, Any], AfterValidator(_has_name)]

_Whole = Annotated[int, Field(strict=True)]
_Count = Annotated[int, Field(strict=True, ge=1)]
_Seed = Annotated[int, Field(strict=True, ge=0, lt=1 << 32)]
"""Whole numbers only: YAML's `yes` is no 1. Random generators take seeds of 32 bits."""

MOST_SEEDS = 1000

DEEPEST = 16
"""Nothing in a suite or a task is nested deeper."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskChoice(_Strict):
    """A task of a suite; `limit` takes that many rows, stratified."""

    name: str
    limit: _Count | None = None


class ModelChoice(BaseModel):
    """A model of a suite, the sites read in it, and representations that only this model has beside the
    suite's; any other field is a parameter of the model.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    ref: str
    sites: tuple[str, ...] = Field(default=DEFAULT_SITES, min_length=1)
    representations: tuple[Reference, ...] = ()

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without representations where there are none, as in the suites of runs from before there could be any."""
        tree: dict[str, Any] = dump(self)
        if not self.representations:
            del tree["representations"]
        return tree

    @property
    def parameters(self) -> dict[str, Any]:
        """The model's parameters, as given."""
        return dict(self.__pydantic_extra__ or {})


class TransferChoice(_Strict):
    """Two models of a suite, by their `ref`: what classifiers learn on the features of the one is applied to the
    features of the other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str = Field(alias="from")
    target: str = Field(alias="to")


class Suite(_Strict):
    """One evaluation, before any name in it is resolved."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: _Whole = 1
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


class _TaskSource(_Strict):
    hub: str | None = None
    revision: str | None = None
    config: str | None = None
    file: Path | None = None


class _TaskColumns(_Strict):
    input: str = "text"
    label: str = "label"
    split: str | None = "split"
    language: str | None = None
    group: str | None = None


class _TaskFile(_Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: _Whole = 1
    summary: str = ""
    modality: Literal["text", "image"] = "text"
    source: _TaskSource
    columns: _TaskColumns = _TaskColumns()
    languages: tuple[str, ...] = Field(default=("en",), min_length=1)
    licence: str
    citation: str
    metric: Literal["macro_f1"] = "macro_f1"
    content_warning: Annotated[bool, Field(strict=True)] = False
    where: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    trained_on: str | None = None
    class_names: dict[str, str] = Field(default_factory=dict)
    templates: tuple[Annotated[str, Field(pattern=r"\{\}")], ...] = ()


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
    """The suite at `path` with command-line overrides; `settings` are `a.b=value`, applied last."""
    tree, lines = _read_yaml(path, "suite")
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
    return _validate(Suite, tree, where=f"suite '{path}'", lines=lines)


def _drop_transfers(tree: dict[str, Any], models: Sequence[str]) -> None:
    """Only those between models that are left; and no alignments where none are."""
    kept = [
        each for each in _mappings(tree.get("transfers")) if {each.get("from"), each.get("to")} <= {*models}
    ]
    if tree.get("transfers") and not kept:
        del tree["transfers"]
        tree.pop("alignments", None)
    elif kept:
        tree["transfers"] = kept


def read_task(path: Path) -> TaskSpec:
    """The task described by a YAML file; a relative `source.file` is relative to that file."""
    tree, lines = _read_yaml(path, "task")
    where = f"task '{path}'"
    task = _validate(_TaskFile, tree, where=where, lines=lines)
    source: HubSource | FileSource
    if task.source.file is not None and task.source.hub is None:
        source = FileSource(file=path.parent / task.source.file)
    elif task.source.hub is not None and task.source.file is None:
        if task.source.revision is None:
            raise UsageError(f"{where}: source.hub '{task.source.hub}' needs source.revision, a commit")
        source = HubSource(hub=task.source.hub, revision=task.source.revision, config=task.source.config)
    else:
        raise UsageError(f"{where}: source needs either 'hub' or 'file'")
    rest = task.model_dump(exclude={"source", "columns", "summary"})
    columns = Columns(**task.columns.model_dump())
    if task.modality == "image":  # whose usual column is another, and which are in no language
        columns = replace(
            columns, input=task.columns.input if task.columns.model_fields_set & {"input"} else "image"
        )
        rest |= {} if "languages" in task.model_fields_set else {"languages": ("zxx",)}
    return TaskSpec(**rest, summary=task.summary or f"task of {path.name}", source=source, columns=columns)


# ── YAML with line numbers ───────────────────────────────────────────────────────────────────────────────

_Lines = Mapping[tuple[str | int, ...], int]
_Validated = TypeVar("_Validated", bound=BaseModel)


def _read_yaml(path: Path, kind: str) -> tuple[dict[str, Any], _Lines]:
    """The mapping in a YAML file, and the line of each of its values by path."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{kind} '{path}' is not UTF-8 text") from error
    except OSError as error:
        raise MissingError(f"{kind} '{path}' cannot be read: {error.strerror}") from error
    where = f"{kind} '{path}'"
    try:
        _check_events(text, where)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple[str | int, ...], int] = {}
        if node is not None:
            _walk(node, (), lines, where=where)
        tree = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{where} line {line}: not valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{where} line {line}: not valid YAML: {error.reason}") from error
    if not isinstance(tree, dict):
        raise UsageError(f"{kind} '{path}' is not a mapping of fields")
    return tree, lines


_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def _check_events(text: str, where: str) -> None:
    """UsageError for an alias, which could stand for billions of values or for itself, and for deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise UsageError(
                f"{where} line {line}: the alias '*{event.anchor}' is not read: write its value out"
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UsageError(f"{where} line {line}: nested deeper than {DEEPEST} levels")


def _walk(
    node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], *, where: str
) -> None:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN:
        raise UsageError(
            f"{where} line {node.start_mark.line + 1}: '{node.tag}' is neither a list nor a mapping"
        )
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                raise UsageError(f"{where} line {line}: the merge key '<<' is not read: write its fields out")
            if key.tag != "tag:yaml.org,2002:str":
                said = f", not '{key.value}'" if isinstance(key, yaml.ScalarNode) else ""
                raise UsageError(f"{where} line {line}: a field's name must be plain text{said}")
            if key.value in seen:  # YAML itself would silently keep the last
                raise UsageError(f"{where} line {line}: '{key.value}' stands twice")
            seen.add(key.value)
            _walk(value, (*path, key.value), lines, where=where)
            lines[(*path, key.value)] = line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), lines, where=where)
    else:
        _check_value(node, f"{where} line {node.start_mark.line + 1}")


def _check_value(node: yaml.Node, where: str) -> None:
    """UsageError for what no result could be known by: NaN, dates, bytes, integers beyond 2^53."""
    try:
        hash_json({"": yaml.constructor.SafeConstructor().construct_object(node, deep=True)})
    except ValueError as error:  # also of a date such as 2020-13-45
        raise UsageError(
            f"{where}: '{node.value}' is neither text, a finite number, yes, no nor nothing; text needs quotes"
        ) from error


def _validate(model: type[_Validated], tree: Mapping[str, Any], *, where: str, lines: _Lines) -> _Validated:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise UsageError(_sentence(error, where, lines)) from error


def _sentence(error: ValidationError, where: str, lines: _Lines) -> str:
    """The first fault of a validation in one sentence, with the line where the file has one.

    What is there and wrong comes before what is missing, for it is often the same field misspelt.
    """
    # A Reference is tried as a name first, which says nothing about a mapping.
    first = min(
        error.errors(), key=lambda fault: (fault["type"] == "missing", fault["type"] != "value_error")
    )
    path = tuple(first["loc"])
    while path and path not in lines:
        path = path[:-1]
    line = f" line {lines[path]}" if path in lines and path else ""
    field = ".".join(str(part) for part in first["loc"] if part not in _BRANCHES)
    places = {tuple(part for part in fault["loc"] if part not in _BRANCHES) for fault in error.errors()}
    # A list is also said to be too short when what stands in it is wrong.
    places -= {place[:end] for place in places for end in range(len(place))}
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}{line}: there is no field '{field}'{more}"
    if first["type"] == "too_short":
        return f"{where}{line}: {field} must not be empty{more}"
    if first["type"] == "too_long":
        return f"{where}{line}: {field} must not be more than {first['ctx']['max_length']}{more}"
    if first["type"] == "missing":
        return f"{where}{line}: the field '{field}' is missing{more}"
    said = _SAID.get(first["type"], first["msg"].removeprefix("Value error, "))
    said = said[0].lower() + said[1:]
    return f"{where}{line}: {field}: {said}{more}"


_BRANCHES = ("str", "dict[str,any]", "function-after[_has_name(), dict[str,any]]")
"""What pydantic adds to the place of a fault for each spelling of a Reference."""

_SAID = {
    "path_type": "input should be a path",
    "tuple_type": "input should be a list",
    "model_type": "input should be a mapping of fields",
    "model_attributes_type": "input should be a mapping of fields",
}
"""pydantic's words for Python's types, in YAML's."""


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────


def _normalise(tree: dict[str, Any]) -> None:
    """Short spellings to long ones: a name for a task or model, one site or representation for a list, a count
    of seeds.
    """
    for field, key in (("tasks", "name"), ("models", "ref")):
        if isinstance(tree.get(field), list):
            tree[field] = [{key: item} if isinstance(item, str) else item for item in tree[field]]
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
    """The suite's own entry for `ref`, else `ref` with the settings of the suite's first model."""
    entries = list(_mappings(models))
    for entry in entries:
        if entry.get("ref") == ref:
            return entry
    return {**(entries[0] if entries else {}), "ref": ref}


def _apply_settings(tree: dict[str, Any], settings: Sequence[str]) -> None:
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise UsageError(f"--set '{setting}' is not of the form a.b=value")
        try:
            _check_events(text, f"--set '{path}'")
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"--set '{setting}': '{text}' is not a YAML value") from error
        _set(tree, path.split("."), value, setting)


def _set(tree: Any, path: Sequence[str], value: Any, setting: str) -> None:
    *parents, last = path
    for key in parents:
        tree = _step(tree, key, setting)
    if isinstance(tree, dict):
        tree[last] = value
    elif isinstance(tree, list) and last.isdecimal() and int(last) < len(tree):
        tree[int(last)] = value
    else:
        raise UsageError(f"--set '{setting}': the suite has no place '{last}' there")


def _step(tree: Any, key: str, setting: str) -> Any:
    if isinstance(tree, dict):
        return tree.setdefault(key, {})
    if isinstance(tree, list) and key.isdecimal() and int(key) < len(tree):
        return tree[int(key)]
    raise UsageError(f"--set '{setting}': the suite has no place '{key}' there")
