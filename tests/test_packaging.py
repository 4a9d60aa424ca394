"""The package from outside: public names, what importing costs, entry points, and what a wheel holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import grimp
import pytest

import harness

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

PUBLIC = [
    "API_VERSION",
    "Activation",
    "Alignment",
    "AlignmentSpec",
    "Answer",
    "Answering",
    "AnsweringModel",
    "Autoencoder",
    "BatchFinished",
    "BundleFinished",
    "CellFinished",
    "ChangedError",
    "ChoiceScores",
    "Claim",
    "Classifier",
    "ClassifierSpec",
    "Columns",
    "CommandSpec",
    "Conversation",
    "DataError",
    "DerivedPooling",
    "Dictionary",
    "DictionaryScoreSpec",
    "Encoder",
    "Examples",
    "Executor",
    "ExecutorSpec",
    "Explainer",
    "ExplainerSpec",
    "FileSource",
    "Flagged",
    "Fragment",
    "GateError",
    "GridClassifier",
    "HarnessError",
    "HubFiles",
    "HubSource",
    "IdentifiedRepresentation",
    "Image",
    "ImageModel",
    "InputNorm",
    "InputRepresentation",
    "Judge",
    "LabelledTask",
    "LanguageModel",
    "LinearClassifier",
    "LoadedImageModel",
    "LoadedModel",
    "LossyStream",
    "Message",
    "Model",
    "ModelSpec",
    "Multilingual",
    "NotTestableError",
    "NothingSelectedError",
    "OpenExplainer",
    "OpenModel",
    "Opening",
    "Packed",
    "ParseError",
    "Partition",
    "Passage",
    "PlacedRepresentation",
    "Pool",
    "Pooling",
    "PoolingSpec",
    "PredictingModel",
    "Probed",
    "RankedPooling",
    "Regime",
    "RegimeSpec",
    "RepresentationSpec",
    "ResultModel",
    "ResultPage",
    "ResultSpec",
    "RunFinished",
    "RunStarted",
    "Score",
    "Session",
    "Simulator",
    "Site",
    "SpellingModel",
    "SplicedModel",
    "Summary",
    "TaskSpec",
    "TokenRepresentation",
    "Tokens",
    "Transform",
    "TransformSpec",
    "UnavailableError",
    "Unit",
    "UsageError",
    "Worker",
    "WorkerSetting",
    "Workplace",
    "WriteError",
    "cached_folder",
    "check_answering",
    "check_memory",
    "check_numbers",
    "check_unpacked",
    "check_writable",
    "csv_text",
    "decode_image",
    "describe",
    "did_you_mean",
    "escape_markdown",
    "exact_mcnemar",
    "find_site",
    "hash_file",
    "hash_json",
    "holm",
    "hookimpl",
    "is_offline",
    "load_decoder",
    "local_path",
    "locate",
    "markdown_table",
    "match_features",
    "name_some",
    "open",
    "open_parquet",
    "open_worker",
    "parse_input",
    "parse_json",
    "parsing",
    "path_inside",
    "plan_batches",
    "printable",
    "read_description",
    "read_image",
    "read_mapping",
    "read_result",
    "read_table",
    "read_unpacked",
    "read_yaml",
    "resolve_device",
    "run_batches",
    "score_choices",
    "short_names",
    "unchanged",
    "whole_file",
    "wilson_interval",
    "write_answers",
    "write_result",
]


def test_the_public_names_are_these_and_sorted():
    assert harness.__all__ == PUBLIC
    assert harness.__all__ == sorted(harness.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    # A literal type has no docstring that Python keeps; the reference shows the text below it.
    assert getattr(harness, name).__doc__ or name in ("hookimpl", "Activation", "InputNorm")


def test_there_is_no_other_public_name():
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'opne'"):
        harness.opne  # noqa: B018


def test_the_version_of_the_distribution_and_of_the_interface_are_there():
    assert harness.__version__ == distribution("sae-harness").version
    assert isinstance(harness.API_VERSION, int) and harness.API_VERSION >= 1


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("BatchStats", "BatchFinished"),
        ("BundleStats", "BundleFinished"),
        ("Located", "PlacedRepresentation"),
        ("MissingError", "UnavailableError"),
        ("Weighted", "LinearClassifier"),
    ],
)
def test_a_renamed_public_name_is_kept_with_a_warning(former, name):
    with pytest.warns(DeprecationWarning, match=f"harness.{former} is now harness.{name}"):
        assert getattr(harness, former) is getattr(harness, name)


HEAVY = ("torch", "transformers", "pydantic", "sklearn", "pandas", "datasets", "scipy", "numpy")


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import harness", HEAVY),
        ("from harness import *", ()),
        ("from harness.cli import execute; execute(['--help'])", HEAVY),
        ("from harness.cli import execute; execute(['--version'])", HEAVY),
        ("from harness.cli import execute; execute(['run', '--help'])", HEAVY),
        ("from harness.cli import execute; execute(['ls', 'tasks'])", HEAVY),
        ("from harness.cli import execute; execute(['ls', 'plugins'])", HEAVY[:2]),
        ("from harness.cli import execute; execute(['show', 'logreg'])", HEAVY[:2]),
    ],
)
def test_what_only_lists_imports_nothing_heavy(code, heavy, own_cache):
    asked = f"{code}; import sys; print('\\n' + ' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=own_cache)
    assert ended.returncode == 0, ended.stderr
    assert not set(ended.stdout.splitlines()[-1].split()) & set(heavy)


def test_help_loads_no_plugin(own_cache):
    code = "from harness.cli import execute; execute(['--help']); import sys; print(' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=own_cache)
    points = PYPROJECT["project"]["entry-points"]["harness"]
    assert not set(ended.stdout.splitlines()[-1].split()) & set(points.values())


def test_the_quickstart_is_planned_without_torch(own_cache):
    code = "from harness.cli import execute; execute(['plan', 'quickstart']); import sys; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=own_cache)
    for bundle in ("quickstart_roles × minigemma-l", "digits × minipaligemma", "digits × miniclip"):
        assert bundle in ended.stdout, ended.stderr
    heavy = {"torch", "transformers", "open_clip", "torchvision", "sklearn", "scipy", "pandas", "datasets"}
    assert not set(ended.stdout.splitlines()[-1].split()) & heavy


@pytest.mark.long
def test_a_finished_run_is_repeated_without_torch(own_cache):
    code = (
        "import sys; from harness.cli import execute; "
        "execute(['run', 'quickstart', '-t', 'quickstart_tone', '-L', '240', '-d', 'cpu', '-o', 'out', "
        "'--set', 'representations=[text_length]']); print(*sys.modules)"
    )
    for is_repeat in (False, True):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=own_cache)
        assert "Traceback" not in ended.stderr
        assert ("torch" in ended.stdout.splitlines()[-1].split()) != is_repeat


def test_nothing_is_imported_that_only_unix_has(own_cache):
    """Modules of the core, each imported where `fcntl` and `resource` are not there."""
    code = (
        "import sys, torch; sys.modules.update(fcntl=None, resource=None); import harness.pipeline, "
        "harness.storage.cache, harness.session, harness.validation.run, harness.storage.atomic; "
        "from pathlib import Path; lock = harness.storage.atomic.lock(Path('lock')); print(lock.__enter__())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=own_cache)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "None"  # a platform without locks, and no error


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


def test_a_package_is_named_in_pyproject_once():
    """Adding a plugin means one line there: all else reads the entry points or the folders."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    packages = PYPROJECT["project"]["entry-points"]["harness"].values()
    assert [name for name in packages if len(re.findall(rf"\b{name}\b", text)) != 1] == []


