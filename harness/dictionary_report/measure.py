"""Measurements of a dictionary on held-out text: fit, sparsity, next-token loss with it spliced in.

The text is read in two halves. Whatever is fitted (principal components, decoders of arms without one, readings of
features, the limit on norms) is fitted on the first; every number is of the second, or of both if it only counts.

Tokens above a limit on norms can be left out: a few attention sinks would else rule every number. Nothing is fitted on
them or counted of them, and in losses they keep their own activations in all arms, since ablating one changes the
attention of all later tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg, sparse
from torch import Tensor

from harness.api.data import Site, Tokens
from harness.api.errors import HarnessError, UnavailableError, UsageError
from harness.api.protocols import Autoencoder, Encoder, LanguageModel, PlacedRepresentation
from harness.dictionaries.dictionary import slices_of
from harness.dictionaries.fidelity import SLICE, explained_variance, is_large
from harness.dictionaries.fidelity import measure as measure_fidelity
from harness.dictionaries.gate import Fidelity, judge
from harness.dictionary_report.contexts import Contexts, Validation, contexts_of, validate
from harness.dictionary_report.report import DENSE, Arm, Channel, Outliers, Report
from harness.features.activations import read_all, take_content
from harness.features.featurize import plan_batches, run_batches
from harness.features.outliers import NormLimit, check_ratio, limit_norms
from harness.models.opened import OpenModel, describe_flags, locate
from harness.registry.catalog import Registry

AGAINST = (
    "pca[n={l0}]",
    "top_neurons[k={l0}]",
    "neurons[k={l0}]",
    "ica[k={l0}]",
    "nmf[k={l0}]",
    "kmeans[k={l0}]",
    "random_sae[width={width},k={l0}]",
)
"""References of the arms that a dictionary is compared with, at its own L0; unavailable ones are left out."""

OWN = "dictionary"
"""Name of the dictionary's own arm."""

MOST_FITTED = 8192
"""Maximum number of features for a fitted decoder: the normal equations have its square of entries."""

LOSS_TOKENS = 16384
"""Default maximum number of content tokens for next-token losses: each arm needs a pass of the whole model."""

CHUNK = 8192
"""Number of tokens encoded at once."""

TOGETHER = 64
"""Number of texts tokenized at once."""

