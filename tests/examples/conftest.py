"""A fresh environment with the wheels of the harness and of every example: `make test-examples` makes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/pyproject.toml"))


@pytest.fixture(scope="session", autouse=True)
def asked_for() -> None:
    """Skip all tests of this folder unless HARNESS_EXAMPLES is set, before the environment is made."""
    if not os.environ.get("HARNESS_EXAMPLES"):
        pytest.skip("`make test-examples` installs the examples in a fresh environment")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Fail what is skipped for another reason: an example that nobody ran is no example."""
    report = yield
    if os.environ.get("HARNESS_EXAMPLES") and report.skipped:
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report


@dataclass(frozen=True)
class Fresh:
    """A fresh environment, and an empty folder to work in."""

    folder: Path
    work: Path

    def run(self, *words: str, at: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, which must end well."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("HARNESS", "PYTHON"))
        }
        binaries = self.folder / "bin"
        own |= {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "HARNESS_CACHE_DIR": str(self.folder / "cache"),
            "HF_HUB_OFFLINE": "1",
        }
        program = str(binaries / words[0])
        ended = subprocess.run(
            [program, *words[1:]], cwd=at or self.work, env=own, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"{words}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
        return ended


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """The environment. Libraries that are installed here are linked; pip fetches what is not, as MLflow."""
    home = tmp_path_factory.mktemp("fresh")
    wheels = home / "wheels"
    for folder in (ROOT, *(ROOT / "examples" / name for name in EXAMPLES)):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
        ended = subprocess.run(build, cwd=folder, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
    venv.create(home / "env", with_pip=True)
    (here,) = (home / "env" / "lib").glob("python*/site-packages")
    linked = [path for path in sys.path if Path(path).name == "site-packages"]
    # A folder that a .pth file names is not searched for such files itself: no checkout of the harness comes with it.
    (here / "linked.pth").write_text("\n".join(linked) + "\n")
    work = home / "work"
    work.mkdir()
    made = Fresh(home / "env", work)
    made.run("python", "-m", "pip", "install", "--quiet", *map(str, sorted(wheels.glob("*.whl"))))
    made.run("python", "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", "pytest")
    return made


@pytest.fixture
def copied(fresh: Fresh, tmp_path: Path):
    """`copied(name)` is a folder with the tests of an example, and without its package: that is installed."""

    def copy(name: str) -> Path:
        source = ROOT / "examples" / name
        shutil.copytree(source / "tests", tmp_path / name / "tests")
        shutil.copy(source / "pyproject.toml", tmp_path / name)
        return tmp_path / name

    return copy
