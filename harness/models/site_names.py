"""Names of sites as other libraries write them, and what they are called here."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HOOKS: Mapping[str, str] = {
    "hook_resid_post": "resid_post",
    "hook_out": "resid_post",
    "hook_mlp_out": "mlp_out",
    "hook_attn_out": "attn_out",
    "attn.hook_z": "attn_z",
    "hook_z": "attn_z",
    "mlp.hook_out": "mlp_out",
    "attn.hook_out": "attn_out",
}
"""Site kinds by TransformerLens' hook, after `blocks.L.`."""

_MODULES: Mapping[str, str] = {
    "": "resid_post",
    "mlp": "mlp_out",
    "post_feedforward_layernorm": "mlp_out",
    "self_attn": "attn_out",
    "attn": "attn_out",
    "attention": "attn_out",
    "self_attn.o_proj": "attn_z",
    "attn.c_proj": "attn_z",
    "attention.dense": "attn_z",
}
"""Site kinds by the part of a block that its module's path ends in."""

_HOOK = re.compile(r"(?:blocks\.(?P<layer>\d+)\.)?(?P<hook>(?:\w+\.)?hook_\w+)")
_MODULE = re.compile(
    r"(?P<root>(?:\w+\.)*)(?:layers|h|blocks|resblocks)\.(?P<layer>\d+)(?:\.(?P<part>[\w.]+))?"
)
_BEFORE = re.compile(r"(?P<tower>[a-z]+\.)?(?:hook_)?resid_pre\.(?P<layer>\d+)")


def explain_site(text: str) -> str:
    """Return what a site's name in another library is, and what to write instead; empty for other texts."""
    text = text.strip()
    if match := _BEFORE.fullmatch(text):
        return _before(int(match["layer"]), match["tower"] or "")
    if match := _HOOK.fullmatch(text):
        return _hooked(match["hook"], match["layer"])
    if match := _MODULE.fullmatch(text):
        kind = _MODULES.get(re.sub(r"(?:^|\.)(?:input|output)$", "", match["part"] or ""))
        tower = "vision." if re.search(r"vision|visual", match["root"]) else ""
        known = f"write {tower}{kind}.{match['layer']}" if kind else _no_site("part of a block")
        return f"it is the path of a module, {known}"
    if match := re.fullmatch(r"hidden_states(?:\[|\.)(\d+)\]?", text):
        return f"{_before(int(match[1]), '')}; the last of hidden_states is after the final norm, which is no site"
    return ""


def _hooked(hook: str, layer: str | None) -> str:
    if hook == "hook_resid_pre" and layer is not None:
        return _before(int(layer), "")
    kind = _HOOKS.get(hook)
    known = f"write {kind}.{layer or 'LAYER'}" if kind else _no_site("hook")
    return f"it is a hook of TransformerLens, {known}"


def _before(layer: int, tower: str) -> str:
    """Return what is said of the residual stream before a block."""
    if layer == 0:
        first = f"the first is {tower}resid_post.0"
        return f"before block 0 the residual stream is the embedding, which is no site; {first}"
    written = f"{tower}resid_post.{layer - 1}"
    return f"the residual stream before block {layer} is that after block {layer - 1}, write {written}"


def _no_site(what: str) -> str:
    return f"and that {what} is no site: the kinds are resid_post, mlp_out, attn_out and attn_z"
