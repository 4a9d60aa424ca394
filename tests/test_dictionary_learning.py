"""Checkpoints of dictionary_learning: what is refused, by which sentence, and what a config changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_stand_in
import pytest
import torch
from interop.case import open_dictionary

import harness
from harness.dictionaries.dictionary import Dictionary

GOLDEN = Path(__file__).parent / "golden" / "dictionary_learning"
SITE = "resid_post.3"


def copy(tmp_path: Path, name: str = "AutoEncoderNew") -> Path:
    """Return a copy of a folder of the golden vectors."""
    (config,) = (GOLDEN / name).rglob("config.json")
    return Path(shutil.copytree(config.parent, tmp_path / "sae"))


def change(folder: Path, part: str = "trainer", **changed: Any) -> Path:
    """Change keys of a part of config.json; None takes a key away."""
    config = json.loads((folder / "config.json").read_text())
    config[part] = {key: value for key, value in {**config[part], **changed}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def change_tensors(folder: Path, **changed: Any) -> Path:
    """Change entries of ae.pt; None takes one away."""
    held = torch.load(folder / "ae.pt", weights_only=True)
    kept = {**held, **{name.replace("__", "."): value for name, value in changed.items()}}
    torch.save({name: value for name, value in kept.items() if value is not None}, folder / "ae.pt")
    return folder


def read(path: Path, site: str = SITE, **options: Any) -> Dictionary:
    found = open_dictionary(path, site, options)
    assert found.load_whole is not None
    whole = found.load_whole("cpu")
    assert isinstance(whole, Dictionary)
    return whole


def test_features_are_scaled_by_decoder_norms_as_load_dictionary_does(tmp_path: Path) -> None:
    folder = copy(tmp_path, "StandardTrainerAprilUpdate")
    held = torch.load(folder / "ae.pt", weights_only=True)
    stretched = held["decoder.weight"] * torch.linspace(0, 3, 16)  # the first row is zero
    changed = read(change_tensors(folder, decoder__weight=stretched))
    assert changed.W_dec is not None and changed.b_dec is not None
    torch.testing.assert_close(changed.W_dec.norm(dim=1)[1:], torch.ones(15))
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    features = torch.relu((x - held["bias"]) @ held["encoder.weight"].T + held["encoder.bias"])
    torch.testing.assert_close(changed.encode(x), features * stretched.norm(dim=0), rtol=1e-5, atol=1e-5)
    rebuilt, _ = changed.rebuild(x, 4)
    torch.testing.assert_close(rebuilt, features @ stretched.T + held["bias"], rtol=1e-5, atol=1e-5)


def test_the_encoder_alone_is_read_without_the_decoder(tmp_path: Path) -> None:
    folder = change_tensors(copy(tmp_path, "TopKTrainer"), decoder__weight=None)
    loaded = open_dictionary(folder, SITE, {}).load
    assert loaded is not None and isinstance(loaded("cpu"), Dictionary)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a crosscoder": (lambda path: change(path, dict_class="BatchTopKCrossCoder"), "is a crosscoder, which"),
    "a transcoder": (lambda path: change(path, dict_class="Transcoder"), "is a transcoder, which"),
    "another class": (
        lambda path: change(path, dict_class="IdentityDict"),
        "'IdentityDict'; read are AutoEnc",
    ),
    "no class": (
        lambda path: change(path, dict_class=["AutoEncoder"]),
        "read are AutoEncoder, AutoEncoderNew",
    ),
    "a size that is no number": (
        lambda path: change(path, dict_size="16"),
        "has dict_size = '16', which is no",
    ),
    "a huge size": (
        lambda path: change(path, activation_dim=10**400),
        "no whole number from 1 to 2,147,483,648",
    ),
    "a size of other weights": (
        lambda path: change(path, dict_size=32),
        "says dict_size = 32, and its weights",
    ),
    "tensors of another class": (
        lambda path: change(path, dict_class="AutoEncoder"),
        "has no bias; ae.pt holds",
    ),
    "an encoder that is no matrix": (
        lambda path: change_tensors(path, encoder__weight=torch.zeros(4)),
        r"encoder.weight is \[4\], which is no matrix",
    ),
    "integers": (
        lambda path: change_tensors(path, encoder__bias=torch.zeros(16, dtype=torch.int32)),
        "encoder.bias holds int32, not floats",
    ),
    "infinities": (
        lambda path: change_tensors(path, decoder__bias=torch.full((8,), float("inf"))),
        "b_dec holds values that are not finite",
    ),
    "a tensor that repeats one number": (
        lambda path: change_tensors(path, encoder__weight=torch.zeros(1).expand(16, 8)),
        "encoder.weight says that it is",
    ),
    "a decoder of other dimensions": (
        lambda path: change_tensors(path, decoder__weight=torch.zeros(6, 16)),
        "reads 8 dimensions and writes 6, so it is a transcoder",
    ),
    "a broken config": (
        lambda path: (path / "config.json").write_text("{"),
        "its config.json cannot be read",
    ),
    "a file that is no state dict": (lambda path: torch.save([1], path / "ae.pt"), "has no encoder.weight"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_by_what_it_is(tmp_path: Path, case: str) -> None:
    break_, said = REFUSED[case]
    folder = copy(tmp_path)
    break_(folder)
    with pytest.raises(harness.HarnessError, match=said) as caught:
        read(folder)
    assert "\n" not in str(caught.value) and caught.value.exit_code in {2, 3}


@pytest.mark.parametrize("name", ["BatchTopKTrainer", "MatryoshkaBatchTopKTrainer"])
def test_a_threshold_that_was_never_set_is_refused(tmp_path: Path, name: str) -> None:
    folder = change_tensors(copy(tmp_path, name), threshold=torch.tensor(-1.0))
    with pytest.raises(
        harness.UnavailableError, match=r"before its threshold was set \(it is -1\), so that k = 4"
    ):
        open_dictionary(folder, SITE, {})


def test_a_top_k_needs_no_threshold_and_its_k_is_that_of_its_weights(tmp_path: Path) -> None:
    folder = change_tensors(copy(tmp_path, "TopKTrainer"), threshold=torch.tensor(-1.0))
    assert read(folder).k == 4
    with pytest.raises(harness.UnavailableError, match="says k = 5, and its weights have 4"):
        read(change(folder, k=5))
    with pytest.raises(harness.UnavailableError, match="has k = 'x', which is no whole number"):
        read(change(folder, k="x"))


SITES: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "the output of a block": ("trainer", {"submodule_name": "resid_post_layer_3"}, "resid_post.3"),
    "a layer alone": ("trainer", {"submodule_name": None}, "resid_post.3"),
    "another module": ("trainer", {"submodule_name": "mlp_layer_3"}, "mlp_layer_3 of layer 3"),
    "another layer": ("trainer", {"submodule_name": "resid_post_layer_4"}, "resid_post_layer_4 of layer 3"),
    "the input of a block": ("buffer", {"io": "in"}, "resid_post.2"),
    "heads": ("buffer", {"layer": 3}, "attention heads of layer 3"),
    "an odd layer": ("trainer", {"layer": "3"}, "resid_post_layer_3 3"),
}


@pytest.mark.parametrize("case", SITES)
def test_the_site_is_that_of_the_config(tmp_path: Path, case: str) -> None:
    part, changed, site = SITES[case]
    folder = change(copy(tmp_path), part, **changed)
    with pytest.raises(
        harness.UsageError, match=f"was trained on '{site}', not on 'attn_z.0'; any_site=true"
    ):
        open_dictionary(folder, "attn_z.0", {})
    assert open_dictionary(folder, "attn_z.0", {"any_site": True}).d_in == 8


def test_a_config_without_a_layer_serves_at_any_site(tmp_path: Path) -> None:
    folder = change(copy(tmp_path), layer=None, submodule_name=None)
    assert open_dictionary(folder, "mlp_out.0", {}).d_in == 8


def test_weights_without_their_config_are_said_to_lack_it(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "config.json").unlink()
    for path in (folder, folder / "ae.pt"):
        with pytest.raises(harness.UnavailableError, match=r"without a config\.json of it, which says how"):
            open_dictionary(path, SITE, {})


def test_python_objects_are_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "marker",)

    folder = copy(tmp_path)
    torch.save({"encoder.weight": Payload()}, folder / "ae.pt")
    with pytest.raises(harness.UnavailableError, match="Python objects in it could run code"):
        open_dictionary(folder, SITE, {})
    assert not (tmp_path / "marker").exists()


def test_a_checkpoint_of_training_has_its_config_in_the_folder_above(tmp_path: Path) -> None:
    run = copy(tmp_path)
    early = run / "checkpoints"
    early.mkdir()
    (run / "ae.pt").rename(early / "ae_30.pt")
    for path in (early, early / "ae_30.pt", run):
        assert read(path).width == 16


def test_one_of_a_folder_of_runs_is_found_by_its_site(tmp_path: Path) -> None:
    for layer in (1, 2):
        change(copy(tmp_path / f"resid_post_layer_{layer}"), layer=layer, submodule_name=None)
    assert open_dictionary(tmp_path, "resid_post.2", {}).reference == "resid_post_layer_2/sae"
    shutil.copytree(tmp_path / "resid_post_layer_2", tmp_path / "again")
    with pytest.raises(
        harness.UsageError, match=r"several dictionaries for 'resid_post\.2': name one of again"
    ):
        open_dictionary(tmp_path, "resid_post.2", {})


def test_the_number_of_a_run_is_not_taken_for_a_layer(tmp_path: Path) -> None:
    for number in (3, 5):
        copy(tmp_path / f"trainer_{number}")
    with pytest.raises(
        harness.UsageError,
        match=r"several dictionaries for 'resid_post\.3': name one of trainer_3/sae/ae\.pt, tr",
    ):
        open_dictionary(tmp_path, SITE, {})


def test_only_the_files_of_one_dictionary_are_fetched_from_the_hub_at_a_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy(tmp_path / "repository" / "trainer_0")
    (run.parent / "examples.bin").write_bytes(b"large")
    shutil.copytree(run.parent, run.parents[1] / "trainer_1")
    change(run.parents[1] / "trainer_1" / "sae", layer=7, submodule_name=None)
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as hub:
        hub.add("org/saes", run.parents[1])
        pinned = f"org/saes@{hub.commit('org/saes')}"
        placed = open_dictionary(Path(pinned), SITE, {})
        assert not list((tmp_path / "hub").rglob("ae.pt"))  # its config tells the sizes
        assert placed.load is not None and placed.load("cpu") is not None
        assert (placed.width, placed.reference) == (16, f"{pinned}/trainer_0/sae")
    cached = (path.relative_to(tmp_path / "hub") for path in (tmp_path / "hub").rglob("*.*"))
    fetched = {"/".join(path.parts[3:]) for path in cached if path.parts[1:2] == ("snapshots",)}
    assert fetched == {
        "trainer_0/sae/config.json",
        "trainer_0/sae/ae.pt",
        "trainer_1/sae/config.json",
    }
