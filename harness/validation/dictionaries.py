"""Measurement of how reliable scores of dictionaries are: on checkpoints of one training, and on known features."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.api.errors import DataError, NotTestableError, PluginResultError, UsageError, describe
from harness.planning.labelled import LabelledTask
from harness.registry.catalog import Registry
from harness.registry.commands import import_loaded
from harness.stats.reliability import noise_over, rank_correlation, signal_to_noise
from harness.storage.reading import read_description
from harness.storage.strict_json import parse_json
from harness.validation.reliability import (
    EXPLAINED,
    Measured,
    Reliability,
    ScoreReliability,
    Step,
    Unmeasured,
)
from harness.validation.scores import PROBES, OwnScore, draw_crossing, measure_transfer, open_scores
from harness.validation.synthetic import Panel, measure_panel

DRAWS = 3
"""Times that data are drawn anew."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """State of a dictionary: the seed's place, tokens of training, and the folder of params.npz."""

    seed: int
    tokens: int
    folder: Path
    site: str


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints in a folder of trainings, one folder a seed, as `harness train-dictionary --checkpoints`
    writes them. Raise UsageError unless there are two seeds with the same two checkpoints or more.
    """
    found: list[Checkpoint] = []
    runs = sorted(one for one in folder.glob("*") if one.is_dir())
    for seed, run in enumerate(runs):
        for path in sorted(run.glob("**/training.json")):
            try:
                said = parse_json(read_description(path).decode())
                one = Checkpoint(
                    seed=seed, tokens=int(said["tokens"]), folder=path.parent, site=str(said["site"])
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"'{path}' is no record of a training") from error
            found.append(one)
    if len({one.site for one in found}) > 1:
        raise UsageError(f"the dictionaries in '{folder}' are of several sites: give a folder of one site's")
    by_seed = [sorted(one.tokens for one in found if one.seed == seed) for seed in range(len(runs))]
    if len(runs) < 2 or any(tokens != by_seed[0] for tokens in by_seed) or len(set(by_seed[0])) < 2:
        raise UsageError(
            f"'{folder}' holds no folders of two seeds with the same checkpoints: train one for each --seed, into "
            "FOLDER/seed-N, with `harness train-dictionary --checkpoints`"
        )
    return sorted(found, key=lambda one: (one.tokens, one.seed))


def measure_reliability(
    registry: Registry,
    checkpoints: Sequence[Checkpoint],
    tasks: Sequence[LabelledTask],
    *,
    rows: int,
    transfers: Sequence[tuple[LabelledTask, str, str]] = (),
    device: str = "cpu",
    panel: Panel | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Reliability:
    """Score every checkpoint on every task, by the harness's own scores and those of plugins, and dictionaries of known
    features; return what that says of the scores.

    For `transfers`, a task with the language of training and that of test, probes of hidden states and of trained
    dictionaries are tested at every point of their grid.
    """
    began = time.process_time()
    crossings = [draw_crossing(*transfer, most=rows) for transfer in transfers]
    tokens = sorted({one.tokens for one in checkpoints})
    seeds = sorted({one.seed for one in checkpoints})
    found = {name: Found() for name in (*PROBES, EXPLAINED, *registry.names("dictionary_scores"))}
    for place, task in enumerate(tasks):
        own = open_scores(task, device)
        scores = own | _open_offered(task, found, is_first=place == 0)
        for one in checkpoints:
            tell(f"{task.spec.name}: seed {one.seed}, {one.tokens:,} tokens")
            for name, score in scores.items():
                if not found[name].reason:
                    _score(name, score, one, found[name], thorough=one.tokens == tokens[-1], own=name in own)
    last = {
        f"dictionary, seed {one.seed}": str(one.folder) for one in checkpoints if one.tokens == tokens[-1]
    }
    chosen = []
    for crossing in crossings:
        tell(f"{crossing.task.spec.name}: from {crossing.source} to {crossing.target}")
        chosen.append(measure_transfer(crossing, last, device))
    tell("dictionaries of known features")
    synthetic = measure_panel(registry, panel or Panel(), tell=tell)
    return Reliability(
        date=datetime.now(UTC).date().isoformat(),
        model=tasks[0].model.published_label,
        site=str(tasks[0].site),
        tasks=tuple(task.spec.name for task in tasks),
        rows=rows,
        seeds=len(seeds),
        tokens=tuple(tokens),
        scores=tuple(
            _summarize(name, one, tokens, seeds, synthetic.scores.get(name, ()), synthetic.truth)
            for name, one in found.items()
            if not one.reason
        ),
        unmeasured=tuple(
            Unmeasured(name=name, is_testable=one.is_testable, reason=one.reason)
            for name, one in found.items()
            if one.reason
        ),
        truth=tuple(map(tuple, synthetic.truth)),
        transfers=tuple(chosen),
        cpu_minutes=round((time.process_time() - began) / 60, 1),
    )


@dataclass(kw_only=True)
class Found:
    """Measurements of one score: by tokens and seed, a number for each task; on data drawn anew, by seed, a list
    for each task; ranges over equal points of the grid. `reason` says why there is nothing.
    """

    values: dict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    draws: dict[int, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    spreads: list[float] = field(default_factory=list)
    reason: str = ""
    is_testable: bool = True


def _open_offered(task: LabelledTask, found: Mapping[str, Found], *, is_first: bool) -> dict[str, OwnScore]:
    """Open the scores that plugins offer; one that reads no rows is opened for the first task alone."""
    opened = {}
    for name in task.registry.names("dictionary_scores"):
        spec = task.registry.get("dictionary_scores", name).spec
        if not found[name].reason and (spec.by_task or is_first):
            with _noting(found[name]):
                opened[name] = OwnScore(measure=import_loaded(spec)(task))
    return opened


def _score(
    name: str, score: OwnScore, checkpoint: Checkpoint, found: Found, *, thorough: bool, own: bool
) -> None:
    """Score a dictionary; where it is `thorough`, on data drawn anew, and over the grid, too."""
    reference = str(checkpoint.folder)
    with nullcontext() if own else _noting(found):
        value, *draws = (
            _check_number(name, score.measure(reference, seed)) for seed in range(1 + DRAWS * thorough)
        )
        found.values[checkpoint.tokens, checkpoint.seed].append(value)
        if thorough:
            found.draws[checkpoint.seed].append(draws)
        if thorough and score.spread:
            found.spreads.append(score.spread(reference))


@contextmanager
def _noting(found: Found) -> Iterator[None]:
    """Note why a plugin's score cannot be measured, and go on: hours of other scores are not lost by it."""
    try:
        yield
    except NotTestableError as error:
        found.reason, found.is_testable = str(error), False
    except MemoryError:
        raise
    except Exception as error:  # a plugin may raise anything
        found.reason = f"it failed: {describe(error)}"


