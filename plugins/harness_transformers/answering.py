"""Causal language model that scores continuations of prompts and generates text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from harness import Conversation, Message, Tokens, UnavailableError, UsageError
from harness_transformers.bos import TextEncoder
from harness_transformers.chat import ChatTemplate
from harness_transformers.references import Files
from harness_transformers.splicing import SplicedTransformer
from harness_transformers.weights import all_shards

GENERATION = "generation_config.json"
"""Name of the file of generation settings."""


def answering_files(files: Files, *, weights: bool) -> list[str]:
    """Return the files that can influence an answer: generation settings, and weights if they are read."""
    settings = [GENERATION] if files.find(GENERATION) else []
    if not weights:
        return settings
    return [*all_shards(files), *settings]


def ending_tokens(files: Files, config: Any, tokenizer: Any) -> list[int]:
    """Return the sorted end-of-text tokens of tokenizer, configuration and generation settings."""
    settings = files.read_json(GENERATION) or {}
    ends: set[int] = set()
    for given in (
        tokenizer.eos_token_id,
        getattr(config, "eos_token_id", None),
        settings.get("eos_token_id"),
    ):
        for end in given if isinstance(given, list) else [] if given is None else [given]:
            if isinstance(end, bool) or not isinstance(end, int):
                raise UnavailableError(
                    f"model '{files.name}': its {GENERATION} or config.json gives {end!r} as a token that ends a text, "
                    f"which is no number: fetch it again"
                )
            ends.add(end)
    return sorted(ends)


class AnsweringTransformer:
    """Causal language model that scores continuations of prompts, and generates its own."""

    def __init__(
        self,
        name: str,
        model: Any,
        spliced: SplicedTransformer,
        *,
        tokenizer: Any,
        encoder: TextEncoder,
        template: ChatTemplate | None,
        max_length: int,
        ends: Sequence[int],
    ) -> None:
        self.name, self._model, self._spliced = name, model, spliced
        self._tokenizer, self._encoder, self._template = tokenizer, encoder, template
        self.max_length = max_length
        self._ends = list(ends)

    def encode(self, prompt: str | Conversation, continuation: str | None = None) -> Tokens:
        """Encode a prompt; with a continuation, mark the continuation's tokens as content.

        The continuation begins after the longest common prefix with the prompt's own tokens, so that a token
        made of both belongs to the continuation. Raise UsageError for a conversation that ends with the
        assistant.
        """
        if isinstance(prompt, Conversation) and not (prompt.messages and prompt.messages[-1].is_prompt):
            raise UsageError(
                f"model '{self.name}' answers a conversation whose last message is not the assistant's own"
            )
        if self._template is None:
            alone, whole = self._encode_plain(prompt, continuation or "")
        else:
            alone, whole = self._encode_chat(self._template, prompt, continuation or "")
        if continuation is None:
            return alone
        beyond = np.arange(len(whole.ids)) >= _common_prefix(alone.ids, whole.ids)
        return Tokens(ids=whole.ids, content=whole.content & beyond, truncated=whole.truncated)

    def losses(self, batch: Sequence[Tokens]) -> torch.Tensor:
        """Return losses in nats, float32, of the content tokens except one at the first position."""
        return self._spliced.losses(batch)

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Tokens], *, most: int, one_line: bool) -> list[str]:
        """Return greedy continuations of prompts that all have the same length in tokens."""
        device = next(self._model.parameters()).device
        ids = torch.from_numpy(np.stack([prompt.ids for prompt in prompts])).to(device)
        settings = transformers.GenerationConfig(
            do_sample=False,
            max_new_tokens=most,
            eos_token_id=self._ends or None,
            pad_token_id=(self._ends or [0])[0],
        )
        stops = [_FirstLine(self._tokenizer, ids.shape[1])] if one_line else []
        written = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=settings,
            stopping_criteria=transformers.StoppingCriteriaList(stops),
        )
        return [self._read(row) for row in written[:, ids.shape[1] :].tolist()]

    def _read(self, ids: list[int]) -> str:
        """Decode tokens up to the first end-of-text token; the rest is padding."""
        end = next((place for place, token in enumerate(ids) if token in self._ends), len(ids))
        return str(self._tokenizer.decode(ids[:end], skip_special_tokens=True))

    def _encode_plain(self, prompt: str | Conversation, continuation: str) -> tuple[Tokens, Tokens]:
        """Return prompt, and prompt with continuation, encoded without a template."""
        # Without a template a conversation is its contents, line by line, and the answer is the next line.
        text = f"{prompt}\n" if isinstance(prompt, Conversation) else prompt
        alone, whole = self._encoder.encode_plain([text, text + continuation], max_length=self.max_length)
        held = alone.content.nonzero()[0]
        # Some tokenizers append an end-of-text token, after which nothing can be continued.
        kept = slice(held[-1] + 1 if len(held) else len(alone.ids))
        return Tokens(ids=alone.ids[kept], content=alone.content[kept], truncated=alone.truncated), whole

    def _encode_chat(
        self, template: ChatTemplate, prompt: str | Conversation, continuation: str
    ) -> tuple[Tokens, Tokens]:
        """Return prompt, and prompt with continuation, encoded with the chat template."""
        if isinstance(prompt, str):
            prompt = Conversation(messages=(Message(role="user", content=prompt),))
        answer = Message(role="assistant", content=continuation)
        answered = Conversation(messages=(*prompt.messages, *([answer] if continuation else [])))
        opened, closed = (template.render(one, number).text for number, one in enumerate([prompt, answered]))
        if not closed.startswith(opened):
            raise UsageError(
                f"model '{self.name}': its chat template writes an answer otherwise than it opens one, so answers "
                f"cannot be scored: use template=none"
            )
        alone, whole = self._encoder.encode_chat(template, [prompt, answered], max_length=self.max_length)
        own = whole.content if whole.prompt is None else whole.content & ~whole.prompt
        return alone, Tokens(ids=whole.ids, content=own, truncated=whole.truncated)


class _FirstLine(transformers.StoppingCriteria):  # type: ignore[misc]
    """Stopping criterion: the first nonempty line of the text is complete."""

    def __init__(self, tokenizer: Any, start: int) -> None:
        self._tokenizer, self._start = tokenizer, start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        texts = self._tokenizer.batch_decode(input_ids[:, self._start :], skip_special_tokens=True)
        return torch.tensor(["\n" in text.lstrip() for text in texts], device=input_ids.device)


def _common_prefix(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int:
    """Return the length of the common prefix of two token sequences."""
    length = min(len(one), len(other))
    unlike = (one[:length] != other[:length]).nonzero()[0]
    return int(unlike[0]) if len(unlike) else length
