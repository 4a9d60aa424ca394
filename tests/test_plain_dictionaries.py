"""Plain safetensors with a dictionary.yaml in: features by every field, and one sentence for every fault."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import harness_saes
import pytest
import torch
from harness_saes.plain import Declared
from safetensors.torch import save_file

import harness
from harness.dictionaries.dictionary import Dictionary

D_IN, WIDTH = 6, 12
X = torch.randn(4, D_IN, generator=torch.Generator().manual_seed(7))


def draw(*shape: int) -> torch.Tensor:
    """Return random numbers that a shape determines."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def parts() -> dict[str, torch.Tensor]:
    """Return tensors under the names of Dictionary."""
    return {
        "W_enc": draw(D_IN, WIDTH),
        "b_enc": draw(WIDTH),
        "W_dec": draw(WIDTH, D_IN),
        "b_dec": draw(D_IN),
        "threshold": draw(WIDTH).abs(),
        "r_mag": draw(WIDTH) / 3,
        "b_mag": draw(WIDTH),
    }


def write(folder: Path, text: str, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    """Write a dictionary and its declaration; return the folder."""
    folder.mkdir(exist_ok=True)
    save_file(parts() if tensors is None else tensors, folder / "mine.safetensors")
    (folder / "dictionary.yaml").write_text(text)
    return folder


def place(ref: Path, site: str = "resid_post.3", **options: Any) -> harness.PlacedRepresentation:
    """Return the dictionary at a path, placed as a suite places it."""
    spec = harness_saes.harness_resolve_representation(str(ref)) or harness_saes.resolve_or_refuse(str(ref))
    assert spec is not None
    model: Any = SimpleNamespace(architecture="llama", name="model", width=lambda site: D_IN)
    placed = spec.make(**options).at(model, harness.Site.parse(site))
    assert isinstance(placed, harness.PlacedRepresentation)
    return placed


def load(ref: Path, **options: Any) -> Dictionary:
    """Return the whole dictionary at a path."""
    load_whole = place(ref, **options).load_whole
    assert load_whole is not None
    found = load_whole("cpu")
    assert isinstance(found, Dictionary)
    return found


def same(found: Dictionary, **wanted: Any) -> None:
    """Check that a dictionary gives the features and reconstructions of another one."""
    other = Dictionary(name="x", width=WIDTH, **wanted)
    torch.testing.assert_close(found.encode(X), other.encode(X))
    torch.testing.assert_close(found.rebuild(X, 5)[0], other.rebuild(X, 5)[0])


RULES = {
    "relu": {},
    "jumprelu": {"threshold": parts()["threshold"]},
    "batchtopk": {"threshold": parts()["threshold"]},
    "gated": {name: parts()[name] for name in ("r_mag", "b_mag")},
    "topk": {"k": 3},
    "abstopk": {"k": 3},
    "groupmax": {"k": 3},
}


@pytest.mark.parametrize("subtracts", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_two_lines_say_how_tensors_are_read(rule: str, subtracts: bool, tmp_path: Path) -> None:
    k = f"\nk: {RULES[rule]['k']}" if "k" in RULES[rule] else ""
    folder = write(tmp_path / "mine", f"activation: {rule}\nsubtract_b_dec: {str(subtracts).lower()}{k}")
    held = {name: parts()[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    same(load(folder), activation=rule, subtract=held["b_dec"] if subtracts else None, **held, **RULES[rule])
    same(load(folder / "mine.safetensors"), **{**held, **RULES[rule]}, activation=rule,
         subtract=held["b_dec"] if subtracts else None)  # fmt: skip


def test_other_names_and_transposed_matrices(tmp_path: Path) -> None:
    held = parts()
    tensors = {
        "encoder.weight": held["W_enc"].T.contiguous(),
        "encoder.bias": held["b_enc"],
        "decoder.weight": held["W_dec"].T.contiguous(),
        "bias": held["b_dec"],
    }
    text = (
        "activation: topk\nk: 2\nsigned: true\nsubtract_b_dec: true\ninput_norm: layer_norm\n"
        "tensors:\n  W_enc: encoder.weight\n  b_enc: encoder.bias\n  W_dec: decoder.weight\n  b_dec: bias\n"
        "transposed: [W_enc, W_dec]\n"
    )
    same(
        load(write(tmp_path / "mine", text, tensors)),
        activation="topk",
        k=2,
        signed=True,
        input_norm="layer_norm",
        subtract=held["b_dec"],
        **{name: held[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")},
    )


def test_every_field_but_site_and_l0_is_part_of_the_identity(tmp_path: Path) -> None:
    base = "activation: topk\nk: 2\nsubtract_b_dec: true\n"
    found = {
        text: place(write(tmp_path / "mine", base.replace("k: 2", "k: 3") if text == "k" else base + text))
        for text in ("", "k", "signed: true", "input_norm: layer_norm", "site: resid_post.3", "l0: 40")
    }
    identities = [str(each.identity) for each in found.values()]
    assert len(set(identities)) == 4
    assert identities[0] == identities[4] == identities[5]
    assert (found[""].published_l0, found["l0: 40"].published_l0) == (None, 40.0)
    assert set(Declared.model_fields) == {
        "activation", "subtract_b_dec", "site", "k", "signed", "input_norm", "l0", "tensors", "transposed",
    }  # fmt: skip


@pytest.mark.parametrize("site", ["resid_post.3", "blocks.3.hook_resid_post", "model.layers.3"])
def test_a_site_is_kept_to_under_any_of_its_names(site: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", f"activation: relu\nsubtract_b_dec: false\nsite: {site}\n")
    assert place(folder).d_in == D_IN
    with pytest.raises(harness.UsageError, match=r"was trained on 'resid_post.3', not on 'resid_post.4'"):
        place(folder, "resid_post.4")
    assert place(folder, "resid_post.4", any_site=True).flags == ("any-site",)


def test_without_a_decoder_there_is_an_encoder_alone(tmp_path: Path) -> None:
    tensors = {name: parts()[name] for name in ("W_enc", "b_enc")}
    placed = place(write(tmp_path / "mine", "activation: relu\nsubtract_b_dec: false\n", tensors))
    assert placed.load_whole is None
    assert placed.load("cpu").encode(X).shape == (4, WIDTH)


def test_what_somebody_declared_is_taken_before_what_a_library_wrote(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", "activation: relu\nsubtract_b_dec: false\n")
    for name in ("sae_weights.safetensors", "params.safetensors"):
        (folder / "mine.safetensors").rename(folder / name)
        (folder / "cfg.json").write_text('{"architecture": "temporal", "d_in": 6, "d_sae": 12}')
        assert place(folder).identity["kind"] == place(folder / name).identity["kind"] == "plain"
        (folder / name).rename(folder / "mine.safetensors")


GOOD = "activation: relu\nsubtract_b_dec: false\n"
FAULTS = {
    "no activation": ("subtract_b_dec: true\n", "activation"),
    "an unknown activation": ("activation: gelu\nsubtract_b_dec: true\n", "line 1.*activation.*'relu'"),
    "no convention": ("activation: relu\n", "subtract_b_dec"),
    "a convention in words": ("activation: relu\nsubtract_b_dec: maybe\n", "line 2.*subtract_b_dec"),
    "an unknown field": (GOOD + "treshold: 1\n", "line 3.*treshold"),
    "a list": ("- relu\n", "is not a mapping of fields"),
    "broken YAML": ("activation: [relu\n", "is not valid YAML"),
    "nothing": ("", "is not a mapping of fields|holds nothing"),
    "a field twice": (GOOD + "activation: relu\n", "line 3.*activation"),
    "topk without k": ("activation: topk\nsubtract_b_dec: true\n", "gives no k for the activation topk"),
    "k without topk": (GOOD + "k: 3\n", "gives k for the activation relu"),
    "k of 0": ("activation: topk\nsubtract_b_dec: true\nk: 0\n", "line 3.*k"),
    "k in words": ("activation: topk\nsubtract_b_dec: true\nk: abc\n", "line 3.*k"),
    "k of more than all": ("activation: topk\nsubtract_b_dec: true\nk: 13\n", "k=13 is not between 1 and 12"),
    "a huge k": (f"activation: topk\nsubtract_b_dec: true\nk: 1{'0' * 30}\n", "k=10{20,30} is not between|line 3"),
    "uneven groups": ("activation: groupmax\nsubtract_b_dec: true\nk: 5\n", "do not fall into k=5 equal groups"),
    "signed without topk": (GOOD + "signed: true\n", "says signed, which is for topk alone"),
    "an unknown norm": (GOOD + "input_norm: rms\n", "line 3.*input_norm"),
    "an infinite L0": (GOOD + "l0: .inf\n", "l0|inf"),
    "a negative L0": (GOOD + "l0: -1\n", "line 3.*l0"),
    "no site": (GOOD + "site: layer 3\n", "names no site: site 'layer 3' is not of the form"),
    "an unknown tensor": (GOOD + "tensors: {W_out: a}\n", "names the tensor 'W_out', which relu does not have; it has"),
    "a tensor of another rule": (GOOD + "tensors: {threshold: a}\n", "'threshold', which relu does not have"),
    "a name that is no tensor": (GOOD + "tensors: {W_enc: a}\n", "has no a; mine.safetensors holds: W_dec"),
    "a matrix that cannot be transposed": (GOOD + "transposed: [b_enc]\n", "line 3.*transposed"),
    "one matrix the other way round": (GOOD + "transposed: [W_enc]\n", r"b_enc is \[12\], not \[6\]"),
    "a vector for a matrix": (GOOD + "tensors: {W_enc: b_enc}\n", r"b_enc is \[12\], which is no matrix"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_declaration_is_one_sentence(name: str, tmp_path: Path) -> None:
    text, wanted = FAULTS[name]
    with pytest.raises((harness.UsageError, harness.UnavailableError), match=wanted):
        load(write(tmp_path / "mine", text))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"W_enc": torch.zeros(D_IN, WIDTH, dtype=torch.int32)}, "W_enc holds I32, not floats"),
        ({"b_enc": torch.full((WIDTH,), math.nan)}, "b_enc holds values that are not finite"),
        ({"W_dec": torch.zeros(WIDTH, 4)}, "reads 6 dimensions and writes 4, so it is a transcoder"),
        ({"W_skip": torch.zeros(D_IN, D_IN)}, "is a transcoder, which predicts something else"),
        ({"b_enc": torch.zeros(5)}, r"b_enc is \[5\], not \[12\]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_tensors_are_one_sentence(
    change: dict[str, torch.Tensor], wanted: str, tmp_path: Path
) -> None:
    with pytest.raises((harness.UsageError, harness.UnavailableError), match=wanted):
        load(write(tmp_path / "mine", GOOD, {**parts(), **change}))


def test_a_header_that_promises_more_than_the_file_has_is_one_sentence(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", GOOD)
    file = folder / "mine.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape":[6,12]', b'"shape":[6,99]'))
    with pytest.raises(harness.UnavailableError, match=r"mine.safetensors cannot be read"):
        load(folder)


def test_of_several_files_one_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", GOOD + "site: resid_post.3\n")
    save_file(parts(), folder / "other.safetensors")
    with pytest.raises(
        harness.UsageError, match=r"several dictionaries for 'resid_post.3': name one of mine\.saf"
    ):
        place(folder)
    assert place(folder / "other.safetensors").width == WIDTH
