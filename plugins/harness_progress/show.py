"""Progress display of one run, drawn with rich on stderr."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

import harness

MANY_LANGUAGES = 3
"""Most languages of one side of a cell that are named; more are counted."""


class Show:
    """Progress bars for cells and for the tokens of the current bundle; plain lines without a terminal."""

    def __init__(self, run: harness.RunStarted) -> None:
        self.console = Console(stderr=True)
        self.done = run.done
        self.total = run.n_cells
        self.models = harness.short_names(run.models)
        self.representations = harness.short_names(run.representations)
        self.bars = Progress(
            # Where the terminal is narrow, the bar is shorter and the name of the bundle folded, but not cut.
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            BarColumn(bar_width=40 if self.console.width >= ROOMY else 10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.cells = self.bars.add_task("cells", total=self.total, completed=self.done, speed="")
        self.tokens = self.bars.add_task("tokens", total=None, speed="", visible=False)
        self.bars.start()

    def batch(self, batch: harness.BatchFinished) -> None:
        """Update the bar of the current bundle."""
        speed = f"{batch.tokens_done / max(batch.seconds, 1e-9):,.0f} tokens/s"
        self.bars.update(
            self.tokens,
            description=_one_line(batch.bundle),
            completed=batch.tokens_done,
            total=batch.tokens_total,
            speed=speed,
            visible=True,
        )

    def bundle(self, bundle: harness.BundleFinished) -> None:
        """Hide the bundle's bar and print its throughput."""
        self.bars.update(self.tokens, visible=False)
        if bundle.tokens:
            said = f"{bundle.tokens:,} tokens in {bundle.seconds:.1f} s, {bundle.tokens_per_s:,.0f} tokens/s"
            if bundle.images_per_s:
                said += f", {bundle.images_per_s:,.0f} images/s"
                said += f", {bundle.waiting_share:.0%} of the time waiting for decoding"
        else:
            said = "features from the cache"
        self.line(f"{bundle.bundle}: {said}")

    def cell(self, cell: harness.CellFinished) -> None:
        """Advance the bar of cells; print a failed cell, and without a terminal every cell."""
        self.done += 1
        self.bars.update(self.cells, completed=self.done)
        if cell.status != "ok":
            self.line(f"[{self.done}/{self.total}] {self.name(cell)}: {cell.status}: {cell.error}")
        elif not self.console.is_terminal:
            score = cell.metrics["macro_f1"]
            known = score.low is not None and score.high is not None
            interval = f" [{score.low:.3f}, {score.high:.3f}]" if known else ""
            self.line(f"[{self.done}/{self.total}] {self.name(cell)}: macro-F1 {score.value:.3f}{interval}")

    def name(self, cell: harness.CellFinished) -> str:
        """Return what tells a cell from all others of its run: its rows, then its arm."""
        rows = (cell.task, _languages(cell), cell.regime, f"seed {cell.seed}" if cell.seed else None)
        tokens = None if cell.tokens in (None, "content") else f"tokens={cell.tokens}"
        arm = (
            *(
                self._model(cell),
                cell.site,
                self.representations.get(cell.representation, cell.representation),
            ),
            *(tokens, cell.pooling, cell.transform, cell.classifier),
        )
        return f"{' '.join(filter(None, rows))}: {' '.join(filter(None, arm))}"

    def _model(self, cell: harness.CellFinished) -> str | None:
        """Return the cell's model; of a transfer the model that it learns from, and the alignment, before it."""
        shown = self.models.get(cell.model, cell.model) if cell.model else None
        if cell.source_model is None:
            return shown
        return f"{self.models.get(cell.source_model, cell.source_model)} → {shown} {cell.alignment}"

    def end(self) -> None:
        """Stop the bars."""
        self.bars.stop()

    def line(self, text: str) -> None:
        """Print one line above the bars."""
        self.console.print(_one_line(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


ROOMY = 120
"""Cells of a terminal in which the longer bar leaves room for the names of bundles."""


NO_LANGUAGE = "zxx"
"""Tag of what is in no language, such as images."""


def _languages(cell: harness.CellFinished) -> str | None:
    """Return the language of a cell, or where they differ those of training and test; None for images."""
    if cell.train_language == cell.test_language == NO_LANGUAGE:
        return None
    train, test = _count(cell.train_language), _count(cell.test_language)
    return f"[{train}]" if cell.train_language == cell.test_language else f"[{train}→{test}]"


def _count(languages: str) -> str:
    count = languages.count("+") + 1
    return f"{count} languages" if count > MANY_LANGUAGES else languages


def _one_line(text: str) -> str:
    return harness.printable(" ".join(text.split()))
