"""Commands that plugins bring to the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.registry.commands import COMMANDS, RENAMED

PLUGIN = """
import harness

def load():
    import click

    @click.command("greet")
    @click.argument("name")
    @click.option("--loud", is_flag=True)
    @click.pass_obj
    def greet(plugins, name, loud):
        if name == "nobody":
            raise harness.UsageError("there is nobody to greet")
        if name == "bug":
            raise ValueError("oh no")
        click.echo(f"hello {name} {list(plugins)}")
        return 4 if loud else 0

    return greet

@harness.hookimpl
def harness_commands():
    return [harness.CommandSpec(name="greet", summary="Greet somebody.", load=load)]
"""


def offering(name: str = "greet", load: str = "'toy_module:found'", more: str = "") -> str:
    return (
        f"import harness\n{more}\n@harness.hookimpl\ndef harness_commands():\n"
        f"    return [harness.CommandSpec(name={name!r}, summary='Greet.', load={load})]\n"
    )


def test_a_plugins_command_is_called_by_its_name(harness_command, install):
    install(PLUGIN)
    told = harness_command("greet", "you")
    assert (told.code, told.out, told.said) == (0, "hello you []\n", [])
    assert "harness greet" in harness_command("greet", "--help").out
    assert harness_command("-p", "no:progress", "greet", "you").out == "hello you ['no:progress']\n"


def test_what_a_plugins_command_returns_or_raises_is_the_exit_code(harness_command, install):
    install(PLUGIN)
    assert harness_command("greet", "you", "--loud").code == 4
    refused = harness_command("greet", "nobody")
    assert (refused.code, refused.said) == (2, ["harness: there is nobody to greet"])
    assert harness_command("greet").code == 2  # without its argument
    broken = harness_command("greet", "bug")
    assert broken.code == 70
    assert broken.said == [
        "harness: a bug in command 'greet' (toy 1.0): ValueError: oh no (HARNESS_DEBUG=1 shows where)"
    ]


def test_a_command_may_be_named_by_module_and_attribute(harness_command, install):
    install(offering(more="import click\n@click.command('greet')\ndef found(): click.echo('found')"))
    assert harness_command("greet").out == "found\n"


def test_a_command_is_loaded_only_when_it_is_called(harness_command, install):
    install(offering(load="'no_such_module:command'"))
    assert json.loads(harness_command("show", "greet", "--json").out)["kind"] == "command"
    rows = harness_command("ls", "commands", "--json").rows
    assert {row["name"] for row in rows} == {
        "autointerp",
        "greet",
        "annotate-prompts",
        "erase-concept",
        "label",
        "patch",
    }  # the others come from plugins of this repository
    row = next(row for row in rows if row["name"] == "greet")
    assert (row["name"], row["origin"], row["summary"]) == ("greet", "toy (toy 1.0)", "Greet.")
    told = harness_command("greet")
    assert told.code == 3
    assert told.said == [
        "harness: command 'greet' (toy 1.0) needs what cannot be imported: No module named 'no_such_module'"
    ]


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ("lambda: 1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("lambda: exit()", "cannot be loaded: SystemExit"),
        ("'json:no_such_name'", "cannot be loaded: AttributeError: module 'json'"),
        ("'json:dumps'", "is no click command, but function"),
    ],
)
def test_a_command_that_cannot_be_loaded_is_one_sentence(harness_command, install, load, said):
    install(offering(load=load))
    told = harness_command("greet")
    assert told.code == 2
    (line,) = told.said
    assert line.startswith(f"harness: command 'greet' (toy 1.0) {said}")


@pytest.mark.parametrize("load", ["'greet'", "'toy_module:'", "':greet'"])
def test_a_place_that_is_not_module_and_attribute_is_refused(harness_command, install, load):
    install(offering(load=load))
    (line,) = harness_command("ls", "commands").said
    assert (
        "plugin 'toy' (toy 1.0) failed in its hook 'harness_commands': TypeError: CommandSpec 'greet'" in line
    )


@pytest.mark.parametrize("name", ["run", "train-dictionary", "truths"])
def test_a_command_named_like_one_of_the_harness_is_an_error_that_names_both(harness_command, install, name):
    install(offering(name))
    (line,) = harness_command("ls", "tasks").said
    assert line == (
        f"harness: plugin 'toy' (toy 1.0) offers the command '{name}', which the harness itself has "
        f"({COMMANDS[RENAMED.get(name, name)]})"
    )
    assert f"harness {RENAMED.get(name, name)}" in harness_command(name, "--help").out


def test_two_plugins_with_a_command_of_one_name_are_both_named_and_neither_is_called(
    harness_command, install
):
    for owner in ("one", "two"):
        install(offering(load="lambda: None"), name=owner)
    told = harness_command("greet")
    assert told.code == 2
    assert told.said[-1].startswith("harness: command 'greet' is offered by ")
    assert "one 1.0" in told.said[-1] and "two 1.0" in told.said[-1]


@pytest.mark.parametrize(("word", "near"), [("gret", "greet"), ("pln", "plan")])
def test_a_command_that_nobody_has_is_refused_with_the_nearest_of_all(harness_command, install, word, near):
    install(PLUGIN)
    told = harness_command(word)
    assert told.code == 2
    assert told.said == [f"harness: there is no command '{word}'; did you mean '{near}'?"]


def test_help_says_where_commands_of_plugins_are_listed_and_loads_none(harness_command, install):
    install("from pathlib import Path\nPath('loaded').touch()\n" + PLUGIN)
    told = harness_command("--help")
    assert "harness ls commands lists those that plugins add." in told.out
    assert not Path("loaded").exists()
