"""Files and arguments that attackers, broken copies and empty variables give: refused in a sentence, or harmless."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.api.errors import UnavailableError, UsageError, WriteError
from harness.data import inputs
from harness.data.formats import TableError
from harness.data.image_folder import read_image_folder
from harness.data.inputs import parse_input
from harness.leaderboard.published.store import find_published
from harness.planning import bundles
from harness.storage import cache
from harness.storage.atomic import append_line, cut_unfinished_line, lock, write_json
from harness.storage.hashing import hash_file, unchanged
from harness.storage.reading import UnfitFileError, open_file

STAND_INS = {
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
        "Git LFS",
    ),
    "a page of the web": (b"\n<!DOCTYPE html>\n<html><title>404</title></html>", "a page of the web"),
    "zeros": (bytes(100), "it begins with zeros"),
    "what macOS notes beside a file": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "what macOS notes"),
}


@pytest.mark.parametrize("what", STAND_INS)
@pytest.mark.parametrize("name", ["suite.yaml", "data.csv", "config.json", "params.npz", "model.safetensors"])
def test_what_lies_in_place_of_a_file_that_was_not_fetched_is_said(
    tmp_path: Path, what: str, name: str
) -> None:
    content, said = STAND_INS[what]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnfitFileError, match=said):
        open_file(path)
    for read in (lambda: hash_file(path), lambda: unchanged({path: None}).__enter__()):
        with pytest.raises(UnavailableError, match=rf"{name}' cannot be read: .*{said}"):
            read()


def test_a_text_about_pages_and_a_short_file_of_zeros_are_read(tmp_path: Path) -> None:
    for name, content in (
        ("page.txt", b"<html>a text</html>"),
        ("card.md", b"<html>"),
        ("a.json", bytes(63)),
    ):
        (tmp_path / name).write_bytes(content)
        assert open_file(tmp_path / name).read() == content


@pytest.mark.parametrize(
    "write",
    [
        lambda path: append_line(path, "{}"),
        cut_unfinished_line,
        lambda path: lock(path).__enter__(),
    ],
)
def test_lines_are_never_written_through_a_link(tmp_path: Path, write: Callable[[Path], object]) -> None:
    (tmp_path / "kept").write_text("precious")
    (tmp_path / "results.jsonl").symlink_to("kept")
    with pytest.raises(WriteError, match="it is a link"):
        write(tmp_path / "results.jsonl")
    assert (tmp_path / "kept").read_text() == "precious"


def test_of_a_link_in_the_cache_only_the_link_is_removed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "complete.json").write_text("{}")
    (tmp_path / "link").symlink_to("kept")
    cache._remove(tmp_path / "link")
    assert [each.name for each in tmp_path.rglob("*")] == ["kept", "complete.json"]


def test_a_link_to_a_folder_above_the_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "root").symlink_to(tmp_path)
    with pytest.raises(TableError, match=r"the link 'root' in it leads to .*, which holds the folder itself"):
        read_image_folder(tmp_path / "images", label="label", split=None)


def test_a_class_whose_name_is_not_utf_8_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(TableError, match=r"the name b'caf\\xe9' in it is not UTF-8: rename it"):
        read_image_folder(tmp_path, label="label", split=None)


def test_more_marks_in_a_row_than_any_text_has_are_refused() -> None:
    # Unicode's normal form would sort them in the square of their number: two minutes for 200,000.
    marks = "\u0301\u0316" * inputs.MOST_MARKS
    for value in (
        "a" + marks,
        [{"role": "user", "content": "a" + marks}],
        "a" + marks.replace("\u0316", "\u3164\u0316"),
    ):
        with pytest.raises(UsageError, match=r"the input has 2,000 accents .* from character 1 on"):
            parse_input(value)
    for text in (
        "a" + marks[: inputs.MOST_MARKS],
        "a\u0301" * 5000,
        "-" * 5000 + "\u0301",
        "e" + marks[:1000] + "e" + marks[:1000],
    ):
        assert parse_input(text) == text


def test_a_path_that_is_no_text_is_kept_as_json_keeps_it(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "run.json", {"argv": [name]})
    assert (tmp_path / "run.json").read_text().split() == ["{", '"argv":', "[", '"caf\\udce9"', "]", "}"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("power", "quickstart", "--icc", "nan"),
        ("compare", "a", "b", "--fail-on-regression", "nan"),
        ("compare", "a", "b", "--fail-on-regression", "inf"),
    ],
)
def test_nan_and_infinity_are_in_no_range_of_an_option(harness_command, arguments: tuple[str, ...]) -> None:
    found = harness_command(*arguments)
    assert found.code == 2 and f"{arguments[-1]} is no finite number" in found.err


@pytest.mark.parametrize("path", ["", os.fsdecode(b"caf\xe9")])
@pytest.mark.parametrize("option", ["-o", "--cache-dir", "--data-dir", "--include"])
def test_an_empty_path_and_one_that_is_not_utf_8_are_refused(harness_command, option: str, path: str) -> None:
    found = harness_command("run", "quickstart", option, path)
    assert found.code == 2 and ("it is empty" in found.err or "is not UTF-8" in found.err)
    assert not [*Path().iterdir()]


REFERENCES = {
    "count[t=nan]": "takes a number as t, not nan",
    "topn_count[n=inf]": "takes a number as n, not inf",
    "count[t=1e999]": "takes a number as t, not 1e999",
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_parameter_that_is_a_number_takes_finite_numbers_only(harness_command, reference: str) -> None:
    found = harness_command("plan", "quickstart", "--set", f"poolings=['{reference}']")
    assert found.code == 2 and REFERENCES[reference] in found.err


def test_a_number_that_yaml_reads_as_text_names_the_same_result() -> None:
    import harness

    registry = harness.open().registry
    spelled = [registry.choose("poolings", f"count[t={t}]").parameters for t in ("1e3", "1000.0")]
    assert spelled[0] == spelled[1] == {"t": 1000.0}


@pytest.mark.parametrize(("spelled", "read"), [("1:30", "90"), ("0100", "64")])
def test_a_number_that_yaml_reads_as_another_one_is_refused(harness_command, spelled: str, read: str) -> None:
    Path("suite.yaml").write_text(
        f"name: toy\nversion: 1\ntasks: [quickstart_tone]\nlimit: {spelled}\n"
        "models: []\nrepresentations: [majority]\n"
    )
    found = harness_command("plan", "suite.yaml")
    assert found.code == 2 and f"suite.yaml' line 4: {spelled} is read as {read}: write that" in found.err


def test_cells_are_counted_before_they_are_made(harness_command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST_CELLS", 5)
    few = ("-t", "quickstart_tone", "--set", "models=[]", "--set", "representations=[majority, tfidf]")
    assert harness_command("plan", "quickstart", *few, "-L", 40).code == 0
    found = harness_command("plan", "quickstart", *few, "-L", 40, "--seeds", 3)
    assert found.code == 2
    assert "gives task 'quickstart_tone' 6 cells, and at most 5 are planned" in found.err


def test_copies_of_a_published_run_are_refused_and_files_of_systems_are_no_runs(tmp_path: Path) -> None:
    for name in ("2026-11-30.jsonl", "._2026-11-30.jsonl", ".jsonl"):
        (tmp_path / name).touch()
    assert [run.name for run in find_published(tmp_path)] == ["2026-11-30"]
    (tmp_path / "2026-11-30 copy.jsonl").touch()
    with pytest.raises(
        UnavailableError, match=r"2026-11-30 copy\.jsonl' has no name that a published run can have"
    ):
        find_published(tmp_path)


def test_answers_are_not_written_over_their_items(harness_command) -> None:
    Path("items.parquet").write_text("precious")
    found = harness_command("label", "items.parquet", "-m", "minigemma-s", "-o", "items.parquet", "--replace")
    assert found.code == 2 and "'items.parquet' is the file of the items, which would be lost" in found.err
    assert Path("items.parquet").read_text() == "precious"


ENDING = """\
import harness


