"""Gemma Scope 2 dictionaries in folders and in the hub's cache: which one is chosen, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file

import harness
from harness import PlacedRepresentation, Site, UnavailableError, UsageError, hash_file
from harness.models.opened import OpenModel, locate
from harness.registry.catalog import Registry

D_IN, WIDTH = 6, 16
REPO = "google/gemma-scope-2-1b-pt"
COMMIT = "3f2a47c1c64851e9b1989792367b9babb4af6311"
NAME = "resid_post/layer_13_width_16k_l0_medium"


@dataclass(frozen=True)
class Shape:
    """A model as far as a representation can see it before anything is loaded."""

    name: str = "google/gemma-3-1b-pt"
    architecture: str = "gemma3_text"
    n_layers: int = 26
    n_parameters: int = 0
    d_model: int = D_IN

    def width(self, site: Site) -> int:
        return self.d_model

    def identity(self, site: Site) -> Mapping[str, Any]:
        return {"kind": "shape"}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return harness.open(device="cpu").registry


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if HF_HUB_OFFLINE=1 had been set before huggingface_hub was imported, with an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def tensors(seed: int = 0, *, width: int = WIDTH, d_in: int = D_IN) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "w_enc": torch.randn(d_in, width, generator=random),
        "w_dec": torch.randn(width, d_in, generator=random),
        "b_enc": torch.randn(width, generator=random),
        "b_dec": torch.randn(d_in, generator=random),
        "threshold": torch.rand(width, generator=random),
    }


def config(hook: str = "model.layers.13.output", **changed: Any) -> dict[str, Any]:
    """The keys of a published config.json."""
    return {
        "hf_hook_point_in": hook,
        "hf_hook_point_out": hook,
        "width": WIDTH,
        "model_name": "gemma-3-1b-pt",
        "architecture": "jump_relu",
        "l0": 53,
        "affine_connection": False,
        "type": "sae",
        **changed,
    }


def write(
    folder: Path, parts: Mapping[str, torch.Tensor] | None = None, about: Mapping[str, Any] | None = None
) -> Path:
    folder.mkdir(parents=True)
    save_file(dict(parts or tensors()), folder / "params.safetensors")
    if about is not None:
        (folder / "config.json").write_text(json.dumps(about))
    (folder / "examples.safetensors").write_bytes(b"never read")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "scope" / NAME, about=config())


def find(
    registry: Registry, reference: Any, site: str = "resid_post.13", shape: Shape | None = None
) -> PlacedRepresentation:
    """What a plan would use at a site."""
    choice = registry.choose("representations", reference)
    opened = OpenModel(choice=choice, model=shape or Shape(), sites=())  # type: ignore[arg-type]
    return locate(choice, opened, Site.parse(site), registry)


# ── which one ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dictionary_is_jumprelu_on_raw_activations_without_b_dec(registry: Registry, folder: Path) -> None:
    located = find(registry, str(folder))
    assert (located.d_in, located.width, located.published_l0, located.sparse) == (D_IN, WIDTH, 53, True)
    assert located.reference == f"scope/{NAME}"
    x = np.random.default_rng(9).standard_normal((40, D_IN))
    parts = {name: tensor.double().numpy() for name, tensor in tensors().items()}
    before = x @ parts["w_enc"] + parts["b_enc"]
    wanted = np.maximum(before, 0) * (before > parts["threshold"])
    encoder: Any = located.load("cpu")
    np.testing.assert_allclose(encoder.encode(torch.from_numpy(x).float()), wanted, rtol=1e-5, atol=1e-5)
    assert encoder.W_dec is None


def test_a_folder_a_trailing_slash_and_the_file_itself_are_the_same(registry: Registry, folder: Path) -> None:
    found = [find(registry, ref) for ref in (f"{folder}", f"{folder}/", f"{folder}/params.safetensors")]
    assert len({json.dumps(dict(located.identity)) for located in found}) == 1


def test_a_folder_of_any_name_is_read_where_one_likes(registry: Registry, tmp_path: Path) -> None:
    located = find(registry, str(write(tmp_path / "my-sae")), "resid_post.7")
    assert (located.published_l0, located.reference) == (None, "my-sae")


def test_of_a_local_repository_the_site_width_and_l0_choose(registry: Registry, tmp_path: Path) -> None:
    root = tmp_path / "scope"
    names = [
        "resid_post/layer_13_width_16k_l0_medium",
        "resid_post/layer_13_width_65k_l0_big",
        "resid_post_all/layer_13_width_16k_l0_medium",
        "resid_post/layer_13_width_16k_l0_medium_seed_1",
        "attn_out/layer_13_width_16k_l0_medium",
        "mlp_out_all/layer_2_width_16k_l0_small",
    ]
    hashes = {
        name: hash_file(write(root / name, tensors(seed)) / "params.safetensors")
        for seed, name in enumerate(names)
    }
    for options, site, name in [
        ("", "resid_post.13", names[0]),
        ("[width=65k,l0=big]", "resid_post.13", names[1]),
        ("", "attn_z.13", names[4]),
        ("[l0=small]", "mlp_out.2", names[5]),
    ]:
        located = find(registry, f"{root}{options}", site)
        assert (located.reference, located.identity["sha256"]) == (f"scope/{name}", hashes[name])
    with pytest.raises(
        UsageError, match=r"no dictionary with width=1m, l0=medium for 'attn_z\.13'; there it has"
    ):
        find(registry, f"{root}[width=1m]", "attn_z.13")


@pytest.mark.parametrize(
    ("model", "d_model", "reference", "site", "folder"),
    [
        ("google/gemma-3-270m", 640, "gemma-scope-2", "resid_post.5",
         "google/gemma-scope-2-270m-pt/resid_post/layer_5_width_16k_l0_medium"),
        ("google/gemma-3-1b-it", 1152, "gemma-scope-2[width=65k,l0=big]", "resid_post.22",
         "google/gemma-scope-2-1b-it/resid_post/layer_22_width_65k_l0_big"),
        ("google/gemma-3-4b-pt", 2560, "gemma-scope-2[width=1m,l0=small]", "resid_post.17",
         "google/gemma-scope-2-4b-pt/resid_post/layer_17_width_1m_l0_small"),
        ("google/gemma-3-12b-pt", 3840, "gemma-scope-2[width=262k]", "attn_z.41",
         "google/gemma-scope-2-12b-pt/attn_out/layer_41_width_262k_l0_medium"),
        ("hub/models--google--gemma-3-27b-it/snapshots/1a", 5376, "gemma-scope-2[l0=small]", "mlp_out.0",
         "google/gemma-scope-2-27b-it/mlp_out_all/layer_0_width_16k_l0_small"),
    ],
)  # fmt: skip
def test_the_exact_dictionary_is_named_by_the_models_shape_and_training(
    registry: Registry, model: str, d_model: int, reference: str, site: str, folder: str
) -> None:
    made = registry.choose("representations", reference).make()
    for architecture in ("gemma3", "gemma3_text"):
        shape = Shape(name=model, architecture=architecture, d_model=d_model)
        assert made.at(shape, Site.parse(site)) == folder


@pytest.mark.parametrize(
    ("reference", "site", "shape", "problem"),
    [
        ("gemma-scope-2", "resid_post.1", Shape(architecture="gemma2", d_model=1152), "is no Gemma 3 of 270m, 1b"),
        ("gemma-scope-2", "resid_post.1", Shape(d_model=1000), "is no Gemma 3 of 270m, 1b"),
        ("gemma-scope-2", "attn_out.7", Shape(d_model=1152), "its sites: resid_post, attn_z, mlp_out"),
        ("gemma-scope-2", "resid_post.8", Shape(d_model=1152),
         "no l0=medium for 'resid_post.8'; it has: small, big (more at layers 7, 13, 17, 22)"),
        ("gemma-scope-2[width=65k,l0=big]", "resid_post.8", Shape(d_model=1152), "no width=65k"),
        ("gemma-scope-2[width=1m]", "mlp_out.7", Shape(d_model=1152), "no width=1m for 'mlp_out.7'; it has: 16k"),
        (f"{REPO}[l0=large]", "resid_post.7", None, "no l0=large for 'resid_post.7'; it has: small, medium, big"),
        (f"{REPO}/resid_post", "resid_post.7", None, "names no dictionary"),
        (f"{REPO}/{NAME}[l0=big]", "resid_post.13", None, "has l0=medium, not big"),
        (f"{REPO}/{NAME}", "resid_post.7", None, "trained on 'resid_post.13', not on 'resid_post.7'; any_site=true"),
        (f"{REPO}/{NAME}", "mlp_out.13", None, "trained on 'resid_post.13', not on 'mlp_out.13'"),
        (f"{REPO}/transcoder/layer_13_width_16k_l0_big_affine", "mlp_out.13", None, "is a transcoder"),
        (f"{REPO}/transcoder_all/layer_13_width_16k_l0_big", "mlp_out.13", None, "is a transcoder"),
        (f"{REPO}/crosscoder/layer_13_width_65k_l0_big", "mlp_out.13", None, "is a crosscoder"),
        (f"{REPO}/clt/width_262k_l0_medium_affine", "mlp_out.13", None, "is a clt"),
    ],
)  # fmt: skip
def test_what_is_not_published_or_no_autoencoder_is_refused_in_one_sentence(
    registry: Registry, reference: str, site: str, shape: Shape | None, problem: str
) -> None:
    with pytest.raises(UsageError) as caught:
        find(registry, reference, site, shape)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


# ── what config.json says ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("model.layers.13.output", "resid_post.13"),
        ("model.language_model.layers.13.output", "resid_post.13"),
        ("model.layers.13.self_attn.o_proj.input", "attn_z.13"),
        ("model.layers.13.post_feedforward_layernorm.output", "mlp_out.13"),
    ],
)
def test_the_hook_says_what_a_dictionary_reads(
    registry: Registry, tmp_path: Path, hook: str, site: str
) -> None:
    folder = write(tmp_path / "my-sae", about=config(hook))
    assert find(registry, str(folder), site).published_l0 == 53
    with pytest.raises(UsageError, match=f"was trained on '{site}', not on 'resid_post.2'"):
        find(registry, str(folder), "resid_post.2")
    assert find(registry, f"{folder}[any_site=true]", "resid_post.2").width == WIDTH


@pytest.mark.parametrize(
    ("changed", "error", "problem"),
    [
        ({"type": "transcoder"}, UsageError, "is a transcoder"),
        ({"type": "crosscoder"}, UsageError, "is a crosscoder"),
        ({"affine_connection": True}, UsageError, "is a transcoder"),
        ({"hf_hook_point_out": "model.layers.13.post_feedforward_layernorm.output"}, UsageError, "is a transcoder"),
        ({"width": 2 * WIDTH}, UnavailableError, "its config.json says width = 32, and its weights have 16"),
        ({"architecture": "topk"}, UsageError, "has the architecture 'topk', not jump_relu"),
        (config("model.layers.13.pre_feedforward_layernorm.output"), UsageError, "none of the sites"),
        (config("model.embed_tokens.output"), UsageError, "none of the sites"),
        (config(3), UsageError, "none of the sites"),
        (config("model.layers.12.output"), UnavailableError, "says 'resid_post.12', its folder"),
    ],
)  # fmt: skip
def test_a_config_that_says_something_else_is_refused(
    registry: Registry, tmp_path: Path, changed: dict[str, Any], error: type[Exception], problem: str
) -> None:
    folder = write(tmp_path / "scope" / NAME, about={**config(), **changed})
    for reference in (str(folder), f"{folder}[any_site=true]"):
        with pytest.raises(error, match=problem):
            find(registry, reference)


def test_a_decoder_of_another_size_makes_a_transcoder(registry: Registry, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {**tensors(), "w_dec": torch.ones(WIDTH, 8)})
    with pytest.raises(UsageError, match="reads 6 dimensions and writes 8, so it is a transcoder"):
        find(registry, f"{folder}[any_site=true]")


def test_b_dec_is_subtracted_where_the_reference_says_so(registry: Registry, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", about=config())
    plain, told = find(registry, str(folder)), find(registry, f"{folder}[subtract_b_dec=true,any_site=true]")
    assert plain.load and told.load and told.load_whole
    assert told.identity == {**plain.identity, "subtract_b_dec": True}
    assert (plain.flags, told.flags) == ((), ("any-site",))
    x = torch.randn(20, D_IN, generator=torch.Generator().manual_seed(1))
    assert torch.equal(told.load("cpu").encode(x), plain.load("cpu").encode(x - tensors()["b_dec"]))
    assert torch.equal(told.load_whole("cpu").encode(x), told.load("cpu").encode(x))


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_broken_config_is_refused(registry: Registry, folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, "latin-1")
    with pytest.raises(UnavailableError, match=r"its config\.json"):
        find(registry, str(folder))


def test_without_a_config_the_name_of_the_folder_says_it(registry: Registry, folder: Path) -> None:
    (folder / "config.json").unlink()
    located = find(registry, str(folder))
    assert (located.width, located.published_l0) == (WIDTH, None)
    with pytest.raises(UsageError, match=r"trained on 'resid_post\.13', not on 'resid_post\.14'"):
        find(registry, str(folder), "resid_post.14")


@pytest.mark.parametrize(
    ("about", "flags"),
    [("gemma-3-1b-pt", ("pt-dictionary",)), ("google/gemma-v3-1b-it", ()), (None, ())],
)
def test_a_dictionary_of_the_pretrained_model_is_flagged_on_a_tuned_one(
    registry: Registry, tmp_path: Path, about: str | None, flags: tuple[str, ...]
) -> None:
    stated = config(model_name=about) if about else {}
    folder = str(write(tmp_path / "my-sae", about=stated))
    own = find(registry, folder)
    tuned = find(registry, folder, shape=Shape(name="google/gemma-3-1b-it"))
    assert (own.flags, tuned.flags) == ((), flags)
    assert (tuned.identity == own.identity) is not bool(flags)
    assert tuned.identity.get("trained_on") == ("pt" if flags else None)


# ── broken files ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"version https://git-lfs.github.com/spec/v1\n", None])
def test_a_file_that_is_cut_short_or_something_else_is_refused_when_planning(
    registry: Registry, folder: Path, content: bytes | None
) -> None:
    path = folder / "params.safetensors"
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    with pytest.raises(
        UnavailableError,
        match=r"cannot be read( .*: delete params\.safetensors and fetch it again|: it is a pointer of Git LFS)",
    ) as caught:
        find(registry, str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "error", "problem"),
    [
        ({"w_enc": None}, UnavailableError, r"has no w_enc; params\.safetensors holds: b_dec, b_enc, threshold, w_dec"),
        ({"threshold": None}, UnavailableError, "has no threshold"),
        ({"threshold": torch.ones(3)}, UnavailableError, r"threshold is \[3\], not \[16\]"),
        ({"b_enc": torch.ones(WIDTH + 1)}, UnavailableError, r"W_enc is \[6, 16\], not \[6, 17\]"),
        ({"w_enc": torch.ones(WIDTH)}, UnavailableError, "w_enc has 1 dimensions, not 2"),
        ({"b_enc": torch.full((WIDTH,), float("nan"))}, UnavailableError, "b_enc holds values that are not finite"),
        ({"w_enc": torch.full((D_IN, WIDTH), float("inf"))}, UnavailableError, "W_enc holds values that are not"),
        ({"threshold": torch.ones(WIDTH, dtype=torch.int64)}, UnavailableError, "threshold holds I64, not floats"),
        ({"affine_skip_connection": torch.ones(D_IN, D_IN)}, UsageError, "is a transcoder"),
        ({"w_enc": torch.ones(WIDTH, D_IN)}, UnavailableError, "width = 16, and its weights have 6"),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be_are_refused_in_one_sentence(
    registry: Registry,
    tmp_path: Path,
    changed: dict[str, torch.Tensor | None],
    error: type[Exception],
    problem: str,
) -> None:
    parts = {name: tensor for name, tensor in {**tensors(), **changed}.items() if tensor is not None}
    folder = write(tmp_path / "scope" / NAME, parts, config())
    with pytest.raises(error, match=problem) as caught:
        find(registry, str(folder)).load("cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tensors_of_other_float_types_become_float32(
    registry: Registry, tmp_path: Path, dtype: torch.dtype
) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in tensors().items()}
    encoder: Any = find(registry, str(write(tmp_path / "scope" / NAME, stored))).load("cpu")
    for name in ("W_enc", "b_enc", "threshold"):
        tensor = getattr(encoder, name)
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[name.lower()].float())


# ── the hub's cache ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hub(folder: Path, tmp_path: Path) -> Path:
    """The folder as the hub's cache keeps it: a snapshot of links to blobs; its examples were never fetched."""
    root = tmp_path / "hub" / f"models--{REPO.replace('/', '--')}"
    for name in ("refs", "blobs"):
        (root / name).mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for name in ("params.safetensors", "config.json"):
        blob = root / "blobs" / (hash_file(folder / name) if name.startswith("params") else "c" * 40)
        blob.write_bytes((folder / name).read_bytes())
        link = root / "snapshots" / COMMIT / NAME / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return root


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}", f"@{COMMIT[:7]}"])
@pytest.mark.parametrize("inside", ["", f"/{NAME}", f"/{NAME}/params.safetensors"])
def test_the_hubs_cache_serves_offline_what_a_folder_serves(
    registry: Registry, folder: Path, hub: Path, revision: str, inside: str
) -> None:
    wanted, got = find(registry, str(folder)), find(registry, f"{REPO}{revision}{inside}")
    assert got.identity == wanted.identity
    assert (got.d_in, got.width, got.published_l0) == (wanted.d_in, wanted.width, wanted.published_l0)
    whole = {"": "", "@main": "@main"}.get(revision, f"@{COMMIT}")
    assert got.reference == f"{REPO}{whole}/{NAME}"
    x = torch.randn(20, D_IN)
    assert torch.equal(got.load("cpu").encode(x), wanted.load("cpu").encode(x))


