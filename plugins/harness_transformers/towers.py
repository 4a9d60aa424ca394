"""Towers of a vision-language model and the projector between them.

They are found by structure: the configuration has a vision part, a text part and the id of an image token,
and the bare class has one child made from each. The remaining children are the projector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness import UsageError
from harness_transformers.structure import Layout, find_layout

IRRELEVANT_SETTINGS = frozenset(
    {
        "architectures",
        "chunk_size_feed_forward",
        "dtype",
        "final_logit_softcapping",
        "id2label",
        "initializer_range",
        "is_encoder_decoder",
        "label2id",
        "max_position_embeddings",
        "output_attentions",
        "output_hidden_states",
        "pretraining_tp",
        "problem_type",
        "return_dict",
        "tie_word_embeddings",
        "transformers_version",
        "use_bidirectional_attention",  # a vision-language model's class sets it for itself
        "use_cache",
    }
)
"""Settings of a decoder that do not change its activations."""

LANGUAGE_REMEDY = "or say whose it is to have: language_model=PATH"
"""Way out for a checkpoint without the weights of its language tower."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Names of a vision-language model's parts in its bare class, and of the parts of its two towers."""

    vision: str
    language: str
    between: tuple[str, ...]
    """Projector, and any other parts."""
    vision_layout: Layout
    language_layout: Layout
    norms: frozenset[str]
    """Parts of the vision tower after its last block."""

    @property
    def whole_vision(self) -> Layout:
        """Layout of the whole vision tower."""
        return self.vision_layout.including(self.norms)


def check_reads_images(name: str, config: Any) -> Any:
    """Return the configuration without the vision tower's pooling head, which no language model reads.

    Raise UsageError if the model reads no images.
    """
    wanted = {
        "vision_config": "a vision tower",
        "text_config": "a language tower",
        "image_token_id": "an image token",
    }
    for key, what in wanted.items():
        if getattr(config, key, None) is None:
            raise UsageError(
                f"model '{name}' ({config.model_type}) reads no images: its config.json names no {key}, "
                f"{what}; leave modality=image out"
            )
    if hasattr(config.vision_config, "vision_use_head"):
        config.vision_config.vision_use_head = False
    return config


def check_same_decoder(name: str, text: Any, other: str, config: Any) -> None:
    """Raise UsageError unless a language tower computes the same as the model `other` with its weights.

    `text` is the language tower's configuration; `config` is that of `other`.
    """
    own, theirs = text.to_dict(), config.get_text_config().to_dict()
    unlike = [key for key in own.keys() & theirs.keys() if is_relevant(key) and own[key] != theirs[key]]
    for key in sorted(unlike, key=lambda key: (isinstance(own[key], list), key)):  # short values first
        raise UsageError(
            f"model '{name}' cannot have the language_model '{other}': there {key} is {theirs[key]!r}, and in its own "
            f"text_config {own[key]!r}"
        )


def is_relevant(key: str) -> bool:
    """Return whether a setting of a decoder may change its activations."""
    return (
        key not in IRRELEVANT_SETTINGS
        and not key.startswith("_")
        and not key.endswith(("_token_id", "dropout", "pdrop"))
    )


def find_parts(name: str, skeleton: Any) -> Parts:
    """Return the parts of a bare class; raise UsageError unless it has two towers with lists of blocks."""
    config = skeleton.config
    towers = {part: child for part, child in skeleton.named_children() if hasattr(child, "config")}
    vision = [part for part, child in towers.items() if type(child.config) is type(config.vision_config)]
    language = [part for part, child in towers.items() if type(child.config) is type(config.text_config)]
    n_blocks = getattr(config.vision_config, "num_hidden_layers", None)
    if len(vision) != 1 or len(language) != 1 or n_blocks is None:
        raise UsageError(
            f"model '{name}' ({config.model_type}) is not a vision tower, a projector and a language tower"
        )
    seeing, reading = (skeleton.get_submodule(part) for part in (*vision, *language))
    vision_layout = find_layout(seeing, n_blocks)
    language_layout = find_layout(reading, config.text_config.num_hidden_layers)
    if vision_layout is None or language_layout is None:
        raise UsageError(
            f"model '{name}' ({config.model_type}) has a tower without a list of blocks or without embeddings"
        )
    children = {part for part, child in skeleton.named_children() if any(True for _ in child.parameters())}
    own = {part for part, child in seeing.named_children() if any(True for _ in child.parameters())}
    return Parts(
        vision=vision[0],
        language=language[0],
        between=tuple(sorted(children - {*vision, *language})),
        vision_layout=vision_layout,
        language_layout=replace(
            language_layout,
            remedy=f"{language_layout.remedy}, {LANGUAGE_REMEDY}",
        ),
        norms=frozenset(own - vision_layout.parts),
    )
