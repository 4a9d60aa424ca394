"""The built site, for the tests of this folder: `make test-docs` builds it and runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def asked_for() -> None:
    """Skip all tests of this folder unless HARNESS_DOCS is set."""
    if not os.environ.get("HARNESS_DOCS"):
        pytest.skip("`make test-docs` builds the documentation and follows its guides")


@pytest.fixture(scope="session")
def site() -> Path:
    """Folder of the site as mkdocs built it."""
    return ROOT / "build/site"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser."""
    if not (found := shutil.which("chromium")):
        pytest.fail("these tests need a browser: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses to run as root, as in a container, with its sandbox.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()
