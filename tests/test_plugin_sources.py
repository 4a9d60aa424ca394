"""Identity of plugins: an edit of any of their files makes new results, and an edit of any other file does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import harness
from harness.models.opened import activation_identity, locate
from harness.registry.catalog import Registry
from harness.session import open_registry
from harness.storage.hashing import hash_file, hash_json

OFFERS = """
import harness, harness_minigemma, harness_transformers
{imports}

class Own:
    def at(self, model, site):
        return harness.PlacedRepresentation(
            identity={{"kind": "own"}}, d_in=model.width(site), width=1, load=lambda device: None, sparse=False)

def open_own(): return harness_transformers.open_model(str(harness_minigemma.WEIGHTS / "minigemma-s"), "own")
def make():
    {lazily}

@harness.hookimpl
def harness_poolings(): return [harness.PoolingSpec(name="own", summary="own", make=make)]
@harness.hookimpl
def harness_models(): return [harness.ModelSpec(name="own", summary="own", make=open_own)]
@harness.hookimpl
def harness_representations():
    return [harness.RepresentationSpec(name="own", summary="own", make=Own, needs="tokens")]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten between openings and at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    forget(tmp_path)


def forget(folder: Path) -> None:
    """Let Python import again what lies in a folder, as another process would."""
    for name, module in [*sys.modules.items()]:
        if str(folder) in str(getattr(module, "__file__", None) or getattr(module, "__path__", "")):
            del sys.modules[name]


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def package(folder: Path) -> tuple[str, ...]:
    """A package that is loaded by `-p`, with an inner module, a module beside it, a namespace and data."""
    imports = "from own_plugin.inner import x\nimport own_beside"
    put(
        folder / "own_plugin/__init__.py",
        OFFERS.format(imports=imports, lazily="import own_space.deep, json"),
    )
    put(folder / "own_plugin/inner.py", "x = 1\n")
    put(folder / "own_plugin/words/stop.txt", "the\n")
    put(folder / "own_beside.py", "import own_further\n")
    put(folder / "own_further.py", "x = 1\n")
    put(folder / "own_space/deep.py", "x = 1\n")
    put(folder / "own_space/data.txt", "1\n")
    put(folder / "own_unused.py", "x = 1\n")
    return ("own_plugin",)


def installed(folder: Path, *, editable: bool) -> tuple[str, ...]:
    """The same package as a distribution, with all its files or only its own description in its record."""
    package(folder)
    about = folder / "own_plugin-1.0.dist-info"
    put(about / "METADATA", "Metadata-Version: 2.1\nName: own-plugin\nVersion: 1.0\n")
    put(about / "entry_points.txt", "[harness]\nown = own_plugin\n")
    listed = ["own_plugin-1.0.dist-info/METADATA", "__editable__.own_plugin.pth"]
    if not editable:
        listed += [f"own_plugin/{name}" for name in ("__init__.py", "inner.py", "words/stop.txt")]
    put(about / "RECORD", "".join(f"{name},,\n" for name in listed))
    return ()


HOW: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "loaded by -p": package,
    "installed": partial(installed, editable=False),
    "installed as editable": partial(installed, editable=True),
}
CODE = ["own_plugin/__init__.py", "own_plugin/inner.py"]
BESIDE = ["own_beside.py", "own_further.py", "own_space/deep.py"]
COUNTED = {
    "loaded by -p": [*CODE, "own_plugin/words/stop.txt", "own_plugin/new.txt", *BESIDE],
    "installed": [*CODE, "own_plugin/words/stop.txt"],
    "installed as editable": [*CODE, "own_plugin/words/stop.txt", "own_plugin/new.txt", *BESIDE],
}
NOT_COUNTED = ["own_plugin/__pycache__/inner.pyc", "own_unused.py", "own_space/data.txt"]


def identities(folder: Path, plugins: tuple[str, ...]) -> tuple[str, str, str]:
    """Hash what names a pooling, the activations of a model, and a representation, in a new registry."""
    forget(folder)
    session = harness.open(plugins=plugins, device="cpu")
    registry, opened = session.registry, session.open_model("own")
    assert not registry.faults
    site = opened.sites[0]
    placed = locate(registry.choose("representations", "own"), opened, site, registry)
    pooling, model, representation = (
        registry.choose("poolings", "own").identity,
        activation_identity(opened, site),
        dict(placed.identity),
    )
    return hash_json(pooling), hash_json(model), hash_json(representation)


