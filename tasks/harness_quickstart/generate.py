"""Generator of `data/*.jsonl`, with the same bytes every time: `python -m harness_quickstart.generate`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness_quickstart import requests, roles, tone, topic
from harness_quickstart.compose import Row, ordered

DATA = Path(__file__).parent / "data"
TASKS = {
    "quickstart_tone": tone.rows,
    "quickstart_requests": requests.rows,
    "quickstart_topic": topic.rows,
    "quickstart_roles": roles.rows,
}

TEST_SHARE = 0.25
VALIDATION_SHARE = 0.15


def write(folder: Path) -> None:
    """Write the rows of every task as one file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in TASKS.items():
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records(list(rows()))]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def records(rows: list[Row]) -> Iterator[dict[str, str]]:
    """Yield the rows with their split, shuffled, each text once."""
    splits = split_rows(rows)
    by_text = {row.text: row for row in rows}
    for text in ordered(by_text, "rows"):
        row = by_text[text]
        record = {"text": text, "label": row.label, "split": splits[row.kept_whole], "group": row.group}
        yield record if row.language is None else {**record, "language": row.language}


def split_rows(rows: Iterable[Row]) -> dict[str, str]:
    """Return the split of each family or group; they are dealt out label by label, so that every split is balanced."""
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.kept_whole, set()).add(row.label)
    alike: dict[tuple[str, ...], list[str]] = {}
    for group, held in labels.items():
        alike.setdefault(tuple(sorted(held)), []).append(group)
    splits: dict[str, str] = {}
    for members in alike.values():
        groups = ordered(members, "groups")
        test = round(TEST_SHARE * len(groups))
        validation = test + round(VALIDATION_SHARE * len(groups))
        splits |= dict.fromkeys(groups[:test], "test")
        splits |= dict.fromkeys(groups[test:validation], "validation")
        splits |= dict.fromkeys(groups[validation:], "train")
    return splits


if __name__ == "__main__":
    write(DATA)
