"""Whole language models: next-token losses against plain transformers, and activations replaced on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness_transformers
import numpy as np
import pytest
import torch
import transformers
from harness_transformers import splicing
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from harness import Site, Tokens, UnavailableError, UsageError

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
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GEMMA = {**SMALL, "head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8}
FAMILIES = {
    # caps small enough to matter
    "gemma2": transformers.Gemma2Config(**GEMMA, attn_logit_softcapping=0.5, final_logit_softcapping=2.0),
    "gemma3": transformers.Gemma3TextConfig(**GEMMA),
    "llama": transformers.LlamaConfig(**SMALL, tie_word_embeddings=False),
    "gpt2": transformers.GPT2Config(
        vocab_size=300, n_embd=24, n_layer=3, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2
    ),
    "gpt_neox": transformers.GPTNeoXConfig(**{k: v for k, v in SMALL.items() if k != "num_key_value_heads"}),
    "cohere": transformers.CohereConfig(**SMALL, logit_scale=0.3),
    "mixtral": transformers.MixtralConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2),
    "opt": transformers.OPTConfig(
        vocab_size=300,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        ffn_dim=40,
        max_position_embeddings=256,
        word_embed_proj_dim=16,
    ),
}
KINDS = ("resid_post", "attn_out", "mlp_out", "attn_z")
MIDDLE, LAST = Site(kind="resid_post", layer=1), Site(kind="resid_post", layer=2)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_tokenizer(folder: Path, *, bos: bool = True) -> None:
    """A byte-level tokenizer without merges; `<bos>` and `<eos>` are special."""
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    vocabulary |= {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 3)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
        )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(folder)


def randomise(model: Any) -> Any:
    """Weights large enough for every part to matter, norms included."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def write_checkpoint(folder: Path, config: Any, *, bos: bool = True, shard: str = "20KB") -> Path:
    torch.manual_seed(0)
    randomise(transformers.AutoModelForCausalLM.from_config(config)).save_pretrained(
        folder, max_shard_size=shard
    )
    write_tokenizer(folder, bos=bos)
    return folder


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the folder of a family's checkpoint."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = write_checkpoint(tmp_path_factory.mktemp(family), FAMILIES[family])
        return made[family]

    return folder


def open_model(ref: str | Path, **parameters: Any) -> Any:
    spec = harness_transformers.harness_resolve_model(str(ref), str(ref))
    assert spec is not None
    return spec.make(**parameters)


def losses(model: Any, batch: list[Tokens], *, site: Site = MIDDLE, splice: Any = None) -> torch.Tensor:
    got = model.load_whole(site, "cpu").losses(batch, splice)
    assert isinstance(got, torch.Tensor) and got.dtype == torch.float32
    return got


def plain_losses(model: Any, tokens: Tokens) -> torch.Tensor:
    """What a language model of plain transformers gives for one text: `[content tokens that have one before]`."""
    ids = torch.from_numpy(tokens.ids)
    with torch.inference_mode():
        logits = model(input_ids=ids[None]).logits[0]
    each = torch.nn.functional.cross_entropy(logits[:-1].float(), ids[1:], reduction="none")
    return each[torch.from_numpy(tokens.content[1:])]


def plain_model(folder: Path, **more: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, **{"dtype": torch.float32, "attn_implementation": "eager", **more}
    )


