"""Measurement: answers with the plain prompt, features found on one half, annotated prompts re-run on the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import (
    Answering,
    LabelledTask,
    OpenModel,
    Score,
    UsageError,
    check_answering,
    exact_mcnemar,
    holm,
    match_features,
    short_names,
)
from harness_annotation import chances
from harness_annotation.answering import Asking, Form, answer, choose, choose_shots, score
from harness_annotation.finding import Found, Reading, find_features, load_answers, open_reading, why_too_few
from harness_annotation.items import Item
from harness_annotation.notes import MOST, Note, draw_notes, explain, note_features, note_rule
from harness_annotation.result import (
    NOT_TESTABLE,
    Arm,
    Comparison,
    Feature,
    Result,
    Threshold,
    Way,
    judge_ability,
    judge_claim,
    judge_power,
    judge_room,
)

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[np.float64]]

CONTROLS = ("plain", "random", "placebo", "tfidf")
"""Controls that annotation by features is compared with, in one family of tests."""

RULE = "words on which a feature is largest"

TOO_LONG = "with notes fewer than two of its prompts are as short as the model reads"
"""Reason for testing nothing where plain prompts fit and annotated ones do not."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything that prompts are tried with."""

    items: Sequence[Item] = field(repr=False)
    answering: Answering
    load: Callable[[Path], LabelledTask]
    representation: str
    size: int
    explanations: Mapping[int, str] | None
    level: float
    """Level of the first test of a family by Holm."""
    always: bool
    device: str
    tell: Callable[[str], None]
    blind: dict[tuple[Form, int], Array | None] = field(default_factory=dict, repr=False)
    """Scores of choices without texts, by form and row: the same for every note, and slow to make."""

    def answer(self, rows: Sequence[int], notes: Sequence[str], asking: Asking) -> Array:
        """Return 1, 0 or NaN for the items in `rows`, with a note in each prompt."""
        items = [self.items[row] for row in rows]
        prompts = [asking.write(item, note) for item, note in zip(items, notes, strict=True)]
        if not asking.calibrated:
            return answer(items, prompts, self.answering, way=asking.way, device=self.device)
        scores = score(items, prompts, self.answering, device=self.device, per_byte=False)
        without = self.score_blind(rows, asking)
        return choose(
            items,
            [
                None if one is None or less is None else one - less
                for one, less in zip(scores, without, strict=True)
            ],
        )

    def answer_blind(self, rows: Sequence[int], asking: Asking) -> Array:
        """Return 1, 0 or NaN for the items in `rows`, without their texts: calibrated, nothing would be left."""
        items = [self.items[row] for row in rows]
        prompts = [asking.write(item, blind=True) for item in items]
        return answer(items, prompts, self.answering, way=asking.way, device=self.device)

    def score_blind(self, rows: Sequence[int], asking: Asking) -> list[Array | None]:
        """Return the log-likelihood of the choices of the items in `rows` without their texts, measured once."""
        keys = [(asking.form, row) for row in rows if (asking.form, row) not in self.blind]
        items = [self.items[row] for _, row in keys]
        prompts = [asking.write(item, blind=True) for item in items]
        scores = score(items, prompts, self.answering, device=self.device, per_byte=False)
        self.blind.update(zip(keys, scores, strict=True))
        return [self.blind[asking.form, row] for row in rows]


