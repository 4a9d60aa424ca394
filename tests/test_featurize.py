"""The forward pass on toy models: batches, slices, memory that runs out, rows without tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from harness import Site, Tokens, UsageError
from harness.dictionaries import decoding
from harness.dictionaries.dictionary import Dictionary
from harness.features.featurize import (
    AUTO_TOKENS,
    Pooled,
    Reading,
    featurize,
    halve,
    plan_batches,
    run_batches,
    stack,
)

Array = np.ndarray[Any, Any]

SITE = Site(kind="resid_post", layer=0)
D_IN, WIDTH = 8, 40


class ToyModel:
    """Activations that depend on a token's id and place, and on nothing else; BOS is an outlier."""

    def __init__(self, dtype: torch.dtype = torch.float32, room: int = 10**9) -> None:
        self.table = torch.randn(64, D_IN, generator=torch.Generator().manual_seed(0))
        self.table[0] = 1e6
        self.dtype = dtype
        self.room = room
        self.sizes: list[int] = []
        self.error: Exception = torch.OutOfMemoryError("out of memory")

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        self.sizes.append(len(batch))
        if len(batch) * max(len(tokens.ids) for tokens in batch) > self.room:
            raise self.error
        parts = [
            (self.table[torch.from_numpy(tokens.ids)] + torch.arange(len(tokens.ids)).unsqueeze(1) / 8)[
                torch.from_numpy(tokens.content)
            ]
            for tokens in batch
        ]
        return {SITE: torch.cat(parts).to(self.dtype)}


class OnlyEncodes:
    """A stranger's encoder: nothing but the Protocol."""

    width = WIDTH

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        assert activations.dtype == torch.float32
        return self.dictionary.encode(activations)


