"""Tables of the effect of each fault of the MOSAIC study on the verdict, read from published boards.

`python -m harness_mosaic.faults FOLDER` prints them. FOLDER has a folder for each fault, as `harness leaderboard make
leaderboards/mosaic-faults` publishes them, and `right`, the same study without faults.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import harness

FAULTS = {
    "right": "none: the study done right",
    "layer": "all read one layer lower, with the dictionary of the layer (`hidden_states[L]`)",
    "bos": "BOS pooled with the content",
    "last": "hidden states of the last token only, features of all",
    "split": "80/20 over all rows with seed 42, official split ignored",
    "all": "all of these, `> 1.0` and the torch probe",
}
CONTROLS = ("tfidf", "text_length", "majority")

Row = Mapping[str, str]


def write_table(folder: Path) -> str:
    """Return all tables as Markdown; raise UnavailableError if a board is missing."""
    boards = {name: _read(folder / name / "leaderboard.csv") for name in FAULTS}
    models = sorted({row["model"] for row in boards["right"] if row["model"] != "—"})
    heads = [harness.escape_markdown(model) for model in models]
    return "\n\n".join(
        [
            "## One fault at a time",
            _table(("fault", *heads), (_verdicts(name, boards[name], models) for name in FAULTS)),
            "## The threshold and the probe",
            _table(("choice", *heads), _ablated(folder, models)),
            "## Choosing on test",
            _table(
                ("arm", "chosen on validation", "chosen on test", "too good by"), _optimism(folder / "right")
            ),
        ]
    )


def _verdicts(name: str, board: Sequence[Row], models: Sequence[str]) -> tuple[str, ...]:
    """Return the fault and, for each model, the board's verdict on its dictionary."""
    cells = [FAULTS[name]]
    for model in models:
        features, hidden = _pair(board, model)
        cells.append(
            f"{_score(features)} against {_score(hidden)}: {_difference(features, 'delta_vs_hidden', 'delta')}; "
            f"{features['won']}/{features['tied']}/{features['lost']}"
        )
    return tuple(cells)


def _pair(rows: Sequence[Row], model: str) -> tuple[Row, Row]:
    """Return the rows of a model's dictionary and of its hidden states."""
    by_name = {row["representation"]: row for row in rows if row["model"] == model}
    hidden = by_name.pop("hidden")
    (features,) = by_name.values()
    return features, hidden


def _ablated(folder: Path, models: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield rows for single choices of a board's search, with hidden states under the same choice."""
    for name, axis, value, what in (
        ("right", "transform", "none", "values as they are"),
        ("right", "transform", "binarize(t=0)", "1 where above 0"),
        ("right", "transform", "binarize(t=1)", "1 where above 1.0"),
        ("probe", "classifier", "logreg", "`logreg`, C on validation (values, sum and mean)"),
        ("probe", "classifier", "mosaic_probe(restore=true)", "the torch probe as it was meant"),
        ("probe", "classifier", "mosaic_probe", "the torch probe as it was, best weights lost"),
    ):
        rows = [
            row
            for row in _read(folder / name / "leaderboard-ablation.csv")
            if (row["axis"], row["value"]) == (axis, value)
        ]
        cells = [what]
        for model in models:
            features, hidden = _pair(rows, model)
            cells.append(
                f"{_score(features)} against {_score(hidden)}: {_difference(features, 'delta_vs_hidden')}"
            )
        yield tuple(cells)


def _optimism(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield each arm's mean test score over tasks, with the cell chosen on validation and with the best on test."""
    records = [record for path in sorted(folder.glob("*.jsonl*")) for record in _records(path)]
    arms: dict[tuple[str, str], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        arms[record["model"] or "—", record["representation"]][record["task"]].append(record)
    for (model, representation), tasks in sorted(arms.items()):
        if representation in CONTROLS:
            continue
        fair = mean(_test(max(cells, key=_validation)) for cells in tasks.values())
        best = mean(max(map(_test, cells)) for cells in tasks.values())
        cells = len(next(iter(tasks.values())))
        yield (
            f"{model} {representation} ({cells} cells a task)", _point(fair), _point(best), f"+{_point(best - fair)}"
        )  # fmt: skip


def _test(record: Mapping[str, Any]) -> float:
    return float(record["metrics"]["macro_f1"]["value"])


def _validation(record: Mapping[str, Any]) -> float:
    return float(record["validation_metrics"].get("macro_f1", 0.0))


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    yield from map(json.loads, harness.read_unpacked(path).splitlines())


def _read(path: Path) -> list[Row]:
    if not path.is_file():
        raise harness.UnavailableError(
            f"there is no '{path}': `harness leaderboard make leaderboards/mosaic-faults` publishes it"
        )
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _score(row: Row) -> str:
    return _point(float(row["macro_f1"]))


def _difference(row: Row, name: str, bounds: str | None = None) -> str:
    bounds = bounds or name
    value, low, high = (float(row[key]) for key in (name, f"{bounds}_low", f"{bounds}_high"))
    return f"{_signed(value)} [{_signed(low)}, {_signed(high)}]"


def _point(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1).replace("-", "−")


def _table(header: Sequence[str], lines: Iterator[tuple[str, ...]]) -> str:
    rows = [header, ("---",) * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str]) -> int:
    """Print the tables of one folder and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m harness_mosaic.faults FOLDER", file=sys.stderr)
        return 2
    try:
        with harness.parsing(f"'{arguments[0]}' cannot be read as a published board"):
            text = write_table(Path(arguments[0]))
        print(text)
    except harness.HarnessError as error:
        print(harness.printable(f"harness: {error}"), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
