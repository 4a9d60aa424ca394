"""Training of the two vision models on captioned images: one recipe for CPU and GPU.

    python -m harness_minigemma.vision.train --model miniclip|minipaligemma --data-dir DIR [--minutes M | --steps N]

`miniclip` is trained first; `minipaligemma` starts from its tower. The data are the `train` splits of eurosat and
omniglot_small below DIR, and generated images. The budget is wall-clock time or steps. An interrupted run resumes from
its state folder when the same command is given again. The model folder is rewritten every few minutes and can be loaded
at any time; its training.json records the progress, the hardware and the date.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from harness_minigemma.model import TRAINING, WEIGHTS, choose_device
from harness_minigemma.packing import cache_folder
from harness_minigemma.tokenizer import replace_text
from harness_minigemma.train import Optimizers, learning_rate_factor, log, name_hardware
from harness_minigemma.vision.card import model_card
from harness_minigemma.vision.clip import ClipLearner, Tower
from harness_minigemma.vision.paligemma import CaptionLearner
from harness_minigemma.vision.pictures import (
    DRAWN,
    SETS,
    SHARES,
    Pictures,
    describe_data,
    draw_batch,
    draw_pictures,
    read_pictures,
)

WEIGHT_DECAY = 0.1
PROJECTOR_RATE = 6.0
"""Learning rate of the projector relative to the rest.

The projector is new, and must move far to suit a frozen language model.
"""
LANGUAGE_MODEL = WEIGHTS / "minigemma-m"
"""Folder of the frozen language model."""
HELDOUT = {"eurosat": ("validation", "test"), "omniglot_small": ("test",)}
"""Scored splits by set."""
OPTIMIZER = f"Muon for the matrices of the blocks, AdamW for the rest, a projector at {PROJECTOR_RATE:g} times the rate"

TOWER = Tower()
LEARNING_RATES = {"miniclip": 3e-3, "minipaligemma": 5e-3}
CPU_BATCH = {"miniclip": 64, "minipaligemma": 16}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that determine the weights; exactly one of `minutes` and `steps` is set."""

    model: str
    minutes: float | None
    steps: int | None
    batch: int = 64
    learning_rate: float = 3e-3
    seed: int = 0
    tower: Tower = TOWER
    bfloat16: bool = True


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a run."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0


class Learner(Protocol):
    """Model with its training objective on images with facts."""

    module: nn.Module

    def loss(self, batch: Pictures, rng: np.random.Generator, device: torch.device) -> Tensor:
        """Return the loss of a batch."""

    def score(self, heldout: dict[str, Pictures]) -> dict[str, float]:
        """Return scores of held-out images by name."""

    def save(self, folder: Path) -> None:
        """Write a folder that the model's own library loads."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Recipe with its inputs and outputs.

    `sets` are training images, `heldout` scored images, `data` their descriptions (`describe_data`), `out`
    the model folder and `state` the folder to resume from.
    """

    recipe: Recipe
    learner: Learner
    sets: Sequence[Pictures]
    heldout: dict[str, Pictures]
    data: dict[str, dict[str, Any]]
    out: Path
    state: Path
    device: torch.device


def train(run: Run, *, export_minutes: float = 6.0) -> Progress:
    """Train until the budget is spent; write state and model folder."""
    module = run.learner.module.to(run.device).train()
    optimizers = make_optimizers(module, run.recipe.learning_rate)
    done = load_state(run, optimizers)
    first, began = done, time.monotonic()
    next_export = began + 60 * export_minutes
    while spent(run.recipe, done) < 1:
        loss = take_step(run, optimizers, done)
        done = Progress(
            step=done.step + 1,
            images=done.images + run.recipe.batch,
            seconds=first.seconds + time.monotonic() - began,
        )
        if done.step % 20 == 0:
            log(run.state, {"step": done.step, "seconds": round(done.seconds, 1), "loss": round(loss, 4)})
        if time.monotonic() > next_export:
            save_run(run, optimizers, done)
            next_export = time.monotonic() + 60 * export_minutes
    save_run(run, optimizers, done)
    return done


def make_optimizers(module: nn.Module, learning_rate: float) -> Optimizers:
    """Return Muon for the blocks' matrices, and AdamW without decay for all other trained weights."""
    named = [(name, value) for name, value in module.named_parameters() if value.requires_grad]
    groups: dict[float, list[nn.Parameter]] = {}
    for name, value in named:
        if not is_matrix(name, value):
            groups.setdefault(PROJECTOR_RATE if ".multi_modal_projector." in name else 1.0, []).append(value)
    return (
        Muon(
            [{"params": [value for name, value in named if is_matrix(name, value)], "scale": 1.0}],
            lr=learning_rate,
            weight_decay=WEIGHT_DECAY,
            adjust_lr_fn="match_rms_adamw",
        ),
        AdamW(
            [{"params": values, "scale": scale} for scale, values in groups.items()],
            lr=learning_rate,
            weight_decay=0.0,
            betas=(0.9, 0.98),
        ),
    )


def is_matrix(name: str, value: Tensor) -> bool:
    """Check whether a parameter is a matrix of a block, which Muon trains."""
    return value.ndim == 2 and (".resblocks." in name or ".layers." in name)


def spent(recipe: Recipe, done: Progress) -> float:
    """Return the share of the budget that is spent."""
    if recipe.steps is not None:
        return done.step / recipe.steps
    assert recipe.minutes is not None
    return done.seconds / (60 * recipe.minutes)


