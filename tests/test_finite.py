"""Nothing that is not finite becomes a score: plugin and row are named, its cells fail, and the cache stays clean."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

import harness
from harness import Site
from harness.api.errors import PluginResultError
from harness.api.memory import find_memory_error
from harness.features.featurize import Reading, pool_reading
from harness.runs.folder import RunFolder
from harness.stats.finite import check_rows, find_row
from harness.storage.cache import find_damage
from harness.storage.feature_store import FeatureStore
from harness.storage.places import LocalFolder, write_named
from harness.storage.shard import pack

NAN, INF = float("nan"), float("inf")


# ── the check ────────────────────────────────────────────────────────────────────────────────────────────

FORMS = {
    "float32": lambda values: values.astype(np.float32),
    "float64": lambda values: values,
    "float16": lambda values: values.astype(np.float16),
    "csr": sparse.csr_array,
    "csc": sparse.csc_array,
    "lil": sparse.lil_array,
}


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_first_row_that_is_not_finite_is_found_in_every_kind_of_matrix(form: Any, value: float) -> None:
    values = np.eye(6) * 3
    assert find_row(form(values)) is None
    values[4, 1] = values[5, 0] = value
    assert find_row(form(values)) == 4


@pytest.mark.parametrize(
    "values",
    [
        np.full((3, 4), 3e38, np.float32),
        np.full((90, 90), 6e4, np.float16),
        np.full((2, 2), 2**62),
        np.ones((2, 2), bool),
        np.zeros((0, 3)),
        sparse.csr_array((5, 3)),
    ],
    ids=lambda values: f"{values.dtype} {values.shape}",
)
def test_large_numbers_whose_sum_overflows_are_finite(values: Any) -> None:
    assert find_row(values) is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.ones(3), "pooling 'x' returned values of shape (3,), not 3 rows: mend the plugin"),
        (np.ones((1, 2)), "pooling 'x' returned values of shape (1, 2), not 3 rows: mend the plugin"),
        (np.array([[object()]] * 3), "pooling 'x' returned values of type object, not real numbers: mend the plugin"),
        (np.ones((3, 1), complex), "pooling 'x' returned values of type complex128, not real numbers: mend the plugin"),
    ],
)  # fmt: skip
def test_what_is_no_row_of_numbers_for_each_row_is_refused(values: Any, sentence: str) -> None:
    with pytest.raises(PluginResultError) as refused:
        check_rows(values, 3, owner="pooling 'x'")
    assert str(refused.value) == sentence


def test_rows_that_are_not_used_may_hold_anything() -> None:
    values = np.array([[1.0], [NAN], [2.0], [NAN]])
    for matrix in (values, sparse.csr_array(values)):
        check_rows(matrix, 4, owner="x", used=[0, 2])
        with pytest.raises(PluginResultError, match="for row 3"):
            check_rows(matrix, 4, owner="x", used=[0, 3])


# ── pooling ──────────────────────────────────────────────────────────────────────────────────────────────

COUNTS = (2, 0, 3, 1)
ACTIVATIONS = torch.arange(1.0, 25.0).reshape(6, 4)


class Encoder:
    """Activations as features, with one value of one token changed."""

    width = 4

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        changed = activations.clone()
        changed[3, 2] = self.value
        return changed


def largest(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    return torch.stack([values[start:stop].amax(0) for start, stop in itertools.pairwise(offsets)])


class Ranked:
    top = 2
    __call__ = staticmethod(largest)


def spoilt(value: float, dtype: torch.dtype = torch.float32) -> Any:
    def pool(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        pooled = largest(values, offsets).to(dtype)
        pooled[1, 0] = value
        return pooled

    return pool


POOLINGS = {
    "NaN": (spoilt(NAN), "returned a value that is NaN or infinite for row 2: mend the plugin, or leave it out"),
    "infinity": (spoilt(-INF), "returned a value that is NaN or infinite for row 2: mend the plugin, or leave it out"),
    "beyond float32": (spoilt(1e300, torch.float64), "for row 2: mend the plugin, or leave it out"),
    "beyond float16": (lambda v, o: largest(v, o).half() * 60000, "for row 0: mend the plugin, or leave it out"),
    "one row for all": (lambda v, o: v[:1], "returned values of shape (1, 4), not (3, 4): mend the plugin"),
    "an error": (lambda v, o: 1 / 0, "division by zero"),
}  # fmt: skip


@pytest.mark.parametrize("as_sparse", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_that_fails_takes_no_other_with_it(name: str, as_sparse: bool) -> None:
    poolings = {"good": largest, "bad": POOLINGS[name][0], "ranked": Ranked()}
    reading = Reading(site=Site.parse("resid_post.0"), encoder=Encoder(), sparse=as_sparse, poolings=poolings)
    broken: dict[str, Exception] = {}
    pooled = pool_reading(reading, ACTIVATIONS, COUNTS, broken=broken)
    assert set(pooled) == {"good", "ranked"} and set(broken) == {"bad"}
    assert str(broken["bad"]).endswith(POOLINGS[name][1])
    with pytest.raises(type(broken["bad"])):
        pool_reading(reading, ACTIVATIONS, COUNTS)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("pooling", [largest, lambda v, o: (largest(v, o) > 0).float(), Ranked()])
def test_a_representation_that_is_not_finite_is_named_though_a_pooling_would_hide_it(
    value: float, pooling: Any
) -> None:
    reading = Reading(
        site=Site.parse("resid_post.0"), encoder=Encoder(value), sparse=True, poolings={"one": pooling}
    )
    with pytest.raises(PluginResultError) as refused:
        pool_reading(reading, ACTIVATIONS, COUNTS, broken={}, name="example '{}'".format)
    assert str(refused.value) == (
        "the representation returned a value that is NaN or infinite for example '2': mend the plugin, or leave it out"
    )


@pytest.mark.parametrize("shape", [(6, 1), (1, 4), (5, 4), (6, 5)])
def test_a_representation_of_another_shape_is_refused_and_not_broadcast(shape: tuple[int, int]) -> None:
    encoder = Encoder()
    encoder.encode = lambda activations: torch.ones(shape)  # type: ignore[method-assign]
    for as_sparse in (True, False):
        reading = Reading(
            site=Site.parse("resid_post.0"), encoder=encoder, sparse=as_sparse, poolings={"one": largest}
        )
        said = rf"^the representation returned values of shape \({shape[0]}, {shape[1]}\), not \(6, 4\): mend"
        with pytest.raises(PluginResultError, match=said):
            pool_reading(reading, ACTIVATIONS, COUNTS)


def test_a_lack_of_memory_is_no_fault_of_a_pooling() -> None:
    def full(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return torch.empty(1 << 50)

    reading = Reading(site=Site.parse("resid_post.0"), encoder=Encoder(), sparse=True, poolings={"one": full})
    with pytest.raises(RuntimeError) as caught:
        pool_reading(reading, ACTIVATIONS, COUNTS, broken={})
    assert find_memory_error(caught.value) is caught.value


# ── the cache ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("values", [np.array([[1.0], [NAN]]), np.array([[1.0], [1e300]])])
def test_the_cache_takes_nothing_that_is_not_finite(tmp_path: Path, values: Any) -> None:
    store = FeatureStore(tmp_path)
    for matrix in (values, sparse.csr_array(values)):
        with pytest.raises(PluginResultError, match="not kept in the cache"):
            store.write("a" * 64, [0, 1], matrix)
    with pytest.raises(PluginResultError, match="weights that are not finite are not kept in the cache"):
        store.write_tensors("fitted", "a" * 64, {"weights": torch.tensor([INF])}, {})
    assert not list(tmp_path.rglob("*.safetensors"))


def test_rows_that_are_not_finite_in_an_older_cache_are_made_anew(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path), "a" * 64
    write_named(LocalFolder(tmp_path), f"features/{key}", pack([1], np.array([[NAN]], np.float32)))
    store.write(key, [0], np.array([[1.0]]))
    store.complete(key, {"rows": 2})
    assert list(find_damage(tmp_path).values()) == ["holds values that are not finite"]
    assert store.rows(key, 2) == {0} and store.read(key, 2) is None


# ── a run ────────────────────────────────────────────────────────────────────────────────────────────────

PLUGIN = """
import harness
import numpy as np

