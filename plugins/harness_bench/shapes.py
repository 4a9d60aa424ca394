"""Shapes of published decoders, from which weights are drawn: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a decoder by the names of its configuration class in transformers, and widths of its dictionaries."""

    kind: str
    sizes: Mapping[str, Any]
    widths: tuple[int, ...] = (16_384, 65_536)
    vocabulary: int = 256_000
    rest: Mapping[str, Any] = field(default_factory=dict)

    def config(self, n_blocks: int) -> Any:
        """Return the configuration of the decoder with its first `n_blocks` blocks."""
        import transformers

        kind = getattr(transformers, f"{self.kind}Config")
        return kind(
            **{**self.sizes, **self.rest, "vocab_size": self.vocabulary, "num_hidden_layers": n_blocks}
        )


def _sizes(hidden: int, layers: int, heads: int, kv_heads: int, head_dim: int, inner: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": inner,
    }


_GEMMA_2 = {"sliding_window": 4096}

SHAPES: Mapping[str, Shape] = {
    "gemma-2-2b": Shape(
        kind="Gemma2",
        sizes=_sizes(2304, 26, 8, 4, 256, 9216),
        rest={**_GEMMA_2, "query_pre_attn_scalar": 256},
    ),
    "gemma-2-9b": Shape(
        kind="Gemma2",
        sizes=_sizes(3584, 42, 16, 8, 256, 14_336),
        rest={**_GEMMA_2, "query_pre_attn_scalar": 256},
    ),
    "gemma-2-27b": Shape(
        kind="Gemma2",
        sizes=_sizes(4608, 46, 32, 16, 128, 36_864),
        rest={**_GEMMA_2, "query_pre_attn_scalar": 144},
    ),
    "gemma-3-270m": Shape(
        kind="Gemma3Text",
        sizes=_sizes(640, 18, 4, 1, 256, 2048),
        vocabulary=262_144,
        rest={"sliding_window": 512, "query_pre_attn_scalar": 256},
    ),
    "toy": Shape(
        kind="Gemma2",
        sizes=_sizes(64, 4, 2, 1, 32, 256),
        widths=(512, 1024),
        vocabulary=8192,
        rest={**_GEMMA_2, "query_pre_attn_scalar": 32},
    ),
}
"""Sizes as their config.json files have them; `toy` measures nothing and tries the command out in seconds."""
