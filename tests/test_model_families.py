"""Each family of models at each site against plain transformers, at toy size; the page of models is written from it.

Every number of `docs/models.md` is measured here: `HARNESS_WRITE_PAGES=1 pytest tests/test_model_families.py` writes
the page anew. The oracle is the whole model with hooks on modules whose names are written out.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import harness_transformers
import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import harness
from harness import HarnessError, Image, Site, UnavailableError, UsageError

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
REWRITE = "HARNESS_WRITE_PAGES"
N_LAYERS = 3
LAST = N_LAYERS - 1
DEPTHS = ((0,), (1, 2))  # layers read from one load: a model of one block, and a whole one
TEXTS = ["a", "The cat sat on the mat.", "", "Übung macht den Meister 👍", "one two three four five six"]
SMALL = {"hidden_size": 24, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4}
MIDDLE = {**SMALL, "intermediate_size": 40}
TEXT = {**MIDDLE, "vocab_size": 300, "max_position_embeddings": 64}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**TEXT, **SPECIAL, "num_key_value_heads": 2}
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
GEMMA = {**GROUPED, "head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8, "layer_types": LAYERS}
PIXELS = {"image_size": 28, "patch_size": 7}
VISION = {**MIDDLE, **PIXELS}
KINDS = ("resid_post", "attn_out", "mlp_out", "attn_z")
CLASSES = (1e-6, 1e-5, 1e-4)  # of differences, so that the page is the same wherever it is made


@dataclass(frozen=True, kw_only=True)
class Family:
    """A toy of a family, and the modules that an oracle hooks: written out, not found.

    `parts` are those of a block: attention as it is added, the last map of attention, MLP as it is added.
    """

    config: Callable[[], Any]
    how: str
    blocks: str
    parts: tuple[str, str, str]
    kind: Any = transformers.AutoModelForCausalLM
    encoder: str = ""
    """Path of the encoder or decoder in the whole model, beside transformers' own base model."""
    processor: Callable[[], Any] | None = None
    output: str = ""
    """Module whose output is the last hidden state, of models of images."""
    n_prefix: int = 0
    """Positions of a model of images before the patches."""
    has_class: bool = False
    closing: bool = False
    """True if a text ends with a special token."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Site kinds without a meaning → the sentence that says so."""


LLAMA_PARTS = ("self_attn", "self_attn.o_proj", "mlp")
POST_NORMS = ("post_attention_layernorm", "self_attn.o_proj", "post_feedforward_layernorm")
NOT_ADDED = "has no part that gives"


def square() -> dict[str, int]:
    return {"height": 28, "width": 28}


def gemma_3_vision() -> Any:
    return transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**GEMMA).to_dict(),
        vision_config={**VISION, "num_hidden_layers": 2},
        mm_tokens_per_image=1,
    )


def siglip() -> Any:
    return transformers.SiglipConfig(text_config={**TEXT, **SPECIAL}, vision_config=VISION)


