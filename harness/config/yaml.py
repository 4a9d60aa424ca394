"""Reader of YAML files and values that reports every fault with the line of the file.

PyYAML decides what a value means: YAML 1.1, with text for `1e3`. Values of suites are hashed into the ids of
cells, so another library or another version of YAML would need to read each value in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from harness.api.errors import UsageError, did_you_mean
from harness.storage.hashing import hash_json
from harness.storage.parsing import ParseError, parsing
from harness.storage.reading import read_file

LARGEST = 1_000_000
"""Limit in bytes of a file: PyYAML takes a quarter of a minute for as many."""

DEEPEST = 16
"""Maximum depth of nested lists and mappings."""

Whole = Annotated[int, Field(strict=True)]
"""A whole number; YAML's `yes` is not 1."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=_NAME)]
"""A name that can be that of a folder."""

TEMPLATE = r"\{\}"
"""Pattern of a template."""

_Place = tuple[str | int, ...]
_Validated = TypeVar("_Validated", bound=BaseModel)


class Strict(BaseModel):
    """Immutable model that has no field beside the declared ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class YamlFile:
    """The mapping in a YAML file, with the line of each value and the spelling of each that is no text, by its path."""

    where: str
    tree: dict[str, Any]
    lines: Mapping[_Place, int]
    spelled: Mapping[_Place, str]

    def without_lines(self, fields: Collection[str]) -> YamlFile:
        """Return the same without the lines of fields that were replaced by values from elsewhere."""
        lines = {at: line for at, line in self.lines.items() if not at or at[0] not in fields}
        return replace(
            self, lines=lines, spelled={at: self.spelled[at] for at in lines if at in self.spelled}
        )

    def check_twins(self, place: _Place, what: str, names: Sequence[str]) -> None:
        """Raise UsageError, with both lines, if two entries of the list at `place` have one name, in the order of
        `names`.
        """
        first: dict[str, int] = {}
        for number, name in enumerate(names):
            if (other := first.setdefault(name, number)) != number:
                lines = dict.fromkeys(self.lines.get((*place, at)) for at in (other, number))
                on = f": on line {' and on line '.join(map(str, lines))}" * (None not in lines)
                raise UsageError(f"{self.where}: {what} '{name}' is given twice{on}")

    def validate(self, model: type[_Validated]) -> _Validated:
        """Return the mapping as a pydantic model, or raise UsageError with the first fault and its line."""
        try:
            made = model.model_validate(self.tree)
        except ValidationError as error:
            raise UsageError(_describe(error, self, model)) from error
        self._check_numbers()
        return made

    def _check_numbers(self) -> None:
        for place, spelled in self.spelled.items():
            if _HIDDEN_NUMBER.fullmatch(spelled):
                value: Any = self.tree
                for part in place:
                    value = value[part]
                line = f" line {self.lines[place]}" * (place in self.lines)
                raise UsageError(
                    f"{self.where}{line}: {spelled} is read as {value}: write that, or quote the text"
                )


def read_yaml(path: Path, kind: str) -> YamlFile:
    """Read the mapping in a YAML file; `kind` names the file in messages, for example "suite"."""
    where = f"{kind} '{path}'"
    with parsing(f"{where} cannot be read"):
        data = read_file(path, at_most=LARGEST)
    with parsing(f"{where} is not valid YAML", kind=UsageError):
        reader = _Reader(data.decode(), where)
        tree = reader.read()
    if not isinstance(tree, dict):
        raise UsageError(f"{where} is not a mapping of fields")
    return YamlFile(where=where, tree=tree, lines=reader.lines, spelled=reader.spelled)


def read_value(text: str, where: str) -> Any:
    """Return one YAML value; raise UsageError if it is not YAML or not supported. `where` names its place."""
    with parsing(f"{where}: '{text}' is not a YAML value", kind=UsageError):
        return _Reader(text, where).read()


class _Reader(yaml.SafeLoader):
    """Loader without aliases, merge keys, repeated keys, deep nesting and values that JSON cannot express.

    Aliases are refused because a few of them can expand to billions of values, or contain themselves.
    """

    def __init__(self, text: str, where: str) -> None:
        try:
            super().__init__(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise ParseError(f"line {line}: {error.reason}") from error
        self.where = where
        self.lines: dict[_Place, int] = {}
        self.spelled: dict[_Place, str] = {}
        self.depth = 0

    def read(self) -> Any:
        """Return the value of the single document, or None if there is no document."""
        node = self.get_single_node()
        return None if node is None else self._read(node, ())

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node, after a check that it is no alias and not nested too deep."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise self._refuse(event, f"the alias '*{event.anchor}' is not read: write its value out")
        self.depth += 1
        if self.depth > DEEPEST and isinstance(event, yaml.CollectionStartEvent):
            raise self._refuse(event, f"nested deeper than {DEEPEST} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _read(self, node: yaml.Node, place: _Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            value = self._read_scalar(node)
            if not isinstance(value, str):
                self.spelled[place] = node.value
            return value
        if node.tag not in (self.DEFAULT_MAPPING_TAG, self.DEFAULT_SEQUENCE_TAG):
            raise self._refuse(node, f"'{node.tag}' is neither a list nor a mapping")
        if isinstance(node, yaml.SequenceNode):
            return [self._read(item, (*place, index)) for index, item in enumerate(node.value)]
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            name = self._read_name(key)
            if name in mapping:  # YAML itself would silently keep the last
                first = self.lines[(*place, name)]
                also = f", first on line {first}" * (first != key.start_mark.line + 1)
                raise self._refuse(key, f"'{name}' stands twice{also}")
            self.lines[(*place, name)] = key.start_mark.line + 1
            mapping[name] = self._read(value, (*place, name))
        return mapping

    def _read_name(self, key: yaml.Node) -> str:
        if key.tag == "tag:yaml.org,2002:merge":
            raise self._refuse(key, "the merge key '<<' is not read: write its fields out")
        if key.tag != self.DEFAULT_SCALAR_TAG:
            said = "a field's name must be plain text"
            if isinstance(key, yaml.ScalarNode):
                said = f"the name {_quote_it(key.value, self._read_scalar(key))}"
            raise self._refuse(key, said)
        return str(key.value)

    def _read_scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            value = self.construct_object(node)
            hash_json({"": value})  # no result can be identified by NaN, dates, bytes or integers beyond 2^53
        except yaml.YAMLError:
            raise
        except Exception as error:  # of `!!bool x` or a date such as 2020-13-45, PyYAML raises any type
            said = f"'{node.value}' is neither text, a finite number, yes, no nor nothing; text needs quotes"
            said += f': "{node.value}"' * node.value.isprintable()
            raise self._refuse(node, said) from error
        return value

    def _refuse(self, at: yaml.Node | yaml.Event, sentence: str) -> UsageError:
        return UsageError(f"{self.where} line {at.start_mark.line + 1 if at.start_mark else 1}: {sentence}")


def _describe(error: ValidationError, file: YamlFile, model: type[BaseModel]) -> str:
    """Describe the first fault of a validation in one sentence, with its line if the file has one."""
    faults = [(_find_place(file.tree, fault), fault) for fault in error.errors()]
    # A wrong field comes before a missing one, because it is often the same field misspelt.
    field, first = min(faults, key=lambda found: found[1]["type"] == "missing")
    # Of the alternatives for one value, the one that was followed furthest was meant.
    field, first = max(
        (found for found in faults if found[0][: len(field)] == field), key=lambda found: len(found[0])
    )
    place = field
    while place and place not in file.lines:
        place = place[:-1]
    line = f" line {file.lines[place]}" if place else ""
    places = {each for each, _ in faults}
    # A list is also reported as too short if one of its items is wrong.
    places -= {each[:end] for each in places for end in range(len(each))}
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    hint = did_you_mean(str(field[-1]), _fields(model, field[:-1])) if _is_unknown(first) else ""
    return f"{file.where}{line}: {_explain(field, first, file.spelled.get(place))}{hint}{more}"


def _find_place(tree: Any, fault: ErrorDetails) -> _Place:
    """Return the place of a fault in a file, without the names that pydantic gives to alternatives for a value."""
    place: _Place = ()
    for number, part in enumerate(fault["loc"], 1):
        is_there = (
            part in tree if isinstance(tree, dict) else isinstance(tree, list) and part in range(len(tree))
        )
        if is_there:
            tree = tree[part]
        if is_there or (number == len(fault["loc"]) and fault["type"] == "missing"):
            place = (*place, part)
    return place


def _is_unknown(fault: ErrorDetails) -> bool:
    return fault["type"] in ("extra_forbidden", "unexpected_keyword_argument")


def _fields(model: type[BaseModel], place: _Place) -> list[str]:
    """Return the names of the fields that belong at a place in a model."""
    schema = model.model_json_schema()
    node = schema
    for part in place:
        node = _follow(schema, node)
        node = node["items"] if isinstance(part, int) else node["properties"][part]
    return [*_follow(schema, node)["properties"]]


def _follow(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return what a node of a JSON Schema refers to; of alternatives, such as a short spelling, the last."""
    while "$ref" in node or ("anyOf" in node and "properties" not in node):
        node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node["anyOf"][-1]
    return node


