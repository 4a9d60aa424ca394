"""Training of the embedded language models: one recipe for CPU and GPU.

    python -m harness_minigemma.train --size m --corpus DIR [--minutes M | --tokens N]

The budget is wall-clock time or tokens. An interrupted run resumes from its state folder when the same command is
given again; with a token budget the weights are then bit for bit those of an uninterrupted run on the same machine.
The model folder is rewritten every few minutes and can be loaded at any time; its training.json records the progress,
the hardware and the date.
"""

import argparse
import json
import math
import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.optim import AdamW, Muon
from transformers import Gemma2ForCausalLM

from harness_minigemma.corpus import find_corpus
from harness_minigemma.loss import bits_and_bytes, training_loss
from harness_minigemma.model import (
    SIZES,
    TOKENIZER,
    TRAINING,
    WEIGHTS,
    Size,
    choose_device,
    make_model,
    save_model,
)
from harness_minigemma.packing import Packer, Stream, cache_folder, heldout_batch, read_streams, stream_key
from harness_minigemma.tokenizer import load_tokenizer, replace_text, token_bytes

WARMUP, DECAY_FROM = 0.02, 0.65  # of the budget
WEIGHT_DECAY = 0.1
HELDOUT_ROWS = 2  # sequences per language in the score that is logged while training


