"""Options that several commands share, and the session they open."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.registry.loading import Fault

if TYPE_CHECKING:
    from harness.config.suite import Suite
    from harness.registry.catalog import Registry
    from harness.session import Session

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _combine(*options: Decorator) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


suite_options = _combine(
    click.argument("suite"),
    click.option(
        "-m", "--model", "models", multiple=True, metavar="REF", help="Models in place of the suite's."
    ),
    click.option(
        "-t", "--task", "tasks", multiple=True, metavar="NAME", help="Tasks in place of the suite's."
    ),
    click.option("-L", "--limit", type=click.IntRange(min=1), help="Rows of each task; not publishable."),
    click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds."),
    click.option("--dtype", help="Precision of every model."),
    click.option("--set", "settings", multiple=True, metavar="A.B=VALUE", help="Set any field of the suite."),
    click.option("--include", multiple=True, type=click.Path(path_type=Path), help="A task file (YAML)."),
    click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Mirror of the datasets [HARNESS_DATA_DIR]."
    ),
)

machine_options = _combine(
    click.option("--cache-dir", type=click.Path(path_type=Path), help="Feature cache [HARNESS_CACHE_DIR]."),
    click.option("--offline", is_flag=True, help="Ask no hub for anything."),
    click.option("-d", "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
)

batch_option = click.option(
    "-b", "--batch-size", default="auto", show_default=True, help="Examples in a batch, or auto."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_batch_size(text: str) -> int | None:
    """`auto` as None, else a positive number; click's usage error otherwise."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"'{text}' is neither auto nor a positive number", param_hint="--batch-size")
    return int(text)


def open_session(
    context: click.Context,
    *,
    device: str = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    include: tuple[Path, ...] = (),
    offline: bool = False,
) -> Session:
    """A session for one command; what was left out while loading is said in a line each."""
    # Both must stand before any hub client is imported. Its own lines about retries would drown the one sentence.
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    from harness import session

    report = Reporter()
    opened = session.open(
        device=device,
        data_dir=data_dir,
        cache_dir=cache_dir,
        include=include,
        plugins=context.obj or (),
        report=report,
    )
    for fault in opened.registry.faults:
        report(fault)
    return opened


def open_registry(context: click.Context) -> Registry:
    """The plugins alone, for commands that touch no data."""
    from harness import session

    return session.open_registry(context.obj or (), Reporter())


def say_left_out(left_out: Mapping[str, str]) -> None:
    """One line on stderr for each reason why tasks, models or dictionaries cannot be had."""
    for reason in dict.fromkeys(left_out.values()):
        click.echo(f"harness: left out: {' '.join(reason.split())}", err=True)


def read_suite(session: Session, options: dict[str, Any]) -> Suite:
    """The suite named on the command line, with the overrides given there."""
    names = ("models", "tasks", "limit", "seeds", "dtype", "settings")
    return session.suite(options["suite"], **{name: options[name] for name in names})


class Reporter:
    """One line on stderr for each fault, however often it shows."""

    def __init__(self) -> None:
        self.said: set[Fault] = set()

    def __call__(self, fault: Fault) -> None:
        if fault not in self.said:
            self.said.add(fault)
            click.echo(f"harness: {fault}", err=True)
