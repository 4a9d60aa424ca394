"""Checkpoints of saev 0.1.0, whose files have no schema: ReLU of x − b_dec. Its newer rules are tested by formula."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from saev import config, nn

from interop.case import Case

FORMAT = "saev"
LIBRARY = "saev"
GOLDEN = "saev"


@torch.no_grad()
def cases(folder: Path) -> Iterator[Case]:
    """Write a random checkpoint into a folder of its own and yield it with what saev makes of it."""
    torch.manual_seed(17)
    sae = nn.SparseAutoencoder(config.SparseAutoencoder(d_vit=8, exp_factor=2))
    for parameter in sae.parameters():
        parameter.copy_(torch.randn(parameter.shape))
    path = folder / "relu"
    nn.dump(str(path / "sae.pt"), sae)
    x = torch.randn(4, 8) * 3
    rebuilt, features, _ = nn.load(str(path / "sae.pt"))(x)
    yield Case(name="relu", path=path, site="vision.resid_post.2", x=x, features=features, rebuilt=rebuilt)
