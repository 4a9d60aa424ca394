"""SVG of a canvas that a page can hold: matplotlib's picture without its styles, ids and addresses.

Texts are texts, in the ink (`currentColor`) and the fonts of the page; a mark says its numbers in a `title`. There is
no date, no reference and no script, and the same chart is the same text.
"""

from __future__ import annotations

import io
import re
from threading import Lock
from xml.etree import ElementTree as XML

from harness.figures.lettering import BLACK
from harness.leaderboard.plots.canvas import Canvas

NAMESPACE = "http://www.w3.org/2000/svg"

_LOCK = Lock()
"""Settings of matplotlib are those of the process: no two threads may change them at a time."""


def to_svg(canvas: Canvas, *, name: str, alt: str) -> str:
    """Return the picture as one element. Its only id is `plot-NAME`; `alt` is what is said to who does not see it."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.StringIO()
    with _LOCK, rc_context({"svg.fonttype": "none", "svg.image_inline": True}):
        FigureCanvasSVG(canvas.figure).print_svg(file, metadata={"Date": None})
    width, height = (_round(str(side)) for side in (canvas.width, canvas.height))
    root = XML.Element(
        "svg",
        {
            "xmlns": NAMESPACE,
            "id": f"plot-{name}",
            "role": "img",
            "aria-label": alt,
            "width": width,
            "height": height,
            "viewBox": f"0 0 {width} {height}",
            "font-family": "sans-serif",
            "fill": "currentColor",
            "stroke-linejoin": "round",
        },
    )
    for element in XML.fromstring(file.getvalue()):
        _copy(element, root, canvas, number="")
    return XML.tostring(root, "unicode")


def outline_svg(canvas: Canvas, *, name: str, alt: str) -> str:
    """Return an element with the texts of a picture and what is said of them and of its marks, and nothing drawn."""
    root = XML.Element("svg", {"xmlns": NAMESPACE, "id": f"plot-{name}", "aria-label": alt})
    for text in canvas.texts.values():
        XML.SubElement(root, "text").text = text
    for about in canvas.about.values():
        XML.SubElement(XML.SubElement(root, "path"), "title").text = about
    return XML.tostring(root, "unicode")


_DRAWN = ("path", "text")


def _copy(element: XML.Element, parent: XML.Element, canvas: Canvas, *, number: str) -> None:
    """Copy what is drawn; groups are only there to tell its number."""
    tag = element.tag.rpartition("}")[2]
    if tag == "g":
        for inner in element:
            _copy(inner, parent, canvas, number=element.get("id", number))
    elif tag in _DRAWN:
        copied = XML.SubElement(parent, tag, dict(_attributes(element)))
        if tag == "text":
            copied.text = canvas.texts[number]
        if number in canvas.about:
            title = XML.Element("title")
            title.text = canvas.about[number]
            title.tail, copied.text = copied.text, None
            copied.insert(0, title)


def _attributes(element: XML.Element) -> list[tuple[str, str]]:
    """Return a drawing's attributes, those of its style among them: a page's policy may forbid styles."""
    pairs = [(key, value) for key, value in element.items() if key in ("d", "x", "y", "transform")]
    styles = (part.partition(":") for part in element.get("style", "").split(";"))
    pairs += [(key.strip(), value.strip()) for key, _, value in styles]
    kept = {}
    for key, value in pairs:
        if not key or key in ("font-family", "stroke-linejoin", "stroke-dashoffset"):
            continue
        if (key == "transform" and value.startswith("rotate(-0 ")) or (key, value) == (
            "text-anchor",
            "start",
        ):
            continue
        kept[key] = "currentColor" if value == BLACK else " ".join(_round(value).split())
    return list(kept.items())


def _round(text: str) -> str:
    """Return a text whose numbers have at most two digits after the point: a hundredth of a point is not seen."""
    return re.sub(r"\d+\.\d+", lambda found: f"{round(float(found[0]), 2):.2f}".rstrip("0").rstrip("."), text)


# ── pages that hold drawings ─────────────────────────────────────────────────────────────────────────────

_DRAWING = re.compile(r'<svg xmlns="[^"]*" id="plot-([^"]*)".*?</svg>', re.DOTALL)

_ATTRIBUTES = (
    *("xmlns", "id", "role", "aria-label", "width", "height", "viewBox", "d", "x", "y", "transform", "opacity"),
    *("fill", "fill-opacity", "fill-rule", "stroke", "stroke-dasharray", "stroke-linecap", "stroke-linejoin"),
    *("stroke-miterlimit", "stroke-opacity", "stroke-width", "font-family", "font-size", "font-style"),
    *("font-weight", "text-anchor"),
)  # fmt: skip
"""Attributes that draw, and do nothing else."""

_PARTS = re.compile(
    rf'(?:[^<>]++|</?(?:svg|path|text|title)>|<(?:path|svg|text)(?: (?:{"|".join(_ATTRIBUTES)})="[^"<>]*")+ ?/?>)*+'
)
"""Texts, and tags that draw and do nothing else. What was matched is not tried again, so that no page takes long."""


def without_drawings(page: str) -> str:
    """Return a page whose plots are their texts and what their marks say, without drawings: those depend on the version
    of the drawing library. Their number follows. A drawing with anything that draws nothing, such as a script, stays.
    """
    text, count = _DRAWING.subn(lambda found: _read_marks(found) or found[0], page)
    return f"{text}{count}"


def _read_marks(found: re.Match[str]) -> str:
    """Return what is said in and of a drawing and its marks; "" of one that holds anything but lines and texts."""
    if not _PARTS.fullmatch(found[0]):
        return ""
    (alt,) = re.findall(' aria-label="([^"]*)"', found[0].partition(">")[0]) or [""]
    marks = set(re.findall("<title>([^<]*)</title>", found[0]))
    texts = re.findall("<text[^>]*>(?:<title>[^<]*</title>)?([^<]*)</text>", found[0])
    return "\n".join([found[1], alt, *sorted(texts), *sorted(marks)])
