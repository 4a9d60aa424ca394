"""Training and held-out images from files. The split comes from the row, else from a folder's name, else from a hash
of the content, as for texts (`harness.data.corpus`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from harness.api.data import Image
from harness.api.errors import DataError
from harness.data.corpus import SPELLED, Kept, Part, find_files, part_of, read_part
from harness.data.image_folder import SUFFIXES, name_splits
from harness.data.image_limits import Broken
from harness.data.images import read_images
from harness.storage.parsing import parsing
from harness.storage.reading import open_parquet

IMAGE_BYTES = 4_000_000_000
"""Maximum bytes of images from .parquet in memory, for each split. Image files are kept as paths."""

_TOGETHER = 256
"""Number of images decoded at once."""


def read_image_corpus(
    sources: Sequence[Path], *, tell: Callable[[str], None] = lambda line: None
) -> tuple[list[Image], list[Image]]:
    """Return training and held-out images, each once, sorted by id. An image that is held out anywhere is not trained
    on. Broken images are left out, and `tell` receives one line with their number.

    A source is a .parquet file with a column `image`, an image file, or a folder that is searched for such files
    recursively; tables without that column are skipped. Folders named like a split, as in `test/CLASS/1.png`, assign
    their images to it if every folder beside them is named so too. DataError for a source that is missing or
    unreadable, and if no image is left.
    """
    kept: dict[Part, Kept[Image]] = {"train": Kept(IMAGE_BYTES), "heldout": Kept(IMAGE_BYTES)}
    broken: list[Broken] = []
    count = 0
    rows = (row for source in sources for row in _read_all(source))
    while group := list(islice(rows, _TOGETHER)):
        for image, (_, named) in zip(read_images([value for value, _ in group]), group, strict=True):
            count += 1
            if isinstance(image, Broken):
                broken.append(image)
                continue
            place = int(image.id, 16)
            size = len(image.encoded) if isinstance(image.encoded, bytes) else 0
            kept[named or part_of(place)].add(place, image, size)
    if broken:
        tell(f"{len(broken)} of {count} images are broken and left out; of the first, {broken[0].reason}")
    kept["train"].drop(kept["heldout"].known)
    for part, images in kept.items():
        if not len(images):
            raise DataError(f"there are no {SPELLED[part]} images in {', '.join(map(str, sources))}")
    return list(kept["train"].take()), list(kept["heldout"].take())


_Row = tuple[Any, Part | None]
"""Encoded image or its path, and the split that its row or folder names, if any."""


def _read_all(source: Path) -> Iterator[_Row]:
    found = False
    endings = (".parquet", *SUFFIXES)
    paths = find_files(
        source, lambda path: path.name.lower().endswith(endings), ", ".join(endings), pattern="**/*"
    )
    splits = _find_splits(source, paths)
    for path in paths:
        by_folder = next((splits[folder] for folder in reversed(path.parents) if folder in splits), None)
        rows = _rows(path) if path.suffix.lower() == ".parquet" else iter([(path, None)])
        for value, named in rows:
            found = True
            yield value, named or by_folder
    if not found:
        raise DataError(f"'{source}' has no rows with a column 'image'")


def _find_splits(source: Path, paths: Sequence[Path]) -> Mapping[Path, Part]:
    """Return the split of each folder that is named like one, as is every folder with such files beside it."""
    beside: dict[Path, set[Path]] = defaultdict(set)
    for path in paths:
        for folder in path.parents[: len(path.relative_to(source).parts) - 1]:
            beside[folder.parent].add(folder)
    splits: dict[Path, Part] = {}
    for above, folders in beside.items():
        with parsing(f"'{above}' cannot be read as a folder of images", kind=DataError):
            named = name_splits({folder.name for folder in folders})
        for folder in folders if named else ():
            splits[folder] = "train" if named[folder.name] == "train" else "heldout"
    return splits


def _rows(path: Path) -> Iterator[_Row]:
    """Yield the rows of a table; none if it has no column `image`."""
    with parsing(f"'{path}' cannot be read", kind=DataError), open_parquet(path) as table:
        names = [name for name in ("image", "split") if name in table.schema_arrow.names]
        if "image" not in names:
            return
        for batch in table.iter_batches(batch_size=_TOGETHER, columns=names):
            for row in batch.to_pylist():
                yield row["image"], read_part(path, row.get("split"))
