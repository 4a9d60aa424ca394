"""Names of a model, texts and a folder in, dictionaries written there out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.files import write_json
from harness.plan import open_model
from harness.registry import Registry
from harness.suite import ModelChoice
from harness.texts import read_corpus
from harness.training.files import check_output, describe_training, save
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
