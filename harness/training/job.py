"""Training job: open a model, read its data, train one dictionary for each site and write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.api.data import Image
from harness.config.suite import ModelChoice
from harness.data.corpus import read_parts
from harness.models.opened import OpenModel, describe_flags, open_model
from harness.registry.catalog import Registry
from harness.storage.atomic import write_json
from harness.training.config import TrainingOptions
from harness.training.files import check_output, describe_training, save
from harness.training.images import read_image_corpus
from harness.training.learners import import_sae_lens
from harness.training.loop import Progress, train
from harness.training.outcome import Trained

CHECKPOINTS = "checkpoints"
"""Folder of a dictionary's earlier states, in the folder of dictionaries."""


def train_dictionaries(
    registry: Registry,
    *,
    model: ModelChoice,
    data: Sequence[Path],
    output: Path,
    device: str = "cpu",
    batch_size: int | None = None,
    replace: bool = False,
    checkpoints: int = 1,
    report: Callable[[Progress], None] = lambda progress: None,
    tell: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Mapping[Path, Trained]:
    """Train one dictionary for each site of `model` on the texts of `data` (images for a model of images), write them
    into `output`, and return each with its file. `options` are those of TrainingOptions. `tell` receives a line on data
    that is left out, and on flags of the model. Of several `checkpoints` the last is the trained dictionary; earlier
    ones are written into a folder for each, `checkpoints/tokens_N`. UsageError if a dictionary of that layer and width
    exists and `replace` is not given.
    """
    opened = open_model(model, registry)
    chosen = TrainingOptions(**options)
    configs = {site: chosen.at(opened.model.width(site)) for site in opened.sites}
    check_output(output, configs, replace=replace)
    if chosen.architecture != "tied":
        import_sae_lens()  # a missing package is reported before data is read
    for sentence in describe_flags([opened]):
        tell(sentence)
    for site in opened.sites:
        opened.model.identity(site)  # before the weights are loaded, which must be those that it names
    inputs, heldout = read_inputs(opened, data, tell)
    trained = train(
        opened.model,
        configs,
        inputs=inputs,
        heldout=heldout,
        device=device,
        batch_size=batch_size,
        checkpoints=checkpoints,
        report=report,
    )
    finished = trained[-1].tokens
    written = {}
    for one in trained:
        folder = output if one.tokens == finished else output / CHECKPOINTS / f"tokens_{one.tokens}"
        path = save(one.dictionary, folder, one.site.layer, one.fit.l0)
        write_json(path.with_name("training.json"), describe_training(one, opened, inputs, device))
        written[path] = one
    return written


def read_inputs(
    model: OpenModel, data: Sequence[Path], tell: Callable[[str], None]
) -> tuple[Sequence[str | Image], Sequence[str | Image]]:
    """Return training and held-out inputs of a model: images for one that reads images, else texts."""
    if model.modality == "image":
        return read_image_corpus(data, tell=tell)
    return read_parts(data)
