"""`miniclip`: an open_clip CLIP of 64 by 64 pixels, its loss, scores and folder.

The classes and the folder's layout are open_clip's own; only the dimensions are toy.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from safetensors.torch import load_file
from tokenizers import Tokenizer, processors
from torch import Tensor
from torch.nn.functional import cross_entropy

from harness_minigemma.model import save_weights
from harness_minigemma.tokenizer import BOS, EOS, PAD, VOCABULARY, replace_text
from harness_minigemma.vision.augmentation import MEAN, STD, augment, to_pixels
from harness_minigemma.vision.captions import (
    ALPHABET_NAMES,
    ALPHABET_TEMPLATES,
    SATELLITE_NAMES,
    SATELLITE_TEMPLATES,
    which_are_true,
    write_caption,
)
from harness_minigemma.vision.pictures import Pictures
from harness_minigemma.vision.shapes import PIXELS

CONFIG, WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"
CONTEXT = 24
"""Tokens of a caption, including `<bos>` and `<eos>`."""

PROMPTS = {
    "eurosat": (SATELLITE_NAMES, SATELLITE_TEMPLATES),
    "omniglot_small": (ALPHABET_NAMES, ALPHABET_TEMPLATES),
}
"""Class names and templates for zero-shot classification, by set."""


@dataclass(frozen=True, kw_only=True)
class Tower:
    """Dimensions of a vision tower."""

    width: int = 128
    layers: int = 4
    inner: int = 384
    patch: int = 8
    head_width: int = 32


def make_config(tower: Tower) -> dict[str, Any]:
    """Return the content of open_clip_config.json."""
    return {
        "model_cfg": {
            "embed_dim": 96,
            "vision_cfg": {
                "image_size": PIXELS,
                "patch_size": tower.patch,
                "width": tower.width,
                "layers": tower.layers,
                "head_width": tower.head_width,
                "mlp_ratio": tower.inner / tower.width,
                # SigLIP's towers have no norm before the blocks, and this one initialises such a tower.
                "no_ln_pre": True,
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": VOCABULARY,
                "width": 64,
                "heads": 2,
                "layers": 2,
                "hf_tokenizer_name": "minigemma",
                "pool_type": "eos",
                "eos_id": EOS,
                "pad_id": PAD,
            },
        },
        "preprocess_cfg": {
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def make_clip(tower: Tower, *, seed: int) -> CLIP:
    """Return a new float32 model, determined by the seed."""
    torch.manual_seed(seed)
    model = make_config(tower)["model_cfg"]
    text = {name: value for name, value in model["text_cfg"].items() if name != "hf_tokenizer_name"}
    return CLIP(embed_dim=model["embed_dim"], vision_cfg=model["vision_cfg"], text_cfg=text)


def caption_tokenizer(folder: Path) -> Tokenizer:
    """Return the family's tokenizer with captions as `<bos>`, text, `<eos>`, as open_clip expects."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A $B:1 <eos>:1",
        special_tokens=[("<bos>", BOS), ("<eos>", EOS)],
    )
    return tokenizer


def tokenize(tokenizer: Tokenizer, captions: Sequence[str]) -> Tensor:
    """Return token ids `[captions, CONTEXT]`, padded on the right."""
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(pad_id=PAD, length=CONTEXT)
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(captions))])


def contrastive_loss(model: CLIP, pixels: Tensor, tokens: Tensor, true: Tensor) -> Tensor:
    """Return the contrastive loss of Yang et al. 2022.

    "Unified Contrastive Learning in Image-Text-Label Space", eq. 2–4: CLIP's loss, but an image belongs to
    every caption that is `true` of it (`[images, captions]`), and the reverse.
    """
    images, texts = model.encode_image(pixels, normalize=True), model.encode_text(tokens, normalize=True)
    logits = model.logit_scale.exp().clamp(max=100) * images.float() @ texts.float().T
    target = true.float()
    by_image = cross_entropy(logits, target / target.sum(1, keepdim=True))
    by_caption = cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (by_image + by_caption) / 2


@torch.no_grad()
def zero_shot_accuracy(model: CLIP, tokenizer: Tokenizer, pictures: Pictures, name: str) -> float:
    """Return the share of images nearest to the captions of their own class.

    A class's embedding is the mean over templates.
    """
    names, templates = PROMPTS[name]
    device = model.logit_scale.device
    prompts = [
        model.encode_text(
            tokenize(tokenizer, [template.format(spelt[0]) for template in templates]).to(device),
            normalize=True,
        ).mean(0)
        for spelt in names.values()
    ]
    weights = torch.stack(prompts)
    images = [
        model.encode_image(part.to(device), normalize=True) for part in torch.split(to_pixels(pictures), 256)
    ]
    chosen = (torch.cat(images) @ weights.T).argmax(1).tolist()
    labels = list(names)
    return float(
        np.mean(
            [labels[index] == facts["class"] for index, facts in zip(chosen, pictures.facts, strict=True)]
        )
    )


def save_clip(model: CLIP, tower: Tower, folder: Path, *, tokenizer: Path) -> None:
    """Write the folder for `open_clip.create_model_and_transforms("local-dir:FOLDER")`, in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / CONFIG, json.dumps(make_config(tower), indent=2) + "\n")
    content = caption_tokenizer(tokenizer)
    content.no_padding()
    content.no_truncation()
    replace_text(folder / "tokenizer.json", content.to_str(pretty=False))
    settings = json.loads((tokenizer / "tokenizer_config.json").read_text("utf-8"))
    settings.pop("chat_template", None)
    settings |= {"padding_side": "right", "model_max_length": CONTEXT}
    replace_text(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")
    save_weights(model.state_dict(), folder / WEIGHTS_FILE, dtype=torch.float16)


def load_clip(folder: Path) -> CLIP:
    """Load a saved model as float32."""
    config = json.loads((folder / CONFIG).read_text("utf-8"))["model_cfg"]
    text = {name: value for name, value in config["text_cfg"].items() if name != "hf_tokenizer_name"}
    model = CLIP(embed_dim=config["embed_dim"], vision_cfg=config["vision_cfg"], text_cfg=text)
    model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    return model.float().eval()


class ClipLearner:
    """Training of a CLIP to tell true captions of an image from others."""

    def __init__(self, tower: Tower, *, seed: int, tokenizer: Path) -> None:
        self.tower, self.folder = tower, tokenizer
        self.module: CLIP = make_clip(tower, seed=seed)
        self.tokenizer = caption_tokenizer(tokenizer)

    def loss(self, batch: Pictures, rng: np.random.Generator, device: torch.device) -> Tensor:
        written = [write_caption(facts, rng) for facts in batch.facts]
        true = torch.from_numpy(which_are_true([stated for _, stated in written], batch.facts))
        tokens = tokenize(self.tokenizer, [text for text, _ in written])
        return contrastive_loss(
            self.module, augment(batch, rng).to(device), tokens.to(device), true.to(device)
        )

    def score(self, heldout: dict[str, Pictures]) -> dict[str, float]:
        return {
            f"zero-shot accuracy, {name}": zero_shot_accuracy(
                self.module, self.tokenizer, pictures, name.split()[0]
            )
            for name, pictures in heldout.items()
            if name.split()[0] in PROMPTS
        }

    def save(self, folder: Path) -> None:
        save_clip(self.module, self.tower, folder, tokenizer=self.folder)
