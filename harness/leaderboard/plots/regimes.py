"""Charts of what classifiers learnt from: training sizes, noise, balance and other regimes, and other models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean

from harness.leaderboard.analyses.regimes import UnderRegime
from harness.leaderboard.board import Row, TaskResult
from harness.leaderboard.plots.arms import Arms, count_tests
from harness.leaderboard.plots.chart import Chart, Point, Series, Style, Tick, describe, exact
from harness.leaderboard.plots.scales import name_places
from harness.leaderboard.plots.texts import clean, count
from harness.leaderboard.plots.values import Valued, Varied, make_charts
from harness.leaderboard.selection import RowKey

_NOTE = "Under each regime, everything was chosen on validation rows for itself; scores are on the same test rows."


def charts(arms: Arms, every: Sequence[UnderRegime]) -> Iterator[Chart]:
    """Yield charts of regimes, and of transfer between models; none where there is one regime only. `every` are the
    scores of all rows of the board.
    """
    found = [one for one in every if one.row.key in arms.by_key]
    own = [one for one in found if _source(one) is None]
    if not own:
        return
    widest = max(own, key=lambda one: len(one.tasks))
    varied = Varied(
        name="regime",
        word="regime",
        subtitle=f"mean over {count_tests(_results(widest))}",
        notes=(_NOTE,),
        slots_first=_is_less(own),
    )
    values = [
        Valued(row=one.row, value=one.regime, score=one.macro_f1, tests=partial(_count, one)) for one in own
    ]
    yield from make_charts(arms, varied, values)
    yield from _transfer(arms, found)


def _results(one: UnderRegime) -> list[TaskResult]:
    """Return the results that a mean is of, one for each tested task."""
    tasks = set(one.tasks)
    found = {
        result.target: result
        for result in one.row.all_results
        if result.regime == one.regime and result.target in tasks
    }
    return list(found.values())


def _count(one: UnderRegime) -> str:
    return count_tests(_results(one))


def _source(one: UnderRegime) -> tuple[str, str] | None:
    """Return the model whose features were learnt on and the alignment; None where it is the row's own."""
    for result in one.row.all_results:
        if result.regime == one.regime:
            record = result.cells[0].record
            return (record.learnt_on, record.alignment or "") if record.learnt_on is not None else None
    return None


def _is_less(found: Sequence[UnderRegime]) -> bool:
    """Return whether the task as it is has no more training rows than the other regimes: then it comes first."""
    rows: dict[bool, list[int]] = {True: [], False: []}
    for one in found:
        for result in _results(one):
            rows[result.unit.natural == "task"] += [cell.record.n_train for cell in result.cells]
    return bool(rows[True] and rows[False]) and fmean(rows[True]) <= 1.5 * fmean(rows[False])


# ── transfer between models ──────────────────────────────────────────────────────────────────────────────

_MARKS = "os^vDP"
"""Marks of alignments; `*` is a model's own classifier."""


def _transfer(arms: Arms, found: Sequence[UnderRegime]) -> Iterator[Chart]:
    """Yield a chart of what was carried from one model to another, of the best representation and of hidden states."""
    carried = [(source, one) for one in found if (source := _source(one)) is not None]
    if not carried:
        return
    keys = {one.row.key for _, one in carried}
    names = list(dict.fromkeys(arms.role(row) for row in arms.rows if row.key in keys))
    base = [arms.role(one.row) for _, one in carried if one.row.is_baseline]
    roles = [name for name in names if name not in base][:1] + base[:1]
    shown = [(source, one) for source, one in carried if arms.role(one.row) in roles]
    own = {
        one.row.key: one
        for one in found
        if _source(one) is None and any(result.unit.natural == "task" for result in _results(one))
    }
    lines = _lines(arms, [(source, one.row) for (source, _), one in shown])
    at = dict(zip(lines, name_places(len(lines)), strict=True))
    ticks = [
        Tick(
            at=place,
            label=f"from {arms.name_model(source)}" if source else f"to {arms.name_model(target)}",
            is_heading=source is None,
        )
        for (target, source), place in at.items()
    ]
    series = [one for role in roles for one in _series(arms, role, shown, own, at)]
    left_out = len(names) - len(roles)
    title = "Macro-F1 of classifiers carried from one model to another"
    yield Chart(
        name=f"transfer{arms.suffix}",
        title=title,
        subtitle=arms.subtitle(f"mean over {count_tests(_results(shown[0][1]))}"),
        axis="",
        values="macro-F1",
        ticks=tuple(ticks),
        series=tuple(series),
        alt=f"{title}, from the least to the highest over pairs of models: {describe(series, most=8)}.",
        notes=(
            "A classifier learnt on the features of the one model reads those of the other through an alignment; stars:"
            " learnt on the other itself.",
            *[f"Of {count(len(names), 'representation')}, the best by rank and hidden states are shown."]
            * bool(left_out),
        ),
        upright=True,
        are_names=True,
    )


def _lines(arms: Arms, pairs: Sequence[tuple[str, Row]]) -> list[tuple[str, str | None]]:
    """Return lines from top to bottom: each target model, then the models it was carried from, all by size."""
    order = {model: place for place, model in enumerate(arms.models)}
    known = {(row.model or "", source) for source, row in pairs}
    lines: list[tuple[str, str | None]] = []
    for target in sorted({target for target, _ in known}, key=lambda model: order.get(model, 0)):
        sources = {source for to, source in known if to == target}
        lines.append((target, None))
        lines += [
            (target, source) for source in sorted(sources, key=lambda model: (order.get(model, 0), model))
        ]
    return lines


def _series(
    arms: Arms,
    role: str,
    shown: Sequence[tuple[tuple[str, str], UnderRegime]],
    own: Mapping[RowKey, UnderRegime],
    at: Mapping[tuple[str, str | None], float],
) -> Iterator[Series]:
    """Yield a series for each alignment of a representation, and one of models' own classifiers."""
    same = [(source, alignment, one) for (source, alignment), one in shown if arms.role(one.row) == role]
    colour = arms.style(same[0][2].row).colour
    alignments = sorted({alignment for _, alignment, _ in same})
    for mark, alignment in zip(_MARKS, alignments, strict=False):
        points = [
            _point(
                arms, one, at[one.row.model or "", source], f" from {arms.name_model(source)} by {alignment}"
            )
            for source, each, one in same
            if each == alignment
        ]
        yield _line(role, alignment, Style(colour=colour, mark=mark, filled=False), points)
    rows = {one.row.key: one for _, _, one in same}
    points = [_point(arms, own[key], at[key.model or "", None], "") for key in rows if key in own]
    if points:
        yield _line(role, "its own", Style(colour=colour, mark="*"), points)


def _line(role: str, label: str, style: Style, points: Sequence[Point]) -> Series:
    ordered = sorted(points, key=lambda point: point.at)
    return Series(head=clean(role), label=clean(label), style=style, points=tuple(ordered))


def _point(arms: Arms, one: UnderRegime, at: float, how: str) -> Point:
    return Point(
        at=at,
        value=one.macro_f1.value,
        interval=one.macro_f1.interval,
        about=f"{arms.name(one.row)}{how}: macro-F1 {exact(one.macro_f1)}, {count_tests(_results(one))}",
        joined=False,
    )