Optimizers = tuple[Muon, AdamW]
OPTIMIZER = "Muon for the matrices of the blocks, AdamW for embeddings and norms"  # for the card


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that determine the weights; exactly one of `minutes` and `tokens` is set."""

    size: Size
    corpus: Path
    minutes: float | None
    tokens: int | None
    context: int
    batch_rows: int
    bfloat16: bool = False
    seed: int = 0
    tokenizer: Path = TOKENIZER


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a run."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


def train(
    recipe: Recipe,
    *,
    out: Path,
    state: Path,
    device: torch.device,
    export_minutes: float = 2.5,
    stop_after: int | None = None,
    compiled: bool = False,
) -> Progress:
    """Train until the budget is spent, or for `stop_after` more steps; write state and model folder."""
    packer = Packer(
        read_streams(recipe.corpus, recipe.tokenizer, "train", cache=state.parent),
        context=recipe.context,
        seed=recipe.seed,
    )
    heldout = read_streams(recipe.corpus, recipe.tokenizer, "validation", cache=state.parent)
    model = make_model(recipe.size, seed=recipe.seed).to(device).train()
    if compiled:
        model.model.compile(dynamic=False)
    optimizers = make_optimizers(model, recipe.size.learning_rate)
    done = load_state(state, recipe, model, optimizers, packer)
    first, began = done, time.monotonic()
    next_export = began + 60 * export_minutes
    while spent(recipe, done) < 1 and (stop_after is None or done.step < first.step + stop_after):
        loss = take_step(recipe, model, optimizers, packer, done, device)
        done = Progress(
            step=done.step + 1,
            tokens=done.tokens + recipe.batch_rows * recipe.context,
            seconds=first.seconds + time.monotonic() - began,
        )
        if done.step % 50 == 0:
            speed = (done.tokens - first.tokens) / (done.seconds - first.seconds)
            log(
                state,
                {"step": done.step, "tokens": done.tokens, "loss": loss, "tokens_per_second": round(speed)},
            )
        if time.monotonic() > next_export:
            save_run(recipe, model, optimizers, packer, done, heldout, out=out, state=state)
            next_export = time.monotonic() + 60 * export_minutes
    save_run(recipe, model, optimizers, packer, done, heldout, out=out, state=state)
    return done


def make_optimizers(model: Gemma2ForCausalLM, learning_rate: float) -> Optimizers:
    """Return Muon for the blocks' matrices, and AdamW without decay for embeddings and norms.

    Muon is that of Jordan et al. 2024 with the step size of Liu et al. 2025.
    """
    # On 1 M tokens of size s, Muon gives 0.2 bits per byte less than AdamW alone.
    named = list(model.named_parameters())
    matrices = [value for name, value in named if value.ndim == 2 and "embed" not in name]
    others = [value for name, value in named if value.ndim != 2 or "embed" in name]
    return (
        Muon(matrices, lr=learning_rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True),
    )


def spent(recipe: Recipe, done: Progress) -> float:
    """Return the share of the budget that is spent."""
    if recipe.tokens is not None:
        return done.tokens / recipe.tokens
    assert recipe.minutes is not None
    return done.seconds / (60 * recipe.minutes)


def learning_rate_factor(part: float) -> float:
    """Return the factor at a share of the budget: warm-up, constant, 1 - sqrt decay (Hägele et al. 2024)."""
    if part < WARMUP:
        return (part + 0.1 * WARMUP) / (1.1 * WARMUP)
    if part < DECAY_FROM:
        return 1.0
    return max(0.0, 1.0 - math.sqrt((part - DECAY_FROM) / (1.0 - DECAY_FROM)))


def take_step(
    recipe: Recipe,
    model: Gemma2ForCausalLM,
    optimizers: Optimizers,
    packer: Packer,
    done: Progress,
    device: torch.device,
) -> float:
    """Take one optimiser step; return its loss in nats per token."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = recipe.size.learning_rate * learning_rate_factor(spent(recipe, done))
    inputs, targets = packer.draw(done.step, recipe.batch_rows)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.bfloat16):
        loss = training_loss(model, inputs.to(device), targets.to(device))
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()  # type: ignore[no-untyped-call]
        optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def save_run(
    recipe: Recipe,
    model: Gemma2ForCausalLM,
    optimizers: Optimizers,
    packer: Packer,
    done: Progress,
    heldout: dict[str, Stream],
    *,
    out: Path,
    state: Path,
) -> None:
    """Write the model folder and the state to resume from; log the held-out score."""
    weights = model.state_dict()
    save_model(recipe.size, weights, out, tokenizer=recipe.tokenizer, context=recipe.context)
    chosen = settings(recipe)
    training = describe_training(chosen, done, model.lm_head.weight.device)
    if not is_recorded(out / TRAINING, training):
        replace_text(out / TRAINING, json.dumps(training, indent=2) + "\n")
    content = {
        "settings": chosen,
        "progress": vars(done),
        "model": weights,
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "cursors": packer.cursors,
        "rng": torch.get_rng_state(),
    }
    temporary = state / f".state.pt.{os.getpid()}"
    torch.save(content, temporary)
    temporary.replace(state / "state.pt")
    # Held-out batches have other shapes, and a compiled model would be recompiled for each.
    with torch.compiler.set_stance("force_eager"):
        scores = score_languages(model, heldout, recipe, packer.shares)
    log(state, {"step": done.step, "tokens": done.tokens, "minutes": round(done.seconds / 60, 2), **scores})


def describe_training(chosen: dict[str, Any], done: Progress, device: torch.device) -> dict[str, Any]:
    """Return the content of training.json; weights trained on a CPU are provisional."""
    return {
        "settings": chosen,
        "optimizer": OPTIMIZER,
        "tokens": done.tokens,
        "steps": done.step,
        "seconds": round(done.seconds, 1),
        "hardware": name_hardware(device),
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "provisional": device.type == "cpu",  # a GPU sees far more text in the same time
    }


def is_recorded(path: Path, training: dict[str, Any]) -> bool:
    """Check whether the file records the same steps."""
    # A finished run that is started again takes no step; its record keeps the hardware and date of training.
    if not path.exists():
        return False
    found = json.loads(path.read_text("utf-8"))
    return all(found.get(name) == training[name] for name in ("settings", "tokens", "steps", "seconds"))


