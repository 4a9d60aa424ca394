"""What all tests share: no network, a cache of their own, the command line, and toy plugins on disk."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"  # before any hub client is imported


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty feature cache for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@dataclass(frozen=True)
class Result:
    """What one command did: its exit code, and all it wrote."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """The lines on stderr that are not empty."""
        return [line for line in self.err.splitlines() if line.strip()]

    @property
    def rows(self) -> list[dict[str, object]]:
        """The lines on stdout, as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


Harness = Callable[..., Result]


@pytest.fixture
def harness_command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Harness:
    """`harness_command("ls", "tasks")` in this process, in an empty folder, without settings of the user's."""
    from harness.cli import execute

    for name in ("HARNESS_PLUGINS", "HARNESS_DATA_DIR", "HARNESS_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        code = execute([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return call


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(source)` puts a distribution with one module on the path, here and in child processes.

    A folder with `<module>.py` and `<name>-1.0.dist-info`, so that real entry points are read.
    """
    installed: list[str] = []

    def put(source: str, *, name: str = "toy", module: str | None = None, points: str | None = None) -> Path:
        module = module or f"{name.replace('-', '_')}_module"
        folder = tmp_path / f"site-{name}"
        about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        about.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source, "utf-8")
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
        (about / "entry_points.txt").write_text(f"[harness]\n{points or f'{name} = {module}'}\n", "utf-8")
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        monkeypatch.syspath_prepend(str(folder))
        installed.append(module)
        return folder

    yield put
    for module in installed:
        sys.modules.pop(module, None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """`write("a.yaml", text)` gives the path of a new file."""

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return put


@pytest.fixture
def toy_task(write: Callable[[str, str], Path]) -> Path:
    """A task file with 40 rows that words alone tell apart; 12 of them are test rows."""
    rows = [
        {
            "text": f"{'good fine lovely' if row % 2 else 'bad awful nasty'} thing number {row}",
            "label": "good" if row % 2 else "bad",
            "split": "test" if row < 12 else "train",
        }
        for row in range(40)
    ]
    write("toy.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    return write(
        "toy_task.yaml",
        "name: toy_task\nsource: {file: toy.jsonl}\nlicence: CC0\ncitation: none\n"
        "columns: {input: text, label: label, split: split}\n",
    )


@pytest.fixture
def toy_suite(write: Callable[[str, str], Path]) -> Path:
    """A suite over the toy task that takes about a second: one model, one site, two cells."""
    return write(
        "toy_suite.yaml",
        "name: toy\nversion: 1\ntasks: [toy_task]\n"
        "models: [{ref: minigemma-s, sites: [resid_post.1]}]\n"
        "representations: [hidden, majority]\npoolings: [mean]\ntransforms: [none]\n"
        "classifiers: [logreg]\nseeds: 1\n",
    )
