"""Files that are replaced while they are in use, and folders in which more than one file could be meant.

What is loaded must be what was hashed: a run whose weights, dictionary or data changed after it was planned says which
file it was, and leaves nothing in the cache under the old identity.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness_minigemma
import harness_transformers
import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import harness
from harness import ChangedError, Image, Site, UnavailableError, UsageError
from harness.features.artifacts import read_fitted, write_fitted
from harness.storage import hashing
from harness.storage.feature_store import FeatureStore

WEIGHTS = harness_minigemma.WEIGHTS
SCOPE = "minigemma-s-scope/layer_1/width_512/average_l0_9"
SITE = Site.parse("resid_post.1")
TEXTS = ["one two three", "four"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the smallest embedded model."""
    return Path(shutil.copytree(WEIGHTS / "minigemma-s", tmp_path / "model"))


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    """A copy of one of its dictionaries."""
    return Path(shutil.copytree(WEIGHTS / SCOPE, tmp_path / "sae"))


def open_model(ref: str | Path, **parameters: Any) -> Any:
    spec = harness_transformers.harness_resolve_model(str(ref), str(ref))
    assert spec is not None
    return spec.make(**parameters)


def scale_tensors(path: Path) -> None:
    """Write other weights of the same size over a file, in place."""
    tensors = {name: tensor * 2 for name, tensor in load_file(path).items()}
    save_file(tensors, path.with_name("new"), metadata={"format": "pt"})
    path.write_bytes(path.with_name("new").read_bytes())


def scale_arrays(path: Path) -> None:
    """Put another dictionary of the same shape in the place of a file."""
    arrays = {name: array * 2 for name, array in np.load(path).items()}
    np.savez(path.with_name("new.npz"), **arrays)
    path.with_name("new.npz").replace(path)


# ── the helper ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("known", [True, False], ids=["hashed", "not hashed"])
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: shutil.copy2(path, path.with_name("b")) and path.with_name("b").replace(path),
        lambda path: path.unlink(),
    ],
    ids=["written", "touched", "replaced", "removed"],
)
def test_a_file_that_changes_while_it_is_read_is_refused_by_name(
    tmp_path: Path, change: Callable[[Path], Any], known: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    with (
        pytest.raises(ChangedError, match=r"file' has changed .*: run the same command again"),
        harness.unchanged({path: harness.hash_file(path) if known else None}),
    ):
        change(path)


def test_a_file_that_was_hashed_otherwise_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"other bytes", None):
        path.write_bytes(b"bytes")
        sha256 = harness.hash_file(path)
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(ChangedError), harness.unchanged({path: sha256}):
            raise AssertionError("the block must not be entered")


def test_a_file_that_is_the_same_again_is_read_and_errors_of_the_block_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    sha256 = harness.hash_file(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ZeroDivisionError), harness.unchanged({path: sha256}):
        raise ZeroDivisionError


def test_an_error_that_a_change_may_have_caused_is_told_as_the_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    with pytest.raises(ChangedError) as caught, harness.unchanged({path: None}):
        path.write_bytes(b"half")
        raise ValueError("broken")
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_file_that_changes_while_it_is_hashed_has_no_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    digest = hashing.hashlib.file_digest

    def write_meanwhile(file: Any, name: str) -> Any:
        path.write_bytes(b"more bytes")
        return digest(file, name)

    monkeypatch.setattr(hashing.hashlib, "file_digest", write_meanwhile)
    with pytest.raises(ChangedError):
        harness.hash_file(path)


# ── between plan and run ─────────────────────────────────────────────────────────────────────────────────


def change_model(model: Path, dictionary: Path) -> Path:
    scale_tensors(model / "model.safetensors")
    return model / "model.safetensors"


def remove_weights(model: Path, dictionary: Path) -> Path:
    (model / "model.safetensors").unlink()
    return Path("model.safetensors")


def change_dictionary(model: Path, dictionary: Path) -> Path:
    scale_arrays(dictionary / "params.npz")
    return dictionary / "params.npz"


