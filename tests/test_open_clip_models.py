"""The OpenCLIP plugin against plain open_clip, on tiny random checkpoints of several kinds."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness_open_clip
import huggingface_hub.constants
import numpy as np
import open_clip
import PIL.Image
import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

import harness
from harness import Site, TaskSpec, UnavailableError, UsageError, hash_file

VISION = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 4, "head_width": 8}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
CLIP = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
COCA_TEXT = {**TEXT, "context_length": 23, "embed_cls": True, "output_tokens": True}
COCA_VISION = {**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}
DECODER = {"context_length": 23, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


def timm(model: str, **parameters: Any) -> dict[str, Any]:
    return {"timm_model_name": model, "image_size": 160, **parameters}


@dataclass(frozen=True, kw_only=True)
class Family:
    """A configuration, and what must be found in it."""

    model: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    grid: tuple[int, int]
    prefix: int
    has_class: bool
    blocks: str
    n_blocks: int


SQUASH = {"resize_mode": "squash", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
BUILT_IN: dict[str, Any] = {
    "grid": (4, 4),
    "prefix": 1,
    "has_class": True,
    "n_blocks": 4,
    "blocks": "transformer.resblocks",
}
TIMM: dict[str, Any] = {"grid": (10, 10), "prefix": 1, "has_class": False, "blocks": "trunk.blocks"}
FAMILIES = {
    "clip": Family(model=CLIP, preprocessing={}, **BUILT_IN),
    "custom": Family(
        model={**CLIP, "custom_text": True, "quick_gelu": True, "nonscalar_logit_scale": True},
        preprocessing=SQUASH,
        **BUILT_IN,
    ),
    "oblong": Family(
        model={**CLIP, "vision_cfg": {**VISION, "image_size": [32, 48], "pool_type": "avg"}},
        preprocessing={"resize_mode": "longest", "interpolation": "bilinear", "fill_color": 7},
        **{**BUILT_IN, "grid": (4, 6)},
    ),
    "coca": Family(
        model={
            **CLIP,
            "custom_text": True,
            "vision_cfg": COCA_VISION,
            "text_cfg": COCA_TEXT,
            "multimodal_cfg": DECODER,
        },
        preprocessing={},
        **BUILT_IN,
    ),
    "timm": Family(
        model={**CLIP, "custom_text": True, "vision_cfg": timm("test_vit", timm_pool="token")},
        preprocessing=SQUASH,
        **{**TIMM, "has_class": True, "n_blocks": 6},
    ),
    "timm, registers, map": Family(
        model={
            **CLIP,
            "custom_text": True,
            "init_logit_bias": -10,
            "vision_cfg": timm("test_vit3", timm_pool="map", timm_proj="linear"),
        },
        preprocessing=SQUASH,
        **TIMM,
        n_blocks=9,
    ),
    "timm, positions not saved": Family(
        model={**CLIP, "custom_text": True, "vision_cfg": timm("test_vit_relpos")},
        preprocessing=SQUASH,
        **{**TIMM, "prefix": 0, "n_blocks": 9},
    ),
}
SPEC = TaskSpec(
    name="pets",
    version=1,
    summary="",
    languages=("en",),
    licence="",
    citation="",
    modality="image",
    class_names={"b": "beagle, a dog"},
    templates=("a photo of a {}.", "{} on a lawn", "a drawing of the {}"),
)
CLASSES = ("great_dane", "b", "MaineCoon", "X")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if HF_HUB_OFFLINE=1 had been set before huggingface_hub was imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A function that gives the folder of a family's checkpoint."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp("checkpoint")
            write_checkpoint(made[family], FAMILIES[family].model, FAMILIES[family].preprocessing)
        return made[family]

    return folder


@pytest.fixture
def clip(folder_of: Folder, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(folder_of("clip"), tmp_path / "clip"))


def write_config(folder: Path, model: Any, preprocessing: Mapping[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    content = {"model_cfg": model, "preprocess_cfg": preprocessing or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder


def write_checkpoint(folder: Path, model: Any, preprocessing: Mapping[str, Any] | None = None) -> None:
    """Random weights large enough for every part to matter, norms included."""
    write_config(folder, model, preprocessing)
    torch.manual_seed(0)
    made = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.02 if "logit" in name else 0.1))
    weights = {key: value.clone().contiguous() for key, value in made.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def make_images() -> list[harness.Image]:
    """Noise, shades and one colour, of several sizes and shapes."""
    random = np.random.default_rng(0)
    shades = np.linspace(0, 255, 50 * 70 * 3).reshape(50, 70, 3)
    arrays = [random.integers(0, 256, (*size, 3)) for size in ((40, 40), (90, 30), (20, 75), (160, 160))]
    return [encode(array.astype(np.uint8)) for array in (*arrays, shades, np.full((32, 48, 3), 200))]


def encode(pixels: np.ndarray[Any, Any]) -> harness.Image:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return harness.read_image(buffer.getvalue())


IMAGES = make_images()


def open_model(ref: str | Path, **parameters: Any) -> Any:
    spec = harness_open_clip.harness_resolve_model(str(ref), str(ref))
    assert spec is not None
    return spec.make(**parameters)


def site(text: str) -> Site:
    return Site.parse(text)


def all_sites(model: Any) -> list[Site]:
    blocks = [site(f"vision.resid_post.{layer}") for layer in range(model.n_layers)]
    return [*blocks, site(f"vision.embed.{model.n_layers - 1}")]


def read(
    model: Any, sites: Sequence[Site], images: Sequence[harness.Image] = IMAGES, batch: int = 8
) -> dict[Site, list[torch.Tensor]]:
    """For each site one `[content tokens, width]` for each image."""
    loaded = model.load(sites, "cpu")
    tokens = model.tokenize(images)
    rows: dict[Site, list[torch.Tensor]] = {one: [] for one in sites}
    for start in range(0, len(tokens), batch):
        part = tokens[start : start + batch]
        for key, values in loaded.forward(part).items():
            rows[key] += values.split([int(t.content.sum()) for t in part])
    return rows


def plain(folder: Path) -> tuple[Any, torch.Tensor]:
    """The model as open_clip opens it, and the images as it prepares them."""
    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return model.eval(), torch.stack([prepare(harness.decode_image(image)) for image in IMAGES])


@torch.inference_mode()
def oracle(folder: Path, family: Family) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Of each block `[images, positions, width]`, and the embeddings `[images, embedding]`."""
    model, pixels = plain(folder)
    blocks: list[torch.Tensor] = []
    for block in model.visual.get_submodule(family.blocks):
        block.register_forward_hook(lambda module, inputs, output: blocks.append(output))
    return blocks, model.encode_image(pixels, normalize=False)


