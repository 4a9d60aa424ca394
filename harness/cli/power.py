"""Command `harness power`: compute the smallest differences that the test rows of a suite can detect."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from harness.api.errors import UnavailableError, UsageError
from harness.cli import options as shared
from harness.cli.streams import echo
from harness.cli.tables import Column, print_note, print_table

if TYPE_CHECKING:
    from harness.leaderboard.analyses.observed_power import Observed
    from harness.planning.power import TestRows

DISAGREEMENTS = (0.1, 0.2, 0.3)

IN_TEXT = 12
"""Maximum number of pairs of languages printed per task and regime; above it only the least informative pair is."""


@click.command("power")
@shared.suite_options
@shared.offline_option
@click.option(
    "--icc",
    type=shared.FiniteRange(0, 1),
    default=1.0,
    show_default=True,
    help="Assume this correlation within a group: 0 for independent rows, 1 for identical rows.",
)
@click.option("--run", type=shared.PATH, help="Add what this finished or published run observed.")
@click.option(
    "--baseline", default="hidden", show_default=True, help="Compare arms of the run with this one."
)
@shared.wide_option
@shared.json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    icc: float,
    run: Path | None,
    baseline: str,
    offline: bool,
    wide: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Compute the smallest true difference in accuracy between two arms that SUITE detects with probability .8.

    The test is paired and two-sided at .05; results are given by the share of rows on which exactly one arm is right.
    They cover each task, alone and after Holm's adjustment at its worst, and the mean over tasks; under a regime by
    language, each pair of languages.

    Needs data but no model. Exit code 3 if a task is unavailable.
    """
    from harness.planning.power import count_test_rows, means_over_tasks

    session = shared.open_session(
        context, data_dir=options["data_dir"], include=options["include"], offline=offline
    )
    suite = shared.read_suite(session, options)
    counted, left_out = count_test_rows(
        suite, session.registry, data_dir=session.data_dir, included=session.included, icc=icc
    )
    shared.print_left_out(left_out)
    tasks = [
        {**dataclasses.asdict(each), **_by_share(each.effective, tests=len(counted))} for each in counted
    ]
    means = [
        {"regime": regime, "effective": rows, **_by_share(rows, tests=1)}
        for regime, rows in means_over_tasks(counted).items()
    ]
    observed = _observe(run, counted, baseline=baseline, icc=icc) if run else ()
    if as_json:
        facts = {"suite": suite.name, "tasks": tasks, "means": means, "left_out": left_out}
        echo(json.dumps({**facts, "observed": [dataclasses.asdict(each) for each in observed]}))
    else:
        _print(tasks, means, wide=wide)
        _print_observed(observed, baseline, wide=wide)
    return UnavailableError.exit_code if left_out else 0


def _by_share(rows: float, *, tests: int) -> dict[str, Any]:
    """Return the detectable differences by disagreement, at .05 and at Holm's strictest level for `tests` tests."""
    from harness.stats.power import ALPHA, detectable_difference

    return {
        "detectable": {str(share): detectable_difference(rows, share) for share in DISAGREEMENTS},
        "detectable_holm": {
            str(share): detectable_difference(rows, share, alpha=ALPHA / tests) for share in DISAGREEMENTS
        },
    }


def _observe(path: Path, counted: Sequence[TestRows], *, baseline: str, icc: float) -> tuple[Observed, ...]:
    """Return what the run observed; raise UsageError if it was tested on another number of rows than there are here."""
    from harness.leaderboard import find_results
    from harness.leaderboard.analyses.observed_power import observe

    found = find_results(path)
    if len(found) > 1:
        raise UsageError(f"'{path}' holds {len(found)} published runs; name one of them")
    rows = {(each.task, each.regime, each.train_language, each.test_language): each.rows for each in counted}
    places = [
        ((each.arm.task, each.regime, each.train_language, each.test_language), each)
        for each in observe(found[0], baseline=baseline, icc=icc)
    ]
    known = [(place, each) for place, each in places if place in rows]
    if not known:
        raise UsageError(f"'{path}' has no task of the suite")
    for place, each in known:
        if each.rows != rows[place]:
            raise UsageError(
                f"task '{each.arm.task}' has {each.rows} test rows in '{path}', but {rows[place]} here"
            )
    return tuple(each for _, each in known)


COLUMNS = (
    *(Column(head=name, is_name=True) for name in ("task", "regime", "languages")),
    *(Column(head=name) for name in ("test rows", "classes", "groups", "worth")),
    *(Column(head=f"{share:g} disagree") for share in DISAGREEMENTS),
)

IMPORTANCE = (
    *(f"{DISAGREEMENTS[place]:g} disagree" for place in (1, 0, 2)),
    *("test rows", "worth", "groups", "classes"),
)
"""Columns that a narrow terminal lacks, the first of them last."""


def _print(tasks: Sequence[dict[str, Any]], means: Sequence[dict[str, Any]], *, wide: bool) -> None:
    rows = []
    for each, languages in _shorten(tasks):
        counts = (str(each[name]) for name in ("rows", "classes", "groups"))
        named = (each["task"], each["regime"], languages)
        rows.append([*named, *counts, f"{each['effective']:.0f}", *_both(each)])
    for each in means:
        shares = (_number(value) for value in each["detectable"].values())
        rows.append(["mean over tasks", each["regime"], "", "", "", "", f"{each['effective']:.0f}", *shares])
    print_table(COLUMNS, rows, importance=IMPORTANCE, wide=wide)
    said = f"smallest true difference in accuracy found with probability .8 at .05 (at .05/{len(tasks)}, Holm's worst)"
    print_note(said, wide=wide)


def _shorten(tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows to print with their languages, which are empty for a single pair."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for each in tasks:
        found[each["task"], each["regime"]].append(each)
    for same in found.values():
        if len(same) > IN_TEXT:
            least = min(same, key=lambda each: float(each["effective"]))
            yield least, f"{_name_pair(least)}, the least of {len(same)}"
        else:
            yield from ((each, _name_pair(each) if len(same) > 1 else "") for each in same)


def _name_pair(each: dict[str, Any]) -> str:
    train = each["train_language"]
    languages = train.split("+")
    return f"{train if len(languages) <= 3 else f'{len(languages)} languages'}→{each['test_language']}"


def _both(each: dict[str, Any]) -> list[str]:
    pairs = zip(each["detectable"].values(), each["detectable_holm"].values(), strict=True)
    return [f"{_number(alone)} ({_number(adjusted)})" for alone, adjusted in pairs]


def _print_observed(observed: Sequence[Observed], baseline: str, *, wide: bool) -> None:
    if not observed:
        return
    by_task: dict[tuple[str, str], list[Observed]] = defaultdict(list)
    for each in observed:
        by_task[each.arm.task, each.regime].append(each)
    rows = []
    for (task, regime), arms in by_task.items():
        values = [
            [each.disagreement for each in arms],
            [each.computed for each in arms if each.computed is not None],
            [each.bootstrap for each in arms if each.bootstrap is not None],
        ]
        medians = (_number(median(some) if some else None) for some in values)
        rows.append([task, regime, str(len({each.arm for each in arms})), *medians])
    echo()
    heads = (f"arms beside {baseline}", "disagree", "computed", "bootstrap")
    columns = (*COLUMNS[:2], *(Column(head=head) for head in heads))
    print_table(columns, rows, importance=heads[::-1], wide=wide)
    said = "observed, medians over arms: share of rows that disagree, what that makes detectable, what bootstraps say"
    print_note(said, wide=wide)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
