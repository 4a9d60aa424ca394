"""`harness leaderboard`: finished runs in, tables out. Runs no model."""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import MissingError


@click.group("leaderboard", no_args_is_help=False)
def command() -> None:
    """Build leaderboards from finished runs."""


@command.command("build")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write [the run folder, if it is one]."
)
def build(runs: tuple[Path, ...], output: Path | None) -> None:
    """Write leaderboard.md and leaderboard.csv of the run folders RUNS."""
    from harness import leaderboard
    from harness.records import RunFolder

    folders = [RunFolder(path) for path in runs]
    for folder in folders:
        folder.about()
    if output is None and len(runs) > 1:
        raise click.UsageError("several runs need -o, the folder to write to")
    target = output or runs[0]
    if target.exists() and not target.is_dir():
        raise MissingError(f"'{target}' is a file, not a folder")
    leaderboard.write(leaderboard.build(folders), target)
    click.echo(target / "leaderboard.md")
