"""Openers of image files: Pillow's readers, and the checks that Pillow leaves out.

Each opener takes the bytes of one file and returns Pillow's image with its header read and its pixels not yet decoded.
The checks here are those that Pillow 13.0 was seen to lack; each has a comment that says what it does instead.

For two reasons Pillow is not given the metadata of a PNG or a JPEG: it refuses the pixels of a file whose metadata are
damaged, and it reports damage of EXIF as a warning, which threads cannot catch.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Literal

from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as Tag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from harness.data.image_limits import MAX_SCANS, MAX_TEXT, Fault, check_metadata, check_size

Opened = tuple[ImageFile, bytes | None]
"""An image whose header has been read, and its EXIF block if Pillow does not apply that itself."""


def find_format(data: bytes) -> tuple[str, Callable[[bytes], Opened]]:
    """Return the name of the format that the first bytes announce, and its opener."""
    for pattern, name, open_image in _READ:
        if re.match(pattern, data, re.DOTALL):
            return name, open_image
    for pattern, name in _NOT_READ:
        if re.match(pattern, data[:1024], re.DOTALL | re.IGNORECASE):
            raise Fault("format", f"it is {name}, which is not read")
    raise Fault("no_image", "it begins as no image does that is read")


def read_orientation(exif: Any) -> int | None:
    """Return the orientation (1 to 8) of an EXIF block; None where there is none, or the block is broken."""
    if not isinstance(exif, bytes):
        return None
    try:
        # Some blocks end before the offset of a next directory: four zeros say that there is none.
        values, *_ = _read_directory(exif.removeprefix(b"Exif\0\0") + bytes(4))
    except (struct.error, ValueError):
        return None
    turn = values.get(Tag.Orientation)
    return turn if turn in range(1, 9) else None


# ── PNG ──────────────────────────────────────────────────────────────────────────────────────────────────


def _open_png(data: bytes) -> Opened:
    """Open a PNG, all of whose chunks are whole (third edition, §5). An APNG of one frame is a PNG.

    Pillow checks the checksums after the first IDAT only in `verify`, and accepts critical chunks unknown to it.
    """
    kept, exif, metadata, start, name = [data[:8]], None, 0, 8, b""
    depth = colours = wanted = 0
    rows = zlib.decompressobj()
    while name != b"IEND":
        size, name = struct.unpack_from(">I4s", data, start)
        if (name == b"IHDR" and size == 13) != (start == 8) or not name.isalpha():
            raise Fault("header", f"the PNG has at byte {start} no chunk, or one that is out of place")
        content, end = data[start + 8 : start + 8 + size], start + size + 12
        if struct.unpack_from(">I", data, end - 4)[0] != zlib.crc32(content, zlib.crc32(name)):
            raise Fault("checksum", f"the checksum of the PNG's chunk {name.decode()} does not fit")
        if name == b"IHDR":
            width, height, depth, colours, interlaced = struct.unpack_from(">IIBB2xB", content)
            check_size(width, height)
            wanted = _size_of_rows(width, height, depth * _SAMPLES.get(colours, 0), bool(interlaced))
        elif name == b"IDAT" and wanted and not rows.eof:
            try:
                wanted -= len(rows.decompress(content, wanted))
            except zlib.error as error:
                raise Fault("corrupt", f"the PNG's pixels cannot be unpacked: {error}") from error
        elif name == b"fdAT" or (name == b"acTL" and content[:4] != b"\0\0\0\1"):
            raise Fault("animated", "the PNG is an animation (APNG)")
        elif name == b"tRNS" and colours in (0, 2) and depth not in (1, 8):
            # Pillow compares 16-bit keys with the 8-bit samples it has made of them.
            raise Fault("pixels", f"the PNG names a transparent colour of {depth} bits, not 1 or 8")
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[start:end])
        elif name[:1].isupper():
            raise Fault("header", f"the PNG has a chunk {name.decode()}, which only its maker can read")
        else:
            exif = content if name == b"eXIf" else exif
            metadata += size + _inflated_size(name, content)
            check_metadata(metadata)
        start = end
    if wanted:  # Pillow leaves the rows that are missing black
        raise Fault("truncated", f"the PNG's pixels lack {wanted} bytes, which Pillow would leave black")
    return PngImageFile(BytesIO(b"".join(kept))), exif


_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type of a PNG → samples of each pixel."""
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and the steps to the next ones, of each pass of an interlaced PNG (§8.1)."""


def _size_of_rows(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Return the bytes of all rows of a PNG, each with one byte for its filter (§7.2)."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    # The numbers of columns and rows of a pass are rounded up: -(-a // b).
    shapes = [(-((left - width) // right), -((top - height) // down)) for left, top, right, down in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in shapes if columns > 0)


_PACKED = re.compile(rb"(?:zTXt|iCCP)[^\0]*\0.|iTXt[^\0]*\0\x01.[^\0]*\0[^\0]*\0", re.DOTALL)
"""Name of a compressed chunk of a PNG, with all that comes before its zlib stream (§11.3)."""


def _inflated_size(name: bytes, content: bytes) -> int:
    """Return the inflated bytes of a compressed chunk, 0 for another; raise Fault above MAX_TEXT.

    Pillow has this limit, too, but a process may lift it.
    """
    if not (head := _PACKED.match(name + content)):
        return 0
    try:
        size = len(zlib.decompressobj().decompress(content[head.end() - 4 :], MAX_TEXT + 1))
    except zlib.error:
        return 0  # nothing here reads it
    if size > MAX_TEXT:
        raise Fault("metadata", f"the PNG's chunk {name.decode()} grows to more than {MAX_TEXT} bytes")
    return size


# ── JPEG, GIF, WebP ──────────────────────────────────────────────────────────────────────────────────────

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Start of a segment: not a stuffed byte, a marker without a segment, or padding."""


