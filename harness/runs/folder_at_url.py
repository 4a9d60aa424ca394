"""Run folders at a URL: written in a local working folder, and put at the URL while they are."""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from harness.runs.folder import RunFolder
from harness.runs.holder import this_holder
from harness.runs.mirror import RESULTS, Mirror, fetch
from harness.storage.atomic import as_line, lock
from harness.storage.cache_place import default_cache_dir
from harness.storage.lease import Lease, holding
from harness.storage.places import is_url
from harness.storage.remote import RemotePlace

WORKING = "runs"
"""Folder of working folders in the cache."""


def open_run_folder(location: Path | str, cache_dir: Path | None = None) -> RunFolder:
    """Open the run folder of a local path or of a URL, which has its working folder in the cache.

    Raise UsageError for a URL that names none, UnavailableError where the package of its protocol is missing.
    """
    if not is_url(location):
        return RunFolder(Path(str(location).removeprefix("file://")))
    return RunFolderAtUrl(str(location), cache_dir or default_cache_dir())


class RunFolderAtUrl(RunFolder):
    """Writer of a run folder at a URL. `path` is its working folder, new for each writer and filled by `hold`.

    What the URL has counts: whatever another one wrote since, on whatever machine, the run goes on from there.
    """

    def __init__(self, url: str, cache_dir: Path) -> None:
        self._place = RemotePlace(url)
        self._work = cache_dir / WORKING
        self._key = hashlib.sha256(self._place.location.encode()).hexdigest()[:16]
        super().__init__(self._work / f"{self._key}-{uuid4().hex[:8]}")
        self._mirror: Mirror | None = None
        self._last_record = 0
        self._reports: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def location(self) -> str:
        """The URL."""
        return self._place.location

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the URL by a lease, fetch the run there, and hold the working folder.

        Raise UnavailableError when another process holds it, WriteError where the URL cannot be read or written.
        """
        with holding(Lease(self._place, this_holder())) as lease:
            self._remove_left()
            fetch(self._place, self._place.every_name(), self.path)
            with super().hold():
                mirror = Mirror(self.path, self._place, lease.check)
                self._check_held = mirror.check
                self._mirror = mirror
                try:
                    yield
                    mirror.sync()
                finally:
                    mirror.end()
                    self._mirror, self._check_held = None, lambda: None

    def start(self, **about: Any) -> None:
        """Create or reopen the run, here and at the URL. Raise UsageError if its suite is another, WriteError."""
        mirror, self._mirror = self._mirror, None  # nothing is put before the suite is known to be the same
        super().start(**about)
        self._mirror = mirror
        if mirror:
            mirror.begin()

    def finish(self, status: str) -> None:
        """Write the final status of the run once the URL has all of it, and make the reports that wait for that."""
        super().finish(status)
        if self._mirror:
            self._mirror.sync()
        self._report()

    def once_kept(self, report: Callable[[], None]) -> None:
        """Call `report` once the URL has all records; at the latest when the run is finished there."""
        self._reports.append((self._last_record, report))
        self._report()

    def write_predictions(self, cell_id: str, **rows: Any) -> None:
        """Write the predictions of a cell. Raise WriteError where earlier ones could not be put at the URL."""
        super().write_predictions(cell_id, **rows)
        if self._mirror:
            self._mirror.put(f"predictions/{cell_id}.parquet")

    def _append(self, name: str, line: str, *, synced: bool = True) -> None:
        super()._append(name, line, synced=synced)
        if self._mirror:
            number = self._mirror.append(name, as_line(line))
            self._last_record = number if name == RESULTS else self._last_record

    def _report(self) -> None:
        while self._reports and (self._mirror is None or self._reports[0][0] <= self._mirror.kept):
            self._reports.popleft()[1]()

    def _remove_left(self) -> None:
        """Remove the working folders of writers that have ended."""
        for folder in self._work.glob(f"{self._key}-*"):
            with lock(folder / "lock") as taken:
                if taken:
                    shutil.rmtree(folder, ignore_errors=True)
