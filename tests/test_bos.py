"""The token at the beginning of a text: who declares it, who adds it, and what `bos` does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness_minigemma
import harness_transformers
import numpy as np
import pytest
import transformers
from harness_transformers.bos import ADDING
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

import harness
from harness import Conversation, Site, Tokens, UnavailableError, UsageError

ORIGINAL = harness_minigemma.WEIGHTS / "minigemma-s"
SITE = Site.parse("resid_post.1")
FLAG = "bos-not-added"
ASKED = Conversation.parse(
    [{"role": "user", "content": "is <bos> a word?"}, {"role": "assistant", "content": "No."}]
)
INPUTS = ["one two three", "", "<bos> spelled out", "long text " * 300, ASKED]


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    """The smallest embedded model, whose tokenizer declares BOS and has lost the rule that adds it."""
    folder = Path(shutil.copytree(ORIGINAL, tmp_path / "lost"))
    change(folder / "tokenizer.json", post_processor=None)
    change(folder / "tokenizer_config.json", add_bos_token=True)
    return folder


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def open_model(ref: str | Path, **parameters: Any) -> Any:
    spec = harness_transformers.harness_resolve_model(str(ref), str(ref))
    assert spec is not None
    return spec.make(**parameters)


def assert_same(got: list[Tokens], wanted: list[Tokens]) -> None:
    for one, other in zip(got, wanted, strict=True):
        assert one.ids.tolist() == other.ids.tolist() and one.truncated == other.truncated
        assert one.content.tolist() == other.content.tolist()
        assert (one.prompt is None) == (other.prompt is None)
        assert one.prompt is None or one.prompt.tolist() == other.prompt.tolist()


# ── what bos does ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("template", ["none", "chat"])
@pytest.mark.parametrize("max_length", [512, 9])
def test_bos_is_added_once_and_never_twice(lost: Path, template: str, max_length: int) -> None:
    given = {"template": template, "max_length": max_length}
    wanted = open_model(ORIGINAL, **given).tokenize(INPUTS)
    assert_same(open_model(lost, bos="add", **given).tokenize(INPUTS), wanted)
    assert_same(open_model(ORIGINAL, bos="add", **given).tokenize(INPUTS), wanted)
    assert max(len(one.ids) for one in wanted) <= max_length
    assert all(one.ids[0] == 2 and not one.content[0] and 2 not in one.ids[1:] for one in wanted)


@pytest.mark.parametrize("max_length", [512, 9])
def test_bos_is_left_out_as_if_the_tokenizer_had_no_rule_for_it(lost: Path, max_length: int) -> None:
    without = open_model(ORIGINAL, bos="none", max_length=max_length).tokenize(INPUTS)
    assert_same(without, open_model(lost, max_length=max_length).tokenize(INPUTS))
    chat = open_model(ORIGINAL, bos="none", max_length=max_length, template="chat").tokenize(INPUTS)
    assert all(2 not in one.ids and len(one.ids) <= max_length for one in (*without, *chat))


@pytest.mark.parametrize("template", ["none", "chat"])
def test_inputs_encoded_in_blocks_have_the_tokens_that_they_have_together(
    monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    model = open_model(ORIGINAL, template=template)
    together = model.tokenize(INPUTS)
    monkeypatch.setattr(harness_transformers.encoding, "BLOCK", 2)
    assert_same(model.tokenize(INPUTS), together)


def test_a_template_without_bos_gets_one_only_when_it_is_asked_for(lost: Path) -> None:
    written = json.loads((lost / "tokenizer_config.json").read_text())["chat_template"]
    change(lost / "tokenizer_config.json", chat_template=written.removeprefix("{{ bos_token }}"))
    for max_length in (512, 9):
        given = {"template": "chat", "max_length": max_length}
        assert_same(
            open_model(lost, bos="add", **given).tokenize(INPUTS),
            open_model(ORIGINAL, **given).tokenize(INPUTS),
        )
    as_written = open_model(lost, template="chat")
    assert 2 not in as_written.tokenize(INPUTS)[0].ids and not as_written.flags(SITE)


def test_features_with_bos_added_are_exactly_those_of_the_original_model(lost: Path) -> None:
    session = harness.open(device="cpu")

    def features(model: Any, representation: str) -> Any:
        found = session.features(
            INPUTS[:1] + INPUTS[2:], model=model, site="resid_post.1", representation=representation
        )
        return found if isinstance(found, np.ndarray) else found.toarray()

    for representation in ("hidden", "minigemma-scope"):
        wanted = features(str(ORIGINAL), representation)
        np.testing.assert_array_equal(features({"ref": str(lost), "bos": "add"}, representation), wanted)
        with pytest.warns(UserWarning, match="add_bos_token in tokenizer_config.json declares"):
            assert np.abs(features(str(lost), representation) - wanted).max() > 1


def test_prompts_and_their_answers_begin_with_one_bos(lost: Path) -> None:
    original, added = (
        open_model(*ref, **given).load_answering("cpu")
        for ref, given in (((ORIGINAL,), {}), ((lost,), {"bos": "add"}))
    )
    assert_same([added.encode("one two", " three")], [original.encode("one two", " three")])


def test_a_token_beyond_the_embedding_is_refused_by_name(lost: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(lost)
    tokenizer.add_tokens(["river"])
    tokenizer.save_pretrained(lost)
    model = open_model(lost)
    assert model.tokenize(["one two three"])
    with pytest.raises(
        UnavailableError, match=r"has the token 'river' with the id [0-9]+, and its weights only"
    ):
        model.tokenize(["the river is wide"])


# ── keys, flags and refusals ─────────────────────────────────────────────────────────────────────────────


def test_bos_stands_in_the_key_when_it_is_given_and_only_then(lost: Path) -> None:
    keys = [open_model(lost, **given).identity(SITE) for given in ({}, {"bos": "add"}, {"bos": "none"})]
    assert [key.get("bos", "absent") for key in keys] == ["absent", "add", "none"]
    assert {**keys[1], "bos": None} == {**keys[0], "bos": None}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bos": "yes"}, "takes bos add, none, not 'yes'"),
        ({"bos": "add", "modality": "image"}, "takes bos with modality=text alone"),
    ],
)
def test_a_bos_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_model(ORIGINAL, **given)


def test_a_tokenizer_without_bos_can_add_none(lost: Path) -> None:
    change(lost / "tokenizer_config.json", bos_token=None)
    with pytest.raises(UsageError, match="takes no bos=add: its tokenizer has no bos_token"):
        open_model(lost, bos="add")
    assert not open_model(lost).flags(SITE)
    assert_same(open_model(lost, bos="none").tokenize(INPUTS), open_model(lost).tokenize(INPUTS))


def test_every_row_says_that_a_declared_bos_is_not_added(
    lost: Path, harness_command: Any, toy_suite: Path, toy_task: Path, tmp_path: Path
) -> None:
    text = toy_suite.read_text()
    models = f"models: [{{ref: '{lost}', sites: [resid_post.1]}}, {{ref: '{lost}', bos: add, sites: [resid_post.1]}}]"
    toy_suite.write_text(text.replace("models: [{ref: minigemma-s, sites: [resid_post.1]}]", models))
    run = harness_command("run", toy_suite, "--include", toy_task, "-o", tmp_path / "run", "-d", "cpu")
    assert (
        run.code == 0
        and run.err.count("declares that a BOS token is added, and its tokenizer adds none") == 1
    )
    records = [json.loads(line) for line in (tmp_path / "run/results.jsonl").read_text().splitlines()]
    flagged = {
        (one["representation"], "bos=add" in str(one["model"]), FLAG in one["flags"]) for one in records
    }
    assert flagged == {("hidden", False, True), ("hidden", True, False), ("majority", False, False)}


# ── who declares it ──────────────────────────────────────────────────────────────────────────────────────

VOCABULARY = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "▁a": 4, "a": 5, "b": 6}


def spell_by_words() -> Tokenizer:
    """A tokenizer as one is that is converted from sentencepiece."""
    tokenizer = Tokenizer(models.BPE(vocab=VOCABULARY, merges=[("▁", "a")], unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def spell_by_bytes() -> Tokenizer:
    """A tokenizer of the kind of GPT-2."""
    vocabulary = {"<s>": 0, "</s>": 1}
    vocabulary |= {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 2)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


SMALL = {
    "vocab_size": 300,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
CONFIGS = {
    "gemma2": transformers.Gemma2Config(**SMALL, head_dim=4),
    "llama": transformers.LlamaConfig(**SMALL),
    "gpt2": transformers.GPT2Config(vocab_size=300, n_embd=8, n_layer=2, n_head=2),
    "qwen2": transformers.Qwen2Config(**SMALL),
}


@pytest.mark.parametrize(
    ("kind", "spell", "settings", "is_declared"),
    [
        ("llama", spell_by_words, {"tokenizer_class": "LlamaTokenizer"}, True),
        ("llama", spell_by_words, {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": None}, True),
        ("llama", spell_by_words, {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False}, False),
        ("llama", spell_by_bytes, {"tokenizer_class": "PreTrainedTokenizerFast"}, False),
        ("llama", spell_by_bytes, {"tokenizer_class": "GPT2Tokenizer"}, False),
        ("llama", spell_by_bytes, {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True}, True),
        ("gemma2", spell_by_words, {"tokenizer_class": "GemmaTokenizer"}, True),
        ("gemma2", spell_by_words, {"tokenizer_class": "PreTrainedTokenizerFast"}, True),
        ("gpt2", spell_by_bytes, {"tokenizer_class": "GPT2Tokenizer"}, False),
        ("gpt2", spell_by_bytes, {"tokenizer_class": "GPT2TokenizerFast", "add_bos_token": False}, False),
        ("qwen2", spell_by_bytes, {"tokenizer_class": "Qwen2Tokenizer"}, False),
    ],
)
@pytest.mark.parametrize("adds", [True, False], ids=["added", "not added"])
def test_a_bos_is_declared_by_a_setting_or_by_a_class_that_adds_it(
    tmp_path: Path,
    kind: str,
    spell: Callable[[], Tokenizer],
    settings: dict[str, Any],
    is_declared: bool,
    adds: bool,
) -> None:
    tokenizer = spell()
    if adds:
        token = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[token]
        )
    CONFIGS[kind].save_pretrained(tmp_path)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(tmp_path)
    change(tmp_path / "tokenizer_config.json", **settings)
    model = open_model(tmp_path, random_weights=0)
    own, added, left_out = (
        one.tokenize(["a b"])[0]
        for one in (
            model,
            open_model(tmp_path, random_weights=0, bos="add"),
            open_model(tmp_path, random_weights=0, bos="none"),
        )
    )
    bos = tokenizer.token_to_id("<s>")
    assert bos not in left_out.ids and left_out.content.all()
    assert added.ids.tolist() == [bos, *left_out.ids] and added.content.tolist() == [False, *left_out.content]
    adds = bos in own.ids  # some classes of transformers build their own rule whatever the file has
    assert own.ids.tolist() == (added if adds else left_out).ids.tolist()
    assert list(model.flags(SITE)) == ([FLAG] if is_declared and not adds else [])


@pytest.mark.parametrize("name", ["CodeLlama", "Cohere", "Gemma", "GPT2", "GPTNeoX", "Llama"])
def test_classes_that_add_bos_are_those_that_transformers_documents_so(name: str) -> None:
    documented = (tokenizer_class_from_name(f"{name}Tokenizer").__doc__ or "").split("add_bos_token")[1]
    assert (name in ADDING) == ("True" in documented.split("\n")[0])


def test_a_vision_language_model_says_that_its_prompt_lacks_a_declared_bos(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(harness_minigemma.WEIGHTS / "minipaligemma", tmp_path / "model"))
    change(folder / "tokenizer_config.json", add_bos_token=True)
    given = {"modality": "image", "language_model": str(harness_minigemma.WEIGHTS / "minigemma-m")}
    model = open_model(folder, **given)
    assert 2 in model._ids and not model.flags(SITE)  # PaliGemma's processor writes it itself
    model._ids = model._ids[model._ids != 2]
    assert list(model.flags(SITE)) == [FLAG] and not model.flags(Site.parse("vision.resid_post.1"))


def test_a_vision_language_model_says_that_its_language_tower_was_quantised(tmp_path: Path) -> None:
    weights = harness_minigemma.WEIGHTS
    language = Path(shutil.copytree(weights / "minigemma-m", tmp_path / "language"))
    given = {"modality": "image", "language_model": str(language)}
    assert not open_model(weights / "minipaligemma", **given).flags(SITE)
    (language / "conversion.json").write_text('{"types": {"Q8_0": 9, "F32": 3}}')
    model = open_model(weights / "minipaligemma", **given)
    assert list(model.flags(SITE)) == ["quantised"] and "(Q8_0)" in model.flags(SITE)["quantised"]
    assert not model.flags(Site.parse("vision.resid_post.1"))
