"""A dictionary, a model and held-out text in; how well the dictionary says what the model's activations say, out.

The text is read in two halves. What must be fitted (principal components, decoders of arms that have none, what a
feature answers to) is fitted on the first; every number is of the second, or of both where it only counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg, sparse
from torch import Tensor

from harness.api.data import Site, Tokens
from harness.api.errors import HarnessError, UnavailableError, UsageError
from harness.api.protocols import Encoder, LanguageModel
from harness.dictionaries.dictionary import slices_of
from harness.dictionaries.fidelity import SLICE
from harness.dictionary_report.contexts import Contexts, Validation, contexts_of, validate
from harness.features.activations import read_all
from harness.features.featurize import plan_batches, run_batches
from harness.models.opened import OpenModel, locate
from harness.registry.catalog import Registry

AGAINST = ("pca[n={l0}]", "top_neurons[k={l0}]", "random_sae[width={width},k={l0}]")
"""What a dictionary is compared with, at its own L0; names that no plugin offers are left out."""

OWN = "dictionary"
"""What the dictionary itself is called among the arms."""

DENSE = 0.1
"""A feature is dense where it fires on more than this share of tokens."""

MOST_FITTED = 8192
"""Features of which a decoder is fitted: the normal equations are this large squared."""

LOSS_TOKENS = 16384
"""Content tokens whose next-token losses are taken, at most: each arm is a pass of the whole model."""

CHUNK = 8192

Rebuild = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is left of the activations when one representation has rebuilt them: explained variance and its median over
    dimensions, the features that fire per token, next-token loss in nats with the rebuilt activations in place, and
    `recovered`, the share of what ablating to the mean costs that they win back. None is not measurable.
    """

    name: str
    explained_variance: float | None = None
    median_explained_variance: float | None = None
    l0: float | None = None
    loss: float | None = None
    recovered: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was measured of a dictionary; `frequencies [width]` are the shares of tokens on which features fire."""

    dictionary: str
    model: str
    site: str
    width: int
    d_in: int
    published_l0: float | None
    tokens: int
    loss_tokens: int
    dead: float
    dense: float
    arms: tuple[Arm, ...]
    validation: Validation
    control: Validation | None
    frequencies: NDArray[np.float64]

    @property
    def own(self) -> Arm:
        """The dictionary itself."""
        return self.arms[0]


@dataclass(frozen=True, kw_only=True)
class _Text:
    """One half of the text: its tokens and their activations `[content tokens, d]`, float32, on the device."""

    tokens: tuple[Tokens, ...]
    activations: Tensor

    @property
    def contexts(self) -> Contexts:
        return contexts_of(self.tokens)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """One way to say the activations: its features of either half `[tokens, width]`, and how they are rebuilt."""

    features: tuple[sparse.csc_array, ...]
    rebuild: Rebuild

    @property
    def width(self) -> int:
        return int(self.features[0].shape[1])

    @property
    def l0(self) -> float:
        """Features that fire on a token of the second half."""
        return float(self.features[1].nnz / self.features[1].shape[0])

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """The share of all tokens on which each feature fires, `[width]`."""
        counts: NDArray[np.float64] = sum(np.diff(half.indptr).astype(np.float64) for half in self.features)
        shares: NDArray[np.float64] = counts / sum(half.shape[0] for half in self.features)
        return shares


_Halves = tuple[_Text, _Text]


def report(
    texts: Iterable[str],
    *,
    registry: Registry,
    model: OpenModel,
    site: Site,
    representation: str,
    tokens: int,
    device: str,
    batch_size: int | None = None,
    against: Sequence[str] = AGAINST,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """The report on at most `tokens` content tokens of `texts`. UnavailableError where the dictionary has no decoder
    or the texts no content; UsageError where it does not belong at `site`.
    """
    choice = registry.choose("representations", representation)
    located = locate(choice, model, site, registry)
    if located.load_whole is None:
        raise UnavailableError(
            f"representation '{choice.label}' has no decoder, so there is nothing to report on"
        )
    tell("reading")
    halves = _read(texts, model, site, tokens=tokens, device=device, batch_size=batch_size)
    tell("measuring")
    dictionary = located.load_whole(device)
    own = _Candidate(
        features=tuple(_features(dictionary, half.activations) for half in halves),
        rebuild=lambda x: dictionary.rebuild(x, SLICE)[0],
    )
    others, refused = _candidates(
        [reference.format(l0=max(1, round(own.l0)), width=dictionary.width) for reference in against],
        lambda reference: _encoder(reference, registry, model, site, halves[0].activations, device),
        halves,
    )
    candidates = {OWN: own, **others}
    tell("splicing")
    rebuilds = {name: one.rebuild for name, one in candidates.items()}
    losses, loss_tokens = _losses(model, site, rebuilds, halves, device=device, batch_size=batch_size)
    tell("validating")
    frequencies = own.frequencies
    random = next((one for one in others.values() if one.width == dictionary.width), None)
    return Report(
        dictionary=located.reference or choice.label,
        model=model.label,
        site=str(site),
        width=dictionary.width,
        d_in=located.d_in,
        published_l0=located.published_l0,
        tokens=sum(len(half.activations) for half in halves),
        loss_tokens=loss_tokens,
        dead=float((frequencies == 0).mean()),
        dense=float((frequencies > DENSE).mean()),
        arms=(
            *(_arm(name, one, halves[1], losses) for name, one in candidates.items()),
            *(Arm(name=name, note=note) for name, note in refused.items()),
            _bound("identity", 1.0, losses),
            _bound("mean", 0.0, losses),
        ),
        validation=_validate(own, halves),
        control=_validate(random, halves) if random else None,
        frequencies=frequencies,
    )


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────


def _read(
    texts: Iterable[str],
    model: OpenModel,
    site: Site,
    *,
    tokens: int,
    device: str,
    batch_size: int | None,
) -> _Halves:
    """Every other text to each half, until both together hold `tokens` content tokens."""
    taken = list(_take(texts, model, tokens))
    if len(taken) < 2:
        raise UnavailableError(
            "the texts hold less than two with content tokens, so there is nothing to measure on"
        )
    loaded = model.model.load([site], device)
    halves = []
    for part in (tuple(taken[0::2]), tuple(taken[1::2])):
        activations = read_all(loaded, part, [site], batch_size=batch_size, device=device)[site]
        halves.append(_Text(tokens=part, activations=activations))
    return halves[0], halves[1]


def _take(texts: Iterable[str], model: OpenModel, tokens: int) -> Iterator[Tokens]:
    total = 0
    for batch in _batched(texts, 64):
        for one in model.model.tokenize(batch):
            if total >= tokens:
                return
            if one.content.any():
                total += int(one.content.sum())
                yield one


def _batched(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


# ── arms ─────────────────────────────────────────────────────────────────────────────────────────────────


def _candidates(
    references: Iterable[str], encoder_of: Callable[[str], Encoder], halves: _Halves
) -> tuple[dict[str, _Candidate], dict[str, str]]:
    """Each reference's features with the best decoder of the first half; and why where there are none."""
    found: dict[str, _Candidate] = {}
    refused: dict[str, str] = {}
    for reference in references:
        try:
            encoder = encoder_of(reference)
            features = tuple(_features(encoder, half.activations) for half in halves)
            rebuild = _fit_decoder(encoder, features[0], halves[0].activations)
            found[reference] = _Candidate(features=features, rebuild=rebuild)
        except HarnessError as error:
            refused[reference] = str(error)
    return found, refused


