"""SAEBench's JSON of sparse probing: one file for each dictionary, at one site with one pooling and transform.

The files validate against `SparseProbingEvalOutput` of the package sae-bench 0.6.0. The numbers are accuracies of this
harness, whose protocol is another: `PROTOCOL` says how, in every file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.metadata import version
from typing import Any, NamedTuple

from harness.api.data import Site
from harness.api.errors import HarnessError, UsageError, name_some
from harness.leaderboard.exports.exported import (
    Exported,
    end_of,
    find_hub_source,
    find_task,
    place,
    runs_of,
)
from harness.leaderboard.names import name_units
from harness.leaderboard.selection import (
    Cell,
    Unit,
    check_consistent,
    group_by,
    in_natural_order,
    once,
    read_cells,
)
from harness.registry.catalog import Registry
from harness.runs.record import Record, Results
from harness.storage.hashing import hash_lines

PRESENT_KS = (1, 2, 5, 10, 20, 50, 100)
"""Numbers of features that the format has fields for. Others are among the unstructured results only."""

PROTOCOL = (
    "one probe for all classes of a task; SAEBench: one balanced probe for each class against the others",
    "the k features whose class means differ most on training rows, over all classes; SAEBench: for each class",
    "parameters chosen on validation rows; SAEBench: C=1, and the best epoch on test rows for probes of all dimensions",
    "duplicates, and test rows that stand in training, were removed; SAEBench: rows as they are",
    "pooled by the pooling of this file; SAEBench: the mean over tokens",
)
"""Differences between these numbers and those that SAEBench would measure."""

ALL = 0
"""The number of features of a probe that reads all of them."""

Found = Mapping[tuple[str, int], Mapping[int, Cell]]
"""Cells by arm (`llm`: hidden states, `sae`: the dictionary), number of features, and seed."""


class _Place(NamedTuple):
    """Place that a dictionary is probed at, which it shares with the hidden states."""

    model: str
    site: str
    pooling: str
    transform: str
    tokens: str


class _Subject(NamedTuple):
    """Dictionary of one file, at its place."""

    place: _Place
    representation: str
    dictionary: str
    width: int

    @property
    def label(self) -> str:
        """Name in messages."""
        at = self.place
        return f"'{self.representation}' at {at.site} of '{at.model}' by {at.pooling} and {at.transform}"


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Cells of one file on one task."""

    unit: Unit
    name: str
    found: Found

    @cached_property
    def accuracies(self) -> dict[str, float]:
        """The format's fields, each the mean over seeds. Fields without a cell are not there."""
        return {
            f"{arm}{f'_top_{k}' if k else ''}_test_accuracy": _mean(
                cell.record.metrics["accuracy"].value for cell in cells.values()
            )
            for (arm, k), cells in self.found.items()
            if k == ALL or k in PRESENT_KS
        }

    @property
    def is_complete(self) -> bool:
        """True if it has what the format requires: a probe of all hidden dimensions."""
        return ("llm", ALL) in self.found

    @property
    def cells(self) -> list[Cell]:
        """All cells."""
        return [cell for by_seed in self.found.values() for cell in by_seed.values()]


def to_saebench(runs: Sequence[Results], registry: Registry) -> Exported:
    """Return a file for each dictionary that was probed by k-sparse classifiers on tasks trained as they are.

    Which classifiers those are, their specs say. Raise NothingSelectedError when no cell ended well, and UsageError
    when no dictionary was probed so.
    """
    cells = read_cells(runs)
    check_consistent(cells)
    names = name_units(sorted({cell.unit for cell in cells}))
    read = _read_counts(cells, registry)
    good = [cell for cell in cells if cell.record.status == "ok" and cell.unit.natural == "task"]
    good = [cell for cell in good if cell.record.classifier in read and "accuracy" in cell.record.metrics]
    placed = [cell for cell in good if cell.record.model is not None and cell.record.site is not None]

    def count(cell: Cell) -> int | None:
        return read[cell.record.classifier](cell.record)

    hidden = group_by((cell for cell in placed if cell.record.baseline), _place_of)
    subjects = group_by((cell for cell in placed if cell.record.dictionary is not None), _subject_of)
    sparse = {subject: own for subject, own in subjects.items() if any(map(count, own))}
    if not sparse:
        raise UsageError(_explain_none(runs, registry))
    left_out: list[str] = []
    files: dict[str, str] = {}
    for subject, own in sorted(
        sparse.items(), key=lambda item: in_natural_order(" ".join(map(str, item[0])))
    ):
        tasks = _arrange(own, hidden.get(subject.place, []), names, count)
        lacks = "lacks the linear probe of all hidden dimensions that the format needs"
        left_out += [
            f"task '{task.name}' of {subject.label} {lacks}" for task in tasks if not task.is_complete
        ]
        if complete := [task for task in tasks if task.is_complete]:
            text = _write(subject, complete, registry)
            files[place(files, "", *_name_file(subject), ending="_eval_results.json")] = text
    if not files:
        raise UsageError(f"nothing can be exported to SAEBench's format: {left_out[0]}")
    return Exported(files=files, left_out=left_out)


