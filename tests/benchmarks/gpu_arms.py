"""Arms of the GPU benchmark: the harness, the limit of the hardware, and the loops that people write.

All arms of one step share texts, tokens, weights and dictionaries. Weights and dictionaries are random and made on
the device, at the shapes of real models.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness_transformers.forward
import numpy as np
import torch
import transformers
from harness_transformers.forward import Padded, pad, select_rows
from harness_transformers.structure import find_place
from torch import Tensor

import harness
from harness import Dictionary, Pooling, Site, Tokens
from harness.benchmark.loops import make_jumprelu, pool_padded
from harness.benchmark.rounds import synchronize
from harness.benchmark.setting import (
    POOLINGS,
    SAMPLE_TOKENS,
    count_active,
    draw_dictionary,
    draw_texts,
)
from harness.features.featurize import Pooled, Reading, featurize, plan_batches, stack
from harness.runs.forward import Shards
from harness.storage.feature_store import FeatureStore

CHUNK = 8192
"""Columns of an encoder that the limit multiplies at once: wide enough for full speed, into a buffer of 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a decoder with Gemma 2's architecture, and of the dictionaries read with it."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int = 256_000
    query_scale: int = 256
    widths: tuple[int, ...] = (16_384, 65_536)

    @property
    def site(self) -> Site:
        """The site `resid_post.50%`: the block after which half of all blocks have run."""
        return Site(kind="resid_post", layer=math.ceil(self.layers / 2) - 1)

    @property
    def flops_per_token(self) -> dict[str, float]:
        """Multiply-adds × 2 of one token in the blocks up to the site and in the encoders; attention scores left
        out, which are below 2 % of the blocks for texts this short.
        """
        heads = self.heads + self.kv_heads
        block = 2 * self.hidden * self.head_dim * heads + 3 * self.hidden * self.intermediate
        return {
            "forward": 2.0 * block * (self.site.layer + 1),
            "encode": 2.0 * self.hidden * sum(self.widths),
        }

    def config(self, n_blocks: int) -> Any:
        """Configuration of the same decoder with `n_blocks` blocks."""
        return transformers.Gemma2Config(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=n_blocks,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim,
            query_pre_attn_scalar=self.query_scale,
            sliding_window=4096,
        )