Rebuild = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class _Text:
    """One half of the text: tokens, their activations `[kept content tokens, d]`, float32, on the device, those of the
    outliers, and which content tokens are kept.
    """

    tokens: tuple[Tokens, ...]
    activations: Tensor
    outliers: Tensor
    kept: NDArray[np.bool_]

    @property
    def variances(self) -> Tensor:
        """Sums of squared distances from the mean, `[d]`, float64."""
        return _spread(self.activations)

    @property
    def contexts(self) -> Contexts:
        """Contexts of the kept tokens."""
        return {kind: column[self.kept] for kind, column in contexts_of(self.tokens).items()}


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """Representation under comparison: its features of either half `[tokens, width]`, and its reconstruction."""

    features: tuple[sparse.csc_array, ...]
    rebuild: Rebuild

    @property
    def width(self) -> int:
        return int(self.features[0].shape[1])

    @property
    def l0(self) -> float:
        """Mean number of features that fire on a token of the second half."""
        return float(self.features[1].nnz / self.features[1].shape[0])

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Share of all tokens on which each feature fires, `[width]`."""
        counts: NDArray[np.float64] = sum(np.diff(half.indptr).astype(np.float64) for half in self.features)
        shares: NDArray[np.float64] = counts / sum(half.shape[0] for half in self.features)
        return shares


_Halves = tuple[_Text, _Text]


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """Model, site and machine of a report."""

    registry: Registry
    model: OpenModel
    site: Site
    device: str
    batch_size: int | None
    loss_tokens: int
    max_norm_ratio: float | None

    @property
    def batching(self) -> dict[str, Any]:
        """Keyword arguments that plan batches."""
        return {"batch_size": self.batch_size, "device": self.device}

    def locate(self, reference: str) -> PlacedRepresentation:
        """Return the representation at the site; UnavailableError or UsageError if there is none."""
        return locate(
            self.registry.choose("representations", reference), self.model, self.site, self.registry
        )


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
    loss_tokens: int = LOSS_TOKENS,
    max_norm_ratio: float | None = None,
    against: Sequence[str] = AGAINST,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Measure a dictionary on at most `tokens` content tokens of `texts`, without those whose norm is above
    `max_norm_ratio` times the median, and next-token losses on at most `loss_tokens` of the second half.

    UnavailableError if the dictionary has no decoder or the texts have no content; UsageError if it does not belong at
    `site`, or for a ratio of 1 or less.
    """
    if max_norm_ratio is not None:
        check_ratio(max_norm_ratio)
    setup = _Setup(
        registry=registry,
        model=model,
        site=site,
        device=device,
        batch_size=batch_size,
        loss_tokens=loss_tokens,
        max_norm_ratio=max_norm_ratio,
    )
    label, located = registry.choose("representations", representation).label, setup.locate(representation)
    if located.load_whole is None:
        raise UnavailableError(f"representation '{label}' has no decoder, so there is nothing to report on")
    for sentence in describe_flags([model]):
        tell(sentence)
    model.model.identity(
        site
    )  # now all weights that are loaded below must be those that there are at this time
    tell("reading")
    halves, limit = _read(setup, texts, tokens)
    tell("measuring")
    dictionary = located.load_whole(device)
    own = _Candidate(
        features=tuple(_features(dictionary, half.activations) for half in halves),
        rebuild=lambda x: dictionary.rebuild(x, SLICE)[0],
    )
    size = {"l0": max(1, round(own.l0)), "width": dictionary.width}
    others, refused = _candidates(setup, [reference.format(**size) for reference in against], halves)
    candidates = {OWN: own, **others}
    tell("splicing")
    rebuilds = {name: one.rebuild for name, one in candidates.items()}
    losses, loss_tokens = _losses(setup, rebuilds, halves, limit)
    tell("validating")
    frequencies = own.frequencies
    random = next((one for one in others.values() if one.width == dictionary.width), None)
    return Report(
        dictionary=located.reference or label,
        model=model.published_label,
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
            # Reference bounds: nothing can be better than the first, or should be worse than the second.
            _bound("identity", losses, 1.0),
            _bound("mean", losses, 0.0),
        ),
        validation=_validate(own, halves),
        control=_validate(random, halves) if random else None,
        fidelity=_judge(dictionary, halves[1].activations[:CHUNK], setup.site, located.published_l0),
        frequencies=frequencies,
        large_channels=_find_large_channels(halves[1]),
        outliers=_describe_outliers(halves, limit, max_norm_ratio),
    )


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────


def _read(setup: _Setup, texts: Iterable[str], tokens: int) -> tuple[_Halves, NormLimit | None]:
    """Return two halves with `tokens` content tokens together, and the limit on norms of those that are kept; texts
    alternate between the halves.
    """
    model = setup.model.model
    source = iter(texts)
    batches = iter(lambda: list(islice(source, TOGETHER)), [])
    found = (one for batch in batches for one in model.tokenize(batch) if one.content.any())
    taken = list(take_content(found, tokens))
    if len(taken) < 2:
        raise UnavailableError(
            "the texts hold less than two with content tokens, so there is nothing to measure on"
        )
    loaded, site = model.load([setup.site], setup.device), setup.site
    parts = (tuple(taken[0::2]), tuple(taken[1::2]))
    read = [read_all(loaded, part, [site], **setup.batching)[site] for part in parts]
    limit = None if setup.max_norm_ratio is None else limit_norms(read[0], setup.max_norm_ratio)
    first, second = (_split(part, x, limit) for part, x in zip(parts, read, strict=True))
    if not len(second.activations):
        raise UnavailableError(
            "every token of the second half is an outlier, so there is nothing to measure on"
        )
    return (first, second), limit


