"""Command `harness plugins`: list plugins with version, interface, and whether they are loaded and were checked."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from harness.cli.options import json_option, open_registry, wide_option
from harness.cli.streams import echo
from harness.cli.tables import Column, print_note, print_table
from harness.registry.listing import Listed, list_plugins

COLUMNS = (
    Column(head="plugin", is_name=True),
    Column(head="distribution", is_name=True),
    Column(head="interface"),
    Column(head="status"),
    Column(head="checked", is_name=True),
)
IMPORTANCE: tuple[str, ...] = ()
"""Columns that a narrow terminal lacks: none."""


@click.command("plugins")
@json_option
@wide_option
@click.pass_context
def command(context: click.Context, as_json: bool, wide: bool) -> None:
    """List the plugins of all installed distributions, and those of -p. No registry of packages is asked.

    Each has its distribution with the version, the version of the interface that it declares, and whether it is loaded;
    and whether `harness check` was run on the files that it has now.
    """
    listed = list(list_plugins(open_registry(context)))
    if as_json:
        for one in listed:
            echo(json.dumps(asdict(one), ensure_ascii=False))
        return
    print_table(COLUMNS, map(_cells, listed), importance=IMPORTANCE, wide=wide)
    for one in listed:
        for problem in [one.summary] if one.status == "left out" else one.problems:
            print_note(f"plugin '{one.name}' ({one.distribution}) {problem}", wide=wide)


def _cells(one: Listed) -> tuple[str, ...]:
    interface = "not declared" if one.interface is None else str(one.interface)
    checked = "no" if one.checked == "not checked" else one.checked.removeprefix("checked ")
    return one.name, one.distribution, interface, one.status, checked