@pytest.mark.parametrize("change", [change_model, remove_weights, change_dictionary])
def test_what_is_replaced_after_the_plan_ends_the_run_and_leaves_the_cache_empty(
    model: Path,
    dictionary: Path,
    toy_suite: Path,
    toy_task: Path,
    tmp_path: Path,
    change: Callable[[Path, Path], Path],
) -> None:
    text = toy_suite.read_text().replace("minigemma-s", str(model)).replace("majority", str(dictionary))
    toy_suite.write_text(text)
    session = harness.open(cache_dir=tmp_path / "cache", include=[toy_task], device="cpu")
    plan = session.plan(toy_suite)
    changed = change(model, dictionary)
    with pytest.raises(ChangedError, match=rf"{changed.name}.*run the same command again") as caught:
        session.run(plan, output=tmp_path / "run")
    assert caught.value.exit_code == 3
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    if change is change_dictionary:
        assert session.run(session.plan(toy_suite), output=tmp_path / "run").summary.is_whole


def test_weights_of_several_files_are_those_of_the_plan(model: Path) -> None:
    split_weights(model)
    (model / "model.safetensors").unlink()
    opened = open_model(model)
    wanted = opened.identity(SITE)
    last = max(name for name in wanted["files"] if name.endswith(".safetensors"))
    scale_tensors(model / last)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    assert opened.identity(SITE) == wanted
    with pytest.raises(ChangedError, match=last):
        opened.load([SITE], "cpu")


def test_weights_in_memory_stay_when_their_file_is_written(model: Path) -> None:
    opened = open_model(model, dtype="bfloat16")  # the dtype of the file, so that nothing is converted
    loaded, tokens = opened.load([SITE], "cpu"), opened.tokenize(TEXTS)
    before = loaded.forward(tokens)[SITE].clone()
    data = (model / "model.safetensors").read_bytes()
    head = 8 + int.from_bytes(data[:8], "little")
    with (model / "model.safetensors").open("r+b") as file:
        file.write(data[:head] + bytes(len(data) - head))
    assert torch.equal(loaded.forward(tokens)[SITE], before)


def test_a_tokenizer_that_is_replaced_after_opening_changes_neither_identity_nor_tokens(model: Path) -> None:
    opened = open_model(model)
    tokens, changed = opened.tokenize(TEXTS)[0].ids.tolist(), model / "tokenizer.json"
    changed.write_text(json.dumps(json.loads(changed.read_text()) | {"post_processor": None}))
    assert opened.identity(SITE)["files"]["tokenizer.json"] != harness.hash_file(changed)
    assert (
        opened.tokenize(TEXTS)[0].ids.tolist() == tokens != open_model(model).tokenize(TEXTS)[0].ids.tolist()
    )


def test_weights_of_open_clip_are_those_that_were_hashed(tmp_path: Path) -> None:
    from harness_open_clip import open_model

    folder = Path(shutil.copytree(WEIGHTS / "miniclip", tmp_path / "clip"))
    opened, site = open_model(str(folder), str(folder)), Site.parse("vision.resid_post.1")
    wanted = opened.identity(site)
    scale_tensors(folder / "open_clip_model.safetensors")
    for load in (lambda: opened.load([site], "cpu"), lambda: opened.load_text("cpu")):
        with pytest.raises(ChangedError, match=r"open_clip_model\.safetensors"):
            load()
    assert opened.identity(site) == wanted != open_model(str(folder), str(folder)).identity(site)


def test_data_that_is_written_while_it_is_read_is_no_data(
    harness_command: Any, toy_suite: Path, toy_task: Path, monkeypatch: Any
) -> None:
    rows = toy_task.with_name("toy.jsonl")
    from harness.data import sources

    parse = sources._parse

    def write_meanwhile(*given: Any) -> Any:
        found = parse(*given)
        rows.write_text(rows.read_text() + '{"text": "more", "label": "good", "split": "train"}\n')
        return found

    monkeypatch.setattr(sources, "_parse", write_meanwhile)
    result = harness_command("plan", toy_suite, "--include", toy_task)
    assert result.code == 3 and "toy.jsonl' has changed" in result.err


def test_an_image_that_is_replaced_after_it_was_read_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (4, 4), "red").save(path)
    image = harness.read_image(path)
    assert isinstance(image, Image)
    PIL.Image.new("RGB", (4, 4), "blue").save(path)
    with pytest.raises(ChangedError, match=r"a\.png' has changed"):
        harness.decode_image(image)


