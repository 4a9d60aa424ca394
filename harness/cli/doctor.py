"""Command `harness doctor`: report versions, device, folders and plugins."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import click

from harness.api.errors import UnavailableError
from harness.cli.options import json_option, open_registry
from harness.cli.streams import echo

PACKAGES = ("torch", "transformers", "datasets", "scikit-learn", "pandas", "pluggy", "open-clip-torch")


@click.command("doctor")
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """Check the environment and every plugin. Exit code 3 if a plugin was left out."""
    registry = open_registry(context)
    faults = [str(fault) for fault in registry.faults]
    warnings = [str(warning) for warning in registry.plugins.warnings]
    facts = _facts()
    plugins = {plugin.name: plugin.distribution for plugin in registry.plugins.loaded}
    if as_json:
        echo(json.dumps({**facts, "plugins": plugins, "warnings": warnings, "left_out": faults}))
        return UnavailableError.exit_code if faults else 0
    for name, value in facts.items():
        echo(f"{name:<16}  {value}")
    for name, distribution in plugins.items():
        echo(f"{'plugin':<16}  {name} ({distribution})")
    for warning in warnings:
        echo(f"{'warning':<16}  {warning}")
    for fault in faults:
        echo(f"{'left out':<16}  {fault}")
    return UnavailableError.exit_code if faults else 0


def _facts() -> dict[str, Any]:
    import psutil

    from harness.storage.cache_place import default_cache_dir

    cache = default_cache_dir()
    data = os.environ.get("HARNESS_DATA_DIR")
    from harness.registry.source import installed_version

    return {
        "harness": installed_version("sae-harness"),
        "python": platform.python_version(),
        **{package: installed_version(package) or "not installed" for package in PACKAGES},
        "device": _device(),
        "cores": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "cache": f"{cache} ({_free(cache):.0f} GiB free)",
        "data": f"{data}{'' if Path(data).is_dir() else ' (does not exist)'}"
        if data
        else "HARNESS_DATA_DIR is not set",
    }


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu (no CUDA device)"
    return f"cuda: {torch.cuda.device_count()} × {torch.cuda.get_device_name()}"


def _free(path: Path) -> float:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free / 2**30
