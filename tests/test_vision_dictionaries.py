"""Dictionaries of vision towers, ViT-Prisma's and saev's: the original arithmetic in numpy, where they serve, and what
is refused.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import harness
from harness import PlacedRepresentation, Site, UnavailableError, UsageError, hash_file
from harness.models.opened import OpenModel, locate
from harness.registry.catalog import Registry

Array = np.ndarray[Any, Any]

D_IN, FACTOR, K = 6, 8, 3
WIDTH = D_IN * FACTOR
SITE = "vision.resid_post.9"
COMMIT = "3f2a47c1c64851e9b1989792367b9babb4af6311"
PRISMA = "Prisma-Multimodal/sparse-autoencoder-clip-b-32-sae-vanilla-x64-layer-9-hook_resid_post-l1-1e-05"
SAEV = "osunlp/SAE_CLIP_24K_ViT-B-16_IN1K"


@dataclass(frozen=True)
class Shape:
    """A model as far as a representation can see it before anything is loaded."""

    name: str = "clip"
    architecture: str = "open_clip"
    n_layers: int = 12
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


def find(
    registry: Registry, reference: Any, site: str = SITE, shape: Shape | None = None
) -> PlacedRepresentation:
    """What a plan would use at a site."""
    choice = registry.choose("representations", reference)
    opened = OpenModel(choice=choice, model=shape or Shape(), sites=())  # type: ignore[arg-type]
    return locate(choice, opened, Site.parse(site), registry)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 2


def tensors(*more: str) -> dict[str, torch.Tensor]:
    """A state dict of both libraries, with `more` vectors of a value for each feature."""
    parts = {
        "W_enc": draw(D_IN, WIDTH, seed=0),
        "b_enc": draw(WIDTH, seed=1),
        "W_dec": draw(WIDTH, D_IN, seed=2),
        "b_dec": draw(D_IN, seed=3),
    }
    return parts | {name: draw(WIDTH, seed=4 + place) for place, name in enumerate(more)}


def tokens() -> torch.Tensor:
    """Activations far from zero mean and unit norm, with some that are very small."""
    x = 3 * draw(80, D_IN, seed=9) + torch.linspace(-1, 2, D_IN)
    return x * torch.logspace(-3, 1, 80)[:, None]


def largest(pre: Array, k: int) -> Array:
    """The k largest of each row as they are, the rest zero."""
    cut = np.sort(pre, axis=1)[:, -k][:, None]
    return np.where(pre >= cut, pre, 0)


def check(located: PlacedRepresentation, features: Array, rebuilt: Array) -> None:
    """That a dictionary gives these features, and rebuilds this, of `tokens()`."""
    assert located.load and located.load_whole
    own, whole = located.load("cpu"), located.load_whole("cpu")
    x = tokens()
    assert (features != 0).any() and (features == 0).any()
    np.testing.assert_allclose(own.encode(x), features, rtol=1e-4, atol=1e-4)
    assert torch.equal(own.encode(x), whole.encode(x))
    back, active = whole.rebuild(x, 7)
    np.testing.assert_allclose(back, rebuilt, rtol=1e-4, atol=1e-4)
    assert active == np.count_nonzero(features)
    assert (located.d_in, located.width, located.sparse) == (D_IN, WIDTH, True)
    assert getattr(own, "W_dec", 0) is None


# ── ViT-Prisma ───────────────────────────────────────────────────────────────────────────────────────────


def config(**changed: Any) -> dict[str, Any]:
    """The keys of a published config.json that say something."""
    return {
        "model_name": "open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
        "hook_point_layer": 9,
        "layer_subtype": "hook_resid_post",
        "hook_point_head_index": None,
        "context_size": 50,
        "use_patches_only": False,
        "architecture": "standard",
        "is_transcoder": False,
        "expansion_factor": FACTOR,
        "d_in": D_IN,
        "activation_fn_str": "relu",
        "activation_fn_kwargs": {},
        "cls_token_only": False,
        "normalize_activations": "layer_norm",
        **changed,
    }


def prisma(
    folder: Path, *, weights: Any = None, about: Mapping[str, Any] | None = None, name: str = "weights.pt"
) -> Path:
    """A folder as ViT-Prisma publishes them; without `about` there is no config.json."""
    folder.mkdir(parents=True)
    torch.save(tensors() if weights is None else weights, folder / name)
    if about is not None:
        (folder / "config.json").write_text(json.dumps(about))
    return folder


TOPK = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
RULES: dict[str, dict[str, Any]] = {"relu": {}, "topk": TOPK, "gated": {"architecture": "gated"}}


def prisma_forward(parts: Mapping[str, torch.Tensor], *, rule: str, norm: str) -> tuple[Array, Array]:
    """vit_prisma.sae's forward on `tokens()`, in float64."""
    weights = {name: tensor.double().numpy() for name, tensor in parts.items()}
    x = tokens().double().numpy()
    mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
    coefficient = np.sqrt(D_IN) / np.linalg.norm(x, axis=1, keepdims=True)
    read = {"layer_norm": (x - mean) / (std + 1e-5), "constant_norm_rescale": x * coefficient, "none": x}
    product = (read[norm] - weights["b_dec"]) @ weights["W_enc"]
    if rule == "gated":
        magnitude = product * np.exp(weights["r_mag"]) + weights["b_mag"]
        features = (product + weights["b_gate"] > 0) * np.maximum(magnitude, 0)
    else:
        pre = product + weights["b_enc"]
        features = np.maximum(pre if rule == "relu" else largest(pre, K), 0)
    rebuilt = features @ weights["W_dec"] + weights["b_dec"]
    back = {
        "layer_norm": rebuilt * std + mean,
        "constant_norm_rescale": rebuilt / coefficient,
        "none": rebuilt,
    }
    return features, back[norm]


