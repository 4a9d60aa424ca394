"""A plugin-based evaluation harness for sparse-autoencoder features.

These names are all that a plugin may import. Importing them imports neither torch nor any plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api.data import Conversation, Examples, Image, Message, Partition, Site, Tokens
from harness.api.errors import (
    ChangedError,
    DataError,
    GateError,
    HarnessError,
    NothingSelectedError,
    NotTestableError,
    UnavailableError,
    UsageError,
    WriteError,
    describe,
    did_you_mean,
    name_some,
)
from harness.api.events import (
    BatchFinished,
    BundleFinished,
    CellFinished,
    RunFinished,
    RunStarted,
    Score,
    Summary,
)
from harness.api.hookspecs import hookimpl
from harness.api.names import short_names
from harness.api.protocols import (
    API_VERSION,
    Alignment,
    Answering,
    AnsweringModel,
    Autoencoder,
    Classifier,
    DerivedPooling,
    Encoder,
    Flagged,
    GridClassifier,
    IdentifiedRepresentation,
    ImageModel,
    InputRepresentation,
    LanguageModel,
    LinearClassifier,
    LoadedImageModel,
    LoadedModel,
    Model,
    Multilingual,
    PlacedRepresentation,
    Pooling,
    PredictingModel,
    RankedPooling,
    Regime,
    SpellingModel,
    SplicedModel,
    TokenRepresentation,
    Transform,
)
from harness.api.specs import (
    AlignmentSpec,
    ClassifierSpec,
    CommandSpec,
    DictionaryScoreSpec,
    ExecutorSpec,
    ExplainerSpec,
    ModelSpec,
    PoolingSpec,
    RegimeSpec,
    RepresentationSpec,
    ResultSpec,
    TransformSpec,
)
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec
from harness.api.text import csv_text, escape_markdown, markdown_table, printable
from harness.models.site_names import find_site
from harness.storage.hashing import hash_file, hash_json, unchanged
from harness.storage.hub import HubFiles, is_offline
from harness.storage.limits import check_memory, check_numbers
from harness.storage.parsing import ParseError, parsing, read_mapping
from harness.storage.paths import local_path, path_inside
from harness.storage.reading import check_unpacked, open_parquet, read_description, read_unpacked
from harness.storage.strict_json import parse_json

if TYPE_CHECKING:
    from harness.api.claims import Claim, ResultPage
    from harness.api.executors import (
        Answer,
        Executor,
        Packed,
        Pool,
        Unit,
        Worker,
        WorkerSetting,
        Workplace,
    )
    from harness.api.explainers import (
        Explainer,
        Fragment,
        Judge,
        OpenExplainer,
        Opening,
        Passage,
        Simulator,
    )
    from harness.config.yaml import read_yaml
    from harness.data.images import decode_image, read_image
    from harness.data.inputs import parse_input
    from harness.data.sources import read_table
    from harness.dictionaries.dictionary import Activation, InputNorm
    from harness.dictionaries.dictionary import Dictionary as Dictionary
    from harness.features.answering import ChoiceScores, check_answering, score_choices, write_answers
    from harness.features.featurize import plan_batches, run_batches
    from harness.models.opened import OpenModel, load_decoder, locate
    from harness.planning.labelled import LabelledTask, Probed
    from harness.runs.messages import LossyStream
    from harness.runs.worker import open_worker
    from harness.session import Session, open, resolve_device
    from harness.stats.bootstrap import exact_mcnemar, holm, wilson_interval
    from harness.stats.matching import match_features
    from harness.storage.atomic import whole_file
    from harness.storage.cached_folder import cached_folder
    from harness.storage.results import ResultModel, check_writable, read_result, write_result

__all__ = [
    "API_VERSION",
    "Activation",
    "Alignment",
    "AlignmentSpec",
    "Answer",
    "Answering",
    "AnsweringModel",
    "Autoencoder",
    "BatchFinished",
    "BundleFinished",
    "CellFinished",
    "ChangedError",
    "ChoiceScores",
    "Claim",
    "Classifier",
    "ClassifierSpec",
    "Columns",
    "CommandSpec",
    "Conversation",
    "DataError",
    "DerivedPooling",
    "Dictionary",
    "DictionaryScoreSpec",
    "Encoder",
    "Examples",
    "Executor",
    "ExecutorSpec",
    "Explainer",
    "ExplainerSpec",
    "FileSource",
    "Flagged",
    "Fragment",
    "GateError",
    "GridClassifier",
    "HarnessError",
    "HubFiles",
    "HubSource",
    "IdentifiedRepresentation",
    "Image",
    "ImageModel",
    "InputNorm",
    "InputRepresentation",
    "Judge",
    "LabelledTask",
    "LanguageModel",
    "LinearClassifier",
    "LoadedImageModel",
    "LoadedModel",
    "LossyStream",
    "Message",
    "Model",
    "ModelSpec",
    "Multilingual",
    "NotTestableError",
    "NothingSelectedError",
    "OpenExplainer",
    "OpenModel",
    "Opening",
    "Packed",
    "ParseError",
    "Partition",
    "Passage",
    "PlacedRepresentation",
    "Pool",
    "Pooling",
    "PoolingSpec",
    "PredictingModel",
    "Probed",
    "RankedPooling",
    "Regime",
    "RegimeSpec",
    "RepresentationSpec",
    "ResultModel",
    "ResultPage",
    "ResultSpec",
    "RunFinished",
    "RunStarted",
    "Score",
    "Session",
    "Simulator",
    "Site",
    "SpellingModel",
    "SplicedModel",
    "Summary",
    "TaskSpec",
    "TokenRepresentation",
    "Tokens",
    "Transform",
    "TransformSpec",
    "UnavailableError",
    "Unit",
    "UsageError",
    "Worker",
    "WorkerSetting",
    "Workplace",
    "WriteError",
    "cached_folder",
    "check_answering",
    "check_memory",
    "check_numbers",
    "check_unpacked",
    "check_writable",
    "csv_text",
    "decode_image",
    "describe",
    "did_you_mean",
    "escape_markdown",
    "exact_mcnemar",
    "find_site",
    "hash_file",
    "hash_json",
    "holm",
    "hookimpl",
    "is_offline",
    "load_decoder",
    "local_path",
    "locate",
    "markdown_table",
    "match_features",
    "name_some",
    "open",
    "open_parquet",
    "open_worker",
    "parse_input",
    "parse_json",
    "parsing",
    "path_inside",
    "plan_batches",
    "printable",
    "read_description",
    "read_image",
    "read_mapping",
    "read_result",
    "read_table",
    "read_unpacked",
    "read_yaml",
    "resolve_device",
    "run_batches",
    "score_choices",
    "short_names",
    "unchanged",
    "whole_file",
    "wilson_interval",
    "write_answers",
    "write_result",
]

# Loaded on first use: these need torch, pydantic or pillow, which a plugin that only lists its offers must not pay for.
_LAZY = {
    "Answer": "harness.api.executors",
    "Executor": "harness.api.executors",
    "Packed": "harness.api.executors",
    "Pool": "harness.api.executors",
    "Unit": "harness.api.executors",
    "Worker": "harness.api.executors",
    "WorkerSetting": "harness.api.executors",
    "Workplace": "harness.api.executors",
    "Claim": "harness.api.claims",
    "ResultPage": "harness.api.claims",
    "Explainer": "harness.api.explainers",
    "Fragment": "harness.api.explainers",
    "Judge": "harness.api.explainers",
    "OpenExplainer": "harness.api.explainers",
    "Opening": "harness.api.explainers",
    "Passage": "harness.api.explainers",
    "Simulator": "harness.api.explainers",
    "Activation": "harness.dictionaries.dictionary",
    "InputNorm": "harness.dictionaries.dictionary",
    "Dictionary": "harness.dictionaries.dictionary",
    "Session": "harness.session",
    "decode_image": "harness.data.images",
    "LabelledTask": "harness.planning.labelled",
    "OpenModel": "harness.models.opened",
    "locate": "harness.models.opened",
    "Probed": "harness.planning.labelled",
    "cached_folder": "harness.storage.cached_folder",
    "check_writable": "harness.storage.results",
    "read_result": "harness.storage.results",
    "write_result": "harness.storage.results",
    "exact_mcnemar": "harness.stats.bootstrap",
    "holm": "harness.stats.bootstrap",
    "wilson_interval": "harness.stats.bootstrap",
    "match_features": "harness.stats.matching",
    "load_decoder": "harness.models.opened",
    "ResultModel": "harness.storage.results",
    "open": "harness.session",
    "LossyStream": "harness.runs.messages",
    "open_worker": "harness.runs.worker",
    "resolve_device": "harness.session",
    "parse_input": "harness.data.inputs",
    "ChoiceScores": "harness.features.answering",
    "check_answering": "harness.features.answering",
    "score_choices": "harness.features.answering",
    "write_answers": "harness.features.answering",
    "plan_batches": "harness.features.featurize",
    "read_image": "harness.data.images",
    "read_table": "harness.data.sources",
    "read_yaml": "harness.config.yaml",
    "run_batches": "harness.features.featurize",
    "whole_file": "harness.storage.atomic",
}

_RENAMED = {
    "BatchStats": "BatchFinished",
    "BundleStats": "BundleFinished",
    "Located": "PlacedRepresentation",
    "MissingError": "UnavailableError",
    "Weighted": "LinearClassifier",
}
"""Former names, which are kept for one version."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sae-harness")
    if name in _RENAMED:
        import warnings

        warnings.warn(f"harness.{name} is now harness.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return globals()[_RENAMED[name]]
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'harness' has no attribute '{name}'")
