"""Images against plain Pillow and numpy; broken ones against what was broken about them."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFile, ImageOps
from PIL.PpmImagePlugin import PpmImageFile

import harness
from harness import UnavailableError
from harness.data.image_limits import KINDS, MAX_METADATA, MAX_PIXELS, Broken
from harness.data.images import decode_image, read_image, read_images

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (11, 14, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (11, 14), dtype=np.uint8)
ALPHA[0, :2] = 0, 255
GREY = PIXELS[..., 0]
DEEP = RNG.integers(0, 65536, (11, 14), dtype=np.uint16)
DEEP[0, :4] = 0, 65535, 128, 129
PICTURE = PIL.Image.fromarray(PIXELS)
SMOOTH = PIL.Image.fromarray(np.kron(PIXELS, np.ones((8, 8, 1), np.uint8)))


def encode(image: PIL.Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels(source: Any) -> np.ndarray[Any, Any]:
    image = read_image(source)
    decoded = decode_image(image)
    assert (decoded.mode, decoded.size, decoded.info) == ("RGB", image.size, {})
    return np.asarray(decoded)


def broken(source: Any) -> str:
    (answer,) = read_images([source], workers=1)
    assert isinstance(answer, Broken) and answer.kind in KINDS and answer.reason, answer
    return answer.kind


def rgb(grey: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def on_white(colours: np.ndarray[Any, Any], alpha: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    share = alpha[..., None] / 255
    return np.floor(colours * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def opened(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(
    rows: bytes, *between: bytes, size: tuple[int, int] = (14, 11), depth: int = 8, colours: int = 2
) -> bytes:
    """A PNG by hand: rows of samples without their filter bytes, chunks to stand before them."""
    stride = len(rows) // size[1] if size[1] else 0
    filtered = b"".join(b"\0" + rows[row * stride :][:stride] for row in range(size[1] if rows else 0))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colours, 0, 0, 0))
    body = (head, *between, chunk(b"IDAT", zlib.compress(filtered)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(samples: bytes, tags: Mapping[int, tuple[int, int, int]], following: int = 0) -> bytes:
    """A TIFF by hand, of one strip: tags as number → (type, count, value)."""
    height = tags.get(257, (3, 1, 11))[2]
    every = {
        **{256: (3, 1, 14), 257: (3, 1, 11), 258: (3, 1, 16), 259: (3, 1, 1), 262: (3, 1, 1)},
        **{273: (4, 1, 8), 277: (3, 1, 1), 278: (3, 1, height), 279: (4, 1, len(samples))},
        **tags,
    }
    listed = b"".join(struct.pack("<HHII", tag, *every[tag]) for tag in sorted(every))
    directory = struct.pack("<H", len(every)) + listed + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", 8 + len(samples)) + samples + directory


def oriented(way: int, order: str = "<") -> bytes:
    """An EXIF block that holds an orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x112, 3, 1, way, 0, 0)


# ── what can be read ─────────────────────────────────────────────────────────────────────────────────────

