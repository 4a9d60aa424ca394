"""Setting of a benchmark, which all arms share: texts in batches, a decoder, dictionaries with drawn weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.api.data import Site, Tokens
from harness.api.errors import UsageError
from harness.api.protocols import Model, Pooling
from harness.dictionaries.dictionary import Dictionary
from harness.features.featurize import plan_batches
from harness.models.opened import count_layers, parse_sites
from harness.registry.catalog import Registry

POOLINGS = ("mean", "max", "sum", "last")
ACTIVE = 80
"""Features that fire on a token, on average: about what Gemma Scope's dictionaries have."""
SAMPLE_TOKENS = 4096
"""Tokens on which thresholds are set."""
COLUMNS = 4096
"""Columns of an encoder that thresholds are set for at once."""
WORDS = (
    "the of and a to in is you that it he was for on are as with his they at be this have from or one had by word but "
    "not what all were we when your can said there use an each which she do how their if will up other about out many "
    "then them these so some her would make like him into time has look two more write go see number no way could "
    "people my than first water been call who oil its now find long down day did get come made may part over new sound "
    "take only little work know place year live me back give most very after thing our just name good sentence man "
    "think say great where help through much before line right too mean old any same tell boy follow came want show "
    "international understanding representation classification interpretability"
)
"""Common words that texts are drawn from."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Order of a benchmark: a model, sites such as `resid_post.50%`, widths of dictionaries (none: 8 and 32 times the
    model's), a number of texts, and a device.
    """

    model: str
    sites: Sequence[str]
    widths: Sequence[int]
    n_texts: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Setting shared by all arms. `decoder` ends at the deepest of `sites`; `dictionaries` are by layer and width."""

    name: str
    device: str
    model: Model
    loaded: Any
    sites: tuple[Site, ...]
    texts: Sequence[str]
    tokens: Sequence[Tokens]
    batches: Sequence[Sequence[int]]
    dictionaries: Mapping[tuple[int, int], Dictionary]
    poolings: Mapping[str, Pooling]
    active: float

    @property
    def decoder(self) -> nn.Module:
        """The bare decoder, as PyTorch knows it."""
        return find_module(self.name, self.loaded)

    def deepen(self) -> nn.Module:
        """Load the decoder with all its blocks."""
        last = Site(kind="resid_post", layer=self.model.n_layers - 1)
        return find_module(self.name, self.model.load([last], self.device))

    @property
    def n_tokens(self) -> int:
        """Number of content tokens of all texts."""
        return sum(int(one.content.sum()) for one in self.tokens)

    @property
    def padding_share(self) -> float:
        """Share of the positions of all batches that are padding."""
        lengths = [len(one.ids) for one in self.tokens]
        padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in self.batches)
        return 1 - sum(lengths) / padded


def make_setting(asked: Asked, registry: Registry) -> Setting:
    """Open and load the model, and draw texts and dictionaries.

    Raise UsageError for a site that is no residual stream, and for a model whose decoder cannot be run by itself.
    """
    model: Model = registry.choose("models", asked.model).make()
    sites = [one for text in asked.sites for one in parse_sites(text, partial(count_layers, model))]
    for site in sites:
        if site.kind != "resid_post" or site.tower:
            raise UsageError(
                f"site '{site}' is no residual stream: a benchmark reads resid_post, as in --site resid_post.50%"
            )
    loaded = model.load(sites, asked.device)
    find_module(asked.model, loaded)
    texts = draw_texts(asked.n_texts)
    tokens = model.tokenize(texts)
    d_in = model.width(sites[0])
    widths = asked.widths or (8 * d_in, 32 * d_in)
    samples = _sample_activations(loaded, tokens)
    dictionaries = {
        (site.layer, width): draw_dictionary(width, samples[site]) for site in sites for width in widths
    }
    return Setting(
        name=asked.model,
        device=asked.device,
        model=model,
        loaded=loaded,
        sites=tuple(sites),
        texts=texts,
        tokens=tokens,
        batches=plan_batches([len(one.ids) for one in tokens], batch_size=None, device=asked.device),
        dictionaries=dictionaries,
        poolings={name: registry.choose("poolings", name).make() for name in POOLINGS},
        active=count_active(dictionaries[sites[0].layer, widths[0]], samples[sites[0]]),
    )


def find_module(name: str, loaded: Any) -> nn.Module:
    """Return the bare module of a loaded model. Raise UsageError for one that has none, or none with blocks."""
    module = getattr(loaded, "model", None)
    if not isinstance(module, nn.Module) or _blocks(module) is None:
        raise UsageError(f"model '{name}' has no decoder that can be run by itself: benchmark a text model")
    return module


def find_blocks(decoder: nn.Module, sites: Sequence[Site]) -> dict[int, nn.Module]:
    """Return the block whose output is each site, by layer."""
    blocks = _blocks(decoder)
    assert blocks is not None
    return {site.layer: blocks[site.layer] for site in sites}


def _blocks(module: nn.Module) -> nn.ModuleList | None:
    return next((part for part in module.modules() if isinstance(part, nn.ModuleList)), None)


def draw_texts(n: int) -> list[str]:
    """Return texts of 4 to 300 common words, half of them below 70, as reviews, posts and questions are."""
    random, words = np.random.default_rng(0), WORDS.split()
    counts = np.exp(random.normal(math.log(70), 0.8, n)).clip(4, 300).astype(int)
    return [" ".join(random.choice(words, count)) for count in counts]


@torch.inference_mode()
def _sample_activations(loaded: Any, tokens: Sequence[Tokens]) -> dict[Site, Tensor]:
    """Return activations `[≤ SAMPLE_TOKENS, d]` of the first texts at each site, in float32."""
    chosen, total = [], 0
    for one in tokens:
        if total >= SAMPLE_TOKENS:
            break
        chosen.append(one)
        total += int(one.content.sum())
    return {site: x[:SAMPLE_TOKENS].float().clone() for site, x in loaded.forward(chosen).items()}


@torch.inference_mode()
def draw_dictionary(width: int, sample: Tensor) -> Dictionary:
    """Return a JumpReLU dictionary whose every feature fires on ACTIVE / width of the sample's tokens."""
    d_in = sample.shape[1]
    generator = torch.Generator(sample.device).manual_seed(width)
    W_enc = torch.randn(d_in, width, generator=generator, device=sample.device) / d_in**0.5
    k = min(len(sample) - 1, max(1, round(len(sample) * ACTIVE / width)))
    b_enc, threshold = torch.empty(width, device=sample.device), torch.empty(width, device=sample.device)
    for start in range(0, width, COLUMNS):
        part = slice(start, min(start + COLUMNS, width))
        products = sample @ W_enc[:, part]
        # Centred, so that no feature is on everywhere or nowhere: residual streams share one large direction.
        b_enc[part] = -products.mean(0)
        # Between two tokens: at one, rounding would decide whether it fires.
        threshold[part] = (products + b_enc[part]).topk(k + 1, dim=0).values[-2:].mean(0)
    return Dictionary(
        name=f"drawn-{width}",
        width=width,
        activation="jumprelu",
        W_enc=W_enc,
        b_enc=b_enc,
        threshold=threshold,
    )


@torch.inference_mode()
def count_active(dictionary: Dictionary, sample: Tensor) -> float:
    """Return the number of features that fire on a token of `sample [tokens, d]`, on average."""
    found = sum(int(torch.count_nonzero(values)) for _, values in dictionary.slices(sample, COLUMNS))
    return found / len(sample)
