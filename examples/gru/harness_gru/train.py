"""Training of the GRU: `python -m harness_gru.train FILE…`, one text a line, JSON Lines with `text` and `split`.

Rows whose split is `test` are left out. It takes a minute or two on one core, and replaces the weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from harness_gru.model import LAYERS, START, WEIGHTS, WIDTH, build

STEPS, BATCH, LENGTH = 1500, 48, 96
LEARNING_RATE = 3e-3


class Predictor(nn.Module):
    """The layers with a head that predicts the next byte."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, layers = build(LAYERS)
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(WIDTH, START)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits `[texts, bytes, 256]` for ids `[texts, bytes]`."""
        values = self.embedding(ids)
        for layer in self.layers:
            values, _ = layer(values)
        logits: torch.Tensor = self.head(values)
        return logits


def read_texts(paths: list[Path]) -> list[str]:
    """Return the texts of all rows but test rows, each once."""
    rows = [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]
    return list(dict.fromkeys(row["text"] for row in rows if row["split"] != "test"))


def train(texts: list[str], *, seed: int = 0, steps: int = STEPS) -> tuple[Predictor, list[float]]:
    """Return the trained model, and its loss in nats for each byte, step by step."""
    torch.manual_seed(seed)
    model = Predictor()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    losses = []
    for _ in range(steps):
        drawn = [texts[int(number)].encode() for number in torch.randint(len(texts), (BATCH,))]
        ids = torch.full((BATCH, LENGTH + 1), START)
        for row, data in enumerate(drawn):
            ids[row, 1 : len(data) + 1] = torch.tensor(list(data[:LENGTH]))
        wanted = ids[:, 1:].where(ids[:, 1:] != START, -100)  # padding is not predicted
        loss = nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model, losses


def main() -> None:
    """Train on the files named on the command line."""
    model, losses = train(read_texts([Path(name) for name in sys.argv[1:]]))
    save_file({key: each.half().contiguous() for key, each in model.state_dict().items()}, WEIGHTS)
    print(f"{sum(losses[-50:]) / 50:.3f} nats a byte over the last 50 steps")


if __name__ == "__main__":
    main()
