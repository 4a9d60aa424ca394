"""Axes of charts: places from 0 to 1 of numbers and of names, with their ticks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.leaderboard.plots.chart import Tick
from harness.leaderboard.plots.texts import clean, count_columns
from harness.leaderboard.selection import group_by, in_natural_order

SLOT, MARGIN = 0.16, 0.05
"""Share of an axis of a value that is no number, and between the first and last number and the edge."""

LOG_FROM = 8.0
"""Ratio of the highest to the least number from which an axis is logarithmic."""

APART = 0.075
"""Least distance of two ticks that both have a label."""

LONG_NAME = 12
"""Columns of a name from which an axis of names runs down the side."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Places of an axis. `kind` says what there is to say of it, such as that it is logarithmic."""

    place: Callable[[float], float]
    is_log: bool

    @property
    def kind(self) -> str:
        """Words for the name of the axis."""
        return " (log scale)" if self.is_log else ""


def number_scale(
    numbers: Sequence[float], *, slots: int = 0, slots_first: bool = False, log: bool = False
) -> Scale:
    """Return a scale of numbers beside `slots` values that are none. With `log` it is logarithmic where it can be, else
    where numbers have very different sizes.
    """
    low, high = min(numbers), max(numbers)
    is_log = low > 0 and (log or high >= LOG_FROM * low)
    write = math.log if is_log else float
    left = MARGIN + (slots * SLOT if slots_first else 0)
    right = 1 - MARGIN - (0 if slots_first else slots * SLOT)
    span = write(high) - write(low)

    def place(number: float) -> float:
        share = (write(number) - write(low)) / span if span else 0.5
        return round(left + share * (right - left), 6)

    return Scale(place=place, is_log=is_log)


def number_ticks(
    scale: Scale, numbers: Sequence[float], *, below: Mapping[float, str] | None = None
) -> list[Tick]:
    """Return a tick at each number, without the labels that would touch the one before."""
    ticks: list[Tick] = []
    free = -1.0
    for number in sorted(set(numbers)):
        at = scale.place(number)
        is_free = at - free >= APART
        free = at if is_free else free
        ticks.append(
            Tick(
                at=at,
                label=write_number(number) if is_free else "",
                below=(below or {}).get(number, "") if is_free else "",
            )
        )
    return ticks


def slot_places(slots: int, *, first: bool = False) -> list[float]:
    """Return the places of the values that are no numbers."""
    return [
        round((number + 0.5) * SLOT if first else 1 - (slots - number - 0.5) * SLOT, 6)
        for number in range(slots)
    ]


def name_places(count: int) -> list[float]:
    """Return places for names, the same distance apart."""
    return [round((number + 0.5) / count, 6) for number in range(count)]


def are_long(names: Sequence[str]) -> bool:
    """Return whether an axis of these names has to run down the side."""
    return len(names) > 6 or any(count_columns(name) > LONG_NAME for name in names)


def write_number(number: float) -> str:
    """Return a number as briefly as it can be read."""
    return f"{number:,.0f}" if number == int(number) or abs(number) >= 100 else f"{number:.3g}"


# ── values with a number ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Family:
    """Values of one kind that differ by one number, such as `size(n=16)` and `size(n=64)`: the numbers by value."""

    name: str
    parameter: str
    numbers: Mapping[str, float]

    def label(self, word: str) -> str:
        """Return words for the axis; `word` says what the family is of."""
        return f"{clean(self.parameter)} of the {word} {clean(self.name)}"


def find_families(values: Sequence[str]) -> tuple[list[Family], list[str]]:
    """Return the families of at least two values, and the values that are in none, both in natural order."""
    ordered = sorted(dict.fromkeys(values), key=in_natural_order)
    parsed = {value: found for value in ordered if (found := _parse(value))}
    families = []
    for name, same in group_by(parsed, lambda value: (parsed[value][0], tuple(parsed[value][1]))).items():
        for parameter in name[1]:
            rest = {
                tuple(text for key, text in parsed[value][1].items() if key != parameter) for value in same
            }
            numbers = {value: _number(parsed[value][1][parameter]) for value in same}
            known = {value: number for value, number in numbers.items() if number is not None}
            if len(rest) == 1 and len(set(known.values())) == len(same) > 1:
                families.append(Family(name=name[0], parameter=parameter, numbers=known))
    inside = {value for family in families for value in family.numbers}
    return families, [value for value in ordered if value not in inside]


def _parse(value: str) -> tuple[str, dict[str, str]] | None:
    """Return the name and the parameters of `name(a=1,b=x)`; None of another form."""
    found = re.fullmatch(r"([^()]+)\(([^()]+)\)", value)
    if found is None:
        return None
    pairs = [part.partition("=") for part in found[2].split(",")]
    return found[1], {key.strip(): text.strip() for key, _, text in pairs}


def _number(text: str) -> float | None:
    if not re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", text):
        return None
    return float(text)
