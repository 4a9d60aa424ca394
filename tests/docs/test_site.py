"""The built documentation: it loads nothing from elsewhere, reads as on a code host, and is searched from a disk."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "leaderboards/*.md", "findings/*.md")
    for path in ROOT.glob(pattern)
)
SHAPES = {
    *("table", "tr", "th", "td", "ul", "ol", "li", "pre", "img", "blockquote"),
    *("h1", "h2", "h3", "h4"),
}
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Shape(HTMLParser):
    """Count of the elements that make the shape of a text, and the addresses that are loaded with it."""

    def __init__(self, text: str, *, within: str = "") -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.loaded: list[str] = []
        self.within, self.is_inside = within, not within
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.is_inside |= tag == self.within
        self.counts[tag] += self.is_inside and tag in SHAPES
        address = dict(attributes).get(LOADED.get(tag, ""))
        if address and ("rel", "canonical") not in attributes:
            self.loaded.append(address)

    def handle_endtag(self, tag: str) -> None:
        self.is_inside &= tag != self.within


def built(site: Path, page: Path) -> Path:
    """Return the file of the site that a page of the repository became."""
    name = page.relative_to(ROOT).as_posix()
    moved = {"docs/README.md": "index.html", "README.md": "README.html"}
    return site / moved.get(name, name.replace("README.md", "index.html").replace(".md", ".html"))


def test_no_page_loads_anything_from_another_computer(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 50
    for page in pages:
        loaded = Shape(page.read_text("utf-8")).loaded
        assert [address for address in loaded if re.match(r"(\w+:)?//", address)] == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?:\w+:)?//[^)]*", style.read_text("utf-8")) == [], style


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_the_tables_and_lists_that_a_code_host_shows(page: Path, site: Path) -> None:
    hosted = Shape(MarkdownIt("commonmark").enable("table").render(page.read_text("utf-8")))
    shown = Shape(built(site, page).read_text("utf-8"), within="article")
    assert {tag: shown.counts[tag] for tag in SHAPES} == {tag: hosted.counts[tag] for tag in SHAPES}


@pytest.mark.parametrize("size", [(1366, 768), (390, 844)], ids=["laptop", "phone"])
def test_the_site_is_read_and_searched_from_a_disk(site: Path, chromium: Any, size: tuple[int, int]) -> None:
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    asked: list[str] = []
    faults: list[Any] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda fault: faults.append(fault))
    for path in sorted(site.glob("docs/**/*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("/")  # as a click on the field, or on its icon where the page is narrow
    page.keyboard.type("quantised")
    page.locator(".md-search-result__link").first.wait_for()
    assert "manual.html" in " ".join(
        one.get_attribute("href") or "" for one in page.locator(".md-search-result__link").all()
    )
    assert faults == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()
