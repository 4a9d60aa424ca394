"""The shape of the core: rooms on floors, no import that climbs back, nothing too long to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from structure import find_circles, find_climbs, imports, read_layers, read_modules

ROOT = Path(__file__).parents[1]
MODULES = read_modules(ROOT)
GRAPH = {name: imports(module, MODULES) for name, module in MODULES.items()}


def test_no_modules_import_one_another_in_a_circle():
    assert find_circles(GRAPH) == []


def test_no_import_climbs_back_up_the_floors_of_the_contract():
    assert find_climbs(GRAPH, read_layers(ROOT)) == []


def test_every_room_is_on_a_floor_of_the_contract():
    rooms = {name.split(".")[1] for name in MODULES if "." in name} - {"__main__"}
    floors = {part.strip() for layer in read_layers(ROOT) for part in layer.replace("|", ":").split(":")}
    assert {f"harness.{room}" for room in rooms} == floors


def test_a_climb_and_a_circle_are_found():
    graph = {"harness.a.x": {"harness.b.y"}, "harness.b.y": {"harness.a.x"}, "harness.c": set()}
    assert find_climbs(graph, ["harness.a", "harness.b | harness.c"]) == [("harness.b.y", "harness.a.x")]
    assert find_circles(graph) == [["harness.a.x", "harness.b.y"]]


@pytest.mark.parametrize(
    "room", sorted(path.parent.name for path in (ROOT / "harness").glob("*/__init__.py"))
)
def test_every_room_says_what_it_is_for(room):
    assert len((MODULES[f"harness.{room}"].tree.body[0].value.value).split()) >= 12  # type: ignore[attr-defined]


def test_no_class_is_longer_than_two_hundred_lines():
    assert [
        span for module in MODULES.values() for span in module.spans((ast.ClassDef,)) if span[0] > 200
    ] == []
