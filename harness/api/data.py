"""Data types that flow between the rooms: sites, inputs, examples, partitions, encoded inputs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from harness.api.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from scipy import sparse

    Matrix: TypeAlias = np.ndarray[Any, Any] | sparse.csr_array


Modality = Literal["text", "image"]


Split = Literal["train", "validation", "test"]

SPLITS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""Spelling of a split in a source → split."""


@dataclass(frozen=True, kw_only=True, order=True)
class Site:
    """Place in a model where activations are read: `resid_post.12`, `attn_z.3`, `vision.resid_post.9`."""

    tower: str = ""
    kind: str
    layer: int

    def __str__(self) -> str:
        return ".".join([*([self.tower] if self.tower else []), self.kind, str(self.layer)])

    @classmethod
    def parse(cls, text: str) -> Site:
        """Parse `[TOWER.]KIND.LAYER`. Raise UsageError when the text is not of that form."""
        match = re.fullmatch(r"(?:([a-z]+)\.)?([a-z_]+)\.([0-9]{1,9})", text)
        if match is None:
            raise UsageError(f"site '{text}' is not of the form KIND.LAYER, for example resid_post.12")
        tower, kind, layer = match.groups()
        return cls(tower=tower or "", kind=kind, layer=int(layer))


@dataclass(frozen=True, kw_only=True)
class Message:
    """Turn of a conversation; `role` is `user`, `assistant`, `system`, or another role that a template knows."""

    role: str
    content: str

    @property
    def is_prompt(self) -> bool:
        """True if the message is not the assistant's."""
        return self.role != "assistant"


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Input of several messages; as plain text, their contents joined with newlines."""

    messages: tuple[Message, ...]

    def __str__(self) -> str:
        return "\n".join(message.content for message in self.messages)

    @classmethod
    def parse(cls, value: Sequence[Any]) -> Conversation:
        """Parse `[{"role": …, "content": …}, …]`; other keys are not read.

        A content is a text, or a list of parts `{"type": "text", "text": …}`, whose texts are joined without a blank,
        as chat templates do. Raises UsageError that names the first message of another form, or one with anything
        that is no text: an image, a call of a tool.
        """
        return cls(messages=tuple(_parse_message(one, number) for number, one in enumerate(value, start=1)))


def _parse_message(message: Any, number: int) -> Message:
    where = f"message {number} of the conversation"
    given = message if isinstance(message, Mapping) else {}
    for key in ("tool_calls", "function_call"):
        if given.get(key):
            raise UsageError(
                f'{where} calls a tool under "{key}", which is no text: write the call into its "content", or leave '
                "the row out"
            )
    for key, kinds in (("role", str), ("content", str | list)):
        if not isinstance(given.get(key), kinds):
            has = f", and has: {', '.join(map(str, [*given][:5]))}" if given else ""
            raise UsageError(f'{where} has no text under "{key}"{has}')
    content = given["content"]
    if isinstance(content, list):
        content = "".join(_parse_part(part, where) for part in content)
    return Message(role=given["role"], content=content)


def _parse_part(part: Any, where: str) -> str:
    """Return the text of one part of a message's content, in the spellings of the usual interfaces."""
    given = part if isinstance(part, Mapping) else {}
    kind = given.get("type")
    if kind in ("text", "input_text", "output_text") and isinstance(given.get("text"), str):
        return str(given["text"])
    named = f"of the type {str(kind)[:40]!r}" if kind else f"without a type, {type(part).__name__},"
    raise UsageError(
        f'{where} has a part {named} where only {{"type": "text", "text": …}} is read: write in words what it holds, '
        "or leave the row out"
    )


@dataclass(frozen=True, kw_only=True)
class Image:
    """Image as an input: the bytes of its file, or its path; `harness.decode_image` returns its pixels.

    `id` is the hex SHA-256 of its size and its pixels as upright RGB: two files of the same pixels are one image.
    `size` is (width, height), after the rotation that the file asks for.
    """

    encoded: bytes | Path = field(repr=False)
    id: str
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"image of {self.size[0]} × {self.size[1]} pixels"


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled examples, column by column, with one entry for each example in every column.

    Inputs are `str` or Conversation in a text task, and Image in an image task.
    """

    ids: tuple[str, ...]
    inputs: tuple[Any, ...]
    labels: tuple[str, ...]
    splits: tuple[Split, ...]
    languages: tuple[str, ...]
    groups: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Examples:
        """Return the examples at `rows`, in that order."""
        return Examples(
            ids=tuple(self.ids[row] for row in rows),
            inputs=tuple(self.inputs[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
            splits=tuple(self.splits[row] for row in rows),
            languages=tuple(self.languages[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
        )


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Row numbers of Examples for training, validation and test in one cell, and the label of every example.

    A regime may change labels of training rows. Without validation rows, repeated stratified folds of `train` take
    their place.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """One encoded input: token ids `[tokens]`, and a mask of those that are content (not BOS, not template).

    All masks have the shape `[tokens]`. `prompt` marks the content outside the assistant's messages; None means all of
    it. `own` is the model's own content mask where a token set has replaced it. Of an input that is an `image`, the
    content are its tokens or patches, row by row of the model's grid, and `summary` marks the positions that summarise
    the whole image (CLS). `truncated` says that the input was longer than the model's maximum length and lacks its end.
    """

    ids: np.ndarray[Any, np.dtype[np.int64]]
    content: np.ndarray[Any, np.dtype[np.bool_]]
    prompt: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    own: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    truncated: bool = False
    image: Image | None = None
    summary: np.ndarray[Any, np.dtype[np.bool_]] | None = None

    @property
    def key(self) -> str:
        """The identity of everything that the model reads: equal inputs have equal keys."""
        return self.ids.tobytes().hex() + (self.image.id if self.image else "")

    @property
    def cut(self) -> bool:
        """Former name of `truncated`, which is kept for one version."""
        warnings.warn("Tokens.cut is now Tokens.truncated", DeprecationWarning, stacklevel=2)
        return self.truncated


_make_tokens = Tokens.__init__


@wraps(_make_tokens)
def _make_tokens_of_former_names(self: Tokens, **values: Any) -> None:
    if "cut" in values:
        warnings.warn("Tokens(cut=…) is now Tokens(truncated=…)", DeprecationWarning, stacklevel=2)
        values["truncated"] = values.pop("cut")
    _make_tokens(self, **values)


Tokens.__init__ = _make_tokens_of_former_names  # type: ignore[method-assign]
