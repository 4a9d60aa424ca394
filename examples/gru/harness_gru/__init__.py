"""A language model that is no transformer: two recurrent layers over bytes, trained on a few texts."""

from __future__ import annotations

import harness

HARNESS_API = 1


def make() -> harness.Model:
    """Return the model. Its module imports numpy, and its weights are not read before they are needed."""
    from harness_gru.model import Recurrent

    return Recurrent()


@harness.hookimpl
def harness_models() -> list[harness.ModelSpec]:
    return [
        harness.ModelSpec(
            name="gru",
            summary="a GRU of two layers over bytes, trained for a minute on short texts in six languages",
            make=make,
            toy=True,  # boards rank it apart from models that somebody would use
        )
    ]
