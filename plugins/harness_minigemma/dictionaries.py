"""An exported model and a corpus in, sparse autoencoders of its residual stream out, in Gemma Scope's format.

    python -m harness_minigemma.dictionaries --size m --corpus DIR

BatchTopK training (Bussmann et al. 2024) with an auxiliary loss for dead latents (Gao et al. 2024), then one
threshold turns each into a JumpReLU dictionary: `f = relu(pre) * (pre > threshold)`, `pre = x @ W_enc +
b_enc`, `x` the raw output of a block, b_dec not subtracted; decoding is `f @ W_dec + b_dec`. <bos> positions
are never seen.
"""

import argparse
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Gemma2ForCausalLM

from harness_minigemma.corpus import find_corpus
from harness_minigemma.model import SIZES, WEIGHTS, choose_device, load_model
from harness_minigemma.packing import Packer, Stream, cache_folder, heldout_batch, read_streams
from harness_minigemma.tokenizer import BOS

DEPTHS = (0.25, 0.5, 0.75)
EXPANSION = 8
HELDOUT_TOKENS = 131_072
FORWARD_ROWS = 16
AUXILIARY_WEIGHT = 1 / 32
DATA_SEED = 1_000_003  # other pieces of the corpus, in another order, than training began with


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """A JumpReLU sparse autoencoder in raw residual units; W_enc `[d_in, d_sae]`, W_dec `[d_sae, d_in]`."""

    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor
    threshold: Tensor

    def encode(self, x: Tensor) -> Tensor:
        """`[tokens, d_in]` to `[tokens, d_sae]`."""
        before = x @ self.W_enc + self.b_enc
        return before.relu() * (before > self.threshold)

    def decode(self, features: Tensor) -> Tensor:
        """`[tokens, d_sae]` to `[tokens, d_in]`."""
        return features @ self.W_dec + self.b_dec


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How a dictionary does on some activations; `dead`: the share of features that never fire on them."""

    explained_variance: float
    l0: float
    dead: float
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a dictionary is trained. `l0` is the number of features active per token."""

    l0: int
    width: int
    tokens: int
    passes: int = 2
    buffer_tokens: int = 262_144
    batch_tokens: int = 1024
    learning_rate: float = 2e-3
    dead_after: int = 50_000
    seed: int = 0


def choose_layers(count: int) -> list[int]:
    """The blocks whose output is read: those that end at a quarter, half and three quarters of the depth."""
    return sorted({math.ceil(depth * count) - 1 for depth in DEPTHS})


