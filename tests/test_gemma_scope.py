"""Gemma Scope dictionaries in folders and in the hub's cache: which one is chosen, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from harness_saes.gemma_scope import load

import harness
from harness import ChangedError, PlacedRepresentation, Site, UnavailableError, UsageError, hash_file
from harness.models.opened import OpenModel, locate
from harness.registry.catalog import Registry

D_IN, WIDTH = 6, 16
REPO = "google/gemma-scope-2b-pt-res"
COMMIT = "fd571b47c1c64851e9b1989792367b9babb4af63"
PUBLISHED = {  # layer → width → L0s
    3: {"16": (22, 82, 141)},
    5: {"16": (40, 104), "64": (19,)},
}


@dataclass(frozen=True)
class Shape:
    """A model as far as a representation can see it before anything is loaded."""

    name: str = "shape"
    architecture: str = "gemma2"
    n_layers: int = 26
    n_parameters: int = 0
    d_model: int = D_IN

    def width(self, site: Site) -> int:
        return 2048 if site.kind == "attn_z" else self.d_model

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


def arrays(seed: int = 0, *, width: int = WIDTH, d_in: int = D_IN) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "W_enc": random.standard_normal((d_in, width), dtype=np.float32),
        "W_dec": random.standard_normal((width, d_in), dtype=np.float32),
        "b_enc": random.standard_normal(width, dtype=np.float32),
        "b_dec": random.standard_normal(d_in, dtype=np.float32),
        "threshold": random.random(width, dtype=np.float32),
    }


def write(folder: Path, parts: Mapping[str, Any], *, save: Any = np.savez) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "params.npz", **parts)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder laid out as the published repositories."""
    root = tmp_path / "scope"
    for layer, widths in PUBLISHED.items():
        for width, l0s in widths.items():
            for l0 in l0s:
                folder = root / f"layer_{layer}" / f"width_{width}" / f"average_l0_{l0}"
                write(folder, arrays(layer * 1000 + l0, width=int(width)))
    return root


@pytest.fixture
def hub(repository: Path, tmp_path: Path) -> Path:
    """The same as the hub's cache keeps it: snapshots of links to blobs named by their hash."""
    root = tmp_path / "hub" / f"models--{REPO.replace('/', '--')}"
    for folder in ("refs", "blobs"):
        (root / folder).mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for file in repository.rglob("params.npz"):
        blob = root / "blobs" / hash_file(file)
        blob.write_bytes(file.read_bytes())
        link = root / "snapshots" / COMMIT / file.relative_to(repository)
        link.parent.mkdir(parents=True)
        link.symlink_to(blob)
    return root


def find(
    registry: Registry, reference: Any, site: str = "resid_post.3", shape: Shape | None = None
) -> PlacedRepresentation:
    """What a plan would use at a site."""
    model = shape or Shape()
    choice = registry.choose("representations", reference)
    opened = OpenModel(choice=choice, model=model, sites=())  # type: ignore[arg-type]
    return locate(choice, opened, Site.parse(site), registry)


def folder_of(root: Path, layer: int, l0: int, width: str = "16") -> Path:
    return root / f"layer_{layer}" / f"width_{width}" / f"average_l0_{l0}"


# ── which one ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dictionary_is_jumprelu_on_raw_activations_without_b_dec(
    registry: Registry, repository: Path
) -> None:
    folder = folder_of(repository, 3, 82)
    located = find(registry, str(folder))
    assert (located.d_in, located.width, located.published_l0, located.sparse) == (D_IN, WIDTH, 82, True)
    encoder = located.load("cpu")
    x = np.random.default_rng(9).standard_normal((40, D_IN))
    with np.load(folder / "params.npz") as parts:
        before = x @ parts["W_enc"] + parts["b_enc"]
        wanted = np.maximum(before, 0) * (before > parts["threshold"])
    np.testing.assert_allclose(encoder.encode(torch.from_numpy(x).float()), wanted, rtol=1e-5, atol=1e-5)


def test_a_folder_a_trailing_slash_and_the_file_itself_are_the_same(
    registry: Registry, repository: Path
) -> None:
    folder = folder_of(repository, 3, 22)
    found = [find(registry, ref) for ref in (f"{folder}", f"{folder}/", f"{folder}/params.npz")]
    assert len({json.dumps(dict(located.identity)) for located in found}) == 1
    assert {located.published_l0 for located in found} == {22}