@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale", "none"])
@pytest.mark.parametrize("rule", RULES)
def test_prismas_dictionaries_normalise_each_token_and_subtract_b_dec(
    registry: Registry, tmp_path: Path, rule: str, norm: str
) -> None:
    parts = tensors("b_gate", "r_mag", "b_mag") if rule == "gated" else tensors()
    about = config(normalize_activations=norm, **RULES[rule])
    folder = prisma(tmp_path / "sae", weights=parts, about=about)
    check(find(registry, str(folder)), *prisma_forward(parts, rule=rule, norm=norm))


def test_a_token_of_zeros_stays_finite(registry: Registry, tmp_path: Path) -> None:
    x = torch.zeros(2, D_IN)
    for norm in ("layer_norm", "constant_norm_rescale"):
        about = config(normalize_activations=norm)
        located = find(registry, str(prisma(tmp_path / norm, about=about)))
        assert located.load_whole
        whole = located.load_whole("cpu")
        wanted = torch.relu(tensors()["b_enc"] - tensors()["b_dec"] @ tensors()["W_enc"])
        torch.testing.assert_close(whole.encode(x), wanted.expand(2, -1))
        assert bool(torch.isfinite(whole.rebuild(x, WIDTH)[0]).all())


def test_what_the_config_changes_is_part_of_the_identity(registry: Registry, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"normalize_activations": "constant_norm_rescale"},
        {"normalize_activations": None},
        TOPK,
        {**TOPK, "activation_fn_kwargs": {"k": 4}},
    ]
    found = [
        find(registry, str(prisma(tmp_path / str(number), about=config(**changed))))
        for number, changed in enumerate(changes)
    ]
    assert len({json.dumps(dict(one.identity), sort_keys=True) for one in found}) == len(changes)
    assert len({one.identity["sha256"] for one in found}) == 1
    assert len({one.reference for one in found}) == len(changes)


def test_a_dictionary_of_some_positions_says_so(registry: Registry, tmp_path: Path) -> None:
    for number, (changed, flags) in enumerate(
        [
            ({}, ()),
            ({"cls_token_only": True}, ("trained-on-cls",)),
            ({"use_patches_only": True}, ("trained-on-patches",)),
        ]
    ):
        assert find(registry, str(prisma(tmp_path / str(number), about=config(**changed)))).flags == flags


def test_a_folder_its_file_and_a_file_of_both_are_one_dictionary(registry: Registry, tmp_path: Path) -> None:
    """Weights and config together are the older way; here the config is a plain dictionary, which is harmless."""
    folder = prisma(tmp_path / "new", about=config())
    both = {"cfg": config(), "state_dict": tensors()}
    old = prisma(tmp_path / "old", weights=both, name="n_images_2600058.pt") / "n_images_2600058.pt"
    beside = prisma(tmp_path / "beside", about=config(), name="final.pt") / "final.pt"
    wanted = find(registry, str(folder))
    assert find(registry, str(folder / "weights.pt")).identity == wanted.identity
    assert wanted.load
    for path in (old, beside):
        located = find(registry, str(path))
        assert located.load
        assert torch.equal(located.load("cpu").encode(tokens()), wanted.load("cpu").encode(tokens()))


