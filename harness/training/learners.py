"""Learners: parameters of a dictionary, trained on batches of activations.

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
from harness.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parameters in a learner's units; a feature fires above its `threshold [d_sae]`."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor


class Learner(Protocol):
    """Dictionary in training."""

    def step(self, x: Tensor) -> Tensor:
        """Train on `x [batch, d]` in the learner's units; return the mean squared error, a scalar."""

    def parts(self) -> Parts:
        """Return the trained parameters."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """Learner with its units, `(x − mean) · scale`, and the raw activations `[tokens, d]` that these were measured on.

    In its units, activations have a mean squared norm of d.
    """

    learner: Learner
    mean: Tensor
    scale: float
    sample: Tensor

    def step(self, x: Tensor) -> Tensor:
        """Train on raw activations `[batch, d]`; return the mean squared error in the learner's units, a scalar."""
        return self.learner.step((x - self.mean) * self.scale)


def start_learner(config: TrainingConfig, sample: Tensor) -> Started:
    """Return a learner with units of a sample `[tokens, d]` of raw activations. UnavailableError if these are all
    equal.
    """
    tied = config.architecture == "tied"
    # A tied dictionary is not centred: its reconstruction has no bias.
    mean = torch.zeros_like(sample[0]) if tied else sample.mean(0)
    norm = float((sample - mean).square().sum(1).mean().sqrt())
    if norm == 0:
        raise UnavailableError("all activations are the same, so there is nothing to learn from them")
    learner = (Tied if tied else SaeLens)(config, sample.shape[1], str(sample.device))
    return Started(learner=learner, mean=mean, scale=math.sqrt(sample.shape[1]) / norm, sample=sample)


class SaeLens:
    """Learner that uses a training SAE and the SAETrainer of sae-lens."""

    def __init__(self, config: TrainingConfig, d_in: int, device: str) -> None:
        lens = import_sae_lens()
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        common = {
            "d_in": d_in,
            "d_sae": config.width,
            "device": device,
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
        }
        devices = [torch.device(device)] if device.startswith("cuda") else []
        with torch.random.fork_rng(devices):  # weights are drawn from the global generator
            torch.manual_seed(config.seed)
            self.sae = self._make(lens, config, common)
        self.d_in = d_in
        self.trainer = SAETrainer(
            cfg=SAETrainerConfig(
                total_training_samples=config.steps * config.batch_tokens,
                train_batch_size_samples=config.batch_tokens,
                lr=config.learning_rate,
                lr_end=config.learning_rate,  # where the decay to zero begins
                lr_warm_up_steps=config.warm_up_steps,
                lr_decay_steps=config.decay_steps,
                dead_feature_window=config.dead_steps,
                device=device,
            ),
            sae=self.sae,
            data_provider=iter(()),
        )

    @staticmethod
    def _make(lens: Any, config: TrainingConfig, common: Mapping[str, Any]) -> Any:
        """Return the training SAE of an architecture; penalties rise over the first tenth of the steps."""
        warm_up = config.steps // 10
        # The quadratic penalty about a target L0 is that of Gemma Scope 2.
        jumprelu = {"jumprelu_sparsity_loss_mode": "quadratic", "jumprelu_ste_to_input": True}
        settings: Mapping[str, tuple[str, Mapping[str, Any]]] = {
            "batchtopk": ("BatchTopK", {"k": config.l0}),
            "topk": ("TopK", {"k": config.l0}),
            "standard": ("Standard", {"l1_coefficient": config.l1, "l1_warm_up_steps": warm_up}),
            "jumprelu": ("JumpReLU", {"target_l0": config.l0, "l0_warm_up_steps": warm_up, **jumprelu}),
        }
        name, own = settings[config.architecture]
        return getattr(lens, f"{name}TrainingSAE")(getattr(lens, f"{name}TrainingSAEConfig")(**own, **common))

    def step(self, x: Tensor) -> Tensor:
        output = self.trainer.step(x)
        self.trainer.n_training_steps += 1
        return cast(Tensor, output.losses["mse_loss"]).detach() / self.d_in

    @torch.no_grad()
    def parts(self) -> Parts:
        found = getattr(self.sae, "threshold", None)
        threshold = torch.zeros_like(self.sae.b_enc) if found is None else found.detach().clamp(min=0)
        return Parts(
            W_enc=self.sae.W_enc.detach(),
            b_enc=self.sae.b_enc.detach(),
            W_dec=self.sae.W_dec.detach(),
            b_dec=self.sae.b_dec.detach(),
            threshold=threshold,
        )


class Tied:
    """Tied dictionary of Cunningham et al. 2023, with Adam; `matrix` is M `[d_sae, d]` before its rows are normalised
    to unit norm.
    """

    def __init__(self, config: TrainingConfig, d_in: int, device: str) -> None:
        generator = torch.Generator().manual_seed(config.seed)
        self.matrix = nn.Parameter(torch.randn(config.width, d_in, generator=generator).to(device))
        self.bias = nn.Parameter(torch.zeros(config.width, device=device))
        with torch.no_grad():
            self.matrix.copy_(nn.functional.normalize(self.matrix, dim=1))
        assert config.l1 is not None
        self.l1 = config.l1
        self.optimizer = torch.optim.Adam([self.matrix, self.bias], lr=config.learning_rate)

        def share(step: int) -> float:
            rising = (step + 1) / max(1, config.warm_up_steps)
            falling = (config.steps - step) / max(1, config.decay_steps)
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
    """Import sae-lens; UnavailableError with the command that installs it."""
    try:
        import sae_lens
    except ImportError as error:
        raise UnavailableError(
            "all architectures but tied are trained by sae-lens: pip install 'sae-harness[train]'"
        ) from error
    return sae_lens
