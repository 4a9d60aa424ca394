"""Batches of activations in, a dictionary's parameters out.

sae-lens trains all architectures but `tied`, which is the dictionary of Cunningham et al. 2023 (§3): `c = relu(M x +
b)`, `x̂ = Mᵀ c`, rows of M of unit norm, an L1 penalty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from harness.api.errors import UnavailableError
from harness.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The units in which a dictionary is learnt: `(x − mean) · scale` has a mean squared norm of d."""

    mean: Tensor
    scale: float

    @classmethod
    def of(cls, sample: Tensor, *, centred: bool) -> Unit:
        """From activations `[tokens, d]`; UnavailableError when they are all the same."""
        mean = sample.mean(0) if centred else torch.zeros_like(sample[0])
        norm = float((sample - mean).square().sum(1).mean().sqrt())
        if norm == 0:
            raise UnavailableError("all activations are the same, so there is nothing to learn from them")
        return cls(mean=mean, scale=math.sqrt(sample.shape[1]) / norm)

    def scale_down(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.scale


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parameters in a learner's units; features fire where they are above `threshold [d_sae]`."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor


class Learner(Protocol):
    """A dictionary while it is trained."""

    def step(self, x: Tensor) -> Tensor:
        """Learn from `x [batch, d]` in its units; the squared error for each of its values, a number."""

    def parts(self) -> Parts:
        """What was learnt."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A learner, its units, and the raw activations `[tokens, d]` on which those were measured."""

    learner: Learner
    unit: Unit
    sample: Tensor

    def step(self, x: Tensor) -> Tensor:
        """Learn from raw activations `[batch, d]`; the squared error for each value in the learner's units."""
        return self.learner.step(self.unit.scale_down(x))


def start_learner(recipe: Recipe, sample: Tensor) -> Started:
    """The learner of a recipe, in units of a sample `[tokens, d]` of raw activations. Only `tied` is not centred: it
    has no bias on what it rebuilds.
    """
    unit = Unit.of(sample, centred=recipe.architecture != "tied")
    make = Tied if recipe.architecture == "tied" else SaeLens
    learner = make(recipe, sample.shape[1], str(sample.device))
    return Started(learner=learner, unit=unit, sample=sample)


class SaeLens:
    """A training SAE of sae-lens, moved on by its SAETrainer."""

    def __init__(self, recipe: Recipe, d_in: int, device: str) -> None:
        lens = import_sae_lens()
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        common = {
            "d_in": d_in,
            "d_sae": recipe.width,
            "device": device,
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
        }
        devices = [torch.device(device)] if device.startswith("cuda") else []
        with torch.random.fork_rng(devices):  # weights are drawn from the global generator
            torch.manual_seed(recipe.seed)
            self.sae = self._make(lens, recipe, common)
        self.d_in = d_in
        self.trainer = SAETrainer(
            cfg=SAETrainerConfig(
                total_training_samples=recipe.steps * recipe.batch_tokens,
                train_batch_size_samples=recipe.batch_tokens,
                lr=recipe.learning_rate,
                lr_end=recipe.learning_rate,  # where the decay to zero begins
                lr_warm_up_steps=recipe.warm_up_steps,
                lr_decay_steps=recipe.decay_steps,
                dead_feature_window=recipe.dead_steps,
                device=device,
            ),
            sae=self.sae,
            data_provider=iter(()),
        )

    @staticmethod
    def _make(lens: Any, recipe: Recipe, common: Mapping[str, Any]) -> Any:
        if recipe.architecture == "batchtopk":
            return lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(k=recipe.l0, **common))
        if recipe.architecture == "topk":
            return lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(k=recipe.l0, **common))
        if recipe.architecture == "standard":
            return lens.StandardTrainingSAE(
                lens.StandardTrainingSAEConfig(
                    l1_coefficient=recipe.l1, l1_warm_up_steps=recipe.steps // 10, **common
                )
            )
        return lens.JumpReLUTrainingSAE(
            lens.JumpReLUTrainingSAEConfig(
                jumprelu_sparsity_loss_mode="quadratic",  # of Gemma Scope 2, about a target
                target_l0=recipe.l0,
                l0_warm_up_steps=recipe.steps // 10,
                jumprelu_ste_to_input=True,
                **common,
            )
        )

    def step(self, x: Tensor) -> Tensor:
        output = self.trainer.step(x)
        self.trainer.n_training_steps += 1
        return cast(Tensor, output.losses["mse_loss"]).detach() / self.d_in

    @torch.no_grad()
    def parts(self) -> Parts:
        threshold = getattr(self.sae, "threshold", None)
        return Parts(
            W_enc=self.sae.W_enc.detach(),
            b_enc=self.sae.b_enc.detach(),
            W_dec=self.sae.W_dec.detach(),
            b_dec=self.sae.b_dec.detach(),
            threshold=torch.zeros_like(self.sae.b_enc)
            if threshold is None
            else threshold.detach().clamp(min=0),
        )


class Tied:
    """The tied dictionary of Cunningham et al. 2023, with Adam; `matrix` is M `[d_sae, d]` before its rows are brought
    to unit norm.
    """

    def __init__(self, recipe: Recipe, d_in: int, device: str) -> None:
        generator = torch.Generator().manual_seed(recipe.seed)
        self.matrix = nn.Parameter(torch.randn(recipe.width, d_in, generator=generator).to(device))
        self.bias = nn.Parameter(torch.zeros(recipe.width, device=device))
        with torch.no_grad():
            self.matrix.copy_(nn.functional.normalize(self.matrix, dim=1))
        assert recipe.l1 is not None
        self.l1 = recipe.l1
        self.optimizer = torch.optim.Adam([self.matrix, self.bias], lr=recipe.learning_rate)

        def share(step: int) -> float:
            rising = (step + 1) / max(1, recipe.warm_up_steps)
            falling = (recipe.steps - step) / max(1, recipe.decay_steps)
            return min(1.0, rising, falling)

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, share)

    def step(self, x: Tensor) -> Tensor:
        rows = nn.functional.normalize(self.matrix, dim=1)
        code = torch.relu(x @ rows.T + self.bias)
        error = (x - code @ rows).square().sum(1).mean()
        loss = error + self.l1 * code.sum(1).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return error.detach() / x.shape[1]

    @torch.no_grad()
    def parts(self) -> Parts:
        rows = nn.functional.normalize(self.matrix, dim=1)
        return Parts(
            W_enc=rows.T,
            b_enc=self.bias.detach(),
            W_dec=rows,
            b_dec=torch.zeros_like(rows[0]),
            threshold=torch.zeros_like(self.bias),
        )


def import_sae_lens() -> Any:
    """UnavailableError, with the command that installs it, where it is not there."""
    try:
        import sae_lens
    except ImportError as error:
        raise UnavailableError(
            "all architectures but tied are trained by sae-lens: pip install 'sae-harness[train]'"
        ) from error
    return sae_lens
