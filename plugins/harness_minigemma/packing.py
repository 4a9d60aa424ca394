"""Training sequences packed from a corpus, in an order that depends only on seed and step.

Each language is one long stream of `<bos> document <eos>`, with documents ordered by the hash of their text.
A sequence is a piece of one stream and always begins with <bos>. The only state is one cursor per language.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness_minigemma.corpus import SUFFIX, Split, list_languages, mixture, read_documents
from harness_minigemma.tokenizer import BOS, EOS, PAD, load_tokenizer

Stream = NDArray[np.uint16]
"""Token ids of one language, `[tokens]`."""
ENCODED_AT_ONCE = 512
"""Number of documents encoded in one batch."""


def cache_folder() -> Path:
    """Return the default folder for files that are never committed."""
    root = os.environ.get("HARNESS_CACHE_DIR") or Path.home() / ".cache" / "harness"
    return Path(root) / "minigemma"


def read_streams(corpus: Path, tokenizer: Path, split: Split, *, cache: Path) -> dict[str, Stream]:
    """Return the token stream of every language with text in the split, encoded once and then cached."""
    folder = cache / f"tokens-{stream_key(corpus, tokenizer)}"
    folder.mkdir(parents=True, exist_ok=True)
    streams = {}
    for language in list_languages(corpus):
        path = folder / f"{language}.{split}.u16"
        if not path.exists():
            temporary = path.with_suffix(f".{os.getpid()}")
            encode_language(corpus, language, tokenizer, split).tofile(temporary)
            temporary.replace(path)
        stream = np.fromfile(path, dtype=np.uint16)
        if len(stream):
            streams[language] = stream
    return streams


def stream_key(corpus: Path, tokenizer: Path) -> str:
    """Return a key of the token streams that changes with the tokenizer and any file of the corpus."""
    digest = hashlib.sha256((tokenizer / "tokenizer.json").read_bytes())
    for language in list_languages(corpus):
        digest.update(language.encode())
        digest.update(hashlib.sha256((corpus / f"{language}{SUFFIX}").read_bytes()).digest())
    return digest.hexdigest()[:16]


def encode_language(corpus: Path, language: str, tokenizer: Path, split: Split) -> Stream:
    """Encode one language as `<bos> document <eos>` in sequence, ordered by the hash of the text."""
    texts = [document.text for document in read_documents(corpus, language, split)]
    texts.sort(key=lambda text: hashlib.sha256(text.encode()).digest())
    encoder = load_tokenizer(tokenizer)
    pieces = [np.zeros(0, dtype=np.uint16)]
    for start in range(0, len(texts), ENCODED_AT_ONCE):
        for encoding in encoder.encode_batch_fast(
            texts[start : start + ENCODED_AT_ONCE], add_special_tokens=False
        ):
            pieces.append(np.array([BOS, *encoding.ids, EOS], dtype=np.uint16))  # noqa: PERF401
    return np.concatenate(pieces)


class Packer:
    """Source of training batches: languages drawn by share, then the next piece of each language's stream."""

    def __init__(self, streams: Mapping[str, Stream], *, context: int, seed: int) -> None:
        self._streams = dict(streams)
        self._context = context
        self._seed = seed
        self.shares = mixture({language: len(stream) for language, stream in streams.items()})
        self.cursors = {
            language: stream_start(seed, language) % len(stream) for language, stream in streams.items()
        }

    def draw(self, step: int, rows: int) -> tuple[Tensor, Tensor]:
        """Return inputs and next-token targets of one step, both int64 `[rows, context]`."""
        random = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, 0, step]))
        languages = list(self.shares)
        picks = random.choice(len(languages), size=rows, p=list(self.shares.values()))
        pairs = [self._next(languages[pick]) for pick in picks]
        inputs, targets = (np.stack(side).astype(np.int64) for side in zip(*pairs, strict=True))
        return torch.from_numpy(inputs), torch.from_numpy(targets)

    def _next(self, language: str) -> tuple[Stream, Stream]:
        stream, start = self._streams[language], self.cursors[language]
        piece = stream.take(range(start, start + self._context + 1), mode="wrap")
        inputs, targets, used = pack_piece(piece)
        self.cursors[language] = (start + used) % len(stream)
        return inputs, targets


def pack_piece(piece: Stream) -> tuple[Stream, Stream, int]:
    """Pack `context + 1` tokens into inputs that begin with <bos>, targets, and the number of tokens used."""
    if piece[0] == BOS:
        return piece[:-1], piece[1:], len(piece)
    return np.concatenate([np.array([BOS], dtype=np.uint16), piece[:-2]]), piece[:-1], len(piece) - 1


def stream_start(seed: int, language: str) -> int:
    """Return the position, before wrapping, at which a seed begins to read a language."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{language}".encode()).digest()[:6], "big")


def heldout_batch(stream: Stream, *, context: int, rows: int) -> tuple[Tensor, Tensor]:
    """Return at most `rows` sequences without overlap from the start of a held-out stream."""
    pairs: list[tuple[Stream, Stream]] = []
    start = 0
    while len(pairs) < rows and start + context + 1 <= len(stream):
        inputs, targets, used = pack_piece(stream[start : start + context + 1])
        pairs.append((inputs, targets))
        start += used
    if not pairs:
        return torch.zeros(0, context, dtype=torch.int64), torch.zeros(0, context, dtype=torch.int64)
    inputs_rows, targets_rows = (np.stack(side).astype(np.int64) for side in zip(*pairs, strict=True))
    return torch.from_numpy(inputs_rows), torch.from_numpy(targets_rows)


def pack_documents(documents: Sequence[Sequence[int]], *, context: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets `[windows, context]` in which every token of every document is a target once.

    A window holds tokens of one document, begins with <bos> and is padded with <pad>.
    """
    pieces = [ids[start : start + context] for ids in documents for start in range(0, len(ids), context)]
    targets = torch.full((len(pieces), context), PAD)
    for row, piece in enumerate(pieces):
        targets[row, : len(piece)] = torch.tensor(piece)
    return torch.cat([torch.full((len(pieces), 1), BOS), targets[:, :-1]], dim=1), targets
