"""Checkpoints of sparsify: what is refused, by which sentence, and what a config or the name of a folder changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import harness_saes
import pytest
import torch
from interop.case import open_dictionary
from safetensors.torch import load_file, save_file

import harness
from harness.dictionaries.dictionary import Dictionary

GOLDEN = Path(__file__).parent / "golden" / "sparsify" / "topk" / "layers.3"
SITE = "resid_post.3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "layers.3"))


def change(folder: Path, **changed: Any) -> Path:
    """Change keys of cfg.json; None takes a key away."""
    config = {**json.loads((folder / "cfg.json").read_text()), **changed}
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "cfg.json").write_text(json.dumps(kept))
    return folder


def change_tensors(folder: Path, **changed: torch.Tensor) -> Path:
    held = load_file(folder / "sae.safetensors")
    save_file(
        {**held, **{name.replace("__", "."): value for name, value in changed.items()}},
        folder / "sae.safetensors",
    )
    return folder


def read(folder: Path, site: str = SITE) -> Dictionary:
    found = open_dictionary(folder, site, {})
    assert found.load_whole is not None
    whole = found.load_whole("cpu")
    assert isinstance(whole, Dictionary)
    return whole


def test_signed_coders_of_2024_keep_what_is_farthest_from_zero(folder: Path) -> None:
    # The library's own lines of that year: latents.abs().topk(k), and their values without a ReLU.
    held = load_file(folder / "sae.safetensors")
    x = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    latents = (x - held["b_dec"]) @ held["encoder.weight"].T + held["encoder.bias"]
    kept = latents.abs().topk(5).indices
    wanted = torch.zeros_like(latents).scatter(1, kept, latents.gather(1, kept))
    dictionary = read(change(folder, signed=True))
    torch.testing.assert_close(dictionary.encode(x), wanted)
    assert bool((wanted < 0).any())
    torch.testing.assert_close(dictionary.rebuild(x, 5)[0], wanted @ held["W_dec"] + held["b_dec"])


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a transcoder": (
        lambda path: change(path, transcode=True),
        "is a transcoder, which predicts something else",
    ),
    "a skip path": (lambda path: change(path, skip_connection=True), "is a transcoder, which"),
    "the weights of a skip path": (
        lambda path: change_tensors(path, W_skip=torch.zeros(8, 8)),
        "is a transcoder, which",
    ),
    "a transcoder of a run of 2024": (
        lambda path: (
            change(path, transcode=None),
            (path.parent / "config.json").write_text(json.dumps({"transcode": True})),
        ),
        "is a transcoder, which",
    ),
    "another activation": (lambda path: change(path, activation="relu"), "'relu'; read are topk, groupmax"),
    "a list of activations": (lambda path: change(path, activation=["topk"]), "read are topk, groupmax"),
    "a k that is no number": (lambda path: change(path, k="abc"), "has k = 'abc', which is no whole number"),
    "no d_in": (lambda path: change(path, d_in=[]), r"has d_in = '\[\]', which is no whole number"),
    "a huge factor": (lambda path: change(path, expansion_factor=10**30), "no whole number from 1 to 2,147"),
    "a k beyond the width": (lambda path: change(path, k=25), "k=25 is not between 1 and 24"),
    "groups that do not divide": (
        lambda path: change(path, activation="groupmax"),
        "24 features do not fall into k=5 equal groups",
    ),
    "weights of another size": (
        lambda path: change(path, num_latents=9),
        "says num_latents = 9, and its weights",
    ),
    "an output of other dimensions": (
        lambda path: change_tensors(path, W_dec=torch.zeros(24, 6)),
        "reads 8 dimensions and writes 6, so it is a transcoder",
    ),
    "not a number": (
        lambda path: change_tensors(path, encoder__bias=torch.full((24,), float("nan"))),
        "b_enc holds values that are not finite",
    ),
    "integers": (
        lambda path: change_tensors(path, b_dec=torch.zeros(8, dtype=torch.int64)),
        "b_dec holds I64, not floats",
    ),
    "no config": (lambda path: (path / "cfg.json").unlink(), r"has no cfg\.json beside its weights"),
    "a broken config": (lambda path: (path / "cfg.json").write_text("[]"), r"its cfg\.json cannot be read"),
    "a header that lies": (
        lambda path: (path / "sae.safetensors").write_bytes(
            (path / "sae.safetensors").read_bytes().replace(b"[24,8]", b"[24,9]")
        ),
        "sae.safetensors cannot be read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_by_what_it_is(folder: Path, case: str) -> None:
    break_, said = REFUSED[case]
    break_(folder)
    with pytest.raises(harness.HarnessError, match=said) as caught:
        read(folder)
    assert "\n" not in str(caught.value) and caught.value.exit_code in {2, 3}


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("layers.12", "resid_post.12"),
        ("h.5", "resid_post.5"),
        ("layers.7/seed1", "resid_post.7"),
        ("layers.5.mlp", "mlp_out.5"),
        ("layers.5.attention", "attn_out.5"),
    ],
)
def test_the_folder_names_the_module_that_was_read(
    folder: Path, tmp_path: Path, name: str, site: str
) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "run" / name))
    assert read(place, site).width == 24
    with pytest.raises(harness.UsageError, match=f"was trained on '{site}', not on 'attn_z.0'"):
        read(place, "attn_z.0")


@pytest.mark.parametrize("name", ["embed_tokens", "h.5.mlp.act"])
def test_a_module_that_is_no_site_is_named(folder: Path, name: str) -> None:
    place = folder.rename(folder.with_name(name))
    with pytest.raises(
        harness.UsageError, match=rf"trained on '{name}', not on 'resid_post\.3'; any_site=true"
    ):
        read(place)
    assert open_dictionary(place, SITE, {"any_site": True}).width == 24


def test_an_mlp_is_not_read_where_a_norm_follows_it(folder: Path) -> None:
    spec = harness_saes.resolve_or_refuse(str(folder.rename(folder.with_name("layers.3.mlp"))))
    assert spec is not None
    gemma: Any = SimpleNamespace(architecture="gemma3_text", name="model")
    with pytest.raises(harness.UsageError, match="comes before a norm in gemma3_text"):
        spec.make().at(gemma, harness.Site.parse("mlp_out.3"))


def test_one_of_a_run_is_found_by_its_site_whatever_else_it_holds(folder: Path, tmp_path: Path) -> None:
    for name in ("layers.4", "embed_tokens", "layers.4.mlp.act"):
        shutil.copytree(folder, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-70m", "transcode": False}))
    assert open_dictionary(tmp_path, "resid_post.4", {}).width == 24