def assert_close(got: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


# ── losses ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_those_of_plain_transformers_alone_and_padded_and_in_any_order(
    family: str, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plain = open_model(folder_of(family)), plain_model(folder_of(family))
    tokens = model.tokenize(TEXTS)
    wanted = [plain_losses(plain, each) for each in tokens]
    assert [len(each) for each in wanted] == [int(each.content.sum()) for each in tokens]
    whole = model.load_whole(MIDDLE, "cpu")
    for each, one in zip(tokens, wanted, strict=True):
        assert_close(whole.losses([each]), one)
    assert_close(whole.losses(tokens), torch.cat(wanted))
    monkeypatch.setattr(splicing, "LOGITS", 7 * 300)  # slices of seven positions
    assert_close(whole.losses(tokens[::-1]), torch.cat(wanted[::-1]))


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "cohere"])
def test_next_logits_are_those_of_plain_transformers_with_and_without_a_splice(
    family: str, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plain = open_model(folder_of(family)), plain_model(folder_of(family))
    tokens = [one for one in model.tokenize(TEXTS) if one.content.any()]
    whole = model.load_whole(MIDDLE, "cpu")
    monkeypatch.setattr(splicing, "LOGITS", 2 * 300)  # slices of two examples

    def wanted() -> torch.Tensor:
        with torch.inference_mode():
            return torch.stack(
                [plain(input_ids=torch.from_numpy(one.ids)[None]).logits[0, -1] for one in tokens]
            )

    def found(batch: Any, splices: Any = None) -> torch.Tensor:
        with torch.inference_mode():
            return whole.next_logits(batch, splices)

    assert_close(found(tokens), wanted())
    assert_close(found(tokens[::-1]), wanted().flip(0))
    blocks = plain.transformer.h if family == "gpt2" else plain.model.layers

    def replace(module: Any, inputs: Any, output: Any) -> Any:
        value = (output[0] if isinstance(output, tuple) else output).clone()
        value[:, 1:] = value[:, 1:] * 0.5 + 0.1
        return (value, *output[1:]) if isinstance(output, tuple) else value

    blocks[1].register_forward_hook(replace)
    spliced = found(tokens, {MIDDLE: lambda rows: rows * 0.5 + 0.1})
    assert_close(spliced, wanted())
    assert not torch.allclose(spliced, found(tokens), atol=1e-3)
    blocks[2].register_forward_hook(replace)
    both = dict.fromkeys((MIDDLE, LAST), lambda rows: rows * 0.5 + 0.1)
    assert_close(found(tokens, both), wanted())


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "cohere"])
def test_comparisons_are_those_of_plain_logits(
    family: str, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plain = open_model(folder_of(family)), plain_model(folder_of(family))
    tokens = model.tokenize(TEXTS)
    whole = model.load_whole(MIDDLE, "cpu")
    monkeypatch.setattr(splicing, "LOGITS", 7 * 300)  # slices of seven positions

    def halve(rows: torch.Tensor) -> torch.Tensor:
        return rows * 0.5 + 0.1

    losses, divergences = whole.compare(tokens, [None, halve, None])
    for number, splice in enumerate((None, halve, None)):
        assert torch.equal(losses[number], whole.losses(tokens, splice))
    assert_close(divergences[[0, 2]], torch.zeros(2, losses.shape[1]))

    def predict() -> torch.Tensor:
        """Log-probabilities at positions that predict a content token, text after text."""
        with torch.inference_mode():
            found = [plain(input_ids=torch.from_numpy(one.ids)[None]).logits[0] for one in tokens]
        kept = [
            logits[:-1][torch.from_numpy(one.content[1:])] for logits, one in zip(found, tokens, strict=True)
        ]
        return torch.cat(kept).double().log_softmax(-1)

    own = predict()

    def replace(module: Any, inputs: Any, output: Any) -> Any:
        value = (output[0] if isinstance(output, tuple) else output).clone()
        value[:, 1:] = halve(value[:, 1:])
        return (value, *output[1:]) if isinstance(output, tuple) else value

    (plain.transformer.h if family == "gpt2" else plain.model.layers)[1].register_forward_hook(replace)
    wanted = (own.exp() * (own - predict())).sum(-1)
    assert_close(divergences[1], wanted.float())
    assert float(wanted.mean()) > 1e-3
    none = whole.compare([Tokens(ids=np.array([1]), content=np.zeros(1, bool))], [None, halve])
    assert [one.shape for one in none] == [(2, 0), (2, 0)]


def test_gradients_flow_from_predictions_to_what_a_splice_returns(folder_of: Callable[[str], Path]) -> None:
    model = open_model(folder_of("gemma2"))
    tokens = model.tokenize([TEXTS[1], TEXTS[4]])
    whole = model.load_whole(MIDDLE, "cpu")
    direction = torch.randn(model.width(MIDDLE), generator=torch.Generator().manual_seed(0))
    size = torch.zeros((), requires_grad=True)
    logits = whole.next_logits(tokens, {MIDDLE: lambda rows: rows.detach() + size * direction})
    (slope,) = torch.autograd.grad(logits[:, 7].sum(), size)
    step = 1e-3
    with torch.inference_mode():
        ends = [
            whole.next_logits(tokens, {MIDDLE: lambda rows, way=way: rows + way * step * direction})[
                :, 7
            ].sum()
            for way in (1, -1)
        ]
    assert (
        float(slope) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=0.02)
        and abs(float(slope)) > 1e-3
    )


def test_an_example_without_content_predicts_nothing(folder_of: Callable[[str], Path]) -> None:
    model = open_model(folder_of("gpt2"))
    with pytest.raises(ValueError, match="an example without content"):
        model.load_whole(MIDDLE, "cpu").next_logits([*model.tokenize(["a"]), Tokens(
            ids=np.array([1]), content=np.array([False])
        )])  # fmt: skip


def test_a_first_token_without_bos_has_no_loss_and_no_content_no_losses(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path, FAMILIES["gpt2"], bos=False))
    tokens = model.tokenize(["", "a", "abc"])
    whole = model.load_whole(MIDDLE, "cpu")
    assert_close(whole.losses(tokens), plain_losses(plain_model(tmp_path), tokens[2]))
    for few in ([], tokens[:1], tokens[:2]):
        assert whole.losses(few).shape == (0,) and whole.losses(few).dtype == torch.float32