class Attack:
    """An object whose pickle runs code when it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.mark.parametrize("about", [None, config()], ids=["alone", "beside a config.json"])
def test_a_pickle_that_needs_more_than_tensors_is_not_read(
    registry: Registry, tmp_path: Path, about: Mapping[str, Any] | None
) -> None:
    """ViT-Prisma's own save_model pickles its config as an object."""
    ran = tmp_path / "ran"
    weights = {"cfg": Attack(str(ran)), "state_dict": tensors()}
    folder = prisma(tmp_path / "sae", weights=weights, about=about)
    with pytest.raises(UnavailableError) as caught:
        find(registry, str(folder))
    assert str(caught.value) == (
        f"dictionary '{folder}': weights.pt is not read, as Python objects in it could run code: ask its author for "
        f"the tensors alone, torch.save(sae.state_dict(), path)"
    )
    assert not ran.exists()
    pickle.loads(pickle.dumps(Attack(str(ran))))
    assert ran.exists()


@pytest.mark.parametrize(
    ("changed", "site"),
    [
        ({"layer_subtype": "hook_mlp_out", "hook_point_layer": 3}, "vision.mlp_out.3"),
        ({"hook_point": "blocks.4.hook_resid_post", "hook_point_layer": 9}, "vision.resid_post.4"),
        ({"hook_point_layer": [7]}, "vision.resid_post.7"),
    ],
)
def test_a_dictionary_serves_where_its_hook_was(
    registry: Registry, tmp_path: Path, changed: dict[str, Any], site: str
) -> None:
    folder = str(prisma(tmp_path / "sae", about=config(**changed)))
    assert find(registry, folder, site).d_in == D_IN
    for other in ("vision.resid_post.5", "resid_post.9", "vision.embed.9"):
        with pytest.raises(UsageError) as caught:
            find(registry, folder, other)
        assert str(caught.value) == (
            f"dictionary '{folder}' was trained on '{site}', not on '{other}'; any_site=true reads it there all the "
            f"same"
        )
        assert find(registry, {"name": folder, "any_site": True}, other).width == WIDTH


