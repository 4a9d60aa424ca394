"""The documentation: its links lead somewhere, and its commands exist with the options they are given."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import urllib.parse
from pathlib import Path

import click
import pytest
import yaml
from markdown_it import MarkdownIt

from harness.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("leaderboards/*.md")])


def commands(page: Path) -> list[str]:
    """Return the `harness` command lines of a page's console blocks, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ harness ")]


LINES = [(page, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page.name}-{line[10:50]}" for page, line in LINES])
def test_every_command_of_the_documentation_can_be_parsed(page, line):
    _, *arguments = shlex.split(line, comments=True)
    with click.Context(cli, info_name="harness", **cli.context_settings) as context:
        cli.parse_args(context, list(arguments))
        rest = list(context.protected_args if hasattr(context, "protected_args") else [])
    name, *options = rest + list(context.args)
    command = cli.get_command(context, name)
    assert command is not None, line
    while isinstance(command, click.Group):
        name, *options = options
        command = command.get_command(context, name)
        assert command is not None, line
    command.make_context(name, options, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [one for one in targets if "://" not in one and not (page.parent / one).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_table_stands_in_a_list(page):
    """A code host shows such a list whole; the site ends it at the table (Python-Markdown 3.11)."""
    depth, tables = 0, []
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8")):
        depth += token.nesting if token.type.startswith("list_item_") else 0
        tables += [token.map] if depth and token.type == "table_open" else []
    assert tables == []


def test_the_readme_can_be_read_in_four_minutes():
    assert len((ROOT / "README.md").read_text("utf-8").split()) < 900


def test_the_page_of_rooms_names_every_room_on_its_floor():
    from structure import read_layers

    text = (ROOT / "docs/where-does-my-change-go.md").read_text("utf-8")
    table = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    for floor, layer in enumerate(reversed(read_layers(ROOT))):
        rooms = {part.strip().removeprefix("harness.") for part in layer.split("|")}
        assert rooms == {
            name.removesuffix(".py") for name in re.findall(r"`([^`]+)`", table[floor].split("|")[2])
        }


def test_the_page_of_dictionaries_names_sites_as_they_are_read():
    import harness

    text = (ROOT / "docs/dictionaries.md").read_text("utf-8")
    rows = [
        line.split("|") for line in text.split("## Sites")[1].split("\n## ")[0].splitlines() if "| `" in line
    ]
    for _, site, *names in rows:
        for name in re.findall(r"`([^`]+)`", " ".join(names)):
            assert str(harness.find_site(name)) == site.strip(" `"), name


def test_the_page_of_dictionaries_names_every_field_of_a_declaration_and_every_format():
    from harness_saes.formats import FORMATS
    from harness_saes.plain import Declared

    text = (ROOT / "docs/dictionaries.md").read_text("utf-8")
    table = text.split("## Your own tensors")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == list(Declared.model_fields)
    formats = text.split("## Formats")[1].split("\n## ")[0]
    for kind in FORMATS:
        configs = {name.removeprefix("../") for name in kind.configs}
        for word in (kind.name.removeprefix("the dictionaries of ").split("'")[0], *configs):
            assert word in formats, (kind.name, word)


GEMMA = ROOT / "leaderboards/gemma-real"


def test_addresses_in_the_guide_to_a_board_select_lines_of_the_page():
    page = (GEMMA / "leaderboard.html").read_text("utf-8")
    data = re.search(r'id="board">(.*?)</script>', page, flags=re.DOTALL)
    assert data is not None
    tables = {table["name"]: table for table in json.loads(data[1])["tables"]}
    guide = (ROOT / "docs/reading-a-board.md").read_text("utf-8")
    addresses = re.findall(r"leaderboard\.html#tables\?(view=[a-z]+\S*)", guide)
    assert len(addresses) == 3
    for address in addresses:
        asked = dict(urllib.parse.parse_qsl(address))
        table = tables[asked.pop("view")]
        columns = {one["key"]: one for one in table["columns"]}
        shown = [*asked.pop("columns", "").split(","), asked.pop("sort", "").removeprefix("-")]
        assert set(filter(None, shown)) <= columns.keys()
        for key, value in asked.items():
            assert columns[key]["filter"] and value in table["values"][key]["texts"], (key, value)


INTERVAL = re.compile(r"[−+]?[0-9]?\.[0-9]{3} \[[−+]?\.[0-9]{3}, [−+]?\.[0-9]{3}\]")


@pytest.mark.parametrize(
    ("page", "section"),
    [
        ("README.md", "What comes out"),
        ("leaderboards/README.md", "What the real model says"),
        ("docs/reading-a-board.md", "Ten questions of a critical reader"),
        ("docs/guides/statistics.md", "A worked example"),
    ],
)
def test_what_is_said_of_the_real_model_is_on_its_board(page: str, section: str) -> None:
    """Every estimate with an interval, but for a sign that the words around it have turned."""
    paths = [*GEMMA.rglob("leaderboard*.md"), *GEMMA.rglob("leaderboard.html")]
    board = "\n".join(path.read_text("utf-8") for path in paths)
    published = {re.sub("[−+]", "", found) for found in INTERVAL.findall(board)}
    text = (ROOT / page).read_text("utf-8").partition(f"## {section}\n")[2].partition("\n## ")[0]
    said = INTERVAL.findall(" ".join(text.split()))
    assert len(said) > 4 and [one for one in said if re.sub("[−+]", "", one) not in published] == []


def test_the_worked_example_of_the_statistics_is_on_the_board() -> None:
    text = (ROOT / "docs/guides/statistics.md").read_text("utf-8").partition("## A worked example\n")[2]
    with (GEMMA / "leaderboard-tasks.csv").open(encoding="utf-8") as file:
        rows = {(row["task"], row["model"], row["representation"]): row for row in csv.DictReader(file)}
    row = rows["hatecheck", "gemma-3-270m[max_length=256]", "gemma-3-270m-scope"]
    number = {name: f"{float(row[name]):.3f}".lstrip("0") for name in ("macro_f1", "p_value", "detectable")}
    assert f"its p-value is {number['p_value']}" in text and row["outcome"] == "tied"
    assert f"detectable difference is\n{number['detectable']}" in text
    assert f"features of its dictionary {number['macro_f1']} [" in text
    assert float(row["detectable"]) > float(row["delta_vs_hidden"])
    assert "| hatecheck | 310 |" in (GEMMA / "leaderboard.md").read_text("utf-8")


CLUSTER = ROOT / "docs/cluster.md"


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)


def test_the_manifest_of_a_cluster_runs_a_command_with_its_environment_and_gpus() -> None:
    (job,) = map(yaml.safe_load, blocks(CLUSTER, "yaml"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    (workers,) = spec["workerGroupSpecs"]
    ((head,), (worker,)) = (one["template"]["spec"]["containers"] for one in (spec["headGroupSpec"], workers))
    assert head["image"] == worker["image"] and head["envFrom"] == worker["envFrom"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"]
    assert spec["rayVersion"] in blocks(CLUSTER, "dockerfile")[0]
    assert shlex.split(job["spec"]["entrypoint"])[:2] == ["harness", "run"]


@pytest.mark.parametrize("script", blocks(CLUSTER, "bash"))
def test_a_script_of_the_page_on_clusters_can_be_read_by_a_shell(script: str) -> None:
    read = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (read.returncode, read.stderr) == (0, "")
