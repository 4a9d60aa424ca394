"""Card of a folder of dictionaries, from the records of their training and their reports. Nothing here runs a model.

Beside each `layer_L/width_W/average_l0_N/params.npz` is `training.json`, written by `harness train-dictionary`, and,
where the model reads text, `report.json`, written by `harness report-dictionary`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from harness.api.errors import DataError, UsageError
from harness.api.text import escape_markdown
from harness.dictionaries.fidelity import LARGE, Fit
from harness.dictionary_report.contexts import Validation
from harness.dictionary_report.report import Arm, Channel, Outliers
from harness.features.outliers import NormLimit
from harness.storage.parsing import ParseError, name_type, parsing, read_mapping
from harness.storage.reading import read_description

PARAMETERS = "params.npz"
TRAINING, REPORT = "training.json", "report.json"
"""Files beside each other in the folder of a dictionary."""

NONE = "—"
"""Text of a value that was not measured."""

_Record = TypeVar("_Record", "Training", "Reported")

_PLACE = re.compile(r"layer_(\d+)/width_\w+/average_l0_\d+")
_BOUNDS = ("identity", "mean")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Options of a training that a card states."""

    architecture: str
    width: int
    max_norm_ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Number of texts or images that a dictionary was trained on."""

    count: int


@dataclass(frozen=True, kw_only=True)
class Training:
    """Record of a training, as in `training.json`; other fields of it are not read."""

    model: str
    site: str
    recipe: Recipe
    tokens: int
    seconds: float
    heldout: Fit
    hardware: str
    date: str
    left_out: NormLimit | None = None
    texts: Inputs | None = None
    images: Inputs | None = None


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Report on a dictionary, as in `report.json`; those of earlier versions lack what has a default."""

    tokens: int
    dead: float
    l0_share: float
    arms: tuple[Arm, ...]
    validation: Validation
    site: str | None = None
    width: int | None = None
    large_channels: tuple[Channel, ...] = ()
    outliers: Outliers | None = None


@dataclass(frozen=True, kw_only=True)
class Carded:
    """Dictionary of a card: its folder below that of the card, its training, and its report if there is one."""

    folder: str
    training: Training
    report: Reported | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Part of the training data, as in the list of a corpus: where it is from, and what its licence asks for."""

    licence: str
    repo: str
    lang: str = ""
    register: str = ""
    attribution: str = ""


def read_dictionaries(folder: Path) -> tuple[Carded, ...]:
    """Read the records of every dictionary in a folder, by layer and width. DataError if there is none, if one lacks
    its training, if one alone lacks its report, if a report is on another, or if a record is not what is written there.
    """
    found = []
    for path in sorted(folder.glob(f"*/*/*/{PARAMETERS}")):
        place = path.parent.relative_to(folder).as_posix()
        if _PLACE.fullmatch(place) is None:
            continue
        training = _read(path.with_name(TRAINING), Training, "`harness train-dictionary` writes it")
        report = path.with_name(REPORT)
        known = (
            _read(report, Reported, "write it with `harness report-dictionary`") if report.exists() else None
        )
        if known is not None and not known.arms:
            raise DataError(f"'{report}' has no arms: write it anew with `harness report-dictionary`")
        if known is not None:
            _check_same(report, known, training)
        found.append(Carded(folder=place, training=training, report=known))
    if not found:
        raise DataError(
            f"'{folder}' holds no dictionaries, layer_L/width_W/average_l0_N/{PARAMETERS}: a card is of what "
            "`harness train-dictionary` wrote there"
        )
    missing = [one.folder for one in found if one.report is None]
    if missing and len(missing) < len(found):
        raise DataError(
            f"'{folder / missing[0]}' has no {REPORT}, and others have one: `harness report-dictionary` makes it"
        )
    return tuple(sorted(found, key=_order))


def read_sources(path: Path) -> tuple[Source, ...]:
    """Read the list of a corpus' parts; DataError if it is none."""
    hint = "it should be a JSON list of parts, each with its repo and licence"
    with parsing(f"'{path}' cannot be read", kind=DataError, hint=hint):
        found = json.loads(read_description(path))
        if not isinstance(found, list):
            raise ParseError(f"it holds {name_type(found)}")
        return TypeAdapter(tuple[Source, ...]).validate_python(found)


def _read(path: Path, kind: type[_Record], hint: str) -> _Record:
    said = f"'{path}' cannot be read"
    found = read_mapping(path, said, kind=DataError, hint=hint)
    with parsing(said, kind=DataError, hint=hint):
        return TypeAdapter(kind).validate_python(found)


def _check_same(path: Path, report: Reported, training: Training) -> None:
    """Raise DataError if a report is on a dictionary of another site or width than the training beside it made."""
    trained = {"site": training.site, "width": training.recipe.width}
    for name, reported in (("site", report.site), ("width", report.width)):
        if reported is not None and reported != trained[name]:
            raise DataError(
                f"'{path}' is on a dictionary of the {name} {reported}, and the {TRAINING} beside it on one of "
                f"{trained[name]}: write it anew with `harness report-dictionary`"
            )


