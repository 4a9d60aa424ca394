"""Limits on image files, and the names of what can be wrong with them.

Everything that reads an image raises Fault, with one of KINDS; callers turn it into Broken, or into DataError.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import PIL.Image

KINDS: Mapping[str, str] = {
    "missing": "no image was given",
    "type": "the value is of a type that holds no image",
    "no_file": "there is no file at the path",
    "unlisted": "the metadata of the folder do not name the file",
    "unlabelled": "the file lies in no folder of a class",
    "directory": "the path leads to a directory",
    "unreadable": "the system does not let the file be read, or it is no ordinary file",
    "empty": "the file has no bytes",
    "no_image": "the bytes are those of no image: text, HTML or something unknown",
    "format": "the image is of a format that is not read",
    "header": "the header makes no sense",
    "zero_sized": "the image has no width or no height",
    "too_large": "the image declares more than can be meant: a decompression bomb",
    "metadata": "the metadata beside the pixels take too much room: a decompression bomb, too",
    "truncated": "the file ends early",
    "checksum": "a checksum does not fit its bytes",
    "corrupt": "the pixels cannot be decoded",
    "animated": "the image is an animation",
    "pages": "the file has more than one page",
    "pixels": "the pixels are of a type that has no scale from black to white",
}
"""Kinds of faults, each with a sentence. Records hold these names: they must not change."""

MAX_PIXELS = 1024**3 // 4 // 3
"""Limit on width times height: the number at which Pillow begins to warn, a quarter of a gibibyte as RGB."""
MAX_BYTES = 1024**3
"""Limit on the bytes of a file."""
MAX_METADATA = 16 * 1024**2
"""Limit on the bytes of all metadata of a file, uncompressed."""
MAX_TEXT = 1024**2
"""Limit on the bytes of one compressed text or profile of a PNG once inflated; the same as Pillow's."""
MAX_SCANS = 100
"""Limit on the scans of a progressive JPEG: each costs a pass over all pixels, and a dozen are usual."""


@dataclass(frozen=True)
class Broken:
    """A source that holds no usable image: one of KINDS, and the reason.

    The reason quotes nothing of the file except names that its format defines, because records keep it.
    """

    kind: str
    reason: str


class Fault(Exception):
    """A fault of an image, raised at the place that finds it."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.broken = Broken(kind, reason)


@contextmanager
def naming_faults(kind: str, what: str) -> Iterator[None]:
    """Raise every exception of the block as a Fault of this kind, or of a more exact one.

    A Fault and MemoryError pass unchanged. `what` begins the reason: "its header as PNG cannot be read".
    """
    try:
        yield
    except (Fault, MemoryError):
        raise
    except PIL.Image.DecompressionBombError as error:
        raise Fault("too_large", f"{what}: {error}") from error
    except Exception as error:  # Pillow and its codecs raise any type on a broken file
        cause = error.__cause__ or error
        if isinstance(cause, struct.error | IndexError | EOFError):
            raise Fault("truncated", f"{what}: the file ends early") from error
        said = " ".join(str(cause).split())
        plain = _QUOTED.split(said)[0].strip() or type(cause).__name__
        raise Fault("truncated" if _EARLY.search(said) else kind, f"{what}: {plain}") from error


_EARLY = re.compile("truncated|not enough image data", re.IGNORECASE)
_QUOTED = re.compile(r"""\(?(:|(?<!\w)b?['"])""")
"""Start of the part of a message of Pillow that quotes bytes of the file."""


def check_size(width: int, height: int) -> None:
    """Raise Fault unless there is at least one pixel and at most MAX_PIXELS."""
    if width <= 0 or height <= 0:
        raise Fault("zero_sized", f"it is {width} × {height} pixels large")
    if width * height > MAX_PIXELS:
        raise Fault("too_large", f"it declares {width} × {height} pixels, more than {MAX_PIXELS}")


def check_metadata(size: int) -> None:
    """Raise Fault if the metadata take more than MAX_METADATA bytes."""
    if size > MAX_METADATA:
        raise Fault("metadata", f"its metadata take {size} bytes, more than {MAX_METADATA}")
