"""Section of a board: the best arm with and without dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

from harness.leaderboard.board import Quiver
from harness.leaderboard.pages import markdown
from harness.leaderboard.selection import in_natural_order

_TOGETHER = {
    None: "all models together",
    False: "all models but toys together",
    True: "all toys together",
}


def section(quivers: Sequence[Quiver]) -> list[str]:
    """Return a table of the models of a board; [] where none has a dictionary beside something else."""
    if not quivers:
        return []
    names = {name for quiver in quivers for name in quiver.unknown}
    unknown = ", ".join(sorted(names, key=in_natural_order))
    return [
        "## Best on validation, with and without dictionaries",
        "For each task and seed the arm with the best validation macro-F1 is taken (Kantamneni et al. 2025): once from"
        " hidden states, controls and arms without a model, once with the model's dictionaries added, which makes the"
        " choice larger. Macro-F1 on test, mean over tasks; the difference is paired. *Taken* counts choices (tasks ×"
        " seeds) in which a dictionary was best on validation."
        + (
            f" Left out, as their records do not say what they are: {markdown.escape(unknown)}."
            * bool(unknown)
        ),
        markdown.table(
            ["model", "without", "with", "difference", "taken", "tasks"],
            [
                [
                    quiver.model or _TOGETHER[quiver.of_toys],
                    markdown.score(quiver.without),
                    markdown.score(quiver.added),
                    markdown.difference(quiver.delta),
                    f"{quiver.taken} / {quiver.choices}",
                    str(quiver.n_tasks),
                ]
                for quiver in quivers
            ],
        ),
    ]
