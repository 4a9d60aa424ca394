"""Checks of plugins: kept in the cache, and only for the files that were checked."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import harness
from harness.registry.checked import Checked, describe_checked, read_checked, write_checked
from harness.registry.loading import Plugin, find_candidates, load_plugins

SOURCE = """
import harness

@harness.hookimpl
def harness_poolings():
    return [harness.PoolingSpec(name="toy_pooling", summary="a toy", make=lambda: None)]
"""
CHECKED = Checked(harness="0.1.0", interface=1, day="2026-12-02", passed=43, failed=0, skipped=2)


def same(plugin: Plugin, cache_dir: Path | None = None) -> bool:
    """Whether a plugin's check is CHECKED, of the files that it has."""
    assert plugin.source
    return read_checked(plugin, cache_dir) == replace(CHECKED, files=plugin.source.digest)


def load(*names: str, modules: tuple[str, ...] = ()) -> Plugin:
    (plugin,) = load_plugins(find_candidates(only=set(names), modules=modules)).loaded
    return plugin


def test_a_check_is_kept_until_a_file_of_the_plugin_changes(install, own_cache):
    folder = install(SOURCE)
    assert read_checked(load("toy")) is None and describe_checked(load("toy")) == "not checked"
    write_checked(load("toy"), CHECKED)
    assert same(load("toy"))
    assert describe_checked(load("toy")) == "checked 2026-12-02 by harness 0.1.0: 43 passed, 2 skipped"
    plugin = load("toy")
    path = folder / "toy_module.py"
    before = path.stat()
    path.write_text(SOURCE + "# edited\n", "utf-8")
    assert read_checked(plugin) is None and describe_checked(plugin) == "checked before its files changed"
    with pytest.raises(harness.UnavailableError, match="was edited after it was imported"):
        write_checked(plugin, CHECKED)
    path.write_text(SOURCE, "utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert same(load("toy"))


def test_plugins_that_are_installed_loaded_and_of_the_harness_each_have_their_own(
    install, tmp_path, monkeypatch, own_cache
):
    install(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "toy_file.py").write_text(SOURCE, "utf-8")
    plugins = [load("toy"), load(modules=("toy_file",)), load("poolings"), load("classifiers")]
    for number, plugin in enumerate(plugins):
        write_checked(plugin, replace(CHECKED, passed=number))
    found = [read_checked(plugin) for plugin in plugins]
    assert [checked and checked.passed for checked in found] == [0, 1, 2, 3]


def test_another_cache_knows_nothing_of_it(install, tmp_path):
    install(SOURCE)
    write_checked(load("toy"), CHECKED, tmp_path / "one")
    assert same(load("toy"), tmp_path / "one")
    assert read_checked(load("toy"), tmp_path / "two") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "{", '{"harness": 1}', json.dumps({"passed": "many", "harness": "0.1.0"})]
)
def test_a_damaged_check_is_none(text, install, own_cache: Path):
    install(SOURCE)
    write_checked(load("toy"), CHECKED)
    (path,) = own_cache.glob("checked/*/*.json")
    path.write_text(text, "utf-8")
    assert describe_checked(load("toy")) == "not checked"


def test_a_check_that_failed_says_so(install):
    install(SOURCE)
    write_checked(load("toy"), replace(CHECKED, failed=1))
    assert describe_checked(load("toy")).endswith(": 43 passed, 1 failed, 2 skipped")