def _split(tokens: tuple[Tokens, ...], x: Tensor, limit: NormLimit | None) -> _Text:
    """Return a half with its activations `[content tokens, d]` in those that are kept, and outliers."""
    kept = torch.ones(len(x), dtype=torch.bool, device=x.device) if limit is None else limit.is_kept(x)
    # Without outliers nothing is copied: a half may have gigabytes.
    inside, outside = (x, x[:0]) if bool(kept.all()) else (x[kept], x[~kept])
    return _Text(tokens=tokens, activations=inside, outliers=outside, kept=kept.cpu().numpy())


def _find_large_channels(text: _Text) -> tuple[Channel, ...]:
    """Return the large channels of a half, largest first."""
    variances = text.variances
    shares = variances / variances.sum().clamp(min=1e-30)
    found = [
        Channel(number=int(number), variance_share=float(shares[number]))
        for number in is_large(variances).nonzero().flatten()
    ]
    return tuple(sorted(found, key=lambda one: -one.variance_share))


def _describe_outliers(halves: _Halves, limit: NormLimit | None, ratio: float | None) -> Outliers | None:
    if limit is None or ratio is None:
        return None
    text = halves[1]
    distances = (text.outliers - text.activations.mean(0)).double().square().sum()
    return Outliers(
        tokens=sum(len(half.outliers) for half in halves),
        limit=limit.limit,
        max_norm_ratio=ratio,
        variance_share=float(distances / (distances + text.variances.sum()).clamp(min=1e-30)),
    )


def _spread(x: Tensor) -> Tensor:
    """Return the sums of squared distances of `x [tokens, d]` from its mean, `[d]`, float64."""
    return (x - x.mean(0)).double().square().sum(0)


def _judge(dictionary: Autoencoder, x: Tensor, site: Site, published_l0: float | None) -> Fidelity:
    content = torch.ones(len(x), dtype=torch.bool, device=x.device)
    return judge(measure_fidelity(dictionary, {site: x}, site, content=content, published_l0=published_l0))


# ── arms ─────────────────────────────────────────────────────────────────────────────────────────────────


def _candidates(
    setup: _Setup, references: Iterable[str], halves: _Halves
) -> tuple[dict[str, _Candidate], dict[str, str]]:
    """Return the arms by reference, with the best decoder for the first half, and why others are unavailable."""
    found: dict[str, _Candidate] = {}
    refused: dict[str, str] = {}
    for reference in references:
        try:
            encoder = setup.locate(reference).load_or_fit(setup.device, lambda: halves[0].activations)
            features = tuple(_features(encoder, half.activations) for half in halves)
            rebuild = _fit_decoder(encoder, features[0], halves[0].activations)
            found[reference] = _Candidate(features=features, rebuild=rebuild)
        except HarnessError as error:
            refused[reference] = str(error)
    return found, refused


@torch.inference_mode()
def _features(encoder: Encoder, x: Tensor) -> sparse.csc_array:
    """Return features `[tokens, width]` of `x [tokens, d]`, sparse, on the host."""
    rows = [
        sparse.hstack(
            [sparse.csr_array(values.cpu().numpy()) for _, values in slices_of(encoder, part, SLICE)]
        )
        for part in torch.split(x, CHUNK)
    ]
    return sparse.csc_array(sparse.vstack(rows))


def _validate(candidate: _Candidate, halves: _Halves) -> Validation:
    first, second = candidate.features
    return validate(first, second, *(half.contexts for half in halves))


