"""Pages of claims: claims.md and claims.csv with a line for each, and claims.html, with the pages of results too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from harness.api.claims import Claim, ClaimVerdict, ResultPage
from harness.api.events import Score
from harness.leaderboard.pages import markdown
from harness.leaderboard.pages.frames import write_csv
from harness.leaderboard.web.claims_page import to_html

PAGE = "claims.html"
"""Name of the page to read."""

CLAIMS = "claims.md"
"""Name of the page with the table of claims."""

TABLE = "claims.csv"
"""Name of the same table for programs."""

FILES = (PAGE, CLAIMS, TABLE)
"""Names of the files of all claims."""

HEADS = (
    "work", "claimed", "model", "re-run here", "value [95 % interval]", "n", "control", "its value", "verdict", "why",
    "CPU minutes",
)  # fmt: skip

VERDICTS = get_args(ClaimVerdict)
COUNTS = ("model", *VERDICTS)
NOTHING = "No claim stands: nothing was re-run that one bears on."

READING = """\
Each line is a claim of a published work, re-run on one model. *holds* and *does not hold* follow by rule from the
interval, *undecided* says that there are too few items to tell, and *not testable on this model* that the model cannot
do what the claim is about, so that nothing stands for or against it. The page of each kind of results says how its
numbers are made.
"""

Lines = Sequence[tuple[str, Claim]]
"""Claims, each with the name of the kind of results that it comes from."""


def render(claims: Lines, pages: Mapping[str, ResultPage], *, about: str) -> dict[str, str]:
    """Return claims.md, claims.csv and claims.html for the pages of results by name."""
    ordered = sorted(claims, key=lambda line: (line[1].work, line[1].claimed, line[1].model, line[0]))
    rows = [_cells(claim) for _, claim in ordered]
    tables = (
        {"Verdicts by model": (COUNTS, _count(ordered)), "Table of claims": (HEADS, rows)} if rows else {}
    )
    written = [markdown.table(*table) for table in tables.values()] or [NOTHING]
    links = ", ".join(markdown.link_to(name, f"{name}.md") for name in pages)
    introduction = markdown.escape(about)
    text = markdown.join("# Claims", introduction, READING.strip(), *written, f"Results: {links}.")
    whole = to_html(
        about=about,
        reading=READING,
        tables=tables,
        nothing=NOTHING,
        pages=[(name, page.markdown) for name, page in pages.items()],
    )
    return {CLAIMS: text, TABLE: _to_csv(ordered), PAGE: whole}


def _count(claims: Lines) -> list[list[str]]:
    """Return a row for each model: how many lines have each verdict."""
    counts = Counter((claim.model, claim.verdict) for _, claim in claims)
    models = sorted({claim.model for _, claim in claims})
    return [[model, *(str(counts[model, verdict]) for verdict in VERDICTS)] for model in models]


def _cells(claim: Claim) -> list[str]:
    return [
        claim.work,
        claim.claimed,
        claim.model,
        claim.measure,
        str(claim.measured or markdown.NONE),
        f"{claim.n:,} {claim.items}",
        claim.control or markdown.NONE,
        str(claim.control_value or markdown.NONE),
        claim.verdict,
        claim.reason,
        f"{claim.cpu_minutes:.1f}" + (f" ({claim.device})" if claim.device != "cpu" else ""),
    ]


def _to_csv(claims: Lines) -> str:
    """Return the table with every number in a column of its own."""
    import pandas as pd

    def numbers(name: str, score: Score | None) -> dict[str, float | None]:
        values = (score.value, score.low, score.high) if score else (None, None, None)
        return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))

    frame = pd.DataFrame(
        [
            {
                "kind": kind,
                **{name: getattr(claim, name) for name in ("work", "claimed", "model", "measure")},
                **numbers("measured", claim.measured),
                "n": claim.n,
                **{name: getattr(claim, name) for name in ("items", "control")},
                **numbers("control_value", claim.control_value),
                **{name: getattr(claim, name) for name in ("verdict", "reason")},
                "cpu_minutes": round(claim.cpu_minutes, 2),
                "device": claim.device,
            }
            for kind, claim in claims
        ]
    )
    return write_csv(frame)