def located_zero_shot(model: Any, spec: TaskSpec = SPEC, classes: tuple[str, ...] = CLASSES) -> Any:
    at = representation("zero_shot").at(model, site("vision.resid_post.1"))
    assert at.for_task is not None
    return at.for_task(spec, classes)


def representation(name: str) -> Any:
    specs = {spec.name: spec for spec in harness_open_clip.harness_representations()}
    return specs[name].make()  # type: ignore[misc]


# ── activations ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_holds_what_plain_open_clip_computes(family: str, folder_of: Folder) -> None:
    folder, expected = folder_of(family), FAMILIES[family]
    model = open_model(folder)
    blocks, embeddings = oracle(folder, expected)
    rows = read(model, all_sites(model))
    *sites, last = all_sites(model)
    assert len(sites) == len(blocks) == expected.n_blocks
    for one, wanted in zip(sites, blocks, strict=True):
        assert model.width(one) == wanted.shape[-1]
        for row, values in enumerate(rows[one]):
            torch.testing.assert_close(values, wanted[row, expected.prefix :], rtol=1e-4, atol=1e-4)
    assert model.width(last) == embeddings.shape[-1] == 24
    for row, values in enumerate(rows[last]):
        assert len(values) == expected.grid[0] * expected.grid[1]
        assert (values == values[0]).all()
        torch.testing.assert_close(values[0], embeddings[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["clip", "custom", "timm"])
def test_blocks_are_those_of_open_clips_own_intermediates(family: str, folder_of: Folder) -> None:
    model, pixels = plain(folder_of(family))
    with torch.inference_mode():
        found = model.visual.forward_intermediates(pixels, output_fmt="NLC", output_extra_tokens=True)
    opened = open_model(folder_of(family))
    rows = read(opened, all_sites(opened))
    for layer, wanted in enumerate(found["image_intermediates"]):
        got = torch.stack(rows[site(f"vision.resid_post.{layer}")])
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_reads_the_same_in_any_batch_and_order(family: str, folder_of: Folder) -> None:
    model = open_model(folder_of(family))
    sites = all_sites(model)
    together = read(model, sites)
    for batch, images in ((1, IMAGES), (4, IMAGES[::-1])):
        other = read(model, sites, images, batch)
        for one in sites:
            values = other[one] if images is IMAGES else other[one][::-1]
            for got, wanted in zip(values, together[one], strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_truncated_tower_reads_the_same_and_has_only_the_blocks_it_needs(
    family: str, folder_of: Folder
) -> None:
    model = open_model(folder_of(family))
    whole = read(model, all_sites(model))
    for layer in (0, model.n_layers // 2):
        one = site(f"vision.resid_post.{layer}")
        for got, wanted in zip(read(model, [one])[one], whole[one], strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
        assert len(model.load([one], "cpu")._blocks) == layer + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_patches_are_content_and_the_class_token_is_the_summary(family: str, folder_of: Folder) -> None:
    expected = FAMILIES[family]
    model = open_model(folder_of(family))
    (tokens,) = model.tokenize(IMAGES[:1])
    n_patches = expected.grid[0] * expected.grid[1]
    assert model.grid == expected.grid and model.towers == {"vision": expected.n_blocks}
    assert tokens.ids.tolist() == list(range(expected.prefix + n_patches))
    assert tokens.content.tolist() == [False] * expected.prefix + [True] * n_patches
    if expected.has_class:
        assert tokens.summary.tolist() == [True] + [False] * (len(tokens.ids) - 1)
    else:
        assert tokens.summary is None
    assert tokens.image is IMAGES[0] and not tokens.truncated and tokens.prompt is None


@pytest.mark.parametrize("family", ["clip", "timm"])
def test_other_positions_can_be_read_and_images_without_any_give_no_rows(
    family: str, folder_of: Folder
) -> None:
    folder = folder_of(family)
    model = open_model(folder)
    blocks, embeddings = oracle(folder, FAMILIES[family])
    first, second, third = model.tokenize(IMAGES[:3])
    one, last = all_sites(model)[0], all_sites(model)[-1]
    loaded = model.load([one, last], "cpu")
    nothing = replace(third, content=np.zeros_like(third.content))
    batch = [nothing, replace(first, content=first.summary), nothing, second]
    found = loaded.forward(batch)
    wanted = torch.cat([blocks[0][0, :1], blocks[0][1, 1:]])
    torch.testing.assert_close(found[one], wanted, rtol=1e-4, atol=1e-4)
    wanted = torch.cat([embeddings[:1], embeddings[1:2].expand(len(second.ids) - 1, -1)])
    torch.testing.assert_close(found[last], wanted, rtol=1e-4, atol=1e-4)
    for key, values in loaded.forward([nothing]).items():
        assert values.shape == (0, model.width(key))
    assert model.tokenize([]) == [] and len(loaded.forward([])[one]) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_prepared_as_open_clip_prepares_them(family: str, folder_of: Folder) -> None:
    model = open_model(folder_of(family))
    _, wanted = plain(folder_of(family))
    loaded = model.load([all_sites(model)[0]], "cpu")
    with ThreadPoolExecutor(4) as pool:
        prepared = list(pool.map(loaded.prepare, IMAGES))
    assert torch.equal(torch.stack(prepared), wanted)
    assert prepared[0].dtype == torch.float32
    tokens = model.tokenize(IMAGES)
    one = all_sites(model)[0]
    assert torch.equal(loaded.forward(tokens, prepared)[one], loaded.forward(tokens)[one])


@pytest.mark.parametrize("family", ["clip", "oblong", "timm"])
def test_the_view_of_an_image_is_what_is_prepared_of_it(family: str, folder_of: Folder) -> None:
    model = open_model(folder_of(family))
    config = open_clip.create_model(f"local-dir:{folder_of(family)}").visual.preprocess_cfg
    loaded = model.load([all_sites(model)[0]], "cpu")
    for image in IMAGES:
        view = model.view(image)
        pixels = torch.from_numpy(np.array(view)).permute(2, 0, 1) / 255
        mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
        assert view.mode == "RGB" and view.size == tuple(reversed(config["size"]))
        torch.testing.assert_close((pixels - mean) / std, loaded.prepare(image), rtol=1e-5, atol=1e-5)


def test_the_model_is_an_image_model(folder_of: Folder) -> None:
    model = open_model(folder_of("clip"))
    assert isinstance(model, harness.ImageModel)
    assert isinstance(model.load([site("vision.resid_post.0")], "cpu"), harness.LoadedImageModel)
    blocks = open_clip.create_model(f"local-dir:{folder_of('clip')}").visual.transformer.resblocks
    assert model.n_parameters == sum(parameter.numel() for parameter in blocks.parameters())
    assert (model.architecture, model.n_layers) == ("open_clip", 4)
    assert model.name == str(folder_of("clip"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", ["clip", "timm, positions not saved"])
def test_half_precision_is_near_full_precision(family: str, dtype: str, folder_of: Folder) -> None:
    half, full = open_model(folder_of(family), dtype=dtype), open_model(folder_of(family))
    for one in all_sites(full)[-2:]:
        got, wanted = (torch.cat(read(model, [one])[one]) for model in (half, full))
        assert got.dtype == getattr(torch, dtype)
        assert (got.float() - wanted).norm() < 0.03 * wanted.norm()


# ── embeddings and names ─────────────────────────────────────────────────────────────────────────────────


def test_the_embedding_is_read_at_its_own_site_as_it_is(folder_of: Folder) -> None:
    model = open_model(folder_of("clip"))
    at = representation("clip_embedding").at(model, site("vision.resid_post.1"))
    assert (str(at.site), at.d_in, at.width) == ("vision.embed.3", 24, 24)
    assert at.load is not None
    values = torch.randn(3, 24)
    assert torch.equal(at.load("cpu").encode(values), values)


@pytest.mark.parametrize("family", ["clip", "custom", "coca", "timm, registers, map"])
def test_zero_shot_scores_are_those_of_plain_open_clip(family: str, folder_of: Folder) -> None:
    folder = folder_of(family)
    model, pixels = plain(folder)
    names = ["great dane", "beagle, a dog", "Maine Coon", "X"]
    with torch.inference_mode():
        directions = open_clip.build_zero_shot_classifier(
            model, open_clip.get_tokenizer(f"local-dir:{folder}"), names, list(SPEC.templates)
        )
        embeddings = normalize(model.encode_image(pixels, normalize=False), dim=-1)
        wanted = model.logit_scale.exp() * embeddings @ directions
    opened = open_model(folder)
    at = located_zero_shot(opened)
    encoder = at.load("cpu")
    rows = read(opened, [at.site])[at.site]
    got = torch.stack([encoder.encode(values)[0] for values in rows])
    assert at.width == encoder.width == len(CLASSES) and at.d_in == 24
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    assert got.argmax(1).tolist() == wanted.argmax(1).tolist()
    assert len(set(got.argmax(1).tolist())) > 1 or got.std() > 0.1


def test_a_task_without_templates_gets_the_common_one(folder_of: Folder) -> None:
    model = open_model(folder_of("clip"))
    without = located_zero_shot(model, replace(SPEC, templates=()))
    common = located_zero_shot(model, replace(SPEC, templates=("a photo of a {}.",)))
    assert without.identity == common.identity
    values = torch.randn(2, 24)
    assert torch.equal(without.load("cpu").encode(values), common.load("cpu").encode(values))


def test_many_prompts_are_read_in_several_batches_with_the_same_result(folder_of: Folder) -> None:
    model = open_model(folder_of("clip"))
    names = tuple(f"thing {number}" for number in range(150))
    values = torch.randn(2, 24)
    spec = replace(SPEC, class_names={})
    together = located_zero_shot(model, spec, names).load("cpu").encode(values)
    apart = located_zero_shot(model, spec, names[140:]).load("cpu").encode(values)
    torch.testing.assert_close(together[:, 140:], apart, rtol=1e-4, atol=1e-4)


def test_what_zero_shot_is_made_of_stands_in_its_identity(folder_of: Folder, clip: Path) -> None:
    model = open_model(folder_of("clip"))
    known = [located_zero_shot(model).identity]
    assert located_zero_shot(open_model(clip)).identity == known[0]
    known += [
        located_zero_shot(model, replace(SPEC, templates=("the {}",))).identity,
        located_zero_shot(model, replace(SPEC, class_names={"b": "bird"})).identity,
        located_zero_shot(model, classes=CLASSES[::-1]).identity,
        located_zero_shot(open_model(clip, dtype="bfloat16")).identity,
        located_zero_shot(open_model(clip, random_weights=0)).identity,
        located_zero_shot(open_model(folder_of("custom"))).identity,
    ]
    assert len({harness.hash_json(identity) for identity in known}) == len(known)


@pytest.mark.parametrize(
    ("label", "words"),
    [("great_dane", "great dane"), ("AnnualCrop", "Annual Crop"), ("RGBImage", "RGB Image"), ("cat", "cat")],
)
def test_labels_become_words(label: str, words: str, folder_of: Folder) -> None:
    spec = replace(SPEC, templates=("{}",), class_names={})
    at = located_zero_shot(open_model(folder_of("clip")), spec, (label,))
    assert at.identity["prompts"] == [[words]]


def test_a_template_without_a_place_for_the_name_is_refused(folder_of: Folder) -> None:
    with pytest.raises(UsageError, match=r"template 'a photo' of task 'pets' has no \{\} for the name"):
        located_zero_shot(open_model(folder_of("clip")), replace(SPEC, templates=("a photo",)))


def test_a_name_for_what_is_no_class_is_refused_while_a_class_has_none(folder_of: Folder) -> None:
    model = open_model(folder_of("clip"))
    misspelt = replace(SPEC, class_names={"great-dane": "Great Dane", "b": "beagle"})
    with pytest.raises(UsageError) as caught:
        located_zero_shot(model, misspelt)
    assert str(caught.value) == (
        "task 'pets' has a name for 'great-dane', which is none of its classes; did you mean 'great_dane'?"
    )
    with pytest.raises(
        UsageError, match="'0', which is none of its classes; known: MaineCoon, X, b, great_dane"
    ):
        located_zero_shot(model, replace(SPEC, class_names={"0": "beagle"}))
    of_labels = replace(misspelt, labels={"dane": "great-dane"})
    assert located_zero_shot(model, of_labels).width == len(CLASSES)
    all_named = replace(SPEC, class_names={label: label.lower() for label in (*CLASSES, "of no row")})
    assert located_zero_shot(model, all_named).width == len(CLASSES)


@pytest.mark.parametrize("name", ["clip_embedding", "zero_shot"])
def test_models_of_other_plugins_are_refused(name: str) -> None:
    class Stranger:
        name = "gpt2"

    with pytest.raises(UsageError, match=f"'{name}' is of OpenCLIP models, and 'gpt2' is none"):
        representation(name).at(Stranger(), site("resid_post.0"))


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of a few whole words."""
    words = ["<pad>", "<unk>", "a", "photo", "of", "the", "great", "dane", "beagle", "dog", "drawing", "on"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(
        folder
    )


def test_a_tokenizer_of_transformers_is_read_from_the_folder(clip: Path) -> None:
    change_config(clip, "text_cfg", hf_tokenizer_name="org/words", tokenizer_kwargs={"clean": "lower"})
    with pytest.raises(
        UnavailableError, match=r"`hf download org/words --include '\*token\*' .* --local-dir "
    ):
        representation("zero_shot").at(open_model(clip), site("vision.resid_post.1"))
    write_tokenizer(clip)
    wanted = open_clip.get_tokenizer(f"local-dir:{clip}")(["a photo of a great dane."])
    assert open_model(clip).tokenize_prompts(["a photo of a great dane."]) == wanted.tolist()
    assert located_zero_shot(open_model(clip)).load("cpu").width == len(CLASSES)


def cache_config(hub: Path, config: Any, repo: str = "org/bert") -> Path:
    """The configuration of a text tower in a hub cache; return its folder."""
    stored = hub / f"models--{repo.replace('/', '--')}"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("c" * 40)
    config.save_pretrained(stored / "snapshots" / ("c" * 40))
    return stored / "snapshots" / ("c" * 40)


def test_a_text_tower_of_transformers_scores_as_in_plain_open_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    cache_config(tmp_path / "hub", transformers.RobertaConfig(**small, vocab_size=50, pad_token_id=0))
    text = {
        "hf_model_name": "org/bert",
        "hf_tokenizer_name": "org/words",
        "hf_model_pretrained": True,
        "context_length": 16,
    }
    folder = tmp_path / "model"
    write_checkpoint(folder, {**CLIP, "text_cfg": text})
    write_tokenizer(folder)
    model, pixels = plain(folder)
    names = ["great dane", "beagle, a dog", "Maine Coon", "X"]
    with torch.inference_mode():
        directions = open_clip.build_zero_shot_classifier(
            model, open_clip.get_tokenizer(f"local-dir:{folder}"), names, list(SPEC.templates)
        )
        embeddings = model.encode_image(pixels)
        wanted = model.logit_scale.exp() * normalize(embeddings, dim=-1) @ directions
    got = located_zero_shot(open_model(folder)).load("cpu").encode(embeddings)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    change_config(folder, "text_cfg", hf_model_name="org/nowhere")
    assert load(folder)
    with pytest.raises(UnavailableError, match="cannot build it from its configuration"):
        located_zero_shot(open_model(folder)).load("cpu")


def test_code_that_a_text_tower_of_the_hub_brings_is_not_run_nor_asked_about(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    typed = io.StringIO("y\n" * 9)
    monkeypatch.setattr("sys.stdin", typed)
    snapshot = cache_config(tmp_path / "hub", transformers.RobertaConfig())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"}}
    (snapshot / "config.json").write_text(json.dumps(own))
    marker = tmp_path / "marker"
    (snapshot / "own.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    change_config(clip, "text_cfg", hf_model_name="org/bert")
    with pytest.raises(
        UnavailableError, match="its text tower 'org/bert' needs code of its own, which is never run"
    ) as caught:
        located_zero_shot(open_model(clip)).load("cpu")
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert typed.tell() == 0


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("text_cfg", {"hf_model_name": "/etc"}),
        ("text_cfg", {"hf_model_name": "../bert"}),
        ("text_cfg", {"hf_model_name": "./bert"}),
        ("text_cfg", {"hf_tokenizer_name": "/etc/words"}),
        ("vision_cfg", {"timm_model_name": "local-dir:/etc"}),
        ("vision_cfg", {"timm_model_name": "hf-hub:org/name"}),
        ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/etc/words.gz"}}),
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}),
    ],
)
def test_a_configuration_that_names_files_or_options_of_its_own_choice_is_refused(
    clip: Path, part: str, fields: dict[str, Any]
) -> None:
    change_config(clip, part, **fields)
    with pytest.raises(UnavailableError, match=r"its open_clip_config\.json names"):
        open_model(clip)


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────


def test_identity_follows_content_and_not_the_path(folder_of: Folder, clip: Path) -> None:
    one = site("vision.resid_post.1")
    before = open_model(folder_of("clip")).identity(one)
    assert open_model(clip).identity(one) == before
    known = [before, open_model(clip, dtype="bfloat16").identity(one)]
    known += [open_model(clip, random_weights=seed).identity(one) for seed in (0, 1)]
    weights = load_file(clip / "open_clip_model.safetensors")
    weights["visual.conv1.weight"][0, 0, 0, 0] += 1
    save_file(weights, clip / "open_clip_model.safetensors")
    known.append(open_model(clip).identity(one))
    write_config(clip, CLIP, {"interpolation": "bilinear"})
    known.append(open_model(clip).identity(one))
    write_config(clip, {**CLIP, "quick_gelu": True})
    known.append(open_model(clip).identity(one))
    assert len({harness.hash_json(identity) for identity in known}) == len(known)


def test_the_card_says_which_tasks_were_seen_and_is_no_part_of_the_identity(clip: Path) -> None:
    one = site("vision.resid_post.1")
    before = open_model(clip).identity(one)
    assert open_model(clip).seen_tasks == ()
    (clip / "README.md").write_text(
        "---\nlicense: mit\ndatasets:\n- cifar10\n- 7\n- eurosat\n---\n# A model\n"
    )
    assert open_model(clip).seen_tasks == ("cifar10", "eurosat")
    assert open_model(clip, random_weights=0).seen_tasks == ()
    assert open_model(clip).identity(one) == before
    for broken in (
        "---\ndatasets: [\n---\n",
        "---\ndatasets: 3\n---\n",
        "no front matter",
        "---\n- a\n---\n",
    ):
        (clip / "README.md").write_text(broken)
        assert open_model(clip).seen_tasks == ()


# ── random weights ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_come_from_their_seed_alone_and_need_no_file(family: str, tmp_path: Path) -> None:
    expected = FAMILIES[family]
    folder = write_config(tmp_path / "empty", expected.model, expected.preprocessing)
    model = open_model(folder, random_weights=7)
    sites = all_sites(model)
    torch.manual_seed(3)
    untouched = torch.rand(4)
    torch.manual_seed(3)
    whole = read(model, sites)
    assert torch.equal(torch.rand(4), untouched)
    again = read(open_model(folder, random_weights=7), sites[:1])
    other = read(open_model(folder, random_weights=8), sites[:1])
    for got, wanted, drawn in zip(again[sites[0]], whole[sites[0]], other[sites[0]], strict=True):
        assert torch.equal(got, wanted)
        assert not torch.allclose(got, drawn, atol=0.01)
    values = torch.randn(2, 24)
    first, second, third = (
        located_zero_shot(open_model(folder, random_weights=seed)).load("cpu").encode(values)
        for seed in (7, 7, 8)
    )
    assert torch.equal(first, second) and not torch.allclose(first, third, atol=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_drawn_as_the_architecture_begins(family: str, folder_of: Folder) -> None:
    """Against a tower made by open_clip: each weight has the mean and spread it has there."""
    model = open_model(folder_of(family), random_weights=0)
    drawn = dict(model.load(all_sites(model), "cpu")._tower.named_parameters())
    torch.manual_seed(0)
    wanted = open_clip.create_model(f"local-dir:{folder_of(family)}", load_weights=False).visual
    for name, parameter in wanted.named_parameters():
        got, expected = drawn.pop(name).detach(), parameter.detach()
        error = 5 * float(expected.std()) / len(got.flatten()) ** 0.5 if got.numel() > 1 else 4.0
        assert abs(float(got.mean() - expected.mean())) <= 2 * error, name
    assert not drawn


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "0", 2**53])
def test_a_seed_must_be_a_whole_number(wrong: Any, folder_of: Folder) -> None:
    with pytest.raises(UsageError, match="takes random_weights, a seed, from 0 to"):
        open_model(folder_of("clip"), random_weights=wrong)


# ── names, and the hub ───────────────────────────────────────────────────────────────────────────────────

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache, without network, that holds the model as org/clip; open_clip knows it as `tiny:made`."""
    repo = tmp_path / "hub" / "models--org--clip"
    snapshot = repo / "snapshots" / COMMIT
    for folder in (repo / "blobs", repo / "refs", snapshot):
        folder.mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    for number, file in enumerate(list(clip.iterdir())):
        blob = hash_file(file) if file.suffix == ".safetensors" else f"{number:040x}"
        file.rename(repo / "blobs" / blob)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    configs, pretrained = open_clip.factory._MODEL_CONFIGS, open_clip.pretrained._PRETRAINED
    make = open_clip.pretrained._pcfg
    monkeypatch.setitem(configs, "tiny", CLIP)
    monkeypatch.setitem(configs, "tiny-quickgelu", {**CLIP, "quick_gelu": True})
    monkeypatch.setitem(
        pretrained,
        "tiny",
        {
            "made": make(hf_hub="org/clip/"),
            "made_otherwise": make(hf_hub="org/clip/pytorch_model.bin"),
            "old": make(hf_hub="org/clip/", quick_gelu=True),
            "nowhere": make(url="https://example.org/tiny.pt"),
        },
    )
    monkeypatch.setitem(pretrained, "tiny-quickgelu", {"old": make(hf_hub="org/clip/", quick_gelu=True)})
    return snapshot


@pytest.mark.parametrize("ref", ["hf-hub:org/clip", "hf-hub:org/clip@main", f"hf-hub:org/clip@{COMMIT}"])
def test_a_model_in_the_hub_cache_is_read_offline(hub: Path, ref: str) -> None:
    model, local = open_model(ref), open_model(hub)
    sites = all_sites(local)
    assert model.name == ref
    assert model.identity(sites[0]) == local.identity(sites[0])
    for one, values in read(model, sites).items():
        assert torch.equal(torch.cat(values), torch.cat(read(local, sites)[one]))
    assert located_zero_shot(model).identity == located_zero_shot(local).identity


def test_a_name_with_a_tag_is_read_from_the_hub_cache_as_open_clip_reads_it(hub: Path) -> None:
    model = open_model("tiny:made")
    plain_model, prepare = open_clip.create_model_from_pretrained("tiny", "made")
    pixels = torch.stack([prepare(harness.decode_image(image)) for image in IMAGES])
    with torch.inference_mode():
        wanted = plain_model.eval().encode_image(pixels)
    (values,) = read(model, [model.embedding_site]).values()
    torch.testing.assert_close(torch.stack([one[0] for one in values]), wanted, rtol=1e-4, atol=1e-4)
    assert located_zero_shot(model).load("cpu").width == len(CLASSES)


def test_weights_in_the_hub_cache_are_named_by_their_blob_and_not_read(hub: Path) -> None:
    wanted = open_model("tiny:made").identity(site("vision.resid_post.0"))["weights"]
    blob = (hub / "open_clip_model.safetensors").resolve()
    blob.write_bytes(b"no weights")
    assert wanted == blob.name
    assert open_model("tiny:made").identity(site("vision.resid_post.0"))["weights"] == wanted


@pytest.mark.parametrize(
    ("ref", "command"),
    [
        ("tiny:made", "hf download org/clip open_clip_model.safetensors`"),
        ("tiny:made_otherwise", "hf download org/clip pytorch_model.safetensors`"),
        ("hf-hub:org/clip", f"hf download org/clip open_clip_model.safetensors --revision {COMMIT}`"),
    ],
)
def test_weights_that_are_not_here_are_asked_for_before_anything_is_loaded(
    hub: Path, ref: str, command: str
) -> None:
    (hub / "open_clip_model.safetensors").unlink()
    (hub / "open_clip_pytorch_model.bin").write_bytes(b"a pickle")
    model = open_model(ref)
    for work in (model.identity, model.load):
        with pytest.raises(UnavailableError) as caught:
            work(*([site("vision.resid_post.0")] if work == model.identity else [all_sites(model), "cpu"]))
        assert command in str(caught.value) and "pickled weights are never read" in str(caught.value)
    assert open_model(ref, random_weights=0).identity(site("vision.resid_post.0"))["random_weights"] == 0


def test_a_repository_that_is_not_here_is_asked_for_with_its_configuration(hub: Path) -> None:
    wanted = "`hf download org/other open_clip_config.json open_clip_model.safetensors --revision v2`"
    with pytest.raises(UnavailableError) as caught:
        open_model("hf-hub:org/other@v2")
    assert wanted in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("ViT-B-23:openai", "has no model 'ViT-B-23'; did you mean 'ViT-B-32'"),
        ("ViT-B-16:datacomp_xl_s13b", "has no weights 'datacomp_xl_s13b' of model 'ViT-B-16'; did you mean"),
        ("tiny:mad", "has no weights 'mad' of model 'tiny'; did you mean 'made'"),
        ("tiny:old", "'old' were trained with QuickGELU: use 'tiny-quickgelu:old'"),
        ("tiny:nowhere", "is on no hub, and its weights are pickled"),
    ],
)
def test_a_name_that_open_clip_does_not_know_is_refused_with_a_hint(
    hub: Path, ref: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        open_model(ref)
    assert message in str(caught.value)


def test_weights_for_quickgelu_are_read_under_the_name_that_has_it(hub: Path) -> None:
    assert open_model("tiny-quickgelu:old").width(site("vision.resid_post.0")) == 32


@pytest.mark.parametrize(
    "ref", ["google/gemma-2-2b", "minigemma-m", "./nowhere", "a:b/c", "hf-hub:", ":", ""]
)
def test_other_references_are_left_to_other_plugins(ref: str) -> None:
    assert harness_open_clip.harness_resolve_model(ref, ref) is None


def test_opening_reads_no_weights(clip: Path) -> None:
    (clip / "open_clip_model.safetensors").write_bytes(b"")
    model = open_model(clip)
    assert model.tokenize(IMAGES)[0].image is IMAGES[0] and model.width(site("vision.resid_post.0")) == 32


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────


def change_config(folder: Path, part: str, **values: Any) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"][part] |= values
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "open_clip_model.safetensors")
    change(weights)
    save_file(weights, folder / "open_clip_model.safetensors")


def load(folder: Path, where: str = "vision.resid_post.1", **parameters: Any) -> Any:
    return open_model(folder, **parameters).load([site(where)], "cpu")


def test_a_folder_without_weights_says_what_it_lacks(clip: Path) -> None:
    (clip / "open_clip_model.safetensors").rename(clip / "open_clip_pytorch_model.bin")
    model = open_model(clip)
    for work in (lambda: model.identity(site("vision.resid_post.1")), lambda: load(clip)):
        with pytest.raises(
            UnavailableError, match=r"has no file open_clip_model.safetensors \(pickled weights"
        ):
            work()


def test_weights_of_another_name_are_found_if_there_is_no_choice(clip: Path) -> None:
    weights = clip / "open_clip_model.safetensors"
    shutil.copy(weights, clip / "one.safetensors")
    shutil.copy(weights, clip / "two.safetensors")
    weights.unlink()
    with pytest.raises(UnavailableError, match="has more than one file of weights"):
        load(clip)
    (clip / "two.safetensors").unlink()
    assert load(clip)


def test_weights_that_are_not_finite_are_refused_where_they_are_needed(clip: Path) -> None:
    change_weights(clip, lambda weights: weights["visual.transformer.resblocks.2.ln_1.bias"].fill_(torch.nan))
    assert load(clip, "vision.resid_post.1")
    for where in ("vision.resid_post.2", "vision.embed.3"):
        with pytest.raises(
            UnavailableError, match=r"resblocks\.2\.ln_1\.bias has values that are not finite"
        ):
            load(clip, where)
    change_weights(clip, lambda weights: weights["text_projection"].fill_(torch.inf))
    with pytest.raises(UnavailableError, match="text_projection has values that are not finite in float32"):
        located_zero_shot(open_model(clip)).load("cpu")


def test_weights_too_large_for_a_dtype_are_refused(clip: Path) -> None:
    change_weights(clip, lambda weights: weights["visual.conv1.weight"].fill_(1e6))
    assert load(clip)
    with pytest.raises(UnavailableError, match="not finite in float16"):
        load(clip, dtype="float16")


@pytest.mark.parametrize("key", ["visual.ln_pre.weight", "visual.transformer.resblocks.1.mlp.c_fc.bias"])
def test_incomplete_weights_are_refused(key: str, clip: Path) -> None:
    change_weights(clip, lambda weights: weights.pop(key))
    with pytest.raises(UnavailableError, match=f"its weights lack {key}"):
        load(clip)


@pytest.mark.parametrize("key", ["logit_scale", "ln_final.bias"])
def test_incomplete_weights_of_the_text_tower_are_refused_by_zero_shot_alone(key: str, clip: Path) -> None:
    change_weights(clip, lambda weights: weights.pop(key))
    assert load(clip)
    with pytest.raises(UnavailableError, match=f"its weights lack {key}"):
        located_zero_shot(open_model(clip)).load("cpu")


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("vision_cfg", {"layers": 3}, "its weights hold visual.transformer.resblocks.3"),
        ("vision_cfg", {"layers": 5, "width": 64}, "its weights lack visual.class_embedding"),
        ("vision_cfg", {"image_size": 64}, "its weights lack visual.positional_embedding"),
    ],
)
def test_weights_of_another_architecture_are_refused(
    part: str, values: dict[str, Any], message: str, clip: Path
) -> None:
    change_config(clip, part, **values)
    with pytest.raises(UnavailableError, match=message):
        load(clip)


def test_whole_numbers_are_no_weights(clip: Path) -> None:
    change_weights(
        clip, lambda weights: weights.update({"visual.proj": torch.zeros(32, 24, dtype=torch.int8)})
    )
    with pytest.raises(
        UnavailableError, match=r"its weights lack visual\.proj, or have it in another shape or kind"
    ):
        load(clip)


def test_a_broken_weight_file_is_named(clip: Path) -> None:
    path = clip / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UnavailableError, match=r"open_clip_model\.safetensors is broken"):
        load(clip)


@pytest.mark.parametrize(
    ("where", "last"),
    [
        ("resid_post.1", "vision.embed.3"),
        ("vision.resid_post.4", "vision.resid_post.3"),
        ("vision.embed.2", "vision.embed.3"),
        ("vision.attn_z.1", "vision.resid_post.0"),
        ("text.resid_post.1", "vision.resid_post.0"),
    ],
)
def test_a_site_that_the_model_does_not_have_is_refused(where: str, last: str, folder_of: Folder) -> None:
    model = open_model(folder_of("clip"))
    for work in (model.width, model.identity, lambda one: model.load([one], "cpu")):
        with pytest.raises(UsageError) as caught:
            work(site(where))
        assert f"has no site '{where}'" in str(caught.value) and last in str(caught.value)


@pytest.mark.parametrize("wrong", ["a text", 3, None])
def test_what_is_no_image_is_refused(wrong: Any, folder_of: Folder) -> None:
    model = open_model(folder_of("clip"))
    with pytest.raises(UsageError, match=f"reads images, and input 1 is {type(wrong).__name__}"):
        model.tokenize([IMAGES[0], wrong])


def test_tokens_of_no_image_are_refused(folder_of: Folder) -> None:
    model = open_model(folder_of("clip"))
    (tokens,) = model.tokenize(IMAGES[:1])
    with pytest.raises(UsageError, match="reads images"):
        load(folder_of("clip")).forward([replace(tokens, image=None)])


@pytest.mark.parametrize(
    ("vision", "tower"),
    [
        ({"layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "patch_size": None}, "ModifiedResNet"),
        (timm("test_resnet"), "ResNet"),
        (timm("test_convnext"), "ConvNeXt"),
        (timm("test_efficientnet"), "EfficientNet"),
    ],
)
def test_a_tower_without_tokens_is_refused_in_one_sentence(
    vision: dict[str, Any], tower: str, tmp_path: Path
) -> None:
    folder = write_config(tmp_path / "tokenless", {**CLIP, "vision_cfg": vision})
    with pytest.raises(UsageError, match=f"has no tokens to read: its vision tower, a {tower}, is no transf"):
        open_model(folder)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"model_cfg": 3}',
        '{"model_cfg": {"embed_dim": 24, "vision_cfg": {}}}',
        '{"model_cfg": {"embed_dim": 24, "vision_cfg": 1, "text_cfg": {}}}',
        json.dumps({"model_cfg": CLIP, "preprocess_cfg": 3}),
        json.dumps({"model_cfg": CLIP, "preprocess_cfg": {"resize_mode": "by eye"}}),
        json.dumps({"model_cfg": {**CLIP, "embed_dim": "wide"}}),
        json.dumps({"model_cfg": {**CLIP, "vision_cfg": {**VISION, "depth": 4}}}),
        json.dumps({"model_cfg": {**CLIP, "vision_cfg": {**VISION, "head_width": 0}}}),
        json.dumps({"model_cfg": {**CLIP, "vision_cfg": {**VISION, "layers": 0}}}),
        json.dumps({"model_cfg": {**CLIP, "vision_cfg": timm("no_such_model")}}),
        json.dumps({"model_cfg": {**CLIP, "vision_cfg": timm("test_vit") | {"image_size": 99}}}),
    ],
)
def test_a_broken_configuration_is_a_clear_fault(content: str, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises((UnavailableError, UsageError), match=f"model '{tmp_path}'"):
        open_model(tmp_path)


def test_a_dtype_that_is_not_known_is_refused(folder_of: Folder) -> None:
    with pytest.raises(UsageError, match="takes dtype float32, bfloat16, float16, not 'int8'"):
        open_model(folder_of("clip"), dtype="int8")


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, harness_open_clip as plugin\n"
        "assert plugin.harness_resolve_model('ViT-B-32:openai', 'x') and plugin.harness_representations()\n"
        "assert not {'torch', 'open_clip', 'huggingface_hub', 'PIL'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_loading_writes_nothing_to_the_terminal(folder_of: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    for family in ("clip", "coca", "timm"):
        model = open_model(folder_of(family))
        read(model, all_sites(model))
        located_zero_shot(model).load("cpu")
    assert capfd.readouterr() == ("", "")
