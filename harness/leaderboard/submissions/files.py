"""Files of a submission: taken over as plain bytes of a bounded size, before anything in them is believed.

Paths of a stranger's files enter; copies that were checked leave. What a file names is text: it is never opened.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.api.errors import HarnessError, UnavailableError
from harness.api.text import printable
from harness.config.suite import Suite
from harness.leaderboard.provenance import find_facts
from harness.leaderboard.published.store import LIMIT, NAME, RECORDS, PublishedRun, publish
from harness.registry.checked import Checked
from harness.runs.folder import RunFolder
from harness.runs.lines import NewerError
from harness.runs.record import Record
from harness.storage.parsing import parsing, read_mapping
from harness.storage.reading import open_parquet, read_file, unzip
from harness.validation.run import check_run

UNPACKED = 150_000_000
"""Most bytes of unpacked records: ten times those of the longest published run."""

VALUES = 20_000_000
"""Most values in a file of predictions: ten times those of the largest published run. A column that repeats one value
takes no room in a file.
"""

TEXTS = 250_000_000
"""Most bytes of the texts in a file of predictions, each value written out: ten times those of the largest."""

LONGEST = 1_000
"""Most letters of a name in a record; those of a model in a folder are paths."""

_NAMES = (
    *(
        "suite",
        "task",
        "trained_on",
        "modality",
        "train_language",
        "test_language",
        "model",
        "site",
        "tokens",
    ),
    *(
        "representation",
        "dictionary",
        "pooling",
        "transform",
        "classifier",
        "regime",
        "learnt_on",
        "alignment",
    ),
)
_PAGES = re.compile(
    r"(leaderboard|matrix|plots)[a-z0-9-]*(\.(md|csv|html|js|json|parquet|svg|png|tex))?|README\.md|board\.yaml"
)
"""Pages of a board, beside which a run may lie. They are made anew, and never read here."""

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy", ".npz", ".dill")
_BEGINS = (*(b"\x80" + bytes([version]) for version in range(2, 6)), b"PK\x03\x04")
"""First bytes of a pickle, and of an archive, in which torch and numpy keep pickles."""

_COLUMNS = {
    **dict.fromkeys(("task", "train_language", "test_language", "trained_on", "regime"), ("string",)),
    "task_version": ("int32", "int64"),
    **dict.fromkeys(("classes", "example_id", "label", "cell_id"), ("list<element: string>",)),
    "group": ("list<element: int32>", "list<element: int64>"),
    "prediction": ("list<element: list<element: string>>",),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Run of a submission: a copy of its files, and the path that it was given by."""

    run: PublishedRun
    origin: Path

    def tell(self, sentence: str) -> str:
        """Return a sentence about the copy as one about what was given."""
        told = sentence.replace(str(self.run.path), str(self.origin))
        return told.replace(str(self.run.path.parent), str(self.origin.parent))


class PublishedFacts(BaseModel):
    """Fields of `<name>.env.json`, as a run is published."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    cells: int = Field(ge=1)
    """Cells of the run."""
    finished: str | None
    """When the run ended, in UTC."""
    python: str | None
    """Version of Python."""
    os: str | None
    """Operating system."""
    cpu: str | None
    """Kind of processor."""
    cores: int | None
    """Processor cores."""
    memory: int | None
    """Memory of the machine, in bytes."""
    device: str | None
    """Device of the forward pass."""
    gpu: dict[str, str] | None
    """Name of the GPU and version of CUDA; null without one."""
    plugins: dict[str, str]
    """Plugins that were loaded, each with its distribution."""
    interfaces: dict[str, int | None] = Field(default_factory=dict)
    """Version of the interface that each plugin declares; null where it declares none; empty in older runs."""
    checks: dict[str, Checked] = Field(default_factory=dict)
    """Plugins that `harness check` had checked, as the run itself says."""
    distributions: dict[str, str | None]
    """Versions of the packages that matter for the numbers."""
    starts: list[dict[str, str | dict[str, str] | None]]
    """Device and versions of each start: a run may be resumed on another machine."""
    suite: Suite
    """The suite as it was resolved."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Runs of a submission that are of the right form, and the faults of all: those of form, and newer versions."""

    entries: tuple[Entry, ...]
    faults: tuple[str, ...]
    newer: tuple[str, ...]


