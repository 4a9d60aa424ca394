"""The package from outside: public names, what importing costs, entry points, and what a wheel holds."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

PUBLIC = [
    "Alignment",
    "AlignmentSpec",
    "BatchStats",
    "BundleStats",
    "Classifier",
    "ClassifierSpec",
    "Columns",
    "Conversation",
    "DataError",
    "Dictionary",
    "Encoder",
    "Examples",
    "FileSource",
    "GateError",
    "HarnessError",
    "HubSource",
    "Image",
    "ImageModel",
    "InputRepresentation",
    "LanguageModel",
    "LoadedImageModel",
    "LoadedModel",
    "Located",
    "Message",
    "MissingError",
    "Model",
    "ModelSpec",
    "Multilingual",
    "NothingSelectedError",
    "Partition",
    "Pooling",
    "PoolingSpec",
    "RankedPooling",
    "Regime",
    "RegimeSpec",
    "RepresentationSpec",
    "Session",
    "Site",
    "SplicedModel",
    "Summary",
    "TaskSpec",
    "TokenRepresentation",
    "Tokens",
    "Transform",
    "TransformSpec",
    "UsageError",
    "Weighted",
    "WriteError",
    "decode_image",
    "did_you_mean",
    "hash_file",
    "hash_json",
    "hookimpl",
    "open",
    "read_image",
]


def test_the_public_names_are_these_and_sorted():
    assert harness.__all__ == PUBLIC
    assert harness.__all__ == sorted(harness.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(harness, name).__doc__ or name == "hookimpl"


def test_there_is_no_other_public_name():
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'opne'"):
        harness.opne  # noqa: B018


HEAVY = ("torch", "transformers", "pydantic", "sklearn", "pandas", "datasets", "scipy", "numpy")


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import harness", HEAVY),
        ("from harness import *", ()),
        ("from harness.cli import execute; execute(['--help'])", HEAVY),
        ("from harness.cli import execute; execute(['--version'])", HEAVY),
        ("from harness.cli import execute; execute(['run', '--help'])", HEAVY),
        ("from harness.cli import execute; execute(['ls', 'tasks'])", HEAVY[:2]),
        ("from harness.cli import execute; execute(['ls', 'plugins'])", HEAVY[:2]),
        ("from harness.cli import execute; execute(['show', 'logreg'])", HEAVY[:2]),
    ],
)
def test_what_only_lists_imports_nothing_heavy(code, heavy, own_cache):
    asked = f"{code}; import sys; print('\\n' + ' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=own_cache)
    assert ended.returncode == 0, ended.stderr
    assert not set(ended.stdout.splitlines()[-1].split()) & set(heavy)


def test_the_installed_entry_points_are_those_of_pyproject():
    installed = {
        point.name: point.value
        for point in distribution("sae-harness").entry_points
        if point.group == "harness"
    }
    assert installed == PYPROJECT["project"]["entry-points"]["harness"], (
        "the entry points of pyproject.toml are not those installed: run `pip install -e .` again"
    )


def test_every_plugin_and_task_package_has_an_entry_point():
    packages = {
        path.parent.name for folder in ("plugins", "tasks") for path in (ROOT / folder).glob("*/__init__.py")
    }
    assert set(PYPROJECT["project"]["entry-points"]["harness"].values()) == packages


def test_all_built_in_plugins_load_without_fault():
    from harness.plugins import find_candidates, load_plugins

    plugins = load_plugins(find_candidates(only=PYPROJECT["project"]["entry-points"]["harness"]))
    assert plugins.faults == ()
    assert {plugin.name for plugin in plugins.loaded} == set(PYPROJECT["project"]["entry-points"]["harness"])


def test_python_dash_m_harness_is_the_command(own_cache):
    ended = subprocess.run(
        [sys.executable, "-m", "harness", "ls", "tasks", "--json"],
        capture_output=True,
        text=True,
        cwd=own_cache,
    )
    assert ended.returncode == 0
    assert "quickstart_tone" in {json.loads(line)["name"] for line in ended.stdout.splitlines()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: pip install hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    ended = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path).namelist()


@pytest.mark.slow
def test_the_wheel_holds_harness_and_its_plugins_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel}
    (about,) = (top for top in tops if top.endswith(".dist-info"))
    packages = set(PYPROJECT["project"]["entry-points"]["harness"].values())
    assert tops == {"harness", about, *packages}
    assert not [name for name in wheel if "__pycache__" in name or name.endswith(".pyc")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "harness_minigemma/weights/minigemma-s/model.safetensors",
        "harness_minigemma/weights/minigemma-s/config.json",
        "harness_minigemma/weights/minigemma-s/tokenizer.json",
        "harness_minigemma/weights/miniclip/open_clip_model.safetensors",
        "harness_minigemma/weights/minipaligemma/model.safetensors",
        "harness_quickstart/data/quickstart_tone.jsonl",
        "harness_vision/data/digits.parquet",
        "harness_quickstart/suites/quickstart.yaml",
        "harness_text/suites/safety-text.yaml",
    ],
)
def test_the_wheel_holds_the_data_that_plugins_read(wheel, name):
    assert name in wheel
