"""Tokens a second from batches to pooled rows: one forward pass, one dictionary, one pooling. `make bench`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import harness_transformers.forward
import numpy as np
import pytest
import torch
import transformers
from harness_transformers.structure import find_place

import harness
from harness import Site, Tokens
from harness.benchmark import rounds
from harness.benchmark.arms import Harness, make_limit
from harness.benchmark.setting import Asked, make_setting
from harness.dictionaries.dictionary import Dictionary
from harness.features.featurize import Reading, featurize, plan_batches


@dataclass(frozen=True)
class Shape:
    """Shape of what is timed; `blocks` are as many as reading the site needs."""

    name: str
    config: dict[str, Any]
    width: int
    lengths: Sequence[int]
    device: str
    dtype: torch.dtype


TOY = Shape(
    name="toy",
    config={
        "vocab_size": 1000,
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 64,
    },
    width=512,
    lengths=np.random.default_rng(0).integers(4, 120, 128).tolist(),
    device="cpu",
    dtype=torch.float32,
)
GEMMA_2_2B = Shape(
    name="gemma-2-2b, 13 of 26 blocks",
    config={
        "vocab_size": 256_000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 13,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    },
    width=16_384,
    lengths=np.random.default_rng(0).integers(16, 256, 2048).tolist(),
    device="cuda",
    dtype=torch.bfloat16,
)


def make_model(shape: Shape, site: Site) -> Any:
    """Random weights, made where they are used; no checkpoint is written."""
    config = transformers.Gemma2Config(**shape.config, dtype=shape.dtype)
    torch.manual_seed(0)
    with torch.device(shape.device):
        model = transformers.AutoModel.from_config(config, dtype=shape.dtype, attn_implementation="eager")
    place = find_place(model.eval().layers[site.layer], site.kind, config.hidden_size)
    assert place is not None
    return harness_transformers.forward.LoadedTransformer(model, {site: place})


def make_dictionary(shape: Shape) -> Dictionary:
    """A JumpReLU dictionary that fires on a few features in a thousand."""
    generator = torch.Generator(shape.device).manual_seed(1)
    d_in = shape.config["hidden_size"]
    W_enc = torch.randn(d_in, shape.width, generator=generator, device=shape.device)
    return Dictionary(
        name="random",
        width=shape.width,
        activation="jumprelu",
        W_enc=W_enc / d_in**0.5,
        b_enc=torch.zeros(shape.width, device=shape.device),
        threshold=torch.full((shape.width,), 3.0, device=shape.device),
    )


def make_tokens(shape: Shape) -> list[Tokens]:
    """BOS and content, as many tokens as `lengths` says."""
    random = np.random.default_rng(0)
    vocabulary = shape.config["vocab_size"]
    return [
        Tokens(ids=random.integers(3, vocabulary, length + 1), content=np.arange(length + 1) > 0)
        for length in shape.lengths
    ]


def measure(shape: Shape, benchmark: Any) -> None:
    site = Site(kind="resid_post", layer=shape.config["num_hidden_layers"] - 1)
    model, tokens = make_model(shape, site), make_tokens(shape)
    pooling = harness.open(device=shape.device).registry.choose("poolings", "mean").make()
    reading = Reading(site=site, encoder=make_dictionary(shape), sparse=True, poolings={"mean": pooling})
    batches = plan_batches([len(one.ids) for one in tokens], batch_size=None, device=shape.device)
    halved: list[Sequence[int]] = []

    def run() -> tuple[int, int]:
        """Tokens, and tokens with padding; rows are on the host when it ends."""
        pooled = list(
            featurize(
                model=model, tokens=tokens, readings=[reading], batches=batches, on_halved=halved.append
            )
        )
        return sum(batch.tokens for batch in pooled), sum(batch.padded_tokens for batch in pooled)

    content, padded = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert content == sum(shape.lengths) and not halved
    benchmark.extra_info.update(
        shape=shape.name,
        device=torch.cuda.get_device_name() if shape.device == "cuda" else "cpu",
        dtype=str(shape.dtype).removeprefix("torch."),
        tokens=content,
        padding_share=1 - content / padded,
        torch=torch.__version__,
        transformers=transformers.__version__,
    )
    if benchmark.stats:  # absent with --benchmark-disable
        benchmark.extra_info["tokens_per_s"] = content / benchmark.stats.stats.min


def test_a_toy_shape_on_the_cpu(benchmark: Any) -> None:
    measure(TOY, benchmark)


def test_featurizing_beside_the_limit(benchmark: Any) -> None:
    """CPU seconds over those of the limit, in rounds in turn; see `harness bench`."""
    asked = Asked(model="minigemma-l", sites=("resid_post.50%",), widths=(), n_texts=40, device="cpu")
    setting = make_setting(asked, harness.open(device="cpu").registry)
    arms = {"limit": make_limit(setting).run, "harness": Harness(setting=setting).rows}
    found = benchmark.pedantic(lambda: rounds.measure(arms, rounds=5, device="cpu"), rounds=1)
    ratio = rounds.compare(found["harness"], found["limit"], "cpu")
    assert sum(len(batch.rows) for batch in arms["harness"]()) == len(setting.tokens)
    assert 0 < ratio.least <= ratio.median <= ratio.greatest
    benchmark.extra_info.update(over_limit=ratio.median, least=ratio.least, greatest=ratio.greatest)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_shape_of_gemma_2_2b_on_a_gpu(benchmark: Any) -> None:
    measure(GEMMA_2_2B, benchmark)
