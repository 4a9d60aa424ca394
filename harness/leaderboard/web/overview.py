"""Overview of a board: where dictionaries beat hidden states, by how much, and whether that is noise.

Models trained here and others never share a table. A model that was not run has an empty line with its command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.api.names import short_names
from harness.config.board_file import Awaited
from harness.leaderboard.analyses.quiver import is_dictionary
from harness.leaderboard.board import Ablated, Board, Group, Row
from harness.leaderboard.pages.board_page import count_outcomes
from harness.leaderboard.scoring import Estimate, difference, mean
from harness.leaderboard.selection import RowKey, group_by, in_natural_order
from harness.leaderboard.web.commands import command_to_await

Judgement = Literal["ahead", "behind", "not told apart"]
Kind = Literal["hidden states", "dictionary", "control", "no model", "unknown"]

KINDS: tuple[Kind, ...] = ("hidden states", "dictionary", "control", "unknown", "no model")
"""Kinds of rows, in the order of the overview's columns."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer of one dictionary: its difference from the hidden states of its model, on `n_tasks` of the row's tasks;
    the same without the task on which it differs most, `largest`; from the best control of the same model on the same
    tasks, `control`, and from the best arm without a model, `words`; and, of the model, what dictionaries added to the
    choice on validation. `searched` are the values of the search, such as each site and each pooling, at which it is
    ahead, and how many there are.
    """

    model: str
    dictionary: str
    width: int | None
    delta: Estimate
    judgement: Judgement
    counts: str
    n_tasks: int
    searched: tuple[int, int]
    largest: str
    without_largest: Estimate | None
    control: str
    over_control: Estimate | None
    words: str
    over_words: Estimate | None
    added: Estimate | None


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score of one row in the overview; `best` are rows that are not told apart from the first of their group. A row
    without a rank has the number of its tasks, which are not those of the others.
    """

    width: int | None
    macro_f1: Estimate | None
    delta: Estimate | None
    judgement: Judgement | None
    best: bool
    n_tasks: int | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A model's scores by representation; without any, `command` runs the model."""

    model: str
    size: int | None
    scores: Mapping[str, tuple[Score, ...]]
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Overview of the rows that are ranked together. `others` are arms without a model, by name."""

    of_toys: bool
    is_alone: bool
    answers: tuple[Answer, ...]
    columns: tuple[tuple[str, Kind], ...]
    lines: tuple[Line, ...]
    others: tuple[tuple[str, Score], ...]

    @property
    def name(self) -> str:
        """Heading of the group."""
        return "Models trained here (toys)" if self.of_toys else "Models"

    def count(self, judgement: Judgement) -> int:
        """Return the number of dictionaries that are ahead, behind or not told apart."""
        return sum(answer.judgement == judgement for answer in self.answers)


def kind_of(row: Row) -> Kind:
    """Return what a row is, by the records of its cells."""
    if row.model is None:
        return "no model"
    if row.is_baseline:
        return "hidden states"
    found = {is_dictionary(cell.record) for cell in row.cells}
    if found == {True}:
        return "dictionary"
    return "control" if found == {False} else "unknown"


def judge(delta: Estimate | None) -> Judgement | None:
    """Return on which side of 0 the interval of a difference lies; None without an interval."""
    if delta is None or delta.interval is None:
        return None
    low, high = delta.interval
    return "ahead" if low > 0 else "behind" if high < 0 else "not told apart"


def describe_scores(board: Board) -> str:
    """Return sentences on what a score of the board is a mean of, and what is in none."""
    regimes = ", ".join(sorted({result.regime for row in board.rows for result in row.results}))
    over = f", trained under the regime {regimes}; others stand task by task" if board.has_others else ""
    if board.is_by_language:
        over = ", each language trained and tested by itself"
    if board.is_over_regimes:
        over = " and over regimes, as no task was trained as it is: each counts once a regime"
    apart = sum(not task.is_ranked_by for task in board.tasks)
    said = {
        f"A score is macro-F1 on test rows, the mean over the tasks of its row{over}.": True,
        f"{apart} of {len(board.tasks)} tasks have too few groups of test rows for an interval and are in no mean and"
        " no rank; they stand task by task.": apart,
        "Rows are ranked among those that read the same: texts, or images.": board.is_mixed,
    }
    return " ".join(sentence for sentence, applies in said.items() if applies)


def make_overviews(board: Board, awaited: Iterable[Awaited]) -> tuple[Overview, ...]:
    """Return an overview of each group; of other models first, also where only awaited ones are."""
    groups = list(board.groups)
    known = {row.model for row in board.rows if row.model is not None}
    # A label is a reference, and the parameters that the suite gives.
    awaited = [
        one
        for one in awaited
        if not any(label == one.model or label.startswith(f"{one.model}[") for label in known)
    ]
    if awaited and all(group.of_toys for group in groups):
        groups = [Group(of_toys=False, rows=()), *groups]
    return tuple(
        _make_overview(group, board, () if group.of_toys else awaited, is_alone=len(groups) == 1)
        for group in groups
    )


def _make_overview(group: Group, board: Board, awaited: Iterable[Awaited], *, is_alone: bool) -> Overview:
    rows = [row for row in group.rows if row.model is not None]
    shown = short_names({row.model for row in rows if row.model})
    sizes: dict[str | None, int] = {}  # the least width, where a model has hidden states of several
    for row in rows:
        if row.is_baseline and row.width:
            sizes[row.model] = min(row.width, sizes.get(row.model, row.width))
    columns = dict.fromkeys(
        (row.representation, kind_of(row)) for row in sorted(rows, key=lambda row: KINDS.index(kind_of(row)))
    )
    leading = _find_leading(group.rows)
    by_model = group_by(rows, lambda row: row.model or "")
    ordered = sorted(
        by_model, key=lambda model: (model not in sizes, sizes.get(model, 0), in_natural_order(model))
    )
    lines = [
        Line(
            model=shown[model],
            size=sizes.get(model),
            scores={
                name: tuple(_score(row, leading) for row in same)
                for name, same in group_by(by_model[model], lambda row: row.representation).items()
            },
        )
        for model in ordered
    ]
    lines += [Line(model=one.model, size=None, scores={}, command=command_to_await(one)) for one in awaited]
    ablation = group_by(board.ablation, lambda one: one.row)
    added = {quiver.model: quiver.delta for quiver in board.quivers if quiver.model is not None}
    return Overview(
        of_toys=group.of_toys,
        is_alone=is_alone,
        answers=tuple(
            answer
            for model in ordered
            for answer in _answer(by_model[model], group, ablation, shown[model], added.get(model))
        ),
        columns=tuple(columns),
        lines=tuple(lines),
        others=tuple((row.representation, _score(row, leading)) for row in group.rows if row.model is None),
    )


def _find_leading(rows: Sequence[Row]) -> Mapping[str, frozenset[int]]:
    """Return the groups of ties of the first row, by what rows read: a row is apart from it or shares one of them."""
    return {
        reads: frozenset(same[0].ties)
        for reads, same in group_by((row for row in rows if row.rank), lambda row: row.reads).items()
    }


def _score(row: Row, leading: Mapping[str, frozenset[int]]) -> Score:
    return Score(
        width=row.width,
        macro_f1=row.macro_f1,
        delta=row.delta,
        judgement=judge(row.delta),
        best=not leading.get(row.reads, frozenset()).isdisjoint(row.ties),
        n_tasks=len(row.results) if row.rank is None else None,
    )


def _answer(
    rows: Sequence[Row],
    group: Group,
    ablation: Mapping[RowKey, Sequence[Ablated]],
    model: str,
    added: Estimate | None,
) -> Iterator[Answer]:
    """Yield the answers of a model's dictionaries, in the order of the board."""
    for row in rows:
        judgement = judge(row.delta)
        if kind_of(row) != "dictionary" or row.delta is None or judgement is None:
            continue
        control, over_control = _beat(row, (one for one in rows if kind_of(one) == "control"))
        words, over_words = _beat(row, (one for one in group.rows if kind_of(one) == "no model"))
        largest, rest = _leave_out_largest(row)
        tried = [judge(one.delta) for one in ablation.get(row.key, ()) if one.delta is not None]
        yield Answer(
            model=model,
            dictionary=row.representation,
            width=row.width,
            delta=row.delta,
            judgement=judgement,
            counts=count_outcomes(row),
            n_tasks=sum(result.delta is not None for result in row.results),
            searched=(tried.count("ahead"), len(tried)),
            largest=largest,
            without_largest=rest,
            control=control,
            over_control=over_control,
            words=words,
            over_words=over_words,
            added=added,
        )


def _beat(row: Row, others: Iterable[Row]) -> tuple[str, Estimate | None]:
    """Return the best of other rows of the same tasks, by its score on test, and the row's difference from it."""
    tasks = [result.unit for result in row.results]
    best = next((one for one in others if [result.unit for result in one.results] == tasks), None)
    if best is None or best.macro_f1 is None or row.macro_f1 is None:
        return "", None
    return best.representation, difference(row.macro_f1, best.macro_f1)


def _leave_out_largest(row: Row) -> tuple[str, Estimate | None]:
    """Return the task on which a row differs most from hidden states, and the mean difference over the others."""
    deltas = {result.task: result.delta for result in row.results if result.delta is not None}
    if len(deltas) < 2:
        return "", None
    largest = max(deltas, key=lambda task: abs(deltas[task].value))
    return largest, mean([delta for task, delta in deltas.items() if task != largest])
