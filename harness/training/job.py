"""Names of a model, texts and a folder in, dictionaries written there out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.api.data import Image
from harness.config.suite import ModelChoice
from harness.data.corpus import read_corpus
from harness.models.opened import OpenModel, open_model
from harness.registry.catalog import Registry
from harness.storage.atomic import write_json
from harness.training.files import check_output, describe_training, save
from harness.training.images import read_image_corpus
from harness.training.learners import import_sae_lens
from harness.training.loop import Progress, train
from harness.training.outcome import Trained
from harness.training.recipe import Architecture, make_recipe


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
    tell: Callable[[str], None] = lambda line: None,
) -> Mapping[Path, Trained]:
    """Train one dictionary for each site of `model` on the texts of `data`, or on the images where it reads those, and
    write them into `output`: the file of each, and what it holds. `width` is a number (1024, 16k) or a multiple of the
    site's size (8x); what is None takes its default. `tell` is told in a line what of the data is left out. UsageError
    where a dictionary of that layer and width is there and `replace` is not given.
    """
    opened = open_model(model, registry)
    recipes = {
        site: make_recipe(
            width,
            opened.model.width(site),
            architecture=architecture,
            tokens=tokens,
            l0=l0,
            l1=l1,
            learning_rate=learning_rate,
            batch_tokens=batch_tokens,
            seed=seed,
        )
        for site in opened.sites
    }
    check_output(output, recipes, replace=replace)
    if architecture != "tied":
        import_sae_lens()
    inputs, heldout = read_inputs(opened, data, tell)
    trained = train(
        opened.model,
        recipes,
        inputs=inputs,
        heldout=heldout,
        device=device,
        batch_size=batch_size,
        report=report,
    )
    written = {}
    for one in trained:
        path = save(one.dictionary, output, one.site.layer, one.fit.l0)
        write_json(path.with_name("training.json"), describe_training(one, opened, inputs, device))
        written[path] = one
    return written


def read_inputs(
    model: OpenModel, data: Sequence[Path], tell: Callable[[str], None]
) -> tuple[Sequence[str | Image], Sequence[str | Image]]:
    """What a model learns from, and what is held out."""
    if model.modality == "image":
        return read_image_corpus(data, tell=tell)
    return list(read_corpus(data, "train")), list(read_corpus(data, "heldout"))