def test_a_model_of_another_width_is_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reads activations of size 6, but site .* has size 7"):
        find(registry, str(prisma(tmp_path / "sae", about=config())), shape=Shape(d_model=7))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"is_transcoder": True}, "is a transcoder"),
        ({"architecture": "jumprelu"}, "is 'jumprelu' with 'relu'; read are standard with relu or topk, and gated"),
        ({"activation_fn_str": "tanh-relu"}, "is 'standard' with 'tanh-relu'"),
        ({"architecture": "gated", **TOPK}, "is 'gated' with 'topk'"),
        ({"activation_fn_str": None}, "has no activation_fn_str"),
        ({"activation_fn_str": "topk"}, "has no k for topk"),
        ({"normalize_activations": "whitening"}, "'whitening', which is none of layer_norm, constant_norm_rescale"),
        ({"layer_subtype": "ln2.hook_normalized"}, "reads 'blocks.9.ln2.hook_normalized'; read are"),
        ({"hook_point_head_index": 2}, "of one attention head"),
        ({"expansion_factor": FACTOR + 1}, f"its config.json says expansion_factor = {FACTOR + 1}, and its weights"),
        ({"d_in": D_IN + 1}, f"its config.json says d_in = {D_IN + 1}, and its weights have {D_IN}"),
    ],
)  # fmt: skip
def test_configs_of_something_else_are_refused_in_one_sentence(
    registry: Registry, tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    folder = prisma(tmp_path / "sae", about=config(**changed))
    with pytest.raises((UsageError, UnavailableError)) as caught:
        find(registry, str(folder))
    said = str(caught.value)
    assert problem in said and str(folder) in said and "\n" not in said


@pytest.mark.parametrize("more", [{"W_skip": torch.ones(D_IN, D_IN)}, {"W_dec": torch.ones(WIDTH, D_IN + 1)}])
def test_a_transcoder_that_its_config_does_not_declare_is_refused_at_any_site(
    registry: Registry, tmp_path: Path, more: dict[str, torch.Tensor]
) -> None:
    folder = prisma(tmp_path / "prisma", weights=tensors() | more, about=config())
    with pytest.raises(UsageError, match="is a transcoder"):
        find(registry, {"name": str(folder), "any_site": True})
    located = find(
        registry, {"name": str(saev(tmp_path / "sae.pt", header(5), tensors() | more)), "any_site": True}
    )
    assert located.load
    with pytest.raises(UsageError, match="is a transcoder"):
        located.load("cpu")


def test_b_dec_is_subtracted_as_the_reference_says(registry: Registry, tmp_path: Path) -> None:
    x, b_dec = tokens(), tensors()["b_dec"]
    for path, declared in (
        (saev(tmp_path / "old" / "sae.pt", FIRST), True),
        (saev(tmp_path / "new" / "sae.pt", header(5)), False),
        (prisma(tmp_path / "prisma", about=config(normalize_activations="none")), True),
    ):
        told = find(registry, {"name": str(path), "subtract_b_dec": not declared})
        plain = find(registry, str(path))
        assert told.load and told.load_whole and plain.load
        assert told.identity == {**plain.identity, "subtract_b_dec": not declared}
        shifted = x + b_dec if declared else x - b_dec
        torch.testing.assert_close(told.load("cpu").encode(x), plain.load("cpu").encode(shifted))
        assert torch.equal(told.load_whole("cpu").encode(x), told.load("cpu").encode(x))


def test_weights_that_cannot_be_read_are_said_in_one_sentence(registry: Registry, tmp_path: Path) -> None:
    about = config()
    broken = {
        "no W_enc; weights.pt holds: b_enc": {"b_enc": torch.ones(2)},
        "has no W_enc; weights.pt holds: nothing": [1, 2],
        "W_enc holds int64, not floats": tensors() | {"W_enc": torch.ones(D_IN, WIDTH, dtype=torch.int64)},
        "W_enc has 1 dimensions": tensors() | {"W_enc": torch.ones(D_IN)},
    }
    for number, (problem, weights) in enumerate(broken.items()):
        with pytest.raises(UnavailableError, match=problem):
            find(registry, str(prisma(tmp_path / str(number), weights=weights, about=about)))
    folder = prisma(tmp_path / "sae", about=about)
    whole = (folder / "weights.pt").read_bytes()
    for data in (b"version https://git-lfs.github.com/spec/v1\n", whole[:500], b""):
        (folder / "weights.pt").write_bytes(data)
        with pytest.raises(
            UnavailableError,
            match=r"cannot be read( as a file of PyTorch tensors .*: fetch it again|: it is a pointer)",
        ):
            find(registry, str(folder))
    with pytest.raises(UnavailableError, match=r"has no config.json beside weights.pt, and no config in it"):
        find(registry, str(prisma(tmp_path / "bare")))
    (folder / "config.json").write_text("{")
    with pytest.raises(UnavailableError, match=r"config.json cannot be read"):
        find(registry, str(folder))


def in_the_cache(tmp_path: Path, repository: str, *paths: Path) -> None:
    """The files as the hub's cache keeps them."""
    root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for path in paths:
        blob = root / "blobs" / hash_file(path)
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(path.read_bytes())
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / path.name).symlink_to(blob)


@pytest.mark.parametrize("spelling", ["Prisma-Multimodal", "prisma-multimodal"])
def test_the_hubs_cache_serves_what_a_folder_serves(
    registry: Registry, tmp_path: Path, spelling: str
) -> None:
    repository = PRISMA.replace("Prisma-Multimodal", spelling)
    folder = prisma(tmp_path / "sae", about=config())
    with pytest.raises(UnavailableError, match=rf"run `hf download {repository} weights.pt config.json`"):
        find(registry, repository)
    in_the_cache(tmp_path, repository, folder / "config.json", folder / "weights.pt")
    for reference in (repository, f"{repository}@{COMMIT}", f"{repository}/weights.pt"):
        located = find(registry, reference)
        assert located.identity == find(registry, str(folder)).identity
        assert located.reference == reference.removesuffix("/weights.pt")
        check(located, *prisma_forward(tensors(), rule="relu", norm="layer_norm"))


# ── saev ─────────────────────────────────────────────────────────────────────────────────────────────────

OLD = {"n_reinit_samples": 524288, "remove_parallel_grads": True, "normalize_w_dec": True, "seed": 0}
SIZES = {"d_vit": D_IN, "exp_factor": FACTOR}
FIRST = {**SIZES, **OLD, "sparsity_coeff": 4e-4, "ghost_grads": False}