@pytest.mark.parametrize("how", HOW)
def test_an_edit_of_any_file_of_a_plugin_renames_what_it_computes(folder: Path, how: str) -> None:
    plugins = HOW[how](folder)
    seen = [identities(folder, plugins)]
    for name in COUNTED[how]:
        path = folder / name
        put(path, (path.read_text() if path.exists() else "") + "\n# edited\n")
        seen.append(identities(folder, plugins))
        assert not set(seen[-1]) & set(seen[-2]), name
    assert len(set(seen)) == 1 + len(COUNTED[how])


@pytest.mark.parametrize("how", HOW)
def test_an_edit_of_a_file_that_is_not_a_plugins_renames_nothing(folder: Path, how: str) -> None:
    plugins = HOW[how](folder)
    before = identities(folder, plugins)
    for name in NOT_COUNTED:
        put(folder / name, "edited")
    if how != "loaded by -p":
        about = folder / "own_plugin-1.0.dist-info/METADATA"
        put(about, about.read_text().replace("1.0", "1.1"))
    for path in [*folder.rglob("*.py")]:
        os.utime(path, (1, 1))
    assert identities(folder, plugins) == before


def test_a_module_of_one_file_is_named_by_the_hash_of_that_file(folder: Path) -> None:
    path = put(folder / "own_module.py", OFFERS.format(imports="import json, numpy", lazily="pass"))
    choice = open_registry(["own_module"]).choose("poolings", "own")
    assert choice.identity["distribution"] == choice.distribution == f"own_module@{hash_file(path)[:12]}"


def test_a_record_says_which_files_of_a_plugin_made_it(folder: Path) -> None:
    installed(folder, editable=False)
    choice = open_registry().choose("poolings", "own")
    assert choice.source and choice.provenance == f"own-plugin 1.0@{choice.source.digest}"
    assert open_registry().choose("poolings", "mean").provenance.count("@") == 0


def test_a_module_in_a_namespace_is_named_by_its_own_package(folder: Path) -> None:
    path = put(folder / "own_company/own_plugin.py", OFFERS.format(imports="", lazily="pass"))
    put(folder / "own_company/of_others.py", "x = 1\n")
    choice = open_registry(["own_company.own_plugin"]).choose("poolings", "own")
    assert choice.distribution == f"own_company.own_plugin@{hash_file(path)[:12]}"


def test_plugins_of_the_harness_itself_are_named_by_their_revisions() -> None:
    registry: Registry = open_registry()
    own = [plugin for plugin in registry.plugins.loaded if plugin.distribution.startswith("sae-harness ")]
    assert own and all(plugin.source is None for plugin in own)
    assert registry.choose("poolings", "mean").identity["distribution"] == "sae-harness"


def test_code_that_was_edited_after_its_import_is_refused(folder: Path) -> None:
    plugins = package(folder)
    assert not open_registry(plugins).faults
    edited = put(folder / "own_plugin/inner.py", "x = 2\n# edited\n")
    (fault,) = open_registry(plugins).faults
    assert str(fault).endswith(
        f"is not what lies on disk: '{edited}' was edited after it was imported: start Python anew"
    )
    forget(folder)
    installed(folder, editable=True)
    choice = open_registry().choose("poolings", "own")
    put(edited, "x = 3\n# edited again\n")
    with pytest.raises(harness.UnavailableError, match=r"inner\.py' was edited after it was imported"):
        _ = choice.identity


def test_a_file_of_a_plugin_that_vanished_is_named(folder: Path) -> None:
    package(folder)
    installed(folder, editable=True)
    choice = open_registry().choose("poolings", "own")
    (folder / "own_plugin/words/stop.txt").unlink()
    with pytest.raises(harness.UnavailableError, match=r"stop\.txt', a file of a plugin, cannot be read"):
        _ = choice.identity
