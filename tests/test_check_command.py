"""`harness check` and the plugin of pytest: what people see of the checks, and a plugin that hangs or dies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conformance_faults import GOOD

from harness.testing.checks import CHECKS

ROOT = Path(__file__).parents[1]
HANGS = "        import time\n        time.sleep(600)\n"
DIES = "        import os, signal\n        os.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.mark.slow
def test_the_command_says_what_it_runs_and_what_it_found_and_keeps_it(
    harness_command: Any, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(GOOD["poolings"].replace("floor: float", "floor"), name="tried")
    monkeypatch.setenv("HARNESS_PLUGINS", "tried")
    done = harness_command("check", "tried")
    assert done.code == 1
    assert done.said[0] == "harness: this runs the code of 'tried', in a process of its own, as you"
    whole, fault, own, last = done.out.splitlines()
    assert whole.startswith("plugin 'tried': ")
    assert fault.startswith("pooling 'floored', errors: failed: it takes floor='nonsense'")
    assert own.startswith("pooling 'floored': ")
    assert ", 1 failed" in last
    listed = harness_command("plugins", "--json").rows
    (own,) = [row for row in listed if row["name"] == "tried"]
    assert "1 failed" in str(own["checked"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        pytest.param(HANGS, "did not end within", marks=pytest.mark.long),
        pytest.param(DIES, "ended the process (SIGKILL)", marks=pytest.mark.long),
    ],
)
def test_a_check_that_hangs_or_dies_fails_and_the_others_are_run(
    harness_command: Any, install: Any, monkeypatch: pytest.MonkeyPatch, what: str, said: str
) -> None:
    install(_with(what), name="tried")
    monkeypatch.setenv("HARNESS_PLUGINS", "tried")
    done = harness_command("check", "floored", "--timeout", 25, "--json")
    assert done.code == 1
    (failed,) = [row for row in done.rows if row["status"] == "failed"]
    assert failed["check"] == "one-token"
    assert said in str(failed["sentence"])
    assert {row["check"] for row in done.rows} == {
        check.name for check in CHECKS if "poolings" in check.kinds
    }


@pytest.mark.slow
def test_what_rests_on_a_check_that_ended_the_process_is_not_run(
    harness_command: Any, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "    def __call__(self, values, offsets):\n"
    install(GOOD["poolings"].replace(head, f"{head}{DIES}"), name="tried")
    monkeypatch.setenv("HARNESS_PLUGINS", "tried")
    done = harness_command("check", "floored", "--json")
    assert {row["check"]: row["status"] for row in done.rows} == {
        "metadata": "passed",
        "errors": "passed",
        "contract": "failed",
    }


def _with(what: str) -> str:
    """A pooling that does this on one token alone."""
    head = "    def __call__(self, values, offsets):\n"
    inside = "".join(f"    {line}\n" for line in what.splitlines())
    return GOOD["poolings"].replace(head, f"{head}        if len(values) == 1:\n{inside}")


def test_a_name_that_nothing_has_is_one_sentence(
    harness_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", "poolings")
    done = harness_command("check", "maxx")
    assert done.code == 2
    assert (
        done.said[-1]
        == "harness: neither a plugin, a module nor an offer is called 'maxx'; did you mean 'max'?"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("poolings", " is not loaded: HARNESS_PLUGINS or -p no:poolings leaves it out"),
        ("sae-harness", "'sae-harness' is a distribution: check its plugins, "),
    ],
)
def test_an_installed_plugin_that_is_not_asked_for_and_a_distribution_are_one_sentence(
    harness_command: Any, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", "classifiers")
    done = harness_command("check", name)
    assert done.code == 2
    assert said in done.said[-1]


def test_a_module_that_cannot_be_loaded_is_one_sentence(
    harness_command: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "broken_module.py").write_text("import no_such_thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HARNESS_PLUGINS", "none")
    done = harness_command("check", "broken_module")
    assert done.code == 3
    assert "plugin 'broken_module'" in done.said[-1]
    assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'" in done.said[-1]


@pytest.mark.slow
def test_pytest_has_one_test_for_each_check(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD["transforms"])
    (tmp_path / "faulty.py").write_text(
        GOOD["alignments"].replace("ridge, 0.0", "ridge, 0.0\n        self.name = lambda: 'x'")
    )
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["harness.testing.pytest_plugin"]\n')
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nharness_plugins = ["good"]\n')
    environment = {
        **os.environ,
        "HARNESS_PLUGINS": "none",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-W",
                "error::DeprecationWarning",
            ),
            *("--harness-plugin", "faulty", "--harness-plugin", "./good.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    expected = sum("transforms" in one.kinds for one in CHECKS)
    assert "FAILED faulty::alignment 'ridge': pickles" in done.stdout
    assert "The rule: A fitted object can be pickled" in done.stdout
    assert "1 failed" in done.stdout.splitlines()[-1]
    assert int(done.stdout.splitlines()[-1].split(" passed")[0].rsplit(" ", 1)[-1]) > expected


def test_the_page_of_checks_is_that_of_the_code() -> None:
    """`docs/checks.md` lists every check of every kind with its rule."""
    text = (ROOT / "docs/checks.md").read_text("utf-8")
    rows = [
        tuple(part.strip() for part in line.strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    assert rows == [(f"`{one.name}`", ", ".join(one.kinds), one.rule) for one in CHECKS]


def _alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an installed script does, which does not look for modules in the working folder."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "harness", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "HARNESS_PLUGINS": "none", "PYTHONPATH": f"{ROOT}"},
    )


@pytest.mark.slow
def test_a_plugin_of_one_file_in_the_working_folder_is_found_by_its_name_and_by_its_path(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.py").write_text(GOOD["commands"])
    # Nor does a file of the folder hide a module of Python from the processes of the checks.
    (tmp_path / "random.py").write_text("raise ImportError('this is no module of Python')\n")
    (tmp_path / "elsewhere").mkdir()
    for folder, name in ((tmp_path, "own"), (tmp_path, "own.py"), (tmp_path / "elsewhere", "../own.py")):
        done = _alone(folder, "-p", name, "ls", "commands")
        assert done.returncode == 0, done.stderr
        assert re.search(r"^greet +own \(own@", done.stdout, re.MULTILINE)
    done = _alone(tmp_path, "check", "./own.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "4 passed"


@pytest.mark.parametrize("name", ["./own_package", "own_package/", "own_package/__init__.py", "own_package"])
def test_a_package_of_the_working_folder_is_loaded_whole_by_its_name_and_by_its_path(
    harness_command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_package", raising=False)
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package/__init__.py").write_text("from .inner import harness_commands\n")
    (tmp_path / "own_package/inner.py").write_text(GOOD["commands"])
    done = harness_command("-p", name, "ls", "commands")
    assert done.code == 0, done.err
    assert re.search(r"^greet +own_package \(own_package@", done.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("an-own.py", 2, "'an-own.py' has a name that no module can have: rename it"),
        ("json.py", 3, "another module is called 'json', and Python finds it first: rename 'json.py'"),
    ],
)
def test_a_file_that_cannot_be_imported_by_its_name_is_one_sentence(
    harness_command: Any, tmp_path: Path, name: str, code: int, said: str
) -> None:
    (tmp_path / name).write_text(GOOD["commands"])
    done = harness_command("-p", f"./{name}" if name == "json.py" else name, "ls", "commands")
    assert done.code == code
    assert said in done.said[-1]
    assert len(done.said) == 1
