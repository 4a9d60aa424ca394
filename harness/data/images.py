"""Reader of image files: their pixels as upright RGB of eight bits. A file that cannot be read whole is named broken.

Read are PNG, JPEG, WebP, GIF, BMP, TIFF and PPM, of one picture each; nothing here starts another program. What a file
declares, its length, its checksums and the size of its metadata are checked before Pillow decodes it. No answer
depends on what the process has allowed Pillow (LOAD_TRUNCATED_IMAGES, MAX_IMAGE_PIXELS).

Pixels are taken as they are stored: colour profiles, gamma and resolution are not applied, but the orientation of EXIF
is. A JPEG that other pictures follow in one file (MPO, gain maps) is its first, as every reader of JPEG has it.
The pixels of a lossy file are those of the installed decoder: another build of libjpeg or libwebp may give other ids.

Damage is seen as far as a format lets it be seen. A PNG has a checksum over every part, so that every changed byte is
found. Of a JPEG, a missing end (the EOI marker), broken segments and what libjpeg itself refuses are found; but changed
bytes within its coded data mostly decode to other pixels without an error, as does data cut out of its middle, and a
file that was cut and then given an end again is grey from there on. It is likewise with the coded data of WebP, and
with BMP, TIFF, GIF and PPM, which have no checksums either; all of them must have their full length.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import PIL.Image
from PIL import ImageFile, ImageOps
from PIL.ExifTags import Base as Tag

from harness.api.data import Image
from harness.api.errors import ChangedError, DataError
from harness.data.image_formats import find_format, read_orientation
from harness.data.image_limits import MAX_BYTES, Broken, Fault, check_size, naming_faults

MOST_THREADS = 16
"""Limit on the threads that decode at once."""


def decode_image(image: Image) -> PIL.Image.Image:
    """Decode an image to upright RGB pixels without metadata. Safe in threads.

    Transparent pixels are laid on white. Raises DataError if the file is gone or broken, and ChangedError if its pixels
    no longer match the image's id.
    """
    try:
        pixels = _load(image.encoded)
    except Fault as fault:
        raise _missing(image.encoded, fault.broken) from fault
    if isinstance(image.encoded, Path) and _identity(pixels) != image.id:
        raise ChangedError.of(image.encoded, "the image ")
    return pixels


def read_image(source: bytes | Path) -> Image:
    """Read an image from the bytes of its file, or from a path. Raises DataError if it is broken."""
    image = _attempt(source)
    if isinstance(image, Broken):
        raise _missing(source, image)
    return image


def count_threads() -> int:
    """Return the number of cores that this process may use, at most MOST_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def read_images(sources: Sequence[Any], *, workers: int | None = None) -> list[Image | Broken]:
    """Read images in the order of their sources, in `workers` threads (`count_threads()` if None).

    A source is bytes, a path, a mapping of `bytes` and `path` as `datasets` gives it, or a PIL image, which is kept as
    a PNG. Every other source and every fault is returned as Broken; nothing is raised.
    """
    # A thread takes a few at a time: small images decode faster than a thread is woken.
    shares = [sources[start : start + 16] for start in range(0, len(sources), 16)]
    pool = ThreadPoolExecutor(max(1, count_threads() if workers is None else workers))
    try:
        return [image for share in pool.map(lambda some: [*map(_attempt, some)], shares) for image in share]
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted call does not decode the rest


def _missing(source: bytes | Path, broken: Broken) -> DataError:
    """Return the error that reports a broken image to whoever gave it."""
    name = f"of {len(source)} bytes" if isinstance(source, bytes) else f"'{source}'"
    reason = broken.reason
    if isinstance(source, bytes) and broken.kind == "no_image":
        # Whoever gave the bytes is shown some of them; a record is not.
        reason = f"it begins with {source[:8]!r}, as no image does that is read"
    return DataError(f"the image {name} cannot be used: {reason}")


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────


def _attempt(source: Any) -> Image | Broken:
    try:
        with naming_faults("unreadable", "it cannot be read"):
            return _read(source)
    except Fault as fault:
        return fault.broken


