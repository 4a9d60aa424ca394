"""Hook of mkdocs: the files of the site, at the paths that they have in the repository.

Pages are those of `docs/`, of the root and of `leaderboards/`, and whatever these link to: Markdown becomes a page,
another file is copied. So a relative link leads to the same thing on the site and on a code host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reference
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
FIRST = ("*.md", "docs/**/*.md", "docs/site/*.js", "leaderboards/*.md")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Return the files of the theme and those of the repository that belong to the site."""
    theme = [file for file in files if not str(file.abs_src_path).startswith(f"{config.docs_dir}{os.sep}")]
    made = [
        File.generated(config, f"docs/reference/{page.name}.md", content=page.text)
        for page in reference.pages()
    ]
    return Files([*theme, *made, *(_file(path, config) for path in sorted(linked()))])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leave the changelog and the pages of single boards out of the search: they would hide everything else."""
    path = page.file.src_uri
    if path == "CHANGELOG.md" or (path.startswith("leaderboards/") and path.count("/") > 1):
        page.meta["search"] = {"exclude": True}
    return markdown


def linked() -> set[Path]:
    """Return the paths of the pages and of all files that they link to, directly or through others."""
    found: set[Path] = set()
    ahead = [path for pattern in FIRST for path in ROOT.glob(pattern)]
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead += _links(path) if path.suffix == ".md" else ()
    return found


def _links(page: Path) -> Iterator[Path]:
    for target in LINK.findall(page.read_text("utf-8")):
        path = Path(os.path.normpath(page.parent / target))
        if "://" not in target and path.is_file():
            yield path


def _file(path: Path, config: Any) -> File:
    file = File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
    # The map of the documentation is the first page, in place of the README, which has its own name.
    file.dest_uri = {"docs/README.md": "index.html", "README.md": "README.html"}.get(
        file.src_uri, file.dest_uri
    )
    if file.is_documentation_page() and path.with_suffix(".html").exists():  # a board has a page of its own
        file.dest_uri = f"{file.src_uri}.html"
    return file