def test_a_fitted_part_that_belongs_to_another_key_is_not_taken(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    for number, key in enumerate(("a" * 64, "b" * 64)):
        write_fitted(
            store,
            key,
            harness.Dictionary(
                name=key,
                width=2,
                activation="relu",
                W_enc=torch.eye(2),
                b_enc=torch.full((2,), float(number)),
            ),
        )
    mine, other = (next((tmp_path / "fitted" / (name * 64)).glob("*.safetensors")) for name in "ab")
    mine.unlink()
    shutil.copy(other, mine.with_name(other.name))
    assert read_fitted(store, "a" * 64, "cpu") is None and read_fitted(store, "b" * 64, "cpu") is not None


# ── which file is read ───────────────────────────────────────────────────────────────────────────────────


def split_weights(folder: Path, factor: float = 1.0) -> None:
    """Write the weights of a folder, times a factor, as two files with an index beside the one file."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    files = {
        name: f"model-0000{1 + (place >= len(names) // 2)}-of-00002.safetensors"
        for place, name in enumerate(names)
    }
    for file in set(files.values()):
        part = {name: tensors[name] * factor for name in names if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


def test_one_file_of_weights_beside_a_stale_index_is_read_as_transformers_reads_it(model: Path) -> None:
    alone = open_model(model).identity(SITE)
    split_weights(model, factor=1.5)
    opened = open_model(model)
    assert opened.identity(SITE) == alone
    reference = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = transformers.AutoTokenizer.from_pretrained(model)(TEXTS[0], return_tensors="pt").input_ids
    wanted = reference(ids, output_hidden_states=True).hidden_states[2][0, 1:]
    got = opened.load([SITE], "cpu").forward(opened.tokenize(TEXTS[:1]))[SITE]
    torch.testing.assert_close(got, wanted.detach(), rtol=1e-4, atol=1e-4)


def test_weights_that_the_config_names_are_read_as_transformers_reads_them(model: Path) -> None:
    before = open_model(model).load([SITE], "cpu").forward(open_model(model).tokenize(TEXTS))[SITE]
    shutil.copy(model / "model.safetensors", model / "named.safetensors")
    scale_tensors(model / "model.safetensors")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"transformers_weights": "named.safetensors"}))
    opened = open_model(model)
    assert "named.safetensors" in opened.identity(SITE)["files"]
    assert torch.equal(opened.load([SITE], "cpu").forward(opened.tokenize(TEXTS))[SITE], before)
    (model / "config.json").write_text(json.dumps(config | {"transformers_weights": "../other.bin"}))
    with pytest.raises(UnavailableError, match=r"names the weights '\.\./other\.bin'"):
        open_model(model).identity(SITE)


def test_an_adapter_beside_the_weights_is_refused_by_name(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(UnavailableError, match=r"has an adapter \(adapter_config\.json\) beside its weights"):
        open_model(model).identity(SITE)


def test_a_pickle_that_open_clip_prefers_to_a_safe_file_is_refused_with_both_names(tmp_path: Path) -> None:
    from harness_open_clip import open_model

    folder = Path(shutil.copytree(WEIGHTS / "miniclip", tmp_path / "clip"))
    site = Site.parse("vision.resid_post.1")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"")
    assert open_model(str(folder), str(folder)).identity(
        site
    )  # open_clip prefers the safe file of this name too
    (folder / "open_clip_model.safetensors").rename(folder / "model.safetensors")
    with pytest.raises(
        UnavailableError, match=r"has open_clip_pytorch_model\.bin, .* beside model\.safetensors"
    ):
        open_model(str(folder), str(folder)).identity(site)


def test_a_folder_with_several_dictionaries_is_refused_with_the_way_out(dictionary: Path) -> None:
    session = harness.open(device="cpu")

    def features(ref: str) -> Any:
        return session.features(TEXTS, model="minigemma-s", site="resid_post.1", representation=ref)

    alone = features(str(dictionary))
    with pytest.raises(UsageError, match="leave out width and l0"):
        features(f"{dictionary}[width=512]")
    below = dictionary / "layer_1/width_512/average_l0_9/params.npz"
    below.parent.mkdir(parents=True)
    shutil.copy(dictionary / "params.npz", below)
    with pytest.raises(UsageError, match=r"holds params\.npz itself, and other dictionaries"):
        features(str(dictionary))
    assert (features(str(dictionary / "params.npz")) != alone).nnz == 0
    (dictionary / "params.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"layouts of Gemma Scope 2 and of Gemma Scope, .*: name the file"):
        features(str(dictionary))
    assert (features(str(dictionary / "params.npz")) != alone).nnz == 0
