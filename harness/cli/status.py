"""Command `harness status`: show the progress of a run."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from harness.cli.options import PATH, json_option
from harness.cli.streams import echo


@click.command("status")
@click.argument("run", type=PATH)
@json_option
def command(run: Path, as_json: bool) -> None:
    """Show the progress of RUN: cells by task, the bundle at work, and its process. Exit code 3 without a run."""
    facts = _facts(run)
    echo(json.dumps(facts, ensure_ascii=False) if as_json else _lines(facts))


def _facts(path: Path) -> dict[str, Any]:
    from harness.runs.state import RunState

    run = RunState(path)
    about, status = run.about(), run.status
    ends = run.ends()
    events = list(run.events())
    begun = [event for event in events if event.get("event") == "bundle"]
    by_task: dict[str, list[str]] = {}
    for end in ends:
        by_task.setdefault(end.task, []).append(end.status)
    return {
        "run": str(path),
        "suite": about.get("suite", {}).get("name"),
        "status": status,
        "process": run.is_at_work,
        "started": about.get("started"),
        "finished": about.get("finished"),
        "cells": len(about.get("cells", ())),
        **_count([end.status for end in ends], len(about.get("cells", ()))),
        "tasks": {
            task: {"cells": n} | _count(by_task.get(task, []), n)
            for task, n in about.get("tasks", {}).items()
        },
        "left_out": about.get("left_out", {}),
        "bundle": {"name": begun[-1].get("bundle"), "since": begun[-1].get("time")}
        if status == "running" and begun
        else None,
        "last_event": {key: events[-1].get(key) for key in ("time", "event")} if events else None,
        "disk": _size(path),
    }


def _count(ends: list[str], n: int) -> dict[str, int]:
    ok = ends.count("ok")
    return {"ok": ok, "failed": len(ends) - ok, "pending": n - len(ends)}


_PROCESS = {True: "at work", False: "none", None: "not known: it was started on another machine"}


def _lines(facts: dict[str, Any]) -> str:
    bundle, event = facts["bundle"], facts["last_event"]
    entries = [
        ("suite", facts["suite"]),
        ("status", facts["status"]),
        ("process", _PROCESS[facts["process"]]),
        ("started", facts["started"]),
        ("finished", facts["finished"]),
        ("cells", _progress(facts)),
        *((f"  {task}", _progress(counts)) for task, counts in facts["tasks"].items()),
        *(("left out", reason) for reason in facts["left_out"].values()),
        ("bundle", bundle and f"{bundle['name']}, since {bundle['since']}"),
        ("last event", event and f"{event['event']}, {event['time']}"),
        ("disk", f"{facts['disk'] / 2**20:.1f} MiB, features in the cache aside"),
    ]
    width = max(len(name) for name, value in entries if value)
    return "\n".join(f"{name:<{width}}  {' '.join(str(value).split())}" for name, value in entries if value)


def _progress(counts: dict[str, int]) -> str:
    more = "".join(f", {counts[name]} {name}" for name in ("failed", "pending") if counts[name])
    return f"{counts['ok']} of {counts['cells']}{more}"


def _size(folder: Path | str) -> int:
    """Return the bytes of the files below a folder; those of a linked file are counted, of a linked folder not."""
    size = 0
    with (
        suppress(OSError),  # a running process removes temporary files, and some folders cannot be read
        os.scandir(folder) as entries,
    ):
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    size += _size(entry.path)
                elif entry.is_file():
                    size += entry.stat().st_size
    return size
