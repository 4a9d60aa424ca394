"""Scores of a dictionary that boards show: leads of probes over hidden states, and explained variance."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.api.errors import DataError
from harness.api.specs import Measure
from harness.dictionaries.dictionary import Dictionary
from harness.features.featurize import plan_batches, run_batches
from harness.models.opened import load_decoder
from harness.planning.labelled import LabelledTask
from harness.probing.probe import Rows, apply, grid_points, train
from harness.stats.metrics import resampled_macro_f1
from harness.validation.reliability import EXPLAINED, K_SPARSE, LEAD, Choosing, GridPoint, Transfer

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

PROBES: Mapping[str, str] = {LEAD: "logreg", K_SPARSE: "ksparse_logreg[k=5]"}
"""Probes whose lead over hidden states in macro-F1 is a score of boards."""

SAMPLE_TOKENS = 32_768
"""Number of content tokens of a task on which explained variance is measured."""

ENCODED_AT_ONCE = 4096
"""Tokens of which all features are held at once: those of a whole task would fill the memory."""


@dataclass(frozen=True, kw_only=True)
class OwnScore:
    """Score of a dictionary on a task; `spread` is the range of its test scores over equal points of the grid."""

    measure: Measure
    spread: Callable[[str], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Read:
    """Activations of examples: means `[examples, d]`, all content tokens `[tokens, d]` and the example of each."""

    hidden: Array
    tokens: Tensor
    owner: Tensor


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Features of a dictionary, means over tokens `[examples, width]`, and what it does not rebuild of the variance of
    each example and the whole of that, `[2, examples]`.
    """

    means: Array
    variances: Array


def open_scores(task: LabelledTask, device: str) -> dict[str, OwnScore]:
    """Read a task's activations; return the scores of dictionaries on them by name."""
    read = read_rows(task, range(len(task.tokens)), device)
    encode = lru_cache(maxsize=1)(partial(_encode, task, read))  # scores of one dictionary follow one another
    baseline = cache(partial(_macro_f1, task, read.hidden))

    def lead(classifier: str, dictionary: str, seed: int) -> float:
        return _macro_f1(task, encode(dictionary).means, classifier, seed) - baseline(classifier, seed)

    def spread(classifier: str, dictionary: str) -> float:
        return try_points(task, task.rows, encode(dictionary).means, classifier, dictionary).spread

    def explained(dictionary: str, seed: int) -> float:
        rows = len(read.hidden)
        weights = np.ones(rows) if seed == 0 else np.bincount(_draw(rows, seed), minlength=rows)
        lost, whole = encode(dictionary).variances @ weights
        return float(1 - lost / whole)

    probes = {
        name: OwnScore(measure=partial(lead, classifier), spread=partial(spread, classifier))
        for name, classifier in PROBES.items()
    }
    return {**probes, EXPLAINED: OwnScore(measure=explained)}


def try_points(task: LabelledTask, rows: Rows, X: Array, classifier: str, representation: str) -> Choosing:
    """Train a probe at every point of the classifier's grid, and test each."""
    registry = task.registry
    choice = registry.choose("classifiers", classifier)
    found = []
    for point in grid_points(choice):
        fixed = registry.choose("classifiers", {"name": choice.name, **choice.given, **point})
        trained = train(X, rows, transform=registry.choose("transforms", "none"), classifier=fixed, seed=0)
        found.append(
            GridPoint(
                parameters=json.dumps(point),
                validation=trained.validation["macro_f1"],
                test=apply(trained, X, rows).metrics["macro_f1"].value,
            )
        )
    chosen_on = len(rows.validation) or len(rows.train)
    return Choosing(representation=representation, rows=chosen_on, points=tuple(found))


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Task that probes learn and choose on in one language, and are tested on in another: row numbers of the task, and
    their split.
    """

    task: LabelledTask
    source: str
    target: str
    chosen: Array
    rows: Rows


def draw_crossing(task: LabelledTask, source: str, target: str, *, most: int) -> Crossing:
    """Draw at most `most` rows to train on, choose on and test on. Raise DataError where there are none of one."""
    languages = np.array(task.examples.languages)

    def take(split: Array, language: str) -> Array:
        found = split[languages[split] == language]
        return np.random.default_rng(0).permutation(found)[:most]

    parts = take(task.train, source), take(task.rows.validation, source), take(task.test, target)
    if not all(map(len, parts)):
        raise DataError(
            f"task '{task.spec.name}' has no rows to train and choose on in '{source}' or none to test in '{target}'"
        )
    chosen = np.concatenate(parts)
    train, validation, test = np.split(np.arange(len(chosen)), np.cumsum([len(part) for part in parts])[:-1])
    rows = Rows(
        y=task.y[chosen],
        classes=task.classes,
        train=train,
        validation=validation,
        test=test,
        groups=task.groups[chosen],
        weights=np.ones((1, len(test)), np.float32),
    )
    return Crossing(task=task, source=source, target=target, chosen=chosen, rows=rows)


def measure_transfer(crossing: Crossing, dictionaries: Mapping[str, str], device: str) -> Transfer:
    """Try all points of a probe's grid with hidden states and with `dictionaries`, references by the name shown."""
    task, rows = crossing.task, crossing.rows
    read = read_rows(task, crossing.chosen.tolist(), device)
    shown = {"hidden": read.hidden} | {
        name: _encode(task, read, dictionary).means for name, dictionary in dictionaries.items()
    }
    return Transfer(
        task=task.spec.name,
        source=crossing.source,
        target=crossing.target,
        train=len(rows.train),
        test=len(rows.test),
        tried=tuple(try_points(task, rows, X, PROBES[LEAD], name) for name, X in shown.items()),
    )


