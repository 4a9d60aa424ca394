"""A board's choices in; the best arm on validation, with and without dictionaries among the arms, out.

The "quiver of arrows" (Kantamneni et al. 2025, "Are Sparse Autoencoders Useful? A Case Study in Sparse Probing"): what
does somebody gain on test who picks on validation from everything else, when dictionaries are added to the choice? An
addition that is never picked, or picked only by chance, gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harness.leaderboard.board import Quiver
from harness.leaderboard.scoring import TaskScores, difference, mean
from harness.leaderboard.selection import Cell, Choices, RowKey, Unit, in_natural_order
from harness.runs.record import Record


def is_dictionary(record: Record) -> bool | None:
    """Whether a cell's representation is a dictionary; None where an older record does not say."""
    if record.model is None or record.baseline:
        return False
    if record.control is None:
        return True if record.dictionary else None
    return not record.control


def compare_quivers(choices: Choices, scores: Mapping[Unit, TaskScores]) -> tuple[Quiver, ...]:
    """One for each model that has a dictionary, by name, and one over all arms when the board has several models; over
    the tasks that have both kinds of arms.
    """
    models = {row.model for row in choices.selected if row.model is not None}
    every = [_compare(model, choices, scores) for model in sorted(models, key=in_natural_order)]
    if len(models) > 1:
        every.append(_compare(None, choices, scores))
    return tuple(quiver for quiver in every if quiver is not None)


def _compare(model: str | None, choices: Choices, scores: Mapping[Unit, TaskScores]) -> Quiver | None:
    rows = [row for row in choices.selected if model is None or row.model in (model, None)]
    without, added, delta = [], [], []
    taken = total = 0
    unknown: set[str] = set()
    for unit in choices.main_units:
        by_seed = [_pick(_arms(rows, unit, seed, choices)) for seed in _seeds(rows, unit, choices)]
        unknown |= {name for _, names in by_seed for name in names}
        pairs = [pair for pair, _ in by_seed if pair is not None]
        if not pairs:
            continue
        scored = [tuple(scores[unit].by_cell[cell.record.cell_id] for cell in pair) for pair in pairs]
        without.append(mean([one for one, _ in scored]))
        added.append(mean([other for _, other in scored]))
        delta.append(mean([difference(other, one) for one, other in scored]))
        taken += sum(one is not other for one, other in pairs)
        total += len(pairs)
    if not delta:
        return None
    return Quiver(
        model=model,
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
    """The cells that rows go by, in an order that depends on no run."""
    found = [choices.selected[row].get(unit, {}).get(seed) for row in rows]
    cells = [cell for cell in found if cell is not None]
    yield from sorted(cells, key=lambda cell: (_name(cell), cell.record.width or 0))


def _pick(cells: Iterator[Cell]) -> tuple[tuple[Cell, Cell] | None, set[str]]:
    """The best of the others and the best of all, and what is of unknown kind; None unless both kinds are there. A
    tie goes to what was there before, then to the first by name.
    """
    kinds: dict[bool | None, list[Cell]] = {True: [], False: [], None: []}
    for cell in cells:
        kinds[is_dictionary(cell.record)].append(cell)
    unknown = {cell.record.representation for cell in kinds[None]}
    if not kinds[True] or not kinds[False]:
        return None, unknown
    one = max(kinds[False], key=_validation)
    return (one, max([one, *kinds[True]], key=_validation)), unknown


def _validation(cell: Cell) -> float:
    return cell.record.validation_metrics.get("macro_f1", float("-inf"))


def _name(cell: Cell) -> list[tuple[str, float]]:
    return in_natural_order(f"{cell.record.representation} {cell.record.model or ''}")