def measure(
    items: Sequence[Item],
    *,
    name: str,
    opened: OpenModel,
    site: str,
    load: Callable[[Path], LabelledTask],
    representation: str,
    askings: Sequence[Asking],
    size: int,
    shots: int = 0,
    explanations: Mapping[int, str] | None = None,
    report: Callable[[], tuple[tuple[Threshold, ...], int]] = lambda: ((), 0),
    always: bool = False,
    device: str,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Answer items as they are asked with the plain prompt and, where the model can do the task, with annotations.

    `shots` items of the first half are shown solved in each prompt, and are not asked. `load` reads a task file as the
    model reads it at the site, `report` measures the dictionary. With `always`, annotations are tried on a model that
    cannot do the task too. Raise UsageError for items of one template only.
    """
    began = time.process_time()
    able = check_answering(opened.model)
    able.answering_identity()  # the weights loaded below must be those that there are now
    first, second = halve(items)
    shown = choose_shots(items, first, shots)
    if len(shown) < shots or shots >= len(first) / 2:
        raise UsageError(
            f"{shots} solved items of unlike templates are to be shown, and the first half has {len(first)} items only"
        )
    first = [row for row in first if row not in shown]
    askings = [replace(one, shots=[items[row] for row in shown]) for one in askings]
    thresholds, tokens = report()
    bench = Bench(
        items=items,
        answering=able.load_answering(device),
        load=load,
        representation=representation,
        size=size,
        explanations=explanations,
        level=chances.ALPHA / (len(CONTROLS) * len(askings)),
        always=always,
        device=device,
        tell=tell,
    )
    measured = [_try_way(bench, one, first, second) for one in askings]
    return Result(
        items=name,
        model=opened.published_label,
        site=site,
        dictionary=short_names([representation])[representation],
        shots=shots,
        explanations=RULE if explanations is None else f"given for {len(explanations)} features, else {RULE}",
        ways=tuple(_judge(measured)),
        thresholds=thresholds,
        report_tokens=tokens,
        cpu_minutes=(time.process_time() - began) / 60,
        device=device,
    )


def halve(items: Sequence[Item]) -> tuple[list[int], list[int]]:
    """Return row numbers of the half on which features are found and of that on which prompts are re-run: whole
    templates. Raise UsageError if there is one template only.
    """
    from sklearn.model_selection import GroupKFold

    templates = [item.template for item in items]
    if len(set(templates)) < 2:
        raise UsageError(
            "the items are all of one template, so no half is apart from the other: add a column 'template'"
        )
    folds = GroupKFold(n_splits=2, shuffle=True, random_state=0)
    first, second = next(folds.split(templates, groups=templates))
    return first.tolist(), second.tolist()


# ── one way of answering ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _Answered:
    """Answers of one half with the plain prompt: the rows of items that fit the model, and 1 for a right answer."""

    rows: list[int]
    right: Array
    templates: list[str]


def _try_way(bench: Bench, asking: Asking, first_rows: Sequence[int], second_rows: Sequence[int]) -> Way:
    bench.tell(f"{asking.way}: plain prompts")
    second = _answer_plainly(bench, asking, second_rows)
    accuracy = _share(second.right, second.templates)
    blind, chance = _find_chance(bench, asking, second.rows)
    fields: dict[str, Any] = {
        "way": asking.way,
        "form": asking.form,
        "calibrated": asking.calibrated,
        "n": len(second.rows),
        "templates": len(set(second.templates)),
        "accuracy": accuracy,
        "blind": blind,
        "chance": chance,
    }
    unable = judge_ability(accuracy, chance)
    if unable and not bench.always:
        return _untested(fields, unable)
    first = _answer_plainly(bench, asking, first_rows)
    few = why_too_few(first.right, first.templates)
    if few:
        return _untested(fields, unable or few)
    bench.tell(f"{asking.way}: finding features")
    texts = [bench.items[row].text for row in first.rows]
    task = load_answers(texts, first.right, first.templates, bench.load)
    if len(np.unique(task.y[task.test])) < 2 or len(np.unique(task.y[task.train])) < 2:
        return _untested(fields, unable or "right and wrong answers are not spread over templates")
    reading = open_reading(task, bench.representation, bench.device)
    found = find_features(task, reading.pool(task.tokens), bench.size)
    features, notes = write_notes(bench, second.rows, reading, found)
    if not features:
        return _untested(fields, unable or "no feature of the dictionary tells right from wrong answers")
    fields |= {"probe_auroc": found.auroc, "features": features}
    return _try_notes(bench, asking, second, notes, fields, unable)


def _answer_plainly(bench: Bench, asking: Asking, rows: Sequence[int]) -> _Answered:
    right = bench.answer(rows, [""] * len(rows), asking)
    fits = np.asarray(np.isfinite(right))
    if fits.sum() < 2:
        raise UsageError(
            f"model '{bench.answering.name}' reads less than two prompts of {len(rows)} whole: take shorter items, or "
            "show fewer of them solved (--shots)"
        )
    kept = [row for row, fit in zip(rows, fits, strict=True) if fit]
    return _Answered(rows=kept, right=right[fits], templates=[bench.items[row].template for row in kept])


def _find_chance(bench: Bench, asking: Asking, rows: Sequence[int]) -> tuple[float, float]:
    """Return the accuracy without the texts, and that of the best way to answer without reading them."""
    items = [bench.items[row] for row in rows]
    blind = float(np.nan_to_num(bench.answer_blind(rows, asking)).mean())
    answers = [item.answer for item in items]
    commonest = max(answers.count(one) for one in set(answers)) / len(items)
    guessed = float(np.mean([1 / len(item.choices) for item in items]))
    if asking.way == "generation" and all(item.is_number for item in items):
        guessed = 0.0  # no choices are shown
    return blind, max(blind, commonest, guessed)


def _untested(fields: Mapping[str, Any], reason: str) -> Way:
    plain = Arm(name="plain", accuracy=fields["accuracy"], gain=None, annotated=0.0)
    left_out = {
        "probe_auroc": None,
        "churn": None,
        "detectable_gain": None,
        "features": (),
        "comparisons": (),
    }
    return Way(**{**left_out, **fields}, arms=(plain,), verdict=NOT_TESTABLE, reason=reason)


def write_notes(
    bench: Bench, rows: Sequence[int], reading: Reading, found: Found
) -> tuple[tuple[Feature, ...], dict[str, list[Note]]]:
    """Return the found features with their explanations, and the notes of each arm for the items in `rows`."""
    task = reading.task
    train = [str(task.examples.inputs[row]) for row in task.train]
    texts = [bench.items[row].text for row in rows]
    free = found.means > 0
    free[list(found.numbers)] = False
    placebo = match_features(found.numbers, free, found.means, seed=0)
    both = [*found.numbers, *placebo]
    words, activations = reading.read_words(train, both)
    explained = explain(words, activations)
    if bench.explanations is not None:
        explained = [
            (bench.explanations[number],) if number in bench.explanations else said
            for number, said in zip(both, explained, strict=True)
        ]
    leaning = [*found.speaks_for_right, *found.speaks_for_right[: len(placebo)]]
    features = [
        Feature(number=number, speaks_for="right" if right else "wrong", explanation=said)
        for number, right, said in zip(both, leaning, explained, strict=True)
    ]
    pooled = reading.pool(task.model.model.tokenize(texts))
    typical = np.stack([found.means, found.deviations])

    own, others = features[: len(found.numbers)], features[len(found.numbers) :]

    def note(chosen: Sequence[Feature], counts: Sequence[int] | None = None) -> list[Note]:
        numbers = [feature.number for feature in chosen]
        return note_features(
            chosen,
            pooled[:, numbers],
            effects=found.effects[: len(numbers)],
            typical=typical[:, numbers],
            counts=counts,
        )

    above = pooled[:, list(found.numbers)] > typical[0, list(found.numbers)]
    by_features = note(own)
    vocabulary = sorted({word.casefold() for found in words for word in found})
    right = [bool(task.y[row] == task.classes.index("right")) for row in task.train]
    notes = {
        "features": by_features,
        "placebo": note(others, np.minimum(above.sum(1), MOST).tolist()),
        "random": draw_notes(by_features, vocabulary, lambda text: len(bench.answering.encode(text).ids)),
        "tfidf": note_rule(train, right, texts),
    }
    hints = [bench.items[row].hint for row in rows]
    if any(hints):
        notes["oracle"] = [Note(about=(hint,)) if hint else Note() for hint in hints]
    return tuple(own), notes


def _try_notes(
    bench: Bench,
    asking: Asking,
    second: _Answered,
    notes: Mapping[str, Sequence[Note]],
    fields: Mapping[str, Any],
    unable: str | None,
) -> Way:
    """Measure the controls first: they tell the smallest gain that would show, without which no claim is tested."""
    answers: dict[str, Array] = {"plain": second.right}
    templates = second.templates

    def run(arm: str) -> None:
        bench.tell(f"{asking.way}: prompts with the annotation {arm}")
        answers[arm] = bench.answer(second.rows, [str(note) for note in notes[arm]], asking)

    def find_whole() -> Array:
        """Return whether each item fits with every annotation so far: one that does not is left out of all arms."""
        return np.asarray(np.isfinite(np.stack(list(answers.values()))).all(0))

    run("random")
    run("placebo")
    whole = find_whole()
    if whole.sum() < 2:
        return _untested(fields, TOO_LONG)
    n, churn, design_effect = int(whole.sum()), 0.0, 1.0
    fitting = [template for template, fits in zip(templates, whole, strict=True) if fits]
    for one, other in combinations(("plain", "random", "placebo"), 2):
        change = answers[one][whole] - answers[other][whole]
        churn = max(churn, 2 * min(float((change > 0).mean()), float((change < 0).mean())))
        design_effect = max(design_effect, chances.find_design_effect(change, fitting))
    detectable = chances.detectable_gain(int(n / design_effect), churn, alpha=bench.level)
    refused = unable or judge_power(detectable, n) or judge_room(fields["accuracy"], detectable)
    if refused is None or bench.always:
        for arm in notes:
            if arm not in answers:
                run(arm)
    whole = find_whole()
    if whole.sum() < 2:
        return _untested(fields, TOO_LONG)
    answers = {arm: right[whole] for arm, right in answers.items()}
    kept = [template for template, fits in zip(templates, whole, strict=True) if fits]
    arms = [
        _make_arm(arm, right, answers["plain"], kept, notes.get(arm, ())) for arm, right in answers.items()
    ]
    comparisons = []
    if "features" in answers:
        comparisons = [_compare(arm, answers["features"], answers[arm], kept) for arm in CONTROLS]
    return Way(
        **{**fields, "n": len(kept), "templates": len(set(kept))},
        churn=churn,
        detectable_gain=detectable,
        arms=tuple(arms),
        comparisons=tuple(comparisons),
        verdict=NOT_TESTABLE if refused else "undecided",  # which `_judge` replaces
        reason=refused or "",
    )


def _make_arm(name: str, right: Array, plain: Array, templates: Sequence[str], notes: Sequence[Note]) -> Arm:
    said = [str(note) for note in notes if str(note)]
    return Arm(
        name=name,
        accuracy=_share(right, templates),
        gain=None if name == "plain" else _mean(right - plain, templates),
        annotated=len(said) / len(notes) if notes else 0.0,
        example=said[0] if said else "",
    )


def _compare(against: str, features: Array, control: Array, templates: Sequence[str]) -> Comparison:
    only_features, only_control = int((features > control).sum()), int((control > features).sum())
    p = exact_mcnemar(only_features, only_control)
    return Comparison(
        against=against,
        gain=_mean(features - control, templates),
        only_features=only_features,
        only_control=only_control,
        p=p,
        p_holm=p,  # which `_judge` replaces
    )


def _judge(ways: Sequence[Way]) -> list[Way]:
    """Adjust the tests of all ways that are tested for their number, and judge each way."""
    tested = [place for place, way in enumerate(ways) if way.verdict != NOT_TESTABLE]
    adjusted = iter(holm([one.p for place in tested for one in ways[place].comparisons]).tolist())
    judged = list(ways)
    for place in tested:
        comparisons = tuple(
            one.model_copy(update={"p_holm": next(adjusted)}) for one in ways[place].comparisons
        )
        verdict, reason = judge_claim(comparisons)
        judged[place] = ways[place].model_copy(
            update={"comparisons": comparisons, "verdict": verdict, "reason": reason}
        )
    return judged


def _share(right: Array, templates: Sequence[str]) -> Score:
    value, low, high = chances.find_share(right, templates)
    return Score(value=value, low=low, high=high)


def _mean(values: Array, templates: Sequence[str]) -> Score:
    value, low, high = chances.find_mean(values, templates)
    return Score(value=value, low=low, high=high)
