"""What is given for a model, a dictionary or a site and is none: what the one sentence says, and the way out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from harness_saes.hooks import check_part, read_hook
from harness_saes.releases import find_table

import harness
from harness.models.opened import parse_sites
from harness.models.site_names import explain_site

WEIGHTS = Path(__file__).parents[1] / "plugins" / "harness_minigemma" / "weights"
MODEL = WEIGHTS / "minigemma-s"
BASE = "meta-llama/Llama-3.2-1B"

Make = Callable[[Path], object]


@pytest.fixture(scope="module")
def session() -> Any:
    return harness.open(device="cpu")


@pytest.fixture(scope="module")
def registry(session: Any) -> Any:
    return session.registry


def holding(*names: str, **contents: Any) -> Make:
    """A folder with files of these names, and JSON under the others (`a_json` is a.json)."""

    def make(path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(b"{}")
        for name, content in contents.items():
            (path / f"{name.removesuffix('_json')}.json").write_text(json.dumps(content))

    return make


def without_weights(*names: str) -> Make:
    """A folder of a model with files of these names in place of its weights."""

    def make(path: Path) -> None:
        shutil.copytree(MODEL, path)
        (path / "model.safetensors").unlink()
        holding(*names)(path)

    return make


def file(content: bytes = b"a file") -> Make:
    def make(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return make


def tensors(**held: Any) -> Make:
    return lambda path: torch.save({name: torch.zeros(2) for name in held}, path)


MODELS: dict[str, tuple[str, Make, tuple[str, ...]]] = {
    "an adapter": (
        "x",
        holding("adapter_model.safetensors", adapter_config_json={"base_model_name_or_path": BASE}),
        (f"an adapter (LoRA, PEFT) of '{BASE}'", "merge_and_unload", "name that folder"),
    ),
    "an adapter that names no base": (
        "x",
        holding("adapter_config.json"),
        ("an adapter (LoRA, PEFT), no model",),
    ),
    "an adapter whose config is a pipe": (
        "x",
        lambda path: (path.mkdir(), os.mkfifo(path / "adapter_config.json")),
        ("an adapter (LoRA, PEFT), no model by itself",),
    ),
    "a file of GGUF that holds nothing": ("x.gguf", file(b"GGUF"), ("GGUF",)),
    "a folder of GGUF that holds nothing": ("x", holding("llama-Q4_K_M.gguf", "README.md"), ("GGUF",)),
    "GGUF beside a config": (
        "x",
        without_weights("llama-Q4_K_M.gguf"),
        ("a model in GGUF", "name the file in it, llama-Q4_K_M.gguf"),
    ),
    "a pipeline of diffusers": (
        "x",
        holding("model_index.json"),
        ("a pipeline of diffusers", "such as text_encoder"),
    ),
    "sentence-transformers": (
        "x",
        holding("modules.json", "0_Transformer/config.json"),
        ("sentence-transformers",),
    ),
    "a dictionary": (
        "x",
        holding("cfg.json", "sae_weights.safetensors"),
        ("a dictionary", "under representations"),
    ),
    "pickles without config": ("x", holding("pytorch_model.bin"), ("pickled weights (pytorch_model.bin)",)),
    "a checkpoint of Meta's": (
        "x",
        holding("consolidated.00.pth", "params.json"),
        ("(consolidated.00.pth)",),
    ),
    "TensorFlow": ("x", holding("tf_model.h5"), ("for TensorFlow (tf_model.h5)", "with safetensors")),
    "Flax": ("x", holding("flax_model.msgpack"), ("for Flax (flax_model.msgpack)",)),
    "ONNX": ("x", holding("model.onnx", "tokenizer.json"), ("in ONNX (model.onnx)",)),
    "MLX": ("x", holding("weights.00.npz"), ("for MLX (weights.00.npz)",)),
    "weights alone": ("x", holding("model.safetensors"), ("without the config.json of its model",)),
    "a file of weights": ("x/model.safetensors", file(), ("a file: name the folder that holds config.json",)),
    "a config.json": ("x/config.json", file(b"{}"), ("a file: name the folder",)),
    "another file": ("x.txt", file(), ("a file: name the folder",)),
    "an empty folder": ("x", holding(), ("an empty folder",)),
    "a folder one level too high": (
        "x",
        holding(*(f"{name}/config.json" for name in "abcdefg")),
        ("a folder of models: name one of them, a, b, c, d, e, …",),
    ),
    "a folder of the hub's cache": (
        "hub",
        holding("models--org--name/snapshots/c/config.json"),
        ("hub's cache: name the model itself, org/name",),
    ),
    "a folder of something else": ("x", holding("notes.txt"), ("a folder without config.json",)),
    "shards without index": (
        "x",
        without_weights("model-00001-of-00002.safetensors"),
        (
            "no file model.safetensors",
            "shards of a model without model.safetensors.index.json",
            "copy that file",
        ),
    ),
    "pickles with config": (
        "x",
        without_weights("pytorch_model.bin"),
        ("pickled weights (pytorch_model.bin)",),
    ),
    "ONNX with config": ("x", without_weights("model.onnx"), ("in ONNX (model.onnx)",)),
}
"""Name → what is given, how it is made, and what the sentence holds."""

DICTIONARIES: dict[str, tuple[str, Make, tuple[str, ...]]] = {
    "SAELens without its config": (
        "x",
        holding("sae_weights.safetensors"),
        ("the weights of a dictionary of SAELens without a cfg.json of it", "name a folder with both"),
    ),
    "weights of SAELens without their config": (
        "x/sae_weights.safetensors",
        lambda path: holding("sae_weights.safetensors")(path.parent),
        ("the weights of a dictionary of SAELens without a cfg.json of it",),
    ),
    "a transcoder of SAELens": (
        "x",
        holding("sae_weights.safetensors", cfg_json={"architecture": "transcoder"}),
        ("a transcoder or crosscoder", "only sparse autoencoders are read"),
    ),
    "a transcoder of sparsify": (
        "x",
        holding("sae.safetensors", cfg_json={"transcode": True}),
        ("a transcoder",),
    ),
    "transcoders of circuit-tracer": (
        "x",
        lambda path: (
            holding("layer_0.safetensors", "layer_1.safetensors")(path),
            (path / "config.yaml").write_text(
                "model_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
            ),
        ),
        ("a transcoder or crosscoder", "only sparse autoencoders are read"),
    ),
    "a cross-layer transcoder of circuit-tracer": (
        "x",
        holding("W_enc_0.safetensors", "W_dec_0.safetensors"),
        ("a cross-layer transcoder", "only sparse autoencoders are read"),
    ),
    "a cross-layer transcoder of Gemma Scope 2": (
        "x",
        holding("params_layer_0.safetensors", config_json={"type": "clt"}),
        ("a cross-layer transcoder", "only sparse autoencoders are read"),
    ),
    "dictionary_learning": (
        "x",
        holding("ae.pt"),
        ("of dictionary_learning without a config.json of it", "name a folder with both"),
    ),
    "a checkpoint in pieces": (
        "x",
        holding("sae_weights.dcp/.metadata", config_json={"sae_type": "sae", "d_model": 4, "act_fn": "relu"}),
        ("PyTorch's distributed training", "save it from one process, as sae_weights.safetensors"),
    ),
    "OpenAI": ("x.pt", tensors(pre_bias=1, latent_bias=1), ("OpenAI's sparse_autoencoder", "fetch it again")),
    "another pickle": ("x.pt", tensors(weight=1), ("a pickled file of none of the layouts",)),
    "a model": (
        "x",
        holding("model.safetensors", config_json={"model_type": "gemma2"}),
        ("a model, no dictionary",),
    ),
    "an adapter": ("x", holding("adapter_config.json"), ("a model, no dictionary: name it under models",)),
    "GGUF": ("x.gguf", file(b"GGUF"), ("a file of weights",)),
    "a config without weights": ("x", holding("cfg.json"), ("without the weights",)),
    "an empty folder": ("x", holding(), ("an empty folder",)),
    "a folder one level too high": (
        "x",
        holding("a/ae.pt", "b/sae.safetensors"),
        ("name one of them, a, b",),
    ),
    "a folder of repositories": (
        "x",
        holding(
            "one/layer_1/width_16k/average_l0_9/params.npz",
            "two/resid_post/layer_1_width_1k/params.safetensors",
        ),
        ("name one of them, one, two",),
    ),
    "a folder of something else": ("x", holding("notes.txt"), ("a folder without a dictionary",)),
    "a text": ("x.txt", file(), ("a file of no dictionary",)),
    "a pipe": ("x", lambda path: os.mkfifo(path), ("neither a file nor a folder",)),
}


@pytest.mark.parametrize("form", ["{}", "folder/{}"])
@pytest.mark.parametrize("case", MODELS)
def test_what_is_no_model_is_said_to_be_what_it_is(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, form: str
) -> None:
    name, make, wanted = MODELS[case]
    monkeypatch.chdir(tmp_path)
    ref = form.format(name)
    (tmp_path / ref).parent.mkdir(parents=True, exist_ok=True)
    make(tmp_path / ref)
    with pytest.raises(harness.UnavailableError) as caught:
        registry.choose("models", ref).make().identity(harness.Site.parse("resid_post.0"))
    said = str(caught.value)
    assert (
        said.startswith((f"model '{ref}' ", f"model '{ref}': "))
        and "\n" not in said
        and "hf download" not in said
    )
    for part in wanted:
        assert part in said


@pytest.mark.parametrize("form", ["./{}", "folder/{}"])
@pytest.mark.parametrize("case", DICTIONARIES)
def test_what_is_no_dictionary_that_is_read_is_said_to_be_what_it_is(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, form: str
) -> None:
    name, make, wanted = DICTIONARIES[case]
    monkeypatch.chdir(tmp_path)
    ref = form.format(name)
    (tmp_path / ref).parent.mkdir(parents=True, exist_ok=True)
    make(tmp_path / ref)
    with pytest.raises(harness.UnavailableError) as caught:
        registry.choose("representations", ref)
    said = str(caught.value)
    assert said.startswith(f"representation '{ref}' is ") and "\n" not in said
    for part in wanted:
        assert part in said


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gemma-scope-2b-pt-res-canonical", "write gemma-scope[width=16k], at the site resid_post.LAYER"),
        (
            "gemma-scope-9b-pt-att-canonical/layer_12/width_131k/canonical",
            "write gemma-scope[width=131k], at the site attn_z.12",
        ),
        (
            "gemma-scope-2b-pt-mlp/layer_3/width_16k/average_l0_30",
            "write google/gemma-scope-2b-pt-mlp/layer_3/width_16k/average_l0_30, at the site mlp_out.3",
        ),
        ("gemma-scope-2b-pt-transcoders", "only sparse autoencoders are read"),
        (
            "gemma-scope-2-1b-it-res/layer_13_width_65k_l0_small",
            "write gemma-scope-2[width=65k,l0=small], at the site resid_post.13",
        ),
        ("gemma-scope-2-1b-it-transcoders-all", "only sparse autoencoders are read"),
        ("gpt2-small-res-jb", "a name of SAELens: write saelens:gpt2-small-res-jb/ID"),
        (
            "gpt2-small-res-jb/blocks.3.hook_resid_pre",
            "a name of SAELens: write saelens:gpt2-small-res-jb/blocks.3.hook_resid_pre",
        ),
        ("pythia-70m-deduped-res-sm", "write saelens:pythia-70m-deduped-res-sm/ID"),
        ("SAELens:gpt2-small-res-jb/a", "did you mean 'saelens:gpt2-small-res-jb/a'?"),
        ("neuron-pedia:gemma-2-2b/a", "did you mean 'neuronpedia:gemma-2-2b/a'?"),
        ("blocks.3.hook_resid_pre", "a hook of TransformerLens, which is a site and no dictionary"),
    ],
)
def test_a_name_of_saelens_is_told_what_to_write_here(registry: Any, name: str, wanted: str) -> None:
    with pytest.raises(harness.UsageError) as caught:
        registry.choose("representations", name)
    said = str(caught.value)
    assert said.startswith(f"representation '{name}' is ") and wanted in said
    match = said.partition("write ")[2].partition(", at the site")[0]
    if match and not match.startswith("saelens:"):
        assert registry.choose("representations", match).make()  # it leads somewhere


READ = {
    "blocks.2.hook_resid_post": "resid_post.2",
    "blocks.2.hook_mlp_out": "mlp_out.2",
    "blocks.2.hook_attn_out": "attn_out.2",
    "blocks.2.attn.hook_z": "attn_z.2",
    "blocks.2.hook_resid_pre": "resid_post.1",
    "model.layers.17": "resid_post.17",
    "model.layers.17.output": "resid_post.17",
    "model.layers.17.input": "resid_post.16",
    "model.layers.17.self_attn.o_proj.input": "attn_z.17",
    "model.layers.17.post_feedforward_layernorm.output": "mlp_out.17",
    "model.language_model.layers.3": "resid_post.3",
    "vision_tower.vision_model.encoder.layers.9": "vision.resid_post.9",
    "visual.transformer.resblocks.9": "vision.resid_post.9",
    "transformer.h.3": "resid_post.3",
    "gpt_neox.layers.2": "resid_post.2",
    "bert.encoder.layer.2": "resid_post.2",
    "layers.10": "resid_post.10",
    "resid_post.2": "resid_post.2",
    "vision.mlp_out.2": "vision.mlp_out.2",
}
"""Names of sites that have one reading, and the site."""

EXPLAINED = {
    "blocks.2.hook_z": "attn_z.2",
    "blocks.2.mlp.hook_out": "mlp_out.2 where no norm follows that part",
    "hook_z": "attn_z.LAYER",
    "hook_resid_post": "resid_post.LAYER",
    "model.layers.17.mlp": "mlp_out.17 where no norm follows that part",
    "model.layers.17.self_attn.output": "attn_out.17 where no norm follows that part",
    "gpt_neox.layers.3.attention.dense": "attn_z.3",
    "resid_pre.2": "resid_post.1",
    "hidden_states[3]": "resid_post.2",
}
"""Names of sites that depend on the model or leave something out, and what is said to be written."""


@pytest.mark.parametrize("name", READ)
def test_a_site_by_a_name_of_another_library_with_one_reading_is_that_site(name: str) -> None:
    assert str(harness.find_site(name)) == READ[name]
    assert parse_sites(name, lambda tower: 40) == [harness.Site.parse(READ[name])]


@pytest.mark.parametrize(
    "name",
    [
        *EXPLAINED,
        "blocks.0.hook_resid_pre",
        "model.layers.0.input",
        "blocks.3.hook_resid_mid",
        "model.layers.3.input_layernorm",
        "model.layers.1234567890",
        "resid_post.50%",
        "resid_post.[1,2]",
        "",
    ],
)
def test_a_name_without_one_reading_is_no_site(name: str) -> None:
    assert harness.find_site(name) is None


def test_features_at_the_hook_of_another_library_are_those_of_the_site(session: Any) -> None:
    read, same = (
        session.features(["one"], model="minigemma-s", site=site, representation="hidden")
        for site in ("blocks.1.hook_resid_post", "resid_post.1")
    )
    assert read == same if not hasattr(read, "shape") else bool((read == same).all())


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_site_by_a_name_of_another_library_is_told_its_own(session: Any, name: str) -> None:
    with pytest.raises(harness.UsageError) as caught:
        session.features(["one"], model="minigemma-s", site=name, representation="hidden")
    assert f"model 'minigemma-s' has no site '{name}': " in str(caught.value)
    assert f"write {EXPLAINED[name]}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("resid_pre.0", "the embedding, which is no site; the first is resid_post.0"),
        ("blocks.0.hook_resid_pre", "the embedding, which is no site"),
        ("vision.resid_pre.0", "the first is vision.resid_post.0"),
        (
            "blocks.3.hook_resid_mid",
            "that hook is no site: the kinds are resid_post, mlp_out, attn_out and attn_z",
        ),
        ("model.layers.3.input_layernorm", "that part of a block is no site"),
        ("resid_post.3", ""),
        ("vision.resid_post.50%", ""),
        ("model.layers.0.input", "the embedding, which is no site"),
    ],
)
def test_a_place_that_is_no_site_is_said_to_be_none(name: str, wanted: str) -> None:
    assert wanted in explain_site(name) and bool(wanted) == bool(explain_site(name))


def test_the_arrays_that_a_refusal_asks_for_are_read(registry: Any, tmp_path: Path) -> None:
    """A ReLU dictionary is one of threshold 0."""
    random = np.random.default_rng(0)
    parts = {
        "W_enc": random.normal(size=(64, 8)),
        "W_dec": random.normal(size=(8, 64)),
        "b_enc": random.normal(size=8),
    }
    np.savez(tmp_path / "params.npz", **parts, b_dec=np.zeros(64), threshold=np.zeros(8))
    site = harness.Site.parse("resid_post.1")
    placed = (
        registry.choose("representations", str(tmp_path))
        .make()
        .at(registry.choose("models", "minigemma-s").make(), site)
    )
    x = torch.from_numpy(random.normal(size=(5, 64))).float()
    wanted = torch.relu(
        x @ torch.from_numpy(parts["W_enc"]).float() + torch.from_numpy(parts["b_enc"]).float()
    )
    torch.testing.assert_close(placed.load("cpu").encode(x), wanted)


@pytest.mark.parametrize("kind", ["models", "representations"])
def test_a_path_at_which_nothing_lies_is_told_where_it_ends(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/gemma").mkdir(parents=True)
    with pytest.raises(harness.UsageError, match="'models' holds no 'gema'; it holds: gemma"):
        registry.choose(kind, "./models/gema/deep")
    with pytest.raises(harness.UsageError, match="has a name of 300 bytes, and no file or repository has"):
        registry.choose(kind, f"./{'x' * 300}/y")


def test_a_repository_that_is_not_cached_is_looked_into_when_it_is_placed(registry: Any) -> None:
    choice = registry.choose("representations", "EleutherAI/sae-llama-3-8b-32x")
    with pytest.raises(
        harness.UnavailableError, match=r"(?s)has no file.*in the local hub cache \(offline\)"
    ):
        choice.make().at(None, harness.Site(kind="resid_post", layer=0))


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("blocks.3.hook_mlp_out", "mlp_out.3"),
        ("layers.5.mlp", "mlp_out.5"),
        ("model.layers.5.self_attn.output", "attn_out.5"),
        ("model.layers.17.self_attn.o_proj.input", "attn_z.17"),
    ],
)
def test_the_hook_of_a_config_is_a_site(hook: str, site: str) -> None:
    assert str(read_hook(hook)) == site


@pytest.mark.parametrize(
    "hook", ["blocks.3.hook_resid_mid", "layers.5.mlp.gate", "embed_tokens", None, 7, ["a"]]
)
def test_the_hook_of_a_config_that_is_no_site_keeps_its_name(hook: Any) -> None:
    assert read_hook(hook) == str(hook)


def test_the_output_of_a_module_that_a_norm_follows_is_refused() -> None:
    llama, gemma = (SimpleNamespace(architecture=name) for name in ("llama", "gemma3_text"))
    for hook in ("layers.5.mlp", "model.layers.5.self_attn.output"):
        check_part("X", hook, llama)
        with pytest.raises(harness.UsageError, match="comes before a norm in gemma3_text"):
            check_part("X", hook, gemma)
    for hook in ("layers.5", "blocks.5.hook_mlp_out", None):
        check_part("X", hook, gemma)


@pytest.mark.skipif(find_table() is None, reason="sae-lens, whose table this asks, is not installed")
def test_the_name_of_a_model_is_not_taken_for_a_release_of_saelens(registry: Any) -> None:
    with pytest.raises(harness.UsageError, match="there is no representation 'gemma-2-2b'"):
        registry.choose("representations", "gemma-2-2b")


@pytest.mark.parametrize("name", ["minigemma-s", "minipaligemma", "miniclip"])
def test_a_model_that_is_offered_by_name_is_called_so_wherever_its_files_lie(
    registry: Any, name: str
) -> None:
    model = registry.choose("models", name).make()
    assert model.name == name
    with pytest.raises(harness.UsageError, match=rf"^model '{name}' has no site"):
        model.width(harness.Site.parse("nothing.1"))


@pytest.mark.parametrize("kind", ["models", "representations"])
def test_an_address_of_the_hub_is_told_how_names_of_the_hub_are_written(registry: Any, kind: str) -> None:
    with pytest.raises(harness.UsageError, match="one of the hub is written ORG/NAME"):
        registry.choose(kind, "https://huggingface.co/org/name")


def _holding_dictionary(folder: Path) -> Path:
    """Write a dictionary that its dictionary.yaml describes into a folder."""
    folder.mkdir(exist_ok=True)
    tensors = {"W_enc": torch.ones(4, 8), "b_enc": torch.zeros(8), "b_dec": torch.zeros(4)}
    safetensors.torch.save_file({**tensors, "W_dec": torch.ones(8, 4)}, folder / "x.safetensors")
    (folder / "dictionary.yaml").write_text("activation: relu\nsubtract_b_dec: true\n")
    return folder


def test_a_folder_of_two_layouts_is_refused_with_both(registry: Any, tmp_path: Path) -> None:
    config = {"d_in": 4, "d_sae": 8, "architecture": "standard"}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    _holding_dictionary(tmp_path)
    (tmp_path / "x.safetensors").rename(tmp_path / "sae_weights.safetensors")
    (tmp_path / "dictionary.yaml").unlink()
    np.savez(tmp_path / "params.npz", W_enc=np.ones((4, 8)))
    with pytest.raises(harness.UsageError, match="in the layouts of Gemma Scope and of SAELens"):
        registry.choose("representations", str(tmp_path))


def test_dictionaries_that_serve_anywhere_are_several_for_each_site(registry: Any, tmp_path: Path) -> None:
    folder = _holding_dictionary(tmp_path)
    shutil.copy(folder / "x.safetensors", folder / "z.safetensors")
    made = registry.choose("representations", str(folder)).make()
    model = registry.choose("models", "minigemma-s").make()
    with pytest.raises(harness.UsageError, match=r"holds several dictionaries for 'resid_post\.1'"):
        made.at(model, harness.Site.parse("resid_post.1"))


def test_a_value_that_is_not_finite_is_in_the_tensor_as_files_name_it() -> None:
    with pytest.raises(harness.UnavailableError, match="b_dec holds values that are not finite"):
        harness.Dictionary(
            name="x",
            width=8,
            activation="relu",
            W_enc=torch.ones(4, 8),
            b_enc=torch.zeros(8),
            subtract=torch.full((4,), torch.nan),
        )
