"""`harness features` against plain transformers and numpy, on a random Gemma 2 and a random JumpReLU dictionary.

The oracle runs the whole model on one text at a time, hooks a block, drops BOS, and pools in float64.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from scipy import sparse
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from harness.cli import execute

Array = np.ndarray[Any, Any]

LAYERS, D_MODEL, WIDTH = 6, 32, 768
WINDOW = 16
TEXTS = (
    "a",
    "The cat sat on the mat.",
    "",
    "Übung macht den Meister, und das seit Jahrhunderten.",
    "Я помню чудное мгновенье: передо мной явилась ты",
    "吾輩は猫である。名前はまだ無い。",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "👍🏽👩‍👩‍👧 e\u0301",
    "The cat sat on the mat.",
    "one line\u2028another\u2029a third\x85a fourth\x0b\x0c\x1cthe end",
    " ",
    "\n\ttabs and lines\r\n",
    "a",
    "<bos><pad> is ordinary text here",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
    "foolishness, it was the epoch of belief, it was the epoch of incredulity",
    "xyzzy " * 30,
    *(f"Sentence number {number} says {'very ' * (number % 7)}little." for number in range(12)),
)
POOLINGS = ("sum", "max", "mean", "last")
NEAR = 1e-4
"""A feature this near to its threshold may fall on either side; relative to thresholds above 1."""


def write_tokenizer(folder: Path) -> None:
    """Byte-level without merges, BOS before every text, padding on the left."""
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    vocabulary |= {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 3)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        padding_side="left",
    ).save_pretrained(folder)


def write_model(folder: Path) -> None:
    """A Gemma 2 whose every part matters: norms, soft caps, sliding windows, grouped queries."""
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        vocab_size=300,
        hidden_size=D_MODEL,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        query_pre_attn_scalar=12,
        sliding_window=WINDOW,
        attn_logit_softcapping=2.0,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    write_tokenizer(folder)


def forward(
    folder: Path, texts: Sequence[str], layer: int, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> list[Array]:
    """Outputs of block `layer` of the whole model, text by text: `[tokens, d]` without BOS, float64."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager"
    )
    model.eval().to(device)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    seen: list[Array] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        seen.append(hidden[0, 1:].double().cpu().numpy())

    model.model.layers[layer].register_forward_hook(keep)
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, return_tensors="pt", split_special_tokens=True).input_ids
            model(ids.to(device))
    return seen


def write_dictionary(folder: Path, activations: Array) -> dict[str, Array]:
    """A random JumpReLU dictionary whose features fire on about one token in a hundred."""
    random = np.random.default_rng(1)
    arrays = {
        "W_enc": random.standard_normal((D_MODEL, WIDTH)),
        "b_enc": random.standard_normal(WIDTH),
        "W_dec": random.standard_normal((WIDTH, D_MODEL)),
        "b_dec": random.standard_normal(D_MODEL),
    }
    before = activations @ arrays["W_enc"] + arrays["b_enc"]
    # Off the quantile itself, which is a value, and one that repeated texts share.
    arrays["threshold"] = np.quantile(before, 0.99, axis=0) * random.uniform(0.95, 1.05, WIDTH)
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **arrays)  # type: ignore[arg-type]
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def pool(values: Array, pooling: str) -> Array:
    """`[tokens, features]` → `[features]`."""
    if not len(values):
        return np.zeros(values.shape[1])
    pooled = {"sum": values.sum, "max": values.max, "mean": values.mean}.get(pooling)
    return pooled(axis=0) if pooled else values[-1]


@dataclass(frozen=True)
class World:
    """A checkpoint and a dictionary on disk, and what they give by plain means."""

    model: Path
    dictionary: Path
    hidden: list[Array]
    parameters: dict[str, Array]

    def wanted(self, representation: str, pooling: str) -> Array:
        """`[texts, features]`."""
        tokens = self.hidden if representation == "hidden" else [self.encode(x) for x in self.hidden]
        return np.stack([pool(values, pooling) for values in tokens])

    def encode(self, x: Array) -> Array:
        before = self.before(x)
        return np.maximum(before, 0) * (before > self.parameters["threshold"])

    def before(self, x: Array) -> Array:
        return x @ self.parameters["W_enc"] + self.parameters["b_enc"]

    def near(self, share: float = NEAR) -> Array:
        """`[texts, features]`: whether some token of the text is too near to the feature's threshold to tell."""
        threshold = self.parameters["threshold"]
        band = share * np.maximum(1, threshold)
        return np.stack([(abs(self.before(x) - threshold) < band).any(axis=0) for x in self.hidden])


DICTIONARY_LAYER = 3


