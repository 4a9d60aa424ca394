"""Worker process: reads work from standard input, and writes the results of its cells to standard output.

A process of its own makes from the start what a fork cannot: one thread for each library, whatever the parent's threads
hold. Plugins are loaded here by the same names; their code is refused if it is not the code that the parent loaded.
"""

from __future__ import annotations

import io
import os
import pickle
import queue
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

from harness.api.errors import ENDS_RUN, ChangedError, HarnessError, UnavailableError, describe
from harness.api.specs import Spec
from harness.api.text import printable
from harness.registry.loading import Plugin, Plugins, find_candidates, load_plugins, offer_name
from harness.runs.messages import LossyStream
from harness.runs.work import BundleRows, Failure, Result, Work
from harness.storage.feature_store import FeatureStore

SIZE = 8
"""Bytes that say how long a message is."""


@dataclass(frozen=True)
class Ending:
    """Last message on a piece of work, with the reason why the rest of its cells has no results, if it has none.

    An error of ENDS_RUN ends the run, another HarnessError says that this process cannot do the work, and a Failure is
    that of the next cell.
    """

    reason: HarnessError | Failure | None = None


def send(stream: IO[bytes], data: bytes) -> None:
    """Write one message."""
    stream.write(len(data).to_bytes(SIZE, "little") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes:
    """Read one message. Raise EOFError where the other side has ended."""
    return _read(stream, int.from_bytes(_read(stream, SIZE), "little"))


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


# ── what plugins offer, by name ──────────────────────────────────────────────────────────────────────────


class NotSharedError(Exception):
    """Work that cannot be given to another process; the message says why."""


@dataclass(frozen=True)
class _Offer:
    """Name of what a plugin offers, and of the code that stands behind it."""

    plugin: str
    distribution: str
    digest: str
    kind: str
    offer: str


class Packer:
    """Writer of work for another process: what plugins offer goes by name, and rows go once to each process."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def pack(self, work: Work, sent: BundleRows | None) -> bytes:
        """Return a message of work; the rows of its bundle are in it unless they are those that were `sent`.

        Raise NotSharedError for what has no name by which another process could find it.
        """
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.offers, pickler.sent = self._offers, sent
        try:
            pickler.dump(work)
        except (NotSharedError, HarnessError):
            raise
        except Exception as error:  # parameters and inputs may be anything
            raise NotSharedError(describe(error)) from error
        return buffer.getvalue()

    @cached_property
    def _offers(self) -> Mapping[int, _Offer]:
        """The name of everything that the plugins offer, by its `id`."""
        return {
            id(spec): _Offer(plugin.name, plugin.distribution, _digest(plugin), kind, offer_name(spec))
            for plugin in self._plugins.loaded
            for kind, specs in plugin.offers.items()
            for spec in specs
        }


def _digest(plugin: Plugin) -> str:
    """Return the hash of a plugin's files, where they are a part of identities."""
    return plugin.source.digest if plugin.source and plugin.source.files else ""


class _Pickler(pickle.Pickler):
    offers: Mapping[int, _Offer]
    sent: BundleRows | None

    def persistent_id(self, value: Any) -> Any:
        if value is self.sent and value is not None:
            return "rows"
        if not isinstance(value, Spec):
            return None
        if id(value) not in self.offers:
            raise NotSharedError(f"'{value.name}' is offered by no plugin")
        return self.offers[id(value)]


class _Unpickler(pickle.Unpickler):
    rows: BundleRows | None

    def persistent_load(self, name: Any) -> Any:
        return self.rows if name == "rows" else _find_offer(name)


def _find_offer(name: _Offer) -> Any:
    """Return what a plugin offers under a name.

    Raise UnavailableError where the plugin cannot be loaded or does not offer it here, and ChangedError where its code
    was edited.
    """
    plugin = _load_plugin(name.plugin, name.distribution)
    if (plugin.distribution, _digest(plugin)) != (name.distribution, name.digest):
        raise ChangedError(f"plugin '{name.plugin}' was edited after it was imported: start the command anew")
    # Its order may be another one here, as where a hook goes through a set.
    for offer in plugin.offers[name.kind]:
        if offer_name(offer) == name.offer:
            return offer
    raise UnavailableError(f"plugin '{name.plugin}' does not offer '{name.offer}' in another process")


@cache
def _load_plugin(name: str, distribution: str) -> Plugin:
    is_installed = not distribution.startswith(f"{name}@")
    plugins = load_plugins(
        find_candidates(only={name} if is_installed else (), modules=() if is_installed else (name,))
    )
    if not plugins.loaded:
        raise UnavailableError("; ".join(map(str, plugins.faults)) or f"plugin '{name}' cannot be found")
    return plugins.loaded[0]


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────


def _nothing() -> int:
    """Return a stream, as a number, that is at its end."""
    end, beginning = os.pipe()
    os.close(beginning)
    return end


def main() -> None:
    """Run the work that standard input sends, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows, Ctrl-C reaches this process too
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what plugins print is no answer
    os.dup2(_nothing(), 0)  # what plugins start must not read the questions
    # A child that outlives this process must not keep the parent writing to it.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=questions.raw.close)
    sys.stdout, sys.stderr = sys.stderr, LossyStream(sys.stderr)
    spell = warnings.formatwarning
    warnings.formatwarning = lambda *said, **more: printable(spell(*said, **more))
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions, waiting), daemon=True).start()
    store, rows = FeatureStore(Path(sys.argv[1])), None
    send(answers, pickle.dumps(Ending()))  # this process can be used
    while True:
        ending, work = _unpack(waiting.get(), rows)
        if work is not None:
            rows = work.bundle
            ending = _do(work, store, answers)
        send(answers, pickle.dumps(ending))


def _listen(questions: IO[bytes], waiting: queue.SimpleQueue[bytes]) -> None:
    """Read messages ahead, and end the process, with what it has started, as soon as the other side ends, also
    amid a fit."""
    while True:
        try:
            waiting.put(receive(questions))
        except (EOFError, OSError):
            if os.name == "posix" and os.getpgrp() == os.getpid():  # else it is the group of who started it
                os.killpg(0, signal.SIGKILL)
            os._exit(0)


def _unpack(message: bytes, rows: BundleRows | None) -> tuple[Ending, Work | None]:
    unpickler = _Unpickler(io.BytesIO(message))
    unpickler.rows = rows
    try:
        return Ending(), unpickler.load()
    except HarnessError as error:
        return Ending(error), None
    except Exception as error:  # code of plugins is imported here
        return Ending(UnavailableError(describe(error))), None


def _do(work: Work, store: FeatureStore, answers: IO[bytes]) -> Ending:
    results = work.run(store)
    while True:
        try:
            result = next(results, None)
        except ENDS_RUN as error:
            return Ending(error)
        except BaseException as error:  # a plugin may end the process, and a library break off
            return Ending(Failure(status="failed", error=describe(error)))
        if result is None:
            return Ending()
        send(answers, _pack_result(result))


def _pack_result(result: Result) -> bytes:
    try:
        return pickle.dumps(result)
    except Exception as error:  # parameters of plugins may be anything
        return pickle.dumps(Failure(status="failed", error=describe(error)))
