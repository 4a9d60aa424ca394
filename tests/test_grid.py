"""Grids of classifiers: what the grid fills needs no default, and a grid that cannot be tried is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PLUGIN = """
import harness

HARNESS_API = 1


class Nearest:
    def __init__(self, n, power): self.n, self.power = n, power
    def fit(self, X, y):
        from sklearn.neighbors import KNeighborsClassifier
        self.own = KNeighborsClassifier(self.n, p=self.power[0], algorithm="brute").fit(X, y)
        return self
    def predict_proba(self, X): return self.own.predict_proba(X)


class Grid(Nearest):
    def fit_grid(self, X, y, points):
        for point in points:
            yield Nearest(point["n"], self.power).fit(X, y)


def make_nearest(*, n: int, power: tuple[int, ...] = (2,)): return Nearest(n, power)
def make_grid(*, n: int, power: tuple[int, ...] = (2,)): return Grid(n, power)
def make_powers(*, n: int, power): return Nearest(n, power)


@harness.hookimpl
def harness_classifiers():
    return [
        harness.ClassifierSpec(name="nearest", summary="k nearest", make=make_nearest, grid={"n": (3, 1, 15)}),
        harness.ClassifierSpec(name="nearest_at_once", summary="k nearest", make=make_grid, grid={"n": (3, 1, 15)}),
        harness.ClassifierSpec(
            name="nearest_by_power", summary="k nearest", make=make_powers, grid={"n": (3,), "power": ((2,), (1,))}),
    ]
"""
CLASSIFIERS = ("nearest", "nearest_at_once", "nearest_by_power", "nearest(n=7)")
SUITE = f"""
name: grid
version: 1
tasks: [quickstart_tone]
models: []
representations: [text_length]
classifiers: [{", ".join(CLASSIFIERS)}]
limit: 240
"""


@pytest.fixture
def suite(install, tmp_path: Path) -> Path:
    install(PLUGIN)
    path = tmp_path / "grid.yaml"
    path.write_text(SUITE, "utf-8")
    return path


def read_records(run: Path) -> dict[str, dict[str, object]]:
    lines = (run / "results.jsonl").read_text("utf-8").splitlines()
    return {record["classifier"]: record for record in map(json.loads, lines)}


def test_a_parameter_without_default_is_filled_by_its_grid(harness_command, suite, tmp_path):
    for command in ("plan", "validate"):
        told = harness_command(command, suite)
        assert told.code == 0, told.err
    run = harness_command("run", suite, "-d", "cpu", "-o", tmp_path / "run")
    assert run.code == 0, run.err
    records = read_records(tmp_path / "run")
    assert [records[name]["status"] for name in CLASSIFIERS] == ["ok"] * 4
    assert [records[name]["tried"] for name in CLASSIFIERS] == [3, 3, 2, 1]
    chosen = records["nearest"]["classifier_params"]
    assert chosen == records["nearest_at_once"]["classifier_params"] and chosen["n"] in (3, 1, 15)
    assert records["nearest"]["predictions_hash"] == records["nearest_at_once"]["predictions_hash"]
    assert records["nearest(n=7)"]["classifier_params"] == {"n": 7, "power": [2]}
    assert len({records[name]["cell_id"] for name in CLASSIFIERS}) == 4
    checked = harness_command("validate", tmp_path / "run", "--json")
    assert [
        row for row in checked.rows if "was tried with" in json.dumps(row) or "takes:" in json.dumps(row)
    ] == []


def test_where_nothing_can_be_chosen_the_first_value_of_the_grid_serves(harness_command, suite, tmp_path):
    (tmp_path / "one.yaml").write_text(
        "name: one_item\nversion: 1\nsource: {file: one.csv}\nlanguages: [en]\nlicence: none\ncitation: none\n"
        "columns: {input: input, label: label, split: split}\n",
        "utf-8",
    )
    # Too few rows for two folds: one training row of each class.
    rows = ["input,label,split", "aa,a,train", "b b b,b,train"]
    rows += [f"{'x ' * number},{'ab'[number % 2]},test" for number in range(1, 9)]
    (tmp_path / "one.csv").write_text("\n".join(rows), "utf-8")
    run = harness_command(
        "run", suite, "--include", tmp_path / "one.yaml", "-t", "one_item", "-d", "cpu", "-o", tmp_path / "run",
        "--set", "classifiers=[{name: nearest_by_power, n: 1}]", "--set", "limit=null",
    )  # fmt: skip
    assert run.code == 0, run.err
    (record,) = read_records(tmp_path / "run").values()
    assert record["selected_on"] == "nothing" and record["classifier_params"] == {"n": 1, "power": [2]}


def test_such_a_parameter_is_shown_as_what_it_is(harness_command, suite):
    shown = harness_command("show", "nearest", "--json").rows[0]
    assert shown["parameters"] == {"n": "from its grid", "power": [2]} and shown["grid"] == {"n": [3, 1, 15]}


BROKEN = {
    "{'k': (1, 2)}": "with a grid of 'k', which is no parameter of its factory that a suite may set; it takes: n",
    "{'seed': (1, 2)}": "with a grid of 'seed', which is no parameter of its factory that a suite may set",
    "{'n': ()}": "with a grid of 'n' that is no tuple of one value or more",
    "{'n': 3}": "with a grid of 'n' that is no tuple of one value or more",
    "{'n': 'abc'}": "with a grid of 'n' that is no tuple of one value or more",
    "{'n': (1, float('nan'))}": "with a grid of 'n' with values that cannot identify a result: nan is not",
    "{'n': ({1, 2},)}": "with a grid of 'n' with values that cannot identify a result: unsupported type",
    "('n', 3)": "whose grid is no mapping of names to tuples: ",
}


@pytest.mark.parametrize("grid", BROKEN)
def test_a_grid_that_cannot_be_tried_leaves_its_plugin_out(grid, harness_command, install):
    install(
        "import harness\ndef make(*, n, seed=0): return None\n@harness.hookimpl\ndef harness_classifiers():\n"
        f"    return [harness.ClassifierSpec(name='toy_classifier', summary='', make=make, grid={grid})]\n"
    )
    listed = harness_command("ls", "classifiers")
    assert listed.code == 0 and "toy_classifier" not in listed.out
    (line,) = listed.said
    assert (
        f"offers 'toy_classifier' in its hook 'harness_classifiers'{',' * BROKEN[grid].startswith('whose')} "
        in line
    )
    assert BROKEN[grid] in line
