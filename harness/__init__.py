"""A plugin-based evaluation harness for sparse-autoencoder features.

These names are all that a plugin may import. Importing them imports neither torch nor any plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api import (
    Alignment,
    AlignmentSpec,
    Autoencoder,
    BatchStats,
    BundleStats,
    Classifier,
    ClassifierSpec,
    Columns,
    Conversation,
    Encoder,
    Examples,
    FileSource,
    HubSource,
    Image,
    ImageModel,
    InputRepresentation,
    LanguageModel,
    LoadedImageModel,
    LoadedModel,
    Located,
    Message,
    Model,
    ModelSpec,
    Multilingual,
    Partition,
    Pooling,
    PoolingSpec,
    RankedPooling,
    Regime,
    RegimeSpec,
    RepresentationSpec,
    Site,
    SplicedModel,
    Summary,
    TaskSpec,
    TokenRepresentation,
    Tokens,
    Transform,
    TransformSpec,
    Weighted,
)
from harness.errors import (
    DataError,
    GateError,
    HarnessError,
    MissingError,
    NothingSelectedError,
    UsageError,
    WriteError,
    did_you_mean,
)
from harness.hookspecs import hookimpl
from harness.identity import hash_file, hash_json

if TYPE_CHECKING:
    from harness.dictionary import Dictionary as Dictionary
    from harness.images import decode_image, read_image
    from harness.session import Session, open

__all__ = [
    "Alignment",
    "AlignmentSpec",
    "Autoencoder",
    "BatchStats",
    "BundleStats",
    "Classifier",
    "ClassifierSpec",
    "Columns",
    "Conversation",
    "DataError",
    "Dictionary",
    "Encoder",
    "Examples",
    "FileSource",
    "GateError",
    "HarnessError",
    "HubSource",
    "Image",
    "ImageModel",
    "InputRepresentation",
    "LanguageModel",
    "LoadedImageModel",
    "LoadedModel",
    "Located",
    "Message",
    "MissingError",
    "Model",
    "ModelSpec",
    "Multilingual",
    "NothingSelectedError",
    "Partition",
    "Pooling",
    "PoolingSpec",
    "RankedPooling",
    "Regime",
    "RegimeSpec",
    "RepresentationSpec",
    "Session",
    "Site",
    "SplicedModel",
    "Summary",
    "TaskSpec",
    "TokenRepresentation",
    "Tokens",
    "Transform",
    "TransformSpec",
    "UsageError",
    "Weighted",
    "WriteError",
    "decode_image",
    "did_you_mean",
    "hash_file",
    "hash_json",
    "hookimpl",
    "open",
    "read_image",
]

# Loaded on first use: these need torch, pydantic or pillow, which a plugin that only lists its offers must not pay for.
_LAZY = {
    "Dictionary": "harness.dictionary",
    "Session": "harness.session",
    "decode_image": "harness.images",
    "open": "harness.session",
    "read_image": "harness.images",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'harness' has no attribute '{name}'")
