"""Sites of training by the names that configs give: hooks of TransformerLens and paths of modules."""

from __future__ import annotations

import re
from typing import Any

import harness

_PARTS = {"mlp": "mlp_out", "self_attn": "attn_out", "attn": "attn_out", "attention": "attn_out"}
"""Site kinds by the part of a block whose output is read."""

_PART = re.compile(
    r"(?P<block>(?:\w+\.)*(?:layers?|h|blocks)\.[0-9]{1,9})\.(?P<part>\w+?)(?:\.(?:hook_out|output))?"
)

_NORM_AFTER = re.compile(r"gemma[2-9]|diffusion_gemma|t5gemma|olmo[2-9]|olmo_hybrid|flex_olmo|exaone4|glm4")
"""Architectures in which a norm follows MLP and attention, so that what these give is not what they add."""


def read_hook(name: Any) -> harness.Site | str:
    """Return the site that a config's name of a hook or module means; the name itself, at most 80 letters, if that is
    no site.

    For the output of an MLP or of attention it is what they add to the residual stream; `check_part` refuses the
    models in which a norm comes between.
    """
    hook = str(name)
    if site := harness.find_site(hook):
        return site
    match = _PART.fullmatch(hook)
    block = harness.find_site(match["block"]) if match else None
    if match is None or block is None or match["part"] not in _PARTS:
        return hook[:80]
    return harness.Site(tower=block.tower, kind=_PARTS[match["part"]], layer=block.layer)


def check_part(ref: str, name: Any, model: harness.Model) -> None:
    """Raise UsageError where a hook reads an MLP or attention before the norm that follows it in a model."""
    hook = str(name)
    if harness.find_site(hook) is None and _PART.fullmatch(hook) and _NORM_AFTER.search(model.architecture):
        raise harness.UsageError(
            f"dictionary '{ref}' reads '{hook[:80]}', which comes before a norm in {model.architecture}: mlp_out and "
            f"attn_out are read after it"
        )
