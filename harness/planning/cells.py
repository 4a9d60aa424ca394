"""Data types of a plan: features, cells, bundles, transfers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from harness.api.data import Site, Tokens
from harness.api.protocols import PlacedRepresentation
from harness.config.suite import Suite
from harness.data.partitions import Draw
from harness.data.task import TaskData
from harness.features.token_sets import TokenSet
from harness.models.opened import OpenModel
from harness.registry.catalog import Choice
from harness.storage.hashing import hash_lines


@dataclass(frozen=True, kw_only=True)
class Features:
    """A matrix `[examples, features]` that cells share. Input-only arms have no site, tokens, pooling and key.

    `fitted_key` names what the representation fits on the bundle's sample, where it fits something; `gate_key` what
    the fidelity gate measures of it at `gate_sites`, where there is something to measure. `general` is what it is on
    every task, where `located` is what it is on this one alone.
    """

    representation: Choice
    site: Site | None = None
    located: PlacedRepresentation | None = None
    general: PlacedRepresentation | None = None
    tokens: TokenSet | None = None
    pooling: Choice | None = None
    key: str | None = None
    fitted_key: str | None = None
    gate_key: str | None = None
    gate_sites: tuple[Site, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LearntOn:
    """Features of another model, known by its label, that a cell is learnt on; and what maps its own to them."""

    model: str
    features: Features
    alignment: Choice


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fully specified evaluation; `cell_id` hashes all that may change its numbers, `protocol_hash` of that what
    pooling, transform, classifier, grid and selection are. `draw` says which rows are learnt from and tested on.
    `learnt_on` is what it is learnt on in place of `features`, which are mapped to it for the test.
    """

    cell_id: str
    features: Features
    transform: Choice
    classifier: Choice
    draw: Draw
    protocol_hash: str
    learnt_on: LearntOn | None = None


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Cells that share one forward pass of `model` over the examples of `data`. The content of `tokens` is what the
    suite's token set takes; `sample` are the rows on whose activations representations are fitted, `gate_sample` those
    on which the fidelity of dictionaries is measured.
    """

    data: TaskData
    model: OpenModel | None
    tokens: tuple[Tokens, ...]
    sample: tuple[int, ...] = ()
    gate_sample: tuple[int, ...] = ()
    features: tuple[Features, ...]
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """`task × model`, for people."""
        return f"{self.data.spec.name} × {self.model.label}" if self.model else self.data.spec.name

    @property
    def key(self) -> str:
        """Names the forward pass that fills all features of the bundle."""
        return hash_lines(sorted(features.key or "" for features in self.features))

    @property
    def n_tokens(self) -> int:
        """Pooled tokens of all examples."""
        return sum(int(tokens.content.sum()) for tokens in self.tokens)

    @property
    def n_positions(self) -> int:
        """Real positions of all examples: what the model runs on, whatever is pooled of it."""
        return sum(len(tokens.ids) for tokens in self.tokens)

    @cached_property
    def n_cut(self) -> int:
        """Inputs longer than the model's maximum length."""
        return sum(tokens.cut for tokens in self.tokens)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Cells that are learnt on features of the bundle `source` and tested on those of `target`: two models on the same
    rows of one task. `target` holds these cells.
    """

    source: Bundle
    target: Bundle

    @property
    def name(self) -> str:
        """`task × model → model`, for people."""
        assert self.source.model and self.target.model
        return f"{self.source.name} → {self.target.model.label}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a run will do, and by name what cannot be had, and why; `notes` are of what suits no task of the suite,
    and of languages that a task does not have on both sides.
    """

    suite: Suite
    bundles: tuple[Bundle, ...]
    transfers: tuple[Transfer, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of all bundles and transfers."""
        every = (*self.bundles, *(transfer.target for transfer in self.transfers))
        return tuple(cell for bundle in every for cell in bundle.cells)

    @property
    def tasks(self) -> tuple[TaskData, ...]:
        """The examples of each task, once."""
        return tuple({bundle.data.spec.name: bundle.data for bundle in self.bundles}.values())