def header(schema: int, activation: str | None = "Relu", **changed: Any) -> dict[str, Any]:
    """A header since the activation stands in the config."""
    named = {"cls": activation, "params": {"top_k": K} if "TopK" in str(activation) else {}}
    sizes = SIZES if schema < 3 else {"d_model": D_IN, "exp_factor": FACTOR}
    sizes = {"d_model": D_IN, "d_sae": WIDTH} if schema > 3 else sizes
    cfg = {**sizes, "normalize_w_dec": True, "activation": named, **changed}
    return {"schema": schema, "cfg": cfg, "commit": "0a1b2c3", "lib": "0.1.0"}


def saev(path: Path, about: Mapping[str, Any], weights: Any = None) -> Path:
    """A checkpoint as saev writes them: a line of JSON, then a state dict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(json.dumps(about).encode() + b"\n")
        torch.save(tensors() if weights is None else weights, file)
    return path


def saev_forward(*, rule: str, subtracts: bool, threshold: float = 0.0) -> tuple[Array, Array]:
    """saev.nn's forward on `tokens()`, in float64."""
    weights = {name: tensor.double().numpy() for name, tensor in tensors().items()}
    x = tokens().double().numpy()
    pre = (x - weights["b_dec"] * subtracts) @ weights["W_enc"] + weights["b_enc"]
    features = {
        "Relu": np.maximum(pre, 0),
        "TopK": largest(pre, K),
        "BatchTopK": np.where(pre > max(threshold, 0), pre, 0),
    }
    return features[rule], features[rule] @ weights["W_dec"] + weights["b_dec"]


HEADERS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "no schema": (FIRST, "Relu", True),
    "schema 1, cls": (
        {"schema": 1, "cls": "Relu", "cfg": {**SIZES, **OLD}, "commit": "unknown", "lib": "0.1.0"},
        "Relu",
        True,
    ),
    "schema 1, cls with k": (
        {"schema": 1, "cls": "TopK", "cfg": {**SIZES, **OLD, "top_k": K}, "commit": "c", "lib": "0.1.0"},
        "TopK",
        True,
    ),
    "schema 1, activation": ({**header(1), "cls": "SparseAutoencoderConfig"}, "Relu", False),
    **{
        f"schema {schema}, {rule}": (header(schema, rule), rule, False)
        for schema in (2, 3, 4, 5)
        for rule in ("Relu", "TopK")
    },
}


@pytest.mark.parametrize("kind", HEADERS)
def test_saevs_dictionaries_subtract_b_dec_only_while_they_did(
    registry: Registry, tmp_path: Path, kind: str
) -> None:
    about, rule, subtracts = HEADERS[kind]
    path = saev(tmp_path / "sae.pt", about)
    for reference in (str(path), str(tmp_path)):
        check(find(registry, reference), *saev_forward(rule=rule, subtracts=subtracts))


def test_saevs_top_k_keeps_what_is_below_zero(registry: Registry, tmp_path: Path) -> None:
    low = tensors() | {"b_enc": torch.full((WIDTH,), -100.0)}
    located = find(registry, str(saev(tmp_path / "sae.pt", header(5, "TopK"), low)))
    assert located.load
    features = located.load("cpu").encode(tokens())
    assert bool((features < 0).any()) and not bool((features > 0).any())
    assert bool(((features != 0).sum(1) == K).all())


def test_a_k_of_more_features_than_there_are_is_refused(registry: Registry, tmp_path: Path) -> None:
    about = header(5, "TopK")
    about["cfg"]["activation"]["params"]["top_k"] = WIDTH + 1
    located = find(registry, str(saev(tmp_path / "sae.pt", about)))
    assert located.load
    with pytest.raises(UnavailableError, match=f"k={WIDTH + 1} is not between 1 and {WIDTH}"):
        located.load("cpu")


@pytest.mark.parametrize("threshold", [1.3, 0.0, -0.5])
def test_saevs_batch_top_k_has_one_threshold(registry: Registry, tmp_path: Path, threshold: float) -> None:
    weights = tensors() | {"activation.threshold": torch.tensor(threshold)}
    located = find(registry, str(saev(tmp_path / "sae.pt", header(5, "BatchTopK"), weights)))
    check(located, *saev_forward(rule="BatchTopK", subtracts=False, threshold=threshold))