def test_a_folder_of_any_name_is_read_where_one_likes(registry: Registry, tmp_path: Path) -> None:
    folder = write(tmp_path / "my-sae", arrays())
    assert find(registry, str(folder), "resid_post.7").published_l0 is None


@pytest.mark.parametrize(
    ("l0", "published"),
    [(82, 82), ("82", 82), ("~60", 82), ("~50", 22), ("~9", 22), ("~999", 141), (None, 82)],
)
def test_l0_is_exact_or_the_nearest_or_the_one_nearest_to_100(
    registry: Registry, repository: Path, l0: Any, published: int
) -> None:
    located = find(registry, {"name": str(repository), "l0": l0})
    assert located.published_l0 == published
    assert located.identity["sha256"] == hash_file(folder_of(repository, 3, published) / "params.npz")


def test_the_layer_follows_the_site_and_the_narrowest_width_is_the_default(
    registry: Registry, repository: Path
) -> None:
    assert find(registry, str(repository), "resid_post.5").published_l0 == 104
    wide = find(registry, f"{repository}[width=64]", "resid_post.5")
    assert (wide.width, wide.published_l0) == (64, 19)


@pytest.mark.parametrize(
    ("options", "site", "problem"),
    [
        ("[l0=83]", "resid_post.3", "has no dictionary with l0=83; it has: 22, 82, 141"),
        ("[l0=about 80]", "resid_post.3", "l0=about 80 is neither a number nor ~NUMBER"),
        ("[width=64]", "resid_post.3", "has no width 64 for 'resid_post.3'; it has: 16"),
        ("[width=32]", "resid_post.5", "it has: 16, 64"),
        ("", "resid_post.4", "has no dictionary for 'resid_post.4'; its layers: 3, 5"),
        ("[depth=4]", "resid_post.3", "has no parameter 'depth'; it takes: width, l0, any_site"),
    ],
)
def test_what_is_not_published_is_refused_with_what_is(
    registry: Registry, repository: Path, options: str, site: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem.replace("[", r"\[")):
        find(registry, f"{repository}{options}", site)


@pytest.mark.parametrize("options", ["[l0=83]", "[width=64]"])
def test_a_width_or_l0_that_is_not_the_folders_own_is_refused(
    registry: Registry, repository: Path, options: str
) -> None:
    folder = folder_of(repository, 3, 82)
    with pytest.raises(UsageError, match="it has: "):
        find(registry, f"{folder}{options}")
    assert find(registry, f"{folder}[l0=82,width=16]").published_l0 == 82


# ── where ────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_layer_is_refused_unless_any_site_is_asked_for(registry: Registry, repository: Path) -> None:
    folder = folder_of(repository, 3, 82)
    with pytest.raises(UsageError, match=r"trained on layer 3, not on 'resid_post\.4'; any_site=true"):
        find(registry, str(folder), "resid_post.4")
    there = find(registry, f"{folder}[any_site=true]", "resid_post.4")
    assert (there.published_l0, there.flags) == (82, ("any-site",))
    assert there.identity == find(registry, str(folder)).identity


@pytest.mark.parametrize(
    ("kind", "site", "reads"),
    [
        ("res", "mlp_out.3", "resid_post"),
        ("mlp", "resid_post.3", "mlp_out"),
        ("att", "attn_out.3", "attn_z"),
    ],
)
def test_a_published_dictionary_of_another_kind_of_site_is_refused(
    registry: Registry, tmp_path: Path, kind: str, site: str, reads: str
) -> None:
    folder = folder_of(write(tmp_path, arrays()) / f"gemma-scope-2b-pt-{kind}", 3, 82)
    write(folder, arrays())
    with pytest.raises(UsageError, match=f"was trained on {reads}, not on '{site}'"):
        find(registry, str(folder), site)
    assert find(registry, f"{folder}[any_site=true]", site).published_l0 == 82


@pytest.mark.parametrize("options", ["", "[any_site=true]"])
def test_a_transcoder_is_no_dictionary_at_any_site(registry: Registry, tmp_path: Path, options: str) -> None:
    named = write(folder_of(tmp_path / "gemma-scope-2b-pt-transcoders", 3, 82), arrays())
    shaped = write(folder_of(tmp_path / "mine", 3, 82), arrays() | {"W_dec": np.ones((WIDTH, 8), np.float32)})
    with pytest.raises(UsageError, match="is a transcoder, which predicts something else"):
        find(registry, f"{named}{options}", "resid_post.3")
    with pytest.raises(UsageError, match="reads 6 dimensions and writes 8, so it is a transcoder"):
        find(registry, f"{shaped}{options}", "resid_post.3")


