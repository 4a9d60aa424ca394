"""Evaluation results of the Hugging Face hub: `.eval_results/*.yaml`, which lie in the repository of a model.

One file holds one row of a board, a model with one representation, and has an entry for each task that the board ranks
by. The hub shows an entry on the model's page, and on that of the data set where this has declared itself a benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import yaml

from harness.api.errors import NothingSelectedError
from harness.leaderboard.exports.exported import (
    Exported,
    end_of,
    file_name,
    find_hub_source,
    find_task,
    place,
    runs_of,
)
from harness.leaderboard.names import name_units
from harness.leaderboard.selection import (
    BySeed,
    RowKey,
    Unit,
    check_consistent,
    choose,
    read_cells,
)
from harness.registry.catalog import Registry, parse_reference
from harness.runs.record import Results

FOLDER = ".eval_results"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def to_eval_results(runs: Sequence[Results], registry: Registry) -> Exported:
    """Return the files of every row of the board of some runs that has a model.

    A value is the task's own metric, the mean over seeds of the cells that were chosen on validation. Raise
    NothingSelectedError when no cell ended well, and when no task is from the hub.
    """
    cells = read_cells(runs)
    check_consistent(cells)
    choices = choose(cells)
    names = name_units(choices.units())
    left_out: list[str] = []
    files: dict[str, str] = {}
    hosted = [unit for unit in choices.main_units if _is_hosted(unit, names[unit], registry, left_out)]
    for row, units in choices.selected.items():
        if row.model is None:
            left_out.append(
                f"'{row.representation}' reads no model, so there is no repository for its results"
            )
            continue
        shared = [unit for unit in hosted if _is_measured(row, unit, units.get(unit, {}), registry, left_out)]
        entries = [_make_entry(row, unit, names[unit], units[unit], registry) for unit in shared]
        if entries:
            folder = f"{_repository(row.model)}/{FOLDER}/"
            parts = (*_parameters(row.model), row.representation)
            files[place(files, folder, *parts, ending=".yaml")] = _write(entries)
    if not files:
        raise NothingSelectedError(f"nothing can be exported to {FOLDER}: {'; '.join(left_out)}")
    return Exported(files=files, left_out=left_out)


def _is_hosted(unit: Unit, name: str, registry: Registry, left_out: list[str]) -> bool:
    """Return whether the rows of a unit are on the hub; else say in `left_out` why it has no entry."""
    spec = find_task(unit, registry)
    if spec is None:
        left_out.append(
            f"no plugin offers version {unit.version} of task '{name}', so its data set is not known"
        )
    elif find_hub_source(spec) is None:
        left_out.append(f"task '{name}' is no data set of the hub")
    else:
        return True
    return False


def _is_measured(row: RowKey, unit: Unit, cells: BySeed, registry: Registry, left_out: list[str]) -> bool:
    """Return whether a row has the metric of a task; else say so in `left_out`, where the row has cells there."""
    spec = find_task(unit, registry)
    metric = spec.metric if spec is not None else ""
    if any(metric not in cell.record.metrics for cell in cells.values()):
        left_out.append(f"'{row.representation}' of '{row.model}' has no {metric} on task '{unit.task}'")
        return False
    return bool(cells)


def _make_entry(row: RowKey, unit: Unit, name: str, cells: BySeed, registry: Registry) -> Any:
    """Return the entry of a row on one task."""
    from huggingface_hub import EvalResultEntry

    spec = find_task(unit, registry)
    source = find_hub_source(spec)
    assert spec is not None and source is not None  # `_is_hosted` says so
    values = [cells[seed].record.metrics[spec.metric].value for seed in sorted(cells)]
    return EvalResultEntry(
        dataset_id=source.hub,
        task_id=name,
        value=sum(values) / len(values),
        dataset_revision=source.revision,
        date=end_of(runs_of(cells.values())).strftime("%Y-%m-%dT%H:%M:%SZ"),
        notes=_describe(row, spec.metric, cells, source.config),
    )


def _describe(row: RowKey, metric: str, cells: BySeed, config: str | None) -> str:
    """Return what was measured and how, as one line."""
    records = [cells[seed].record for seed in sorted(cells)]
    chosen = {
        " ".join(filter(None, (record.site, record.pooling, record.transform, record.classifier)))
        for record in records
    }
    score = records[0].metrics[metric]
    interval = (
        f", 95 % [{score.low:.3f}, {score.high:.3f}]" if len(records) == 1 and score.low is not None else ""
    )
    flags = sorted({flag for record in records for flag in record.flags})
    parts = [
        f"{metric} of a probe on {row.representation}{interval}",
        f"chosen on validation: {' / '.join(sorted(chosen))}",
        f"{records[0].n_train} training and {records[0].n_test} test rows, "
        f"seed{'s' * (len(records) > 1)} {', '.join(str(record.seed) for record in records)}",
        *([f"configuration {config}"] if config else []),
        *([f"flags: {', '.join(flags)}"] if flags else []),
        f"suite {records[0].suite}, sae-harness {version('sae-harness')}",
    ]
    return "; ".join(parts)


def _repository(model: str) -> str:
    """Return the folder of a model: its repository on the hub, else its name as a file may have it."""
    name, _ = parse_reference(model)
    repository = name.partition("@")[0]
    return repository if _HUB_ID.fullmatch(repository) else file_name(name)


def _parameters(model: str) -> Iterable[str]:
    """Yield the revision and the parameters of a model as parts of a file's name: its repository has one name whatever
    they are.
    """
    name, given = parse_reference(model)
    repository, _, revision = name.partition("@")
    if revision and _HUB_ID.fullmatch(repository):
        yield f"revision={revision}"
    for key, value in given.items():
        yield f"{key}={value}"


def _write(entries: Sequence[Any]) -> str:
    from huggingface_hub import eval_result_entries_to_yaml

    return yaml.safe_dump(
        eval_result_entries_to_yaml(list(entries)), sort_keys=False, allow_unicode=True, width=10_000
    )
