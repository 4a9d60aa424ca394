"""Loading of weights into a model, with checks that the weights and sites are right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import Tokens, UnavailableError, UsageError, parsing
from harness_transformers.forward import LoadedTransformer
from harness_transformers.references import Files
from harness_transformers.silence import quiet
from harness_transformers.spreading import put
from harness_transformers.structure import Place, find_place

_PART = 1 << 22
"""Numbers of a weight that are looked at together."""

HARMLESS = 10_000_000
"""Numbers that a configuration may say beyond those of the weights before it is refused."""


def fill(
    name: str, kind: Any, config: Any, tensors: dict[str, torch.Tensor], *, dtype: str, attention: str
) -> tuple[Any, set[str]]:
    """Return a model with these weights, in evaluation mode on the CPU, and the names of faulty weights.

    Faulty weights are missing or have another shape. Raise UnavailableError if transformers cannot load the
    weights, and if they are few beside what the configuration says: what is missing would be drawn at random.
    """
    with quiet(), torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in kind(config).parameters())
    held = sum(tensor.numel() for tensor in tensors.values())
    if wanted > 2 * held + HARMLESS:
        raise UnavailableError(
            f"model '{name}': its config.json says {wanted:,} numbers for what is read here, and its weights hold "
            f"{held:,}: fetch a checkpoint that fits"
        )
    with parsing(f"model '{name}': its weights cannot be loaded"), quiet():
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    return model, {*report["missing_keys"], *(weight for weight, *_ in report["mismatched_keys"])}


def reading_dtype(skeleton: Any, dtype: str) -> torch.dtype | None:
    """Return the type that weights may have as soon as they are read; None where transformers has to choose it.

    Some classes keep parts in float32 whatever type is asked for, from what is stored.
    """
    kept = [getattr(skeleton, f"_keep_in_fp32_modules{strict}", None) for strict in ("", "_strict")]
    return None if dtype != "float32" and any(kept) else getattr(torch, dtype)


def settle(name: str, model: nn.Module, device: str, *, dtype: str, files: Iterable[Files]) -> None:
    """Move a filled model to a device, or a large one to several GPUs, and check that its weights are finite.

    `files` are those its weights were read from. Raise ChangedError if one was changed meanwhile.
    """
    put(name, model, device)
    for one in files:
        one.check_read()
    check_finite(name, model, dtype)


def check_complete(name: str, faulty: Iterable[str]) -> None:
    """Raise UnavailableError for a faulty weight, which transformers has filled with random values."""
    for weight in sorted(faulty):
        raise UnavailableError(
            f"model '{name}': its weights lack {weight}, or have it in another shape than "
            f"config.json says: fetch a checkpoint that fits"
        )


def check_finite(name: str, model: nn.Module, dtype: str) -> None:
    """Raise UnavailableError for a weight with values that are not finite."""
    for weight, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        # The mask of a large embedding would take as much memory again, so that it is made in parts.
        parts = (flat[start : start + _PART] for start in range(0, len(flat), _PART))
        if not all(torch.isfinite(part).all() for part in parts):
            raise UnavailableError(
                f"model '{name}': {weight} has values that are not finite in {dtype}: "
                f"fetch the weights again, or use another dtype"
            )


def check_sum(name: str, decoder: Any, block: nn.Module, dtype: str) -> None:
    """Raise UsageError unless a decoder's block output = block input + attn_out + mlp_out."""

    def read(places: Mapping[str, Place]) -> Mapping[str, torch.Tensor]:
        return LoadedTransformer(decoder, places).forward([probe(decoder.config, range(8))])

    check_added(name, read, block, decoder.config.hidden_size, dtype)


@torch.inference_mode()
def check_added(
    name: str,
    read: Callable[[Mapping[str, Place]], Mapping[str, torch.Tensor]],
    block: nn.Module,
    hidden: int,
    dtype: str,
) -> None:
    """Raise UsageError unless block output = block input + attn_out + mlp_out, as `read` gives them at places.

    Some model families scale what a block adds; they have no sites attn_out and mlp_out.
    """
    places: dict[str, Place | None] = {
        "before": Place(module=block, side="input", width=hidden),
        **{kind: find_place(block, kind, hidden) for kind in ("attn_out", "mlp_out", "resid_post")},
    }
    found = {key: place for key, place in places.items() if place is not None}
    values = read(found)
    terms = [values[key].float() for key in ("before", "attn_out", "mlp_out")]
    tolerance = 1e-3 if dtype == "float32" else 2e-2  # relative to the terms, because their sum may cancel
    if (values["resid_post"].float() - sum(terms)).norm() > tolerance * sum(term.norm() for term in terms):
        raise UsageError(
            f"model '{name}' adds something else to its residual stream than the outputs of "
            f"attention and MLP, so it has no sites attn_out and mlp_out: use resid_post or attn_z"
        )


def probe(config: Any, ids: Sequence[int]) -> Tokens:
    """Return content tokens with the given ids, modulo the vocabulary, for a test forward pass."""
    return Tokens(ids=np.array(ids) % config.vocab_size, content=np.ones(len(ids), dtype=np.bool_))