TEXT_FAMILIES = {
    "Gemma 1": Family(
        config=lambda: transformers.GemmaConfig(**GROUPED, head_dim=8),
        how="google/gemma-2b",
        blocks="layers",
        parts=LLAMA_PARTS,
    ),
    "Gemma 2": Family(
        config=lambda: transformers.Gemma2Config(**GEMMA, attn_logit_softcapping=0.5),
        how="google/gemma-2-2b",
        blocks="layers",
        parts=POST_NORMS,
    ),
    "Gemma 3": Family(
        config=lambda: transformers.Gemma3TextConfig(**GEMMA),
        how="google/gemma-3-270m",
        blocks="layers",
        parts=POST_NORMS,
    ),
    "Gemma 3, vision-language class, texts": Family(
        config=gemma_3_vision,
        how="google/gemma-3-4b-pt",
        blocks="layers",
        parts=POST_NORMS,
        kind=transformers.AutoModelForImageTextToText,
        encoder="language_model",
    ),
    "Llama 3": Family(
        config=lambda: transformers.LlamaConfig(
            **GROUPED, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}
        ),
        how="meta-llama/Llama-3.2-1B",
        blocks="layers",
        parts=LLAMA_PARTS,
    ),
    "Qwen 2": Family(
        config=lambda: transformers.Qwen2Config(**GROUPED),
        how="Qwen/Qwen2.5-0.5B",
        blocks="layers",
        parts=LLAMA_PARTS,
    ),
    "Qwen 3": Family(
        config=lambda: transformers.Qwen3Config(**GROUPED, head_dim=8),
        how="Qwen/Qwen3-0.6B",
        blocks="layers",
        parts=LLAMA_PARTS,
    ),
    "Mistral": Family(
        config=lambda: transformers.MistralConfig(**GROUPED, sliding_window=5),
        how="mistralai/Mistral-7B-v0.1",
        blocks="layers",
        parts=LLAMA_PARTS,
    ),
    "GPT-2": Family(
        config=lambda: transformers.GPT2Config(
            vocab_size=300, n_embd=24, n_layer=N_LAYERS, n_head=4, n_positions=64, **SPECIAL
        ),
        how="openai-community/gpt2",
        blocks="h",
        parts=("attn", "attn.c_proj", "mlp"),
    ),
    "Pythia (GPT-NeoX)": Family(
        config=lambda: transformers.GPTNeoXConfig(**TEXT, **SPECIAL, use_parallel_residual=True),
        how="EleutherAI/pythia-70m",
        blocks="layers",
        parts=("attention", "attention.dense", "mlp"),
    ),
    "OLMo 2": Family(
        config=lambda: transformers.Olmo2Config(**GROUPED),
        how="allenai/OLMo-2-0425-1B",
        blocks="layers",
        parts=POST_NORMS,
    ),
    "ModernBERT": Family(
        config=lambda: transformers.ModernBertConfig(
            **TEXT, **SPECIAL, cls_token_id=1, sep_token_id=2, local_attention=6, global_attn_every_n_layers=3
        ),
        how="answerdotai/ModernBERT-base",
        blocks="layers",
        parts=("attn", "attn.Wo", "mlp"),
        kind=transformers.AutoModelForMaskedLM,
        closing=True,
    ),
    "BERT": Family(
        config=lambda: transformers.BertConfig(**TEXT, **SPECIAL),
        how="google-bert/bert-base-uncased",
        blocks="encoder.layer",
        parts=("attention", "attention.output.dense", "output"),
        kind=transformers.AutoModelForMaskedLM,
        closing=True,
        refused={"attn_out": NOT_ADDED, "mlp_out": NOT_ADDED},
    ),
}
VIT_PROCESSOR = functools.partial(transformers.ViTImageProcessor, size=square())
CROPPING = functools.partial(
    transformers.BitImageProcessor, size={"shortest_edge": 32}, crop_size=square(), do_center_crop=True
)
SIGLIP_PROCESSOR = functools.partial(transformers.SiglipImageProcessor, size=square())
DINO_PARTS = ("layer_scale1", "attention.o_proj", "layer_scale2")
CLIP_PARTS = ("self_attn", "self_attn.out_proj", "mlp")
IMAGE_FAMILIES = {
    "ViT": Family(
        config=lambda: transformers.ViTConfig(**VISION),
        how="google/vit-base-patch16-224",
        blocks="layers",
        parts=("attention", "attention.o_proj", "mlp"),
        kind=transformers.AutoModelForImageClassification,
        processor=VIT_PROCESSOR,
        output="layernorm",
        n_prefix=1,
        has_class=True,
    ),
    "DINOv2": Family(
        config=lambda: transformers.Dinov2Config(**SMALL, **PIXELS, mlp_ratio=2),
        how="facebook/dinov2-base",
        blocks="encoder.layer",
        parts=DINO_PARTS,
        kind=transformers.AutoModel,
        processor=CROPPING,
        output="layernorm",
        n_prefix=1,
        has_class=True,
    ),
    "DINOv2 with registers": Family(
        config=lambda: transformers.Dinov2WithRegistersConfig(
            **SMALL, **PIXELS, mlp_ratio=2, num_register_tokens=3
        ),
        how="facebook/dinov2-with-registers-base",
        blocks="encoder.layer",
        parts=DINO_PARTS,
        kind=transformers.AutoModel,
        processor=CROPPING,
        output="layernorm",
        n_prefix=4,
        has_class=True,
    ),
    "DINOv3": Family(
        config=lambda: transformers.DINOv3ViTConfig(
            **{**VISION, "hidden_size": 32}, num_register_tokens=2, layerscale_value=0.5
        ),
        how="facebook/dinov3-vits16-pretrain-lvd1689m",
        blocks="model.layer",
        parts=DINO_PARTS,
        kind=transformers.AutoModel,
        processor=CROPPING,
        output="norm",
        n_prefix=3,
        has_class=True,
    ),
    "SigLIP": Family(
        config=siglip,
        how="google/siglip-base-patch16-224",
        blocks="encoder.layers",
        parts=CLIP_PARTS,
        kind=transformers.AutoModel,
        encoder="vision_model",
        processor=SIGLIP_PROCESSOR,
        output="post_layernorm",
    ),
    "SigLIP, vision tower alone": Family(
        config=lambda: transformers.SiglipVisionConfig(**VISION),
        how="a folder",
        blocks="encoder.layers",
        parts=CLIP_PARTS,
        kind=transformers.AutoModel,
        processor=SIGLIP_PROCESSOR,
        output="post_layernorm",
    ),
    "CLIP": Family(
        config=lambda: transformers.CLIPConfig(text_config={**TEXT, **SPECIAL}, vision_config=VISION),
        how="openai/clip-vit-base-patch32",
        blocks="encoder.layers",
        parts=CLIP_PARTS,
        kind=transformers.AutoModel,
        encoder="vision_model",
        processor=functools.partial(
            transformers.CLIPImageProcessor, size={"shortest_edge": 28}, crop_size=square()
        ),
        output="encoder",
        n_prefix=1,
        has_class=True,
    ),
}
FAMILIES = {**TEXT_FAMILIES, **IMAGE_FAMILIES}
REFUSED = {
    "T5 (encoder and decoder)": (
        lambda: transformers.T5Config(d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=4, vocab_size=300),
        None,
        "is not a text decoder with a list of blocks",
    ),
    "SigLIP 2 of any size (NaFlex)": (
        lambda: transformers.Siglip2VisionConfig(**MIDDLE, patch_size=7, num_patches=16),
        functools.partial(transformers.Siglip2ImageProcessor, patch_size=7, max_num_patches=16),
        "not one image with channels, height and width",
    ),
    "Swin": (
        lambda: transformers.SwinConfig(
            image_size=28, patch_size=7, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2
        ),
        VIT_PROCESSOR,
        "has no patches to read: its blocks return 4 positions, fewer than the patches of an image",
    ),
    "ConvNeXt": (
        lambda: transformers.ConvNextConfig(
            image_size=28, patch_size=2, hidden_sizes=[8] * 4, depths=[1] * 4, num_hidden_layers=4
        ),
        functools.partial(transformers.ViTImageProcessor, size={"height": 64, "width": 64}),
        "has no patches to read: its blocks return other shapes than one another",
    ),
    "ResNet": (
        lambda: transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4),
        VIT_PROCESSOR,
        "has no patches to read: it has no list of transformer blocks",
    ),
    "ViT-MAE (hides patches at random)": (
        lambda: transformers.ViTMAEConfig(**VISION),
        VIT_PROCESSOR,
        "has no patches to read: its blocks return 5 positions, fewer than the patches of an image",
    ),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def folder_of(name: str) -> Path:
    """Return the folder of a family's toy: random weights large enough for every part to matter, several shards."""
    folder = Path(tempfile.mkdtemp(prefix="family-", dir=_home()))
    family = FAMILIES[name]
    write_checkpoint(
        folder, make_model(family.kind, family.config()), family.processor, closing=family.closing
    )
    return folder


