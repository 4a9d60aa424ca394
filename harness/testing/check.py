"""Checks, their subjects and outcomes: what is asked of a plugin's offer, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from harness.api.errors import UsageError
from harness.registry.catalog import Choice, Registry
from harness.registry.loading import Plugin, offer_name

Status = Literal["passed", "failed", "skipped"]

CONTRACT = "contract"
"""Check on which the others of a kind rest: where results have the wrong form, nothing else can be said of them."""


class CheckFailed(Exception):
    """Rule that an offer breaks; the message says in one sentence what was found."""


class NotApplicable(Exception):
    """Check that says nothing of an offer; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Offer that is checked: `reference` names it with its parameters.

    `folder` is an empty folder for files. `beside` names offers that it is used with, by kind (`{"models": …}`).
    `elsewhere` returns the digest of its results as another process computes them, None for a subject without results,
    and `listed` what that process found when it listed the plugin's offers.
    """

    kind: str
    name: str
    plugin: Plugin
    registry: Registry
    folder: Path
    reference: str | Mapping[str, Any] = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Callable[[], str | None] = lambda: None
    listed: Callable[[], Mapping[str, Any]] = dict

    @cached_property
    def choice(self) -> Choice:
        """The offer with all its parameters."""
        return self.registry.choose(self.kind, self.reference or self.name)

    @property
    def spec(self) -> Any:
        """The spec as the plugin offers it."""
        return next(spec for spec in self.plugin.offers[self.kind] if offer_name(spec) == self.name)

    def make(self, **changed: Any) -> Any:
        """Call the factory anew, with some parameters `changed`."""
        choice = self.choice
        if changed:
            choice = self.registry.choose(self.kind, {"name": choice.name, **choice.given, **changed})
        filled = {"seed": 0} if self.kind == "classifiers" and choice.takes_seed else {}
        return choice.make(**filled)


@dataclass(frozen=True, kw_only=True)
class Check:
    """Rule for offers of some kinds. `name` is what people write, `rule` the sentence that it holds offers to.

    `run` raises CheckFailed where the rule is broken, and NotApplicable where it says nothing. It is skipped where a
    check in `requires` has failed, and not mentioned where `applies` is False.
    """

    name: str
    kinds: tuple[str, ...]
    rule: str
    run: Callable[[Subject], None]
    requires: tuple[str, ...] = (CONTRACT,)
    applies: Callable[[Subject], bool] = lambda subject: True


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of one check of one offer; `sentence` says why it failed or was skipped."""

    kind: str
    offer: str
    check: str
    status: Status
    sentence: str = ""


CHECKS: list[Check] = []
"""All checks, in the order in which they run; the modules of `harness.testing.checks` fill it."""


def check(
    *kinds: str,
    requires: Sequence[str] = (CONTRACT,),
    applies: Callable[[Subject], bool] = lambda subject: True,
) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Register a function as the check of its name, for offers of `kinds`; its docstring is the rule.

    Raise UsageError for a second check of one name and kind.
    """

    def register(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        name = function.__name__.strip("_").replace("_", "-")
        for other in CHECKS:
            if other.name == name and set(other.kinds) & set(kinds):
                raise UsageError(f"there are two checks '{name}' of {', '.join(kinds)}")
        rule = " ".join((function.__doc__ or "").split())
        CHECKS.append(
            Check(name=name, kinds=kinds, rule=rule, run=function, requires=tuple(requires), applies=applies)
        )
        return function

    return register


def fail_unless(condition: object, sentence: str) -> None:
    """Raise CheckFailed with `sentence` unless `condition` holds."""
    if not condition:
        raise CheckFailed(sentence)