def _check_number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise PluginResultError(f"the dictionary score '{name}' gives {value!r}, which is no finite number")
    return float(value)


def _summarize(
    name: str,
    found: Found,
    tokens: Sequence[int],
    seeds: Sequence[int],
    synthetic: Sequence[Sequence[float]],
    truth: Sequence[Sequence[float]],
) -> ScoreReliability:
    table = [[float(np.mean(found.values[place, seed])) for seed in seeds] for place in tokens]
    drawn = [np.mean(found.draws[seed], axis=0) for seed in seeds]
    return ScoreReliability(
        name=name,
        scores=tuple(map(tuple, table)),
        seed_noise=noise_over(table),
        data_noise=noise_over(drawn),
        selection_range=float(np.mean(found.spreads)) if found.spreads else None,
        run=_signal(table[0], table[-1]),
        steps=tuple(
            Step(earlier=tokens[n], later=tokens[n + 1], signal_to_noise=_signal(table[n], table[n + 1]))
            for n in range(len(tokens) - 1)
        ),
        synthetic=tuple(map(tuple, synthetic)),
        validity=_measured(rank_correlation(synthetic, truth)) if synthetic and np.ptp(synthetic) else None,
    )


def _signal(earlier: Sequence[float], later: Sequence[float]) -> Measured | None:
    try:
        return _measured(signal_to_noise(earlier, later))
    except ValueError:  # no noise at all
        return None


def _measured(score: Any) -> Measured:
    return Measured(value=score.value, low=score.low, high=score.high)
