"""Converter of a finished run of `mosaic-compat` to the study's own table: test macro-F1 of every configuration.

    python -m harness_mosaic.published RUN [--against TABLE.csv]

RUN is a run folder or a published results file. Each score is beside that of the last token's hidden state and, with
TABLE.csv (the study's published table, with the columns that are printed), beside the published score. Published
scores are of other splits (rows came in the order in which threads finished): take them as ranges of about ±.03 under
250 test rows, and ±.015 under two thousand.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from harness import HarnessError, UnavailableError, csv_text, parsing, printable, read_unpacked

KEYS = ("model", "dataset", "layer", "width", "top_n", "binarized")
SCORES = ("sae_macro_f1", "hidden_last_token_macro_f1")

DATASETS = {
    "jailbreak_classification": "jailbreak",
    "massive_intent": "massive-intent",
    "massive_scenario": "massive-scenario",
}
"""Task → its name in the study, where the two differ."""

Row = dict[str, str]


def make_table(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return one row for each configuration of each dictionary, in the study's words.

    The study's layer L is the output of block L − 1. Raises UnavailableError if no dictionary has a last token to
    compare with.
    """
    good = [record for record in records if record["status"] == "ok" and record["model"]]
    last = {
        (record["model"], record["task"], record["site"]): _score(record)
        for record in good
        if (record["representation"], record["pooling"], record["transform"]) == ("hidden", "last", "none")
    }
    rows = []
    for record in good:
        hidden = last.get((record["model"], record["task"], record["site"]))
        top_n = _top_n(record["pooling"])
        if record["representation"] == "hidden" or hidden is None or top_n is None:
            continue
        task = record["task"].removeprefix("mosaic_")
        rows.append(
            {
                "model": record["model"].rpartition("/")[2].partition("[")[0],
                "dataset": DATASETS.get(task, task),
                "layer": str(int(record["site"].rpartition(".")[2]) + 1),
                "width": _width(record),
                "top_n": str(top_n),
                "binarized": str(int(record["transform"] == "binarize(t=1)")),
                "sae_macro_f1": f"{_score(record):.4f}",
                "hidden_last_token_macro_f1": f"{hidden:.4f}",
            }
        )
    if not rows:
        raise UnavailableError("the run has no dictionary beside a hidden state of the last token")
    return sorted(rows, key=lambda row: tuple(row[key] for key in KEYS))


def set_against(rows: Sequence[Row], published: Iterable[Mapping[str, str]]) -> list[Row]:
    """Return the rows that the published table has too, with its scores; raise UnavailableError if there is none."""
    known = {tuple(row[key] for key in KEYS): row for row in published}
    both = [
        {**row, **{f"published_{name}": known[place][name] for name in SCORES}}
        for row in rows
        if (place := tuple(row[key] for key in KEYS)) in known
    ]
    if not both:
        raise UnavailableError("the published table has none of the run's configurations")
    return both


def _score(record: Mapping[str, Any]) -> float:
    return float(record["metrics"]["macro_f1"]["value"])


def _top_n(pooling: str) -> int | None:
    """Return the study's word for a pooling, 0 for a sum; None for a pooling that the study did not have."""
    found = re.fullmatch(r"topn_count\(n=(\d+)\)", pooling)
    return int(found[1]) if found else 0 if pooling == "sum" else None


def _width(record: Mapping[str, Any]) -> str:
    found = re.search(r"width_(\w+)", record["dictionary"] or "")
    return found[1] if found else str(record["width"])


def _read_records(path: Path) -> list[dict[str, Any]]:
    file = path / "results.jsonl" if path.is_dir() else path
    with parsing(f"'{file}' cannot be read as the results of a run"):
        lines = read_unpacked(file).splitlines()
        return list({record["cell_id"]: record for record in map(json.loads, lines)}.values())


def _read_published(path: Path) -> list[Row]:
    with parsing(f"'{path}' cannot be read as a table"):
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    if not rows or not {*KEYS, *SCORES} <= rows[0].keys():
        raise UnavailableError(f"'{path}' lacks one of the columns {', '.join((*KEYS, *SCORES))}")
    return rows


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--against", type=click.Path(path_type=Path), help="The published table (csv).")
def command(run: Path, against: Path | None) -> None:
    """Print the study's table of RUN as csv."""
    try:
        with parsing(f"'{run}' does not hold records of the study's arms"):
            rows = make_table(_read_records(run))
            rows = set_against(rows, _read_published(against)) if against else rows
    except HarnessError as error:
        click.echo(printable(f"harness: {error}"), err=True)
        raise SystemExit(error.exit_code) from None
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {key: csv_text(str(row[key])) for key in KEYS} for row in rows)
    click.echo(printable(text.getvalue()), nl=False)


if __name__ == "__main__":
    command()
