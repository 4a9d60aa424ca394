"""Answers of a model to items: the likeliest choice, or what it writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from harness import (
    Answering,
    AnsweringModel,
    Model,
    UnavailableError,
    UsageError,
    plan_batches,
    run_batches,
)
from harness_annotation.items import Item

if TYPE_CHECKING:
    pass

Way = Literal["likelihood", "generation"]
WAYS: tuple[Way, ...] = get_args(Way)

MOST = 24
"""Tokens that a written answer may have."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def find_answering(model: Model) -> AnsweringModel:
    """Return the model if it can answer; UsageError otherwise."""
    if not isinstance(model, AnsweringModel):
        raise UsageError(
            f"model '{model.name}' answers nothing, so no prompt can be tried on it: its plugin gives it no "
            "load_answering"
        )
    return model


def write_prompt(item: Item, note: str = "", *, blind: bool = False) -> str:
    """Return the prompt of an item, with a note below its text; `blind` leaves out the text."""
    lines = [] if blind else [item.text]
    if not item.is_number:
        # In an order of their own, so that the place of the right one says nothing.
        lines.append(f"Options: {', '.join(sorted(item.choices))}.")
    return "\n".join([*lines, *([note] if note else []), "Answer:"])


def write_shots(items: Sequence[Item]) -> str:
    """Return solved items, as a model that only continues texts is shown what is wanted; empty for none."""
    return "".join(f"{write_prompt(item)} {item.choices[item.right]}\n\n" for item in items)


def answer(
    items: Sequence[Item], prompts: Sequence[str], model: Answering, *, way: Way, device: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return for each item 1 if the model is right, 0 if it is wrong or undecided between choices, and NaN where the
    prompt exceeds the model's length.
    """
    return (_choose if way == "likelihood" else _write)(items, prompts, model, device)


def is_right(item: Item, said: str) -> bool:
    """Check a written answer: its last number, or the choice that it names first, is the right one."""
    right = item.choices[item.right]
    if item.is_number:
        found = _NUMBER.findall(said)
        return bool(found) and _as_number(found[-1]) == _as_number(right)
    places = {
        choice: match.start()
        for choice in item.choices
        if (match := re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", said, re.IGNORECASE))
    }
    return bool(places) and min(places, key=lambda choice: (places[choice], -len(choice))) == right


def _as_number(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None


def _choose(
    items: Sequence[Item], prompts: Sequence[str], model: Answering, device: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Score each choice by its log-likelihood per byte, so that a long one has no handicap."""
    owners = [(row, choice) for row, item in enumerate(items) for choice in range(len(item.choices))]
    encoded = [model.encode(prompts[row], f" {items[row].choices[choice]}") for row, choice in owners]
    for (row, choice), one in zip(owners, encoded, strict=True):
        if not one.truncated and not one.content[1:].any():
            raise UsageError(f"choice {items[row].choices[choice]!r} of an item adds no token to its prompt")
    too_long = {row for (row, _), one in zip(owners, encoded, strict=True) if one.truncated}
    kept = [place for place, (row, _) in enumerate(owners) if row not in too_long]

    def score(places: Sequence[int]) -> Mapping[int, float]:
        batch = [encoded[kept[place]] for place in places]
        losses = model.losses(batch).double().cpu().numpy()
        ends = np.cumsum([int(one.content[1:].sum()) for one in batch])[:-1]
        return {
            kept[place]: -float(part.sum())
            for place, part in zip(places, np.split(losses, ends), strict=True)
        }

    scores: dict[int, float] = {}
    lengths = [len(encoded[place].ids) for place in kept]
    for part in run_batches(plan_batches(lengths, batch_size=None, device=device), score):
        scores |= part
    if not np.isfinite(list(scores.values())).all():
        raise UnavailableError(
            f"model '{model.name}' gives choices log-likelihoods that are not finite: try --dtype float32"
        )
    found = np.full(len(items), np.nan)
    rows: dict[int, list[tuple[float, bool]]] = {}
    for place, (row, choice) in enumerate(owners):
        if row not in too_long:
            size = len(items[row].choices[choice].encode())
            rows.setdefault(row, []).append((scores[place] / size, choice == items[row].right))
    for row, values in rows.items():
        wrong = max(value for value, right in values if not right)
        found[row] = float(next(value for value, right in values if right) > wrong)
    return found


def _write(
    items: Sequence[Item], prompts: Sequence[str], model: Answering, device: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    encoded = [model.encode(prompt) for prompt in prompts]
    found = np.full(len(items), np.nan)
    fits = [
        row
        for row, one in enumerate(encoded)
        if not one.truncated and len(one.ids) + MOST <= model.max_length
    ]
    fits.sort(key=lambda row: -len(encoded[row].ids))
    for length, group in groupby(fits, key=lambda row: len(encoded[row].ids)):
        same = list(group)  # of one length, so that none is padded
        batches = plan_batches([length + MOST] * len(same), batch_size=None, device=device)

        def write(places: Sequence[int], same: Sequence[int] = same) -> list[tuple[int, str]]:
            rows = [same[place] for place in places]
            said = model.generate([encoded[row] for row in rows], most=MOST, one_line=True)
            return list(zip(rows, said, strict=True))

        for part in run_batches(batches, write):
            for row, said in part:
                found[row] = float(is_right(items[row], said.strip().split("\n")[0]))
    return found
