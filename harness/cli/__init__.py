"""Command line of the harness, a thin layer over the Python API.

A command's module is imported only when the command is called, so that `--help` is quick.
"""

from __future__ import annotations

import importlib
import math
import os
import signal
import sys
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from harness.api.errors import HarnessError, UnavailableError, WriteError, describe
from harness.api.memory import explain, find_memory_error
from harness.api.text import printable
from harness.api.threads import let_threads_sleep
from harness.cli.meta import ARGUMENTS, OWNER
from harness.cli.streams import (
    AnswerStream,
    StdoutLost,
    discard_stdout,
    echo,
    escape_unwritable,
    open_closed_streams,
)
from harness.registry.commands import COMMANDS, RENAMED
from harness.runs.messages import LossyStream
from harness.storage.parsing import is_panic

BUG = 70
INTERRUPTED = 130
TERMINATED = 143
GRACE_S = 5.0
"""Seconds after a signal in which further signals are ignored."""


class Terminated(KeyboardInterrupt):
    """Interruption by SIGTERM, handled like Ctrl-C but with its own exit code."""


class LazyGroup(click.Group):
    """Group of the harness's commands, each in a module of its name, and the commands of plugins."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(context, args)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in RENAMED:
            echo(f"harness: the command '{args[0]}' is now called '{RENAMED[args[0]]}'", err=True)
            args = [RENAMED[args[0]], *args[1:]]
        return super().resolve_command(context, args)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            from harness.cli.of_plugins import load_command

            return load_command(context, name)
        command: click.Command = importlib.import_module(f"harness.cli.{name.replace('-', '_')}").command
        return command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Exception as error:  # a plugin's command may raise anything; its bugs are not the harness's
            if OWNER in context.meta:
                error.owner = context.meta[OWNER]  # type: ignore[attr-defined]
            raise

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        # Listing them here would load every plugin, which takes longer than the rest of the help.
        formatter.write_paragraph()
        formatter.write_text("harness ls commands lists those that plugins add.")


@click.group(
    cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "-p",
    "plugins",
    multiple=True,
    metavar="NAME",
    help="Load a module, or its file, as a plugin; no:NAME leaves out a plugin.",
)
@click.version_option(package_name="sae-harness", prog_name="harness")
@click.pass_context
def cli(context: click.Context, plugins: tuple[str, ...]) -> None:
    """Test whether features of sparse autoencoders make better classifiers than the hidden states they encode."""
    context.obj = plugins
    if context.invoked_subcommand is None:
        echo(context.get_help())
    else:
        _check_working_folder()


def _check_working_folder() -> None:
    """Raise UnavailableError where the working folder is gone: libraries that look for it end the process."""
    try:
        Path.cwd()
    except OSError as error:
        raise UnavailableError(
            "the working folder was deleted or moved: go to another one with cd"
        ) from error


def main() -> None:
    """Run the command line and exit with its code."""
    let_threads_sleep(whole_process=True)
    open_closed_streams()
    escape_unwritable()
    sys.stderr = LossyStream(sys.stderr)
    spell = warnings.formatwarning
    warnings.formatwarning = lambda *said, **more: printable(spell(*said, **more))
    code = execute(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # all work is saved: a signal could only change the exit code
    sys.exit(code)


def execute(arguments: list[str]) -> int:
    """Run one command and return its exit code; an error is printed as one sentence on stderr."""
    before = _catch_signals()
    try:
        with redirect_stdout(AnswerStream(sys.stdout)):
            code = cli.main(args=arguments, prog_name="harness", standalone_mode=False)
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except HarnessError as error:
        if find_memory_error(error):  # whatever a reader took it for
            return _fail(explain(error), UnavailableError.exit_code)
        return _fail(str(error), error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        cause = error.__cause__ or error  # click wraps both kinds in Abort
        kept = str(cause) or "nothing is left half-written, and the same command starts again"
        if isinstance(cause, Terminated):
            return _fail(f"terminated; {kept}", TERMINATED)
        return _fail(f"interrupted; {kept}", INTERRUPTED)
    except SystemExit as error:  # of a plugin or a library: work that it cut short is no success
        return _fail(
            f"a plugin or a library ended the program in mid-work, with status {error.code}: what is done is saved",
            UnavailableError.exit_code,
        )
    except StdoutLost as lost:
        discard_stdout()
        return _fail(str(WriteError.from_os("standard output", lost.cause)), WriteError.exit_code)
    except Exception as error:
        if os.environ.get("HARNESS_DEBUG"):
            raise
        if find_memory_error(error):
            return _fail(explain(error), UnavailableError.exit_code)
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        owner = getattr(error, "owner", "the harness")
        return _fail(f"a bug in {owner}: {message} (HARNESS_DEBUG=1 shows where)", BUG)
    except BaseException as error:
        if not is_panic(error):
            raise
        return _fail(
            f"a library broke off on what it was given: {describe(error)}", UnavailableError.exit_code
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _catch_signals() -> dict[signal.Signals, Any]:
    """Install handlers that raise on SIGINT and SIGTERM, and return the previous handlers.

    Signals within GRACE_S seconds after one that raised are ignored, so that a second Ctrl-C does not cut saving.
    """
    last = -math.inf

    def stop(number: int, frame: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > GRACE_S:
            last = now
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    caught = {number: handler for number, handler in known.items() if handler not in (signal.SIG_IGN, None)}
    for number in caught:
        signal.signal(number, stop)
    return caught


def _fail(message: str, code: int) -> int:
    echo(f"harness: {' '.join(message.split())}", err=True)
    return code
