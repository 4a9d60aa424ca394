"""Command `harness autointerp`: how well explanations of features say where these fire, on fragments not yet seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from harness_autointerp.asked_model import AskedModel
    from harness_autointerp.endpoint import Endpoint
    from harness_autointerp.rules import Rules

HARNESS_API = 1


@harness.hookimpl
def harness_commands() -> list[harness.CommandSpec]:
    """Offer the command, which is imported when it is called."""
    summary = (
        "Explain features of dictionaries in words, and score the words on fragments of text not seen before."
    )
    return [
        harness.CommandSpec(name="autointerp", summary=summary, load="harness_autointerp.command:command")
    ]


@harness.hookimpl
def harness_results() -> list[harness.ResultSpec]:
    """Offer the page of what the command leaves."""
    summary = "Automatic interpretability: how well explanations of features say where these fire."
    return [
        harness.ResultSpec(
            name="autointerp",
            summary=summary,
            pattern="autointerp-*.json",
            load="harness_autointerp.page:describe",
        )
    ]


@harness.hookimpl
def harness_dictionary_scores() -> list[harness.DictionaryScoreSpec]:
    """Offer the score that rules alone give, which asks no model."""
    return [
        harness.DictionaryScoreSpec(
            name="autointerp (rules)",
            summary="Mean correlation of features with what rules on tokens simulate.",
            load="harness_autointerp.reliability:open_simulation",
        )
    ]


@harness.hookimpl
def harness_explainers() -> list[harness.ExplainerSpec]:
    """Offer three ways of explaining and scoring."""
    return [
        harness.ExplainerSpec(
            name="rules",
            summary="tokens, tokens before, and pairs of both on which a feature fires; no model, no network",
            make=_make_rules,
        ),
        harness.ExplainerSpec(
            name="model",
            summary="a model that the harness loads, asked with examples: yes or no by likelihood, words by generation",
            make=_make_model,
        ),
        harness.ExplainerSpec(
            name="endpoint",
            summary="a service that speaks OpenAI's chat completions; its key comes from the environment",
            make=_make_endpoint,
        ),
    ]


def _make_rules(*, n: int = 8) -> Rules:
    from harness_autointerp.rules import Rules

    return Rules(n=n)


def _make_model(*, ref: str, dtype: str | None = None, template: str | None = None) -> AskedModel:
    from harness_autointerp.asked_model import AskedModel

    return AskedModel(ref=ref, dtype=dtype, template=template)


def _make_endpoint(
    *, url: str, model: str, key: str = "OPENAI_API_KEY", timeout_s: float = 60.0, retries: int = 4
) -> Endpoint:
    from harness_autointerp.endpoint import Endpoint

    return Endpoint(url=url, model=model, key=key, timeout_s=timeout_s, retries=retries)
