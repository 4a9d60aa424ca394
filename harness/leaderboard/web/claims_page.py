"""Page of claims: one file of HTML without scripts, with the table of claims and the results behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.leaderboard.web.rendering import make_environment, render_markdown


def to_html(
    *,
    about: str,
    reading: str,
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]],
    nothing: str,
    pages: Sequence[tuple[str, str]],
) -> str:
    """Return the page: `tables` of plain texts by name, each of heads and rows, `nothing` where there is
    none, and `pages` of Markdown by name.
    """
    template = make_environment().get_template("claims.html.jinja")
    return template.render(
        about=about,
        reading=render_markdown(reading),
        tables=tables,
        nothing=nothing,
        pages=[(name, render_markdown(text, below=1)) for name, text in pages],
    )