def take(paths: Sequence[Path], board: Path, stage: Path) -> Taken:
    """Copy the files of a submission into `stage`, and check their form.

    Files of a folder that lie byte for byte in `board` already, as in a copy of the board with the new run, are passed
    over. Raise UnavailableError for a path where nothing lies.
    """
    entries: list[Entry] = []
    faults: list[str] = []
    newer: list[str] = []
    for number, path in enumerate(paths):
        place = stage / str(number)
        place.mkdir(parents=True)
        for records, fault in _find_records(path, board, place):
            if fault:
                faults.append(fault)
                continue
            origin = path if path.is_dir() and records.parent != path else records
            entry = Entry(run=PublishedRun(place / records.name), origin=origin)
            try:
                found = list(_copy(records, place)) or list(check_form(entry.run))
            except NewerError as error:
                newer.append(f"{entry.tell(str(error))}; update the harness here first")
                continue
            faults += (entry.tell(sentence) for sentence in found)
            entries += [] if found else [entry]
    names = [entry.run.name.casefold() for entry in entries]  # some file systems tell no case
    twice = sorted({name for name in names if names.count(name) > 1})
    faults += (f"two runs are named '{name}': give one of them another name" for name in twice)
    return Taken(entries=tuple(entries), faults=tuple(faults), newer=tuple(newer))


def read_suite_of(entry: Entry) -> Suite:
    """Return the suite that a run says it is of."""
    return Suite.model_validate(entry.run.about()["suite"])


