"""Folders of SAELens: what is refused, by which sentence, and what a config or a file beside it changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from interop.case import open_dictionary, read_golden
from safetensors.torch import load_file, save_file

import harness
from harness.dictionaries.dictionary import Dictionary

GOLDEN = Path(__file__).parent / "golden" / "sae_lens"
WEIGHTS = "sae_weights.safetensors"
SITE = "resid_post.3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of JumpReLU for inference."""
    return Path(shutil.copytree(GOLDEN / "jumprelu--bfloat16", tmp_path / "sae"))


def change(folder: Path, **changed: Any) -> Path:
    """Change keys of cfg.json; None takes a key away."""
    config = {**json.loads((folder / "cfg.json").read_text()), **changed}
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "cfg.json").write_text(json.dumps(kept))
    return folder


def change_hook(folder: Path, **changed: Any) -> Path:
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    return change(folder, metadata={**metadata, **changed})


def read(folder: Path, site: str = SITE, **options: Any) -> Dictionary:
    found = open_dictionary(folder, site, options)
    assert found.load_whole is not None
    whole = found.load_whole("cpu")
    assert isinstance(whole, Dictionary)
    return whole


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "temporal": (
        {"architecture": "temporal"},
        "architecture temporal, which is not read: its features depend on",
    ),
    "matching pursuit": (
        {"architecture": "matching_pursuit"},
        "which is not read: it chooses features one after",
    ),
    "a transcoder": (
        {"architecture": "jumprelu_skip_transcoder"},
        "is a transcoder, which predicts something else",
    ),
    "another architecture": ({"architecture": "mlp"}, "says architecture = 'mlp'; read are standard, gated"),
    "another normalisation": (
        {"normalize_activations": "batch"},
        "normalize_activations = 'batch'; read are none",
    ),
    "a list of normalisations": ({"normalize_activations": ["none"]}, "read are none"),
    "another activation": (
        {"metadata": None, "architecture": None, "activation_fn": "tanh-relu"},
        "says activation_fn = 'tanh-relu'; read is relu for the architecture standard",
    ),
    "gated with topk": (
        {
            "metadata": None,
            "architecture": "gated",
            "activation_fn_str": "topk",
            "activation_fn_kwargs": {"k": 3},
        },
        "says activation_fn = 'topk'; read is relu for the architecture gated",
    ),
    "no scale": ({"normalize_activations": "expected_average_only_in"}, "give input_scale=NUMBER"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_by_what_it_is(folder: Path, case: str) -> None:
    changed, said = REFUSED[case]
    with pytest.raises(harness.UsageError) as caught:
        read(change(folder, **changed))
    assert said in str(caught.value) and "\n" not in str(caught.value)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no width": ({"d_sae": None}, "gives d_sae no value"),
    "a width of text": ({"d_sae": "16"}, "gives d_sae '16', which is no whole number from 1 to 9,223"),
    "a width below one": ({"d_in": 0}, "gives d_in '0'"),
    "a huge width": ({"d_sae": 10**40}, "gives d_sae '10000"),
    "a width of another file": ({"d_sae": 17}, "says d_sae = 17, and its weights have 16"),
    "k of text": ({"architecture": "topk", "k": "abc"}, "gives k 'abc'"),
    "no k": ({"architecture": "topk"}, "gives k no value"),
    "k true": ({"architecture": "topk", "k": True}, "gives k 'True'"),
    "k beyond the width": ({"architecture": "topk", "k": 17}, "k=17 is not between 1 and 16"),
    "a flag of text": (
        {"apply_b_dec_to_input": "yes"},
        "gives apply_b_dec_to_input 'yes', which is neither true",
    ),
    "tensors of another architecture": (
        {"architecture": "gated"},
        "has no b_gate; sae_weights.safetensors holds",
    ),
    "a hook of numbers": ({"metadata": {"sae_lens_version": "6.0.0", "hook_name": 3}}, "gives hook_name '3'"),
    "whitening": (
        {"normalize_activations": "covariance_whitening"},
        "activation_whitening.safetensors is not beside",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_config_that_is_broken_is_refused_by_its_key(folder: Path, case: str) -> None:
    changed, said = BROKEN[case]
    with pytest.raises(harness.UnavailableError) as caught:
        read(change(folder, **changed))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("W_dec", torch.zeros(16, 9), "writes 9, so it is a transcoder"),
        ("W_dec", torch.zeros(15, 8), "W_dec is [15, 8], not [16, 8]"),
        ("b_dec", torch.zeros(9), "b_dec is [9], not [8]"),
        ("b_enc", torch.full((16,), torch.inf), "b_enc holds values that are not finite"),
        ("threshold", torch.zeros(16, dtype=torch.int32), "threshold holds I32, not floats"),
        ("scaling_factor", torch.full((16,), 2.0), "holds a scaling_factor, and its cfg.json says"),
        ("scaling_factor", torch.full((3,), 1.0), "scaling_factor is [3], not [16]"),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(
    folder: Path, name: str, tensor: torch.Tensor, said: str
) -> None:
    save_file({**load_file(folder / WEIGHTS), name: tensor}, folder / WEIGHTS)
    with pytest.raises(harness.HarnessError) as caught:
        read(folder)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_scaling_factor_of_finetuning_counts_for_the_decoder_alone(folder: Path) -> None:
    before, x = read(folder), torch.randn(4, 8)
    scaling = torch.linspace(0.5, 2, 16)
    save_file({**load_file(folder / WEIGHTS), "scaling_factor": scaling}, folder / WEIGHTS)
    after = read(change(folder, finetuning_scaling_factor=True))
    torch.testing.assert_close(after.encode(x), before.encode(x))
    assert before.W_dec is not None and before.b_dec is not None
    wanted = (before.encode(x) * scaling) @ before.W_dec + before.b_dec
    torch.testing.assert_close(after.rebuild(x, 5)[0], wanted)


def test_a_scale_is_that_of_the_option_else_that_beside_the_weights(folder: Path) -> None:
    x = torch.randn(4, 8)
    change(folder, normalize_activations="expected_average_only_in")
    raw = read(folder, input_scale=1.0)
    assert raw.b_dec is not None and raw.W_enc is not None
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.5, "has_whitening": false}')
    for scale, found in ((0.5, read(folder)), (2.0, read(folder, input_scale=2.0))):
        torch.testing.assert_close(found.encode(x), raw.encode(x * scale))
        torch.testing.assert_close(found.rebuild(x, 5)[0], raw.rebuild(x * scale, 5)[0] / scale)
    identities = [
        open_dictionary(folder, SITE, {"input_scale": scale}).identity for scale in (None, 0.5, 2.0)
    ]
    assert identities[0] == identities[1] != identities[2]


def test_before_version_6_the_scale_is_among_stored_activations_or_in_the_weights_already(
    folder: Path,
) -> None:
    x, store = torch.randn(4, 8), folder / "activations_store_state.safetensors"
    counted = {"n_dataset_processed": torch.tensor(3)}
    save_file(counted, store)
    change(folder, normalize_activations="expected_average_only_in")
    with pytest.raises(harness.UsageError, match="give input_scale=NUMBER"):
        read(folder)  # since version 6 the scale is in a file of its own
    raw = read(change(folder, metadata=None), input_scale=1.0)
    torch.testing.assert_close(read(folder).encode(x), raw.encode(x))
    scale = torch.tensor(0.5, dtype=torch.float64)
    save_file({**counted, "estimated_norm_scaling_factor": scale}, store)
    torch.testing.assert_close(read(folder).encode(x), raw.encode(x * 0.5))
    torch.testing.assert_close(read(folder, input_scale=2.0).encode(x), raw.encode(x * 2))


def test_the_config_of_a_run_says_by_its_method_that_factors_are_finetuned(folder: Path) -> None:
    before = read(folder)
    save_file({**load_file(folder / WEIGHTS), "scaling_factor": torch.full((16,), 2.0)}, folder / WEIGHTS)
    after = read(change(folder, metadata=None, finetuning_method="scale"))
    assert before.W_dec is not None and after.W_dec is not None
    torch.testing.assert_close(after.W_dec, before.W_dec * 2)


def test_an_activation_of_null_is_that_of_the_architecture(folder: Path) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**config, "activation_fn": None}))
    assert read(folder).activation == "jumprelu"


