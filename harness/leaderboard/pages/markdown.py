"""Numbers and names in, pieces of Markdown out. Whatever comes from outside is escaped here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from harness.leaderboard.scoring import Estimate

NONE = "—"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of plain text."""
    return table_of_markdown(header, [[escape(cell) for cell in line] for line in lines])


def table_of_markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose cells are Markdown already; only the header is escaped."""
    rows = [[escape(name) for name in header], ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def escape(text: str) -> str:
    """Text that can neither leave its table cell nor be read as HTML; control characters become spaces."""
    clean = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in text)
    for letter in "\\|`":
        clean = clean.replace(letter, f"\\{letter}")
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quote(text: str, *, longest: int = 80) -> str:
    """Running text of data, on one line and cut after `longest` letters, that is neither an image, a link (also none
    without brackets) nor anything else but text.
    """
    words = " ".join(text.split())
    short = words if len(words) <= longest else f"{words[: longest - 1].rstrip()}…"
    return re.sub(r"([!\[\]*_~:@#]|(?<=www)\.)", r"\\\1", escape(short), flags=re.IGNORECASE)


def link(text: str, address: str | None) -> str:
    """A link to a web address; the text alone where there is none, or it is no plain http(s) address."""
    if address is None or not re.fullmatch(r"https?://[\w.\-~/?#=&%+,;:@!$*]+", address, re.ASCII):
        return escape(text)
    return f"[{escape(text)}]({address.replace('&', '&amp;').replace('*', '%2A')})"


def score(estimate: Estimate | None) -> str:
    """`.744 [.686, .794]`."""
    if estimate is None:
        return NONE
    low, high = estimate.interval
    return f"{point(estimate.value)} [{point(low)}, {point(high)}]"


def difference(estimate: Estimate | None) -> str:
    """`+.057 [+.032, +.084]`."""
    if estimate is None:
        return NONE
    low, high = estimate.interval
    return f"{signed(estimate.value)} [{signed(low)}, {signed(high)}]"


def point(value: float) -> str:
    """Three digits, no zero before the point."""
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + text.removeprefix("0")


def signed(value: float) -> str:
    """As `point`, with a plus."""
    text = point(value)
    return text if text.startswith("−") or not float(text) else f"+{text}"


def optional(value: float | None) -> str:
    """As `point`, or a dash."""
    return NONE if value is None else point(value)


def integer(value: int | None) -> str:
    """The number, or a dash."""
    return NONE if value is None else str(value)
