"""Model cards of the vision models in Markdown, from training records. Nothing here runs a model."""

from typing import Any

import yaml

from harness_minigemma.card import table

PURPOSE = (
    "It exists so that software for sparse autoencoders can be tried and tested without a download. It is no useful "
    "model of images."
)
LICENCE = (
    "The weights may be used under CC BY-SA 4.0, as the minigemma family asks, which lent the tokenizer{more}; the "
    "image sets ask for the attributions above."
)
UNSEEN = (
    "It saw no other images: no photographs of objects, plants or people, and no digits. Images of the sets' other "
    "splits were only scored. Omniglot's Latin and Greek alphabets have letters that look like digits (l, o, z)."
)


def model_card(training: dict[str, Any]) -> str:
    """Return the README.md of a model folder from the content of its training.json."""
    name = training["settings"]["model"]
    sections = [
        f"# {name}",
        *provisional(training),
        describe_clip(training) if name == "miniclip" else describe_paligemma(training),
        PURPOSE,
        "## Training",
        describe_training(training),
        "## Held-out figures",
        describe_scores(training),
        "## What the tower saw",
        describe_shares(training),
        table(("set", "images", "licence", "source", "attribution"), data_rows(training)),
        UNSEEN,
        LICENCE.format(more="" if name == "miniclip" else " and the language model"),
    ]
    front = yaml.safe_dump({"license": "cc-by-sa-4.0", "datasets": list(training["data"])}, sort_keys=False)
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def provisional(training: dict[str, Any]) -> list[str]:
    """Return the warning above provisional weights, if they are."""
    if not training["provisional"]:
        return []
    return ["**PROVISIONAL**: trained on a CPU, to be replaced by weights trained on a GPU."]


def describe_tower(training: dict[str, Any]) -> str:
    """Return the tower's dimensions."""
    tower = training["settings"]["tower"]
    return (
        f"64 by 64 pixels in patches of {tower['patch']}, {tower['layers']} blocks of {tower['width']} dimensions, "
        f"heads of {tower['head_width']}, MLPs of {tower['inner']}"
    )


def describe_clip(training: dict[str, Any]) -> str:
    """Return the paragraph on miniclip."""
    return (
        f"A toy CLIP in the classes of open_clip. Vision tower: {describe_tower(training)}, a class token, no norm "
        "before the blocks. Text tower: 2 blocks of 64 dimensions, at most 24 tokens of the minigemma tokenizer. "
        'Load it with `open_clip.create_model_and_transforms("local-dir:FOLDER")`.'
    )


def describe_paligemma(training: dict[str, Any]) -> str:
    """Return the paragraph on minipaligemma."""
    return (
        f"A toy PaliGemma in the classes of transformers. Vision tower (SigLIP): {describe_tower(training)}. The "
        "projector and the tower are in this folder; the language model is minigemma-m, unchanged, and its weights are "
        'in its own folder. Load it with `attn_implementation="eager"`: others may skip the attention soft-cap.'
    )


def describe_training(training: dict[str, Any]) -> str:
    """Return the list on the run that made the weights."""
    settings = training["settings"]
    loss = {
        "miniclip": "the contrastive loss of Yang et al. 2022, in which an image belongs to all captions of the batch "
        "that are true of it",
        "minipaligemma": "the language model's loss on the caption, after 64 image tokens, `<bos>` and a line break; "
        "the tower began as miniclip's, and the language model was frozen",
    }[settings["model"]]
    return "\n".join(
        [
            f"- {training['images']:,} images in {training['steps']:,} steps of {settings['batch']}, seed "
            f"{settings['seed']}, on {training['hardware']} in {training['seconds'] / 60:.0f} minutes; "
            f"{training['date']}, torch {training['torch']}, open_clip {training['open_clip']}, transformers "
            f"{training['transformers']}.",
            f"- The loss: {loss}.",
            f"- {training['optimizer']}, peak learning rate {settings['learning_rate']:g}: warm-up, constant, "
            "1 - sqrt decay.",
            f"- {'bfloat16 autocast' if settings['bfloat16'] else 'float32'}; exported as "
            f"{'float16' if settings['model'] == 'miniclip' else 'bfloat16'}.",
            f"- Recipe: `python -m harness_minigemma.vision.train --model {settings['model']} --data-dir DIR`.",
        ]
    )


def describe_scores(training: dict[str, Any]) -> str:
    """Return the held-out scores and their meaning."""
    meaning = {
        "miniclip": "The class whose captions lie nearest to the image, a caption per template, against the label. "
        "Test images of omniglot_small show the training images' characters by other drawers.",
        "minipaligemma": "Nats per token of a caption, on at most 256 images; then the same captions beside other "
        "images of the same set, a few of which may be of the same class: the difference is what the image tells.",
    }[training["settings"]["model"]]
    rows = [(name, f"{value:.3f}") for name, value in training["scores"].items()]
    return f"{meaning}\n\n{table(('figure', 'value'), rows)}"


def describe_shares(training: dict[str, Any]) -> str:
    """Return the paragraph on the composition of training batches."""
    shares = training["settings"]["shares"]
    parts = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
    return (
        f"Of each batch: {parts}. The rows are those of the split `train`. Drawn images are generated on the way: "
        "circles, squares, triangles, stars, diamonds, hexagons, ellipses and crescents in eleven colours and four "
        "textures. Captions are written from labels (and Omniglot's character numbers) by templates. Satellite images "
        "are mirrored, turned and cropped, characters shifted and tilted; colours vary a little."
    )


def data_rows(training: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row per set."""
    return [
        (name, f"{data['images']:,}", data["licence"], data["source"], data["attribution"])
        for name, data in training["data"].items()
    ]
