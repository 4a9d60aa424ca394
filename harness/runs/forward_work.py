"""Work of a run that needs a model: the forward pass of a bundle. What stands here is data, as in `work`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.api.errors import ENDS_RUN
from harness.api.events import BundleFinished
from harness.dictionaries.gate import Fidelity
from harness.planning.cells import Bundle, Features
from harness.runs.desk import Desk
from harness.runs.work import Failure
from harness.storage.hashing import hash_lines


@dataclass(frozen=True, kw_only=True)
class FeaturesMade:
    """Result of a forward pass, whose features are in the store: its cost, the failures of dictionaries by feature key,
    and the judgements of dictionaries by gate key.
    """

    stats: BundleFinished
    broken: Mapping[str, Failure]
    judged: Mapping[str, Fidelity]

    @classmethod
    def none(cls, bundle: str) -> FeaturesMade:
        """Return the result of a bundle without a model."""
        stats = BundleFinished(
            bundle=bundle, tokens=0, seconds=0.0, tokens_per_s=0.0, padding_share=0.0, peak_memory=0
        )
        return cls(stats=stats, broken={}, judged={})


@dataclass(frozen=True, kw_only=True)
class ForwardWork:
    """Forward pass of a bundle: its pooled features, what is fitted on activations, and the fidelity of dictionaries.

    The `bundle` holds the features that are wanted, and no cells. `batches` are those of the plan wherever the work is
    done; None where they are planned when they are asked for. `key` names them: another batch size or device makes
    others, so that `-b` can help where memory is short.
    """

    bundle: Bundle
    key: str
    device: str
    batch_size: int | None = None
    keep_activations: bool = False
    batches: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        wanted: Sequence[Features],
        *,
        device: str,
        batch_size: int | None,
        keep_activations: bool,
    ) -> ForwardWork:
        """Return the work that fills the `wanted` features of a bundle."""
        return cls(
            bundle=replace(bundle, features=tuple(wanted), cells=()),
            key=hash_lines([bundle.key, str(batch_size), device.split(":")[0]]),
            device=device,
            batch_size=batch_size,
            keep_activations=keep_activations,
        )

    def plan_batches(self) -> tuple[tuple[int, ...], ...]:
        """Return the rows of each batch."""
        if self.batches is not None:
            return self.batches
        from harness.features.featurize import plan_batches  # imports torch, which takes seconds

        lengths = [len(one.ids) for one in self.bundle.tokens]
        batches = plan_batches(lengths, batch_size=self.batch_size, device=self.device)
        return tuple(map(tuple, batches))

    def after(self, done: int) -> ForwardWork:
        """Return the work: it has one result."""
        return self

    def run(self, desk: Desk) -> Iterator[FeaturesMade | Failure]:
        """Yield the one result. Raise only what ends a run."""
        from harness.runs.featurizer import Featurizer  # imports torch

        featurizer = Featurizer(
            bundle=self.bundle,
            desk=desk,
            key=self.key,
            plan_batches=self.plan_batches,
            batch_size=self.batch_size,
            keep_activations=self.keep_activations,
        )
        try:
            stats, broken = featurizer.fill()
            judged, measured = featurizer.judge()
        except ENDS_RUN:
            raise
        except Exception as error:  # a model or dictionary of any plugin may fail in any way
            yield Failure.of(error)
            return
        yield FeaturesMade(
            stats=replace(stats, calibration_tokens=stats.calibration_tokens + measured),
            broken={key: Failure.of(error) for key, error in broken.items()},
            judged=judged,
        )
