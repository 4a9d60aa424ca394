"""A real browser for the tests of this folder: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.leaderboard import build, find_results, write
from harness.leaderboard.web import page as module

BOARDS = Path(__file__).parents[2] / "leaderboards"
NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Opened:
    """A page, with what it said on the console and what it asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def wait_until_drawn(self, timeout: float = 10_000) -> None:
        """Wait for the table, at most `timeout` milliseconds."""
        # By an attribute, not by a script: Playwright evaluates a script again and again inside the page, whose content
        # security policy refuses that unless it is true at the first look.
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=timeout)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; without HARNESS_BROWSER=1 these tests are skipped, and with it a browser must be there."""
    if not os.environ.get("HARNESS_BROWSER"):
        pytest.skip("a browser is started by `make test-browser` alone")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    assert found, f"none of {', '.join(NAMES)} is installed"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses to run as root, as in a container, with its sandbox.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any) -> Iterator[Any]:
    """`browse(path, ...)` opens a file in a context of its own."""
    contexts: list[Any] = []

    def open_file(
        path: Path, *, place: str = "", size: tuple[int, int] = (1366, 768), **options: Any
    ) -> Opened:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, accept_downloads=True, **options
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.said.append(f"error: {error}"))
        opened.page.on("dialog", lambda dialog: (opened.said.append("a dialog"), dialog.dismiss()))
        opened.page.on("request", lambda request: opened.asked.append(request.url))
        opened.page.goto(f"{path.resolve().as_uri()}{place}")
        return opened

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(browse: Any) -> Any:
    """`open_page(path, ...)` opens the page of a board as `browse` does, and waits until its table is drawn."""

    def open_board(path: Path, **options: Any) -> Opened:
        opened: Opened = browse(path, **options)
        if options.get("java_script_enabled", True):
            opened.wait_until_drawn(timeout=30_000)
        return opened

    return open_board


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """`large(n)` writes a page with a table of n lines and 60 columns."""
    board = build(find_results(BOARDS / "planted"))
    make_tables = module.make_tables

    def make(n: int) -> Path:
        def enlarge(*given: Any) -> Any:
            rows, *rest = make_tables(*given)
            more = tuple(
                replace(rows.columns[5], key=f"extra{i}", title=f"extra {i}", first=True) for i in range(60)
            )
            columns = (*rows.columns, *more)[:60]
            lines = [
                {**rows.lines[i % len(rows.lines)], "macro_f1": (i * 7919 % n) / n}
                | {f"extra{j}": (i * j % 997) / 997 for j in range(60)}
                for i in range(n)
            ]
            return (replace(rows, columns=columns, lines=tuple(lines)), *rest)

        monkeypatch.setattr(module, "make_tables", enlarge)
        write(board, tmp_path / "large")
        return tmp_path / "large/leaderboard.html"

    return make
