"""Reader of a corpus folder: `<language>.jsonl.zst` files with one JSON object per line.

Nothing here depends on a tokenizer or a model. Every document carries the split assigned when the corpus was
made, so that training and validation stay apart in every use.
"""

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

Split = Literal["train", "validation"]
SUFFIX = ".jsonl.zst"
"""Suffix of a language's file."""
ENGLISH_SHARE = 0.45
"""Share of English in training."""
DUPLICATE_BYTES = 40  # a longer line that occurs twice is boilerplate, not chance


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text with its language, source, register and split."""

    text: str
    language: str
    source: str
    register: str
    split: Split


@dataclass(frozen=True, kw_only=True)
class Heldout:
    """Validation documents of one language without boilerplate, and the number of bytes removed."""

    texts: list[str]
    removed: int

    @property
    def size(self) -> int:
        """Number of bytes left."""
        return count_bytes(self.texts)


def find_corpus(folder: str | Path | None) -> Path:
    """Return the given corpus folder, else HARNESS_CORPUS_DIR; raise SystemExit if it has no corpus."""
    chosen = folder or os.environ.get("HARNESS_CORPUS_DIR")
    if not chosen:
        raise SystemExit("no corpus: give --corpus DIR or set HARNESS_CORPUS_DIR")
    path = Path(chosen)
    if not list_languages(path):
        raise SystemExit(f"corpus folder {path} holds no <language>{SUFFIX} file")
    return path


def list_languages(corpus: Path) -> list[str]:
    """Return the languages of the corpus, sorted."""
    return sorted(path.name.removesuffix(SUFFIX) for path in corpus.glob(f"*{SUFFIX}"))


def read_documents(corpus: Path, language: str, split: Split | None = None) -> Iterator[Document]:
    """Yield the documents of one language in file order, of all splits or one."""
    # pyarrow, unlike the package zstandard, raises OSError for a file that lacks its end.
    with pa.input_stream(corpus / f"{language}{SUFFIX}", compression="zstd") as stream:
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


def read_heldout(corpus: Path, language: str) -> Heldout:
    """Return the validation documents of one language without duplicate lines.

    A line of more than 40 bytes, stripped of whitespace, is dropped if it also occurs in the language's
    training text or earlier in its validation text. A language may have no such text at all.
    """
    texts = [document.text for document in read_documents(corpus, language, "validation")]
    wanted = {line for text in texts for line in list_long_lines(text)}
    known: set[str] = set()
    if wanted:
        for document in read_documents(corpus, language, "train"):
            known.update(wanted.intersection(list_long_lines(document.text)))
    kept = drop_lines(texts, known)
    return Heldout(texts=kept, removed=count_bytes(texts) - count_bytes(kept))


def drop_lines(texts: Iterable[str], known: set[str]) -> list[str]:
    """Remove known long lines; leave out texts that become empty.

    A long line is known once it has occurred.
    """
    met, kept = set(known), []
    for text in texts:
        lines = []
        for line in text.split("\n"):
            if line.strip() not in met:
                lines.append(line)
            met.update(list_long_lines(line))
        kept.append("\n".join(lines))
    return [text for text in kept if text.strip()]


def list_long_lines(text: str) -> list[str]:
    """Return the lines, stripped, that are long enough to be boilerplate."""
    lines = (line.strip() for line in text.split("\n"))
    return [line for line in lines if len(line.encode()) > DUPLICATE_BYTES]


def count_bytes(texts: Iterable[str]) -> int:
    """Return the total length of the texts in UTF-8 bytes."""
    return sum(len(text.encode()) for text in texts)


def read_manifest(corpus: Path) -> list[dict[str, Any]]:
    """Read the corpus's parts with source, licence and attribution; empty if there is no manifest."""
    path = corpus / "manifest.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def mixture(sizes: Mapping[str, int], *, english: float = ENGLISH_SHARE) -> dict[str, float]:
    """Return language shares that sum to 1.

    English has a fixed share; the others divide the rest in proportion to the square root of their sizes. A
    language of 1 MB is then seen about a fifth as often as one of 26 MB.
    """
    weights = {language: size**0.5 for language, size in sizes.items() if language != "en" and size > 0}
    total = sum(weights.values())
    if not sizes.get("en"):
        return {language: weight / total for language, weight in weights.items()}
    if not weights:
        return {"en": 1.0}
    shares = {language: (1 - english) * weight / total for language, weight in weights.items()}
    return {"en": english, **shares}
