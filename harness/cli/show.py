"""Command `harness show`: print everything about one name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from harness.api.errors import UsageError, did_you_mean
from harness.cli.options import json_option, open_registry
from harness.cli.streams import echo
from harness.registry.catalog import Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SCHEMAS = {
    "suite-schema": "harness.config.suite:Suite",
    "task-schema": "harness.config.task_file:TaskFile",
    "board-schema": "harness.config.board_file:BoardFile",
    "record-schema": "harness.runs.record:Record",
}
"""Models of files, by the name of their schema."""


@click.command("show")
@click.argument("name")
@json_option
@click.pass_context
def command(context: click.Context, name: str, as_json: bool) -> None:
    """Show everything called NAME: kind, owner, parameters with defaults, licence, citation, source.

    The names suite-schema, task-schema, board-schema and record-schema show the JSON Schema of a suite, a task file, a
    board file and a line of results.jsonl.
    """
    if name in SCHEMAS:
        module, _, model = SCHEMAS[name].partition(":")
        schema = getattr(importlib.import_module(module), model).model_json_schema()
        echo(json.dumps({"$schema": DIALECT, **schema}, indent=None if as_json else 2))
        return
    registry = open_registry(context)
    registry.report_loading()
    found = [
        {"kind": kind.removesuffix("s"), "name": name}
        | {"plugin": entry.plugin, "distribution": entry.distribution}
        | _describe_plugin(registry, entry.plugin)
        | _describe(entry.spec)
        for kind, catalog in registry.catalogs.items()
        for entry in catalog.get(name, ())
    ]
    if not found:
        known = {*SCHEMAS, *(known for catalog in registry.catalogs.values() for known in catalog)}
        raise UsageError(
            f"nothing is called '{name}'{did_you_mean(name, known, listed_by='harness ls KIND')}"
        )
    for thing in found:
        echo(json.dumps(thing, ensure_ascii=False) if as_json else _lines(thing))


def _describe_plugin(registry: Registry, name: str) -> dict[str, Any]:
    from harness.registry.checked import describe_checked

    plugin = registry.plugins.find(name)
    return {
        "interface": plugin.interface or "not declared",
        "checked": describe_checked(plugin, registry.cache_dir),
    }


def _describe(spec: Any) -> dict[str, Any]:
    if isinstance(spec, Path):
        return {"contents": spec.read_text("utf-8", errors="replace")}
    fields = {
        field.name: getattr(spec, field.name)
        for field in dataclasses.fields(spec)
        if field.name not in {"name", "make", "alias_of", "load"}
    }
    if getattr(spec, "make", None):
        from harness.registry.parameters import parameters_of

        missing = dict.fromkeys(fields.get("grid", ()), "from its grid")
        fields["parameters"] = {
            key: missing.get(key, "required") if default is inspect.Parameter.empty else default
            for key, default in parameters_of(spec).items()
        }
    return {key: _plain(value) for key, value in fields.items()}


def _plain(value: Any) -> Any:
    """Convert the value of a field to JSON, without unset entries."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, Path) else value


def _lines(thing: dict[str, Any]) -> str:
    width = max(map(len, thing))
    return "\n".join(
        value if key == "contents" else f"{key:<{width}}  {_write(value)}" for key, value in thing.items()
    )


def _write(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (
            f"{key}=({_write(item)})" if isinstance(item, dict) else f"{key}={_write(item)}"
            for key, item in value.items()
        )
        return ", ".join(pairs) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
