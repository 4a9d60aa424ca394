"""Checks of a plugin as a whole: what listing it costs, what it imports, how it observes a run."""

from __future__ import annotations

import ast
import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import harness
from harness.api import events
from harness.api.errors import describe
from harness.testing.check import NotApplicable, Subject, check, fail_unless
from harness.testing.listing import list_offers

SLOW_S = 2.0
"""Seconds in which a resolver says that a reference is none of its own: far more than it takes to look at a text."""

FOREIGN = ("no-such-thing", "./no-such-folder", "nobody/nothing", "x" * 200)
"""References that are nobody's."""


@check("plugins", requires=())
def listing(subject: Subject) -> None:
    """Listing its offers imports neither torch nor another heavy package: that is for the factories."""
    found = subject.listed()
    fail_unless("error" not in found, f"in a process of its own it cannot be loaded: {found.get('error')}")
    fail_unless(not found["heavy"], f"listing its offers imports {', '.join(found['heavy'])}")


@check("plugins", requires=())
def stable(subject: Subject) -> None:
    """Another process lists the same offers: names, parameters and revisions depend on nothing but the code."""
    found = subject.listed()
    if "error" in found:
        raise NotApplicable("in a process of its own it cannot be loaded")
    here = list_offers(subject.plugin)
    for one, other in zip(here, found["offers"], strict=False):
        fail_unless(one == other, f"another process lists '{other[:80]}' in place of '{one[:80]}'")
    fail_unless(len(here) == len(found["offers"]), "another process lists another number of offers")


@check("plugins", requires=())
def public_names(subject: Subject) -> None:
    """Its code imports only public names of the harness, which stay: `harness` itself, and `harness.testing`."""
    for path in _code(subject):
        for name in _imported(path):
            public = name in ("harness", "harness.testing") or name.startswith("harness.testing.")
            fail_unless(public, f"'{path.name}' imports {name}, which may change with any version")


def _code(subject: Subject) -> Iterator[Path]:
    source = subject.plugin.source
    if source is not None and source.files:
        yield from (state.path for state in source.files.values() if state.path.suffix == ".py")
        return
    module = subject.registry.plugins.manager.get_plugin(subject.plugin.name)
    file = getattr(module, "__file__", None)
    if file:
        path = Path(file)
        yield from sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def _imported(path: Path) -> Iterator[str]:
    """Yield the modules of the harness that a file imports."""
    from harness.storage.reading import read_description

    try:
        tree = ast.parse(read_description(path))
    except SyntaxError:  # a template that ends in .py; importing a module says what is wrong
        return
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
            if node.module == "harness":  # its rooms are modules, which are no names of its face
                names = [
                    f"harness.{alias.name}"
                    for alias in node.names
                    if alias.name not in (*harness.__all__, "*")
                ]
        yield from (name for name in names if name.partition(".")[0] == "harness")


_CELL: dict[str, Any] = {
    "cell_id": "0" * 64,
    "suite": "trial",
    "task": "a task",
    "modality": "text",
    "train_language": "en",
    "test_language": "en",
    "representation": "hidden",
    "transform": "none",
    "classifier": "logreg",
    "regime": "all",
    "seed": 0,
}


def _events(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the events of a run in their order, with all that may be None or empty."""
    yield (
        "harness_run_started",
        events.RunStarted(suite="trial", folder=folder, n_cells=2, done=0, left_out={"x": "is not here"}),
    )
    yield (
        "harness_batch_finished",
        events.BatchFinished(bundle="a", tokens_done=5, tokens_total=9, seconds=0.1),
    )
    yield (
        "harness_bundle_finished",
        events.BundleFinished(
            bundle="a", tokens=0, seconds=0.0, tokens_per_s=0.0, padding_share=0.0, peak_memory=0
        ),
    )
    score = events.Score(value=0.5, low=0.4, high=0.6, method="bootstrap")
    yield (
        "harness_cell_finished",
        events.CellFinished(
            **_CELL, status="ok", model="m", site="resid_post.1", metrics={"macro_f1": score}
        ),
    )
    yield "harness_cell_finished", events.CellFinished(**_CELL, status="failed", error="it broke")
    summary = events.Summary(folder=folder, ok=1, failed=1, skipped=0, seconds=0.0, tokens=0)
    yield "harness_run_finished", events.RunFinished(summary=summary)


def _observes(subject: Subject) -> bool:
    return any(hook.endswith(("_started", "_finished")) for hook in subject.plugin.hooks)


def _observe(subject: Subject) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each hook with a function that calls the plugin's implementation on an event."""
    manager = subject.registry.plugins.manager
    for hook, event in _events(subject.folder):
        arguments: Mapping[str, Any] = {"event": event, "summary": getattr(event, "summary", None)}
        for one in getattr(manager.hook, hook).get_hookimpls():
            if one.plugin_name == subject.plugin.name:
                given = [arguments.get(name, event) for name in one.argnames]
                yield hook, partial(one.function, *given)


@check("plugins", requires=(), applies=_observes)
def observing(subject: Subject) -> None:
    """It takes every event, those of failed and model-free cells too, without an error."""
    for hook, call in _observe(subject):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                call()
        except (Exception, SystemExit) as error:  # a stranger's code may raise anything
            fail_unless(False, f"its {hook} raises {describe(error)}")


@check("plugins", requires=("observing",), applies=_observes)
def silent(subject: Subject) -> None:
    """It prints nothing on standard output, where answers in JSON are."""
    for hook, call in _observe(subject):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            call()
        fail_unless(not printed.getvalue(), f"its {hook} prints on standard output")


def _resolves(subject: Subject) -> bool:
    return any(hook.startswith("harness_resolve_") for hook in subject.plugin.hooks)


@check("plugins", requires=(), applies=_resolves)
def declining(subject: Subject) -> None:
    """Of references that are nobody's it returns None, at once, or says in one sentence why it cannot read them."""
    from harness.api.errors import HarnessError

    for hook in ("harness_resolve_model", "harness_resolve_representation"):
        for one in getattr(subject.registry.plugins.manager.hook, hook).get_hookimpls():
            if one.plugin_name != subject.plugin.name:
                continue
            for reference in FOREIGN:
                given = {"ref": reference, "name": reference}
                began = time.perf_counter()
                try:
                    found = one.function(*(given[name] for name in one.argnames))
                except HarnessError as error:
                    fail_unless(
                        len(str(error).splitlines()) == 1,
                        f"its error for '{reference[:40]}' has several lines",
                    )
                    found = None
                except Exception as error:
                    fail_unless(False, f"for '{reference[:40]}' its {hook} raises {describe(error)}")
                fail_unless(
                    found is None or "/" in reference,
                    f"it takes '{reference[:40]}', which is nobody's, for its own",
                )
                fail_unless(
                    time.perf_counter() - began < SLOW_S, f"its {hook} takes seconds for '{reference[:40]}'"
                )
