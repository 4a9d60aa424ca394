"""Plugin of pytest: one test for each check of each offer of a plugin.

One line in a `conftest.py` turns it on: `pytest_plugins = ["harness.testing.pytest_plugin"]`. Then
`pytest --harness-plugin NAME`, or `harness_plugins = ["NAME"]` in the settings of pytest, checks the plugin NAME.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.api.errors import HarnessError

OPTION = "--harness-plugin"
SETTING = "harness_plugins"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the setting."""
    parser.addoption(
        OPTION,
        action="append",
        default=[],
        metavar="NAME",
        help="check this plugin (or module) of the harness",
    )
    parser.addini(
        SETTING, "plugins (or modules) of the harness that are checked", type="linelist", default=[]
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for each check."""
    from harness.registry.local_modules import importable

    try:
        # A plugin and its file may both be named.
        names = [*dict.fromkeys(map(importable, (*config.getoption(OPTION), *config.getini(SETTING))))]
        for name in names:
            folder = tempfile.TemporaryDirectory()
            config.add_cleanup(folder.cleanup)
            items.extend(_items(session, name, Path(folder.name)))
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


def _items(session: pytest.Session, name: str, folder: Path) -> Iterator[pytest.Item]:
    from harness.testing.run import find_trials, open_for

    registry, modules = open_for(name)
    failed: set[tuple[str, str, str]] = set()
    for trial in find_trials(registry, name, folder, modules=modules):
        label = f"{name}::{trial.label}"
        yield CheckItem.from_parent(session, name=label, nodeid=label, trial=trial, failed=failed)


class CheckItem(pytest.Item):
    """Test that is one check of one offer."""

    def __init__(self, *, trial: Any, failed: set[tuple[str, str, str]], **options: Any) -> None:
        super().__init__(**options)
        self.trial, self.failed = trial, failed

    def runtest(self) -> None:
        """Run the check; fail with its sentence."""
        from harness.testing.check import CheckFailed
        from harness.testing.run import run_trial

        outcome = run_trial(self.trial, self.failed)
        if outcome is None:
            pytest.skip("it is not about this offer, or rests on a check that did not pass")
        if outcome.status == "skipped":
            pytest.skip(outcome.sentence)
        if outcome.status == "failed":
            raise CheckFailed(outcome.sentence)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Return the sentence and the rule, without the check's own code."""
        from harness.testing.check import CheckFailed

        if isinstance(excinfo.value, CheckFailed):
            return f"{self.trial.label}: {excinfo.value}\nThe rule: {self.trial.check.rule}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return what stands in the report's heading."""
        return self.path, None, self.name