@functools.cache
def _home() -> str:
    """Return a folder that is deleted at the end of the process."""
    home = tempfile.TemporaryDirectory(prefix="families-")
    _KEPT.append(home)
    return home.name


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def make_model(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def write_checkpoint(folder: Path, model: Any, processor: Any, *, closing: bool = False) -> None:
    model.save_pretrained(folder, max_shard_size="15KB")
    if processor is None:
        write_tokenizer(folder, closing=closing)
    else:
        processor().save_pretrained(folder)


def write_tokenizer(folder: Path, *, closing: bool) -> None:
    """A byte-level tokenizer without merges, with a special token before each text, and maybe one after."""
    vocabulary = {"<pad>": 0, "<first>": 1, "<last>": 2}
    vocabulary |= {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 3)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    form = "<first> $A <last>" if closing else "<first> $A"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=form, pair=f"{form} $B", special_tokens=[("<first>", 1), ("<last>", 2)]
    )
    names = {"cls_token": "<first>", "sep_token": "<last>"} if closing else {"bos_token": "<first>"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<last>", **names
    ).save_pretrained(folder)


def make_image(number: int, size: tuple[int, int]) -> Image:
    """Noise that is another for each number, as the bytes of a PNG."""
    noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    written = io.BytesIO()
    PIL.Image.fromarray(noise).save(written, "PNG")
    return harness.read_image(written.getvalue())


IMAGES = [make_image(0, (40, 30)), make_image(1, (28, 28)), make_image(2, (90, 20)), make_image(3, (31, 64))]


def open_model(ref: str | Path, **parameters: Any) -> Any:
    spec = harness_transformers.harness_resolve_model(str(ref), str(ref))
    assert spec is not None
    return spec.make(**parameters)


def read(model: Any, sites: Sequence[Site], inputs: Sequence[Any], batch: int = 8) -> dict[str, torch.Tensor]:
    """Return for each site the content rows of all inputs, in batches of inputs of different lengths."""
    loaded, tokens = model.load(sites, "cpu"), model.tokenize(inputs)
    rows: dict[str, list[torch.Tensor]] = defaultdict(list)
    for start in range(0, len(tokens), batch):
        for site, values in loaded.forward(tokens[start : start + batch]).items():
            rows[str(site)].append(values)
    return {site: torch.cat(parts) for site, parts in rows.items()}


