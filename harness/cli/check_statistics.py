"""Command `harness check-statistics`: test the statistics of leaderboards on simulated data, and their scores on
dictionaries.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.api.errors import GateError, UsageError
from harness.api.text import printable
from harness.cli import options as shared
from harness.cli.streams import echo

if TYPE_CHECKING:
    from harness.stats.simulation import Truth


@click.command("check-statistics")
@click.option(
    "--replicates",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Simulate each line this many times.",
)
@click.option(
    "--dictionaries",
    is_flag=False,
    flag_value="",
    metavar="[FOLDER]",
    help="Print instead how reliably each score tells dictionaries apart. With a FOLDER of trainings by "
    "`harness train-dictionary --checkpoints`, a folder for each seed, measure it anew.",
)
@click.option("-m", "--model", help="Read dictionaries of FOLDER with this model.")
@click.option("-t", "--task", "tasks", multiple=True, help="Score dictionaries of FOLDER on this task.")
@click.option(
    "--transfer",
    "transfers",
    multiple=True,
    metavar="TASK:FROM:TO",
    help="Choose probes of this task in one language, such as en, and test them in another.",
)
@click.option(
    "-L",
    "--limit",
    type=click.IntRange(min=30),
    default=1000,
    show_default=True,
    help="Read this many rows of each task of --dictionaries FOLDER.",
)
@click.option("-o", "--output", type=shared.PATH, help="Write what is measured of FOLDER to this JSON file.")
@click.option(
    "--data-dir", type=shared.PATH, help="Read mirrored datasets from this folder [HARNESS_DATA_DIR]."
)
@shared.json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    replicates: int,
    dictionaries: str | None,
    model: str | None,
    tasks: tuple[str, ...],
    transfers: tuple[str, ...],
    limit: int,
    output: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Check the confidence intervals and tests of leaderboards on simulated arms whose true scores are known.

    Takes about a minute. Prints a Markdown table of how often they were right, with a 99 % interval.
    Exit code 4 if a line that must hold does not.
    """
    if not dictionaries and (model or tasks or transfers or output or data_dir):
        raise UsageError(
            "-m, -t, --transfer, -o and --data-dir belong to --dictionaries FOLDER, which measures anew"
        )
    if dictionaries is not None:
        asked = _Asked(model=model, tasks=tasks, transfers=transfers, limit=limit)
        _check_dictionaries(context, dictionaries, asked, output, data_dir, as_json=as_json)
        return
    from harness.stats.simulation import RESAMPLES, ROWS, measure

    truths = measure(replicates)
    if as_json:
        echo(json.dumps([asdict(truth) for truth in truths], ensure_ascii=False))
    else:
        echo(_table(truths))
        echo(f"\nEvery line without a number of groups or rows: {ROWS} test rows; {RESAMPLES} resamples.")
    if wrong := [truth.name for truth in truths if truth.ok is False]:
        raise GateError(f"{len(wrong)} of {len(truths)} lines do not hold: {'; '.join(wrong)}")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Options that say what is measured anew."""

    model: str | None
    tasks: tuple[str, ...]
    transfers: tuple[str, ...]
    limit: int


def _check_dictionaries(
    context: click.Context,
    folder: str,
    asked: _Asked,
    output: Path | None,
    data_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    from harness.storage.atomic import write_json
    from harness.storage.results import check_writable
    from harness.validation.page import to_markdown

    if output is not None:
        check_writable(output.parent)
    if not folder:
        from harness.validation.reliability import read_shipped

        result = read_shipped()
    elif asked.model is None or not asked.tasks:
        raise UsageError("--dictionaries FOLDER needs a model (-m) and a task (-t) to score them with")
    else:
        from harness.validation.dictionaries import find_checkpoints, measure_reliability

        wanted = [_parse_transfer(text) for text in asked.transfers]
        found = find_checkpoints(Path(folder))
        session = shared.open_session(context, device="cpu", data_dir=data_dir, offline=True)
        load = partial(session.load_task, model=asked.model, site=found[0].site)
        result = measure_reliability(
            session.registry,
            found,
            [load(task, limit=asked.limit) for task in asked.tasks],
            rows=asked.limit,
            transfers=[(load(task), source, target) for task, source, target in wanted],
            tell=lambda line: echo(f"harness: {line}", err=True),
        )
    if output is not None:
        write_json(output, result.model_dump(mode="json"))
    echo(json.dumps(result.model_dump(mode="json")) if as_json else printable(to_markdown(result)))


def _parse_transfer(text: str) -> tuple[str, str, str]:
    """Return the task, the language of training and that of test."""
    task, source, target, *more = (*text.split(":"), "", "")
    if not all((task, source, target)) or any(more):
        raise UsageError(f"'{text}' is not of the form TASK:FROM:TO, such as multilingual_hatecheck:en:fr")
    return task, source, target


def _table(truths: tuple[Truth, ...]) -> str:
    lines = ["| line | what | wanted | measured | 99 % interval | replicates | holds |", "|" + "---|" * 7]
    for truth in truths:
        low, high = truth.interval
        measured = (f"{truth.measured:.4f}", f"{low:.4f} to {high:.4f}", str(truth.replicates))
        holds = {True: "yes", False: "no", None: "stated"}[truth.ok]
        lines.append(f"| {' | '.join((truth.name, truth.what, _wanted(truth.wanted), *measured, holds))} |")
    return "\n".join(lines)


def _wanted(wanted: tuple[float, float] | None) -> str:
    if wanted is None:
        return ""
    low, high = wanted
    if low == high:
        return f"{low:g}"
    return f"at most {high:g}" if low == 0 else f"{low:g} to {high:g}"
