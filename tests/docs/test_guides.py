"""The guides: their files are written and their commands run, as a reader would, in an empty folder, without a network.

A block after a line that is one name in backticks is that file; one under `<!-- not run: reason -->` is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
BLOCK = re.compile(
    r"(?:^`(?P<file>[\w./-]+)`\n\n|^<!-- not run: (?P<reason>.+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
TEXTS = [
    (f"{word} {thing} number {number}, {more}.", label)
    for label, words in (
        ("praise", ("Lovely", "Good", "Splendid")),
        ("complaint", ("Awful", "Broken", "Late")),
    )
    for word in words
    for number, thing in enumerate(("parcel", "answer", "letter", "meal", "room", "train") * 6)
    for more in ("we thought", "as ever")
]


@dataclass(frozen=True)
class Step:
    """A file to write (`name` is its path) or a command to run."""

    text: str
    name: str = ""


def steps(guide: Path) -> Iterator[Step]:
    """Yield what a reader of a guide does, in order."""
    for block in BLOCK.finditer(guide.read_text("utf-8")):
        if block["file"]:
            yield Step(block["text"], block["file"])
        elif block["language"] == "console" and not block["reason"]:
            for line in block["text"].replace("\\\n", " ").splitlines():
                assert line.startswith("$ "), line
                yield Step(line.removeprefix("$ "))


def what_a_reader_has(folder: Path) -> None:
    """Write the files that guides take as given: a table with labels, and texts."""
    rows = [
        f'"{text}",{label},{"test" if row % 3 == 0 else "train"}' for row, (text, label) in enumerate(TEXTS)
    ]
    (folder / "data.csv").write_text("\n".join(["text,label,split", *rows]) + "\n", "utf-8")
    (folder / "my-texts.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text, _ in TEXTS), "utf-8")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_the_commands_of_a_guide_do_what_it_says(guide: Path, tmp_path: Path) -> None:
    what_a_reader_has(tmp_path)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("HARNESS_DATA_DIR", None)
    for step in steps(guide):
        if step.name:
            path = tmp_path / step.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, "utf-8")
            continue
        done = subprocess.run(
            ["bash", "-c", step.text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{step.text}\n{done.stdout}\n{done.stderr}"


def test_every_guide_has_a_place_in_the_site_and_on_the_map() -> None:
    for text in ((ROOT / "mkdocs.yml").read_text("utf-8"), (ROOT / "docs/README.md").read_text("utf-8")):
        assert [guide.stem for guide in GUIDES if f"guides/{guide.name}" not in text] == []
