"""Compare two runs of one suite, cell by cell: chosen parameters, scores and test predictions.

    python tests/benchmarks/compare_runs.py BEFORE AFTER

Each difference is listed. The exit code is 0 if in every cell the same point of the grid was chosen, or one whose
validation score differs by less than 1e-9, and at least 99.9 % of all test predictions are equal.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.runs.reader import RunReader
from harness.runs.record import Record

SAME_SCORE = 1e-9
LEAST_EQUAL = 0.999


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One cell in both runs: its records, and how many of its test predictions are equal."""

    before: Record
    after: Record
    rows: int
    equal: int

    @property
    def is_same_choice(self) -> bool:
        """True if the same parameters were chosen."""
        return self.before.classifier_params == self.after.classifier_params

    @property
    def is_tie(self) -> bool:
        """True if the validation scores of both choices are equal but for rounding."""
        scores = [record.validation_metrics.get("macro_f1") for record in (self.before, self.after)]
        return scores[0] == scores[1] or (
            None not in scores and abs(float(scores[0] or 0) - float(scores[1] or 0)) < SAME_SCORE
        )

    def describe(self) -> str:
        """Return one line for a cell that differs."""
        one, other = self.before, self.after
        place = " ".join(str(part) for part in (one.task, one.model, one.representation, one.pooling) if part)
        chosen = (
            "" if self.is_same_choice else f" chosen {one.classifier_params} → {other.classifier_params},"
        )
        scores = f" validation {one.validation_metrics} → {other.validation_metrics}," if chosen else ""
        return f"{place}:{chosen}{scores} {self.rows - self.equal} of {self.rows} predictions differ"


def read_pairs(before: Path, after: Path) -> list[Pair]:
    """Return the cells that ended well in both folders. Raise SystemExit where one has cells that the other lacks."""
    runs = [{record.cell_id: record for record in RunReader(path).records()} for path in (before, after)]
    good = [{key for key, record in run.items() if record.status == "ok"} for run in runs]
    if good[0] != good[1]:
        raise SystemExit(f"{len(good[0] ^ good[1])} cells ended well in one of the runs only")
    return [_pair(runs[0][key], runs[1][key], before, after) for key in sorted(good[0])]


def _pair(one: Record, other: Record, before: Path, after: Path) -> Pair:
    frames = [
        pd.read_parquet(path / "predictions" / f"{one.cell_id}.parquet", columns=["example_id", "prediction"])
        for path in (before, after)
    ]
    both = frames[0].merge(frames[1], on="example_id", validate="one_to_one")
    if len(both) != len(frames[0]):
        raise SystemExit(f"cell {one.cell_id} was tested on other rows")
    equal = int((both["prediction_x"] == both["prediction_y"]).sum())
    return Pair(before=one, after=other, rows=len(both), equal=equal)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what differs between two run folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args(arguments)
    pairs = read_pairs(given.before, given.after)
    for pair in pairs:
        if not pair.is_same_choice or pair.equal < pair.rows:
            print(pair.describe())
    rows, equal = sum(pair.rows for pair in pairs), sum(pair.equal for pair in pairs)
    others = [pair for pair in pairs if not pair.is_same_choice]
    bad = [pair for pair in others if not pair.is_tie]
    print(
        f"{len(pairs)} cells: {len(others)} with another choice, {len(bad)} of them not of equal validation score; "
        f"{equal:,} of {rows:,} predictions equal ({equal / rows:.4%})"
    )
    return 0 if not bad and equal >= LEAST_EQUAL * rows else 1


if __name__ == "__main__":
    raise SystemExit(main())
