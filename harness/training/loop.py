"""Training loop: one pass over the inputs trains a dictionary for each site. No file is touched here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.api.data import Image, Site
from harness.api.errors import UsageError
from harness.api.protocols import Model
from harness.dictionaries.fidelity import measure_fit
from harness.features.outliers import NormLimit, leave_out, measure_limits
from harness.training.config import TrainingConfig
from harness.training.learners import Started, start_learner
from harness.training.outcome import Trained, finish
from harness.training.stream import TokenStream, cut_batches, fill_buffers, read_activations, read_heldout

SAMPLE_TOKENS = 32_768
"""Number of training activations that set the scale and, at the end, the threshold."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of training: tokens seen, tokens per second, the unexplained share of variance at each site in the
    latest batch, and passes over the data begun.
    """

    tokens: int
    tokens_total: int
    tokens_per_s: float
    unexplained: Mapping[Site, float]
    passes: int


def train(
    model: Model,
    configs: Mapping[Site, TrainingConfig],
    *,
    inputs: Sequence[str | Image],
    heldout: Sequence[str | Image],
    device: str = "cpu",
    batch_size: int | None = None,
    checkpoints: int = 1,
    report: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Trained, ...]:
    """Train a dictionary for each site; the configurations agree on tokens, batches and seed. Equal inputs and
    configuration give an equal dictionary on one machine, independent of the other sites and of checkpoints.

    Return the dictionaries as they are after each of `checkpoints` equal parts of the training, the earliest first: the
    last of each site is the trained one. UsageError for more checkpoints than steps.
    """
    started = time.perf_counter()
    sites, config = list(configs), next(iter(configs.values()))
    if not 1 <= checkpoints <= config.steps:
        raise UsageError(f"{config.steps} steps hold no {checkpoints} checkpoints")
    loaded = model.load(sites, device)
    stream = TokenStream(model, inputs)
    parts = read_activations(loaded, stream, sites, batch_size=batch_size, device=device)
    limits: Mapping[Site, NormLimit] = {}
    if config.max_norm_ratio is not None:
        limits, parts = measure_limits(parts, config.max_norm_ratio, sites)
        parts = leave_out(parts, limits)
    learners: Mapping[Site, Started] = {}
    unseen: Mapping[Site, Tensor] = {}
    trained: list[Trained] = []
    step, paused = 0, 0.0
    for buffer in fill_buffers(parts, config):
        # Units are those of the first activations; a copy of them keeps no buffer in memory.
        learners = learners or {
            site: start_learner(configs[site], buffer[site][:SAMPLE_TOKENS].clone()) for site in sites
        }
        for batch in cut_batches(buffer, config.batch_tokens):
            lost = {site: learner.step(batch[site]) for site, learner in learners.items()}
            step += 1
            if step * 100 // config.steps > (step - 1) * 100 // config.steps:
                report(_progress(config, step, lost, stream, time.perf_counter() - started - paused))
            if step * checkpoints // config.steps == (step - 1) * checkpoints // config.steps:
                continue
            ended = time.perf_counter()
            unseen = unseen or read_heldout(
                model, loaded, heldout, sites, batch_size=batch_size, device=device
            )
            tokens, seconds = step * config.batch_tokens, ended - started - paused
            trained += [
                _evaluate(
                    learner,
                    site,
                    configs[site],
                    unseen[site],
                    limits.get(site),
                    tokens=tokens,
                    passes=stream.passes(tokens),
                    seconds=seconds,
                )
                for site, learner in learners.items()
            ]
            paused += time.perf_counter() - ended
    return tuple(trained)


def _evaluate(
    learner: Started,
    site: Site,
    config: TrainingConfig,
    unseen: Tensor,
    norms: NormLimit | None,
    *,
    tokens: int,
    passes: int,
    seconds: float,
) -> Trained:
    """Return the dictionary as it is now, with its fit on held-out activations `unseen [tokens, d]`."""
    dictionary = finish(str(site), learner, config.l0)
    rows = unseen if norms is None else unseen[unseen.norm(dim=1) <= norms.limit]
    return Trained(
        site=site,
        config=config,
        dictionary=dictionary,
        fit=measure_fit(dictionary, rows),
        tokens=tokens,
        passes=passes,
        seconds=seconds,
        norm_limit=norms,
    )


def _progress(
    config: TrainingConfig, step: int, lost: Mapping[Site, Tensor], stream: TokenStream, seconds: float
) -> Progress:
    """Return the progress after `step` steps; `lost` is each site's mean squared error in the latest batch."""
    tokens = step * config.batch_tokens
    return Progress(
        tokens=tokens,
        tokens_total=config.steps * config.batch_tokens,
        tokens_per_s=tokens / seconds,
        unexplained={site: float(value) for site, value in lost.items()},
        passes=stream.passes(tokens),
    )
