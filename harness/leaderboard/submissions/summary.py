"""Summary of a submission as Markdown, for a pull request. All text of the submission is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.leaderboard.board import Row
from harness.leaderboard.pages.markdown import ARM, NONE, arm, difference, escape, join, score, span, table
from harness.leaderboard.published.badge import badge_of
from harness.leaderboard.published.rerun_report import RerunReport
from harness.leaderboard.submissions.examine import CHECKS, RERUN, Examined
from harness.validation.finding import Finding

MOST = 20
"""Most findings of one check that are listed; the rest are counted."""

_LONGEST = 600


def summarize(examined: Examined, reports: Mapping[str, RerunReport] | None = None) -> str:
    """Return the page: checks with their results, rows gained, cells run again, findings, and what is not proven.

    `reports` holds the report of each run whose cells were run again, by the name of the run.
    """
    runs = ", ".join(f"`{_code(entry.run.name)}`" for entry in examined.submitted.entries) or NONE
    faults = len(examined.faults)
    verdict = f"{_count(faults, 'fault')}: it is not to be added" if faults else "no fault was found"
    return join(
        f"## Submission to `{_code(examined.folder.resolve().name)}`: {verdict}",
        f"Runs: {runs}",
        table(["Check", "Result"], [[name, _result(examined.findings.get(name))] for name in CHECKS]),
        _rows(examined),
        *(_rerun(name, report, examined) for name, report in (reports or {}).items()),
        *(_findings(name, examined.findings.get(name, ())) for name in CHECKS),
        _badges(examined),
    )


def _result(findings: Sequence[Finding] | None) -> str:
    if findings is None:
        return "not made"
    faults = sum(finding.severity == "fault" for finding in findings)
    notes = len(findings) - faults
    said = [_count(faults, "fault") if faults else "passed", *([_count(notes, "note")] if notes else [])]
    return ", ".join(said)


def _rows(examined: Examined) -> str:
    if examined.board is None:
        return ""
    if not examined.gained:
        return "The board gains no row."
    lines = [[*map(_short, arm(row.key)), *_places(row)] for row in examined.gained]
    head = [ARM[0].capitalize(), *ARM[1:], "rank", "macro-F1", "Δ to hidden", "flags"]
    return join("### Rows gained", table(head, lines)).rstrip()


def _places(row: Row) -> list[str]:
    return [
        span(row.rank, row.last_rank),
        score(row.macro_f1),
        difference(row.delta),
        _short(", ".join(row.flags)),
    ]


def _rerun(name: str, report: RerunReport, examined: Examined) -> str:
    lines = [
        [
            *_cell(cell.cell_id, examined),
            f"{cell.difference.differing:.2%}",
            f"{cell.difference.macro_f1:.4f}",
        ]
        for cell in report.cells
    ]
    limit = report.tolerance
    facts = [
        [_short(fact), *(_short(dict(machine).get(fact) or NONE) for machine in both)]
        for both in (
            (report.submitted.hardware, report.here.hardware),
            (report.submitted.versions, report.here.versions),
        )
        for fact in dict.fromkeys([*both[0], *both[1]])
    ]
    return join(
        f"### Cells of `{_code(name)}` run again",
        f"{_count(len(report.cells), 'cell')} of {report.candidates}, drawn by {report.draw} ({report.seed}). Allowed: "
        f"{limit.differing:.2%} of predictions, {limit.macro_f1:.4f} of macro-F1.",
        table(["cell", "of", "predictions that differ", "difference in macro-F1"], lines) if lines else "",
        table(["", "submitted", "here"], facts),
        _skipped(report, examined),
    ).rstrip()


def _cell(cell_id: str, examined: Examined) -> list[str]:
    record = next(cell.record for cell in examined.submitted.cells if cell.cell_id == cell_id)
    names = (
        record.task,
        record.model,
        record.site,
        record.representation,
        record.pooling,
        f"seed {record.seed}",
    )
    return [_short(cell_id[:12]), _short(" ".join(filter(None, names)))]


def _skipped(report: RerunReport, examined: Examined) -> str:
    """Return a list of the cells that could not be run again, by reason."""
    by_reason: dict[str, list[str]] = {}
    for cell_id, why in report.skipped.items():
        by_reason.setdefault(why, []).append(cell_id)
    lines = [
        f"- not run again, {_count(len(ids), 'cell')} such as {_text(' '.join(_cell(ids[0], examined)))}: {_text(why)}"
        for why, ids in list(by_reason.items())[:MOST]
    ]
    return "\n".join(lines)


def _findings(name: str, findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    ordered = sorted(findings, key=lambda finding: finding.severity != "fault")
    lines = [f"- {finding.severity}: {_text(finding.sentence)}" for finding in ordered[:MOST]]
    more = [f"- and {len(ordered) - MOST} more"] if len(ordered) > MOST else []
    return "\n".join([f"### {escape(name[0].upper() + name[1:])}", "", *lines, *more])


def _badges(examined: Examined) -> str:
    """Return what each run's badge proves; a run with a fault has none."""
    if examined.faults:
        return ""
    lines = [
        f"- `{_code(entry.run.name)}`: {_text(badge_of(entry.run).text)}"
        for entry in examined.submitted.entries
    ]
    more = "" if RERUN in examined.findings else "\n- no cell was run again (`--rerun K` does that)"
    return join("### What is proven", "\n".join(lines) + more).rstrip()


def _text(sentence: str) -> str:
    """Return a sentence on one line, its names as text, without the middle of a very long one."""
    return escape(_short(" ".join(sentence.split())))


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]}… ({len(text):,} letters) …{text[-_LONGEST // 4 :]}"


def _code(name: str) -> str:
    """Return a name for a span of code: those of runs are plain, those of folders may hold anything."""
    return "".join(letter if letter.isalnum() or letter in "._- " else "·" for letter in name)


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
