"""Quiver comparison: the best arm on validation, with and without dictionaries among the arms.

Source: the "quiver of arrows" of Kantamneni et al. 2025, "Are Sparse Autoencoders Useful? A Case Study in Sparse
Probing". It measures the gain on test from adding dictionaries to the arms that validation picks from. An addition that
is never picked, or picked only by chance, gains nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from harness.leaderboard.board import Quiver
from harness.leaderboard.scoring import TaskScores, difference, mean
from harness.leaderboard.selection import Cell, Choices, RowKey, Unit, group_by, in_natural_order
from harness.runs.record import Record


def is_dictionary(record: Record) -> bool | None:
    """Return whether a cell's representation is a dictionary; None where an older record does not say."""
    if record.model is None or record.baseline:
        return False
    if record.control is None:
        return True if record.dictionary else None
    return not record.control


def compare_quivers(
    choices: Choices, scores: Mapping[Unit, TaskScores], *, toys: Container[str] = ()
) -> tuple[Quiver, ...]:
    """Return one for each model that has a dictionary, by name, and one over all arms when the board has several
    models, of toys and of others by themselves; over the tasks with `scores` that have both kinds of arms.
    """
    models = sorted({row.model for row in choices.selected if row.model is not None}, key=in_natural_order)
    by_kind = group_by(models, lambda model: model in toys)
    every = [_compare((model,), choices, scores) for model in models]
    for of_toys, same in sorted(by_kind.items()):
        if len(same) > 1:
            together = _compare(same, choices, scores)
            of = of_toys if len(by_kind) > 1 else None
            every.append(together and replace(together, model=None, of_toys=of))
    return tuple(quiver for quiver in every if quiver is not None)


def _compare(models: Sequence[str], choices: Choices, scores: Mapping[Unit, TaskScores]) -> Quiver | None:
    rows = [row for row in choices.selected if row.model is None or row.model in models]
    without, added, delta = [], [], []
    taken = total = 0
    unknown: set[str] = set()
    for unit in (unit for unit in choices.main_units if unit in scores):
        by_seed = [_pick(_arms(rows, unit, seed, choices)) for seed in _seeds(rows, unit, choices)]
        unknown |= {name for _, names in by_seed for name in names}
        pairs = [pair for pair, _ in by_seed if pair is not None]
        if not pairs:
            continue
        of = scores[unit].of
        without.append(mean([of(one) for one, _ in pairs]))
        added.append(mean([of(other) for _, other in pairs]))
        delta.append(mean([difference(of(other), of(one)) for one, other in pairs]))
        taken += sum(one is not other for one, other in pairs)
        total += len(pairs)
    if not delta:
        return None
    return Quiver(
        model=models[0],
        n_tasks=len(delta),
        choices=total,
        taken=taken,
        without=mean(without),
        added=mean(added),
        delta=mean(delta),
        unknown=tuple(sorted(unknown, key=in_natural_order)),
    )


def _seeds(rows: Iterable[RowKey], unit: Unit, choices: Choices) -> list[int]:
    return sorted({seed for row in rows for seed in choices.selected[row].get(unit, {})})


def _arms(rows: Iterable[RowKey], unit: Unit, seed: int, choices: Choices) -> Iterator[Cell]:
    """Yield the chosen cells of rows, in an order that is the same for all runs."""
    found = [choices.selected[row].get(unit, {}).get(seed) for row in rows]
    cells = [cell for cell in found if cell is not None]
    yield from sorted(cells, key=lambda cell: (_name(cell), cell.record.width or 0))


def _pick(cells: Iterator[Cell]) -> tuple[tuple[Cell, Cell] | None, set[str]]:
    """Return the best of the other arms and the best of all, and representations of unknown kind; None instead of the
    pair unless both kinds exist. A tie goes to the other arms, then to the first by name.
    """
    kinds = group_by(cells, lambda cell: is_dictionary(cell.record))
    unknown = {cell.record.representation for cell in kinds.get(None, ())}
    if True not in kinds or False not in kinds:
        return None, unknown
    one = max(kinds[False], key=lambda cell: cell.validation)
    return (one, max([one, *kinds[True]], key=lambda cell: cell.validation)), unknown


def _name(cell: Cell) -> tuple[tuple[str, float], ...]:
    return in_natural_order(f"{cell.record.representation} {cell.record.model or ''}")
