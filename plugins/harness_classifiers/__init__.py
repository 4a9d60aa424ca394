"""Classifiers on pooled features: linear models, a decision tree, and class scores used as they are."""

from __future__ import annotations

import harness
from harness_classifiers.room import BYTES_PER_WEIGHT

HARNESS_API = 1

C_GRID = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Inverse penalties of logistic regression tried on validation."""


def _logreg(*, C: float = 10.0, max_iter: int = 1000, seed: int = 0) -> harness.Classifier:
    from harness_classifiers.logreg import LogReg

    return LogReg(C=C, max_iter=max_iter, seed=seed)


def _ksparse_logreg(*, k: int, C: float = 10.0, max_iter: int = 1000, seed: int = 0) -> harness.Classifier:
    from harness_classifiers.logreg import KSparseLogReg

    return KSparseLogReg(k=k, C=C, max_iter=max_iter, seed=seed)


def _ridge(*, alpha: float = 1.0) -> harness.Classifier:
    from harness_classifiers.linear import Ridge

    return Ridge(alpha=alpha)


def _nearest_centroid() -> harness.Classifier:
    from harness_classifiers.linear import Centroids

    return Centroids()


def _linear_sgd(*, alpha: float = 1e-4, max_iter: int = 1000, seed: int = 0) -> harness.Classifier:
    from harness_classifiers.linear import Sgd

    return Sgd(alpha=alpha, max_iter=max_iter, seed=seed)


def _decision_tree(*, depth: int = 8, seed: int = 0) -> harness.Classifier:
    from sklearn.tree import DecisionTreeClassifier

    from harness_classifiers.require import require_count

    tree: harness.Classifier = DecisionTreeClassifier(
        max_depth=require_count("depth", depth), random_state=seed
    )
    return tree


def _scores() -> harness.Classifier:
    from harness_classifiers.scores import Scores

    return Scores()


@harness.hookimpl
def harness_classifiers() -> list[harness.ClassifierSpec]:
    return [
        harness.ClassifierSpec(
            name="logreg",
            summary="L2 logistic regression; C chosen on validation",
            bytes_per_weight=BYTES_PER_WEIGHT["logreg"],
            make=_logreg,
            grid={"C": C_GRID},
            revision="2",
        ),
        harness.ClassifierSpec(
            name="ksparse_logreg",
            summary="logistic regression on the k features whose class means differ most on the training rows",
            make=_ksparse_logreg,
            grid={"C": C_GRID},
            selects="k",
        ),
        harness.ClassifierSpec(
            name="ridge",
            summary="ridge regression, one class against the rest; alpha chosen on validation",
            bytes_per_weight=BYTES_PER_WEIGHT["ridge"],
            make=_ridge,
            grid={"alpha": (0.01, 0.1, 1.0, 10.0, 100.0)},
        ),
        harness.ClassifierSpec(
            name="nearest_centroid",
            summary="the class whose mean over the training rows is nearest; no hyper-parameters",
            bytes_per_weight=BYTES_PER_WEIGHT["nearest_centroid"],
            make=_nearest_centroid,
        ),
        harness.ClassifierSpec(
            name="linear_sgd",
            summary="logistic regression by stochastic gradient descent; alpha chosen on validation",
            bytes_per_weight=BYTES_PER_WEIGHT["linear_sgd"],
            make=_linear_sgd,
            grid={"alpha": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)},
        ),
        harness.ClassifierSpec(
            name="decision_tree",
            summary="one decision tree; its depth chosen on validation",
            make=_decision_tree,
            grid={"depth": (2, 4, 8, 16, 32)},
        ),
        harness.ClassifierSpec(
            name="scores",
            summary="softmax of features that are class scores already, as of zero_shot; nothing is trained",
            make=_scores,
        ),
    ]
