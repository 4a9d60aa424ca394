"""Metrics of predictions with bootstrap intervals: one value, or one for each resample by matrix products.

Throughout: `y [rows]` and `predicted [rows]` are class numbers 0 … K−1, `scores [rows, K]` are higher where a
class is likelier, `weights [resamples, rows]` counts how often a resample holds a row. Values equal those of
scikit-learn with `sample_weight`. Products are fastest when `weights.T` is contiguous, as bootstrap_weights
returns it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from harness.api.events import Score
from harness.stats.bootstrap import percentile_interval, wilson_interval
from harness.stats.few_groups import Support

Classes = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


def score(
    y: Classes,
    predicted: Classes,
    scores: Floats,
    *,
    weights: Floats | None,
    grouped: bool = True,
    support: Support | None = None,
) -> dict[str, Score]:
    """Return macro-F1, accuracy, balanced accuracy and AUROC of one cell. AUROC is left out where it is undefined: no
    metric is NaN. Intervals are bootstrap percentiles, corrected where the `support` of the test rows says that their
    groups are few; there are none where it says that they are too few. Unless rows are `grouped`, accuracy is a share
    of independent rows and has Wilson's interval, which is not empty for an arm that predicts one class only.
    ValueError for a score that is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("the classifier's scores hold NaN or infinity")
    once = _resample(y, predicted, scores, _once(y))
    values = {name: float(one[0]) for name, one in once.items() if not np.isnan(one[0])}
    if weights is None or (support is not None and not support.has_interval):
        method = "" if weights is None else "none: too few groups of test rows"
        return {name: Score(value=value, method=method) for name, value in values.items()}
    samples = _resample(y, predicted, scores, weights)
    is_perfect = np.array_equal(y, predicted)
    found = {
        name: _score(
            value, samples[name], support, is_perfect=value == 1.0 if name == "auroc" else is_perfect
        )
        for name, value in values.items()
    }
    if not grouped:
        low, high = wilson_interval(int(np.count_nonzero(y == predicted)), len(y))
        found["accuracy"] = Score(value=values["accuracy"], low=low, high=high, method="Wilson")
    return found


def _resample(
    y: Classes, predicted: Classes, scores: Floats, weights: Floats
) -> dict[str, NDArray[np.float64]]:
    return {
        "macro_f1": resampled_macro_f1(y, predicted, n_classes=scores.shape[1], weights=weights),
        "accuracy": resampled_accuracy(y, predicted, weights=weights),
        "balanced_accuracy": resampled_balanced_accuracy(y, predicted, weights=weights),
        "auroc": resampled_auroc(y, scores, weights=weights),
    }


def macro_f1(y: Classes, predicted: Classes, *, n_classes: int) -> float:
    """Return the unweighted mean over all K classes of F1 = 2·tp / (true + predicted); a class in neither counts 0."""
    hits = np.bincount(y[y == predicted], minlength=n_classes)
    either = np.bincount(y, minlength=n_classes) + np.bincount(predicted, minlength=n_classes)
    return float((2 * hits / np.maximum(either, 1)).mean())


def accuracy(y: Classes, predicted: Classes) -> float:
    """Return the share of rows whose class is predicted."""
    return float(np.mean(y == predicted))


def balanced_accuracy(y: Classes, predicted: Classes) -> float:
    """Return the unweighted mean of recall, the share of a class's rows that are predicted as it, over the classes with
    a test row (Brodersen et al. 2010). Guessing scores 1 / classes for any rates of predicted classes.
    """
    rows = np.bincount(y)
    hits = np.bincount(y[y == predicted], minlength=len(rows))
    return float((hits / np.maximum(rows, 1)).sum() / np.count_nonzero(rows))


def auroc(y: Classes, scores: Floats) -> float | None:
    """Return the area under the ROC curve: of class 1 if K = 2, else the mean over classes of one against the rest.
    A class that no row, or every row, belongs to is left out; None if no class is left.
    """
    areas = []
    for number in [1] if scores.shape[1] == 2 else range(scores.shape[1]):
        positive = y == number
        if positive.any() and not positive.all():
            own, others = scores[positive, number], np.sort(scores[~positive, number])
            # A negative of the same score counts half: it is below from the right, and not from the left.
            below = sum(int(np.searchsorted(others, own, side).sum()) for side in ("left", "right")) / 2
            areas.append(below / (len(own) * len(others)))
    return sum(areas) / len(areas) if areas else None


def resampled_macro_f1(
    y: Classes, predicted: Classes, *, n_classes: int, weights: Floats
) -> NDArray[np.float64]:
    """Return macro-F1 of each resample, `[resamples]`."""
    (found,) = resampled_macro_f1s(y, predicted[None], n_classes=n_classes, weights=weights)
    return np.asarray(found)


_COUNTS_AT_ONCE = 500_000
"""Numbers that a product over many arms makes at once, few enough to stay in the processor's cache."""


