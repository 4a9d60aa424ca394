"""Held-out bits per byte of exported models by language, compared with an n-gram model.

    python -m harness_minigemma.evaluate --size m --corpus DIR [--write-card]
    python -m harness_minigemma.evaluate --all --corpus DIR [--write-card]

All validation text is scored, without boilerplate (`corpus.read_heldout`), the same for every model. The mean is over
the languages with at least 100 kB of it. With --write-card the numbers go into the README.md of the model folders.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma2ForCausalLM

from harness_minigemma import ngram
from harness_minigemma.card import (
    HEADLINE_BYTES,
    Comparison,
    Facts,
    describe_text,
    language_rows,
    mean_rows,
    model_card,
)
from harness_minigemma.corpus import (
    Heldout,
    find_corpus,
    list_languages,
    read_documents,
    read_heldout,
    read_manifest,
)
from harness_minigemma.loss import bits_and_bytes
from harness_minigemma.model import SIZES, TRAINING, WEIGHTS, choose_device, count_parameters, load_model
from harness_minigemma.packing import pack_documents
from harness_minigemma.tokenizer import load_tokenizer, replace_text, token_bytes

BASELINE = f"{ngram.ORDER}-gram"
"""Name of the n-gram model in tables."""


def compare(folders: Sequence[Path], corpus: Path, *, device: torch.device) -> Comparison:
    """Score model folders, named by folder, and the n-gram model, named BASELINE."""
    heldout = {language: read_heldout(corpus, language) for language in list_languages(corpus)}
    scores = {folder.name: score_model(folder, heldout, device=device) for folder in folders}
    return Comparison(heldout=heldout, scores={**scores, BASELINE: score_ngram(corpus, heldout)})


def score_model(folder: Path, heldout: dict[str, Heldout], *, device: torch.device) -> dict[str, float]:
    """Return bits per byte of a model folder by language, in windows of its training context."""
    context = read_training(folder)["settings"]["context"]
    model = load_model(folder, device)
    return {
        language: score_texts(model, folder, text.texts, context=context)
        for language, text in heldout.items()
        if text.size
    }


def score_texts(model: Gemma2ForCausalLM, tokenizer: Path, texts: list[str], *, context: int) -> float:
    """Return bits per byte of documents; every token is scored, and special tokens count no bytes."""
    encoder = load_tokenizer(tokenizer)
    encodings = encoder.encode_batch_fast(texts, add_special_tokens=False)
    inputs, targets = pack_documents([encoding.ids for encoding in encodings], context=context)
    bits, size = bits_and_bytes(model, inputs, targets, token_bytes(encoder))
    return bits / size


def score_ngram(corpus: Path, heldout: dict[str, Heldout]) -> dict[str, float]:
    """Return bits per byte by language of one n-gram model fitted to all languages' training text."""
    model = ngram.fit(
        document.text
        for language in list_languages(corpus)
        for document in read_documents(corpus, language, "train")
    )
    return {language: model.bits(text.texts) / text.size for language, text in heldout.items() if text.size}


def read_training(folder: Path) -> dict[str, Any]:
    """Read the training record of a model folder; raise SystemExit if there is none."""
    path = folder / TRAINING
    if not path.exists():
        raise SystemExit(f"{path} is missing; the command that trained the model, given again, writes it")
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def read_facts(folder: Path, corpus: Path) -> Facts:
    """Read the facts of a model card other than scores."""
    training = read_training(folder)
    return Facts(
        name=folder.name,
        parameters=count_parameters(load_model(folder, torch.device("cpu"))),
        training=training,
        manifest=read_manifest(corpus),
    )


def report(result: Comparison) -> str:
    """Return the scores as aligned text, one column per model, with the ranking of models."""
    names = list(result.scores)
    others = [language for language in result.scored if language not in result.headline]
    silent = [language for language in result.heldout if language not in result.scored]
    rows = [
        ("language", "bytes", "removed", *names),
        *language_rows(result, result.headline, names),
        *mean_rows(result, names),
        (f"less than {HEADLINE_BYTES // 1000} kB:",),
        *language_rows(result, others, names),
    ]
    text = [describe_text(result), "", *align(rows)]
    if silent:
        text.append(f"no held-out text: {' '.join(silent)}")
    return "\n".join([*text, "", *verdicts(result)])


def verdicts(result: Comparison) -> list[str]:
    """Return the ranking by the mean, and for each pair the number of languages that agree."""
    if not result.headline:
        return [f"no language has {HEADLINE_BYTES // 1000} kB of held-out text, so there is no mean"]
    ranked = sorted(result.scores, key=result.mean_by_bytes)
    lines = ["bits per byte, mean by bytes: " + " < ".join(ranked)]
    for better, worse in combinations(ranked, 2):
        won = sum(result.scores[better][name] < result.scores[worse][name] for name in result.headline)
        gap = result.mean_by_bytes(worse) - result.mean_by_bytes(better)
        lines.append(
            f"{better} beats {worse} by {gap:.3f}, in {won} of {len(result.headline)} languages of the mean"
        )
    return lines


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of text with aligned columns; the first is flush left, the others flush right."""
    widest = max(len(row) for row in rows)
    full = [[*row, *[""] * (widest - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    sides: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (widest - 1)]
    return [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in full
    ]


def choose_folders(weights: Path, size: str | None) -> list[Path]:
    """Return the model folder of a size, or all that exist; raise SystemExit if there is none."""
    if size:
        return [weights / f"minigemma-{size}"]
    folders = [weights / f"minigemma-{name}" for name in SIZES]
    found = [folder for folder in folders if folder.exists()]
    if not found:
        raise SystemExit(f"{weights} holds no minigemma-<size> folder; harness_minigemma.train makes one")
    return found


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--size", choices=sorted(SIZES))
    which.add_argument("--all", action="store_true", help="every size that has a model folder")
    parser.add_argument("--corpus", help="corpus folder (default: HARNESS_CORPUS_DIR)")
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="folder of minigemma-<size> (default: in the plugin)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--write-card", action="store_true", help="write each model folder's README.md")
    arguments = parser.parse_args(argv)
    corpus = find_corpus(arguments.corpus)
    folders = choose_folders(arguments.weights, arguments.size)
    # Before scoring, so that a missing file is reported at once and not after minutes.
    facts = {folder: read_facts(folder, corpus) for folder in folders}
    result = compare(folders, corpus, device=choose_device(arguments.device))
    print(report(result))
    if arguments.write_card:
        for folder in folders:
            replace_text(folder / "README.md", model_card(facts[folder], result, baseline=BASELINE))


if __name__ == "__main__":
    main()
