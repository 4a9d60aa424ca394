"""Charts of an ablation: macro-F1 at every layer, pooling, transform, classifier and token set that was searched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from harness.leaderboard.board import Ablated
from harness.leaderboard.exports.exported import file_name
from harness.leaderboard.plots.arms import Arms, count_tests
from harness.leaderboard.plots.chart import Chart, Point, Series, describe, exact
from harness.leaderboard.plots.scales import number_scale, number_ticks
from harness.leaderboard.plots.texts import clean, count
from harness.leaderboard.plots.values import Valued, Varied, make_charts
from harness.leaderboard.selection import RowKey, group_by

_NOTE = "At each value, what else was searched was chosen on validation rows; scores are on test rows."


def charts(arms: Arms) -> Iterator[Chart]:
    """Yield the charts of each axis of the search, of rows that have two values on it."""
    found = [one for one in arms.board.ablation if one.row in arms.by_key]
    for axis, lines in group_by(found, lambda one: one.axis).items():
        if axis == "site":
            yield from _layers(arms, lines)
            continue
        varied = Varied(name=axis, word=axis, subtitle=_over(arms, lines), notes=(_NOTE,))
        values = [
            Valued(
                row=arms.by_key[one.row],
                value=one.value,
                score=one.macro_f1,
                tests=partial(_tests, arms, one),
            )
            for one in lines
        ]
        yield from make_charts(arms, varied, values)


def _layers(arms: Arms, lines: Sequence[Ablated]) -> Iterator[Chart]:
    """Yield a chart for each kind of site that a row has two layers of, such as `resid_post`."""
    parsed = [(found[1], int(found[2]), one) for one in lines if (found := _SITE.fullmatch(one.value))]
    by_kind = {}
    for kind, same in group_by(parsed, lambda found: found[0]).items():
        by_row = group_by(((layer, one) for _, layer, one in same), lambda pair: pair[1].row)
        if several := {row: sorted(pairs, key=_layer) for row, pairs in by_row.items() if len(pairs) > 1}:
            by_kind[kind] = several
    for kind, several in by_kind.items():
        name = f"layer-{file_name(kind)}" if len(by_kind) > 1 else "layer"
        yield _layer_chart(arms, clean(kind), several, name=name)


_SITE = re.compile(r"(.+)\.(\d{1,6})")


def _layer(pair: tuple[int, Ablated]) -> int:
    return pair[0]


def _layer_chart(
    arms: Arms, kind: str, by_row: dict[RowKey, list[tuple[int, Ablated]]], *, name: str
) -> Chart:
    rows, left_out = arms.best(arms.by_key[key] for key in by_row)
    shown = [pair for row in rows for pair in by_row[row.key]]
    layers = [layer for layer, _ in shown]
    scale = number_scale(layers)
    point = partial(_point, arms, kind)
    series = [
        Series(
            head=arms.model(row),
            label=arms.label(row),
            style=arms.style(row),
            points=tuple(point(scale.place(layer), one) for layer, one in by_row[row.key]),
        )
        for row in arms.by_model(rows)
    ]
    return Chart(
        name=f"{name}{arms.suffix}",
        title="Macro-F1 against layer",
        subtitle=arms.subtitle(_over(arms, [one for _, one in shown])),
        axis=f"layer ({kind}){scale.kind}",
        values="macro-F1",
        ticks=tuple(number_ticks(scale, layers)),
        series=tuple(series),
        alt=f"Macro-F1 against layer, from the least to the highest: {describe(series)}.",
        notes=(_NOTE, *filter(None, [left_out])),
    )


def _point(arms: Arms, kind: str, at: float, one: Ablated) -> Point:
    return Point(
        at=at,
        value=one.macro_f1.value,
        interval=one.macro_f1.interval,
        about=f"{arms.name(arms.by_key[one.row])}, site {clean(one.value)}: macro-F1 {exact(one.macro_f1)},"
        f" {_tests(arms, one)}",
    )


def _tests(arms: Arms, one: Ablated) -> str:
    """Return of how many tasks the mean is, and of how many test rows where all of the row's tasks are in it."""
    results = arms.by_key[one.row].results
    return count_tests(results) if len(results) == one.n_tasks else count(one.n_tasks, "task")


def _over(arms: Arms, lines: Sequence[Ablated]) -> str:
    """Return what means are over, the widest of them."""
    return f"mean over {_tests(arms, max(lines, key=lambda one: one.n_tasks))}"
