"""Errors for dictionaries that cannot be read as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import harness


def wrong_site(ref: str, trained_on: str, site: harness.Site) -> harness.UsageError:
    """Return the error for a dictionary that was trained elsewhere."""
    return harness.UsageError(
        f"dictionary '{ref}' was trained on {trained_on}, not on '{site}'; any_site=true reads it there all the same"
    )


def ambiguous(ref: str, file: str) -> harness.UsageError:
    """Return the error for a folder with a dictionary of its own and others in folders below it."""
    return harness.UsageError(
        f"'{ref}' holds {file} itself, and other dictionaries in folders below it: name the file or the folder that is "
        f"meant"
    )


def no_choice(ref: str, file: str) -> harness.UsageError:
    """Return the error for a width or an L0 that is asked of one dictionary whose name does not tell them."""
    return harness.UsageError(
        f"'{ref}' is the one dictionary {file}: leave out width and l0, which choose among several"
    )


def no_autoencoder(ref: str, kind: str) -> harness.UsageError:
    """Return the error for another kind of dictionary, such as a transcoder."""
    return harness.UsageError(
        f"dictionary '{ref}' is a {kind}, which predicts something else than it reads: only sparse autoencoders "
        f"are read"
    )


def check_pair(ref: str, W_enc: Sequence[int], W_dec: Sequence[int]) -> None:
    """Raise UsageError where the shapes are those of a transcoder: it writes another number of dimensions."""
    if len(W_enc) == len(W_dec) == 2 and W_enc[1] == W_dec[0] and W_enc[0] != W_dec[1]:
        raise harness.UsageError(
            f"dictionary '{ref}' reads {W_enc[0]:,} dimensions and writes {W_dec[1]:,}, so it is a transcoder: only "
            f"sparse autoencoders are read"
        )


def check_sizes(ref: str, config: str, said: Mapping[str, Any], held: Mapping[str, float]) -> None:
    """Raise UnavailableError where a size that `config` gives differs from that of the weights; None is unknown."""
    for name, size in said.items():
        if size is not None and size != held[name]:
            raise harness.UnavailableError(
                f"dictionary '{ref}': its {config} says {name} = {size}, and its weights have {held[name]}: they do "
                f"not belong together, so fetch both again"
            )