RGBA = PIL.Image.fromarray(np.dstack([PIXELS, ALPHA]))
PALETTE = PICTURE.quantize(16)
INDEX = np.asarray(PALETTE)
COLOURS = np.asarray(PALETTE.convert("RGB"))
KEY = tuple(int(value) for value in PIXELS[3, 4])
TWELVE = np.arange(4096, dtype=np.uint16)[:: 4096 // 154][:154].reshape(11, 14)


def packed(values: np.ndarray[Any, Any]) -> bytes:
    """Rows of 12-bit numbers, two in three bytes."""
    pairs = values.reshape(-1, 2).astype(int)
    triples = [(a >> 4, (a & 15) << 4 | b >> 8, b & 255) for a, b in pairs]
    return bytes(value for triple in triples for value in triple)


LAB = tiff(PIXELS.tobytes(), {258: (3, 1, 8), 262: (3, 1, 8), 277: (3, 1, 3)})
ADAM7 = [  # PNG, third edition, §8.1
    *(PIXELS[0::8, 0::8], PIXELS[0::8, 4::8], PIXELS[4::8, 0::4], PIXELS[0::4, 2::4]),
    *(PIXELS[2::4, 0::2], PIXELS[0::2, 1::2], PIXELS[1::2, :]),
]
GOOD: Mapping[str, tuple[bytes, np.ndarray[Any, Any]]] = {
    "RGB as PNG": (encode(PICTURE, "PNG"), PIXELS),
    "RGB as BMP": (encode(PICTURE, "BMP"), PIXELS),
    "RGB as lossless WebP": (encode(PICTURE, "WEBP", lossless=True), PIXELS),
    "RGB as TIFF": (encode(PICTURE, "TIFF"), PIXELS),
    "RGB as LZW TIFF": (encode(PICTURE, "TIFF", compression="tiff_lzw"), PIXELS),
    "RGB as deflated TIFF": (encode(PICTURE, "TIFF", compression="tiff_adobe_deflate"), PIXELS),
    "RGB as BigTIFF": (encode(PICTURE, "TIFF", big_tiff=True), PIXELS),
    "RGB as PPM": (encode(PICTURE, "PPM"), PIXELS),
    "RGB as plain PPM": (b"P3 14 11 255\n" + " ".join(map(str, PIXELS.ravel())).encode() + b"\n", PIXELS),
    "RGB up to 100 as PPM": (
        b"P6 14 11 100\n" + (PIXELS % 101).tobytes(),
        np.round(PIXELS % 101 / 100 * 255).astype(np.uint8),
    ),
    "RGB as JPEG": (encode(SMOOTH, "JPEG"), opened(encode(SMOOTH, "JPEG"))),
    "RGB as progressive JPEG": (
        encode(SMOOTH, "JPEG", progressive=True),
        opened(encode(SMOOTH, "JPEG", progressive=True)),
    ),
    "RGB as lossy WebP": (encode(SMOOTH, "WEBP"), opened(encode(SMOOTH, "WEBP"))),
    "JPEG with metadata and a tail": (
        encode(SMOOTH, "JPEG", comment=b"x", icc_profile=b"p" * 200_000, xmp=b"<x/>") + b"tail",
        opened(encode(SMOOTH, "JPEG")),
    ),
    "JPEG that others follow": (
        encode(SMOOTH, "MPO", save_all=True, append_images=[PICTURE]),
        opened(encode(SMOOTH, "JPEG")),
    ),
    "grey as PNG": (encode(PIL.Image.fromarray(GREY), "PNG"), rgb(GREY)),
    "grey as GIF": (encode(PIL.Image.fromarray(GREY), "GIF"), rgb(GREY)),
    "grey as JPEG": (encode(SMOOTH.convert("L"), "JPEG"), opened(encode(SMOOTH.convert("L"), "JPEG"))),
    "grey as PGM": (encode(PIL.Image.fromarray(GREY), "PPM"), rgb(GREY)),
    "one bit as PNG": (encode(PIL.Image.fromarray(GREY > 99), "PNG"), rgb(255 * (GREY > 99))),
    "one bit as group 4 TIFF": (
        encode(PIL.Image.fromarray(GREY > 99), "TIFF", compression="group4"),
        rgb(255 * (GREY > 99)),
    ),
    "one bit as PBM": (encode(PIL.Image.fromarray(GREY > 99), "PPM"), rgb(255 * (GREY > 99))),
    "grey with alpha as PNG": (
        encode(PIL.Image.fromarray(np.dstack([GREY, ALPHA])), "PNG"),
        on_white(rgb(GREY), ALPHA),
    ),
    "RGB with alpha as PNG": (encode(RGBA, "PNG"), on_white(PIXELS, ALPHA)),
    "RGB with alpha as TIFF": (encode(RGBA, "TIFF"), on_white(PIXELS, ALPHA)),
    "RGB with alpha as lossless WebP": (
        encode(RGBA, "WEBP", lossless=True, exact=True),
        on_white(PIXELS, ALPHA),
    ),
    "RGB with a transparent colour": (
        encode(PICTURE, "PNG", transparency=KEY),
        on_white(PIXELS, 255 * (PIXELS != KEY).any(axis=2)),
    ),
    "grey with a transparent grey": (
        encode(PIL.Image.fromarray(GREY), "PNG", transparency=int(GREY[2, 2])),
        on_white(rgb(GREY), 255 * (np.not_equal(GREY, GREY[2, 2]))),
    ),
    "palette as PNG": (encode(PALETTE, "PNG"), COLOURS),
    "palette as BMP": (encode(PALETTE, "BMP"), COLOURS),
    "palette as GIF": (encode(PALETTE, "GIF"), COLOURS),
    "palette as TIFF": (encode(PALETTE, "TIFF"), COLOURS),
    "palette with a transparent colour as PNG": (
        encode(PALETTE, "PNG", transparency=3),
        on_white(COLOURS, 255 * (INDEX != 3)),
    ),
    "palette with a transparent colour as GIF": (
        encode(PALETTE, "GIF", transparency=3),
        on_white(COLOURS, 255 * (INDEX != 3)),
    ),
    "palette with an alpha for each colour": (
        encode(PALETTE, "PNG", transparency=bytes(range(0, 160, 10))),
        on_white(COLOURS, INDEX * 10),
    ),
    "16-bit grey as PNG": (encode(PIL.Image.fromarray(DEEP), "PNG"), rgb(np.round(DEEP / 257))),
    "16-bit grey as TIFF": (encode(PIL.Image.fromarray(DEEP), "TIFF"), rgb(np.round(DEEP / 257))),
    "16-bit grey as LZW TIFF": (
        encode(PIL.Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"),
        rgb(np.round(DEEP / 257)),
    ),
    "16-bit grey as big-endian TIFF": (
        encode(PIL.Image.frombytes("I;16B", (14, 11), DEEP.astype(">u2").tobytes()), "TIFF"),
        rgb(np.round(DEEP / 257)),
    ),
    "16-bit grey as PGM": (encode(PIL.Image.fromarray(DEEP), "PPM"), rgb(np.round(DEEP / 257))),
    "16-bit grey as TIFF of 32 bits": (
        encode(PIL.Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        rgb(np.round(DEEP / 257)),
    ),
    "16-bit grey as TIFF where 0 is white": (
        tiff(DEEP.tobytes(), {262: (3, 1, 0)}),
        rgb(255 - np.round(DEEP / 257)),
    ),
    "12-bit grey as TIFF": (
        tiff(packed(TWELVE), {258: (3, 1, 12)}),
        rgb(np.round(TWELVE / 4095 * 255)),
    ),
    "16-bit RGB as PNG": (
        png((PIXELS.astype(np.uint16) * 256 + 17).astype(">u2").tobytes(), depth=16),
        PIXELS,
    ),
    "CMYK as JPEG": (encode(SMOOTH.convert("CMYK"), "JPEG"), opened(encode(SMOOTH.convert("CMYK"), "JPEG"))),
    "CMYK as TIFF": (encode(PICTURE.convert("CMYK"), "TIFF"), PIXELS),
    "YCbCr as TIFF": (
        encode(PICTURE.convert("YCbCr"), "TIFF"),
        np.asarray(PICTURE.convert("YCbCr").convert("RGB")),
    ),
    "LAB as TIFF": (LAB, opened(LAB)),
    "RGB as TIFF of three planes": (
        tiff(
            PIXELS.transpose(2, 0, 1).tobytes() + struct.pack("<6I", 8, 162, 316, 154, 154, 154),
            {
                258: (3, 1, 8),
                262: (3, 1, 2),
                277: (3, 1, 3),
                284: (3, 1, 2),
                273: (4, 3, 470),
                279: (4, 3, 482),
            },
        ),
        PIXELS,
    ),
    "RGB as interlaced PNG": (
        png(PIXELS.tobytes())[:28]
        + b"\1"
        + struct.pack(">I", zlib.crc32(png(PIXELS.tobytes())[12:28] + b"\1"))
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for part in ADAM7 for row in part)))
        + chunk(b"IEND", b""),
        PIXELS,
    ),
    "APNG of one frame": (png(PIXELS.tobytes(), chunk(b"acTL", struct.pack(">II", 1, 0))), PIXELS),
    "metadata of every kind": (
        png(
            PIXELS.tobytes(),
            chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(500_000))),
            chunk(b"zTXt", b"k\0\0" + zlib.compress(b"text")),
            chunk(b"iTXt", b"k\0\1\0en\0\0" + zlib.compress(b"text")),
            chunk(b"iTXt", b"k\0\0\0en\0\0text"),
            chunk(b"zTXt", b"no zero"),
            chunk(b"zTXt", b"k\0\0no stream"),
        ),
        PIXELS,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_mode_has_the_pixels_that_pillow_or_arithmetic_give_it(name: str) -> None:
    if name == "YCbCr as TIFF" and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("Pillow before 13 cannot read it, and the image is refused")
    data, wanted = GOOD[name]
    np.testing.assert_array_equal(pixels(data), wanted)


