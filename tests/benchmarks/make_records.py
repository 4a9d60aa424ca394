"""Make a run folder of very many records: real cells of a classifier that is fitted in a millisecond.

    python tests/benchmarks/make_records.py FOLDER [SEEDS]

Each seed gives 520 records with predictions; 25 seeds (13,000 records) take about ten minutes. `harness status` and
`harness leaderboard build` read the folder; `harness -p make_records validate FOLDER`, with this folder on PYTHONPATH,
and the same run again make the plan as well.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

import harness

SUITE = """
name: many-records
tasks: [quickstart_tone, quickstart_requests, quickstart_topic, quickstart_roles]
models:
  - {ref: minigemma-s, sites: [resid_post.50%]}
  - {ref: minigemma-m, sites: [resid_post.50%]}
  - {ref: minigemma-l, sites: [resid_post.50%]}
representations:
  - hidden
  - minigemma-scope
  - minigemma-scope[expansion=32]
  - random_projection[n=32]
  - text_length
  - majority
poolings: [max, mean]
transforms: [none]
classifiers: ["means[noise=0.2]", "means[noise=0.5]", "means[noise=1]", "means[noise=2]", "means[noise=4]"]
"""


class Means:
    """Classifier by the means of classes, with noise by seed, so that no two cells predict the same."""

    def __init__(self, noise: float, seed: int) -> None:
        self.noise, self.seed = noise, seed
        self.weights: np.ndarray[Any, Any] = np.zeros((0, 0))

    def fit(self, X: Any, y: np.ndarray[Any, Any]) -> Means:
        one_hot = np.eye(int(y.max()) + 1)[y]
        means = np.asarray((X.T @ one_hot) / one_hot.sum(axis=0)).T
        means = means - means.mean(axis=0)
        noise = np.random.default_rng(self.seed).normal(size=means.shape)
        self.weights = means / (np.sqrt(np.mean(means**2)) or 1.0) + self.noise * noise
        return self

    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:
        return np.asarray(softmax(X @ self.weights.T, axis=1))


def make_means(*, noise: float = 1.0, seed: int = 0) -> Means:
    return Means(noise, seed)


@harness.hookimpl
def harness_classifiers() -> list[harness.ClassifierSpec]:
    return [harness.ClassifierSpec(name="means", summary="class means, with noise", make=make_means)]


def main(folder: Path, seeds: int) -> None:
    """Run the suite into `folder`, beside which its file is left for a repeat of the run."""
    suite = folder.with_name(f"{folder.name}.yaml")
    suite.write_text(f"{SUITE}seeds: {seeds}\n")
    print(harness.open(plugins=["make_records"]).run(suite, output=folder).summary)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 25)
