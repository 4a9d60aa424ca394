"""Choice of the executor of a run."""

from __future__ import annotations

from types import EllipsisType

from harness.api.errors import UnavailableError, UsageError, name_some
from harness.api.specs import Reference
from harness.registry.catalog import Choice, Registry, parse_reference
from harness.registry.parameters import write_value


def choose_executor(
    registry: Registry, executor: Reference | None = None, *, jobs: int | EllipsisType | None = ...
) -> Choice:
    """Resolve the reference of an executor, with a number of `jobs` if that is given; None is the default one.

    Raise UsageError for an unknown one, and for jobs that are given twice.
    """
    name, given = parse_reference(_find_default(registry) if executor is None else executor)
    if jobs is not ...:
        if "jobs" in given:
            raise UsageError(
                f"jobs are given twice, {write_value(given['jobs'])} with the executor '{name}' and "
                f"{write_value(jobs)} beside it: leave one out"
            )
        given["jobs"] = jobs
    return registry.choose("executors", {"name": name, **given})


def _find_default(registry: Registry) -> str:
    """Return the name of the executor that runs a suite where none is asked for.

    Raise UnavailableError where no plugin offers one, UsageError where several do.
    """
    names = [name for name in registry.names("executors") if registry.get("executors", name).spec.default]
    if not names:
        raise UnavailableError(
            "no plugin that is loaded offers an executor for runs that name none: load one that does, or name one with "
            "--executor (`harness ls executors` lists them)"
        )
    if len(names) > 1:
        raise UsageError(f"{name_some(names)} are all default executors: name one with --executor")
    return names[0]
