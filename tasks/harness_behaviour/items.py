"""Converter of public datasets to items for `harness label`: `python -m harness_behaviour.items NAME -o items.jsonl`.

The user names the hub's revision (`--revision`, a commit of 40 digits). GSM8K can also be read from the local mirror
(`--data-dir`). Test rows whose answers the hub withholds are left out; validation rows then become the test.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import DataError, HarnessError, UsageError, open_parquet, parsing

Row = Mapping[str, Any]
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Dataset on the hub: its address, a converter of its rows (None for a row without an answer), and its splits."""

    hub: str
    config: str | None = None
    item: Callable[[Row], Record | None]
    splits: Mapping[str, str | None]


def piqa(row: Row) -> Record | None:
    """Return a goal and two ways to reach it, of which one is right."""
    if row["label"] not in (0, 1):
        return None
    prompt = f"Question: {row['goal'].strip()}\nAnswer:"
    return {
        "prompt": prompt,
        "choices": [f" {row['sol1'].strip()}", f" {row['sol2'].strip()}"],
        "answer": row["label"],
        "group": _digest(row["goal"]),
    }


def boolq(row: Row) -> Record | None:
    """Return a passage with a question of yes or no; questions on one passage are siblings."""
    return {
        "prompt": f"{row['passage'].strip()}\nQuestion: {row['question'].strip()}?\nAnswer:",
        "choices": [" yes", " no"],
        "answer": " yes" if row["answer"] else " no",
        "group": _digest(row["passage"]),
    }


def pubmedqa(row: Row) -> Record | None:
    """Return the abstract of a study without its conclusion, and its question: yes, no or maybe."""
    abstract = " ".join(part.strip() for part in row["context"]["contexts"])
    return {
        "prompt": f"{abstract}\nQuestion: {row['question'].strip()}\nAnswer:",
        "choices": [" yes", " no", " maybe"],
        "answer": f" {row['final_decision']}",
        "group": str(row["pubid"]),
    }


def gsm8k(row: Row) -> Record | None:
    """Return a word problem whose answer is a number."""
    question = row["question"].strip()
    return {
        "prompt": question,
        "answers": [row["answer"].rpartition("####")[2].strip()],
        "group": _digest(question),
    }


DATASETS = {
    "piqa": Dataset(hub="ybisk/piqa", item=piqa, splits={"train": "train", "validation": "test"}),
    "boolq": Dataset(hub="google/boolq", item=boolq, splits={"train": "train", "validation": "test"}),
    # One undivided split: the harness splits it by group.
    "pubmedqa": Dataset(hub="qiaojin/PubMedQA", config="pqa_labeled", item=pubmedqa, splits={"train": None}),
    "gsm8k": Dataset(
        hub="openai/gsm8k", config="main", item=gsm8k, splits={"train": "train", "test": "test"}
    ),
}


def make_items(dataset: Dataset, rows: Iterable[tuple[str, Row]]) -> Iterator[Record]:
    """Yield the items of the rows, each with the name of its split and every prompt once."""
    seen: set[str] = set()
    for name, row in rows:
        record = dataset.item(row) if name in dataset.splits else None
        if record is None or record["prompt"] in seen:
            continue
        seen.add(record["prompt"])
        split = dataset.splits[name]
        yield {**record, **({"split": split} if split else {})}


def _from_hub(name: str, dataset: Dataset, revision: str) -> Iterator[tuple[str, Row]]:
    import datasets

    if Path(dataset.hub).is_dir():  # the library would read it, whatever the revision
        raise DataError(
            f"the folder '{dataset.hub}' would be read in place of the hub's '{name}': work in another folder"
        )
    try:
        parts = datasets.load_dataset(dataset.hub, dataset.config, revision=revision)
    except Exception as error:  # network, cache and parser errors of many kinds
        raise DataError(
            f"the dataset '{dataset.hub}' of '{name}' cannot be loaded at revision '{revision}': "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    for split, part in parts.items():
        yield from ((split, row) for row in part)


def _from_mirror(name: str, folder: Path) -> Iterator[tuple[str, Row]]:
    """Return the rows of the mirror in the hub's format; only GSM8K is mirrored."""
    path = folder / name / "data.parquet"
    if name != "gsm8k" or not path.is_file():
        raise DataError(f"'{name}' is not in the mirror '{folder}': give --revision to read it from the hub")
    with parsing(f"'{path}' cannot be read", kind=DataError):
        with open_parquet(path) as file:
            rows = file.read().to_pylist()
        pairs = [(row["split"], {"question": row["text"], "answer": row["answer"]}) for row in rows]
    yield from pairs


def _digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]


def _write(records: Iterable[Record], path: Path) -> int:
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text("".join(lines), encoding="utf-8", newline="\n")
    temporary.replace(path)
    return len(lines)


def main(arguments: list[str] | None = None) -> None:
    """Write the items of one dataset."""
    parser = argparse.ArgumentParser(prog="python -m harness_behaviour.items", description=main.__doc__)
    parser.add_argument("name", choices=sorted(DATASETS))
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--revision", help="commit of the dataset on the hub")
    parser.add_argument(
        "--data-dir", type=Path, default=os.environ.get("HARNESS_DATA_DIR"), help="mirror [HARNESS_DATA_DIR]"
    )
    given = parser.parse_args(arguments)
    try:
        if given.revision is None and given.data_dir is None:
            raise UsageError(f"'{given.name}' needs --revision, the commit of {DATASETS[given.name].hub}")
        dataset = DATASETS[given.name]
        rows = (
            _from_hub(given.name, dataset, given.revision)
            if given.revision
            else _from_mirror(given.name, Path(given.data_dir))
        )
        count = _write(make_items(dataset, rows), given.output)
    except HarnessError as error:
        raise SystemExit(f"harness: {error}") from None
    print(f"{given.output}: {count} items")


if __name__ == "__main__":
    main()