@pytest.mark.parametrize("options", ["", "[any_site=true]"])
def test_a_dictionary_of_the_embedding_is_read_at_no_site(
    registry: Registry, tmp_path: Path, options: str
) -> None:
    inside = "embedding/width_4k/average_l0_6"
    folder = write(tmp_path / "gemma-scope-2b-pt-res" / inside, arrays())
    for ref in (str(folder), f"{folder}/params.npz", f"{REPO}/{inside}"):
        with pytest.raises(UsageError, match="reads the embedding, which is no site"):
            find(registry, f"{ref}{options}")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("part", ["layer_3", "layer_5/width_64", "layer_3/width_16/"])
def test_a_part_of_a_repository_is_not_taken_for_all_of_it(registry: Registry, part: str) -> None:
    assert find(registry, REPO, "resid_post.5").published_l0 == 104
    with pytest.raises(UsageError, match="names no dictionary: REPOSITORY/layer_L/width_W/average_l0_N does"):
        find(registry, f"{REPO}/{part}", "resid_post.5")


@pytest.mark.parametrize(
    ("named", "held", "flags"),
    [
        ("16", 16, ()),
        ("16k", 16, ("named-width:16k",)),
        ("17", 16, ("named-width:17",)),
        ("1k", 1024, ()),
        ("1k", 1000, ()),
        ("3k", 3072, ()),
        ("3k", 4096, ("named-width:3k",)),
        ("1k", 1200, ("named-width:1k",)),
    ],
)
def test_a_folder_that_names_another_width_is_flagged(
    registry: Registry, tmp_path: Path, named: str, held: int, flags: tuple[str, ...]
) -> None:
    folder = write(folder_of(tmp_path, 3, 82, named), arrays(width=held))
    located = find(registry, str(folder))
    assert (located.width, located.flags) == (held, flags)


def test_b_dec_is_subtracted_where_the_reference_says_so(registry: Registry, repository: Path) -> None:
    folder = folder_of(repository, 3, 82)
    plain, told = find(registry, str(folder)), find(registry, f"{folder}[subtract_b_dec=true]")
    assert plain.load and told.load and told.load_whole
    assert told.identity == {**plain.identity, "subtract_b_dec": True}
    x = torch.randn(20, D_IN, generator=torch.Generator().manual_seed(1))
    b_dec = torch.from_numpy(np.load(folder / "params.npz")["b_dec"])
    assert torch.equal(told.load("cpu").encode(x), plain.load("cpu").encode(x - b_dec))
    assert torch.equal(told.load_whole("cpu").encode(x), told.load("cpu").encode(x))
    assert told.load("cpu").b_dec is None
    with pytest.raises(UsageError, match="subtract_b_dec='maybe' is neither true nor false"):
        find(registry, f"{folder}[subtract_b_dec=maybe]")


def test_another_models_width_is_refused_before_anything_is_loaded(
    registry: Registry, repository: Path
) -> None:
    with pytest.raises(UsageError, match=r"of size 6, but site 'resid_post\.3' of model '.*' has size 8"):
        find(registry, str(repository), shape=Shape(d_model=8))


@pytest.mark.parametrize(
    ("d_model", "site", "name"),
    [
        (2304, "resid_post.13", "google/gemma-scope-2b-pt-res"),
        (3584, "resid_post.21", "google/gemma-scope-9b-pt-res"),
        (4608, "mlp_out.10", "google/gemma-scope-27b-pt-mlp"),
        (2304, "attn_z.0", "google/gemma-scope-2b-pt-att"),
    ],
)
def test_the_published_repository_is_found_by_the_models_shape(
    registry: Registry, d_model: int, site: str, name: str
) -> None:
    made = registry.choose("representations", "gemma-scope[width=65k,l0=~60]").make()
    found = made.at(Shape(d_model=d_model), Site.parse(site))
    assert found == {"name": name, "width": "65k", "l0": "~60"}


