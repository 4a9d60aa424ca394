"""Schema and reader of records, the lines of `results.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    field_validator,
    model_validator,
)

from harness.api.errors import UnavailableError
from harness.api.events import Score
from harness.api.specs import Natural
from harness.data.cleaning import Hygiene
from harness.dictionaries.gate import Fidelity
from harness.probing.attribution import TopFeature
from harness.probing.shared_features import Sharing
from harness.runs.lines import MADE_AGAIN, SCHEMA_VERSION, Status, check_version, is_plain
from harness.runs.predicted import Predicted
from harness.stats.metrics import auroc
from harness.storage.hashing import hash_lines
from harness.storage.parsing import ParseError, parsing
from harness.storage.reading import read_unpacked

if TYPE_CHECKING:
    import pandas as pd


STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Functions that make a record of the next version from one of this; none where defaults of new fields suffice."""


REPORTED_DISTRIBUTIONS = (
    *("sae-harness", "torch", "transformers", "scikit-learn", "numpy"),
    *("pillow", "torchvision", "open_clip_torch"),
)


ADDED_FIELDS: Mapping[str, Any] = {
    "tokens": "content",
    "regimes": ["full"],
    "alignments": [],
    "transfers": [],
}
"""Fields of suites that are newer than schema version 1, with their defaults."""


ROUNDING = 1e-9
"""Largest difference between a metric and the same one recomputed: machines sum in different orders."""


class _Frozen(BaseModel):
    """A part of a record: strict about its fields, and about those of the dataclasses that it holds.

    Dataclasses are validated anew, for their own constructors check nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, revalidate_instances="always")


class Cost(_Frozen):
    """Cost of the cell's bundle, and of the cell's own probe.

    `tokens` are pooled tokens, `peak_memory` is in bytes on the device, `probe_seconds` covers the whole grid. 0 is
    unknown: tokens and seconds of a resumed pass, the speed of one that read kept activations. Of images,
    `images_per_s` is the throughput and `waiting_share` the share of the seconds spent waiting for decoding.
    """

    tokens: NonNegativeInt = 0
    tokens_per_s: NonNegativeFloat = 0.0
    seconds: NonNegativeFloat = 0.0
    peak_memory: NonNegativeInt = 0
    probe_seconds: NonNegativeFloat = 0.0
    images_per_s: NonNegativeFloat = 0.0
    waiting_share: NonNegativeFloat = 0.0


class Record(_Frozen):
    """Result of one cell, good or failed.

    `selected_on` is `validation`, `folds` or `nothing`; `tried` counts the points of the grid compared there.
    `predictions_hash` is the hash of the test rows' ids, labels and predictions (`hash_predictions`). `baseline` and
    `control` are those of the representation's spec; `control` is None in records that are older than this field.
    `toy` is that of the model's spec, None without a model or where an older record does not say.
    `natural` is that of the regime's spec. `only` holds the kinds (`poolings`, `transforms`, `classifiers`) of which
    the representation takes one alone, whatever the suite has.
    `seen` are the megabytes of the model's training text in the languages of the record, None if unknown.
    `learnt_on` names the model on whose features the classifier was trained, where that is another one, and
    `alignment` the map of the features of `model` to those.
    """

    # The fields are flat, and their names and order are those of the file: committed records are read by them.

    schema_version: int = SCHEMA_VERSION
    cell_id: str
    data: str | None = None
    status: Status
    error: str | None = None
    suite: str
    task: str
    task_version: int
    trained_on: str | None = None
    modality: str
    train_language: str
    test_language: str
    seen: dict[str, float] | None = None
    model: str | None
    model_hash: str | None
    toy: bool | None = None
    site: str | None
    tokens: str | None = "content"
    representation: str
    representation_hash: str | None
    baseline: bool = False
    control: bool | None = None
    only: tuple[str, ...] = ()
    dictionary: str | None = None
    width: int | None
    pooling: str | None
    transform: str
    classifier: str
    regime: str = "full"  # a fact of the file format: records from before regimes existed lack it
    natural: Natural | None = None
    learnt_on: str | None = None
    alignment: str | None = None
    protocol_hash: str | None = None
    classifier_params: dict[str, Any] = Field(default_factory=dict)
    seed: int
    selected_on: str = "validation"
    tried: int = 0
    metrics: dict[str, Score] = Field(default_factory=dict)
    validation_metrics: dict[str, float] = Field(default_factory=dict)
    n_train: int = 0
    n_validation: int = 0
    n_test: int = 0
    n_features: int = 0
    predictions_hash: str | None = None
    used: tuple[TopFeature, ...] = ()
    sharing: Sharing | None = None
    hygiene: Hygiene = Hygiene()
    fidelity: Fidelity = Fidelity()
    cost: Cost = Cost()
    flags: tuple[str, ...] = ()
    origins: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _infer_flags(self) -> Record:
        """Fill in the flags of specs that older records lack, from the names that offers had at that time."""
        lacking = _FLAGS - self.model_fields_set
        if not lacking:
            return self
        # Before specs had these flags, one representation and two regimes were known by name. The names are facts of
        # old files. No other code may compare names. The models that the plugin `minigemma` supplied were all toys.
        inferred = {
            "toy": True if self.origins.get("model", "").startswith("minigemma ") else None,
            "baseline": self.representation == "hidden",
            "natural": _NATURAL.get(self.regime),
        }
        for name in lacking:
            object.__setattr__(self, name, inferred[name])  # the model is frozen once it is made
        self.__pydantic_fields_set__.update(lacking)
        return self

    @field_validator("classifier_params")
    @classmethod
    def _finite(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key, item in value.items():
            if not _is_finite(item):
                raise ValueError(f"classifier_params.{key} is not finite")
        return value


_FLAGS = {"toy", "baseline", "natural"}
_NATURAL: Mapping[str, Natural] = {"full": "task", "native": "language"}


def _is_finite(value: Any) -> bool:
    """Return whether no number in a JSON value is NaN or infinite."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


