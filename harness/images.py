"""Files of images in, their pixels out: RGB, upright, eight bits. What cannot be read whole is named, never guessed.

Read are PNG, JPEG, WebP, GIF, BMP, TIFF and PPM, of one picture each; nothing here starts another program. Before
Pillow decodes a file it is walked through here: what it declares, its length, its checksums and the room that its
metadata take decide, and of PNG and JPEG Pillow sees no metadata. No answer depends on what the process has allowed
Pillow (LOAD_TRUNCATED_IMAGES, MAX_IMAGE_PIXELS).

Pixels are taken as they are stored: colour profiles, gamma and resolution are not applied, but the turn that EXIF asks
for is. A JPEG that other pictures follow in one file (MPO, gain maps) is its first, as every reader of JPEG has it.
The pixels of a lossy file are those of the decoder at hand: another build of libjpeg or libwebp may give other ids.

Damage is seen as far as a format lets it be seen. A PNG has a checksum over every part, so that every changed byte is
found. Of a JPEG, a missing end (the EOI marker), broken segments and what libjpeg itself refuses are found; but changed
bytes within its coded data mostly decode to other pixels without a word, as does data cut out of its middle, and what
was cut and then given an end again is grey from there on. It is likewise with the coded data of WebP, and with BMP,
TIFF, GIF and PPM, which have no checksums either; all of them must have their full length.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import PIL.Image
from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from harness.api import Image
from harness.errors import DataError

KINDS: Mapping[str, str] = {
    "missing": "no image was given",
    "type": "the value is of a type that holds no image",
    "no_file": "there is no file at the path",
    "directory": "the path leads to a directory",
    "unreadable": "the system does not let the file be read, or it is no ordinary file",
    "empty": "the file has no bytes",
    "no_image": "the bytes are those of no image: text, HTML or something unknown",
    "format": "the image is of a format that is not read",
    "header": "the header makes no sense",
    "zero_sized": "the image has no width or no height",
    "too_large": "the image declares more than can be meant: a decompression bomb",
    "metadata": "what stands beside the pixels takes too much room: a decompression bomb, too",
    "truncated": "the file ends early",
    "checksum": "a checksum does not fit its bytes",
    "corrupt": "the pixels cannot be decoded",
    "animated": "the image is an animation",
    "pages": "the file has more than one page",
    "pixels": "the pixels are of a type that has no scale from black to white",
}
"""What can be wrong with an image: the kind of each Broken, and a sentence."""

MAX_PIXELS = 1024**3 // 4 // 3
"""Pillow's own limit on width times height, where it begins to warn: a quarter of a gibibyte as RGB."""
MAX_BYTES = 1024**3
MAX_METADATA = 16 * 1024**2
MAX_TEXT = 1024**2
"""Bytes to which one compressed text or profile of a PNG may grow, as in Pillow."""
MAX_SCANS = 100
"""Scans of a progressive JPEG: each costs a pass over all pixels, and a dozen are usual."""
MOST_THREADS = 16


@dataclass(frozen=True)
class Broken:
    """What came in place of an image: one of KINDS, and what exactly was found. The reason quotes nothing of the file
    but names that its format gives, since records keep it.
    """

    kind: str
    reason: str


def decode_image(image: Image) -> PIL.Image.Image:
    """The pixels of an image: RGB, upright, and nothing else. Safe in threads.

    What is transparent lies on white. DataError when the file is gone or broken, or no longer has the pixels of
    which the image's id is made.
    """
    try:
        encoded = image.encoded
        pixels = _decode(encoded if isinstance(encoded, bytes) else _read_file(encoded))
    except _Fault as fault:
        raise _missing(image.encoded, fault.broken) from fault
    if isinstance(image.encoded, Path) and _identity(pixels) != image.id:
        raise DataError(f"the image '{image.encoded}' has changed since it was first read")
    return pixels


def read_image(source: bytes | Path) -> Image:
    """An image by the bytes of its file, or by where that lies; DataError when it is broken."""
    image = _attempt(source)
    if isinstance(image, Broken):
        raise _missing(source, image)
    return image


