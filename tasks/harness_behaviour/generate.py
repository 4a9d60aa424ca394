"""Generator of `data/items.jsonl`, with the same bytes every time: `python -m harness_behaviour.generate`.

The answers to these items are made by `python -m harness_behaviour.generate --answers`, which asks the models.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness_behaviour import agreement, cloze, facts, grammar, names
from harness_behaviour.compose import Item, number, ordered

DATA = Path(__file__).parent / "data"
ITEMS = DATA / "items.jsonl"
MODELS = ("minigemma-l", "minigemma-m")
"""Models whose answers are shipped."""

TEST_SHARE = 0.3
VALIDATION_SHARE = 0.15


def answers_of(model: str) -> Path:
    """Return the file of a model's answers."""
    return DATA / f"answers_{model.replace('-', '_')}.parquet"


def label_command(model: str, items: Path, output: Path) -> list[str]:
    """Return the command that makes a model's answers.

    The choices are single words, many of them two forms of one, and are compared whole, as in BLiMP (Warstadt et al.
    2020, arXiv:1912.00582).
    """
    return ["label", str(items), "-m", model, "--score", "sum", "-o", str(output), "--replace", "-d", "cpu"]


def all_items() -> list[Item]:
    """Return the items of every family."""
    return [item for family in (agreement, grammar, names, cloze, facts) for item in family.items()]


def records() -> Iterator[dict[str, object]]:
    """Yield shuffled rows in the format of `harness label`; in half of them the right choice comes first."""
    items = {item.prompt: item for item in all_items()}
    splits = split_groups(list(items.values()))
    for prompt in ordered(items, "rows"):
        item = items[prompt]
        choices = [item.right, item.wrong]
        yield {
            "prompt": prompt,
            "choices": choices[:: 1 - 2 * (number("choices", prompt) % 2)],
            "answer": item.right,
            "split": splits[item.group],
            "group": item.group,
            "family": item.family,
        }


def split_groups(items: list[Item]) -> dict[str, str]:
    """Return the split of each group; groups are dealt out family by family."""
    splits: dict[str, str] = {}
    for family in dict.fromkeys(item.family for item in items):
        groups = ordered({item.group for item in items if item.family == family}, "groups")
        test = round(TEST_SHARE * len(groups))
        validation = test + round(VALIDATION_SHARE * len(groups))
        splits |= dict.fromkeys(groups[:test], "test")
        splits |= dict.fromkeys(groups[test:validation], "validation")
        splits |= dict.fromkeys(groups[validation:], "train")
    return splits


def write(path: Path) -> None:
    """Write every item as one line of JSON."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records()]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(ITEMS)
    for model in MODELS if "--answers" in sys.argv[1:] else ():
        subprocess.run(
            [sys.executable, "-m", "harness", *label_command(model, ITEMS, answers_of(model))], check=True
        )