def read_rows(task: LabelledTask, rows: Sequence[int], device: str) -> Read:
    """Read a task's model on some examples."""
    loaded = task.model.model.load([task.site], device)
    parts: dict[int, Tensor] = {}

    @torch.inference_mode()
    def work(places: Sequence[int]) -> None:
        batch = [task.tokens[rows[place]] for place in places]
        counts = [int(one.content.sum()) for one in batch]
        activations = loaded.forward(batch)[task.site].float().cpu()
        parts.update(zip(places, torch.split(activations, counts), strict=True))

    lengths = [len(task.tokens[row].ids) for row in rows]
    for _ in run_batches(plan_batches(lengths, batch_size=None, device=device), work):
        pass
    ordered = [parts[place] for place in range(len(rows))]
    return Read(
        hidden=torch.stack([part.double().mean(0) for part in ordered]).numpy(),
        tokens=torch.cat(ordered),
        owner=torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(part) for part in ordered])),
    )


@torch.inference_mode()
def _encode(task: LabelledTask, read: Read, reference: str) -> Encoded:
    dictionary = load_decoder(task.place(reference), reference, task.site, "cpu")
    total = torch.zeros(len(read.hidden), dictionary.width, dtype=torch.float64)
    for start in range(0, len(read.tokens), ENCODED_AT_ONCE):
        part = slice(start, start + ENCODED_AT_ONCE)
        total.index_add_(0, read.owner[part], dictionary.encode(read.tokens[part]).double())
    return Encoded(
        means=(total / torch.bincount(read.owner)[:, None]).numpy(),
        variances=_find_variances(read, dictionary),
    )


def _find_variances(read: Read, dictionary: Dictionary) -> Array:
    x, owner = read.tokens[:SAMPLE_TOKENS], read.owner[:SAMPLE_TOKENS]
    found = torch.zeros(2, len(read.hidden), dtype=torch.float64)
    mean = x.mean(0)
    for start in range(0, len(x), ENCODED_AT_ONCE):
        part, rows = (one[start : start + ENCODED_AT_ONCE] for one in (x, owner))
        rebuilt, _ = dictionary.rebuild(part, dictionary.width)
        for place, error in enumerate((part - rebuilt, part - mean)):
            found[place].index_add_(0, rows, error.square().sum(1).double())
    return found.numpy()


def _macro_f1(task: LabelledTask, X: Array, classifier: str, seed: int) -> float:
    """Return the macro-F1 of a probe on the task's rows, or for other seeds than 0 on training and test rows that are
    drawn anew, in groups.
    """
    if seed == 0:
        return task.probe(X, classifier=classifier).metrics["macro_f1"].value
    members = [task.train[task.groups[task.train] == group] for group in np.unique(task.groups[task.train])]
    rows = np.concatenate([members[place] for place in _draw(len(members), seed)])
    predicted = task.probe(X, train_rows=rows, classifier=classifier).predicted
    weights = task.rows.weights[seed - 1 : seed]  # those that intervals are made of
    return float(
        resampled_macro_f1(task.y[task.test], predicted, n_classes=len(task.classes), weights=weights)[0]
    )


def _draw(n: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(n, size=n)