def test_only_content_has_losses(folder_of: Callable[[str], Path]) -> None:
    model = open_model(folder_of("gemma2"))
    (tokens,) = model.tokenize(["abcdef"])
    some = Tokens(ids=tokens.ids, content=np.array([False, True, False, False, True, True, False]))
    assert_close(losses(model, [some]), losses(model, [tokens])[[0, 3, 4]])


def test_losses_come_from_logits_in_the_dtype_asked_for(folder_of: Callable[[str], Path]) -> None:
    model = open_model(folder_of("gemma2"), dtype="bfloat16")
    plain = plain_model(folder_of("gemma2"), dtype=torch.bfloat16)
    tokens = model.tokenize([TEXTS[1]])
    torch.testing.assert_close(losses(model, tokens), plain_losses(plain, tokens[0]), rtol=0.02, atol=0.02)


def test_one_file_is_read_like_many(tmp_path: Path, folder_of: Callable[[str], Path]) -> None:
    one = open_model(write_checkpoint(tmp_path, FAMILIES["llama"], shard="1GB"))
    many = open_model(folder_of("llama"))
    assert torch.equal(losses(one, one.tokenize(TEXTS)), losses(many, many.tokenize(TEXTS)))


def test_a_checkpoint_of_the_bare_decoder_is_read_where_the_head_is_tied(tmp_path: Path) -> None:
    plain = plain_model(write_checkpoint(tmp_path / "whole", FAMILIES["gpt2"]))
    plain.transformer.save_pretrained(tmp_path / "bare")
    write_tokenizer(tmp_path / "bare")
    model = open_model(tmp_path / "bare")
    tokens = model.tokenize(TEXTS)
    assert_close(losses(model, tokens), torch.cat([plain_losses(plain, each) for each in tokens]))


def test_the_text_part_of_a_vision_language_checkpoint_is_read_to_its_end(tmp_path: Path) -> None:
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config=FAMILIES["gemma3"].to_dict(), vision_config=vision, mm_tokens_per_image=1
    )
    torch.manual_seed(0)
    plain = randomise(transformers.Gemma3ForConditionalGeneration(config).eval())
    plain.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    model = open_model(tmp_path)
    tokens = model.tokenize(TEXTS)
    assert_close(losses(model, tokens), torch.cat([plain_losses(plain, each) for each in tokens]))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_untrained_model_has_the_losses_of_a_guess(family: str, folder_of: Callable[[str], Path]) -> None:
    model = open_model(folder_of(family), random_weights=0)
    tokens = model.tokenize(TEXTS)
    seen: list[torch.Tensor] = []
    got = losses(model, tokens, splice=lambda rows: (seen.append(rows), rows)[1])
    assert abs(float(got.mean()) - np.log(300)) < 0.5
    assert torch.equal(got, losses(model, tokens))
    assert_close(seen[0], model.load([MIDDLE], "cpu").forward(tokens)[MIDDLE])


# ── splices ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama", "gpt2"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 2])
def test_a_splice_sees_what_is_read_there_and_giving_it_back_changes_nothing(
    family: str, kind: str, layer: int, folder_of: Callable[[str], Path]
) -> None:
    model, site = open_model(folder_of(family)), Site(kind=kind, layer=layer)
    tokens = model.tokenize(TEXTS)
    seen: list[torch.Tensor] = []
    whole = model.load_whole(site, "cpu")
    same = whole.losses(tokens, lambda rows: (seen.append(rows.clone()), rows)[1])
    assert torch.equal(same, whole.losses(tokens))
    (rows,) = seen
    assert rows.shape == (sum(int(each.content.sum()) for each in tokens), model.width(site))
    assert torch.equal(rows, model.load([site], "cpu").forward(tokens)[site])
    changed = whole.losses(tokens, torch.zeros_like)
    assert changed.shape == same.shape and not torch.allclose(changed, same, atol=1e-3)
    assert torch.equal(whole.losses(tokens), same)  # no hook is left behind


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_a_splice_are_those_of_plain_transformers_with_the_same_hook(
    kind: str, folder_of: Callable[[str], Path]
) -> None:
    """The content tokens alone are replaced: BOS is left as it is in the hook that plain transformers gets."""
    model, plain = open_model(folder_of("gemma2")), plain_model(folder_of("gemma2"))
    tokens = model.tokenize(TEXTS)
    block = plain.model.layers[1]

    def replace(value: Any) -> Any:
        value = (value[0] if isinstance(value, tuple) else value).clone()
        value[:, 1:] = value[:, 1:] * 0.5 + 0.1
        return value

    if kind == "attn_z":
        block.self_attn.o_proj.register_forward_pre_hook(lambda module, inputs: (replace(inputs),))
    else:
        part = {
            "resid_post": block,
            "attn_out": block.post_attention_layernorm,
            "mlp_out": block.post_feedforward_layernorm,
        }[kind]
        part.register_forward_hook(lambda module, inputs, output: replace(output))
    wanted = torch.cat([plain_losses(plain, each) for each in tokens])
    got = losses(model, tokens, site=Site(kind=kind, layer=1), splice=lambda rows: rows * 0.5 + 0.1)
    assert_close(got, wanted)


