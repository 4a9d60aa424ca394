"""Kinds of plugins that a package can be made for, with the words and the command that go with each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SMALL = "quickstart -t quickstart_topic -m minigemma-s -L 240"
_HIDDEN = f'{_SMALL} --set "representations=[hidden]"'


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Kind of plugin.

    `summary` says in one line what the template's plugin does; `run` are the arguments of `harness run` that put it on
    a board, with `{name}` in place of its name; `offered` is the kind as `harness ls` spells it, None for an observer.
    """

    summary: str
    run: str
    offered: str | None


KINDS: Mapping[str, Kind] = {
    "model": Kind(
        summary="a recurrent network of two layers over hashed words, with random weights",
        run='quickstart -t quickstart_topic -m {name} -L 240 --set "representations=[hidden]"',
        offered="models",
    ),
    "representation": Kind(
        summary="random directions with a ReLU: a dictionary that nothing was learnt for",
        run=f'{_SMALL} --set "representations=[hidden, {{name}}]"',
        offered="representations",
    ),
    "pooling": Kind(
        summary="the standard deviation over tokens",
        run=f'{_HIDDEN} --set "poolings=[mean, {{name}}]"',
        offered="poolings",
    ),
    "transform": Kind(
        summary="every feature scaled by its largest value in training, and raised to a power",
        run=f'{_HIDDEN} --set "transforms=[none, {{name}}]"',
        offered="transforms",
    ),
    "classifier": Kind(
        summary="the nearest class mean, features in units of their spread within classes",
        run=f'{_HIDDEN} --set "classifiers=[logreg, {{name}}]"',
        offered="classifiers",
    ),
    "regime": Kind(
        summary="a share of the training rows of each class",
        run=f'{_HIDDEN} --set "regimes=[full, {{name}}]"',
        offered="regimes",
    ),
    "alignment": Kind(
        summary="each feature as a weighted sum of all features of the other model, by ridge regression",
        run=f'{_HIDDEN} -m minigemma-m --set "transfers=[{{{{from: minigemma-s, to: minigemma-m}}}}]" '
        '--set "alignments=[{name}]"',
        offered="alignments",
    ),
    "task": Kind(
        summary="sentences that tell a memory from sentences that tell a plan",
        run='quickstart -t {name} -m minigemma-s --set "representations=[hidden, tfidf]"',
        offered="tasks",
    ),
    "suite": Kind(
        summary="two small tasks, one model, its dictionary and what that is compared with",
        run="{name} -L 240",
        offered="suites",
    ),
    "observer": Kind(
        summary="a line of CSV for each cell that ends, in the folder of the run",
        run=_HIDDEN,
        offered=None,
    ),
}
"""Kind, as `harness new` takes it → what goes with it."""