class Results(Protocol):
    """Records with the predictions of their cells, from which a board is built: a run folder or a published run."""

    @property
    def path(self) -> Path:
        """Their path, for messages."""

    @property
    def name(self) -> str:
        """Their name on a board's page."""

    @property
    def is_whole(self) -> bool:
        """True if every cell of the run has a record."""

    def environment(self) -> Mapping[str, Any]:
        """Return the machine, versions and plugins of the run; {} where it does not say. Raise UnavailableError when
        that is damaged.
        """

    def about(self) -> dict[str, Any]:
        """Return what is known of the run as a whole, such as its suite, and when it `finished`."""

    def records(self) -> list[Record]:
        """Return the last record of every cell. Raise UnavailableError when they cannot be read."""

    @property
    def remedy(self) -> str:
        """Command that makes wrong predictions anew, for messages."""

    def has_predictions(self, record: Record) -> bool:
        """Return whether a cell ended well and its predictions are readable; their checksum is not read."""

    def predicted(self, record: Record) -> Predicted | None:
        """Return the predictions of a good cell as class numbers if they are those that were scored. None where they
        are not, or are missing or of an unusual form: `read_scored` then says what is wrong, if anything is.
        """

    def predictions(self, cell_id: str) -> pd.DataFrame:
        """Return the test predictions of a cell, one row for each example: example_id, group (where rows have one),
        label, prediction. The classes are those of the columns score_<class>, else the categories of `label`.
        Their checksum is not read; `read_scored` does that. Raise UnavailableError when they are missing.
        """


def read_scored(run: Results, record: Record) -> pd.DataFrame:
    """Return the predictions of a cell if they are those that were scored, by the checksum in its record.

    Raise UnavailableError when they are others, or are missing.
    """
    frame = run.predictions(record.cell_id)
    if not are_scored(record, frame):
        raise UnavailableError(
            f"the predictions of cell '{record.cell_id}' in '{run.path}' are not those that were scored: their "
            f"checksum differs from the record's; {run.remedy}"
        )
    return frame


