"""Charts of rows at each value of one thing that was varied: a number, or names such as `mean` and `max`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from harness.leaderboard.board import Row
from harness.leaderboard.exports.exported import file_name
from harness.leaderboard.plots.arms import Arms
from harness.leaderboard.plots.chart import Chart, Point, Series, Tick, describe, exact
from harness.leaderboard.plots.scales import (
    Family,
    are_long,
    find_families,
    name_places,
    number_scale,
    number_ticks,
    slot_places,
)
from harness.leaderboard.plots.texts import clean
from harness.leaderboard.scoring import Estimate
from harness.leaderboard.selection import group_by

SLOTS = 2
"""Most values without a number that stand beside an axis of numbers."""


@dataclass(frozen=True, kw_only=True)
class Valued:
    """Score of a row at a value; `tests` says of how many tasks and rows, and is asked of what is drawn."""

    row: Row
    value: str
    score: Estimate
    tests: Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Varied:
    """Axis that was varied: the start of its plots' names, its word in them, their subtitle and notes, and whether
    values without a number come before the numbers.
    """

    name: str
    word: str
    subtitle: str
    notes: tuple[str, ...] = ()
    slots_first: bool = False


def make_charts(arms: Arms, varied: Varied, found: Sequence[Valued]) -> Iterator[Chart]:
    """Yield a chart for each number that was varied, and one for values that are names."""
    families, names = find_families([one.value for one in found])
    for family in families:
        slots = names if len(names) <= SLOTS else []
        label = family.label(varied.word)
        title = f"Macro-F1 against {label}"
        name = f"{varied.name}-{file_name(family.name)}-{file_name(family.parameter)}"
        rows, left_out = _choose(arms, found, family.numbers)
        own = _of(rows, found)
        if rows:
            axis = _place_numbers(family, label, _used(slots, own), first=varied.slots_first)
            yield _chart(arms, varied, own, axis, name=name, title=title, left_out=left_out)
    if len(names) > (SLOTS if families else 1):
        title = f"Macro-F1 by {varied.word}"
        rows, left_out = _choose(arms, found, names)
        own = _of(rows, found)
        if rows:
            axis = _place_names(_used(names, own), varied.word)
            yield _chart(arms, varied, own, axis, name=varied.name, title=title, left_out=left_out)


def _choose(arms: Arms, found: Sequence[Valued], values: Container[str]) -> tuple[list[Row], str]:
    """Return the rows to show, of those that have two of the values, and what is said of the others."""
    by_row = group_by((one for one in found if one.value in values), lambda one: one.row.key)
    return arms.best(same[0].row for same in by_row.values() if len(same) > 1)


def _of(rows: Sequence[Row], found: Sequence[Valued]) -> list[Valued]:
    keys = {row.key for row in rows}
    return [one for one in found if one.row.key in keys]


def _used(values: Sequence[str], found: Sequence[Valued]) -> list[str]:
    """Return the values that some row has, in their order."""
    known = {one.value for one in found}
    return [value for value in values if value in known]


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Axis with the places of values; those in `joined` are on one line."""

    label: str
    places: dict[str, float]
    ticks: tuple[Tick, ...]
    joined: frozenset[str]
    are_names: bool = False
    upright: bool = False


def _place_numbers(family: Family, label: str, slots: Sequence[str], *, first: bool) -> _Axis:
    scale = number_scale(list(family.numbers.values()), slots=len(slots), slots_first=first)
    beside = dict(zip(slots, slot_places(len(slots), first=first), strict=True))
    ticks = number_ticks(scale, list(family.numbers.values()))
    return _Axis(
        label=f"{label}{scale.kind}",
        places={value: scale.place(number) for value, number in family.numbers.items()} | beside,
        ticks=(*ticks, *(Tick(at=at, label=clean(value)) for value, at in beside.items())),
        joined=frozenset(family.numbers),
    )


def _place_names(names: Sequence[str], word: str) -> _Axis:
    places = dict(zip(names, name_places(len(names)), strict=True))
    ticks = tuple(Tick(at=at, label=clean(name)) for name, at in places.items())
    return _Axis(
        label=word, places=places, ticks=ticks, joined=frozenset(), are_names=True, upright=are_long(names)
    )


def _chart(
    arms: Arms,
    varied: Varied,
    found: Sequence[Valued],
    axis: _Axis,
    *,
    name: str,
    title: str,
    left_out: str,
) -> Chart:
    """Return the chart of what was found at the places of an axis."""
    by_row = group_by((one for one in found if one.value in axis.places), lambda one: one.row.key)
    series = []
    for row in arms.by_model(same[0].row for same in by_row.values()):
        points = [
            Point(
                at=axis.places[one.value],
                value=one.score.value,
                interval=one.score.interval,
                about=f"{arms.name(row)}, {varied.word} {clean(one.value)}: macro-F1 {exact(one.score)},"
                f" {one.tests()}",
                joined=one.value in axis.joined,
            )
            for one in by_row[row.key]
        ]
        points.sort(key=lambda point: point.at)
        series.append(
            Series(head=arms.model(row), label=arms.label(row), style=arms.style(row), points=tuple(points))
        )
    return Chart(
        name=f"{name}{arms.suffix}",
        title=title,
        subtitle=arms.subtitle(varied.subtitle),
        axis=axis.label,
        values="macro-F1",
        ticks=axis.ticks,
        series=tuple(series),
        alt=f"{title}, from the least to the highest: {describe(series)}.",
        notes=(*varied.notes, *filter(None, [left_out])),
        upright=axis.upright,
        are_names=axis.are_names,
    )
