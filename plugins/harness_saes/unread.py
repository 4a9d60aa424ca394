"""What a reference is that no reader here serves, recognised by its form or its files, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import harness

_MOST_BYTES = 1 << 20
"""Length of the beginning of a file that is read to recognise it."""

_REWRITE = (
    "write W_enc [d_in, d_sae], b_enc, threshold (0 for a ReLU), W_dec and b_dec into a params.npz, as Gemma Scope has "
    "them, and name its folder"
)
_READ = (
    "docs/dictionaries.md lists what is; or put a dictionary.yaml beside its safetensors, which says how they are "
    "read"
)
_NO_PAIRS = "which predicts something else than it reads: only sparse autoencoders are read"
_NO_MODEL = "a model, no dictionary: name it under models"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Kind of file or folder that is not read: one of its `files` (patterns), what its config says, and a sentence."""

    files: Sequence[str]
    says: Callable[[Mapping[str, Any]], bool] = lambda config: True
    sentence: str


def _is_pair(config: Mapping[str, Any]) -> bool:
    """Return whether a config is that of a transcoder or crosscoder."""
    keys = ("architecture", "type", "model_type", "sae_type", "model_kind")
    named = " ".join(str(config.get(key, "")) for key in keys)
    trainer = config.get("trainer")
    named += str(trainer.get("dict_class", "")) if isinstance(trainer, Mapping) else ""
    flags = any(config.get(key) is True for key in ("is_transcoder", "transcode"))
    return flags or re.search(r"transcoder|crosscoder|\bclt\b", named.lower()) is not None


def _is_model(config: Mapping[str, Any]) -> bool:
    return "model_type" in config or "architectures" in config


_KINDS: Sequence[Kind] = (
    Kind(
        files=["W_enc_*.safetensors", "params_layer_*.safetensors"],
        sentence=f"a cross-layer transcoder, {_NO_PAIRS}",
    ),
    Kind(
        files=["cfg.json", "config.json", "config.yaml"],
        says=_is_pair,
        sentence=f"a transcoder or crosscoder, {_NO_PAIRS}",
    ),
    Kind(
        files=["sae_weights.safetensors"],
        sentence="the weights of a dictionary of SAELens without a cfg.json of it, which says how they are read: "
        "name a folder with both",
    ),
    Kind(
        files=["ae.pt", "ae_*.pt"],
        sentence="the weights of a dictionary of dictionary_learning without a config.json of it, which says how they "
        "are read: name a folder with both",
    ),
    Kind(
        files=["*.dcp"],
        sentence="a checkpoint of PyTorch's distributed training, in pieces, which is not read: load it with its own "
        "library, and save it from one process, as sae_weights.safetensors",
    ),
    Kind(files=["adapter_config.json", "*.gguf", "model*.safetensors", "*.onnx"], sentence=_NO_MODEL),
    Kind(files=["config.json"], says=_is_model, sentence=_NO_MODEL),
    Kind(
        files=["cfg.json"],
        sentence="a cfg.json without the weights of its dictionary: name the folder with both",
    ),
)
"""What has such a file, and is not read; the first that fits counts."""

_WEIGHTS = ("sae_weights.safetensors", "sae.safetensors", "ae.pt", "params.npz", "params.safetensors")
"""Files of weights that are described with their folder."""

_BELOW = (
    *(f"*/{name}" for name in (*_WEIGHTS, "sae.pt", "weights.pt")),
    *("*/layer_*/*/*/params.npz", "*/*/layer_*/params.safetensors"),
)
"""Dictionaries in folders below one that is named."""

_OPENAI = (b"pre_bias", b"latent_bias")
"""Names in the state dict of OpenAI's checkpoints."""


def describe_path(path: Path) -> str:
    """Return what lies at a path that no reader serves, and the way out."""
    if not path.is_dir():
        return _describe_file(path)
    names = sorted(each.name for each in path.iterdir())
    if not names:
        return "an empty folder: name one that holds a dictionary"
    for kind in _KINDS:
        for pattern in kind.files:
            if any(fnmatch(name, pattern) for name in names) and kind.says(_config(path)):
                return kind.sentence
    found = (each for file in _BELOW for each in path.glob(file))
    below = sorted({each.relative_to(path).parts[0] for each in found})
    if below:
        return (
            f"a folder of dictionaries: name one of them, {', '.join(below[:5])}{', …' if below[5:] else ''}"
        )
    return f"a folder without a dictionary in a layout that is read: {_READ}"


def _describe_file(path: Path) -> str:
    if not path.is_file():
        return f"neither a file nor a folder: {_READ}"
    if path.name in _WEIGHTS:
        return describe_path(path.parent)
    with path.open("rb") as file:
        start = file.read(_MOST_BYTES)
    if path.suffix == ".pt" and all(name in start for name in _OPENAI):
        return (
            "a dictionary of OpenAI's sparse_autoencoder that is damaged, or that holds Python objects which could run "
            "code: fetch it again, or ask its author for the tensors alone, torch.save(sae.state_dict(), path)"
        )
    if path.suffix in {".gguf", ".onnx", ".safetensors"}:
        return "a file of weights: name the folder that holds it, if it is a dictionary's"
    if path.suffix in {".pt", ".pth", ".bin", ".pkl"}:
        return f"a pickled file of none of the layouts that are read: {_REWRITE}"
    return f"a file of no dictionary: {_READ}"


