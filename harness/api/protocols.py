"""Protocols of what the factories of plugins return.

A plugin inherits nothing: it offers objects with these methods. Importing this module imports neither torch nor any
other heavy package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness.api.data import Conversation, Examples, Image, Partition, Site, Tokens
from harness.api.errors import UsageError
from harness.api.tasks import TaskSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    from harness.api.data import Matrix

API_VERSION = 1
"""Version of the interface between the harness and its plugins.

It is raised when a plugin that works may cease to: a hook, a public name, an argument or a method of a protocol is
removed, or changes its meaning. What is added does not raise it, nor does a new name whose former one is kept. Raise it
with a minor version of the harness only, together with API_SINCE.
"""

API_SINCE = "0.1"
"""Minor version of the harness in which API_VERSION was raised last: through all its patches, plugins for the version
of the interface before are accepted with a warning, and after it they are left out.
"""


@runtime_checkable
class Model(Protocol):
    """Opened model: configuration and tokenizer, no weights.

    `architecture` is the checkpoint's own word for its kind (`gemma2`), with that of its language tower where it has
    several (`paligemma+gemma2`); `n_layers` is the number of blocks, and `n_parameters` that of the weights in them.
    Every method raises UnavailableError when files are absent or broken.
    """

    name: str
    architecture: str
    n_layers: int
    n_parameters: int

    def width(self, site: Site) -> int:
        """Return the size of the activations at `site`. Raise UsageError when the model has no such site."""

    def identity(self, site: Site) -> Mapping[str, Any]:
        """Return JSON of everything that may change the activations at `site`: weights, tokenizer, dtype, length …"""

    def tokenize(self, inputs: Sequence[Any]) -> list[Tokens]:
        """Encode each input, a `str` or a Conversation; an ImageModel encodes Images."""

    def load(self, sites: Sequence[Site], device: str) -> LoadedModel:
        """Load the model, only as deep as the deepest of `sites`."""


@runtime_checkable
class LoadedModel(Protocol):
    """Model in memory that can run forward."""

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        """Return the activations of the content tokens at each site, example after example:
        `[content tokens of the batch, width]`, on the device, in the model's dtype. An example without content
        gives no rows.
        """


@runtime_checkable
class ImageModel(Model, Protocol):
    """Model that reads images, and no texts. Its `tokenize` decodes no image."""

    @property
    def towers(self) -> Mapping[str, int]:
        """The number of blocks of each tower whose sites have a name of their own: `{"vision": 12}`."""

    @property
    def grid(self) -> tuple[int, int]:
        """The rows and columns of the grid in which the content tokens of an image lie, row by row."""

    @property
    def seen_tasks(self) -> tuple[str, ...]:
        """The tasks on whose training rows the model itself was trained, as far as it says."""

    def view(self, image: Image) -> Any:
        """Return the part of an image that the model sees, as it lies under the grid: a PIL image, RGB."""

    def load(self, sites: Sequence[Site], device: str) -> LoadedImageModel:
        """Load the model, only as deep as the deepest of `sites`."""


@runtime_checkable
class LoadedImageModel(LoadedModel, Protocol):
    """Image model in memory; images are prepared in background threads, ahead of their batch."""

    def prepare(self, image: Image) -> torch.Tensor:
        """Decode, resize and normalise an image for the model: `[channels, height, width]` in float32 on the CPU.
        Called from several threads at once.
        """

    def forward(
        self, batch: Sequence[Tokens], pixels: Sequence[torch.Tensor] | None = None
    ) -> Mapping[Site, torch.Tensor]:
        """Return activations as any LoadedModel does. `pixels` are the results of `prepare` for each image of the
        batch; without them the images are prepared now.
        """


@runtime_checkable
class LanguageModel(Model, Protocol):
    """Model that can be run to its end, so that the cost of a change of its activations can be measured."""

    def load_whole(self, site: Site, device: str) -> SplicedModel:
        """Load the whole model, with a hook at `site` where activations can be replaced."""


@runtime_checkable
class SpellingModel(Model, Protocol):
    """Model whose tokens can be shown to people."""

    def spell(self, tokens: Tokens) -> list[str]:
        """Return the text of each token `[tokens]`, with the blank that it begins with. A token that is part of a
        character gives the replacement character.
        """


@runtime_checkable
class Multilingual(Model, Protocol):
    """Model that declares the languages of its training text."""

    @property
    def languages(self) -> Mapping[str, float]:
        """Megabytes of its training text by BCP-47 tag; a language without entry was not in it."""


@runtime_checkable
class Flagged(Model, Protocol):
    """Model with a peculiarity that every result must name."""

    def flags(self, site: Site) -> Mapping[str, str]:
        """Return the flags of every result at a site, each with a sentence for whoever plans a run; mostly none."""


@runtime_checkable
class SplicedModel(Protocol):
    """Whole language model in memory."""

    def losses(
        self, batch: Sequence[Tokens], splice: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return next-token losses in nats, float32 on the device, example after example, one for every content token
        that has a position before it.

        `splice` receives the activations of the content tokens at the site `[content tokens of the batch, width]` and
        returns their replacement, of the same shape; all other positions stay as they are.
        """


