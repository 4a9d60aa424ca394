"""`harness new`: every kind is a package that is clean, loads, passes its own tests, and goes where it is told."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.registry.catalog import OFFERED
from harness.scaffold.kinds import KINDS, TEMPLATES

pytest.importorskip("cookiecutter", reason="it is a dependency: pip install -e .")

LONG = "a_name-of-many-letters-that-is-forty-lon"
SHARED = {
    ".github/workflows/test.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "tests/conftest.py",
}


@pytest.fixture
def new(
    harness_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Path]]:
    """`new("pooling", "spread")` writes a package, puts it on the path, and returns its folder."""
    loaded = set(sys.modules)

    def make(kind: str, name: str, *more: object) -> Path:
        told = harness_command("new", kind, name, "--json", *more)
        assert told.code == 0, told.err
        folder = Path(told.rows[0]["path"]).resolve()
        monkeypatch.syspath_prepend(folder)
        return folder

    yield make
    for module in set(sys.modules) - loaded:
        if module.startswith("harness_"):
            del sys.modules[module]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def test_every_kind_is_known() -> None:
    without = {"commands", "dictionary_scores", "results"}
    assert {kind.offered for kind in KINDS.values()} == {*OFFERED, None} - without
    assert {path.name for path in TEMPLATES.iterdir()} == {"base", *KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_every_kind_is_loaded_and_offers_its_name(kind, new, harness_command):
    folder = new(kind, f"my-{kind}")
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    module = f"harness_my_{kind}"
    assert {*SHARED, f"{module}/__init__.py", f"{module}/py.typed", f"tests/test_{kind}.py"} <= written
    if (offered := KINDS[kind].offered) is not None:
        names = [row["name"] for row in harness_command("-p", module, "ls", offered, "--json").rows]
        assert f"my-{kind}" in names
    plugins = harness_command("-p", module, "ls", "plugins", "--json")
    assert module in {row["name"] for row in plugins.rows} and plugins.said == []
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == f"harness-my-{kind}"
    assert project["entry-points"]["harness"] == {f"my-{kind}": module}


def test_what_is_written_is_clean_whatever_the_name(harness_command, tmp_path):
    for kind in KINDS:
        for name in ("x", LONG):
            folder = tmp_path / "packages" / f"{kind}-{name}"
            assert harness_command("new", kind, name, "-o", folder).code == 0
            assert not [path for path in folder.rglob("*") if "cookiecutter" in str(path)]
            for path in filter(Path.is_file, folder.rglob("*")):
                assert not re.search(r"cookiecutter|\{%|[^$]\{\{", path.read_text("utf-8")), path
    for words in (("check",), ("format", "--check")):
        ended = run(tmp_path / "packages", sys.executable, "-m", "ruff", *words, "--no-cache", ".")
        assert ended.returncode == 0, ended.stdout


def try_package(folder: Path) -> str:
    """The package's own tests, which hold the checks of the harness too."""
    ended = run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_a_package_passes_its_own_tests_at_once(new):
    assert " passed" in try_package(new("regime", "my-regime"))


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy knows of the libraries, found once for all packages."""
    return tmp_path_factory.mktemp("types")


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_passes_its_own_tests_has_types_and_is_run_by_the_command_it_names(
    kind, new, harness_command, monkeypatch, types
):
    folder = new(kind, f"my-{kind}")
    module = f"harness_my_{kind}"
    try_package(folder)
    typed = run(folder, sys.executable, "-m", "mypy", "--cache-dir", str(types))
    assert typed.returncode == 0, typed.stdout
    (command,) = re.findall(
        r"^\$ harness ((?:run|autointerp) .*)$", (folder / "README.md").read_text("utf-8"), re.M
    )
    monkeypatch.chdir(folder)
    told = harness_command("-p", module, *shlex.split(command), "-d", "cpu")
    assert told.code == 0, told.err
    if kind == "explainer":
        (result,) = (folder / "runs" / "my-explainer").glob("autointerp-*.json")
        assert json.loads(result.read_text("utf-8"))["explainer"] == "my-explainer"
        return
    written = "".join(path.read_text("utf-8") for path in (folder / "runs").rglob("*.csv"))
    written += (folder / "runs" / f"my-{kind}" / "results.jsonl").read_text("utf-8")
    assert f"my-{kind}" in written or kind in ("observer", "executor")
    assert (folder / "runs" / "my-observer" / "my-observer.csv").is_file() == (kind == "observer")


def test_the_next_commands_are_printed(new, harness_command):
    told = harness_command("new", "pooling", "spread", "-o", "my folder")
    lines = [line.strip() for line in told.out.splitlines() if line.startswith("  ")]
    assert lines[:4] == [
        "cd 'my folder'",
        'pip install -e ".[dev]"',
        "pytest",
        "harness check harness_spread",
    ]
    assert lines[4].startswith("harness run quickstart ") and len(lines) == 5
    assert f"$ {lines[4]}\n" in Path("my folder/README.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Spread",
        "1x",
        "a b",
        "a--b",
        "a_",
        "../x",
        "harness-",
        "ä",
        "x" * 41,
        "{{x}}",
        "a.b",
        "on",
        "null",
    ],
)
def test_what_is_no_name_is_refused_in_one_sentence(name, harness_command, tmp_path):
    told = harness_command("new", "pooling", "--", name)
    assert told.code == 2 and len(told.said) == 1
    assert f"'{name}' cannot be the name of a package" in told.err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("pooling", "mean", "there is a pooling 'mean' already, of plugin 'poolings' (sae-harness "),
        ("suite", "quickstart", "there is a suite 'quickstart' already, of plugin 'quickstart'"),
        ("task", "text", "there is a plugin 'text' (sae-harness "),
        ("pooling", "harness_progress", "there is a plugin 'progress' (sae-harness "),
        ("task", "behaviour", "there is a plugin 'behaviour' (sae-harness "),
        ("regime", "open-clip", "there is a module 'harness_open_clip' already: choose another name"),
    ],
)
def test_a_name_that_something_has_already_is_refused(kind, name, sentence, harness_command, tmp_path):
    told = harness_command("new", kind, name)
    assert told.code == 2 and len(told.said) == 1 and sentence in told.err
    assert not any(tmp_path.iterdir())


def test_another_kind_may_have_the_name(new):
    assert (new("transform", "mean") / "harness_mean/__init__.py").is_file()


def test_a_folder_that_holds_something_is_kept_unless_it_is_replaced(new, harness_command):
    folder = new("pooling", "spread")
    (folder / "mine.txt").write_text("kept")
    (folder / "README.md").write_text("changed")
    told = harness_command("new", "pooling", "spread", "-o", folder)
    assert told.code == 2 and len(told.said) == 1  # it is on the path, so its module is there too
    told = harness_command("new", "transform", "other", "-o", folder)
    assert told.code == 2 and told.said == [f"harness: there is '{folder}' already: --replace"]
    assert (folder / "README.md").read_text() == "changed"
    new("pooling", "spread", "-o", folder, "--replace")
    assert (folder / "README.md").read_text().startswith("# harness-spread")
    assert (folder / "mine.txt").read_text() == "kept"


def test_an_empty_folder_is_filled(new, tmp_path):
    (tmp_path / "empty").mkdir()
    assert new("pooling", "spread", "-o", "empty") == tmp_path / "empty"


def test_a_place_that_cannot_be_written_is_one_sentence(harness_command, tmp_path):
    (tmp_path / "file").write_text("")
    for place, words in (("file", ["--replace"]), ("file/below", [])):
        told = harness_command("new", "pooling", "spread", "-o", place, *words)
        assert told.code == 3 and len(told.said) == 1 and "file" in told.err


def test_the_author_and_the_licence_are_those_given(new):
    author = 'Ada "the {{ first }}" O’Neill \\ Söhne'
    folder = new("pooling", "spread", "--author", author, "--licence", "mit")
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert (project["authors"], project["license"]) == ([{"name": author}], "MIT")
    assert (folder / "LICENSE").read_text("utf-8").startswith(f"MIT License\n\nCopyright (c) {author}\n")


def test_nobody_is_named_who_was_not_given(new):
    folder = new("pooling", "spread")
    assert "Copyright The authors of harness-spread" in (folder / "LICENSE").read_text("utf-8")
    text = (Path(__file__).parents[1] / "LICENSE").read_text("utf-8")
    written = (folder / "LICENSE").read_text("utf-8")
    assert [line for line in text.strip().splitlines() if line not in written] == [
        "   Copyright [yyyy] [name of copyright owner]"
    ]


@pytest.mark.parametrize("author", ["", " ", "two\nlines", "a\u202eb", "x" * 200])
def test_what_is_no_author_is_refused(author, harness_command):
    told = harness_command("new", "pooling", "spread", "--author", author)
    assert told.code == 2 and len(told.said) == 1 and "cannot be the name of an author" in told.err


def test_nothing_is_written_but_the_package(new, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    new("pooling", "spread")
    assert not any(home.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"home", "harness-spread"}


def test_modes_and_compiled_files_of_an_installation_stay_behind(new, tmp_path, monkeypatch):
    """As where an installer has compiled the templates, in a folder that only the superuser may write."""
    import shutil

    copy = tmp_path / "templates"
    shutil.copytree(TEMPLATES, copy)
    (copy / "pooling" / "package" / "__pycache__").mkdir()
    (copy / "pooling" / "package" / "__pycache__" / "x.pyc").write_bytes(b"\0")
    for path in copy.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr("harness.scaffold.package.TEMPLATES", copy)
    folder = new("pooling", "spread")
    assert not [*folder.rglob("__pycache__")]
    assert all(path.stat().st_mode & 0o200 for path in folder.rglob("*"))


def test_what_json_says_is_what_is_there(harness_command):
    (told,) = harness_command("new", "task", "own-task", "--json").rows
    folder = Path(told["path"])
    assert (told["kind"], told["name"], told["module"]) == ("task", "own-task", "harness_own_task")
    assert sorted(told["files"]) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    assert json.dumps(told["next"])