def test_a_config_that_is_not_in_the_cache_is_not_needed(registry: Registry, hub: Path) -> None:
    (hub / "snapshots" / COMMIT / NAME / "config.json").unlink()
    assert find(registry, f"{REPO}/{NAME}").published_l0 is None


def test_a_dictionary_that_is_not_in_the_cache_is_named_with_the_command_that_fetches_it(
    registry: Registry,
) -> None:
    with pytest.raises(UnavailableError) as caught:
        find(registry, "gemma-scope-2", "resid_post.7", Shape(d_model=1152))
    assert str(caught.value).endswith(
        f"run `hf download {REPO} resid_post/layer_7_width_16k_l0_medium/params.safetensors "
        f"resid_post/layer_7_width_16k_l0_medium/config.json`"
    )


@pytest.mark.parametrize("has_config", [True, False])
def test_online_a_plan_fetches_the_config_alone_and_a_run_the_parameters_never_the_folder(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch, has_config: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    fetched: list[str] = []
    sha256 = hash_file(folder / "params.safetensors")

    def download(repo: str, name: str, revision: str | None = None) -> str:
        assert (repo, revision) == (REPO, None)
        fetched.append(name)
        if name.endswith("config.json") and not has_config:
            raise EntryNotFoundError("no such file")
        return str(folder.parent.parent / name)

    def describe(url: str) -> Any:
        assert url == f"https://huggingface.co/{REPO}/resolve/main/{NAME}/params.safetensors"
        return Mock(etag=sha256)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", describe)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    located = find(registry, f"{REPO}[width=16k,l0=medium]")
    assert fetched == [f"{NAME}/config.json"]
    assert located.identity["sha256"] == sha256
    assert (located.width, located.published_l0) == (16384, 53 if has_config else None)
    located.load("cpu")
    assert fetched[1:] == [f"{NAME}/params.safetensors"]
