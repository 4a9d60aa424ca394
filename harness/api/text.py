"""Text from outside (names, labels, paths, texts of data), kept as text wherever it is shown.

One function for each place: `printable` for a terminal, `escape_markdown` for a page of Markdown, `plain_line` for
one of HTML, `csv_text` for a cell of a CSV, `escape_latex` for a paper.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

JOINERS = "\u200c\u200d"
"""Invisible letters that belong to words of some languages and to emoji."""


def printable(text: str) -> str:
    r"""Return text that can neither steer a terminal nor change the direction or place of what stands beside it.

    Control and format characters, and halves of surrogate pairs, become `\u001b` and the like; line ends and tabs stay.
    In JSON such an escape means the same character.
    """
    if text.isprintable():  # of Python: without control, format and unassigned characters, and separators
        return text
    return "".join(
        _spell(letter) if letter not in "\n\t" and _is_hidden(letter) else letter for letter in text
    )


def escape_markdown(text: str, *, everywhere: bool = False) -> str:
    """Return one line of Markdown that renders as the text, wherever a page puts it: in a paragraph, a heading or a
    cell of a table. Hidden characters become spaces.

    What is no markup in its place, such as the underscore in `a_b`, stays as it is, so that pages can be read as they
    are; with `everywhere` it is escaped too, so that what is no name cannot be read as markup by a laxer renderer.
    """
    line = _one_line(text).strip(" ")
    return (_ANYWHERE if everywhere else _IN_PLACE).sub(_escape, line)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts as Markdown."""
    lines = [[escape_markdown(cell) for cell in row] for row in (heads, *rows)]
    lines.insert(1, ["---"] * len(heads))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain_line(text: str) -> str:
    """Return one line of text without hidden characters, which become spaces: for a page of HTML, whose engine escapes
    markup itself, or for JSON.
    """
    return _one_line(text)


def csv_text(text: str) -> str:
    """Return the text of a cell of a CSV, on one line, after a `'` where a spreadsheet would take it for a formula.

    Hidden characters become spaces.
    """
    line = _one_line(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULAS) else line


def escape_latex(text: str) -> str:
    """Return one line of LaTeX that is typeset as the text, wherever it stands: in a paragraph, a cell or a field of
    BibTeX.

    Hidden characters become spaces. Letters of scripts that the font lacks are for the paper's engine and font to set.
    """
    line = "".join(_LATEX.get(letter, letter) for letter in _one_line(text).strip(" "))
    return _LIGATURES.sub(r"\g<0>{}", line)


def shorten(text: str) -> str:
    """Return a message without the middle of words of more than a thousand letters, and of more than ten thousand."""
    if len(text) <= _LONG_WORD:
        return text
    words = [_cut(word, _LONG_WORD) for word in text.split(" ")]
    return _cut(" ".join(words), _LONG_MESSAGE)


_LONG_WORD, _LONG_MESSAGE = 1_000, 10_000
"""A name of a file has 255 letters at most; the command that fetches every file of a large model has some thousand."""


def _cut(text: str, most: int) -> str:
    """Return a text without its middle if it has more letters than `most`."""
    if len(text) <= most:
        return text
    return f"{text[: most // 5]}… ({len(text):,} letters) …{text[-most // 10 :]}"


_LATEX = {
    **{letter: f"\\{letter}" for letter in "#$%&_"},
    "{": r"\textbraceleft{}",  # BibTeX counts braces, those after a backslash too
    "}": r"\textbraceright{}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    # After the end of a line of a table, a bracket or a star would be its argument.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "−": "$-$",
    "Δ": r"$\Delta$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "…": r"\ldots{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
}
"""Commands for letters that LaTeX reads as commands themselves, or that its default fonts lack."""

_LIGATURES = re.compile("-(?=-)|,(?=,)")
"""Letters that become a dash or a quotation mark with the next one."""

_FORMULAS = tuple("=+-@＝＋－＠")
"""First letters of what spreadsheets compute, in some languages also in full width."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

_ALWAYS = r"[\\|`&<>~#$]"
# A list, a rule, or the line below a heading, each only at the beginning of a line.
_FIRST = r"^[-+=](?=\s|$|[-+=])|^\d{1,9}[.)](?=\s|$)"
# Web and mail addresses become links without any brackets, and words between colons pictures.
_ADDRESSES = r"(?<=www)\.|:(?=//)|:(?=[\w+-]+:)|@(?=[\w-]+\.\w)|(?<!\w)@(?=\w)"
# After a letter an underscore, or a last `*`, can only close; without what would open there is nothing to close.
_EMPHASIS = r"(?<!\w)_+|(?<![^\W_])\*|\*(?!$)"
_LINKS = r"!(?=\[|$)|\](?=[(\[:])"

_IN_PLACE = re.compile("|".join((_ALWAYS, _FIRST, _ADDRESSES, _EMPHASIS, _LINKS)), re.IGNORECASE)
_ANYWHERE = re.compile("|".join((_ALWAYS, _FIRST, r"(?<=www)\.", r"[!\[\]*_:@]")), re.IGNORECASE)


def _escape(found: re.Match[str]) -> str:
    return "".join(
        _ENTITIES.get(letter, letter if letter.isdigit() else f"\\{letter}") for letter in found[0]
    )


def _one_line(text: str) -> str:
    if text.isprintable():  # nothing hidden, as in nearly all names
        return text
    return "".join(" " if _is_hidden(letter) else letter for letter in text)


def _is_hidden(letter: str) -> bool:
    """Return True for control and format characters, unassigned ones, and separators of lines and paragraphs."""
    category = unicodedata.category(letter)
    return (category[0] == "C" and letter not in JOINERS) or category in ("Zl", "Zp")


def _spell(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
