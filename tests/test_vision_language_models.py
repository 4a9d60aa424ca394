"""Vision-language models through the transformers plugin against plain transformers, on tiny random checkpoints.

PaliGemma 1 (Gemma 1 text), PaliGemma 2 (Gemma 2 text) and Gemma 3, with the processors that belong to them.
"""

from __future__ import annotations

import io
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness_transformers
import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from harness_transformers.opening import PROCESSOR_FILES
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import harness
from harness import (
    ChangedError,
    HarnessError,
    Image,
    ImageModel,
    LanguageModel,
    Site,
    Tokens,
    UnavailableError,
    UsageError,
)

SIZE = 28  # pixels
PATCH = 7  # so that 4 × 4 positions
N_LAYERS, N_VISION = 4, 3
WORDS = ["<pad>", "<eos>", "<bos>", "<boi>", "<eoi>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "<image>"]
IMAGE = len(WORDS) - 1
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 1,
}
WINDOWED = {**TEXT, "sliding_window": 5, "query_pre_attn_scalar": 8}
VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": N_VISION,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": PATCH,
}


def paligemma(text: Any, **vision: Any) -> Any:
    return transformers.PaliGemmaConfig(
        text_config=text.to_dict(),
        vision_config={**VISION, **vision},
        image_token_index=IMAGE,
        projection_dim=text.hidden_size,
        hidden_size=text.hidden_size,
    )


def gemma3(n_tokens: int = 4) -> Any:
    return transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**WINDOWED).to_dict(),
        vision_config=VISION,
        image_token_index=IMAGE,
        boi_token_index=3,
        eoi_token_index=4,
        mm_tokens_per_image=n_tokens,
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "paligemma": lambda: paligemma(transformers.GemmaConfig(**TEXT), vision_use_head=False),
    # Its image token has no embedding, and its vision tower a head that nobody reads.
    "paligemma2": lambda: paligemma(
        transformers.Gemma2Config(**{**WINDOWED, "vocab_size": IMAGE}, attn_logit_softcapping=0.5)
    ),
    "gemma3": gemma3,
}
WINDOW = {"paligemma": 1, "paligemma2": 1, "gemma3": 2}
PROMPTS = {"paligemma": "caption en", "paligemma2": "", "gemma3": "What is it?"}
LANGUAGE_KINDS = ("resid_post", "attn_out", "mlp_out", "attn_z")
VISION_SITES = [*(f"vision.resid_post.{layer}" for layer in range(N_VISION)), f"vision.output.{N_VISION - 1}"]

Folder = Callable[[str], Path]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A function that gives the folder of a family's checkpoint: float32, one shard for about each block."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            write_checkpoint(made[family], FAMILIES[family]())
        return made[family]

    return folder


@pytest.fixture
def copy_of(folder_of: Folder, tmp_path: Path) -> Folder:
    """A function that gives a folder which a test may damage."""

    def copy(family: str) -> Path:
        shutil.copytree(folder_of(family), tmp_path / family)
        return tmp_path / family

    return copy


def make_tokenizer() -> Any:
    tokenizer = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(WORDS)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens={"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image>"},
    )


