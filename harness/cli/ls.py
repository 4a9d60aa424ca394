"""Command `harness ls`: list tasks, models, plugins and everything else that has a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from harness.api.errors import UsageError, did_you_mean
from harness.cli.options import json_option, open_registry
from harness.cli.streams import echo
from harness.registry.listing import list_plugins
from harness.registry.loading import OFFERED

KINDS = (*OFFERED, "plugins", "runs")


@click.command("ls", help=f"List everything of one KIND, with its origin: {', '.join(KINDS)}.")
@click.argument("kind")
@json_option
@click.pass_context
def command(context: click.Context, kind: str, as_json: bool) -> None:
    if kind not in KINDS:
        raise UsageError(
            f"there is no kind '{kind}'{did_you_mean(kind, KINDS, listed_by='harness ls --help')}"
        )
    rows = _runs() if kind == "runs" else _rows(open_registry(context), kind)
    if as_json:
        for row in rows:
            echo(json.dumps(row, ensure_ascii=False))
        return
    names = max((len(row["name"]) for row in rows), default=0)
    origins = max((len(row["origin"]) for row in rows), default=0)
    for row in rows:
        echo(f"{row['name']:<{names}}  {row['origin']:<{origins}}  {row['summary']}".rstrip())


def _rows(registry: Any, kind: str) -> list[dict[str, Any]]:
    if kind == "plugins":
        return _plugins(registry)
    registry.report_loading()
    return [
        {
            "name": name,
            "origin": f"{entry.plugin} ({entry.distribution})",
            "summary": _suite_summary(entry.spec) if isinstance(entry.spec, Path) else entry.spec.summary,
        }
        for name, entries in sorted(registry.catalogs[kind].items())
        for entry in entries
    ]


def _plugins(registry: Any) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "origin": one.distribution}
        | {"summary": "; ".join([one.summary, *one.problems]), "status": one.status}
        for one in list_plugins(registry)
        if one.status != "not asked for"
    ]


def _suite_summary(path: Path) -> str:
    """Return the `summary` of a suite, read as a line of text, so that a broken suite can still be listed."""
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("summary:")), str(path.name)
    )


def _runs() -> list[dict[str, Any]]:
    from harness.api.errors import HarnessError
    from harness.runs.state import RunState

    rows = []
    for path in sorted(Path("runs").glob("*/run.json")):
        try:
            folder = RunState(path.parent)
            suite = folder.about().get("suite", {}).get("name", "unknown suite")
            summary = f"{suite}: {folder.status}"
        except HarnessError as error:
            summary = str(error)
        rows.append({"name": path.parent.name, "origin": str(path.parent), "summary": summary})
    return rows
