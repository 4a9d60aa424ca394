"""Names of sites as other libraries write them: those with one reading are read, others are explained."""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.api.data import Site

_HOOKS: Mapping[str, str] = {
    "hook_resid_post": "resid_post",
    "hook_mlp_out": "mlp_out",
    "hook_attn_out": "attn_out",
    "attn.hook_z": "attn_z",
}
"""Site kinds by TransformerLens' hook, after `blocks.L.`. Its hook_mlp_out and hook_attn_out come after the norm that
follows MLP or attention in some families (Gemma 2 and 3, OLMo 2), as mlp_out and attn_out do here.
"""

_OTHER_HOOKS: Mapping[str, str] = {
    "hook_out": "resid_post",
    "hook_z": "attn_z",
    "mlp.hook_out": "mlp_out",
    "attn.hook_out": "attn_out",
}
"""Site kinds of hooks that are explained alone: what a part gives is what it adds only where no norm follows it."""

_MODULES: Mapping[str, str] = {
    "": "resid_post",
    "output": "resid_post",
    "post_feedforward_layernorm": "mlp_out",
    "post_feedforward_layernorm.output": "mlp_out",
    "self_attn.o_proj.input": "attn_z",
    "attn.c_proj.input": "attn_z",
    "attention.dense.input": "attn_z",
}
"""Site kinds by the end of a module's path, after the block: its output, or its input where the path says so."""

_OTHER_MODULES: Mapping[str, str] = {
    "mlp": "mlp_out",
    "self_attn": "attn_out",
    "attn": "attn_out",
    "attention": "attn_out",
    "self_attn.o_proj": "attn_z",
    "attn.c_proj": "attn_z",
    "attention.dense": "attn_z",
}
"""Site kinds of modules that are explained alone: a norm may follow, or the path does not say which side is read."""

_HOOK = re.compile(r"(?:blocks\.(?P<layer>[0-9]{1,9})\.)?(?P<hook>(?:\w+\.)?hook_\w+)")
_MODULE = re.compile(
    r"(?P<root>(?:\w+\.)*)(?:layers?|h|blocks|resblocks)\.(?P<layer>[0-9]{1,9})(?:\.(?P<part>[a-z_][\w.]*))?"
)
_BEFORE = re.compile(r"(?:(?P<tower>[a-z]+)\.)?(?:hook_)?resid_pre\.(?P<layer>[0-9]{1,9})")


def find_site(name: str) -> Site | None:
    """Return the site that a name means: of TransformerLens (`blocks.12.hook_resid_post`), a module's path of
    Hugging Face (`model.layers.12.output`), or the harness's own; None for other names, and for those that mean one
    place in one model and another in the next.
    """
    name = name.strip()
    if match := re.fullmatch(r"(?:([a-z]+)\.)?(resid_post|mlp_out|attn_out|attn_z)\.([0-9]{1,9})", name):
        return Site(tower=match[1] or "", kind=match[2], layer=int(match[3]))
    if match := _HOOK.fullmatch(name):
        if match["layer"] is None:
            return None
        layer, hook = int(match["layer"]), match["hook"]
        if hook == "hook_resid_pre":
            return _after_block(layer - 1, "")
        return Site(kind=_HOOKS[hook], layer=layer) if hook in _HOOKS else None
    if match := _MODULE.fullmatch(name):
        layer, part, tower = int(match["layer"]), match["part"] or "", _tower(match["root"])
        if part == "input":
            return _after_block(layer - 1, tower)
        return Site(tower=tower, kind=_MODULES[part], layer=layer) if part in _MODULES else None
    return None


def explain_site(text: str) -> str:
    """Return what a site's name in another library is, and what to write instead; empty for other texts."""
    text = text.strip()
    if match := _BEFORE.fullmatch(text):
        return _before(int(match["layer"]), match["tower"] or "")
    if match := _HOOK.fullmatch(text):
        return _hooked(match["hook"], match["layer"])
    if match := _MODULE.fullmatch(text):
        return _of_module(int(match["layer"]), match["part"] or "", _tower(match["root"]))
    if match := re.fullmatch(r"hidden_states(?:\[|\.)([0-9]{1,9})\]?", text):
        return f"{_before(int(match[1]), '')}; the last of hidden_states is after the final norm, which is no site"
    return ""


def _after_block(layer: int, tower: str) -> Site | None:
    """Return the residual stream after a block; None before the first, where it is the embedding."""
    return Site(tower=tower, kind="resid_post", layer=layer) if layer >= 0 else None


def _tower(root: str) -> str:
    return "vision" if re.search(r"vision|visual", root) else ""


def _hooked(hook: str, layer: str | None) -> str:
    if hook == "hook_resid_pre" and layer is not None:
        return _before(int(layer), "")
    kind = _HOOKS.get(hook) or _OTHER_HOOKS.get(hook)
    known = f"write {kind}.{layer or 'LAYER'}{_unless_normed(hook, kind)}" if kind else _no_site("hook")
    return f"it is a hook of TransformerLens, {known}"


def _of_module(layer: int, part: str, tower: str) -> str:
    if part == "input":
        return _before(layer, tower)
    part = re.sub(r"\.output$", "", part)
    kind = _MODULES.get(part) or _OTHER_MODULES.get(re.sub(r"\.input$", "", part))
    if kind is None:
        return f"it is the path of a module, {_no_site('part of a block')}"
    written = Site(tower=tower, kind=kind, layer=layer)
    return f"it is the path of a module, write {written}{_unless_normed(part, kind)}"


def _unless_normed(part: str, kind: str | None) -> str:
    """Return the condition of a name that is a site only where no norm follows the part."""
    depends = kind in ("mlp_out", "attn_out") and part not in (*_HOOKS, *_MODULES)
    return " where no norm follows that part, as it does in Gemma 2 and 3" if depends else ""


def _before(layer: int, tower: str) -> str:
    """Return what is said of the residual stream before a block."""
    if layer == 0:
        first = Site(tower=tower, kind="resid_post", layer=0)
        return f"before block 0 the residual stream is the embedding, which is no site; the first is {first}"
    written = Site(tower=tower, kind="resid_post", layer=layer - 1)
    return f"the residual stream before block {layer} is that after block {layer - 1}, write {written}"


def _no_site(what: str) -> str:
    return f"and that {what} is no site: the kinds are resid_post, mlp_out, attn_out and attn_z"
