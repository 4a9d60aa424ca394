"""Replication of the MOSAIC study, with its faults under their names: its sets, split, classifiers and suites.

Gallifant, Chen et al. (2025), "Sparse Autoencoder Features for Classifications and Transferability",
arXiv:2502.11367, with the code at github.com/shan23chen/MOSAIC (`src/classifiers.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import harness
from harness_mosaic.tasks import TASKS

HARNESS_API = 1

HERE = Path(__file__).parent


def _probe(*, restore: bool = False, seed: int = 0) -> harness.Classifier:
    from harness_mosaic.probe import MosaicProbe

    return MosaicProbe(restore=restore, seed=seed)


def _tree(*, depth: int = 5, min_samples_split: int = 2, min_samples_leaf: int = 1) -> harness.Classifier:
    from sklearn.tree import DecisionTreeClassifier

    tree: harness.Classifier = DecisionTreeClassifier(
        max_depth=depth,
        min_samples_split=min_samples_split,
        min_samples_leaf=min_samples_leaf,
        class_weight="balanced",
        random_state=42,
    )
    return tree


def _logreg(*, C: float = 1.0, max_iter: int = 10_000) -> harness.Classifier:
    from sklearn.linear_model import LogisticRegression

    logreg: harness.Classifier = LogisticRegression(
        C=C, max_iter=max_iter, class_weight="balanced", random_state=42
    )
    return logreg


class _LastToken:
    """Hidden states; the spec allows only the last token to be read."""

    def at(self, model: harness.Model, site: harness.Site) -> str:
        return "hidden"


def _split(*, hold_out: bool = True) -> harness.Regime:
    from harness_mosaic.split import MosaicSplit

    return MosaicSplit(hold_out=hold_out)


@harness.hookimpl
def harness_classifiers() -> Iterable[harness.ClassifierSpec]:
    return (
        harness.ClassifierSpec(
            name="mosaic_probe",
            summary=(
                "MOSAIC's linear probe: softmax regression by Adam, unscaled, stopped early; keeps the weights of the "
                "last epoch instead of the best (its fault), unless restore=true"
            ),
            make=_probe,
        ),
        harness.ClassifierSpec(
            name="mosaic_tree",
            summary="MOSAIC's decision tree, classes weighted alike; depth and leaf sizes chosen on validation",
            make=_tree,
            grid={"depth": (3, 5, 7, 9), "min_samples_split": (2, 5, 10), "min_samples_leaf": (1, 2, 4)},
        ),
        harness.ClassifierSpec(
            name="mosaic_logreg",
            summary="MOSAIC's logistic regression on TF-IDF: unscaled, classes weighted alike; nothing to choose",
            make=_logreg,
        ),
    )


@harness.hookimpl
def harness_representations() -> Iterable[harness.RepresentationSpec]:
    return (
        harness.RepresentationSpec(
            name="mosaic_last_token",
            summary="MOSAIC's baseline: the hidden state of the last token alone, of an image that of its last patch",
            make=_LastToken,
            needs="tokens",
            control=True,
            only={"poolings": "last"},
        ),
    )


@harness.hookimpl
def harness_regimes() -> Iterable[harness.RegimeSpec]:
    return (
        harness.RegimeSpec(
            name="mosaic_split",
            summary="MOSAIC's rows: all of them, cut 70/10/20 by label, whatever the split was",
            make=_split,
            moves_test=True,
        ),
    )


@harness.hookimpl
def harness_tasks() -> Iterable[harness.TaskSpec]:
    return TASKS


@harness.hookimpl
def harness_suites() -> Iterable[Path]:
    return sorted((HERE / "suites").glob("*.yaml"))
