"""Pages of a report: Markdown, numbers as JSON and CSV, and a histogram of activation frequencies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harness.api.text import escape_markdown
from harness.dictionaries.fidelity import LARGE
from harness.dictionary_report.contexts import LEAST_ACTIVATIONS, LEAST_PRECISION, TOLERANCE, Validation
from harness.dictionary_report.report import DENSE, Arm, Channel, Report, facts
from harness.storage.atomic import whole_file

NONE = "—"
"""Text of a value that is not measurable."""


def write(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write `report.json`, `report.md`, `frequencies.csv` and `frequencies.png` into `folder`, each atomically, and
    return their paths. WriteError if the disk refuses.
    """
    texts = {
        "report.md": to_markdown(report),
        "report.json": json.dumps(facts(report), indent=1) + "\n",
        "frequencies.csv": to_csv(report),
    }
    for name, text in texts.items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(text, "utf-8")
    with whole_file(folder / "frequencies.png") as temporary:
        draw(report, temporary)
    return tuple(folder / name for name in (*texts, "frequencies.png"))


def to_markdown(report: Report) -> str:
    """Return the report as Markdown."""
    own, validations = report.own, {"dictionary": report.validation, "random directions": report.control}
    return "\n\n".join(
        [
            f"# {escape_markdown(f'{report.dictionary} on {report.model}, {report.site}')}",
            f"{report.width:,} features of {report.d_in} dimensions; {report.tokens:,} content tokens of held-out text,"
            f" in two halves: what is fitted is fitted on the first, explained variance and losses are of the second"
            f" (losses of {report.loss_tokens:,} next tokens).",
            *_describe_outliers(report),
            *(f"**Flagged:** {escape_markdown(reason)}" for reason in report.fidelity.reasons.values()),
            _arm_table(report),
            "Explained variance is 1 − residual variance / variance about the mean, BOS excluded; *median* is that over"
            f" dimensions. {describe_large_channels(report.large_channels)} *Dead* features never fire on this text."
            " *Loss recovered* is the share of what ablating to the mean costs that is won back. Arms without a decoder"
            " of their own are given the best affine one of the first half.",
            "## Features",
            _table(
                ("", "share"),
                [
                    ("unexplained variance", _percent(1 - (own.explained_variance or 0.0))),
                    ("features active per token (L0 / width)", _percent((own.l0 or 0.0) / report.width)),
                    ("dead: never active on this text", _percent(report.dead)),
                    (f"dense: active on more than {DENSE:.0%} of tokens", _percent(report.dense)),
                ],
            ),
            "![How often features fire](frequencies.png)",
            "## Features in unseen contexts",
            f"Of features with at least {LEAST_ACTIVATIONS} activations in each half: a reading (the token, the token"
            f" before, or the place in the text) is true of at least {LEAST_PRECISION:.0%} of a feature's strongest"
            f" activations in the first half; it holds where it is true of as many in the second, or at most"
            f" {TOLERANCE:.2f} less.",
            _table(
                ("", "features", "with a reading", "of these holding", "validated", "precision", "unseen"),
                [_validation_line(name, one) for name, one in validations.items() if one is not None],
            ),
        ]
    ) + "\n"  # fmt: skip


def describe_large_channels(channels: Sequence[Channel]) -> str:
    """Return the sentences on the channels that *small channels* leave out."""
    rule = f"*Small channels* are all but those with more than {LARGE:.0%} of the variance each:"
    named = ", ".join(f"{one.number} ({one.variance_share:.0%})" for one in channels)
    return f"{rule} all but {named}." if channels else f"{rule} here none has as much."


def to_csv(report: Report) -> str:
    """Return CSV with one line for each feature: its number and the share of tokens on which it fires."""
    frequencies = pd.Series(report.frequencies, name="frequency")
    return frequencies.to_csv(index_label="feature", float_format="%.6g", lineterminator="\n")


def draw(report: Report, path: Path) -> None:
    """Draw a histogram of log10 of the shares of tokens on which features fire; the title counts dead features."""
    from matplotlib.figure import Figure

    alive = report.frequencies[report.frequencies > 0]
    figure = Figure(figsize=(6, 3.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.hist(np.log10(alive), bins=40, color="#4878a8")
    axes.set_xlabel("share of tokens on which a feature fires (log10)")
    axes.set_ylabel("features")
    axes.set_title(f"{len(report.frequencies) - len(alive):,} of {report.width:,} never fire", fontsize=9)
    figure.savefig(path, format="png")


def _describe_outliers(report: Report) -> Iterator[str]:
    """Yield the paragraph on tokens that are left out, if any may be."""
    if (found := report.outliers) is None:
        return
    yield (
        f"{found.tokens:,} of {report.tokens + found.tokens:,} tokens are left out, for a norm above {found.limit:.4g},"
        f" {found.max_norm_ratio:g} times the median of the first half; they have {found.variance_share:.0%} of the"
        " squared distances from the mean. Nothing is fitted on them; *all tokens* is explained variance with them. In"
        " losses they keep their own activations in every arm."
    )  # fmt: skip


def _arm_table(report: Report) -> str:
    """Return the table of arms, with the column of all tokens only where some are left out."""
    columns = {name: read for name, read in _COLUMNS.items() if report.outliers or name != ALL_TOKENS}
    lines = [(arm.name, *(read(arm) for read in columns.values()), arm.note) for arm in report.arms]
    return _table(("arm", *columns, ""), lines)


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


ALL_TOKENS = "all tokens"
_COLUMNS: Mapping[str, Callable[[Arm], str]] = {
    "explained variance": lambda arm: _number(arm.explained_variance, 3),
    "small channels": lambda arm: _number(arm.small_channels_explained_variance, 3),
    "median": lambda arm: _number(arm.median_explained_variance, 3),
    ALL_TOKENS: lambda arm: _number(arm.all_tokens_explained_variance, 3),
    "L0": lambda arm: _number(arm.l0, 1),
    "dead": lambda arm: NONE if arm.dead is None else f"{arm.dead:.1%}",
    "loss (nats)": lambda arm: _number(arm.loss, 3),
    "loss recovered": lambda arm: _number(arm.recovered, 3),
}
"""Columns of the table of arms."""


def _validation_line(name: str, one: Validation) -> tuple[str, ...]:
    shares = (one.with_reading, one.holding, one.validated, one.precision, one.unseen_precision)
    return (name, f"{one.features:,}", *map(_percent, shares))


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head, *body = ([escape_markdown(cell) for cell in line] for line in (header, *lines))
    rows = [head, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _percent(value: float) -> str:
    return f"{value:.2%}"
