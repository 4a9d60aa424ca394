"""Measurement of erasers: fitted on one half of the training rows, judged by probes trained on the other half.

A probe on the eraser's own rows finds nothing after LEACE whatever is left, because that is what LEACE is fitted for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness import (
    Dictionary,
    LabelledTask,
    LanguageModel,
    PredictingModel,
    Probed,
    Score,
    UsageError,
    match_features,
    printable,
    run_batches,
    short_names,
)
from harness_erasure import erasers
from harness_erasure.erasers import Eraser, MeanAblation, WithoutFeatures
from harness_erasure.reading import Means, batches_of, find_decoder, measure_edit, read, take_rows
from harness_erasure.result import (
    NOT_TESTABLE,
    Arm,
    Cost,
    Result,
    Verdict,
    is_testable,
    judge,
    judge_claim,
)

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

RESAMPLES = 1000
"""Bootstrap resamples of the texts whose losses are averaged."""


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Row numbers of the two halves of training: one that erasers are fitted on, one that fresh probes are."""

    eraser: Array
    probe: Array


def measure(
    task: LabelledTask,
    *,
    representation: str | None,
    sizes: Sequence[int],
    loss_tokens: int,
    device: str,
    batch_size: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Erase the classes of a task in each way, and measure what fresh probes find and what it costs.

    `sizes` are the numbers of features, components and neurons removed. Raise UsageError for too few rows or features,
    UnavailableError without the package of LEACE or a decoder.
    """
    began = time.process_time()
    erasers.import_leace()  # before any work that its lack would waste
    halves = halve(task)
    dictionary = find_decoder(task, representation, device) if representation else None
    _check_sizes(sizes, dictionary, task)
    task.model.model.identity(task.site)  # the weights loaded below must be those that there are now
    tell("reading")
    means = read(task, dictionary, device=device, batch_size=batch_size)
    tell("fitting")
    chosen = dict(fit_erasers(task, means, halves, dictionary, sizes))
    tell("measuring losses")
    losses, divergences, n_tokens = measure_losses(
        task, chosen, loss_tokens, device=device, batch_size=batch_size
    )
    tell("probing")
    chance = 1 / len(task.classes)
    before = _arm("none", 0, _probe(task, means.hidden, halves))
    before = before.model_copy(update={"verdict": "found" if is_testable(before, chance) else NOT_TESTABLE})
    shuffled = _probe(task, means.hidden, halves, y=shuffle_labels(task))
    arms = [before, _arm("shuffled labels", 0, shuffled)]
    for (name, size), eraser in chosen.items():
        after = _probe(task, eraser.erase_means(means.hidden, means.features), halves)
        edited, edit = measure_edit(_erase(eraser, means.sample, device), means.sample)
        loss, kl = (found.get((name, size)) for found in (losses, divergences))
        cost = Cost(tokens_edited=edited, edit=edit, loss=loss, kl=kl)
        features = eraser.chosen.tolist() if isinstance(eraser, WithoutFeatures) else ()
        arms.append(_arm(name, size, after, features=tuple(features), before=before, cost=cost))
    claim, reason = judge_claim(tuple(arms), chance)
    return Result(
        task=task.spec.name,
        model=task.model.published_label,
        site=str(task.site),
        dictionary=short_names([representation])[representation] if representation else None,
        classes=task.classes,
        rows_eraser=len(halves.eraser),
        rows_probe=len(halves.probe),
        rows_test=len(task.test),
        sample_tokens=len(means.sample),
        loss_tokens=n_tokens,
        chance=chance,
        arms=tuple(arms),
        claim=claim,
        reason=reason,
        cpu_minutes=(time.process_time() - began) / 60,
        device=device,
    )


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────


def halve(task: LabelledTask) -> Halves:
    """Return two halves of the training rows, of whole groups, each with every class. Raise UsageError where a class
    has too few rows.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    y, groups = task.y[task.train], task.groups[task.train]
    if len(np.unique(task.y[task.test])) < 2:
        raise UsageError(
            f"task '{task.spec.name}' has test rows of one class only, so nothing can be told apart"
        )
    counts = [len(np.unique(groups[y == number])) for number in range(len(task.classes))]
    if min(counts) < 2:
        label = printable(task.classes[int(np.argmin(counts))])
        raise UsageError(
            f"task '{task.spec.name}' has less than two training rows, or groups of them, of '{label}': erasers and "
            "fresh probes need one each"
        )
    folds = StratifiedGroupKFold(n_splits=2, shuffle=True, random_state=0)
    first, second = next(folds.split(y[:, None], y, groups))
    if len(np.unique(y[first])) < len(task.classes) or len(np.unique(y[second])) < len(task.classes):
        raise UsageError(
            f"task '{task.spec.name}' has too few groups of training rows for two halves with every class"
        )
    return Halves(eraser=task.train[first], probe=task.train[second])


def shuffle_labels(task: LabelledTask) -> Array:
    """Return class numbers of all examples, shuffled: a concept that nothing can find."""
    # Test rows too: with their own labels a probe of chance labels, which follows the main directions of the
    # activations, would be far above or below chance wherever these have to do with the concept.
    return np.random.default_rng(0).permutation(task.y)


def _check_sizes(sizes: Sequence[int], dictionary: Dictionary | None, task: LabelledTask) -> None:
    width = task.model.model.width(task.site)
    for name, most in (
        ("dimensions", width - 1),
        *([("features", dictionary.width // 4)] if dictionary else []),
    ):
        if max(sizes) > most:
            raise UsageError(
                f"{max(sizes)} are to be removed at once, and of the {name} at '{task.site}' at most {most} can be: "
                "give smaller numbers with --features"
            )


# ── erasers ──────────────────────────────────────────────────────────────────────────────────────────────


def fit_erasers(
    task: LabelledTask, means: Means, halves: Halves, dictionary: Dictionary | None, sizes: Sequence[int]
) -> Iterator[tuple[tuple[str, int], Eraser]]:
    """Yield every eraser by name and size, fitted on the eraser's half of the rows. Features, components and neurons
    are taken by the effect on a probe: absolute weight times standard deviation.
    """
    x, y, n_classes = means.hidden[halves.eraser], task.y[halves.eraser], len(task.classes)
    centre = x.mean(0)
    rank = n_classes - 1
    leace = erasers.fit_leace(x, y, n_classes)
    yield ("leace", leace.size), leace
    difference = erasers.fit_mean_difference(x, y, n_classes)
    yield ("mean difference", difference.size), difference
    yield ("random directions", rank), erasers.draw_directions(rank, centre, seed=0)
    if dictionary is not None:
        assert means.features is not None
        ranked = _rank(task, means.features, halves)
        free = np.ones(len(ranked), bool)
        free[ranked[: max(sizes)]] = False
        activity = means.features[halves.eraser].mean(0).numpy()
        for size in sizes:
            best = ranked[:size]
            features = WithoutFeatures(dictionary=dictionary, chosen=torch.tensor(best))
            yield ("features", size), features
            yield ("placebo", size), find_placebo(features, free, activity, means.sample)
    components = erasers.find_components(x)
    axes = torch.eye(x.shape[1], dtype=x.dtype)
    for name, basis in (("pca", components), ("neurons", axes)):
        ranked = _rank(task, means.hidden @ basis.T, halves)
        for size in sizes:
            yield (name, size), erasers.project_out(basis[ranked[:size]], centre)
    yield ("mean ablation", len(centre)), MeanAblation(centre=centre)


@torch.inference_mode()
def find_placebo(features: WithoutFeatures, free: Array, activity: Array, sample: Tensor) -> WithoutFeatures:
    """Return the eraser of other features, of those that are `free [width]`: as many as those of `features`, of the
    nearest mean activation, and then the most active of the rest, until its edit of a sample of tokens is as large.

    The features that a probe goes by are the strongest, so that nearest ones alone would edit less.
    """
    chosen = features.chosen.tolist()
    found = match_features(chosen, free, activity, seed=0)
    left = free.copy()
    left[found] = False
    rest = [int(one) for one in np.argsort(-activity, kind="stable") if left[one]]

    def edit(eraser: WithoutFeatures) -> float:
        return measure_edit(_erase(eraser, sample, str(eraser.device)), sample)[1]

    wanted = edit(features)
    low, high = 0, len(rest)
    # By halves, for an edit of all tokens for each number would take minutes. An edit may shrink as features are added:
    # what is found is large enough all the same, though perhaps not the fewest.
    while low < high:
        middle = (low + high) // 2
        is_enough = edit(replace(features, chosen=torch.tensor(found + rest[:middle]))) >= wanted
        low, high = (low, middle) if is_enough else (middle + 1, high)
    return replace(features, chosen=torch.tensor(found + rest[:low]))


def _rank(task: LabelledTask, X: Tensor, halves: Halves) -> list[int]:
    """Return the numbers of the columns of `X [examples, columns]` by their effect on a probe, largest first."""
    effects = task.probe(X.float().numpy(), train_rows=halves.eraser).effects
    assert effects is not None  # logreg is linear
    return [int(column) for column in np.argsort(-effects, kind="stable")]


# ── what is left, and what it costs ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _Both:
    """Probes on the same test rows, trained on other rows than the eraser and on the same."""

    fresh: Probed
    same: Probed


def _probe(task: LabelledTask, X: Tensor, halves: Halves, y: Array | None = None) -> _Both:
    matrix = X.float().numpy()
    fresh, same = (task.probe(matrix, train_rows=rows, y=y) for rows in (halves.probe, halves.eraser))
    return _Both(fresh=fresh, same=same)


def _arm(
    name: str,
    size: int,
    found: _Both,
    *,
    features: tuple[int, ...] = (),
    before: Arm | None = None,
    cost: Cost | None = None,
) -> Arm:
    """Return an arm, with a verdict if it is an eraser, after which is compared with `before`."""
    fresh = found.fresh.metrics
    verdict: Verdict | None = None
    if before is not None:
        verdict = judge(before.auroc, fresh["auroc"]) if before.verdict == "found" else NOT_TESTABLE
    return Arm(
        name=name,
        size=size,
        features=features,
        auroc=fresh["auroc"],
        balanced_accuracy=fresh["balanced_accuracy"],
        macro_f1=fresh["macro_f1"],
        accuracy=fresh["accuracy"],
        same_rows=found.same.metrics["auroc"],
        cost=cost,
        verdict=verdict,
    )


@torch.inference_mode()
def _erase(eraser: Eraser, sample: Tensor, device: str) -> Tensor:
    return eraser.erase(sample.to(device)).cpu()


Costs = dict[tuple[str, int], Score]
"""Cost of each eraser, by its name and size, in nats a token."""


def measure_losses(
    task: LabelledTask,
    chosen: Mapping[tuple[str, int], Eraser],
    limit: int,
    *,
    device: str,
    batch_size: int | None = None,
) -> tuple[Costs, Costs, int]:
    """Return the increase in next-token loss, and KL(original ‖ erased) of predictions, in nats a token, with each
    eraser spliced in at the site, on test rows with at most `limit` content tokens, and the number of predicted tokens.

    Intervals are over texts. Nothing for a model without next-token losses; losses alone for one without logits.
    """
    model = task.model.model
    if not isinstance(model, LanguageModel):
        return {}, {}, 0
    whole = model.load_whole(task.site, device)
    rows = take_rows(task, limit)
    splices = [None, *(eraser.erase for eraser in chosen.values())]

    def work(batch: Sequence[int]) -> tuple[list[int], Array]:
        tokens = [task.tokens[row] for row in batch]
        # The first position has none before it, so it has no loss.
        counts = [int(one.content[1:].sum()) for one in tokens]
        places = np.repeat(np.arange(len(batch)), counts)
        if isinstance(whole, PredictingModel):
            both = torch.stack(whole.compare(tokens, splices))
        else:
            both = torch.stack([whole.losses(tokens, splice) for splice in splices])[None]
        values = both.double().cpu().numpy()
        sums = [[np.bincount(places, one, minlength=len(batch)) for one in kind] for kind in values]
        return counts, np.array(sums)

    done = list(run_batches(batches_of(task, rows, device, batch_size), work))
    counts = np.concatenate([counts for counts, _ in done])
    # [1 or 2 kinds, splices, texts]: losses, and divergences where the model gives them.
    losses, *divergences = np.concatenate([part for _, part in done], axis=-1)
    weights = np.random.default_rng(0).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES
    )

    def average(sums: Array) -> Costs:
        return {key: _average(one, counts, weights) for key, one in zip(chosen, sums[1:], strict=True)}

    kls = average(divergences[0]) if divergences else {}
    return average(losses - losses[0]), kls, int(counts.sum())


def _average(increase: Array, counts: Array, weights: Array) -> Score:
    """Return the mean over tokens of sums `increase [texts]` of `counts [texts]` tokens, with its interval."""
    resampled = (weights @ increase) / np.maximum(weights @ counts, 1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Score(value=float(increase.sum() / max(counts.sum(), 1)), low=float(low), high=float(high))