def take_step(run: Run, optimizers: Optimizers, done: Progress) -> float:
    """Take one optimiser step on images drawn by its number; return its loss."""
    recipe = run.recipe
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * recipe.learning_rate * learning_rate_factor(spent(recipe, done))
    rng = np.random.default_rng([recipe.seed, done.step])
    batch = draw_batch(run.sets, recipe.batch, rng)
    with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=recipe.bfloat16):
        loss = run.learner.loss(batch, rng, run.device)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.learner.module.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()  # type: ignore[no-untyped-call]
        optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def save_run(run: Run, optimizers: Optimizers, done: Progress) -> None:
    """Write the model folder with its description and the state to resume from; log the held-out scores."""
    module = run.learner.module.eval()
    run.learner.save(run.out)
    scores = {name: round(value, 4) for name, value in run.learner.score(run.heldout).items()}
    module.train()
    training = describe_training(run, done) | {"scores": scores}
    replace_text(run.out / TRAINING, json.dumps(training, indent=2) + "\n")
    replace_text(run.out / "README.md", model_card(training))
    content = {
        "settings": settings(run.recipe),
        "progress": vars(done),
        "model": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    temporary = run.state / f".state.pt.{os.getpid()}"
    torch.save(content, temporary)
    temporary.replace(run.state / "state.pt")
    log(run.state, {"step": done.step, "minutes": round(done.seconds / 60, 2), **scores})


def describe_training(run: Run, done: Progress) -> dict[str, Any]:
    """Return the content of training.json except scores; weights trained on a CPU are provisional."""
    return {
        "settings": settings(run.recipe),
        "optimizer": OPTIMIZER,
        "images": done.images,
        "steps": done.step,
        "seconds": round(done.seconds, 1),
        "hardware": name_hardware(run.device),
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "open_clip": version("open_clip_torch"),
        "transformers": version("transformers"),
        "provisional": run.device.type == "cpu",  # a GPU sees far more images in the same time
        "data": run.data,
    }


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that must be equal for a run to resume."""
    # The budget is left out: a run may resume with a longer one.
    return {
        "model": recipe.model,
        "tower": asdict(recipe.tower),
        "shares": SHARES,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "bfloat16": recipe.bfloat16,
        "seed": recipe.seed,
    }


def load_state(run: Run, optimizers: Optimizers) -> Progress:
    """Restore model and optimisers of a saved run; return its progress.

    Without a saved run, return the start. Raise SystemExit if its settings differ.
    """
    run.state.mkdir(parents=True, exist_ok=True)
    if not (run.state / "state.pt").exists():
        return Progress()
    content = torch.load(run.state / "state.pt", map_location="cpu", weights_only=True)
    if content["settings"] != settings(run.recipe):
        raise SystemExit(f"{run.state} holds a run with other settings; give another --state or remove it")
    run.learner.module.load_state_dict(content["model"])
    for optimizer, kept in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    return Progress(**content["progress"])


def make_learner(recipe: Recipe, *, start: Path) -> Learner:
    """Return the recipe's model; `start` is the folder of the CLIP that initialises minipaligemma's tower."""
    if recipe.model == "miniclip":
        return ClipLearner(recipe.tower, seed=recipe.seed, tokenizer=LANGUAGE_MODEL)
    return CaptionLearner(recipe.tower, seed=recipe.seed, language_model=LANGUAGE_MODEL, start=start)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("miniclip", "minipaligemma"), required=True)
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder that holds eurosat and omniglot_small"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="training time (default: 15)")
    budget.add_argument("--steps", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--batch", type=int, help="images per step (default: 64 or 16 on a CPU, 512 on a GPU)"
    )
    parser.add_argument("--learning-rate", type=float, help="peak (default: the model's own)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="model folder (default: the embedded one)")
    parser.add_argument("--state", type=Path, help="folder of the run's state (default: in the user's cache)")
    parser.add_argument(
        "--start", type=Path, default=WEIGHTS / "miniclip", help="CLIP that initialises minipaligemma"
    )
    arguments = parser.parse_args(argv)
    device = choose_device(arguments.device)
    recipe = Recipe(
        model=arguments.model,
        minutes=None if arguments.steps else arguments.minutes or 15.0,
        steps=arguments.steps,
        batch=arguments.batch or (512 if device.type == "cuda" else CPU_BATCH[arguments.model]),
        learning_rate=arguments.learning_rate or LEARNING_RATES[arguments.model],
        seed=arguments.seed,
    )
    sets = [read_pictures(arguments.data_dir, name, ["train"]) for name in SETS]
    run = Run(
        recipe=recipe,
        learner=make_learner(recipe, start=arguments.start),
        sets=sets,
        heldout=read_heldout(arguments.data_dir),
        data={
            name: describe_data(arguments.data_dir, name, found)
            for name, found in zip(SETS, sets, strict=True)
        },
        out=arguments.out or WEIGHTS / recipe.model,
        state=arguments.state or cache_folder() / f"vision-{recipe.model}-seed{recipe.seed}",
        device=device,
    )
    train(run)


def read_heldout(folder: Path) -> dict[str, Pictures]:
    """Read the images that are scored and never trained on, by set and split, and generate some."""
    sets = {
        f"{name} {split}": read_pictures(folder, name, [split]) for name in SETS for split in HELDOUT[name]
    }
    return {**sets, DRAWN: draw_pictures(256, np.random.default_rng(2))}


if __name__ == "__main__":
    main()
