"""Errors for dictionaries that cannot be read at a site."""

from __future__ import annotations

import harness


def wrong_site(ref: str, trained_on: str, site: harness.Site) -> harness.UsageError:
    """Return the error for a dictionary that was trained elsewhere."""
    return harness.UsageError(
        f"dictionary '{ref}' was trained on {trained_on}, not on '{site}'; any_site=true reads it there all the same"
    )


def no_autoencoder(ref: str, kind: str) -> harness.UsageError:
    """Return the error for another kind of dictionary, such as a transcoder."""
    return harness.UsageError(
        f"dictionary '{ref}' is a {kind}, which predicts something else than it reads: only sparse autoencoders "
        f"are read"
    )
