"""Tables of a board for a paper: LaTeX with booktabs, a paragraph on methods, and BibTeX.

The paragraph holds what the runs say of themselves. BibTeX has an entry for each task, model and dictionary, whose
note is the citation as its plugin states it: it is text, and not taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from harness.api.names import short_names
from harness.api.tasks import TaskSpec
from harness.api.text import escape_latex
from harness.leaderboard.board import VERDICTS, Board, Group, Row
from harness.leaderboard.exports.exported import Exported, file_name, find_hub_source, find_task, runs_of
from harness.leaderboard.pages.markdown import NONE, difference, integer, score, span
from harness.leaderboard.provenance import find_facts
from harness.leaderboard.selection import Cell, Unit, in_natural_order
from harness.registry.catalog import Registry
from harness.runs.record import Results
from harness.storage.hashing import hash_lines

_COLUMNS = ("Rank", "Model", "Representation", "Width", "Macro-F1", "Δ hidden", "Won/tied/lost")
_ALIGNED = "lllrllr"

_NEEDED = "% \\usepackage[T1]{fontenc}, unless the engine is XeLaTeX or LuaLaTeX, and \\usepackage{booktabs}"
"""Comment on what the tables need."""


def to_latex(board: Board, registry: Registry) -> Exported:
    """Return `tables.tex`, `methods.tex` and `references.bib` of a board."""
    cells = [cell for row in board.rows for cell in row.cells]
    left_out: list[str] = []
    tasks = _find_tasks(cells, registry, left_out)
    files = {
        "tables.tex": to_tables(board),
        "methods.tex": _methods(board, cells, tasks),
        "references.bib": "\n".join(_entries(cells, tasks)),
    }
    return Exported(files=files, left_out=left_out)


def to_tables(board: Board) -> str:
    """Return the tables of a board in LaTeX."""
    return "\n".join([_NEEDED, *_tables(board)])


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────


def _tables(board: Board) -> Iterator[str]:
    """Yield a table for the rows that are ranked together: by kind of model and, where there are both, of input."""
    for group in board.groups:
        if not board.is_mixed:
            yield _table(board, group)
            continue
        for reads in dict.fromkeys(row.reads for row in group.rows):
            rows = tuple(row for row in group.rows if row.reads == reads)
            yield _table(board, replace(group, rows=rows), reads=reads)


def _table(board: Board, group: Group, *, reads: str = "") -> str:
    """Return the table of a group of rows. Bold are the first row and those tied with it."""
    suites = ", ".join(board.suites)
    kind = " on toy models (trained here)" if group.of_toys else ""
    kind += f", tasks of {reads}" if reads else ""
    n_tasks = len({result.target for row in group.rows for result in row.results})
    caption = (
        f"{escape_latex(suites + kind)}: macro-F1 on test, mean over {_count(n_tasks, 'task')}, and its"
        " paired difference from the selected hidden states of the same model, with 95\\,\\% intervals. Bold: the best"
        " row and those that are not told apart from it. Ranks are the places that noise leaves."
    )
    models = short_names(row.model for row in board.rows if row.model)
    representations = short_names(row.representation for row in board.rows)
    rows = [
        _line(
            _texts(row, models[row.model] if row.model else NONE, representations[row.representation]),
            bold=0 in row.ties,
        )
        for row in group.rows
    ]
    lines = [_line(_COLUMNS), r"\midrule", *rows]
    label = f"tab:{file_name(*board.suites, 'toys' if group.of_toys else '', reads)}"
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{_ALIGNED}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _texts(row: Row, model: str, representation: str) -> list[str]:
    counts = [row.count(verdict) for verdict in VERDICTS]
    return [
        span(row.rank, row.last_rank),
        model,
        representation,
        integer(row.width),
        score(row.macro_f1),
        difference(row.delta),
        NONE if None in counts else "/".join(map(str, counts)),
    ]


def _line(texts: Sequence[str], *, bold: bool = False) -> str:
    cells = [escape_latex(text) for text in texts]
    if bold:
        number = _COLUMNS.index("Macro-F1")
        value, _, interval = cells[number].partition(" ")
        cells[number] = rf"\textbf{{{value}}} {interval}"
    return " & ".join(cells) + r" \\"


# ── methods ──────────────────────────────────────────────────────────────────────────────────────────────


def _methods(board: Board, cells: Sequence[Cell], tasks: Mapping[str, TaskSpec]) -> str:
    """Return a paragraph on how the numbers came about, from the runs' own facts."""
    seeds = len({cell.record.seed for cell in cells})
    rows = sum(task.n_test for task in board.tasks)
    cited = ", ".join(_key("task", name) for name in tasks)
    licences = "; ".join(f"{name}: {spec.licence}" for name, spec in tasks.items())
    sentences = [
        f"We probe {_count(len(board.tasks), 'task')} with {rows:,} test rows in all"
        f" ({_count(seeds, 'seed')}; suite {escape_latex(', '.join(board.suites))}).",
        "For each task and seed a row's site, pooling, transform and classifier are chosen by macro-F1 on validation"
        " rows, and scored on test rows.",
        f"Intervals are paired bootstrap intervals of 95\\,\\% ({board.resamples:,} stratified resamples of test rows);"
        " a task counts as won or lost where the p-value, adjusted by Holm over the row's tasks, is below .05.",
        *_describe_machines(runs_of(cells)),
        *([rf"Data: \cite{{{cited}}}. Licences: {escape_latex(licences)}."] if tasks else []),
    ]
    return "\n".join([*sentences, ""])


