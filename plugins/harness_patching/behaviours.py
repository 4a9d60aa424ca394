"""Behaviours: prompts with a counterfactual twin, made from templates, and the tokens that answer them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from harness import Model, Tokens, UsageError, did_you_mean, read_yaml

FOLDER = Path(__file__).parent / "behaviours"
"""Folder of the behaviours of this plugin."""

TRIES = 200
"""Repeated items in a row after which there are no more."""

MOST = 5000
"""Items that are drawn for a model that can be asked few of them."""

Half = Literal[0, 1]
"""Half of a behaviour's templates and words: features are chosen on one and measured on the other."""

_SLOT = re.compile(r"\{(\w+)(?:\[([01])\])?\}")


class Template(BaseModel):
    """Prompt, and its twin in which the other answer is right."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompt: str
    """Prompt with slots in braces; of a word with two forms, `{noun[0]}` and `{noun[1]}`."""
    twin: str
    """The same prompt with what decides the answer turned round."""


class BehaviourFile(BaseModel):
    """File of a behaviour."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    summary: str
    """Ability that a model needs for it, in a sentence."""
    right: str
    """Answer to the prompt, one token: with its space in front."""
    wrong: str
    """Answer to the twin, one token."""
    templates: tuple[Template, ...]
    """Prompts; features are chosen on one half of them and measured on the other."""
    slots: Mapping[str, str]
    """List of words for each slot; slots of one list are filled differently."""
    lists: Mapping[str, tuple[str | tuple[str, str], ...]]
    """Words, or pairs of two forms of a word."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Behaviour by its name."""

    name: str
    file: BehaviourFile


