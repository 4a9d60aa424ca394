"""`minipaligemma`: a PaliGemma whose language model is a frozen member of the text family.

The classes and the folder's layout are those of transformers. The folder holds only the vision tower and the
projector; the weights of the language model stay in their own folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, processors
from torch import Tensor
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

from harness_minigemma.model import save_weights
from harness_minigemma.tokenizer import BOS, EOS, PAD, SPECIALS, replace_text
from harness_minigemma.vision.augmentation import MEAN, STD, augment, to_pixels
from harness_minigemma.vision.captions import write_caption
from harness_minigemma.vision.clip import Tower, load_clip
from harness_minigemma.vision.pictures import Pictures
from harness_minigemma.vision.shapes import PIXELS

IMAGE = SPECIALS.index("<image>")
"""Id of the image token."""
OWN = ("vision_tower.", "multi_modal_projector.")
"""Prefixes of the names of the folder's tensors."""
UNSCORED = -100
"""Label of tokens that are not scored."""


def make_config(tower: Tower, language_model: Path) -> PaliGemmaConfig:
    """Return the configuration: SigLIP's tower without its pooling head, and the language model's own."""
    text = json.loads((language_model / "config.json").read_text("utf-8"))
    return PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "image_size": PIXELS,
            "patch_size": tower.patch,
            "hidden_size": tower.width,
            "intermediate_size": tower.inner,
            "num_hidden_layers": tower.layers,
            "num_attention_heads": tower.width // tower.head_width,
            "vision_use_head": False,
        },
        text_config=text,
        image_token_index=IMAGE,
        projection_dim=text["hidden_size"],
        hidden_size=text["hidden_size"],
        vocab_size=text["vocab_size"],
        architectures=["PaliGemmaForConditionalGeneration"],
        dtype="bfloat16",
    )


def make_paligemma(tower: Tower, *, language_model: Path, seed: int) -> PaliGemmaForConditionalGeneration:
    """Return a float32 model with a new tower and projector and the frozen language model.

    The seed determines the new weights.
    """
    torch.manual_seed(seed)
    config = make_config(tower, language_model)
    for part in (config, config.text_config, config.vision_config):
        part.dtype = torch.float32
    # Eager attention is the only path that applies the logit soft-cap everywhere.
    config._attn_implementation = "eager"
    model = PaliGemmaForConditionalGeneration(config)
    load_language_model(model, language_model)
    model.model.language_model.requires_grad_(False)
    model.lm_head.requires_grad_(False)
    embedding = model.model.language_model.embed_tokens.weight
    # The standard deviation of a token's embedding as the blocks read it.
    spread = float(embedding.std()) * embedding.shape[1] ** 0.5
    torch.nn.init.normal_(model.model.multi_modal_projector.linear.weight, std=spread * tower.width**-0.5)
    torch.nn.init.zeros_(model.model.multi_modal_projector.linear.bias)
    return model


def load_language_model(model: PaliGemmaForConditionalGeneration, folder: Path) -> None:
    """Load a Gemma 2 folder's weights into the language tower."""
    weights = load_file(folder / "model.safetensors")
    inner = {
        name.removeprefix("model."): value for name, value in weights.items() if name != "lm_head.weight"
    }
    model.model.language_model.load_state_dict(inner)
    model.tie_weights()


