"""A model, texts or images, and recipes in, trained dictionaries out. Nothing here touches a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.api.data import Image, Site
from harness.api.protocols import Model
from harness.dictionaries.fidelity import measure_fit
from harness.training.learners import Started, start_learner
from harness.training.outcome import Trained, finish, measure_dead
from harness.training.recipe import Recipe
from harness.training.stream import TokenStream, cut_batches, fill_buffers, read_activations, read_heldout

SAMPLE_TOKENS = 32_768
"""Training activations on which the scale is measured, and in the end the threshold is set."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far training has come: tokens learnt from, their number a second, the part of the variance not yet rebuilt at
    each site in the latest batch, and how often the data has been begun.
    """

    tokens: int
    tokens_total: int
    tokens_per_s: float
    unexplained: Mapping[Site, float]
    passes: int


def train(
    model: Model,
    recipes: Mapping[Site, Recipe],
    *,
    inputs: Sequence[str | Image],
    heldout: Sequence[str | Image],
    device: str = "cpu",
    batch_size: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Trained, ...]:
    """A dictionary for each site, by recipes that agree on tokens, batches and seed. The same inputs and recipe give
    the same dictionary on the same machine, whatever other sites are trained beside it.
    """
    started = time.perf_counter()
    sites, recipe = list(recipes), next(iter(recipes.values()))
    loaded = model.load(sites, device)
    stream = TokenStream(model, inputs)
    parts = read_activations(loaded, stream, sites, batch_size=batch_size, device=device)
    learners: Mapping[Site, Started] = {}
    step = 0
    for buffer in fill_buffers(parts, recipe):
        learners = learners or start_learners(recipes, buffer)
        for batch in cut_batches(buffer, recipe.batch_tokens):
            lost = {site: learner.step(batch[site]) for site, learner in learners.items()}
            step += 1
            if is_hundredth(step, recipe.steps):
                report(tell_progress(recipe, step, lost, stream, time.perf_counter() - started))
    seconds = time.perf_counter() - started
    unseen = read_heldout(model, loaded, heldout, sites, batch_size=batch_size, device=device)
    trained = []
    for site, learner in learners.items():
        dictionary = finish(str(site), learner, recipes[site].l0)
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


def start_learners(recipes: Mapping[Site, Recipe], buffer: Mapping[Site, Tensor]) -> Mapping[Site, Started]:
    """Each site's learner, in units of the first activations; their copy keeps no buffer alive."""
    return {site: start_learner(recipes[site], buffer[site][:SAMPLE_TOKENS].clone()) for site in recipes}


def is_hundredth(step: int, steps: int) -> bool:
    """Whether this step completes another hundredth of all."""
    return step * 100 // steps > (step - 1) * 100 // steps


def tell_progress(
    recipe: Recipe, step: int, lost: Mapping[Site, Tensor], stream: TokenStream, seconds: float
) -> Progress:
    """What is told after so many steps and seconds; `lost` is each site's squared error in the latest batch."""
    tokens = step * recipe.batch_tokens
    return Progress(
        tokens=tokens,
        tokens_total=recipe.steps * recipe.batch_tokens,
        tokens_per_s=tokens / seconds,
        unexplained={site: float(value) for site, value in lost.items()},
        passes=stream.passes(tokens),
    )
