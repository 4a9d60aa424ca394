"""Checks of models."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.api.data import Site, Tokens
from harness.api.errors import HarnessError, UsageError, describe
from harness.api.protocols import ImageModel, LanguageModel, Model, PredictingModel
from harness.storage.hashing import hash_json
from harness.testing import samples
from harness.testing.check import CONTRACT, CheckFailed, NotApplicable, Subject, check, fail_unless
from harness.testing.checks.common import variants
from harness.testing.exercises import exercise
from harness.testing.results import CLOSE, as_array, check_same, same

BATCH = 1e-3
"""Largest difference between batches, as a share of the largest value: padding adds in another order."""


def _sites(model: Model) -> list[Site]:
    """Return the first and the last site of the residual stream, of its first tower where it has several."""
    tower, depth = "", model.n_layers
    if isinstance(model, ImageModel) and model.towers:
        tower, depth = next(iter(model.towers.items()))
    return [Site(tower=tower, kind="resid_post", layer=layer) for layer in sorted({0, depth - 1})]


def _inputs(model: Model) -> Sequence[Any]:
    return samples.images() if isinstance(model, ImageModel) else samples.TEXTS


def _forward(model: Model, sites: Sequence[Site], tokens: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
    with torch.inference_mode():
        return model.load(sites, "cpu").forward(tokens)


@exercise("models")
def run(subject: Subject) -> list[Any]:
    """Return token ids, masks and activations of samples."""
    model = subject.make()
    sites, tokens = _sites(model), model.tokenize(_inputs(model))
    found = _forward(model, sites, tokens)
    masks = [[one.ids, one.content] for one in tokens]
    return [masks, [as_array(found[site]) for site in sites]]


@check("models", requires=())
def contract(subject: Subject) -> None:
    """It says its name, kind and size, encodes each input as Tokens, and gives activations `[content tokens, width]`
    at each site.
    """
    model = subject.make()
    for name, kind in (("name", str), ("architecture", str), ("n_layers", int), ("n_parameters", int)):
        value = getattr(model, name, None)
        fail_unless(isinstance(value, kind) and value, f"its {name} is {value!r}")
    inputs = _inputs(model)
    tokens = model.tokenize(inputs)
    fail_unless(len(tokens) == len(inputs), f"tokenize returns {len(tokens)} for {len(inputs)} inputs")
    for one in tokens:
        fail_unless(isinstance(one, Tokens), f"tokenize returns {type(one).__name__}, and no Tokens")
        fail_unless(one.ids.dtype == np.int64 and one.ids.ndim == 1, "its token ids are no int64 `[tokens]`")
        fail_unless(
            one.content.dtype == np.bool_ and one.content.shape == one.ids.shape,
            "its content mask is no bool `[tokens]`",
        )
    sites = _sites(model)
    found = _forward(model, sites, tokens)
    fail_unless(
        {*found} == {*sites}, f"forward returns the sites {', '.join(map(str, found))}, not those asked for"
    )
    content = sum(int(one.content.sum()) for one in tokens)
    for site in sites:
        expected = [content, model.width(site)]
        fail_unless(
            list(found[site].shape) == expected,
            f"at {site} it returns {list(found[site].shape)}, not {expected} [content tokens, width]",
        )


@check("models", requires=(CONTRACT, "deterministic"))
def batches(subject: Subject) -> None:
    """The activations of an input do not depend on the other inputs of a batch, nor on their order."""
    model = subject.make()
    site, tokens = _sites(model)[-1], model.tokenize(_inputs(model))
    whole = as_array(_forward(model, [site], tokens)[site])
    turned = as_array(_forward(model, [site], tokens[::-1])[site])
    ends = np.cumsum([0, *(int(one.content.sum()) for one in tokens)])
    parts = [whole[a:b] for a, b in itertools.pairwise(ends)]
    _check_near(np.concatenate(parts[::-1]), turned, "in another order")
    loaded = model.load([site], "cpu")
    for one, part in zip(tokens, parts, strict=True):
        if len(part):
            with torch.inference_mode():
                _check_near(part, as_array(loaded.forward([one])[site]), "alone")


def _check_near(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], how: str) -> None:
    fail_unless(
        one.shape == other.shape, f"inputs {how} give {len(other)} activations, and {len(one)} in a batch"
    )
    scale = max(CLOSE, float(np.abs(one).max(initial=0)))
    worst = float(np.abs(one - other).max(initial=0)) / scale
    fail_unless(worst <= BATCH, f"inputs {how} have other activations: by {worst:.2g} of the largest")


@check("models", requires=(CONTRACT, "deterministic"))
def depth(subject: Subject) -> None:
    """Loaded for one site it gives what it gives there when it is loaded for several."""
    model = subject.make()
    sites = _sites(model)
    if len(sites) < 2:
        raise NotApplicable("it has one site")
    tokens = model.tokenize(_inputs(model))
    both = _forward(model, sites, tokens)
    for site in sites:
        _check_near(as_array(both[site]), as_array(_forward(model, [site], tokens)[site]), f"at {site} alone")


@check("models")
def sites(subject: Subject) -> None:
    """For a site that it does not have, `width` raises UsageError in one sentence."""
    model = subject.make()
    for site in (Site(kind="no_such_kind", layer=0), Site(kind="resid_post", layer=10**6)):
        try:
            model.width(site)
        except UsageError as error:
            fail_unless(len(str(error).splitlines()) == 1, f"its error for '{site}' has several lines")
        except Exception as error:
            fail_unless(False, f"width of '{site}' raises {describe(error)}, and no UsageError")
        else:
            # The core asks for layers itself; a kind only the model knows.
            fail_unless(site.layer, f"it has a width at '{site}', a site that does not exist")


@check("models", applies=lambda subject: not isinstance(subject.make(), ImageModel))
def empty(subject: Subject) -> None:
    """A text without content is encoded and run, alone and among others."""
    model = subject.make()
    site = _sites(model)[-1]
    try:
        tokens = model.tokenize([*samples.EMPTY, samples.TEXTS[0]])
        found = _forward(model, [site], tokens)[site]
        alone = _forward(model, [site], tokens[:1])[site]
    except Exception as error:
        raise CheckFailed(f"an empty text raises {describe(error)}") from error
    content = [int(one.content.sum()) for one in tokens]
    fail_unless(
        len(found) == sum(content),
        f"with empty texts it returns {len(found)} activations, not {sum(content)}",
    )
    fail_unless(
        len(alone) == content[0], f"an empty text alone gives {len(alone)} activations, not {content[0]}"
    )


@check("models", requires=(CONTRACT, "deterministic"))
def identity(subject: Subject) -> None:
    """What identifies it is JSON, and changes with every parameter that changes its activations."""
    model = subject.make()
    site = _sites(model)[-1]
    _check_identity(model.identity(site))
    tokens = model.tokenize(_inputs(model))
    plain = as_array(_forward(model, [site], tokens)[site])
    for changed in variants(subject):
        try:
            other = subject.make(**changed)
            found = as_array(
                _forward(other, [_sites(other)[-1]], other.tokenize(_inputs(other)))[_sites(other)[-1]]
            )
        except HarnessError:
            continue
        if not same(plain, found):
            said = ", ".join(f"{name}={value!r}" for name, value in changed.items())
            fail_unless(
                hash_json(dict(model.identity(site))) != hash_json(dict(other.identity(_sites(other)[-1]))),
                f"{said} changes its activations and not its identity: the cache would give those of the default",
            )


def _check_identity(identity: Mapping[str, Any]) -> None:
    try:
        hash_json(dict(identity))
    except Exception as error:  # anything that JSON cannot hold
        fail_unless(False, f"its identity cannot be JSON: {describe(error)}")


@check("models", requires=(CONTRACT, "deterministic"))
def order_of_sites(subject: Subject) -> None:
    """The order in which sites are asked for changes nothing."""
    model = subject.make()
    asked = _sites(model)
    tokens = model.tokenize(_inputs(model)[:2])
    one, other = _forward(model, asked, tokens), _forward(model, asked[::-1], tokens)
    for site in asked:
        check_same(one[site], other[site], f"the activations at {site} depend on the order of sites")


@check(
    "models",
    requires=(CONTRACT, "deterministic", "sites"),
    applies=lambda subject: isinstance(subject.make(), LanguageModel),
)
def predictions(subject: Subject) -> None:
    """Run whole, it gives logits whose losses are its own; splices at all sites are given the activations there, and
    decide what follows; its divergences are those of its logits.
    """
    model = subject.make()
    asked = _sites(model)
    whole = model.load_whole(asked[0], "cpu")
    if not isinstance(whole, PredictingModel):
        raise NotApplicable("it gives losses and no logits")
    batch = [one for one in model.tokenize(_inputs(model)) if one.content[-2:].sum() == 2]
    if not batch:
        raise NotApplicable("no sample ends with two tokens of content")
    before = [Tokens(ids=one.ids[:-1], content=one.content[:-1], truncated=one.truncated) for one in batch]
    seen: dict[Site, list[np.ndarray[Any, Any]]] = {site: [] for site in asked}

    def keep(site: Site) -> Callable[[torch.Tensor], torch.Tensor]:
        def splice(rows: torch.Tensor) -> torch.Tensor:
            seen[site].append(as_array(rows))
            return rows

        return splice

    with torch.inference_mode():
        logits = whole.next_logits(before)
        losses = [whole.losses([one])[-1:] for one in batch]
        kept = whole.next_logits(before, {site: keep(site) for site in asked})
        changed = [whole.next_logits(before, {site: torch.zeros_like}) for site in asked]
    fail_unless(
        logits.ndim == 2 and len(logits) == len(batch) and logits.dtype == torch.float32,
        f"next_logits returns {list(logits.shape)} in {logits.dtype}, not [examples, vocabulary] in float32",
    )
    answers = torch.tensor([int(one.ids[-1]) for one in batch])
    own = torch.nn.functional.cross_entropy(logits, answers, reduction="none")
    _check_near(as_array(own), as_array(torch.cat(losses)), "by their logits")
    _check_near(as_array(logits), as_array(kept), "with splices that change nothing")
    rows = sum(int(one.content.sum()) for one in before)
    for site, other in zip(asked, changed, strict=True):
        shapes = [list(one.shape) for one in seen[site]]
        expected = [rows, model.width(site)]
        fail_unless(shapes == [expected], f"a splice at {site} is given {shapes}, and not {expected} once")
        fail_unless(not same(as_array(logits), as_array(other)), f"a splice at {site} changes no logits")
    _check_comparison(whole, batch, logits, changed[0])


def _check_comparison(
    whole: PredictingModel, batch: Sequence[Tokens], logits: torch.Tensor, changed: torch.Tensor
) -> None:
    """Fail unless losses and divergences at the last token of each example are those of its logits, with and without
    zeros at the model's site.
    """
    with torch.inference_mode():
        both = [whole.compare([one], [None, torch.zeros_like]) for one in batch]
    losses, divergences = (
        torch.stack([part[:, -1] for part in parts], 1) for parts in zip(*both, strict=True)
    )
    answers = torch.tensor([int(one.ids[-1]) for one in batch])
    expected = [
        torch.nn.functional.cross_entropy(one, answers, reduction="none") for one in (logits, changed)
    ]
    own, other = logits.log_softmax(-1), changed.log_softmax(-1)
    away = (own.exp() * (own - other)).sum(-1)
    _check_near(as_array(losses), as_array(torch.stack(expected)), "by comparison")
    _check_near(as_array(divergences), as_array(torch.stack([torch.zeros_like(away), away])), "by comparison")