@pytest.mark.parametrize(
    ("name", "d_model", "site", "options", "folder"),
    [
        ("google/gemma-2-2b", 2304, "resid_post.5", "", "2b-pt-res/layer_5/width_16k/average_l0_68"),
        ("google/gemma-2-2b", 2304, "resid_post.12", "width=16k,l0=~100", "2b-pt-res/layer_12/width_16k/average_l0_82"),
        ("google/gemma-2-2b", 2304, "resid_post.19", "width=65k", "2b-pt-res/layer_19/width_65k/average_l0_115"),
        ("google/gemma-2-2b", 2304, "resid_post.12", "width=1m,l0=26", "2b-pt-res/layer_12/width_1m/average_l0_26"),
        ("google/gemma-2-9b", 3584, "resid_post.20", "width=131k", "9b-pt-res/layer_20/width_131k/average_l0_114"),
        ("google/gemma-2-27b", 4608, "resid_post.34", "width=131k", "27b-pt-res/layer_34/width_131k/average_l0_72"),
        ("google/gemma-2-9b-it", 3584, "resid_post.9", "", "9b-it-res/layer_9/width_16k/average_l0_88"),
        ("google/gemma-2-9b-it@1a2b", 3584, "resid_post.31", "", "9b-it-res/layer_31/width_16k/average_l0_76"),
        ("hub/models--google--gemma-2-9b-it/snapshots/1a", 3584, "resid_post.20", "width=131k",
         "9b-it-res/layer_20/width_131k/average_l0_81"),
        ("google/gemma-2-2b-it", 2304, "resid_post.5", "", "2b-pt-res/layer_5/width_16k/average_l0_68"),
        ("google/gemma-2-27b-it", 4608, "resid_post.22", "width=131k", "27b-pt-res/layer_22/width_131k/average_l0_82"),
    ],
)  # fmt: skip
def test_where_all_is_known_the_exact_dictionary_is_named_whatever_a_cache_holds(
    registry: Registry, name: str, d_model: int, site: str, options: str, folder: str
) -> None:
    made = registry.choose("representations", f"gemma-scope[{options}]").make()
    assert made.at(Shape(name=name, d_model=d_model), Site.parse(site)) == f"google/gemma-scope-{folder}"


@pytest.mark.parametrize(
    ("name", "site", "repo"),
    [
        ("google/gemma-2-9b-it", "resid_post.10", "google/gemma-scope-9b-pt-res"),
        ("google/gemma-2-9b-it", "mlp_out.9", "google/gemma-scope-9b-pt-mlp"),
    ],
)
def test_where_a_tuned_model_has_none_of_its_own_it_borrows_and_says_so(
    registry: Registry, tmp_path: Path, name: str, site: str, repo: str
) -> None:
    made = registry.choose("representations", "gemma-scope").make()
    assert made.at(Shape(name=name, d_model=3584), Site.parse(site))["name"] == repo
    folder = folder_of(tmp_path / repo, Site.parse(site).layer, 82)
    write(folder, arrays())
    own = find(registry, str(folder), site)
    borrowed = find(registry, str(folder), site, Shape(name=name))
    assert (own.flags, borrowed.flags) == ((), ("pt-dictionary",))
    assert borrowed.identity == {**own.identity, "trained_on": "pt"}
    assert (
        borrowed.reference
        == f"{repo.partition('/')[2]}/layer_{Site.parse(site).layer}/width_16/average_l0_82"
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            "width=131k",
            "'google/gemma-scope-2b-pt-res' has no width 131k for 'resid_post.5'; it has: 16k, 65k, 1m",
        ),
        ("l0=70", "has no dictionary with l0=70; it has: 18, 34, 68, 143, 309"),
    ],
)
def test_what_is_known_not_to_be_published_is_refused_without_asking_a_hub(
    registry: Registry, options: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        find(registry, f"gemma-scope[{options}]", "resid_post.5", Shape(d_model=2304))


def test_a_dictionary_that_is_not_in_the_cache_is_named_with_the_command_that_fetches_it(
    registry: Registry,
) -> None:
    with pytest.raises(UnavailableError) as caught:
        find(registry, "gemma-scope", "resid_post.12", Shape(d_model=2304))
    assert str(caught.value).endswith(
        "has no file layer_12/width_16k/average_l0_82/params.npz in the local hub cache (offline): when online, run "
        "`hf download google/gemma-scope-2b-pt-res layer_12/width_16k/average_l0_82/params.npz`"
    )


def test_the_language_tower_of_a_vision_language_model_has_those_of_its_gemma(registry: Registry) -> None:
    tower = Shape(name="google/paligemma2-3b-pt-224", d_model=2304, architecture="paligemma+gemma2")
    with pytest.raises(
        UnavailableError, match="google/gemma-scope-2b-pt-res layer_12/width_16k/average_l0_82"
    ):
        find(registry, "gemma-scope", "resid_post.12", tower)


@pytest.mark.parametrize(
    ("shape", "site", "problem"),
    [
        (Shape(d_model=2304, architecture="llama"), "resid_post.1", "which is no Gemma 2 of 2b, 9b, 27b"),
        (Shape(d_model=2048), "resid_post.1", "which is no Gemma 2 of 2b, 9b, 27b"),
        (Shape(d_model=2304), "attn_out.1", "its sites: resid_post, mlp_out, attn_z"),
    ],
)
def test_a_model_or_site_without_published_dictionaries_is_refused(
    registry: Registry, shape: Shape, site: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        find(registry, "gemma-scope", site, shape)


# ── broken files ─────────────────────────────────────────────────────────────────────────────────────────


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def break_member(path: Path, name: str) -> None:
    """Flip a byte in the middle of one array."""
    data = bytearray(path.read_bytes())
    with np.load(path) as parts:
        place = bytes(data).index(parts[name].tobytes()[:64])
    data[place + 3] ^= 0xFF
    path.write_bytes(data)


def test_a_file_cut_short_is_refused_when_planning(registry: Registry, repository: Path) -> None:
    cut(folder_of(repository, 3, 82) / "params.npz")
    with pytest.raises(UnavailableError, match="cannot be read as a Gemma Scope dictionary"):
        find(registry, str(folder_of(repository, 3, 82)))


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04"]
)
def test_a_file_that_is_no_archive_is_refused(registry: Registry, tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path / "sae", arrays())
    located = find(registry, str(folder))
    (folder / "params.npz").write_bytes(content)
    with pytest.raises(ChangedError, match=r"params\.npz' has changed"):
        located.load("cpu")
    with pytest.raises(UnavailableError, match="cannot be read"):
        load(folder / "params.npz", name="sae", device="cpu")
    with pytest.raises(
        UnavailableError, match=r"cannot be read( as a Gemma Scope dictionary|: it is a pointer of Git LFS)"
    ):
        find(registry, str(folder))


@pytest.mark.parametrize("missing", ["W_enc", "b_enc", "threshold"])
def test_a_missing_array_is_refused_by_name(registry: Registry, tmp_path: Path, missing: str) -> None:
    parts = {name: array for name, array in arrays().items() if name != missing}
    folder = write(tmp_path / "sae", parts)
    with pytest.raises(
        UnavailableError, match=rf"(has no {missing}; its params.npz holds|cannot be read .*{missing})"
    ):
        find(registry, str(folder)).load("cpu")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ["W_enc", "threshold"])