def name_hardware(device: torch.device) -> str:
    """Return the GPU's name, or the number of CPU cores in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = torch.get_num_threads()
    return f"{cores} CPU core{'s' if cores > 1 else ''}"


def load_state(
    state: Path, recipe: Recipe, model: Gemma2ForCausalLM, optimizers: Optimizers, packer: Packer
) -> Progress:
    """Restore model, optimisers and packer of a saved run; return its progress.

    Without a saved run, return the start. Raise SystemExit if its settings differ.
    """
    state.mkdir(parents=True, exist_ok=True)
    if not (state / "state.pt").exists():
        return Progress()
    content = torch.load(state / "state.pt", map_location="cpu", weights_only=True)
    if content["settings"] != settings(recipe):
        raise SystemExit(f"{state} holds a run with other settings; give another --state or remove it")
    model.load_state_dict(content["model"])
    for optimizer, kept in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    packer.cursors.update(content["cursors"])
    torch.set_rng_state(content["rng"])
    return Progress(**content["progress"])


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that must be equal for a run to resume."""
    # The budget is left out: a run may resume with a longer one.
    return {
        "size": dict(vars(recipe.size)),
        "data": stream_key(recipe.corpus, recipe.tokenizer),
        "context": recipe.context,
        "batch_rows": recipe.batch_rows,
        "bfloat16": recipe.bfloat16,
        "seed": recipe.seed,
    }


def score_languages(
    model: Gemma2ForCausalLM, heldout: dict[str, Stream], recipe: Recipe, shares: dict[str, float]
) -> dict[str, float]:
    """Return held-out bits per byte on a few sequences of each language: mixture mean, and English."""
    lengths = token_bytes(load_tokenizer(recipe.tokenizer))
    scores: dict[str, float] = {}
    for language, stream in heldout.items():
        rows = HELDOUT_ROWS * (8 if language == "en" else 1)
        pair: tuple[Tensor, Tensor] = heldout_batch(stream, context=recipe.context, rows=rows)
        bits, size = bits_and_bytes(model, *pair, lengths)
        if size:
            scores[language] = bits / size
    known = sum(shares[language] for language in scores)
    weighted = sum(shares[language] * score for language, score in scores.items()) / known if known else 0.0
    return {"bits_per_byte": round(weighted, 4), "bits_per_byte_en": round(scores.get("en", 0.0), 4)}


def log(state: Path, line: dict[str, Any]) -> None:
    """Print one JSON line and append it to the log in the state folder."""
    text = json.dumps(line)
    print(text, flush=True)
    with (state / "log.jsonl").open("a") as file:
        file.write(text + "\n")


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--corpus", help="corpus folder (default: HARNESS_CORPUS_DIR)")
    parser.add_argument("--out", type=Path, help="model folder (default: the plugin's own weights)")
    parser.add_argument(
        "--state", type=Path, help="folder of optimiser state and log (default: in the user's cache)"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--tokens", type=int)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--context", type=int, help="tokens per sequence (default: 256 on a CPU, 512 on a GPU)"
    )
    parser.add_argument(
        "--batch-rows", type=int, help="sequences per step (default: 12 on a CPU, 64 on a GPU)"
    )
    parser.add_argument("--learning-rate", type=float, help="peak (default: the size's own)")
    parser.add_argument("--bfloat16", action="store_true", help="autocast on a CPU too; a GPU always does")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile; a third faster on a CPU, needs a C++ compiler"
    )
    arguments = parser.parse_args(argv)
    device = choose_device(arguments.device)
    size = SIZES[arguments.size]
    if arguments.learning_rate:
        size = replace(size, learning_rate=arguments.learning_rate)
    recipe = Recipe(
        size=size,
        corpus=find_corpus(arguments.corpus),
        minutes=None if arguments.tokens else arguments.minutes or 45.0,
        tokens=arguments.tokens,
        context=arguments.context or (512 if device.type == "cuda" else 256),
        batch_rows=arguments.batch_rows or (64 if device.type == "cuda" else 12),
        bfloat16=arguments.bfloat16 or device.type == "cuda",
        seed=arguments.seed,
    )
    train(
        recipe,
        out=arguments.out or WEIGHTS / f"minigemma-{size.name}",
        state=arguments.state or cache_folder() / f"train-{size.name}-seed{arguments.seed}",
        device=device,
        compiled=arguments.compile,
    )


if __name__ == "__main__":
    main()
