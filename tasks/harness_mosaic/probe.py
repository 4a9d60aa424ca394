"""MOSAIC's linear probe (`train_linear_probe` in its `src/classifiers.py`), on the CPU, for dense rows or CSR."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.model_selection import train_test_split
from torch.nn import functional

from harness import UnavailableError

Rows = np.ndarray[Any, np.dtype[np.int64]]

BATCH, RATE, DECAY = 128, 1e-3, 1e-5
EPOCHS, PATIENCE = 10_000, 20
STEP, GAMMA = 100, 0.1
STOP_SHARE, SPLIT_SEED = 0.1 / (1 - 0.2), 42
"""Share of the given rows that early stopping uses: the study's tenth of all rows, of those not used for testing."""


class MosaicProbe:
    """Linear layer on unscaled features, trained by Adam with early stopping.

    The loss is cross-entropy with balanced class weights. Training stops when the loss on an eighth of the rows has
    not fallen for 20 epochs. That eighth is drawn by label with the study's seed.

    The study meant to return to the weights of the best epoch, but kept a view of them, not a copy, and used those of
    the last epoch. This class does the same, unless `restore`. The study set no seed; here the seed draws first
    weights and batches.
    """

    def __init__(self, *, restore: bool, seed: int) -> None:
        if not isinstance(restore, bool):
            raise ValueError(f"restore={restore} must be true or false")
        self.restore, self.seed = restore, seed

    def fit(self, X: Any, y: Any) -> MosaicProbe:
        """Fit the probe to `X [rows, features]` and class numbers; raise UnavailableError if a class has one row."""
        try:
            inner, outer = train_test_split(
                np.arange(len(y)), test_size=STOP_SHARE, random_state=SPLIT_SEED, stratify=y
            )
        except ValueError as error:
            raise UnavailableError(
                f"mosaic_probe cannot cut off rows to stop on from {len(y)}: {error}"
            ) from error
        return self._train(X[inner], y[inner], X[outer], y[outer])

    def _train(self, X: Any, y: Any, X_stop: Any, y_stop: Any) -> MosaicProbe:
        draws = torch.Generator().manual_seed(self.seed)
        n_classes = int(y.max()) + 1
        self.layer = _first_layer(X.shape[1], n_classes, draws)
        counts = np.bincount(y, minlength=n_classes)
        weight = torch.tensor(len(y) / (n_classes * counts), dtype=torch.float32)
        optimizer = torch.optim.Adam(self.layer.parameters(), lr=RATE, weight_decay=DECAY)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=STEP, gamma=GAMMA)
        targets = torch.from_numpy(np.asarray(y, dtype=np.int64))
        stop_targets = torch.from_numpy(np.asarray(y_stop, dtype=np.int64))
        lowest, since, best = float("inf"), 0, copy.deepcopy(self.layer)
        for _ in range(EPOCHS):
            for batch in _batches(torch.randperm(len(y), generator=draws).numpy()):
                loss = functional.cross_entropy(self.layer(_rows(X, batch)), targets[batch], weight)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            scheduler.step()
            loss_now = self._loss(X_stop, stop_targets, weight)
            if loss_now < lowest:
                lowest, since = loss_now, 0
                best = copy.deepcopy(self.layer) if self.restore else best
            else:
                since += 1
                if since >= PATIENCE:
                    break
        if self.restore:
            self.layer = best
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return class probabilities `[examples, classes]`."""
        with torch.no_grad():
            parts = [self.layer(_rows(X, batch)) for batch in _batches(np.arange(X.shape[0]))]
            return torch.cat(parts).softmax(dim=1).numpy()

    @property
    def weights(self) -> Any:
        """Return weights `[classes, features]`; of two classes, the difference of each to the other."""
        weights = self.layer.weight.detach().numpy()
        return weights if len(weights) > 2 else np.stack([weights[0] - weights[1], weights[1] - weights[0]])

    @torch.no_grad()
    def _loss(self, X: Any, targets: torch.Tensor, weight: torch.Tensor) -> float:
        """Return the mean over batches of their weighted losses; the smaller last one counts as much as the others."""
        losses = [
            functional.cross_entropy(self.layer(_rows(X, batch)), targets[batch], weight).item()
            for batch in _batches(np.arange(len(targets)))
        ]
        return float(np.mean(losses))


def _first_layer(n_features: int, n_classes: int, draws: torch.Generator) -> torch.nn.Linear:
    """Return a linear layer with torch's own initialisation, uniform within ±1/√features, from a separate generator."""
    layer: torch.nn.Linear = torch.nn.utils.skip_init(  # type: ignore[no-untyped-call]
        torch.nn.Linear, n_features, n_classes
    )
    bound = n_features**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=draws)
        layer.bias.uniform_(-bound, bound, generator=draws)
    return layer


def _batches(rows: Rows) -> list[Rows]:
    """Split row numbers, in their order, into batches of `BATCH`."""
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def _rows(X: Any, batch: Rows) -> torch.Tensor:
    """Return some rows, dense and in float32."""
    rows = X[batch]
    dense = rows.toarray() if sparse.issparse(rows) else rows
    return torch.from_numpy(np.ascontiguousarray(dense, dtype=np.float32))
