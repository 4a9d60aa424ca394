"""The transformers plugin against plain transformers, on tiny random checkpoints of several families."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import harness_transformers
import huggingface_hub.constants
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from harness import Site, UnavailableError, UsageError, hash_file

TEXTS = [
    "a",
    "The cat sat on the mat.",
    "",
    "Übung macht den Meister 👍",
    "one two three four five six seven",
]
SMALL = {
    "vocab_size": 300,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
GEMMA = {**SMALL, "head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8}
FAMILIES = {
    "gemma2": transformers.Gemma2Config(**GEMMA, attn_logit_softcapping=0.5),
    "gemma3": transformers.Gemma3TextConfig(**GEMMA),
    "llama": transformers.LlamaConfig(**SMALL),
    "mistral": transformers.MistralConfig(**SMALL, sliding_window=5),
    "gpt2": transformers.GPT2Config(vocab_size=300, n_embd=24, n_layer=4, n_head=4, n_positions=256),
    "gpt_neox": transformers.GPTNeoXConfig(**{k: v for k, v in SMALL.items() if k != "num_key_value_heads"}),
}
PARTS = {  # family → (blocks, attention, its projection, MLP); the names are written out to be an oracle
    "gpt2": ("h", "attn", "attn.c_proj", "mlp"),
    "gpt_neox": ("layers", "attention", "attention.dense", "mlp"),
    "gemma2": ("layers", "post_attention_layernorm", "self_attn.o_proj", "post_feedforward_layernorm"),
    "gemma3": ("layers", "post_attention_layernorm", "self_attn.o_proj", "post_feedforward_layernorm"),
}
KINDS = ("resid_post", "attn_out", "mlp_out", "attn_z")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if HF_HUB_OFFLINE=1 had been set before huggingface_hub was imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the folder of a family's checkpoint: float32, one shard for about each block."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            write_checkpoint(made[family], FAMILIES[family])
        return made[family]

    return folder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A Llama that a test may damage."""
    write_checkpoint(tmp_path / "llama", FAMILIES["llama"])
    return tmp_path / "llama"


def write_tokenizer(folder: Path, *, bos: bool) -> None:
    """A byte-level tokenizer without merges; `<bos>` and `<eos>` are special."""
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    vocabulary |= {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 3)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
        )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(folder)


def write_checkpoint(
    folder: Path, config: Any, *, shard: str = "20KB", dtype: torch.dtype = torch.float32, bos: bool = True
) -> None:
    """Random weights large enough for every part to matter, norms included."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    write_tokenizer(folder, bos=bos)


def open_model(ref: str | Path, **parameters: Any) -> Any:
    spec = harness_transformers.harness_resolve_model(str(ref), str(ref))
    assert spec is not None
    return spec.make(**parameters)


def site(text: str) -> Site:
    return Site.parse(text)


def read(model: Any, sites: list[Site], texts: list[str], batch: int = 8) -> dict[Site, list[torch.Tensor]]:
    """For each site one `[content tokens, width]` for each text."""
    loaded = model.load(sites, "cpu")
    tokens = model.tokenize(texts)
    rows: dict[Site, list[torch.Tensor]] = {site: [] for site in sites}
    for start in range(0, len(tokens), batch):
        part = tokens[start : start + batch]
        for key, values in loaded.forward(part).items():
            rows[key] += values.split([int(t.content.sum()) for t in part])
    return rows


def oracle(folder: Path, family: str, texts: list[str]) -> dict[str, torch.Tensor]:
    """Every site of the whole model by plain transformers, text by text: `[tokens, width]` without BOS."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).base_model
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    blocks, attention, projection, mlp = PARTS.get(family, ("layers", "self_attn", "self_attn.o_proj", "mlp"))
    seen: dict[str, list[torch.Tensor]] = defaultdict(list)

    def note(name: str, value: Any) -> None:
        seen[name].append((value[0] if isinstance(value, tuple) else value).detach()[0, 1:])

    for layer, block in enumerate(model.get_submodule(blocks)):
        for kind, part in (("attn_out", attention), ("mlp_out", mlp)):
            block.get_submodule(part).register_forward_hook(
                lambda module, inputs, output, name=f"{kind}.{layer}": note(name, output)
            )
        block.get_submodule(projection).register_forward_pre_hook(
            lambda module, inputs, name=f"attn_z.{layer}": note(name, inputs)
        )
    # the last of hidden_states is after the final norm, so the last block is hooked too
    block.register_forward_hook(lambda module, inputs, output: note(f"resid_post.{layer}", output))
    for text in texts:
        hidden = model(
            tokenizer(text, return_tensors="pt").input_ids, output_hidden_states=True
        ).hidden_states
        for number in range(layer):
            note(f"resid_post.{number}", hidden[number + 1])
    return {name: torch.cat(parts) for name, parts in seen.items()}