def resampled_macro_f1s(
    y: Classes, predicted: Classes, *, n_classes: int, weights: Floats
) -> NDArray[np.float64]:
    """Return macro-F1 of many arms, `predicted [arms, rows]`, on the same resamples: `[arms, resamples]`.

    Only wrong rows are counted, arm by arm, in one sparse product: the rows of a class are the same for all arms.
    """
    by_row = _by_row(weights)
    rows = _indicator(y, np.arange(len(y)), shape=(n_classes, len(y)))
    true = np.asarray(rows @ by_row, np.float64)
    found = np.empty((len(predicted), len(weights)))
    step = max(1, _COUNTS_AT_ONCE // (2 * n_classes * len(weights)))
    for start in range(0, len(predicted), step):
        some = predicted[start : start + step]
        arm, row = np.nonzero(some != y)
        missed = 2 * n_classes * arm + y[row]
        mistaken = 2 * n_classes * arm + n_classes + some[arm, row]
        count = _indicator(
            np.concatenate([missed, mistaken]),
            np.concatenate([row, row]),
            shape=(2 * n_classes * len(some), len(y)),
        )
        counts = np.asarray(count @ by_row, np.float64).reshape(len(some), 2, n_classes, len(weights))
        hits = 2 * (true - counts[:, 0])
        either = hits + counts[:, 0] + counts[:, 1]
        either[either == 0] = 1  # a class that is neither there nor predicted counts 0
        f1 = np.divide(hits, either, out=hits)
        # The mean over classes is taken where they lie side by side, so that it rounds as that of one arm does.
        found[start : start + step] = np.ascontiguousarray(f1.transpose(0, 2, 1)).mean(axis=-1)
    return found


def resampled_accuracy(y: Classes, predicted: Classes, *, weights: Floats) -> NDArray[np.float64]:
    """Return accuracy of each resample, `[resamples]`; NaN for one that holds no row."""
    hits = weights @ (y == predicted).astype(weights.dtype)
    rows = weights @ np.ones(len(y), weights.dtype)  # takes a third of the time of weights.sum
    return _divide(np.asarray(hits, np.float64), rows)


def resampled_balanced_accuracy(y: Classes, predicted: Classes, *, weights: Floats) -> NDArray[np.float64]:
    """Return balanced accuracy of each resample, `[resamples]`, over the classes with a row in it."""
    n_classes = int(y.max()) + 1
    places = np.where(y == predicted, y, y + n_classes)
    count = _indicator(places, np.arange(len(y)), shape=(2 * n_classes, len(y)))
    hits, missed = np.split(np.asarray(count @ _by_row(weights), np.float64), 2)
    rows = hits + missed
    recall = np.divide(hits, rows, out=np.zeros(hits.shape), where=rows > 0)
    return _divide(recall.sum(axis=0), np.count_nonzero(rows, axis=0))


def resampled_auroc(y: Classes, scores: Floats, *, weights: Floats) -> NDArray[np.float64]:
    """Return AUROC of each resample, `[resamples]`, as `auroc` does; NaN where it is undefined."""
    by_row = _by_row(weights)
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    total = np.zeros(len(weights))
    defined = np.zeros(len(weights), np.int64)
    for number in classes:
        positive = y == number
        if positive.any() and not positive.all():
            area = _area(positive, scores[:, number], by_row)
            defined += ~np.isnan(area)
            total += np.nan_to_num(area)
    return _divide(total, defined)


def _area(positive: NDArray[np.bool_], score: Floats, by_row: Floats) -> NDArray[np.float64]:
    """Return the share of (positive, negative) pairs in the right order, a tie counting half (Mann & Whitney 1947).

    Only the m distinct scores of positives matter. A negative is below all of them from place `right` on and equal to
    the one at `left` if `left < right`. Half its weight enters at each of the two places, so that the weight entered so
    far is the weight below a positive, ties halved.
    """
    levels, place = np.unique(score[positive], return_inverse=True)
    negatives = np.flatnonzero(~positive)
    left = np.searchsorted(levels, score[negatives], "left")
    right = np.searchsorted(levels, score[negatives], "right")
    shape = (len(levels) + 1, len(positive))
    halves = _indicator(np.concatenate([left, right]), np.tile(negatives, 2), shape=shape)
    entering = (halves @ by_row) * np.float32(0.5)
    weights = _indicator(place, np.flatnonzero(positive), shape=(len(levels), len(positive))) @ by_row
    below = entering[0].astype(np.float64)
    ordered = np.zeros_like(below)
    # Place by place takes less than half the time of a cumsum over places, and no array of them.
    for weight, entered in zip(weights, entering[1:], strict=True):
        ordered += weight * below
        below += entered
    return _divide(ordered, weights.sum(axis=0, dtype=np.float64) * below)


def _divide(share: NDArray[Any], of: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.divide(share, of, out=np.full(len(of), np.nan), where=of > 0))


def _indicator(places: Classes, rows: Classes, *, shape: tuple[int, int]) -> sparse.csr_array[Any, Any]:
    """Return a sparse matrix `[places, rows]` with 1 at each given pair; a pair given twice counts 2."""
    ones = np.ones(len(rows), np.float32)
    matrix = sparse.csr_array((ones, (places, rows)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _by_row(weights: Floats) -> Floats:
    return np.ascontiguousarray(weights.T)


def _once(y: Classes) -> NDArray[np.float64]:
    return np.ones((1, len(y)))


def _score(value: float, samples: NDArray[np.float64], support: Support | None, *, is_perfect: bool) -> Score:
    samples = samples[~np.isnan(samples)]
    method = f"stratified bootstrap of groups, {len(samples)} resamples"
    if support is not None and is_perfect:
        low, _ = percentile_interval(value * support.draw_perfect(len(samples), seed=0))
        return Score(value=value, low=low, high=value, method="Clopper-Pearson by class")
    if support is not None and np.isfinite(support.freedom):
        samples = support.stretch(samples, value, seed=0)
        method += f", Student's t of {support.freedom:.1f} degrees of freedom"
    low, high = percentile_interval(samples)
    return Score(value=value, low=max(low, 0.0), high=min(high, 1.0), method=method)