def test_the_folder_or_the_repository_says_which_layer(registry: Registry, tmp_path: Path) -> None:
    for place, layer in (("layer_4/lnleoyf6", 4), ("SAE_CLIP_24K_ViT-B-16_IN1K", 10)):
        path = str(saev(tmp_path / place / "sae.pt", header(4)))
        assert find(registry, path, f"vision.resid_post.{layer}").width == WIDTH
        with pytest.raises(UsageError, match=rf"was trained on 'vision.resid_post.{layer}', not on '{SITE}'"):
            find(registry, path)
        assert find(registry, {"name": path, "any_site": True}).width == WIDTH
    reference = find(registry, str(tmp_path / "layer_4" / "lnleoyf6"), "vision.resid_post.4").reference
    assert str(reference).endswith("layer_4/lnleoyf6") and str(tmp_path.parent) not in str(reference)


def test_a_file_that_names_no_layer_serves_on_any_of_the_tower(registry: Registry, tmp_path: Path) -> None:
    path = str(saev(tmp_path / "sae.pt", FIRST))
    assert find(registry, path, "vision.resid_post.0").d_in == find(registry, path).d_in == D_IN
    for site in ("resid_post.9", "vision.mlp_out.9"):
        with pytest.raises(UsageError, match="was trained on the residual stream of a vision tower, not on"):
            find(registry, path, site)


def test_saevs_published_repositories_are_read_from_the_cache(registry: Registry, tmp_path: Path) -> None:
    site = "vision.resid_post.10"
    with pytest.raises(UnavailableError, match=rf"run `hf download {SAEV} sae.pt`"):
        find(registry, SAEV, site)
    path = saev(tmp_path / "sae.pt", FIRST)
    in_the_cache(tmp_path, SAEV, path)
    located = find(registry, SAEV, site)
    check(located, *saev_forward(rule="Relu", subtracts=True))
    assert located.reference == SAEV
    with pytest.raises(UsageError, match=r"was trained on 'vision.resid_post.10'"):
        find(registry, SAEV)


def test_checkpoints_of_saev_that_are_something_else_are_refused_in_one_sentence(
    registry: Registry, tmp_path: Path
) -> None:
    cases: dict[str, tuple[Any, Any]] = {
        "has schema 6; read are 1 to 5": (header(6), None),
        "has the activation 'JumpRelu'": ({"schema": 1, "cls": "JumpRelu", "cfg": {**SIZES, **OLD}}, None),
        "has the activation 'Sigmoid'; read are Relu, TopK, BatchTopK": (header(4, "Sigmoid"), None),
        "has the activation 'None'": (header(4, None), None),
        "first line is no header of saev": ({"schema": 5, "cfg": {"d_sae": 5}}, None),
        "has no activation.threshold": (header(5, "BatchTopK"), None),
        "Python objects in it could run code": (FIRST, {"W_enc": Attack(str(tmp_path / "ran"))}),
        "has no W_enc": (FIRST, {"weight": torch.ones(2)}),
        r"W_enc is \[6, 7\], not \[6, 48\]": (FIRST, tensors() | {"W_enc": torch.ones(D_IN, 7)}),
    }
    for number, (problem, (about, weights)) in enumerate(cases.items()):
        path = saev(tmp_path / str(number) / "sae.pt", about, weights)
        with pytest.raises((UsageError, UnavailableError), match=problem) as caught:
            located = find(registry, str(path))
            assert located.load
            located.load("cpu")
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "sae.pt").write_bytes(b'{"schema"')
    with pytest.raises(UnavailableError, match="first line is no header of saev"):
        find(registry, str(tmp_path / "sae.pt"))


def test_other_files_are_nobodys(registry: Registry, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "model.pt")
    (tmp_path / "sae.pt").write_bytes(b"something else")
    for path in (tmp_path / "model.pt", tmp_path / "sae.pt", tmp_path):
        with pytest.raises(
            UnavailableError, match=r"pickled file of none of the layouts|folder without a dictionary"
        ):
            find(registry, str(path))
    for name in ("osunlp/SAE", "someone/prisma"):
        with pytest.raises(UnavailableError, match="in the local hub cache"):
            find(registry, name)


# ── Gemma Scope's layout ─────────────────────────────────────────────────────────────────────────────────


def scope(folder: Path, site: Any) -> str:
    """A dictionary as `harness train-dictionary` writes it, with what its training.json says of its site."""
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{key: part.numpy() for key, part in tensors("threshold").items()})
    (folder / "training.json").write_text(json.dumps({"model": "clip", "site": site}))
    return str(folder)


