"""Version of the interface: what a plugin declares is read before its import, and decides whether it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.api import protocols
from harness.registry import interface
from harness.registry.loading import find_candidates, load_plugins

OFFER = """
import harness

@harness.hookimpl
def harness_poolings():
    return [harness.PoolingSpec(name="toy_pooling", summary="a toy", make=lambda: None)]
"""
UNIMPORTABLE = "raise RuntimeError('imported')\n"


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch):
    """`at(3, since="0.1", version="0.2.0")` is a harness of another interface or version, with no plugin but `toy`."""
    monkeypatch.setenv("HARNESS_PLUGINS", "toy")

    def become(number: int, *, since: str = "0.1", version: str = "0.1.0") -> None:
        monkeypatch.setattr(protocols, "API_VERSION", number)
        monkeypatch.setattr(protocols, "API_SINCE", since)
        monkeypatch.setattr(interface, "installed_version", lambda package: version)

    return become


def put_module(folder: Path, source: str) -> str:
    (folder / "toy_file.py").write_text(source, "utf-8")
    return "toy_file"


def put_package(folder: Path, source: str) -> str:
    inner = folder / "toy_package" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").touch()
    (inner / "__init__.py").write_text(source, "utf-8")
    return "toy_package.inner"


def test_a_plugin_for_a_newer_interface_is_left_out_before_its_import(harness_command, install, at):
    at(1)
    install(f"HARNESS_API = 2\n{UNIMPORTABLE}")
    listed = harness_command("ls", "poolings")
    assert listed.code == 0
    (line,) = listed.said
    assert line == (
        "harness: plugin 'toy' (toy 1.0) is for interface 2 of the harness, and this one (0.1.0) has interface 1: "
        "install a newer harness, or an older version of the plugin"
    )
    (row,) = harness_command("ls", "plugins", "--json").rows
    assert row["status"] == "left out" and str(row["summary"]).startswith("is for interface 2 of the harness")
    told = harness_command("doctor", "--json")
    assert told.code == 3 and told.rows[0]["left_out"] == [line.removeprefix("harness: ")]


@pytest.mark.parametrize("put", [put_module, put_package])
def test_a_plugin_that_is_not_installed_is_read_before_its_import_too(
    put, harness_command, tmp_path, monkeypatch, at
):
    at(1)
    monkeypatch.setenv("HARNESS_PLUGINS", "none")
    monkeypatch.syspath_prepend(str(tmp_path))
    name = put(tmp_path, f"from __future__ import annotations\nHARNESS_API: int = 7\n{UNIMPORTABLE}")
    (line,) = harness_command("-p", name, "ls", "poolings").said
    assert f"plugin '{name}'" in line and "is for interface 7 of the harness" in line


def test_a_plugin_for_the_interface_before_is_loaded_with_a_warning_for_one_minor_version(
    harness_command, install, at
):
    install(f"HARNESS_API = 2\n{OFFER}")
    at(3, since="0.2", version="0.2.7")
    listed = harness_command("ls", "poolings")
    assert "toy_pooling" in listed.out and listed.code == 0
    warning = (
        "plugin 'toy' (toy 1.0) is for interface 2 of the harness, which 0.2 is the last version to accept: "
        "install a newer version of the plugin"
    )
    assert listed.said == [f"harness: {warning}"]
    told = harness_command("doctor", "--json")
    assert told.code == 0 and told.rows[0]["warnings"] == [warning] and told.rows[0]["left_out"] == []
    assert f"warning           {warning}" in harness_command("doctor").out.splitlines()
    at(3, since="0.2", version="0.3.0")
    listed = harness_command("ls", "poolings")
    assert "toy_pooling" not in listed.out
    (line,) = listed.said
    assert line.endswith(
        "this one (0.3.0) has interface 3: install a newer version of the plugin, or an older harness"
    )


def test_an_older_plugin_is_left_out(harness_command, install, at):
    install(f"HARNESS_API = 1\n{UNIMPORTABLE}")
    at(3, since="0.2", version="0.2.0")
    (line,) = harness_command("ls", "poolings").said
    assert (
        "is for interface 1 of the harness, and this one (0.2.0) has interface 3: install a newer version"
        in line
    )


@pytest.mark.parametrize("source", [OFFER, UNIMPORTABLE])
def test_a_plugin_that_declares_nothing_is_for_the_first_interface(source, harness_command, install, at):
    install(source)
    at(3, since="0.2", version="0.2.0")
    (line,) = harness_command("ls", "poolings").said
    assert (
        "is for interface 1 of the harness (not declared: a plugin for interface 3 has the line HARNESS_API = 3)"
        in line
    )


def test_a_plugin_that_declares_nothing_is_loaded_by_a_harness_of_the_first_interface(
    harness_command, install, at
):
    install(OFFER)
    at(1)
    listed = harness_command("ls", "poolings")
    assert "toy_pooling" in listed.out and listed.said == []


def test_a_declaration_that_is_imported_counts_when_it_is_known(harness_command, install, at):
    install("HARNESS_API = 5", name="versions", module="toy_versions", points="none = toy_versions")
    install(f"from toy_versions import HARNESS_API\n{OFFER}")
    at(3)
    (line,) = harness_command("ls", "poolings").said
    assert "is for interface 5 of the harness" in line


NONSENSE = {
    "harness.API_VERSION": "harness.API_VERSION",
    "'1'": "'1'",
    "True": "True",
    "0": "0",
    "-1": "-1",
    "1.0": "1.0",
    "[1,\n  2]": "[1, 2]",
    "'a text\\n of \x1b[31m several lines and of too many letters to show'": "'a text",
}


@pytest.mark.parametrize("given", NONSENSE)
def test_a_declaration_that_is_no_whole_number_is_one_sentence(given, harness_command, install, at):
    at(1)
    install(f"import harness\nHARNESS_API = {given}\n{UNIMPORTABLE}")
    listed = harness_command("ls", "poolings")
    (line,) = listed.said
    assert listed.code == 0 and "\x1b" not in line and len(line) < 260
    assert f"plugin 'toy' (toy 1.0) declares HARNESS_API as {NONSENSE[given]}" in line
    assert line.endswith(
        "a whole number from 1 on, which can be read before it is imported: write HARNESS_API = 1"
    )


def test_a_very_large_declaration_is_cut(harness_command, install, at):
    at(1)
    install(f"HARNESS_API = {'9' * 4000}\n{UNIMPORTABLE}")
    (line,) = harness_command("ls", "poolings").said
    assert len(line) < 260 and f"is for interface {'9' * 40}… of the harness" in line


def test_what_only_looks_like_a_declaration_is_none(install, at):
    at(1)
    install(f'"""Text.\n\nHARNESS_API = 9\n"""\n# HARNESS_API = 9\ndef f():\n    HARNESS_API = 9\n{OFFER}')
    (plugin,) = load_plugins(find_candidates(only={"toy"})).loaded
    assert plugin.interface is None


def test_the_plugins_of_the_harness_declare_its_interface():
    loaded = load_plugins(each for each in find_candidates() if each.distribution.startswith("sae-harness "))
    assert loaded.faults == () and loaded.warnings == ()
    assert {plugin.name: plugin.interface for plugin in loaded.loaded} == dict.fromkeys(
        (plugin.name for plugin in loaded.loaded), harness.API_VERSION
    )


def test_the_interface_began_with_no_later_version_of_the_harness():
    assert interface._minor(protocols.API_SINCE) <= interface._minor(harness.__version__)