def _describe_machines(runs: Iterable[Results]) -> list[str]:
    """Return a sentence for each machine and set of versions, with the day on which its last run ended."""
    days: dict[str, str] = {}
    for facts in map(find_facts, runs):
        text = escape_latex(f"{facts.machine} with {facts.described_versions or 'unknown versions'}")
        days[text] = max(days.get(text, ""), escape_latex(facts.finished))
    return [f"Runs were made on {text}{f', until {day}' if day else ''}." for text, day in days.items()]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# ── references ───────────────────────────────────────────────────────────────────────────────────────────


def _find_tasks(cells: Iterable[Cell], registry: Registry, left_out: list[str]) -> dict[str, TaskSpec]:
    """Return the tasks of cells by name; of those that no plugin offers in their version, `left_out` says so."""
    units: dict[str, Unit] = {}
    for cell in cells:
        units.setdefault(cell.unit.task, cell.unit)
    found = {name: find_task(units[name], registry) for name in sorted(units, key=in_natural_order)}
    left_out += [
        f"no plugin offers version {units[name].version} of task '{name}', so its licence and citation are not known"
        for name, spec in found.items()
        if spec is None
    ]
    return {name: spec for name, spec in found.items() if spec is not None}


def _entries(cells: Sequence[Cell], tasks: Mapping[str, TaskSpec]) -> Iterable[str]:
    """Yield BibTeX entries of tasks, models and dictionaries."""
    for name, spec in tasks.items():
        source = find_hub_source(spec)
        yield _entry(
            _key("task", name),
            title=f"{name}, version {spec.version}",
            note=f"{spec.citation} Licence: {spec.licence}.",
            howpublished=f"Hugging Face datasets, {source.hub}" if source else None,
        )
    hashes: dict[str, set[str]] = {}
    for cell in cells:
        if cell.record.model:
            hashes.setdefault(cell.record.model, set()).add(str(cell.record.model_hash))
    for model, name in _name(hashes).items():
        note = f"SHA-256 of all that its activations depend on: {', '.join(sorted(hashes[model]))}"
        yield _entry(_key("model", name), title=name, note=note)
    for name in _name(cell.record.dictionary for cell in cells if cell.record.dictionary).values():
        yield _entry(_key("dictionary", name), title=name, note="Dictionary of features")


def _name(references: Iterable[str]) -> dict[str, str]:
    """Return short names of models or dictionaries, in a natural order."""
    names = short_names(references)
    return {one: names[one] for one in sorted(names, key=in_natural_order)}


def _entry(key: str, **fields: str | None) -> str:
    """Return a BibTeX entry; titles keep their capitals."""
    written = {name: escape_latex(text) for name, text in fields.items() if text}
    lines = [f"  {name} = {{{{{text}}}}}" for name, text in written.items()]
    return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}\n"


def _key(kind: str, name: str) -> str:
    """Return the key of an entry. Names with signs that a key cannot hold, or with capitals, which BibTeX does not tell
    from small letters, end in a hash.
    """
    plain = re.sub(r"[^A-Za-z0-9.:/+_-]+", "-", name).strip("-")
    return f"{kind}:{plain}" if plain == name.lower() else f"{kind}:{plain}-{hash_lines([name])[:6]}"
