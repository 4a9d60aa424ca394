"""Features that tell right from wrong answers, found on one half of the items with the harness's own probe."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness import Encoder, LabelledTask, Score, Tokens, UsageError, plan_batches, run_batches
from harness_annotation.notes import split_words

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

FEWEST = 10
"""Right and wrong answers, and templates of each, without which nothing is looked for."""

_TASK = """\
name: annotation_answers
summary: Does the model answer this rightly?
source: {file: answers.jsonl}
columns: {group: template}
languages: [en]
licence: that of the items
citation: that of the items
"""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Features of texts at one site of a model."""

    task: LabelledTask
    encoder: Encoder
    device: str

    def pool(self, tokens: Sequence[Tokens]) -> Array:
        """Return each text's largest activation of each feature, `[texts, width]`."""
        pooled = np.zeros((len(tokens), self.encoder.width), np.float32)
        for row, features in self._encode(tokens):
            if len(features):
                pooled[row] = features.amax(0).cpu().numpy()
        return pooled

    def read_words(
        self, texts: Sequence[str], features: Sequence[int]
    ) -> tuple[list[list[str]], list[Array]]:
        """Return the words of each text, and the largest activation of `features` on each: `[words, features]`."""
        words = [split_words(text) for text in texts]
        prefixes = [text[:end] for text, found in zip(texts, words, strict=True) for _, end in found]
        tokenize = self.task.model.model.tokenize
        ends = iter([int(one.content.sum()) for one in tokenize(prefixes)] if prefixes else [])
        values: list[Array] = [np.zeros((0, len(features)))] * len(texts)
        places = [[next(ends) for _ in found] for found in words]
        chosen = torch.tensor(features, dtype=torch.long)
        for row, encoded in self._encode(tokenize(list(texts))):
            found = encoded[:, chosen.to(encoded.device)].cpu().numpy()
            starts = [0, *places[row][:-1]]
            values[row] = np.array(
                [
                    # The last token of a text's beginning may have been cut otherwise in the whole.
                    found[max(0, min(start, len(found) - 1)) : max(start + 1, end)].max(0, initial=0)
                    for start, end in zip(starts, places[row], strict=True)
                ]
            ).reshape(len(places[row]), len(features))
        return [[word for word, _ in found] for found in words], values

    def _encode(self, tokens: Sequence[Tokens]) -> Iterator[tuple[int, Tensor]]:
        for row, activations in read_activations(self.task, tokens, self.device):
            with torch.inference_mode():
                yield row, self.encoder.encode(activations)


def read_activations(
    task: LabelledTask, tokens: Sequence[Tokens], device: str
) -> Iterator[tuple[int, Tensor]]:
    """Yield the activations of each text's content tokens at the task's site, `[tokens, d]` in float32."""
    loaded = task.model.model.load([task.site], device)

    @torch.inference_mode()
    def work(rows: Sequence[int]) -> list[tuple[int, Tensor]]:
        batch = [tokens[row] for row in rows]
        counts = [int(one.content.sum()) for one in batch]
        activations = loaded.forward(batch)[task.site].float()
        return list(zip(rows, torch.split(activations, counts), strict=True))

    for part in run_batches(
        plan_batches([len(one.ids) for one in tokens], batch_size=None, device=device), work
    ):
        yield from part


def open_reading(task: LabelledTask, representation: str, device: str) -> Reading:
    """Return the features of a representation at the task's site, fitted on its texts if it is one that is fitted.
    Raise UsageError for one that reads another site, or whose features depend on classes.
    """
    placed = task.place(representation)
    if placed.site not in (None, task.site):
        raise UsageError(f"representation '{representation}' reads '{placed.site}', and not '{task.site}'")

    def sample() -> Tensor:
        train = [task.tokens[row] for row in task.train]
        return torch.cat([one for _, one in read_activations(task, train, device)])

    return Reading(task=task, encoder=placed.load_or_fit(device, sample), device=device)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Features by their effect on the probe, largest first: `effects [found]`, and whether each speaks for a right
    answer. For all features, `means [width]` and `deviations [width]` over the training texts.
    """

    auroc: Score
    numbers: tuple[int, ...]
    speaks_for_right: tuple[bool, ...]
    effects: Array
    means: Array
    deviations: Array


def find_features(task: LabelledTask, pooled: Array, size: int) -> Found:
    """Return the `size` features that tell right from wrong answers best, of `pooled [examples, width]`."""
    probed = task.probe(pooled)
    assert probed.effects is not None  # logreg is linear
    train = pooled[task.train]
    is_right = task.y[task.train] == task.classes.index("right")
    leaning = train[is_right].mean(0) - train[~is_right].mean(0)
    ranked = [int(one) for one in np.argsort(-probed.effects, kind="stable") if probed.effects[one] > 0][
        :size
    ]
    return Found(
        auroc=probed.metrics["auroc"],
        numbers=tuple(ranked),
        speaks_for_right=tuple(bool(leaning[one] > 0) for one in ranked),
        effects=probed.effects[ranked],
        means=train.mean(0),
        deviations=train.std(0),
    )


def why_too_few(right: Array, templates: Sequence[str]) -> str | None:
    """Return why features cannot be looked for among answers, or None if there are enough of both kinds."""
    for kind, chosen in (("right", right > 0), ("wrong", right == 0)):
        groups = {template for template, one in zip(templates, chosen, strict=True) if one}
        if len(groups) < FEWEST:
            return (
                f"on the first half {int(chosen.sum())} answers, to {len(groups)} templates, are {kind}: features that "
                f"tell right from wrong need {FEWEST} templates of both"
            )
    return None


def load_answers(
    texts: Sequence[str], right: Array, templates: Sequence[str], load: Callable[[Path], LabelledTask]
) -> LabelledTask:
    """Return answers as a labelled task, of which a third of the templates are test rows."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(n_splits=3, shuffle=True, random_state=0)
    _, held_out = next(folds.split(right[:, None], right, list(templates)))
    test = set(held_out.tolist())
    rows = [
        {
            "text": text,
            "label": "right" if right[row] else "wrong",
            "split": "test" if row in test else "train",
            "template": templates[row],
        }
        for row, text in enumerate(texts)
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
        (folder / "task.yaml").write_text(_TASK, "utf-8")
        return load(folder / "task.yaml")
