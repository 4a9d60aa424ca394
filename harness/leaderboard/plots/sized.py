"""Charts of the rows of a board by width, by the size of their models, and by cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.leaderboard.board import Row
from harness.leaderboard.plots.arms import LINES, NO_MODEL, Arms, count_all, count_tests
from harness.leaderboard.plots.chart import SERIES, Chart, Point, Series, describe, exact
from harness.leaderboard.plots.scales import Scale, number_scale, number_ticks
from harness.leaderboard.plots.texts import clean
from harness.leaderboard.selection import group_by

MODELS = 24
"""Most models of a series: the points of more are not told apart."""

ALIKE = 1.25
"""Ratio of costs below which there is nothing to plot."""

_CHOSEN = "Each row as it was chosen on validation rows."


def charts(arms: Arms) -> Iterator[Chart]:
    """Yield the charts that have two points."""
    yield from _against_width(arms)
    yield from _against_size(arms)
    yield from _against_cost(arms)


# ── width ────────────────────────────────────────────────────────────────────────────────────────────────


def _against_width(arms: Arms) -> Iterator[Chart]:
    """Yield a chart of representations that a model has in several widths, with levels of its hidden states and of the
    best arm without a model.
    """
    wide = [row for row in arms.of_models if row.width and not row.is_baseline]
    families = group_by(wide, lambda row: (row.model, arms.family(row)))
    several = [rows for rows in families.values() if len({row.width for row in rows}) > 1]
    firsts, left_out = arms.best((rows[0] for rows in several), most=SERIES - 2)
    shown = [rows for rows in several if rows[0] in firsts]
    if not shown:
        return
    widths = [row.width or 0 for rows in shown for row in rows]
    scale = number_scale(widths, log=True)
    lines = [
        Series(
            head=arms.model(rows[0]),
            label=_common_name(arms, rows),
            style=arms.style(rows[0]),
            points=_points(arms, scale, rows, lambda row: row.width or 0),
        )
        for rows in sorted(shown, key=lambda rows: arms.models.index(rows[0].model or ""))
    ]
    models = {rows[0].model for rows in shown}
    levels = [_level(arms, row) for row in arms.by_model(_references(arms, models))]
    yield Chart(
        name=f"width{arms.suffix}",
        title="Macro-F1 against the width of dictionaries",
        subtitle=arms.subtitle(f"mean over {count_all(row for rows in shown for row in rows)}"),
        axis=f"width{scale.kind}",
        values="macro-F1",
        ticks=tuple(number_ticks(scale, widths)),
        series=_in_legend_order(lines, levels),
        alt="Macro-F1 against the width of dictionaries, from the least to the highest:"
        f" {describe([*lines, *levels], most=4)}.",
        notes=(
            f"{_CHOSEN} Lines across: hidden states, and the best arm without a model.",
            *filter(None, [left_out]),
        ),
    )


def _references(arms: Arms, models: set[str | None]) -> list[Row]:
    """Return the baselines of models, the best of each, and the best arm without a model."""
    found: dict[str | None, Row] = {}
    for row in arms.rows:
        if row.macro_f1 is not None and (row.model is None or (row.is_baseline and row.model in models)):
            found.setdefault(row.model, row)
    return list(found.values())


def _level(arms: Arms, row: Row) -> Series:
    return Series(
        head=arms.model(row),
        label=arms.label(row),
        style=arms.style(row),
        points=(_point(arms, row, 0.5),),
        level=True,
    )


def _in_legend_order(lines: Sequence[Series], levels: Sequence[Series]) -> tuple[Series, ...]:
    """Return series with those of one model below one another, arms without a model last."""
    heads = dict.fromkeys(one.head for one in (*lines, *levels) if one.head != NO_MODEL)
    order = {head: place for place, head in enumerate(heads)}
    return tuple(sorted((*lines, *levels), key=lambda one: order.get(one.head, len(order))))


# ── size of the model ────────────────────────────────────────────────────────────────────────────────────


def _against_size(arms: Arms) -> Iterator[Chart]:
    """Yield a chart of representations that several models have."""
    sizes = arms.hidden_widths
    rows = [row for row in arms.of_models if row.model in sizes]
    every = [same for same in _across_models(arms, rows, sizes) if len({row.model for row in same}) > 1]
    several = [same[:MODELS] for same in every]
    firsts, left_out = arms.best(same[0] for same in several)
    shown = [same for same in several if same[0] in firsts]
    if len({sizes[row.model or ""] for same in shown for row in same}) < 2:
        return
    used = {row.model: sizes[row.model or ""] for same in shown for row in same if row.model}
    scale = number_scale(list(used.values()), log=True)
    names = [_common_name(arms, same) for same in shown]
    twins = {name for name in names if names.count(name) > 1}
    names = [
        f"{name}, {(same[0].width or 0) / sizes[same[0].model or '']:.3g} × hidden" if name in twins else name
        for name, same in zip(names, shown, strict=True)
    ]
    lines = [
        Series(
            head="",
            label=names[place],
            style=replace(arms.style(same[0]), line=LINES[place % len(LINES)]),
            points=_points(arms, scale, same, lambda row: sizes[row.model or ""]),
        )
        for place, same in enumerate(shown)
    ]
    models: dict[float, str] = {size: arms.name_model(model) for model, size in reversed(used.items())}
    reference = _references(arms, set())
    levels = [_level(arms, row) for row in reference]
    yield Chart(
        name=f"size{arms.suffix}",
        title="Macro-F1 against the size of models",
        subtitle=arms.subtitle(f"mean over {count_all(row for same in shown for row in same)}"),
        axis=f"hidden width of the model{scale.kind}",
        values="macro-F1",
        ticks=tuple(number_ticks(scale, list(used.values()), below=models)),
        series=(*lines, *levels),
        alt="Macro-F1 against the hidden width of models, from the least to the highest:"
        f" {describe([*lines, *levels], most=4)}.",
        notes=(
            f"{_CHOSEN}{' Line across: the best arm without a model.' * bool(levels)}",
            *[f"Of each representation, the best {MODELS} models by rank."] * (max(map(len, every)) > MODELS),
            *filter(None, [left_out]),
        ),
    )


def _across_models(arms: Arms, rows: Sequence[Row], sizes: Mapping[str, int]) -> Iterator[list[Row]]:
    """Yield rows that stand for the same in their models: of the same name, or else of one kind and as many times as
    wide as hidden states.
    """
    rest = []
    for same in group_by(rows, lambda row: (row.is_baseline, arms.role(row), arms.twin(row))).values():
        if len({row.model for row in same}) > 1:
            yield same
        else:
            rest += same
    yield from group_by(
        rest, lambda row: (arms.family(row), (row.width or 0) / sizes[row.model or ""])
    ).values()


# ── cost ─────────────────────────────────────────────────────────────────────────────────────────────────

_PASS = "That of the forward pass that made a row's features, with all others it made: it tells runs apart, not rows."


def _against_cost(arms: Arms) -> Iterator[Chart]:
    """Yield charts of rows by time (or by speed, where times are not known), and by memory; where these differ."""
    drawn = set()
    for cost in _COSTS:
        rows = [row for row in arms.of_models if cost.of(row)]
        costs = [cost.of(row) for row in rows]
        if rows and cost.name not in drawn and max(costs) >= ALIKE * min(costs):
            drawn |= {cost.name, *cost.instead_of}
            yield _cost_chart(arms, rows, cost)


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """Cost of a row, 0 where it is not known; a chart of it takes the place of those `instead_of`."""

    name: str
    word: str
    axis: str
    unit: str
    of: Callable[[Row], float]
    instead_of: tuple[str, ...] = ()


_COSTS = (
    _Cost(
        name="cost-seconds",
        word="time",
        axis="seconds of a forward pass, median",
        unit="seconds",
        of=lambda row: row.seconds or 0.0,
        instead_of=("cost-speed",),
    ),
    _Cost(
        name="cost-speed",
        word="speed",
        axis="tokens/s of a forward pass, median",
        unit="tokens/s",
        of=lambda row: row.tokens_per_s or 0.0,
    ),
    _Cost(
        name="cost-memory",
        word="peak memory",
        axis="peak memory of a forward pass, MiB",
        unit="MiB",
        of=lambda row: (row.peak_memory or 0) / 2**20,
    ),
)


def _cost_chart(arms: Arms, rows: Sequence[Row], cost: _Cost) -> Chart:
    rows, left_out = arms.best(rows)
    costs = [cost.of(row) for row in rows]
    scale = number_scale(costs, log=True)
    series = [
        Series(
            head=arms.model(row),
            label=arms.label(row),
            style=arms.style(row),
            points=(
                _point(arms, row, scale.place(cost.of(row)), beside=f" at {cost.of(row):,.4g} {cost.unit}"),
            ),
        )
        for row in arms.by_model(rows)
    ]
    title = f"Macro-F1 against {cost.word}"
    return Chart(
        name=f"{cost.name}{arms.suffix}",
        title=title,
        subtitle=arms.subtitle(f"mean over {count_all(rows)}"),
        axis=f"{cost.axis}{scale.kind}",
        values="macro-F1",
        ticks=tuple(number_ticks(scale, costs)),
        series=tuple(series),
        alt=f"{title}: {describe(series, most=4)}.",
        notes=(_PASS, *filter(None, [left_out])),
    )


# ── points ───────────────────────────────────────────────────────────────────────────────────────────────


def _points(arms: Arms, scale: Scale, rows: Sequence[Row], size: Callable[[Row], float]) -> tuple[Point, ...]:
    """Return the points of rows, joined unless two of them have the same place."""
    places = {row.key: scale.place(size(row)) for row in rows}
    joined = max(Counter(places.values()).values()) == 1
    points = [_point(arms, row, places[row.key], joined=joined) for row in rows]
    return tuple(sorted(points, key=lambda point: point.at))


def _point(arms: Arms, row: Row, at: float, *, joined: bool = True, beside: str = "") -> Point:
    assert row.macro_f1 is not None  # rows without a score are in no chart
    width = f", width {row.width:,}" if row.width else ""
    return Point(
        at=at,
        value=row.macro_f1.value,
        interval=row.macro_f1.interval,
        about=f"{arms.name(row)}{width}: macro-F1 {exact(row.macro_f1)}{beside}, {count_tests(row.results)}",
        joined=joined,
    )


def _common_name(arms: Arms, rows: Sequence[Row]) -> str:
    """Return the name that rows share: in full, or without parameters, or with `‹model›` for their models' names."""
    for name in (arms.label, lambda row: arms.label(row).partition("[")[0], arms.role):
        if len(names := {name(row) for row in rows}) == 1:
            return clean(names.pop())
    return clean(arms.family(rows[0]))