def test_the_one_for_a_site_is_found_where_names_count_by_the_input_of_a_block(
    folder: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    for layer in (7, 8):
        one = Path(shutil.copytree(folder, repository / f"blocks.{layer}.hook_resid_pre"))
        change_hook(one, hook_name=one.name)
    assert open_dictionary(repository, "resid_post.7", {}).reference.endswith("/blocks.8.hook_resid_pre")
    with pytest.raises(harness.UsageError, match=r"was trained on 'resid_post.7', not on 'resid_post.8'"):
        open_dictionary(repository, "resid_post.8", {})
    assert open_dictionary(repository, "resid_post.8", {"any_site": True}).flags == ("any-site",)


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan"), "2", True])
def test_a_scale_that_is_no_number_above_zero_is_refused(folder: Path, scale: Any) -> None:
    change(folder, normalize_activations="expected_average_only_in")
    with pytest.raises(harness.UsageError, match="no number above 0"):
        read(folder, input_scale=scale)


def test_a_scale_for_a_dictionary_that_scales_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(harness.UsageError, match="scales no activations: leave out input_scale"):
        read(folder, input_scale=2.0)


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("blocks.0.hook_resid_post", "resid_post.0"),
        ("blocks.8.hook_resid_pre", "resid_post.7"),
        ("blocks.2.hook_mlp_out", "mlp_out.2"),
        ("blocks.2.attn.hook_z", "attn_z.2"),
        ("model.layers.17", "resid_post.17"),
    ],
)
def test_a_hook_is_the_site_it_reads(folder: Path, hook: str, site: str) -> None:
    change_hook(folder, hook_name=hook)
    assert read(folder, site).width == 16
    with pytest.raises(harness.UsageError, match=f"was trained on '{site}', not on 'resid_post.1'"):
        read(folder, "resid_post.1")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hook_name": "blocks.0.hook_resid_pre"}, "'blocks.0.hook_resid_pre'"),
        ({"hook_name": "blocks.4.hook_resid_mid"}, "'blocks.4.hook_resid_mid'"),
        ({"hook_name": "blocks.4.attn.hook_z", "hook_head_index": 3}, "'blocks.4.attn.hook_z of head 3'"),
    ],
)
def test_a_place_that_is_no_site_is_named_and_read_at_any_site_alone(
    folder: Path, changed: dict[str, Any], said: str
) -> None:
    change_hook(folder, **changed)
    with pytest.raises(harness.UsageError, match=f"was trained on {said}, not on 'resid_post.4'"):
        read(folder, "resid_post.4")
    assert read(folder, "resid_post.4", any_site=True).width == 16


