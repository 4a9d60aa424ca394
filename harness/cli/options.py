"""Options shared by several commands, and the session that a command opens."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import click

from harness.cli.streams import echo
from harness.registry.loading import Fault

if TYPE_CHECKING:
    from harness.config.suite import Suite
    from harness.registry.catalog import Registry
    from harness.session import Session

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Path(click.Path):
    """Path of a file or folder. An empty one, as an empty variable of a shell gives, is no word for the folder here;
    one that is not UTF-8 libraries cannot open.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty: name a file or a folder (. is this one)", param, ctx)
        try:
            os.fspath(value).encode()
        except UnicodeEncodeError:
            self.fail(f"'{value}' is not UTF-8: rename it, or name another", param, ctx)
        if "://" in os.fsdecode(value):
            self.fail(
                f"'{value}' is a URL, and what is wanted is a local path: copy it here first", param, ctx
            )
        return super().convert(value, param, ctx)


class FiniteRange(click.FloatRange):
    """Number in a range, and never NaN, which lies in each."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


PATH = _Path(path_type=Path)


class _Location(_Path):
    """Path of a folder, or the text of a URL."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from harness.storage.places import is_url

        return value if is_url(value) else super().convert(value, param, ctx)


LOCATION = _Location(path_type=Path)


def _combine(*options: Decorator) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class _CacheFolder(_Path):
    """Path of the cache folder, and no URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "://" in str(value):
            self.fail(
                f"'{value}' is a URL, and the cache is a local folder: --store of `harness run` takes it, and what "
                "grows old there is removed by rules of the bucket (lifecycle rules)",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


include_option = click.option("--include", multiple=True, type=PATH, help="Add a task file (YAML).")
data_dir_option = click.option(
    "--data-dir", type=PATH, help="Read mirrored datasets from this folder [HARNESS_DATA_DIR]."
)
cache_dir_option = click.option(
    "--cache-dir",
    type=_CacheFolder(path_type=Path),
    help="Use the feature cache in this folder [HARNESS_CACHE_DIR].",
)
store_option = click.option(
    "--store",
    type=LOCATION,
    metavar="FOLDER|URL",
    help="Keep features in this folder or object store, such as s3://bucket/folder, which workers on other machines "
    "reach too [HARNESS_STORE; the cache].",
)
offline_option = click.option("--offline", is_flag=True, help="Send no request to a hub.")
device_option = click.option(
    "-d", "--device", default="auto", show_default=True, help="Compute on auto, cpu, cuda or cuda:N."
)

suite_options = _combine(
    click.argument("suite"),
    click.option(
        "-m", "--model", "models", multiple=True, metavar="REF", help="Use these models, not the suite's."
    ),
    click.option(
        "-t", "--task", "tasks", multiple=True, metavar="NAME", help="Use these tasks, not the suite's."
    ),
    click.option(
        "-L", "--limit", type=click.IntRange(min=1), help="Read this many rows of a task; not publishable."
    ),
    click.option("--seeds", type=click.IntRange(min=1), help="Use this many seeds."),
    click.option("--dtype", help="Set the precision of every model."),
    click.option("--set", "settings", multiple=True, metavar="A.B=VALUE", help="Set any field of the suite."),
    include_option,
    data_dir_option,
)

machine_options = _combine(cache_dir_option, offline_option, device_option)

model_option = click.option("-m", "--model", required=True, metavar="REF", help="Use this model.")
dtype_option = click.option("--dtype", help="Open the model with this dtype.")

batch_option = click.option(
    "-b", "--batch-size", default="auto", show_default=True, help="Set the examples in a batch, or auto."
)

executor_option = click.option(
    "--executor", metavar="NAME", help="Let this executor do the work, as NAME or NAME[key=value,…] [here]."
)

jobs_option = click.option(
    "-j",
    "--jobs",
    metavar="N",
    help="Let the executor use this many processes, or auto: as many as there is room for [1 here].",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

wide_option = click.option("--wide", is_flag=True, help="Print all columns of the table, however wide.")


def read_batch_size(text: str) -> int | None:
    """Return None for `auto`, else the positive number; raise click.BadParameter for anything else."""
    return read_number_or_auto(text, option="--batch-size")


def read_jobs(text: str | None) -> int | EllipsisType | None:
    """Return a number of jobs, None for `auto`, `...` where nothing is given; raise click.BadParameter for others."""
    return ... if text is None else read_number_or_auto(text, option="--jobs")


def read_number_or_auto(text: str, *, option: str) -> int | None:
    """Return None for `auto`, else the positive number; raise click.BadParameter for anything else."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"'{text}' is neither auto nor a positive number", param_hint=option)
    return int(text)


def model_fields(model: str, dtype: str | None) -> dict[str, Any]:
    """Return the fields of a ModelChoice for a model given on the command line."""
    return {"ref": model, **({"dtype": dtype} if dtype else {})}


def set_up_hub_clients(*, offline: bool) -> None:
    """Keep hub clients silent and, if asked, offline, before one is imported: they read this only then."""
    # Their own lines about retries would hide the one sentence of an error.
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"


def open_session(
    context: click.Context,
    *,
    device: str = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    include: tuple[Path, ...] = (),
    offline: bool = False,
    store: Path | str | None = None,
) -> Session:
    """Open a session for one command, and print a line for each fault of a plugin."""
    set_up_hub_clients(offline=offline)
    from harness import session

    opened = session.open(
        device=device,
        data_dir=data_dir,
        cache_dir=cache_dir,
        include=include,
        store=store,
        plugins=context.obj or (),
        report=Reporter(),
    )
    opened.registry.report_loading()
    return opened


def open_registry(context: click.Context) -> Registry:
    """Load the plugins alone, for commands that read no data."""
    from harness.registry import opening

    return opening.open_registry(context.obj or (), Reporter())


def print_left_out(left_out: Mapping[str, str]) -> None:
    """Print each reason why tasks, models or dictionaries are unavailable as one line on stderr."""
    for reason in dict.fromkeys(left_out.values()):
        echo(f"harness: left out: {' '.join(reason.split())}", err=True)


def read_suite(session: Session, options: dict[str, Any]) -> Suite:
    """Read the suite named on the command line, with the overrides given there."""
    names = ("models", "tasks", "limit", "seeds", "dtype", "settings")
    return session.suite(options["suite"], **{name: options[name] for name in names})


class Reporter:
    """Printer of faults that prints each fault once, as a line on stderr."""

    def __init__(self) -> None:
        self.printed: set[Fault] = set()

    def __call__(self, fault: Fault) -> None:
        if fault not in self.printed:
            self.printed.add(fault)
            echo(f"harness: {fault}", err=True)
