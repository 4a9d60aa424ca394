"""Measurement of explanations: fragments are read, features chosen, explained from one half and scored on the other."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import (
    HarnessError,
    Judge,
    LabelledTask,
    OpenExplainer,
    Passage,
    Session,
    Simulator,
    UnavailableError,
    UsageError,
)
from harness_autointerp.fragments import (
    Draw,
    Feature,
    Half,
    choose_features,
    draw_fragments,
    find_maxima,
    read_halves,
    take_features,
)
from harness_autointerp.result import Arm, Compared, Example, Result, is_able
from harness_autointerp.scores import CHANCE, average, balance, correlate, rank, subtract

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

PLANTED = 24
"""Words on which planted features fire."""

PLANTED_SHARE = 0.25
"""Largest share of fragments that hold a planted word: a word of every text is none to tell texts apart by."""

EXAMPLES = 5
"""Features whose explanations are kept in a result."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Numbers of features, fragments and their tokens, and who explains and scores."""

    n_features: int
    top: int
    random: int
    explainer: OpenExplainer
    scorer: OpenExplainer
    device: str
    tell: Callable[[str], None]

    def score(self, explanations: Sequence[str], features: Sequence[Feature]) -> dict[str, Array]:
        """Return the scores of an explanation of each feature, by name, `[features]`: NaN where no answer could be
        read.
        """
        pairs = zip(explanations, features, strict=True)
        rows = [score(self.scorer, one, feature, seed) for seed, (one, feature) in enumerate(pairs)]
        return {name: np.array([row[name] for row in rows]) for name in CHANCE if name in rows[0]}

    def compare(self, explanations: Sequence[str], features: Sequence[Feature]) -> _Scored:
        """Score explanations, and each of them for another feature."""
        order = np.random.default_rng(0).permutation(len(features)).tolist()
        other = {row: order[(place + 1) % len(order)] for place, row in enumerate(order)}
        own = self.score(explanations, features)
        shuffled = self.score([explanations[other[row]] for row in range(len(features))], features)
        return _Scored(own=own, shuffled=shuffled)


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """Scores by name, `[features]`, of own explanations and of those of other features."""

    own: Mapping[str, Array]
    shuffled: Mapping[str, Array]

    def read(self, name: str) -> Array:
        """Return the numbers of the features of which all answers could be read."""
        return np.flatnonzero(~np.isnan(self.own[name] + self.shuffled[name]))

    def summarize(self) -> dict[str, Compared]:
        """Return means with intervals."""
        found = {}
        for name in self.own:
            rows = self.read(name)
            if len(rows):
                own, shuffled = self.own[name][rows], self.shuffled[name][rows]
                found[name] = Compared(
                    own=average(own), shuffled=average(shuffled), gain=average(own - shuffled), n=len(rows)
                )
        return found