def _config(folder: Path) -> Mapping[str, Any]:
    """Return the config of a folder; an empty one where none can be read."""
    for name in ("cfg.json", "config.json"):
        with suppress(harness.HarnessError):
            return harness.read_mapping(folder / name, name)
    with suppress(harness.HarnessError):
        return harness.read_yaml(folder / "config.yaml", "config").tree
    return {}


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────

_SCOPE = re.compile(
    r"gemma-scope-(?P<size>2b|9b|27b)-(?P<trained>pt|it)-(?P<kind>res|mlp|att|transcoders)(?:-canonical)?"
    r"(?:/(?:layer_(?P<layer>\d+)/)?width_(?P<width>\w+?)/(?P<l0>canonical|average_l0_\d+))?/?"
)
"""Releases of Gemma Scope as SAELens names them."""
_SCOPE_2 = re.compile(
    r"gemma-scope-2-(?:270m|1b|4b|12b|27b)-(?:pt|it)-(?P<part>res|att|mlp|transcoders|crosscoders|clt)\w*(?:-all)?"
    r"(?:/layer_(?P<layer>\d+)_width_(?P<width>\w+?)_l0_(?P<l0>small|medium|big)\w*)?/?"
)
_RELEASE = re.compile(
    r"(?:gpt2|pythia|llama_scope|llama-3|mistral-7b|qwen|gemma-2b|gemma-[23]|gemma-scope|sae_bench|deepseek-r1-distill|"
    r"goodfire-|mwhanna|mntss|temporal-sae)[-_.\d]?[\w.-]*(?:/.*)?"
)
"""Releases of SAELens; none is the name of an organisation on the hub."""
_SCHEME = re.compile(r"(?!saelens:|neuronpedia:)(?i:sae[-_ ]?lens?|neuron[-_ ]?pedia):(?=.)")
"""Schemes that are nearly those of names of SAELens and Neuronpedia."""
_KINDS_OF_SCOPE = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_z"}


def explain_name(ref: str) -> str:
    """Return what a name of SAELens or a hook's name is, and what to write instead; empty for other references."""
    if match := _SCOPE.fullmatch(ref):
        return _explain_scope(match)
    if match := _SCOPE_2.fullmatch(ref):
        kind = _KINDS_OF_SCOPE.get(match["part"])
        if kind is None:
            return f"SAELens' name of a transcoder or crosscoder, {_NO_PAIRS}"
        chosen = f"gemma-scope-2[width={match['width'] or '16k'},l0={match['l0'] or 'medium'}]"
        return f"a name of SAELens: write {chosen}, at the site {kind}.{match['layer'] or 'LAYER'}"
    if re.match(r"blocks\.\d+\.[\w.]*hook_", ref):
        return "a hook of TransformerLens, which is a site and no dictionary: name it under sites"
    if match := _SCHEME.match(ref):
        said = "saelens" if match[0].lower().startswith("sae") else "neuronpedia"
        return f"no name; did you mean '{said}:{ref[match.end() :]}'?"
    if _RELEASE.fullmatch(ref) and _may_be_release(ref.partition("/")[0]):
        return f"a name of SAELens: write saelens:{ref.rstrip('/')}{'' if '/' in ref.rstrip('/') else '/ID'}"
    return ""


def _may_be_release(name: str) -> bool:
    """Check whether SAELens' table has a release; True where that table is not here."""
    from harness_saes.releases import find_table, read_table

    if find_table() is None:
        return True
    with suppress(harness.UnavailableError):
        return name in read_table(name)
    return True


def _explain_scope(match: re.Match[str]) -> str:
    kind = _KINDS_OF_SCOPE.get(match["kind"])
    if kind is None:
        return f"SAELens' name of a transcoder, {_NO_PAIRS}"
    site = f"at the site {kind}.{match['layer'] or 'LAYER'}"
    if (match["l0"] or "canonical") == "canonical":  # the L0 nearest to 100, the default here too
        return f"a name of SAELens: write gemma-scope[width={match['width'] or '16k'}], {site}"
    inside = f"layer_{match['layer']}/width_{match['width']}/{match['l0']}"
    repository = f"google/gemma-scope-{match['size']}-{match['trained']}-{match['kind']}"
    return f"a name of SAELens: write {repository}/{inside}, {site}"


def refuse(ref: str) -> harness.HarnessError | None:
    """Return the error for a reference that no plugin serves, if it is known what it is."""
    path = harness.local_path(ref)
    if path.exists():
        return harness.UnavailableError(f"representation '{ref}' is {describe_path(path)}")
    said = explain_name(ref)
    return harness.UsageError(f"representation '{ref}' is {said}") if said else None