def total(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    assert values.dtype == torch.float32
    pairs = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return torch.stack([values[start:stop].sum(0) for start, stop in pairs])


def mean(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    return total(values, offsets) / offsets.diff().unsqueeze(1)


def make_dictionary(activation: str) -> Dictionary:
    if activation == "identity":
        return Dictionary(name="hidden", width=D_IN, activation="identity")
    generator = torch.Generator().manual_seed(1)
    return Dictionary(
        name="toy",
        width=WIDTH,
        activation=activation,  # type: ignore[arg-type]
        W_enc=torch.randn(D_IN, WIDTH, generator=generator),
        b_enc=torch.randn(WIDTH, generator=generator),
        threshold=torch.rand(WIDTH, generator=generator) + 1 if activation == "jumprelu" else None,
        k=5 if activation == "topk" else None,
    )


ENCODERS = {name: make_dictionary(name) for name in ("identity", "relu", "jumprelu", "topk")}
ENCODERS["general"] = OnlyEncodes(ENCODERS["jumprelu"])  # type: ignore[assignment]


def make_tokens(lengths: Sequence[int]) -> list[Tokens]:
    """BOS and `length` content tokens for each example."""
    random = np.random.default_rng(2)
    return [
        Tokens(
            ids=np.concatenate([[0], random.integers(1, 64, length)]),
            content=np.arange(length + 1) > 0,
        )
        for length in lengths
    ]


LENGTHS = (3, 1, 17, 0, 5, 5, 30, 2, 0, 11)
TOKENS = make_tokens(LENGTHS)


def reading(encoder: Any, **poolings: Any) -> Reading:
    return Reading(
        site=SITE,
        encoder=encoder,
        sparse=encoder.width != D_IN,
        poolings=poolings or {"sum": total, "mean": mean},
    )


def rows_of(pooled: Iterator[Pooled] | Sequence[Pooled], key: str) -> dict[int, Array]:
    """Row number → features, dense."""
    rows: dict[int, Array] = {}
    for batch in pooled:
        matrix = batch.features[key]
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        assert dense.shape[0] == len(batch.rows) and dense.dtype == np.float32
        assert not rows.keys() & set(batch.rows)
        rows |= dict(zip(batch.rows, dense, strict=True))
    return rows


def features_of(encoder: Any, batches: Sequence[Sequence[int]], key: str = "sum", **options: Any) -> Array:
    """`[examples, features]` in order."""
    options = {"model": ToyModel(), "tokens": TOKENS, "readings": [reading(encoder)], **options}
    rows = rows_of(featurize(batches=batches, **options), key)
    return np.stack([rows[row] for row in sorted(rows)])


ALONE = [[row] for row in range(len(TOKENS))]


# ── one example, whatever its company ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@given(order=st.permutations(range(len(TOKENS))), size=st.integers(1, len(TOKENS)))
@settings(max_examples=15)
def test_an_examples_features_do_not_depend_on_its_batch(encoder: Any, order: list[int], size: int) -> None:
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    for key in ("sum", "mean"):
        wanted = features_of(encoder, ALONE, key)
        np.testing.assert_allclose(features_of(encoder, batches, key), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("values", [1, 75, 300, 1000])
def test_slices_of_a_dictionary_change_nothing(
    encoder: Any, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [list(range(len(TOKENS)))]
    wanted = features_of(encoder, batch)
    monkeypatch.setattr(decoding, "SLICE_VALUES", {"cpu": values})
    np.testing.assert_allclose(features_of(encoder, batch), wanted, rtol=1e-6, atol=1e-6)


def test_no_slice_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SLICE_VALUES", {"cpu": 500})
    seen: list[tuple[int, ...]] = []

    def note(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(values.shape))
        return total(values, offsets)

    features_of(ENCODERS["relu"], [list(range(len(TOKENS)))], readings=[reading(ENCODERS["relu"], sum=note)])
    assert len(seen) > 1 and all(tokens * width <= 500 for tokens, width in seen)
    assert sum(width for _, width in seen) == WIDTH


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("rows", [[3], [3, 8], [8, 0, 3]])
def test_an_example_without_content_is_a_row_of_zeros(encoder: Any, rows: list[int]) -> None:
    found = rows_of(
        featurize(model=ToyModel(), tokens=TOKENS, readings=[reading(encoder)], batches=[rows]), "sum"
    )
    assert sorted(found) == sorted(rows)
    assert all(row.shape == (encoder.width,) and row.any() == (LENGTHS[n] > 0) for n, row in found.items())


def test_bos_never_reaches_a_pooling() -> None:
    assert abs(features_of(ENCODERS["identity"], ALONE)).max() < 1e3


def test_bfloat16_activations_are_pooled_in_float32() -> None:
    """In bfloat16 the mean of many values would lose all but two digits."""
    tokens = make_tokens([400])
    model = ToyModel(torch.bfloat16)
    wanted = model.forward(tokens)[SITE].double().mean(0).numpy()
    got = features_of(ENCODERS["identity"], [[0]], "mean", model=model, tokens=tokens)
    np.testing.assert_allclose(got[0], wanted, rtol=1e-5)


def test_one_pass_serves_every_reading() -> None:
    model = ToyModel()
    readings = [
        reading(ENCODERS["relu"], a=total, b=mean),
        reading(ENCODERS["identity"], c=total),
        reading(ENCODERS["topk"], d=total),
    ]
    (batch,) = featurize(model=model, tokens=TOKENS, readings=readings, batches=[[0, 1, 2]])
    assert model.sizes == [3]
    assert {key: matrix.shape for key, matrix in batch.features.items()} == {
        "a": (3, WIDTH),
        "b": (3, WIDTH),
        "c": (3, D_IN),
        "d": (3, WIDTH),
    }
    assert batch.tokens == 3 + 1 + 17 and batch.padded_tokens == 3 * 18 and batch.seconds > 0


def test_sparse_readings_leave_as_csr_and_dense_ones_as_arrays() -> None:
    readings = [reading(ENCODERS["topk"], s=total), reading(ENCODERS["identity"], d=total)]
    parts = list(featurize(model=ToyModel(), tokens=TOKENS, readings=readings, batches=ALONE))
    assert isinstance(stack([part.features["s"] for part in parts]), sparse.csr_array)
    assert isinstance(stack([part.features["d"] for part in parts]), np.ndarray)
    assert stack([part.features["s"] for part in parts]).dtype == np.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_activations_that_are_not_finite_are_refused_and_do_not_become_zeros(value: float) -> None:
    model = ToyModel(torch.float16)
    model.table[7, 3] = value
    tokens = [Tokens(ids=np.array([0, 5, 7]), content=np.array([False, True, True]))]
    with pytest.raises(UsageError, match=r"'resid_post\.0' are not finite in float16: use another dtype"):
        features_of(ENCODERS["jumprelu"], [[0]], model=model, tokens=tokens)


# ── memory that runs out ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
    ids=["cuda", "python", "cpu", "driver"],
)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(error: Exception) -> None:
    model, halved = ToyModel(room=31), []
    model.error = error
    got = features_of(ENCODERS["relu"], [list(range(len(TOKENS)))], model=model, on_halved=halved.append)
    np.testing.assert_allclose(got, features_of(ENCODERS["relu"], ALONE), rtol=1e-5, atol=1e-5)
    assert halved[0] == list(range(len(TOKENS))) and all(len(rows) > 1 for rows in halved)


def test_work_that_returns_nothing_is_done_once() -> None:
    done: list[list[int]] = []

    def keep(rows: Sequence[int]) -> None:
        done.append(list(rows))

    assert list(run_batches([[0, 1], [2]], keep)) == [None, None]
    assert done == [[0, 1], [2]]


def test_halves_come_in_the_order_of_the_batch() -> None:
    pooled = featurize(
        model=ToyModel(room=31), tokens=TOKENS, readings=[reading(ENCODERS["relu"])], batches=[[2, 0, 6], [1]]
    )
    assert [row for batch in pooled for row in batch.rows] == [2, 0, 6, 1]


def test_a_single_example_that_does_not_fit_raises_the_memory_error() -> None:
    halved: list[Sequence[int]] = []
    with pytest.raises(torch.OutOfMemoryError):
        features_of(ENCODERS["relu"], [[0, 6]], model=ToyModel(room=20), on_halved=halved.append)
    assert halved == [[0, 6]]


def test_other_errors_of_a_model_are_not_taken_for_memory() -> None:
    model = ToyModel(room=1)
    model.error = RuntimeError("shapes cannot be multiplied")
    halved: list[Sequence[int]] = []
    with pytest.raises(RuntimeError, match="shapes"):
        features_of(ENCODERS["relu"], [[0, 6]], model=model, on_halved=halved.append)
    assert not halved


def test_no_tensor_of_a_failed_batch_lives_when_it_is_tried_again() -> None:
    """Else the halves would find less memory than the whole."""
    import gc
    import weakref

    left: list[Any] = []

    class Greedy(ToyModel):
        def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
            if len(batch) > 1:
                held = torch.zeros(1000)
                left.append(weakref.ref(held))
                raise torch.OutOfMemoryError
            return super().forward(batch)

    def check(rows: Sequence[int]) -> None:
        assert left[-1]() is None

    gc.disable()
    try:
        features_of(ENCODERS["relu"], [[0, 1, 2, 4]], model=Greedy(), on_halved=check)
    finally:
        gc.enable()
    assert len(left) == 3


# ── batch plans ──────────────────────────────────────────────────────────────────────────────────────────

lengths = st.lists(st.integers(0, 6000), max_size=60)


@given(
    lengths=lengths, size=st.none() | st.integers(1, 70), device=st.sampled_from(["cpu", "cuda", "cuda:1"])
)
def test_a_plan_holds_every_row_once_longest_first_within_the_budget(
    lengths: list[int], size: int | None, device: str
) -> None:
    batches = plan_batches(lengths, batch_size=size, device=device)
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(lengths))) and all(batches)
    assert [lengths[row] for row in rows] == sorted(lengths, reverse=True)
    for batch in batches:
        padded = len(batch) * lengths[batch[0]]
        if size is not None:
            assert len(batch) <= size
        else:
            assert len(batch) == 1 or padded <= AUTO_TOKENS[device.split(":")[0]]
    if size is not None:
        assert all(len(batch) == size for batch in batches[:-1])
    assert batches == plan_batches(lengths, batch_size=size, device=device)


@given(rows=st.lists(st.integers(), min_size=2, max_size=9))
def test_halves_are_the_batch(rows: list[int]) -> None:
    first, second = halve(rows)
    assert first + second == rows and 0 <= len(first) - len(second) <= 1