def test_a_splice_leaves_bos_alone(folder_of: Callable[[str], Path]) -> None:
    """The first content token is predicted at BOS alone, so its loss stays though all content is replaced."""
    model = open_model(folder_of("llama"))
    tokens = model.tokenize(["abcd", "xyz"])
    before, after = (
        losses(model, tokens, splice=splice) for splice in (None, lambda rows: torch.full_like(rows, 3.0))
    )
    first = torch.tensor([True, False, False, False, True, False, False])
    assert torch.equal(before[first], after[first])
    assert ((before - after).abs()[~first] > 1e-3).all()


def test_one_constant_at_the_last_layer_gives_one_prediction(folder_of: Callable[[str], Path]) -> None:
    model = open_model(folder_of("gemma2"))
    got = losses(model, model.tokenize(["abbb"]), site=LAST, splice=torch.ones_like)
    assert_close(got[1:], got[1].expand(3))


def test_a_splice_may_give_another_dtype_but_no_other_shape(folder_of: Callable[[str], Path]) -> None:
    model = open_model(folder_of("gemma2"), dtype="bfloat16")
    tokens = model.tokenize(TEXTS)
    assert torch.equal(losses(model, tokens, splice=torch.Tensor.double), losses(model, tokens))
    with pytest.raises(ValueError, match="must not give"):
        losses(model, tokens, splice=lambda rows: rows[:1])


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def llama(tmp_path: Path, folder_of: Callable[[str], Path]) -> Path:
    """A Llama that a test may damage."""
    return shutil.copytree(folder_of("llama"), tmp_path / "llama")


@pytest.mark.parametrize(
    "tensor", ["lm_head.weight", "model.norm.weight", "model.layers.2.mlp.up_proj.weight"]
)
def test_a_weight_that_the_whole_model_lacks_is_named_in_one_sentence(llama: Path, tensor: str) -> None:
    index = json.loads((llama / "model.safetensors.index.json").read_text())
    shard = llama / index["weight_map"].pop(tensor)
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    tensors = load_file(shard)
    del tensors[tensor]
    save_file(tensors, shard, metadata={"format": "pt"})
    model = open_model(llama)
    model.load([Site(kind="resid_post", layer=1)], "cpu")
    with pytest.raises(
        UnavailableError, match=rf"its weights lack {tensor}, or .*: fetch a checkpoint"
    ) as caught:
        model.load_whole(MIDDLE, "cpu")
    assert "\n" not in str(caught.value)


def test_a_head_that_is_not_finite_is_refused(llama: Path) -> None:
    index = json.loads((llama / "model.safetensors.index.json").read_text())
    shard = llama / index["weight_map"]["lm_head.weight"]
    tensors = load_file(shard)
    tensors["lm_head.weight"][0, 0] = torch.inf
    save_file(tensors, shard, metadata={"format": "pt"})
    with pytest.raises(UnavailableError, match=r"lm_head\.weight has values that are not finite"):
        open_model(llama).load_whole(MIDDLE, "cpu")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (transformers.BertConfig, "its tokens see what comes after them"),
        (transformers.ModernBertConfig, ".*has no causal language model of it"),
    ],
)
def test_a_model_without_a_causal_head_is_refused_in_one_sentence(
    tmp_path: Path, config: Any, problem: str
) -> None:
    config(
        vocab_size=300, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    ).save_pretrained(tmp_path)  # fmt: skip
    write_tokenizer(tmp_path)
    with pytest.raises(UsageError, match=f"gives no next-token losses: {problem}") as caught:
        open_model(tmp_path, random_weights=0).load_whole(MIDDLE, "cpu")
    assert "\n" not in str(caught.value)


def test_a_site_that_is_not_there_is_refused(llama: Path) -> None:
    with pytest.raises(UsageError, match="its layers are 0 to 2"):
        open_model(llama).load_whole(Site(kind="resid_post", layer=3), "cpu")


def test_what_is_not_simply_added_to_the_residual_stream_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, transformers.GraniteConfig(**SMALL, residual_multiplier=0.2))
    model = open_model(tmp_path)
    tokens = model.tokenize(TEXTS)
    wanted = torch.cat([plain_losses(plain_model(tmp_path), each) for each in tokens])
    assert_close(losses(model, tokens), wanted)
    with pytest.raises(UsageError, match="adds something else to its residual stream"):
        model.load_whole(Site(kind="mlp_out", layer=1), "cpu")
