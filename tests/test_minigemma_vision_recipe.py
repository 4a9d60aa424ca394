import json
from pathlib import Path

import numpy as np
import pytest
import torch
from harness_minigemma.model import WEIGHTS
from harness_minigemma.vision.captions import which_are_true, write_caption
from harness_minigemma.vision.clip import Tower, caption_tokenizer, load_clip, tokenize
from harness_minigemma.vision.paligemma import (
    begin_with_clip,
    caption_loss,
    encode_batch,
    load_language_model,
    load_own_weights,
    make_paligemma,
    prompt_tokenizer,
)
from harness_minigemma.vision.pictures import draw_pictures
from harness_minigemma.vision.train import LANGUAGE_MODEL, Recipe, Run, make_learner, train
from PIL import Image
from safetensors.torch import load_file

TOY = Tower(width=64, layers=1, inner=64)
CLIP, PALIGEMMA = WEIGHTS / "miniclip", WEIGHTS / "minipaligemma"


def make_run(model: str, folder: Path, *, start: Path = CLIP) -> Run:
    """Two steps on generated images only."""
    recipe = Recipe(model=model, minutes=None, steps=2, batch=4, tower=TOY, bfloat16=False)
    return Run(
        recipe=recipe,
        learner=make_learner(recipe, start=start),
        sets=[],
        heldout={},
        data={},
        out=folder / model,
        state=folder / f"{model}-state",
        device=torch.device("cpu"),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both toy models, the second begun with the first's tower."""
    folder = tmp_path_factory.mktemp("recipe")
    train(make_run("miniclip", folder))
    train(make_run("minipaligemma", folder, start=folder / "miniclip"))
    return folder


def test_generated_images_are_the_same_for_the_same_seed() -> None:
    first, again, other = (draw_pictures(5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (first.pixels == again.pixels).all()
    assert first.facts == again.facts
    assert (first.pixels != other.pixels).any()


def test_a_caption_is_true_of_its_own_image_and_of_those_that_have_all_it_states() -> None:
    rng = np.random.default_rng(0)
    pictures = draw_pictures(60, rng)
    stated = [write_caption(facts, rng)[1] for facts in pictures.facts]
    expected = [[caption.items() <= facts.items() for caption in stated] for facts in pictures.facts]
    found = which_are_true(stated, pictures.facts)
    assert (found == np.array(expected)).all()
    assert found.diagonal().all()


def test_a_run_that_is_continued_gives_the_weights_of_an_uninterrupted_one(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("miniclip", tmp_path)
    losses = iter([run.learner.loss])
    with monkeypatch.context() as patch, pytest.raises(StopIteration):
        patch.setattr(run.learner, "loss", lambda *given: next(losses)(*given))
        train(run, export_minutes=0)
    assert train(make_run("miniclip", tmp_path)).step == 2
    weights, others = (
        load_file(folder / "miniclip" / "open_clip_model.safetensors") for folder in (trained, tmp_path)
    )
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_recipe_says_what_it_did_and_marks_weights_from_a_cpu(trained: Path) -> None:
    for name in ("miniclip", "minipaligemma"):
        training = json.loads((trained / name / "training.json").read_text())
        assert (training["steps"], training["images"], training["provisional"]) == (2, 8, True)
        assert "PROVISIONAL" in (trained / name / "README.md").read_text()


def test_minipaligemma_begins_with_the_tower_of_the_clip(trained: Path) -> None:
    model = make_paligemma(TOY, language_model=LANGUAGE_MODEL, seed=0)
    begin_with_clip(model, trained / "miniclip")
    clip = load_clip(trained / "miniclip").visual
    pixels = torch.randn(2, 3, 64, 64)
    patches = clip.conv1(pixels).flatten(2).transpose(1, 2) + clip.positional_embedding[1:]
    expected = clip.ln_post(clip.transformer(patches))
    with torch.no_grad():
        found = model.model.vision_tower(pixels).last_hidden_state
    # The two differ in how they compute GELU.
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("shipped", [False, True])
def test_open_clip_loads_the_folder_of_miniclip(trained: Path, shipped: bool) -> None:
    open_clip = pytest.importorskip("open_clip")
    folder = CLIP if shipped else trained / "miniclip"
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    captions = ["a red circle", "a satellite photo of forest"]
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(captions)
    assert torch.equal(tokens, tokenize(caption_tokenizer(LANGUAGE_MODEL), captions))
    own = load_clip(folder)
    pixels = preprocess(Image.new("RGB", (100, 80), "red"))[None]
    with torch.no_grad():
        torch.testing.assert_close(model.eval().encode_image(pixels), own.encode_image(pixels))
        torch.testing.assert_close(model.encode_text(tokens), own.encode_text(tokens))
        # What follows <eos> counts for nothing: the text is pooled there.
        longer = tokens.clone()
        longer[:, -1] = 77
        torch.testing.assert_close(model.encode_text(longer), model.encode_text(tokens))


@pytest.mark.parametrize("shipped", [False, True])
def test_transformers_loads_the_folder_of_minipaligemma(trained: Path, shipped: bool) -> None:
    from transformers import AutoConfig, AutoProcessor, PaliGemmaForConditionalGeneration

    folder = PALIGEMMA if shipped else trained / "minipaligemma"
    processor = AutoProcessor.from_pretrained(folder)
    image = draw_pictures(1, np.random.default_rng(0))
    inputs = processor(
        images=Image.fromarray(image.pixels[0]), text="<image>", suffix="a red circle", return_tensors="pt"
    )
    expected = encode_batch(prompt_tokenizer(LANGUAGE_MODEL), ["a red circle"], patches=64)
    for name, value in expected.items():
        assert torch.equal(inputs[name], value), name

    own = {f"model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    language = {
        name.replace("model.", "model.language_model.", 1): value
        for name, value in load_file(LANGUAGE_MODEL / "model.safetensors").items()
    }
    weights = {**own, **language, "lm_head.weight": language["model.language_model.embed_tokens.weight"]}
    config = AutoConfig.from_pretrained(folder)
    config.dtype = config.text_config.dtype = config.vision_config.dtype = torch.float32
    config._attn_implementation = "eager"
    composed = PaliGemmaForConditionalGeneration(config).eval()
    composed.load_state_dict(weights)

    tower = Tower() if shipped else TOY
    model = make_paligemma(tower, language_model=LANGUAGE_MODEL, seed=1).eval()
    load_own_weights(model, folder)
    with torch.no_grad():
        loss = caption_loss(model, inputs["pixel_values"], expected)
        torch.testing.assert_close(composed(**inputs).loss, loss)


def test_the_caption_cannot_be_read_before_it_is_predicted() -> None:
    model = make_paligemma(TOY, language_model=LANGUAGE_MODEL, seed=0).eval()
    tokens = encode_batch(prompt_tokenizer(LANGUAGE_MODEL), ["a red circle on a blue background"], patches=64)
    del tokens["labels"]
    pixels = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        first = model(pixel_values=pixels, **tokens).logits
        tokens["input_ids"][:, 69:] = 500
        other = model(pixel_values=pixels, **tokens).logits
    assert torch.equal(first[:, :69], other[:, :69])
    assert not torch.equal(first[:, 69:], other[:, 69:])


def test_the_language_model_is_frozen(trained: Path) -> None:
    model = make_paligemma(TOY, language_model=LANGUAGE_MODEL, seed=0)
    load_language_model(model, LANGUAGE_MODEL)
    trainable = {name for name, value in model.named_parameters() if value.requires_grad}
    assert all(name.startswith(("model.vision_tower.", "model.multi_modal_projector.")) for name in trainable)
    kept = load_file(trained / "minipaligemma" / "model.safetensors")
    assert {f"model.{name}" for name in kept} == trainable


def test_the_shipped_folders_are_small_and_say_what_they_saw() -> None:
    files = [file for folder in (CLIP, PALIGEMMA) for file in folder.iterdir()]
    assert sum(file.stat().st_size for file in files) < 4.8e6
    for folder in (CLIP, PALIGEMMA):
        card = (folder / "README.md").read_text()
        assert "datasets:\n- eurosat\n- omniglot_small\n" in card.split("---")[1]