def assert_close(got: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("family", "attention"),
    [("gemma2", "eager"), ("gemma3", "sdpa"), ("gpt2", "eager"), ("gpt_neox", "sdpa"), ("mistral", "sdpa")],
)
def test_an_example_has_the_same_activations_alone_in_any_batch_and_in_any_order(
    family: str, attention: str, folder_of: Callable[[str], Path]
) -> None:
    model, sites = (
        open_model(folder_of(family), attention=attention),
        [site("resid_post.3"), site("attn_z.2")],
    )
    alone = read(model, sites, TEXTS, batch=1)
    together = read(model, sites, TEXTS)
    backwards = read(model, sites, TEXTS[::-1], batch=2)
    for each in sites:
        for one, many, reverse in zip(alone[each], together[each], backwards[each][::-1], strict=True):
            assert_close(many, one)
            assert_close(reverse, one)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_activations_come_in_the_dtype_asked_for_whatever_the_checkpoint_has(
    tmp_path: Path, dtype: str
) -> None:
    write_checkpoint(tmp_path, FAMILIES["gemma2"], dtype=torch.bfloat16)
    sites = [site("resid_post.2"), site("attn_out.2"), site("attn_z.0")]
    rows = read(open_model(tmp_path, dtype=dtype), sites, TEXTS)
    precise = oracle(tmp_path, "gemma2", TEXTS)
    for each in sites:
        got, wanted = torch.cat(rows[each]), precise[str(each)]
        assert got.dtype == getattr(torch, dtype)
        assert (got.float() - wanted).norm() < (1e-5 if dtype == "float32" else 0.05) * wanted.norm()


def test_a_batch_without_content_gives_no_rows(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, FAMILIES["gpt2"], bos=False)
    model = open_model(tmp_path)
    loaded = model.load([site("attn_z.1")], "cpu")
    assert loaded.forward(model.tokenize(["", ""]))[site("attn_z.1")].shape == (0, 24)


def test_the_language_model_inside_a_vision_language_checkpoint_is_read(tmp_path: Path) -> None:
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config=FAMILIES["gemma3"].to_dict(), vision_config=vision, mm_tokens_per_image=1
    )
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path / "whole")
    model.model.language_model.save_pretrained(tmp_path / "text")
    for name in ("whole", "text"):
        write_tokenizer(tmp_path / name, bos=True)
    sites = [site("resid_post.1"), site("mlp_out.2")]
    whole, text = (read(open_model(tmp_path / name), sites, TEXTS) for name in ("whole", "text"))
    for each in sites:
        assert_close(torch.cat(whole[each]), torch.cat(text[each]))


def test_what_is_not_simply_added_to_the_residual_stream_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, transformers.GraniteConfig(**SMALL, residual_multiplier=0.2))
    model = open_model(tmp_path)
    model.load([site("resid_post.1")], "cpu")
    with pytest.raises(UsageError, match="adds something else to its residual stream"):
        model.load([site("mlp_out.1")], "cpu")


# ── only what is needed ──────────────────────────────────────────────────────────────────────────────────


