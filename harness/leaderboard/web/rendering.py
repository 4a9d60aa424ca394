"""Means by which pages are written: the engine of templates, files of this package, and Markdown as HTML."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from harness.api.text import plain_line, shorten

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def make_environment() -> Environment:
    """Return an engine of the templates of this package, which escapes every text that is put into them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("harness.leaderboard.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["line"] = lambda text: plain_line(shorten(text))
    environment.globals["asset"] = read_asset
    return environment


@cache
def read_asset(name: str) -> Markup:
    """Return a file of this package that stands in the page as it is, without the address of a source map."""
    from jinja2 import PackageLoader
    from markupsafe import Markup

    text, _, _ = PackageLoader("harness.leaderboard.web", "assets").get_source(make_environment(), name)
    return Markup(re.sub(r"\n(//|/\*)# sourceMappingURL=.*", "", text))  # a file of this package


def render_markdown(text: str, *, below: int = 0) -> Markup:
    """Return Markdown as HTML whose headings are `below` so many levels lower; tables can be scrolled."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    # No HTML passes: `js-default` leaves raw HTML as text, and what comes in is escaped by the pages already.
    reader = MarkdownIt("js-default", {"linkify": False})
    tokens = reader.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + below, 6)}"
    html = reader.renderer.render(tokens, reader.options, {})
    html = html.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    return Markup(html.replace("</table>", "</table></div>"))  # made by a renderer that escapes