def _order(one: Carded) -> tuple[int, int]:
    place = _PLACE.fullmatch(one.folder)
    assert place is not None
    return int(place[1]), one.training.recipe.width


def to_markdown(
    name: str,
    found: Sequence[Carded],
    *,
    model: str | None = None,
    licence: str | None = None,
    notes: Sequence[str] = (),
    sources: Sequence[Source] = (),
) -> str:
    """Return the card of the dictionaries `found` under a name. `notes` are paragraphs of Markdown below the title.
    UsageError if they are of several models and `model` does not name it.
    """
    models = {one.training.model for one in found}
    if model is None and len(models) > 1:
        raise UsageError(f"the dictionaries are of {', '.join(sorted(models))}: name the model with --model")
    reports = [one.report for one in found if one.report is not None]
    sections = [
        f"# {escape_markdown(name)}",
        *notes,
        f"Sparse autoencoders of {escape_markdown(model or min(models))} in Gemma Scope's format: "
        "`layer_<L>/width_<w>/average_l0_<n>/params.npz` with `W_enc`, `W_dec`, `b_enc`, `b_dec`, `threshold`, "
        "matrices in float16. They read the activations at their site as they are (`resid_post.L` is the output of "
        "block `L`), at content tokens: BOS and padding are left out.",
        "```\npre = x @ W_enc + b_enc\nf   = relu(pre) * (pre > threshold)\nx'  = f @ W_dec + b_dec\n```",
        *([f"Licence: {escape_markdown(licence)}."] if licence else []),
        "## Training",
        _describe_training(found),
        _table(_TRAINING, found),
        *_describe_left_out(found),
        *(_describe_reports(found, reports) if reports else _describe_heldout(found)),
        *_describe_sources(sources),
    ]
    return "\n\n".join(sections) + "\n"


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────


def _describe_training(found: Sequence[Carded]) -> str:
    names = sorted({one.training.recipe.architecture for one in found})
    counts = sorted(
        {
            f"{data.count:,} {kind}"
            for one in found
            for kind, data in (("texts", one.training.texts), ("images", one.training.images))
            if data is not None
        }
    )
    on = f" on {', '.join(counts)}" if counts else ""
    # The layout has no k: whatever sparsity a trainer has, thresholds have it in the end.
    return (
        f"By `harness train-dictionary` ({escape_markdown(', '.join(names))}){on}. Dictionaries of one pass share its "
        "time; a held-out part of the data had none in training."
    )


def _describe_left_out(found: Sequence[Carded]) -> Iterator[str]:
    limited = [(one, one.training.left_out) for one in found if one.training.left_out is not None]
    if limited:
        yield (
            "Outlier tokens, such as attention sinks, are left out of training: those with a norm above the limit, a "
            "multiple of the median norm of the first activations at the site."
        )
        yield _table(_LEFT_OUT, limited)


def _describe_heldout(found: Sequence[Carded]) -> Iterator[str]:
    yield "## Held-out data"
    yield (
        "Measured at the end of training on data that it did not see, about the mean; *median* is that over "
        "dimensions, *dead* features fire on none of it. Other data lies elsewhere: the fidelity gate of every run "
        "says how far."
    )
    yield _table(_HELDOUT, found)


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────


def _describe_reports(found: Sequence[Carded], reports: Sequence[Reported]) -> Iterator[str]:
    tokens = sorted({report.tokens for report in reports})
    rows = [(one.folder, arm, one.report) for one in found if one.report for arm in one.report.arms]
    yield "## Held-out text"
    yield (
        f"By `harness report-dictionary` on {' to '.join(f'{n:,}' for n in dict.fromkeys((tokens[0], tokens[-1])))} "
        "tokens of text that had no part in training. Explained variance is about the mean, and *median* is that over "
        "dimensions; *dead* features never fire on that text; *recovered* is the share of the next-token loss lost by "
        "ablating to the mean that is won back when the reconstruction takes the activations' place."
    )
    yield _table(_REPORT, [row for row in rows if row[1] is row[2].arms[0]])
    yield from _describe_figures(found)
    yield (
        "The same site through other representations, as many numbers a token, with the best affine decoder. Arms "
        "that are not there could not be measured:"
    )
    others = [row for row in rows if row[1] is not row[2].arms[0] and row[1].name not in _BOUNDS]
    yield _table(_ARMS, [row for row in others if row[1].explained_variance is not None])
    yield (
        "*validated*: of features with enough activations, the share whose strongest ones share a token, a token "
        "before or a place in the text, as precisely in text that had no part in finding that."
    )