class Mean:
    bad = False
    def __call__(self, values, offsets):
        import torch
        pooled = torch.stack([values[a:b].mean(0) for a, b in zip(offsets, offsets[1:])])
        if self.bad: pooled[0, 0] = float("nan")
        return pooled

class BadMean(Mean): bad = True

class Encoder:
    def __init__(self, width): self.width = width
    def encode(self, activations):
        changed = activations.clone()
        changed[1, 0] = float("inf")
        return changed

class Represented:
    def at(self, model, site):
        return harness.PlacedRepresentation(
            identity={"kind": "toy"}, d_in=(d := model.width(site)), width=d, sparse=False,
            load=lambda device: Encoder(d))

class Fitted:
    def at(self, model, site):
        return harness.PlacedRepresentation(
            identity={"kind": "toy fitted"}, d_in=(d := model.width(site)), width=d, sparse=False, fit=self.fit)
    def fit(self, sample):
        import torch
        d = sample.shape[1]
        return harness.Dictionary(
            name="toy", width=d, activation="relu", W_enc=torch.eye(d) / 0, b_enc=torch.zeros(d))

class Length:
    def fit(self, inputs): return self
    def transform(self, inputs):
        longest = max(map(len, inputs))
        return np.array([[np.nan if len(text) == longest else float(len(text))] for text in inputs])

