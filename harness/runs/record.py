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


VARYING = frozenset({"cost"})
"""Fields of a record that tell how it was made: times, speeds, memory. All others are equal wherever it is made."""


ROUNDING = 1e-9
"""Largest difference between a metric and the same one recomputed: machines sum in different orders."""


class _Frozen(BaseModel):
    """A part of a record: strict about its fields, and about those of the dataclasses that it holds.

    Dataclasses are validated anew, for their own constructors check nothing.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        revalidate_instances="always",
        use_attribute_docstrings=True,
    )


class Cost(_Frozen):
    """Cost of the cell's bundle, and of the cell's own probe."""

    tokens: NonNegativeInt = 0
    """Pooled tokens of the bundle; 0 is unknown, as of a resumed pass."""
    tokens_per_s: NonNegativeFloat = 0.0
    """Tokens a second; 0 is unknown, as of a pass that read kept activations."""
    seconds: NonNegativeFloat = 0.0
    """Seconds of the forward pass; 0 is unknown, as of a resumed pass."""
    peak_memory: NonNegativeInt = 0
    """Peak memory on the device, in bytes."""
    probe_seconds: NonNegativeFloat = 0.0
    """Seconds of the cell's own probe, over its whole grid."""
    images_per_s: NonNegativeFloat = 0.0
    """Images a second; 0 where inputs are texts."""
    waiting_share: NonNegativeFloat = 0.0
    """Share of the seconds in which the model waited for images to be decoded."""


class Record(_Frozen):
    """Result of one cell, good or failed: one line of `results.jsonl`."""

    # The fields are flat, and their names and order are those of the file: committed records are read by them.

    schema_version: int = SCHEMA_VERSION
    """Version of this schema; older records are read too."""
    cell_id: str
    """Hash of everything that may change the numbers of the cell."""
    data: str | None = None
    """Hash of all rows of the task (ids, labels, splits, groups, languages); None in records older than this field."""
    status: Status
    """End of the cell: `ok`, `failed`, `oom` (memory ran out) or `skipped`."""
    error: str | None = None
    """Why it did not end well, in one sentence."""
    suite: str
    """Name of the suite."""
    task: str
    """Name of the task."""
    task_version: int
    """Version of the task."""
    trained_on: str | None = None
    """Task whose rows were learnt from, where that is another one."""
    modality: str
    """Kind of the inputs: `text` or `image`."""
    train_language: str
    """Language of the training rows, as a BCP 47 tag; several are joined by `+`."""
    test_language: str
    """Language of the test rows."""
    seen: dict[str, float] | None = None
    """Megabytes of the model's training text in the languages of the record; None if unknown."""
    model: str | None
    """Reference of the model; None for an arm without one."""
    model_hash: str | None
    """Hash of the model's identity: its files and parameters."""
    toy: bool | None = None
    """True if the model's spec says that it is a toy; None without a model, or where an older record does not say."""
    site: str | None
    """Site whose activations were read."""
    tokens: str | None = "content"
    """Token set that was pooled."""
    representation: str
    """Representation, with its parameters."""
    representation_hash: str | None
    """Hash of the representation's identity."""
    baseline: bool = False
    """True if the representation's spec says `baseline`."""
    control: bool | None = None
    """True if the representation's spec says `control`; None in records that are older than this field."""
    only: tuple[str, ...] = ()
    """Kinds (`poolings`, `transforms`, `classifiers`) of which the representation takes one alone, whatever the suite
    has.
    """
    dictionary: str | None = None
    """The exact dictionary that the reference led to."""
    width: int | None
    """Features of the representation; None where that differs from task to task, or without a model."""
    pooling: str | None
    """Pooling of tokens, with its parameters."""
    transform: str
    """Transform of pooled features, with its parameters."""
    classifier: str
    """Classifier, with the parameters that the suite gives it."""
    regime: str = "full"  # a fact of the file format: records from before regimes existed lack it
    """Regime that chose the training rows, with its parameters."""
    natural: Natural | None = None
    """Unit that the regime leaves as it is, as its spec says."""
    learnt_on: str | None = None
    """Model on whose features the classifier was trained, where that is another one."""
    alignment: str | None = None
    """Map from the features of `model` to those of `learnt_on`."""
    protocol_hash: str | None = None
    """Hash of pooling, transform, classifier, its grid and how it is chosen."""
    classifier_params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the classifier that was chosen."""
    seed: int
    """Seed of the training rows and of the classifier."""
    selected_on: str = "validation"
    """Rows on which the parameters were chosen: `validation`, `folds` of the training rows, or `nothing`."""
    tried: int = 0
    """Points of the grid that were compared there."""
    metrics: dict[str, Score] = Field(default_factory=dict)
    """Metrics on test rows, by name."""
    validation_metrics: dict[str, float] = Field(default_factory=dict)
    """Metrics on the rows of `selected_on`, by name."""
    n_train: int = 0
    """Training rows."""
    n_validation: int = 0
    """Validation rows."""
    n_test: int = 0
    """Test rows."""
    n_features: int = 0
    """Columns of the matrix that the classifier was given."""
    predictions_hash: str | None = None
    """Hash of the test rows' ids, labels and predictions (`hash_predictions`)."""
    used: tuple[TopFeature, ...] = ()
    """The most influential features of a linear classifier."""
    sharing: Sharing | None = None
    """Features that two languages have in common, in a transfer between languages."""
    hygiene: Hygiene = Hygiene()
    """Counts of rows that were removed or changed."""
    fidelity: Fidelity = Fidelity()
    """Fit of the dictionary to the activations of the task."""
    cost: Cost = Cost()
    """Time and memory."""
    flags: tuple[str, ...] = ()
    """Short reasons why the numbers may not mean what they seem to."""
    origins: dict[str, str] = Field(default_factory=dict)
    """Plugin and distribution that supplied each part, by kind."""

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
