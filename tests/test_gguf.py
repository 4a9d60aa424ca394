"""Models in GGUF: converted once, equal to what transformers makes of the file, and refused where something is lost."""

from __future__ import annotations

import json
import math
import random
import re
import struct
from pathlib import Path
from typing import Any

import hub_stand_in
import numpy as np
import pytest
import torch
import transformers

import harness

gguf = pytest.importorskip("gguf", reason="needs the package gguf: pip install 'sae-harness[gguf]'")

# Below importorskip: these import gguf, and a test that cannot run is skipped with the reason above.
from gguf_toys import ARCHITECTURES, BLOCKS, WIDTH, write_toy  # noqa: E402 (below importorskip)
from harness_transformers.conversion import convert  # noqa: E402 (below importorskip)
from harness_transformers.gguf_file import GgufFile, Value, open_gguf  # noqa: E402 (below importorskip)
from harness_transformers.gguf_settings import ROPE_TENSOR, take_over  # noqa: E402 (below importorskip)
from safetensors.torch import load_file  # noqa: E402 (below importorskip)

Kind = gguf.GGMLQuantizationType
TEXTS = ["cats  sat a cat\n\n", "Größe <bos> x", ""]
SITE = "resid_post.1"
TEMPLATE = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
BYTES = {"model": "gpt2", "bos_token_id": 261}
"""A tokenizer of bytes, with `<|begin|>` as BOS."""


def folder_of(cache: Path) -> Path:
    [folder] = [each for each in (cache / "folders").iterdir() if each.is_dir()]
    return folder


def open_toy(path: Path, **parameters: Any) -> Any:
    return harness.open(device="cpu").registry.choose("models", {"name": str(path), **parameters}).make()


def open_toy_ref(ref: str) -> Any:
    return harness.open(device="cpu").registry.choose("models", ref).make()


def refuse(path: Path, **parameters: Any) -> str:
    with pytest.raises(harness.HarnessError) as caught:
        open_toy(path, **parameters)
    return str(caught.value)


@pytest.fixture
def quiet() -> Any:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0], ids=lambda kind: kind.name)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_setting_and_token_equals_those_of_transformers(
    architecture: str, kind: Any, tmp_path: Path, own_cache: Path, quiet: None
):
    path = write_toy(tmp_path / "m.gguf", architecture, kind=kind)
    open_toy(path)
    folder = folder_of(own_cache)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    ours = transformers.AutoModelForCausalLM.from_pretrained(folder)
    expected, found = theirs.state_dict(), ours.state_dict()
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float32}
    unlike = {"architectures", "_name_or_path", "query_pre_attn_scalar"}  # of the last there is a test below
    settings = [{k: v for k, v in one.config.to_dict().items() if k not in unlike} for one in (theirs, ours)]
    assert settings[0] == settings[1]
    expected_ids, found_ids = (
        transformers.AutoTokenizer.from_pretrained(place, **more)(TEXTS).input_ids
        for place, more in ((tmp_path, {"gguf_file": path.name}), (folder, {}))
    )
    assert expected_ids == found_ids


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q5_1], ids=lambda kind: kind.name)
def test_a_tied_head_is_no_weight_of_its_own_and_other_types_are_read(
    kind: Any, tied: bool, tmp_path: Path, own_cache: Path, quiet: None
):
    path = write_toy(tmp_path / "m.gguf", "llama", kind=kind, tied=tied)
    model = open_toy(path)
    stored = load_file(folder_of(own_cache) / "model.safetensors")
    assert ("lm_head.weight" in stored) is not tied
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(dequantize=True),
    ).state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in stored.items())
    flags = model.flags(harness.Site.parse(SITE))
    assert flags.keys() == (set() if kind in (Kind.F16, Kind.BF16) else {"quantised"})