def _find_records(path: Path, board: Path, place: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of records that a path leads to, and a sentence on each thing that a submission may not hold."""
    if path.is_symlink():
        yield path, f"'{path}' is a link, which may lead anywhere: give the files themselves"
    elif path.is_file() and path.name.endswith(RECORDS):
        yield path, ""
    elif path.is_file():
        yield path, f"'{path}' holds no records of a published run, whose name ends in {' or '.join(RECORDS)}"
    elif not path.is_dir():
        raise UnavailableError(f"there is no '{path}'")
    elif RunFolder(path).exists:
        yield from _publish(RunFolder(path), place / "published")
    else:
        yield from _find_in_folder(path, board)


def _publish(run: RunFolder, place: Path) -> Iterator[tuple[Path, str]]:
    """Publish a run folder; what is published of it is then checked like any other."""
    try:
        if faults := [each.sentence for each in check_run(run) if each.severity == "fault"]:
            yield from ((run.path, sentence) for sentence in faults)
        else:
            yield publish(run, place).path, ""
    except HarnessError as error:
        yield run.path, str(error)


def _find_in_folder(folder: Path, board: Path) -> Iterator[tuple[Path, str]]:
    inside = [path for path in sorted(folder.iterdir()) if not _is_in(board, path)]
    records = [path for path in inside if path.name.endswith(RECORDS)]
    parts = {part.name for path in records for part in PublishedRun(path).files}
    for path in inside:
        if path.is_symlink():
            yield path, f"'{path}' is a link, which may lead anywhere: put the file itself in its place"
        elif path.name.endswith(".rerun.json"):
            yield path, f"'{path}' is a report that only the keepers of a board write: leave it out"
        elif path in records:
            yield path, ""
        elif path.name not in parts and not _PAGES.fullmatch(path.name) and not path.name.startswith("."):
            yield path, _name_stranger(path)
    if not records:
        yield folder, f"'{folder}' holds no published run that the board lacks"


def _is_in(board: Path, path: Path) -> bool:
    """Return whether a file, of a run every file, lies in the board as it is."""
    files = PublishedRun(path).files if path.name.endswith(RECORDS) else (path,)
    return all(_is_same(each, board / each.name) for each in files)


def _is_same(path: Path, other: Path) -> bool:
    with suppress(OSError):
        if path.is_symlink() or path.stat().st_size != other.stat().st_size:
            return False
        return read_file(path, at_most=LIMIT) == read_file(other, at_most=LIMIT)
    return False


def _name_stranger(path: Path) -> str:
    if path.suffix.lower() in _PICKLES:
        return f"'{path}' may hold a pickle, which can run code: leave it out"
    return f"'{path}' is no part of a published run: leave it out"


def _copy(records: Path, place: Path) -> Iterator[str]:
    """Copy the files of a run; yield its faults. They are named by their places in the submission."""
    given, copied = PublishedRun(records), PublishedRun(place / records.name)
    if not NAME.fullmatch(given.name) or len(given.name) > 100:
        yield (
            f"'{records}' has no name that a published run can have: up to 100 letters, digits, '.', '_' and '-'"
        )
        return
    size = 0
    for path, target in zip(given.files, copied.files, strict=True):
        try:
            status = path.lstat()
        except OSError:
            yield f"'{path}' is missing: a published run has records, predictions and env.json"
            continue
        if not stat.S_ISREG(status.st_mode):
            yield f"'{path}' is a link, a folder or a device, and no plain file: put a file in its place"
            continue
        size += status.st_size
        if size > LIMIT:
            yield f"'{records}' and the files beside it take over {LIMIT:,} bytes, the most of a published run"
            return
        try:
            with parsing(f"'{path}' cannot be read"):
                data = read_file(path, at_most=LIMIT)
        except UnavailableError as error:
            yield str(error)
            continue
        if data.startswith(_BEGINS):
            yield f"'{path}' holds a pickle or an archive, which can run code where it is opened: it is not read"
            continue
        target.write_bytes(data)


def check_form(run: PublishedRun) -> Iterator[str]:
    """Yield the faults of a copied run: what its files hold is not what a published run holds.

    Raise NewerError for records that a newer harness wrote.
    """
    for check in (_check_records, _check_predictions, _check_facts):
        try:
            yield from check(run)
        except NewerError:
            raise
        except HarnessError as error:
            yield str(error)
            return  # what follows reads the records, too


def _check_predictions(run: PublishedRun) -> Iterator[str]:
    """Check the columns of predictions, and what they take in memory, before they are read as anything reads them."""
    path = run.files[1]
    with parsing(f"the predictions '{path}' are damaged"), open_parquet(path) as file:
        about = file.metadata
        groups = [about.row_group(number) for number in range(about.num_row_groups)]
        values = sum(group.column(at).num_values for group in groups for at in range(about.num_columns))
        schema = {field.name: str(field.type) for field in file.schema_arrow}
        leaves = [
            column.path
            for column in map(file.schema.column, range(about.num_columns))
            if column.physical_type == "BYTE_ARRAY"
        ]
    if values > VALUES:
        yield f"'{path}' holds {values:,} values, and at most {VALUES:,} are read"
    elif schema.keys() != _COLUMNS.keys() or any(kind not in _COLUMNS[name] for name, kind in schema.items()):
        yield f"'{path}' has other columns than the predictions of a published run"
    elif (size := _measure_texts(path, leaves)) > TEXTS:
        yield f"'{path}' holds texts of {size:,} bytes, and at most {TEXTS:,} are read"


def _measure_texts(path: Path, leaves: Sequence[str]) -> int:
    """Return the bytes of all texts of a file if each value is written out, as it is read later."""
    import pyarrow.compute as pc

    total = 0
    with parsing(f"the predictions '{path}' are damaged"), open_parquet(path, dictionaries=leaves) as file:
        for leaf in leaves:
            for chunk in file.read(columns=[leaf.partition(".")[0]]).column(0).chunks:
                while hasattr(chunk, "flatten"):
                    chunk = chunk.flatten()
                lengths = pc.binary_length(chunk.dictionary)
                total += pc.sum(pc.cast(lengths.take(chunk.indices), "int64")).as_py() or 0
    return total


def _check_facts(run: PublishedRun) -> Iterator[str]:
    path = run.files[2]
    fields = read_mapping(path, f"'{path}' is damaged")
    with parsing(f"'{path}' does not hold what is published of a run"):
        facts = PublishedFacts.model_validate(fields)
    yield from (f"'{path}': {sentence}" for sentence in dict.fromkeys(_check_texts(fields)))
    find_facts(run)  # as the page of the board does
    if facts.cells != len(run.records()):
        yield f"'{path}' says {facts.cells} cells, and there are {len(run.records())} records"


def _check_records(run: PublishedRun) -> Iterator[str]:
    path = run.path
    if path.suffix == ".gz":
        with parsing(f"'{path}' cannot be read"):
            unzip(path, at_most=UNPACKED)
    records = run.records()
    told: set[str] = set()
    for record in records:
        told.update(_check_names(record))
    yield from (f"'{path}': {sentence}" for sentence in sorted(told))
    if any(used.snippets for record in records for used in record.used):
        yield f"'{path}' holds texts of the data (`used.snippets`), which are not published"
    if any(record.hygiene.faults for record in records):
        yield f"'{path}' holds names of broken files (`hygiene.faults`), which are not published"


def _check_names(record: Record) -> Iterator[str]:
    """Yield a sentence for each name that is too long to be shown, or that holds what cannot be seen."""
    for field in _NAMES:
        if (value := getattr(record, field)) is not None:
            yield from _check_name(field, value)
    for flag in record.flags:
        yield from _check_name("flag", flag)
    for part, origin in record.origins.items():
        yield from _check_name("origin", f"{part} {origin}")


def _check_texts(value: Any) -> Iterator[str]:
    """Yield a sentence for each text in a value of JSON that cannot be shown."""
    if isinstance(value, str):
        yield from _check_name("text", value)
    elif isinstance(value, dict):
        yield from _check_texts([*value, *value.values()])
    elif isinstance(value, list):
        for each in value:
            yield from _check_texts(each)


def _check_name(field: str, value: str) -> Iterator[str]:
    if len(value) > LONGEST:
        yield f"a {field} has {len(value):,} letters ('{printable(value[:40])}…'), and at most {LONGEST:,} are taken"
    elif (shown := printable(value)) != value or not {"\n", "\t"}.isdisjoint(value):
        yield f"the {field} '{shown}' holds letters that cannot be seen"
