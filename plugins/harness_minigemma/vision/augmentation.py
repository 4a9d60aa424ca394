"""Random changes of training images that keep their facts true.

Satellite images may be rotated and mirrored, characters only shifted and tilted a little. Generated images
are not moved, because their captions state positions.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from harness_minigemma.vision.pictures import Pictures

MEAN = STD = 0.5
"""Mean and standard deviation that normalise pixels of 0 … 1, in every channel."""


def to_pixels(pictures: Pictures) -> Tensor:
    """Return the towers' input, `[n, 3, 64, 64]` in float32."""
    return (torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def augment(pictures: Pictures, rng: np.random.Generator) -> Tensor:
    """Return `to_pixels` of the images after random changes that fit each image's source."""
    pixels = to_pixels(pictures)
    changes = torch.tensor(
        np.stack([draw_change(source, rng) for source in pictures.sources]), dtype=torch.float32
    )
    grid = affine_grid(changes, list(pixels.shape), align_corners=False)
    pixels = grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    gain = torch.tensor(rng.uniform(0.9, 1.1, size=(len(pixels), 3, 1, 1)), dtype=torch.float32)
    shift = torch.tensor(rng.uniform(-0.1, 0.1, size=(len(pixels), 1, 1, 1)), dtype=torch.float32)
    return (pixels * gain + shift).clamp(-1, 1)


def draw_change(source: str, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Draw an affine map `[2, 3]` from coordinates of the changed image to those of the original.

    Coordinates are from -1 to 1.
    """
    mirror, turn, scale, shift = 1.0, 0.0, 1.0, np.zeros(2)
    if source == "eurosat":
        mirror = float(rng.choice([-1.0, 1.0]))
        turn = float(rng.integers(4)) * math.pi / 2
        scale = rng.uniform(0.8, 1.0)
        shift = rng.uniform(-1, 1, size=2) * (1 - scale)
    elif source == "omniglot_small":
        turn = rng.uniform(-0.12, 0.12)
        scale = rng.uniform(0.9, 1.15)
        shift = rng.uniform(-0.1, 0.1, size=2)
    cosine, sine = math.cos(turn), math.sin(turn)
    return np.array(
        [
            [scale * mirror * cosine, -scale * sine, shift[0]],
            [scale * mirror * sine, scale * cosine, shift[1]],
        ]
    )
