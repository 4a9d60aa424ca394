"""The recipe of the embedded family on toy sizes: a lossless tokenizer, runs that resume exactly, honest scores."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import zstandard
from harness_minigemma import card, evaluate, train
from harness_minigemma.corpus import Document, Heldout, find_corpus, read_documents, read_heldout
from harness_minigemma.loss import bits_and_bytes, training_loss
from harness_minigemma.model import TOKENIZER, Size, load_model, make_model
from harness_minigemma.packing import Packer, heldout_batch, pack_documents, read_streams
from harness_minigemma.tokenizer import BOS, PAD, SPECIALS, load_tokenizer, token_bytes
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


def test_a_file_of_the_corpus_that_lacks_its_end_is_not_read_as_a_shorter_one(
    corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "en.jsonl.zst").write_bytes((corpus / "en.jsonl.zst").read_bytes()[:-4])
    with pytest.raises(OSError, match="Truncated"):
        list(read_documents(tmp_path, "en"))


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


def test_a_finished_run_says_how_it_was_made_when_it_is_started_again(corpus: Path, tmp_path: Path) -> None:
    where = {"out": tmp_path / "model", "state": tmp_path / "cache" / "state", "device": CPU}
    train.train(toy_recipe(corpus), **where)
    path = tmp_path / "model" / "training.json"
    written = path.read_bytes()
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    path.unlink()
    train.train(toy_recipe(corpus), **where)
    assert path.read_bytes() == written
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    training = json.loads(written)
    assert training["settings"] == train.settings(toy_recipe(corpus))
    assert (training["tokens"], training["steps"], training["provisional"]) == (1024, 8, True)
    assert training["hardware"] == "1 CPU core"
    assert set(training) == {
        "settings", "optimizer", "tokens", "steps", "seconds", "hardware", "date", "torch", "transformers",
        "provisional",
    }  # fmt: skip
    assert str(corpus) not in path.read_text()


def test_a_finished_run_started_again_elsewhere_keeps_the_name_of_the_machine_that_trained(
    corpus: Path, tmp_path: Path
) -> None:
    where = {"out": tmp_path / "model", "state": tmp_path / "cache" / "state", "device": CPU}
    train.train(toy_recipe(corpus), **where, stop_after=3)
    path = tmp_path / "model" / "training.json"
    elsewhere = {**json.loads(path.read_text()), "hardware": "a GPU", "provisional": False}
    path.write_text(json.dumps(elsewhere))
    train.train(toy_recipe(corpus), **where, stop_after=0)
    assert json.loads(path.read_text()) == elsewhere
    train.train(toy_recipe(corpus), **where)
    assert json.loads(path.read_text())["hardware"] == "1 CPU core"


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


def test_an_exported_model_takes_no_more_positions_than_it_was_trained_on(trained: Path) -> None:
    assert load_model(trained / "model", CPU).config.max_position_embeddings == 32
    assert make_model(TOY, seed=0).config.max_position_embeddings == 512


def write_corpus(folder: Path, language: str, rows: list[tuple[str, str]]) -> None:
    """A corpus file of (split, text) documents."""
    lines = "".join(
        json.dumps({"text": text, "source": "toy", "register": "toy", "split": split}) + "\n"
        for split, text in rows
    )
    (folder / f"{language}.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))


def test_heldout_text_has_no_long_line_that_was_met_before(tmp_path: Path) -> None:
    notice = "This text is distributed in the hope that it will be read."
    refrain = "Row, row, row your boat gently down the stream, merrily."
    short = "Chapter one"
    write_corpus(
        tmp_path,
        "en",
        [
            ("train", f"{short}\n  {notice}\nin training"),
            ("validation", f"{notice}\n{short}\n{refrain}\nonly here, and long enough to be held against it"),
            ("validation", notice),
            ("validation", f"{short}\n {refrain} \nthe end"),
        ],
    )
    # A line of another language's training text is no reason to drop it.
    write_corpus(tmp_path, "de", [("train", "Anderes."), ("validation", notice)])
    found = read_heldout(tmp_path, "en")
    assert found.texts == [
        f"{short}\n{refrain}\nonly here, and long enough to be held against it",
        f"{short}\nthe end",
    ]
    assert found.removed == len(f"{notice}\n") + len(notice) + len(f" {refrain} \n")
    assert read_heldout(tmp_path, "de") == Heldout(texts=[notice], removed=0)


def test_windows_hold_every_token_of_every_document_once() -> None:
    documents = [[10, 11, 12, 13, 14], [20], [30, 31]]
    inputs, targets = pack_documents(documents, context=2)
    assert inputs.tolist() == [[BOS, 10], [BOS, 12], [BOS, 14], [BOS, 20], [BOS, 30]]
    assert targets.tolist() == [[10, 11], [12, 13], [14, PAD], [20, PAD], [30, 31]]


def test_a_score_is_the_cost_of_all_bytes_of_a_text(trained: Path) -> None:
    texts = ["The cat sat on the mat.", "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich. " * 8]
    model = load_model(trained / "model", CPU)
    score = evaluate.score_texts(model, TOKENIZER, texts, context=32)
    documents = [PUBLISHED.encode(text, add_special_tokens=False).ids for text in texts]
    packed = pack_documents(documents, context=32)
    bits, size = bits_and_bytes(model, *packed, token_bytes(PUBLISHED))
    assert size == sum(len(text.encode()) for text in texts)
    assert score == pytest.approx(bits / size)
    nats = 0.0  # window by window, without padding
    for ids in documents:
        for start in range(0, len(ids), 32):
            piece = ids[start : start + 32]
            logits = model(input_ids=torch.tensor([[BOS, *piece[:-1]]])).logits[0]
            nats += float(torch.nn.functional.cross_entropy(logits, torch.tensor(piece), reduction="sum"))
    assert score == pytest.approx(nats / math.log(2) / size, rel=1e-5)


TEXTS = {language: Heldout(texts=["x" * size], removed=5) for language, size in
         {"en": 300_000, "de": 100_000, "wo": 99_999, "ko": 0}.items()}  # fmt: skip
COMPARED = card.Comparison(
    heldout=TEXTS,
    scores={
        "minigemma-s": {"en": 2.0, "de": 2.4, "wo": 9.0},
        "minigemma-m": {"en": 1.5, "de": 2.5, "wo": 1.0},
        "5-gram": {"en": 2.1, "de": 2.6, "wo": 1.0},
    },
)


def test_the_mean_is_over_languages_with_enough_text() -> None:
    assert COMPARED.headline == ["en", "de"]
    assert COMPARED.mean_by_bytes("minigemma-m") == pytest.approx(1.75)
    assert COMPARED.mean_by_language("minigemma-m") == pytest.approx(2.0)


def test_a_report_says_which_model_beats_which() -> None:
    said = evaluate.report(COMPARED)
    assert "mean by bytes: minigemma-m < minigemma-s < 5-gram" in said
    assert "minigemma-m beats minigemma-s by 0.350, in 1 of 2 languages of the mean" in said
    assert "minigemma-s beats 5-gram by 0.125, in 2 of 2 languages of the mean" in said
    assert "no held-out text: ko" in said
    assert any(line.split() == ["wo", "99,999", "5", "9.000", "1.000", "1.000"] for line in said.splitlines())


def test_a_card_says_numbers_sources_and_no_path(
    corpus: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {"source": "toy", "register": "toy", "licence": "CC0 1.0", "attribution": "A. Author"}
    manifest = [{**part, "lang": language, "repo": "owner/name files"} for language in ("en", "de", "en")]
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    folder = trained / "model"
    (trained / "minigemma-s").symlink_to(folder)
    evaluate.main(["--all", "--corpus", str(corpus), "--weights", str(trained), "--write-card"])
    said, text = capsys.readouterr().out, (folder / "README.md").read_text()
    assert "no language has 100 kB of held-out text" in said
    assert "PROVISIONAL" in text
    assert "| owner/name | toy | en de | CC0 1.0 | A. Author |" in text
    assert "1,024 tokens in 8 steps of 4 sequences of 32 tokens, seed 0, on 1 CPU core" in text
    assert "Muon" in text
    assert "peak learning rate 0.01" in text
    for language in ("am", "de", "en"):
        line = next(line for line in said.splitlines() if line.startswith(language))
        assert f"| {' | '.join(line.split())} |" in text
    for path in (corpus, trained, Path.home()):
        assert f"{path}/" not in text


def test_a_card_has_the_means_and_no_warning_about_weights_from_a_gpu(corpus: Path, trained: Path) -> None:
    training = {**evaluate.read_training(trained / "model"), "hardware": "a GPU", "provisional": False}
    facts = card.Facts(name="minigemma-m", parameters=(1, 2), training=training, manifest=[])
    text = card.model_card(facts, COMPARED, baseline="5-gram")
    assert "PROVISIONAL" not in text
    assert "| mean by bytes | 400,000 | 10 | 1.750 | 2.225 |" in text
    assert "| mean by language |  |  | 2.000 | 2.350 |" in text
    assert "minigemma-s" not in text


def test_a_model_folder_without_a_training_file_is_named(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(SystemExit, match=r"minigemma-s.training\.json is missing"):
        evaluate.main(["--size", "s", "--weights", str(tmp_path), "--corpus", str(corpus)])
    with pytest.raises(SystemExit, match="holds no minigemma"):
        evaluate.main(["--all", "--weights", str(tmp_path), "--corpus", str(corpus)])