def _fit_decoder(encoder: Encoder, features: sparse.csc_array, x: Tensor) -> Rebuild:
    """Return the affine map from features `[tokens, width]` to `x [tokens, d]` with the least squared error: the best
    decoder of these features. UsageError for more than MOST_FITTED features, or too few tokens for them.
    """
    if features.shape[1] > MOST_FITTED:
        raise UsageError(f"a decoder of more than {MOST_FITTED:,} features is not fitted")
    n, n_active = features.shape[0], int(np.count_nonzero(np.diff(features.indptr)))
    too_few = UsageError(
        f"a decoder of {features.shape[1]:,} features cannot be fitted on {n:,} tokens: give more with --tokens"
    )
    if n_active >= n:  # each token could be rebuilt from features of its own
        raise too_few
    # Before the products: in float32 a feature whose mean is large beside its variance loses the latter.
    features = features.astype(np.float64)
    target = x.double().cpu().numpy()
    centre, mean = np.asarray(features.mean(axis=0)).ravel(), target.mean(axis=0)
    gram = (features.T @ features).toarray() - n * np.outer(centre, centre)
    # A ridge of a millionth of the mean variance keeps the solution finite.
    gram[np.diag_indices_from(gram)] += max(1e-6 * np.trace(gram) / len(gram), 1e-12)
    product = features.T @ target - n * np.outer(centre, mean)
    try:
        W_dec = linalg.solve(gram, product, assume_a="pos", overwrite_a=True, overwrite_b=True)
    except linalg.LinAlgError as error:
        raise too_few from error
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
    lost, total = _residual(candidate, text.activations), text.variances
    variance, median = explained_variance(lost, total)
    small = ~is_large(total)
    with_outliers = None
    if len(text.outliers):
        everything = torch.cat([text.activations, text.outliers])
        lost_everywhere = lost + _residual(candidate, text.outliers)
        with_outliers, _ = explained_variance(lost_everywhere, _spread(everything))
    return _scored(
        name,
        losses,
        explained_variance=variance,
        small_channels_explained_variance=explained_variance(lost[small], total[small])[0],
        all_tokens_explained_variance=with_outliers,
        median_explained_variance=median,
        l0=candidate.l0,
        dead=float((candidate.frequencies == 0).mean()),
    )


@torch.inference_mode()
def _residual(candidate: _Candidate, x: Tensor) -> Tensor:
    """Return the sums of squared differences between `x [tokens, d]` and its reconstruction, `[d]`, float64."""
    lost = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for part in torch.split(x, CHUNK):
        lost += (part - candidate.rebuild(part)).double().square().sum(0)
    return lost


def _bound(name: str, losses: Mapping[str, float], variance: float) -> Arm:
    return _scored(
        name,
        losses,
        explained_variance=variance,
        small_channels_explained_variance=variance,
        median_explained_variance=variance,
    )


def _scored(name: str, losses: Mapping[str, float], **measured: Any) -> Arm:
    """Return an arm with its loss, and the share recovered of the loss of mean ablation, where losses exist."""
    span = losses["mean"] - losses["identity"] if name in losses else 0.0
    recovered = (losses["mean"] - losses[name]) / span if span else None
    return Arm(name=name, loss=losses.get(name), recovered=recovered, **measured)


# ── losses ───────────────────────────────────────────────────────────────────────────────────────────────


def _losses(
    setup: _Setup, rebuilds: Mapping[str, Rebuild], halves: _Halves, limit: NormLimit | None
) -> tuple[dict[str, float], int]:
    """Return the mean next-token loss in nats with each arm's rebuilt activations spliced in, with the model's own
    (`identity`) and with their mean over the first half (`mean`), and the number of tokens. Outliers keep their own
    activations. Empty for a model without next-token losses.
    """
    model = setup.model.model
    if not isinstance(model, LanguageModel):
        return {}, 0
    whole = model.load_whole(setup.site, setup.device)
    mean = halves[0].activations.mean(0)
    replacements = {**rebuilds, "mean": lambda x: mean.expand_as(x)}
    splices: dict[str, Rebuild | None] = {
        "identity": None,
        **{name: _spare_outliers(rebuild, limit) for name, rebuild in replacements.items()},
    }
    tokens = list(take_content(halves[1].tokens, setup.loss_tokens))
    batches = plan_batches([len(one.ids) for one in tokens], **setup.batching)

    def work(rows: Sequence[int]) -> dict[str, Tensor]:
        batch = [tokens[row] for row in rows]
        return {name: whole.losses(batch, splice) for name, splice in splices.items()}

    done = list(run_batches(batches, work))
    found: dict[str, Tensor] = {name: torch.cat([part[name] for part in done]) for name in splices}
    return {name: float(losses.double().mean()) for name, losses in found.items()}, len(found["mean"])


def _spare_outliers(rebuild: Rebuild, limit: NormLimit | None) -> Rebuild:
    """Return `rebuild`, but with outliers as they are."""
    if limit is None:
        return rebuild
    return lambda x: torch.where(limit.is_kept(x)[:, None], rebuild(x), x)