def _encoder(
    reference: str, registry: Registry, model: OpenModel, site: Site, x: Tensor, device: str
) -> Encoder:
    """Return the encoder of a reference at the site, fitted on `x [tokens, d]` if it is not loaded."""
    placed = locate(registry.choose("representations", reference), model, site, registry)
    return placed.load_or_fit(device, lambda: x)


@torch.inference_mode()
def _features(encoder: Encoder, x: Tensor) -> sparse.csc_array:
    """Features `[tokens, width]` of `x [tokens, d]`, sparse, on the host."""
    rows = []
    for start in range(0, len(x), CHUNK):
        slices = [
            sparse.csr_array(values.cpu().numpy())
            for _, values in slices_of(encoder, x[start : start + CHUNK], SLICE)
        ]
        rows.append(sparse.hstack(slices))
    return sparse.csc_array(sparse.vstack(rows))


def _validate(candidate: _Candidate, halves: _Halves) -> Validation:
    first, second = candidate.features
    return validate(first, second, halves[0].contexts, halves[1].contexts)


def _fit_decoder(encoder: Encoder, features: sparse.csc_array, x: Tensor) -> Rebuild:
    """The affine map from features `[tokens, width]` back to `x [tokens, d]` with the least squared error, a ridge of a
    millionth of the mean variance keeping it finite: the best that any decoder could do with these features.
    """
    if features.shape[1] > MOST_FITTED:
        raise UsageError(f"a decoder of more than {MOST_FITTED:,} features is not fitted")
    n = features.shape[0]
    target = x.double().cpu().numpy()
    centre, mean = np.asarray(features.mean(axis=0)).ravel(), target.mean(axis=0)
    gram = (features.T @ features).toarray().astype(np.float64) - n * np.outer(centre, centre)
    gram[np.diag_indices_from(gram)] += max(1e-6 * np.trace(gram) / len(gram), 1e-12)
    product = features.T @ target - n * np.outer(centre, mean)
    W_dec = linalg.solve(gram, product, assume_a="pos", overwrite_a=True, overwrite_b=True)
    decoder = torch.from_numpy(W_dec).float().to(x.device)
    bias = torch.from_numpy(mean - centre @ W_dec).float().to(x.device)

    def rebuild(x: Tensor) -> Tensor:
        parts = (
            values @ decoder[start : start + values.shape[1]]
            for start, values in slices_of(encoder, x, SLICE)
        )
        return bias + sum(parts)

    return rebuild


