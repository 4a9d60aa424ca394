"""Alignments: how the features of one model are read from those of another, learnt without labels."""

from __future__ import annotations

import harness


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
            summary="each feature is read from the one of the other model that correlates best with it",
            make=_correlation,
        ),
        harness.AlignmentSpec(
            name="assignment",
            summary="features of the two models in pairs, one to one, with the largest sum of correlations",
            make=_assignment,
        ),
        harness.AlignmentSpec(
            name="least_squares",
            summary="each feature is a ridge regression on all of the other model's; ridge by cross-validation",
            make=_least_squares,
        ),
        harness.AlignmentSpec(
            name="shuffled",
            summary="control: features of the two models in pairs drawn at random",
            make=_shuffled,
        ),
    ]
