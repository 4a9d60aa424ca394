"""Command `harness card`: write the card of a folder of dictionaries."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.api.errors import UsageError
from harness.cli import options as shared
from harness.cli.streams import echo


@click.command("card")
@click.argument("folder", metavar="FOLDER", type=shared.PATH)
@click.option("--model", metavar="NAME", help="Name the model so [as the training named it].")
@click.option("--licence", metavar="TEXT", help="State this licence of the dictionaries.")
@click.option(
    "--manifest",
    type=shared.PATH,
    help="State the sources of the training data: a JSON list of their repo, lang, register, licence, attribution.",
)
@click.option("--note", "notes", multiple=True, metavar="TEXT", help="Put this Markdown below the title.")
@click.option("--replace", is_flag=True, help="Replace another README.md.")
@shared.json_option
def command(
    folder: Path,
    model: str | None,
    licence: str | None,
    manifest: Path | None,
    notes: tuple[str, ...],
    replace: bool,
    as_json: bool,
) -> None:
    """Write README.md into a FOLDER of dictionaries: how each was trained, and what it is worth.

    Reads training.json beside each params.npz and, where `harness report-dictionary -o` wrote it there, report.json.
    """
    from harness.dictionary_report.card import read_dictionaries, read_sources, to_markdown
    from harness.storage.atomic import whole_file

    found = read_dictionaries(folder)
    text = to_markdown(
        folder.resolve().name,
        found,
        model=model,
        licence=licence,
        notes=notes,
        sources=read_sources(manifest) if manifest else (),
    )
    path = folder / "README.md"
    if path.exists() and not replace:
        raise UsageError(f"there is '{path}' already: --replace")
    with whole_file(path) as temporary:
        temporary.write_text(text, "utf-8")
    told = {"path": str(path), "dictionaries": [one.folder for one in found]}
    echo(json.dumps(told) if as_json else to_line(path, len(found)))


def to_line(path: Path, count: int) -> str:
    """Describe what was written in one line."""
    return f"{path}: {count} dictionar{'y' if count == 1 else 'ies'}"
