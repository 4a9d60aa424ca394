"""Progress display of one run, drawn with rich on stderr."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import harness


class Show:
    """Progress bars for cells and for the tokens of the current bundle; plain lines without a terminal."""

    def __init__(self, *, total: int, done: int) -> None:
        self.console = Console(stderr=True)
        self.done = done
        self.total = total
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.cells = self.bars.add_task("cells", total=total, completed=done, speed="")
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
        name = " ".join(
            str(part)
            for part in (cell.task, cell.model, cell.site, cell.representation, cell.pooling)
            if part
        )
        if cell.status != "ok":
            self.line(f"[{self.done}/{self.total}] {name}: {cell.status}: {cell.error}")
        elif not self.console.is_terminal:
            score = cell.metrics["macro_f1"]
            known = score.low is not None and score.high is not None
            interval = f" [{score.low:.3f}, {score.high:.3f}]" if known else ""
            self.line(
                f"[{self.done}/{self.total}] {name} {cell.transform} {cell.classifier}: "
                f"macro-F1 {score.value:.3f}{interval}"
            )

    def end(self) -> None:
        """Stop the bars."""
        self.bars.stop()

    def line(self, text: str) -> None:
        """Print one line above the bars."""
        self.console.print(_one_line(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


def _one_line(text: str) -> str:
    return harness.printable(" ".join(text.split()))