def test_a_damaged_array_is_refused(registry: Registry, tmp_path: Path, name: str, save: Any) -> None:
    folder = write(tmp_path / "sae", arrays(width=400), save=save)
    path = folder / "params.npz"
    if save is np.savez:
        break_member(path, name)
    else:
        data = bytearray(path.read_bytes())
        middle = {"W_enc": 0.15, "threshold": 0.93}[name]
        for offset in range(40):
            data[int(len(data) * middle) + offset] ^= 0xA5
        path.write_bytes(data)
    with pytest.raises(UnavailableError, match="cannot be read"):
        find(registry, str(folder)).load("cpu")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"threshold": np.ones(3, np.float32)}, r"threshold is \[3\], not \[16\]"),
        ({"b_enc": np.full(WIDTH, np.nan, np.float32)}, "b_enc holds values that are not finite"),
        ({"b_enc": np.array(["a"] * WIDTH)}, "b_enc is <U1, not floating point"),
        ({"threshold": np.ones(WIDTH, np.int64)}, "threshold is int64, not floating point"),
        ({"W_enc": np.float32(1)}, "W_enc has 0 dimensions, not 2"),
    ],
)
def test_arrays_that_cannot_be_are_refused_in_one_sentence(
    registry: Registry, tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    folder = write(tmp_path / "sae", {**arrays(), **changed})
    with pytest.raises(UnavailableError, match=problem) as caught:
        find(registry, str(folder)).load("cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["W_enc", "threshold"])
def test_a_pickled_array_is_refused_and_not_unpickled(registry: Registry, tmp_path: Path, name: str) -> None:
    ran = tmp_path / "ran"

    class Runs:
        def __reduce__(self) -> Any:
            return Path.touch, (ran,)

    bad = np.array([Runs()] * WIDTH, dtype=object)
    folder = write(
        tmp_path / "sae", {**arrays(), name: bad if name != "W_enc" else bad[None].repeat(D_IN, 0)}
    )
    with pytest.raises(UnavailableError, match=r"cannot be read|W_enc is object, not floating point"):
        find(registry, str(folder)).load("cpu")
    assert not ran.exists()


def test_the_decoder_stays_on_disk(registry: Registry, tmp_path: Path) -> None:
    folder = write(tmp_path / "sae", arrays())
    break_member(folder / "params.npz", "W_dec")
    encoder: Any = find(registry, str(folder)).load("cpu")
    assert encoder.W_dec is None and encoder.W_enc.shape == (D_IN, WIDTH)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_arrays_of_other_float_types_become_float32(registry: Registry, tmp_path: Path, dtype: Any) -> None:
    stored = {name: array.astype(dtype) for name, array in arrays().items()}
    encoder: Any = find(registry, str(write(tmp_path / "sae", stored))).load("cpu")
    for name in ("W_enc", "b_enc", "threshold"):
        tensor = getattr(encoder, name)
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor, stored[name].astype(np.float32))


# ── the hub's cache ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}", f"@{COMMIT[:7]}"])
@pytest.mark.parametrize(
    "folder", ["[l0=82]", "/layer_3/width_16/average_l0_82", "/layer_3/width_16/average_l0_82/params.npz"]
)
def test_the_hubs_cache_serves_offline_what_a_folder_serves(
    registry: Registry, repository: Path, hub: Path, revision: str, folder: str
) -> None:
    wanted = find(registry, str(folder_of(repository, 3, 82)))
    got = find(registry, f"{REPO}{revision}{folder}")
    assert dict(got.identity) == dict(wanted.identity)
    assert (got.d_in, got.width, got.published_l0) == (wanted.d_in, wanted.width, wanted.published_l0)
    x = torch.randn(20, D_IN)
    assert torch.equal(got.load("cpu").encode(x), wanted.load("cpu").encode(x))


def test_a_snapshot_named_by_its_path_has_the_same_identity(
    registry: Registry, repository: Path, hub: Path
) -> None:
    inside = folder_of(hub / "snapshots" / COMMIT, 3, 82)
    assert dict(find(registry, str(inside)).identity) == dict(
        find(registry, str(folder_of(repository, 3, 82))).identity
    )


def test_a_name_found_by_shape_leads_into_the_hubs_cache(
    registry: Registry, tmp_path: Path, repository: Path, hub: Path
) -> None:
    folder = folder_of(hub / "snapshots" / COMMIT, 12, 82, "16k")
    write(folder, arrays(width=8, d_in=2304))
    located = find(registry, "gemma-scope", "resid_post.12", Shape(d_model=2304))
    assert (located.d_in, located.width, located.published_l0) == (2304, 8, 82)


@pytest.mark.parametrize(
    "ref", [f"{REPO}/layer_9/width_16/average_l0_82", "google/gemma-scope-9b-pt-res", f"{REPO}@v2[l0=82]"]
)
def test_what_the_cache_lacks_is_missing_when_offline(registry: Registry, hub: Path, ref: str) -> None:
    with pytest.raises(UnavailableError, match=r"in the local hub cache \(offline\)"):
        find(registry, ref, "resid_post.9" if "layer_9" in ref else "resid_post.3")


def test_a_layer_offset_reads_the_dictionary_of_another_layer_and_says_so(
    harness_command: Any, toy_task: Path, toy_suite: Path
) -> None:
    """What MOSAIC did: `hidden_states[2]` is the output of block 1, and went into the dictionary of block 2."""
    arms = 'representations=["minigemma-scope[layer_offset=1]",minigemma-scope]'
    ended = harness_command(
        "run",
        toy_suite,
        "--include",
        toy_task,
        "-o",
        "out",
        "--set",
        arms,
        "--set",
        "models.0.sites=[resid_post.0,resid_post.1]",
    )
    assert ended.code == 0, ended.err
    records = {
        (r["site"], r["representation"]): r
        for r in map(json.loads, Path("out/results.jsonl").read_text().splitlines())
    }
    shifted, own = (
        records["resid_post.0", "minigemma-scope[layer_offset=1]"],
        records["resid_post.1", "minigemma-scope"],
    )
    assert shifted["dictionary"] == own["dictionary"] and "layer_1/" in own["dictionary"]
    assert "layer-offset:1" in shifted["flags"] and "layer-offset:1" not in own["flags"]
    assert shifted["fidelity"]["verdict"] == "flagged" and own["fidelity"]["verdict"] == "ok"