def _explain(place: _Place, fault: ErrorDetails, spelled: str | None) -> str:
    field = ".".join(map(str, place))
    if fault["type"] == "string_pattern_mismatch":
        pattern = fault["ctx"]["pattern"]
        return f"{field}: '{fault['input']}' {_PATTERNS.get(pattern, f'does not match {pattern}')}"
    value = fault["input"]
    if fault["type"] in ("string_type", "path_type") and isinstance(value, bool | int | float | None):
        if spelled is None:
            return f"{field}: {json.dumps(value)} is no text; a name that is read so needs quotes"
        return f"{field}: {_quote_it(spelled, value)}" if spelled else f"{field} is empty, and needs a text"
    if fault["type"] in _SENTENCES:
        return _SENTENCES[fault["type"]].format(field=field, **fault.get("ctx", {}))
    return f"{field}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _quote_it(spelled: str, value: Any) -> str:
    """Return that a spelling is no text: YAML 1.1 reads no, on, ~ and 1:30 as false, true, nothing and 90."""
    read = "nothing" if value is None else json.dumps(value, default=str)
    means = "a number" if read == spelled else read
    return f'{spelled} is read as {means}; as a name or other text it needs quotes: "{spelled}"'


_PATTERNS = {
    _NAME: "is no name: it needs a letter or digit, and then only letters, digits, '.', '_' and '-'",
    TEMPLATE: "is no template: it lacks {}, where the name of the class goes",
}
"""Sentences for texts that do not match."""

_HIDDEN_NUMBER = re.compile(r"[-+]?(?:[\d_]+(?::[\d_.]+)+|0[0-7_]+)")
"""Numbers of base 60 and of base 8 in YAML 1.1, which look like a time and like a decimal number."""

_MAPPING = "{field}: input should be a mapping of fields"
_SENTENCES = {
    "extra_forbidden": "there is no field '{field}'",
    "unexpected_keyword_argument": "there is no field '{field}'",
    "missing": "the field '{field}' is missing",
    "too_short": "{field} must not be empty",
    "too_long": "{field} must not be more than {max_length}",
    "path_type": "{field}: input should be a path",
    "tuple_type": "{field}: input should be a list",
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dataclass_type": _MAPPING,
}
"""Sentences for faults that pydantic would describe with Python types."""
