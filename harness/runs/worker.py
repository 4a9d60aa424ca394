"""Worker: does packed work in another process, with the plugins, models and dictionaries of the same names.

Their code and files are refused if they are not those that the parent saw: results would carry a wrong identity.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from harness.api.errors import ENDS_RUN, ChangedError, HarnessError, UnavailableError, describe
from harness.api.executors import Answer, WorkerSetting
from harness.api.protocols import PlacedRepresentation
from harness.api.threads import let_threads_sleep
from harness.models.loaded import KeptModel
from harness.models.opened import OpenModel, bind_to_task, locate
from harness.registry.catalog import Choice, Registry
from harness.registry.loading import Plugin, find_candidates, load_plugins, offer_name
from harness.runs.desk import Desk
from harness.runs.forward_work import FeaturesMade, ForwardWork
from harness.runs.packing import (
    ChoiceName,
    ModelName,
    OfferName,
    PlacedName,
    digest,
    hash_identities,
)
from harness.runs.work import BundleRows, Failure, Result, Work
from harness.storage.feature_store import FeatureStore
from harness.storage.hashing import hash_json


def open_worker(setting: WorkerSetting) -> PackedWorker:
    """Make this process like the one that runs the suite, as `setting` says, and return its worker."""
    let_threads_sleep()
    if setting.offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    sys.path[:] = [*dict.fromkeys([*setting.path, *sys.path])]
    if setting.folder and Path(setting.folder).is_dir():  # references to local files are relative to it
        os.chdir(setting.folder)
    return PackedWorker(setting)


class PackedWorker:
    """Doer of packed work. It keeps the rows of the last bundle, and the model that it has loaded."""

    def __init__(self, setting: WorkerSetting) -> None:
        self._setting = setting
        self._rows: BundleRows | None = None
        self._finder = _Finder(setting)
        self._models = KeptModel(keeps=True)

    def run(self, body: bytes, shared: bytes | None = None) -> Iterator[Answer]:
        """Yield the answers on packed work: each result, then the end."""
        done = 0  # counted from the beginning of the unit
        events: list[Mapping[str, Any]] = []
        desk = self._sit_down(events)
        try:
            done, work = self._unpack(body, shared)
            for result in work.run(desk):
                yield Answer(first=done, results=(_pack(result),), events=_take(events), is_last=False)
                done += 1
        except ENDS_RUN as error:
            yield Answer(first=done, events=_take(events), error=error)
        except _UnreadableError as error:
            yield Answer(first=done, error=error.reason)
        except Exception as error:
            yield self._fail(done, error, events)
        except (SystemExit, GeneratorExit, KeyboardInterrupt) as error:
            if isinstance(error, GeneratorExit):  # nobody waits for answers any more
                raise
            yield self._fail(done, error, events)  # a plugin may end the process, and a library break off
        else:
            yield Answer(first=done, events=_take(events))

    @staticmethod
    def _fail(done: int, error: BaseException, events: list[Mapping[str, Any]]) -> Answer:
        failure = Failure(status="failed", error=describe(error))
        return Answer(first=done, results=(_pack(failure),), events=_take(events))

    def _sit_down(self, events: list[Mapping[str, Any]]) -> Desk:
        """Return the desk of one piece of work, which notes its events."""

        def tell(event: str, **fields: Any) -> None:
            events.append({"event": event, **fields})

        setting = self._setting
        return Desk(store=FeatureStore(setting.store), device=setting.device, models=self._models, tell=tell)

    def _unpack(self, body: bytes, shared: bytes | None) -> tuple[int, Work | ForwardWork]:
        """Return how many results come before those of the work, and the work.

        Raise _UnreadableError for what cannot be read in this process.
        """
        try:
            if shared is not None:
                self._rows = None
                self._rows = self._load(shared)
            done, work, tokens = self._load(body)
        except HarnessError as error:
            raise _UnreadableError(error) from error
        except Exception as error:  # code of plugins is imported here
            raise _UnreadableError(UnavailableError(describe(error))) from error
        if isinstance(work, ForwardWork):
            self._set_threads()
            work = replace(work, bundle=replace(work.bundle, tokens=tokens.unpack()))
        return done, work

    def _set_threads(self) -> None:
        """Give PyTorch the threads of the setting, each time: it keeps those of the process's first work otherwise."""
        import torch

        torch.set_num_threads(self._setting.threads)

    def _load(self, data: bytes) -> Any:
        unpickler = _Unpickler(io.BytesIO(data))
        unpickler.rows, unpickler.finder = self._rows, self._finder
        return unpickler.load()


