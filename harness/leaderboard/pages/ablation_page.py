"""Page of the ablation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.leaderboard.board import Ablated
from harness.leaderboard.pages import markdown
from harness.leaderboard.selection import RowKey


def page(lines: Sequence[Ablated], left_out: Iterable[RowKey], *, title: str) -> str:
    """Return leaderboard-ablation.md: an introduction, then a table for each axis; "" where there is none."""
    if not lines:
        return ""
    missing = ", ".join(sorted(" ".join(filter(None, (row.model, row.representation))) for row in left_out))
    parts = [
        f"# Ablation: {title}",
        "This is the full ablation of what was searched, and no leaderboard: each row at every value of one axis, the"
        " other axes chosen on validation; [leaderboard.md](leaderboard.md) has the rows as validation chose them over"
        " all axes, and to take a row at its best value here would be to choose on test. Macro-F1 on test, mean over"
        " tasks, with 95 % intervals; *validation* is the macro-F1 there. Δ hidden is paired, and compares with the"
        " hidden states of the same model chosen under the same value"
        + (
            ", or, where † stands, over all values: they have no cell with this one."
            if any(line.overall and line.delta for line in lines)
            else "."
        ),
        f"Left out, as not all predictions they need are there: {markdown.escape(missing)}."
        if missing
        else "",
    ]
    for axis in dict.fromkeys(line.axis for line in lines):
        parts.append(f"## {axis.capitalize()}")
        header = [*markdown.ARM, axis, "macro-F1", "AUROC", "validation", "Δ hidden", "tasks"]
        parts.append(markdown.table(header, [_line(line) for line in lines if line.axis == axis]))
    return markdown.join(*parts)


def _line(line: Ablated) -> list[str]:
    return [
        *markdown.arm(line.row),
        line.value,
        markdown.score(line.macro_f1),
        markdown.optional(line.auroc),
        markdown.optional(line.validation),
        markdown.difference(line.delta) + (" †" if line.overall and line.delta else ""),
        str(line.n_tasks),
    ]
