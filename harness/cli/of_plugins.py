"""Loader of the commands of plugins, used when such a command is called."""

from __future__ import annotations

import click

from harness.api.errors import HarnessError, UnavailableError, UsageError, describe, did_you_mean
from harness.cli.meta import OWNER
from harness.cli.options import Reporter
from harness.registry.commands import COMMANDS, import_loaded


def load_command(context: click.Context, name: str) -> click.Command:
    """Return the command that a plugin offers as `name`.

    Raises UsageError if no plugin or more than one offers it, or if it cannot be loaded. Every fault of a plugin is
    reported, because it may be the reason why a command is missing.
    """
    from harness.registry import opening

    registry = opening.open_registry(context.params.get("plugins", ()), Reporter())
    registry.report_loading()
    known = registry.names("commands")
    if name not in registry.catalogs["commands"]:
        hint = did_you_mean(name, (*COMMANDS, *known), listed_by="harness --help")
        raise click.UsageError(f"there is no command '{name}'{hint}")
    entry = registry.get("commands", name)
    owner = f"command '{name}' ({entry.distribution})"
    try:
        found = import_loaded(entry.spec)
    except (HarnessError, MemoryError):
        raise
    except ImportError as error:
        raise UnavailableError(f"{owner} needs what cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # a plugin's module may raise anything
        raise UsageError(f"{owner} cannot be loaded: {describe(error)}") from error
    if not isinstance(found, click.Command):
        raise UsageError(f"{owner} is no click command, but {type(found).__name__}")
    context.meta[OWNER] = owner
    return found