def test_it_is_converted_once_said_on_stderr_and_read_at_its_sites(
    tmp_path: Path, own_cache: Path, capfd: Any
):
    path = write_toy(tmp_path / "m.gguf", "gemma3", kind=Kind.Q8_0)
    model = open_toy(path)
    said = capfd.readouterr().err
    assert "converting m.gguf to float32, once" in said and "it holds no chat template" in said
    site = harness.Site.parse(SITE)
    assert (model.n_layers, model.width(site), model.architecture) == (BLOCKS, WIDTH, "gemma3_text")
    tokens = model.tokenize(["cats sat", "a cat"])
    assert all(one.ids[0] == 2 and not one.content[0] for one in tokens)  # BOS
    read = model.load([site], "cpu").forward(tokens)[site]
    assert read.shape == (sum(int(one.content.sum()) for one in tokens), WIDTH) and read.isfinite().all()
    # Another name of the same bytes is the same model, and is not converted again.
    (other := tmp_path / "folder").mkdir()
    path.rename(other / "renamed.gguf")
    again = open_toy(other)
    assert capfd.readouterr().err == ""
    assert again.identity(site) == model.identity(site)
    card = (folder_of(own_cache) / "README.md").read_text()
    assert "Q8_0" in card and "no chat template" in card


def test_the_template_of_the_file_is_kept_and_used(tmp_path: Path):
    path = write_toy(tmp_path / "m.gguf", "llama", template=TEMPLATE)
    plain, chat = (open_toy(path, template=template) for template in ("none", "chat"))
    assert len(chat.tokenize(["cat"])[0].ids) > len(plain.tokenize(["cat"])[0].ids) - 1
    assert plain.identity(harness.Site.parse(SITE)) != chat.identity(harness.Site.parse(SITE))


def test_without_a_template_the_way_to_name_one_is_said(tmp_path: Path):
    path = write_toy(tmp_path / "m.gguf", "llama")
    assert "template=PATH.jinja" in refuse(path, template="chat")


