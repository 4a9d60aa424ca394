"""What flows between the parts of the harness, and what a plugin must offer.

Frozen, keyword-only dataclasses for data; Protocols for behaviour: a plugin inherits nothing. Importing this
module imports neither torch nor any other heavy package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from harness.errors import UsageError

if TYPE_CHECKING:
    import click
    import numpy as np
    import torch
    from scipy import sparse

    Matrix: TypeAlias = np.ndarray[Any, Any] | sparse.csr_array

API_VERSION = 1
"""Version of the interface between the harness and its plugins.

It is raised when a plugin that works may cease to: a hook, a public name, an argument or a method of a protocol is
removed, or changes its meaning. What is added does not raise it, nor does a new name whose former one is kept.
"""

Modality = Literal["text", "image"]
Needs = Literal["tokens", "text", "images", "nothing"]
Split = Literal["train", "validation", "test"]


# ── where activations are read ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True, order=True)
class Site:
    """A place in a model where activations are read: `resid_post.12`, `attn_z.3`, `vision.resid_post.9`."""

    tower: str = ""
    kind: str
    layer: int

    def __str__(self) -> str:
        return ".".join([*([self.tower] if self.tower else []), self.kind, str(self.layer)])

    @classmethod
    def parse(cls, text: str) -> Site:
        """`[TOWER.]KIND.LAYER` as a Site; UsageError when it is not of that form."""
        match = re.fullmatch(r"(?:([a-z]+)\.)?([a-z_]+)\.([0-9]{1,9})", text)
        if match is None:
            raise UsageError(f"site '{text}' is not of the form KIND.LAYER, for example resid_post.12")
        tower, kind, layer = match.groups()
        return cls(tower=tower or "", kind=kind, layer=int(layer))


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation; `role` is `user`, `assistant`, `system` or what else a template knows."""

    role: str
    content: str

    @property
    def is_prompt(self) -> bool:
        """Whether it is anyone's but the assistant's."""
        return self.role != "assistant"


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """An input of several messages; as plain text it is their contents, joined with newlines."""

    messages: tuple[Message, ...]

    def __str__(self) -> str:
        return "\n".join(message.content for message in self.messages)

    @classmethod
    def parse(cls, value: Sequence[Any]) -> Conversation:
        """`[{"role": …, "content": …}, …]` as a Conversation; other keys are not read. UsageError says which
        message is not of that form.
        """
        messages = []
        for number, message in enumerate(value, start=1):
            for key in ("role", "content"):
                if not isinstance(message, Mapping) or not isinstance(message.get(key), str):
                    raise UsageError(f'message {number} of the conversation has no text under "{key}"')
            messages.append(Message(role=message["role"], content=message["content"]))
        return cls(messages=tuple(messages))


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image as an input: the bytes of its file, or where that lies; `harness.decode_image` gives its pixels.

    `id` is the hex SHA-256 of its size and its pixels as upright RGB: two files of the same pixels are one image.
    `size` is (width, height), after the turn that its file asks for.
    """

    encoded: bytes | Path = field(repr=False)
    id: str
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"image of {self.size[0]} × {self.size[1]} pixels"


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled examples, column by column; every column has one entry for each example. A text task's inputs
    are `str` or Conversation, those of an image task Image.
    """

    ids: tuple[str, ...]
    inputs: tuple[Any, ...]
    labels: tuple[str, ...]
    splits: tuple[Split, ...]
    languages: tuple[str, ...]
    groups: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Examples:
        """The examples at `rows`, in that order."""
        return Examples(
            ids=tuple(self.ids[row] for row in rows),
            inputs=tuple(self.inputs[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
            splits=tuple(self.splits[row] for row in rows),
            languages=tuple(self.languages[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
        )


@dataclass(frozen=True, kw_only=True)
class Partition:
    """What becomes of the rows of Examples in one cell: row numbers to learn from, to choose on and to test on; and
    for every example the label it is learnt under. Without validation rows, or with few, the choice is made by repeated
    stratified folds of `train`.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """One encoded input: token ids `[tokens]`, and which of them are content (not BOS, not template).

    `prompt` marks the content that is not the assistant's; None when all of it is prompt. `own` is what the model
    itself called content, where a token set has chosen other positions since. `image` is what is looked at, where the
    input is an image: its tokens or patches are the content, row by row of the model's grid; `summary` then marks the
    positions that stand for all of it (CLS).
    """

    ids: np.ndarray[Any, np.dtype[np.int64]]
    content: np.ndarray[Any, np.dtype[np.bool_]]
    prompt: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    own: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    cut: bool = False
    """Whether the input was longer than the model's maximum length, so that its end is missing."""
    image: Image | None = None
    summary: np.ndarray[Any, np.dtype[np.bool_]] | None = None

    @property
    def key(self) -> str:
        """Names what the model reads."""
        return self.ids.tobytes().hex() + (self.image.id if self.image else "")


# ── what plugins offer ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An offer: a name, one sentence, and a factory whose keyword parameters are its whole parameter schema.

    `revision` is part of the identity of every result: change it when results change for a reason that no
    parameter shows. `alias_of` is given in place of `make`: the name then stands for another, or for a mapping of its
    `name` and parameters, and is all that the other is.
    """

    name: str
    summary: str
    make: Callable[..., Any] | None = None
    alias_of: str | Mapping[str, Any] | None = None
    revision: str = "1"

    def __post_init__(self) -> None:
        if (self.make is None) == (self.alias_of is None):
            raise TypeError(
                f"{type(self).__name__} '{self.name}' needs either make or alias_of, and not both"
            )


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A command of the command line: `harness NAME`.

    `load` is called when the command is, and not before: a function without arguments that returns a
    `click.Command`, or where one is, as `module:attribute`. The command's `context.obj` holds the values of `-p`, for
    `harness.open(plugins=…)`; an integer that it returns is the exit code.
    """

    name: str
    summary: str
    load: str | Callable[[], click.Command]

    def __post_init__(self) -> None:
        if isinstance(self.load, str) and not all(self.load.partition(":")):
            raise TypeError(
                f"CommandSpec '{self.name}' loads '{self.load}', which is not of the form module:attribute"
            )


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """`make(**parameters) -> Model`, which reads configuration and tokenizer, but no weights."""


@dataclass(frozen=True, kw_only=True)
class RepresentationSpec(Spec):
    """What is pooled. `needs="tokens"`: `make(**parameters) -> TokenRepresentation`;
    otherwise `make(**parameters) -> InputRepresentation`, which sees the inputs and no model; with
    `needs="text"` every input as `str`, with `needs="images"` every input as Image; either only on tasks of that kind.
    A `control` is there for dictionaries to be compared with, and is none. `only` names, by kind, the one pooling,
    transform or classifier that it goes with in place of the suite's: `{"classifiers": "scores"}`.
    """

    needs: Needs
    fitted: bool = False
    control: bool = False
    only: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PoolingSpec(Spec):
    """`make(**parameters) -> Pooling`."""


@dataclass(frozen=True, kw_only=True)
class TransformSpec(Spec):
    """`make(**parameters) -> Transform`, fitted on training rows only."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec(Spec):
    """`make(**parameters) -> Classifier`; `grid` holds the values tried on validation for each parameter
    that the suite does not fix. A parameter called `seed` is filled with the cell's seed.
    """

    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RegimeSpec(Spec):
    """`make(**parameters) -> Regime`. One that tests on other rows than the task's own says `moves_test`; one
    `by_language` gives several partitions, each of which learns from some of the task's languages and is tested on one.
    """

    moves_test: bool = False
    by_language: bool = False


@dataclass(frozen=True, kw_only=True)
class AlignmentSpec(Spec):
    """`make(**parameters) -> Alignment`."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column holds what; a column that is None does not exist in the source."""

    input: str = "text"
    label: str = "label"
    split: str | None = "split"
    language: str | None = None
    group: str | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A dataset on the hub, pinned to a revision; `columns` and `labels` only where the hub spells them
    differently.
    """

    hub: str
    revision: str
    config: str | None = None
    columns: Columns | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """A parquet, csv or jsonl file."""

    file: Path


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """Labelled data as one declarative record; a corrected dataset is a new version.

    `columns` are those of the local mirror (`<data-dir>/<name>/data.parquet`) and of a file; `mirror` names
    the folder there when it is not the task's own name. A task without a source lives in the mirror alone.

    `where` keeps only the rows whose columns hold these values; `labels` gives the class for each label of the
    source that is spelled otherwise. A task that is `trained_on` another has test rows only, and learns from the
    training and validation rows of that other task. With `keep_leaks`, test rows that stand in training stay, for what
    was published on them to be checked: they are counted, and every result is flagged.

    `class_names` are the classes as a sentence would name them, where the labels do not, and `templates` sentences
    with `{}` in place of such a name: for what classifies by names alone. Others are a new version.
    """

    name: str
    version: int
    summary: str
    source: HubSource | FileSource | None = None
    languages: tuple[str, ...]
    licence: str
    citation: str
    modality: Modality = "text"
    columns: Columns = field(default_factory=Columns)
    metric: str = "macro_f1"
    content_warning: bool = False
    mirror: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    trained_on: str | None = None
    keep_leaks: bool = False
    class_names: Mapping[str, str] = field(default_factory=dict)
    templates: tuple[str, ...] = ()


# ── what the factories return ────────────────────────────────────────────────────────────────────────────


@runtime_checkable
class Model(Protocol):
    """An opened model: configuration and tokenizer, no weights.

    `architecture` is the checkpoint's own word for its kind (`gemma2`), with that of its language tower where it has
    several (`paligemma+gemma2`); `n_layers` counts the blocks, and `n_parameters` what is in them. Each method may
    raise MissingError when files are absent or broken.
    """

    name: str
    architecture: str
    n_layers: int
    n_parameters: int

    def width(self, site: Site) -> int:
        """Size of the activations at `site`; UsageError when the model has no such site."""

    def identity(self, site: Site) -> Mapping[str, Any]:
        """JSON of all that may change the activations at `site`: weights, tokenizer, dtype, length …"""

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """One Tokens for each input: a `str`, or a Conversation, which is also `str(conversation)`; of an ImageModel
        an Image.
        """

    def load(self, sites: Sequence[Site], device: str) -> LoadedModel:
        """The model in memory, only as deep as the deepest of `sites`."""


@runtime_checkable
class LoadedModel(Protocol):
    """A model in memory, able to run forward."""

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        """For each site the activations of the content tokens, examples one after the other:
        `[content tokens of the batch, width]`, on the device, in the model's dtype. An example without content
        gives no rows.
        """


@runtime_checkable
class ImageModel(Model, Protocol):
    """A Model that reads images, and no texts. Its `tokenize` looks at no pixel."""

    @property
    def towers(self) -> Mapping[str, int]:
        """Blocks of each tower whose sites have a name of their own: `{"vision": 12}`."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns in which the content tokens of an image lie, row by row."""

    @property
    def seen_tasks(self) -> tuple[str, ...]:
        """Names of the tasks on whose training rows the model itself was trained, as far as it says."""

    def view(self, image: Image) -> Any:
        """What of an image the model sees, as it lies under the grid: a PIL image, RGB."""

    def load(self, sites: Sequence[Site], device: str) -> LoadedImageModel:
        """The model in memory, only as deep as the deepest of `sites`."""


@runtime_checkable
class LoadedImageModel(LoadedModel, Protocol):
    """An image model in memory; what it needs of an image is made apart, ahead of its turn."""

    def prepare(self, image: Image) -> torch.Tensor:
        """The image decoded, resized and normalised as the model wants it, `[channels, height, width]` in float32 on
        the CPU. Called from several threads at once.
        """

    def forward(
        self, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None = None
    ) -> Mapping[Site, torch.Tensor]:
        """As of any LoadedModel. `pixels` are what `prepare` made of each image of the batch; without them it is made
        now.
        """


@runtime_checkable
class LanguageModel(Model, Protocol):
    """A Model that can also be read to its end, so that what a change of its activations costs can be measured."""

    def load_whole(self, site: Site, device: str) -> SplicedModel:
        """All of the model in memory, with a place at `site` where activations can be replaced."""


@runtime_checkable
class Multilingual(Model, Protocol):
    """A Model that says what languages it was trained on."""

    @property
    def languages(self) -> Mapping[str, float]:
        """Megabytes of its training text by BCP-47 tag; what is not there was not in it."""


@runtime_checkable
class SplicedModel(Protocol):
    """A whole language model in memory."""

    def losses(
        self, batch: Sequence[Tokens], splice: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Next-token losses in nats, float32 on the device, one example after the other: of every content token that
        has a position before it. `splice` is given the activations of the content tokens at the site
        `[content tokens of the batch, width]`, and what it returns, of the same shape, takes their place; all other
        positions stay as they are.
        """


@runtime_checkable
class Encoder(Protocol):
    """Turns activations `[tokens, d_in]` into features `[tokens, width]`; token by token."""

    @property
    def width(self) -> int:
        """Number of features."""

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        """Features `[tokens, width]` in float32."""


@runtime_checkable
class Autoencoder(Encoder, Protocol):
    """An Encoder with a decoder: `harness.Dictionary` is one."""

    def rebuild(self, activations: torch.Tensor, size: int) -> tuple[torch.Tensor, int]:
        """Return the reconstruction `[tokens, d_in]` in the units of `activations`, computed `size` features at a
        time, and the number of nonzero features of all tokens together. Raise MissingError without a decoder.
        """


@dataclass(frozen=True, kw_only=True)
class Located:
    """A representation at one site of one model: all that a plan must know before it is loaded.

    `identity` is JSON of all that may change a feature; `sparse` says whether pooled rows are worth keeping
    sparse. Either `load(device)` gives the Encoder, or `fit(activations)` makes one, a Dictionary, of a sample
    `[tokens, d_in]` (float32, on the device) of the task's training tokens; what was fitted is kept in the cache.
    `load_whole(device)` gives the same Dictionary with its decoder, where it has one: only the fidelity gate and
    reports need that. `reference` is the exact name of a dictionary that a shorter reference led to; `flags` is what
    every result of it must say about it; `link` is where one of its features is shown, a URL with `{feature}` in place
    of its number. All three are shown, not hashed.

    `site` is where it reads, where that is another place of the model than the one asked about.
    `for_task(spec, classes)` in place of `load` and `fit` gives the Located of one task, with its classes in order; a
    width that differs from task to task is then 0 here.
    """

    identity: Mapping[str, Any]
    d_in: int
    width: int
    load: Callable[[str], Encoder] | None = None
    fit: Callable[[torch.Tensor], Autoencoder] | None = None
    load_whole: Callable[[str], Autoencoder] | None = None
    sparse: bool
    published_l0: float | None = None
    reference: str | None = None
    flags: tuple[str, ...] = ()
    link: str | None = None
    site: Site | None = None
    for_task: Callable[[TaskSpec, tuple[str, ...]], Located] | None = None

    def __post_init__(self) -> None:
        if sum(way is not None for way in (self.load, self.fit, self.for_task)) != 1:
            raise TypeError("a located representation needs one of load, fit and for_task, and no other")


@runtime_checkable
class TokenRepresentation(Protocol):
    """A representation that reads a model's activations."""

    def at(self, model: Model, site: Site) -> Located | str | Mapping[str, Any]:
        """This representation at `site` of `model`, or a reference (a name, or a mapping with `name` and
        parameters) to another one that serves there. UsageError when there is none.
        """


@runtime_checkable
class InputRepresentation(Protocol):
    """A representation that reads inputs and no model; scikit-learn's transformer contract."""

    def fit(self, inputs: Sequence[Any]) -> Any:
        """Learn from the training inputs."""

    def transform(self, inputs: Sequence[Any]) -> Matrix:
        """`[examples, features]`, dense or CSR."""


@runtime_checkable
class Pooling(Protocol):
    """Tokens in, one vector for each example out; each feature by itself, so that features can be sliced."""

    def __call__(self, values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """`values [tokens, features]` float32, `offsets [examples + 1]`; returns `[examples, features]`.
        The tokens of example i are `values[offsets[i]:offsets[i + 1]]`, at least one.
        """


@runtime_checkable
class RankedPooling(Pooling, Protocol):
    """A pooling that ranks the features of a token against one another: of each token it is given the `top`
    largest only, zeros in place of all others; of equal values the lowest features.
    """

    top: int


@runtime_checkable
class Regime(Protocol):
    """Turns a task's own partition into another: fewer training rows, other classes among them, wrong labels."""

    def __call__(self, examples: Examples, rows: Partition, seed: int) -> Partition | Sequence[Partition]:
        """The partition for one seed; it must depend on nothing else. Test rows keep their labels, and are `rows.test`
        in their order unless the spec says `moves_test`; then they must not depend on the seed. MissingError where the
        examples do not allow it: too few of them. `by_language` gives a sequence of them, no two with the same
        languages to learn from and to test on, each tested on some of `rows.test` and on nothing whose group, in
        whatever language, it learns from.
        """


@runtime_checkable
class Alignment(Protocol):
    """Maps the pooled features of one model to those of another, without labels."""

    def fit(self, source: Matrix, target: Matrix) -> Any:
        """Learn from the same rows as two models read them: `source [rows, a]`, `target [rows, b]`."""

    def transform(self, target: Matrix) -> Matrix:
        """`[rows, b]` of the target as `[rows, a]` of the source."""


@runtime_checkable
class Transform(Protocol):
    """Pooled matrix in, pooled matrix out; scikit-learn's transformer contract."""

    def fit(self, X: Matrix, y: np.ndarray[Any, Any]) -> Any:
        """Learn from the training rows."""

    def transform(self, X: Matrix) -> Matrix:
        """The same rows, changed."""


@runtime_checkable
class Classifier(Protocol):
    """scikit-learn's classifier contract, with class numbers 0 … n−1 as `y`."""

    def fit(self, X: Matrix, y: np.ndarray[Any, Any]) -> Any:
        """Learn from the training rows."""

    def predict_proba(self, X: Matrix) -> np.ndarray[Any, Any]:
        """Scores `[examples, classes]`, higher is likelier; columns in the order of the class numbers."""


@runtime_checkable
class Weighted(Protocol):
    """A fitted linear classifier that can say what it goes by."""

    @property
    def weights(self) -> np.ndarray[Any, Any]:
        """`[classes, features]` of the matrix it was fitted on, in score per unit of the feature: `X @ weights.T` is
        the decision function of every class, up to a constant for each class and a term that all classes share. Of two
        classes the second has the weights of their one decision function and the first their negatives. 0 where a
        feature is not used.
        """


# ── what observers are told ──────────────────────────────────────────────────────────────────────────────
