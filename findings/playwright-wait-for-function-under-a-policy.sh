#!/usr/bin/env bash
# playwright 1.65.2 (Python), page.wait_for_function(text): a page whose content security policy allows no `unsafe-eval`.
#
# Expected: the text is evaluated as page.evaluate() does it, or is refused on every such page.
# Seen: it works where it is true at the first look, and raises EvalError where one has to wait: the first look is the
# browser's own evaluation, and later ones are a call of eval() inside the page, which its policy refuses. A test passes
# or fails by how fast the machine is. Wait for an attribute or a text instead (wait_for_selector, locator.wait_for).
# It needs a Chromium on the path, such as Debian's.
set -eu
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
  echo "there is no Chromium on the path: install one" >&2
  exit 2
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet playwright==1.65.2
CHROMIUM="$chromium" FOLDER="$folder" "$folder/venv/bin/python" - <<'PYTHON'
import os
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

page_file = Path(os.environ["FOLDER"], "page.html")
page_file.write_text(
    '<meta http-equiv="Content-Security-Policy" content="script-src \'unsafe-inline\'">'
    "<script>setTimeout(() => { window.late = true }, 500); window.early = true</script>"
)


def wait(page, text):
    try:
        page.wait_for_function(text, timeout=5_000)
    except Error as error:
        return str(error).split("\n")[0]
    return "true"


with sync_playwright() as playwright:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=arguments)
    page = browser.new_page()
    page.goto(page_file.as_uri())
    seen = {text: wait(page, text) for text in ("window.early", "window.late")}
    browser.close()
print(seen)
assert seen["window.early"] == "true", "playwright behaves differently now"
assert "EvalError" in seen["window.late"], "playwright behaves differently now"
PYTHON