@pytest.mark.parametrize(
    ("trained", "others"),
    [
        (SITE, ("resid_post.9", "vision.mlp_out.9", "vision.embed.9")),
        ("resid_post.9", (SITE, "mlp_out.9", "attn_z.9")),
    ],
)
def test_a_dictionary_that_was_trained_here_serves_the_tower_and_kind_of_site_that_it_was_trained_on(
    registry: Registry, tmp_path: Path, trained: str, others: tuple[str, ...]
) -> None:
    folder = scope(tmp_path / "scope" / "layer_9" / "width_48" / "average_l0_3", trained)
    below = trained.replace("9", "8")
    for reference in (folder, f"{folder}/params.npz", str(tmp_path / "scope")):
        assert find(registry, reference, trained).width == WIDTH
        assert find(registry, f"{reference}[layer_offset=1]", below).flags == ("layer-offset:1",)
        with pytest.raises(UsageError):
            find(registry, reference, below)
        for other in others:
            with pytest.raises(UsageError) as caught:
                find(registry, reference, other)
            assert f"was trained on '{trained}', not on '{other}'; any_site=true" in str(caught.value)
            assert find(registry, {"name": reference, "any_site": True}, other).width == WIDTH


def test_where_it_was_trained_is_no_part_of_what_a_dictionary_is(registry: Registry, tmp_path: Path) -> None:
    folder = scope(tmp_path / "scope", SITE)
    told = find(registry, folder).identity
    (tmp_path / "scope" / "training.json").unlink()
    assert find(registry, folder).identity == told


@pytest.mark.parametrize("about", ["{}", "[]", "no JSON", '{"site": 5}', '{"site": "hook.resid"}'])
def test_a_training_json_that_names_no_site_says_nothing(
    registry: Registry, tmp_path: Path, about: str
) -> None:
    folder = scope(tmp_path / "scope", None)
    (tmp_path / "scope" / "training.json").write_text(about)
    assert find(registry, folder).width == find(registry, folder, "resid_post.3").width == WIDTH


def test_published_dictionaries_of_language_models_are_of_no_vision_tower(
    registry: Registry, tmp_path: Path
) -> None:
    place = tmp_path / "gemma-scope-2b-pt-res" / "layer_9" / "width_48" / "average_l0_3"
    folder = scope(place, None)
    assert find(registry, folder, "resid_post.9").width == WIDTH
    with pytest.raises(UsageError, match=r"was trained on resid_post, not on 'vision.resid_post.9'"):
        find(registry, folder)


def test_a_dictionary_in_the_layout_of_gemma_scope_2_serves_the_tower_that_is_named_beside_it(
    registry: Registry, tmp_path: Path
) -> None:
    named = {name.lower(): part for name, part in tensors("threshold").items()}
    save_file(named, tmp_path / "params.safetensors")
    assert find(registry, str(tmp_path)).width == find(registry, str(tmp_path), "resid_post.9").width == WIDTH
    for file, about in (
        ("training.json", {"site": SITE}),
        ("config.json", {"hf_hook_point_in": "model.vision_tower.encoder.layers.9.output"}),
    ):
        (tmp_path / file).write_text(json.dumps(about))
        assert find(registry, str(tmp_path)).width == WIDTH
        with pytest.raises(UsageError, match=f"was trained on '{SITE}', not on 'resid_post.9'"):
            find(registry, str(tmp_path), "resid_post.9")
        (tmp_path / file).unlink()


def test_the_embedded_dictionaries_serve_their_own_towers(registry: Registry) -> None:
    choice = registry.choose("models", "minipaligemma")
    opened = OpenModel(choice=choice, model=choice.make(), sites=())

    def place(name: str, site: str) -> PlacedRepresentation:
        return locate(registry.choose("representations", name), opened, Site.parse(site), registry)

    for name in ("minigemma-scope", "minipaligemma-scope"):
        assert place(name, "resid_post.2").width == 1024
        with pytest.raises(UsageError, match=r"was trained on 'resid_post.2', not on 'vision.resid_post.2'"):
            place(name, "vision.resid_post.2")
    assert place("miniclip-scope", "vision.resid_post.2").width == 1024
    with pytest.raises(UsageError, match=r"was trained on 'vision.resid_post.2', not on 'resid_post.2'"):
        place("miniclip-scope", "resid_post.2")
