"""Activations of a model in, sparse autoencoders of them out, in the form of Gemma Scope: `f = relu(pre) · (pre >
threshold)`, `pre = x W_enc + b_enc`, `x̂ = f W_dec + b_dec` on raw activations, decoder rows of unit norm.

One pass over the texts serves every site. sae-lens trains all architectures but `tied`, which is the dictionary of
Cunningham et al. 2023 (§3): `c = relu(M x + b)`, `x̂ = Mᵀ c`, rows of M of unit norm, an L1 penalty.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from harness.api import LoadedModel, Model, Site, Tokens
from harness.dictionary import Dictionary
from harness.errors import MissingError, UsageError
from harness.featurize import check_finite, plan_batches, run_batches
from harness.fidelity import SLICE, Fit, measure_fit
from harness.files import whole_file, write_json
from harness.identity import hash_json, hash_lines
from harness.plan import OpenModel, open_model
from harness.registry import Registry
from harness.suite import ModelChoice
from harness.texts import read_corpus

Architecture = Literal["batchtopk", "topk", "jumprelu", "standard", "tied"]
ARCHITECTURES: tuple[Architecture, ...] = ("batchtopk", "topk", "jumprelu", "standard", "tied")

SAMPLE_TOKENS = 32_768
"""Training activations on which the scale is measured, and in the end the threshold is set."""

HELDOUT_TOKENS = 32_768
"""Held-out activations on which the fit is measured, at most."""

_PENALISED = ("standard", "tied")
_GROUP = 256
"""Texts that are tokenized at once."""


# ── what is asked for, and what comes out ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one dictionary is trained.

    `l0` is the mean number of features per token that `batchtopk`, `topk` and `jumprelu` aim at; `standard` and `tied`
    take the weight `l1` of their penalty instead, for activations scaled to a mean squared norm of `d_in`. The learning
    rate rises over the first thirtieth of the steps and falls to zero over the last third. UsageError for what cannot
    be trained.
    """

    architecture: Architecture = "batchtopk"
    width: int
    tokens: int
    l0: int | None = None
    l1: float | None = None
    batch_tokens: int = 1024
    buffer_tokens: int = 131_072
    learning_rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        wanted, other = ("l1", "l0") if self.architecture in _PENALISED else ("l0", "l1")
        if getattr(self, other) is not None or getattr(self, wanted) is None:
            raise UsageError(f"architecture '{self.architecture}' takes {wanted}, not {other}")
        if self.l0 is not None and not 1 <= self.l0 <= self.width:
            raise UsageError(f"l0 is {self.l0}, which is not between 1 and the width {self.width}")
        if self.l1 is not None and not 0 <= self.l1 < math.inf:
            raise UsageError(f"l1 is {self.l1}, which is no number from 0 on")
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"the learning rate is {self.learning_rate}, which is no number above 0")
        if self.width < 1 or self.batch_tokens < 2 or self.seed < 0:
            raise UsageError(
                "a dictionary has a width of at least 1, batches of at least 2 and a seed from 0 on"
            )
        if self.steps < 1:
            raise UsageError(f"{self.tokens} tokens do not fill one batch of {self.batch_tokens}")

    @property
    def steps(self) -> int:
        """Whole batches in the tokens."""
        return self.tokens // self.batch_tokens

    @property
    def warm_up_steps(self) -> int:
        return self.steps // 30

    @property
    def decay_steps(self) -> int:
        return self.steps // 3

    @property
    def dead_steps(self) -> int:
        """Steps without firing after which a feature counts as dead: a twelfth of all, or ten million tokens."""
        return max(1, min(self.steps // 12, 10_000_000 // self.batch_tokens))


def default_l0(d_in: int) -> int:
    """A sixth of the activations' size."""
    return max(1, d_in // 6)


def default_l1(architecture: Architecture) -> float | None:
    """The weight of the penalty where there is one."""
    return {"standard": 3.0, "tied": 1.0}.get(architecture)


def default_learning_rate(width: int) -> float:
    """6e-3 up to 1,024 features: the best of 3e-3, 6e-3 and 12e-3 there, for half a million tokens of a small model. It
    falls with the root of the width, as in Gao et al. 2024 (§A.3).
    """
    return 6e-3 * math.sqrt(1024 / max(width, 1024))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far training has come: tokens learnt from, their number a second, the part of the variance not yet rebuilt at
    each site in the latest batch, and how often the texts have been begun.
    """

    tokens: int
    tokens_total: int
    tokens_per_s: float
    unexplained: Mapping[Site, float]
    passes: int


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A dictionary, its fit on held-out text, the share of features that never fire there, and what training took."""

    site: Site
    recipe: Recipe
    dictionary: Dictionary
    fit: Fit
    dead: float
    tokens: int
    passes: int
    seconds: float


# ── the whole way ────────────────────────────────────────────────────────────────────────────────────────


def train_dictionaries(
    registry: Registry,
    *,
    model: ModelChoice,
    data: Sequence[Path],
    output: Path,
    width: str,
    tokens: int,
    architecture: Architecture = "batchtopk",
    l0: int | None = None,
    l1: float | None = None,
    learning_rate: float | None = None,
    batch_tokens: int = 1024,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int | None = None,
    replace: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Mapping[Path, Trained]:
    """Train one dictionary for each site of `model` on the texts of `data`, and write them into `output`: the file of
    each, and what it holds. `width` is a number (1024, 16k) or a multiple of the site's size (8x); what is None takes
    its default. UsageError where a dictionary of that layer and width is there and `replace` is not given.
    """
    opened = open_model(model, registry)
    if opened.choice.spec.modality != "text":
        raise UsageError(
            f"model '{opened.label}' reads {opened.choice.spec.modality}s, and only texts are trained on"
        )
    recipes = {}
    for site in opened.sites:
        d_in = opened.model.width(site)
        features = read_width(width, d_in)
        recipes[site] = Recipe(
            architecture=architecture,
            width=features,
            tokens=tokens,
            l0=default_l0(d_in) if l0 is None and architecture not in _PENALISED else l0,
            l1=default_l1(architecture) if l1 is None else l1,
            batch_tokens=batch_tokens,
            learning_rate=default_learning_rate(features) if learning_rate is None else learning_rate,
            seed=seed,
        )
    check_output(output, recipes, replace=replace)
    if architecture != "tied":
        _import_sae_lens()
    texts = list(read_corpus(data, "train"))
    trained = train(
        opened.model,
        recipes,
        texts=texts,
        heldout=list(read_corpus(data, "heldout")),
        device=device,
        batch_size=batch_size,
        report=report,
    )
    written = {}
    for one in trained:
        path = save(one.dictionary, output, one.site.layer, one.fit.l0)
        write_json(path.with_name("training.json"), describe_training(one, opened, texts, device))
        written[path] = one
    return written


def train(
    model: Model,
    recipes: Mapping[Site, Recipe],
    *,
    texts: Sequence[str],
    heldout: Sequence[str],
    device: str = "cpu",
    batch_size: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Trained, ...]:
    """A dictionary for each site, by recipes that agree on tokens, batches and seed. The same texts and recipe give the
    same dictionary on the same machine, whatever other sites are trained beside it.
    """
    started = time.perf_counter()
    recipe = next(iter(recipes.values()))
    loaded = model.load(list(recipes), device)
    stream = TokenStream(model, texts)
    parts = read_activations(loaded, stream, list(recipes), batch_size=batch_size, device=device)
    sample: Mapping[Site, Tensor] = {}
    learners: dict[Site, tuple[Unit, Learner]] = {}
    step = 0
    for buffer in fill_buffers(parts, recipe):
        if not learners:
            sample = {site: x[:SAMPLE_TOKENS].clone() for site, x in buffer.items()}
            learners = {site: start_learner(recipes[site], sample[site]) for site in recipes}
        for start in range(0, len(next(iter(buffer.values()))), recipe.batch_tokens):
            rows = slice(start, start + recipe.batch_tokens)
            lost = {
                site: learner.step(unit.scale_down(buffer[site][rows]))
                for site, (unit, learner) in learners.items()
            }
            step += 1
            if step * 100 // recipe.steps > (step - 1) * 100 // recipe.steps:
                tokens = step * recipe.batch_tokens
                report(
                    Progress(
                        tokens=tokens,
                        tokens_total=recipe.steps * recipe.batch_tokens,
                        tokens_per_s=tokens / (time.perf_counter() - started),
                        unexplained={site: float(value) for site, value in lost.items()},
                        passes=stream.passes(tokens),
                    )
                )
    seconds = time.perf_counter() - started
    unseen = read_heldout(model, loaded, heldout, list(recipes), batch_size=batch_size, device=device)
    trained = []
    for site, (unit, learner) in learners.items():
        dictionary = finish(str(site), learner.parts(), unit, sample[site], recipes[site].l0)
        trained.append(
            Trained(
                site=site,
                recipe=recipes[site],
                dictionary=dictionary,
                fit=measure_fit(dictionary, unseen[site]),
                dead=measure_dead(dictionary, unseen[site]),
                tokens=step * recipe.batch_tokens,
                passes=stream.passes(step * recipe.batch_tokens),
                seconds=seconds,
            )
        )
    return tuple(trained)


# ── activations ──────────────────────────────────────────────────────────────────────────────────────────


class TokenStream:
    """The tokens of texts, again and again. `content` counts those of one time through, once that is known.
    MissingError when there are none.
    """

    def __init__(self, model: Model, texts: Sequence[str]) -> None:
        self.model, self.texts = model, texts
        self.content: int | None = None

    def __iter__(self) -> Iterator[Tokens]:
        while True:
            content = 0
            for tokens in tokenize_all(self.model, self.texts):
                content += int(tokens.content.sum())
                yield tokens
            if not content:
                raise MissingError("the training texts have no content tokens")
            self.content = content

    def passes(self, tokens: int) -> int:
        """How often the texts were begun for so many tokens; what is read ahead does not count."""
        return math.ceil(tokens / self.content) if self.content else 1


def tokenize_all(model: Model, texts: Iterable[str]) -> Iterator[Tokens]:
    """Every text that has content, once. One longer than the model's maximum is halved until its beginning fits; what
    is left of it comes after all others, so that neighbours in the stream are of different texts.
    """
    waiting = deque(texts)
    while waiting:
        batch = [waiting.popleft() for _ in range(min(_GROUP, len(waiting)))]
        while batch:
            encoded = list(zip(batch, model.tokenize(batch), strict=True))
            fitting = [one for text, one in encoded if not one.cut or len(text) < 2]
            yield from (one for one in fitting if one.content.any())
            halves = [halve(text) for text, one in encoded if one.cut and len(text) >= 2]
            waiting.extend(rest for _, rest in halves)
            batch = [begin for begin, _ in halves]


def halve(text: str) -> tuple[str, str]:
    """A text of at least two characters as two, cut after a space of its second quarter if there is one."""
    middle = len(text) // 2
    space = max(text.rfind(mark, len(text) // 4, middle) for mark in " \n")
    middle = space + 1 if space > 0 else middle
    return text[:middle], text[middle:]


def read_activations(
    model: LoadedModel,
    stream: Iterable[Tokens],
    sites: Sequence[Site],
    *,
    batch_size: int | None,
    device: str,
) -> Iterator[Mapping[Site, Tensor]]:
    """Activations `[content tokens, width]` of one batch after the other at each site, float32, on the device."""

    @torch.inference_mode()
    def work(batch: Sequence[Tokens]) -> Mapping[Site, Tensor]:
        activations = model.forward(batch)
        for site in sites:
            check_finite(activations[site], site)
        return {site: activations[site].float() for site in sites}

    source = iter(stream)
    while group := list(islice(source, _GROUP)):
        batches = plan_batches([len(one.ids) for one in group], batch_size=batch_size, device=device)
        yield from run_batches(batches, lambda rows, group=group: work([group[row] for row in rows]))  # type: ignore[misc]


def fill_buffers(parts: Iterator[Mapping[Site, Tensor]], recipe: Recipe) -> Iterator[Mapping[Site, Tensor]]:
    """Activations of many texts `[buffer, width]` in random order, the same at all sites, until there are as many as
    the recipe's steps take; each buffer holds whole batches.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    room = max(1, recipe.buffer_tokens // recipe.batch_tokens)
    waiting: dict[Site, list[Tensor]] = {}
    for first in range(0, recipe.steps, room):
        size = min(room, recipe.steps - first) * recipe.batch_tokens
        while not waiting or sum(map(len, next(iter(waiting.values())))) < size:
            for site, part in next(parts).items():
                waiting.setdefault(site, []).append(part)
        order = torch.randperm(size, generator=generator)
        buffer = {}
        for site, several in waiting.items():
            joined = torch.cat(several)
            waiting[site] = [joined[size:].clone()]
            buffer[site] = joined[order.to(joined.device)]
        yield buffer


def read_heldout(
    model: Model,
    loaded: LoadedModel,
    texts: Sequence[str],
    sites: Sequence[Site],
    *,
    batch_size: int | None,
    device: str,
) -> Mapping[Site, Tensor]:
    """At most HELDOUT_TOKENS activations of held-out texts at each site. MissingError when they have no content."""
    taken: list[Tokens] = []
    total = 0
    for tokens in tokenize_all(model, texts):
        taken.append(tokens)
        total += int(tokens.content.sum())
        if total >= HELDOUT_TOKENS:
            break
    if not taken:
        raise MissingError("the held-out texts have no content tokens")
    parts = list(read_activations(loaded, taken, sites, batch_size=batch_size, device=device))
    return {site: torch.cat([part[site] for part in parts])[:HELDOUT_TOKENS] for site in sites}


# ── learners ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The units in which a dictionary is learnt: `(x − mean) · scale` has a mean squared norm of d."""

    mean: Tensor
    scale: float

    @classmethod
    def of(cls, sample: Tensor, *, centred: bool) -> Unit:
        """From activations `[tokens, d]`; MissingError when they are all the same."""
        mean = sample.mean(0) if centred else torch.zeros_like(sample[0])
        norm = float((sample - mean).square().sum(1).mean().sqrt())
        if norm == 0:
            raise MissingError("all activations are the same, so there is nothing to learn from them")
        return cls(mean=mean, scale=math.sqrt(sample.shape[1]) / norm)

    def scale_down(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.scale


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parameters in a learner's units; features fire where they are above `threshold [d_sae]`."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor


class Learner(Protocol):
    """A dictionary while it is trained."""

    def step(self, x: Tensor) -> Tensor:
        """Learn from `x [batch, d]` in its units; the squared error for each of its values, a number."""

    def parts(self) -> Parts:
        """What was learnt."""


def start_learner(recipe: Recipe, sample: Tensor) -> tuple[Unit, Learner]:
    """The learner of a recipe, and its units, from a sample `[tokens, d]` of raw activations. Only `tied` is not
    centred: it has no bias on what it rebuilds.
    """
    unit = Unit.of(sample, centred=recipe.architecture != "tied")
    make = Tied if recipe.architecture == "tied" else SaeLens
    return unit, make(recipe, sample.shape[1], str(sample.device))


class SaeLens:
    """A training SAE of sae-lens, moved on by its SAETrainer."""

    def __init__(self, recipe: Recipe, d_in: int, device: str) -> None:
        lens = _import_sae_lens()
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        common = {
            "d_in": d_in,
            "d_sae": recipe.width,
            "device": device,
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
        }
        devices = [torch.device(device)] if device.startswith("cuda") else []
        with torch.random.fork_rng(devices):  # weights are drawn from the global generator
            torch.manual_seed(recipe.seed)
            self.sae = self._make(lens, recipe, common)
        self.d_in = d_in
        self.trainer = SAETrainer(
            cfg=SAETrainerConfig(
                total_training_samples=recipe.steps * recipe.batch_tokens,
                train_batch_size_samples=recipe.batch_tokens,
                lr=recipe.learning_rate,
                lr_end=recipe.learning_rate,  # where the decay to zero begins
                lr_warm_up_steps=recipe.warm_up_steps,
                lr_decay_steps=recipe.decay_steps,
                dead_feature_window=recipe.dead_steps,
                device=device,
            ),
            sae=self.sae,
            data_provider=iter(()),
        )

    @staticmethod
    def _make(lens: Any, recipe: Recipe, common: Mapping[str, Any]) -> Any:
        if recipe.architecture == "batchtopk":
            return lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(k=recipe.l0, **common))
        if recipe.architecture == "topk":
            return lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(k=recipe.l0, **common))
        if recipe.architecture == "standard":
            return lens.StandardTrainingSAE(
                lens.StandardTrainingSAEConfig(
                    l1_coefficient=recipe.l1, l1_warm_up_steps=recipe.steps // 10, **common
                )
            )
        return lens.JumpReLUTrainingSAE(
            lens.JumpReLUTrainingSAEConfig(
                jumprelu_sparsity_loss_mode="quadratic",  # of Gemma Scope 2, about a target
                target_l0=recipe.l0,
                l0_warm_up_steps=recipe.steps // 10,
                jumprelu_ste_to_input=True,
                **common,
            )
        )

    def step(self, x: Tensor) -> Tensor:
        output = self.trainer.step(x)
        self.trainer.n_training_steps += 1
        return cast(Tensor, output.losses["mse_loss"]).detach() / self.d_in

    @torch.no_grad()
    def parts(self) -> Parts:
        threshold = getattr(self.sae, "threshold", None)
        return Parts(
            W_enc=self.sae.W_enc.detach(),
            b_enc=self.sae.b_enc.detach(),
            W_dec=self.sae.W_dec.detach(),
            b_dec=self.sae.b_dec.detach(),
            threshold=torch.zeros_like(self.sae.b_enc)
            if threshold is None
            else threshold.detach().clamp(min=0),
        )


class Tied:
    """The tied dictionary of Cunningham et al. 2023, with Adam; `matrix` is M `[d_sae, d]` before its rows are brought
    to unit norm.
    """

    def __init__(self, recipe: Recipe, d_in: int, device: str) -> None:
        generator = torch.Generator().manual_seed(recipe.seed)
        self.matrix = nn.Parameter(torch.randn(recipe.width, d_in, generator=generator).to(device))
        self.bias = nn.Parameter(torch.zeros(recipe.width, device=device))
        with torch.no_grad():
            self.matrix.copy_(nn.functional.normalize(self.matrix, dim=1))
        assert recipe.l1 is not None
        self.l1 = recipe.l1
        self.optimizer = torch.optim.Adam([self.matrix, self.bias], lr=recipe.learning_rate)

        def share(step: int) -> float:
            rising = (step + 1) / max(1, recipe.warm_up_steps)
            falling = (recipe.steps - step) / max(1, recipe.decay_steps)
            return min(1.0, rising, falling)

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, share)

    def step(self, x: Tensor) -> Tensor:
        rows = nn.functional.normalize(self.matrix, dim=1)
        code = torch.relu(x @ rows.T + self.bias)
        error = (x - code @ rows).square().sum(1).mean()
        loss = error + self.l1 * code.sum(1).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return error.detach() / x.shape[1]

    @torch.no_grad()
    def parts(self) -> Parts:
        rows = nn.functional.normalize(self.matrix, dim=1)
        return Parts(
            W_enc=rows.T,
            b_enc=self.bias.detach(),
            W_dec=rows,
            b_dec=torch.zeros_like(rows[0]),
            threshold=torch.zeros_like(self.bias),
        )


def _import_sae_lens() -> Any:
    try:
        import sae_lens
    except ImportError as error:
        raise MissingError(
            "all architectures but tied are trained by sae-lens: pip install 'sae-harness[train]'"
        ) from error
    return sae_lens


# ── from a learner to a dictionary ───────────────────────────────────────────────────────────────────────


@torch.no_grad()
def finish(name: str, parts: Parts, unit: Unit, sample: Tensor, l0: int | None) -> Dictionary:
    """The dictionary on raw activations, with values as they are stored (`storable`).

    A threshold that was learnt is kept. Of batchtopk and topk, which learn none, it is one number for all features,
    above which `l0` of them fire per token of `sample [tokens, d]`, as in BatchTopK's inference (Bussmann et al. 2024,
    §3): the layout has no k, so topk loses its fixed number per token.
    """
    norm = parts.W_dec.norm(dim=1).clamp(min=1e-8)
    W_enc = storable(parts.W_enc * norm)
    dictionary = Dictionary(
        name=name,
        width=len(norm),
        activation="jumprelu",
        W_enc=W_enc,
        # The mean goes through the rounded encoder, so that what is rounded off meets only what differs from it.
        b_enc=parts.b_enc * norm / unit.scale - unit.mean @ W_enc,
        W_dec=storable(parts.W_dec / norm[:, None]),
        b_dec=parts.b_dec / unit.scale + unit.mean,
        threshold=parts.threshold * norm / unit.scale,
    )
    if l0 is None or bool(parts.threshold.any()):
        return dictionary
    cut = find_threshold(dictionary, sample, l0)
    return replace(dictionary, threshold=torch.full_like(dictionary.b_enc, cut))  # type: ignore[arg-type]


def storable(matrix: Tensor) -> Tensor:
    """A matrix rounded to what float16 holds."""
    return matrix.half().float().contiguous()


def find_threshold(dictionary: Dictionary, sample: Tensor, l0: int) -> float:
    """The number above which `l0` features fire on a token of `sample` in the mean; zero when fewer ever do."""
    count = l0 * len(sample)
    largest = sample.new_empty(0)
    cut = sample.new_zeros(())
    for _, features in dictionary.slices(sample, SLICE):
        largest = torch.cat([largest, features[features > cut]])
        if len(largest) >= count:
            largest = largest.topk(count, sorted=False).values
            cut = torch.nextafter(largest.min(), cut.new_zeros(()))  # the last of them is to fire too
    return float(cut)


@torch.inference_mode()
def measure_dead(dictionary: Dictionary, x: Tensor) -> float:
    """The share of features that fire on none of `x [tokens, d]`."""
    fired = sum(int((features > 0).any(0).sum()) for _, features in dictionary.slices(x, SLICE))
    return 1 - fired / dictionary.width


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────


def read_width(text: str, d_in: int) -> int:
    """`1024`, `16k`, `1m` (powers of two), or `8x`, a multiple of the activations' size; else UsageError."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([xkm]?)", text.strip())
    if match is None:
        raise UsageError(f"width '{text}' is not of the form 1024, 16k or 8x")
    return int(match[1]) * {"": 1, "x": d_in, "k": 1 << 10, "m": 1 << 20}[match[2]]


def name_width(width: int) -> str:
    """As Gemma Scope spells it, 512, 1k, 16k, 1m; in full where that would not be a power of two."""
    if width & (width - 1) or width < 1 << 10:
        return str(width)
    return f"{width >> 20}m" if width >= 1 << 20 else f"{width >> 10}k"


def check_output(output: Path, recipes: Mapping[Site, Recipe], *, replace: bool) -> None:
    """UsageError where two sites would share a folder or a dictionary is there and is not to be replaced, MissingError
    where nothing can be written.
    """
    by_layer: dict[int, Site] = {}
    for site, recipe in recipes.items():
        other = by_layer.setdefault(site.layer, site)
        if other != site:
            raise UsageError(f"'{other}' and '{site}' are of one layer: give each a folder of its own")
        there = find_dictionaries(output, site.layer, recipe.width)
        if there and not replace:
            raise UsageError(f"there is '{there[0]}' already: give another folder, or --replace")
    place = output
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise MissingError(f"nothing can be written into '{output}'")


def find_dictionaries(output: Path, layer: int, width: int) -> list[Path]:
    """The files of a layer's dictionaries of that width."""
    return sorted(output.glob(f"layer_{layer}/width_{name_width(width)}/average_l0_*/params.npz"))


def save(dictionary: Dictionary, folder: Path, layer: int, l0: float) -> Path:
    """Write `layer_L/width_W/average_l0_N/params.npz` in place of what stood there at that width; its path. Matrices
    are float16, vectors float32: those are small, and large means would round away in them. MissingError when a value
    is too large for that.
    """
    before = find_dictionaries(folder, layer, dictionary.width)
    place = folder / f"layer_{layer}" / f"width_{name_width(dictionary.width)}" / f"average_l0_{round(l0)}"
    arrays = {
        name: value.cpu().numpy().astype(np.float16 if value.ndim == 2 else np.float32)
        for name, value in sorted(dictionary.tensors.items())
    }
    with whole_file(place / "params.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    for old in before:
        if old.parent != place:
            shutil.rmtree(old.parent)
    return place / "params.npz"


def describe_training(
    trained: Trained, model: OpenModel, texts: Sequence[str], device: str
) -> dict[str, Any]:
    """JSON of all that made a dictionary, and of what it is worth; no paths."""
    uses_lens = trained.recipe.architecture != "tied"
    return {
        "model": model.label,
        "activations": hash_json(model.model.identity(trained.site)),
        "site": str(trained.site),
        "recipe": asdict(trained.recipe),
        "texts": {"count": len(texts), "sha256": hash_lines(texts), "passes": trained.passes},
        "tokens": trained.tokens,
        "seconds": round(trained.seconds, 1),
        "heldout": {**asdict(trained.fit), "dead": trained.dead},
        "versions": {
            name: _version(name) for name in ("torch", *(["sae-lens"] if uses_lens else []), "sae-harness")
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": name_hardware(device),
    }


def name_hardware(device: str) -> str:
    """The GPU's name, or `2 CPU cores`."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"{threads} CPU core{'s' if threads != 1 else ''}"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