def make_processor(config: Any, *, size: int = SIZE) -> Any:
    shape = {"height": size, "width": size}
    if config.model_type == "gemma3":
        images = transformers.Gemma3ImageProcessor(size=shape, do_pan_and_scan=True)
        return transformers.Gemma3Processor(
            images, make_tokenizer(), image_seq_length=config.mm_tokens_per_image
        )
    images = transformers.SiglipImageProcessor(size=shape, image_seq_length=(size // PATCH) ** 2)
    return transformers.PaliGemmaProcessor(images, make_tokenizer())


def make_model(config: Any) -> Any:
    """Random weights large enough for every part to matter, norms included."""
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def write_checkpoint(folder: Path, config: Any, *, shard: str = "15KB") -> None:
    make_model(config).save_pretrained(folder, max_shard_size=shard)
    make_processor(config).save_pretrained(folder)


def make_image(number: int, *, kind: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image:
    """Noise that is another for each number, as the bytes of a PNG."""
    channels = {"RGB": 3, "RGBA": 4, "L": 1}[kind]
    noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    written = io.BytesIO()
    PIL.Image.fromarray(noise.squeeze(-1) if channels == 1 else noise).save(written, "PNG")
    return harness.read_image(written.getvalue())


IMAGES = [
    make_image(0),
    make_image(1, size=(90, 20)),
    make_image(2, kind="L", size=(28, 28)),
    make_image(3, kind="RGBA", size=(17, 33)),
    make_image(4, size=(200, 150)),
]


def open_model(ref: str | Path, **parameters: Any) -> Any:
    spec = harness_transformers.harness_resolve_model(str(ref), str(ref))
    assert spec is not None
    return spec.make(**{"modality": "image", **parameters})


def site(text: str) -> Site:
    return Site.parse(text)


def read(
    model: Any, sites: Sequence[Site], images: Sequence[Image], batch: int = 8
) -> dict[str, torch.Tensor]:
    """For each site `[images, content tokens, width]`."""
    loaded, tokens = model.load(sites, "cpu"), model.tokenize(images)
    rows: dict[str, list[torch.Tensor]] = {str(one): [] for one in sites}
    for start in range(0, len(tokens), batch):
        for key, values in loaded.forward(tokens[start : start + batch]).items():
            rows[str(key)] += values.split([int(t.content.sum()) for t in tokens[start : start + batch]])
    return {key: torch.stack(parts) for key, parts in rows.items()}


def process(folder: Path, image: Image, prompt: str) -> Any:
    """What the model's own processor makes of an image and a prompt."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    more = {"do_pan_and_scan": False} if "gemma3" in processor.__class__.__name__.lower() else {}
    text = f"{processor.image_token}{prompt}"
    return processor(images=harness.decode_image(image), text=text, return_tensors="pt", **more)


@torch.no_grad()
def oracle(folder: Path, family: str, *, prompt: str | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """Every site of the whole model by plain transformers, image by image: `[images, image tokens, width]`."""
    whole = transformers.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tower, language = whole.model.vision_tower, whole.model.language_model
    seen: dict[str, list[np.ndarray[Any, Any]]] = defaultdict(list)
    mask: np.ndarray[Any, Any] = np.empty(0)

    def note(name: str, value: Any) -> None:
        rows = (value if isinstance(value, torch.Tensor) else value[0])[0].numpy()
        seen[name].append(average(rows, WINDOW[family]) if name.startswith("vision") else rows[mask])

    def hook(name: str, module: Any) -> None:
        module.register_forward_hook(lambda module, inputs, output: note(name, output))

    post_norms = family != "paligemma"
    for layer, block in enumerate(language.layers):
        hook(f"attn_out.{layer}", block.post_attention_layernorm if post_norms else block.self_attn)
        hook(f"mlp_out.{layer}", block.post_feedforward_layernorm if post_norms else block.mlp)
        block.self_attn.o_proj.register_forward_pre_hook(
            lambda module, inputs, name=f"attn_z.{layer}": note(name, inputs[0])
        )
    # The last of hidden_states is after the final norm, so the last block is hooked.
    hook(f"resid_post.{N_LAYERS - 1}", block)
    for layer, block in enumerate(tower.encoder.layers):
        hook(f"vision.resid_post.{layer}", block)
    hook(f"vision.output.{N_VISION - 1}", tower.post_layernorm)
    for image in IMAGES:
        inputs = process(folder, image, PROMPTS[family] if prompt is None else prompt)
        inputs.pop("labels", None)
        mask = (inputs["input_ids"][0] == IMAGE).numpy()
        hidden = whole(**inputs, output_hidden_states=True).hidden_states
        for layer in range(N_LAYERS - 1):
            note(f"resid_post.{layer}", hidden[layer + 1])
    return {name: np.stack(parts) for name, parts in seen.items()}


def average(rows: np.ndarray[Any, Any], window: int) -> np.ndarray[Any, Any]:
    """Mean over each window of a square grid, one after the other."""
    side = int(len(rows) ** 0.5)
    square = rows.reshape(side, side, -1)
    starts = range(0, side, window)
    means = [square[y : y + window, x : x + window].mean(axis=(0, 1)) for y in starts for x in starts]
    return np.stack(means)


def assert_close(got: torch.Tensor, wanted: Any) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted), rtol=1e-4, atol=1e-5)


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_at_image_tokens_is_what_plain_transformers_gives(family: str, folder_of: Folder) -> None:
    model, wanted = (
        open_model(folder_of(family), prompt=PROMPTS[family]),
        oracle(folder_of(family), family),
    )
    for layer in range(N_LAYERS):  # one load each, so that each is truncated to its own depth
        sites = [Site(kind=kind, layer=layer) for kind in LANGUAGE_KINDS]
        for name, rows in read(model, sites, IMAGES).items():
            assert rows.shape[1:] == (16 // WINDOW[family] ** 2, model.width(site(name)))
            assert_close(rows, wanted[name])
    for name in VISION_SITES:
        assert_close(read(model, [site(name)], IMAGES)[name], wanted[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_all_sites_at_once_are_what_each_is_alone(family: str, folder_of: Folder) -> None:
    model, wanted = (
        open_model(folder_of(family), prompt=PROMPTS[family]),
        oracle(folder_of(family), family),
    )
    names = [*(f"{kind}.{layer}" for kind in LANGUAGE_KINDS for layer in range(N_LAYERS)), *VISION_SITES]
    for name, rows in read(model, [site(name) for name in names], IMAGES).items():
        assert_close(rows, wanted[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_has_the_same_activations_alone_in_any_batch_and_in_any_order(
    family: str, folder_of: Folder
) -> None:
    model = open_model(folder_of(family))
    sites = [site("resid_post.3"), site("attn_z.1"), site("vision.resid_post.1")]
    alone = read(model, sites, IMAGES, batch=1)
    together = read(model, sites, IMAGES)
    backwards = read(model, sites, IMAGES[::-1], batch=2)
    for name, rows in alone.items():
        assert_close(together[name], rows)
        assert_close(backwards[name].flip(0), rows)


def test_the_prompt_changes_what_the_language_tower_makes_of_an_image_and_not_what_the_vision_tower_does(
    folder_of: Folder,
) -> None:
    folder = folder_of("paligemma")
    sites = [site("resid_post.2"), site("vision.output.2")]
    one, other = (read(open_model(folder, prompt=prompt), sites, IMAGES) for prompt in ("", "cats"))
    assert not torch.allclose(one["resid_post.2"], other["resid_post.2"], atol=1e-3)
    assert torch.equal(one["vision.output.2"], other["vision.output.2"])
    wanted = oracle(folder, "paligemma", prompt="cats")
    assert_close(other["resid_post.2"], wanted["resid_post.2"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_come_in_the_dtype_asked_for(family: str, dtype: str, folder_of: Folder) -> None:
    wanted = oracle(folder_of(family), family)
    names = ["resid_post.1", "vision.resid_post.0", "vision.output.2"]
    model = open_model(folder_of(family), dtype=dtype, prompt=PROMPTS[family])
    for name, rows in read(model, [site(name) for name in names], IMAGES).items():
        assert rows.dtype == getattr(torch, dtype)
        precise = torch.as_tensor(wanted[name])
        assert (rows.float() - precise).norm() < 0.05 * precise.norm()


def test_sdpa_attention_gives_the_same_where_it_may_be_had(folder_of: Folder) -> None:
    for family in ("paligemma", "gemma3"):
        sites = [site("resid_post.3"), site("vision.output.2")]
        eager, sdpa = (
            read(open_model(folder_of(family), attention=attention), sites, IMAGES)
            for attention in ("eager", "sdpa")
        )
        for name, rows in eager.items():
            assert_close(sdpa[name], rows)


def test_convolutions_are_not_rounded_on_the_gpu(folder_of: Folder) -> None:
    model = open_model(folder_of("paligemma"))
    for names in (["vision.resid_post.0"], ["resid_post.0", "vision.output.2"]):
        loaded = model.load([site(name) for name in names], "cpu")
        (patches,) = [part for part in loaded._model.modules() if isinstance(part, torch.nn.Conv2d)]
        seen: list[bool] = []
        patches.register_forward_hook(
            lambda module, inputs, output, seen=seen: seen.append(torch.backends.cudnn.allow_tf32)
        )
        before = torch.backends.cudnn.allow_tf32
        loaded.forward(model.tokenize(IMAGES[:1]))
        assert seen == [False] and torch.backends.cudnn.allow_tf32 == before


# ── names in checkpoints ─────────────────────────────────────────────────────────────────────────────────

LAYOUTS = {
    "as the hub has them": {"vision_tower.": "vision_tower.vision_model."},
    "as the class has them": {
        "vision_tower.": "model.vision_tower.",
        "language_model.model.": "model.language_model.",
        "multi_modal_projector.": "model.multi_modal_projector.",
    },
    "as both": {
        "vision_tower.": "model.vision_tower.vision_model.",
        "language_model.model.": "model.language_model.",
        "multi_modal_projector.": "model.multi_modal_projector.",
    },
}


def load_all(folder: Path) -> dict[str, torch.Tensor]:
    shards = (load_file(path) for path in sorted(folder.glob("*.safetensors")))
    return {name: tensor for shard in shards for name, tensor in shard.items()}


def replace_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """One file in place of all that are there."""
    for path in folder.glob("model*safetensors*"):
        path.unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_is_read_whatever_its_tensors_are_called(
    family: str, layout: str, copy_of: Folder
) -> None:
    folder = copy_of(family)
    sites = [site("resid_post.1"), site("vision.resid_post.1"), site("vision.output.2")]
    wanted = read(open_model(folder), sites, IMAGES)

    def rename(name: str) -> str:
        old = [start for start in LAYOUTS[layout] if name.startswith(start)]
        return LAYOUTS[layout][old[0]] + name.removeprefix(old[0]) if old else name

    tensors = load_all(folder)
    assert {name.split(".")[0] for name in tensors} == {
        "vision_tower",
        "multi_modal_projector",
        "language_model",
    }
    replace_weights(folder, {rename(name): tensor for name, tensor in tensors.items()})
    for name, rows in read(open_model(folder), sites, IMAGES).items():
        assert torch.equal(rows, wanted[name])
    alone = read(open_model(folder), [site("vision.resid_post.1")], IMAGES)
    assert torch.equal(alone["vision.resid_post.1"], wanted["vision.resid_post.1"])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_language_tower_may_come_from_another_model(family: str, copy_of: Folder, tmp_path: Path) -> None:
    """The checkpoint holds tower and projector only; the other is a language model as `save_pretrained` writes it."""
    folder, text = copy_of(family), tmp_path / "text"
    sites = [site("resid_post.2"), site("attn_z.0"), site("vision.output.2")]
    whole = open_model(folder)
    wanted = read(whole, sites, IMAGES)
    config = FAMILIES[family]()
    language = transformers.AutoModelForCausalLM.from_config(config.text_config)
    language.model.load_state_dict(make_model(config).model.language_model.state_dict())
    language.save_pretrained(text, max_shard_size="15KB")
    tensors = load_all(folder)
    replace_weights(
        folder, {name: value for name, value in tensors.items() if not name.startswith("language")}
    )
    with pytest.raises(UnavailableError, match=r"hold no embed_tokens.weight .*language_model=PATH"):
        open_model(folder).load(sites, "cpu")
    for ref in (str(text), "../text"):  # a path may begin at the model's own folder
        model = open_model(folder, language_model=ref)
        for name, rows in read(model, sites, IMAGES).items():
            assert torch.equal(rows, wanted[name])
    before = model.identity(site("resid_post.0"))
    index = json.loads((text / "model.safetensors.index.json").read_text())["weight_map"]
    needed = {shard for name, shard in index.items() if "embed" in name or ".layers.0." in name}
    assert set(before["language_model"]) == needed < set(index.values())
    assert "model.safetensors" in before["files"]
    assert "language_model" not in model.identity(site("vision.output.2"))
    (text / min(needed)).write_bytes(b"other weights")
    assert (
        model.identity(site("resid_post.0")) == before
    )  # what was hashed once; what is loaded must be the same
    with pytest.raises(ChangedError, match=min(needed)):
        model.load([site("resid_post.0")], "cpu")
    assert open_model(folder, language_model=str(text)).identity(site("resid_post.0")) != before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"query_pre_attn_scalar": 9}, r"there query_pre_attn_scalar is 9, and in its own text_config 8"),
        ({"rms_norm_eps": 1e-5}, r"there rms_norm_eps is 1e-05, and in its own text_config 1e-06"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, r"there rope_parameters is \{"),
        ({"layer_types": ["full_attention"] * N_LAYERS}, r"there layer_types is \["),
        ({"num_hidden_layers": 2, "layer_types": None}, "there num_hidden_layers is 2, and in its own .* 4"),
        (
            {"max_position_embeddings": 32, "pad_token_id": 5, "dtype": "float16", "attention_dropout": 0.1},
            None,
        ),
        ({"use_bidirectional_attention": None, "architectures": ["X"], "initializer_range": 1.0}, None),
    ],
)
def test_weights_of_a_language_model_that_computes_otherwise_are_refused(
    changed: dict[str, Any], told: str | None, folder_of: Folder, tmp_path: Path
) -> None:
    text = FAMILIES["paligemma2"]().text_config
    type(text)(**{**text.to_dict(), **changed}).save_pretrained(tmp_path)
    if told is None:
        open_model(folder_of("paligemma2"), language_model=str(tmp_path))
        return
    with pytest.raises(UsageError, match=told) as caught:
        open_model(folder_of("paligemma2"), language_model=str(tmp_path))
    assert str(caught.value).startswith(
        f"model '{folder_of('paligemma2')}' cannot have the language_model '{tmp_path}'"
    )


def test_a_language_model_of_another_family_is_refused(folder_of: Folder) -> None:
    with pytest.raises(UsageError, match="cannot have the language_model"):
        open_model(folder_of("paligemma"), language_model=str(folder_of("gemma3")))


# ── only what is needed ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_a_site_needs_the_shards_of_what_is_before_it_and_no_others(family: str, copy_of: Folder) -> None:
    folder = copy_of(family)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    tower, language, projector = "vision_tower.", "language_model.model.", "multi_modal_projector."
    whole_tower = (tower + "embeddings.", tower + "encoder.", tower + "post_layernorm.")
    needs = {
        "resid_post.1": (*whole_tower, projector, *(f"{language}{p}." for p in ("embed_tokens", "layers.0"))),
        "vision.output.2": whole_tower,
        "vision.resid_post.1": (tower + "embeddings.", *(f"{tower}encoder.layers.{n}." for n in (0, 1))),
    }
    needs["resid_post.1"] = (*needs["resid_post.1"], f"{language}layers.1.")
    for name, starts in needs.items():
        wanted = read(open_model(folder), [site(name)], IMAGES)[name]
        kept = {shard for tensor, shard in index.items() if tensor.startswith(starts)}
        assert kept < set(index.values())
        for path in folder.glob("model-*.safetensors"):
            if path.name not in kept:
                path.unlink()
        model = open_model(folder)
        assert torch.equal(read(model, [site(name)], IMAGES)[name], wanted)
        assert {file for file in model.identity(site(name))["files"] if file.startswith("model-")} == kept
    with pytest.raises(UnavailableError, match=r"has no file model-.*safetensors"):
        open_model(folder).load([site("vision.output.2")], "cpu")


def test_sites_of_the_vision_tower_load_it_alone_and_as_deep_as_they_are(folder_of: Folder) -> None:
    for name, depth in (("vision.resid_post.0", 1), ("vision.resid_post.1", 2), ("vision.output.2", 3)):
        loaded = open_model(folder_of("gemma3")).load([site(name)], "cpu")
        assert type(loaded._model).__name__ == "SiglipVisionModel"
        assert len(loaded._model.encoder.layers) == depth


def test_the_language_tower_is_as_deep_as_its_sites_and_has_no_head(folder_of: Folder) -> None:
    loaded = open_model(folder_of("paligemma2")).load([site("attn_z.1"), site("vision.output.2")], "cpu")
    assert len(loaded._model.language_model.layers) == 2
    assert not hasattr(loaded._model, "lm_head") and not hasattr(loaded._model.vision_tower, "head")


def test_opening_and_planning_read_no_weights(copy_of: Folder) -> None:
    folder = copy_of("gemma3")
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"not weights")
    model = open_model(folder)
    assert isinstance(model, ImageModel) and not isinstance(model, LanguageModel)
    assert (model.name, model.architecture, model.n_layers) == (str(folder), "gemma3+gemma3_text", N_LAYERS)
    assert (dict(model.towers), model.grid) == ({"vision": N_VISION}, (2, 2))
    assert model.n_parameters == N_LAYERS * (24 * 32 * 2 + 24 * 16 * 2 + 3 * 24 * 40 + 4 * 24 + 2 * 8)
    assert model.width(site("resid_post.0")) == 24 and model.width(site("attn_z.0")) == 32
    assert model.width(site("vision.resid_post.2")) == model.width(site("vision.output.2")) == 16
    model.identity(site("resid_post.3"))


def test_a_model_that_reads_texts_is_opened_as_before(copy_of: Folder) -> None:
    model = open_model(copy_of("gemma3"), modality="text")
    assert not isinstance(model, ImageModel)
    assert set(model.identity(site("resid_post.1"))) == {
        "kind",
        "files",
        "dtype",
        "attention",
        "max_length",
        "template",
    }


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_the_processor_and_the_content_is_the_image_tokens(
    family: str, folder_of: Folder
) -> None:
    model = open_model(folder_of(family), prompt=PROMPTS[family])
    for tokens, image in zip(model.tokenize(IMAGES), IMAGES, strict=True):
        wanted = process(folder_of(family), image, PROMPTS[family])["input_ids"][0].numpy()
        np.testing.assert_array_equal(tokens.ids, wanted)
        np.testing.assert_array_equal(tokens.content, wanted == IMAGE)
        assert tokens.ids.dtype == np.int64 and tokens.content.sum() == np.prod(model.grid)
        assert tokens.image is image and not tokens.truncated
        assert tokens.prompt is None and tokens.summary is None and tokens.own is None


def test_tokenizing_looks_at_no_pixel(folder_of: Folder) -> None:
    lost = Image(encoded=Path("/nowhere.png"), id="0", size=(3, 3))
    assert open_model(folder_of("paligemma")).tokenize([lost])[0].image is lost


def test_other_positions_can_be_read_of_the_language_tower_and_not_of_the_vision_tower(
    folder_of: Folder,
) -> None:
    model = open_model(folder_of("gemma3"), prompt="hello")
    sites = [site("resid_post.1"), site("vision.output.2")]
    (tokens,) = model.tokenize(IMAGES[:1])
    everything = replace(tokens, content=np.ones_like(tokens.content))
    loaded = model.load(sites, "cpu")
    with pytest.raises(UsageError, match=r"'vision.output.2' .* has rows for image tokens alone"):
        loaded.forward([everything])
    rows = model.load(sites[:1], "cpu").forward([everything])[sites[0]]
    content = loaded.forward([tokens])
    assert_close(rows[tokens.content], content[sites[0]])
    last = tokens.content.copy()
    last[last.nonzero()[0][:-1]] = False
    for name, some in loaded.forward([replace(tokens, content=last)]).items():
        assert_close(some, content[name][-1:])


def test_an_image_without_content_gives_no_rows(folder_of: Folder) -> None:
    model = open_model(folder_of("gemma3"))
    tokens = model.tokenize(IMAGES[:3])
    empty = [replace(one, content=np.zeros_like(one.content)) for one in tokens]
    sites = [site("attn_z.1"), site("vision.resid_post.0")]
    loaded = model.load(sites, "cpu")
    assert [loaded.forward(empty)[one].shape for one in sites] == [(0, 32), (0, 16)]
    whole, without = loaded.forward(tokens), loaded.forward([tokens[0], empty[1], tokens[2]])
    for one in sites:
        rows = whole[one].unflatten(0, (3, -1))
        assert_close(without[one], rows[[0, 2]].flatten(0, 1))


# ── pixels ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_are_those_of_the_processor(family: str, folder_of: Folder) -> None:
    loaded = open_model(folder_of(family)).load([site("vision.resid_post.0")], "cpu")
    for image in IMAGES:
        pixels = loaded.prepare(image)
        assert pixels.shape == (3, SIZE, SIZE) and pixels.dtype == torch.float32
        assert torch.equal(pixels, process(folder_of(family), image, "")["pixel_values"][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_prepared_ahead_in_many_threads_give_the_same(family: str, folder_of: Folder) -> None:
    model = open_model(folder_of(family))
    loaded, images = model.load([site("resid_post.1")], "cpu"), IMAGES * 8
    with ThreadPoolExecutor(8) as pool:
        ahead = list(pool.map(loaded.prepare, images))
    assert all(
        torch.equal(pixels, loaded.prepare(image)) for pixels, image in zip(ahead, images, strict=True)
    )
    tokens = model.tokenize(images)
    one, other = loaded.forward(tokens, ahead), loaded.forward(tokens)
    assert torch.equal(one[site("resid_post.1")], other[site("resid_post.1")])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_view_is_what_the_model_sees_before_its_colours_are_normalised(
    family: str, folder_of: Folder
) -> None:
    model = open_model(folder_of(family))
    loaded = model.load([site("vision.resid_post.0")], "cpu")
    for image in IMAGES:
        view = model.view(image)
        assert isinstance(view, PIL.Image.Image) and (view.mode, view.size) == ("RGB", (SIZE, SIZE))
        pixels = np.asarray(view, dtype=np.float32).transpose(2, 0, 1) / 255
        assert_close(loaded.prepare(image), (pixels - 0.5) / 0.5)


def test_an_image_is_seen_row_by_row_as_the_grid_says(folder_of: Folder) -> None:
    """Only the token over the changed quarter of the image differs, before anything is attended to."""
    model = open_model(folder_of("gemma3"))
    pixels = torch.zeros(2, 3, SIZE, SIZE)
    pixels[1, :, : SIZE // 2, SIZE // 2 :] = 1  # above, on the right
    loaded = model.load([site("vision.resid_post.0")], "cpu")
    kept: list[torch.Tensor] = []
    loaded._model.embeddings.register_forward_hook(lambda module, inputs, output: kept.append(output))
    loaded.forward(model.tokenize(IMAGES[:2]), list(pixels))
    changed = (kept[0][0] != kept[0][1]).any(-1).numpy()
    assert average(changed[:, None].astype(float), 2).ravel().tolist() == [0, 1, 0, 0]


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_identity_says_all_that_may_change_a_number_and_nothing_else(copy_of: Folder) -> None:
    folder = copy_of("paligemma")
    language, vision = site("resid_post.1"), site("vision.resid_post.1")
    base = open_model(folder)
    assert base.identity(language) == open_model(folder).identity(language)
    harness.hash_json({**base.identity(language)})
    for given in ({"dtype": "bfloat16"}, {"attention": "sdpa"}, {"random_weights": 1}):
        assert open_model(folder, **given).identity(language) != base.identity(language)
        assert open_model(folder, **given).identity(vision) != base.identity(vision)
    prompted = open_model(folder, prompt="caption")
    assert prompted.identity(language) != base.identity(language)
    assert prompted.identity(vision) == base.identity(vision)
    text = open_model(folder, modality="text").identity(language)
    assert text != base.identity(language)
    files = base.identity(language)["files"]
    assert {"config.json", "processor_config.json", "tokenizer.json"} < set(files)
    assert "tokenizer.json" not in base.identity(vision)["files"]
    before, path = base.identity(vision), folder / "processor_config.json"
    path.write_text(path.read_text().replace("0.5", "0.4"))
    assert open_model(folder).identity(vision) != before


def test_tasks_that_a_model_was_trained_on_are_in_its_card(copy_of: Folder) -> None:
    folder = copy_of("paligemma")
    assert open_model(folder).seen_tasks == ()
    before = open_model(folder).identity(site("resid_post.1"))
    card = "---\ndatasets: [shapes, cifar10]\n---\n# A model\n"
    (folder / "README.md").write_text(card)
    model = open_model(folder)
    assert model.seen_tasks == ("shapes", "cifar10") and model.identity(site("resid_post.1")) == before
    assert open_model(folder, random_weights=0).seen_tasks == ()
    (folder / "README.md").write_text("---\ndatasets: shapes\n---\n")
    assert open_model(folder).seen_tasks == ()


# ── random weights ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["paligemma", "paligemma2"])
def test_a_seed_gives_the_same_untrained_model_however_much_of_it_is_loaded(
    family: str, copy_of: Folder
) -> None:
    folder = copy_of(family)
    for path in folder.glob("model*"):
        path.unlink()
    model = open_model(folder, random_weights=3)
    names = ["resid_post.0", "vision.resid_post.1", "vision.output.2"]
    together = read(model, [*map(site, names), site("resid_post.3")], IMAGES)
    for name in names:
        assert torch.equal(read(model, [site(name)], IMAGES)[name], together[name])
    other = read(open_model(folder, random_weights=4), [site("resid_post.0")], IMAGES)["resid_post.0"]
    assert not torch.allclose(other, together["resid_post.0"], atol=1e-2)
    assert not torch.allclose(together["resid_post.0"][0], together["resid_post.0"][1], atol=1e-3)


def test_an_untrained_projector_of_zeros_is_refused_where_it_would_be_read(folder_of: Folder) -> None:
    model = open_model(folder_of("gemma3"), random_weights=0)
    model.load([site("vision.output.2")], "cpu")
    with pytest.raises(UsageError, match="a projector of zeros"):
        model.load([site("resid_post.0")], "cpu")


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────


def test_a_model_without_a_vision_tower_is_refused_in_one_sentence() -> None:
    minigemma = Path(__file__).parents[1] / "plugins/harness_minigemma/weights/minigemma-s"
    with pytest.raises(UsageError, match=r"\(gemma2\) reads no images: .* leave modality=image out"):
        open_model(minigemma)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"modality": "sound"}, "takes modality text, image, not 'sound'"),
        ({"modality": "text", "prompt": "x"}, "takes prompt with modality=image alone"),
        ({"modality": "text", "language_model": "x"}, "takes language_model with modality=image alone"),
        ({"template": "chat"}, "takes template=none with modality=image"),
        ({"prompt": 5}, "takes a prompt that is text, not 5"),
        ({"prompt": "\ud800"}, "takes a prompt that is text"),
        ({"prompt": "<image> and <image>"}, "its processor cannot encode an image with the prompt"),
        ({"prompt": "long " * 20}, "has 64 positions, and image and prompt take"),
        ({"prompt": "<loc0001>"}, "has no embedding for some token of the prompt"),
        ({"dtype": "int8"}, "takes dtype float32, bfloat16, float16"),
        ({"attention": "flash_attention_2"}, "attention=flash_attention_2"),
        ({"random_weights": -1}, "takes random_weights"),
        ({"random_weights": 0, "language_model": "x"}, "takes language_model or random_weights, not both"),
        ({"language_model": 3}, "takes a language_model by name or folder, not 3"),
    ],
)
def test_what_cannot_be_is_a_usage_error(parameters: dict[str, Any], message: str, folder_of: Folder) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        open_model(folder_of("paligemma"), **parameters)
    assert "\n" not in str(caught.value)


def test_capped_attention_needs_eager(folder_of: Folder) -> None:
    with pytest.raises(UsageError, match="caps its attention logits"):
        open_model(folder_of("paligemma2"), attention="sdpa")


@pytest.mark.parametrize(
    "name",
    ["resid_post.4", "vision.resid_post.3", "vision.output.0", "vision.attn_z.0", "sound.output.2", "x.0"],
)
def test_a_site_that_is_not_there_is_a_usage_error(name: str, folder_of: Folder) -> None:
    model = open_model(folder_of("paligemma"))
    for ask in (model.width, model.identity, lambda one: model.load([one], "cpu")):
        with pytest.raises(UsageError, match=f"has no site '{name}'"):
            ask(site(name))


def test_a_model_of_another_kind_is_read_where_each_position_has_its_image_token(tmp_path: Path) -> None:
    """LLaVA: the first position of its CLIP tower, CLS, goes to no image token."""
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**TEXT).to_dict(),
        vision_config={**VISION, "model_type": "clip_vision_model"},
        image_token_index=IMAGE,
    )
    whole = make_model(config)
    whole.save_pretrained(tmp_path)
    shape = {"height": SIZE, "width": SIZE}
    transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=shape),
        make_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(tmp_path)
    model = open_model(tmp_path, prompt="What is it?")
    rows = read(model, [site("resid_post.1")], IMAGES)["resid_post.1"]
    for row, image in zip(rows, IMAGES, strict=True):
        inputs = process(tmp_path, image, "What is it?")
        with torch.no_grad():
            hidden = whole(**inputs, output_hidden_states=True).hidden_states[2][0]
        assert_close(row, hidden[inputs["input_ids"][0] == IMAGE])
    with pytest.raises(UsageError, match="the 17 positions of its vision tower do not fall into 16 windows"):
        model.width(site("vision.resid_post.0"))


def test_as_many_image_tokens_as_features_or_none(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, gemma3(n_tokens=9), shard="1GB")  # its projector gives 4 × 4 all the same
    with pytest.raises(UsageError, match="gives 9 tokens for an image, and its projector 16 features"):
        open_model(tmp_path)


def test_a_processor_of_another_size_is_a_usage_error(copy_of: Folder) -> None:
    folder = copy_of("paligemma")
    make_processor(FAMILIES["paligemma"](), size=2 * SIZE).save_pretrained(folder)
    with pytest.raises(
        UsageError, match=r"its vision tower cannot take what its processor makes of an image"
    ):
        open_model(folder)


def test_a_folder_without_a_processor_is_a_missing_error(copy_of: Folder) -> None:
    folder = copy_of("paligemma")
    (folder / "processor_config.json").unlink()
    with pytest.raises(UnavailableError, match=r"preprocessor_config\.json and processor_config\.json"):
        open_model(folder)


def test_what_is_no_image_is_a_usage_error(folder_of: Folder) -> None:
    model = open_model(folder_of("paligemma"))
    with pytest.raises(UsageError, match="reads images, and input 1 is str"):
        model.tokenize([IMAGES[0], "a cat"])
    loaded = model.load([site("resid_post.0")], "cpu")
    (tokens,) = model.tokenize(IMAGES[:1])
    with pytest.raises(UsageError, match="was given tokens without one"):
        loaded.forward([Tokens(ids=tokens.ids, content=tokens.content)])


DAMAGE = {
    "vision_tower.encoder.layers.0.mlp.fc1.weight": "encoder.layers.0.mlp.fc1.weight",
    "vision_tower.post_layernorm.weight": "post_layernorm.weight",
    "multi_modal_projector.linear.weight": "multi_modal_projector.linear.weight",
    "language_model.model.layers.0.mlp.up_proj.weight": "layers.0.mlp.up_proj.weight",
}


@pytest.mark.parametrize("tensor", DAMAGE)
@pytest.mark.parametrize("how", ["missing", "misshapen", "not finite"])
def test_damaged_weights_never_run(tensor: str, how: str, copy_of: Folder) -> None:
    folder = copy_of("paligemma")
    tensors = load_all(folder)
    if how == "missing":
        del tensors[tensor]
    elif how == "misshapen":
        tensors[tensor] = torch.cat([tensors[tensor]] * 2)
    else:
        tensors[tensor].view(-1)[3] = torch.nan
    replace_weights(folder, tensors)
    said = "not finite in float32" if how == "not finite" else "its weights lack"
    with pytest.raises(UnavailableError, match=f"(?:{said} .*{DAMAGE[tensor]}|{DAMAGE[tensor]} .*{said})"):
        open_model(folder).load([site("resid_post.0")], "cpu")


def test_weights_that_are_not_needed_may_be_damaged(copy_of: Folder) -> None:
    folder = copy_of("paligemma2")
    wanted = read(open_model(folder), [site("resid_post.0")], IMAGES)["resid_post.0"]
    tensors = {
        name: tensor
        for name, tensor in load_all(folder).items()
        if not name.startswith(
            ("language_model.model.norm", "language_model.model.layers.1", "vision_tower.head")
        )
    }
    replace_weights(folder, tensors)
    assert torch.equal(read(open_model(folder), [site("resid_post.0")], IMAGES)["resid_post.0"], wanted)


# ── what the vision tower hands on ───────────────────────────────────────────────────────────────────────


def vision_output() -> Any:
    (spec,) = harness_transformers.harness_representations()
    assert (spec.name, spec.needs, spec.fitted, spec.control) == ("vision_output", "tokens", False, False)
    assert spec.make is not None
    return spec.make()


def test_vision_output_is_the_vision_towers_last_hidden_state_whatever_the_site(folder_of: Folder) -> None:
    model = open_model(folder_of("gemma3"))
    located = vision_output().at(model, site("resid_post.1"))
    assert located.site == site("vision.output.2")
    assert (located.d_in, located.width, located.sparse) == (16, 16, False)
    assert located.identity == {"kind": "vision_output"}
    rows = read(model, [located.site], IMAGES)["vision.output.2"].flatten(0, 1)
    assert torch.equal(located.load("cpu").encode(rows), rows)


def test_vision_output_is_refused_for_a_model_of_texts(folder_of: Folder) -> None:
    model = open_model(folder_of("gemma3"), modality="text")
    with pytest.raises(UsageError, match="vision_output is of a vision-language model"):
        vision_output().at(model, site("resid_post.1"))


PIXELS: dict[str, Callable[[dict[str, Any]], object]] = {
    "height": lambda images: images.update(size={"height": 10**6, "width": SIZE}),
    "longest_edge": lambda images: images.update(size={"longest_edge": 10**9}),
    "image_seq_length": lambda images: images.update(image_seq_length=10**12),
}


@pytest.mark.parametrize("key", PIXELS)
def test_a_processor_that_would_fill_the_memory_is_refused_before_it_is_made(
    copy_of: Folder, key: str
) -> None:
    folder = copy_of("paligemma")
    path = next(folder / name for name in PROCESSOR_FILES if (folder / name).exists())
    content = json.loads(path.read_text())
    PIXELS[key](content.get("image_processor", content))
    path.write_text(json.dumps(content))
    with pytest.raises(UnavailableError, match=rf"its {path.name} says {key} = 1e\+") as caught:
        harness_transformers.open_model(str(folder), str(folder), modality="image")
    assert "\n" not in str(caught.value)
