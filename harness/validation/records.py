"""Checks of records by themselves and against one another, without predictions and data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

from harness.api.errors import name_some
from harness.runs.record import Record
from harness.validation.finding import Finding

MEASURED = {
    *("schema_version", "cell_id", "status", "error", "classifier_params", "metrics", "validation_metrics"),
    *("n_train", "n_validation", "n_test", "n_features", "selected_on", "tried", "predictions_hash", "used"),
    *("sharing", "control", "hygiene", "fidelity", "cost", "flags", "origins"),
}
"""Fields of a record that do not identify its cell; all others together do."""

METRICS = ("macro_f1", "accuracy", "balanced_accuracy", "auroc")


def check_records(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the faults of records: scores of a failed cell or a good cell without scores, numbers that no cell has,
    two records of one cell, two cells of one evaluation, one name for two sets of rows, models or representations.
    """
    times = Counter(record.cell_id for record in records)
    sentences = [f"cell '{cell_id}' has {count} records" for cell_id, count in times.items() if count > 1]
    known: dict[str, str] = {}
    rows: dict[tuple[object, ...], str | None] = {}
    for record in records:
        what = f"cell '{record.cell_id}'"
        sentences += chain(_check_numbers(record), _check_gate(record)) if record.status == "ok" else ()
        if record.status == "ok" and not {"macro_f1", "accuracy"} <= record.metrics.keys():
            sentences.append(f"{what} ended well, but its record lacks macro_f1 or accuracy")
        if record.status != "ok" and record.metrics:
            sentences.append(f"{what} is {record.status}, but its record holds scores")
        place = record.model_dump_json(exclude=MEASURED)
        if (other := known.setdefault(place, record.cell_id)) != record.cell_id:
            sentences.append(f"{what} and cell '{other}' are the same evaluation")
        task = (record.task, record.task_version, record.train_language, record.test_language)
        if rows.setdefault(task, record.data) != record.data:
            sentences.append(f"{what} was tested on other rows of '{record.task}' than others of the run")
    return (*sentences, *_check_names(records))


def _check_numbers(record: Record) -> Iterator[str]:
    """Yield the faults of a good cell's numbers: metrics, intervals, validation scores, rows and width."""
    what = f"cell '{record.cell_id}'"
    if strange := sorted(record.metrics.keys() - {*METRICS}):
        yield f"{what} holds a metric that no cell has: {name_some(strange)}"
    for name, metric in record.metrics.items():
        bounds = [bound for bound in (metric.low, metric.high) if bound is not None]
        if len(bounds) == 1:
            yield f"{what} has half an interval of {name}"
        if not all(0 <= number <= 1 for number in (metric.value, *bounds)) or bounds != sorted(bounds):
            yield f"{what} has {name} {metric.value} {bounds}, which no predictions give"
    if any(not 0 <= value <= 1 for value in record.validation_metrics.values()):
        yield f"{what} has a score on validation rows that is not between 0 and 1"
    # A transferred probe uses the features of the model that it was trained on.
    width = record.width if record.learnt_on is None else None
    if width is not None and any(not 0 <= used.feature < width for used in record.used):
        yield f"{what} has the width {record.width}, and uses feature {max(used.feature for used in record.used)}"


def _check_gate(record: Record) -> Iterator[str]:
    """Yield a sentence where the flags of a record are not those of its verdict on fidelity."""
    own = {flag.removeprefix("fidelity:") for flag in record.flags if flag.startswith("fidelity:")}
    wanted = {*record.fidelity.reasons} if record.fidelity.verdict == "flagged" else set[str]()
    lacking = [rule for rule in wanted if not any(flag.endswith(f":{rule}") for flag in record.flags)]
    if lacking or own - wanted:
        yield (
            f"cell '{record.cell_id}' is flagged {', '.join(sorted(own)) or 'nothing'} by the fidelity gate, whose "
            f"verdict is {', '.join(sorted(wanted)) or 'nothing'}"
        )


def _check_names(records: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence where one name of a model, representation or protocol stands for two."""
    known: dict[tuple[object, ...], tuple[object, str]] = {}
    for record in records:
        protocol = (record.pooling, record.transform, record.classifier)
        model, arm = (record.model, record.site), (record.model, record.site, record.representation)
        width = None if record.model is None else record.width  # that of other arms may differ by task
        for what, name, value in (
            (f"model '{record.model}'", ("weights", *model), record.model_hash),
            (f"representation '{record.representation}'", ("hash", *arm), record.representation_hash),
            (f"representation '{record.representation}'", ("width", *arm), width),
            (f"representation '{record.representation}'", ("dictionary", *arm), record.dictionary),
            (f"'{' '.join(filter(None, protocol))}'", ("protocol", *protocol), record.protocol_hash),
        ):
            before, first = known.setdefault(name, (value, record.cell_id))
            if None not in (value, before) and value != before:
                yield (
                    f"{what} is another in cell '{record.cell_id}' than in cell '{first}': {name[0]} {value} and "
                    f"{before}"
                )


def check_whole(records: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence where a good cell lacks an interval without a reason, or where what its probe was chosen on does
    not go with its rows and its score there.
    """
    for record in records:
        if record.status == "ok":
            what = f"cell '{record.cell_id}'"
            for name, metric in record.metrics.items():
                if metric.low is None and metric.high is None and not metric.method:
                    yield f"{what} has no interval of {name}, and does not say why"
            yield from _check_selection(record, what)


def _check_selection(record: Record, what: str) -> Iterator[str]:
    """Yield a sentence where what a probe was chosen on does not go with its rows and its score there."""
    if min(record.n_train, record.n_test, record.n_features) < 1:
        yield f"{what} ended well without training rows, test rows or features"
    wanted = record.selected_on == "validation"
    if wanted != (record.n_validation > 0):
        yield f"{what} was chosen on {record.selected_on}, with {record.n_validation} validation rows"
    is_chosen = record.selected_on != "nothing"
    if is_chosen != ("macro_f1" in record.validation_metrics) or is_chosen != (record.tried > 0):
        yield (
            f"{what} was chosen on {record.selected_on} among {record.tried} points of a grid, with the scores "
            f"{sorted(record.validation_metrics)}"
        )


_LEAK_FLAGS = {
    "leaks": "themselves",
    "near-leaks": "but for case, blanks, final punctuation or look-alikes",
    "shared-groups": "by their group",
}
"""Flag of test rows that are kept → how they are in training."""


def check_flags(records: Sequence[Record]) -> Iterator[Finding]:
    """Yield a note for each flag of test rows that are kept though they, or their groups, are also in training."""
    flagged = dict.fromkeys(
        (record.task, record.regime, *flag.split(":", 1))
        for record in records
        for flag in record.flags
        if flag.startswith(tuple(f"{kind}:" for kind in _LEAK_FLAGS))
    )
    for task, regime, flag, count in flagged:
        what = _LEAK_FLAGS[flag]
        yield Finding(
            "note",
            f"task '{task}' under regime '{regime}' is flagged {flag}:{count}: so many test rows stand in "
            f"training {what}",
        )


def check_checksums(records: Sequence[Record]) -> Iterator[Finding]:
    """Yield a note if good cells are older than checksums of predictions."""
    good = [record for record in records if record.status == "ok"]
    if bare := sum(record.predictions_hash is None for record in good):
        yield Finding(
            "note",
            f"{bare} of {len(good)} cells have no checksum of their predictions, so edits of them may not show",
        )
