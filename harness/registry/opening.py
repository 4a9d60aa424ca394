"""Opening of the registry: the installed plugins, as the environment and the command line choose them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from harness.registry.catalog import Registry
from harness.registry.loading import Fault, find_candidates, load_plugins
from harness.registry.local_modules import importable


def open_registry(
    plugins: Collection[str] = (),
    report: Callable[[Fault], None] = lambda fault: None,
    *,
    cache_dir: Path | None = None,
) -> Registry:
    """Load the plugins in HARNESS_PLUGINS (`none`, or names; all if unset) and those in `plugins`: modules, also of the
    working folder, or paths of files.

    What they keep in the cache lies in `cache_dir`, if that is not None.
    """
    setting = os.environ.get("HARNESS_PLUGINS", "").strip()
    names = {name.strip() for name in setting.split(",") if name.strip()}
    only = None if not names or names == {"all"} else names - {"none"}
    candidates = find_candidates(
        only=only,
        without={name.removeprefix("no:") for name in plugins if name.startswith("no:")},
        modules=[importable(name) for name in plugins if not name.startswith("no:")],
    )
    return Registry(load_plugins(candidates), report, cache_dir)
