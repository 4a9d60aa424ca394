"""Sketches of models, without transformers and torch, against what these make of the same files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from harness_minigemma import WEIGHTS
from harness_open_clip import model as clip_model
from harness_open_clip.preprocessing import Preprocessing
from harness_open_clip.prompts import read_tokenizer as read_tokenizer_of_open_clip
from harness_open_clip.references import Checkpoint, open_checkpoint
from harness_open_clip.sketch import read_prompts
from harness_open_clip.sketch import sketch as clip_sketch
from harness_open_clip.structure import find_layout
from harness_open_clip.towers import build_vision
from harness_transformers import kept, vision
from harness_transformers import sketch as sketches
from harness_transformers.opening import build_skeleton, read_tokenizer
from harness_transformers.plain_tokenizer import read_plain_tokenizer
from harness_transformers.references import open_files
from harness_transformers.sketch import sketch
from harness_transformers.structure import KINDS, find_place
from harness_transformers.vision_sketch import sketch_vision_language
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

import harness
from harness.session import open_registry

EMBEDDED = ("minigemma-s", "minigemma-m", "minigemma-l")
BASE: dict[str, Any] = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "dtype": "bfloat16",
    "eos_token_id": 1,
    "head_dim": 12,
    "hidden_size": 24,
    "initializer_range": 0.02,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": 50,
}
GEMMA: dict[str, Any] = {
    **BASE,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "query_pre_attn_scalar": 12,
    "sliding_window": 16,
}
PLAIN_ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma2": {**GEMMA, "model_type": "gemma2"},
    "gemma3_text": {
        **GEMMA,
        "model_type": "gemma3_text",
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "rope_parameters": {"full_attention": PLAIN_ROPE, "sliding_attention": PLAIN_ROPE},
    },
    "llama": {**BASE, "model_type": "llama", "hidden_act": "silu", "mlp_bias": False},
}
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"attention_bias": True},
    {"num_attention_heads": 1, "num_key_value_heads": 1},
    {"head_dim": 6, "num_key_value_heads": 4},
    {"intermediate_size": 7, "vocab_size": 3},
    {"num_hidden_layers": 1, "layer_types": ["full_attention"]},
)


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("family", CONFIGS)
def test_a_sketch_is_the_structure_of_the_model_that_transformers_builds(tmp_path, family, change):
    config = {**CONFIGS[family], **{key: change[key] for key in change if key in CONFIGS[family]}}
    found = sketch(config)
    assert found is not None
    read = transformers.AutoConfig.from_pretrained(write_config(tmp_path / "m", config))
    model, layout = build_skeleton("m", read, "eager")
    blocks = model.get_submodule(layout.blocks)
    assert (found.model_type, found.layout) == (read.model_type, layout)
    assert found.n_layers == len(blocks) == read.num_hidden_layers
    assert found.n_parameters == sum(parameter.numel() for parameter in blocks.parameters())
    assert found.vocab_size == len(model.get_parameter(layout.embedding))
    assert found.max_position_embeddings == read.max_position_embeddings
    assert found.attn_logit_softcapping == getattr(read, "attn_logit_softcapping", None)
    for layer, block in enumerate(blocks):
        for kind in KINDS:
            place = find_place(block, kind, read.hidden_size)
            assert place is not None
            assert found.width(harness.Site(kind=kind, layer=layer)) == place.width


@pytest.mark.parametrize("family", CONFIGS)
def test_the_class_of_tokenizers_is_that_of_transformers(family):
    assert sketch(CONFIGS[family]).tokenizer_class == TOKENIZER_MAPPING_NAMES.get(family)


def test_every_family_of_a_sketch_is_compared_with_transformers():
    assert sketches._FAMILIES.keys() == CONFIGS.keys()


@pytest.mark.parametrize("value", [None, "3", -1, 0, 1.5, True, [], {}, 1 << 40, float("nan")], ids=str)
@pytest.mark.parametrize("key", [*sketches._NEEDED, "model_type", "layer_types", "hidden_activation"])
def test_a_setting_of_another_kind_is_left_to_transformers(key, value):
    config = {**CONFIGS["gemma2"], key: value}
    accepted = (key, value) in [("attention_bias", True)]
    assert (sketch(config) is not None) == accepted


@pytest.mark.parametrize(
    "key", ["quantization_config", "auto_map", "torch_dtype", "rope_scaling", "new_setting"]
)
def test_a_setting_that_is_not_known_is_left_to_transformers(key):
    assert sketch({**CONFIGS["llama"], key: "x"}) is None


@pytest.mark.parametrize("key", sketches._NEEDED)
def test_a_setting_that_is_not_there_is_left_to_transformers(key):
    assert sketch({name: value for name, value in CONFIGS["gemma2"].items() if name != key}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 25},
        {"num_key_value_heads": 3},
        {"head_dim": 7},
        {"layer_types": ["full_attention"]},
        {"layer_types": ["full_attention", "chunked_attention", 3]},
        {"pad_token_id": 50},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}},
        {"model_type": "bert"},
        {"initializer_range": 0},
    ],
    ids=str,
)
def test_settings_that_do_not_agree_are_left_to_transformers(change):
    assert sketch({**CONFIGS["gemma2"], **change}) is None


# ── tokenizers ──────────────────────────────────────────────────────────────────────────────────────────

TEXTS = (
    "",
    " ",
    "Hello, world!  Two  spaces\n\tand a tab",
    "<bos>spelt <start_of_turn>user\n<end_of_turn> <image><pad><eos><unk>",
    "naïve café – “quotes” … ½ 漢字 かな 한국어 العربية हिन्दी 👩‍👩‍👧",
    "\ud7ff\ue000\ufffd\u200b\u0000x",
    "word " * 700,
)


def facts(encodings: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (one.ids, one.special_tokens_mask, one.offsets, [part.ids for part in one.overflowing])
        for one in encodings
    ]


@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize(
    "options",
    [
        {"truncation": True, "max_length": 16, "split_special_tokens": True},
        {"truncation": True, "max_length": 256, "split_special_tokens": True},
        {"add_special_tokens": False},
        {"add_special_tokens": False, "split_special_tokens": True},
        {},
    ],
    ids=str,
)
def test_a_plain_tokenizer_gives_what_transformers_gives(name, options):
    files = open_files(str(WEIGHTS / name))
    plain, whole = read_plain_tokenizer(files), read_tokenizer(files)
    assert plain is not None
    for texts in (list(TEXTS), TEXTS[2]):
        wanted = whole(texts, verbose=False, **options).encodings
        assert facts(plain(texts, verbose=False, **options).encodings) == facts(wanted)
    assert plain.bos_token_id == whole.bos_token_id
    assert plain.num_special_tokens_to_add() == whole.num_special_tokens_to_add()
    assert all(plain.convert_ids_to_tokens(n) == whole.convert_ids_to_tokens(n) for n in (0, 5, 999))


def test_a_tokenizer_that_was_used_is_plain_for_the_next_model_too():
    for _ in range(2):
        plain = read_plain_tokenizer(open_files(str(WEIGHTS / "minigemma-s")))
        assert plain is not None
        plain(list(TEXTS), truncation=True, max_length=3, split_special_tokens=True)


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("tokenizer_config.json", lambda it: it.update(tokenizer_class="GemmaTokenizer")),
        ("tokenizer_config.json", lambda it: it.pop("tokenizer_class")),
        ("tokenizer_config.json", lambda it: it.update(add_bos_token=True)),
        ("tokenizer_config.json", lambda it: it.update(mask_token="<mask>")),
        ("tokenizer_config.json", lambda it: it.update(bos_token="<new>")),
        ("tokenizer_config.json", lambda it: it.update(additional_special_tokens=["<new>"])),
        ("tokenizer_config.json", lambda it: it.update(bos_token={"content": "<bos>"})),
        ("tokenizer_config.json", lambda it: it.update(model_max_length=1e30)),
        ("tokenizer.json", lambda it: it.update(post_processor=None)),
        ("tokenizer.json", lambda it: it.pop("model")),
        ("tokenizer.json", lambda it: [one.update(special=False) for one in it["added_tokens"]]),
        (
            "tokenizer.json",
            lambda it: it.update(
                truncation={"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Left"}
            ),
        ),
    ],
)
def test_a_tokenizer_that_transformers_may_change_is_left_to_it(tmp_path, file, change):
    folder = tmp_path / "m"
    shutil.copytree(WEIGHTS / "minigemma-s", folder)
    assert read_plain_tokenizer(open_files(str(folder))) is not None
    change_json(folder / file, change)
    assert read_plain_tokenizer(open_files(str(folder))) is None


@pytest.mark.parametrize("file", ["special_tokens_map.json", "added_tokens.json", "chat_template.jinja"])
def test_a_tokenizer_of_more_files_is_left_to_transformers(tmp_path, file):
    folder = tmp_path / "m"
    shutil.copytree(WEIGHTS / "minigemma-s", folder)
    (folder / file).write_text("{}", "utf-8")
    assert read_plain_tokenizer(open_files(str(folder))) is None


# ── whole models ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options", [{}, {"bos": "add"}, {"max_length": 9, "bos": "none"}, {"random_weights": 3}], ids=str
)
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_model_opened_by_its_sketch_is_the_one_that_transformers_opens(monkeypatch, name, options):
    def opened() -> Any:
        return open_registry().choose("models", {"name": name, **options}).make()

    fast = opened()
    monkeypatch.setattr(sketches, "sketch", lambda config: None)
    slow = opened()
    assert fast._sketch is not None
    assert slow._sketch is None
    for key in ("name", "architecture", "n_layers", "n_parameters", "languages"):
        assert getattr(fast, key) == getattr(slow, key)
    for kind in KINDS:
        for layer in range(fast.n_layers):
            site = harness.Site(kind=kind, layer=layer)
            assert fast.width(site) == slow.width(site)
            assert fast.identity(site) == slow.identity(site)
            assert fast.flags(site) == slow.flags(site)
    for left, right in zip(fast.tokenize(TEXTS), slow.tokenize(TEXTS), strict=True):
        assert np.array_equal(left.ids, right.ids)
        assert np.array_equal(left.content, right.content)
        assert left.truncated == right.truncated
    for site in ("resid_post.99", "mlp_in.0", "vision.resid_post.0"):
        with pytest.raises(harness.UsageError) as told:
            fast.width(harness.Site.parse(site))
        with pytest.raises(harness.UsageError, match=str(told.value).replace("(", r"\(").replace(")", r"\)")):
            slow.width(harness.Site.parse(site))


def test_a_model_that_is_not_built_as_it_was_sketched_is_refused(monkeypatch):
    real = sketches.sketch

    def off_by_one(config: Any) -> Any:
        import dataclasses

        found = real(config)
        return dataclasses.replace(found, n_parameters=found.n_parameters + 1)

    monkeypatch.setattr(sketches, "sketch", off_by_one)
    model = open_registry().choose("models", "minigemma-s").make()
    with pytest.raises(harness.UnavailableError, match="transformers builds another model"):
        model.load([harness.Site(kind="resid_post", layer=0)], "cpu")


# ── towers of open_clip ─────────────────────────────────────────────────────────────────────────────────

TOWER: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "width": 24,
    "layers": 3,
    "head_width": 8,
    "mlp_ratio": 3.0,
}
PREPARED: dict[str, Any] = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def checkpoint(tower: Mapping[str, Any], prepared: Mapping[str, Any] = PREPARED, **more: Any) -> Checkpoint:
    model = {"embed_dim": 16, "vision_cfg": dict(tower), "text_cfg": {}, **more}
    return Checkpoint(name="m", model=model, preprocessing=prepared, files=None)  # type: ignore[arg-type]  (it reads none)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mlp_ratio": 2.7},
        {"no_ln_pre": True, "layers": 1},
        {"width": 40, "head_width": 40},
        {"image_size": 8, "patch_size": 8},
    ],
    ids=str,
)
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_a_sketch_is_the_tower_that_open_clip_builds(change, quick_gelu):
    one = checkpoint({**TOWER, **change}, quick_gelu=quick_gelu)
    found, tower = clip_sketch(one), build_vision(one)
    assert found is not None
    assert found.layout == find_layout("m", tower)
    blocks = tower.get_submodule(found.layout.blocks)
    assert found.n_parameters == sum(parameter.numel() for parameter in blocks.parameters())
    identity = Preprocessing("m", one.preprocessing, found.layout.image_size).identity
    assert dict(found.preprocessing) == identity


@pytest.mark.parametrize(
    "one",
    [
        checkpoint({**TOWER, "pool_type": "avg"}),
        checkpoint({**TOWER, "timm_model_name": "vit_base_patch16_224"}),
        checkpoint({**TOWER, "patch_size": 5}),
        checkpoint({**TOWER, "head_width": 7}),
        checkpoint({**TOWER, "image_size": [32, 32]}),
        checkpoint({key: value for key, value in TOWER.items() if key != "mlp_ratio"}),
        checkpoint(TOWER, {**PREPARED, "mode": "L"}),
        checkpoint(TOWER, {**PREPARED, "mean": [0.5]}),
        checkpoint(TOWER, {}),
        checkpoint(TOWER, cast_dtype="x"),
        checkpoint({**TOWER, "image_size": 8_000}),
    ],
)
def test_a_tower_that_is_not_known_is_left_to_open_clip(one):
    assert clip_sketch(one) is None


PROMPTS = ("a photo of a circle.", "", "  two   blanks ", "<bos> spelt <eos>", "word " * 60, 'a "quoted" one')


def test_prompts_have_the_ids_that_open_clip_gives_them():
    one = open_checkpoint(str(WEIGHTS / "miniclip"), "miniclip")
    encode = read_prompts(one)
    assert encode is not None
    assert encode(PROMPTS) == read_tokenizer_of_open_clip(one)(list(PROMPTS)).tolist()
    assert all(encode([prompt]) is None for prompt in ("caf\u00e9", "a &amp; b", "a\x07b"))
    model = open_registry().choose("models", "miniclip").make()
    assert model.tokenize_prompts(["caf\u00e9"]) == read_tokenizer_of_open_clip(one)(["caf\u00e9"]).tolist()


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("tokenizer_config.json", lambda it: it.update(tokenizer_class="CLIPTokenizer")),
        ("tokenizer_config.json", lambda it: it.update(sep_token="<sep>")),
        ("tokenizer_config.json", lambda it: it.update(pad_token="<new>")),
        ("open_clip_config.json", lambda it: it["model_cfg"]["text_cfg"].update(tokenizer_mode="clips")),
        (
            "open_clip_config.json",
            lambda it: it["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"clean": "lower"}),
        ),
        ("tokenizer.json", lambda it: it.update(post_processor=None)),
    ],
)
def test_a_tokenizer_of_prompts_that_is_not_known_is_left_to_open_clip(tmp_path, file, change):
    folder = tmp_path / "m"
    shutil.copytree(WEIGHTS / "miniclip", folder)
    assert read_prompts(open_checkpoint(str(folder), "m")) is not None
    change_json(folder / file, change)
    assert read_prompts(open_checkpoint(str(folder), "m")) is None


def test_a_tower_opened_by_its_sketch_is_the_one_that_open_clip_opens(monkeypatch):
    def opened() -> Any:
        return open_registry().choose("models", "miniclip").make()

    fast = opened()
    monkeypatch.setattr(clip_model, "sketch", lambda checkpoint: None)
    slow = opened()
    assert (fast._sketch is None, slow._sketch is None) == (False, True)
    for key in ("name", "n_layers", "n_parameters", "towers", "grid", "seen_tasks", "embedding_site"):
        assert getattr(fast, key) == getattr(slow, key)
    for text in ("vision.resid_post.0", "vision.resid_post.3", str(fast.embedding_site)):
        assert fast.width(harness.Site.parse(text)) == slow.width(harness.Site.parse(text))
        assert fast.identity(harness.Site.parse(text)) == slow.identity(harness.Site.parse(text))
    assert fast.text_identity() == slow.text_identity()


# ── vision-language models ──────────────────────────────────────────────────────────────────────────────


def copy_vision_language(folder: Path) -> Any:
    shutil.copytree(WEIGHTS / "minipaligemma", folder)
    return open_files(str(folder))


def test_a_vision_language_model_opened_by_its_sketch_is_the_one_that_transformers_opens(monkeypatch):
    def opened() -> Any:
        return open_registry().choose("models", "minipaligemma").make()

    fast = opened()
    monkeypatch.setattr(vision, "sketch_vision_language", lambda *files, prompt: None)
    slow = opened()
    assert (fast._sketch is None, slow._sketch is None) == (False, True)
    for key in ("name", "architecture", "n_layers", "n_parameters", "towers", "grid", "seen_tasks", "_parts"):
        assert getattr(fast, key) == getattr(slow, key)
    assert fast._ids.tolist() == slow._ids.tolist()
    assert fast._ids.dtype == slow._ids.dtype
    assert fast._is_image.tolist() == slow._is_image.tolist()
    sites = [harness.Site(kind=kind, layer=layer) for kind in KINDS for layer in range(fast.n_layers)]
    last = fast.towers["vision"] - 1
    sites += [harness.Site.parse(f"vision.{name}") for name in ("resid_post.0", f"resid_post.{last}")]
    for site in (*sites, harness.Site.parse(f"vision.output.{last}")):
        assert fast.width(site) == slow.width(site)
        assert fast.identity(site) == slow.identity(site)
        assert fast.flags(site) == slow.flags(site)
    for text in ("resid_post.99", "vision.mlp_out.0", "vision.output.0"):
        with pytest.raises(harness.UsageError) as told:
            fast.width(harness.Site.parse(text))
        with pytest.raises(harness.UsageError) as told_too:
            slow.width(harness.Site.parse(text))
        assert str(told.value) == str(told_too.value)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", lambda it: it.update(model_type="llava")),
        ("config.json", lambda it: it.update(projection_dim=64)),
        ("config.json", lambda it: it.update(image_token_index=5)),
        ("config.json", lambda it: it.update(quantization_config={})),
        ("config.json", lambda it: it["text_config"].update(use_bidirectional_attention=None)),
        ("config.json", lambda it: it["text_config"].update(num_image_tokens=1)),
        ("config.json", lambda it: it["text_config"].update(max_position_embeddings=10)),
        ("config.json", lambda it: it["text_config"].update(rms_norm_eps=1e-5)),
        ("config.json", lambda it: it["vision_config"].update(patch_size=7)),
        ("config.json", lambda it: it["vision_config"].pop("vision_use_head")),
        ("preprocessor_config.json", lambda it: it.update(do_resize=False)),
        ("preprocessor_config.json", lambda it: it.update(image_seq_length=16)),
        ("preprocessor_config.json", lambda it: it["size"].update(height=32)),
        ("tokenizer_config.json", lambda it: it.pop("bos_token")),
        ("tokenizer_config.json", lambda it: it.update(image_token="<image>")),
    ],
)
def test_a_vision_language_model_that_is_not_known_is_left_to_transformers(tmp_path, file, change):
    language = open_files(str(WEIGHTS / "minigemma-m"))
    assert sketch_vision_language(copy_vision_language(tmp_path / "a"), language, prompt="") is not None
    files = copy_vision_language(tmp_path / "b")
    change_json(tmp_path / "b" / file, change)
    assert sketch_vision_language(files, language, prompt="") is None
    assert sketch_vision_language(copy_vision_language(tmp_path / "c"), language, prompt="what") is None


# ── texts that are kept ─────────────────────────────────────────────────────────────────────────────────


def test_models_of_one_tokenizer_encode_a_list_of_texts_once():
    calls: list[int] = []

    def encode(texts: Any) -> list[harness.Tokens]:
        calls.append(len(texts))
        return [harness.Tokens(ids=np.arange(3), content=np.ones(3, dtype=np.bool_)) for _ in texts]

    texts = ["of this test alone", "b"]
    first = kept.encode_once("rule", texts, encode)
    assert [*map(id, kept.encode_once("rule", list(texts), encode))] == [*map(id, first)]
    kept.encode_once("another rule", texts, encode)
    kept.encode_once("rule", texts[:1], encode)
    assert calls == [2, 2, 1]
    for number in range(kept.MOST_TEXTS):
        kept.encode_once("rule", [str(number)], encode)
    kept.encode_once("rule", texts, encode)
    assert calls[-1] == 2


def test_a_card_is_read_as_huggingface_hub_reads_it(tmp_path):
    from harness_transformers import card
    from huggingface_hub import metadata_load

    path = tmp_path / "README.md"
    for text in (
        "---\na: 1\n---\nx",
        "\ufeff---\r\na: [1, no]\r\n---\r\n",
        "# x\n---\na: 1\n---",
        "---\n---\n",
        "---\na: 1",
    ):
        path.write_bytes(text.encode())
        assert card._read(path) == metadata_load(path)
