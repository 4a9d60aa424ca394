"""Models over several GPUs: what a plain load gives, bit for bit, on devices that are pretended."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness_transformers
import pytest
import torch
import transformers
from harness_transformers import spreading
from tokenizers import Tokenizer, models, pre_tokenizers

from harness import Site, Tokens, UnavailableError
from harness.testing.pretended import DEVICE, pretended_device

THERE = str(DEVICE)
TEXTS = ["The cat sat.", "", "Übung macht den Meister", "one two three"]
SIZES = {
    "vocab_size": 300,
    "hidden_size": 24,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GEMMA = {"intermediate_size": 40, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 5}
FAMILIES = {
    "gemma3": transformers.Gemma3TextConfig(**SIZES, **GEMMA, query_pre_attn_scalar=8),
    "llama": transformers.LlamaConfig(**SIZES, intermediate_size=40, tie_word_embeddings=False),
    "gpt_neox": transformers.GPTNeoXConfig(**SIZES, intermediate_size=40),
}
SITES = [Site.parse(name) for name in ("resid_post.0", "attn_z.1", "attn_out.3", "mlp_out.3", "resid_post.3")]
ROOMY = 10**12


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that gives the folder of a family's checkpoint."""

    def folder(family: str) -> Path:
        place = tmp_path_factory.getbasetemp() / f"spread-{family}"
        if not place.exists():
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(FAMILIES[family])
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.2)
            model.save_pretrained(place)
            alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
            tokenizer = Tokenizer(
                models.BPE(vocab={byte: n for n, byte in enumerate(["<pad>", *alphabet])}, merges=[])
            )
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            transformers.PreTrainedTokenizerFast(
                tokenizer_object=tokenizer, pad_token="<pad>"
            ).save_pretrained(place)
        return place

    return folder


def open_model(folder: Path) -> Any:
    spec = harness_transformers.harness_resolve_model(str(folder), str(folder))
    assert spec is not None
    return spec.make()


def show(monkeypatch: pytest.MonkeyPatch, free: Mapping[str, int]) -> None:
    """Let `cuda` be these devices, with so many free bytes."""
    monkeypatch.setattr(spreading, "visible", lambda device: free if device == "cuda" else {})


def halves(folder: Path, *, depth: int) -> dict[str, int]:
    """Free bytes of two devices of which the first takes a part of a decoder's blocks, and the second all."""
    size = spreading.weigh(transformers.AutoModel.from_pretrained(folder))
    return {"cpu": int(0.75 * depth / 5 * size / spreading.WEIGHTS_SHARE), THERE: ROOMY}


