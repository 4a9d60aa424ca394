#!/usr/bin/env bash
# matplotlib 3.11.2, savefig(format="svg"): a picture that is put into a page of HTML as an <svg> element.
#
# Expected: the styles of a picture are those of its own elements.
# Seen: the picture holds a style sheet with a rule for every element, `*{stroke-linejoin: round; ...}`. A style sheet in
# an inline <svg> is one of the whole document, so that each other drawing of the page is restyled: here, the
# rules that apply to an icon outside the picture, found with a library of CSS, are those of the picture, and its lines
# are joined otherwise. Drop the sheet, or write its declarations at the root of the picture.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet matplotlib==3.11.2 tinycss2==1.4.0 cssselect2==0.8.0 defusedxml==0.7.1
"$folder/venv/bin/python" - <<'PYTHON'
import io
import re

import cssselect2
import tinycss2
from defusedxml import ElementTree
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

figure = Figure()
figure.add_subplot().plot([0, 1], [0, 1])
file = io.StringIO()
FigureCanvasSVG(figure).print_svg(file)
picture = file.getvalue()
picture = picture[picture.index("<svg") :]
page = ElementTree.fromstring(f'<html><body><svg><path id="icon" d="M0 0L1 1"/></svg>{picture}</body></html>')

# The rules of all style sheets of the document, applied to the icon, as a browser does it.
matcher = cssselect2.Matcher()
for sheet in re.findall(r"<style[^>]*>(.*?)</style>", picture, re.DOTALL):
    for rule in tinycss2.parse_stylesheet(sheet, skip_whitespace=True, skip_comments=True):
        for selector in cssselect2.compile_selector_list(rule.prelude):
            matcher.add_selector(selector, tinycss2.serialize(rule.content).strip())
root = cssselect2.ElementWrapper.from_html_root(page)
(icon,) = (each for each in root.iter_subtree() if each.etree_element.get("id") == "icon")
seen = [declarations for *_, declarations in matcher.match(icon)]
print("style sheets of the picture give an icon outside it:", seen)
assert len(seen) == 1 and "stroke-linejoin: round" in seen[0], "matplotlib behaves differently now"
PYTHON
