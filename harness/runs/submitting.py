"""Submission of a run's work to the pool of its executor, as units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api.executors import Pool
from harness.planning.cells import Bundle, Cell, Features, ModelFeatures
from harness.planning.cost import forward_memory, matrix_bytes
from harness.runs.context import RunContext
from harness.runs.desk import Desk
from harness.runs.forward_work import FeaturesMade, ForwardWork
from harness.runs.packing import Packer
from harness.runs.units import Deliver, RunUnit
from harness.runs.work import Failure, Work
from harness.storage.hashing import hash_lines


@dataclass(frozen=True, kw_only=True)
class Submitting:
    """Submitter of the units of one run. `desk` is where units are done that stay in this process."""

    context: RunContext
    pool: Pool
    desk: Desk
    packer: Packer
    warned: set[str] = field(default_factory=set)
    """Reasons why work stays in this process that users know."""

    def forward(
        self, bundle: Bundle, wanted: Sequence[Features], take: Callable[[FeaturesMade | Failure], None]
    ) -> None:
        """Submit the forward pass that fills the `wanted` features of a bundle."""
        work = ForwardWork.of(
            bundle,
            wanted,
            device=self.context.device,
            batch_size=self.context.batch_size,
            keep_activations=self.context.keep_activations,
        )
        memory = forward_memory(bundle, work.bundle.model_features, device=self.context.device)
        self._submit(work, [take], key=work.key, name=bundle.name, memory=memory)

    def probe(self, work: Work, cells: Sequence[Cell], deliver: Sequence[Deliver], bundle: Bundle) -> None:
        """Submit the probes of `cells` of one matrix; each of `deliver` receives the result of one cell."""
        features = cells[0].features
        memory = (
            matrix_bytes(features, len(bundle.data.examples)) if isinstance(features, ModelFeatures) else 0
        )
        self._submit(
            work, deliver, key=hash_lines(cell.cell_id for cell in cells), name=bundle.name, memory=memory
        )

    def _submit(self, work: Work | ForwardWork, deliver: Sequence[Deliver], **facts: Any) -> None:
        self.pool.submit(
            RunUnit(
                work=work, deliver=deliver, desk=self.desk, packer=self.packer, warned=self.warned, **facts
            )
        )
