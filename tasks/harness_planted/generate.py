"""Designs in, `data/*.jsonl` out, always the same bytes: `python -m harness_planted.generate`.

Every task has 400 test rows and 800 training rows in two classes of equal size; 1600 where labels are noisy, so that
what is learnt comes near the best rule. A text is sentences from word lists, with WORD planted or not
(`harness_planted.compose`), and depends on its number alone; which label a number has is dealt out, not drawn: a rule
that is right nine times in ten in the population is right for exactly 360 of the test rows. Scores are macro-F1. Where
both classes are equally frequent and a rule says each equally often, its macro-F1 is its accuracy a: of either class
the F1 is 2 (a / 2) / (1 / 2 + 1 / 2). A rule that leans to one class has less, and `majority` 1/3.

planted_token      label = WORD occurs. Its place and the length vary. In a text without it a noun of as many letters
                   stands in its place, so that neither the words elsewhere nor the length, in words and in characters,
                   tell the label. Whoever has found WORD: 1. Length: 1/2.
planted_random     label = dealt out, whatever the text. Everybody: 1/2, and nobody is ahead of anybody but by chance.
planted_length     label = above the median in words and in characters; texts near it are left out. All words are from
                   one pool, and none tells more than another, but each is likelier in a longer text. Length: 1. TF-IDF
                   can see it too: its rows have length 1 in L2, but the sum of n equal weights is then √n, so equal
                   coefficients for all words read √n. So can sums over tokens. Nobody is ahead of length.
planted_leak       planted_random, and 50 test rows more that are no test: 30 stand in training by text, 12 are new
                   texts of a training row's group, 8 are both. Hygiene must remove these 50 and leave the 400.
planted_noise      label = WORD occurs, but for one row in ten. Given whether WORD occurs the label is independent of
                   all else, so no rule is right more often than 9/10. Whoever has found WORD: 9/10.
planted_advantage  Given the label, whether WORD occurs agrees with it for 9/10, and whether the text is long (three
                   sentences) or short (one) for 7/10, independently. Length alone: 7/10. WORD alone: 9/10. Both: where
                   they disagree the odds are 9 : 1 for WORD and 7 : 3 for length, so WORD decides always: 9/10.
                   Whoever has found WORD, and sees the length or not, is ahead of length by exactly .20.
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
"""Words and characters: what a short text of planted_length has at most, and a long one at least."""

LEAKS = {"text": 30, "group": 12, "both": 8}
"""Test rows of planted_leak that stand in training, by what they share with a row there."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text; only planted_leak has groups."""

    text: str
    label: str
    split: Split
    group: str | None = None


def write(folder: Path) -> None:
    """Every task's rows as one file in `folder`."""
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
            label=_coin(number),  # that of the training row: one text with two labels would be a conflict
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
    """The text of a number, one to three sentences long where nothing else is asked for."""
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
