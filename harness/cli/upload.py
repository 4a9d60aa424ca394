"""Command `harness upload`: put a board where others see it, in a folder or on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options as shared
from harness.cli.streams import echo

if TYPE_CHECKING:
    from harness.leaderboard.upload.content import Content
    from harness.leaderboard.upload.hub import HubTarget


@click.command("upload")
@click.argument("board", type=shared.PATH)
@click.option(
    "--to", "where", required=True, metavar="DIR|hf://…",
    help="Upload to this folder, hf://spaces/OWNER/NAME or hf://datasets/OWNER/NAME.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded; write and send nothing.")
@click.option(
    "--replace", is_flag=True, help="Upload beside other files, in place of those of the same name."
)
@click.option("--private", is_flag=True, help="Make a new repository on the hub private.")
@click.option("--licence", metavar="ID", help="Name this licence in the card on the hub, such as cc-by-4.0.")
@click.option(
    "--with-texts", is_flag=True, help="Upload texts and pictures of the data in the board of a run."
)
@shared.data_dir_option
@shared.include_option
@shared.offline_option
@click.pass_context
def command(
    context: click.Context,
    /,
    board: Path,
    where: str,
    dry_run: bool,
    replace: bool,
    private: bool,
    licence: str | None,
    with_texts: bool,
    **machine: Any,
) -> None:
    """Upload BOARD, a folder of published runs or results or a run folder, to a folder or to the Hugging Face hub.

    Sends pages, tables and pictures, and of what is published also records, predictions and results. Of a run folder
    the board is made without texts and pictures of the data, which may hurt or belong to somebody, unless --with-texts
    is given.

    Checks the board first, as `harness leaderboard check` and `harness validate` do, and looks for tokens and paths of
    home folders: if there is a fault, nothing is sent. Files that an earlier upload did not leave are never removed.
    """
    from harness.leaderboard.upload import cards, folder, hub
    from harness.leaderboard.upload.secrets import check_no_secrets

    target = _read_target(where, private=private, licence=licence)
    if isinstance(target, Path):
        folder.check_folder(target, board)
    elif not dry_run:
        shared.set_up_hub_clients(offline=machine["offline"])
        hub.check_may_send(target)
    content = _read_board(context, board, with_texts=with_texts, machine=machine)
    if isinstance(target, Path):
        content = cards.add_index(content)
    elif target.kind == "space":
        content = cards.add_space_card(cards.add_index(content), licence=licence)
    else:
        content = cards.add_dataset_card(content, licence=licence)
    check_no_secrets(content.files)
    if isinstance(target, Path):
        changes = folder.find_changes(content, target, replace=replace)  # refused before anything is printed
        _print(content)
        if not dry_run:
            folder.upload_to_folder(content, target, changes)
            echo(f"{target}: {len(changes.written)} files written, {len(changes.removed)} removed")
        return
    _print(content)
    if not dry_run:
        changed_there = hub.upload_to_hub(content, target, private=private, replace=replace)
        echo(f"{target.address}: {'uploaded' if changed_there else 'nothing has changed'}")


def _read_target(where: str, *, private: bool, licence: str | None) -> Path | HubTarget:
    """Return the folder or place on the hub that is uploaded to. Raise UsageError for options that cannot go
    with it.
    """
    from harness.leaderboard.upload.hub import SCHEME, HubTarget

    if licence is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence):
        raise click.BadParameter(
            f"'{licence}' is no id of a licence, such as cc-by-4.0", param_hint="--licence"
        )
    if where.startswith(SCHEME):
        return HubTarget.parse(where)
    if private or licence is not None:
        raise click.UsageError(
            f"--{'private' if private else 'licence'} goes with a target on the hub (hf://…) only"
        )
    return Path(shared.PATH.convert(where, None, None))


def _read_board(context: click.Context, board: Path, *, with_texts: bool, machine: dict[str, Any]) -> Content:
    """Check a board and return what may be uploaded of it."""
    from harness.leaderboard.upload.board import find_board, read_published, read_run
    from harness.validation.run import check_run

    run = find_board(board)
    if run is None:
        return read_published(board, lambda: shared.open_registry(context))
    session = shared.open_session(context, **machine)
    return read_run(
        run,
        lambda run: check_run(run, session.registry, data_dir=session.data_dir, included=session.included),
        with_texts=with_texts,
    )


def _print(content: Content) -> None:
    """Print the files with their sizes, and on stderr what is left out."""
    for name, data in content.files.items():
        echo(f"{len(data):>12,} {name}")
    echo(f"{content.size:>12,} bytes in {len(content.files)} files")
    for name, reason in content.left_out.items():
        echo(f"harness: left out: {name}: {reason}", err=True)
    for note in content.notes:
        echo(f"harness: {note}", err=True)
