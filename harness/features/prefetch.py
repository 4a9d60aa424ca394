"""Images made ready in threads, ahead of the batch whose turn it is, so that the model need not wait for them.

Pillow and PyTorch release the interpreter's lock while they work, so threads are enough, and share what they make.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

from harness.api.data import Site, Tokens
from harness.api.protocols import LoadedImageModel, LoadedModel
from harness.data.images import count_threads

if TYPE_CHECKING:
    import torch

AHEAD_BATCHES = 2
"""So many batches, of the size of the largest, are in memory beside the one that runs."""


class Ahead:
    """What `prepare` makes of images, in the order in which `batches` will ask for them; nothing for a model that reads
    texts. `waited` counts the seconds for which the model had to wait.
    """

    def __init__(
        self,
        model: LoadedModel,
        tokens: Sequence[Tokens],
        batches: Sequence[Sequence[int]],
        *,
        threads: int = 0,
    ) -> None:
        self.waited = 0.0
        self._model = model if isinstance(model, LoadedImageModel) else None
        self._tokens = tokens
        self._order: Iterator[int] = iter(row for batch in batches for row in batch)
        self._room = AHEAD_BATCHES * max(map(len, batches), default=0)
        self._begun: dict[int, Future[torch.Tensor]] = {}
        self._pool = ThreadPoolExecutor(threads or count_threads(), thread_name_prefix="decode")

    def __enter__(self) -> Ahead:
        if self._model:
            self._fill()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, rows: Sequence[int]) -> list[torch.Tensor] | None:
        """The images of a batch, `[channels, height, width]` each; None of texts."""
        if self._model is None:
            return None
        started = time.perf_counter()
        for row in rows:  # those of a batch that was halved are begun again
            if row not in self._begun:
                self._begin(row)
        futures = [self._begun.pop(row) for row in rows]
        taken = [future.result() for future in futures]
        self.waited += time.perf_counter() - started
        self._fill()
        return taken

    def _fill(self) -> None:
        while len(self._begun) < self._room:
            row = next(self._order, None)
            if row is None:
                return
            self._begin(row)

    def _begin(self, row: int) -> None:
        image = self._tokens[row].image
        assert self._model and image
        self._begun[row] = self._pool.submit(self._model.prepare, image)


def run_forward(
    model: LoadedModel, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None
) -> Mapping[Site, torch.Tensor]:
    """The model on a batch, with the images that were made ready for it."""
    if isinstance(model, LoadedImageModel):
        return model.forward(batch, pixels)
    return model.forward(batch)
