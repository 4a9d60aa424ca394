"""Events of a run, as observers receive them (`harness_run_started` and its kin). All are frozen and public."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric of one cell with its 95 % confidence interval."""

    value: float
    """Value of the metric on test rows."""
    low: float | None = None
    """Lower end of the interval; None without one."""
    high: float | None = None
    """Upper end of the interval; None without one."""
    method: str = ""
    """Method of the interval; empty without one."""

    @property
    def lower(self) -> float:
        """Lower end of the interval; the value itself without one."""
        return self.value if self.low is None else self.low

    @property
    def upper(self) -> float:
        """Upper end of the interval; the value itself without one."""
        return self.value if self.high is None else self.high

    def __str__(self) -> str:
        """Return the value with its interval: `0.912 [0.880, 0.941]`."""
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """Start of a run of `n_cells` cells, of which `done` were finished earlier and are not done anew.

    `tasks`, `models` and `representations` are the names as records spell them, each once, in the order of the plan.
    `left_out` holds what is unavailable, by name, with the reason.
    """

    suite: str
    folder: Path
    n_cells: int
    done: int
    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    representations: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BatchFinished:
    """Progress of the forward pass of one bundle, after each batch: content tokens and seconds so far."""

    bundle: str
    tokens_done: int
    tokens_total: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class BundleFinished:
    """Cost of one bundle, whose features are now all in the store; zero `tokens` means that all were cached.

    `tokens` are content tokens that went through the model, `calibration_tokens` those for what is fitted on
    activations or measured by the fidelity gate. `padding_share` is the share of padded positions, `peak_memory` is
    in bytes on the device. Of images, `images_per_s` is the throughput and `waiting_share` the share of the seconds
    in which the model waited for decoding.
    """

    bundle: str
    tokens: int
    calibration_tokens: int = 0
    seconds: float
    tokens_per_s: float
    padding_share: float
    peak_memory: int
    images_per_s: float = 0.0
    waiting_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CellFinished:
    """End of one cell, whose record is on disk already.

    `status` is ok, failed, skipped or oom, and `error` says why it is not ok. Names are spelled as in the record; None
    where an arm has no such part. `source_model` is the model on whose features the classifier was trained, where
    that is another one, and `alignment` maps the features of `model` to it. `metrics` are on test rows.
    """

    cell_id: str
    status: str
    suite: str
    task: str
    modality: str
    train_language: str
    test_language: str
    representation: str
    transform: str
    classifier: str
    regime: str
    seed: int
    error: str | None = None
    model: str | None = None
    site: str | None = None
    tokens: str | None = None
    pooling: str | None = None
    source_model: str | None = None
    alignment: str | None = None
    metrics: Mapping[str, Score] = field(default_factory=dict)
    n_train: int = 0
    n_validation: int = 0
    n_test: int = 0
    n_features: int = 0
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Outcome of a run, in cells.

    `pending` cells have no record, `skipped` ones were not done anew, and `flagged` ones have a dictionary that failed
    the fidelity gate. `redone` cells had ended well before, and their predictions were missing, damaged or not those
    that were scored. `errors` counts cells by their error; `left_out` holds what is unavailable, by name, with the
    reason. `tokens` went through a model, in `seconds` of the whole run.
    """

    folder: Path
    ok: int
    failed: int
    skipped: int
    seconds: float
    tokens: int
    pending: int = 0
    flagged: int = 0
    redone: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """True if everything that was asked for ended well."""
        return not (self.failed or self.pending or self.left_out)


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """End of a run; its records and leaderboard are on disk."""

    summary: Summary
