"""Generator of `data/*.jsonl`, with the same bytes every time: `python -m harness_planted.generate`.

Every task has 400 test rows and 800 training rows in two classes of equal size; 1600 training rows if labels are noisy,
so that a trained probe comes near the best rule. A text is sentences from word lists, with WORD planted or not
(`harness_planted.compose`), and depends only on its number. Labels are dealt out to numbers, not drawn: a rule that is
right nine times in ten in the population is right for exactly 360 of the test rows. Scores are macro-F1. If both
classes are equally frequent and a rule predicts each equally often, its macro-F1 is its accuracy a: the F1 of either
class is 2 (a / 2) / (1 / 2 + 1 / 2). A rule that prefers one class has less, and `majority` has 1/3.

planted_token      label = WORD occurs. Its place and the length vary. A text without it has a noun of as many letters
                   in its place, so that neither the other words nor the length, in words and in characters, reveal the
                   label. A probe that finds WORD: 1. Length: 1/2.
planted_random     label = dealt out, whatever the text. Every probe: 1/2, and differences are chance.
planted_length     label = above the median in words and in characters; texts near it are left out. All words are from
                   one pool, and none is more informative than another, but each is likelier in a longer text.
                   Length: 1. TF-IDF can see it too: its rows have length 1 in L2, but the sum of n equal weights is
                   then √n, so equal coefficients for all words read √n. So can sums over tokens. No probe is better
                   than length.
planted_leak       planted_random, and 50 more test rows that are no fair test: 30 are also in training by text, 12 are
                   new texts of a training row's group, 8 are both. Cleaning must remove these 50 and keep the 400.
planted_noise      label = WORD occurs, except for one row in ten. Given whether WORD occurs, the label is independent
                   of everything else, so no rule is right more often than 9/10. A probe that finds WORD: 9/10.
planted_advantage  Given the label, whether WORD occurs agrees with it for 9/10, and whether the text is long (three
                   sentences) or short (one) for 7/10, independently. Length alone: 7/10. WORD alone: 9/10. Both: where
                   they disagree the odds are 9 : 1 for WORD and 7 : 3 for length, so WORD always decides: 9/10.
                   A probe that finds WORD, with or without the length, is better than length by exactly .20.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Literal

from harness_planted.compose import compose, pick, shuffled

Split = Literal["train", "test"]

DATA = Path(__file__).parent / "data"

SIZES: Mapping[Split, int] = {"train": 800, "test": 400}
NOISY_SIZES: Mapping[Split, int] = {"train": 1600, "test": 400}

SHORT, LONG = (17, 86), (19, 90)
"""Limits in words and characters: the most that a short text of planted_length has, and the least of a long one."""

LEAKS = {"text": 30, "group": 12, "both": 8}
"""Numbers of test rows of planted_leak that are also in training, by what they share with a row there."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text; only planted_leak has groups."""

    text: str
    label: str
    split: Split
    group: str | None = None


def write(folder: Path) -> None:
    """Write the rows of every task as one file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in TASKS.items():
        lines = [
            json.dumps({key: value for key, value in asdict(row).items() if value is not None}) + "\n"
            for row in shuffled(rows(), name, "order")
        ]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def token_rows() -> Iterator[Row]:
    for split, number in _numbers():
        label = number % 2 == 1
        text = _text("planted_token", split, number, planted=label)
        yield Row(text=text, label="with" if label else "without", split=split)


def random_rows() -> Iterator[Row]:
    for split, number in _numbers():
        yield Row(text=_text("planted_random", split, number), label=_coin(number), split=split)


def length_rows() -> Iterator[Row]:
    for label, is_one in (("short", _is_short), ("long", _is_long)):
        texts = (
            _text("planted_length", label, number, sentences=pick((1, 2, 3, 4), label, str(number)))
            for number in count()
        )
        found = filter(is_one, texts)
        for split, size in SIZES.items():
            for text in islice(found, size // 2):
                yield Row(text=text, label=label, split=split)


def leak_rows() -> Iterator[Row]:
    for split, number in _numbers():
        text = _text("planted_leak", split, number)
        yield Row(text=text, label=_coin(number), split=split, group=f"{split}-{number}")
    kinds = [kind for kind, size in LEAKS.items() for _ in range(size)]
    for number, kind in enumerate(kinds):
        yield Row(
            text=_text("planted_leak", "train" if kind != "group" else "leak", number),
            label=_coin(number),  # the training row's label: one text with two labels would be a conflict
            split="test",
            group=f"{'train' if kind != 'text' else 'leak'}-{number}",
        )


def noise_rows() -> Iterator[Row]:
    for split, number in _numbers(NOISY_SIZES):
        planted, flipped = number % 2 == 1, number // 2 % 10 == 0
        text = _text("planted_noise", split, number, planted=planted)
        yield Row(text=text, label="yes" if planted != flipped else "no", split=split)


def advantage_rows() -> Iterator[Row]:
    for split, number in _numbers(NOISY_SIZES):
        label, wrong_word, wrong_length = number % 2 == 1, number // 2 % 10 == 0, number // 20 % 10 < 3
        planted, is_long = label != wrong_word, label != wrong_length
        text = _text("planted_advantage", split, number, planted=planted, sentences=3 if is_long else 1)
        yield Row(text=text, label="yes" if label else "no", split=split)


TASKS: Mapping[str, Callable[[], Iterator[Row]]] = {
    "planted_token": token_rows,
    "planted_random": random_rows,
    "planted_length": length_rows,
    "planted_leak": leak_rows,
    "planted_noise": noise_rows,
    "planted_advantage": advantage_rows,
}


def _numbers(sizes: Mapping[Split, int] = SIZES) -> Iterator[tuple[Split, int]]:
    for split, size in sizes.items():
        for number in range(size):
            yield split, number


def _text(
    task: str, part: str, number: int, *, planted: bool | None = None, sentences: int | None = None
) -> str:
    """Return the text of a number, of one to three sentences unless a length is given."""
    key = (task, part, str(number))
    return compose(*key, sentences=sentences or pick((1, 2, 3), *key, "sentences"), planted=planted)


def _coin(number: int) -> str:
    return "heads" if number % 2 else "tails"


def _is_short(text: str) -> bool:
    return len(text.split()) <= SHORT[0] and len(text) <= SHORT[1]


def _is_long(text: str) -> bool:
    return len(text.split()) >= LONG[0] and len(text) >= LONG[1]


if __name__ == "__main__":
    write(DATA)
