"""Checks of representations: those that read a model's activations, and those that read inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.api.data import Site
from harness.api.errors import HarnessError, UnavailableError, UsageError, describe
from harness.api.protocols import IdentifiedRepresentation, PlacedRepresentation
from harness.config.suite import ModelChoice
from harness.models.opened import OpenModel, locate, open_model
from harness.storage.hashing import hash_json
from harness.testing import samples
from harness.testing.check import CONTRACT, NotApplicable, Subject, check, fail_unless
from harness.testing.checks.common import check_pickles, variants
from harness.testing.exercises import exercise
from harness.testing.pretended import Pretended, pretended_device
from harness.testing.results import as_array, check_same, same
from harness.testing.toy_model import ToyModel

SAMPLE = 64
"""Activations that an encoder is tried on, and fitted on."""


def reads_tokens(subject: Subject) -> bool:
    """Return True for a representation of a model's activations."""
    return bool(subject.choice.spec.needs == "tokens")


def reads_inputs(subject: Subject) -> bool:
    """Return True for a representation of texts, images or nothing."""
    return not reads_tokens(subject)


def _places(subject: Subject) -> tuple[OpenModel, Sequence[Site]]:
    """Return the model that a representation is tried on, the toy unless the command names another, and its sites."""
    if reference := subject.beside.get("models"):
        opened = open_model(ModelChoice(ref=reference, sites=("resid_post.50%",)), subject.registry)
        layers = range(opened.model.n_layers)
        return opened, [*opened.sites, *(Site(kind="resid_post", layer=layer) for layer in layers)]
    model = ToyModel()
    choice = subject.choice  # a stand-in: the toy is offered by no plugin
    return OpenModel(choice=choice, model=model, sites=()), [Site(kind="resid_post", layer=1)]


def place(subject: Subject, **changed: Any) -> tuple[PlacedRepresentation, Site]:
    """Return the representation at the first site at which it serves. Raise NotApplicable where it serves nowhere."""
    model, sites = _places(subject)
    reference = {"name": subject.choice.name, **subject.choice.given, **changed}
    choice = subject.registry.choose("representations", reference)
    refusal: HarnessError | None = None
    for site in sites:
        try:
            return locate(choice, model, site, subject.registry), site
        except (UsageError, UnavailableError) as error:
            refusal = refusal or error
    raise NotApplicable(
        f"it serves at no site of '{model.model.name}', name another model with --model: {refusal}"
    )


def _encoder(subject: Subject, placed: PlacedRepresentation, device: str = "cpu") -> Any:
    if placed.for_task is not None:
        raise NotApplicable("it depends on a task's classes")
    return placed.load_or_fit(device, lambda: samples.activations(SAMPLE, placed.d_in).to(device))


def _encode(subject: Subject, **changed: Any) -> Any:
    placed, _ = place(subject, **changed)
    return _encoder(subject, placed).encode(samples.activations(9, placed.d_in))


def _texts() -> list[str]:
    return [*samples.TEXTS, *samples.TEXTS[:3]]


def _inputs(subject: Subject) -> Sequence[Any]:
    return samples.images() if subject.choice.spec.needs == "images" else _texts()


def _transform(subject: Subject, **changed: Any) -> Any:
    made = subject.make(**changed)
    made.fit(_inputs(subject))
    return made.transform(_inputs(subject))


@exercise("representations")
def represent(subject: Subject) -> list[Any]:
    """Return features of samples `[tokens or inputs, features]`."""
    return [as_array(_encode(subject) if reads_tokens(subject) else _transform(subject))]


@check("representations", requires=())
def contract(subject: Subject) -> None:
    """Placed at a site it says its widths, and encodes `[tokens, d_in]` as float32 `[tokens, width]`; one that reads
    inputs gives a row of numbers for each.
    """
    if reads_inputs(subject):
        inputs = _inputs(subject)
        result = _transform(subject)
        fail_unless(
            hasattr(result, "shape") and len(result.shape) == 2,
            f"it returns {type(result).__name__}, no matrix",
        )
        fail_unless(
            result.shape[0] == len(inputs), f"it returns {result.shape[0]} rows for {len(inputs)} inputs"
        )
        return
    placed, _ = place(subject)
    encoder = _encoder(subject, placed)
    features = encoder.encode(samples.activations(9, placed.d_in))
    fail_unless(
        isinstance(features, torch.Tensor), f"encode returns {type(features).__name__}, and no tensor"
    )
    expected = [9, encoder.width]
    fail_unless(
        list(features.shape) == expected,
        f"encode returns {list(features.shape)} where {expected} are expected",
    )
    fail_unless(features.dtype == torch.float32, f"encode returns {features.dtype}, not torch.float32")
    fail_unless(
        placed.width == encoder.width,
        f"it says a width of {placed.width}, and its encoder has {encoder.width}",
    )


@check("representations", applies=reads_tokens)
def tokens(subject: Subject) -> None:
    """The features of a token do not depend on the other tokens, nor on their order."""
    placed, _ = place(subject)
    encoder, x = _encoder(subject, placed), samples.activations(9, placed.d_in)
    whole = encoder.encode(x.clone())
    check_same(whole[:1], encoder.encode(x[:1].clone()), "a token alone has other features than among others")
    check_same(whole.flip(0), encoder.encode(x.flip(0)), "tokens in another order have other features")


@check("representations", applies=reads_tokens)
def inputs(subject: Subject) -> None:
    """Activations are not changed, for other dictionaries read them too."""
    placed, _ = place(subject)
    x = samples.activations(9, placed.d_in)
    kept = x.clone()
    _encoder(subject, placed).encode(x)
    check_same(kept, x, "encode changes the activations that it is given")


