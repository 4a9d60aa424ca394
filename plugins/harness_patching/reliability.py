"""Area under a behaviour's curve as a score of a dictionary, whose reliability is measured: few items, three sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harness import LabelledTask, NotTestableError, Session
from harness_patching.behaviours import Behaviour, read_behaviour
from harness_patching.measure import patch

SIZES = (1, 4, 16)
"""Numbers of patched features, over which the area is the mean."""

ITEMS = 24
"""Items in each half."""


def open_area(behaviour: str, task: LabelledTask) -> Callable[[str, int], float]:
    """Return the score of a dictionary of a task's model, at the task's site: the area under KL recovered against the
    number of patched features. It raises NotTestableError where the model does not show the behaviour.
    """
    session = Session(task.registry, data_dir=None, cache_dir=task.registry.cache_dir, device="cpu")
    choice, known = task.model.choice, read_behaviour(behaviour)
    given = {name: value for name, value in choice.given.items() if name not in choice.implied}

    def measure(dictionary: str, seed: int) -> float:
        # Items are drawn by the behaviour's name: of another name there are others.
        drawn = Behaviour(name=f"{known.name} {seed}", file=known.file) if seed else known
        result = patch(
            session, drawn, model={"ref": choice.name, **given}, site=str(task.site), representation=dictionary,
            sizes=SIZES, n_items=ITEMS, alone=True, device="cpu",
        )  # fmt: skip
        own = result.find("dictionary")
        if own is None:
            raise NotTestableError(result.reason)
        return own.kl_area.value

    return measure


open_indirect_object = partial(open_area, "indirect-object")

open_agreement = partial(open_area, "agreement")

open_gendered_pronoun = partial(open_area, "gendered-pronoun")
