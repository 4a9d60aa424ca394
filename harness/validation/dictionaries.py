"""Measurement of how reliable scores of dictionaries are: on checkpoints of one training, and on known features."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.api.errors import DataError, UsageError
from harness.dictionaries.dictionary import Dictionary
from harness.features.featurize import plan_batches, run_batches
from harness.models.opened import load_decoder
from harness.planning.labelled import LabelledTask
from harness.probing.probe import apply, grid_points, train
from harness.registry.catalog import Registry
from harness.stats.metrics import resampled_macro_f1
from harness.stats.reliability import noise_over, rank_correlation, signal_to_noise
from harness.storage.reading import read_description
from harness.storage.strict_json import parse_json
from harness.validation.reliability import Measured, Reliability, ScoreReliability, Step
from harness.validation.synthetic import EXPLAINED, PROBES, Panel, measure_panel

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

DRAWS = 3
"""Data seeds: times that training and test rows are drawn anew."""

SAMPLE_TOKENS = 32_768
"""Number of content tokens of a task on which explained variance is measured."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """State of a dictionary: the seed's place, tokens of training, and the folder of params.npz."""

    seed: int
    tokens: int
    folder: Path
    site: str


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores of one dictionary on one task by name; `draws` hold those on rows drawn anew, `selection` the range of
    test scores over points of the grid.
    """

    values: Mapping[str, float]
    draws: Mapping[str, Sequence[float]]
    selection: Mapping[str, float]


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints in a folder of trainings, one folder a seed, as `harness train-dictionary --checkpoints`
    writes them. Raise UsageError unless there are two seeds with the same two checkpoints or more.
    """
    found: list[Checkpoint] = []
    runs = sorted(one for one in folder.glob("*") if one.is_dir())
    for seed, run in enumerate(runs):
        for path in sorted(run.glob("**/training.json")):
            try:
                said = parse_json(read_description(path).decode())
                one = Checkpoint(
                    seed=seed, tokens=int(said["tokens"]), folder=path.parent, site=str(said["site"])
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"'{path}' is no record of a training") from error
            found.append(one)
    if len({one.site for one in found}) > 1:
        raise UsageError(f"the dictionaries in '{folder}' are of several sites: give a folder of one site's")
    by_seed = [sorted(one.tokens for one in found if one.seed == seed) for seed in range(len(runs))]
    if len(runs) < 2 or any(tokens != by_seed[0] for tokens in by_seed) or len(set(by_seed[0])) < 2:
        raise UsageError(
            f"'{folder}' holds no folders of two seeds with the same checkpoints: train one for each --seed, into "
            "FOLDER/seed-N, with `harness train-dictionary --checkpoints`"
        )
    return sorted(found, key=lambda one: (one.tokens, one.seed))


