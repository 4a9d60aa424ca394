"""Dictionaries of activations whose features are known (sae_lens.synthetic), their scores and their true recovery."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.api.errors import UnavailableError
from harness.dictionaries.dictionary import Dictionary
from harness.dictionaries.fidelity import measure_fit
from harness.probing.probe import Rows, probe
from harness.registry.catalog import Registry
from harness.stats.metrics import macro_f1
from harness.training.config import TrainingConfig
from harness.training.learners import start_learner
from harness.training.outcome import finish
from harness.validation.reliability import EXPLAINED
from harness.validation.scores import PROBES

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Synthetic model and the dictionaries trained on it: every number of active features at every length of training,
    for every seed. All have one width, as recovery of dictionaries of other widths would be no one scale.
    """

    features: int = 96
    d: int = 48
    probability: float = 0.06
    width: int = 96
    l0: tuple[int, ...] = (2, 4, 6, 12, 24)
    steps: tuple[int, ...] = (20, 80, 320)
    seeds: tuple[int, ...] = (0, 1)
    batch: int = 256
    probed: int = 4
    """Features whose firing is a task of two classes."""
    rows: int = 900
    """Rows of each task; a third trains, a third chooses, a third tests."""


@dataclass(frozen=True, kw_only=True)
class PanelScores:
    """Scores of each dictionary by name, and its true recovery: the mean absolute cosine of its decoder with the
    features, matched one to one (MCC). All are `[seeds, settings]`.
    """

    scores: Mapping[str, Sequence[Sequence[float]]]
    truth: Sequence[Sequence[float]]


def measure_panel(
    registry: Registry, panel: Panel, *, tell: Callable[[str], None] = lambda line: None
) -> PanelScores:
    """Train and score all dictionaries of a panel. UnavailableError without sae-lens."""
    try:
        from sae_lens import synthetic as lens
    except ImportError as error:
        raise UnavailableError(
            "models of known features are made by sae-lens: pip install 'sae-harness[train]'"
        ) from error
    with torch.random.fork_rng([]):  # sae-lens samples from the global generator
        torch.manual_seed(0)
        model = lens.SyntheticModel(
            lens.SyntheticModelConfig(
                num_features=panel.features,
                hidden_dim=panel.d,
                firing_probability=lens.ConstantFiringProbabilityConfig(probability=panel.probability),
                std_firing_magnitudes=0.3,
                seed=0,
            )
        )
        codes = model.activation_generator.sample(panel.rows)
        x = model.feature_dict(codes).detach()
        held = model.feature_dict(model.activation_generator.sample(4096)).detach()
        batches = [
            model.feature_dict(model.activation_generator.sample(panel.batch)).detach()
            for _ in range(max(panel.steps))
        ]
    features = model.feature_dict.feature_vectors.detach()
    tasks = [_make_rows((codes[:, place] > 0).numpy()) for place in range(panel.probed)]
    base = {name: _probe(registry, x, tasks, classifier) for name, classifier in PROBES.items()}
    scores: dict[str, list[list[float]]] = {name: [] for name in (*PROBES, EXPLAINED)}
    truth: list[list[float]] = []
    for seed in panel.seeds:
        for row in (truth, *scores.values()):
            row.append([])
        for steps in panel.steps:
            for l0 in panel.l0:
                tell(f"known features: {l0} active, {steps} steps, seed {seed}")
                dictionary = _train(panel, batches[:steps], l0, seed)
                assert dictionary.W_dec is not None
                truth[-1].append(lens.mean_correlation_coefficient(dictionary.W_dec, features))
                encoded = dictionary.encode(x)
                for name, classifier in PROBES.items():
                    scores[name][-1].append(_probe(registry, encoded, tasks, classifier) - base[name])
                scores[EXPLAINED][-1].append(measure_fit(dictionary, held).explained_variance)
    return PanelScores(scores=scores, truth=truth)


def _train(panel: Panel, batches: Sequence[Tensor], l0: int, seed: int) -> Dictionary:
    config = TrainingConfig(
        width=panel.width,
        tokens=len(batches) * panel.batch,
        l0=l0,
        batch_tokens=panel.batch,
        learning_rate=6e-3,
        seed=seed,
    )
    learner = start_learner(config, torch.cat(list(batches[:16])))
    for batch in batches:
        learner.step(batch)
    return finish("synthetic", learner, l0)


def _make_rows(fires: Array) -> Rows:
    """Return the rows of the task whether a feature fires: every third one is of training, validation and test."""
    place = np.arange(len(fires))
    test = place[2::3]
    return Rows(
        y=fires.astype(np.int64),
        classes=("silent", "fires"),
        train=place[0::3],
        validation=place[1::3],
        test=test,
        groups=place,
        weights=np.ones((1, len(test)), np.float32),
    )


def _probe(registry: Registry, x: Tensor, tasks: Sequence[Rows], classifier: str) -> float:
    """Return the mean macro-F1 of probes over tasks."""
    transform, chosen = registry.choose("transforms", "none"), registry.choose("classifiers", classifier)
    found = []
    for rows in tasks:
        outcome = probe(x.double().numpy(), rows, transform=transform, classifier=chosen, seed=0)
        found.append(macro_f1(rows.y[rows.test], outcome.predicted, n_classes=2))
    return float(np.mean(found))