def make_world(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> World:
    """Everything under `folder`, read at `resid_post.3`."""
    write_model(folder / "model")
    hidden = forward(folder / "model", TEXTS, DICTIONARY_LAYER, device=device, dtype=dtype)
    dictionary = folder / f"layer_{DICTIONARY_LAYER}" / "width_768" / "average_l0_8"
    parameters = write_dictionary(dictionary, np.concatenate(hidden))
    return World(folder / "model", dictionary, hidden, parameters)


def features(
    world: World,
    *,
    representation: str,
    pooling: str,
    texts: Sequence[str] = TEXTS,
    batch_size: str = "auto",
    layer: int = DICTIONARY_LAYER,
    device: str = "cpu",
    options: Sequence[str] = (),
) -> Array:
    """What the command writes, dense."""
    source = world.model.parent / "texts.jsonl"
    rows = [json.dumps({"id": str(n), "text": text}, ensure_ascii=False) for n, text in enumerate(texts)]
    source.write_bytes("\n".join(rows).encode())
    dense = representation == "hidden"
    output = world.model.parent / ("out.npy" if dense else "out.npz")
    output.unlink(missing_ok=True)
    handler = signal.getsignal(signal.SIGTERM)
    code = execute(
        [
            *("features", "--model", str(world.model), "--site", f"resid_post.{layer}"),
            *("--representation", "hidden" if dense else str(world.dictionary), "--pooling", pooling),
            *("--input", str(source), "-o", str(output), "-b", batch_size, "-d", device, "--offline"),
            *options,
        ]
    )
    signal.signal(signal.SIGTERM, handler)
    assert code == 0
    return np.load(output) if dense else sparse.load_npz(output).toarray()


def assert_equal(got: Array, wanted: Array, excepted: Array | None = None) -> None:
    assert got.shape == wanted.shape
    assert got.dtype == np.float32
    close = np.isclose(got, wanted, rtol=1e-4, atol=1e-5)
    if excepted is not None:
        close |= excepted
    assert close.all(), f"{(~close).sum()} of {close.size} differ, at most by {abs(got - wanted).max()}"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("oracle"))


def test_the_comparison_means_something(world: World) -> None:
    """Texts outgrow the sliding window, features fire now and then, and few are too near to their threshold."""
    lengths = [len(x) for x in world.hidden]
    assert min(lengths) == 0 and max(lengths) > 8 * WINDOW
    codes = world.encode(np.concatenate(world.hidden))
    assert 4 < (codes > 0).sum(axis=1).mean() < 12
    assert ((codes > 0).any(axis=0)).mean() > 0.9
    print(f"near a threshold: {world.near().sum()} of {world.near().size}")
    assert world.near().mean() <= 1e-3


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_dictionary_gives_what_transformers_and_numpy_give(world: World, pooling: str) -> None:
    got = features(world, representation="dictionary", pooling=pooling)
    assert_equal(got, world.wanted("dictionary", pooling), world.near())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_hidden_gives_what_transformers_gives(world: World, pooling: str) -> None:
    assert_equal(features(world, representation="hidden", pooling=pooling), world.wanted("hidden", pooling))


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_model_in_bfloat16_is_pooled_and_encoded_in_float32(
    tmp_path_factory: pytest.TempPathFactory, pooling: str
) -> None:
    world = make_world(tmp_path_factory.mktemp("bfloat16"), dtype=torch.bfloat16)
    for representation, near in (("hidden", None), ("dictionary", world.near(0.05))):
        got = features(world, representation=representation, pooling=pooling, options=["--dtype", "bfloat16"])
        assert_equal(got, world.wanted(representation, pooling), near)


@pytest.mark.parametrize("layer", [0, LAYERS - 1])
def test_the_first_and_last_block_are_read_at_their_output(world: World, layer: int) -> None:
    """The last entry of `hidden_states` would be after the final norm, and entry 0 the embedding."""
    wanted = np.stack([pool(x, "mean") for x in forward(world.model, TEXTS, layer)])
    assert_equal(features(world, representation="hidden", pooling="mean", layer=layer), wanted)


@pytest.mark.parametrize("representation", ["hidden", "dictionary"])
@pytest.mark.parametrize("batch_size", ["1", "7"])
def test_the_batch_size_changes_nothing(world: World, batch_size: str, representation: str) -> None:
    got = features(world, representation=representation, pooling="sum", batch_size=batch_size)
    near = world.near() if representation == "dictionary" else None
    assert_equal(got, world.wanted(representation, "sum"), near)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("batch_size", ["auto", "4"])
def test_rows_come_in_the_order_of_the_input(world: World, batch_size: str, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(TEXTS))
    got = features(
        world,
        representation="dictionary",
        pooling="max",
        texts=[TEXTS[row] for row in order],
        batch_size=batch_size,
    )
    assert_equal(got, world.wanted("dictionary", "max")[order], world.near()[order])


@pytest.mark.parametrize("representation", ["hidden", "dictionary"])
def test_a_text_without_content_is_a_row_of_zeros_and_one_warning(
    world: World, representation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    got = features(world, representation=representation, pooling="mean", texts=["", "a", ""])
    assert not got[[0, 2]].any() and got[1].any()
    assert capsys.readouterr().err.splitlines() == [
        "harness: 2 of 3 inputs have no content tokens; their rows are zero"
    ]


def test_nothing_but_texts_without_content_gives_nothing_but_zeros(world: World) -> None:
    for representation, width in (("hidden", D_MODEL), ("dictionary", WIDTH)):
        got = features(world, representation=representation, pooling="max", texts=["", ""])
        assert got.shape == (2, width) and not got.any() and got.dtype == np.float32


def test_a_count_is_of_the_tokens_above_t(world: World) -> None:
    wanted = np.stack([(world.encode(x) > 0).sum(axis=0) for x in world.hidden])
    assert_equal(features(world, representation="dictionary", pooling="count(t=0)"), wanted, world.near())


def test_repeated_texts_have_equal_rows(world: World) -> None:
    got = features(world, representation="dictionary", pooling="mean", texts=["one two"] * 9, batch_size="4")
    np.testing.assert_allclose(got, np.broadcast_to(got[0], got.shape), rtol=1e-4, atol=1e-5)