def _open_jpeg(data: bytes) -> Opened:
    """Open a JPEG without its metadata: the segments of applications, except JFIF and Adobe (ITU-T T.81, annex B).

    Pillow joins EXIF blocks in quadratic time and without a limit.
    """
    kept, exif, metadata, end, marker = [data[:2]], None, 0, 2, 0
    while marker != 0xDA:
        if (found := _MARKER.search(data, end)) is None:
            raise Fault("truncated", "the JPEG ends before its first scan")
        start, marker = found.start(), data[found.end() - 1]
        (size,) = struct.unpack_from(">H", data, found.end())
        if marker == 0xD9 or size < 2:  # Pillow takes a segment of one byte for an empty one
            raise Fault("header", f"the JPEG has at byte {start} its end, or a segment of fewer than 2 bytes")
        end = start + 2 + size
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, start + 5)
            check_size(width, height)
        if marker == 0xFE or (marker & 0xF0 == 0xE0 and marker not in (0xE0, 0xEE)):
            metadata += end - start
            if marker == 0xE1 and exif is None and data.startswith(b"Exif\0\0", start + 4):
                exif = data[start + 4 : end]
        else:
            kept.append(data[start:end])
    check_metadata(metadata)
    if data.find(b"\xff\xd9", end) < 0:
        # Pillow decodes some files that lack a byte or two of their last scan.
        raise Fault("truncated", "the JPEG has no end (EOI marker)")
    if (scans := 1 + data.count(b"\xff\xda", end)) > MAX_SCANS:  # Pillow has no limit
        raise Fault("too_large", f"the JPEG has {scans} scans, more than {MAX_SCANS}")
    return JpegImageFile(BytesIO(b"".join((*kept, data[end:])))), exif


def _open_gif(data: bytes) -> Opened:
    """Open a GIF of one picture, whose blocks are known and end with the trailer (GIF89a, 1990).

    Pillow enlarges a GIF of no size to its frame, skips bytes that begin no block, and needs no trailer.
    """
    check_size(*struct.unpack_from("<HH", data, 6))
    at, pictures = 13 + _size_of_palette(data[10]), 0
    while (block := data[at]) != 0x3B:
        if block == 0x2C:
            pictures += 1
            at += 11 + _size_of_palette(data[at + 9])
        elif block == 0x21:
            at += 2
        elif block != 0:
            raise Fault("corrupt", f"the GIF has a block of unknown kind {block}")
        while data[at]:
            at += data[at] + 1
        at += 1
    if pictures > 1:
        raise Fault("animated", f"the GIF has {pictures} frames")
    return GifImageFile(BytesIO(data)), None


