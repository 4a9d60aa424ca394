"""Tests at the floors: `make floors` (network, 7 GB in a temporary folder).

Makes an environment in which every dependency of pyproject.toml is as old as its `>=` allows, and runs the tests that
touch dependencies most: files, identities, models, classifiers, figures, boards. Arguments are those of pytest and take
the place of these files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "accelerate",
    "datasketch",
    "gguf",
    "grimp",
    "hatchling",
    "hypothesis",
    "jsonschema",
    "pytest",
    "pytest-benchmark",
)
MORE_TOOLS = ("ruff", "pytest-timeout", "pytest-xdist", "statsmodels", "zstandard")
TESTS = (
    *(
        "records",
        "schema",
        "migration",
        "suite",
        "identity",
        "plan_identity",
        "quickstart",
        "images",
        "image_data",
    ),
    *(
        "pictures",
        "data",
        "store",
        "classifiers",
        "logistic_path",
        "metrics",
        "stats",
        "featurize",
        "memory",
        "export",
    ),
    *(
        "transformers_models",
        "gemma_3_models",
        "open_clip_models",
        "vision_language_models",
        "gguf",
        "chat",
        "bos",
    ),
    *("tokens", "hub", "dictionary_formats", "poolings", "leaderboard", "plots", "packaging", "transforms"),
)


def read_floors() -> list[str]:
    """Return `name==version` for each dependency, from its `>=`; end with a message where one has none."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    for dependency in dependencies:
        if not re.fullmatch(r"[\w.-]+>=[\w.]+", dependency):
            sys.exit(
                f"'{dependency}' in pyproject.toml is not NAME>=VERSION, so it has no floor that can be tried"
            )
    return [dependency.replace(">=", "==") for dependency in dependencies]


def main() -> int:
    """Make the environment, print what is in it, and return the exit code of the tests in it."""
    tests = sys.argv[1:] or [f"tests/test_{name}.py" for name in TESTS]
    with tempfile.TemporaryDirectory(prefix="floors-") as folder:
        venv.create(Path(folder) / "venv", with_pip=True)
        python = f"{folder}/venv/bin/python"
        install = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            *read_floors(),
            *TOOLS,
            *MORE_TOOLS,
            "-e",
            str(ROOT),
        ]
        subprocess.run(install, check=True)
        subprocess.run([python, "-m", "pip", "list", "--format", "freeze"], check=True)
        chosen = ["-m", "not gpu and not slow and not long", "--benchmark-skip", "-p", "no:cacheprovider"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.run([python, "-m", "pytest", *chosen, *tests], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
