"""Answers of a model to items: the likeliest choice, or what it writes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from harness import Answering, score_choices, write_answers
from harness_annotation.items import Item

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[np.float64]]

Way = Literal["likelihood", "generation"]
WAYS: tuple[Way, ...] = get_args(Way)

Form = Literal["question", "cloze"]
FORMS: tuple[Form, ...] = get_args(Form)

MOST = 24
"""Tokens that a written answer may have."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One way to ask a model. With `calibrated`, a choice counts by how much likelier the text makes it."""

    way: Way
    form: Form
    calibrated: bool
    shots: Sequence[Item] = field(default=(), repr=False)
    """Solved items at the beginning of every prompt."""

    def write(self, item: Item, note: str = "", *, blind: bool = False) -> str:
        """Return the prompt of an item, with a note below its text; `blind` leaves out the text."""
        return self._shown + write_prompt(item, note, form=self.form, blind=blind)

    @property
    def _shown(self) -> str:
        return "".join(
            f"{write_prompt(item, form=self.form)} {item.choices[item.right]}\n\n" for item in self.shots
        )


def write_prompt(item: Item, note: str = "", *, form: Form, blind: bool = False) -> str:
    """Return a prompt that asks for one of the choices, or that one of them continues as a sentence (`cloze`)."""
    lines = [] if blind else [item.text]
    if form == "cloze":
        return "\n".join([*lines, *([note] if note else []), item.cloze or "The answer is"])
    if item.question:
        lines.append(item.question)
    if not item.is_number:
        # In an order of their own, so that the place of the right one says nothing.
        lines.append(f"Options: {', '.join(sorted(item.choices))}.")
    return "\n".join([*lines, *([note] if note else []), "Answer:"])


def choose_shots(items: Sequence[Item], rows: Sequence[int], count: int) -> list[int]:
    """Return `count` of the `rows`, of unlike templates and with each answer as often as can be; fewer where there are
    not as many templates.
    """
    chosen: list[int] = []
    templates: set[str] = set()
    answers: Counter[str] = Counter()
    places: Counter[int] = Counter()
    while len(chosen) < count:
        free = [row for row in rows if items[row].template not in templates]
        if not free:
            break
        row = min(free, key=lambda row: (answers[items[row].answer], places[items[row].right]))
        chosen.append(row)
        templates.add(items[row].template)
        answers[items[row].answer] += 1
        places[items[row].right] += 1
    return chosen


def answer(
    items: Sequence[Item], prompts: Sequence[str], model: Answering, *, way: Way, device: str
) -> Array:
    """Return for each item 1 if the model is right, 0 if it is wrong or undecided between choices, and NaN where the
    prompt exceeds the model's length.
    """
    if way == "likelihood":
        return choose(items, score(items, prompts, model, device=device))
    said = write_answers(prompts, model, device=device, most=MOST, one_line=True)
    return np.array(
        [
            np.nan if text is None else float(is_right(item, text))
            for item, text in zip(items, said, strict=True)
        ]
    )


def score(
    items: Sequence[Item], prompts: Sequence[str], model: Answering, *, device: str, per_byte: bool = True
) -> list[Array | None]:
    """Return the log-likelihood of each item's choices: per byte, so that a long one has no handicap, or of the whole
    choice; None where the prompt exceeds the model's length.
    """
    # Prompts without text are often alike.
    asked = dict.fromkeys((prompt, item.choices) for prompt, item in zip(prompts, items, strict=True))
    choices = [[f" {choice}" for choice in one] for _, one in asked]
    scores = score_choices([prompt for prompt, _ in asked], choices, model, device=device)
    found = {
        key: None if one is None else np.array(one.per_byte if per_byte else one.sum)
        for key, one in zip(asked, scores, strict=True)
    }
    return [found[prompt, item.choices] for prompt, item in zip(prompts, items, strict=True)]


def choose(items: Sequence[Item], scores: Sequence[Array | None]) -> Array:
    """Return for each item 1 if its right choice scores highest, 0 if not or not alone, and NaN without scores."""
    found = np.full(len(items), np.nan)
    for row, (item, values) in enumerate(zip(items, scores, strict=True)):
        if values is not None:
            found[row] = float(values[item.right] > np.delete(values, item.right).max())
    return found


def is_right(item: Item, said: str) -> bool:
    """Check a written answer: its last number, or the choice that it names first, is the right one."""
    if item.is_number:
        found = _NUMBER.findall(said)
        return bool(found) and _as_number(found[-1]) == _as_number(item.answer)
    places = {
        choice: match.start()
        for choice in item.choices
        if (match := re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", said, re.IGNORECASE))
    }
    return bool(places) and min(places, key=lambda choice: (places[choice], -len(choice))) == item.answer


def _as_number(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
