"""Command `harness new`: write the package of a plugin."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli import options as shared
from harness.cli.streams import echo
from harness.scaffold.kinds import KINDS, with_article
from harness.scaffold.package import LICENCES


@click.command("new")
@click.argument("kind", metavar="KIND", type=click.Choice([*KINDS]))
@click.argument("name")
@click.option(
    "-o", "--output", type=shared.PATH, metavar="DIR", help="Write the package here [harness-NAME]."
)
@click.option(
    "--licence",
    type=click.Choice([*LICENCES]),
    default="apache-2.0",
    show_default=True,
    help="Put it under this licence.",
)
@click.option(
    "--author", metavar="TEXT", help="Name the holder of the licence [The authors of harness-NAME]."
)
@click.option("--replace", is_flag=True, help="Replace files of another package in the folder.")
@shared.json_option
@click.pass_obj
def command(
    plugins: tuple[str, ...],
    kind: str,
    name: str,
    output: Path | None,
    licence: str,
    author: str | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Write the package of a plugin of this KIND, called NAME: a small one that works, with tests that pass.

    KIND is model, representation, pooling, transform, classifier, regime, alignment, executor, explainer, task, suite
    or observer. The package is harness-NAME, its import name is harness_NAME, and suites call what it offers NAME.
    """
    from harness.registry.opening import open_registry
    from harness.scaffold.names import check_free, read_name
    from harness.scaffold.package import Package, list_next, read_author, write_package

    names = read_name(name)
    package = Package(kind=kind, names=names, licence=LICENCES[licence], author=read_author(author, names))
    folder = output or Path(names.project)
    if not replace:  # what is replaced may be installed, and has these names
        check_free(names, kind, open_registry(plugins))
    files = write_package(package, folder, replace=replace)
    following = list_next(package, folder)
    if as_json:
        told = {"path": str(folder), "kind": kind, "name": names.offer, "module": names.module}
        echo(json.dumps({**told, "files": files, "next": following}))
        return
    echo(
        f"{folder}: {len(files)} files, {with_article(kind)} '{names.offer}' in {names.module}/__init__.py\n"
    )
    echo("\n".join(f"  {line}" for line in following))
