"""Fitting of representations, and measuring of dictionaries, on sampled activations.

One pass of the model over a sample of training rows serves every fitted representation of a bundle. Another, over fewer
rows and one layer deeper, serves the fidelity gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from harness.api.data import Site, Tokens
from harness.api.errors import ENDS_RUN, UsageError
from harness.api.memory import explain
from harness.api.protocols import Autoencoder, PlacedRepresentation
from harness.dictionaries.dictionary import Dictionary
from harness.dictionaries.fidelity import measure
from harness.dictionaries.gate import Fidelity
from harness.features.activations import is_model_content
from harness.probing.threads import one_thread


def fit_all(
    fits: Mapping[str, tuple[Site, Callable[[torch.Tensor], Autoencoder]]],
    sample: Mapping[Site, torch.Tensor],
) -> tuple[dict[str, Dictionary], dict[str, Exception]]:
    """Fit each representation on the sample of its site. Return the dictionaries and the errors, both by key."""
    fitted: dict[str, Dictionary] = {}
    broken: dict[str, Exception] = {}
    for key, (site, fit) in fits.items():
        try:
            with one_thread():
                made = fit(sample[site])
            if not isinstance(made, Dictionary):  # nothing else can be stored for the next shards and runs
                wrong = type(made).__name__
                raise UsageError(f"what was fitted at '{site}' is a {wrong}, not a harness.Dictionary")
            fitted[key] = made
        except ENDS_RUN:
            raise
        except Exception as error:  # a representation of any plugin may fail in any way
            broken[key] = error
    return fitted, broken


def measure_all(
    placed: Mapping[str, tuple[Site, PlacedRepresentation]],
    sample: Mapping[Site, torch.Tensor],
    tokens: Sequence[Tokens],
    device: str,
) -> tuple[dict[str, Fidelity], dict[str, str]]:
    """Measure how well each dictionary reconstructs the sample of its site, given the tokens of that sample.

    Return the measurements and, where there are none, the reasons; both by key.
    """
    measured: dict[str, Fidelity] = {}
    broken: dict[str, str] = {}
    content = torch.cat([torch.from_numpy(is_model_content(one)) for one in tokens]).to(device)
    for key, (site, one) in placed.items():
        assert one.load_whole is not None  # only such have a key of the gate
        try:
            found = measure(
                one.load_whole(device),
                sample,
                site,
                content=content[: len(sample[site])],
                published_l0=one.published_l0,
            )
            if not all(math.isfinite(number) for number in vars(found).values() if isinstance(number, float)):
                raise UsageError("what it reconstructs is not finite")
            measured[key] = found
        except ENDS_RUN:
            raise
        except Exception as error:  # a loader of any plugin may fail in any way
            broken[key] = explain(error)
    return measured, broken
