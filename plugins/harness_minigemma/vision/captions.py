"""Captions of images written from facts, and their truth for other images.

A fact is a value of one of the `FACETS`. A caption states some of an image's facts, and is true of every
image that has them all, whatever image it was written for.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Facts = Mapping[str, str]
"""Facts of an image, by facet."""

FACETS = ("class", "character", "size", "colour", "texture", "shape", "place", "background")
"""Kinds of facts."""

SATELLITE_NAMES = {
    "AnnualCrop": ("annual crop land", "annual crop", "fields of annual crops"),
    "Forest": ("forest", "a forest", "trees"),
    "HerbaceousVegetation": ("herbaceous vegetation", "wild herbaceous vegetation"),
    "Highway": ("highway", "a highway", "a road"),
    "Industrial": ("industrial buildings", "industrial", "an industrial area"),
    "Pasture": ("pasture land", "pasture", "a pasture"),
    "PermanentCrop": ("permanent crop land", "permanent crop", "an orchard"),
    "Residential": ("residential buildings", "residential", "houses"),
    "River": ("river", "a river"),
    "SeaLake": ("sea or lake", "sea lake", "open water"),
}
"""Words for EuroSAT's labels; the first is used in evaluation."""

SATELLITE_TEMPLATES = (
    "a satellite photo of {}",
    "a satellite image of {}",
    "an aerial view of {}",
    "{} seen from above",
    "a photo of {}",
)
"""Templates of captions of satellite images."""

ALPHABET_NAMES = {
    "Balinese": ("Balinese",),
    "Early_Aramaic": ("Early Aramaic",),
    "Greek": ("Greek",),
    "Japanese_(katakana)": ("Japanese (katakana)", "katakana", "Japanese"),
    "Korean": ("Korean",),
    "Latin": ("Latin",),
    "Sanskrit": ("Sanskrit",),
    "Tagalog": ("Tagalog",),
}
"""Words for Omniglot's alphabets; the first is used in evaluation."""

ALPHABET_TEMPLATES = (
    "a handwritten character of the {} alphabet",
    "a {} letter written by hand",
    "a character of the {} alphabet",
    "a photo of a {} character",
)
"""Templates of captions of characters."""

CHARACTER_TEMPLATE = "character {} of the {} alphabet"


def write_caption(facts: Facts, rng: np.random.Generator) -> tuple[str, Facts]:
    """Return a caption of an image with these facts, and the facts it states."""
    label = facts.get("class", "")
    if label in SATELLITE_NAMES:
        return choose(SATELLITE_TEMPLATES, rng).format(choose(SATELLITE_NAMES[label], rng)), {"class": label}
    if label in ALPHABET_NAMES:
        name = choose(ALPHABET_NAMES[label], rng)
        if "character" in facts and rng.random() < 0.5:
            number = int(facts["character"].rsplit("character", 1)[-1])
            stated = {"class": label, "character": facts["character"]}
            return CHARACTER_TEMPLATE.format(number, name), stated
        return choose(ALPHABET_TEMPLATES, rng).format(name), {"class": label}
    return describe_drawing(facts, rng)


def describe_drawing(facts: Facts, rng: np.random.Generator) -> tuple[str, Facts]:
    """Return a caption of a generated image: always shape and colour, sometimes other facts."""
    shares = {"size": 0.3, "texture": 0.7, "place": 0.3, "background": 0.5}
    stated = {name for name in FACETS if name in facts and rng.random() < shares.get(name, 1.0)}
    words = [facts[name] for name in ("size", "colour", "texture", "shape") if name in stated]
    text = f"{article(words[0])} {' '.join(words)}"
    if "place" in stated:
        text += f" {facts['place']}"
    if "background" in stated:
        text += f" on {article(facts['background'])} {facts['background']} background"
    return text, {name: facts[name] for name in FACETS if name in stated}


def article(word: str) -> str:
    """Return the indefinite article of a word."""
    return "an" if word[0] in "aeiou" else "a"


def choose(options: Sequence[str], rng: np.random.Generator) -> str:
    """Draw one of the options, each equally likely."""
    return options[int(rng.integers(len(options)))]


def which_are_true(stated: Sequence[Facts], images: Sequence[Facts]) -> NDArray[np.bool_]:
    """Return `[images, captions]`: true where the image has all the facts that the caption states."""
    codes: dict[str, int] = {}

    def encode(many: Sequence[Facts]) -> NDArray[np.int64]:
        rows = [
            [codes.setdefault(one[name], len(codes)) if name in one else -1 for name in FACETS]
            for one in many
        ]
        return np.array(rows, dtype=np.int64).reshape(len(many), len(FACETS))

    captions, pictures = encode(stated)[None], encode(images)[:, None]
    return np.asarray(((captions == -1) | (captions == pictures)).all(-1))