def test_types_are_checked_in_every_package():
    checked = PYPROJECT["tool"]["mypy"]
    assert {"harness", "plugins", "tasks"} <= set(checked["files"])
    assert set(checked["mypy_path"]) == {"plugins", "tasks"} and "exclude" not in checked


def find_imports(*packages: str) -> set[tuple[str, str]]:
    """Return the imports of `packages`, (importer, imported), without those for type checkers alone."""
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
    return {
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }


def find_forbidden(imports: Iterable[tuple[str, str]], core: str) -> list[str]:
    """Return the imports from one package to another, except those of the public names of the core."""
    return sorted(
        f"{importer} imports {imported}"
        for importer, imported in imports
        if importer.split(".")[0] != imported.split(".")[0] and imported != core
    )


def test_the_core_imports_no_plugin_and_a_plugin_only_the_public_names_of_the_core():
    imports = find_imports("harness", *PYPROJECT["project"]["entry-points"]["harness"].values())
    assert ("harness_mosaic.probe", "harness") in imports
    assert find_forbidden(imports, "harness") == []


@pytest.mark.parametrize(
    ("module", "text", "found"),
    [
        ("toy_core/api.py", "import toy_a", "toy_core.api imports toy_a"),
        ("toy_core/api.py", "def f():\n    from toy_a import x", "toy_core.api imports toy_a"),
        ("toy_a/more.py", "from toy_b import x", "toy_a.more imports toy_b"),
        ("toy_a/more.py", "from toy_core.api import x", "toy_a.more imports toy_core.api"),
        ("toy_a/more.py", "from toy_core import api", "toy_a.more imports toy_core.api"),
        ("toy_a/more.py", "import toy_a\nimport toy_core\nfrom toy_core import x", None),
        ("toy_a/more.py", "import typing\nif typing.TYPE_CHECKING:\n    from toy_core.api import x", None),
    ],
)
def test_a_forbidden_import_is_found_wherever_it_is_written(module, text, found, tmp_path, monkeypatch):
    for name in ("toy_core/__init__.py", "toy_core/api.py", "toy_a/__init__.py", "toy_b/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n", "utf-8")
    (tmp_path / module).write_text(f"{text}\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_forbidden(find_imports("toy_core", "toy_a", "toy_b"), "toy_core") == [found] * bool(found)


def test_every_dependency_has_a_floor_that_the_page_of_releases_names():
    page = (ROOT / "docs" / "releasing.md").read_text("utf-8")
    for dependency in PYPROJECT["project"]["dependencies"]:
        name, floor = dependency.split(">=")
        assert name in page and floor.removesuffix(".0") in page, dependency


def test_all_built_in_plugins_load_without_fault():
    from harness.registry.loading import find_candidates, load_plugins

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
    """The wheel of this checkout, open."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: pip install hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    ended = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (path,) = folder.glob("*.whl")
    assert path.stat().st_size <= 80_000_000
    return zipfile.ZipFile(path)


@pytest.mark.slow
def test_the_wheel_holds_harness_and_its_plugins_and_nothing_else(wheel):
    names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    (about,) = (top for top in tops if top.endswith(".dist-info"))
    packages = set(PYPROJECT["project"]["entry-points"]["harness"].values())
    assert tops == {"harness", about, *packages}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


@pytest.mark.slow
def test_the_page_of_a_package_index_has_no_relative_link_and_names_files_of_the_sdist(wheel):
    from hatchling.builders.sdist import SdistBuilder

    (about,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    page = wheel.read(about).decode()
    assert re.findall(r"\]\((?!https?:)[^)]*\)", page) == []
    shipped = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    named = re.findall(r"\(`([^`]+)`\)", page)
    assert "docs/manual.md" in named and set(named) <= shipped
    assert not [name for name in shipped if name.startswith("tests/") or "__pycache__" in name]


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
        "harness/scaffold/templates/base/dot-github/workflows/test.yml.jinja",
        "harness/scaffold/templates/base/package/py.typed",
        "harness/scaffold/templates/task/package/rows.csv",
    ],
)
def test_the_wheel_holds_the_data_that_plugins_read(wheel, name):
    assert name in wheel.namelist()
