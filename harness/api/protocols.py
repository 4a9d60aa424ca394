"""What flows between the parts of the harness, and what a plugin must offer.

Frozen, keyword-only dataclasses for data; Protocols for behaviour: a plugin inherits nothing. Importing this
module imports neither torch nor any other heavy package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness.api.data import Examples, Image, Partition, Site, Tokens
from harness.api.tasks import TaskSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    from harness.api.data import Matrix

API_VERSION = 1
"""Version of the interface between the harness and its plugins.

It is raised when a plugin that works may cease to: a hook, a public name, an argument or a method of a protocol is
removed, or changes its meaning. What is added does not raise it, nor does a new name whose former one is kept.
"""


# ── where activations are read ───────────────────────────────────────────────────────────────────────────


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────


# ── what plugins offer ───────────────────────────────────────────────────────────────────────────────────


# ── what the factories return ────────────────────────────────────────────────────────────────────────────


@runtime_checkable
class Model(Protocol):
    """An opened model: configuration and tokenizer, no weights.

    `architecture` is the checkpoint's own word for its kind (`gemma2`), with that of its language tower where it has
    several (`paligemma+gemma2`); `n_layers` counts the blocks, and `n_parameters` what is in them. Each method may
    raise UnavailableError when files are absent or broken.
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
        time, and the number of nonzero features of all tokens together. Raise UnavailableError without a decoder.
        """


@dataclass(frozen=True, kw_only=True)
class PlacedRepresentation:
    """A representation at one site of one model: all that a plan must know before it is loaded.

    `identity` is JSON of all that may change a feature; `sparse` says whether pooled rows are worth keeping
    sparse. Either `load(device)` gives the Encoder, or `fit(activations)` makes one, a Dictionary, of a sample
    `[tokens, d_in]` (float32, on the device) of the task's training tokens; what was fitted is kept in the cache.
    `load_whole(device)` gives the same Dictionary with its decoder, where it has one: only the fidelity gate and
    reports need that. `reference` is the exact name of a dictionary that a shorter reference led to; `flags` is what
    every result of it must say about it; `link` is where one of its features is shown, a URL with `{feature}` in place
    of its number. All three are shown, not hashed.

    `site` is where it reads, where that is another place of the model than the one asked about. `for_task(spec,
    classes)` in place of `load` and `fit` gives the PlacedRepresentation of one task, with its classes in order; a
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
    for_task: Callable[[TaskSpec, tuple[str, ...]], PlacedRepresentation] | None = None

    def __post_init__(self) -> None:
        if sum(way is not None for way in (self.load, self.fit, self.for_task)) != 1:
            raise TypeError("a located representation needs one of load, fit and for_task, and no other")


@runtime_checkable
class TokenRepresentation(Protocol):
    """A representation that reads a model's activations."""

    def at(self, model: Model, site: Site) -> PlacedRepresentation | str | Mapping[str, Any]:
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
        """The partition for one seed; it must depend on nothing else. Test rows keep their labels, and are
        `rows.test` in their order unless the spec says `moves_test`; then they must not depend on the seed.
        UnavailableError where the examples do not allow it: too few of them. `by_language` gives a sequence of them,
        no two with the same languages to learn from and to test on, each tested on some of `rows.test` and on nothing
        whose group, in whatever language, it learns from.
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
class LinearClassifier(Protocol):
    """A fitted linear classifier that can say what it goes by."""

    @property
    def weights(self) -> np.ndarray[Any, Any]:
        """`[classes, features]` of the matrix it was fitted on, in score per unit of the feature: `X @ weights.T` is
        the decision function of every class, up to a constant for each class and a term that all classes share. Of two
        classes the second has the weights of their one decision function and the first their negatives. 0 where a
        feature is not used.
        """


# ── what observers are told ──────────────────────────────────────────────────────────────────────────────
