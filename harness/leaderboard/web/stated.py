"""Statements on a page that stand in no record: author, licence and commit. They are never looked up anywhere."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, fields
from pathlib import Path

from harness.storage.parsing import parsing
from harness.storage.reading import read_description


@dataclass(frozen=True, kw_only=True)
class Stated:
    """Author, licence and commit of a board, as somebody stated them; "" where nobody did."""

    author: str = ""
    licence: str = ""
    commit: str = ""


NOTHING_STATED = Stated()


def read_stated(page: Path) -> Stated:
    """Return what a page states in its head; nothing without a page.

    Raise UnavailableError when it cannot be read.
    """
    if not page.is_file():
        return NOTHING_STATED
    with parsing(f"'{page}' cannot be read"):
        text = read_description(page).decode(errors="replace")  # a damaged page is written anew
        head = text.partition("</head>")[0]
    found = dict(re.findall(r'<meta name="([a-z]+)" content="([^"]*)">', head))
    return Stated(**{field.name: html.unescape(found.get(field.name, "")) for field in fields(Stated)})
