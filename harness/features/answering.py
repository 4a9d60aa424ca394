"""Answers of language models to prompts: the log-likelihood of each given choice, or what the model writes.

The result of one prompt depends on no other prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, groupby, islice
from operator import truediv

import numpy as np

from harness.api.data import Conversation, Tokens
from harness.api.errors import UnavailableError, UsageError
from harness.api.protocols import Answering, AnsweringModel, Model
from harness.features.featurize import plan_batches, run_batches


@dataclass(frozen=True, kw_only=True)
class ChoiceScores:
    """Log-likelihood in nats of each choice given its prompt: in total, per token, and per UTF-8 byte without outer
    whitespace. If a choice shares a token with the end of the prompt, the tokens of that end are scored with every
    choice of the prompt, so that all scores are of the same part of the text.
    """

    sum: tuple[float, ...]
    per_token: tuple[float, ...]
    per_byte: tuple[float, ...]


def check_answering(model: Model) -> AnsweringModel:
    """Return the model if it can answer; UsageError otherwise."""
    if not isinstance(model, AnsweringModel):
        raise UsageError(f"model '{model.name}' answers nothing: its plugin gives it no load_answering")
    return model


def score_choices(
    prompts: Sequence[str | Conversation],
    choices: Sequence[Sequence[str]],
    model: Answering,
    *,
    device: str,
    batch_size: int | None = None,
) -> list[ChoiceScores | None]:
    """Return the scores of each prompt's choices, which continue it as they are; None if one of them is cut at the
    model's maximum length. Raise UsageError for a choice that cannot be scored, UnavailableError for scores that are
    not finite.
    """
    owners = [(number, choice) for number, given in enumerate(choices) for choice in given]
    encoded = [model.encode(prompts[number], choice) for number, choice in owners]
    too_long = {number for (number, _), tokens in zip(owners, encoded, strict=True) if tokens.truncated}
    kept = [row for row, (number, _) in enumerate(owners) if number not in too_long]
    starts: dict[int, int] = {}
    for row in kept:
        _check_scorable(encoded[row], *owners[row])
        number, start = owners[row][0], int(encoded[row].content.argmax())
        starts[number] = min(start, starts.get(number, start))
    for row in kept:
        encoded[row] = _from(encoded[row], starts[owners[row][0]])
    sums: dict[int, float] = {}
    batches = plan_batches([len(encoded[row].ids) for row in kept], batch_size=batch_size, device=device)

    def read(places: Sequence[int]) -> Mapping[int, float]:
        rows = [kept[place] for place in places]
        losses = model.losses([encoded[row] for row in rows]).double().cpu().numpy()
        ends = np.cumsum([encoded[row].content.sum() for row in rows])
        return {row: -float(part.sum()) for row, part in zip(rows, np.split(losses, ends[:-1]), strict=True)}

    for part in run_batches(batches, read):
        sums |= part
    for row, value in sorted(sums.items()):
        if not np.isfinite(value):
            number, choice = owners[row]
            raise UnavailableError(
                f"item {number + 1}: model '{model.name}' gives its choice {choice!r} the log-likelihood {value}: "
                f"try --dtype float32; if that does not help, its weights are broken"
            )
    found: list[ChoiceScores | None] = []
    rows_in_order = iter(range(len(owners)))
    for number, given in enumerate(choices):
        rows = list(islice(rows_in_order, len(given)))
        counts = [int(encoded[row].content.sum()) for row in rows]
        found.append(None if number in too_long else _scores(given, [sums[row] for row in rows], counts))
    return found


def write_answers(
    prompts: Sequence[str | Conversation],
    model: Answering,
    *,
    device: str,
    batch_size: int | None = None,
    most: int,
    one_line: bool,
) -> list[str | None]:
    """Return the model's completion of each prompt, without outer whitespace, and only its first line if `one_line`;
    None if prompt and answer exceed the model's length. Batches hold prompts of one length, so that none is padded.
    """
    encoded = [model.encode(prompt) for prompt in prompts]
    fits = [not tokens.truncated and 0 < len(tokens.ids) <= model.max_length - most for tokens in encoded]
    said: dict[int, str] = {}

    def write(rows: Sequence[int]) -> Mapping[int, str]:
        texts = model.generate([encoded[row] for row in rows], most=most, one_line=one_line)
        return dict(zip(rows, texts, strict=True))

    batches = _of_one_length(encoded, fits, most=most, batch_size=batch_size, device=device)
    for part in run_batches(list(batches), write):
        said |= part
    texts = [said[row].strip() if fits[row] else None for row in range(len(prompts))]
    return [text.split("\n")[0].strip() if text and one_line else text for text in texts]


def _check_scorable(tokens: Tokens, number: int, choice: str) -> None:
    if not tokens.content.any():
        raise UsageError(f"item {number + 1}: its choice {choice!r} adds no token to the prompt")
    if tokens.content[0]:
        raise UsageError(
            f"item {number + 1}: nothing stands before its choice {choice!r}: give it a longer prompt"
        )


def _from(tokens: Tokens, start: int) -> Tokens:
    """Return tokens whose content begins no later than at `start`."""
    content = tokens.content.copy()
    content[start : content.argmax()] = True
    return replace(tokens, content=content)


def _scores(choices: Sequence[str], sums: Sequence[float], n_tokens: Sequence[int]) -> ChoiceScores:
    n_bytes = [max(1, len(choice.strip().encode())) for choice in choices]
    per_token, per_byte = (tuple(map(truediv, sums, counts)) for counts in (n_tokens, n_bytes))
    return ChoiceScores(sum=tuple(sums), per_token=per_token, per_byte=per_byte)


def _of_one_length(
    encoded: Sequence[Tokens], fits: Sequence[bool], *, most: int, batch_size: int | None, device: str
) -> Iterator[list[int]]:
    """Yield batches of rows that fit, each of prompts of one length, the longest first."""
    longest_first = sorted(compress(range(len(fits)), fits), key=lambda row: -len(encoded[row].ids))
    for length, group in groupby(longest_first, key=lambda row: len(encoded[row].ids)):
        rows = list(group)
        for batch in plan_batches([length + most] * len(rows), batch_size=batch_size, device=device):
            yield [rows[place] for place in batch]