SHAPES = {
    "2b": Shape(
        name="gemma-2-2b", hidden=2304, layers=26, heads=8, kv_heads=4, head_dim=256, intermediate=9216
    ),
    "9b": Shape(
        name="gemma-2-9b", hidden=3584, layers=42, heads=16, kv_heads=8, head_dim=256, intermediate=14_336
    ),
    "27b": Shape(
        name="gemma-2-27b",
        hidden=4608,
        layers=46,
        heads=32,
        kv_heads=16,
        head_dim=128,
        intermediate=36_864,
        query_scale=144,
    ),
    "toy": Shape(
        name="toy",
        hidden=64,
        layers=4,
        heads=2,
        kv_heads=1,
        head_dim=32,
        intermediate=256,
        vocabulary=8192,
        query_scale=32,
        widths=(512, 1024),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything that the arms of one step share; `batches` are those of the harness, longest texts first."""

    shape: Shape
    device: str
    dtype: torch.dtype
    tokenizer: Any
    texts: Sequence[str]
    tokens: Sequence[Tokens]
    batches: Sequence[Sequence[int]]
    model: Any
    loaded: Any
    dictionaries: Mapping[int, Dictionary]
    poolings: Mapping[str, Pooling]
    active: Mapping[int, float]

    @property
    def n_tokens(self) -> int:
        """Content tokens of all texts."""
        return sum(int(one.content.sum()) for one in self.tokens)

    def about(self) -> dict[str, Any]:
        """The setting as it is written into a result."""
        lengths = [len(one.ids) for one in self.tokens]
        padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in self.batches)
        return {
            "shape": self.shape.name,
            "site": str(self.shape.site),
            "blocks": self.shape.site.layer + 1,
            "dtype": str(self.dtype).removeprefix("torch."),
            "encoder_dtype": "float32",
            "attention": self.model.config._attn_implementation,
            "widths": list(self.shape.widths),
            "active_features_per_token": {str(width): number for width, number in self.active.items()},
            "poolings": list(POOLINGS),
            "texts": len(self.texts),
            "tokens": self.n_tokens,
            "token_lengths": {
                "min": min(lengths),
                "median": float(np.median(lengths)),
                "max": max(lengths),
            },
            "batches": len(self.batches),
            "padding_share": 1 - sum(lengths) / padded,
            "flops_per_token": self.shape.flops_per_token,
        }


def make_setting(shape: Shape, *, n_texts: int, device: str, dtype: torch.dtype) -> Setting:
    """Texts, a model up to the site, and dictionaries, all on `device`."""
    registry = harness.open(device=device).registry
    tokenizer = registry.choose("models", "minigemma-s").make()
    texts = draw_texts(n_texts)
    tokens = tokenizer.tokenize(texts)
    model = make_model(shape, shape.site.layer + 1, device=device, dtype=dtype)
    place = find_place(model.layers[shape.site.layer], shape.site.kind, shape.hidden)
    assert place is not None
    loaded = harness_transformers.forward.LoadedTransformer(model, {shape.site: place})
    sample = sample_activations(loaded, tokens, shape.site)
    dictionaries = {width: draw_dictionary(width, sample) for width in shape.widths}
    return Setting(
        shape=shape,
        device=device,
        dtype=dtype,
        tokenizer=tokenizer,
        texts=texts,
        tokens=tokens,
        batches=plan_batches([len(one.ids) for one in tokens], batch_size=None, device=device),
        model=model,
        loaded=loaded,
        dictionaries=dictionaries,
        poolings={name: registry.choose("poolings", name).make() for name in POOLINGS},
        active={width: count_active(one, sample) for width, one in dictionaries.items()},
    )


def make_model(shape: Shape, n_blocks: int, *, device: str, dtype: torch.dtype) -> Any:
    """A decoder with random weights, made where it is used."""
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModel.from_config(
            shape.config(n_blocks), dtype=dtype, attn_implementation="eager"
        )
    return model.eval()


def deepen(model: Any, shape: Shape, *, device: str, dtype: torch.dtype) -> Any:
    """The same decoder with all its blocks; those that `model` has are shared with it."""
    whole = make_model(shape, shape.layers, device=device, dtype=dtype)
    whole.embed_tokens = model.embed_tokens
    for number, block in enumerate(model.layers):
        whole.layers[number] = block
    return whole


@torch.inference_mode()
def sample_activations(loaded: Any, tokens: Sequence[Tokens], site: Site) -> Tensor:
    """Activations `[≤ SAMPLE_TOKENS, d]` of the first texts, in float32."""
    chosen, total = [], 0
    for one in tokens:
        if total >= SAMPLE_TOKENS:
            break
        chosen.append(one)
        total += int(one.content.sum())
    activations: Tensor = loaded.forward(chosen)[site].float()
    return activations[:SAMPLE_TOKENS].clone()


# ── the harness ──────────────────────────────────────────────────────────────────────────────────────────


def make_readings(setting: Setting, widths: Iterable[int], poolings: Mapping[str, Pooling]) -> list[Reading]:
    """One reading for each dictionary; feature keys are `WIDTH-POOLING`."""
    return [
        Reading(
            site=setting.shape.site,
            encoder=setting.dictionaries[width],
            sparse=True,
            poolings={f"{width}-{name}": pooling for name, pooling in poolings.items()},
        )
        for width in widths
    ]


def run_harness(setting: Setting, batches: Sequence[Sequence[int]]) -> dict[str, float]:
    """Tokenise all texts, featurize `batches`, and write the rows into a store: seconds in all and of each stage."""
    readings = make_readings(setting, setting.dictionaries, setting.poolings)
    root = Path(tempfile.mkdtemp(prefix="gpu-benchmark-"))
    writing = 0.0
    synchronize(setting.device)
    started = time.perf_counter()
    try:
        tokens = setting.tokenizer.tokenize(setting.texts)
        tokenised = time.perf_counter()
        shards = Shards(FeatureStore(root))
        for pooled in featurize(
            model=setting.loaded, tokens=tokens, readings=readings, batches=batches, on_halved=_refuse_halving
        ):
            before = time.perf_counter()
            shards.add(pooled)
            writing += time.perf_counter() - before
        before = time.perf_counter()
        shards.flush()
        ended = time.perf_counter()
        writing += ended - before
        size = sum(path.stat().st_size for path in root.rglob("*.safetensors"))
    finally:
        shutil.rmtree(root)
    rows = ended - tokenised - writing
    return {
        "seconds": ended - started,
        "tokenise_seconds": tokenised - started,
        "rows_seconds": rows,
        "write_seconds": writing,
        "written_bytes": float(size),
    }


def run_rows(setting: Setting, readings: Sequence[Reading]) -> tuple[float, list[Pooled]]:
    """Seconds from tokens to pooled rows on the host, and those rows."""
    synchronize(setting.device)
    started = time.perf_counter()
    pooled = list(
        featurize(
            model=setting.loaded,
            tokens=setting.tokens,
            readings=readings,
            batches=setting.batches,
            on_halved=_refuse_halving,
        )
    )
    synchronize(setting.device)
    return time.perf_counter() - started, pooled


def gather_rows(pooled: Sequence[Pooled], key: str) -> np.ndarray[Any, Any]:
    """Rows of one feature key in the order of the texts, dense."""
    order = np.argsort([row for batch in pooled for row in batch.rows])
    rows: np.ndarray[Any, Any] = stack([batch.features[key] for batch in pooled])[order].toarray()
    return rows


def _refuse_halving(rows: Sequence[int]) -> None:
    raise RuntimeError(f"a batch of {len(rows)} texts did not fit, so no time of this step means anything")


# ── the limit ────────────────────────────────────────────────────────────────────────────────────────────


class Limit:
    """The same batches through the same blocks, and encoder products into one kept buffer.

    No bias, activation, pooling, tokenising, transfer or writing. Inputs are on the device before the clock starts.
    """

    def __init__(self, setting: Setting, dtype: torch.dtype) -> None:
        self.setting = setting
        self.dtype = dtype
        device = torch.device(setting.device)
        self.inputs: list[Padded] = [
            pad([setting.tokens[row] for row in batch]).to(device) for batch in setting.batches
        ]
        self.weights = [one.W_enc.to(dtype) for one in setting.dictionaries.values() if one.W_enc is not None]
        most = max(len(padded.rows) for padded in self.inputs)
        self.buffer = torch.empty(most * min(CHUNK, max(setting.shape.widths)), dtype=dtype, device=device)

    @torch.inference_mode()
    def run(self, batches: int) -> dict[str, float]:
        """Seconds for the first `batches` batches."""
        synchronize(self.setting.device)
        started = time.perf_counter()
        for padded in self.inputs[:batches]:
            hidden = self.setting.model(**padded.inputs).last_hidden_state
            x = select_rows(padded.rows, self.setting.shape.hidden)(hidden).to(self.dtype)
            for weight in self.weights:
                for start in range(0, weight.shape[1], CHUNK):
                    part = weight[:, start : start + CHUNK]
                    out = self.buffer[: len(x) * part.shape[1]].view(len(x), part.shape[1])
                    torch.mm(x, part, out=out)
        synchronize(self.setting.device)
        return {"seconds": time.perf_counter() - started}


# ── loops that people write ──────────────────────────────────────────────────────────────────────────────


@torch.inference_mode()
def run_loop(
    setting: Setting, whole: Any, batch_size: int, *, per_dictionary: bool
) -> tuple[float, dict[str, np.ndarray[Any, Any]]]:
    """Seconds and dense rows by key of a plain loop: rows sorted by length, the whole model with `hidden_states`,
    every feature of every token of a batch at once, poolings under a mask, dense rows to the host.

    With `per_dictionary` the model runs once for each dictionary, as in a script that is called with one SAE after
    another; the model is loaded once all the same. Neither loop has logits.
    """
    synchronize(setting.device)
    started = time.perf_counter()
    tokens = setting.tokenizer.tokenize(setting.texts)
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row].ids))
    widths = list(setting.dictionaries)
    found: dict[str, list[Tensor]] = {f"{width}-{name}": [] for width in widths for name in POOLINGS}
    for group in [[width] for width in widths] if per_dictionary else [widths]:
        for start in range(0, len(order), batch_size):
            batch = [tokens[row] for row in order[start : start + batch_size]]
            ids, mask, content = (one.to(setting.device) for one in _rectangles(batch))
            hidden = whole(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
            ).hidden_states[setting.shape.site.layer + 1]
            for width in group:
                features = make_jumprelu(setting.dictionaries[width])(hidden.float())
                for name, rows in pool_padded(features, content).items():
                    found[f"{width}-{name}"].append(rows.cpu())
                del features
    seconds = time.perf_counter() - started
    back = np.argsort(order)
    return seconds, {key: torch.cat(parts).numpy()[back] for key, parts in found.items()}


def _rectangles(batch: Sequence[Tokens]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and content `[texts, longest]`, padded on the right."""
    shape = len(batch), max(len(one.ids) for one in batch)
    ids, mask, content = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    for row, one in enumerate(batch):
        ids[row, : len(one.ids)], mask[row, : len(one.ids)] = one.ids, 1
        content[row, : len(one.ids)] = one.content
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(content)


def with_texts(setting: Setting, n_texts: int) -> Setting:
    """The same setting with its first texts only."""
    tokens = setting.tokens[:n_texts]
    return replace(
        setting,
        texts=setting.texts[:n_texts],
        tokens=tokens,
        batches=plan_batches([len(one.ids) for one in tokens], batch_size=None, device=setting.device),
    )