@runtime_checkable
class PredictingModel(SplicedModel, Protocol):
    """Whole language model in memory that gives its predictions, and not their losses alone."""

    def next_logits(
        self,
        batch: Sequence[Tokens],
        splices: Mapping[Site, Callable[[torch.Tensor], torch.Tensor]] | None = None,
    ) -> torch.Tensor:
        """Return the logits of the token after the last content token of each example, `[examples, vocabulary]`,
        float32 on the device.

        `splices` replace activations as that of `losses` does, at any sites. Where torch records gradients, they flow
        from the logits to what a splice returns. Raise ValueError for an example without content.
        """

    def compare(
        self, batch: Sequence[Tokens], splices: Sequence[Callable[[torch.Tensor], torch.Tensor] | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses, and KL(own ‖ spliced) of the model's own predictions and those with each splice, both in nats,
        float32 on the device, `[splices, positions]`.

        Splices, positions and losses are those of `losses`; None leaves the activations as they are.
        """


@runtime_checkable
class AnsweringModel(Model, Protocol):
    """Model with next-token probabilities, which can answer."""

    def answering_identity(self) -> Mapping[str, Any]:
        """Return JSON of everything that may change an answer: weights, tokenizer, template, dtype, length …"""

    def load_answering(self, device: str) -> Answering:
        """Load the whole model; UsageError if it gives no next-token probabilities."""


class Answering(Protocol):
    """Whole language model in memory, ready to answer."""

    name: str
    max_length: int

    def encode(self, prompt: str | Conversation, continuation: str | None = None) -> Tokens:
        """Encode a prompt in the form that the model answers. A continuation is encoded together with it, and content
        are then the continuation's tokens: those beyond the longest common prefix with the prompt's own.
        """

    def losses(self, batch: Sequence[Tokens]) -> torch.Tensor:
        """Return losses in nats, float32 on the device, of the content tokens with a position before them, one example
        after the other.
        """

    def generate(self, prompts: Sequence[Tokens], *, most: int, one_line: bool) -> list[str]:
        """Return greedy completions of prompts of equal length: at most `most` tokens, up to the end of text or turn;
        with `one_line` they may end after the first line that is not empty.
        """


@runtime_checkable
class Encoder(Protocol):
    """Map from activations `[tokens, d_in]` to features `[tokens, width]`, token by token."""

    @property
    def width(self) -> int:
        """Number of features."""

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        """Return features `[tokens, width]` in float32."""


@runtime_checkable
class Autoencoder(Encoder, Protocol):
    """Encoder with a decoder: `harness.Dictionary` is one."""

    def rebuild(self, activations: torch.Tensor, size: int) -> tuple[torch.Tensor, int]:
        """Return the reconstruction `[tokens, d_in]` in the units of `activations`, computed `size` features at a
        time, and the number of nonzero features of all tokens together. Raise UnavailableError without a decoder.
        """


@dataclass(frozen=True, kw_only=True)
class PlacedRepresentation:
    """Representation bound to one site of one model, described before it is loaded.

    `identity` is JSON of everything that may change a feature. `sparse` asks for pooled rows to be stored sparse. The
    Encoder comes from exactly one of three functions:

    - `load(device)` returns it;
    - `fit(activations)` fits it, as a `harness.Dictionary`, on a sample `[tokens, d_in]` (float32, on the device) of
      the task's training tokens; the harness keeps it in the cache;
    - `for_task(spec, classes)` returns the PlacedRepresentation of one task, with its classes in order. `width` is 0
      here where it differs between tasks.

    `load_whole(device)` returns the same dictionary with its decoder, where it has one; only the fidelity gate and
    reports need it. `site` is the site that it reads, where that is not the one asked for.

    Four fields are displayed, and not hashed: `reference`, the exact name of a dictionary that a shorter reference
    means; `flags`, added to the flags of every result; `notes`, sentences for whoever plans or extracts; `link`, a URL
    that shows one feature, with `{feature}` in place of its number.
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
    notes: tuple[str, ...] = ()
    link: str | None = None
    site: Site | None = None
    for_task: Callable[[TaskSpec, tuple[str, ...]], PlacedRepresentation] | None = None

    def __post_init__(self) -> None:
        if sum(way is not None for way in (self.load, self.fit, self.for_task)) != 1:
            raise TypeError("a placed representation needs one of load, fit and for_task, and no other")

    def load_or_fit(self, device: str, sample: Callable[[], torch.Tensor]) -> Encoder:
        """Return the encoder, fitted on activations `sample()` of shape `[tokens, d_in]` where it is not loaded.

        Raise UsageError where it depends on a task.
        """
        if self.load is not None:
            return self.load(device)
        if self.fit is not None:
            return self.fit(sample())
        raise UsageError("a representation that needs the classes of a task has no encoder without one")


@runtime_checkable
class TokenRepresentation(Protocol):
    """Representation that reads the activations of a model."""

    def at(self, model: Model, site: Site) -> PlacedRepresentation | str | Mapping[str, Any]:
        """Return this representation at `site` of `model`, or a reference (a name, or a mapping with `name` and
        parameters) to another one that serves there. Raise UsageError when none does.
        """


@runtime_checkable
class InputRepresentation(Protocol):
    """Representation that reads inputs and no model; scikit-learn's transformer contract."""

    def fit(self, inputs: Sequence[Any]) -> Any:
        """Fit on the training inputs."""

    def transform(self, inputs: Sequence[Any]) -> Matrix:
        """Return `[examples, features]`, dense or CSR."""


@runtime_checkable
class IdentifiedRepresentation(InputRepresentation, Protocol):
    """Input representation that describes itself, because it reads files that no parameter shows."""

    def identity(self) -> Mapping[str, Any]:
        """Return JSON of everything that may change a feature, in place of the parameters. Raise UnavailableError when
        a file is absent or broken.
        """


@runtime_checkable
class Pooling(Protocol):
    """Reduction of the tokens of an example to one vector, each feature by itself, so that features can be sliced."""

    def __call__(self, values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Return `[examples, features]` for `values [tokens, features]` in float32 and `offsets [examples + 1]`.

        The tokens of example i are `values[offsets[i]:offsets[i + 1]]`, at least one.
        """


@runtime_checkable
class DerivedPooling(Pooling, Protocol):
    """Pooling that follows from what another makes of the same values, such as a mean from a sum.

    The core calls `base` once for all poolings with the same one, and `derive` in place of the pooling itself.
    """

    base: Pooling

    def derive(self, pooled: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Return `[examples, features]` from those of the base, which stay as they are."""


@runtime_checkable
class RankedPooling(Pooling, Protocol):
    """Pooling that ranks the features of a token: it receives the `top` largest of each token, and zeros in place of
    all others; of equal values the lowest features come first.
    """

    top: int


@runtime_checkable
class Regime(Protocol):
    """Change of a task's partition: fewer training rows, other shares of classes, wrong labels, other languages."""

    def __call__(self, examples: Examples, rows: Partition, seed: int) -> Partition | Sequence[Partition]:
        """Return the partition for one seed; it must depend on nothing else. Raise UnavailableError where the
        examples are too few.

        Test rows keep their labels, and are `rows.test` in their order unless the spec says `moves_test`; then they
        must not depend on the seed. A regime `by_language` returns a sequence of partitions, no two with the same
        training and test languages; each is tested on some of `rows.test`, and on no row whose group, in any
        language, is among its training rows.
        """


@runtime_checkable
class Alignment(Protocol):
    """Map from the pooled features of one model to those of another, fitted without labels."""

    def fit(self, source: Matrix, target: Matrix) -> Any:
        """Fit on the same rows as two models read them: `source [rows, a]`, `target [rows, b]`."""

    def transform(self, target: Matrix) -> Matrix:
        """Return `[rows, b]` of the target as `[rows, a]` of the source."""


@runtime_checkable
class Transform(Protocol):
    """Change of a pooled matrix; scikit-learn's transformer contract."""

    def fit(self, X: Matrix, y: np.ndarray[Any, Any]) -> Any:
        """Fit on the training rows."""

    def transform(self, X: Matrix) -> Matrix:
        """Return the same rows, changed."""


@runtime_checkable
class Classifier(Protocol):
    """Classifier by scikit-learn's contract, with class numbers 0 … n−1 as `y`."""

    def fit(self, X: Matrix, y: np.ndarray[Any, Any]) -> Any:
        """Fit on the training rows."""

    def predict_proba(self, X: Matrix) -> np.ndarray[Any, Any]:
        """Return scores `[examples, classes]`, higher is likelier; columns in the order of the class numbers."""


@runtime_checkable
class GridClassifier(Classifier, Protocol):
    """Classifier that fits all points of its grid on the same rows, in less time than one after another."""

    def fit_grid(
        self, X: Matrix, y: np.ndarray[Any, Any], points: Sequence[Mapping[str, Any]]
    ) -> Iterable[Classifier]:
        """Yield the fitted classifier of each point, in their order: what a classifier made with the parameters of this
        one and those of the point would be after `fit`. A warning belongs to the classifier that is yielded next.
        """


@runtime_checkable
class LinearClassifier(Protocol):
    """Fitted classifier that exposes its coefficients."""

    @property
    def weights(self) -> np.ndarray[Any, Any]:
        """Coefficients `[classes, features]` on the matrix it was fitted on, in score per unit of the feature.

        `X @ weights.T` is the decision function of every class, up to a constant for each class and a term that all
        classes share. With two classes, the second has the coefficients of the one decision function and the first
        their negatives. A feature that is not used has 0.
        """