def test_cmyk_of_a_jpeg_is_the_picture_and_not_its_negative() -> None:
    data, _ = GOOD["CMYK as JPEG"]
    assert np.abs(pixels(data).astype(int) - np.asarray(SMOOTH)).mean() < 30


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("way", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_image_stands_as_its_exif_says(format: str, way: int, order: str) -> None:
    if format == "TIFF":
        data = encode(PICTURE, format, tiffinfo={274: way})
    else:
        data = encode(PICTURE, format, exif=oriented(way, order))
    upright = ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(pixels(data), np.asarray(upright))
    assert read_image(data).size == ((14, 11) if way < 5 else (11, 14))
    if format == "PNG":  # the same by hand: TIFF 6.0, "Orientation", where row 0 and column 0 are
        turned = PIXELS.swapaxes(0, 1) if way > 4 else PIXELS
        rows, columns = -1 if way in (3, 4, 7, 8) else 1, -1 if way in (2, 3, 6, 7) else 1
        np.testing.assert_array_equal(pixels(data), turned[::rows, ::columns])


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"junk",
        oriented(6)[:20],
        oriented(9),
        oriented(0),
        b"II*\0\xff\xff\xff\xff",
    ],
)
def test_an_exif_block_that_makes_no_sense_turns_nothing(exif: bytes) -> None:
    data = png(PIXELS.tobytes(), chunk(b"eXIf", exif))
    np.testing.assert_array_equal(pixels(data), PIXELS)


