"""Reasons behind flags, as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.leaderboard.selection import group_by, in_natural_order

REASONS: Mapping[str, str] = {
    "absent": "n of m classes have no test row; each counts 0 in macro-F1, whatever is predicted.",
    "alike-groups": "n names of groups differ in nothing that can be seen, and may mean one group.",
    "alike-labels": "n names of classes differ in nothing that can be seen, and may mean one class.",
    "any-site": "The dictionary was read at a site that its files do not name.",
    "bos-not-added": "The tokenizer declares a first token and does not add it.",
    "failed": "n cells of the row failed, and are in no mean.",
    "fidelity": "The dictionary reads activations unlike those it was trained on: its scores stand, and mean little.",
    "fitted-on": "The representation was fitted on all training rows, whatever the regime leaves of them.",
    "folds": "n of the row's m cells were chosen on folds of the training rows, as rows for validation were too few.",
    "groups": "A class of a task has n groups of test rows, too few for an interval that holds what it promises.",
    "hidden": "Only n of the row's m tasks have hidden states to compare with.",
    "incomplete": "The row lacks tasks of the board, and has no rank.",
    "layer-offset": "The dictionary is that of another layer, to show what such an error does.",
    "leaks": "n test or validation rows are in an earlier split as well, and were kept.",
    "limited": "Cells saw a part of the rows only (--limit).",
    "matched": "Only n of the row's m tasks have hidden states at the row's own choice.",
    "model-trained-on": "The model was trained on the training rows of a task of the board.",
    "named-width": "The dictionary's files name another width than their arrays have.",
    "near-leaks": "n texts are in an earlier split as well but for case, blanks, punctuation or look-alike letters.",
    "quantised": "The model's weights were read from a quantised file.",
    "searched": "Hidden states were chosen from m cells, the row from n of the same and k others: unlike budgets.",
    "shared-groups": "n groups of rows are in the training and the test rows of other languages or sets.",
    "single": "n of m classes have one group of test rows, whose luck no interval holds.",
    "subset": "n of m rows of a task were drawn, by the limit in the suite; all arms see the same ones.",
    "unchosen": "Nothing was chosen: the row had one configuration.",
    "unconverged": "A classifier ended before its optimum.",
    "unfinished": "A run of the row lacks cells.",
}
"""Sentence of each flag, by the part before its first colon. Flags are words of records, whoever sets them: plugins may
set others.
"""

UNKNOWN = "A flag of the plugin that read the model or the dictionary; its documentation says when it is set."
"""Reason of a flag that is not among REASONS."""


@dataclass(frozen=True, kw_only=True)
class FlagKind:
    """Flags of one kind on a row: their name, number and reason, and each of them as it stands in the records."""

    name: str
    reason: str
    flags: tuple[str, ...]


def explain(flags: Iterable[str]) -> tuple[FlagKind, ...]:
    """Return flags by kind, each once, in natural order; `source-` before a flag is of the source of a transfer."""
    by_name = group_by(dict.fromkeys(flags), lambda flag: flag.partition(":")[0])
    return tuple(
        FlagKind(name=name, reason=_reason(name), flags=tuple(sorted(by_name[name], key=in_natural_order)))
        for name in sorted(by_name, key=in_natural_order)
    )


def _reason(name: str) -> str:
    plain = name.removeprefix("source-")
    reason = REASONS.get(plain, UNKNOWN)
    return reason if plain == name else f"Of the model that a transfer began with: {reason}"
