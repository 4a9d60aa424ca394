"""A service that speaks OpenAI's chat completions, asked for explanations and scores.

Every answer is kept in the cache under the hash of its question as soon as it arrives, so that what was paid for is
asked once, whatever happens later. The key comes from the environment, and is neither kept nor shown.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np

from harness import (
    Fragment,
    Opening,
    Passage,
    UnavailableError,
    UsageError,
    cached_folder,
    describe,
    hash_json,
    parse_json,
    read_description,
    whole_file,
)
from harness_autointerp import prompts

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

LONGEST_WAIT_S = 60.0
"""Longest wait before a question is asked again, whatever the service asks for."""

MOST_BYTES = 1 << 20
"""Longest answer that is read."""

TOGETHER = 5
"""Passages judged by one question."""

FEW_ANSWERS = 6
"""Answers after which a service of which most cannot be read is given up."""

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Status codes after which asking again may help."""

_LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Service by its URL (`https://HOST/v1`) and the name of its model; `key` names a variable of the environment."""

    url: str
    model: str
    key: str
    timeout_s: float
    retries: int

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"endpoint url '{self.url}' is not of the form https://HOST/v1")
        if "@" in parts.netloc or parts.query:
            raise UsageError(
                "an endpoint's url holds no names, keys or questions: a key comes from the variable that key= names"
            )
        if not 0 < self.timeout_s <= 3600 or not 0 <= self.retries <= 20:
            raise UsageError("an endpoint takes timeout_s from 0 to 3600, and retries from 0 to 20")

    def open(self, session: Opening) -> OpenEndpoint:
        """Return the service with its folder of kept answers; nothing is asked yet. Raise UsageError for a key that
        would travel unencrypted.
        """
        key = os.environ.get(self.key, "").strip()
        parts = urlsplit(self.url)
        if key and parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise UsageError(
                f"the key in {self.key} would go to '{self.url}' unencrypted: use https, or name another variable, key="
            )
        of = {"autointerp": "answers", "url": self.url, "model": self.model}
        folder = cached_folder(of, lambda folder: None, what=f"answers of {self.model}")
        return OpenEndpoint(asked=self, folder=folder, key=key)


class _NoRedirect(HTTPRedirectHandler):
    """Refuse redirects: a key would be sent on to another host."""

    def redirect_request(self, *given: Any, **more: Any) -> None:
        return None


@dataclass(kw_only=True)
class OpenEndpoint:
    """Service that explains, simulates and judges; answers are kept in `folder`, one file each."""

    asked: Endpoint
    folder: Path
    key: str = field(repr=False)
    wait: Callable[[float], None] = time.sleep
    n_read: int = 0
    n_unread: int = 0

    def explain(self, fragments: Sequence[Fragment]) -> str:
        """Return the explanation that the service gives."""
        answer = self._ask(prompts.ask_explanation(fragments), most=100)
        explanation = prompts.read_explanation(answer)
        self._count(bool(explanation), answer)
        return explanation or "nothing"

    def simulate(self, explanation: str, passages: Sequence[Passage]) -> list[Array]:
        """Return the activations that the service expects, NaN where it gives no list of them."""
        found = []
        for one in passages:
            n = len(one.tokens)
            answer = self._ask(prompts.ask_simulation(explanation, one), most=20 + 4 * n)
            values = prompts.read_numbers(answer, n, 10)
            self._count(values is not None, answer)
            found.append(np.full(n, np.nan) if values is None else values)
        return found

    def judge(self, explanation: str, passages: Sequence[Passage]) -> Array:
        """Return 1 or 0 for each passage, NaN where the service gives no list of these."""
        found = []
        for start in range(0, len(passages), TOGETHER):
            some = passages[start : start + TOGETHER]
            answer = self._ask(prompts.ask_judgement(explanation, some), most=20 + 4 * len(some))
            values = prompts.read_numbers(answer, len(some), 1)
            self._count(values is not None, answer)
            found.append(np.full(len(some), np.nan) if values is None else values)
        return np.concatenate(found)

    def _count(self, is_read: bool, answer: str) -> None:
        self.n_read, self.n_unread = self.n_read + is_read, self.n_unread + (not is_read)
        total = self.n_read + self.n_unread
        if total >= FEW_ANSWERS and self.n_unread > total / 2:
            raise UnavailableError(
                f"endpoint '{self.asked.url}': {self.n_unread} of {total} answers of '{self.asked.model}' are not of "
                f"the form that was asked for, such as {_shorten(answer)!r}: name another model"
            )

    def _ask(self, question: str, *, most: int) -> str:
        """Return the answer to a question, kept or new."""
        body = {
            "model": self.asked.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": most,
        }
        path = self.folder / f"{hash_json(body)}.json"
        if path.is_file():
            kept = parse_json(read_description(path).decode())
            if isinstance(kept, dict) and isinstance(kept.get("answer"), str):
                return str(kept["answer"])
        answer = self._send(body)
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps({"answer": answer}, ensure_ascii=False), "utf-8")
        return answer

    def _send(self, body: Mapping[str, Any]) -> str:
        """Send a question, again after faults that may pass; raise UnavailableError when all tries are used up."""
        fault = ""
        for number in range(self.asked.retries + 1):
            try:
                return self._read(self._post(body))
            except _Passing as passing:
                fault = str(passing)
                if number < self.asked.retries:
                    self.wait(min(LONGEST_WAIT_S, 2.0**number if passing.after is None else passing.after))
        tries = self.asked.retries + 1
        raise self._fail(f"{fault}, {tries} times" if tries > 1 else fault)

    def _fail(self, fault: str) -> UnavailableError:
        n = sum(1 for path in self.folder.glob("*.json") if path.stem != "complete")
        kept = f"{n:,} answers are kept" if n != 1 else "1 answer is kept"
        return UnavailableError(
            f"endpoint '{self.asked.url}' {fault}; {kept}, and the same command goes on from there"
        )

    def _post(self, body: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = json.dumps(body).encode()
        request = Request(f"{self.asked.url.rstrip('/')}/chat/completions", data, headers)
        deadline = time.monotonic() + self.asked.timeout_s
        try:
            with build_opener(_NoRedirect).open(request, timeout=self.asked.timeout_s) as response:
                return self._read_body(response, deadline)
        except HTTPError as error:
            with error:
                if error.code in _PASSING:
                    raise _Passing(
                        f"answers with status {error.code}", _wait_asked(error.headers.get("Retry-After", ""))
                    ) from error
            way_out = f" (its key is read from {self.asked.key})" if error.code in {401, 403} else ""
            raise self._fail(f"refuses a question with status {error.code}{way_out}") from error
        except TimeoutError as error:
            raise self._slow() from error
        except (OSError, HTTPException) as error:  # URLError is an OSError
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._slow() from error
            said = describe(reason) if isinstance(reason, Exception) else str(reason)
            raise _Passing(f"cannot be reached ({_shorten(said)})") from error

    def _read_body(self, response: Any, deadline: float) -> bytes:
        """Return the body; one that comes in drops takes no longer than one that does not come."""
        parts, size = [], 0
        while part := response.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise self._fail(f"sends an answer of more than {MOST_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise self._slow()
        return b"".join(parts)

    def _slow(self) -> _Passing:
        return _Passing(f"does not answer within {self.asked.timeout_s:g} s")

    def _read(self, body: bytes) -> str:
        """Return the text in a chat completion; raise UnavailableError for anything else."""
        try:
            answer = parse_json(body.decode())["choices"][0]["message"]["content"]
            if not isinstance(answer, str):
                raise TypeError(f"its content is {type(answer).__name__}")
        except (ValueError, LookupError, TypeError, RecursionError, UnavailableError) as error:
            shown = _shorten(body.decode("utf-8", "replace"))
            shown = shown.replace(self.key, "…") if self.key else shown
            raise self._fail(f"answers with something that is no chat completion, {shown!r}") from error
        return answer


class _Passing(Exception):
    """Fault after which asking again may help; `after` are the seconds that the service asks to wait."""

    def __init__(self, said: str, after: float | None = None) -> None:
        super().__init__(said)
        self.after = after


def _wait_asked(asked: str) -> float | None:
    """Return the seconds of Retry-After; None where it is absent, or a date."""
    try:
        seconds = float(asked)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:80]}…"
