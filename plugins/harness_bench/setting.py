"""Setting of a benchmark, which all arms share: token ids in batches, a decoder, dictionaries with drawn weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from harness_transformers import forward
from harness_transformers.structure import find_place
from torch import Tensor, nn

import harness
from harness import Dictionary, Pooling, Site, Tokens, UsageError
from harness.features.featurize import plan_batches
from harness_bench.shapes import Shape

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
class Setting:
    """What the arms share. `decoder` ends at the deepest of `sites`; `deepen()` returns it with all its blocks.

    `tokenize` maps `texts` to `tokens`, and is None where ids are drawn. `dictionaries` are by layer and width.
    """

    name: str
    device: str
    dtype: str
    decoder: nn.Module
    deepen: Callable[[], nn.Module]
    sites: tuple[Site, ...]
    tokens: Sequence[Tokens]
    batches: Sequence[Sequence[int]]
    dictionaries: Mapping[tuple[int, int], Dictionary]
    poolings: Mapping[str, Pooling]
    active: float
    texts: Sequence[str] = ()
    tokenize: Callable[[Sequence[str]], Sequence[Tokens]] | None = None

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


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What is read of a model: depths such as `50%`, widths of dictionaries (none: the model's own), and texts."""

    depths: Sequence[str]
    widths: Sequence[int]
    n_texts: int
    device: str


def open_model(reference: str, read: Reads) -> Setting:
    """Return the setting of a model that the harness opens, by its reference.

    Raise UsageError for one that is not a decoder of the transformers plugin.
    """
    from harness_transformers.model import TransformersModel

    device = read.device
    model = harness.open(device=device).registry.choose("models", reference).make()
    if not isinstance(model, TransformersModel):
        raise UsageError(f"model '{reference}' is no decoder of the transformers library: benchmark another")
    sites = _find_sites(read.depths, model.n_layers)
    loaded = model.load(sites, device)
    texts = draw_texts(read.n_texts)
    last = Site(kind="resid_post", layer=model.n_layers - 1)
    return _make(
        name=reference,
        device=device,
        loaded=loaded,
        deepen=lambda: model.load([last], device).model,
        sites=sites,
        tokens=model.tokenize(texts),
        widths=read.widths or (8 * model.width(sites[0]), 32 * model.width(sites[0])),
        texts=texts,
        tokenize=model.tokenize,
    )


def draw_model(name: str, shape: Shape, read: Reads, *, dtype: str) -> Setting:
    """Return the setting of a decoder with drawn weights at a real shape, made where it is used."""
    device = read.device
    n_layers = int(shape.sizes["num_hidden_layers"])
    sites = _find_sites(read.depths, n_layers)
    decoder = _draw_decoder(shape, max(site.layer for site in sites) + 1, device=device, dtype=dtype)

    def deepen() -> Any:
        whole = _draw_decoder(shape, n_layers, device=device, dtype=dtype)
        whole.embed_tokens = decoder.embed_tokens
        for number, block in enumerate(decoder.layers):
            whole.layers[number] = block
        return whole

    places = {
        site: find_place(decoder.layers[site.layer], site.kind, shape.sizes["hidden_size"]) for site in sites
    }
    return _make(
        name=name,
        device=device,
        loaded=forward.LoadedTransformer(decoder, {site: place for site, place in places.items() if place}),
        deepen=deepen,
        sites=sites,
        tokens=draw_tokens(read.n_texts, shape.vocabulary),
        widths=read.widths or shape.widths,
    )


def draw_lengths(n: int) -> list[int]:
    """Return numbers of words, 4 to 300, half of them below 70, as reviews, posts and questions have."""
    random = np.random.default_rng(0)
    return [int(count) for count in np.exp(random.normal(math.log(70), 0.8, n)).clip(4, 300)]


def draw_texts(n: int) -> list[str]:
    """Return texts of common words."""
    random, words = np.random.default_rng(1), WORDS.split()
    return [" ".join(random.choice(words, count)) for count in draw_lengths(n)]


def draw_tokens(n: int, vocabulary: int) -> list[Tokens]:
    """Return ids of a beginning of sequence and of content, as long as texts are."""
    random = np.random.default_rng(1)
    return [
        Tokens(ids=random.integers(3, vocabulary, count + 1), content=np.arange(count + 1) > 0)
        for count in draw_lengths(n)
    ]


def find_blocks(decoder: nn.Module, sites: Sequence[Site]) -> dict[int, nn.Module]:
    """Return the block whose output is each site, by layer."""
    lists = [module for module in decoder.modules() if isinstance(module, nn.ModuleList)]
    return {site.layer: lists[0][site.layer] for site in sites}


def _find_sites(depths: Sequence[str], n_layers: int) -> tuple[Site, ...]:
    """Return the residual stream at depths such as `50%`, shallow to deep. Raise UsageError for another form."""
    layers = set()
    for depth in depths:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", depth)
        if found is None or not 0 < float(found[1]) <= 100:
            raise UsageError(f"depth '{depth}' is not a share of the blocks such as 50%")
        layers.add(max(0, math.ceil(float(found[1]) / 100 * n_layers - 1e-9) - 1))
    return tuple(Site(kind="resid_post", layer=layer) for layer in sorted(layers))


def _draw_decoder(shape: Shape, n_blocks: int, *, device: str, dtype: str) -> Any:
    import transformers  # takes a second, and a model opened by its reference imports what it needs itself

    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(
            shape.config(n_blocks), dtype=getattr(torch, dtype), attn_implementation="eager"
        )
    return model.eval()


def _make(
    *,
    name: str,
    device: str,
    loaded: forward.LoadedTransformer,
    deepen: Callable[[], nn.Module],
    sites: tuple[Site, ...],
    tokens: Sequence[Tokens],
    widths: Sequence[int],
    texts: Sequence[str] = (),
    tokenize: Callable[[Sequence[str]], Sequence[Tokens]] | None = None,
) -> Setting:
    samples = _sample_activations(loaded, tokens)
    dictionaries = {
        (site.layer, width): draw_dictionary(width, samples[site]) for site in sites for width in widths
    }
    registry = harness.open(device=device).registry
    return Setting(
        name=name,
        device=device,
        dtype=str(next(loaded.model.parameters()).dtype).removeprefix("torch."),
        decoder=loaded.model,
        deepen=deepen,
        sites=sites,
        tokens=tokens,
        batches=plan_batches([len(one.ids) for one in tokens], batch_size=None, device=device),
        dictionaries=dictionaries,
        poolings={name: registry.choose("poolings", name).make() for name in POOLINGS},
        active=_count_active(dictionaries[sites[0].layer, widths[0]], samples[sites[0]]),
        texts=texts,
        tokenize=tokenize,
    )


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
def _count_active(dictionary: Dictionary, sample: Tensor) -> float:
    found = sum(int(torch.count_nonzero(values)) for _, values in dictionary.slices(sample, COLUMNS))
    return found / len(sample)