def make_ending():
    raise SystemExit(0)


@harness.hookimpl
def harness_poolings():
    print("a greeting")
    return [harness.PoolingSpec(name="ending", summary="ends the program", make=make_ending)]


print("hello")
"""


def test_a_plugin_that_ends_the_program_is_no_success(harness_command, install) -> None:
    install(ENDING)
    found = harness_command("plan", "quickstart", "--set", "poolings=[ending]")
    assert found.code == 3 and "ended the program in mid-work, with status 0" in found.err, found


def test_what_a_plugin_prints_when_it_is_loaded_stands_in_no_answer(harness_command, install) -> None:
    install(ENDING)
    found = harness_command("ls", "poolings", "--json")
    assert found.code == 0 and all(line.startswith("{") for line in found.out.splitlines())
    assert "hello" in found.err


# ── inputs from Python and of files ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "texts, sentence",
    [
        ("abc", "this is one: write [text]"),
        ([], "this one is empty"),
        (["fine", None], "input 1 is neither a text, a conversation nor an image"),
        ([1.5], "input 0 is neither a text, a conversation nor an image"),
        ([b"bytes"], "message 1 of the conversation has no text"),
    ],
)
def test_what_is_no_list_of_texts_is_told_by_its_number(texts: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        harness.open().features(texts, model="minigemma-s", site="resid_post.1")


@pytest.mark.parametrize("given", [{"site": None}, {"model": 5}, {"batch_size": 0}, {"batch_size": -1}])
def test_a_call_with_no_model_site_or_batch_is_one_sentence(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"no model at one site|batch_size is"):
        harness.open().features(["a text"], **{"model": "minigemma-s", "site": "resid_post.1", **given})


@pytest.mark.parametrize("name", ["in.jsonl", "in.json"])
def test_a_row_of_a_text_and_messages_is_not_read_as_either(
    harness_command: Any, tmp_path: Path, name: str
) -> None:
    row = {"text": "one", "messages": [{"role": "user", "content": "another"}]}
    (tmp_path / name).write_text(json.dumps(row) if name == "in.jsonl" else json.dumps([row]))
    where = ("-m", "minigemma-s", "--site", "resid_post.1", "--input", str(tmp_path / name), "-o", "out.npz")
    found = harness_command("features", *where)
    assert found.code == 2
    assert "keep the one that is meant" in found.err
