"""Classifiers: scikit-learn's, on inputs brought to one scale."""

from __future__ import annotations

import harness


def _logreg(*, C: float = 10.0, max_iter: int = 1000, seed: int = 0) -> harness.Classifier:
    from harness_classifiers.logreg import LogReg

    return LogReg(C=C, max_iter=max_iter, seed=seed)


@harness.hookimpl
def harness_classifiers() -> list[harness.ClassifierSpec]:
    return [
        harness.ClassifierSpec(
            name="logreg",
            summary="L2 logistic regression; C chosen on validation",
            make=_logreg,
            grid={"C": (0.1, 1.0, 10.0, 100.0, 1000.0)},
        )
    ]
