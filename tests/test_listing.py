"""`harness plugins`: every installed plugin, its version and interface, and whether it is loaded and was checked."""

from __future__ import annotations

import json
import socket

import pytest
from rich.cells import cell_len

from harness.registry.checked import Checked, write_checked
from harness.registry.loading import find_candidates, load_plugins

OFFER = """
import harness

@harness.hookimpl
def harness_poolings():
    return [harness.PoolingSpec(name="{}", summary="a toy", make=lambda: None)]
"""
CHECKED = Checked(harness="0.1.0", interface=1, day="2026-12-02", passed=43, failed=0, skipped=0)


@pytest.fixture
def listed(harness_command):
    """The rows of `harness plugins --json`, by name."""

    def call(*before: str) -> dict[object, dict[str, object]]:
        told = harness_command(*before, "plugins", "--json")
        assert told.code == 0, told.err
        return {row["name"]: row for row in told.rows}

    return call


def test_each_plugin_is_listed_with_its_interface_and_whether_it_was_checked(listed, install):
    install("HARNESS_API = 1\n" + OFFER.format("one"), name="one")
    folder = install(OFFER.format("two"), name="two")
    for plugin in load_plugins(find_candidates(only={"one", "two"})).loaded:
        write_checked(plugin, CHECKED)
    (folder / "two_module.py").write_text(OFFER.format("two") + "# edited\n", "utf-8")
    install("raise RuntimeError('no')", name="broken")
    install("HARNESS_API = 99\n", name="newer")
    rows = listed()
    assert rows["one"] == {
        "name": "one",
        "distribution": "one 1.0",
        "interface": 1,
        "status": "loaded",
        "summary": "1 poolings",
        "problems": [],
        "checked": "checked 2026-12-02 by harness 0.1.0: 43 passed",
    }
    assert (rows["two"]["interface"], rows["two"]["checked"]) == (None, "checked before its files changed")
    assert (rows["broken"]["status"], rows["broken"]["checked"]) == ("left out", "not checked")
    assert rows["broken"]["summary"] == "cannot be imported: RuntimeError: no"
    assert (rows["newer"]["status"], rows["newer"]["interface"]) == ("left out", 99)
    assert rows["classifiers"]["status"] == "loaded" and rows["classifiers"]["interface"] == 1
    assert str(rows["classifiers"]["distribution"]).startswith("sae-harness ")


def test_a_plugin_that_was_not_asked_for_is_listed_and_not_imported(listed, install, monkeypatch):
    install("HARNESS_API = 1\nraise RuntimeError('imported all the same')")
    assert listed("-p", "no:toy")["toy"]["status"] == "not asked for"
    monkeypatch.setenv("HARNESS_PLUGINS", "poolings")
    rows = listed()
    assert rows["toy"]["status"] == "not asked for" and rows["toy"]["interface"] == 1
    assert {name for name, row in rows.items() if row["status"] == "loaded"} == {"poolings"}


def test_a_module_of_the_command_line_is_listed(listed, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "loose_in_a_list.py").write_text("HARNESS_API = 1\n" + OFFER.format("loose"), "utf-8")
    row = listed("-p", "loose_in_a_list")["loose_in_a_list"]
    assert row["status"] == "loaded" and str(row["distribution"]).startswith("loose_in_a_list@")


def test_two_plugins_that_offer_one_name_are_loaded_and_the_clash_is_told(harness_command, listed, install):
    install(OFFER.format("same"), name="one")
    install(OFFER.format("same"), name="two")
    problems = listed()["two"]["problems"]
    assert (
        listed()["two"]["status"] == "loaded" and len(problems) == 1 and "neither can be used" in problems[0]
    )
    assert "neither can be used" in " ".join(harness_command("plugins").out.split())
    (row,) = (row for row in harness_command("ls", "plugins", "--json").rows if row["name"] == "two")
    assert row["status"] == "loaded" and "neither can be used" in str(row["summary"])


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_says_why_a_plugin_was_left_out(width, harness_command, install, monkeypatch):
    install("HARNESS_API = 99\n", name="a-plugin-with-a-long-name")
    install(OFFER.format("one"), name="one")
    for plugin in load_plugins(find_candidates(only={"one"})).loaded:
        write_checked(plugin, CHECKED)
    monkeypatch.setenv("COLUMNS", str(width))
    told = harness_command("plugins")
    assert told.code == 0 and max(map(cell_len, told.out.splitlines())) <= width
    flat = "".join(told.out.split())
    assert "notdeclared" in flat and "43passed" in flat
    said = "plugin 'a-plugin-with-a-long-name' (a-plugin-with-a-long-name 1.0) is for interface 99 of the harness"
    assert said.replace(" ", "") in flat
    assert "left out:" not in harness_command("plugins", "--wide").out


def test_what_a_plugin_offers_is_shown_with_its_interface_and_check(harness_command, install):
    install(OFFER.format("toy_pooling"))
    shown = harness_command("show", "toy_pooling", "--json").rows[0]
    assert (shown["distribution"], shown["interface"], shown["checked"]) == (
        "toy 1.0",
        "not declared",
        "not checked",
    )
    assert harness_command("show", "max", "--json").rows[0]["interface"] == 1


def test_no_registry_is_asked(harness_command, monkeypatch):
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert harness_command("plugins").code == 0


def test_ls_plugins_lists_the_same(harness_command, install):
    install(OFFER.format("one"), name="one")
    install("raise RuntimeError('no')", name="broken")
    rows = [json.loads(line) for line in harness_command("plugins", "--json").out.splitlines()]
    listed = harness_command("ls", "plugins", "--json").rows
    same = [(row["name"], row["distribution"], row["summary"], row["status"]) for row in rows]
    assert [(row["name"], row["origin"], row["summary"], row["status"]) for row in listed] == same


def test_a_plugin_is_checked_once_its_checks_were_run(harness_command, install):
    install(
        "HARNESS_API = 1\nimport harness\ndef make():\n"
        "    return lambda values, offsets: values[offsets[:-1]].clone()\n"
        "@harness.hookimpl\ndef harness_poolings():\n"
        "    return [harness.PoolingSpec(name='first', summary='the first token', make=make)]\n"
    )
    checked = harness_command("check", "toy", "--json")
    passed = sum(row["status"] == "passed" for row in checked.rows)
    assert passed, checked.err
    rows = {row["name"]: row for row in harness_command("plugins", "--json").rows}
    assert (
        f": {passed} passed" in str(rows["toy"]["checked"]) and rows["poolings"]["checked"] == "not checked"
    )


def test_a_check_of_one_offer_is_none_of_its_plugin(harness_command, install):
    install("HARNESS_API = 1\n" + OFFER.format("toy_pooling"))
    harness_command("check", "toy_pooling")
    rows = {row["name"]: row for row in harness_command("plugins", "--json").rows}
    assert rows["toy"]["checked"] == "not checked"
