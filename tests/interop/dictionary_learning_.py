"""Cases of dictionary_learning: every class that it has, trained for some steps and saved by its own `trainSAE`."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch

from interop.case import Case

FORMAT = "dictionary_learning"
LIBRARY = "dictionary-learning"
GOLDEN = "dictionary_learning"

D_IN, WIDTH, LAYER, K = 8, 16, 3, 4


class _Activations:
    """Activations whose mean and scale are far from 0 and 1, so that biases matter."""

    config: ClassVar = {"d_submodule": D_IN, "io": "out", "n_ctxs": 1, "ctx_len": 128, "out_batch_size": 64}

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (draw(64) for _ in repeat(None))


def draw(tokens: int) -> torch.Tensor:
    """Return activations `[tokens, D_IN]`."""
    return torch.randn(tokens, D_IN) * torch.linspace(0.5, 3, D_IN) + torch.linspace(-2, 2, D_IN)


def cases(folder: Path) -> Iterator[Case]:
    # The library imports nnsight for the activations of models, which are not needed here.
    sys.modules.setdefault("nnsight", SimpleNamespace(LanguageModel=None))
    from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew
    from dictionary_learning.trainers import gated_anneal, matryoshka_batch_top_k, standard
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.gdm import GatedSAETrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.p_anneal import PAnnealTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    torch.manual_seed(0)
    short: dict[str, Any] = {"warmup_steps": 1, "lr": 3e-2}
    sparse: dict[str, Any] = {**short, "k": K, "threshold_start_step": 2, "threshold_beta": 0.5}
    groups = {"group_fractions": [0.25, 0.75]}
    trained: dict[str, tuple[Any, dict[str, Any]]] = {
        "StandardTrainer": (standard.StandardTrainer, {**short, "sparsity_warmup_steps": None}),
        "StandardTrainerAprilUpdate": (
            standard.StandardTrainerAprilUpdate,
            {**short, "sparsity_warmup_steps": None},
        ),
        "PAnnealTrainer": (
            PAnnealTrainer,
            {**short, "sparsity_function": "Lp", "sparsity_warmup_steps": None},
        ),
        "GatedSAETrainer": (GatedSAETrainer, {**short, "sparsity_warmup_steps": None}),
        "GatedAnnealTrainer": (gated_anneal.GatedAnnealTrainer, {**short, "sparsity_warmup_steps": None}),
        "TopKTrainer": (TopKTrainer, sparse),
        "BatchTopKTrainer": (BatchTopKTrainer, sparse),
        "MatryoshkaBatchTopKTrainer": (
            matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer,
            {**sparse, **groups},
        ),
        "JumpReluTrainer": (JumpReluTrainer, {**short, "sparsity_warmup_steps": 1}),
    }
    for name, (trainer, settings) in trained.items():
        # Of classes that two trainers share, one is enough for the golden vectors.
        alike = {"StandardTrainer", "PAnnealTrainer", "GatedAnnealTrainer"}
        yield _train(folder / name, name, trainer, settings, golden=name not in alike)
    yield _train(folder / "early", "TopKTrainer, step 30", TopKTrainer, sparse, golden=False, early=True)
    for kind in (AutoEncoder, AutoEncoderNew):
        yield _save(folder / kind.__name__, kind(D_IN, WIDTH), golden=kind is AutoEncoderNew)


def _train(
    folder: Path, name: str, trainer: Any, settings: dict[str, Any], *, golden: bool, early: bool = False
) -> Case:
    """Return a dictionary that was trained and saved by the library, or as it was saved `early`, during training."""
    from dictionary_learning.training import trainSAE

    config = {
        "trainer": trainer,
        "steps": 40,
        "activation_dim": D_IN,
        "dict_size": WIDTH,
        "layer": LAYER,
        "lm_name": "toy",
        "device": "cpu",
        "seed": 0,
        **settings,
    }
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainSAE(
            _Activations(),
            [config],
            steps=40,
            save_steps=[30] if early else None,
            save_dir=str(folder),
            normalize_activations=True,
            device="cpu",
        )
    if not early:
        return _case(folder / "trainer_0", name, golden=golden)
    # load_dictionary opens ae.pt alone.
    saved = folder / "trainer_0" / "checkpoints" / "ae_30.pt"
    saved.replace(folder / "trainer_0" / "ae.pt")
    case = _case(folder / "trainer_0", name, golden=golden)
    (folder / "trainer_0" / "ae.pt").replace(saved)
    return replace(case, path=saved)


def _save(folder: Path, dictionary: torch.nn.Module, *, golden: bool) -> Case:
    """Return the case of a dictionary of random weights, saved as `trainSAE` saves them."""
    for parameter in dictionary.parameters():
        parameter.data = torch.randn_like(parameter) / 2
    folder.mkdir()
    torch.save(dictionary.state_dict(), folder / "ae.pt")
    trainer = {
        "dict_class": type(dictionary).__name__,
        "activation_dim": D_IN,
        "dict_size": WIDTH,
        "layer": LAYER,
        "lm_name": "toy",
        "submodule_name": f"resid_post_layer_{LAYER}",
    }
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": _Activations.config}))
    return _case(folder, f"{type(dictionary).__name__}, random weights", golden=golden)


def _case(folder: Path, name: str, *, golden: bool) -> Case:
    from dictionary_learning.utils import load_dictionary

    with contextlib.redirect_stdout(io.StringIO()):
        dictionary, config = load_dictionary(str(folder), "cpu")
    x = draw(6)
    with torch.no_grad():
        features = dictionary.encode(x)
        rebuilt = dictionary.decode(features)
    kind = config["trainer"]["dict_class"]
    return Case(
        name=name if kind in name else f"{kind} of {name}",
        path=folder,
        site=f"resid_post.{LAYER}",
        x=x,
        features=features,
        rebuilt=rebuilt,
        golden=golden,
    )
