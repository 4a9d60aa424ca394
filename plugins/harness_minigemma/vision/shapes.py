"""Generated images: one textured shape on a plain background, with its facts.

No letters, digits or flowers are drawn, so that tasks about them stay unseen.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from harness_minigemma.vision.captions import Facts, choose

PIXELS = 64
"""Width and height of an image."""
FINE = 2  # factor of supersampling, for smooth edges

COLOURS = {
    "red": (205, 35, 40),
    "orange": (240, 140, 25),
    "yellow": (240, 220, 60),
    "green": (40, 150, 60),
    "blue": (40, 80, 200),
    "purple": (130, 50, 160),
    "pink": (245, 150, 190),
    "brown": (120, 75, 40),
    "black": (15, 15, 15),
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
}
"""RGB values by colour."""
TEXTURES = ("plain", "striped", "dotted", "checkered")
SHAPES = ("circle", "square", "triangle", "star", "diamond", "hexagon", "ellipse", "crescent")
CORNERS = {
    "triangle": (3, -0.25),
    "square": (4, 0.125),
    "diamond": (4, 0.0),
    "hexagon": (6, 0.0),
    "star": (10, -0.25),
}
"""Number of corners, and position of the first in turns from the right."""
PLACES = {
    "in the middle": (0.5, 0.5),
    "on the left": (0.3, 0.5),
    "on the right": (0.7, 0.5),
    "at the top": (0.5, 0.3),
    "at the bottom": (0.5, 0.7),
}
"""Centre of the shape, relative to width and height."""
SIZES = {"small": (0.15, 0.2), "large": (0.27, 0.36)}  # radius over width


def draw_image(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Facts]:
    """Draw an RGB image `[64, 64, 3]` with its facts, determined by the generator's state."""
    colour, background = rng.choice(list(COLOURS), size=2, replace=False)
    facts = {
        "size": choose(list(SIZES), rng),
        "colour": str(colour),
        "texture": choose(TEXTURES, rng),
        "shape": choose(SHAPES, rng),
        "place": choose(list(PLACES), rng),
        "background": str(background),
    }
    side = PIXELS * FINE
    centre = np.array(PLACES[facts["place"]]) + rng.uniform(-0.04, 0.04, size=2)
    radius = rng.uniform(*SIZES[facts["size"]])
    inside = draw_shape(facts["shape"], side * centre, side * radius, rng)
    ink = inside * draw_texture(facts["texture"], rng)
    # A textured shape shows a darker or lighter tone of its own colour between the marks.
    tone = 0.55 * shade(facts["colour"], rng) + 0.45 * (
        255.0 if facts["colour"] in ("black", "brown") else 0.0
    )
    pixels = np.broadcast_to(shade(facts["background"], rng), (side, side, 3))
    pixels = np.where(inside[..., None], tone, pixels)
    pixels = np.where(ink[..., None], shade(facts["colour"], rng), pixels)
    small = pixels.reshape(PIXELS, FINE, PIXELS, FINE, 3).mean((1, 3))
    small = small + rng.normal(0.0, rng.uniform(0.0, 8.0), size=small.shape)
    return small.clip(0, 255).astype(np.uint8), facts


def shade(colour: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a slightly varied RGB value of the colour."""
    return np.asarray(np.clip(np.array(COLOURS[colour], dtype=float) + rng.uniform(-15, 15, size=3), 0, 255))


def draw_shape(
    shape: str, centre: NDArray[np.float64], radius: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return the mask of the shape, `[side, side]`."""
    image = Image.new("1", (PIXELS * FINE, PIXELS * FINE))
    pen = ImageDraw.Draw(image)
    x, y = centre
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    elif shape == "ellipse":
        thin = radius * rng.uniform(0.4, 0.6)
        wide, high = (radius, thin) if rng.random() < 0.5 else (thin, radius)
        pen.ellipse((x - wide, y - high, x + wide, y + high), fill=1)
    elif shape == "crescent":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
        turn = rng.uniform(0, 2 * math.pi)
        x, y = x + 0.6 * radius * math.cos(turn), y + 0.6 * radius * math.sin(turn)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    else:
        pen.polygon(corners(shape, (x, y), radius, rng), fill=1)
    return np.asarray(image, dtype=bool)


def corners(
    shape: str, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Return the corners of a straight-sided shape, slightly tilted."""
    count, first = CORNERS[shape]
    first += rng.uniform(-0.02, 0.02)
    points = []
    for corner in range(count):
        turn = 2 * math.pi * (first + corner / count)
        reach = radius * (0.45 if shape == "star" and corner % 2 else 1.0)
        wide = 0.7 if shape == "diamond" else 1.0
        points.append((centre[0] + wide * reach * math.cos(turn), centre[1] + reach * math.sin(turn)))
    return points


def draw_texture(texture: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the inked pixels of a texture that fills the image, `[side, side]`."""
    side = PIXELS * FINE
    rows, columns = np.mgrid[:side, :side].astype(float)
    step = FINE * rng.uniform(6.0, 9.0)
    if texture == "plain":
        return np.ones((side, side), dtype=bool)
    if texture == "striped":
        turn = rng.uniform(0, math.pi)
        along = rows * math.cos(turn) + columns * math.sin(turn)
        return np.asarray(along % step < 0.5 * step)
    rows, columns = rows + rng.uniform(0, step), columns + rng.uniform(0, step)
    if texture == "checkered":
        return np.asarray((rows // (0.7 * step) + columns // (0.7 * step)) % 2 == 0)
    return np.asarray(np.hypot(rows % step - step / 2, columns % step - step / 2) < 0.33 * step)
