"""Tables of commands, printed as plain text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from harness.api.text import printable


def print_table(
    left: Sequence[str],
    right: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    width: int,
    fits_terminal: bool = False,
) -> None:
    """Print rows below the names of columns aligned to the left, then of those aligned to the right.

    `width` is in characters; a table that `fits_terminal` takes the width of the terminal, where there is one.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(*left, box=None)
    for name in right:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*map(printable, row))
    # Without markup: names such as random_sae[k=16] hold brackets.
    in_terminal = fits_terminal and sys.stdout.isatty()
    Console(width=None if in_terminal else width, markup=False, emoji=False).print(table)
