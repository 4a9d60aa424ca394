"""Tokenizer of the embedded family: byte-level BPE with 8,192 entries, shared by every size.

`python -m harness_minigemma.tokenizer --corpus DIR --out FOLDER` writes `tokenizer.json` and
`tokenizer_config.json` and reports bytes per token by language. Text is not normalised: decoding returns exactly
the bytes that were encoded. The published tokenizer is final; this module documents how it was made.
"""

import argparse
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from harness_minigemma.corpus import find_corpus, list_languages, mixture, read_documents

VOCABULARY = 8192
"""Number of entries."""
PAD, EOS, BOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<image>")
"""Special tokens, in the order of their ids from 0."""
FILES = ("tokenizer.json", "tokenizer_config.json")
"""Names of the two files of a tokenizer."""

# Letters keep their combining marks (GPT-2's pattern cuts Indic and Thai words at every vowel sign). Digits are single
# tokens, as in Gemma. A word includes one space or apostrophe before it and no other sign.
WORDS = r"[ '’]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}"
    "{{ message['content'] | trim }}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterator[str], *, vocabulary: int = VOCABULARY) -> Tokenizer:
    """Train a byte-level BPE tokenizer on texts; it puts <bos> before every encoded text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", BOS)]
    )
    return tokenizer


def sample_texts(corpus: Path, *, total_bytes: int) -> Iterator[str]:
    """Yield training texts, each language up to its share of `total_bytes`."""
    languages = list_languages(corpus)
    sizes = {language: (corpus / f"{language}.jsonl.zst").stat().st_size for language in languages}
    # A lower English share than in model training: merges are scarce, and English words are merged early anyway.
    for language, share in mixture(sizes, english=0.25).items():
        left = int(share * total_bytes)
        for document in read_documents(corpus, language, "train"):
            yield document.text
            left -= len(document.text.encode())
            if left <= 0:
                break


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the two files that `transformers.AutoTokenizer` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
        "additional_special_tokens": list(SPECIALS[4:]),
        "padding_side": "left",
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "chat_template": CHAT_TEMPLATE,
    }
    replace_text(folder / "tokenizer.json", tokenizer.to_str(pretty=False))
    replace_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write a text file atomically: a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the bare tokenizer of a model folder, which encodes without transformers."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def token_bytes(tokenizer: Tokenizer) -> list[int]:
    """Return the number of text bytes of each token id; 0 for special tokens."""
    # In byte-level BPE every character of a token's spelling is one byte of text.
    spelt = (tokenizer.id_to_token(index) or "" for index in range(tokenizer.get_vocab_size()))
    return [0 if index < len(SPECIALS) else len(token) for index, token in enumerate(spelt)]


def check_round_trip(tokenizer: Tokenizer, corpus: Path, *, documents: int) -> dict[str, float]:
    """Return bytes per token by language over the first documents.

    Raise SystemExit if a document does not decode to itself.
    """
    report = {}
    for language in list_languages(corpus):
        texts = [document.text for document in islice(read_documents(corpus, language), documents)]
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            if tokenizer.decode(encoding.ids, skip_special_tokens=False) != text:
                raise SystemExit(
                    f"the tokenizer does not give back a text of language {language!r}: {text[:80]!r}"
                )
        tokens = sum(len(encoding.ids) for encoding in encodings)
        report[language] = sum(len(text.encode()) for text in texts) / max(tokens, 1)
    return report


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", help="corpus folder (default: HARNESS_CORPUS_DIR)")
    parser.add_argument(
        "--out", type=Path, required=True, action="append", help="folder to write to; may be repeated"
    )
    parser.add_argument("--megabytes", type=float, default=64.0, help="text to train the merges on")
    arguments = parser.parse_args(argv)
    corpus = find_corpus(arguments.corpus)
    tokenizer = train_tokenizer(sample_texts(corpus, total_bytes=int(arguments.megabytes * 1e6)))
    for language, ratio in check_round_trip(tokenizer, corpus, documents=200).items():
        print(f"{language}  {ratio:.2f} bytes per token")
    for folder in arguments.out:
        save_tokenizer(tokenizer, folder)


if __name__ == "__main__":
    main()
