"""Suites, task files and board files in; their JSON Schemas accept what the readers do, and the docs name every key."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from harness.cli.show import SCHEMAS
from harness.config.board_file import BoardFile, read_board, read_commands
from harness.config.suite import Suite, read_suite
from harness.config.task_file import TaskFile, read_task

ROOT = Path(__file__).parents[1]
SUITES = sorted([*ROOT.glob("tasks/*/suites/*.yaml"), *ROOT.glob("plugins/*/suites/*.yaml")])
BOARDS = sorted(ROOT.glob("leaderboards/*/board.yaml"))

SUITE = {
    "name": "toy", "version": 1, "summary": "x",
    "tasks": ["a", {"name": "b", "limit": 5, "test_limit": 3, "leaks": "near"}],
    "models": ["m", {"ref": "n", "sites": ["resid_post.1"], "representations": ["pca"], "dtype": "float32"}],
    "representations": ["hidden", {"name": "pca", "n": 4}], "tokens": "content", "poolings": ["mean"],
    "transforms": ["none"], "classifiers": ["logreg"], "regimes": ["full"], "alignments": ["assignment"],
    "transfers": [{"from": "m", "to": "n"}], "seeds": [0, 1], "limit": 10, "leaks": "exact", "fuzzy_leaks": False,
}  # fmt: skip
TASK = {
    "name": "toy", "version": 1, "source": {"file": "a.csv"}, "columns": {"input": "text", "split": None},
    "languages": ["en"], "licence": "CC0", "citation": "x", "where": {"a": "b"}, "labels": {"0": "neg"},
    "class_names": {"a": "b"}, "templates": ["a {}"], "content_warning": True,
}  # fmt: skip
BOARD = {"runs": [{"name": "x", "suite": "a", "models": [], "batch_size": 8}, {"suite": "b", "folder": "c"}]}

FILES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "suite-schema": (Suite, SUITE),
    "task-schema": (TaskFile, TASK),
    "board-schema": (BoardFile, BOARD),
}


def schema_of(name: str) -> dict[str, Any]:
    return FILES[name][0].model_json_schema()


@cache
def validator_of(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(name))


def accepts(name: str, tree: Any) -> bool:
    return bool(validator_of(name).is_valid(tree))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_shipped_suite_is_as_the_schema_says(path: Path) -> None:
    assert read_suite(path).name == path.stem
    assert not list(validator_of("suite-schema").iter_errors(yaml.safe_load(path.read_text("utf-8"))))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.parent.name)
def test_every_published_board_is_as_the_schema_says(path: Path) -> None:
    assert read_board(path.parent) or read_commands(path.parent)
    assert not list(validator_of("board-schema").iter_errors(yaml.safe_load(path.read_text("utf-8"))))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_shown(name: str, harness_command: Any) -> None:
    told = harness_command("show", name, "--json")
    assert told.code == 0
    shown = json.loads(told.out)
    Draft202012Validator.check_schema(shown)
    assert shown["$schema"].endswith("2020-12/schema")
    if name in FILES:
        assert accepts(name, FILES[name][1])


REFUSED: dict[str, list[dict[str, Any]]] = {
    "suite-schema": [
        {"name": "../up"}, {"name": 7}, {"version": True}, {"version": "1"}, {"tasks": []}, {"tasks": [7]},
        {"tasks": "a"},
        {"tasks": [{"name": "a", "rows": 1}]}, {"tasks": [{"name": "a", "limit": 0}]}, {"models": [{"sites": ["a"]}]},
        {"models": [{"ref": "a", "sites": []}]}, {"representations": [False]}, {"representations": [{"k": 1}]},
        {"representations": [{"name": 1}]}, {"poolings": []}, {"seeds": 0}, {"seeds": [-1]}, {"seeds": 1001},
        {"seeds": [2**32]}, {"seeds": "3"}, {"leaks": "kept"}, {"fuzzy_leaks": "yes"}, {"transfers": [{"from": "a"}]},
        {"modle": []}, {"tokens": None},
    ],
    "task-schema": [
        {"name": "a b"}, {"source": {}}, {"source": {"hub": "a/b"}}, {"source": {"path": "x"}},
        {"columns": {"inputs": "x"}},
        {"columns": {"label": 1}}, {"languages": []}, {"languages": [False]}, {"licence": None}, {"labels": {"a": 0}},
        {"where": {"a": 1}}, {"templates": ["a"]}, {"modality": "sound"}, {"metric": "f1"}, {"content_warning": 1},
    ],
    "board-schema": [
        {"runs": []}, {"runs": [{"name": "x"}]}, {"runs": [{"suite": "a", "cache": "none"}]},
        {"runs": [{"suite": "a", "batch_size": 0}]}, {"runs": [{"suite": "a", "folder": "../b"}]}, {"run": 1},
        {"commands": []}, {"commands": [7]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in REFUSED.items() for change in changes], ids=str
)
def test_schema_and_reader_refuse_the_same(name: str, change: dict[str, Any], write: Any) -> None:
    tree = FILES[name][1] | change
    assert not accepts(name, tree)
    path = write("board.yaml", yaml.safe_dump(tree))
    reader = {
        "suite-schema": read_suite,
        "task-schema": read_task,
        "board-schema": lambda _: read_board(path.parent),
    }
    with pytest.raises(Exception, match=f"'{path}'"):
        reader[name](path)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2000),
    st.just(0.5), st.sampled_from(["", "a", "near", "a b", "{}", "../x"]),
    st.just([]), st.just({}), st.just(["a", "b"]), st.just([1]), st.just({"name": "a"}), st.just({"ref": "a", "x": 1}),
    st.just({"suite": "a"}), st.just({"a": 1}), st.just([{"name": "a"}]), st.just({"hub": "a", "revision": "b"}),
)  # fmt: skip


def places(tree: Any) -> list[tuple[Any, ...]]:
    """Return the path of every value in a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [(key, *rest) for key, value in items for rest in ((), *places(value))]


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=100)
@given(data=st.data())
def test_schema_and_reader_accept_the_same(name: str, data: st.DataObject) -> None:
    model, tree = FILES[name]
    tree = copy.deepcopy(tree)
    *parents, last = data.draw(st.sampled_from(places(tree)))
    node: Any = tree
    for key in parents:
        node = node[key]
    if data.draw(st.booleans()) and isinstance(node, dict):
        node[data.draw(st.sampled_from(["name", "rows", "x"]))] = data.draw(VALUES)
    else:
        node[last] = data.draw(VALUES)
    try:
        model.model_validate(tree)
    except ValidationError:
        read = False
    else:
        read = True
    # Of a source either the file or the hub is needed, which the reader checks after pydantic.
    assert accepts(name, tree) == read or (
        ("source" in parents or last == "source") and not accepts(name, tree)
    )


# ── documentation ────────────────────────────────────────────────────────────────────────────────────────


def table(schema: dict[str, Any], part: str = "") -> str:
    """Return the table of the keys of a schema, or of a part of it."""
    node = schema["$defs"][part] if part else schema
    lines = ["| key | default | |", "|---|---|---|"]
    for key, field in node["properties"].items():
        default = "required" if key in node.get("required", ()) else f"`{json.dumps(field.get('default'))}`"
        lines.append(f"| `{key}` | {default} | {field.get('description', '')} |")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("suite-schema", ""),
        ("suite-schema", "TaskChoice"),
        ("suite-schema", "ModelChoice"),
        ("task-schema", ""),
        ("task-schema", "_Source"),
        ("board-schema", "RunChoice"),
    ],
)
def test_the_page_of_formats_has_every_key_as_the_schema_has_it(name: str, part: str) -> None:
    assert table(schema_of(name), part) in (ROOT / "docs/formats.md").read_text("utf-8")
