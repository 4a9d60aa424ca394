"""Items: questions with choices, each with the template that it was made from and a hint for the oracle.

Word problems come from mirrored data sets, metaphors and word senses from files beside this module.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from harness import NothingSelectedError, UnavailableError, UsageError, did_you_mean, parse_json, read_table

MATHS = ("svamp", "gsm8k")
WORDS = ("metaphor", "senses")
SETS = (*MATHS, *WORDS)

ALIKE = 0.6
"""Share of words in common (Jaccard) from which two word problems count as of one template, after masking.

It joins the variations that SVAMP makes of one problem: 1,000 items fall into 116 templates, the largest of 32.
"""

CHOICES = 4
"""Number of choices of a word problem."""

_Row = TypeVar("_Row")

_OWN = Path(__file__).parent / "items"
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_WORD = re.compile(r"\d[\d,]*(?:\.\d+)?|[^\W\d_]+")


@dataclass(frozen=True, kw_only=True)
class Item:
    """Text with `choices`, of which number `right` is correct. Items of one `template` belong in one half. `hint`
    says how the text is to be read: the oracle's annotation; empty where nobody says.
    """

    text: str
    choices: tuple[str, ...]
    right: int
    template: str
    hint: str = ""
    question: str = ""
    """Question on the text; empty where the text asks it."""
    cloze: str = ""
    """Beginning of a sentence on the text, which a choice ends."""

    @property
    def answer(self) -> str:
        """Right choice."""
        return self.choices[self.right]

    @property
    def is_number(self) -> bool:
        """True if all choices are numbers: then they are not listed in the prompt."""
        return all(_NUMBER.fullmatch(choice.lstrip("-")) for choice in self.choices)


def read_items(name: str, data_dir: Path | None, limit: int | None) -> list[Item]:
    """Return at most `limit` items, drawn alike each time, of a set by its name or of a file. Raise UsageError for an
    unknown name or a row that is no item, UnavailableError where data are missing.
    """
    if name in MATHS:
        rows = _read_mirrored(name, data_dir)
        # Of all rows, drawn or not: a row that is left out may join two that would lie in two halves.
        templates = find_templates([str(row["text"]) for row in rows])
        drawn = _draw(list(zip(rows, templates, strict=True)), limit)
        return [_as_problem(row, template) for row, template in drawn]
    path = _OWN / f"{name}.jsonl" if name in WORDS else Path(name)
    if name not in WORDS and not path.suffix:
        raise UsageError(f"there are no items '{name}'{did_you_mean(name, SETS)}; or give a file")
    if not path.is_file():
        raise UnavailableError(f"there is no file '{name}'; sets of items are {', '.join(SETS)}")
    rows = list(_as_rows(read_table(path, needed=("text", "choices", "answer"))))
    items = [_as_item(row, f"'{name}' row {number}") for number, row in enumerate(rows, 1)]
    if not items:
        raise NothingSelectedError(f"'{name}' holds no items")
    return _draw(_with_templates(items), limit)


def _with_templates(items: Sequence[Item]) -> list[Item]:
    """Return items, those without a template with that of the texts alike: near copies belong in one half."""
    without = [item.text for item in items if not item.template]
    found = iter(find_templates(without) if without else [])
    return [item if item.template else replace(item, template=f"alike {next(found)}") for item in items]


def find_templates(texts: Sequence[str]) -> list[str]:
    """Return the template of each text: two texts are of one if they share most words once numbers and names are
    masked, or if a chain of such texts joins them.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(binary=True, token_pattern=r"\S+").fit_transform(mask(texts)).astype(float)
    common = (counts @ counts.T).tocoo()
    sizes = counts.sum(axis=1).A1
    alike = common.data >= ALIKE * (sizes[common.row] + sizes[common.col] - common.data)
    common.data = alike.astype(float)
    common.eliminate_zeros()
    return [f"{number}" for number in connected_components(common, directed=False)[1]]