# ── which cells are of which probe ───────────────────────────────────────────────────────────────────────


def _read_counts(cells: Iterable[Cell], registry: Registry) -> dict[str, Callable[[Record], int | None]]:
    """Return, for each classifier that is offered here, what gives the number of features that a record's probe reads:
    ALL of a linear one that reads all, None of one that is not linear.
    """
    found: dict[str, Callable[[Record], int | None]] = {}
    for label in {cell.record.classifier for cell in cells}:
        try:
            selects = registry.choose("classifiers", label).spec.selects
        except HarnessError:
            continue  # of a plugin that is not installed
        if selects is None:
            found[label] = _count_all
        else:
            found[label] = partial(_read_count, selects)
    return found


def _count_all(record: Record) -> int | None:
    return ALL if record.used else None  # only linear classifiers say which features they use


def _read_count(parameter: str, record: Record) -> int | None:
    value = record.classifier_params.get(parameter)
    return value if isinstance(value, int) and value > 0 else None


def _explain_none(runs: Sequence[Results], registry: Registry) -> str:
    offered = [
        name
        for name in registry.names("classifiers")
        if registry.get("classifiers", name).spec.selects is not None
    ]
    of = name_some([f"'{run.path}'" for run in runs])
    return (
        f"{of}: no dictionary was probed by a k-sparse classifier, and SAEBench's format is for such probes; suites "
        f"name them as {name_some(offered, nothing='none that is installed')}"
    )


def _place_of(cell: Cell) -> _Place:
    record = cell.record
    tokens = record.tokens or ""
    return _Place(str(record.model), str(record.site), record.pooling or "", record.transform, tokens)


def _subject_of(cell: Cell) -> _Subject:
    record = cell.record
    return _Subject(_place_of(cell), record.representation, str(record.dictionary), record.width or 0)


def _arrange(
    own: Iterable[Cell],
    hidden: Iterable[Cell],
    names: Mapping[Unit, str],
    count: Callable[[Cell], int | None],
) -> list[_Task]:
    """Return the cells of one file by task. Of several with one number of features, the best on validation counts."""
    found: dict[Unit, dict[tuple[str, int], dict[int, Cell]]] = {}
    for arm, cells in (("sae", own), ("llm", hidden)):
        for cell in sorted(cells, key=lambda cell: (-cell.validation, cell.cell_id)):
            k = count(cell)
            if k is not None and (arm == "sae" or cell.unit in found):
                by_seed = found.setdefault(cell.unit, {}).setdefault((arm, k), {})
                by_seed.setdefault(cell.record.seed, cell)
    return [
        _Task(unit=unit, name=names[unit], found=dict(sorted(cells.items())))
        for unit, cells in sorted(found.items())
    ]


# ── what is written of them ──────────────────────────────────────────────────────────────────────────────


def _name_file(subject: _Subject) -> Iterator[str]:
    """Yield the parts of a file's name; the usual transform and tokens are not named."""
    at = subject.place
    yield from (at.model, subject.representation, at.site, at.pooling)
    yield at.transform * (at.transform != "none")
    yield at.tokens * (at.tokens != "content")


def _write(subject: _Subject, tasks: Sequence[_Task], registry: Registry) -> str:
    """Return the text of one file."""
    cells = once(cell for task in tasks for cell in task.cells)
    records = [cell.record for cell in cells]
    metrics = _average(tasks)
    about = {
        "eval_type_id": "sparse_probing",
        "eval_config": _configure(subject, tasks, records, registry),
        "eval_id": str(uuid.uuid5(uuid.NAMESPACE_OID, hash_lines(sorted(cell.cell_id for cell in cells)))),
        "datetime_epoch_millis": int(end_of(runs_of(cells)).timestamp() * 1000),
        "eval_result_metrics": {
            arm: {field: value for field, value in metrics.items() if field.startswith(arm)}
            for arm in ("llm", "sae")
        },
        "eval_result_details": [{"dataset_name": task.name, **task.accuracies} for task in tasks],
        "sae_bench_commit_hash": f"not run by SAEBench, but by sae-harness {version('sae-harness')}",
        "sae_lens_id": None,
        "sae_lens_release_id": None,
        "sae_lens_version": None,
        "sae_cfg_dict": _describe_dictionary(subject, records),
        "eval_result_unstructured": {"sae_harness": _tell(subject, tasks, records, registry)},
    }
    return json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _average(tasks: Sequence[_Task]) -> dict[str, float]:
    """Return the means over tasks of the fields that all of them have."""
    shared = [field for field in tasks[0].accuracies if all(field in task.accuracies for task in tasks)]
    return {field: _mean(task.accuracies[field] for task in tasks) for field in shared}


