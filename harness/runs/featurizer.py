"""Features of one bundle: the forward pass for what the store lacks, fitted representations, the fidelity gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.api.events import BundleFinished
from harness.api.protocols import LoadedModel
from harness.dictionaries.dictionary import Dictionary
from harness.dictionaries.gate import Fidelity, judge, not_measurable
from harness.features.activations import read_sample
from harness.features.artifacts import read_fitted, read_measured, write_fitted, write_measured
from harness.features.cached_model import KeptActivations
from harness.features.featurize import Reading, featurize, halve
from harness.features.fitting import fit_all, measure_all
from harness.planning.cells import Bundle, ModelFeatures
from harness.runs.desk import Desk
from harness.runs.forward import Meter, Shards, make_readings, read_tokens_of


@dataclass(frozen=True, kw_only=True)
class Featurizer:
    """Maker of all features of a bundle, and of what the fidelity gate measures of its dictionaries.

    `key` names the batches, which `plan_batches` returns.
    """

    bundle: Bundle
    desk: Desk
    key: str
    plan_batches: Callable[[], Sequence[Sequence[int]]]
    batch_size: int | None = None
    keep_activations: bool = False

    def fill(self) -> tuple[BundleFinished, Mapping[str, Exception]]:
        """Run one forward pass over the rows that the store lacks of any wanted features.

        Return its cost, and the errors of dictionaries that cannot be loaded or fitted, by feature key.
        """
        store, n_rows = self.desk.store, len(self.bundle.data.examples)
        missing = [one for one in self.bundle.model_features if not self._is_stored(one.key)]
        meter = Meter(self.bundle, self.desk.device)
        if not missing or self.bundle.model is None:
            return meter.stats(), {}
        store.check_writable()
        model = self._open(missing)
        fitted, broken = self._fit(missing, model, meter)
        missing = [one for one in missing if one.key not in broken]
        readings, unloadable = make_readings(missing, self.desk.device, fitted)
        broken |= unloadable
        missing = [one for one in missing if one.key not in broken]
        if missing:
            kept = [store.rows(one.key, n_rows) for one in missing]
            batches = self._batches()
            remaining = [batch for batch in batches if not set(batch) <= set.intersection(*kept)]
            broken |= self._forward(model, readings, batches, remaining, meter)
            missing = [one for one in missing if one.key not in broken]
            cost = meter.cost(resumed=len(remaining) < len(batches)).model_dump()
            for one in missing:
                store.complete(one.key, {"rows": n_rows, "of": _origin(one, self.bundle), "cost": cost})
        return meter.stats(), broken

    def judge(self) -> tuple[dict[str, Fidelity], int]:
        """Measure the fidelity of every dictionary that was not measured before.

        Return the judgements by gate key, and the content tokens that went through the model for them.
        """
        store = self.desk.store
        keyed = {one.gate_key: one for one in self.bundle.model_features if one.gate_key}
        stored = {key: read_measured(store, key) for key in keyed}
        judged = {key: judge(measured) for key, measured in stored.items() if measured is not None}
        pending = {key: (one.site, one.placed) for key, one in keyed.items() if key not in judged}
        if not pending or self.bundle.model is None:
            return judged, 0
        store.check_writable()
        started = time.perf_counter()
        tokens = [self.bundle.tokens[row] for row in self.bundle.gate_sample]
        sites = sorted({site for key in pending for site in keyed[key].gate_sites})
        model = self.desk.models.load(self.bundle.model, sites, self.desk.device)
        sample = read_sample(model, tokens, sites, batch_size=self.batch_size, device=self.desk.device)
        measured, faults = measure_all(pending, sample, tokens, self.desk.device)
        for key, one in measured.items():
            write_measured(store, key, one)
            judged[key] = judge(one)
        judged |= {key: not_measurable(fault) for key, fault in faults.items()}
        n_tokens = sum(int(one.content.sum()) for one in tokens)
        self.desk.tell(
            "measured",
            bundle=self.bundle.name,
            dictionaries=len(measured),
            tokens=n_tokens,
            seconds=round(time.perf_counter() - started, 3),
        )
        return judged, n_tokens

    def _is_stored(self, key: str) -> bool:
        store, n_rows = self.desk.store, len(self.bundle.data.examples)
        return store.is_complete(key) and len(store.rows(key, n_rows)) == n_rows

    def _open(self, missing: Sequence[ModelFeatures]) -> LoadedModel:
        """Load the bundle's model, only as deep as the missing features need it."""
        assert self.bundle.model
        sites = sorted({one.site for one in missing})
        if not self.keep_activations:
            return self.desk.models.load(self.bundle.model, sites, self.desk.device)
        return KeptActivations(self.desk.store, self.bundle.model, sites, self.desk.device)

    def _fit(
        self, missing: Sequence[ModelFeatures], model: LoadedModel, meter: Meter
    ) -> tuple[Mapping[str, Dictionary], dict[str, Exception]]:
        """Fit on the bundle's sample what was not fitted before.

        Return the dictionaries by fitted key, and the errors by feature key.
        """
        store, device = self.desk.store, self.desk.device
        needed = {one.fitted_key: one for one in missing if one.fitted_key}
        stored = {key: read_fitted(store, key, device) for key in needed}
        fitted = {key: one for key, one in stored.items() if one is not None}
        unfitted = {
            key: (one.site, one.placed.fit)
            for key, one in needed.items()
            if key not in fitted and one.placed.fit
        }
        if not unfitted:
            return fitted, {}
        started = time.perf_counter()
        tokens = [self.bundle.tokens[row] for row in self.bundle.sample]
        sites = sorted({site for site, _ in unfitted.values()})
        sample = read_sample(model, tokens, sites, batch_size=self.batch_size, device=device)
        made, faults = fit_all(unfitted, sample)
        for key, dictionary in made.items():
            # Should another process have fitted it meanwhile, both go on with the same one.
            fitted[key] = read_fitted(store, key, device) or self._keep(key, dictionary, missing)
        meter.calibration_tokens = sum(int(one.content.sum()) for one in tokens) - read_tokens_of(model)
        self.desk.tell(
            "calibrated",
            bundle=self.bundle.name,
            examples=len(tokens),
            tokens=meter.calibration_tokens,
            fitted=len(made),
            seconds=round(time.perf_counter() - started, 3),
        )
        return fitted, {one.key: faults[one.fitted_key] for one in missing if one.fitted_key in faults}

    def _keep(self, key: str, dictionary: Dictionary, missing: Sequence[ModelFeatures]) -> Dictionary:
        """Keep a dictionary fitted under a key, and remove shards of an earlier one. Return it as it is read back."""
        for one in missing:
            if one.fitted_key == key:
                self.desk.store.discard(one.key)
        write_fitted(self.desk.store, key, dictionary)
        return read_fitted(self.desk.store, key, self.desk.device) or dictionary

    def _batches(self) -> list[list[int]]:
        """Return the batches of an earlier, unfinished pass over the bundle, else those of the work, written first."""
        store, n_rows = self.desk.store, len(self.bundle.tokens)
        batches = store.read_batches(self.key)
        if batches is None or sorted(row for batch in batches for row in batch) != list(range(n_rows)):
            batches = [list(batch) for batch in self.plan_batches()]
            store.write_batches(self.key, batches)
        return batches

    def _forward(
        self,
        model: LoadedModel,
        readings: Sequence[Reading],
        batches: list[list[int]],
        remaining: Sequence[list[int]],
        meter: Meter,
    ) -> Mapping[str, Exception]:
        """Run the remaining batches through the model and write their pooled rows as shards.

        Return the errors of representations and poolings, by the keys of the features that are not complete for them.
        """
        tokens, tell, name = self.bundle.tokens, self.desk.tell, self.bundle.name
        shards = Shards(self.desk.store)
        read_before = read_tokens_of(model)
        meter.tokens_total = sum(int(tokens[row].content.sum()) for rows in remaining for row in rows)
        tell("forward", bundle=name, batches=len(remaining), of=len(batches))

        def keep_halved(rows: Sequence[int]) -> None:
            place = batches.index(list(rows))
            batches[place : place + 1] = halve(rows)
            self.desk.store.write_batches(self.key, batches)
            tell("halved", bundle=name, examples=len(rows))

        ids, broken = self.bundle.data.examples.ids, dict[str, Exception]()
        for pooled in featurize(
            model=model,
            tokens=tokens,
            readings=readings,
            batches=remaining,
            on_halved=keep_halved,
            name=lambda row: f"example '{ids[row]}'",
            broken=broken,
        ):
            meter.add(pooled)
            shards.add(pooled)
            self.desk.progress(meter.progress())
            if len(broken) == sum(len(reading.poolings) for reading in readings):
                break  # nothing is left to be filled
        shards.flush()
        meter.read_tokens = read_tokens_of(model) - read_before
        return broken


def _origin(features: ModelFeatures, bundle: Bundle) -> dict[str, str]:
    """Return a description of features for people who look at the cache."""
    parts = {
        "task": bundle.data.spec.name,
        "model": bundle.model.label if bundle.model else None,
        "site": features.site,
        "representation": features.representation.label,
        "pooling": features.pooling.label,
    }
    return {name: str(part) for name, part in parts.items() if part}
