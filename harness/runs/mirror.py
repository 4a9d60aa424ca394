"""Copy of a run folder at a URL, which a thread of its own keeps up to date while the run is written.

At the end it is a complete run folder. Before, lines of results and events are in parts (harness/storage/parts.py), as
an object store appends nothing. What is written while a put is under way is put together in the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path

from harness.api.errors import WriteError
from harness.storage.atomic import TEMPORARY
from harness.storage.lease import is_lease
from harness.storage.parts import GrowingFile, part_of, read_parts, together
from harness.storage.paths import path_inside
from harness.storage.places import Place
from harness.storage.reading import read_file

RESULTS, EVENTS, ABOUT = "results.jsonl", "events.jsonl", "run.json"


def fetch(place: Place, names: Collection[str], folder: Path) -> None:
    """Write the files of the run that lies at a place into a local folder; none where there is no run.

    Raise UnavailableError where the name of one leads out of the folder, WriteError where one cannot be written.
    """

    def write(name: str, read: Callable[[], bytes]) -> None:
        path = path_inside(folder, name, by=f"'{place.location}'")
        with suppress(FileNotFoundError):  # removed since it was listed
            data = read()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except OSError as error:
                raise WriteError.from_os(f"'{path}'", error) from error

    grown = {name for name in (RESULTS, EVENTS) if name in names or name in map(part_of, names)}
    if ABOUT not in names and RESULTS not in grown:
        return
    for name in grown:
        write(name, partial(read_parts, place, name, names))
    plain = [name for name in names if name not in grown and part_of(name) is None and _is_mirrored(name)]
    together(lambda name: write(name, partial(place.read, name)), plain)


class Mirror:
    """Writer of the copy of a local run folder at a place, from `begin` to `end`.

    `check_held` raises WriteError where the place is another process's by now. The first error ends all writing, and is
    raised by every later call of `check`, `wait` and `sync`.
    """

    def __init__(self, folder: Path, place: Place, check_held: Callable[[], None]) -> None:
        self._folder = folder
        self._place = place
        self._check_held = check_held
        self._growing = {name: GrowingFile(place, name) for name in (EVENTS, RESULTS)}
        self._files: dict[str, None] = {}
        self._put_states = {name: self._state(name) for name in self._local_names()}
        self._changed = threading.Condition()
        self._putting = threading.Lock()
        self._asked = 0
        self._is_ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self.kept = 0
        """Number of the last call of `put` and `append` whose bytes the place has."""

    def begin(self) -> None:
        """Put what the folder has, and start the thread. Raise WriteError."""
        self._put_whole()
        self._thread.start()

    def put(self, name: str) -> int:
        """Let a file be put; return the number that `kept` reaches with it."""
        with self._changed:
            self._files[name] = None
            return self._ask()

    def append(self, name: str, line: bytes) -> int:
        """Let a line be put that a file has gained, with or after all files before it; return its number."""
        with self._changed:
            self._growing[name].add(line)
            return self._ask()

    def check(self) -> None:
        """Raise the error that ended the writing."""
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Wait until all is put. Raise WriteError."""
        with self._changed:
            asked = self._asked
            self._changed.wait_for(lambda: self.kept >= asked or self._error is not None)
        self.check()

    def sync(self) -> None:
        """Make the place a complete run folder, equal to the local one. Raise WriteError."""
        self.wait()
        with self._putting:
            self._put_whole()

    def end(self) -> None:
        """End the thread, which first puts what waits."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _ask(self) -> int:
        self._asked += 1
        self._changed.notify_all()
        return self._asked

    def _run(self) -> None:
        try:
            while self._await_work():
                with self._putting:
                    self._put_waiting()
        except Exception as error:  # whoever writes next raises it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _await_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._asked > self.kept or self._is_ended)
            return self._asked > self.kept

    def _put_waiting(self) -> None:
        """Put what waits: files and events, then results, so that no record comes before its predictions."""
        with self._changed:
            asked, names = self._asked, list(self._files)
            self._files.clear()
            lines = {name: growing.take() for name, growing in self._growing.items()}
        self._check_held()
        events, results = (partial(self._growing[name].put_part, lines[name]) for name in (EVENTS, RESULTS))
        together(lambda call: call(), [*(partial(self._put, name) for name in names), events])
        results()
        with self._changed:
            self.kept = asked
            self._changed.notify_all()

    def _put(self, name: str) -> None:
        state = self._state(name)
        try:
            data = read_file(self._folder / name)
        except OSError as error:
            raise WriteError(f"'{self._folder / name}' cannot be read: {error.strerror or error}") from error
        self._place.write(name, data)
        self._put_states[name] = state

    def _put_whole(self) -> None:
        """Put every file that changed, remove those that are gone, and put run.json last, which says how it ended."""
        self._check_held()
        for name, growing in self._growing.items():
            if not growing.is_one and (self._folder / name).is_file():
                growing.put_all(read_file(self._folder / name))
        names = self._local_names()
        changed = [name for name in names if self._state(name) != self._put_states.get(name)]
        together(self._put, [name for name in changed if name != ABOUT])
        for name in self._put_states.keys() - set(names):
            self._place.remove(name)
            del self._put_states[name]
        if ABOUT in changed:
            self._put(ABOUT)

    def _local_names(self) -> list[str]:
        paths = (path for path in self._folder.rglob("*") if path.is_file() and not path.is_symlink())
        names = (path.relative_to(self._folder).as_posix() for path in paths)
        return sorted(name for name in names if name not in self._growing and _is_mirrored(name))

    def _state(self, name: str) -> tuple[int, int] | None:
        with suppress(OSError):
            status = (self._folder / name).stat()
            return status.st_size, status.st_mtime_ns
        return None


def _is_mirrored(name: str) -> bool:
    """Return whether a file belongs to a run, and not to the process that writes it."""
    last = name.rpartition("/")[2]
    return name != "lock" and not is_lease(last) and not last.startswith(TEMPORARY)