def _configure(
    subject: _Subject, tasks: Sequence[_Task], records: Sequence[Record], registry: Registry
) -> dict[str, Any]:
    """Return the configuration, without the fields that say nothing of a run of this harness."""
    known = _read_parameters(subject.place.model, registry)
    return {
        "random_seed": min(record.seed for record in records),
        "dataset_names": [task.name for task in tasks],
        "probe_train_set_size": max(record.n_train for record in records),
        "probe_test_set_size": max(record.n_test for record in records),
        **({"context_length": known["max_length"]} if isinstance(known.get("max_length"), int) else {}),
        **({"llm_dtype": known["dtype"]} if isinstance(known.get("dtype"), str) else {}),
        "model_name": subject.place.model,
        "k_values": sorted({k for task in tasks for _, k in task.found if k != ALL}),
    }


def _read_parameters(model: str, registry: Registry) -> Mapping[str, Any]:
    """Return the parameters of a model with their defaults; none where it is not offered here."""
    try:
        return registry.choose("models", model).parameters
    except HarnessError:
        return {}


def _describe_dictionary(subject: _Subject, records: Sequence[Record]) -> dict[str, Any]:
    """Return what the records know of the fields of a configuration of SAELens."""
    site = Site.parse(subject.place.site)
    is_residual = site.kind == "resid_post" and not site.tower
    return {
        "model_name": subject.place.model,
        "hook_name": f"blocks.{site.layer}.hook_resid_post" if is_residual else str(site),
        "hook_layer": site.layer,
        "d_in": next(record.width for record in records if record.baseline),
        "d_sae": subject.width,
        "architecture": "unknown",  # which plots of SAEBench ask for; records do not have it
    }


def _tell(
    subject: _Subject, tasks: Sequence[_Task], records: Sequence[Record], registry: Registry
) -> dict[str, Any]:
    """Return what the format has no fields for."""
    at, of_sae = subject.place, [record for record in records if record.dictionary is not None]
    return {
        "version": version("sae-harness"),
        "suites": sorted({record.suite for record in records}),
        "protocol": PROTOCOL,
        "representation": subject.representation,
        "dictionary": subject.dictionary,
        "site": at.site,
        "tokens": at.tokens,
        "pooling": at.pooling,
        "transform": at.transform,
        "flags": sorted({flag for record in of_sae for flag in record.flags}),
        "datasets": {task.name: _tell_task(task, registry) for task in tasks},
    }


def _tell_task(task: _Task, registry: Registry) -> dict[str, Any]:
    source = find_hub_source(find_task(task.unit, registry))
    first, *_ = (cell.record for cell in task.cells)
    fidelity = next(cell.record.fidelity for cell in task.cells if cell.record.dictionary is not None)
    return {
        "hub": {"id": source.hub, "revision": source.revision, "config": source.config} if source else None,
        "n_train": first.n_train,
        "n_validation": first.n_validation,
        "n_test": first.n_test,
        "fidelity": {
            name: value
            for name, value in asdict(fidelity).items()
            if name in ("verdict", "explained_variance", "l0")
        },
        "probes": [
            {"arm": arm, "k": k or None, "seed": seed, **_tell_probe(cell.record)}
            for (arm, k), by_seed in task.found.items()
            for seed, cell in sorted(by_seed.items())
        ],
    }


def _tell_probe(record: Record) -> dict[str, Any]:
    accuracy, macro_f1 = record.metrics["accuracy"], record.metrics.get("macro_f1")
    return {
        "classifier": record.classifier,
        "parameters": record.classifier_params,
        "accuracy": accuracy.value,
        "accuracy_95": None if accuracy.low is None else [accuracy.low, accuracy.high],
        "macro_f1": macro_f1.value if macro_f1 else None,
        "cell_id": record.cell_id,
    }


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
