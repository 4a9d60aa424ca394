"""Command `harness cache`: inspect, verify and prune the feature cache."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.api.errors import GateError, UsageError
from harness.cli.options import cache_dir_option, json_option
from harness.cli.streams import echo
from harness.storage.cache_place import FOLDERS

if TYPE_CHECKING:
    from harness.storage.cache import Entry

SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@click.group("cache", no_args_is_help=False)
def command() -> None:
    """Inspect, verify and prune the feature cache."""


@command.command("info")
@cache_dir_option
@json_option
def info(cache_dir: Path | None, as_json: bool) -> None:
    """Print the size, age and origin of what the cache holds."""
    from harness.storage.cache import list_entries
    from harness.storage.cache_place import default_cache_dir

    root = cache_dir or default_cache_dir()
    entries = list_entries(root)
    facts: dict[str, Any] = {
        "folder": str(root),
        "complete": sum(entry.complete and entry.kind != "plans" for entry in entries),
        "incomplete": sum(not entry.complete and entry.kind != "leftovers" for entry in entries),
        "files": sum(len(entry.files) for entry in entries),
        "bytes": sum(entry.bytes for entry in entries),
        "oldest": _date(entries[0].used) if entries else None,
        "newest": _date(entries[-1].used) if entries else None,
        "of": _by_origin(entries),
    }
    if as_json:
        echo(json.dumps(facts, ensure_ascii=False))
        return
    echo(
        f"folder     {facts['folder']}\n"
        f"sets       {facts['complete']} complete, {facts['incomplete']} incomplete\n"
        f"size       {_size(facts['bytes'])} in {facts['files']} files\n"
        f"last used  {facts['oldest'] or 'never'} … {facts['newest'] or ''}".rstrip(" …")
    )
    for row in facts["of"]:
        echo(f"{_size(row['bytes']):>11}  {row['sets']:>4} × {row['what']}")


@command.command("verify")
@click.option("--remove", is_flag=True, help="Remove damaged files; the next run makes them again.")
@cache_dir_option
@json_option
def verify(cache_dir: Path | None, remove: bool, as_json: bool) -> None:
    """Read every file and compare its checksum.

    Exit code 4 if a file is damaged. Nothing changes without --remove.
    """
    from harness.storage.cache import find_damage, list_entries
    from harness.storage.cache_place import default_cache_dir

    root = cache_dir or default_cache_dir()
    files = sum(len(entry.files) for entry in list_entries(root))
    damage = {str(path): problem for path, problem in find_damage(root, remove=remove).items()}
    if as_json:
        echo(json.dumps({"folder": str(root), "files": files, "damaged": damage, "removed": remove}))
    else:
        for path, problem in damage.items():
            echo(f"{path}: {problem}")
    if damage:
        mend = "removed; the next run makes them again" if remove else "--remove takes them away"
        raise GateError(f"{len(damage)} damaged of {files} files in the cache '{root}': {mend}")
    if not as_json:
        echo(f"{files} files, all sound")


@command.command("prune")
@click.option("--older-than", metavar="AGE", help="Remove what was not used for so long: 30d, 12h, 45m.")
@click.option("--max-size", metavar="SIZE", help="Remove the least recently used down to this size: 20GB.")
@click.option("--incomplete", is_flag=True, help="Remove what a run has not finished.")
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed; remove nothing.")
@cache_dir_option
@json_option
def prune(
    cache_dir: Path | None,
    older_than: str | None,
    max_size: str | None,
    incomplete: bool,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove features from the cache. While a run uses it, what was used within the last hour stays."""
    from harness.storage import cache
    from harness.storage.cache_place import default_cache_dir

    if not (older_than or max_size or incomplete or everything):
        raise UsageError("say what to prune: --older-than AGE, --max-size SIZE, --incomplete or --all")
    root = cache_dir or default_cache_dir()
    cache.list_entries(root)  # raises if there is no cache, before a lock file is created there
    pruned = cache.prune(
        root,
        older_than=read_amount(older_than, AGES, "--older-than", "30d or 12h") if older_than else None,
        max_bytes=int(read_amount(max_size, SIZES, "--max-size", "20GB or 500MB")) if max_size else None,
        incomplete=incomplete,
        everything=everything,
        dry_run=dry_run,
    )
    if as_json:
        facts = {"folder": str(root), "bytes": pruned.bytes, "dry_run": dry_run}
        names = {"taken": pruned.taken, "spared": pruned.spared, "redated": pruned.redated}
        echo(json.dumps(facts | {name: [str(one.path) for one in some] for name, some in names.items()}))
        return
    for row in _by_origin(pruned.taken):
        echo(f"{_size(row['bytes']):>11}  {row['sets']:>4} × {row['what']}")
    echo(f"{_size(pruned.bytes)} {'would be freed' if dry_run else 'freed'}")
    if pruned.redated:
        verb = "would count" if dry_run else "count"
        echo(f"{len(pruned.redated)} were dated in the future, and {verb} as used now")
    if pruned.spared:
        echo(f"{len(pruned.spared)} stay: a run uses the cache, and used them within the last hour")


def read_amount(text: str, units: Mapping[str, int], option: str, example: str) -> float:
    """Convert `20GB` or `30d` to bytes or seconds; raise click.BadParameter for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text, re.ASCII)
    known = {name.lower(): value for name, value in units.items()}
    if match is None or match[2].lower() not in known:
        raise click.BadParameter(
            f"'{text}' is not of the form {example} (units: {', '.join(units)})", param_hint=option
        )
    return float(match[1]) * known[match[2].lower()]


def _by_origin(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Count sets and bytes by what they were made from, largest first."""
    sets: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for entry in entries:
        what = _origin(entry)
        sets[what] += 1
        size[what] += entry.bytes
    return [{"what": what, "sets": sets[what], "bytes": size[what]} for what, _ in size.most_common()]


def _origin(entry: Entry) -> str:
    about = entry.about.get("of")
    if entry.kind == FOLDERS and entry.complete:
        return str(entry.about.get("what"))
    if isinstance(about, dict):
        return f"{about.get('task')}, {about.get('model')}, {about.get('representation')}"
    return entry.kind if entry.complete or entry.kind == "leftovers" else f"{entry.kind}, incomplete"


def _size(count: int) -> str:
    for unit in ("GB", "MB", "kB"):
        if count >= SIZES[unit]:
            return f"{count / SIZES[unit]:.1f} {unit}"
    return f"{count} B"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