def count_threads() -> int:
    """As many as there are cores for this process, and no more than MOST_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def read_images(sources: Sequence[Any], *, workers: int | None = None) -> list[Image | Broken]:
    """Images in the order of their sources, decoded in `workers` threads (`count_threads` where it is None).

    A source is bytes, a path, a mapping of `bytes` and `path` as `datasets` gives it, or a PIL image, which is kept as
    a PNG. Whatever else it is, and whatever is wrong with it, comes back as Broken.
    """
    sources = list(sources)
    workers = count_threads() if workers is None else workers
    if workers <= 1:
        return [_attempt(source) for source in sources]
    # A thread takes a few at a time: small images decode faster than a thread is woken.
    shares = [sources[start : start + 16] for start in range(0, len(sources), 16)]
    pool = ThreadPoolExecutor(workers)
    try:
        return [image for share in pool.map(lambda some: [*map(_attempt, some)], shares) for image in share]
    finally:
        pool.shutdown(cancel_futures=True)


class _Fault(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.broken = Broken(kind, reason)


@contextmanager
def _naming(kind: str, what: str) -> Iterator[None]:
    """Whatever goes wrong inside as a fault of that kind, unless it names its own."""
    try:
        yield
    except (_Fault, MemoryError):
        raise
    except PIL.Image.DecompressionBombError as error:
        raise _Fault("too_large", f"{what}: {error}") from error
    except Exception as error:  # Pillow and its codecs raise what they like on a broken file
        cause = error.__cause__ or error
        said = " ".join(str(cause).split()) or type(cause).__name__
        early = isinstance(cause, struct.error | IndexError | EOFError) or _EARLY.search(said)
        plain = _QUOTED.split(said)[0].strip() or type(cause).__name__
        raise _Fault("truncated" if early else kind, f"{what}: {plain}") from error


_EARLY = re.compile("truncated|not enough image data", re.IGNORECASE)
_QUOTED = re.compile(r"""\(?(:|(?<!\w)b?['"])""")
"""Where Pillow's words go over to what it found: bytes of the file."""


def _missing(source: bytes | Path, broken: Broken) -> DataError:
    name = f"of {len(source)} bytes" if isinstance(source, bytes) else f"'{source}'"
    reason = broken.reason
    if isinstance(source, bytes) and broken.kind == "no_image":
        # Whoever gave the bytes is shown some of them; a record is not.
        reason = f"it begins with {source[:8]!r}, as no image does that is read"
    return DataError(f"the image {name} cannot be used: {reason}")


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────


def _attempt(source: Any) -> Image | Broken:
    try:
        with _naming("unreadable", "it cannot be read"):
            return _read(source)
    except _Fault as fault:
        return fault.broken


def _read(source: Any) -> Image:
    if isinstance(source, Mapping):
        if not {"bytes", "path"} & set(source):
            raise _Fault("type", "it is a mapping without 'bytes' and without 'path'")
        given = source.get("bytes")
        source = source.get("path") if given is None else given
    if source is None:
        raise _Fault("missing", "there is none")
    if isinstance(source, PIL.Image.Image):
        return _keep(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decoded(bytes(source), bytes(source))
    if isinstance(source, str | Path):
        return _decoded(Path(source), _read_file(Path(source)))
    raise _Fault("type", f"it is of type {type(source).__name__}, not bytes, a path or a PIL image")


def _decoded(encoded: bytes | Path, data: bytes) -> Image:
    pixels = _decode(data)
    return Image(encoded=encoded, id=_identity(pixels), size=pixels.size)


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _Fault("directory", "it is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise _Fault("unreadable", "it is a device, a pipe or a socket")
        if status.st_size > MAX_BYTES:
            raise _Fault("too_large", f"its file has {status.st_size} bytes, more than {MAX_BYTES}")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a path with a NUL
        raise _Fault("no_file", "there is no such file") from error
    except OSError as error:
        raise _Fault("unreadable", f"its file cannot be read: {error.strerror or error}") from error


_one_at_a_time = threading.Lock()


def _keep(image: PIL.Image.Image) -> Image:
    """A PIL image as a PNG. It may be open still, and given twice; only one thread may load it."""
    with _one_at_a_time, _naming("corrupt", "Pillow cannot load it"):
        if image.format not in (None, "PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"):
            raise _Fault("format", f"it was opened as {image.format}")
        _check_size(*image.size)
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise _Fault("pages" if image.format == "TIFF" else "animated", "it has more than one frame")
        with _no_filling_up():
            image.load()
        pixels = _turned(_as_rgb(image), image.info.get("exif"))
    encoded = BytesIO()
    pixels.save(encoded, "PNG", compress_level=1)
    return Image(encoded=encoded.getvalue(), id=_identity(pixels), size=pixels.size)


def _identity(pixels: PIL.Image.Image) -> str:
    """Hex SHA-256 of width and height, 8 bytes each with the lowest first, and the pixels row by row."""
    digest = hashlib.sha256(struct.pack("<QQ", *pixels.size))
    digest.update(pixels.tobytes())
    return digest.hexdigest()


# ── pixels ───────────────────────────────────────────────────────────────────────────────────────────────

_Opened = tuple[ImageFile.ImageFile, Any]
"""An image whose header has been read, and its EXIF block."""


def _decode(data: bytes) -> PIL.Image.Image:
    if not data:
        raise _Fault("empty", "it has no bytes")
    name, open_image = _format(data)
    with _naming("header", f"its header as {name} cannot be read"):
        opened, exif = open_image(data)
    _check_size(*opened.size)
    with _naming("corrupt", f"its pixels as {name} cannot be decoded"):
        with _no_filling_up():
            opened.load()
        return _turned(_as_rgb(opened), exif)


def _format(data: bytes) -> tuple[str, Callable[[bytes], _Opened]]:
    for pattern, name, open_image in _READ:
        if re.match(pattern, data, re.DOTALL):
            return name, open_image
    for pattern, name in _NOT_READ:
        if re.match(pattern, data[:1024], re.DOTALL | re.IGNORECASE):
            raise _Fault("format", f"it is {name}, which is not read")
    raise _Fault("no_image", "it begins as no image does that is read")


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise _Fault("zero_sized", f"it is {width} × {height} pixels large")
    if width * height > MAX_PIXELS:
        raise _Fault("too_large", f"it declares {width} × {height} pixels, more than {MAX_PIXELS}")


_filling = threading.Lock()
_decoding = 0
_filled_up = False


@contextmanager
def _no_filling_up() -> Iterator[None]:
    """Pillow's leave, global, to fill up what a cut file lacks is off while any thread decodes here; then as it was."""
    global _decoding, _filled_up
    with _filling:
        if _decoding == 0:
            _filled_up = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        _decoding += 1
    try:
        yield
    finally:
        with _filling:
            _decoding -= 1
            if _decoding == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _filled_up


def _as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode == "F":
        raise _Fault("pixels", "its pixels are floating-point numbers, of which none says what is white")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        paper = PIL.Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image)
        return paper
    return image.convert("RGB")


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Grey of 16 bits as 8: v / 257, rounded. TIFF may have 12 bits, and black at the other end, which Pillow drops."""
    if "transparency" in image.info:
        raise _Fault("pixels", "it names one of 65536 greys as transparent, which 8 bits cannot")
    grey = image.convert("I")
    lowest, highest = cast(tuple[int, int], grey.getextrema())
    tags = getattr(image, "tag_v2", {})
    top = 4095 if tags.get(_BITS) == (12,) else 65535
    if lowest < 0 or highest > top:
        raise _Fault("pixels", f"its pixels are integers from {lowest} to {highest}, not from 0 to {top}")
    scale, start = (-255 / top, 255.5) if tags.get(_PHOTOMETRIC) == 0 else (255 / top, 0.5)
    return grey.point(lambda value: value * scale + start).convert("L")


_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""EXIF 2.3, 4.6.4 A: where row 0 and column 0 of what is stored belong → the turn that brings them there."""


def _turned(image: PIL.Image.Image, exif: Any) -> PIL.Image.Image:
    """The image as its EXIF block wants it, where there is one and it can be read; without any metadata."""
    turn = None
    if isinstance(exif, bytes):
        try:
            # Some blocks end before the place of the next directory.
            tags, _ = _directory(exif.removeprefix(b"Exif\0\0") + bytes(4))
            turn = next((_TURNS.get(tag.value) for tag in tags if tag.number == _ORIENTATION), None)
        except (struct.error, ValueError):
            pass  # a broken block turns nothing
    upright = image if turn is None else image.transpose(turn)
    upright.info = {}
    return upright


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────


def _check_metadata(size: int) -> None:
    if size > MAX_METADATA:
        raise _Fault("metadata", f"its metadata take {size} bytes, more than {MAX_METADATA}")


def _open_png(data: bytes) -> _Opened:
    """Every chunk is checked (PNG, third edition, §5); what is no pixel is left out. APNG of one frame is a PNG."""
    kept, exif, metadata, start, name = [data[:8]], None, 0, 8, b""
    depth = colours = wanted = 0
    rows = zlib.decompressobj()
    while name != b"IEND":
        if start + 8 > len(data):
            raise _Fault("truncated", "the PNG ends before its last chunk (IEND)")
        size, name = struct.unpack_from(">I4s", data, start)
        end = start + size + 12
        if (name == b"IHDR" and size == 13) != (start == 8) or not name.isalpha():
            raise _Fault(
                "header", f"the PNG has at byte {start} what is no chunk, or not the one that belongs there"
            )
        if end > len(data):
            raise _Fault("truncated", f"the PNG ends within its chunk {name.decode()}")
        content = data[start + 8 : end - 4]
        if zlib.crc32(content, zlib.crc32(name)) != int.from_bytes(data[end - 4 : end], "big"):
            raise _Fault("checksum", f"the checksum of the PNG's chunk {name.decode()} does not fit")
        if name == b"IHDR":
            width, height, depth, colours, interlaced = struct.unpack_from(">IIBB2xB", content)
            _check_size(width, height)
            wanted = _size_of_rows(width, height, depth * _SAMPLES.get(colours, 0), bool(interlaced))
        if name == b"IDAT" and wanted and not rows.eof:
            try:
                wanted -= len(rows.decompress(content, wanted))
            except zlib.error as error:
                raise _Fault("corrupt", f"the PNG's pixels cannot be unpacked: {error}") from error
        if name == b"fdAT" or (name == b"acTL" and content[:4] != b"\0\0\0\1"):
            raise _Fault("animated", "the PNG is an animation (APNG)")
        if name == b"tRNS" and colours in (0, 2) and depth not in (1, 8):
            raise _Fault("pixels", f"the PNG names a transparent colour of {depth} bits, not 1 or 8")
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[start:end])
        elif name[:1].isupper():
            raise _Fault("header", f"the PNG has a chunk {name.decode()}, which only its maker can read")
        else:
            exif = content if name == b"eXIf" else exif
            metadata += size + _inflated(name, content)
            _check_metadata(metadata)
        start = end
    if wanted:
        raise _Fault("truncated", f"the PNG's pixels lack {wanted} bytes, which Pillow would leave black")
    return PngImageFile(BytesIO(b"".join(kept))), exif


_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type of a PNG → samples of each pixel."""
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and the steps to the next ones, of each pass of an interlaced PNG (§8.1)."""


def _size_of_rows(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Bytes of all rows of a PNG, each with the one that names its filter (§7.2)."""
    size = 0
    for left, top, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // right), -((top - height) // down)
        size += rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    return size


def _inflated(name: bytes, content: bytes) -> int:
    """Bytes that a compressed chunk grows to."""
    text = content.partition(b"\0")[2]
    if name in (b"zTXt", b"iCCP"):
        packed = text[1:]
    elif name == b"iTXt" and text[:1] == b"\1":
        packed = text[2:].split(b"\0", 2)[-1]
    else:
        return 0
    try:
        size = len(zlib.decompressobj().decompress(packed, MAX_TEXT + 1))
    except zlib.error:
        return 0  # nothing here reads it
    if size > MAX_TEXT:
        raise _Fault("metadata", f"the PNG's chunk {name.decode()} grows to more than {MAX_TEXT} bytes")
    return size


_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""What begins a segment: not a stuffed byte, nor a marker that stands alone, nor filling."""


def _open_jpeg(data: bytes) -> _Opened:
    """The segments up to the first scan (ITU-T T.81, annex B), less those of applications but JFIF and Adobe."""
    kept, exif, metadata, end, marker = [data[:2]], None, 0, 2, 0
    while marker != 0xDA:
        if (found := _MARKER.search(data, end)) is None or found.end() + 2 > len(data):
            raise _Fault("truncated", "the JPEG ends before its first scan")
        start, marker = found.end() - 2, data[found.end() - 1]
        if marker == 0xD9:
            raise _Fault("header", "the JPEG ends (EOI) before its first scan")
        size = int.from_bytes(data[start + 2 : start + 4], "big")
        end = start + 2 + size
        if size < 2:
            raise _Fault("header", f"the JPEG has a segment of {size} bytes")
        if end > len(data):
            raise _Fault("truncated", "the JPEG ends within a segment of its header")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, start + 5)
            _check_size(width, height)
        if marker == 0xFE or (marker & 0xF0 == 0xE0 and marker not in (0xE0, 0xEE)):
            metadata += end - start
            if marker == 0xE1 and exif is None and data.startswith(b"Exif\0\0", start + 4):
                exif = data[start + 4 : end]
        else:
            kept.append(data[start:end])
    _check_metadata(metadata)
    if data.find(b"\xff\xd9", end) < 0:
        raise _Fault("truncated", "the JPEG has no end (EOI marker)")
    if (scans := 1 + data.count(b"\xff\xda", end)) > MAX_SCANS:
        raise _Fault("too_large", f"the JPEG has {scans} scans, more than {MAX_SCANS}")
    return JpegImageFile(BytesIO(b"".join((*kept, data[end:])))), exif


def _open_gif(data: bytes) -> _Opened:
    """The blocks up to the trailer (GIF89a, 1990), of which one is a picture."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    _check_size(width, height)
    start, pictures = 13 + _palette(flags), 0
    while (block := data[start]) != 0x3B:
        if block == 0x2C:
            pictures += 1
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, start + 1)
            _check_size(max(width, left + wide), max(height, top + high))
            start += 11 + _palette(flags)
        elif block == 0x21:
            start += 2
        elif block != 0:
            raise _Fault("corrupt", f"the GIF has a block of unknown kind {block}")
        while data[start]:
            start += data[start] + 1
        start += 1
    if pictures > 1:
        raise _Fault("animated", f"the GIF has {pictures} frames")
    return GifImageFile(BytesIO(data)), None


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _open_webp(data: bytes) -> _Opened:
    """Its canvas is made when Pillow opens it, so its size is read before (RFC 9649, §2.5 to §2.7)."""
    size = int.from_bytes(data[4:8], "little") + 8
    if size > len(data) or len(data) < 30:
        raise _Fault("truncated", f"the WebP has {len(data)} bytes of the {size} it declares")
    kind = data[12:16]
    if kind == b"VP8X":
        canvas = (int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        canvas = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    else:
        wide, high = struct.unpack_from("<HH", data, 26)
        canvas = (wide & 0x3FFF, high & 0x3FFF)
    _check_size(*canvas)
    opened = WebPImageFile(BytesIO(data))
    if opened.is_animated:
        raise _Fault("animated", f"the WebP has {opened.n_frames} frames")
    _check_metadata(sum(len(opened.info.get(part, b"")) for part in ("exif", "xmp", "icc_profile")))
    return opened, opened.info.get("exif")


def _open_tiff(data: bytes) -> _Opened:
    """Its first directory must be its last, and all that its tags point to must be there. Pillow turns it itself."""
    tags, following = _directory(data)
    if following:
        raise _Fault("pages", "the TIFF has more than one page")
    metadata = 0
    for tag in tags:
        if tag.start + tag.size > len(data):
            raise _Fault("truncated", f"the TIFF ends before the values of its tag {tag.number}")
        metadata += tag.size
    _check_metadata(metadata)
    numbers = {tag.number: tag.value for tag in tags}
    _check_size(numbers.get(_WIDTH, 0), numbers.get(_HEIGHT, 0))
    if _TILE_WIDTH in numbers:
        _check_size(numbers[_TILE_WIDTH], numbers.get(_TILE_HEIGHT, 0))
    opened = TiffImageFile(BytesIO(data))
    planes = len(opened.getbands()) if numbers.get(_PLANES) == 2 else 1
    held = sum((box[2] - box[0]) * (box[3] - box[1]) for tile in opened.tile if (box := tile[1]))
    if held < opened.width * opened.height * (planes if opened.tile[0][0] == "raw" else 1):
        raise _Fault("truncated", "the TIFF has fewer strips or tiles than its size wants")
    return opened, None


_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 256, 257, 258, 262
_ORIENTATION, _PLANES, _TILE_WIDTH, _TILE_HEIGHT = 274, 284, 322, 323
_SIZES = {3: 2, 8: 2, 4: 4, 9: 4, 11: 4, 13: 4, 5: 8, 10: 8, 12: 8, 16: 8, 17: 8, 18: 8}
"""Type of a tag → bytes of each of its values, where that is not 1."""


class _Tag(NamedTuple):
    """A tag of a TIFF: where its values are, how many bytes they all take, and the first one, were it an integer."""

    number: int
    start: int
    size: int
    value: int


def _directory(data: bytes) -> tuple[list[_Tag], int]:
    """The first directory of a TIFF or of an EXIF block, and where the next one is (TIFF 6.0, §2, and BigTIFF)."""
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    pointer, counter, room = ("Q", "Q", 8) if big else ("I", "H", 4)

    def read(layout: str, at: int) -> Any:
        return struct.unpack_from(order + layout, data, at)

    (at,) = read(pointer, 8 if big else 4)
    (count,) = read(counter, at)
    if count > 65535:
        raise ValueError(f"its first directory has {count} tags")
    at += struct.calcsize(counter)
    tags = []
    for _ in range(count):
        number, kind, values = read("HH" + pointer, at)
        at += 4 + room
        each = _SIZES.get(kind, 1)
        (start,) = (at,) if each * values <= room else read(pointer, at)
        value = int.from_bytes(data[start : start + each], "little" if order == "<" else "big")
        tags.append(_Tag(number, start, each * values, value))
        at += room
    return tags, read(pointer, at)[0]


_READ: Sequence[tuple[bytes, str, Callable[[bytes], _Opened]]] = (
    (rb"\x89PNG\r\n\x1a\n", "PNG", _open_png),
    (rb"\xff\xd8\xff", "JPEG", _open_jpeg),
    (rb"RIFF....WEBPVP8[ LX]", "WebP", _open_webp),
    (rb"GIF8[79]a", "GIF", _open_gif),
    (rb"BM", "BMP", lambda data: (BmpImageFile(BytesIO(data)), None)),
    (rb"II[*+]\0|MM\0[*+]", "TIFF", _open_tiff),
    (rb"P[1-6f][\s#]", "PPM", lambda data: (PpmImageFile(BytesIO(data)), None)),
)
_NOT_READ: Sequence[tuple[bytes, str]] = (
    (rb"%!PS|\xc5\xd0\xd3\xc6", "EPS"),
    (rb"%PDF", "PDF"),
    (rb"(\xef\xbb\xbf)?\s*<(svg|(\?xml|!--|!DOCTYPE svg).*?<svg)", "SVG"),
    (rb"....ftyp", "HEIF, AVIF or a film"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "JPEG XL"),
    (rb"8BPS", "PSD"),
    (rb"\0\0[\x01\x02]\0", "an icon"),
    (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "WMF or EMF"),
)
