#!/usr/bin/env bash
# langcodes 3.5.1, Language.maximize(): the likely script of a language tag.
#
# Expected: a language for which the library has no likely script keeps none, or raises.
# Seen: it is taken for American English: Jewish Babylonian Aramaic (tmr, written in Hebrew letters) and a private
# code (qaa) are both "Latn", with "US", as if that were known. A table of scripts made from it needs a check that the
# language is known.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet langcodes==3.5.1
"$folder/venv/bin/python" - <<'PYTHON'
from langcodes import Language

seen = {tag: str(Language.get(tag).maximize()) for tag in ("tmr", "qaa", "he")}
print(seen)
assert seen == {"tmr": "tmr-Latn-US", "qaa": "qaa-Latn-US", "he": "he-Hebr-IL"}, "langcodes behaves differently now"
PYTHON
