"""A corpus folder in, documents out: `<language>.jsonl.zst` files, one JSON object a line.

Nothing here knows a tokenizer or a model. Every document carries the split it was given when the corpus was
made, so training and validation stay apart whatever is done with either.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import zstandard

Split = Literal["train", "validation"]
SUFFIX = ".jsonl.zst"
ENGLISH_SHARE = 0.45


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text and where it came from."""

    text: str
    language: str
    source: str
    register: str
    split: Split


def find_corpus(folder: str | Path | None) -> Path:
    """The corpus folder: the argument, else HARNESS_CORPUS_DIR."""
    chosen = folder or os.environ.get("HARNESS_CORPUS_DIR")
    if not chosen:
        raise SystemExit("no corpus: give --corpus DIR or set HARNESS_CORPUS_DIR")
    path = Path(chosen)
    if not list_languages(path):
        raise SystemExit(f"corpus folder {path} holds no <language>{SUFFIX} file")
    return path


def list_languages(corpus: Path) -> list[str]:
    """The languages of the corpus, sorted."""
    return sorted(path.name.removesuffix(SUFFIX) for path in corpus.glob(f"*{SUFFIX}"))


def read_documents(corpus: Path, language: str, split: Split | None = None) -> Iterator[Document]:
    """The documents of one language in file order, all or those of one split."""
    with (corpus / f"{language}{SUFFIX}").open("rb") as raw:
        stream = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            row = json.loads(line)
            if split is None or row["split"] == split:
                yield Document(
                    text=row["text"],
                    language=language,
                    source=row["source"],
                    register=row["register"],
                    split=row["split"],
                )


def read_manifest(corpus: Path) -> list[dict[str, Any]]:
    """The corpus's parts, each with source, licence and attribution; empty if the folder has no manifest."""
    path = corpus / "manifest.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def mixture(sizes: Mapping[str, int], *, english: float = ENGLISH_SHARE) -> dict[str, float]:
    """Language shares, summing to 1, from language sizes.

    English gets a fixed share; the others divide the rest by the square root of their size, which lets a
    language of 1 MB be seen about a fifth as often as one of 26 MB instead of a twenty-sixth.
    """
    weights = {language: size**0.5 for language, size in sizes.items() if language != "en" and size > 0}
    total = sum(weights.values())
    if not sizes.get("en"):
        return {language: weight / total for language, weight in weights.items()}
    if not weights:
        return {"en": 1.0}
    shares = {language: (1 - english) * weight / total for language, weight in weights.items()}
    return {"en": english, **shares}
