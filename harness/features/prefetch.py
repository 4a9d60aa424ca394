"""Background decoding of images, so that the model need not wait for them.

Pillow and PyTorch release the interpreter's lock while they work, so threads suffice, and share what they decode.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from harness.api.data import Site, Tokens
from harness.api.protocols import LoadedImageModel, LoadedModel
from harness.data.images import count_threads

if TYPE_CHECKING:
    import torch

AHEAD_BATCHES = 2
"""Number of batches, of the size of the largest, that are in memory beside the one that runs."""


class ImagePrefetcher(AbstractContextManager["ImagePrefetcher"]):
    """Background decoder of images, a few batches ahead in the order of `batches`; idle for a model that reads texts.

    `waited` counts the seconds for which the model had to wait.
    """

    def __init__(
        self, model: LoadedModel, tokens: Sequence[Tokens], batches: Sequence[Sequence[int]], threads: int = 0
    ) -> None:
        self.waited = 0.0
        self._model = model if isinstance(model, LoadedImageModel) else None
        self._tokens = tokens
        self._order = iter([row for batch in batches for row in batch])
        self._room = AHEAD_BATCHES * max(map(len, batches), default=0)
        self._begun: dict[int, Future[torch.Tensor]] = {}
        self._pool = ThreadPoolExecutor(threads or count_threads(), thread_name_prefix="decode")

    def __enter__(self) -> ImagePrefetcher:
        if self._model:
            self._fill()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, rows: Sequence[int]) -> list[torch.Tensor] | None:
        """Return the images of a batch, each `[channels, height, width]`; None for texts."""
        if self._model is None:
            return None
        started = time.perf_counter()
        for row in rows:  # those of a batch that was halved were taken before, and are decoded again
            if row not in self._begun:
                self._begin(row)
        futures = [self._begun.pop(row) for row in rows]
        taken = [future.result() for future in futures]
        self.waited += time.perf_counter() - started
        self._fill()
        return taken

    def _fill(self) -> None:
        while len(self._begun) < self._room and (row := next(self._order, None)) is not None:
            self._begin(row)

    def _begin(self, row: int) -> None:
        image = self._tokens[row].image
        assert self._model and image
        self._begun[row] = self._pool.submit(self._model.prepare, image)


def run_forward(
    model: LoadedModel, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None
) -> Mapping[Site, torch.Tensor]:
    """Run a model on a batch, with its decoded images if it reads images."""
    return model.forward(batch, pixels) if isinstance(model, LoadedImageModel) else model.forward(batch)