def check_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return predictions as they are; raise ParseError for a column of another type than a run writes."""
    for name in frame.columns:
        column = frame[name]
        if name in ("example_id", "label", "prediction"):
            values = column.cat.categories if hasattr(column, "cat") else column
            if column.isna().any() or not all(isinstance(value, str) for value in values):
                raise ParseError(f"its column '{name}' holds something else than texts")
        elif str(name).startswith("score_") and column.dtype.kind != "f":
            raise ParseError(f"its column '{name}' holds something else than numbers")
        elif name == "group" and column.dtype == object and not all(map(_is_group, column)):
            raise ParseError("its column 'group' holds something else than texts or numbers")
    return frame


def _is_group(value: Any) -> bool:
    return not isinstance(value, dict | list | np.ndarray)


def classes_of(frame: pd.DataFrame) -> list[str]:
    """Return the classes that a cell chose from, also those without a test row: those of the columns score_<class>,
    else the categories of `label`.
    """
    scored = [str(name).removeprefix("score_") for name in frame.columns if str(name).startswith("score_")]
    if scored or "label" not in frame or not hasattr(frame["label"], "cat"):
        return scored
    return [str(name) for name in frame["label"].cat.categories]


def are_scored(record: Record, frame: pd.DataFrame) -> bool:
    """Return whether predictions have the checksum of a record; True for older records, which have none."""
    if record.predictions_hash is None:
        return True
    names = ("example_id", "label", "prediction")
    if not set(names) <= set(frame.columns):
        return False
    return hash_predictions(*(_texts(frame[name]) for name in names)) == record.predictions_hash


def is_scored(record: Record, found: Predicted) -> bool:
    """Return whether predictions have the checksum of a record; True for older records, which have none."""
    return record.predictions_hash is None or found.hash == record.predictions_hash


def _texts(column: pd.Series[Any]) -> list[str]:
    """Return the values of a column as text; those of categories in half the time."""
    if not hasattr(column, "cat") or (column.cat.codes < 0).any():  # -1 is a missing value
        return list(map(str, column.tolist()))
    names = np.array([str(name) for name in column.cat.categories], object)
    return list(names[column.cat.codes.to_numpy()])


def give_auroc(record: Record, frame: pd.DataFrame) -> bool:
    """Return whether the scores of predictions give the AUROC of a record: their checksum does not cover them. True
    where the record has none.
    """
    if "auroc" not in record.metrics:
        return True
    classes = classes_of(frame)
    numbers = {name: number for number, name in enumerate(classes)}
    y = np.array([numbers.get(str(label), -1) for label in frame["label"].tolist()])
    return is_auroc(record, y, frame[[f"score_{name}" for name in classes]].to_numpy(np.float64))


def is_auroc(record: Record, y: NDArray[np.int64], scores: NDArray[np.float64]) -> bool:
    """Return whether `scores [rows, classes]` give the AUROC of a record. True where the record has none."""
    if "auroc" not in record.metrics:
        return True
    found = auroc(y, scores)
    return found is not None and abs(found - record.metrics["auroc"].value) <= ROUNDING


def hash_predictions(ids: Iterable[str], labels: Iterable[str], predictions: Iterable[str]) -> str:
    """Return the hex SHA-256 of each test row's id, label and prediction, in the order of ids."""
    return hash_lines("\x1f".join(row) for row in sorted(zip(ids, labels, predictions, strict=True)))


def read_records(path: Path) -> list[Record]:
    """Return the records of a results file (`.gz`: compressed), of this or an older schema version, in order.

    An unfinished last line is ignored. Raise UnavailableError, with the line number, on any other broken line.
    """
    with parsing(f"'{path}' cannot be read"):
        data = read_unpacked(path)
    lines = data.split(b"\n")[:-1]  # bytes: a cut may have fallen inside a character
    return [read_line(line, path, number) for number, line in enumerate(lines, start=1) if line]


def read_line(line: bytes, path: Path, number: int) -> Record:
    """Return the record of a line of a results file. Raise UnavailableError, with the line number, when it is none."""
    where = f"'{path}' line {number}"
    with parsing(f"{where} is not a valid record", hint="" if path.suffix == ".gz" else MADE_AGAIN):
        return _read_record(line, where)


def _read_record(line: bytes, where: str) -> Record:
    """Return the record of a line, migrated to this schema version. Raise ValueError when it is none."""
    # A line as it is written now is read without a mapping of its fields, in a fifth of the time. All others, and what
    # is refused here, go the long way, which knows the reason.
    if is_plain(line):
        with suppress(ValueError):
            record = Record.model_validate_json(line)
            if record.schema_version == SCHEMA_VERSION:  # it may be given twice
                return record
    fields = json.loads(line)
    if b"\\ud" in line.lower():  # perhaps half of a character, which could not be written again
        json.dumps(fields, ensure_ascii=False).encode()
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ValueError("no schema version")
    check_version(version, where)
    for older in range(version, SCHEMA_VERSION):
        fields = STEPS[older](fields) if older in STEPS else fields
    return Record.model_validate({**fields, "schema_version": SCHEMA_VERSION})