def test_an_exif_block_without_a_place_for_a_next_directory_is_read() -> None:
    data = png(PIXELS.tobytes(), chunk(b"eXIf", oriented(3)[:-4]))
    np.testing.assert_array_equal(pixels(data), PIXELS[::-1, ::-1])


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────


def test_one_picture_has_one_id_in_whatever_file() -> None:
    images = [read_image(data) for name, (data, _) in GOOD.items() if name.startswith("RGB as")]
    lossless = {image.id for image in images if decode_image(image).tobytes() == PICTURE.tobytes()}
    assert lossless == {hashlib.sha256(struct.pack("<QQ", 14, 11) + PIXELS.tobytes()).hexdigest()}
    assert {read_image(encode(PICTURE, "PNG", compress_level=level)).id for level in (0, 9)} == lossless
    turned = PICTURE.transpose(PIL.Image.Transpose.ROTATE_90)
    assert read_image(encode(turned, "PNG", exif=oriented(6))).id in lossless


def test_one_other_pixel_or_another_shape_is_another_id() -> None:
    changed = PIXELS.copy()
    changed[5, 5, 1] ^= 1
    shapes = [PIXELS, changed, PIXELS.reshape(14, 11, 3), PIXELS.reshape(1, -1, 3), PIXELS.swapaxes(0, 1)]
    images = [read_image(encode(PIL.Image.fromarray(np.ascontiguousarray(one)), "PNG")) for one in shapes]
    assert len({image.id for image in images}) == len(shapes)


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_of_source_gives_the_same_image(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    data = encode(PICTURE, "PNG")
    path.write_bytes(data)
    lazy = PIL.Image.open(path)
    sources = [
        *(data, bytearray(data), memoryview(data), path, str(path), PICTURE, lazy),
        *(
            {"bytes": data, "path": None},
            {"bytes": data, "path": "gone.png"},
            {"bytes": None, "path": str(path)},
        ),
    ]
    images = read_images(sources)
    for image in images:
        assert isinstance(image, harness.Image) and image.size == (14, 11)
        np.testing.assert_array_equal(np.asarray(decode_image(image)), PIXELS)
    assert len({image.id for image in images if isinstance(image, harness.Image)}) == 1
    assert images[0].encoded == data and images[3].encoded == path  # type: ignore[union-attr]


def test_a_pil_image_is_turned_and_laid_on_white_as_its_file_would_be() -> None:
    for data in (
        encode(RGBA, "PNG", exif=oriented(6)),
        encode(PICTURE, "TIFF", tiffinfo={274: 6}),
        encode(PALETTE, "GIF"),
    ):
        lazy = PIL.Image.open(io.BytesIO(data))
        assert [image.id for image in read_images([lazy, data])] == 2 * [read_image(data).id]  # type: ignore[union-attr]


def test_a_pil_image_that_is_given_often_is_loaded_once_at_a_time() -> None:
    data = encode(SMOOTH, "JPEG")
    lazy = PIL.Image.open(io.BytesIO(data))
    images = read_images([lazy] * 64, workers=8)
    assert {image.id for image in images if isinstance(image, harness.Image)} == {read_image(data).id}
    assert len(images) == 64


def test_a_file_is_read_again_and_must_still_be_the_same(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encode(PICTURE, "PNG"))
    image = read_image(path)
    path.write_bytes(encode(PICTURE, "PNG", compress_level=1))
    assert decode_image(image).tobytes() == PICTURE.tobytes()
    path.write_bytes(encode(ImageOps.mirror(PICTURE), "PNG"))
    with pytest.raises(
        UnavailableError, match=r"the image '.*picture.png' has changed since it was first read"
    ):
        decode_image(image)
    path.unlink()
    with pytest.raises(
        UnavailableError, match=r"the image '.*picture.png' cannot be used: there is no such file"
    ):
        decode_image(image)


def test_one_broken_image_is_one_clear_sentence() -> None:
    with pytest.raises(UnavailableError) as raised:
        read_image(encode(PICTURE, "PNG")[:-12])
    assert str(raised.value) == (
        f"the image of {len(encode(PICTURE, 'PNG')) - 12} bytes cannot be used: "
        "its header as PNG cannot be read: the file ends early"
    )
    image = harness.Image(encoded=b"text", id="", size=(1, 1))
    with pytest.raises(UnavailableError, match="the image of 4 bytes cannot be used: it begins with b'text'"):
        decode_image(image)
    assert harness.decode_image is decode_image and harness.read_image is read_image


# ── what cannot ──────────────────────────────────────────────────────────────────────────────────────────

PNG, JPEG, GIF = encode(PICTURE, "PNG"), encode(SMOOTH, "JPEG"), encode(PICTURE.convert("P"), "GIF")
FRAMES: Mapping[str, Any] = {"save_all": True, "append_images": [ImageOps.mirror(PICTURE)]}
SOF = JPEG.index(b"\xff\xc0")
SOS = JPEG.index(b"\xff\xda")


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def on_disk(name: str, data: bytes | None = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        if data is not None:
            (folder / name).write_bytes(data)
        return folder / name

    return write


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def closed(folder: Path) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(PNG))
    image.close()
    return image


BOMB = zlib.compress(bytes(2**26))
BROKEN: Mapping[str, tuple[str, Any]] = {
    "no value": ("missing", None),
    "a mapping of nothing": ("missing", {"bytes": None, "path": None}),
    "a number": ("type", 7),
    "a list": ("type", [1, 2, 3]),
    "an array": ("type", PIXELS),
    "a mapping of other things": ("type", {"pixels": b""}),
    "a mapping of mappings": ("type", {"bytes": {"bytes": PNG}}),
    "a path to nowhere": ("no_file", on_disk("gone.png")),
    "a path below a file": ("no_file", lambda folder: on_disk("file", b"x")(folder) / "below.png"),
    "a path with a zero in it": ("no_file", "zero\0.png"),
    "a folder": ("directory", lambda folder: folder),
    "a pipe": ("unreadable", pipe),
    "a name that is too long": ("unreadable", "x" * 5000),
    "no bytes": ("empty", b""),
    "a file of no bytes": ("empty", on_disk("empty.png", b"")),
    "HTML": ("no_image", b"<!DOCTYPE html><html><body>404 not found</body></html>"),
    "text": ("no_image", b"not an image, but words"),
    "zeros": ("no_image", bytes(1000)),
    "a damaged beginning": ("no_image", b"\x88" + PNG[1:]),
    "SVG": ("format", b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "SVG without a declaration": ("format", b"  <svg/>"),
    "EPS": ("format", encode(PICTURE, "EPS")),
    "PDF": ("format", encode(PICTURE, "PDF")),
    "JPEG 2000": ("format", b"\0\0\0\x0cjP  \r\n\x87\n"),
    "an icon": ("format", encode(PICTURE, "ICO")),
    "AVIF": ("format", b"\0\0\0\x20ftypavif"),
    "an EPS that Pillow has opened": ("format", PIL.Image.open(io.BytesIO(encode(PICTURE, "EPS")))),
    "a PNG of an unknown depth": ("header", png(PIXELS.tobytes(), depth=7)),
    "a PNG that begins with its pixels": ("header", PNG[:8] + PNG[33:]),
    "a PNG with a chunk of its maker's": ("header", png(PIXELS.tobytes(), chunk(b"CgBI", b"1234"))),
    "a PNG with a chunk without a name": ("header", png(PIXELS.tobytes(), chunk(b"\0\0\0\0", b""))),
    "a JPEG of 12 bits": ("header", patched(JPEG, SOF + 4, b"\x0c")),
    "a JPEG of no frame": ("header", JPEG[:SOF] + JPEG[SOS:]),
    "a JPEG that ends at once": ("header", b"\xff\xd8\xff\xd9 and more"),
    "a JPEG with a segment of one byte": ("header", b"\xff\xd8\xff\xdb\0\1" + JPEG[2:]),
    "a BMP of an unknown header": ("header", patched(encode(PICTURE, "BMP"), 14, b"\x99")),
    "a TIFF of no photometry": ("header", tiff(DEEP.tobytes(), {262: (3, 1, 99)})),
    "a BigTIFF of 2⁶³ tags": ("header", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 8),
    "a PPM of words": ("header", b"P6 wide high 255\n"),
    "a PNG of no width": ("zero_sized", png(b"", size=(0, 11))),
    "a JPEG of no height": ("zero_sized", patched(JPEG, SOF + 5, b"\0\0")),
    "a GIF of no size": ("zero_sized", patched(GIF, 6, bytes(4))),
    "a TIFF of no height": ("zero_sized", tiff(DEEP.tobytes(), {257: (3, 1, 0)})),
    "a TIFF that names no size of its tiles": ("zero_sized", tiff(DEEP.tobytes(), {322: (3, 1, 16)})),
    "a PIL image of no size": ("zero_sized", PIL.Image.new("RGB", (0, 5))),
    "a PNG bomb": ("too_large", png(b"", size=(100_000, 100_000))),
    "a PNG just over the limit": ("too_large", png(b"", size=(MAX_PIXELS // 2 + 1, 2))),
    "a JPEG bomb": ("too_large", patched(JPEG, SOF + 5, b"\xff\xff\xff\xff")),
    "a JPEG of many scans": ("too_large", JPEG[:-2] + JPEG[SOS:-2] * 200 + b"\xff\xd9"),
    "a GIF bomb": ("too_large", patched(GIF, 6, b"\xff" * 4)),
    "a GIF whose frame is a bomb": ("too_large", patched(GIF, GIF.index(b",\0\0\0\0") + 5, b"\xff" * 4)),
    "a WebP bomb": ("too_large", patched(encode(RGBA, "WEBP", exif=b"x"), 24, b"\xff" * 6)),
    "a lossless WebP bomb": (
        "too_large",
        patched(encode(PICTURE, "WEBP", lossless=True), 21, b"\xff" * 3 + b"\x0f"),
    ),
    "a BMP bomb": ("too_large", patched(encode(PICTURE, "BMP"), 18, b"\xff\xff\xff\x0f\xff\xff\0\0")),
    "a TIFF bomb": ("too_large", tiff(DEEP.tobytes(), {256: (4, 1, 100_000), 257: (4, 1, 100_000)})),
    "a TIFF with tiles that are bombs": (
        "too_large",
        tiff(DEEP.tobytes(), {322: (4, 1, 2**30), 323: (4, 1, 16)}),
    ),
    "a PPM bomb": ("too_large", b"P5 100000 100000 255\n"),
    "a PIL image that is too large": ("too_large", PpmImageFile(io.BytesIO(b"P5 14000 7000 255\n"))),
    "a PNG text bomb": ("metadata", png(b"", chunk(b"zTXt", b"k\0\0" + BOMB))),
    "a PNG bomb in UTF-8": (
        "metadata",
        png(b"", chunk(b"iTXt", b"k\0\1\0\0\0" + BOMB)),
    ),
    "a PNG profile bomb": ("metadata", png(b"", chunk(b"iCCP", b"p\0\0" + BOMB))),
    "a PNG of many texts": (
        "metadata",
        png(b"", *[chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**6)))] * 20),
    ),
    "a PNG with a huge chunk": ("metadata", lambda _: png(b"", chunk(b"prVt", bytes(MAX_METADATA + 1)))),
    "a JPEG of 300 EXIF blocks": (
        "metadata",
        lambda _: JPEG[:2] + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 300 + JPEG[2:],
    ),
    "a TIFF whose tags are all the same bytes": (
        "metadata",
        tiff(bytes(10**6), {40000 + number: (7, 10**6, 8) for number in range(20)}),
    ),
    "a WebP with a huge block": ("metadata", lambda _: encode(PICTURE, "WEBP", xmp=bytes(MAX_METADATA + 1))),
    "half a PNG": ("truncated", PNG[: len(PNG) // 2]),
    "a PNG without its end": ("truncated", PNG[:-12]),
    "half a JPEG": ("truncated", JPEG[: len(JPEG) // 2]),
    "a JPEG without its end": ("truncated", JPEG[:-2]),
    "a GIF without its end": ("truncated", GIF[:-1]),
    "half a WebP": ("truncated", encode(SMOOTH, "WEBP")[:100]),
    "half a BMP": ("truncated", encode(PICTURE, "BMP")[:300]),
    "half a TIFF": ("truncated", encode(PICTURE, "TIFF")[:300]),
    "half a PPM": ("truncated", encode(PICTURE, "PPM")[:300]),
    "half a PPM in digits": ("truncated", b"P2 3 3 255\n1 2 3 4 5"),
    "half a file": ("truncated", on_disk("half.jpg", JPEG[: len(JPEG) // 2])),
    "half a PIL image": ("truncated", PIL.Image.open(io.BytesIO(JPEG[: SOS + 300]))),
    "a PNG with other pixels than were written": ("checksum", patched(PNG, 60, bytes([PNG[60] ^ 1]))),
    "a PNG with another header than was written": ("checksum", patched(PNG, 19, b"\x0f")),
    "a PNG with too few pixels": (
        "truncated",
        png(PIXELS.tobytes())[:33] + png(PIXELS[:7].tobytes(), size=(14, 7))[33:],
    ),
    "a TIFF of too few strips": (
        "truncated",
        tiff(DEEP.tobytes(), {278: (3, 1, 5)}),
    ),
    "a PNG whose pixels are no stream": (
        "corrupt",
        png(b"")[:33] + chunk(b"IDAT", b"not a stream at all") + chunk(b"IEND", b""),
    ),
    "a JPEG of no quantisation": ("corrupt", JPEG[: JPEG.index(b"\xff\xdb")] + JPEG[SOF:]),
    "a GIF with a block of no kind": ("corrupt", GIF[:-1] + b"?" + GIF[-1:]),
    "a closed PIL image": ("corrupt", closed),
    "an animated GIF": ("animated", encode(PICTURE, "GIF", **FRAMES)),
    "an animated PNG": ("animated", encode(PICTURE, "PNG", **FRAMES)),
    "an animated WebP": ("animated", encode(PICTURE, "WEBP", **FRAMES)),
    "an animated GIF that Pillow has opened": (
        "animated",
        PIL.Image.open(io.BytesIO(encode(PICTURE, "GIF", **FRAMES))),
    ),
    "a TIFF of two pages": ("pages", encode(PICTURE, "TIFF", **FRAMES)),
    "a TIFF of pages without end": ("pages", tiff(DEEP.tobytes(), {}, following=8 + 308)),
    "a TIFF of two pages that Pillow has opened": (
        "pages",
        PIL.Image.open(io.BytesIO(encode(PICTURE, "TIFF", **FRAMES))),
    ),
    "a floating-point TIFF": ("pixels", encode(PIL.Image.fromarray(DEEP.astype(np.float32)), "TIFF")),
    "a floating-point PPM": ("pixels", encode(PIL.Image.fromarray(DEEP.astype(np.float32)), "PPM")),
    "a TIFF of 32-bit integers": ("pixels", encode(PIL.Image.fromarray(DEEP.astype(np.int32) * 100), "TIFF")),
    "a TIFF of negative integers": ("pixels", tiff(DEEP.tobytes(), {339: (3, 1, 2)})),
    "a PNG of 16 bits with a transparent grey": (
        "pixels",
        png(DEEP.astype(">u2").tobytes(), chunk(b"tRNS", b"\0\1"), depth=16, colours=0),
    ),
    "a PIL image of floating-point numbers": ("pixels", PIL.Image.new("F", (3, 3))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_fault_is_named_and_none_is_raised(name: str, tmp_path: Path) -> None:
    kind, source = BROKEN[name]
    assert broken(source(tmp_path) if callable(source) else source) == kind


def test_every_kind_of_fault_has_a_sentence_and_an_example() -> None:
    of_folders = {"unlisted", "unlabelled"}  # which tests/test_readers.py has examples of
    assert {kind for kind, _ in BROKEN.values()} | of_folders == set(KINDS)
    assert all(KINDS.values())


@pytest.mark.parametrize(
    "name",
    [name for name, (data, _) in GOOD.items() if not data.startswith((b"P3", b"P1")) and "tail" not in name],
)
def test_a_file_that_ends_early_is_broken_wherever_it_ends(name: str) -> None:
    data, _ = GOOD[name]
    whole = len(encode(SMOOTH, "MPO")) if "others follow" in name else len(data)
    if name.endswith("BMP"):
        whole -= 2  # which only fill up the last row
    ends = {*range(0, whole, max(1, whole // 150)), *range(whole - 40, whole)}
    assert [end for end in ends if not isinstance(read_images([data[:end]], workers=1)[0], Broken)] == []


def test_a_jpeg_that_was_cut_and_given_an_end_again_cannot_be_told() -> None:
    """The limit that the module admits: if this fails, the decoder has learnt to tell, and the module may say so."""
    middle = SOS + (len(JPEG) - SOS) // 2
    image = pixels(JPEG[:middle] + b"\xff\xd9")
    np.testing.assert_array_equal(image[:16], pixels(JPEG)[:16])
    assert len(np.unique(image[-8:, -8:])) < 5


# ── whatever the process is up to ────────────────────────────────────────────────────────────────────────


def test_a_cut_file_is_broken_even_where_pillow_may_fill_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = [data[: len(data) * 2 // 3] for data, _ in GOOD.values() if not data.startswith(b"\xff\xd8")]
    strict = read_images(cut, workers=1)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert [isinstance(one, Broken) for one in read_images(cut * 5, workers=4)] == [True] * 5 * len(cut)
    assert read_images(cut, workers=1) == strict
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    for name, (kind, source) in BROKEN.items():
        if isinstance(source, bytes):
            assert broken(source) == kind, name


def test_a_bomb_is_one_even_where_pillow_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    for name, (kind, source) in BROKEN.items():
        if kind == "too_large" and isinstance(source, bytes):
            assert broken(source) == kind, name


def test_nothing_is_warned_of_and_no_filter_changes_an_answer(capfd: pytest.CaptureFixture[str]) -> None:
    sources = [source for _, source in BROKEN.values() if isinstance(source, bytes)]
    sources += [data for data, _ in GOOD.values()]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = read_images(sources, workers=1)
    assert [str(one.message) for one in caught] == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_images(sources, workers=1) == answers
    assert capfd.readouterr() == ("", "")


def test_threads_give_what_one_gives_in_its_order() -> None:
    sources: list[Any] = [data for data, _ in GOOD.values()]
    sources += [source for _, source in BROKEN.values() if isinstance(source, bytes) and len(source) < 10**6]
    sources = [sources[row] for row in np.random.default_rng(1).permutation(len(sources) * 4) % len(sources)]
    alone = read_images(sources, workers=1)
    assert {type(one) for one in alone} == {harness.Image, Broken}
    for workers in (2, 5, None):
        assert read_images(sources, workers=workers) == alone
    images = [one for one in alone if isinstance(one, harness.Image)]
    decoded: dict[int, list[bytes]] = {}

    def decode(number: int) -> None:
        decoded[number] = [decode_image(image).tobytes() for image in images]

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(decoded.values()) == 4 * [[decode_image(image).tobytes() for image in images]]
    assert read_images([]) == []


# ── damage at random ─────────────────────────────────────────────────────────────────────────────────────

FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8)


def flipped(data: bytes, flips: list[tuple[float, int]]) -> bytes:
    damaged = bytearray(data)
    for where, bits in flips:
        damaged[int(where * len(data))] ^= bits
    return bytes(damaged)


@given(flips=FLIPS, end=st.none() | st.floats(0, 1, exclude_max=True))
@settings(max_examples=300, deadline=10_000)
def test_no_damage_to_a_png_goes_unseen(flips: list[tuple[float, int]], end: float | None) -> None:
    damaged = flipped(PNG, flips)[: None if end is None else int(end * len(PNG))]
    (answer,) = read_images([damaged], workers=1)
    assert isinstance(answer, Broken) == (damaged != PNG)


@given(flips=FLIPS, end=st.none() | st.floats(0, 1, exclude_max=True))
@settings(max_examples=300, deadline=10_000)
def test_no_damage_to_a_jpeg_raises_or_hangs(flips: list[tuple[float, int]], end: float | None) -> None:
    damaged = flipped(JPEG, flips)[: None if end is None else int(end * len(JPEG))]
    (answer,) = read_images([damaged], workers=1)
    if isinstance(answer, Broken):
        assert answer.kind in KINDS
    else:
        assert decode_image(answer).size == answer.size


# ── real photographs ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.data
@pytest.mark.parametrize("name", ["eurosat", "tf_flowers"])
def test_real_photographs_are_what_pillow_makes_of_them(name: str) -> None:
    folder = os.environ.get("HARNESS_DATA_DIR")
    path = Path(folder or "", name, "data.parquet")
    if not folder or not path.is_file():
        pytest.skip(f"there is no '{name}' in HARNESS_DATA_DIR")
    from pyarrow import parquet

    files = parquet.read_table(path, columns=["image"])["image"].to_pylist()[::5]
    for data, image in zip(files, read_images(files), strict=True):
        assert isinstance(image, harness.Image)
        assert decode_image(image).tobytes() == opened(data).tobytes()