def _read(source: Any) -> Image:
    """Read an image from a source of any type. Raises Fault."""
    if isinstance(source, Mapping):
        if not {"bytes", "path"} & set(source):
            raise Fault("type", "it is a mapping without 'bytes' and without 'path'")
        given = source.get("bytes")
        source = source.get("path") if given is None else given
    if source is None:
        raise Fault("missing", "there is none")
    if isinstance(source, PIL.Image.Image):
        return _keep(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _make_image(bytes(source))
    if isinstance(source, str | Path):
        return _make_image(Path(source))
    raise Fault("type", f"it is of type {type(source).__name__}, not bytes, a path or a PIL image")


def _make_image(encoded: bytes | Path, pixels: PIL.Image.Image | None = None) -> Image:
    """Return the Image of encoded pixels, which are decoded if they are not given. Raises Fault."""
    pixels = _load(encoded) if pixels is None else pixels
    return Image(encoded=encoded, id=_identity(pixels), size=pixels.size)


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise Fault("directory", "it is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise Fault("unreadable", "it is a device, a pipe or a socket")
        if status.st_size > MAX_BYTES:
            raise Fault("too_large", f"its file has {status.st_size} bytes, more than {MAX_BYTES}")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a path with a NUL
        raise Fault("no_file", "there is no such file") from error
    except OSError as error:
        raise Fault("unreadable", f"its file cannot be read: {error.strerror or error}") from error


_one_at_a_time = threading.Lock()


def _keep(image: PIL.Image.Image) -> Image:
    """Keep a PIL image as a PNG. It may still be open, and be given twice: only one thread may load it."""
    with _one_at_a_time, naming_faults("corrupt", "Pillow cannot load it"):
        if image.format not in (None, "PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"):
            raise Fault("format", f"it was opened as {image.format}")
        check_size(*image.size)
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise Fault("pages" if image.format == "TIFF" else "animated", "it has more than one frame")
        with _no_filling_up():
            image.load()
        pixels = _turned(_as_rgb(image), read_orientation(image.info.get("exif")))
    encoded = BytesIO()
    pixels.save(encoded, "PNG", compress_level=1)
    return _make_image(encoded.getvalue(), pixels)


def _identity(pixels: PIL.Image.Image) -> str:
    """Return the hex SHA-256 of width and height, 8 little-endian bytes each, and of the pixels row by row.

    Ids are stored in records and in keys of caches: this must not change.
    """
    digest = hashlib.sha256(struct.pack("<QQ", *pixels.size))
    digest.update(pixels.tobytes())
    return digest.hexdigest()


# ── pixels ───────────────────────────────────────────────────────────────────────────────────────────────


def _load(encoded: bytes | Path) -> PIL.Image.Image:
    """Decode a file, or the bytes of one, to upright RGB pixels. Raises Fault."""
    data = encoded if isinstance(encoded, bytes) else _read_file(encoded)
    if not data:
        raise Fault("empty", "it has no bytes")
    name, open_image = find_format(data)
    with naming_faults("header", f"its header as {name} cannot be read"):
        opened, exif = open_image(data)
    check_size(*opened.size)
    with naming_faults("corrupt", f"its pixels as {name} cannot be decoded"):
        with _no_filling_up():
            opened.load()
        return _turned(_as_rgb(opened), read_orientation(exif))


_filling = threading.Lock()
_settings: list[bool] = []
"""Pillow's setting as each thread that decodes found it, the first at the bottom."""


@contextmanager
def _no_filling_up() -> Iterator[None]:
    """Keep Pillow's global LOAD_TRUNCATED_IMAGES off while any thread decodes here, and restore it after the last.

    When it is on, Pillow fills what a cut file lacks with grey or black.
    """
    with _filling:
        _settings.append(ImageFile.LOAD_TRUNCATED_IMAGES)
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        with _filling:
            found = _settings.pop()
            if (
                not _settings
            ):  # the last thread, in whatever order they end, restores what the first one found
                ImageFile.LOAD_TRUNCATED_IMAGES = found


def _as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert an image of any mode to RGB, on white where it is transparent."""
    if image.mode == "F":
        raise Fault("pixels", "its pixels are floating-point numbers, of which none says what is white")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        paper = PIL.Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image)
        return paper
    return image.convert("RGB")


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert grey of 16 bits to 8: v / 257, rounded.

    A TIFF may have 12 bits, or 0 for white; Pillow 13.0 does not apply either to grey of 16 bits.
    """
    if "transparency" in image.info:
        raise Fault("pixels", "it names one of 65536 greys as transparent, which 8 bits cannot")
    grey = image.convert("I")
    lowest, highest = cast(tuple[int, int], grey.getextrema())
    tags = getattr(image, "tag_v2", {})
    top = 4095 if tags.get(Tag.BitsPerSample) == (12,) else 65535
    if lowest < 0 or highest > top:
        raise Fault("pixels", f"its pixels are integers from {lowest} to {highest}, not from 0 to {top}")
    scale, start = (-255 / top, 255.5) if tags.get(Tag.PhotometricInterpretation) == 0 else (255 / top, 0.5)
    return grey.point(lambda value: value * scale + start).convert("L")


def _turned(image: PIL.Image.Image, turn: int | None) -> PIL.Image.Image:
    """Return the image turned upright from an orientation of EXIF, without any metadata."""
    image.info = {}
    if turn is not None:
        # Set by hand: left to itself, Pillow would also apply an orientation that XMP names.
        image.getexif()[Tag.Orientation] = turn
        image = ImageOps.exif_transpose(image)
        image.info = {}
    return image