def _describe_figures(found: Sequence[Carded]) -> Iterator[str]:
    """Yield what the columns leave out: large channels and outliers, by dictionary."""
    rows = [(one.folder, one.report) for one in found if one.report]
    if any(arm.small_channels_explained_variance is not None for _, report in rows for arm in report.arms):
        named = [f"`{folder}` {channels}" for folder, report in rows if (channels := _name_channels(report))]
        yield (
            f"*Small channels* are all but those with more than {LARGE:.0%} of the variance each (number, share): "
            f"{'; '.join(named) or 'none has as much'}."
        )
    limited = [(folder, report.outliers) for folder, report in rows if report.outliers]
    if limited:
        counted = [
            f"`{folder}` {one.tokens:,} (above {one.limit:,.0f}, {one.max_norm_ratio:g} times the median; "
            f"{one.variance_share:.0%} of the squared distances from the mean)"
            for folder, one in limited
        ]
        yield (
            f"Outlier tokens are left out: {'; '.join(counted)}. *All tokens* is explained variance with them. In "
            "losses they keep their own activations in every arm."
        )


def _name_channels(report: Reported) -> str:
    return ", ".join(f"{one.number} ({one.variance_share:.0%})" for one in report.large_channels)


def _describe_sources(sources: Iterable[Source]) -> Iterator[str]:
    """Yield the section on the data: a row for each source, register and licence, with all its languages."""
    languages: dict[tuple[str, ...], dict[str, None]] = {}
    for part in sources:
        repository = part.repo.split(" ")[0]
        key = (repository, part.register, part.licence, part.attribution or repository)
        languages.setdefault(key, {})[part.lang] = None
    if languages:
        yield "## Data"
        rows = [(key[0], key[1], " ".join(found), key[2], key[3]) for key, found in languages.items()]
        head = ("source", "register", "languages", "licence", "attribution")
        yield _lines(head, [[escape_markdown(cell) for cell in row] for row in rows])


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────

_Row = tuple[str, Arm, Reported]


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def _share(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:.{digits}%}"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


_TRAINING: Mapping[str, Callable[[Carded], str]] = {
    "dictionary": lambda one: f"`{one.folder}`",
    "site": lambda one: escape_markdown(one.training.site),
    "tokens": lambda one: f"{one.training.tokens:,}",
    "time": lambda one: _time(one.training.seconds),
    "hardware": lambda one: escape_markdown(one.training.hardware),
    "date": lambda one: escape_markdown(one.training.date[:10]),
}
_LEFT_OUT: Mapping[str, Callable[[tuple[Carded, NormLimit]], str]] = {
    "dictionary": lambda row: f"`{row[0].folder}`",
    "times the median": lambda row: f"{row[0].training.recipe.max_norm_ratio or 0:g}",
    "limit": lambda row: _number(row[1].limit, 0),
    "left out": lambda row: f"{row[1].left_out:,}",
    "of tokens": lambda row: f"{row[1].seen:,}",
}
_HELDOUT: Mapping[str, Callable[[Carded], str]] = {
    "dictionary": lambda one: f"`{one.folder}`",
    "tokens": lambda one: f"{one.training.heldout.tokens:,}",
    "explained variance": lambda one: _number(one.training.heldout.explained_variance, 3),
    "median": lambda one: _number(one.training.heldout.median_explained_variance, 3),
    "L0": lambda one: _number(one.training.heldout.l0, 1),
    "dead": lambda one: _share(one.training.heldout.dead),
}
_FIGURES: Mapping[str, Callable[[_Row], str]] = {
    "explained variance": lambda row: _number(row[1].explained_variance, 3),
    "small channels": lambda row: _number(row[1].small_channels_explained_variance, 3),
    "median": lambda row: _number(row[1].median_explained_variance, 3),
    "all tokens": lambda row: _number(row[1].all_tokens_explained_variance, 3),
    "L0": lambda row: _number(row[1].l0, 1),
}
_REPORT: Mapping[str, Callable[[_Row], str]] = {
    "dictionary": lambda row: f"`{row[0]}`",
    **_FIGURES,
    "L0 / width": lambda row: _share(row[2].l0_share, 2),
    "dead": lambda row: _share(row[2].dead),
    "recovered": lambda row: _number(row[1].recovered, 3),
    "validated": lambda row: _share(row[2].validation.validated),
}
_ARMS: Mapping[str, Callable[[_Row], str]] = {
    "dictionary": lambda row: f"`{row[0]}`",
    "arm": lambda row: escape_markdown(row[1].name),
    **_FIGURES,
    "dead": lambda row: _share(row[1].dead),
    "recovered": lambda row: _number(row[1].recovered, 3),
}


def _table(columns: Mapping[str, Callable[[Any], str]], rows: Sequence[Any]) -> str:
    """Return a Markdown table, without columns in which no row has a value: earlier reports lack some."""
    cells = {name: [read(row) for row in rows] for name, read in columns.items()}
    filled = {name: column for name, column in cells.items() if any(one != NONE for one in column)}
    return _lines(list(filled), list(zip(*filled.values(), strict=True)))


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
