"""Cases of formats whose libraries cannot be installed: their authors' formulas on random state dicts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from interop.case import Case

FORMAT = "state dicts without a config"
LIBRARY = ""

D_IN, WIDTH, K = 8, 24, 5
GOODFIRE = "Llama-3.1-8B-Instruct-SAE-l19.pth"
DEEPSEEK = "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
SITE = "resid_post.19"


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = 2 * draw(7, D_IN, seed=0) + 1


def make_openai(
    activation: str | None = "TopK", *, after: str = "ReLU", decoder: bool = True
) -> dict[str, Any]:
    """Return a state dict as `Autoencoder.state_dict` of sparse_autoencoder gives it."""
    state = {"k": K, "postact_fn": after} if activation == "TopK" else {}
    held: dict[str, Any] = OrderedDict(
        {
            "pre_bias": draw(D_IN, seed=1),
            "latent_bias": draw(WIDTH, seed=2),
            "stats_last_nonzero": torch.zeros(WIDTH, dtype=torch.long),
            "encoder.weight": draw(WIDTH, D_IN, seed=3),
            **({"decoder.weight": draw(D_IN, WIDTH, seed=4)} if decoder else {}),
            "activation": activation,
            "activation_state_dict": OrderedDict(state),
        }
    )
    # A module leaves the versions of its parts with its state dict, as an attribute that is pickled.
    held._metadata = OrderedDict({"": {"version": 1}})
    return held if activation else {name: held[name] for name in list(held)[:-2]}


def make_linear(encoder: str = "encoder_linear", decoder: str = "decoder_linear") -> dict[str, Any]:
    """Return the state dict of two linear layers."""
    return {
        f"{encoder}.weight": draw(WIDTH, D_IN, seed=1).bfloat16(),
        f"{encoder}.bias": draw(WIDTH, seed=2),
        f"{decoder}.weight": draw(D_IN, WIDTH, seed=3),
        f"{decoder}.bias": draw(D_IN, seed=4),
    }


def save(path: Path, held: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(held, path)
    return path


def cases(folder: Path) -> Iterator[Case]:
    dicts = {
        "top-k": make_openai(),
        "top-k, signs kept": make_openai(after="Identity"),
        "ReLU": make_openai("ReLU"),
        "no activation named": make_openai(None),
        "identity, tied": make_openai("Identity", decoder=False),
    }
    for name, held in dicts.items():
        path = save(folder / name / "6.pt", held)
        yield _case(path, f"OpenAI, {name}", as_openai(held, X))
    files = {
        "Goodfire": (GOODFIRE, make_linear()),
        "DeepSeek-R1": (DEEPSEEK, make_linear("encoder", "decoder")),
    }
    for name, (file, held) in files.items():
        encoder, b_enc, decoder, b_dec = (value.float() for value in held.values())
        features = (X @ encoder.T + b_enc).relu()
        yield _case(save(folder / file, held), name, (features, features @ decoder.T + b_dec))


def _case(path: Path, name: str, wanted: tuple[torch.Tensor, torch.Tensor]) -> Case:
    features, rebuilt = wanted
    return Case(name=name, path=path, site=SITE, x=X, features=features, rebuilt=rebuilt, golden=False)


def as_openai(held: dict[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features and reconstruction as `Autoencoder.forward` has them."""
    name, state = held.get("activation", "ReLU"), held.get("activation_state_dict", {})
    mean, std = torch.zeros(len(x), 1), torch.ones(len(x), 1)
    if name == "TopK":
        mean = x.mean(1, keepdim=True)
        std = (x - mean).std(1, keepdim=True)
        x = (x - mean) / (std + 1e-5)
    features = (x - held["pre_bias"]) @ held["encoder.weight"].T + held["latent_bias"]
    if name == "TopK":
        values, kept = features.topk(state["k"])
        features = torch.zeros_like(features).scatter(1, kept, values)
    if "ReLU" in (name, state.get("postact_fn")):
        features = features.relu()
    decoder = held.get("decoder.weight", held["encoder.weight"].T)
    return features, (features @ decoder.T + held["pre_bias"]) * std + mean