@torch.no_grad()
def oracle(name: str, *, side: str = "right") -> dict[str, torch.Tensor]:
    """Return every site of the whole model by plain transformers, and the input of each block, at content rows.

    All inputs are one batch; texts are padded on a side, as the model's own tokenizer does.
    """
    family, folder = FAMILIES[name], folder_of(name)
    whole = family.kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    bare = whole if family.kind is transformers.AutoModel else whole.base_model
    model = bare.get_submodule(family.encoder)
    seen: dict[str, torch.Tensor] = {}
    inputs, content = prepare_images(name) if family.processor else prepare_texts(name, side)

    def note(place: str, value: Any) -> None:
        seen[place] = (value if isinstance(value, torch.Tensor) else value[0])[content]

    def after(module: Any, place: str) -> None:
        module.register_forward_hook(lambda module, inputs, output: note(place, output))

    def before(module: Any, place: str) -> None:
        module.register_forward_pre_hook(lambda module, inputs: note(place, inputs))

    attention, projection, mlp = family.parts
    for layer, block in enumerate(model.get_submodule(family.blocks)):
        before(block, f"resid_pre.{layer}")
        after(block, f"resid_post.{layer}")
        after(block.get_submodule(attention), f"attn_out.{layer}")
        after(block.get_submodule(mlp), f"mlp_out.{layer}")
        before(block.get_submodule(projection), f"attn_z.{layer}")
    if family.processor:
        after(model.get_submodule(family.output), f"output.{LAST}")
    model(**inputs)
    return {f"vision.{place}" if family.processor else place: rows for place, rows in seen.items()}