@check("representations", requires=(CONTRACT, "deterministic"), applies=reads_tokens)
def identity(subject: Subject) -> None:
    """What identifies it is JSON without paths, and changes with every parameter that changes its features."""
    placed, _ = place(subject)
    _check_identity(placed.identity)
    plain = _encode(subject)
    for changed in variants(subject):
        try:
            other, _ = place(subject, **changed)
            features = _encode(subject, **changed)
        except (HarnessError, NotApplicable):
            continue
        if not same(plain, features):
            _tell_apart(placed.identity, other.identity, changed)


def _check_identity(identity: Mapping[str, Any]) -> None:
    try:
        hash_json(dict(identity))
    except Exception as error:  # anything that JSON cannot hold
        fail_unless(False, f"its identity cannot be JSON: {describe(error)}")
    text = json.dumps(dict(identity), default=str)
    for folder in {str(Path.home()), str(Path.cwd())} - {"/"}:
        written = re.escape(json.dumps(folder)[1:-1])
        # In a container the folder may be /app, and `someone/apple` is no path.
        fail_unless(
            not re.search(rf"(?<![\w.-]){written}(?![\w.-])", text),
            "its identity holds a path of this machine, so another's results are not equal",
        )


def _tell_apart(one: Mapping[str, Any], other: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    said = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    fail_unless(
        hash_json(dict(one)) != hash_json(dict(other)),
        f"{said} changes its features and not its identity: the cache would give those of the default",
    )


@check("representations", applies=reads_tokens)
def decoder(subject: Subject) -> None:
    """With its decoder it rebuilds `[tokens, d_in]`, and counts the features that are not zero."""
    placed, _ = place(subject)
    if placed.load_whole is None:
        raise NotApplicable("it has no decoder")
    x = samples.activations(9, placed.d_in)
    whole = placed.load_whole("cpu")
    rebuilt, active = whole.rebuild(x, 4)
    fail_unless(
        list(rebuilt.shape) == list(x.shape), f"rebuild returns {list(rebuilt.shape)}, not {list(x.shape)}"
    )
    counted = int((_encoder(subject, placed).encode(x) != 0).sum())
    fail_unless(
        int(active) == counted,
        f"rebuild counts {int(active)} features that are not zero, and encode {counted}",
    )


@check("representations", applies=reads_tokens)
def sites(subject: Subject) -> None:
    """At a site that the model does not have, it raises UsageError in one sentence, or leaves it to the model."""
    model, _ = _places(subject)
    site = Site(kind="no_such_kind", layer=0)
    try:
        subject.make().at(model.model, site)
    except HarnessError as error:
        fail_unless(len(str(error).splitlines()) == 1, f"its error at '{site}' has several lines")
    except Exception as error:
        fail_unless(False, f"at a site that the model lacks it raises {describe(error)}, and no UsageError")


@check("representations", applies=reads_tokens)
def device(subject: Subject) -> None:
    """Loaded to another device it computes there."""
    placed, _ = place(subject)
    if placed.load is None:
        raise NotApplicable("it is fitted, on the device of its activations")
    x = samples.activations(9, placed.d_in)
    with pretended_device() as there:
        try:
            features = placed.load(str(there)).encode(Pretended(x))
        except (RuntimeError, TypeError, NotImplementedError) as error:
            said = str(error).splitlines()[0][:160]
            fail_unless("mixed" not in said and "numpy" not in said, f"it fails on another device: {said}")
            raise NotApplicable(f"it cannot be tried without that device: {said}") from error
        fail_unless(isinstance(features, Pretended), "loaded to another device, it encodes on the CPU")


@check("representations", applies=reads_inputs)
def rows(subject: Subject) -> None:
    """After the fit, the features of an input do not depend on the other inputs, nor on their order."""
    given = [*_inputs(subject)]
    made = subject.make()
    made.fit(given)
    whole = as_array(made.transform(given))
    check_same(whole[:1], made.transform(given[:1]), "an input alone has other features than among others")
    check_same(whole[::-1], made.transform(given[::-1]), "inputs in another order have other features")


@check("representations", applies=lambda subject: subject.choice.spec.needs == "text")
def empty(subject: Subject) -> None:
    """Texts without content, and words that the fit did not see, have a row of finite numbers."""
    made = subject.make()
    made.fit(_texts())
    given = [*samples.EMPTY, "zyxwv"]
    try:
        result = as_array(made.transform(given))
    except Exception as error:
        fail_unless(False, f"an empty text raises {describe(error)}")
    fail_unless(
        len(result) == len(given), f"{len(given)} texts without known content give {len(result)} rows"
    )
    fail_unless(np.isfinite(result).all(), "an empty text gives values that are not finite")


@check("representations", applies=reads_inputs)
def pickles(subject: Subject) -> None:
    """A fitted object can be pickled, and the copy gives the same features."""
    given = _inputs(subject)
    made = subject.make()
    made.fit(given)
    check_pickles(made, made.transform(given), lambda copy: copy.transform(given))


@check("representations", applies=lambda subject: reads_inputs(subject) and _is_identified(subject))
def own_identity(subject: Subject) -> None:
    """What it says identifies it is JSON without paths, and changes with every parameter that changes its features."""
    made = subject.make()
    _check_identity(made.identity())
    plain = _transform(subject)
    for changed in variants(subject):
        if not same(plain, _transform(subject, **changed)):
            _tell_apart(made.identity(), subject.make(**changed).identity(), changed)


def _is_identified(subject: Subject) -> bool:
    return isinstance(subject.make(), IdentifiedRepresentation)