@dataclass(frozen=True, kw_only=True)
class Item:
    """Prompt with its right answer, and its twin, to which `wrong` is the right one."""

    prompt: str
    twin: str
    right: str
    wrong: str


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Item in a model's tokens: prompt and twin of one length, and the ids of the two answers. Items of one `group` are
    decided by the same words.
    """

    prompt: Tokens
    twin: Tokens
    right: int
    wrong: int
    group: str


def read_behaviour(name: str) -> Behaviour:
    """Read a behaviour of this plugin by name, or any by the path of its file (YAML).

    Raise UsageError for an unknown name, and for a file that is none.
    """
    known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    path = FOLDER / f"{name}.yaml" if name in known else Path(name)
    if not path.is_file():
        raise UsageError(
            f"there is no behaviour '{name}'{did_you_mean(name, known, owner_has='known are')}; "
            "one of your own is given as a file (YAML)"
        )
    read = read_yaml(path, "behaviour")
    file = read.validate(BehaviourFile)
    if len(file.templates) < 2:
        raise UsageError(
            f"{read.where}: templates are {len(file.templates)}, and at least 2 are needed: features are chosen on one "
            "half of them and measured on the other"
        )
    for slot, words in file.slots.items():
        if words not in file.lists:
            raise UsageError(f"{read.where}: slot '{slot}' is filled from '{words}', which is no list there")
    for text in (
        file.right,
        file.wrong,
        *(one for pair in file.templates for one in (pair.prompt, pair.twin)),
    ):
        for slot, _ in _SLOT.findall(text):
            if slot not in file.slots:
                raise UsageError(f"{read.where}: '{text}' has the slot '{slot}', which is not in slots")
        if "{" in (rest := _SLOT.sub("", text)) or "}" in rest:
            raise UsageError(
                f"{read.where}: '{text}' has a brace that opens no slot, as {{noun}} or {{noun[0]}} does"
            )
    return Behaviour(name=path.stem, file=file)


def draw_items(behaviour: Behaviour, half: Half, seed: int = 0) -> Iterator[Item]:
    """Yield different items of one half of the templates and words, each template in turn, until new ones are rare.

    For every other item the twin is the prompt, so that no answer is right more often. Lists of one word serve both
    halves.
    """
    generator = random.Random(f"{behaviour.name} {half} {seed}")
    templates = behaviour.file.templates[half::2]
    seen: set[str] = set()
    repeated = number = 0
    while repeated < TRIES:
        template = templates[number % len(templates)]
        number += 1
        words = dict(_fill(behaviour.file, half, generator))
        texts = template.prompt, template.twin, behaviour.file.right, behaviour.file.wrong
        prompt, twin, right, wrong = (_write(text, words) for text in texts)
        if prompt in seen:
            repeated += 1
            continue
        repeated = 0
        seen.add(prompt)
        if len(seen) % 2:
            yield Item(prompt=prompt, twin=twin, right=right, wrong=wrong)
        else:
            yield Item(prompt=twin, twin=prompt, right=wrong, wrong=right)


def take_items(behaviour: Behaviour, model: Model, n: int, half: Half) -> tuple[list[Encoded], int]:
    """Return at most `n` items of one half that a model can be asked, in its tokens, and how many were left out."""
    drawn = islice(draw_items(behaviour, half), MOST)
    found: list[Encoded] = []
    asked = 0
    while len(found) < n and (some := list(islice(drawn, n))):
        found += encode(some, model)
        asked += len(some)
    left_out = asked - len(found)
    return found[:n], left_out


def _fill(
    file: BehaviourFile, half: Half, generator: random.Random
) -> Iterator[tuple[str, str | tuple[str, str]]]:
    """Yield a word for each slot; those of one list are different."""
    for name in dict.fromkeys(file.slots.values()):
        slots = [slot for slot, words in file.slots.items() if words == name]
        words = file.lists[name][half::2] or file.lists[name]
        if len(words) < len(slots):
            raise UsageError(f"half of the list '{name}' has {len(words)} words, for {len(slots)} slots")
        yield from zip(slots, generator.sample(list(words), len(slots)), strict=True)


def _write(text: str, words: Mapping[str, str | tuple[str, str]]) -> str:
    """Return a text with its slots filled: `{noun}`, or `{noun[0]}` of a word with two forms."""

    def fill(slot: re.Match[str]) -> str:
        word, form = words[slot[1]], slot[2]
        if isinstance(word, str) != (form is None):
            raise UsageError(
                f"'{slot[0]}' in '{text}' cannot be filled with {word!r}: of a word with two "
                f"forms the first is written {{{slot[1]}[0]}}"
            )
        return word if isinstance(word, str) else word[int(form)]

    return _SLOT.sub(fill, text)


def encode(items: Sequence[Item], model: Model) -> list[Encoded]:
    """Return the items that a model can be asked: prompt and twin of the same number of tokens, and both answers one
    token after either. Others are left out.
    """
    prompts = [text for item in items for text in (item.prompt, item.twin)]
    answers = [
        text + answer
        for item in items
        for text in (item.prompt, item.twin)
        for answer in (item.right, item.wrong)
    ]
    alone, answered = (list(map(_until_end, model.tokenize(texts))) for texts in (prompts, answers))
    found = []
    for number in range(len(items)):
        prompt, twin = alone[2 * number : 2 * number + 2]
        ids = [
            _next_id(one, longer)
            for one, longer in zip(
                (prompt, prompt, twin, twin), answered[4 * number : 4 * number + 4], strict=True
            )
        ]
        right, wrong = ids[:2]
        if right is None or wrong is None or right == wrong or ids[2:] != [right, wrong]:
            continue
        if len(prompt.ids) == len(twin.ids) and (prompt.content == twin.content).all():
            group = _deciding_words(items[number])
            found.append(Encoded(prompt=prompt, twin=twin, right=right, wrong=wrong, group=group))
    return found


def _deciding_words(item: Item) -> str:
    """Return the words in which prompt and twin differ, in order of the alphabet."""
    pairs = zip(item.prompt.split(), item.twin.split(), strict=False)
    return " ".join(sorted({word.strip(".,") for pair in pairs if pair[0] != pair[1] for word in pair}))


def _until_end(tokens: Tokens) -> Tokens:
    """Return tokens up to the last one of content: some tokenizers append an end of text, which nothing follows."""
    held = np.flatnonzero(tokens.content)
    end = int(held[-1]) + 1 if len(held) else 0
    return Tokens(ids=tokens.ids[:end], content=tokens.content[:end], truncated=tokens.truncated)


def _next_id(tokens: Tokens, longer: Tokens) -> int | None:
    """Return the one id that `longer` has after `tokens`; None if it has more, or begins otherwise."""
    n = len(tokens.ids)
    is_next = n > 0 and len(longer.ids) == n + 1 and (longer.ids[:n] == tokens.ids).all()
    return int(longer.ids[n]) if is_next and not longer.truncated else None
