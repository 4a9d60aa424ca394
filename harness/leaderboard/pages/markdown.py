"""Markdown of numbers, names and tables, all text from outside escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from harness.api.text import escape_markdown, markdown_table
from harness.leaderboard.scoring import Estimate
from harness.leaderboard.selection import RowKey

escape = escape_markdown
table = markdown_table

NONE = "—"
"""Text of a number or name that does not exist."""

ARM = ("model", "representation", "width")
"""Heads of the columns that `arm` fills."""


def join(*parts: str) -> str:
    """Return a page of paragraphs; empty ones are left out."""
    return "\n\n".join(filter(None, parts)) + "\n"


def table_of_markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table whose cells are Markdown already; only the header is escaped."""
    rows = [[escape(name) for name in header], ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def wide_table(name: str, columns: Sequence[str], texts: Mapping[tuple[RowKey, str], str]) -> str:
    """Return a table of rows × columns, of the rows that have a text; "" without any."""
    lines = [
        [*arm(row), *(texts.get((row, column), NONE) for column in columns)]
        for row in dict.fromkeys(row for row, _ in texts)
    ]
    return table([f"{name}: model", *ARM[1:], *columns], lines) if lines else ""


def quote(text: str, *, longest: int = 80) -> str:
    """Return running text of data on one line, cut after `longest` letters, with all that could be markup escaped."""
    words = " ".join(text.split())
    short = words if len(words) <= longest else f"{words[: longest - 1].rstrip()}…"
    return escape(short, everywhere=True)


def link(text: str, address: str | None) -> str:
    """Return a link to a web address; the text alone without an address, or if it is no plain http(s) address."""
    if address is None or not re.fullmatch(r"https?://[\w.\-~/?#=&%+,;:@!$*]+", address, re.ASCII):
        return escape(text)
    return link_to(text, address.replace("&", "&amp;").replace("*", "%2A"))


def link_to(text: str, address: str) -> str:
    """Return a link to an address that is safe in Markdown, such as that of a file of the page."""
    one_pair = re.fullmatch(r"[^\[\]]*(\[[^\[\]]*\])?", text)  # of parameters, as in `pca[n=4]`
    return f"[{escape(text, everywhere=not one_pair)}]({address})"


def arm(row: RowKey) -> list[str]:
    """Return the cells of a row's model, representation and width."""
    return [row.model or NONE, row.representation, integer(row.width)]


def name_arm(row: RowKey) -> str:
    """Return model, representation and width in one text, without those that do not exist."""
    return " ".join(filter(None, (row.model, row.representation, str(row.width or ""))))


def score(estimate: Estimate | None, write: Callable[[float], str] | None = None) -> str:
    """Return a value and its interval, such as `.744 [.686, .794]`, a dash in place of an interval that there is not;
    a dash without an estimate.
    """
    if estimate is None:
        return NONE
    value, *ends = map(write or point, (estimate.value, *(estimate.interval or ())))
    return f"{value} [{', '.join(ends) or NONE}]"


def difference(estimate: Estimate | None) -> str:
    """Return a difference and its interval, such as `+.057 [+.032, +.084]`; a dash without an estimate."""
    return score(estimate, signed)


def point(value: float) -> str:
    """Return three digits, without the zero before the point."""
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + text.removeprefix("0")


def signed(value: float) -> str:
    """Return the number as `point` does, with its sign."""
    text = point(value)
    return text if text.startswith("−") or not float(text) else f"+{text}"


def optional(value: float | None) -> str:
    """Return the number as `point` does, or a dash."""
    return NONE if value is None else point(value)


def span(first: int | None, last: int | None) -> str:
    """Return `2`, or `2–4` where the two differ; a dash without any."""
    return NONE if first is None or last is None else str(last) if first == last else f"{first}–{last}"


def integer(value: int | None) -> str:
    """Return the number, or a dash."""
    return NONE if value is None else str(value)
