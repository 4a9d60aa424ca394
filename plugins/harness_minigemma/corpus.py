"""A corpus folder in, documents out: `<language>.jsonl.zst` files, one JSON object a line.

Nothing here knows a tokenizer or a model. Every document carries the split it was given when the corpus was
made, so training and validation stay apart whatever is done with either.
"""

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import zstandard

Split = Literal["train", "validation"]
SUFFIX = ".jsonl.zst"
ENGLISH_SHARE = 0.45
DUPLICATE_BYTES = 40  # a line that is longer and occurs twice is boilerplate, not chance


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text and where it came from."""

    text: str
    language: str
    source: str
    register: str
    split: Split


@dataclass(frozen=True, kw_only=True)
class Heldout:
    """What is scored of one language: its validation documents without boilerplate, and the bytes removed."""

    texts: list[str]
    removed: int

    @property
    def size(self) -> int:
        """Bytes that are left."""
        return count_bytes(self.texts)


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


def read_heldout(corpus: Path, language: str) -> Heldout:
    """The validation documents of one language without the lines that were met before.

    A line of more than 40 bytes, blanks around it apart, is dropped where the language's training text has the
    same line, or an earlier line of the validation text is the same. A language may have no such text at all.
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
    """The texts without known long lines, each of which is known from then on; empty texts are left out."""
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
    """The lines that are long enough to be boilerplate, without the blanks around them."""
    lines = (line.strip() for line in text.split("\n"))
    return [line for line in lines if len(line.encode()) > DUPLICATE_BYTES]


def count_bytes(texts: Iterable[str]) -> int:
    """The length of the texts in UTF-8."""
    return sum(len(text.encode()) for text in texts)


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