def shards_by_layer(folder: Path) -> Mapping[str, str]:
    return dict(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"])


def delete_deep_shards(folder: Path, layer: int) -> int:
    """Delete every shard without embedding or a block up to `layer`; how many they were."""
    shallow = ("model.embed_tokens.", *(f"model.layers.{number}." for number in range(layer + 1)))
    index = shards_by_layer(folder)
    deep = set(index.values()) - {shard for name, shard in index.items() if name.startswith(shallow)}
    for shard in deep:
        (folder / shard).unlink()
    return len(deep)


def test_a_shallow_site_needs_no_deep_shards(llama: Path) -> None:
    wanted = read(open_model(llama), [site("resid_post.1")], TEXTS)
    assert delete_deep_shards(llama, 1) > 1
    model = open_model(llama)
    model.identity(site("resid_post.1"))
    got = read(model, [site("resid_post.1")], TEXTS)
    assert torch.equal(torch.cat(got[site("resid_post.1")]), torch.cat(wanted[site("resid_post.1")]))
    with pytest.raises(UnavailableError, match=r"has no file model-.*safetensors"):
        model.load([site("resid_post.3")], "cpu")


def test_one_file_and_many_give_the_same(llama: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one", FAMILIES["llama"], shard="1GB")
    assert (tmp_path / "one" / "model.safetensors").is_file()
    sites = [site("resid_post.0"), site("resid_post.3")]
    one, many = read(open_model(tmp_path / "one"), sites, TEXTS), read(open_model(llama), sites, TEXTS)
    assert all(torch.equal(torch.cat(one[each]), torch.cat(many[each])) for each in sites)


def test_a_truncated_model_holds_no_deeper_block(llama: Path) -> None:
    loaded = open_model(llama).load([site("attn_z.1")], "cpu")
    assert len(loaded.model.layers) == 2


def test_opening_and_planning_read_no_weights(llama: Path) -> None:
    for shard in set(shards_by_layer(llama).values()):
        (llama / shard).write_bytes(b"not weights")
    model = open_model(llama)
    assert (model.name, model.architecture, model.n_layers) == (str(llama), "llama", 4)
    assert model.n_parameters == 4 * (2 * 24 * 24 + 2 * 24 * 12 + 3 * 24 * 40 + 2 * 24)
    assert model.width(site("attn_z.3")) == 24
    model.identity(site("attn_z.3"))


def test_the_width_of_attn_z_is_heads_times_head_size(folder_of: Callable[[str], Path]) -> None:
    model = open_model(folder_of("gemma2"))
    assert [model.width(site(f"{kind}.1")) for kind in KINDS] == [24, 24, 24, 32]


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("resid_post.4", "has no site 'resid_post.4': its layers are 0 to 3"),
        ("resid_pre.1", "has no site 'resid_pre.1': it has attn_out.LAYER"),
        ("vision.resid_post.1", "has no site 'vision.resid_post.1'"),
    ],
)
def test_a_site_that_is_not_there_is_refused(llama: Path, name: str, problem: str) -> None:
    model = open_model(llama)
    for ask in (model.width, model.identity, lambda where: model.load([where], "cpu")):
        with pytest.raises(UsageError, match=problem):
            ask(site(name))


@pytest.mark.parametrize(
    "wrong",
    [{"dtype": "int8"}, {"attention": "fast"}, {"max_length": 1}, {"max_length": "9"}, {"max_length": True}],
)
def test_a_parameter_that_cannot_be_is_refused_with_what_could(llama: Path, wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UsageError, match=rf"takes (a )?{name} .*, not {value!r}"):
        open_model(llama, **wrong)


def test_sdpa_is_refused_where_attention_logits_are_capped(folder_of: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="use eager"):
        open_model(folder_of("gemma2"), attention="sdpa")


@pytest.mark.parametrize("config", ["{", "[]", '{"model_type": "no_such"}', '{"model_type": "t5"}'])
def test_a_config_that_is_no_decoders_is_refused_in_one_sentence(llama: Path, config: str) -> None:
    (llama / "config.json").write_text(config)
    with pytest.raises((UnavailableError, UsageError), match=r"model '.*llama'") as caught:
        open_model(llama)
    assert "\n" not in str(caught.value)