@pytest.mark.parametrize(
    ("model_name", "norm", "read_as"),
    [
        ("gpt2-small", "none", "centre"),
        ("gpt2-small", "layer_norm", "layer_norm"),
        ("gemma-2-2b", "none", "none"),  # its norm takes no mean away, so its weights cannot be centred
    ],
)
def test_a_dictionary_of_centred_weights_takes_the_mean_away(
    folder: Path, model_name: str, norm: str, read_as: str
) -> None:
    change(folder, normalize_activations=norm)
    change_hook(folder, model_name=model_name, model_from_pretrained_kwargs={"center_writing_weights": True})
    found = read(folder)
    assert found.input_norm == read_as
    x = torch.randn(4, 8)
    if read_as != "none":
        torch.testing.assert_close(found.encode(x + 3), found.encode(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            found.rebuild(x + 3, 5)[0], found.rebuild(x, 5)[0] + 3, rtol=1e-4, atol=1e-4
        )


def test_a_dictionary_of_centred_weights_with_another_norm_is_refused(folder: Path) -> None:
    change(folder, normalize_activations="constant_norm_rescale")
    change_hook(folder, model_name="gpt2", model_from_pretrained_kwargs={"center_writing_weights": True})
    with pytest.raises(harness.UsageError, match="center_writing_weights = 'True'; which is not read with"):
        read(folder)


def test_an_option_changes_the_convention_of_b_dec(folder: Path) -> None:
    x = torch.randn(4, 8)
    plain = read(folder)
    assert plain.subtract is not None
    other = read(folder, subtract_b_dec=False)
    assert other.subtract is None
    torch.testing.assert_close(other.encode(x - plain.subtract), plain.encode(x))


def test_golden_checkpoints_have_identities_of_their_own() -> None:
    cases = [read_golden(path) for path in sorted(GOLDEN.glob("*.json"))]
    identities = [open_dictionary(case.path, case.site, case.options).identity for case in cases]
    assert len({json.dumps(each, sort_keys=True) for each in identities}) == len(cases) > 5
