"""Threads of numeric libraries: how they wait is said before the libraries are loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import harness
from harness.api.threads import let_threads_sleep

LOADED = "[one for one in ('numpy', 'sklearn', 'torch') if one in sys.modules]"


def python(code: str, **environment: str) -> str:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENBLAS_"))}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=known | environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_the_command_line_says_so_before_any_library_of_numbers_is_loaded() -> None:
    code = (
        f"import os, sys, harness.cli\nprint({LOADED})\nsys.argv = ['harness', 'version-that-is-no-command']\n"
        "try: harness.cli.main()\nexcept SystemExit: pass\n"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ['OPENBLAS_NUM_THREADS'])"
    )
    assert python(code).splitlines() == ["[]", "PASSIVE 1"]


def test_a_session_says_so_and_leaves_the_threads_of_other_work_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    harness.open(plugins=["no:vision"])
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_what_the_environment_says_already_is_kept() -> None:
    said = {"OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_NUM_THREADS": "3"}
    let_threads_sleep(said, whole_process=True)
    assert said == {"OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_NUM_THREADS": "3"}


def test_openblas_has_one_thread_where_the_whole_process_is_the_harness() -> None:
    code = (
        "from harness.api.threads import let_threads_sleep\nlet_threads_sleep(whole_process=True)\n"
        "import scipy.linalg, threadpoolctl\n"
        "print({one['num_threads'] for one in threadpoolctl.threadpool_info() if one['internal_api'] == 'openblas'})"
    )
    assert python(code) in ("{1}", "set()")  # a build of NumPy may have another library