def prepare_texts(name: str, side: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return what the model's own tokenizer makes of all texts, and the mask of tokens that are none of its own."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder_of(name), padding_side=side)
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt", return_special_tokens_mask=True)
    mask = encoded["attention_mask"]
    inputs = {"input_ids": encoded["input_ids"], "attention_mask": mask}
    if side == "left":  # as transformers counts them when it generates text
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    return inputs, encoded["special_tokens_mask"] == 0


def prepare_images(name: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return what the model's own image processor makes of all images, and the mask of patches."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder_of(name))
    pixels = processor([harness.decode_image(image) for image in IMAGES], return_tensors="pt")["pixel_values"]
    is_patch = torch.arange(FAMILIES[name].n_prefix + 16) >= FAMILIES[name].n_prefix
    return {"pixel_values": pixels}, is_patch.expand(len(IMAGES), -1)


def difference(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference of a token's activations, relative to their size."""
    assert got.shape == wanted.shape and got.dtype == torch.float32
    return float(((got - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Largest difference over all layers by site kind, and that of the sum; a sentence where a kind is refused."""

    differences: Mapping[str, float]
    refusals: Mapping[str, str]


@functools.cache
def measure(name: str) -> Measured:
    family = FAMILIES[name]
    model, wanted = open_model(folder_of(name)), oracle(name)
    tower = "" if family.processor is None else "vision."
    inputs: Sequence[Any] = TEXTS if family.processor is None else IMAGES
    differences: dict[str, float] = defaultdict(float)
    refusals: dict[str, str] = {}
    kinds = [kind for kind in KINDS if kind not in family.refused]
    for kind in family.refused:
        with pytest.raises(HarnessError) as caught:
            model.load([Site.parse(f"{tower}{kind}.1")], "cpu")
        refusals[f"{tower}{kind}"] = str(caught.value).replace(str(folder_of(name)), "NAME")
    for layers in DEPTHS:
        places = [f"{tower}{kind}.{layer}" for kind in kinds for layer in layers]
        places += [f"vision.output.{LAST}"] if tower and LAST in layers else []
        rows = read(model, [Site.parse(place) for place in places], inputs)
        for place, got in rows.items():
            kind = place.rpartition(".")[0]
            differences[kind] = max(differences[kind], difference(got, wanted[place]))
        for layer in layers if "attn_out" in kinds else ():
            summed = wanted[f"{tower}resid_pre.{layer}"].clone()
            for kind in ("attn_out", "mlp_out"):
                summed += rows[f"{tower}{kind}.{layer}"]
            differences["sum"] = max(
                differences["sum"], difference(summed, rows[f"{tower}resid_post.{layer}"])
            )
    return Measured(differences=differences, refusals=refusals)


VL_VISION = {**VISION, "model_type": "siglip_vision_model"}


@functools.cache
def measure_vision_language() -> Measured:
    """Measure Gemma 3 as it reads images, at image tokens and in its vision tower."""
    folder = Path(tempfile.mkdtemp(prefix="seeing-", dir=_home()))
    image_token = write_vision_language(folder)
    wanted = vision_language_oracle(folder, image_token)
    model = open_model(folder, modality="image", prompt="What is it?")
    differences: dict[str, float] = defaultdict(float)
    for layers in DEPTHS:
        places = [f"{kind}.{layer}" for kind in (*KINDS, "vision.resid_post") for layer in layers]
        places += [f"vision.output.{LAST}"] if LAST in layers else []
        rows = read(model, [Site.parse(place) for place in places], IMAGES)
        for place, got in rows.items():
            kind = place.rpartition(".")[0]
            differences[kind] = max(differences[kind], difference(got, wanted[place]))
        for layer in layers:
            summed = wanted[f"resid_pre.{layer}"] + rows[f"attn_out.{layer}"] + rows[f"mlp_out.{layer}"]
            differences["sum"] = max(differences["sum"], difference(summed, rows[f"resid_post.{layer}"]))
    return Measured(differences=differences, refusals={})


def write_vision_language(folder: Path) -> int:
    """Write a toy of Gemma 3 with its processor, an image token for each position; return the image token."""
    write_tokenizer(folder, closing=False)
    names = {"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image>"}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, extra_special_tokens=names)
    begin, end, image = (tokenizer.convert_tokens_to_ids(name) for name in names.values())
    config = transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**GEMMA).to_dict(),
        vision_config=VL_VISION,
        mm_tokens_per_image=16,
        image_token_index=image,
        boi_token_index=begin,
        eoi_token_index=end,
    )
    make_model(transformers.AutoModelForImageTextToText, config).save_pretrained(
        folder, max_shard_size="15KB"
    )
    images = transformers.Gemma3ImageProcessor(size=square())
    transformers.Gemma3Processor(images, tokenizer, image_seq_length=16).save_pretrained(folder)
    return int(image)


@torch.no_grad()
def vision_language_oracle(folder: Path, image_token: int) -> dict[str, torch.Tensor]:
    """Return every site of Gemma 3 by plain transformers, all images in one batch: `[image tokens, width]`."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    whole = transformers.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    pictures = [[harness.decode_image(image)] for image in IMAGES]
    inputs = processor(images=pictures, text=["<boi>What is it?"] * len(IMAGES), return_tensors="pt")
    content = inputs["input_ids"] == image_token
    seen: dict[str, torch.Tensor] = {}

    def note(place: str, value: Any) -> None:
        value = value if isinstance(value, torch.Tensor) else value[0]
        seen[place] = value.flatten(0, 1) if place.startswith("vision") else value[content]

    def after(module: Any, place: str) -> None:
        module.register_forward_hook(lambda module, inputs, output: note(place, output))

    def before(module: Any, place: str) -> None:
        module.register_forward_pre_hook(lambda module, inputs: note(place, inputs))

    attention, projection, mlp = POST_NORMS
    for layer, block in enumerate(whole.model.language_model.layers):
        before(block, f"resid_pre.{layer}")
        after(block, f"resid_post.{layer}")
        after(block.get_submodule(attention), f"attn_out.{layer}")
        after(block.get_submodule(mlp), f"mlp_out.{layer}")
        before(block.get_submodule(projection), f"attn_z.{layer}")
    for layer, block in enumerate(whole.model.vision_tower.encoder.layers):
        after(block, f"vision.resid_post.{layer}")
    after(whole.model.vision_tower.post_layernorm, f"vision.output.{LAST}")
    whole(**inputs)
    return seen


@functools.cache
def refuse(name: str) -> str:
    """Return the sentence with which a toy of a family that is not read is refused."""
    config, processor, _ = REFUSED[name]
    folder = Path(tempfile.mkdtemp(prefix="refused-", dir=_home()))
    write_checkpoint(folder, make_model(transformers.AutoModel, config()), processor)
    with pytest.raises(HarnessError) as caught:
        open_model(folder)
    return str(caught.value).replace(str(folder), "NAME")


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FAMILIES)
def test_every_site_of_every_layer_is_what_the_whole_model_gives(name: str) -> None:
    measured, family = measure(name), FAMILIES[name]
    tower = "" if family.processor is None else "vision."
    wanted = {f"{tower}{kind}" for kind in KINDS if kind not in family.refused}
    wanted |= {"vision.output"} if tower else set()
    assert {*measured.differences} == wanted | (set() if family.refused else {"sum"})
    for kind, sentence in family.refused.items():
        assert sentence in measured.refusals[f"{tower}{kind}"]
    assert max(measured.differences.values()) <= 1e-6, dict(measured.differences)


def test_every_site_of_a_vision_language_model_is_what_the_whole_model_gives() -> None:
    differences = measure_vision_language().differences
    assert {*differences} == {*KINDS, "sum", "vision.resid_post", "vision.output"}
    assert max(differences.values()) <= 1e-6, dict(differences)


@pytest.mark.parametrize("name", ["ModernBERT", "Gemma 3", "GPT-2"])
def test_a_batch_padded_on_the_left_gives_the_same(name: str) -> None:
    rows = read(open_model(folder_of(name)), [Site.parse(f"{kind}.2") for kind in KINDS], TEXTS)
    wanted = oracle(name, side="left")
    assert max(difference(got, wanted[place]) for place, got in rows.items()) < 3e-6


@pytest.mark.parametrize("name", ["ModernBERT", "DINOv2 with registers"])
def test_an_input_gives_the_same_alone_and_in_any_batch(name: str) -> None:
    model = open_model(folder_of(name))
    inputs, tower = (IMAGES, "vision.") if FAMILIES[name].processor else (TEXTS, "")
    sites = [Site.parse(f"{tower}{kind}.2") for kind in KINDS]
    together, alone = (read(model, sites, inputs, batch) for batch in (8, 1))
    assert max(difference(together[place], alone[place]) for place in alone) < 3e-6


def test_the_special_tokens_of_an_encoder_are_no_content() -> None:
    empty, short = open_model(folder_of("ModernBERT")).tokenize(["", "ab"])
    assert empty.ids.tolist() == [1, 2] and not empty.content.any()
    assert short.ids[[0, -1]].tolist() == [1, 2] and short.content.tolist() == [False, True, True, False]


def test_an_encoder_gives_no_losses_and_says_so() -> None:
    model = open_model(folder_of("ModernBERT"))
    with pytest.raises(UsageError, match="gives no next-token losses"):
        model.load_whole(Site.parse("resid_post.1"), "cpu")


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────


def classify(measured: Measured, kind: str) -> str:
    """Return the class of a difference as the page writes it."""
    if kind in measured.refusals:
        return "refused"
    if kind not in measured.differences:
        return "—"
    return next(
        f"≤ {limit:.0e}".replace("e-0", "e-") for limit in CLASSES if measured.differences[kind] <= limit
    )


def tabulate(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_tables() -> Mapping[str, str]:
    """Return the tables of the page by their names in it."""
    texts = [
        [name, f"`{family.how}`", *(classify(measure(name), kind) for kind in (*KINDS, "sum"))]
        for name, family in TEXT_FAMILIES.items()
    ]
    kinds = [*(f"vision.{kind}" for kind in KINDS), "vision.output", "sum"]
    images = [
        [
            name,
            f"`{family.how}`" if "/" in family.how else family.how,
            *(classify(measure(name), kind) for kind in kinds),
            "CLS" if family.has_class else "—",
            str(family.n_prefix - family.has_class or "—"),
        ]
        for name, family in IMAGE_FAMILIES.items()
    ]
    refused = [
        [f"{name}, `{kind}`", sentence]
        for name in FAMILIES
        for kind, sentence in measure(name).refusals.items()
    ]
    refused += [[name, refuse(name)] for name in REFUSED]
    seeing = [*KINDS, "vision.resid_post", "vision.output", "sum"]
    seen = ["Gemma 3", *(classify(measure_vision_language(), kind) for kind in seeing)]
    named = ["model", "for example", *(f"`{kind}`" for kind in KINDS), "sum"]
    return {
        "texts": tabulate(named, texts),
        "images": tabulate(
            ["model", "for example", *(f"`{kind}`" for kind in kinds[:-1]), "sum", "summary", "registers"],
            images,
        ),
        "vision-language": tabulate(["model", *(f"`{kind}`" for kind in seeing[:-1]), "sum"], [seen]),
        "refused": tabulate(["model", "what is said"], refused),
    }


def test_the_page_of_models_says_what_is_measured() -> None:
    page = written = PAGE.read_text("utf-8")
    for name, table in write_tables().items():
        mark = re.compile(rf"(<!-- measured: {name} -->\n).*?(\n<!-- end -->)", flags=re.DOTALL)
        assert mark.search(page), name
        written = mark.sub(lambda found, table=table: found[1] + table + found[2], written)
    if os.environ.get(REWRITE):
        versions = f"transformers {transformers.__version__} and torch {torch.__version__.partition('+')[0]}"
        written = re.sub(r"(?<=Measured with ).*?(?=, in float32)", versions, written)
        PAGE.write_text(written, "utf-8")
    assert written == page or os.environ.get(REWRITE), (
        f"write it anew: {REWRITE}=1 pytest {Path(__file__).name}"
    )


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_that_is_not_read_is_refused_in_one_sentence(name: str) -> None:
    sentence = refuse(name)
    assert REFUSED[name][2] in sentence and "\n" not in sentence


# ── models of images ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", IMAGE_FAMILIES)
def test_a_folder_of_an_image_encoder_opens_as_a_model_of_images(name: str) -> None:
    family, model = FAMILIES[name], open_model(folder_of(name))
    assert isinstance(model, harness.ImageModel)
    assert (model.grid, model.towers, model.n_layers) == ((4, 4), {"vision": N_LAYERS}, N_LAYERS)
    (tokens,) = model.tokenize(IMAGES[:1])
    assert len(tokens.ids) == family.n_prefix + 16
    assert tokens.content.tolist() == [False] * family.n_prefix + [True] * 16
    if family.has_class:
        assert tokens.summary is not None and tokens.summary.nonzero()[0].tolist() == [0]
    else:
        assert tokens.summary is None


@pytest.mark.parametrize("name", ["ViT", "DINOv2", "SigLIP", "CLIP"])
def test_pixels_are_those_of_the_librarys_own_processor(name: str) -> None:
    folder = folder_of(name)
    model = open_model(folder)
    loaded = model.load([Site.parse("vision.resid_post.0")], "cpu")
    own = transformers.AutoImageProcessor.from_pretrained(folder, backend="torchvision")
    for image in IMAGES:
        wanted = own(harness.decode_image(image), return_tensors="pt")["pixel_values"][0]
        assert torch.equal(loaded.prepare(image), wanted)
        assert model.view(image).size == (28, 28)
    assert model.identity(Site.parse("vision.resid_post.0"))["resized_with"] == "torchvision"


def test_the_class_token_is_read_where_it_is_asked_for() -> None:
    model, wanted = open_model(folder_of("ViT")), Site.parse("vision.resid_post.2")
    tokens = [replace(one, content=one.summary) for one in model.tokenize(IMAGES)]
    got = model.load([wanted], "cpu").forward(tokens)[wanted]
    whole = FAMILIES["ViT"].kind.from_pretrained(folder_of("ViT")).eval()
    with torch.no_grad():
        hidden = whole(**prepare_images("ViT")[0], output_hidden_states=True).hidden_states[3]
    assert difference(got, hidden[:, 0]) < 1e-6


@pytest.mark.parametrize(
    ("name", "parameters", "problem"),
    [
        ("ViT", {"modality": "text"}, r"\(vit\) reads images alone: leave modality=text out"),
        ("ViT", {"bos": "add"}, "reads images alone, without any text: leave bos out"),
        ("ViT", {"template": "chat"}, "leave template out"),
        ("SigLIP", {"prompt": "a"}, "leave prompt out"),
        ("ViT", {"dtype": "int8"}, "takes dtype"),
        ("ViT", {"random_weights": -1}, "takes random_weights"),
        ("SigLIP", {"modality": "text"}, "has a text encoder that cannot be opened alone"),
        ("ModernBERT", {"modality": "image"}, "reads no images"),
        ("ModernBERT", {"modality": "sound"}, "takes modality text, image"),
    ],
)
def test_a_parameter_that_does_not_fit_the_modality_is_refused(
    name: str, parameters: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        open_model(folder_of(name), **parameters)


@pytest.mark.parametrize(
    "place", ["resid_post.1", "vision.resid_post.9", "vision.embed.2", "vision.output.1"]
)
def test_a_site_that_an_image_encoder_has_not_is_refused(place: str) -> None:
    with pytest.raises(
        UsageError, match=f"has no site '{place}': it(s layers are 0 to 2| has vision.attn_out)"
    ):
        open_model(folder_of("ViT")).width(Site.parse(place))


def test_an_input_of_another_modality_is_refused() -> None:
    with pytest.raises(UsageError, match="reads images, and input 1 is str"):
        open_model(folder_of("ViT")).tokenize([IMAGES[0], "text"])
    with pytest.raises(UsageError, match="reads text, and input 0 is an image"):
        open_model(folder_of("ModernBERT")).tokenize([IMAGES[0]])


def test_a_folder_without_the_settings_of_its_images_says_so(tmp_path: Path) -> None:
    shutil.copytree(folder_of("ViT"), tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(UnavailableError, match=r"has no file preprocessor_config\.json"):
        open_model(tmp_path / "vit")


def test_a_vision_tower_under_the_names_of_earlier_versions_is_read(tmp_path: Path) -> None:
    """Older files of the vision tower alone begin every name with that of the tower."""
    name, wanted = "SigLIP, vision tower alone", Site.parse("vision.resid_post.1")
    shutil.copytree(folder_of(name), tmp_path / "old", ignore=shutil.ignore_patterns("*.safetensors*"))
    tensors: dict[str, torch.Tensor] = {}
    for shard in folder_of(name).glob("*.safetensors"):
        tensors |= {f"vision_model.{key}": tensor for key, tensor in load_file(shard).items()}
    save_file(tensors, tmp_path / "old" / "model.safetensors", metadata={"format": "pt"})
    got, same = (
        read(open_model(folder), [wanted], IMAGES)[str(wanted)]
        for folder in (tmp_path / "old", folder_of(name))
    )
    assert torch.equal(got, same)


@pytest.mark.parametrize("name", ["ViT", "SigLIP"])
def test_a_shallow_site_of_an_image_encoder_needs_no_deep_shards(name: str, tmp_path: Path) -> None:
    shutil.copytree(folder_of(name), tmp_path / "model")
    shallow, deep = Site.parse("vision.resid_post.0"), Site.parse("vision.resid_post.2")
    model = open_model(tmp_path / "model")
    kept, needed = (
        {file for file in model.identity(site)["files"] if file.endswith(".safetensors")}
        for site in (shallow, deep)
    )
    assert kept < needed
    for file in needed - kept:
        (tmp_path / "model" / file).unlink()
    same = read(open_model(folder_of(name)), [shallow], IMAGES)
    assert torch.equal(read(model, [shallow], IMAGES)[str(shallow)], same[str(shallow)])
    with pytest.raises(UnavailableError, match="has no file model-"):
        open_model(tmp_path / "model").load([deep], "cpu")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda key, tensor: {} if key.endswith("layer.0.output.dense.weight") else {key: tensor},
            "weights lack layers",
        ),
        (lambda key, tensor: {} if "layer.1." in key else {key: tensor}, "hold no 3 blocks of its encoder"),
        (lambda key, tensor: {key: tensor * float("nan")}, "not finite"),
    ],
)
def test_broken_weights_of_an_image_encoder_are_refused(change: Any, problem: str, tmp_path: Path) -> None:
    shutil.copytree(folder_of("ViT"), tmp_path / "vit", ignore=shutil.ignore_patterns("*.safetensors*"))
    tensors: dict[str, torch.Tensor] = {}
    for shard in folder_of("ViT").glob("*.safetensors"):
        for key, tensor in load_file(shard).items():
            tensors |= change(key, tensor)
    save_file(tensors, tmp_path / "vit" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnavailableError, match=problem):
        open_model(tmp_path / "vit").load([Site.parse("vision.resid_post.0")], "cpu")


def test_an_encoder_that_does_not_end_with_its_patches_is_refused(tmp_path: Path) -> None:
    """YOLOS puts tokens of its own after the patches."""
    config = transformers.YolosConfig(**{**VISION, "image_size": [28, 28]}, num_detection_tokens=5)
    write_checkpoint(tmp_path, make_model(transformers.AutoModel, config), VIT_PROCESSOR)
    model = open_model(tmp_path)
    with pytest.raises(UsageError, match="does not hand on the patches of an image row by row"):
        model.load([Site.parse("vision.resid_post.2")], "cpu")


def test_an_untrained_image_encoder_needs_no_weights(tmp_path: Path) -> None:
    site = Site.parse("vision.resid_post.1")
    shutil.copytree(folder_of("DINOv2"), tmp_path / "dino", ignore=shutil.ignore_patterns("*.safetensors*"))
    one, same, other = (
        read(open_model(tmp_path / "dino", random_weights=seed), [site], IMAGES)[str(site)]
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other) and torch.isfinite(one).all()
    assert open_model(tmp_path / "dino", random_weights=0).identity(site)["random_weights"] == 0


def test_identity_of_an_image_encoder_follows_what_it_reads(tmp_path: Path) -> None:
    site = Site.parse("vision.resid_post.1")
    shutil.copytree(folder_of("ViT"), tmp_path / "vit")
    seen = [open_model(tmp_path / "vit", **given).identity(site) for given in ({}, {"dtype": "bfloat16"})]
    settings = tmp_path / "vit" / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace("0.5", "0.4"))
    seen.append(open_model(tmp_path / "vit").identity(site))
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == 3
    assert str(tmp_path) not in json.dumps(seen)


SUITE = """
name: toy
version: 1
summary: a toy of a ViT
tasks: [digits]
models:
  - {{ref: {folder}, sites: [vision.resid_post.50%, vision.mlp_out.50%]}}
representations: [hidden, vision_output, majority]
poolings: [mean]
transforms: [none]
classifiers: [nearest_centroid]
seeds: 1
"""


def test_a_folder_of_a_vit_runs_on_images_from_plan_to_board(harness_command: Any, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(SUITE.format(folder=folder_of("ViT")))
    planned = harness_command("plan", "toy.yaml", "-L", "80")
    assert planned.code == 0, planned.err
    assert re.search(rf"{folder_of('ViT').name} +81 +3 +3 +0 +{81 * 16:,} ", planned.out), planned.out
    done = harness_command("run", "toy.yaml", "-L", "80", "-o", "out", "--device", "cpu")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert {line["status"] for line in lines} == {"ok"}
    sites = {line["site"] for line in lines if line["representation"] == "hidden"}
    assert sites == {"vision.resid_post.1", "vision.mlp_out.1"}
    assert (tmp_path / "out" / "leaderboard.md").is_file()