def change_shard(folder: Path, tensor: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of the shard that holds `tensor`."""
    path = folder / shards_by_layer(folder)[tensor]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


NEEDED = "model.layers.1.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda tensors: tensors.pop(NEEDED), r"lack layers\.1\.mlp\.down_proj\.weight"),
        (lambda tensors: tensors.update({NEEDED: torch.ones(2, 2)}), "another shape"),
        (lambda tensors: tensors[NEEDED].fill_(float("nan")), "not finite"),
    ],
)
def test_weights_that_are_missing_misshapen_or_not_finite_are_refused(
    llama: Path, change: Callable[[dict[str, torch.Tensor]], object], problem: str
) -> None:
    change_shard(llama, NEEDED, change)
    open_model(llama).load([site("resid_post.0")], "cpu")
    with pytest.raises(UnavailableError, match=problem):
        open_model(llama).load([site("resid_post.1")], "cpu")


def test_a_weight_file_cut_short_is_refused(llama: Path) -> None:
    path = llama / shards_by_layer(llama)[NEEDED]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnavailableError, match=f"{path.name} is broken"):
        open_model(llama).load([site("resid_post.1")], "cpu")


def test_pickled_weights_are_never_read(llama: Path) -> None:
    for path in llama.glob("*.safetensors*"):
        path.unlink()
    (llama / "pytorch_model.bin").write_bytes(b"code")
    with pytest.raises(UnavailableError, match=r"no file model\.safetensors, .*pickled"):
        open_model(llama).load([site("resid_post.1")], "cpu")


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_tokenizers_own_special_tokens_are_no_content(llama: Path) -> None:
    empty, short, literal = open_model(llama).tokenize(["", "ab", "<bos>"])
    assert empty.ids.tolist() == [1] and not empty.content.any()
    assert short.ids[0] == 1 and short.content.tolist() == [False, True, True]
    assert len(literal.ids) == 1 + len("<bos>") and literal.content[1:].all()


def test_a_text_that_is_too_long_is_cut_and_says_so(llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    exact, long = open_model(llama, max_length=5).tokenize(["abcd", "abcdefgh"])
    assert (exact.truncated, long.truncated) == (False, True)
    assert exact.ids.tolist() == long.ids.tolist()
    assert not caplog.records


WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "some", "more"]

VERY_LONG = {
    "words": " ".join(WORDS[(n * n + n // 7) % len(WORDS)] for n in range(20_000)),
    "one letter": "a" * 60_000,
    "no spaces": "".join(WORDS[(n * n + n // 5) % len(WORDS)] for n in range(20_000)),
    "nothing that counts, then words": "\u200b" * 60_000 + " ".join(WORDS),
    "spaces, then words": " " * 60_000 + " ".join(WORDS),
}


@pytest.mark.parametrize("text", VERY_LONG)
def test_a_very_long_text_has_the_tokens_it_has_when_it_is_encoded_whole(text: str) -> None:
    folder = Path(__file__).parents[1] / "plugins/harness_minigemma/weights/minigemma-s"
    whole = transformers.AutoTokenizer.from_pretrained(folder)(VERY_LONG[text])["input_ids"]
    for length in (256, 30):  # positions that the model has, and fewer
        (tokens,) = open_model(folder, max_length=length).tokenize([VERY_LONG[text]])
        assert tokens.ids.tolist() == whole[:length]
        assert tokens.truncated == (len(whole) > length)


def test_no_text_is_longer_than_the_model_has_positions(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, FAMILIES["gpt2"])
    model = open_model(tmp_path, max_length=1000)
    (tokens,) = model.tokenize(["x" * 500])
    assert tokens.truncated and len(tokens.ids) == model.identity(site("resid_post.0"))["max_length"] == 256
    assert model.load([site("resid_post.0")], "cpu").forward([tokens])[site("resid_post.0")].shape == (
        255,
        24,
    )


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["a"], "\ud800"])
def test_an_input_that_is_no_text_is_refused(llama: Path, wrong: Any) -> None:
    with pytest.raises(UsageError, match="input 1 is"):
        open_model(llama).tokenize(["fine", wrong])


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────


def test_identity_is_made_of_contents_and_not_of_paths(llama: Path) -> None:
    before = open_model(llama).identity(site("resid_post.1"))
    moved = llama.rename(llama.with_name("moved"))
    assert open_model(moved).identity(site("resid_post.1")) == before
    assert str(moved.parent) not in json.dumps(before)
    assert before["files"]["config.json"] == hash_file(moved / "config.json")


@pytest.mark.parametrize(
    ("tensor", "same"),
    [(NEEDED, False), ("model.embed_tokens.weight", False), ("model.layers.3.mlp.down_proj.weight", True)],
)
def test_identity_follows_the_shards_a_site_can_see(llama: Path, tensor: str, same: bool) -> None:
    before = open_model(llama).identity(site("resid_post.1"))
    change_shard(llama, tensor, lambda tensors: tensors[tensor].mul_(2))
    assert (open_model(llama).identity(site("resid_post.1")) == before) is same


def test_identity_follows_tokenizer_and_parameters(llama: Path) -> None:
    where = site("resid_post.1")
    changed = [{}, {"dtype": "float16"}, {"max_length": 99}, {"attention": "sdpa"}]
    seen = [open_model(llama, **parameters).identity(where) for parameters in changed]
    write_tokenizer(llama, bos=False)
    seen.append(open_model(llama).identity(where))
    assert len({json.dumps(each, sort_keys=True) for each in seen}) == len(seen)


# ── references ───────────────────────────────────────────────────────────────────────────────────────────

COMMIT = "c5ebcd40d208330abc697524c919956e692655cf"


@pytest.fixture
def hub(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache, without network, that holds the Llama as org/llama; its deep shards are not there."""
    delete_deep_shards(llama, 1)
    repo = tmp_path / "hub" / "models--org--llama"
    snapshot = repo / "snapshots" / COMMIT
    for folder in (repo / "blobs", repo / "refs", snapshot):
        folder.mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    for number, file in enumerate(list(llama.iterdir())):
        blob = hash_file(file) if file.suffix == ".safetensors" else f"{number:040x}"
        file.rename(repo / "blobs" / blob)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}", f"@{COMMIT[:7]}"])
