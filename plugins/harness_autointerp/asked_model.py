"""A model of the harness that is asked, with two worked examples: its answers are read from probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness import (
    Answering,
    AnsweringModel,
    Fragment,
    LanguageModel,
    Opening,
    Passage,
    PredictingModel,
    Tokens,
    UnavailableError,
    UsageError,
    plan_batches,
    run_batches,
)
from harness_autointerp import prompts

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

MOST_TOKENS = 32
"""Tokens of an explanation that a model writes."""

SHOWN = 5
"""Fragments that a model is shown: small ones have short memories."""

_HEAD = "A feature of a language model fires on certain tokens."
_DETECTION = f"""{_HEAD} Does it fire in the text?

Fires: on " dog" (10); on " dogs" (8)
Text: She took her dog for a walk along the river.
Answer: yes

Fires: on " dog" (10); on " dogs" (8)
Text: The meeting was moved to Friday afternoon.
Answer: no

Fires: {{explanation}}
Text: {{text}}
Answer:"""
_FUZZING = f"""{_HEAD} Are the tokens between << and >> the ones on which it fires?

Fires: on " dog" (10); on " dogs" (8)
Text: She took her<< dog>> for a walk along the river.
Answer: yes

Fires: on " dog" (10); on " dogs" (8)
Text: She took her dog for a walk along<< the>> river.
Answer: no

Fires: {{explanation}}
Text: {{text}}
Answer:"""
_EXPLANATION = """Tokens between << and >> make a feature of a language model fire. Say what they have in common.

Text: She took her<< dog>> for a walk. / Two<< dogs>> barked. / My<< dog>> is old.
In common: the words "dog" and "dogs"

Text: {text}
In common:"""


@dataclass(frozen=True, kw_only=True)
class AskedModel:
    """Model by its reference, with its dtype and template where they are not its own."""

    ref: str
    dtype: str | None
    template: str | None

    def open(self, session: Opening) -> OpenAskedModel:
        """Open the model; weights are loaded when it is asked first. Raise UsageError for one without predictions."""
        given = {"dtype": self.dtype, "template": self.template}
        chosen: Mapping[str, Any] = {"ref": self.ref, **{name: one for name, one in given.items() if one}}
        try:
            opened = session.open_model(chosen)
        except UsageError as error:
            raise UsageError(f"model '{self.ref}' cannot be asked: {error}") from error
        if not isinstance(opened.model, LanguageModel):
            raise UsageError(f"model '{opened.label}' predicts no tokens, so it cannot be asked")
        return OpenAskedModel(opened, session.device)


class OpenAskedModel:
    """Model that explains by generation, and judges by the probabilities of yes and no."""

    def __init__(self, opened: Any, device: str) -> None:
        self._opened, self._device = opened, device

    @cached_property
    def _loaded(self) -> PredictingModel:
        loaded = self._opened.model.load_whole(self._opened.sites[0], self._device)
        if not isinstance(loaded, PredictingModel):
            raise UsageError(
                f"model '{self._opened.label}' gives losses and no predictions, so it cannot be asked"
            )
        return loaded

    @cached_property
    def _writer(self) -> Answering:
        if not isinstance(self._opened.model, AnsweringModel):
            raise UsageError(
                f"model '{self._opened.label}' writes nothing, so it explains nothing: name another explainer"
            )
        return self._opened.model.load_answering(self._device)

    def explain(self, fragments: Sequence[Fragment]) -> str:
        """Return what the model writes after fragments in which tokens are marked."""
        text = " / ".join(prompts.write_shown(fragments, SHOWN))
        prompt = self._writer.encode(_EXPLANATION.format(text=text))
        (answer,) = self._writer.generate([prompt], most=MOST_TOKENS, one_line=True)
        return prompts.read_explanation(answer.strip().split("\n")[0]) or "nothing"

    def judge(self, explanation: str, passages: Sequence[Passage]) -> Array:
        """Return P(yes) / (P(yes) + P(no)) of the next token for each passage."""
        texts = [self.write(explanation, one) for one in passages]
        encoded = self._encode(texts)
        found = np.zeros(len(texts))

        @torch.inference_mode()
        def work(rows: Sequence[int]) -> None:
            logits = self._loaded.next_logits([encoded[row] for row in rows])
            odds = (logits[:, self._answers[0]] - logits[:, self._answers[1]]).double()
            found[list(rows)] = odds.sigmoid().cpu().numpy()

        batches = plan_batches([len(one.ids) for one in encoded], batch_size=None, device=self._device)
        for _ in run_batches(batches, work):
            pass
        return found

    def write(self, explanation: str, passage: Passage) -> str:
        """Return the text after which yes or no follows."""
        question = _DETECTION if passage.marked is None else _FUZZING
        return question.format(explanation=explanation, text=prompts.write(passage))

    def _encode(self, texts: Sequence[str]) -> list[Tokens]:
        encoded = self._opened.model.tokenize(list(texts))
        if any(one.truncated for one in encoded):
            raise UnavailableError(
                f"model '{self._opened.label}' reads texts that are too short for a question: score with another, or "
                "give a smaller --length"
            )
        return list(encoded)

    @cached_property
    def _answers(self) -> tuple[int, int]:
        """Ids of the first tokens of both answers, after a colon."""
        asked, yes, no = self._opened.model.tokenize(["Answer:", "Answer: yes", "Answer: no"])
        start = int(asked.content.sum())
        ids = [int(one.ids[one.content][start]) for one in (yes, no)]
        if ids[0] == ids[1]:
            raise UsageError(f"model '{self._opened.label}' has tokens in which yes and no begin alike")
        return ids[0], ids[1]
