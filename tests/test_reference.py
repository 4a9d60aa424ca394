"""The reference that is made of the code: nothing is left out of it, and nothing in it is left unsaid."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import harness
from harness.api import errors, hookspecs
from harness.cli import BUG, INTERRUPTED, TERMINATED, cli
from harness.registry.commands import COMMANDS
from harness.runs.record import Cost, Record
from harness.runs.state import RunFile

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages() -> dict[str, Any]:
    """The pages of the reference by name."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/site/reference.py")
    assert spec and spec.loader
    sys.modules["reference"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {page.name: page for page in module.pages()}


def members(page: Any, entry: str) -> dict[str, str]:
    """Return the members of an entry, each with what is said of it."""
    found = next(one for one in page.entries if one.name == entry)
    return {row[0].strip("`"): row[-1] for row in found.members}


def test_every_entry_and_every_member_with_a_text_of_its_own_has_one(pages: dict[str, Any]) -> None:
    entries = [entry for page in pages.values() for one in page.entries for entry in (one, *one.methods)]
    assert len(entries) > 200
    assert [entry.name for entry in entries if not entry.doc.strip()] == []
    for page in (pages["commands"], pages["files"]):
        assert [
            (one.name, row[0]) for one in page.entries for row in one.members if not row[-1].strip()
        ] == []


def test_every_hook_is_in_the_reference(pages: dict[str, Any]) -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("harness_")}
    assert hooks and hooks <= {entry.name for entry in pages["hooks"].entries}


def test_every_public_name_is_in_the_reference_once(pages: dict[str, Any]) -> None:
    names = [entry.name for name, page in pages.items() if name != "files" for entry in page.entries]
    public = {name.rpartition(".")[2] for name in harness.__all__}
    assert public - {*names} == set()
    assert [name for name in public if names.count(name) > 1] == []


def every_command() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield the path of each command of the harness itself, the command and its context."""
    with click.Context(cli, info_name="harness", **cli.context_settings) as context:
        ahead = [(cli.get_command(context, name), name, context) for name in COMMANDS]
        while ahead:
            command, name, parent = ahead.pop()
            assert command is not None
            with click.Context(command, info_name=name, parent=parent) as inner:
                yield inner.command_path, command, inner
                if isinstance(command, click.Group):
                    ahead += [
                        (command.get_command(inner, one), one, inner) for one in command.list_commands(inner)
                    ]


def test_every_command_and_option_is_in_the_reference_and_every_argument_is_named(
    pages: dict[str, Any],
) -> None:
    for path, command, context in every_command():
        options = members(pages["commands"], path)
        for one in command.params:
            if isinstance(one, click.Option):
                assert any(set(one.opts) <= set(re.split(r"[ ,/]+", text)) for text in options), (
                    path,
                    one.opts,
                )
            elif isinstance(one, click.Argument):
                for shown in one.make_metavar(context).strip("[].").split("|"):
                    assert shown in (command.help or "") or "{" in one.make_metavar(context), (path, shown)


def test_every_command_of_a_shipped_plugin_is_in_the_reference(pages: dict[str, Any]) -> None:
    assert "label" in harness.open().registry.names("commands")
    assert "harness label" in {entry.name for entry in pages["commands"].entries}


def test_every_field_of_records_and_of_run_json_is_in_the_reference(pages: dict[str, Any]) -> None:
    assert [*members(pages["files"], "results.jsonl")] == [*Record.model_fields]
    assert [*members(pages["files"], "run.json")] == [*RunFile.model_fields]
    assert [*members(pages["files"], "Cost")] == [*Cost.model_fields]
    for part in ("Score", "Hygiene", "Fidelity", "TopFeature", "Sharing"):
        made = next(
            value
            for value in vars(sys.modules[Record.__module__]).values()
            if getattr(value, "__name__", "") == part
        )
        assert [*members(pages["files"], part)] == [one.name for one in dataclasses.fields(made)]


def every_error(
    error: type[errors.HarnessError] = errors.HarnessError,
) -> Iterator[type[errors.HarnessError]]:
    """Yield an error and all that are one."""
    yield error
    for one in error.__subclasses__():
        yield from every_error(one)


def test_every_exit_code_has_its_meaning_in_one_table_that_the_manual_shows(pages: dict[str, Any]) -> None:
    raised = {error.exit_code for error in every_error()}
    assert raised | {0, 1, BUG, INTERRUPTED, TERMINATED} == {*errors.EXIT_CODES}
    table = "\n".join(f"| {code} | {text} |" for code, text in errors.EXIT_CODES.items())
    assert table in (ROOT / "docs/manual.md").read_text("utf-8") and table in pages["exit-codes"].text