def capture(model: Gemma2ForCausalLM, layers: Sequence[int], inputs: Tensor) -> dict[int, Tensor]:
    """Block outputs on `[rows, context]` token ids, as float32 `[tokens, d]`, without <bos> positions."""
    taken: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(_module: nn.Module, _arguments: Any, output: Any) -> None:
            taken[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    # A hook, because the last entry of `hidden_states` is not a block's output but the final norm's.
    hooks = [model.model.layers[layer].register_forward_hook(keep(layer)) for layer in layers]
    try:
        content = (inputs != BOS).flatten()
        parts: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        device = model.lm_head.weight.device
        with torch.no_grad():
            for start in range(0, len(inputs), FORWARD_ROWS):
                model.model(input_ids=inputs[start : start + FORWARD_ROWS].to(device), use_cache=False)
                for layer in layers:
                    parts[layer].append(taken[layer].flatten(0, 1))
        return {layer: torch.cat(rows)[content.to(device)] for layer, rows in parts.items()}
    finally:
        for handle in hooks:
            handle.remove()


class BatchTopK(nn.Module):
    """The autoencoder while it is trained, in units in which the centred activations have unit variance."""

    def __init__(self, recipe: Recipe, sample: Tensor) -> None:
        super().__init__()
        mean = sample.mean(0)
        self.recipe = recipe
        self.scale = float(((sample - mean) ** 2).mean() ** -0.5)
        generator = torch.Generator().manual_seed(recipe.seed)
        directions = torch.randn(recipe.width, sample.shape[1], generator=generator).to(sample.device)
        directions = directions / directions.norm(dim=1, keepdim=True)
        self.W_dec = nn.Parameter(directions)
        self.W_enc = nn.Parameter(directions.T.clone())
        self.b_dec = nn.Parameter(mean * self.scale)
        # The mean is not subtracted from the input, so the encoder starts with the bias that does the same.
        self.b_enc = nn.Parameter(-(mean * self.scale) @ directions.T)
        self.idle = torch.zeros(recipe.width, device=sample.device)  # tokens since each feature last fired

    def loss(self, x: Tensor) -> Tensor:
        """Squared error per token of scaled activations `[tokens, d]`, plus the auxiliary loss."""
        before = x @ self.W_enc + self.b_enc
        active = before.relu()
        cut = active.detach().flatten().topk(self.recipe.l0 * len(x), sorted=False).values.min()
        features = active * (active >= cut)
        error = x - (features @ self.W_dec + self.b_dec)
        fired = (features.detach() > 0).any(0)
        self.idle = torch.where(fired, torch.zeros_like(self.idle), self.idle + len(x))
        return error.square().sum(1).mean() + AUXILIARY_WEIGHT * self._auxiliary(before, error.detach())

    def _auxiliary(self, before: Tensor, error: Tensor) -> Tensor:
        """Squared error per token of rebuilding the main error from dead features, so that they learn to."""
        dead = (self.idle > self.recipe.dead_after).nonzero().flatten()
        if not len(dead):
            return error.new_zeros(())
        kept = before[:, dead].relu().topk(min(error.shape[1] // 2, len(dead)), dim=1)
        rebuilt = torch.zeros_like(before[:, dead]).scatter(1, kept.indices, kept.values) @ self.W_dec[dead]
        return (error - rebuilt).square().sum(1).mean()

    @torch.no_grad()
    def project(self) -> None:
        """Removes the part of the decoder's gradient that would only change row norms."""
        assert self.W_dec.grad is not None
        self.W_dec.grad -= (self.W_dec.grad * self.W_dec).sum(1, keepdim=True) * self.W_dec

    @torch.no_grad()
    def normalise(self) -> None:
        """Gives decoder rows unit norm again."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))

    @torch.no_grad()
    def finish(self, sample: Tensor) -> Dictionary:
        """The dictionary in raw units, rounded to float16; its threshold is set on raw `[tokens, d]`.

        The scale leaves W_enc as it is: features of scaled inputs over the scale are features of raw ones.
        """
        rounded = Dictionary(
            W_enc=self.W_enc.half().float(),
            W_dec=self.W_dec.half().float(),
            b_enc=(self.b_enc / self.scale).half().float(),
            b_dec=(self.b_dec / self.scale).half().float(),
            threshold=torch.zeros_like(self.b_enc),
        )
        active = rounded.encode(sample).flatten()
        cut = active.topk(self.recipe.l0 * len(sample), sorted=False).values.min()
        threshold = torch.full_like(self.b_enc, float(cut)).half().float()
        return Dictionary(**{**vars(rounded), "threshold": threshold})


def train_dictionaries(
    model: Gemma2ForCausalLM, layers: Sequence[int], packer: Packer, recipe: Recipe, *, context: int
) -> dict[int, Dictionary]:
    """One dictionary per layer; all layers are read in the same forward passes."""
    learners: dict[int, tuple[BatchTopK, torch.optim.Adam]] = {}
    generator = torch.Generator().manual_seed(recipe.seed)
    seen, last = 0, {}
    for inputs in buffers(packer, recipe, context=context):
        last = capture(model, layers, inputs)
        for layer, x in last.items():
            if layer not in learners:
                learner = BatchTopK(recipe, x)
                learners[layer] = learner, torch.optim.Adam(learner.parameters(), lr=recipe.learning_rate)
            error = learn(*learners[layer], x, generator, seen=seen)
            print(f"layer {layer}  tokens {seen + len(x)}  unexplained {error:.4f}", flush=True)
        seen += len(last[layers[0]])
    return {layer: learner.finish(last[layer][: 32 * 1024]) for layer, (learner, _) in learners.items()}


def buffers(packer: Packer, recipe: Recipe, *, context: int) -> Iterator[Tensor]:
    """Token batches `[rows, context]` of about a buffer each, until the recipe's tokens are drawn."""
    total = math.ceil(recipe.tokens / context)
    rows = min(total, max(1, recipe.buffer_tokens // context))
    for step in range(math.ceil(total / rows)):
        yield packer.draw(step, rows)[0]


def learn(
    learner: BatchTopK, optimizer: torch.optim.Adam, x: Tensor, generator: torch.Generator, *, seen: int
) -> float:
    """Some passes over a buffer `[tokens, d]` in random order; the mean share of variance unexplained."""
    recipe, losses = learner.recipe, []
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * min(1.0, 3.0 * max(0.05, 1 - seen / recipe.tokens))
    for _ in range(recipe.passes):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for start in range(0, len(x) - recipe.batch_tokens + 1, recipe.batch_tokens):
            loss = learner.loss(x[order[start : start + recipe.batch_tokens]] * learner.scale)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            learner.project()
            optimizer.step()
            learner.normalise()
            losses.append(float(loss.detach()))
    return sum(losses) / max(len(losses), 1) / x.shape[1]


@torch.no_grad()
def measure(dictionary: Dictionary, x: Tensor, *, chunk: int = 8192) -> Fidelity:
    """Fidelity on `[tokens, d]`; explained variance is `1 - residual variance / variance about the mean`."""
    residual, active = 0.0, 0
    fired = torch.zeros(dictionary.W_enc.shape[1], dtype=torch.bool, device=x.device)
    for start in range(0, len(x), chunk):
        rows = x[start : start + chunk]
        features = dictionary.encode(rows)
        residual += float((rows - dictionary.decode(features)).square().double().sum())
        active += int((features > 0).sum())
        fired |= (features > 0).any(0)
    variance = float((x - x.mean(0)).square().double().sum())
    return Fidelity(
        explained_variance=1 - residual / variance,
        l0=active / len(x),
        dead=1 - float(fired.float().mean()),
        tokens=len(x),
    )


def heldout_inputs(heldout: dict[str, Stream], shares: dict[str, float], *, context: int) -> Tensor:
    """Held-out sequences `[rows, context]` in about the training mixture, as far as there are any."""
    rows = HELDOUT_TOKENS // context
    batches = [
        heldout_batch(stream, context=context, rows=max(1, round(rows * shares.get(language, 0.0))))[0]
        for language, stream in heldout.items()
    ]
    return torch.cat(batches)


def save_dictionary(dictionary: Dictionary, layer_folder: Path, l0: float) -> Path:
    """Writes `width_<w>/average_l0_<n>/params.npz` in float16 in place of what stood there; its path."""
    width_folder = layer_folder / f"width_{name_width(dictionary.W_enc.shape[1])}"
    shutil.rmtree(width_folder, ignore_errors=True)
    path = width_folder / f"average_l0_{round(l0)}" / "params.npz"
    path.parent.mkdir(parents=True)
    arrays = {name: value.cpu().numpy().astype(np.float16) for name, value in vars(dictionary).items()}
    temporary = path.with_name(f".{os.getpid()}.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)
    return path


def load_dictionary(path: Path, device: torch.device) -> Dictionary:
    """A stored dictionary as float32."""
    with np.load(path, allow_pickle=False) as arrays:
        return Dictionary(
            **{
                field.name: torch.from_numpy(arrays[field.name]).float().to(device)
                for field in fields(Dictionary)
            }
        )


def name_width(width: int) -> str:
    """Gemma Scope's spelling: 512, 1k, 16k."""
    return f"{width // 1024}k" if width % 1024 == 0 else str(width)


def make_dictionaries(
    folder: Path, out: Path, corpus: Path, recipe: Recipe, *, device: torch.device, cache: Path, context: int
) -> dict[Path, Fidelity]:
    """Trains, stores and measures the dictionaries of one model folder."""
    model = load_model(folder, device)
    layers = choose_layers(len(model.model.layers))
    # Blocks above the deepest one that is read would run for nothing.
    model.model.config.num_hidden_layers = layers[-1] + 1
    packer = Packer(
        read_streams(corpus, folder, "train", cache=cache), context=context, seed=DATA_SEED + recipe.seed
    )
    trained = train_dictionaries(model, layers, packer, recipe, context=context)
    heldout = heldout_inputs(
        read_streams(corpus, folder, "validation", cache=cache), packer.shares, context=context
    )
    report = {}
    for layer, x in capture(model, layers, heldout).items():
        fidelity = measure(trained[layer], x)
        report[save_dictionary(trained[layer], out / f"layer_{layer}", fidelity.l0)] = fidelity
    return report


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--corpus", help="corpus folder (default: HARNESS_CORPUS_DIR)")
    parser.add_argument("--model", type=Path, help="model folder (default: the plugin's own weights)")
    parser.add_argument(
        "--out", type=Path, help="dictionary folder (default: beside the model, named <model>-scope)"
    )
    parser.add_argument("--tokens", type=int, default=1_500_000)
    parser.add_argument("--passes", type=int, default=2, help="times each token is learnt from")
    parser.add_argument(
        "--l0", type=int, help="active features per token (default: a sixth of the model's width)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=int, default=256)
    arguments = parser.parse_args(argv)
    size = SIZES[arguments.size]
    folder = arguments.model or WEIGHTS / f"minigemma-{size.name}"
    report = make_dictionaries(
        folder,
        arguments.out or folder.with_name(f"{folder.name}-scope"),
        find_corpus(arguments.corpus),
        Recipe(
            l0=arguments.l0 or size.width // 6,
            width=EXPANSION * size.width,
            tokens=arguments.tokens,
            passes=arguments.passes,
            seed=arguments.seed,
        ),
        device=choose_device(arguments.device),
        cache=cache_folder(),
        context=arguments.context,
    )
    for path, fidelity in report.items():
        name = "/".join(path.parts[-4:-1])
        print(f"{name}  EV {fidelity.explained_variance:.3f}  L0 {fidelity.l0:.1f}  dead {fidelity.dead:.1%}")


if __name__ == "__main__":
    main()