def measure_reliability(
    registry: Registry,
    checkpoints: Sequence[Checkpoint],
    tasks: Sequence[LabelledTask],
    *,
    rows: int,
    device: str = "cpu",
    panel: Panel | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Reliability:
    """Score every checkpoint on every task, and dictionaries of known features; return what that says of the scores."""
    began = time.process_time()
    tokens = sorted({one.tokens for one in checkpoints})
    seeds = len({one.seed for one in checkpoints})
    scored: dict[tuple[int, int], list[Scored]] = {}
    for task in tasks:
        read = _read_task(task, device)
        baseline = {name: _probe_draws(task, read.hidden, PROBES[name]) for name in PROBES}
        for one in checkpoints:
            tell(f"{task.spec.name}: seed {one.seed}, {one.tokens:,} tokens")
            is_last = one.tokens == tokens[-1]
            dictionary = _load(task, one)
            scored.setdefault((one.tokens, one.seed), []).append(
                _score(task, read, dictionary, baseline, thorough=is_last)
            )
    tell("dictionaries of known features")
    synthetic = measure_panel(registry, panel or Panel(), tell=tell)
    names = (*PROBES, EXPLAINED)
    return Reliability(
        date=datetime.now(UTC).date().isoformat(),
        model=tasks[0].model.published_label,
        site=str(tasks[0].site),
        tasks=tuple(task.spec.name for task in tasks),
        rows=rows,
        seeds=seeds,
        tokens=tuple(tokens),
        synthetic_dictionaries=len(synthetic.truth),
        scores=tuple(
            _summarize(name, scored, tokens, range(seeds), synthetic.scores[name], synthetic.truth)
            for name in names
        ),
        cpu_minutes=round((time.process_time() - began) / 60, 1),
    )


def _summarize(
    name: str,
    scored: Mapping[tuple[int, int], Sequence[Scored]],
    tokens: Sequence[int],
    seeds: Sequence[int],
    synthetic: Sequence[float],
    truth: Sequence[float],
) -> ScoreReliability:
    table = [
        [float(np.mean([task.values[name] for task in scored[place, seed]])) for seed in seeds]
        for place in tokens
    ]
    last = [scored[tokens[-1], seed] for seed in seeds]
    drawn = [np.mean([task.draws[name] for task in tasks], axis=0) for tasks in last]
    ranges = [task.selection[name] for tasks in last for task in tasks if name in task.selection]
    return ScoreReliability(
        name=name,
        scores=tuple(map(tuple, table)),
        seed_noise=noise_over(table),
        data_noise=noise_over(drawn),
        selection_range=float(np.mean(ranges)) if ranges else None,
        run=_signal(table[0], table[-1]),
        steps=tuple(
            Step(earlier=tokens[n], later=tokens[n + 1], signal_to_noise=_signal(table[n], table[n + 1]))
            for n in range(len(tokens) - 1)
        ),
        validity=_measured(rank_correlation(synthetic, truth)) if np.ptp(synthetic) else None,
    )


def _signal(earlier: Sequence[float], later: Sequence[float]) -> Measured | None:
    try:
        return _measured(signal_to_noise(earlier, later))
    except ValueError:  # no noise at all
        return None


def _measured(score: Any) -> Measured:
    return Measured(value=score.value, low=score.low, high=score.high)


# ── scores of one dictionary on one task ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Activations of a task: means `[examples, d]`, all content tokens `[tokens, d]` and the example of each."""

    hidden: Array
    tokens: Tensor
    owner: Tensor


def _read_task(task: LabelledTask, device: str) -> _Read:
    loaded = task.model.model.load([task.site], device)
    parts: dict[int, Tensor] = {}

    @torch.inference_mode()
    def work(rows: Sequence[int]) -> None:
        batch = [task.tokens[row] for row in rows]
        counts = [int(one.content.sum()) for one in batch]
        activations = loaded.forward(batch)[task.site].float().cpu()
        parts.update(zip(rows, torch.split(activations, counts), strict=True))

    lengths = [len(one.ids) for one in task.tokens]
    for _ in run_batches(plan_batches(lengths, batch_size=None, device=device), work):
        pass
    order = range(len(task.tokens))
    return _Read(
        hidden=torch.stack([parts[row].double().mean(0) for row in order]).numpy(),
        tokens=torch.cat([parts[row] for row in order]),
        owner=torch.repeat_interleave(
            torch.arange(len(parts)), torch.tensor([len(parts[row]) for row in order])
        ),
    )


def _load(task: LabelledTask, checkpoint: Checkpoint) -> Dictionary:
    placed = task.place(str(checkpoint.folder))
    return load_decoder(placed, str(checkpoint.folder), task.site, "cpu")


@torch.inference_mode()
def _score(
    task: LabelledTask,
    read: _Read,
    dictionary: Dictionary,
    baseline: Mapping[str, Sequence[float]],
    *,
    thorough: bool,
) -> Scored:
    """Score one dictionary; on rows drawn anew, and over the grid, where it is `thorough`."""
    total = torch.zeros(len(read.hidden), dictionary.width, dtype=torch.float64)
    for start in range(0, len(read.tokens), 4096):  # all features of all tokens would fill the memory
        part = slice(start, start + 4096)
        total.index_add_(0, read.owner[part], dictionary.encode(read.tokens[part]).double())
    means = (total / torch.bincount(read.owner)[:, None]).numpy()
    values, draws, selection = {}, {}, {}
    for name, classifier in PROBES.items():
        probed = _probe_draws(task, means, classifier, draws=DRAWS if thorough else 0)
        leads = [one - base for one, base in zip(probed, baseline[name], strict=False)]
        values[name] = leads[0]
        if thorough:
            draws[name] = leads[1:]
            selection[name] = _selection_range(task, means, classifier)
    explained = _explained(read, dictionary)
    values[EXPLAINED] = explained(np.ones(len(read.hidden)))
    if thorough:
        draws[EXPLAINED] = [
            explained(np.bincount(_draw(len(read.hidden), seed), minlength=len(read.hidden)))
            for seed in range(DRAWS)
        ]
    return Scored(values=values, draws=draws, selection=selection)


def _draw(n: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(n, size=n)


def _explained(read: _Read, dictionary: Dictionary) -> Callable[[Array], float]:
    """Return explained variance as a function of the weights of examples."""
    x, owner = read.tokens[:SAMPLE_TOKENS], read.owner[:SAMPLE_TOKENS]
    lost, varying = [], []
    mean = x.mean(0)
    for start in range(0, len(x), 4096):
        part = x[start : start + 4096]
        rebuilt, _ = dictionary.rebuild(part, dictionary.width)
        lost.append((part - rebuilt).square().sum(1).double())
        varying.append((part - mean).square().sum(1).double())
    rows = len(read.hidden)
    by_row = torch.zeros(2, rows, dtype=torch.float64)
    by_row[0].index_add_(0, owner, torch.cat(lost))
    by_row[1].index_add_(0, owner, torch.cat(varying))
    sums = by_row.numpy()
    return lambda weights: float(1 - (sums[0] @ weights) / (sums[1] @ weights))


def _probe_draws(task: LabelledTask, X: Array, classifier: str, *, draws: int = DRAWS) -> list[float]:
    """Return the macro-F1 of a probe on the task's rows, then on `draws` of training and test rows, in groups."""
    return [_macro_f1(task, X, classifier, seed=None), *(
        _macro_f1(task, X, classifier, seed=seed) for seed in range(draws)
    )]  # fmt: skip


def _macro_f1(task: LabelledTask, X: Array, classifier: str, *, seed: int | None) -> float:
    if seed is None:
        return task.probe(X, classifier=classifier).metrics["macro_f1"].value
    members = [task.train[task.groups[task.train] == group] for group in np.unique(task.groups[task.train])]
    rows = np.concatenate([members[place] for place in _draw(len(members), seed)])
    predicted = task.probe(X, train_rows=rows, classifier=classifier).predicted
    weights = task.rows.weights[seed : seed + 1]  # those that intervals are made of
    return float(
        resampled_macro_f1(task.y[task.test], predicted, n_classes=len(task.classes), weights=weights)[0]
    )


def _selection_range(task: LabelledTask, X: Array, classifier: str) -> float:
    """Return the range of test macro-F1 over the points of the grid whose validation score is within one standard error
    of the best: that of a share of the rows that were chosen on.
    """
    registry, rows = task.registry, task.rows
    choice = registry.choose("classifiers", classifier)
    found = []
    for point in grid_points(choice):
        fixed = registry.choose("classifiers", {"name": choice.name, **choice.given, **point})
        trained = train(X, rows, transform=registry.choose("transforms", "none"), classifier=fixed, seed=0)
        value = trained.validation["macro_f1"]
        found.append((value, apply(trained, X, rows).metrics["macro_f1"].value))
    best = max(value for value, _ in found)
    error = float(np.sqrt(best * (1 - best) / (len(rows.validation) or len(rows.train))))
    equal = [test for value, test in found if value >= best - error]
    return max(equal) - min(equal)
