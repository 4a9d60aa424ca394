"""Forest plots: differences from the hidden states of the same model, with their intervals and verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.leaderboard.analyses.quiver import is_dictionary
from harness.leaderboard.board import Row, TaskResult
from harness.leaderboard.plots.arms import Arms, count_all, count_tests
from harness.leaderboard.plots.chart import INK, Chart, Point, Series, Style, Tick, digits, exact
from harness.leaderboard.plots.scales import name_places
from harness.leaderboard.plots.texts import clean, count
from harness.leaderboard.scoring import Estimate
from harness.leaderboard.selection import group_by

MANY = 40
"""Most rows of a forest plot."""

BETTER = Style(colour="#009e73", mark="^")
WORSE = Style(colour="#d55e00", mark="v")
ALIKE = Style(colour=INK, mark="o", filled=False)
UNTESTED = Style(colour=INK, mark="D", filled=False)
MEAN = Style(colour=INK, mark="D")

_VERDICTS = {"won": BETTER, "lost": WORSE, "tied": ALIKE, None: UNTESTED}


def charts(arms: Arms) -> Iterator[Chart]:
    """Yield a chart of the arms, and one of the tasks of the best dictionary; of two rows or more each."""
    rows = [row for row in arms.rows if row.delta is not None]
    if len(rows) > 1:
        yield _of_arms(arms, rows)
    best = next((row for row in rows if _is_dictionary(row)), None)
    if best is not None and sum(one.delta is not None for one in best.results) > 1:
        yield _of_tasks(arms, best)


def _is_dictionary(row: Row) -> bool:
    return not row.is_baseline and any(is_dictionary(cell.record) for cell in row.cells)


def _of_arms(arms: Arms, rows: Sequence[Row]) -> Chart:
    shown = rows[:MANY]
    by_model = group_by(arms.by_model(shown), arms.model)
    labels: list[tuple[str, Row | None]] = []
    for model, same in by_model.items():
        labels += [(model, None), *((arms.label(row), row) for row in same)]
    places = name_places(len(labels))
    ticks = [
        Tick(at=at, label=label, is_heading=row is None)
        for at, (label, row) in zip(places, labels, strict=True)
    ]
    points = [
        _point(at, row.delta, _by_interval(row.delta), f"{arms.name(row)}", count_tests(_compared(row)))
        for at, (_, row) in zip(places, labels, strict=True)
        if row is not None and row.delta is not None
    ]
    title = "Difference in macro-F1 from hidden states of the same model"
    known = [(arms.name(row), row.delta) for row in shown if row.delta is not None]
    counts = [sum(point.style == style for point in points) for style in (BETTER, ALIKE, WORSE)]
    left_out = f"{len(shown)} of {count(len(rows), 'arm')} are shown, the best by rank." * (len(rows) > MANY)
    return Chart(
        name=f"forest-arms{arms.suffix}",
        title=title,
        subtitle=arms.subtitle(f"mean over {count_all(shown)}"),
        axis="",
        values="difference in macro-F1",
        ticks=tuple(ticks),
        series=(Series(head="", label="", style=ALIKE, points=tuple(points)),),
        alt=f"{title}: {counts[0]} of {count(len(points), 'arm')} better, {counts[1]} not told apart, {counts[2]}"
        f" worse; {_first(known)}.",
        notes=("Intervals are not adjusted for the number of arms.", *filter(None, [left_out])),
        key=(
            (BETTER, "better: the interval is above 0"),
            (ALIKE, "not told apart"),
            (WORSE, "worse: it is below 0"),
        ),
        upright=True,
        differences=True,
    )


def _of_tasks(arms: Arms, row: Row) -> Chart:
    found = sorted(_compared(row), key=_by_difference)
    shown = [one for one in found if one.task in {each.task for each in _compared(row)[:MANY]}]
    places = name_places(len(shown) + 1)
    ticks = [Tick(at=at, label=clean(one.task)) for at, one in zip(places, shown, strict=False)]
    points = [
        _point(at, one.delta, _VERDICTS[one.verdict], clean(one.task), _about_task(one))
        for at, one in zip(places, shown, strict=False)
        if one.delta is not None
    ]
    if row.delta is not None:
        ticks.append(Tick(at=places[-1], label=f"mean over {count(len(found), 'task')}"))
        points.append(_point(places[-1], row.delta, MEAN, "mean over tasks", count_tests(found)))
    title = "Difference in macro-F1 from hidden states, task by task"
    counts = [
        f"{sum(one.verdict == verdict for one in found)} {verdict}" for verdict in ("won", "tied", "lost")
    ]
    known = [(clean(one.task), one.delta) for one in found if one.delta is not None]
    left_out = f"{len(shown)} of {count(len(found), 'task')} are shown, the first by name." * (
        len(found) > MANY
    )
    key = [
        (BETTER, "won: adjusted p < .05"),
        (ALIKE, "tied"),
        (WORSE, "lost"),
        (UNTESTED, "not tested"),
        (MEAN, "mean"),
    ]
    used = {point.style for point in points} | {BETTER, ALIKE, WORSE}
    return Chart(
        name=f"forest-tasks{arms.suffix}",
        title=title,
        subtitle=arms.subtitle(f"{arms.name(row)}, the best dictionary by rank", count_tests(found)),
        axis="",
        values="difference in macro-F1",
        ticks=tuple(ticks),
        series=(Series(head="", label="", style=ALIKE, points=tuple(points)),),
        alt=f"{title}, of {arms.name(row)}: {', '.join(counts)} of {count(len(found), 'task')}; {_first(known)}.",
        notes=("p is adjusted over the tasks (Holm); intervals are not adjusted.", *filter(None, [left_out])),
        key=tuple((style, label) for style, label in key if style in used),
        upright=True,
        differences=True,
    )


def _compared(row: Row) -> list[TaskResult]:
    return [one for one in row.results if one.delta is not None]


def _by_difference(result: TaskResult) -> tuple[float, str]:
    return (-result.delta.value if result.delta else 0.0, result.task)


def _about_task(result: TaskResult) -> str:
    p = "" if result.p_value is None else f"adjusted p {digits(result.p_value)}, "
    return f"{p}{result.verdict or 'not tested'}, {count(result.n_test, 'test row')}"


def _by_interval(delta: Estimate) -> Style:
    if delta.interval is None:
        return UNTESTED
    low, high = delta.interval
    return BETTER if low > 0 else WORSE if high < 0 else ALIKE


def _point(at: float, delta: Estimate, style: Style, name: str, tests: str) -> Point:
    return Point(
        at=at,
        value=delta.value,
        interval=delta.interval,
        about=f"{name}: {exact(delta, sign=True)} from hidden states, {tests}",
        joined=False,
        style=style,
    )


def _first(known: Sequence[tuple[str, Estimate]]) -> str:
    """Return the largest and the least difference in words."""
    ordered = sorted(known, key=lambda pair: pair[1].value)
    ends = [ordered[-1], *ordered[:1]]
    return "from {} for {} to {} for {}".format(
        *(text for name, one in ends for text in (exact(one, sign=True), name))
    )