def _arm(name: str, candidate: _Candidate, text: _Text, losses: Mapping[str, float]) -> Arm:
    x = text.activations
    with torch.inference_mode():
        lost = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
        for part in torch.split(x, CHUNK):
            lost += (part - candidate.rebuild(part)).double().square().sum(0)
        total = (x - x.mean(0)).double().square().sum(0)
    moving = total > 0
    return Arm(
        name=name,
        explained_variance=float(1 - lost.sum() / total.sum()),
        median_explained_variance=float((1 - lost[moving] / total[moving]).median()),
        l0=candidate.l0,
        loss=losses.get(name),
        recovered=_recovered(losses, name),
    )


def _bound(name: str, variance: float, losses: Mapping[str, float]) -> Arm:
    """What nothing can be better, or should be worse, than."""
    return Arm(
        name=name,
        explained_variance=variance,
        median_explained_variance=variance,
        loss=losses.get(name),
        recovered=_recovered(losses, name),
    )


def _recovered(losses: Mapping[str, float], name: str) -> float | None:
    if name not in losses:
        return None
    span = losses["mean"] - losses["identity"]
    return (losses["mean"] - losses[name]) / span if span else None


# ── losses ───────────────────────────────────────────────────────────────────────────────────────────────


def _losses(
    model: OpenModel,
    site: Site,
    rebuilds: Mapping[str, Rebuild],
    halves: _Halves,
    *,
    device: str,
    batch_size: int | None,
) -> tuple[dict[str, float], int]:
    """Mean next-token loss with each arm's rebuilt activations in place, with the model's own (`identity`) and with
    their mean over the first half (`mean`); and on how many tokens. Nothing for a model that has no losses.
    """
    if not isinstance(model.model, LanguageModel):
        return {}, 0
    whole = model.model.load_whole(site, device)
    mean = halves[0].activations.mean(0)
    splices: dict[str, Rebuild | None] = {
        "identity": None,
        **rebuilds,
        "mean": lambda x: mean.expand_as(x),
    }
    tokens = list(_up_to(halves[1].tokens, LOSS_TOKENS))
    batches = plan_batches([len(one.ids) for one in tokens], batch_size=batch_size, device=device)

    def work(rows: Sequence[int]) -> dict[str, Tensor]:
        batch = [tokens[row] for row in rows]
        return {name: whole.losses(batch, splice) for name, splice in splices.items()}

    done = list(run_batches(batches, work))
    found: dict[str, Tensor] = {name: torch.cat([part[name] for part in done]) for name in splices}
    return {name: float(losses.double().mean()) for name, losses in found.items()}, len(found["mean"])


def _up_to(tokens: Iterable[Tokens], limit: int) -> Iterator[Tokens]:
    total = 0
    for one in tokens:
        if total >= limit:
            return
        total += int(one.content.sum())
        yield one


def facts(report: Report) -> dict[str, Any]:
    """The report as JSON, without the frequencies of single features."""
    from dataclasses import asdict

    told = asdict(report)
    told.pop("frequencies")
    told["l0_share"] = (report.own.l0 or 0.0) / report.width
    return told