def load_own_weights(model: PaliGemmaForConditionalGeneration, folder: Path) -> None:
    """Load the tower and projector of a saved folder into the model; raise SystemExit if names differ."""
    own = {f"model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    wanted = {name for name in model.state_dict() if name.removeprefix("model.").startswith(OWN)}
    if set(own) != wanted:
        raise SystemExit(f"{folder} does not hold the tower and projector: {sorted(set(own) ^ wanted)[:3]} …")
    model.load_state_dict(own, strict=False)


def begin_with_clip(model: PaliGemmaForConditionalGeneration, folder: Path) -> None:
    """Initialise the vision tower with that of a saved CLIP, without its class token."""
    clip = load_clip(folder).visual.state_dict()
    weights = {
        "embeddings.patch_embedding.weight": clip["conv1.weight"],
        "embeddings.patch_embedding.bias": torch.zeros(len(clip["conv1.weight"])),
        "embeddings.position_embedding.weight": clip["positional_embedding"][1:],
        "post_layernorm.weight": clip["ln_post.weight"],
        "post_layernorm.bias": clip["ln_post.bias"],
    }
    parts = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    for layer in range(model.config.vision_config.num_hidden_layers):
        old, new = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            for name, place in parts.items():
                weights[f"{new}.{place}.{kind}"] = clip[f"{old}.{name}.{kind}"]
            for name, value in zip("qkv", clip[f"{old}.attn.in_proj_{kind}"].chunk(3), strict=True):
                weights[f"{new}.self_attn.{name}_proj.{kind}"] = value
    model.model.vision_tower.load_state_dict(weights)


def encode_batch(tokenizer: Tokenizer, captions: Sequence[str], *, patches: int) -> dict[str, Tensor]:
    """Encode images with the empty prompt and captions as suffixes, as PaliGemma's processor does.

    A row is `<image>` for each patch, `<bos>` and a line break, which attend to one another, then caption and
    `<eos>`, padded on the right.
    """
    prefix = [IMAGE] * patches + [BOS] + tokenizer.encode("\n", add_special_tokens=False).ids
    suffixes = [
        [*encoding.ids, EOS] for encoding in tokenizer.encode_batch(list(captions), add_special_tokens=False)
    ]
    longest = max(map(len, suffixes))
    ids = torch.tensor([prefix + suffix + [PAD] * (longest - len(suffix)) for suffix in suffixes])
    kinds = torch.ones_like(ids)
    kinds[:, : len(prefix)] = 0
    scored = (kinds == 1) & (ids != PAD)
    return {
        "input_ids": ids,
        "attention_mask": (ids != PAD).long(),
        "token_type_ids": kinds,
        "labels": torch.where(scored, ids, UNSCORED),
    }


def caption_loss(
    model: PaliGemmaForConditionalGeneration, pixels: Tensor, tokens: dict[str, Tensor]
) -> Tensor:
    """Return the mean loss of the captions' tokens in nats."""
    device = pixels.device
    # Logits of the prefix are not scored, except the last, which predicts the caption's first token.
    kept = int(tokens["token_type_ids"][0].sum()) + 1
    inputs = {name: value.to(device) for name, value in tokens.items()}
    inputs["labels"] = inputs["labels"][:, -kept:]
    loss = model(pixel_values=pixels, **inputs, logits_to_keep=kept, use_cache=False).loss
    assert isinstance(loss, Tensor)
    return loss


@torch.no_grad()
def heldout_loss(
    model: PaliGemmaForConditionalGeneration, tokenizer: Tokenizer, pictures: Pictures, *, shifted: int
) -> float:
    """Return `caption_loss` of captions beside the image `shifted` places further on.

    Captions are drawn with a fixed seed, so that they are the same in every call.
    """
    rng = np.random.default_rng(1)
    chosen = rng.permutation(len(pictures))[:256]
    captions = [write_caption(pictures.facts[index], rng)[0] for index in chosen]
    pixels = to_pixels(pictures)[np.roll(chosen, -shifted)].to(model.device)
    total = count = 0.0
    for start in range(0, len(chosen), 64):
        part = slice(start, start + 64)
        tokens = encode_batch(tokenizer, captions[part], patches=patches(model))
        scored = int((tokens["labels"] != UNSCORED).sum())
        total += scored * float(caption_loss(model, pixels[part], tokens))
        count += scored
    return total / count


def patches(model: PaliGemmaForConditionalGeneration) -> int:
    """Return the number of image tokens of an image."""
    vision = model.config.vision_config
    return int((vision.image_size // vision.patch_size) ** 2)


def prompt_tokenizer(folder: Path) -> Tokenizer:
    """Return the family's tokenizer without `<bos>`, which PaliGemma's processor adds after the image tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0", pair="$A:0 $B:1", special_tokens=[]
    )
    return tokenizer


def processor_config(count: int) -> dict[str, Any]:
    """Return the content of preprocessor_config.json for `count` image tokens per image."""
    return {
        "processor_class": "PaliGemmaProcessor",
        "image_processor_type": "SiglipImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": PIXELS, "width": PIXELS},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
        "image_seq_length": count,
    }


def save_paligemma(
    model: PaliGemmaForConditionalGeneration, tower: Tower, folder: Path, *, language_model: Path
) -> None:
    """Write a Hugging Face folder of tower and projector in bfloat16, with the files of its processor."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / "config.json", make_config(tower, language_model).to_json_string())
    preprocessing = processor_config(patches(model))
    replace_text(folder / "preprocessor_config.json", json.dumps(preprocessing, indent=2) + "\n")
    replace_text(folder / "tokenizer.json", prompt_tokenizer(language_model).to_str(pretty=False))
    settings = json.loads((language_model / "tokenizer_config.json").read_text("utf-8"))
    settings.pop("chat_template", None)
    settings |= {"processor_class": "PaliGemmaProcessor", "model_max_length": 256}
    replace_text(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")
    named = {name.removeprefix("model."): value for name, value in model.state_dict().items()}
    own = {name: value for name, value in named.items() if name.startswith(OWN)}
    save_weights(own, folder / "model.safetensors", dtype=torch.bfloat16)


class CaptionLearner:
    """Training of a vision tower and a projector to make a frozen language model describe an image."""

    def __init__(self, tower: Tower, *, seed: int, language_model: Path, start: Path) -> None:
        self.tower, self.folder = tower, language_model
        self.module: PaliGemmaForConditionalGeneration = make_paligemma(
            tower, language_model=language_model, seed=seed
        )
        begin_with_clip(self.module, start)
        self.tokenizer = prompt_tokenizer(language_model)

    def loss(self, batch: Pictures, rng: np.random.Generator, device: torch.device) -> Tensor:
        captions = [write_caption(facts, rng)[0] for facts in batch.facts]
        tokens = encode_batch(self.tokenizer, captions, patches=patches(self.module))
        return caption_loss(self.module, augment(batch, rng).to(device), tokens)

    def score(self, heldout: dict[str, Pictures]) -> dict[str, float]:
        scores = {}
        for name, pictures in heldout.items():
            for shifted, words in ((0, "caption loss"), (1, "caption loss beside another image")):
                scores[f"{words}, {name}"] = heldout_loss(
                    self.module, self.tokenizer, pictures, shifted=shifted
                )
        return scores

    def save(self, folder: Path) -> None:
        save_paligemma(self.module, self.tower, folder, language_model=self.folder)
