"""The canonical dictionary against plain numpy, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import UnavailableError
from harness.dictionaries.decoding import Decoder
from harness.dictionaries.dictionary import Dictionary, InputNorm, slices_of
from harness.dictionaries.rebuilding import rebuild_scaled

Array = np.ndarray[Any, Any]

D_IN, WIDTH, TOKENS = 6, 37, 50


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(activation: str, **changed: Any) -> Dictionary:
    parameters: dict[str, Any] = {
        "W_enc": draw(D_IN, WIDTH),
        "b_enc": draw(WIDTH, seed=1),
        "threshold": draw(WIDTH, seed=2) if activation in {"jumprelu", "batchtopk"} else None,
        "r_mag": draw(WIDTH, seed=5) / 4 if activation == "gated" else None,
        "b_mag": draw(WIDTH, seed=6) if activation == "gated" else None,
        "k": {"topk": 5, "abstopk": 5, "groupmax": WIDTH}.get(activation),
    }
    return Dictionary(name="toy", activation=activation, **{"width": WIDTH, **parameters, **changed})


def before(dictionary: Dictionary, x: torch.Tensor) -> Array:
    """Pre-activations by numpy in float64."""
    assert dictionary.W_enc is not None and dictionary.b_enc is not None
    inputs = x.double().numpy()
    if dictionary.subtract is not None:
        inputs = inputs - dictionary.subtract.double().numpy()
    product: Array = inputs @ dictionary.W_enc.double().numpy() + dictionary.b_enc.double().numpy()
    return product


def top(values: Array, k: int) -> Array:
    """The k largest of each row, ties to the lowest column, the rest zero; then ReLU."""
    kept = np.argsort(-values, axis=1, kind="stable")[:, :k]
    codes = np.zeros_like(values)
    np.put_along_axis(codes, kept, np.take_along_axis(values, kept, axis=1), axis=1)
    return np.maximum(codes, 0)


RULES = ["relu", "jumprelu", "topk", "abstopk", "groupmax", "batchtopk", "gated", "identity", "hidden"]
SUBTRACT = [None, draw(D_IN, seed=4)]


@pytest.mark.parametrize("subtract", SUBTRACT, ids=["raw", "subtract"])
def test_relu_is_relu(subtract: torch.Tensor | None) -> None:
    dictionary, x = make("relu", subtract=subtract), draw(TOKENS, D_IN, seed=3)
    wanted = np.maximum(before(dictionary, x), 0)
    np.testing.assert_allclose(dictionary.encode(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("subtract", SUBTRACT, ids=["raw", "subtract"])
def test_jumprelu_is_relu_above_the_threshold(subtract: torch.Tensor | None) -> None:
    dictionary, x = make("jumprelu", subtract=subtract), draw(TOKENS, D_IN, seed=3)
    assert dictionary.threshold is not None and bool((dictionary.threshold < 0).any())
    pre, threshold = before(dictionary, x), dictionary.threshold.double().numpy()
    wanted = np.maximum(pre, 0) * (pre > threshold)
    assert (abs(pre - threshold) > 1e-5).all()
    np.testing.assert_allclose(dictionary.encode(x), wanted, rtol=1e-5, atol=1e-5)


def test_a_value_equal_to_its_threshold_does_not_fire() -> None:
    dictionary = Dictionary(
        name="toy",
        width=2,
        activation="jumprelu",
        W_enc=torch.ones(1, 2),
        b_enc=torch.zeros(2),
        threshold=torch.tensor([1.0, 0.0]),
    )
    assert dictionary.encode(torch.tensor([[1.0], [1.5], [0.0]])).tolist() == [[0, 1], [1.5, 1.5], [0, 0]]


@pytest.mark.parametrize("subtract", SUBTRACT, ids=["raw", "subtract"])
def test_gated_scales_the_magnitude_of_open_gates(subtract: torch.Tensor | None) -> None:
    dictionary, x = make("gated", subtract=subtract), draw(TOKENS, D_IN, seed=3)
    assert dictionary.b_enc is not None and dictionary.r_mag is not None and dictionary.b_mag is not None
    gate = before(dictionary, x)
    product = gate - dictionary.b_enc.double().numpy()
    magnitude = product * np.exp(dictionary.r_mag.double().numpy()) + dictionary.b_mag.double().numpy()
    assert (abs(gate) > 1e-5).all()
    wanted = np.where(gate > 0, np.maximum(magnitude, 0), 0)
    assert (wanted > 0).any() and ((gate > 0) & (magnitude < 0)).any()
    np.testing.assert_allclose(dictionary.encode(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threshold", [torch.tensor(0.7), torch.full((WIDTH,), 0.7)], ids=["one", "each"])
def test_batchtopk_is_relu_above_its_one_threshold(threshold: torch.Tensor) -> None:
    dictionary = make("batchtopk", threshold=threshold, subtract=draw(D_IN, seed=4))
    x = draw(TOKENS, D_IN, seed=3)
    pre = before(dictionary, x)
    assert (abs(pre - 0.7) > 1e-5).all()
    np.testing.assert_allclose(dictionary.encode(x), pre * (pre > 0.7), rtol=1e-5, atol=1e-5)


def test_identity_with_weights_is_an_affine_map() -> None:
    dictionary, x = make("identity", subtract=draw(D_IN, seed=4)), draw(TOKENS, D_IN, seed=3)
    np.testing.assert_allclose(dictionary.encode(x), before(dictionary, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 5, WIDTH])
def test_topk_keeps_the_k_largest(k: int) -> None:
    dictionary, x = make("topk", k=k), draw(TOKENS, D_IN, seed=3)
    np.testing.assert_allclose(dictionary.encode(x), top(before(dictionary, x), k), rtol=1e-5, atol=1e-5)


def test_signed_topk_keeps_the_k_largest_below_zero_too() -> None:
    dictionary, x = make("topk", signed=True), draw(TOKENS, D_IN, seed=3)
    low = make("topk", signed=True, b_enc=torch.full((WIDTH,), -50.0))
    for one in (dictionary, low):
        pre = before(one, x)
        wanted = np.where(pre >= np.sort(pre, axis=1)[:, -5][:, None], pre, 0)
        np.testing.assert_allclose(one.encode(x), wanted, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(torch.cat([part for _, part in one.slices(x, 4)], 1), one.encode(x))
    assert bool((low.encode(x) < 0).any()) and not bool((low.encode(x) > 0).any())


def of_integers(values: list[list[int]], activation: str, k: int) -> tuple[Dictionary, torch.Tensor]:
    """A dictionary that reads the values themselves, which have ties, and the values."""
    width = len(values[0])
    return make(activation, W_enc=torch.eye(width), b_enc=torch.zeros(width), width=width, k=k), torch.tensor(
        values, dtype=torch.float32
    )


@given(
    values=st.lists(st.lists(st.integers(-3, 2), min_size=9, max_size=9), min_size=1, max_size=6),
    k=st.integers(1, 9),
    size=st.integers(1, 9),
)
@settings(max_examples=100)
def test_abstopk_keeps_the_k_farthest_from_zero_with_their_signs(
    values: list[list[int]], k: int, size: int
) -> None:
    dictionary, x = of_integers(values, "abstopk", k)
    kept = top(np.abs(x.numpy()), k) > 0
    encoded = torch.cat([part for _, part in dictionary.slices(x, size)], 1)
    np.testing.assert_array_equal(encoded, np.where(kept, x, 0))


@given(
    values=st.lists(st.lists(st.integers(-2, 3), min_size=12, max_size=12), min_size=0, max_size=6),
    k=st.sampled_from([1, 2, 3, 4, 6, 12]),
    size=st.integers(1, 12),
)
@settings(max_examples=150)
def test_groupmax_keeps_the_first_largest_of_each_group_in_any_slices(
    values: list[list[int]], k: int, size: int
) -> None:
    dictionary, x = of_integers([*values, [0] * 12], "groupmax", k)
    groups = x.numpy().reshape(len(x), k, 12 // k)
    wanted = np.zeros_like(groups)
    largest = groups.argmax(2)[:, :, None]
    np.put_along_axis(wanted, largest, np.take_along_axis(groups, largest, 2), 2)
    encoded = torch.cat([part for _, part in dictionary.slices(x, size)], 1)
    np.testing.assert_array_equal(encoded, np.maximum(wanted, 0).reshape(len(x), 12))


NORMS: list[InputNorm] = ["none", "layer_norm", "constant_norm_rescale"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [5, WIDTH])
def test_tokens_are_normalised_and_what_is_rebuilt_is_brought_back_as_by_sae_lens(
    norm: InputNorm, size: int
) -> None:
    lens = pytest.importorskip("sae_lens", reason="sae-lens is in the extra [train]")
    config = lens.StandardSAEConfig(
        d_in=D_IN, d_sae=WIDTH, normalize_activations=norm, apply_b_dec_to_input=True
    )
    original = lens.StandardSAE(config)
    parts = {
        "W_enc": draw(D_IN, WIDTH),
        "b_enc": draw(WIDTH, seed=1),
        "W_dec": draw(WIDTH, D_IN, seed=7),
        "b_dec": draw(D_IN, seed=8),
    }
    original.load_state_dict(parts)
    dictionary = Dictionary(
        name="toy", width=WIDTH, activation="relu", subtract=parts["b_dec"], input_norm=norm, **parts
    )
    x = draw(TOKENS, D_IN, seed=3) * torch.logspace(-3, 2, TOKENS)[:, None] + 1
    with torch.no_grad():
        features = original.encode(x)
        wanted = original.decode(features)
    torch.testing.assert_close(dictionary.encode(x), features, rtol=1e-4, atol=1e-5)
    rebuilt, active = dictionary.rebuild(x, size)
    torch.testing.assert_close(rebuilt, wanted, rtol=1e-4, atol=1e-4)
    assert active == int((features != 0).sum())


@pytest.mark.parametrize("norm", NORMS)
def test_a_token_of_zeros_is_encoded_as_zeros_are(norm: InputNorm) -> None:
    dictionary, zeros = make("relu", input_norm=norm, W_dec=draw(WIDTH, D_IN)), torch.zeros(3, D_IN)
    torch.testing.assert_close(dictionary.encode(zeros), make("relu").encode(zeros))
    assert bool(torch.isfinite(dictionary.rebuild(zeros, WIDTH)[0]).all())


@given(
    values=st.lists(st.lists(st.integers(-2, 3), min_size=9, max_size=9), min_size=1, max_size=6),
    k=st.integers(1, 9),
    size=st.integers(1, 9),
)
@settings(max_examples=150)
def test_topk_gives_ties_to_the_lowest_feature_in_any_slices(
    values: list[list[int]], k: int, size: int
) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    dictionary = Dictionary(
        name="toy", width=9, activation="topk", W_enc=torch.eye(9), b_enc=torch.zeros(9), k=k
    )
    parts = list(dictionary.slices(x, size))
    assert [start for start, _ in parts] == list(range(0, 9, size))
    np.testing.assert_array_equal(torch.cat([part for _, part in parts], 1), top(x.numpy(), k))


@pytest.mark.parametrize("activation", RULES)
@pytest.mark.parametrize("size", [1, 4, WIDTH, 100])
def test_slices_are_the_whole(activation: str, size: int) -> None:
    x = draw(TOKENS, D_IN, seed=3)
    dictionary = (
        Dictionary(name="hidden", width=D_IN, activation="identity")
        if activation == "hidden"
        else make(activation)
    )
    parts = list(slices_of(dictionary, x, size))
    assert all(part.shape[1] <= size for _, part in parts)
    torch.testing.assert_close(torch.cat([part for _, part in parts], 1), dictionary.encode(x))


@pytest.mark.parametrize("activation", RULES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_activations_are_encoded_in_float32(activation: str, dtype: torch.dtype) -> None:
    x = draw(TOKENS, D_IN, seed=3).to(dtype)
    dictionary = (
        Dictionary(name="hidden", width=D_IN, activation="identity")
        if activation == "hidden"
        else make(activation)
    )
    codes = dictionary.encode(x)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes, dictionary.encode(x.float()))


def test_encoding_leaves_the_activations_as_they_are() -> None:
    x = draw(TOKENS, D_IN, seed=3)
    normed = [make("relu", input_norm=norm, W_dec=draw(WIDTH, D_IN), b_dec=draw(D_IN)) for norm in NORMS]
    others = [make("relu"), make("jumprelu", subtract=draw(D_IN)), make("topk"), make("gated")]
    for dictionary in (*others, *normed):
        copy = x.clone()
        dictionary.encode(x)
        if dictionary.W_dec is not None:
            dictionary.rebuild(x, 5)
        assert torch.equal(x, copy)


def test_no_tokens_give_no_rows() -> None:
    for activation in ("relu", "jumprelu", "topk", "abstopk", "groupmax"):
        assert make(activation).encode(torch.empty(0, D_IN)).shape == (0, WIDTH)


@pytest.mark.parametrize(
    ("activation", "changed", "problem"),
    [
        ("relu", {"W_enc": None}, "needs a two-dimensional W_enc, and b_enc"),
        ("relu", {"b_enc": None}, "needs a two-dimensional W_enc, and b_enc"),
        ("relu", {"W_enc": draw(WIDTH)}, "needs a two-dimensional W_enc, and b_enc"),
        ("relu", {"W_enc": draw(WIDTH, D_IN)}, r"W_enc is \[37, 6\], not \[37, 37\]"),
        ("relu", {"b_enc": draw(WIDTH - 1)}, r"b_enc is \[36\], not \[37\]"),
        ("relu", {"subtract": draw(WIDTH)}, r"b_dec is \[37\], not \[6\]"),
        ("relu", {"W_dec": draw(D_IN, WIDTH)}, r"W_dec is \[6, 37\], not \[37, 6\]"),
        ("relu", {"b_dec": draw(WIDTH)}, r"b_dec is \[37\], not \[6\]"),
        ("jumprelu", {"threshold": draw(1)}, r"threshold is \[1\], not \[37\]"),
        ("jumprelu", {"threshold": None}, "has no threshold for its rule, jumprelu"),
        (
            "relu",
            {"W_enc": torch.full((D_IN, WIDTH), float("nan"))},
            "W_enc holds values that are not finite",
        ),
        ("relu", {"b_enc": torch.full((WIDTH,), float("inf"))}, "b_enc holds values that are not finite"),
        ("batchtopk", {"threshold": None}, "has no threshold for its rule, batchtopk"),
        ("gated", {"r_mag": None}, "has no r_mag for its rule, gated"),
        ("gated", {"b_mag": draw(3)}, r"b_mag is \[3\], not \[37\]"),
        ("topk", {"k": None}, "k=None is not between 1 and 37"),
        ("topk", {"k": 0}, "k=0 is not between 1 and 37"),
        ("topk", {"k": WIDTH + 1}, "k=38 is not between 1 and 37"),
        ("abstopk", {"k": None}, "k=None is not between 1 and 37"),
        ("groupmax", {"k": 5}, "37 features do not fall into k=5 equal groups"),
    ],
)
def test_parameters_that_cannot_be_are_refused_in_one_sentence(
    activation: str, changed: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UnavailableError, match=problem) as caught:
        make(activation, **changed)
    assert "dictionary 'toy'" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.6])
def test_decoding_active_features_alone_is_the_whole_product(share: float) -> None:
    random = torch.Generator().manual_seed(3)
    W_dec, features = torch.randn(96, 7, generator=random), torch.randn(40, 96, generator=random)
    features *= torch.rand(40, 96, generator=random) < share
    decoder = Decoder("drawn", W_dec, None, len(features))
    for start in range(0, 96, 32):
        decoder.add(start, features[:, start : start + 32].contiguous())
    torch.testing.assert_close(decoder.total, features @ W_dec)
    assert decoder.active == int(torch.count_nonzero(features))
    assert decoder.fired.tolist() == (features != 0).any(0).tolist()


@pytest.mark.parametrize("rule", ["relu", "jumprelu", "gated", "topk", "batchtopk"])
@pytest.mark.parametrize("subtracts", [False, True])
def test_scales_that_share_products_rebuild_what_each_does_alone(rule: Any, subtracts: bool) -> None:
    random = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    dictionary = Dictionary(
        name="drawn",
        width=200,
        activation=rule,
        W_enc=draw(6, 200),
        b_enc=draw(200),
        threshold=draw(200).abs() if rule in ("jumprelu", "batchtopk") else None,
        r_mag=draw(200) if rule == "gated" else None,
        b_mag=draw(200) if rule == "gated" else None,
        k=5 if rule == "topk" else None,
        subtract=draw(6) if subtracts else None,
        W_dec=draw(200, 6),
        b_dec=draw(6),
    )
    x = draw(50, 6)
    for scale, found in zip((1.0, 0.5, 2.0), rebuild_scaled(dictionary, x, 64, (1.0, 0.5, 2.0)), strict=True):
        wanted = dictionary.encode(x * scale)
        torch.testing.assert_close(
            found.activations, wanted @ dictionary.W_dec + dictionary.b_dec, rtol=1e-4, atol=1e-4
        )
        assert found.active == int(torch.count_nonzero(wanted))
        assert found.fired.tolist() == (wanted != 0).any(0).tolist()


@pytest.mark.parametrize("rule", ["identity", "relu", "jumprelu", "gated", "topk"])
def test_slices_in_a_kept_buffer_are_those_in_fresh_memory(rule: Any) -> None:
    random = torch.Generator().manual_seed(5)
    width = 130
    dictionary = Dictionary(
        name="drawn",
        width=width,
        activation=rule,
        W_enc=torch.randn(6, width, generator=random),
        b_enc=torch.randn(width, generator=random),
        threshold=torch.rand(width, generator=random) - 0.2 if rule == "jumprelu" else None,
        r_mag=torch.randn(width, generator=random) if rule == "gated" else None,
        b_mag=torch.randn(width, generator=random) if rule == "gated" else None,
        k=4 if rule == "topk" else None,
    )
    x = torch.randn(9, 6, generator=random)
    buffer = torch.full((2 * 9 * 64,), torch.nan)
    kept = torch.cat([values.clone() for _, values in dictionary.slices(x, 64, buffer)], 1)
    torch.testing.assert_close(kept, dictionary.encode(x))


def test_a_large_input_bias_costs_scaled_rebuilding_no_digits() -> None:
    subtract = 3000 * torch.ones(D_IN)
    dictionary = make("relu", subtract=subtract, W_dec=draw(WIDTH, D_IN, seed=8))
    x = subtract + draw(TOKENS, D_IN, seed=9)
    found = rebuild_scaled(dictionary, x, WIDTH, (1.0, 2.0))[0]
    wanted, active = dictionary.rebuild(x, WIDTH)
    torch.testing.assert_close(found.activations, wanted)
    assert found.active == active


def test_rebuilding_gives_no_gradients_and_takes_tensors_that_want_some() -> None:
    dictionary = make("relu", W_dec=draw(WIDTH, D_IN, seed=8))
    rebuilt, _ = dictionary.rebuild(draw(TOKENS, D_IN).requires_grad_(), 8)
    assert not rebuilt.requires_grad
