"""The recipe of the embedded family on toy sizes: a lossless tokenizer, runs that resume exactly, honest
dictionaries.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from harness_minigemma import card, dictionaries, evaluate, train
from harness_minigemma.corpus import Document, find_corpus, read_documents
from harness_minigemma.loss import training_loss
from harness_minigemma.model import TOKENIZER, Size, load_model, make_model
from harness_minigemma.packing import Packer, heldout_batch, read_streams
from harness_minigemma.tokenizer import BOS, SPECIALS, load_tokenizer, token_bytes
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

TOY = Size(name="toy", width=16, layers=4, heads=2, key_heads=1, inner=32, learning_rate=1e-2)
CPU = torch.device("cpu")
PUBLISHED = load_tokenizer(TOKENIZER)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    sentences = {
        "en": "The cat number {} sat on mat {}.\n",
        "de": "Die Katze {} saß auf Matte {}.\n",
        "am": "ድመት {} {}።\n",
    }
    for language, sentence in sentences.items():
        rows = [
            {
                "text": "".join(sentence.format(i, (i * 7 + j) % 11) for j in range(20)),
                "source": "toy",
                "register": "toy",
                "split": "validation" if i % 4 == 0 else "train",
            }
            for i in range(24)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{language}.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    return folder


def toy_recipe(corpus: Path) -> train.Recipe:
    return train.Recipe(size=TOY, corpus=corpus, minutes=None, tokens=8 * 4 * 32, context=32, batch_rows=4)


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train.train(toy_recipe(corpus), out=folder / "model", state=folder / "cache" / "state", device=CPU)
    return folder


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_comes_back_byte_for_byte(text: str) -> None:
    ids = PUBLISHED.encode(text, add_special_tokens=False).ids
    assert PUBLISHED.decode(ids, skip_special_tokens=False) == text
    if not any(special in text for special in SPECIALS):
        lengths = token_bytes(PUBLISHED)
        assert sum(lengths[index] for index in ids) == len(text.encode())


def test_transformers_reads_the_tokenizer_and_puts_bos_first() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    assert tokenizer.is_fast
    assert tokenizer.padding_side == "left"
    assert tokenizer.convert_tokens_to_ids(list(SPECIALS)) == list(range(len(SPECIALS)))
    batch = tokenizer(["one", "one two three"], padding=True)["input_ids"]
    assert batch[1][0] == BOS
    assert batch[0][0] == tokenizer.pad_token_id
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
    )
    assert prompt == "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n"


def test_documents_keep_the_split_they_were_given(corpus: Path) -> None:
    found = list(read_documents(find_corpus(corpus), "de", "validation"))
    assert len(found) == 6
    assert isinstance(found[0], Document)
    assert {document.split for document in found} == {"validation"}


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no"):
        find_corpus(tmp_path)


def test_sequences_begin_with_bos_and_targets_are_the_next_tokens(corpus: Path, tmp_path: Path) -> None:
    packer = Packer(read_streams(corpus, TOKENIZER, "train", cache=tmp_path), context=16, seed=3)
    for step in range(5):
        inputs, targets = packer.draw(step, 8)
        assert (inputs[:, 0] == BOS).all()
        assert (inputs[:, 1:] == targets[:, :-1]).all()


def test_every_heldout_token_is_a_target_once(corpus: Path, tmp_path: Path) -> None:
    stream = read_streams(corpus, TOKENIZER, "validation", cache=tmp_path)["en"]
    _, targets = heldout_batch(stream, context=16, rows=10_000)
    flat = targets.flatten().numpy()
    assert [token for token in flat if token != BOS] == [token for token in stream if token != BOS][
        : (flat != BOS).sum()
    ]


def test_the_chunked_loss_has_the_value_and_gradients_of_the_plain_one() -> None:
    model = make_model(TOY, seed=1)
    inputs = torch.randint(7, 8192, (3, 20), generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.cross_entropy(model(input_ids=inputs).logits.flatten(0, 1), inputs.flatten())
    plain.backward()
    wanted = [value.grad.clone() for value in model.parameters() if value.grad is not None]
    model.zero_grad()
    loss = training_loss(model, inputs, inputs)
    loss.backward()
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close([value.grad for value in model.parameters()], wanted)


def test_an_interrupted_run_ends_with_the_same_bits(corpus: Path, trained: Path, tmp_path: Path) -> None:
    where = {"out": tmp_path / "model", "state": tmp_path / "cache" / "state", "device": CPU}
    stopped = train.train(toy_recipe(corpus), **where, stop_after=3)
    assert stopped.step == 3
    finished = train.train(toy_recipe(corpus), **where)
    assert finished.step == 8
    whole, halves = (load_file(folder / "model" / "model.safetensors") for folder in (trained, tmp_path))
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    states = [
        torch.load(folder / "cache" / "state" / "state.pt", weights_only=True)
        for folder in (trained, tmp_path)
    ]
    assert all(torch.equal(states[0]["model"][name], states[1]["model"][name]) for name in states[0]["model"])


def test_a_run_with_other_settings_is_not_continued(corpus: Path, trained: Path) -> None:
    other = train.Recipe(**{**vars(toy_recipe(corpus)), "seed": 1})
    with pytest.raises(SystemExit, match="other settings"):
        train.train(other, out=trained / "model", state=trained / "cache" / "state", device=CPU)


def test_an_exported_model_is_bfloat16_tied_and_eager(trained: Path) -> None:
    stored = load_file(trained / "model" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in stored
    model = load_model(trained / "model", CPU)
    assert model.dtype == torch.float32
    assert model.config._attn_implementation == "eager"
    assert (model.config.attn_logit_softcapping, model.config.final_logit_softcapping) == (50.0, 30.0)
    assert model.config.layer_types[:2] == ["sliding_attention", "full_attention"]


def test_captured_activations_are_block_outputs_without_bos(corpus: Path, trained: Path) -> None:
    model = load_model(trained / "model", CPU)
    stream = read_streams(corpus, TOKENIZER, "validation", cache=trained / "cache")["en"]
    inputs, _ = heldout_batch(stream, context=32, rows=3)
    taken = dictionaries.capture(model, [0, 2], inputs)
    states = model(input_ids=inputs, output_hidden_states=True).hidden_states
    # Before the last block, entry L + 1 of hidden_states is the output of block L.
    torch.testing.assert_close(taken[2], states[3][inputs != BOS])
    assert not torch.allclose(taken[0], states[0][inputs != BOS])


def test_stored_dictionaries_reproduce_the_l0_in_their_name(
    corpus: Path, trained: Path, tmp_path: Path
) -> None:
    recipe = dictionaries.Recipe(
        l0=4, width=64, tokens=4096, buffer_tokens=2048, batch_tokens=256, dead_after=1024
    )
    report = dictionaries.make_dictionaries(
        trained / "model", tmp_path, corpus, recipe, device=CPU, cache=trained / "cache", context=32
    )
    assert [path.parts[-4] for path in report] == ["layer_0", "layer_1", "layer_2"]
    streams = read_streams(corpus, TOKENIZER, "validation", cache=trained / "cache")
    train_streams = read_streams(corpus, TOKENIZER, "train", cache=trained / "cache")
    shares = Packer(train_streams, context=32, seed=0).shares
    inputs = dictionaries.heldout_inputs(streams, shares, context=32)
    activations = dictionaries.capture(load_model(trained / "model", CPU), [0, 1, 2], inputs)
    for layer, path in enumerate(report):
        arrays = dict(np.load(path))
        assert {name: value.shape for name, value in arrays.items()} == {
            "W_enc": (16, 64), "W_dec": (64, 16), "b_enc": (64,), "b_dec": (16,), "threshold": (64,)
        }  # fmt: skip
        assert {value.dtype for value in arrays.values()} == {np.dtype(np.float16)}
        np.testing.assert_allclose(np.linalg.norm(arrays["W_dec"].astype(np.float32), axis=1), 1, atol=2e-3)
        W_enc, W_dec, b_enc, b_dec, threshold = (value.astype(np.float32) for value in arrays.values())
        x = activations[layer].numpy()
        before = x @ W_enc + b_enc
        features = np.maximum(before, 0) * (before > threshold)
        l0 = (features > 0).sum(1).mean()
        assert path.parent.name == f"average_l0_{round(float(l0))}"
        assert 2 < l0 < 6
        explained = 1 - ((x - features @ W_dec - b_dec) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
        assert explained == pytest.approx(report[path].explained_variance, abs=1e-4)
        assert explained > 0.3


def test_cards_carry_numbers_sources_and_no_path(corpus: Path, trained: Path, tmp_path: Path) -> None:
    recipe = dictionaries.Recipe(l0=4, width=64, tokens=512, buffer_tokens=512, batch_tokens=128)
    cache = trained / "cache"
    dictionaries.make_dictionaries(
        trained / "model", tmp_path, corpus, recipe, device=CPU, cache=cache, context=32
    )
    result = evaluate.evaluate(
        trained / "model", tmp_path, corpus, device=CPU, cache=cache, context=32, rows=4
    )
    part = {
        "lang": "en",
        "source": "toy",
        "register": "toy",
        "licence": "CC0 1.0",
        "attribution": "A. Author",
    }
    facts = card.Facts(
        name="minigemma-toy",
        size=TOY,
        training=evaluate.read_training(cache / "state"),
        manifest=[{**part, "repo": "owner/name files"}],
        hardware="a test",
        date="2026-11-21",
        provisional=True,
    )
    text = card.model_card(facts, result)
    assert "PROVISIONAL" in text
    assert "| owner/name | toy | en | CC0 1.0 | A. Author |" in text
    assert "1,024 tokens in 8 steps" in text
    assert set(result.bits_per_byte) == {"am", "de", "en"}
    scope = card.dictionary_card(facts, result)
    assert scope.count("| `layer_") == 3
    for path in (corpus, trained, tmp_path, Path.home()):
        assert f"{path}/" not in text + scope


@pytest.mark.parametrize(("count", "layers"), [(4, [0, 1, 2]), (6, [1, 2, 4]), (8, [1, 3, 5])])
def test_dictionaries_stand_at_quarter_half_and_three_quarters(count: int, layers: list[int]) -> None:
    assert dictionaries.choose_layers(count) == layers


def test_widths_are_named_as_in_gemma_scope() -> None:
    assert [dictionaries.name_width(width) for width in (512, 1024, 16384)] == ["512", "1k", "16k"]