def devices(model: Any) -> list[str]:
    return [str(parameter.device) for parameter in model.parameters()]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_spread_model_gives_what_it_gives_on_one_device(
    family: str, folder_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(family)
    model = open_model(folder)
    tokens = model.tokenize(TEXTS)
    wanted = model.load(SITES, "cpu").forward(tokens)
    show(monkeypatch, halves(folder, depth=4))
    with pretended_device():
        loaded = open_model(folder).load(SITES, "cuda")
        found = devices(loaded.model)
        assert found == sorted(found) and {*found} == {"cpu", THERE}, "parts fill the devices in order"
        got = loaded.forward(tokens)
    assert {str(site): value.device.type for site, value in got.items()} == dict.fromkeys(
        map(str, SITES), "cpu"
    )
    assert all(
        type(value) is torch.Tensor and torch.equal(value, wanted[site]) for site, value in got.items()
    )
    assert len(loaded.model.get_submodule(model._layout.blocks)) == 4, "it is as deep as its sites"
    assert dict(open_model(folder).identity(SITES[-1])) == dict(model.identity(SITES[-1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_spread_language_model_has_the_losses_of_one_on_one_device(
    family: str, folder_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, site = folder_of(family), Site.parse("resid_post.3")
    model = open_model(folder)
    tokens = model.tokenize(TEXTS)
    whole = model.load_whole(site, "cpu")
    wanted = [whole.losses(tokens, splice) for splice in (None, torch.zeros_like)]
    show(monkeypatch, halves(folder, depth=5))

    def splice(rows: torch.Tensor) -> torch.Tensor:
        assert rows.device.type == "cpu", "encoders are on the first device"
        return torch.zeros_like(rows)

    with pretended_device():
        spread = open_model(folder).load_whole(site, "cuda")
        assert {*devices(spread._model)} == {"cpu", THERE}
        got = [spread.losses(tokens, one) for one in (None, splice, None)]
    assert (
        torch.equal(got[0], wanted[0]) and torch.equal(got[1], wanted[1]) and torch.equal(got[2], wanted[0])
    )


def test_hooks_on_one_device_change_nothing(folder_of: Any) -> None:
    model = open_model(folder_of("llama"))
    tokens, loaded = model.tokenize(TEXTS), model.load(SITES, "cpu")
    wanted = loaded.forward(tokens)
    spreading.spread(loaded.model, {name: "cpu" for name, _ in loaded.model.named_children()})
    assert all(torch.equal(value, wanted[site]) for site, value in loaded.forward(tokens).items())


def test_a_model_that_fits_on_the_first_device_is_not_spread(
    folder_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(monkeypatch, {"cuda:0": ROOMY, "cuda:1": ROOMY})
    moved: list[str] = []
    model = torch.nn.Linear(4, 4)
    monkeypatch.setattr(model, "to", moved.append)
    spreading.put("m", model, "cuda")
    spreading.put("m", model, "cuda:1")
    show(monkeypatch, {"cuda:0": 1})
    spreading.put("m", model, "cuda")
    assert moved == ["cuda", "cuda:1", "cuda"]


def test_blocks_fill_the_devices_in_order_and_stay_whole() -> None:
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(FAMILIES["gemma3"])
    block = spreading.weigh(model.layers[0])
    first = spreading.weigh(model.embed_tokens)
    # The first device keeps room for one more of its largest part, which runs there.
    rooms = {"cuda:0": 2 * first + block + 1, "cuda:1": 2 * block + 1, "cuda:2": 9 * block}
    places = spreading.assign(model, rooms)
    assert places is not None
    assert places["embed_tokens"] == "cuda:0"
    blocks = [places[f"layers.{n}"] for n in range(5)]
    assert blocks == sorted(blocks) and {*blocks} == {*rooms}


def test_embeddings_are_on_the_first_device_or_the_model_is_refused() -> None:
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(FAMILIES["gemma3"])
    first = spreading.weigh(model.embed_tokens)
    assert spreading.assign(model, {"cuda:0": first, "cuda:1": ROOMY}) is None


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA devices")
def test_two_gpus_give_what_one_gives(folder_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of("gemma3")
    model = open_model(folder)
    tokens = model.tokenize(TEXTS)
    wanted = model.load(SITES, "cuda:0").forward(tokens)
    show(monkeypatch, dict(zip(("cuda:0", "cuda:1"), halves(folder, depth=4).values(), strict=True)))
    loaded = open_model(folder).load(SITES, "cuda")
    got = loaded.forward(tokens)
    assert {*devices(loaded.model)} == {"cuda:0", "cuda:1"}
    assert all(str(value.device) == "cuda:0" for value in got.values())
    assert all(torch.equal(value, wanted[site]) for site, value in got.items())


def test_a_model_that_fits_nowhere_is_refused_with_what_it_takes(
    folder_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(monkeypatch, {"cuda:0": 20_000, "cuda:1": 20_000})
    with pytest.raises(
        UnavailableError, match=r"one GPU here takes, and its blocks do not fit in 70% of the 0\.0, 0\.0 GB"
    ):
        open_model(folder_of("llama")).load(SITES, "cuda")


def test_without_the_library_the_command_is_named(folder_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, {"cuda:0": 20_000, "cuda:1": ROOMY})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UnavailableError, match=r"by the library accelerate: pip install 'sae-harness\[big\]'"
    ):
        open_model(folder_of("llama")).load(SITES, "cuda")


def test_a_batch_without_content_gives_no_rows_of_a_spread_model(
    folder_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of("llama")
    show(monkeypatch, halves(folder, depth=4))
    with pretended_device():
        model = open_model(folder)
        tokens: list[Tokens] = model.tokenize(["", ""])
        got = model.load(SITES, "cuda").forward(tokens)
    assert [value.shape[0] for value in got.values()] == [0] * len(SITES)
