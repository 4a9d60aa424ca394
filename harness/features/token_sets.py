"""Token sets: selections of the positions of an encoded input that are pooled.

content   the input itself: no BOS, padding or template    last(k)   the last k content tokens
prompt    content that is not the assistant's              all       every real position, BOS and template too
cls       the position that summarises a whole image, where a vision tower has one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.api.data import Tokens
from harness.api.errors import UsageError, did_you_mean
from harness.registry.catalog import parse_reference

_SETS: Mapping[str, tuple[str, ...]] = {"content": (), "all": (), "prompt": (), "last": ("k",), "cls": ()}


@dataclass(frozen=True, kw_only=True)
class TokenSet:
    """Selection of positions by name; `k` belongs to `last`."""

    name: str
    k: int | None = None

    @property
    def label(self) -> str:
        """The name in keys, records and tables: `content`, `last(k=5)`."""
        return self.name if self.k is None else f"{self.name}(k={self.k})"

    @classmethod
    def parse(cls, reference: str | Mapping[str, Any]) -> TokenSet:
        """Return the token set of `all`, `last(k=5)` or `{name: last, k: 5}`. Raise UsageError when there is none."""
        name, given = parse_reference(reference)
        if name not in _SETS:
            raise UsageError(f"there is no token set '{name}'{did_you_mean(name, _SETS)}")
        for key in given:
            if key not in _SETS[name]:
                raise UsageError(
                    f"token set '{name}' has no parameter '{key}'{did_you_mean(key, _SETS[name], owner_has='it takes')}"
                )
        k = given.get("k")
        if name == "last" and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise UsageError(f"token set 'last' needs k, a whole number of at least 1, not {k!r}: last(k=5)")
        return cls(name=name, k=k)

    def select(self, tokens: Tokens) -> Tokens:
        """Return `tokens` with this set as content. Ids, and so activations, stay the same."""
        if (
            self.name == "content"
        ):  # of a million inputs, dataclasses.replace would take most of a plan's time
            return Tokens(
                ids=tokens.ids,
                content=tokens.content,
                prompt=tokens.prompt,
                own=tokens.content,
                truncated=tokens.truncated,
                image=tokens.image,
                summary=tokens.summary,
            )
        content = tokens.content.copy()
        if self.name == "all":
            content[:] = True
        elif self.name == "prompt" and tokens.prompt is not None:
            content &= tokens.prompt
        elif self.name == "cls":
            if tokens.summary is None:
                raise UsageError(
                    "token set 'cls' needs a vision tower with a CLS token, and this model has none"
                )
            content = tokens.summary.copy()
        elif self.k is not None:
            content[content.nonzero()[0][: -self.k]] = False
        return replace(tokens, content=content, own=tokens.content)
