"""Checks of what is declared and not made: tasks, suites, commands, results and scores of dictionaries."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

import click

from harness.api.claims import ResultPage
from harness.api.errors import HarnessError, UnavailableError, describe
from harness.api.tasks import FileSource
from harness.registry.commands import import_loaded
from harness.testing.check import CheckFailed, NotApplicable, Subject, check, fail_unless
from harness.testing.checks.common import check_summary

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@check("tasks", requires=())
def metadata(subject: Subject) -> None:
    """Name, summary, version, licence, citation and languages (BCP 47) are stated."""
    import langcodes

    spec = subject.spec
    fail_unless(_NAME.fullmatch(spec.name), f"its name '{spec.name}' is not letters, digits and . _ - alone")
    check_summary(spec.summary)
    fail_unless(
        isinstance(spec.version, int) and spec.version >= 1,
        f"its version is {spec.version!r}, and no number from 1",
    )
    for field in ("licence", "citation"):
        fail_unless(str(getattr(spec, field)).strip(), f"it states no {field}")
    for tag in spec.languages:
        fail_unless(langcodes.tag_is_valid(tag), f"its language '{tag}' is no BCP 47 tag")
    fail_unless(spec.languages or spec.modality == "image", "it states no language")


@check("tasks", requires=())
def data(subject: Subject) -> None:
    """Its data can be read: every language that it states, two classes at least, training and test rows."""
    from harness.data.task import load_task

    spec, folder = subject.spec, _data_dir()
    is_here = isinstance(spec.source, FileSource) or (
        folder and (folder / (spec.mirror or spec.name)).is_dir()
    )
    others = subject.registry.catalogs["tasks"]
    learnt = others[spec.trained_on][0].spec if spec.trained_on in others else None
    try:
        read = load_task(spec, data_dir=folder, trained_on=learnt)
    except HarnessError as error:
        if not is_here:
            raise NotApplicable(f"its data are not here: {error}") from error
        fail_unless(len(str(error).splitlines()) == 1, "its error has several lines")
        raise CheckFailed(f"its data cannot be used: {error}") from error
    examples = read.examples
    fail_unless(len(set(examples.labels)) >= 2, "its rows have one class")
    for split in ("train", "test"):
        fail_unless(split in examples.splits or subject.spec.trained_on, f"it has no {split} rows")
    missing = {*subject.spec.languages} - {*examples.languages}
    fail_unless(not missing, f"no row is in {', '.join(sorted(missing))}, which it states")


def _data_dir() -> Path | None:
    return Path(os.environ["HARNESS_DATA_DIR"]) if os.environ.get("HARNESS_DATA_DIR") else None


@check("suites", requires=())
def file(subject: Subject) -> None:
    """Its file can be read as a suite, and is called by the suite's name."""
    suite = _read(subject)
    fail_unless(
        suite.name == subject.name, f"it is called '{suite.name}', and its file '{subject.name}.yaml'"
    )


@check("suites", requires=("file",))
def names(subject: Subject) -> None:
    """Every task, representation, pooling, transform, classifier and regime that it names is offered."""
    suite = _read(subject)
    kinds = {
        "tasks": [one.name for one in suite.tasks],
        **{
            kind: getattr(suite, kind)
            for kind in ("representations", "poolings", "transforms", "classifiers", "regimes")
        },
    }
    for kind, references in kinds.items():
        for reference in references:
            try:
                if kind == "tasks":
                    subject.registry.get(kind, reference)
                else:
                    subject.registry.choose(kind, reference)
            except UnavailableError as error:
                raise NotApplicable(f"not all of it is here: {error}") from error
            except HarnessError as error:
                fail_unless(False, str(error))


def _read(subject: Subject) -> Any:
    from harness.config.suite import read_suite

    path = next(path for path in subject.plugin.offers["suites"] if path.stem == subject.name)
    fail_unless(path.is_file(), f"its file '{path.name}' does not exist")
    try:
        return read_suite(path)
    except HarnessError as error:
        raise CheckFailed(f"it cannot be read: {error}") from error


@check("commands", requires=())
def loads(subject: Subject) -> None:
    """It loads as a click command whose help can be shown, with a help text for each option."""
    check_summary(subject.spec.summary)
    try:
        command = import_loaded(subject.spec)
    except (Exception, SystemExit) as error:  # a plugin's module may raise anything
        fail_unless(False, f"it cannot be loaded: {describe(error)}")
    fail_unless(
        isinstance(command, click.Command), f"it loads {type(command).__name__}, and no click command"
    )
    with click.Context(command, info_name=subject.name) as context:
        fail_unless(command.get_help(context).strip(), "it has no help")
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                fail_unless(parameter.help, f"its option {parameter.opts[-1]} has no help")


@check("results", requires=())
def describes(subject: Subject) -> None:
    """It loads as a function that makes, of no results too, a page of Markdown that begins with a heading."""
    check_summary(subject.spec.summary)
    try:
        page = import_loaded(subject.spec)(())
    except (Exception, SystemExit) as error:  # a plugin's module may raise anything
        fail_unless(False, f"it cannot describe no results: {describe(error)}")
    fail_unless(isinstance(page, ResultPage), f"it makes {type(page).__name__}, and no ResultPage")
    fail_unless(page.markdown.startswith("# "), "its page does not begin with a heading: `# Title`")
    fail_unless(not page.claims, "of no results it makes claims")


@check("dictionary_scores", requires=())
def opens(subject: Subject) -> None:
    """It loads as a function that can be called with a task alone."""
    check_summary(subject.spec.summary)
    try:
        opened = import_loaded(subject.spec)
    except (Exception, SystemExit) as error:  # a plugin's module may raise anything
        fail_unless(False, f"it cannot be loaded: {describe(error)}")
    fail_unless(callable(opened), f"it loads {type(opened).__name__}, and no function")
    try:
        inspect.signature(opened).bind(object())
    except (TypeError, ValueError) as error:
        fail_unless(False, f"it cannot be called with a task alone: {error}")
