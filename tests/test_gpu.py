"""The same numbers on a GPU: `pytest -m gpu`. Needs nothing that the rest of the tests do not."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import harness
from harness import Site, Tokens
from harness.dictionaries.dictionary import Dictionary
from harness.features.featurize import Reading, featurize
from harness.registry.catalog import Registry

Array = np.ndarray[Any, Any]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

NEAR_IN_BFLOAT16 = 0.05
"""In bfloat16 a feature this near to its threshold, relative to it, may fall on either side."""


def load(name: str) -> ModuleType:
    """A neighbouring file as a module; tests are no package that could be imported from."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    return load("test_features_oracle")


@pytest.fixture(scope="module")
def world(oracle: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random Gemma 2 and dictionary, and what plain transformers and numpy make of them, on the GPU."""
    return oracle.make_world(tmp_path_factory.mktemp("oracle"), device="cuda")


@pytest.fixture(scope="module")
def world_in_bfloat16(oracle: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same with the model in bfloat16."""
    return oracle.make_world(tmp_path_factory.mktemp("bfloat16"), device="cuda", dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return harness.open(device="cuda").registry


# ── against transformers and numpy ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pooling", ["sum", "max", "mean", "last"])
@pytest.mark.parametrize("representation", ["hidden", "dictionary"])
def test_float32_gives_what_transformers_and_numpy_give(
    oracle: ModuleType, world: Any, representation: str, pooling: str
) -> None:
    got = oracle.features(world, representation=representation, pooling=pooling, device="cuda")
    near = world.near() if representation == "dictionary" else None
    assert world.near().mean() <= 1e-3
    oracle.assert_equal(got, world.wanted(representation, pooling), near)


@pytest.mark.parametrize("pooling", ["sum", "max", "mean", "last"])
@pytest.mark.parametrize("representation", ["hidden", "dictionary"])
def test_bfloat16_gives_each_row_within_two_percent(
    oracle: ModuleType, world_in_bfloat16: Any, representation: str, pooling: str
) -> None:
    """Relative L2 error of each row at most 2e-2, features near a threshold left out. The oracle runs in bfloat16
    too: what rounding the weights costs is the checkpoint's, not the harness's.
    """
    world = world_in_bfloat16
    options = ["--dtype", "bfloat16"]
    got = oracle.features(
        world, representation=representation, pooling=pooling, device="cuda", options=options
    )
    wanted = world.wanted(representation, pooling)
    if representation == "dictionary":
        clear = ~world.near(NEAR_IN_BFLOAT16)
        assert clear.mean() > 0.5
        got, wanted = got * clear, wanted * clear
    error = np.linalg.norm(got - wanted, axis=1)
    assert (error <= 2e-2 * np.linalg.norm(wanted, axis=1)).all()


@pytest.mark.parametrize("batch_size", ["1", "7"])
@pytest.mark.parametrize("representation", ["hidden", "dictionary"])
def test_the_batch_size_changes_nothing(
    oracle: ModuleType, world: Any, representation: str, batch_size: str
) -> None:
    got = oracle.features(
        world, representation=representation, pooling="sum", batch_size=batch_size, device="cuda"
    )
    near = world.near() if representation == "dictionary" else None
    oracle.assert_equal(got, world.wanted(representation, "sum"), near)


def test_rows_come_in_the_order_of_the_input(oracle: ModuleType, world: Any) -> None:
    order = np.random.default_rng(0).permutation(len(oracle.TEXTS))
    texts = [oracle.TEXTS[row] for row in order]
    got = oracle.features(
        world, representation="dictionary", pooling="max", texts=texts, batch_size="4", device="cuda"
    )
    oracle.assert_equal(got, world.wanted("dictionary", "max")[order], world.near()[order])


def test_the_same_command_gives_the_same_bits(oracle: ModuleType, world: Any) -> None:
    both = [
        oracle.features(world, representation="dictionary", pooling="sum", device="cuda") for _ in range(2)
    ]
    assert np.array_equal(*both)


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pooling", ["max", "mean", "sum", "last", "count", "count(t=0.5)"])
def test_a_pooling_gives_what_it_gives_on_the_cpu(registry: Registry, pooling: str) -> None:
    make = registry.choose("poolings", pooling).make
    values = torch.randn(500, 33, generator=torch.Generator().manual_seed(0))
    offsets = torch.tensor([0, 1, 2, 100, 499, 500])
    got = make()(values.cuda(), offsets.cuda())
    assert got.is_cuda and got.dtype == torch.float32
    torch.testing.assert_close(got.cpu(), make()(values, offsets), rtol=1e-5, atol=1e-5)


def test_topk_gives_ties_to_the_lowest_feature() -> None:
    values = torch.randint(-2, 4, (200, 50), generator=torch.Generator().manual_seed(0)).float()
    dictionaries = [
        Dictionary(
            name="toy",
            width=50,
            activation="topk",
            W_enc=torch.eye(50, device=device),
            b_enc=torch.zeros(50, device=device),
            k=7,
        )
        for device in ("cpu", "cuda")
    ]
    wanted, got = (each.encode(values.to(each.W_enc.device)).cpu() for each in dictionaries)  # type: ignore[union-attr]
    assert torch.equal(got, wanted)


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────

SITE = Site(kind="resid_post", layer=0)
ROOM = 1 << 30


class Hungry:
    """A model that takes 300 MiB for each example of a batch while it runs."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def forward(self, batch: Sequence[Tokens]) -> Mapping[Site, torch.Tensor]:
        self.sizes.append(len(batch))
        held = torch.zeros(len(batch), 300 << 18, device="cuda")
        ids = np.concatenate([tokens.ids[tokens.content] for tokens in batch])
        return {SITE: torch.from_numpy(ids).float().cuda().unsqueeze(1) + held[0, 0]}


@pytest.fixture
def one_gibibyte() -> Iterator[None]:
    """As if the GPU had one gibibyte left for this process."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + ROOM) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_batch_that_does_not_fit_is_halved_and_leaves_no_memory_behind(one_gibibyte: None) -> None:
    tokens = [Tokens(ids=np.array([0, n]), content=np.array([False, True])) for n in range(1, 9)]
    encoder = Dictionary(name="hidden", width=1, activation="identity")
    reading = Reading(site=SITE, encoder=encoder, sparse=False, poolings={"": lambda values, _: values})
    model, halved = Hungry(), []
    before = torch.cuda.memory_allocated()
    pooled = list(
        featurize(
            model=model,
            tokens=tokens,
            readings=[reading],
            batches=[list(range(8))],
            on_halved=halved.append,
        )
    )
    rows = {
        row: value.item()
        for batch in pooled
        for row, value in zip(batch.rows, batch.features[""], strict=True)
    }
    assert rows == {n: float(n + 1) for n in range(8)}
    assert model.sizes == [8, 4, 2, 2, 4, 2, 2] and [len(each) for each in halved] == [8, 4, 4]
    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize(
    ("model", "site"),
    [
        ("miniclip", "vision.resid_post.[2]"),
        ("minipaligemma", "resid_post.[2]"),
        ("minipaligemma", "vision.resid_post.[3]"),
    ],
)
def test_images_give_the_same_features(model: str, site: str) -> None:
    """Convolutions of patches included, which cuDNN would do in TF32."""
    data = Path(__file__).parents[1] / "tasks" / "harness_vision" / "data" / "digits.parquet"
    images = [harness.read_image(one) for one in pd.read_parquet(data)["image"][:64]]
    found = {
        device: harness.open(device=device).features(images, model=model, site=site, pooling="mean")
        for device in ("cpu", "cuda")
    }
    assert np.allclose(found["cpu"], found["cuda"], atol=1e-3 * np.abs(found["cpu"]).max())