def test_a_model_in_the_hub_cache_is_read_offline(hub: Path, revision: str) -> None:
    model = open_model(f"org/llama{revision}")
    where = site("resid_post.1")
    assert model.identity(where) == open_model(hub).identity(where)
    assert torch.equal(
        torch.cat(read(model, [where], TEXTS)[where]), torch.cat(read(open_model(hub), [where], TEXTS)[where])
    )


def test_a_large_file_in_the_hub_cache_is_named_by_its_blob_and_not_read(hub: Path) -> None:
    shard = hub / shards_by_layer(hub)[NEEDED]
    shard.resolve().write_bytes(b"other bytes under the same name")
    assert open_model("org/llama").identity(site("resid_post.1"))["files"][shard.name] == shard.resolve().name


@pytest.mark.parametrize("ref", ["org/absent", "org/llama@other"])
def test_a_model_absent_from_the_hub_cache_says_how_to_fetch_it(hub: Path, ref: str) -> None:
    with pytest.raises(
        UnavailableError, match=r"has no file config\.json .*run `hf download org/.* --include '\*\.json'"
    ):
        open_model(ref)


def test_a_shard_absent_from_the_hub_cache_says_how_to_fetch_it(hub: Path) -> None:
    model = open_model("org/llama")
    for ask in (model.identity, lambda where: model.load([where], "cpu")):
        with pytest.raises(
            UnavailableError, match=rf"run `hf download org/llama model-.*safetensors --revision {COMMIT}"
        ):
            ask(site("resid_post.3"))


def test_all_shards_that_a_site_needs_are_asked_for_at_once(hub: Path) -> None:
    index = json.loads((hub / "model.safetensors.index.json").read_text())["weight_map"]
    absent = sorted({shard for shard in index.values() if not (hub / shard).exists()})
    assert len(absent) > 1
    with pytest.raises(UnavailableError) as caught:
        open_model("org/llama").identity(site("resid_post.3"))
    needed = [shard for shard in absent if shard in str(caught.value)]
    assert len(needed) > 1
    assert f"run `hf download org/llama {' '.join(needed)} --revision {COMMIT}`" in str(caught.value)


@pytest.mark.parametrize(
    "ref", ["hidden", "./missing", "../missing", "~/missing", "/missing/model", "a/b/c", "org/name@", "", "."]
)
def test_a_reference_of_another_kind_is_left_to_others(ref: str) -> None:
    assert harness_transformers.harness_resolve_model(ref, ref) is None


def test_resolving_a_reference_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, harness_transformers as plugin\n"
        "assert plugin.harness_resolve_model('org/name@main', 'org/name@main').name == 'org/name@main'\n"
        "print({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (told.stdout.strip(), told.stderr) == ("set()", "")


def test_loading_is_silent_and_leaves_the_log_settings_alone(
    llama: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = transformers.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()
    open_model(llama).load([site("resid_post.0")], "cpu")
    assert capfd.readouterr() == ("", "")
    assert (
        transformers.logging.get_verbosity(),
        transformers.utils.logging.is_progress_bar_enabled(),
    ) == before


def test_content_and_ids_are_arrays_of_one_length(llama: Path) -> None:
    for tokens in open_model(llama).tokenize(TEXTS):
        assert tokens.ids.dtype == np.int64 and tokens.content.dtype == np.bool_
        assert tokens.ids.shape == tokens.content.shape