def mask(texts: Sequence[str]) -> list[str]:
    """Return the words of texts in lower case, with `#` for each number and `@` for each name: a word that begins with
    a capital, and that no text has without.
    """
    words = [_WORD.findall(text) for text in texts]
    lower = {word for found in words for word in found if word.islower()}

    def masked(word: str) -> str:
        if word[0].isdigit():
            return "#"
        return "@" if word[0].isupper() and word.lower() not in lower else word.lower()

    return [" ".join(map(masked, found)) or "-" for found in words]


def find_distractors(text: str, right: str, seed: int) -> list[str]:
    """Return wrong answers to a word problem: what other operations on its numbers give, then its numbers, then
    neighbours of the right one.
    """
    numbers = [Fraction(found.replace(",", "")) for found in _NUMBER.findall(text)]
    read = [value for pair in combinations(dict.fromkeys(numbers), 2) for value in _combine(*pair)]
    near = [Fraction(right) + step for step in (1, -1, 10, 2, 5) if Fraction(right) + step >= 0]
    generator = random.Random(seed)
    found: list[str] = []
    for values in (read, numbers, near):
        spelled = sorted({spell_number(value) for value in values} - {right, *found})
        generator.shuffle(spelled)
        found += spelled
    return found[: CHOICES - 1]


def spell_number(value: Fraction) -> str:
    """Return a number as a problem's answer is written: whole, or with at most two decimals."""
    return str(int(value)) if value.denominator == 1 else f"{float(value):.2f}".rstrip("0").rstrip(".")


def _combine(one: Fraction, other: Fraction) -> Iterator[Fraction]:
    yield from (one + other, abs(one - other), one * other)
    large, small = max(one, other), min(one, other)
    if small and (large / small).denominator == 1:
        yield large / small


def _read_mirrored(name: str, data_dir: Path | None) -> list[Mapping[str, Any]]:
    path = data_dir / name / "data.parquet" if data_dir else None
    if path is None or not path.is_file():
        raise UnavailableError(
            f"the items of {name} are not there: mirror the data set as {name}/data.parquet, with the columns text and "
            "answer, in a folder, and name that with --data-dir"
        )
    return list(_as_rows(read_table(path, needed=("text", "answer"))))


def _as_rows(columns: Mapping[str, Sequence[Any]]) -> Iterator[Mapping[str, Any]]:
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _draw(rows: Sequence[_Row], limit: int | None) -> list[_Row]:
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    return [rows[place] for place in sorted(order[:limit])]


def _as_problem(row: Mapping[str, Any], template: str) -> Item:
    text, given = str(row["text"]), str(row["answer"]).replace(",", "")
    try:
        right = spell_number(Fraction(given))
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"the answer {given!r} of a word problem is no number") from error
    seed = sum(text.encode())
    choices = [right, *find_distractors(text, right, seed)]
    random.Random(seed).shuffle(choices)
    return Item(
        text=text, choices=tuple(choices), right=choices.index(right), template=template, hint=_find_hint(row)
    )


def _find_hint(row: Mapping[str, Any]) -> str:
    """Return the operation of a problem, as its label or its solution's first step has it."""
    step = re.search(r"<<([^=>]+)=", str(row.get("solution") or ""))
    return step[1] if step else str(row.get("label") or "").replace("Common-", "").lower()


def _as_item(row: Mapping[str, Any], where: str) -> Item:
    text, answer, given = row["text"], row["answer"], row["choices"]
    if isinstance(given, str):
        try:
            given = parse_json(given)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where} has choices that are no list in JSON") from error
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"{where} has no text")
    choices = tuple(given) if isinstance(given, Iterable) else ()
    if not all(map(_is_text, choices)) or len(set(choices)) < 2 or len(set(choices)) < len(choices):
        raise UsageError(f"{where} needs two or more unlike choices, each a text")
    if answer not in choices:
        raise UsageError(f"{where}: its answer {answer!r} is none of its choices")
    template = row.get("template")
    return Item(
        text=text,
        choices=choices,
        right=choices.index(answer),
        template="" if template is None else str(template),
        hint=str(row.get("hint") or ""),
        question=str(row.get("question") or ""),
        cloze=str(row.get("cloze") or ""),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