def llama_3(theta: float, head: int, factor: float) -> np.ndarray[Any, Any]:
    """The divisors of frequencies that llama.cpp writes for Llama 3, by transformers' own rule."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_theta": theta, "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"rope_type": "llama3", "original_max_position_embeddings": 8192}
    config = transformers.LlamaConfig(head_dim=head, rope_parameters=rope, max_position_embeddings=131072)
    stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1 / theta ** (torch.arange(0, head, 2) / head)
    return (plain / stretched).numpy().astype(np.float32)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_stretched_positions_of_llama_3_are_taken_over(factor: float, tmp_path: Path, own_cache: Path):
    theta = 500000.0
    more = {ROPE_TENSOR: llama_3(theta, 16, factor)}
    open_toy(write_toy(tmp_path / "m.gguf", "llama", settings={"rope.freq_base": theta}, more=more))
    rope = json.loads((folder_of(own_cache) / "config.json").read_text())["rope_parameters"]
    assert rope["rope_type"] == "llama3" and math.isclose(rope["factor"], factor, rel_tol=1e-6)
    assert rope["rope_theta"] == theta


def test_positions_stretched_by_another_rule_are_refused(tmp_path: Path):
    more = {ROPE_TENSOR: np.linspace(1, 8, 8, dtype=np.float32)}
    said = refuse(write_toy(tmp_path / "m.gguf", "llama", more=more))
    assert "is not that of Llama 3's rule" in said and "with safetensors" in said


def test_the_stretched_positions_of_gemma_3_are_those_of_its_global_blocks(tmp_path: Path, own_cache: Path):
    settings = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}
    open_toy(write_toy(tmp_path / "m.gguf", "gemma3", settings=settings))
    rope = json.loads((folder_of(own_cache) / "config.json").read_text())["rope_parameters"]
    assert rope["full_attention"] == {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
    assert rope["sliding_attention"]["rope_type"] == "default"


def test_the_base_of_positions_is_taken_over_where_transformers_does_not_read_it(
    tmp_path: Path, own_cache: Path
):
    open_toy(write_toy(tmp_path / "m.gguf", "starcoder2", settings={"rope.freq_base": 100000.0}))
    assert (
        json.loads((folder_of(own_cache) / "config.json").read_text())["rope_parameters"]["rope_theta"] == 1e5
    )


@pytest.mark.parametrize(
    ("architecture", "said", "adds_by_itself"),
    [
        ("llama", {**BYTES, "pre": "llama-bpe"}, True),
        ("llama", {**BYTES, "pre": "tekken"}, True),
        ("llama", {**BYTES, "pre": "olmo"}, False),
        ("qwen2", {**BYTES, "pre": "deepseek-r1-qwen"}, False),
        ("gpt2", BYTES, False),
        ("llama", {}, True),
        ("gemma3", {}, True),
    ],
)
def test_bos_is_added_as_the_file_says_and_where_it_does_not_as_its_pre_tokenizer_does(
    architecture: str, said: dict[str, Any], adds_by_itself: bool, tmp_path: Path
):
    for adds in (None, True, False):
        tokenizer = {**said, "add_bos_token": adds, "add_eos_token": adds}
        path = write_toy(tmp_path / f"{adds}.gguf", architecture, tokenizer=tokenizer)
        [tokens] = open_toy(path).tokenize(["cat"])
        added = tokens.ids[~tokens.content].tolist()
        bos, eos = said.get("bos_token_id", 2), 262 if "model" in said else 1
        assert added == ([bos] if adds is None and adds_by_itself else [bos, eos] if adds else [])


def test_a_word_that_is_a_token_stays_whole_where_its_pre_tokenizer_keeps_it(tmp_path: Path):
    found = []
    for rule in ("llama-bpe", "qwen2"):
        path = write_toy(tmp_path / f"{rule}.gguf", "llama", tokenizer={"model": "gpt2", "pre": rule})
        found.append(len(open_toy(path).tokenize(["dog"])[0].ids))
    assert found == [1, 3]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("smollm", ["in", "Ġ", "2", "0", "²", "Ġcats", "'s", "Ġ", "Ġa"]),
        ("gpt-2", ["in", "Ġ20²", "Ġcats", "'s", "Ġ", "Ġa"]),
    ],
)
def test_digits_are_words_of_their_own_where_the_pre_tokenizer_parts_them(
    rule: str, words: list[str], tmp_path: Path, own_cache: Path
):
    open_toy(write_toy(tmp_path / "m.gguf", "llama", tokenizer={"model": "gpt2", "pre": rule}))
    backend = transformers.AutoTokenizer.from_pretrained(folder_of(own_cache)).backend_tokenizer
    found = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str("in 20² cats's  a")]
    assert found == [word.replace("²", "Â²") for word in words]


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_a_space_before_a_text_is_put_or_not_as_the_file_says(
    architecture: str, prefix: bool, tmp_path: Path, own_cache: Path
):
    said = {"model": "llama", "add_space_prefix": prefix}
    [tokens] = open_toy(write_toy(tmp_path / "m.gguf", architecture, tokenizer=said)).tokenize(["cat"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder_of(own_cache))
    assert tokenizer.convert_ids_to_tokens(tokens.ids.tolist()) == ["<bos>", "▁cat" if prefix else "cat"]
    assert tokenizer.decode(tokens.ids[1:].tolist()) == "cat"
    if not prefix:
        assert tokenizer.decode(tokenizer(" cat", add_special_tokens=False).input_ids) == " cat"


@pytest.mark.parametrize(
    ("said", "template", "ends"),
    [
        ({}, "", None),  # config.json has the EOS
        ({"eot_token_id": 260, "eom_token_id": 261}, "", [1, 260, 261]),
        ({"eot_token_id": 260}, TEMPLATE, [1, 260, 293]),
        ({}, TEMPLATE, [1, 293]),  # <end_of_turn>
    ],
)
def test_an_answer_ends_with_the_tokens_that_end_a_turn(
    said: dict[str, Any], template: str, ends: list[int] | None, tmp_path: Path, own_cache: Path
):
    model = open_toy(write_toy(tmp_path / "m.gguf", "llama", tokenizer=said, template=template))
    settings = folder_of(own_cache) / "generation_config.json"
    assert (json.loads(settings.read_text()) if settings.exists() else None) == (
        None if ends is None else {"eos_token_id": ends}
    )
    assert model.load_answering("cpu")._ends == (ends or [1])


@pytest.mark.parametrize(
    ("kind", "architecture", "blocks", "width", "heads", "head", "scale"),
    [
        (transformers.Gemma2Config, "gemma2", 42, 3584, 16, 256, 256),
        (transformers.Gemma2Config, "gemma2", 46, 4608, 32, 128, 144),
        (transformers.Gemma3TextConfig, "gemma3", 18, 640, 4, 256, 256),
        (transformers.Gemma3TextConfig, "gemma3", 48, 3840, 16, 256, 256),
        (transformers.Gemma3TextConfig, "gemma3", 62, 5376, 32, 128, 168),
    ],
)
def test_the_scale_of_attention_of_gemma_is_that_of_its_size(
    kind: Any, architecture: str, blocks: int, width: int, heads: int, head: int, scale: int
):
    config = kind(num_hidden_layers=blocks, hidden_size=width, num_attention_heads=heads, head_dim=head)
    layers = list(config.layer_types)
    said = {"general.architecture": Value(kind=8, value=architecture)}
    said[f"{architecture}.attention.sliding_window"] = Value(kind=4, value=config.sliding_window)
    take_over(config, GgufFile(path=Path(), metadata=said, tensors={}))
    assert (config.query_pre_attn_scalar, config.layer_types) == (scale, layers)


@pytest.mark.parametrize("window", [32, 0, None])
def test_blocks_of_gemma_3_have_a_window_only_where_the_file_has_one(
    window: int | None, tmp_path: Path, own_cache: Path
):
    path = write_toy(tmp_path / "m.gguf", "gemma3", settings={"attention.sliding_window": window})
    model = open_toy(path)
    config = json.loads((folder_of(own_cache) / "config.json").read_text())
    assert config["layer_types"] == [("sliding" if window else "full") + "_attention"] * BLOCKS
    assert config["query_pre_attn_scalar"] == 16  # the width of a head, where transformers' constant is 256
    site = harness.Site.parse(SITE)
    assert model.load([site], "cpu").forward(model.tokenize(["a cat sat"]))[site].isfinite().all()


REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "a setting that would be lost": ("llama", {"settings": {"expert_count": 8}}, ("llama.expert_count = 8",)),
    "another cap on logits": (
        "gemma2",
        {"settings": {"attn_logit_softcapping": 20.0}},
        ("gemma2.attn_logit_softcapping = 20",),
    ),
    "an unknown stretching": (
        "qwen2",
        {"settings": {"rope.scaling.type": "longrope", "rope.scaling.factor": 4.0}},
        ("stretched by", "longrope"),
    ),
    "a stretching without a type": (
        "llama",
        {"settings": {"rope.scaling.factor": 4.0}},
        ("stretched by", "'factor': 4.0", "does not say the type"),
    ),
    "a rule of words that transformers does not know": (
        "llama",
        {"tokenizer": {"model": "gpt2", "pre": "deepseek-llm"}},
        (
            "its pre-tokenizer, 'deepseek-llm', has a rule of words that",
            "name the same model with safetensors",
        ),
    ),
    "words by no rule": (
        "gpt2",
        {"tokenizer": {"pre": None}},
        ("by which rule texts are split into words, tokenizer.ggml.pre", "with safetensors"),
    ),
    "words by the rule of no model": (
        "llama",
        {"tokenizer": {"model": "gpt2", "pre": "default"}},
        ("by which rule texts are split into words",),
    ),
    "a rule of words that the class of its type would not keep": (
        "gpt2",
        {"tokenizer": {"pre": "llama-bpe"}},
        ("GPT2Tokenizer, the class for its type of model, splits texts by another rule",),
    ),
    "a BOS without a number": (
        "llama",
        {"tokenizer": {"bos_token_id": None}},
        ("it adds BOS to texts and does not say which token that is",),
    ),
    "a BOS that would be another token": (
        "llama",
        {"tokenizer": {"model": "gpt2", "bos_token_id": 260}},
        ("its BOS is token 260, and would be token",),
    ),
    "a tensor without a place": (
        "llama",
        {"more": {"blk.0.odd.weight": np.zeros(4, dtype=np.float32)}},
        ("blk.0.odd.weight", "has no place for"),
    ),
    "a tensor that is missing": ("llama", {"without": "blk.1.attn_q.weight"}, ("no weights for", "q_proj")),
    "a model without embeddings": ("llama", {"without": "token_embd.weight"}, ("no token_embd.weight",)),
    "a width that is not that of its tensors": (
        "llama",
        {"settings": {"feed_forward_length": 64}, "more": {}},
        ("of shape", "its metadata means"),
    ),
    "millions of blocks": ("llama", {"settings": {"block_count": 5_000_000}}, ("num_hidden_layers = 5e+06",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_give_other_numbers_is_refused_in_one_sentence(case: str, tmp_path: Path, own_cache: Path):
    architecture, options, wanted = REFUSED[case]
    lying = {"feed_forward_length", "block_count"} & options.get("settings", {}).keys()
    path = write_toy(tmp_path / "m.gguf", architecture, **({} if lying else options))
    if lying:
        rewrite(path, architecture, options["settings"])
    said = refuse(path)
    assert all(word in said for word in wanted), said
    assert said.startswith(f"model '{path}'") and "\n" not in said
    assert [each.name for each in (own_cache / "folders").iterdir()] == ["lock"]


def rewrite(path: Path, architecture: str, settings: dict[str, int]) -> None:
    """Change whole numbers in the metadata of a file, where they lie."""
    data = path.read_bytes()
    for key, value in settings.items():
        name = f"{architecture}.{key}".encode()
        start = data.index(name) + len(name) + 4
        data = data[:start] + struct.pack("<I", value) + data[start + 4 :]
    path.write_bytes(data)


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


BROKEN = {
    "nothing": b"",
    "four letters": b"GGUF",
    "another kind of file": b"PK\x03\x04" + bytes(100),
    "an old version": b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    "the other order of bytes": b"GGUF" + struct.pack(">IQQ", 3, 1, 1),
    "more tensors than bytes": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
    "more settings than bytes": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
    "a long name": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60),
    "a long array": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 4, 1 << 40),
    "no architecture": b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_lies_about_itself_is_refused_in_one_sentence(case: str, tmp_path: Path):
    (path := tmp_path / "m.gguf").write_bytes(BROKEN[case])
    said = refuse(path)
    assert said.startswith(f"model '{path}': the GGUF file cannot be read") and said.endswith(
        "fetch it again"
    )


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_file_that_was_cut_off_is_refused_in_one_sentence(share: float, tmp_path: Path):
    path = write_toy(tmp_path / "m.gguf", "llama")
    path.write_bytes(cut(path.read_bytes(), share))
    assert "cannot be read (it ends" in refuse(path)


@pytest.mark.parametrize("tried", range(4))
def test_a_file_with_any_byte_changed_is_read_or_refused_in_one_sentence(tried: int, tmp_path: Path):
    path = write_toy(tmp_path / "m.gguf", ["llama", "gpt2", "gemma3", "bloom"][tried])
    whole, draw = path.read_bytes(), random.Random(tried)
    keys = [match.end() for match in re.finditer(rb"[a-z0-9]+\.[a-z0-9_.]+[a-z]", whole[:60_000])]
    for number in range(12):
        place = draw.choice(keys) + draw.randrange(24)  # types, lengths and values follow a name
        odd = draw.choice([b"\xff" * 4, bytes(4), draw.randbytes(1), draw.randbytes(4), b"\x00\x00\x00\x7f"])
        path.write_bytes(whole[:place] + odd + whole[place + len(odd) :])
        (folder := tmp_path / "cache" / "folders" / str(number)).mkdir(parents=True)
        try:
            convert("toy", open_gguf("toy", path), folder)
        except harness.HarnessError as error:
            assert str(error).startswith("model 'toy'") and "\n" not in str(error)


def test_a_file_on_the_hub_is_named_behind_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
):
    data = write_toy(tmp_path / "m.gguf", "llama").read_bytes()
    with hub_stand_in.serving(tmp_path / "hub", monkeypatch) as hub:
        hub.add("org/toy-GGUF", {"toy-Q8_0.gguf": data, "README.md": b"a card"})
        found = open_toy_ref("org/toy-GGUF/toy-Q8_0.gguf")
        assert found.n_layers == BLOCKS
        at = hub.commit("org/toy-GGUF")
        again = open_toy_ref(f"org/toy-GGUF/toy-Q8_0.gguf@{at}")
        assert again.identity(harness.Site.parse(SITE)) == found.identity(harness.Site.parse(SITE))
        with pytest.raises(harness.UnavailableError, match=r"has no file other\.gguf on the hub"):
            open_toy_ref("org/toy-GGUF/other.gguf")
        with pytest.raises(harness.UnavailableError, match=r"name the file in it, toy-Q8_0\.gguf"):
            open_toy_ref("org/toy-GGUF")


def test_a_tensor_of_a_type_that_cannot_be_read_is_refused_by_name(tmp_path: Path):
    path = write_toy(tmp_path / "m.gguf", "llama")
    data, name = path.read_bytes(), b"blk.0.attn_norm.weight"
    place = data.index(name) + len(name) + 4 + 8
    path.write_bytes(data[:place] + struct.pack("<I", int(Kind.I32)) + data[place + 4 :])
    assert "blk.0.attn_norm.weight is of type I32" in refuse(path)


def test_an_architecture_that_transformers_does_not_know_is_refused_by_name(tmp_path: Path):
    path = write_toy(tmp_path / "m.gguf", "llama")
    path.write_bytes(path.read_bytes().replace(b"llama", b"lamma"))
    said = refuse(path)
    assert "cannot read GGUF of 'lamma'" in said


@pytest.mark.parametrize("architecture", [b"lfm2", b"qwen35"])
def test_an_architecture_that_transformers_reads_by_other_rules_is_refused_by_name(
    architecture: bytes, tmp_path: Path
):
    ours = {4: "gpt2", 6: "gemma3"}[len(architecture)]
    path = write_toy(tmp_path / "m.gguf", ours)
    path.write_bytes(path.read_bytes().replace(ours.encode(), architecture))
    said = refuse(path)
    assert f"cannot read GGUF of '{architecture.decode()}' by the rules that are used here" in said
    assert said.endswith("name the same model with safetensors") and "tokenizer" not in said


def test_a_text_that_is_too_long_is_refused_for_its_length(tmp_path: Path):
    said = refuse(write_toy(tmp_path / "m.gguf", "llama", template="x" * 1_000_001))
    assert (
        "a text in the metadata of its GGUF file has 1,000,001 bytes, and at most 1,000,000 are read" in said
    )
    assert said.endswith("name the same model with safetensors")


def test_of_several_files_in_a_folder_one_is_to_be_named(tmp_path: Path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    said = refuse(tmp_path)
    assert "several GGUF files: name one" in said and "a.gguf" in said and "b.gguf" in said


def test_a_vision_tower_beside_the_model_is_not_taken_for_one(tmp_path: Path):
    (tmp_path / "mmproj-model-f16.gguf").write_bytes(b"GGUF")
    write_toy(tmp_path / "m.gguf", "llama")
    assert open_toy(tmp_path).architecture == "llama"


def test_a_part_of_a_file_that_was_split_is_refused_with_the_command_that_joins_them(tmp_path: Path):
    (path := tmp_path / "m-00001-of-00002.gguf").write_bytes(b"GGUF")
    assert "llama-gguf-split --merge" in refuse(path)
    with pytest.raises(harness.UsageError, match="llama-gguf-split --merge"):  # before anything is fetched
        open_toy_ref("org/toy-GGUF/m-00001-of-00002.gguf")


def test_the_package_is_not_needed_for_what_was_converted_and_named_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_toy(tmp_path / "m.gguf", "llama")
    from harness_transformers import conversion

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "find_spec", lambda name: None)
        assert refuse(path).endswith("needs the package gguf: pip install 'sae-harness[gguf]'")
    open_toy(path)
    monkeypatch.setattr(conversion, "find_spec", lambda name: None)
    open_toy(path)


def test_a_disk_without_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from harness_transformers import conversion

    path = write_toy(tmp_path / "m.gguf", "llama")
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda folder: type("", (), {"free": 5_000}))
    assert "make room there, or name another cache with --cache-dir or HARNESS_CACHE_DIR" in refuse(path)


def test_a_plan_names_the_quantised_weights(
    tmp_path: Path, harness_command: Any, toy_suite: Path, toy_task: Path
):
    path = write_toy(tmp_path / "m.gguf", "llama", kind=Kind.Q8_0)
    planned = harness_command("plan", str(toy_suite), "--include", str(toy_task), "-m", str(path))
    assert planned.code == 0, planned.err
    assert "was quantised (Q8_0): its activations are not those of the original" in planned.err
