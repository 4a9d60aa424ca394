"""Measurement of patching: features chosen on one half of a behaviour, and what follows from them on the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness import (
    Dictionary,
    OpenModel,
    PredictingModel,
    Score,
    Session,
    Site,
    UsageError,
    load_decoder,
    locate,
    match_features,
    wilson_interval,
)
from harness_patching.arms import Arm, make_controls, of_dictionary
from harness_patching.asking import Asked, ask, batches_of, gap_of, kl_of, load, predict, slope_at
from harness_patching.behaviours import Behaviour, Encoded, take_items
from harness_patching.result import (
    AGAINST,
    NOT_TESTABLE,
    Curve,
    Difference,
    Edge,
    Node,
    Point,
    Result,
    Verdict,
    is_testable,
    judge,
)

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

RESAMPLES = 1000
"""Bootstrap resamples of the items, by the words that decide them."""

FEWEST = 20
"""Fewest items in each half that a model can be asked."""

FEWEST_GROUPS = 5
"""Fewest words, or pairs of words, by which the items of a half are decided: intervals are over these."""

Splice = Callable[[Asked, Tensor], Tensor]
"""Function from a batch and its activations at a site to what takes their place."""


@dataclass
class Followed:
    """Sums over items of one patch: differences in logits and KL, `[items]`."""

    gap: list[Array] = field(default_factory=list)
    kl: list[Array] = field(default_factory=list)


def patch(
    session: Session,
    behaviour: Behaviour,
    *,
    model: str | Mapping[str, Any],
    site: str,
    representation: str,
    sizes: Sequence[int],
    n_items: int,
    later: str | None = None,
    n_edges: int = 4,
    alone: bool = False,
    device: str,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Localise a behaviour of a model at a site.

    `sizes` are the numbers of features that are patched, `n_items` those of each half, and `later` a second site, to
    whose `n_edges` first features edges are measured; `alone`, the dictionary is compared with nothing. Raise
    UsageError for a model without predictions and for `sizes` beyond what there is, and UnavailableError for a
    dictionary without decoder.
    """
    began = time.process_time()
    opened = session.open_model(model, site, *([later] if later else []))
    sites = opened.sites
    if later and len(sites) == 1:  # both names mean the same site
        raise UsageError(f"edges lead from '{site}' to a later layer, and '{later}' is none")
    if len(sites) != (2 if later else 1):
        raise UsageError(f"patching is at one site, and edges lead to one more; '{site}' names {len(sites)}")
    if later and sites[1].layer <= sites[0].layer:
        raise UsageError(f"edges lead from '{sites[0]}' to a later layer, and '{sites[1]}' is none")
    choice = session.registry.choose("representations", representation)
    dictionaries = [
        load_decoder(locate(choice, opened, one, session.registry), representation, one, device)
        for one in sites
    ]
    most = min(opened.model.width(sites[0]), dictionaries[0].width)
    if max(sizes) > most:
        raise UsageError(
            f"{max(sizes)} features are to be patched at once, and there are {most} at '{sites[0]}': give smaller "
            "numbers with --features"
        )
    asking = _Asking(
        opened=opened, sites=sites, dictionaries=dictionaries, alone=alone, device=device, tell=tell
    )
    (choosing, some), (measured, others) = (
        take_items(behaviour, opened.model, n_items, half) for half in (0, 1)
    )
    found = asking.measure(choosing, measured, sizes=sizes, n_edges=n_edges)
    return Result(
        behaviour=behaviour.name,
        summary=behaviour.file.summary,
        model=opened.published_label,
        site=str(sites[0]),
        later_site=str(sites[1]) if later else None,
        dictionary=representation,
        n_choosing=len(choosing),
        n_measured=len(measured),
        n_left_out=some + others,
        accuracy=found.accuracy,
        curves=found.curves,
        nodes=found.nodes,
        differences=found.differences,
        edges=found.edges,
        verdict=found.verdict,
        reason=found.reason,
        cpu_minutes=(time.process_time() - began) / 60,
        device=device,
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of a behaviour; without curves where the model does not show it."""

    verdict: Verdict
    reason: str
    accuracy: Score | None = None
    curves: tuple[Curve, ...] = ()
    nodes: tuple[Node, ...] = ()
    differences: tuple[Difference, ...] = ()
    edges: tuple[Edge, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """Model with the sites at which it is patched, and a dictionary at each."""

    opened: OpenModel
    sites: Sequence[Site]
    dictionaries: Sequence[Dictionary]
    alone: bool
    device: str
    tell: Callable[[str], None]

    def measure(
        self, choosing: Sequence[Encoded], measured: Sequence[Encoded], *, sizes: Sequence[int], n_edges: int
    ) -> Measured:
        """Measure accuracy first, and patch where the model shows the behaviour."""
        if lack := find_lack(choosing, measured):
            return Measured(verdict=NOT_TESTABLE, reason=lack)
        self.tell("loading")
        whole = load(self.opened, self.sites[0], self.device)
        self.tell("asking")
        answers = [ask(whole, batch, self.sites) for batch in batches_of(measured)]
        weights = draw_weights([item.group for one in answers for item in one.items])
        accuracy = _measure_accuracy(answers, weights)
        if not is_testable(accuracy):
            reason = f"its accuracy on prompts and twins is {accuracy}, where guessing gives 0.5"
            return Measured(verdict=NOT_TESTABLE, reason=reason, accuracy=accuracy)
        self.tell("choosing features")
        asked = [ask(whole, batch, self.sites) for batch in batches_of(choosing)]
        first, *others = self.sites
        arms = make_arms(asked, first, self.dictionaries[0])[: 1 if self.alone else None]
        ranked = list(zip(arms, rank(whole, asked, first, arms), strict=True))
        found = _Found(whole=whole, answers=answers, weights=weights)
        curves = []
        for arm, order in ranked:
            self.tell(f"patching {arm.name}")
            curves.append(found.curve(arm, order, first, sizes))
        differences = () if self.alone else tuple(found.differences())
        edges: Iterator[Edge] = iter(())
        if others:
            self.tell("patching edges")
            (second,) = others
            then = of_dictionary(self.dictionaries[1])
            (chosen,) = rank(whole, asked, second, [then])
            chosen = chosen[:n_edges]
            placebos = find_placebos(then, chosen, asked, second)
            arm, order = ranked[0]
            edges = found.edges((arm, order[:n_edges]), (then, chosen), placebos, sites=self.sites)
        verdict, reason = judge(differences)
        return Measured(
            verdict=verdict,
            reason=reason,
            accuracy=accuracy,
            curves=tuple(curves),
            nodes=() if self.alone else tuple(found.nodes(self.dictionaries[0], first)),
            differences=differences,
            edges=tuple(edges),
        )


def find_lack(choosing: Sequence[Encoded], measured: Sequence[Encoded]) -> str:
    """Return why a model can be asked too little of a behaviour, empty where it can be asked enough."""
    fewest, groups = min(len(choosing), len(measured)), len({item.group for item in measured})
    if fewest < FEWEST:
        return (
            f"it can be asked {fewest} items of a half, where {FEWEST} are needed: prompt and twin must have as many "
            "tokens, and each answer one token"
        )
    if groups < FEWEST_GROUPS:
        return (
            f"it can be asked items that are decided by {groups} different words or pairs of words, and an interval "
            f"needs {FEWEST_GROUPS}"
        )
    return ""


def _measure_accuracy(answers: Sequence[Asked], weights: Array) -> Score:
    """Return the share of prompts and twins to which the right answer is the likelier one of the two."""
    prompts, twins = (
        np.concatenate([getattr(one, name).cpu().numpy() for one in answers])
        for name in ("prompt_gap", "twin_gap")
    )
    # To a twin the other answer is the right one.
    values = ((prompts > 0).astype(float) + (twins < 0)) / 2
    groups = len({item.group for one in answers for item in one.items})
    return score_accuracy(values, weights, groups)


def score_accuracy(values: Array, weights: Array, groups: int) -> Score:
    """Return the mean of values `[items]` in [0, 1] with its interval over the words that decide, of which there are
    `groups`: by bootstrap, and where all items have one value, of which no resample tells anything, by Wilson's
    formula for so many words.
    """
    if len(set(values.tolist())) > 1:
        return _score(np.concatenate([[values.mean()], weights @ values / weights.sum(1)]))
    value = float(values[0])
    low, high = wilson_interval(round(value * groups), groups)
    return Score(value=value, low=min(low, value), high=max(high, value), method="Wilson over deciding words")


# ── choosing features ────────────────────────────────────────────────────────────────────────────────────


def make_arms(asked: Sequence[Asked], site: Site, dictionary: Dictionary) -> list[Arm]:
    """Return the arms at a site, the dictionary first; those that are fitted are fitted on what was asked."""
    sample = torch.cat([rows[site] for one in asked for rows in (one.prompt_rows, one.twin_rows)])
    return [of_dictionary(dictionary), *make_controls(sample, dictionary)]


def rank(whole: PredictingModel, asked: Sequence[Asked], site: Site, arms: Sequence[Arm]) -> list[Tensor]:
    """Return the features of each arm at a site by how much of the difference in logits follows from patching them, to
    first order, summed over items.
    """
    gradients = [slope_at(whole, one, site) for one in asked]
    return [_order(arm, asked, gradients, site) for arm in arms]


@torch.inference_mode()
def _order(arm: Arm, answers: Sequence[Asked], gradients: Sequence[Tensor], site: Site) -> Tensor:
    effects = [
        arm.attribute(one.prompt_rows[site], one.twin_rows[site], gradient)
        for one, gradient in zip(answers, gradients, strict=True)
    ]
    return torch.stack(effects).sum(0).argsort(descending=True, stable=True)


@torch.inference_mode()
def find_placebos(arm: Arm, chosen: Tensor, asked: Sequence[Asked], site: Site) -> list[int]:
    """Return another feature of an arm for each of `chosen`: one of those whose absolute difference between prompts and
    twins, in the mean over tokens, is nearest. Fewer where these run out.
    """
    changes = [(arm.code(one.prompt_rows[site]) - arm.code(one.twin_rows[site])).abs() for one in asked]
    means = torch.cat(changes).double().mean(0).cpu().numpy()
    # A feature that never differs carries nothing whatever the model does: it would be no control.
    free = means > 0
    free[chosen.tolist()] = False
    return match_features(chosen.tolist(), free, means, seed=0)


# ── patching ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(kw_only=True)
class _Found:
    """Answers of a model to the measured items, and the areas of each arm's resamples, which are compared in pairs."""

    whole: PredictingModel
    answers: Sequence[Asked]
    weights: Array
    areas: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def curve(self, arm: Arm, order: Tensor, site: Site, sizes: Sequence[int]) -> Curve:
        """Patch the first features of an arm, so many at a time."""
        points, kls, logits = [], [], []
        for size in sizes:
            followed = self._follow(site, _patching(arm, site, order[:size]))
            kl, gap = self._recovered(followed)
            points.append(Point(patched=size, kl=_score(kl), logits=_score(gap)))
            kls.append(kl)
            logits.append(gap)
        areas = np.mean(kls, axis=0), np.mean(logits, axis=0)
        self.areas[arm.name] = areas
        return Curve(
            name=arm.name,
            features=tuple(int(feature) for feature in order[: max(sizes)]),
            points=tuple(points),
            kl_area=_score(areas[0]),
            logit_area=_score(areas[1]),
        )

    def nodes(self, dictionary: Dictionary, site: Site) -> Iterator[Node]:
        """Patch all features of the dictionary, what it does not reconstruct, and both; and reconstruct prompts."""
        arm = of_dictionary(dictionary)

        def features(one: Asked, rows: Tensor) -> Tensor:
            return rows + arm.change(one.prompt_rows[site], one.twin_rows[site])

        def error(one: Asked, rows: Tensor) -> Tensor:
            source, target = one.prompt_rows[site], one.twin_rows[site]
            return rows + (source - target) - arm.change(source, target)

        def both(one: Asked, rows: Tensor) -> Tensor:
            return features(one, rows) + error(one, rows) - rows

        def rebuilt(one: Asked, rows: Tensor) -> Tensor:
            return dictionary.rebuild(one.prompt_rows[site], dictionary.width)[0]

        for name, splice in (
            ("all features", features),
            ("error node alone", error),
            ("all features and error node", both),
            ("reconstruction spliced in", rebuilt),
        ):
            kl, logits = self._recovered(self._follow(site, splice))
            yield Node(name=name, kl=_score(kl), logits=_score(logits))

    def differences(self) -> Iterator[Difference]:
        """Compare the dictionary's areas with those of the other arms, over the same resamples."""
        own = self.areas["dictionary"]
        for name in AGAINST:
            kl, logits = (mine - other for mine, other in zip(own, self.areas[name], strict=True))
            yield Difference(against=name, kl=_score(kl), logits=_score(logits))

    def edges(
        self,
        earlier: tuple[Arm, Tensor],
        later: tuple[Arm, Tensor],
        placebos: Sequence[int],
        *,
        sites: Sequence[Site],
    ) -> Iterator[Edge]:
        """Patch each feature of the earlier arm, and give each of the later arm alone the value that follows, and its
        placebo alone.
        """
        (arm, order), (then, then_order) = earlier, later
        for feature in order.tolist():
            values, followed = self._read(arm, feature, sites)
            alone = _score(self._recovered(followed)[1])

            def through(other: int, values: Mapping[Asked, Tensor] = values) -> Array:
                chosen = torch.tensor([other], device=then_order.device)
                return self._recovered(self._follow(sites[1], _patching(then, sites[1], chosen, values)))[1]

            for other, placebo in zip_longest(then_order.tolist(), placebos):
                effect = through(other)
                edge = Edge(earlier=feature, later=other, effect=_score(effect), alone=alone)
                if placebo is not None:
                    control = through(placebo)
                    update = {"placebo": placebo, "placebo_effect": _score(control)}
                    edge = edge.model_copy(update={**update, "lead": _score(effect - control)})
                yield edge

    @torch.inference_mode()
    def _read(self, arm: Arm, feature: int, sites: Sequence[Site]) -> tuple[Mapping[Asked, Tensor], Followed]:
        """Patch one feature at the first site; return activations at the second by batch, and what follows."""
        first, second = sites
        chosen = torch.tensor([feature], device=arm.writes.device)
        kept: dict[Asked, Tensor] = {}

        def keep(one: Asked, rows: Tensor) -> Tensor:
            kept[one] = rows
            return rows

        return kept, self._follow(first, _patching(arm, first, chosen), {second: keep})

    @torch.inference_mode()
    def _follow(self, site: Site, splice: Splice, more: Mapping[Site, Splice] | None = None) -> Followed:
        """Ask the twins with `splice(asked, activations)` in the place of their activations at a site, and `more` at
        others.
        """
        followed = Followed()
        for one in self.answers:
            splices = {
                place: partial(_splice, one, change)
                for place, change in {site: splice, **(more or {})}.items()
            }
            predicted = predict(self.whole, [item.twin for item in one.items], splices)
            followed.gap.append(gap_of(predicted, one.items).double().cpu().numpy())
            followed.kl.append(kl_of(one.log_probabilities, predicted).double().cpu().numpy())
        return followed

    def _recovered(self, followed: Followed) -> tuple[Array, Array]:
        """Return the shares of KL and of the difference in logits that are recovered: `[1 + resamples]` each, of all
        items first.
        """
        gap, kl = np.concatenate(followed.gap), np.concatenate(followed.kl)
        prompt, twin, twin_kl = (
            np.concatenate([getattr(one, name).double().cpu().numpy() for one in self.answers])
            for name in ("prompt_gap", "twin_gap", "twin_kl")
        )
        weights = np.vstack([np.ones_like(gap), self.weights])
        return 1 - (weights @ kl) / (weights @ twin_kl), (weights @ (gap - twin)) / (
            weights @ (prompt - twin)
        )


def _splice(asked: Asked, change: Splice, rows: Tensor) -> Tensor:
    return change(asked, rows.float()).to(rows)


def _patching(arm: Arm, site: Site, features: Tensor, values: Mapping[Asked, Tensor] | None = None) -> Splice:
    """Return the splice that gives features of a batch's twins the values of its prompts, or of `values`, activations
    by batch.
    """

    def splice(asked: Asked, rows: Tensor) -> Tensor:
        source = asked.prompt_rows[site] if values is None else values[asked]
        return rows + arm.change(source, asked.twin_rows[site], features)

    return splice


def draw_weights(groups: Sequence[str]) -> Array:
    """Return how often each item counts in each resample `[resamples, items]`: groups are drawn, and items with them,
    because a model that fails on a word fails in every prompt with it.
    """
    names, numbers = np.unique(list(groups), return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES
    )
    counts: Array = drawn[:, numbers]
    return counts


def _score(values: Array) -> Score:
    """Return the first of values `[1 + resamples]` with the interval of the others."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Score(
        value=float(values[0]), low=float(low), high=float(high), method="bootstrap over deciding words"
    )
