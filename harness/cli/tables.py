"""Tables of commands, printed as plain text that is no wider than the terminal, the same there and on a pipe."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.api.text import JOINERS
from harness.cli.streams import as_written, echo

DEFAULT_WIDTH = 120
"""Width in cells where neither COLUMNS nor a terminal says one."""

LEAST_WIDTH = 40
"""Narrowest table in cells: in less, names of more than one column would be folded to a letter a line."""

LEAST_NAME = 8
"""Cells that a column of names leaves to each other one, however long its own names are."""

FOLDED = 24
"""Cells that are kept for names too long for any column, before other columns are left out."""

LEAST_CELLS = 2
"""Width of a letter of East Asian scripts."""

GAP = 2
"""Cells between two columns."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Column of a table. Names are aligned to the left and can be folded, numbers are aligned to the right.

    `called` is its name beside other columns of the same head, by default the head.
    """

    head: str
    called: str = ""
    is_name: bool = False

    @property
    def name(self) -> str:
        """Its name where a column is chosen or said to be left out."""
        return self.called or self.head


@dataclass(frozen=True)
class _Filled:
    """Column with its cells, as standard output will spell them, and the width in cells that it needs in full."""

    column: Column
    cells: tuple[str, ...]
    widths: tuple[int, ...]

    @property
    def needed(self) -> int:
        return max(self.widths)

    def fitting(self, most: int) -> int:
        """Return the width of what fits in `most` cells; the other names will be folded."""
        most = max(most, LEAST_CELLS)
        fit = [one for one in self.widths if one <= most]
        return self.needed if len(fit) == len(self.widths) else min(most, max([*fit, FOLDED]))


def print_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], *, importance: Sequence[str], wide: bool
) -> None:
    """Print one table as `print_tables` does."""
    print_tables(columns, {"": rows}, importance=importance, wide=wide)


def print_tables(
    columns: Sequence[Column],
    tables: Mapping[str, Iterable[Sequence[str]]],
    *,
    importance: Sequence[str],
    wide: bool,
) -> None:
    """Print tables with columns in common, each below its title, if it has one.

    `importance` names the columns that may be left out, the first of them last; what is left out is said below. Names
    of the other columns are folded where they are still too wide. With `wide` everything is printed, however wide.
    Columns without any text are not printed.
    """
    texts = {title: [[_spell(cell) for cell in row] for row in rows] for title, rows in tables.items()}
    filled = list(_fill(columns, [row for rows in texts.values() for row in rows]))
    widths = _fit(filled, importance, None if wide else find_width())
    for title, rows in texts.items():
        if title:
            echo(title)
        for line in _lines(columns, rows, widths):
            echo(line)
    if len(widths) < len(filled):
        left_out = _name_left_out([one.column for one in filled], widths)
        print_note(f"left out: {', '.join(left_out)}; --wide shows all", wide=wide)


def print_note(text: str, *, wide: bool) -> None:
    """Print what belongs to a table below it, on lines no wider than a table."""
    echo(text if wide else textwrap.fill(text, find_width()))


def _name_left_out(columns: Sequence[Column], widths: Mapping[str, int]) -> list[str]:
    """Return the names of columns that are left out; the head alone where no other one of that head is printed."""
    printed = {one.head for one in columns if one.name in widths}
    left_out = (one for one in columns if one.name not in widths)
    return list(dict.fromkeys(one.name if one.head in printed else one.head for one in left_out))


def without_width(importance: Sequence[str], names: Sequence[Sequence[str]]) -> Sequence[str]:
    """Return what may be left out: not the width of a dictionary where two rows differ by nothing else."""
    told_apart = len(set(map(tuple, names))) == len(names)
    return importance if told_apart else [name for name in importance if name != "width"]


def find_width() -> int:
    """Return the width for tables in cells: that of COLUMNS, else of the terminal, else DEFAULT_WIDTH."""
    return max(shutil.get_terminal_size((DEFAULT_WIDTH, 0)).columns, LEAST_WIDTH)


_LOOSE = re.compile(rf"(?<!\S)[{JOINERS}]+|[{JOINERS}]+(?!\S)")
"""Joiners at the edge of a word: they would join it with the spaces between columns, in the count of cells at least."""


def _spell(text: str) -> str:
    """Return a cell on one line, as standard output will spell it: an escape is as wide as its letters."""
    line = " ".join(text.split())
    spelled = _LOOSE.sub(lambda found: "".join(f"\\u{ord(letter):04x}" for letter in found[0]), line)
    return as_written(spelled)


def _fill(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[_Filled]:
    from rich.cells import cell_len

    for number, column in enumerate(columns):
        cells = tuple(row[number] for row in rows)
        if any(cells):
            yield _Filled(column, cells, tuple(map(cell_len, (_spell(column.head), *cells))))


def _fit(filled: Sequence[_Filled], importance: Sequence[str], width: int | None) -> dict[str, int]:
    """Return the width of each column that is printed, by its name."""
    if width is None:
        return {one.column.name: one.needed for one in filled}
    by_name = {one.column.name: one for one in filled}
    kept = {name: one for name, one in by_name.items() if name not in importance}
    names = [one for one in kept.values() if one.column.is_name]
    widths = {name: one.needed for name, one in kept.items() if not one.column.is_name}
    room = width - sum(widths.values()) - GAP * (len(kept) - 1)
    widths |= _fit_names(names, room)
    room -= sum(widths[one.column.name] for one in names)
    for name in importance:
        if name in by_name:
            if by_name[name].needed + GAP > room:
                break
            widths[name] = by_name[name].needed
            room -= widths[name] + GAP
    for one in names:  # what is left over makes folded names lower
        more = max(0, min(room, one.needed - widths[one.column.name]))
        widths[one.column.name] += more
        room -= more
    return widths


def _fit_names(names: Sequence[_Filled], room: int) -> dict[str, int]:
    """Return the widths of columns of names, by name, that together fit in `room` cells."""
    widths = {}
    for one in names:
        others = sum(min(other.needed, LEAST_NAME) for other in names if other is not one)
        widths[one.column.name] = one.fitting(room - others)
    while sum(widths.values()) > room and max(widths.values(), default=0) > LEAST_CELLS:
        widths[max(widths, key=widths.__getitem__)] -= 1
    return widths


def _lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Mapping[str, int]
) -> Iterator[str]:
    """Yield the head and the rows, each as many lines as its longest folded name takes."""
    shown = [(number, one, widths[one.name]) for number, one in enumerate(columns) if one.name in widths]
    for row in ([_spell(one.head) for one in columns], *rows):
        folded = [_fold(row[number], width) for number, _, width in shown]
        for line in range(max(map(len, folded), default=0)):
            parts = (
                _pad(texts[line] if line < len(texts) else "", width, to_right=not one.is_name)
                for texts, (_, one, width) in zip(folded, shown, strict=True)
            )
            yield (" " * GAP).join(parts).rstrip()


def _fold(text: str, width: int) -> list[str]:
    from rich.cells import cell_len, chop_cells

    return [text] if cell_len(text) <= width else list(chop_cells(text, width))


def _pad(text: str, width: int, *, to_right: bool) -> str:
    from rich.cells import cell_len

    spaces = " " * (width - cell_len(text))
    return spaces + text if to_right else text + spaces
