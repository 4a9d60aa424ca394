"""Command `harness leaderboard`: build, publish, make and check leaderboards. Only `make` and `add` run models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.api.errors import GateError, NothingSelectedError, UnavailableError
from harness.cli import options as shared
from harness.cli.board_table import print_board
from harness.cli.leaderboard_add import add
from harness.cli.leaderboard_plots import plots
from harness.cli.meta import ARGUMENTS
from harness.cli.streams import echo

PAGES = ("leaderboard.md", "claims.md")
"""Pages that a published folder has one of."""


@click.group("leaderboard", no_args_is_help=False)
def command() -> None:
    """Build and show leaderboards of finished runs, publish them, make them anew, and check what is published."""


@command.command("build")
@click.argument("runs", nargs=-1, required=True, type=shared.PATH)
@click.option(
    "-o", "--output", type=shared.PATH, help="Write to this folder [the run folder, if there is one]."
)
@click.option("--author", help="State this author on the page; nothing is looked up.")
@click.option("--licence", help="State this licence on the page.")
@click.option("--commit", help="State this commit on the page.")
@shared.wide_option
@click.pass_context
def build(
    context: click.Context,
    /,
    runs: tuple[Path, ...],
    output: Path | None,
    wide: bool,
    **stated: str | None,
) -> None:
    """Write the page leaderboard.html for RUNS, leaderboard.md and tables beside it, and print the table.

    RUNS are run folders, published runs, or folders of them. The page is one file that needs no network. What it stated
    before stays, but for what is stated anew. A folder of results that commands of plugins left gets their pages, and
    claims.html, claims.md and claims.csv.
    """
    from harness import leaderboard
    from harness.leaderboard import claims

    if len(runs) == 1 and (kept := claims.find(shared.open_registry(context), runs[0])):
        if output is not None:
            raise click.UsageError(f"'{runs[0]}' holds results, whose pages belong beside them: leave out -o")
        echo(claims.write(kept, runs[0]))
        if not leaderboard.find_published(runs[0]):
            return
    results = leaderboard.find_all_results(runs)
    if output is None and len(runs) > 1:
        raise click.UsageError("several runs need -o, the folder to write to")
    if output is None and runs[0].is_file():
        raise click.UsageError("a published run needs -o, the folder to write to")
    target = output or runs[0]
    if target.exists() and not target.is_dir():
        raise UnavailableError(f"'{target}' is a file, not a folder")
    board = leaderboard.build(results)
    leaderboard.write(board, target, stated={name: text for name, text in stated.items() if text is not None})
    print_board(leaderboard.to_frame(board), wide=wide)
    echo(target / "leaderboard.html")


@command.command("show")
@click.argument("runs", nargs=-1, required=True, type=shared.PATH)
@shared.wide_option
def show(runs: tuple[Path, ...], wide: bool) -> None:
    """Print the table of the leaderboard of RUNS: run folders, published runs, or folders of them. Writes nothing."""
    from harness import leaderboard

    board = leaderboard.build(leaderboard.find_all_results(runs))
    print_board(leaderboard.to_frame(board), wide=wide)


@command.command("publish")
@click.argument("run", type=shared.PATH)
@click.option(
    "-o",
    "--output",
    required=True,
    type=shared.PATH,
    help="Write to this folder of the suite, under leaderboards/.",
)
@click.option("--name", help="Name the published run [its first day].")
@click.option("--replace", is_flag=True, help="Replace all runs published there.")
@shared.data_dir_option
@shared.include_option
@click.pass_context
def publish(
    context: click.Context, /, run: Path, output: Path, name: str | None, replace: bool, **machine: Any
) -> None:
    """Publish the run folder RUN: write the part a board needs, small enough to commit, and rebuild the board.

    Does what `harness validate RUN` does first, with the data and models available without a hub, and publishes
    nothing if there is a fault.
    """
    from harness import leaderboard
    from harness.runs.folder import RunFolder

    session = shared.open_session(context, **machine, offline=True)
    published = leaderboard.publish(
        RunFolder(run),
        output,
        name=name,
        replace=replace,
        registry=session.registry,
        data_dir=session.data_dir,
        included=session.included,
        tell=lambda note: echo(f"note: {' '.join(note.split())}", err=True),
    )
    echo(f"{published.path}: {published.size:,} bytes\n{output / 'leaderboard.html'}")


@command.command("make")
@click.argument("boards", nargs=-1, required=True, metavar="DIR...", type=shared.PATH)
@click.option(
    "--work",
    type=shared.PATH,
    default=Path("runs/boards"),
    show_default=True,
    help="Keep runs and caches here meanwhile.",
)
@shared.data_dir_option
@shared.include_option
@shared.offline_option
@shared.device_option
@click.pass_context
def make(context: click.Context, /, boards: tuple[Path, ...], work: Path, **machine: Any) -> None:
    """Run the boards in DIR anew and replace what is published there.

    `board.yaml` in DIR lists the runs of a board; without it, a board is one run of the suite named like DIR. Each
    board begins with an empty cache. A board is unchanged if one of its runs fails or leaves anything out. Commands of
    plugins that `board.yaml` lists are called after the runs, each in a process of its own.
    """
    from harness.boards import make_boards

    session = shared.open_session(context, **machine)
    try:
        make_boards(
            session, boards, work=work, plugins=context.obj or (), argv=context.meta[ARGUMENTS], tell=echo
        )
    except KeyboardInterrupt as error:
        raise type(error)("the board that was being made is unchanged") from None


@command.command("check")
@click.argument("folders", nargs=-1, metavar="[DIR]...", type=shared.PATH)
@click.pass_context
def check(context: click.Context, /, folders: tuple[Path, ...]) -> int:
    """Check what is published in DIR [leaderboards], the folder of a suite or a folder of those.

    Checks records, predictions, recomputed scores and sizes, and that the pages are those of the published runs and of
    the results that commands of plugins left.
    """
    from harness import leaderboard
    from harness.leaderboard import claims

    suites = [suite for folder in folders or (Path("leaderboards"),) for suite in _suites(folder)]
    kept = [suite for suite in suites if claims.is_kept(suite)]
    registry = shared.open_registry(context) if kept else None
    findings = [finding for suite in kept if registry for finding in claims.check(registry, suite)]
    boards = [suite for suite in suites if suite not in kept or leaderboard.find_published(suite)]
    findings += [finding for suite in boards for finding in leaderboard.check_published(suite)]
    for finding in findings:
        echo(finding)
    if findings:
        return GateError.exit_code
    runs = sum(len(leaderboard.find_published(suite)) for suite in boards)
    told = f" and {len(kept)} of results" if kept else ""
    echo(f"{runs} published runs in {len(boards)} folders{told}: nothing is wrong")
    return 0


@command.command("tables")
@click.argument("runs", nargs=-1, required=True, type=shared.PATH)
@click.option("--latex", is_flag=True, required=True, help="Write LaTeX (booktabs) and BibTeX.")
@click.option("-o", "--output", required=True, type=shared.PATH, help="Write to this folder.")
@click.pass_context
def tables(context: click.Context, /, runs: tuple[Path, ...], latex: bool, output: Path) -> None:
    """Write what a paper needs of the leaderboard of RUNS: tables.tex, methods.tex and references.bib.

    RUNS are run folders, published runs, or folders of them. What cannot be stated is named on standard error.
    """
    from harness import leaderboard
    from harness.leaderboard.exports.exported import write_all
    from harness.leaderboard.exports.latex import to_latex

    board = leaderboard.build(leaderboard.find_all_results(runs))
    exported = to_latex(board, shared.open_registry(context))
    for path in write_all(exported, output):
        echo(path)
    for sentence in exported.left_out:
        echo(f"harness: left out: {sentence}", err=True)


command.add_command(plots)
command.add_command(add)


def _suites(folder: Path) -> list[Path]:
    """Return the folder itself if it holds a run or a page, else the folders below it that do."""
    if not folder.is_dir():
        raise UnavailableError(f"there is no folder '{folder}'")
    if any(folder.glob("*.jsonl*")) or any((folder / page).is_file() for page in PAGES):
        return [folder]
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    suites = [suite for path in inside if any(path.iterdir()) for suite in _suites(path)] or inside
    if not suites:
        raise NothingSelectedError(f"'{folder}' holds no published run")
    return suites
