"""Alignments: maps from the features of one model to those of another, fitted without labels."""

from __future__ import annotations

import harness

HARNESS_API = 1


def _correlation(*, least: float = 0.0) -> harness.Alignment:
    from harness_alignments.matching import Correlation

    return Correlation(least=least)


def _assignment() -> harness.Alignment:
    from harness_alignments.matching import Assignment

    return Assignment()


def _least_squares(*, ridge: float | None = None) -> harness.Alignment:
    from harness_alignments.regression import LeastSquares

    return LeastSquares(ridge=ridge)


def _shuffled(*, seed: int = 0) -> harness.Alignment:
    from harness_alignments.matching import Shuffled

    return Shuffled(seed=seed)


@harness.hookimpl
def harness_alignments() -> list[harness.AlignmentSpec]:
    return [
        harness.AlignmentSpec(
            name="correlation",
            summary="each feature is read from the most correlated feature of the other model",
            make=_correlation,
        ),
        harness.AlignmentSpec(
            name="assignment",
            summary="one-to-one pairs of features with the largest sum of correlations",
            make=_assignment,
        ),
        harness.AlignmentSpec(
            name="least_squares",
            summary="ridge regression of each feature on all of the other model's; penalty by cross-validation",
            make=_least_squares,
        ),
        harness.AlignmentSpec(
            name="shuffled",
            summary="control: random pairs of features of the two models",
            make=_shuffled,
        ),
    ]
