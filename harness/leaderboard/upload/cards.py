"""Cards of datasets and Spaces, and index.html: the files that the hub and a browser read first."""

from __future__ import annotations

import json
from collections.abc import Iterable

from harness.api.text import escape_markdown
from harness.leaderboard import claims
from harness.leaderboard.files import PAGE
from harness.leaderboard.upload.content import Content

_TABLES = {
    "leaderboard": ("leaderboard.parquet", "leaderboard.csv"),
    "tasks": ("leaderboard-tasks.parquet", "leaderboard-tasks.csv"),
    "regimes": ("leaderboard-regimes.csv",),
    "ablation": ("leaderboard-ablation.csv",),
    "matrix": ("matrix.csv",),
    "matrix-summary": ("matrix-summary.csv",),
    "claims": (claims.TABLE,),
}
"""Tables of a dataset by name, each with its files, of which the first that is there counts."""


def add_index(content: Content) -> Content:
    """Return the content with index.html, a copy of the page."""
    return content.joined({"index.html": content.files[content.page]})


def add_space_card(content: Content, *, licence: str | None = None) -> Content:
    """Return the content with the README.md of a static Space."""
    fields = {"title": content.board, "sdk": "static", "app_file": "index.html", "pinned": False}
    return content.joined({"README.md": _card(content, {**fields, **_licensed(licence)})})


def add_dataset_card(content: Content, *, licence: str | None = None) -> Content:
    """Return the content with the README.md of a dataset, which says what table is in which files."""
    tables: list[dict[str, object]] = [
        {"config_name": name, "data_files": next(file for file in files if file in content.files)}
        for name, files in _TABLES.items()
        if any(file in content.files for file in files)
    ]
    if predictions := sorted(name for name in content.files if name.endswith(".predictions.parquet")):
        tables.append({"config_name": "predictions", "data_files": predictions})
    fields: dict[str, object] = {"pretty_name": content.board, **_licensed(licence), "configs": tables}
    return content.joined({"README.md": _card(content, fields)})


def _licensed(licence: str | None) -> dict[str, str]:
    return {"license": licence} if licence else {}


def _card(content: Content, fields: dict[str, object]) -> bytes:
    """Return a card: fields in YAML, of which JSON is a part, and what the files are."""
    front = "\n".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())
    records = [name for name in content.files if name.endswith((".jsonl", ".jsonl.gz"))]
    kind, what = "Leaderboard", "A leaderboard of features of sparse autoencoders"
    if content.page == claims.PAGE:
        kind, what = "Claims", "Claims of published works on features of sparse autoencoders, re-run"
    said = [
        f"# {kind} {escape_markdown(content.board)}",
        f"{what}, made with the package sae-harness: "
        f"{' and '.join(f'`{name}`' for name in _first(content.files))}.",
    ]
    if records:
        said.append(
            f"It follows from the records and predictions beside it ({', '.join(f'`{name}`' for name in records)}): "
            "`harness leaderboard check` computes all scores anew."
        )
    said.append("`uploaded.json` names the files with their SHA-256.")
    return ("---\n" + front + "\n---\n\n" + "\n\n".join(said) + "\n").encode()


def _first(names: Iterable[str]) -> list[str]:
    known = (PAGE, "leaderboard.md", "leaderboard.csv", claims.PAGE, claims.CLAIMS, claims.TABLE)
    return [name for name in known if name in names]