def _size_of_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _open_webp(data: bytes) -> Opened:
    """Open a WebP of one frame (RFC 9649, §2.5 to §2.7).

    Pillow makes the canvas as it opens the file, under a limit that a process may lift: so the size is checked before.
    """
    size = int.from_bytes(data[4:8], "little") + 8
    if size > len(data) or len(data) < 30:
        raise Fault("truncated", f"the WebP has {len(data)} bytes of the {size} it declares")
    kind = data[12:16]
    if kind == b"VP8X":
        canvas = (int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        canvas = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    else:
        wide, high = struct.unpack_from("<HH", data, 26)
        canvas = (wide & 0x3FFF, high & 0x3FFF)
    check_size(*canvas)
    opened = WebPImageFile(BytesIO(data))
    if opened.is_animated:
        raise Fault("animated", f"the WebP has {opened.n_frames} frames")
    check_metadata(sum(len(opened.info.get(part, b"")) for part in ("exif", "xmp", "icc_profile")))
    return opened, opened.info.get("exif")


# ── TIFF and EXIF ────────────────────────────────────────────────────────────────────────────────────────


def _open_tiff(data: bytes) -> Opened:
    """Open a TIFF of one page, all of whose values and strips are there. Pillow applies its orientation itself.

    Pillow skips values that the file does not hold, with a warning, and leaves what strips do not cover black.
    """
    values, metadata, end, following = _read_directory(data)
    if following:
        raise Fault("pages", "the TIFF has more than one page")
    if end > len(data):
        raise Fault("truncated", "the TIFF ends before the values of its tags")
    check_metadata(metadata)
    check_size(values.get(Tag.ImageWidth, 0), values.get(Tag.ImageLength, 0))
    if Tag.TileWidth in values:
        check_size(values[Tag.TileWidth], values.get(Tag.TileLength, 0))
    opened = TiffImageFile(BytesIO(data))
    planes = len(opened.getbands()) if values.get(Tag.PlanarConfiguration) == 2 else 1
    held = sum((box[2] - box[0]) * (box[3] - box[1]) for tile in opened.tile if (box := tile[1]))
    if held < opened.width * opened.height * (planes if opened.tile[0][0] == "raw" else 1):
        raise Fault("truncated", "the TIFF has fewer strips or tiles than its size wants")
    return opened, None


_SIZES = {3: 2, 8: 2, 4: 4, 9: 4, 11: 4, 13: 4, 5: 8, 10: 8, 12: 8, 16: 8, 17: 8, 18: 8}
"""Type of a tag → bytes of each of its values, where that is not 1."""


def _read_directory(data: bytes) -> tuple[dict[int, int], int, int, int]:
    """Read the first directory of a TIFF, a BigTIFF or an EXIF block (TIFF 6.0, §2).

    Returns the first value of each tag as an integer, the bytes of all values, where the last of them ends, and the
    offset of the next directory, 0 for none. Raises struct.error if the directory is cut, ValueError if it is too long.
    Pillow's own ImageFileDirectory_v2 warns of damage instead of raising.
    """
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    sign, big = "<>"[order == "big"], b"+" in data[2:4]
    offset, counter, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    (at,) = struct.unpack_from(sign + offset, data, room)
    (count,) = struct.unpack_from(sign + counter, data, at)
    if count > 65535:
        raise ValueError(f"its first directory has {count} tags")
    entry = struct.Struct(f"{sign}HH{offset}{room}s")
    at += struct.calcsize(counter)
    last = at + count * entry.size
    values: dict[int, int] = {}
    total = end = 0
    for number, kind, length, value in entry.iter_unpack(data[at:last]):
        width = _SIZES.get(kind, 1)
        if width * length > room:
            start = int.from_bytes(value, order)
            value, end = data[start : start + width], max(end, start + width * length)
        values.setdefault(number, int.from_bytes(value[:width], order))
        total += width * length
    return values, total, end, struct.unpack_from(sign + offset, data, last)[0]


_READ: Sequence[tuple[bytes, str, Callable[[bytes], Opened]]] = (
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