class _UnreadableError(Exception):
    """Work that this process cannot read; `reason` says why."""

    def __init__(self, reason: HarnessError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _take(events: list[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return the events so far, and forget them."""
    taken = tuple(events)
    events.clear()
    return taken


def _pack(result: Result | FeaturesMade) -> bytes:
    try:
        return pickle.dumps(result)
    except Exception as error:  # parameters of plugins may be anything
        return pickle.dumps(Failure(status="failed", error=describe(error)))


class _Unpickler(pickle.Unpickler):
    rows: BundleRows | None
    finder: _Finder

    def persistent_load(self, name: Any) -> Any:
        if name == "rows":
            return self.rows
        return self.finder.find(name)


class _Finder:
    """Finder of what stands behind the names in packed work."""

    def __init__(self, setting: WorkerSetting) -> None:
        self._setting = setting
        self._opened: dict[ModelName, OpenModel] = {}

    def find(self, name: Any) -> Any:
        """Return what has a name. Raise UnavailableError where it is not here, ChangedError where it is another."""
        if isinstance(name, OfferName):
            return _find_offer(name)
        if isinstance(name, ChoiceName):
            return self._choose(name)
        if isinstance(name, ModelName):
            return self._open(name)
        assert isinstance(name, PlacedName)
        return self._place(name)

    @cached_property
    def _registry(self) -> Registry:
        """The offers of the plugins that the parent has loaded."""
        installed = {
            name for name, distribution in self._setting.plugins if not _is_module(name, distribution)
        }
        modules = [name for name, distribution in self._setting.plugins if _is_module(name, distribution)]
        cache_dir = self._setting.cache_dir
        candidates = find_candidates(only=installed, modules=modules)
        return Registry(load_plugins(candidates), cache_dir=Path(cache_dir) if cache_dir else None)

    def _choose(self, name: ChoiceName) -> Choice:
        choice = self._registry.choose(name.kind, {"name": name.name, **dict(name.given)})
        _check_same(hash_json(choice.identity), name.identity, name.kind.removesuffix("s"), choice.label)
        return choice

    def _open(self, name: ModelName) -> OpenModel:
        """Return a model, opened once: its tokenizer and configuration are read then."""
        if name not in self._opened:
            choice = self._choose(name.choice)
            opened = OpenModel(
                choice=choice, model=choice.make(), sites=name.sites, ref=name.ref, shown=name.shown
            )
            _check_same(hash_identities(opened), name.identity, "model", choice.label)
            self._opened = {name: opened}
        return self._opened[name]

    def _place(self, name: PlacedName) -> PlacedRepresentation:
        choice = self._choose(name.representation)
        placed = locate(choice, self._open(name.model), name.site, self._registry)
        if name.task:
            placed = bind_to_task(placed, choice, name.task, name.classes)
        _check_same(hash_json(placed.identity), name.identity, "representation", choice.label)
        return placed


def _check_same(found: str, expected: str, what: str, label: str) -> None:
    """Raise ChangedError where something is not, in this process, what it is in the parent."""
    if found != expected:
        raise ChangedError(
            f"{what} '{label}' is another one for a worker than for this command: give both the same files and "
            f"versions, and run the same command again"
        )


def _is_module(name: str, distribution: str) -> bool:
    """Return whether a plugin is a module that is not installed: the hash of its files is its version."""
    return distribution.startswith(f"{name}@")


def _find_offer(name: OfferName) -> Any:
    """Return what a plugin offers under a name.

    Raise UnavailableError where the plugin cannot be loaded or does not offer it here, and ChangedError where its code
    was edited.
    """
    plugin = _load_plugin(name.plugin, name.distribution)
    if (plugin.distribution, digest(plugin)) != (name.distribution, name.digest):
        raise ChangedError(f"plugin '{name.plugin}' was edited after it was imported: start the command anew")
    # Its order may be another one here, as where a hook goes through a set.
    for offer in plugin.offers[name.kind]:
        if offer_name(offer) == name.offer:
            return offer
    raise UnavailableError(f"plugin '{name.plugin}' does not offer '{name.offer}' in another process")


@cache
def _load_plugin(name: str, distribution: str) -> Plugin:
    is_module = _is_module(name, distribution)
    plugins = load_plugins(
        find_candidates(only=() if is_module else {name}, modules=(name,) if is_module else ())
    )
    if not plugins.loaded:
        raise UnavailableError("; ".join(map(str, plugins.faults)) or f"plugin '{name}' cannot be found")
    return plugins.loaded[0]
