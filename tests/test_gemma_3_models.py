"""Gemma 3 as the hub has it: 270m and 1b are text models, from 4b on the text model lies in a vision-language one.

Tiny random weights of both real classes; the oracle is plain transformers, hooked where Gemma Scope 2 says.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import harness_transformers
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from harness import Site, UnavailableError

TEXTS = ["The cat sat on the mat.", "", "Übung macht den Meister 👍", "one two three four five six seven"]
N_LAYERS = 7  # the sixth attends to everything, the others to a sliding window

TEXT = {
    "vocab_size": 300,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "max_position_embeddings": 256,
    "sliding_window": 5,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
OTHER_NAMES = {  # name in the hub's files, which save_pretrained keeps → name that other versions of it wrote
    "language_model.model.": "model.language_model.",
    "vision_tower.": "model.vision_tower.",
    "multi_modal_projector.": "model.multi_modal_projector.",
}


def write_tokenizer(folder: Path) -> None:
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2}
    vocabulary |= {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 3)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(folder)


def make_model(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "text":
        model = transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**TEXT))
    else:
        text = transformers.Gemma3TextConfig(**TEXT).to_dict()
        model = transformers.Gemma3ForConditionalGeneration(
            transformers.Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=1)
        )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def rename(folder: Path) -> None:
    """Give the tensors of a checkpoint the names that the class has for them."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())

    def other(name: str) -> str:
        root = next(root for root in OTHER_NAMES if name.startswith(root))
        return OTHER_NAMES[root] + name.removeprefix(root)

    for shard in set(index["weight_map"].values()):
        renamed = {other(name): tensor for name, tensor in load_file(folder / shard).items()}
        save_file(renamed, folder / shard, metadata={"format": "pt"})
    index["weight_map"] = {other(name): shard for name, shard in index["weight_map"].items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint by kind: `text` and `vision` in shards as on the hub, `renamed` otherwise, `one` in one file."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            model = make_model("text" if kind in ("text", "one") else "vision")
            model.save_pretrained(made[kind], max_shard_size="1GB" if kind == "one" else "30KB")
            write_tokenizer(made[kind])
            if kind == "renamed":
                rename(made[kind])
        return made[kind]

    return folder


def oracle(kind: str) -> Mapping[str, torch.Tensor]:
    """Every site by hooks on the text tower of the whole model, text by text, without BOS."""
    model = make_model("text" if kind in ("text", "one") else "vision")
    tower = model.model if kind in ("text", "one") else model.model.language_model
    seen: dict[str, list[torch.Tensor]] = defaultdict(list)

    def note(name: str, value: Any) -> None:
        seen[name].append((value[0] if isinstance(value, tuple) else value).detach()[0, 1:])

    for layer, block in enumerate(tower.layers):
        for kind_of_site, module in (("resid_post", block), ("mlp_out", block.post_feedforward_layernorm)):
            module.register_forward_hook(
                lambda module, inputs, output, name=f"{kind_of_site}.{layer}": note(name, output)
            )
        block.self_attn.o_proj.register_forward_pre_hook(
            lambda module, inputs, name=f"attn_z.{layer}": note(name, inputs)
        )
    vocabulary = sorted(pre_tokenizers.ByteLevel.alphabet())
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in TEXTS:
        letters = "".join(piece for piece, _ in splitter.pre_tokenize_str(text))
        ids = [2, *(vocabulary.index(letter) + 3 for letter in letters)]
        model(input_ids=torch.tensor([ids]))
    return {name: torch.cat(parts) for name, parts in seen.items()}


def open_model(folder: Path) -> Any:
    spec = harness_transformers.harness_resolve_model(str(folder), str(folder))
    assert spec is not None
    return spec.make()


def read(folder: Path, *sites: Site) -> dict[Site, torch.Tensor]:
    model = open_model(folder)
    return dict(model.load(list(sites), "cpu").forward(model.tokenize(TEXTS)))


@pytest.mark.parametrize("kind", ["text", "one", "vision", "renamed"])
def test_every_site_of_gemma_scope_2_is_what_hooks_on_the_text_tower_give(
    kind: str, folder_of: Callable[[str], Path]
) -> None:
    folder, wanted = folder_of(kind), oracle(kind)
    assert open_model(folder).architecture == ("gemma3_text" if kind in ("text", "one") else "gemma3")
    for layer in range(N_LAYERS):  # one load each, so that each is truncated to its own depth
        sites = [Site(kind=each, layer=layer) for each in ("resid_post", "attn_z", "mlp_out")]
        for site, rows in read(folder, *sites).items():
            torch.testing.assert_close(rows, wanted[str(site)], rtol=1e-4, atol=1e-5)


ROOTS = {"text": "model.", "vision": "language_model.model.", "renamed": "model.language_model."}


@pytest.mark.parametrize("kind", ROOTS)
def test_a_truncated_model_needs_no_shard_of_deeper_blocks_and_none_of_the_vision_tower(
    kind: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    index = json.loads((folder_of(kind) / "model.safetensors.index.json").read_text())["weight_map"]
    root = ROOTS[kind]
    assert f"{root}embed_tokens.weight" in index
    shallow = (f"{root}embed_tokens.", *(f"{root}layers.{layer}." for layer in range(3)))
    kept = {shard for name, shard in index.items() if name.startswith(shallow)}
    assert len(kept) < len(set(index.values()))
    for path in folder_of(kind).iterdir():
        if not path.name.startswith("model-") or path.name in kept:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    site = Site(kind="resid_post", layer=2)
    assert torch.equal(read(tmp_path, site)[site], read(folder_of(kind), site)[site])
    model = open_model(tmp_path)
    assert set(model.identity(site)["files"]) >= kept
    with pytest.raises(UnavailableError, match=r"has no file model-.*safetensors"):
        model.load([Site(kind="resid_post", layer=N_LAYERS - 1)], "cpu")
