"""Chat templates: the text a model reads, and the position of each message in it.

The tokenizer's own template renders the text. Positions are found by rendering placeholders; the parts so
found must add up to the text exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from typing import Any

from harness import Conversation, Message, UsageError, hash_json
from harness_transformers.opening import check_choice, first_line
from harness_transformers.rendering import Renderer, RenderingError

SYSTEM = ("first-user",)
"""Choices of the parameter `system`; without it, the template alone decides about a system message."""

_BETWEEN = "\n\n"
"""Text between a system message and the user's first one, as Gemma 3's own template has it."""

DATE = "26 Jul 2024"
"""Date given to templates that ask for one, Llama 3's default.

A result must not depend on the day it was computed.
"""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Characters `text[start:end]` of one message; `is_prompt` unless it is the assistant's."""

    start: int
    end: int
    is_prompt: bool


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Text that a model reads, with its messages in order of position."""

    text: str
    spans: tuple[Span, ...]


def join_messages(conversation: Conversation) -> Rendering:
    """Join the contents with newlines, as a model without a template reads them."""
    spans = []
    start = 0
    for message in conversation.messages:
        end = start + len(message.content)
        spans.append(Span(start=start, end=end, is_prompt=message.is_prompt))
        start = end + 1
    return Rendering(text=str(conversation), spans=tuple(spans))


class ChatTemplate:
    """Chat template of a tokenizer, or the text of another one for it.

    With `system="first-user"`, system messages at the beginning are put before the user's first message: for templates
    without a system role. Raises UsageError if the tokenizer has no template, or none that takes a single message of
    the user.
    """

    def __init__(
        self, name: str, tokenizer: Any, system: str | None = None, *, own: str | None = None
    ) -> None:
        if system is not None:
            check_choice(name, "system", system, SYSTEM)
        self._name = name
        self._system = system
        self._skeletons: dict[tuple[str, ...], tuple[list[str], list[int]]] = {}
        self._own = own
        if own is None and not tokenizer.chat_template:
            raise UsageError(
                f"model '{name}' has no chat template in its tokenizer_config.json or chat_template.jinja: "
                f"use template=none, or name a file with one, template=PATH.jinja"
            )
        try:
            variables = {**tokenizer.special_tokens_map, "date_string": DATE}
            template = tokenizer.get_chat_template() if own is None else own
            self._renderer = Renderer(template, variables)
        except (
            ValueError,
            RenderingError,
        ) as error:  # ValueError: several templates, and none of them the default
            raise UsageError(
                f"model '{name}': its chat template cannot be used: {first_line(error)}"
            ) from error
        self._single = self._skeleton(("user",), "a single message of the user")

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON that identifies the text which the template writes around a message."""
        moved = {} if self._system is None else {"system": self._system}
        around = hash_json({"parts": self._single[0]})
        if self._own is not None:  # the tokenizer's own is a part of its hashed files
            moved["content"] = hash_json({"template": self._own})
        return {"name": "chat", "around": around, **moved}

    def render(self, one: str | Conversation, number: int) -> Rendering:
        """Render input `number`; a text is one message of the user.

        The rendering ends with an opened answer unless the assistant spoke last. Raise UsageError for a
        conversation that the template refuses or rewrites.
        """
        if isinstance(one, str):
            one = Conversation(messages=(Message(role="user", content=one),))
        roles = tuple(message.role for message in one.messages)
        if not roles:
            return Rendering(text="", spans=())
        what = f"input {number} (roles {', '.join(roles)})"
        if self._system is None or roles[0] != "system":
            return self._render(one.messages, what)[0]
        moved = _move_system(one.messages)
        if moved is None:
            raise UsageError(
                f"model '{self._name}': {what} has no message of the user to put the system message before: "
                f"leave the row out, or use template=none"
            )
        system, messages, place = moved
        rendering, order = self._render(messages, what)
        return _part(rendering, system, order.index(place)) if system else rendering

    def _render(self, messages: Sequence[Message], what: str) -> tuple[Rendering, list[int]]:
        """Return the rendering of messages, and the order in which they occur in it."""
        roles = tuple(message.role for message in messages)
        parts, order = self._skeleton(roles, what)
        text = self._write(roles, [message.content for message in messages], what)
        return Rendering(
            text=text, spans=self._locate(text, parts, [messages[i] for i in order], what)
        ), order

    def _skeleton(self, roles: tuple[str, ...], what: str) -> tuple[list[str], list[int]]:
        """Return the text around messages of these roles, and the order in which messages occur."""
        if roles not in self._skeletons:
            text = self._write(roles, [f"\ue000{number}\ue001" for number in range(len(roles))], what)
            parts = re.split("\ue000([0-9]+)\ue001", text)
            order = [int(number) for number in parts[1::2]]
            if sorted(order) != list(range(len(roles))):
                raise UsageError(
                    f"model '{self._name}': its chat template does not write each message of {what} once, so "
                    f"they cannot be told from the template: use template=none{self._way_out(roles)}"
                )
            self._skeletons[roles] = parts[::2], order
        return self._skeletons[roles]

    def _write(self, roles: tuple[str, ...], contents: Sequence[str], what: str) -> str:
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        try:
            return self._renderer.render(messages, opens_answer=roles[-1] != "assistant")
        except RenderingError as error:
            raise UsageError(
                f"model '{self._name}': its chat template refuses {what}: {first_line(error)}{self._way_out(roles)}"
            ) from error

    def _way_out(self, roles: tuple[str, ...]) -> str:
        """Return what a message adds about `system` if the roles would be taken without the system message."""
        rest = tuple(dropwhile(lambda role: role == "system", roles))
        if self._system is not None or rest == roles or "user" not in rest:
            return ""
        try:
            self._skeleton(rest, "")
        except UsageError:
            return ""
        return "; system=first-user puts the system message before the user's first message"

    def _locate(
        self, text: str, parts: Sequence[str], messages: Sequence[Message], what: str
    ) -> tuple[Span, ...]:
        """Return the position of each message in the text.

        Many templates strip outer whitespace, so a message may occur with or without its own.
        """
        spans: list[Span] = []
        place = len(parts[0]) if text.startswith(parts[0]) else -1
        for message, after in zip(messages, parts[1:], strict=True):
            content = message.content
            forms = (content, content.rstrip(), content.lstrip(), content.strip())
            form = next((form for form in forms if place >= 0 and text.startswith(form + after, place)), None)
            if form is None:
                place = -1
                break
            spans.append(Span(start=place, end=place + len(form), is_prompt=message.is_prompt))
            place += len(form) + len(after)
        if place != len(text):
            raise UsageError(
                f"model '{self._name}': its chat template changes the messages of {what}, so they cannot be told "
                f"from the template: use template=none"
            )
        return tuple(spans)


def _move_system(messages: Sequence[Message]) -> tuple[str, list[Message], int] | None:
    """Return the text of the system messages at the beginning without outer blanks, the other messages, of which the
    user's first begins with it, and the number of that one; None if the user says nothing.
    """
    rest = [*dropwhile(lambda message: message.role == "system", messages)]
    stripped = [message.content.strip() for message in messages[: len(messages) - len(rest)]]
    system = _BETWEEN.join(text for text in stripped if text)
    place = next((n for n, message in enumerate(rest) if message.role == "user"), None)
    if place is None:
        return None
    if system:
        rest[place] = Message(role="user", content=f"{system}{_BETWEEN}{rest[place].content}")
    return system, rest, place


def _part(rendering: Rendering, system: str, place: int) -> Rendering:
    """Return the rendering with the span at `place` as two: the system message, and what the user says after it."""
    before, whole, after = rendering.spans[:place], rendering.spans[place], rendering.spans[place + 1 :]
    end = whole.start + len(system)  # a template cannot have stripped it: it has no outer blanks
    own = min(end + len(_BETWEEN), whole.end)  # of a message of blanks, a template may strip all
    parts = replace(whole, end=end), replace(whole, start=own)
    return replace(rendering, spans=(*before, *parts, *after))