class Reciprocal(Length):
    def transform(self, inputs):  # rows that are not used are blank
        return np.array([[1 / len(text) if text else np.nan] for text in inputs])

class First:
    def fit(self, source, target): self.n = source.shape[1]; return self
    def transform(self, target):
        made = np.resize(target, (target.shape[0], self.n))
        made[2, 2] = np.inf
        return made

def tree():
    from sklearn.tree import DecisionTreeClassifier
    return DecisionTreeClassifier(random_state=0)

def offer(spec, **more): return [spec(name=name, summary=name, make=make) for name, make in more.items()]

@harness.hookimpl
def harness_poolings(): return offer(harness.PoolingSpec, toy_mean=Mean, toy_nan=BadMean)
@harness.hookimpl
def harness_representations():
    tokens = [harness.RepresentationSpec(name=name, summary=name, make=make, needs="tokens", fitted=fitted)
              for name, make, fitted in (("toy_inf", Represented, False), ("toy_fitted", Fitted, True))]
    text = [harness.RepresentationSpec(name=name, summary=name, make=make, needs="text")
            for name, make in (("toy_length", Length), ("toy_reciprocal", Reciprocal))]
    return [*tokens, *text]
@harness.hookimpl
def harness_classifiers(): return offer(harness.ClassifierSpec, toy_tree=tree)
@harness.hookimpl
def harness_alignments(): return offer(harness.AlignmentSpec, toy_first=First)
"""
SUITE = """
name: toy
tasks: [toy_task]
models: [{ref: minigemma-s, sites: [resid_post.0]}, {ref: minigemma-m, sites: [resid_post.0]}]
transfers: [{from: minigemma-s, to: minigemma-m}]
alignments: [toy_first]
representations: [hidden, toy_inf, toy_fitted, toy_length, toy_reciprocal]
poolings: [toy_mean, toy_nan]
transforms: [none]
classifiers: [toy_tree]
"""
MADE = "PluginResultError: {} (toy 1.0) returned a value that is NaN or infinite for example '"
WANTED = {
    ("hidden", "toy_mean", None): None,
    ("hidden", "toy_nan", None): MADE.format("pooling 'toy_nan'"),
    ("toy_inf", "toy_mean", None): MADE.format("representation 'toy_inf'"),
    ("toy_fitted", "toy_mean", None): "UnavailableError: dictionary 'toy': W_enc holds values that are not finite",
    ("toy_length", None, None): MADE.format("representation 'toy_length'"),
    ("toy_reciprocal", None, None): None,
    ("hidden", "toy_mean", "toy_first"): MADE.format("alignment 'toy_first'"),
}  # fmt: skip


def test_a_run_with_values_that_are_not_finite_fails_their_cells_only(install, write, toy_task, tmp_path):
    install(PLUGIN)
    session = harness.open(include=[toy_task], device="cpu", cache_dir=tmp_path / "cache")
    run = session.run(write("suite.yaml", SUITE), output=tmp_path / "out")
    found = {(one.representation, one.pooling, one.alignment): one for one in RunFolder(run.folder).records()}
    assert run.summary.ok == 3
    for arm, sentence in WANTED.items():
        record = found[arm]
        assert (record.status, sentence or "") == ("failed" if sentence else "ok", sentence or ""), (
            record.error
        )
        assert str(record.error or "").startswith(sentence or "")
    assert find_damage(tmp_path / "cache") == {}