def measure(
    session: Session,
    task: LabelledTask,
    *,
    representations: Sequence[str],
    explainer: str = "rules",
    scorer: str = "rules",
    n_features: int = 50,
    top: int = 10,
    random: int = 10,
    length: int = 64,
    fragments: int = 1000,
    batch_size: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Explain and score features of `representations` of a task's texts, the first compared with the others.

    Raise UsageError for a scorer that does not score, UnavailableError for texts that are too few. An arm that cannot
    be had is left out with a note; the first one must be there.
    """
    began = time.process_time()
    choices = [session.registry.choose("explainers", one) for one in (explainer, scorer)]
    explains: OpenExplainer = choices[0].make().open(session)
    scores: OpenExplainer = (
        explains if choices[0].label == choices[1].label else choices[1].make().open(session)
    )
    if not any(isinstance(scores, kind) for kind in (Simulator, Judge)):
        raise UsageError(f"explainer '{scorer}' neither simulates nor judges, so it cannot score")
    setting = Setting(
        n_features=n_features, top=top, random=random, explainer=explains, scorer=scores,
        device=session.device, tell=tell,
    )  # fmt: skip
    tell("reading fragments")
    halves = read_halves(
        task, length=length, fragments=fragments, device=session.device, batch_size=batch_size
    )
    if min(map(len, halves)) < 2 * (top + random):
        raise UnavailableError(
            f"task '{task.spec.name}' has {' and '.join(str(len(half)) for half in halves)} fragments of {length} "
            f"tokens in its halves, and {top} top and {random} random ones of a feature need "
            f"{2 * (top + random)} in each: give a smaller --length, or another task"
        )
    tell("asking the scorer about planted features")
    planted = score_planted(setting, halves[1])
    is_any_able = any(is_able(one, name) for name, one in planted.items())
    arms: list[Arm] = []
    scored: list[_Scored | None] = []
    for reference in representations:
        tell(f"explaining features of {reference}")
        arm, found = explain_arm(setting, task, reference, halves, is_scored=is_any_able, is_first=not arms)
        arms.append(arm)
        scored.append(found)
    return Result(
        task=task.spec.name,
        model=task.model.published_label,
        site=str(task.site),
        explainer=choices[0].label,
        scorer=choices[1].label,
        length=length,
        fragments_explained=len(halves[0]),
        fragments_scored=len(halves[1]),
        top=top,
        random=random,
        scorer_scores=planted,
        arms=tuple(_lead(arm, scored[0], found) for arm, found in zip(arms, scored, strict=True)),
        cpu_minutes=(time.process_time() - began) / 60,
        device=session.device,
    )


def score(scorer: OpenExplainer, explanation: str, feature: Feature, seed: int) -> dict[str, float]:
    """Return the scores of an explanation on a feature's fragments: by simulation over top and random fragments, by
    detection of top among quiet ones, by fuzzing of top ones. What a scorer does not do is left out.
    """
    draw, found = feature.draw, dict[str, float]()
    if isinstance(scorer, Simulator):
        rows = [*draw.top, *draw.random]
        simulated = scorer.simulate(explanation, feature.hide(rows))
        true = [feature.activations[row] for row in rows]
        is_read = not any(np.isnan(one).any() for one in simulated)
        found["simulation"] = correlate(true, simulated) if is_read else math.nan
    if isinstance(scorer, Judge):
        passages = feature.hide([*draw.top, *draw.quiet])
        is_top = np.arange(len(passages)) < len(draw.top)
        marked, is_right = feature.mark(seed)
        asked: list[tuple[str, list[Passage], Array]] = [
            ("detection", passages, is_top),
            ("fuzzing", marked, is_right),
        ]
        for name, some, truth in asked:
            answers = scorer.judge(explanation, some)
            is_read = not np.isnan(answers).any()
            found[name] = balance(answers, truth) if is_read else math.nan
            found[f"{name} AUROC"] = rank(answers, truth) if is_read else math.nan
    return found


def score_planted(setting: Setting, half: Half) -> dict[str, Compared]:
    """Return the scores of true explanations of planted features, each of which fires on one word of a half."""
    words = _choose_words(half, setting.top)
    if len(words) < 2:
        raise UnavailableError(
            "the texts have no two words that a few of them share, so no scorer can be tried"
        )
    features = [_plant(half, word, setting) for word in words]
    return setting.compare([f'on "{word}" (10)' for word in words], features).summarize()


def _choose_words(half: Half, top: int) -> list[str]:
    """Return random words in enough fragments, and not in too many: of letters, after a blank."""
    counts = Counter(chain.from_iterable(set(words) for words in half.words))
    known = sorted(
        word
        for word, n in counts.items()
        if top <= n <= PLANTED_SHARE * len(half)
        and word.startswith(" ")
        and word[1:].isalpha()
        and len(word) > 3
    )
    return np.random.default_rng(0).permutation(known)[:PLANTED].tolist() if known else []


def _plant(half: Half, word: str, setting: Setting) -> Feature:
    activations = np.array([[float(token == word) for token in words] for words in half.words])
    return Feature(half=half, activations=activations, draw=_draw(setting, activations.max(axis=1)))


def _draw(setting: Setting, maxima: Array) -> Draw:
    return draw_fragments(maxima, setting.top, setting.random, seed=0)


def explain_arm(
    setting: Setting,
    task: LabelledTask,
    reference: str,
    halves: tuple[Half, Half],
    *,
    is_scored: bool,
    is_first: bool,
) -> tuple[Arm, _Scored | None]:
    """Explain an arm's features; score them if the scorer is able to."""
    try:
        placed = task.place(reference)
        if placed.site not in (None, task.site):
            raise UsageError(f"representation '{reference}' reads '{placed.site}', and not '{task.site}'")
        sample = halves[0].activations.flatten(0, 1)
        encoder = placed.load_or_fit(setting.device, lambda: sample.to(setting.device))
    except HarnessError as error:
        if is_first:
            raise
        return _empty(reference, str(error)), None
    maxima = [find_maxima(encoder, half, setting.device) for half in halves]
    chosen, alive = choose_features(maxima, setting.n_features, setting.top, seed=0)
    width = int(maxima[0].shape[1])
    if len(chosen) < 2:
        note = f"{len(chosen)} of {width} features fire in {setting.top} fragments of each half"
        return _empty(reference, note, width=width, alive=alive), None
    if not is_scored:
        return _empty(reference, "the scorer is not able", width=width, alive=alive), None
    shown, hidden = (
        [
            Feature(half=half, activations=values, draw=_draw(setting, largest[:, number]))
            for number, values in zip(
                chosen, take_features(encoder, half, chosen, setting.device), strict=True
            )
        ]
        for half, largest in zip(halves, maxima, strict=True)
    )
    explanations = [setting.explainer.explain(one.show()) for one in shown]
    scored = setting.compare(explanations, hidden)
    examples = tuple(
        Example(
            feature=chosen[row],
            explanation=explanations[row],
            scores={
                name: float(values[row]) for name, values in scored.own.items() if not np.isnan(values[row])
            },
        )
        for row in range(min(EXAMPLES, len(chosen)))
    )
    arm = Arm(name=reference, width=width, alive=alive, scores=scored.summarize(), lead={}, examples=examples)
    return arm, scored


def _empty(reference: str, note: str, *, width: int = 0, alive: int = 0) -> Arm:
    return Arm(name=reference, width=width, alive=alive, scores={}, lead={}, examples=(), note=note)


def _lead(arm: Arm, first: _Scored | None, scored: _Scored | None) -> Arm:
    """Return an arm with the first arm's lead over it."""
    if first is None or scored is None or scored is first:
        return arm
    lead = {
        name: subtract(first.own[name][first.read(name)], scored.own[name][scored.read(name)])
        for name in arm.scores
        if len(first.read(name))
    }
    return arm.model_copy(update={"lead": lead})
