"""Broken files of every kind that is read: each is read, or refused in one sentence, in bounded time and memory.

Each kind has good files, one of which is broken at random: bytes are changed, words replaced, values of JSON and YAML
put in the place of others. `HARNESS_FUZZ_TRIES` (100) is the number of tries of each kind, `HARNESS_FUZZ_SEED` (0)
where they begin.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import harness
from harness import Score
from harness.api.errors import HarnessError

TRIES = int(os.environ.get("HARNESS_FUZZ_TRIES", "100"))
SEED = int(os.environ.get("HARNESS_FUZZ_SEED", "0"))
SECONDS, BYTES = 2, 512 * 1024**2
"""CPU time and memory that one try may take; a busy machine changes neither."""

# ── how files are broken ─────────────────────────────────────────────────────────────────────────────────

DEEP, HUGE = "@deep@", "@huge@"
"""Stand for what no library writes: brackets within brackets, and a number beyond all floats."""
WRITTEN = {f'"{DEEP}"': "[" * 100_000 + "]" * 100_000, f'"{HUGE}"': "1e400"}

ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3.5,
        -0.0,
        10**30,
        10**400,
        2**63,
        float("nan"),
        float("inf"),
        float("-inf"),
    ),
    *("", "x", "\x00", "\ud800", "None", "../x", "/etc/passwd", "é" * 300, "%s{}[", "1", "nan", DEEP, HUGE),
    *([], {}, [[]], [{}], {"": {}}, {"a": [1, None]}, [None], [1, "x"], ["x", "x"]),
)
"""Values that may stand where another type should."""

TAGGED = (
    *(
        "!!python/object:os.system x",
        "!!binary zz",
        "!!timestamp x",
        "!!timestamp 2020-01-01",
        "!!bool x",
        "!!int x",
    ),
    *(
        "!!float x",
        "!!set {a}",
        "!!omap x",
        "!x y",
        ".inf",
        "-.inf",
        ".nan",
        "1e400",
        "2020-13-45",
        "*a",
        "&a x",
        "<<",
    ),
    *(
        "{a: 1, a: 2}",
        "[" * 3000,
        "? [a]",
        "0x",
        "+0x_",
        "1:99",
        "|",
        ">",
        "'",
        '"',
        "@x",
        "%",
        "`",
        "---",
        "...",
    ),
)
"""Values of YAML as they are written."""

WORD = re.compile(rb"-?\d+(?:\.\d+)?|\w+")

Break = Callable[[bytes, random.Random], bytes]


def break_bytes(data: bytes, draw: random.Random) -> bytes:
    """Change, cut, repeat or insert some bytes, or replace a word."""
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(data) + 1)
        end = min(len(data), place + draw.choice((1, 2, 8, 100)))
        how = draw.randrange(7)
        if how == 0 and data:
            data = data[: place - 1] + bytes([draw.randrange(256)]) + data[place:]
        elif how == 1:
            data = data[:place]
        elif how == 2:
            data = data[:place] + data[end:]
        elif how == 3:
            data = data[:end] + data[place:end] + data[end:]
        elif how == 4:
            data = data[:place] + draw.randbytes(draw.choice((1, 4, 30))) + data[place:]
        elif how == 5 and data:
            data = data[: place - 1] + draw.choice((b"\x00", b"\xff", b"\n", b'"', b"{", b"]")) + data[place:]
        elif words := [found.span() for found in WORD.finditer(data[:20_000])]:
            start, stop = draw.choice(words)
            word = draw.choice(
                (b"", b"-1", b"0", b"null", b"NaN", b"1e400", b"9" * 40, b"x", b"true", b"1" * 5000)
            )
            data = data[:start] + word + data[stop:]
    return data


def break_tree(tree: Any, draw: random.Random) -> Any:
    """Put an odd value in place of one of a tree, take one away, or add one."""
    holders = [(tree, key) for key in _keys(tree)]
    for holder, key in holders:
        holders += [(holder[key], inner) for inner in _keys(holder[key])]
    if not holders or draw.random() < 0.03:
        return copy.deepcopy(draw.choice(ODD))
    holder, key = draw.choice(holders)
    how = draw.randrange(6)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[draw.choice(("", "x", "name", key + "x"))] = copy.deepcopy(draw.choice(ODD))
    elif how == 2:
        holder[key] = draw.choice(([holder[key]], {"x": holder[key]}, str(holder[key]), [holder[key]] * 3))
    else:
        holder[key] = copy.deepcopy(draw.choice(ODD))
    return tree


def _keys(tree: Any) -> list[Any]:
    return list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []


def write_json(tree: Any) -> bytes:
    text = json.dumps(tree)
    for mark, written in WRITTEN.items():
        text = text.replace(mark, written)
    return text.encode()


def break_json(data: bytes, draw: random.Random) -> bytes:
    """Change bytes or values of a file of JSON."""
    if draw.random() < 0.2:
        return break_bytes(data, draw)
    tree = json.loads(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        tree = break_tree(tree, draw)
    return write_json(tree)


def break_lines(data: bytes, draw: random.Random) -> bytes:
    """Change one line of a file of JSON lines, or its bytes."""
    lines = data.splitlines(keepends=True)
    number = draw.randrange(len(lines))
    lines[number] = break_json(lines[number].rstrip(b"\n"), draw) + b"\n" * (draw.random() < 0.95)
    return b"".join(lines)


def break_yaml(data: bytes, draw: random.Random) -> bytes:
    """Change bytes or values of a file of YAML, or write a value with a tag."""
    how = draw.random()
    if how < 0.2:
        return break_bytes(data, draw)
    if how < 0.5:
        values = list(re.finditer(rb"(?<=: )[^\n\[{]+|(?<=\[)[^\]\n,]+", data))
        found = draw.choice(values)
        return data[: found.start()] + draw.choice(TAGGED).encode() + data[found.end() :]
    tree = break_tree(yaml.safe_load(data), draw)
    return yaml.safe_dump(tree).encode("utf-8", "surrogatepass")


def break_gzip(data: bytes, draw: random.Random) -> bytes:
    return (
        gzip.compress(break_lines(gzip.decompress(data), draw), mtime=0)
        if draw.random() < 0.7
        else break_bytes(data, draw)
    )


def break_safetensors(data: bytes, draw: random.Random) -> bytes:
    """Change bytes, or values of the header, which then lies about the data."""
    if draw.random() < 0.3:
        return break_bytes(data, draw)
    size = int.from_bytes(data[:8], "little")
    header = break_json(data[8 : 8 + size], draw)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def break_npz(data: bytes, draw: random.Random) -> bytes:
    """Change bytes of an archive, or of one array inside it, whose checksum then is right."""
    if draw.random() < 0.3:
        return break_bytes(data, draw)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as new:
        names = archive.namelist()
        broken = draw.choice(names)
        for name in names:
            held = archive.read(name)
            if name == broken:
                head = held[:128]
                held = (
                    break_bytes(head, draw) + held[128:] if draw.random() < 0.7 else break_bytes(held, draw)
                )
                name = draw.choice((name, name, name, "x.npy"))
            new.writestr(name, held)
    return out.getvalue()


def break_parquet(data: bytes, draw: random.Random) -> bytes:
    """Change bytes, or a column of a table: its name, or values of another type in its place."""
    if draw.random() < 0.4:
        return break_bytes(data, draw)
    table = pq.read_table(io.BytesIO(data))
    name = draw.choice(table.column_names)
    place = table.column_names.index(name)
    how = draw.randrange(4)
    if how == 0:
        table = table.drop_columns([name])
    elif how == 1:
        names = [
            draw.choice(("", "x", "label", each)) if each == name else each for each in table.column_names
        ]
        table = table.rename_columns(names)
    else:
        kind = draw.choice(
            (pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.binary(), pa.list_(pa.string()), pa.null())
        )
        value = draw.choice(
            {
                pa.int64(): (None, -1, 2**62),
                pa.float64(): (None, float("nan"), float("inf"), 1e308),
                pa.string(): (None, "", "x"),
                pa.bool_(): (True, None),
                pa.binary(): (b"\xff", None),
                pa.list_(pa.string()): ([], [None], None),
                pa.null(): (None,),
            }[kind]
        )
        values = [value if draw.random() < 0.9 else None for _ in range(table.num_rows)]
        table = table.set_column(place, name, pa.array(values, kind))
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


# ── kinds of files ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Kind:
    """Kind of a file: what makes good files in a folder, which of them is broken and how, and what reads them."""

    make: Callable[[Path], object]
    file: str
    break_: Break
    read: Callable[[Path], object]


KINDS: dict[str, Kind] = {}


def kind(
    name: str, file: str, break_: Break, make: Callable[[Path], object]
) -> Callable[[Callable[[Path], object]], Any]:
    def add(read: Callable[[Path], object]) -> Callable[[Path], object]:
        KINDS[name] = Kind(make, file, break_, read)
        return read

    return add


def put(**files: str | bytes) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        for name, content in files.items():
            path = folder / name.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


SUITE = """\
name: toy
version: 1
summary: "a suite"
tasks: [{name: toy_task, limit: 40}, other]
models:
  - ref: minigemma-s
    sites: [resid_post.1]
    dtype: float32
representations: [hidden, {name: sae, width: 16k}]
poolings: [mean]
classifiers: [logreg]
transfers: [{from: a, to: b}]
seeds: [0, 1]
limit: 5
fuzzy_leaks: false
"""
TASK = """\
name: toy_task
version: 1
source: {file: data.jsonl}
columns: {input: text, label: label, split: split, group: group}
languages: [en]
licence: CC0
citation: nobody
labels: {a: good}
where: {split: train}
class_names: {good: fine}
templates: ["a {}."]
"""
ROWS = [
    {"text": f"{'good' if row % 2 else 'bad'} thing {row}", "label": "good" if row % 2 else "bad",
     "group": f"g{row // 2}",
     "split": "test" if row < 6 else "train"}
    for row in range(16)
]  # fmt: skip
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = pd.DataFrame(ROWS).to_csv(index=False)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


@kind("suite", "suite.yaml", break_yaml, put(suite__yaml=SUITE))
def _(folder: Path) -> None:
    from harness.config.suite import read_suite

    read_suite(folder / "suite.yaml", models=("x",), settings=["limit=3"])


@kind("task file", "task.yaml", break_yaml, put(task__yaml=TASK))
def _(folder: Path) -> None:
    from harness.config.task_file import read_task

    read_task(folder / "task.yaml")


@kind(
    "board file",
    "board.yaml",
    break_yaml,
    put(board__yaml="runs:\n  - {name: a, suite: quickstart, batch_size: 8}\n"),
)
def _(folder: Path) -> None:
    from harness.config.board_file import read_board

    read_board(folder)


@kind("reference", "ref", break_bytes, put(ref="gemma-scope[width=16k, l0=~100, any_site=true]"))
def _(folder: Path) -> None:
    from harness.registry.catalog import parse_reference

    parse_reference((folder / "ref").read_bytes().decode("utf-8", "replace"))


def load(folder: Path, file: Path, **more: Any) -> None:
    from harness.data.task import load_task

    columns = harness.Columns(input="text", label="label", split="split", group="group")
    spec = harness.TaskSpec(
        **{"name": "toy", "version": 1, "summary": "toy", "source": harness.FileSource(file=file), "columns": columns,
           "languages": ("en",), "licence": "CC0", "citation": "nobody", **more}
    )  # fmt: skip
    load_task(spec)


for _name, _file, _break, _content in (
    ("csv table", "data.csv", break_bytes, CSV),
    ("tsv table", "data.tsv", break_bytes, CSV.replace(",", "\t")),
    ("jsonl table", "data.jsonl", break_lines, LINES),
    ("json table", "data.json", break_json, json.dumps(ROWS)),
    ("packed table", "data.jsonl.gz", break_gzip, gzip.compress(LINES.encode(), mtime=0)),
    ("parquet table", "data.parquet", break_parquet, parquet(ROWS)),
):
    kind(_name, _file, _break, put(**{_file: _content}))(
        lambda folder, file=_file: load(folder, folder / file)
    )

TALK = [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}]


@kind(
    "conversations",
    "talk.jsonl",
    break_lines,
    put(
        talk__jsonl="".join(
            json.dumps({**row, "text": [{"role": "user", "content": row["text"]}, *TALK[1:]]}) + "\n"
            for row in ROWS
        )
    ),
)
def _(folder: Path) -> None:
    load(folder, folder / "talk.jsonl")


for _name, _file, _break, _content in (
    ("jsonl corpus", "texts.jsonl", break_lines, LINES),
    ("csv corpus", "texts.csv", break_bytes, CSV),
    ("txt corpus", "texts.txt", break_bytes, "".join(f"text {n}\n\n" for n in range(90))),
    ("parquet corpus", "texts.parquet", break_parquet, parquet(ROWS)),
):

    @kind(_name, _file, _break, put(**{_file: _content}))
    def _(folder: Path, file: str = _file) -> None:
        from harness.data.corpus import read_parts

        read_parts([folder / file])


def image(format_: str, number: int = 0) -> bytes:
    import PIL.Image

    out = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(number).integers(0, 255, (12, 9, 3), np.uint8)).save(
        out, format_
    )
    return out.getvalue()


for _format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):

    @kind(
        f"{_format} image",
        "image",
        break_bytes,
        lambda folder, name=_format: (folder / "image").write_bytes(image(name)),
    )
    def _(folder: Path) -> None:
        harness.read_image(folder / "image")


def image_folder(folder: Path) -> None:
    for number in range(4):
        (folder / f"{number}.png").write_bytes(image("PNG", number))
    rows = [f"{number}.png,{'ab'[number % 2]},{'train' if number < 2 else 'test'}\n" for number in range(4)]
    (folder / "metadata.csv").write_text("file_name,label,split\n" + "".join(rows))


@kind("image metadata", "metadata.csv", break_bytes, image_folder)
def _(folder: Path) -> None:
    load(
        folder,
        folder,
        modality="image",
        columns=harness.Columns(input="image", label="label", split="split"),
        languages=("zxx",),
    )


@kind(
    "parquet images",
    "images.parquet",
    break_parquet,
    lambda folder: (folder / "images.parquet").write_bytes(
        parquet(
            [
                {"image": {"bytes": image("PNG", n), "path": None}, "split": ("train", "test")[n % 2]}
                for n in range(4)
            ]
        )
    ),
)
def _(folder: Path) -> None:
    from harness.training.images import read_image_corpus

    read_image_corpus([folder / "images.parquet"])


ITEMS = [
    {"prompt": f"what is {n}", "choices": ["a", "b"], "answer": n % 2, "answers": ["a"], "kept": n}
    for n in range(4)
]

for _name, _file, _break, _content in (
    ("jsonl items", "items.jsonl", break_lines, "".join(json.dumps(row) + "\n" for row in ITEMS)),
    ("parquet items", "items.parquet", break_parquet, parquet(ITEMS)),
):

    @kind(_name, _file, _break, put(**{_file: _content}))
    def _(folder: Path, file: str = _file) -> None:
        from harness_labelling.labels import read_items

        for score in ("sum", "exact", "refusal"):
            with contextlib.suppress(HarnessError):
                read_items(folder / file, score)  # type: ignore[arg-type]


def erasure(folder: Path) -> None:
    """A published result."""
    published = Path(__file__).parents[1] / "leaderboards/interpretation"
    shutil.copy(
        published / "erasure-sms_spam-minigemma-m-resid_post.2-minigemma-scope.json",
        folder / "erasure-t.json",
    )


@kind("erasure", "erasure-t.json", break_json, erasure)
def _(folder: Path) -> None:
    from harness_erasure.page import describe

    describe(sorted(folder.glob("erasure-*.json")))


def patching(folder: Path) -> None:
    """A result of patching at which nothing was testable."""
    from harness_patching.result import Result

    texts = dict.fromkeys(("behaviour", "summary", "model", "site", "dictionary", "reason", "device"), "x")
    counts = dict.fromkeys(("n_choosing", "n_measured", "n_left_out"), 30)
    empty: dict[str, Any] = dict.fromkeys(("curves", "nodes", "differences", "edges"), ())
    result = Result(
        later_site=None, accuracy=Score(value=0.5, low=0.4, high=0.6), verdict="not testable on this model",
        cpu_minutes=1.0, **texts, **counts, **empty,
    )  # fmt: skip
    (folder / "patching-x.json").write_text(result.model_dump_json())


@kind("patching", "patching-x.json", break_json, patching)
def _(folder: Path) -> None:
    from harness_patching.page import describe

    describe(sorted(folder.glob("patching-*.json")))


def reliability(folder: Path) -> None:
    from harness.validation.reliability import SHIPPED

    shutil.copy(SHIPPED, folder / "reliability-x.json")


@kind("reliability", "reliability-x.json", break_json, reliability)
def _(folder: Path) -> None:
    from harness.validation.page import describe

    describe(sorted(folder.glob("reliability-*.json")))


def autointerp(folder: Path) -> None:
    """A result of explaining features with a scorer that is not able."""
    from harness_autointerp.result import Arm, Result

    texts = dict.fromkeys(("task", "model", "site", "explainer", "scorer", "device"), "x")
    counts = dict.fromkeys(("length", "fragments_explained", "fragments_scored", "top", "random"), 10)
    arm = Arm(name="x", width=9, alive=9, scores={}, lead={}, examples=(), note="the scorer is not able")
    result = Result(scorer_scores={}, arms=(arm, arm), cpu_minutes=1.0, **texts, **counts)
    (folder / "autointerp-x.json").write_text(result.model_dump_json())


@kind("autointerp", "autointerp-x.json", break_json, autointerp)
def _(folder: Path) -> None:
    from harness_autointerp.page import describe

    describe(sorted(folder.glob("autointerp-*.json")))


@kind(
    "behaviour",
    "behaviour.yaml",
    break_yaml,
    put(
        behaviour__yaml=(
            Path(__file__).parents[1] / "plugins/harness_patching/behaviours/agreement.yaml"
        ).read_text()
    ),
)
def _(folder: Path) -> None:
    from harness_patching.behaviours import draw_items, read_behaviour

    list(islice(draw_items(read_behaviour(str(folder / "behaviour.yaml")), 0), 20))


def annotation(folder: Path) -> None:
    """A result of annotating prompts of a model that cannot do the task."""
    from harness_annotation.result import Arm, Result, Way

    some = Score(value=0.5, low=0.4, high=0.6)
    empty: dict[str, Any] = dict.fromkeys(("features", "comparisons"), ())
    way = Way(
        way="likelihood", n=9, templates=3, accuracy=some, blind=0.5, chance=0.5, probe_auroc=None, churn=None,
        detectable_gain=None, arms=(Arm(name="plain", accuracy=some, gain=None, annotated=0.0),),
        verdict="not testable on this model", reason="x", **empty,
    )  # fmt: skip
    texts = dict.fromkeys(("items", "model", "site", "dictionary", "explanations", "device"), "x")
    result = Result(ways=(way,), shots=0, thresholds=(), report_tokens=0, cpu_minutes=1.0, **texts)
    (folder / "annotation-x.json").write_text(result.model_dump_json())


@kind("annotation", "annotation-x.json", break_json, annotation)
def _(folder: Path) -> None:
    from harness_annotation.page import describe

    describe(sorted(folder.glob("annotation-*.json")))


ITEM = json.dumps({"text": "t", "choices": ["a", "b"], "answer": "a", "template": "x", "hint": "h"})


@kind("annotated items", "items.jsonl", break_lines, put(items__jsonl=f"{ITEM}\n{ITEM}\n"))
def _(folder: Path) -> None:
    from harness_annotation.items import read_items

    read_items(str(folder / "items.jsonl"), None, None)


@kind("explanations", "given.json", break_json, put(given__json='{"3": "words", "5": "more"}'))
def _(folder: Path) -> None:
    from harness_annotation.command import read_explanations

    read_explanations(folder / "given.json")


@kind("texts", "texts.jsonl", break_lines, put(texts__jsonl=LINES + json.dumps({"messages": TALK}) + "\n"))
def _(folder: Path) -> None:
    from harness.cli.features import read_texts

    read_texts(folder / "texts.jsonl")


# ── runs and boards ──────────────────────────────────────────────────────────────────────────────────────

HERE = Path(__file__).parent


def run_folder(folder: Path) -> None:
    """The finished run of the module's fixture."""
    shutil.copytree(Path(os.environ["FUZZ_RUN"]), folder, dirs_exist_ok=True)
    (found,) = sorted((folder / "predictions").glob("*.parquet"))[:1]
    (folder / "name").write_text(found.stem)


@kind("run.json", "run.json", break_json, run_folder)
def _(folder: Path) -> None:
    from harness.cli.status import _facts, _lines
    from harness.validation.run import check_run

    _lines(_facts(folder))
    from harness.runs.folder import RunFolder

    check_run(RunFolder(folder))


@kind("records", "results.jsonl", break_lines, run_folder)
def _(folder: Path) -> None:
    from harness.runs.folder import RunFolder
    from harness.validation.records import check_records, check_whole

    records = RunFolder(folder).records()
    list(check_records(records)), list(check_whole(records))
    pd.DataFrame([record.model_dump(mode="json") for record in records])


@kind(
    "older records",
    "records.jsonl",
    break_lines,
    lambda folder: (folder / "records.jsonl").write_bytes(
        b"".join((HERE / "records-v1.jsonl").read_bytes().splitlines(keepends=True)[:3])
    ),
)
def _(folder: Path) -> None:
    from harness.runs.record import read_records

    read_records(folder / "records.jsonl")


@kind("events", "events.jsonl", break_lines, run_folder)
def _(folder: Path) -> None:
    from harness.leaderboard.published.store import _environment
    from harness.runs.folder import RunFolder

    list(RunFolder(folder).events()), _environment(RunFolder(folder))


@kind("env.json", "env.json", break_json, run_folder)
def _(folder: Path) -> None:
    from harness.leaderboard.published.store import _environment
    from harness.runs.folder import RunFolder

    _environment(RunFolder(folder))


@kind("predictions", "predictions", break_parquet, run_folder)
def _(folder: Path) -> None:
    from harness.runs.folder import RunFolder
    from harness.validation.cells import check_cell

    run, name = RunFolder(folder), (folder / "name").read_text()
    record = next(each for each in run.records() if each.cell_id == name)
    run.is_done(record), check_cell(record, run.predictions(name))


def board(folder: Path) -> None:
    shutil.copytree(Path(os.environ["FUZZ_BOARD"]), folder, dirs_exist_ok=True)


for _ending, _break in (
    (".jsonl", break_lines),
    (".env.json", break_json),
    (".predictions.parquet", break_parquet),
):

    @kind(f"board{_ending}", f"board{_ending}", _break, board)
    def _(folder: Path) -> None:
        from harness.leaderboard.published.store import PublishedRun

        run = PublishedRun(folder / "board.jsonl")
        (
            run.is_whole,
            [run.predictions(record.cell_id) for record in run.records() if run.has_predictions(record)],
        )


# ── cache ────────────────────────────────────────────────────────────────────────────────────────────────

KEY = "0" * 64


def cache(folder: Path) -> None:
    import torch

    from harness.dictionaries.dictionary import Dictionary
    from harness.dictionaries.gate import Fidelity
    from harness.features.artifacts import write_fitted, write_measured
    from harness.storage.feature_store import FeatureStore

    store = FeatureStore(folder)
    store.write(KEY, range(4), np.arange(12, dtype="f4").reshape(4, 3))
    store.complete(KEY, {"rows": 4, "cost": {"seconds": 1.5}})
    store.write_batches(KEY, [[0, 1], [2]])
    rng = torch.Generator().manual_seed(0)
    W = torch.rand((4, 6), generator=rng)
    write_fitted(
        store, KEY, Dictionary(name="x", width=6, activation="topk", k=2, W_enc=W, b_enc=torch.zeros(6))
    )
    write_measured(store, KEY, Fidelity(explained_variance=0.5, tokens=3))


for _kind, _break in (
    ("features", break_safetensors),
    ("fitted", break_safetensors),
    ("fidelity", break_safetensors),
):

    @kind(f"cached {_kind}", f"{_kind}/{KEY}", _break, cache)
    def _(folder: Path) -> None:
        from harness.features.artifacts import read_fitted, read_measured
        from harness.storage.cache import find_damage
        from harness.storage.feature_store import FeatureStore

        store = FeatureStore(folder)
        find_damage(folder)
        store.read(KEY, 4), read_fitted(store, KEY, "cpu"), read_measured(store, KEY)


for _file in (f"features/{KEY}/complete.json", f"plans/{KEY}.json"):

    @kind(f"cached {_file.split('/')[0]} json", _file, break_json, cache)
    def _(folder: Path) -> None:
        from harness.cli.cache import _origin
        from harness.runs.cell_results import _read_cost
        from harness.storage.cache import find_damage, list_entries
        from harness.storage.feature_store import FeatureStore

        store = FeatureStore(folder)
        _read_cost(store.about(KEY).get("cost")), store.read_batches(KEY), find_damage(folder)
        [_origin(entry) for entry in list_entries(folder)]


# ── dictionaries ─────────────────────────────────────────────────────────────────────────────────────────


def model(width: int = 4) -> Any:
    """A model as a reader of dictionaries sees it."""
    return SimpleNamespace(name="toy", architecture="gemma2", width=lambda site: width, n_layers=3)


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "W_enc": rng.normal(size=(4, 6)).astype("f4"),
        "W_dec": rng.normal(size=(6, 4)).astype("f4"),
        "b_enc": np.zeros(6, "f4"),
        "b_dec": np.zeros(4, "f4"),
        "threshold": np.full(6, 0.1, "f4"),
    }


def read_dictionary(folder: Path, tower: str = "") -> None:
    import torch
    from harness_saes import harness_resolve_representation

    spec = harness_resolve_representation(str(folder))
    if spec is None:
        return
    placed = spec.make().at(model(), harness.Site(tower=tower, kind="resid_post", layer=1))
    read = (placed.load_whole or placed.load)("cpu")
    read.encode(torch.ones(2, 4))


PLACE = "layer_1/width_6/average_l0_2"


def scope_1(folder: Path) -> None:
    place = folder / "layer_1" / "width_6" / "average_l0_2"
    place.mkdir(parents=True)
    np.savez(place / "params.npz", **arrays())
    (place / "training.json").write_text(json.dumps({"site": "resid_post.1", "l0": 2.5}))


for _file, _break in (("params.npz", break_npz), ("training.json", break_json)):
    kind(f"gemma scope {_file}", f"layer_1/width_6/average_l0_2/{_file}", _break, scope_1)(
        lambda folder: read_dictionary(folder / "layer_1" / "width_6" / "average_l0_2")
    )


def carded(folder: Path) -> None:
    from harness_minigemma.model import WEIGHTS

    scope_1(folder)
    (source,) = (WEIGHTS / "minigemma-s-scope/layer_1/width_512").glob("average_l0_*")
    for name in ("training.json", "report.json"):
        shutil.copy(source / name, folder / PLACE / name)
    part = {"repo": "org/set *.xml", "lang": "de", "register": "drama", "licence": "CC0", "attribution": "A"}
    (folder / "manifest.json").write_text(json.dumps([part, part]))


for _file in (f"{PLACE}/training.json", f"{PLACE}/report.json", "manifest.json"):

    @kind(f"card {Path(_file).name}", _file, break_json, carded)
    def read_card(folder: Path) -> None:
        from harness.dictionary_report.card import read_dictionaries, read_sources, to_markdown

        card = to_markdown("x", read_dictionaries(folder), sources=read_sources(folder / "manifest.json"))
        card.encode()


def scope_2(folder: Path) -> None:
    from safetensors.numpy import save_file

    named = {name.replace("W_", "w_"): array for name, array in arrays().items()}
    save_file(named, folder / "params.safetensors")
    config = {"type": "sae", "architecture": "jump_relu", "width": 6, "l0": 2.5, "model_name": "google/gemma-3-1b-pt",
              "hf_hook_point_in": "model.layers.1.output", "hf_hook_point_out": "model.layers.1.output"}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


kind("gemma scope 2 weights", "params.safetensors", break_safetensors, scope_2)(read_dictionary)
kind("gemma scope 2 config", "config.json", break_json, scope_2)(read_dictionary)


def saev(folder: Path) -> None:
    import torch

    out = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in arrays().items()}, out)
    header = {
        "schema": 3,
        "cfg": {"d_model": 4, "d_sae": 6, "activation": {"cls": "TopK", "params": {"top_k": 2}}},
    }
    (folder / "sae.pt").write_bytes(json.dumps(header).encode() + b"\n" + out.getvalue())


def break_saev(data: bytes, draw: random.Random) -> bytes:
    header, _, rest = data.partition(b"\n")
    return (
        break_json(header, draw) + b"\n" + rest
        if draw.random() < 0.7
        else header + b"\n" + break_bytes(rest, draw)
    )


kind("saev", "sae.pt", break_saev, saev)(lambda folder: read_dictionary(folder, "vision"))


def prisma(folder: Path) -> None:
    import torch

    torch.save({name: torch.from_numpy(array) for name, array in arrays().items()}, folder / "weights.pt")
    config = {"hook_point_layer": 1, "layer_subtype": "hook_resid_post", "architecture": "standard",
              "d_in": 4, "d_sae": 6,
              "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}, "normalize_activations": "layer_norm",
              "expansion_factor": 1.5, "cls_token_only": False}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


kind("prisma weights", "weights.pt", break_bytes, prisma)(lambda folder: read_dictionary(folder, "vision"))
kind("prisma config", "config.json", break_json, prisma)(lambda folder: read_dictionary(folder, "vision"))


def read_declared(folder: Path) -> None:
    """Read a dictionary of a format with a declaration, or what is said to be none."""
    import torch
    from harness_saes import resolve_or_refuse

    spec = resolve_or_refuse(str(folder))
    assert spec is not None
    placed = spec.make(any_site=True).at(model(), harness.Site(kind="resid_post", layer=1))
    assert placed.load_whole is not None
    placed.load_whole("cpu").encode(torch.ones(2, placed.d_in))


def dictionary_learning(folder: Path) -> None:
    import torch

    held = {name: torch.from_numpy(array) for name, array in arrays().items()}
    held["threshold"] = torch.tensor(0.1)
    torch.save({**held, "k": torch.tensor(2), "group_sizes": torch.tensor([2, 4])}, folder / "ae.pt")
    config = {"trainer": {"dict_class": "MatryoshkaBatchTopKSAE", "activation_dim": 4, "dict_size": 6, "k": 2,
                          "layer": 1, "submodule_name": None}, "buffer": {"io": "out", "ctx_len": 128}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def sparsify(folder: Path) -> None:
    from safetensors.numpy import save_file

    held = arrays()
    named = {"encoder.weight": held["W_enc"].T.copy(), "encoder.bias": held["b_enc"]}
    save_file({**named, "W_dec": held["W_dec"], "b_dec": held["b_dec"]}, folder / "sae.safetensors")
    config = {"activation": "groupmax", "expansion_factor": 32, "num_latents": 6, "k": 2, "d_in": 4,
              "transcode": False, "skip_connection": False, "signed": False}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))


def openai(folder: Path) -> None:
    import torch

    held = {name: torch.from_numpy(array) for name, array in arrays().items()}
    named = {"encoder.weight": held["W_enc"].T, "latent_bias": held["b_enc"], "pre_bias": held["b_dec"]}
    rule = {"activation": "TopK", "activation_state_dict": {"k": 2, "postact_fn": "ReLU"}}
    torch.save({**named, "decoder.weight": held["W_dec"].T, **rule}, folder / "6.pt")


def sae_lens(folder: Path, norm: str = "covariance_whitening") -> None:
    from safetensors.numpy import save_file

    held = arrays()
    save_file({**held, "scaling_factor": np.full(6, 2, "f4")}, folder / "sae_weights.safetensors")
    config = {"d_in": 4, "d_sae": 6, "dtype": "float32", "apply_b_dec_to_input": True, "normalize_activations": norm,
              "reshape_activations": "none", "finetuning_scaling_factor": True, "architecture": "jumprelu",
              "metadata": {"sae_lens_version": "6.54.12", "model_name": "gpt2", "hook_name": "blocks.1.hook_resid_post",
                           "model_from_pretrained_kwargs": {"center_writing_weights": True}}}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.5, "has_whitening": True}))
    whitening = {"mean": np.ones(4, "f8"), "matrix": np.eye(4), "inverse_matrix": np.eye(4)}
    save_file(whitening, folder / "activation_whitening.safetensors")


def sae_lens_before_6(folder: Path) -> None:
    sae_lens(folder)
    config = {"d_in": 4, "d_sae": 6, "hook_point": "blocks.1.hook_resid_post", "hook_point_head_index": None,
              "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}, "normalize_activations": True,
              "finetuning_scaling_factor": True, "sae_lens_version": "3.1.0"}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))


def openmoss(folder: Path) -> None:
    from safetensors.numpy import save_file

    held = arrays()
    named = {"encoder.weight": held["W_enc"].T.copy(), "encoder.bias": held["b_enc"], "decoder.bias": held["b_dec"],
             "decoder.weight": held["W_dec"].T.copy(), "log_jumprelu_threshold": held["threshold"]}  # fmt: skip
    save_file(named, folder / "sae_weights.safetensors")
    hook = "blocks.1.hook_resid_post"
    config = {"sae_type": "sae", "hook_point_in": hook, "hook_point_out": hook, "d_model": 4, "expansion_factor": 1.5,
              "act_fn": "jumprelu", "norm_activation": "dataset-wise", "dataset_average_activation_norm": {hook: 3.5},
              "use_decoder_bias": True, "top_k": 2, "sparsity_include_decoder_norm": True,
              "use_glu_encoder": False}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def declared(folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file(arrays(), folder / "mine.safetensors")
    (folder / "dictionary.yaml").write_text(
        "activation: jumprelu\nsubtract_b_dec: true\nsite: resid_post.1\nl0: 3\ninput_norm: layer_norm\n"
        "tensors: {W_enc: W_enc}\ntransposed: []\n"
    )


kind("OpenMOSS config", "config.json", break_json, openmoss)(read_declared)
kind("dictionary.yaml", "dictionary.yaml", break_bytes, declared)(read_declared)
kind("SAELens weights", "sae_weights.safetensors", break_safetensors, sae_lens)(read_declared)
kind("SAELens config", "cfg.json", break_json, sae_lens)(read_declared)
kind("SAELens config before 6", "cfg.json", break_json, sae_lens_before_6)(read_declared)
kind("dictionary_learning config", "config.json", break_json, dictionary_learning)(read_declared)
kind("sparsify config", "cfg.json", break_json, sparsify)(read_declared)
kind("openai weights", "6.pt", break_bytes, openai)(read_declared)
kind(
    "config of no dictionary",
    "cfg.json",
    break_json,
    put(cfg__json=json.dumps({"architecture": "x", "d_in": 4, "hook_name": "b"})),
)(read_dictionary)

# ── models ───────────────────────────────────────────────────────────────────────────────────────────────

WEIGHTS = HERE.parent / "plugins" / "harness_minigemma" / "weights"


def tiny_tokenizer() -> dict[str, Any]:
    """A tokenizer of a dozen tokens: reading the one of a model takes a second."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "b", "c", "ab", "▁"]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": n, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for n, word in enumerate(words[:4])],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None, "post_processor": None, "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": False,
                  "vocab": {word: n for n, word in enumerate(words)}, "merges": [["a", "b"]]},
    }  # fmt: skip


def model_folder(folder: Path) -> None:
    from safetensors.numpy import save_file

    config = json.loads((WEIGHTS / "minigemma-s" / "config.json").read_text())
    config |= {"num_hidden_layers": 2, "vocab_size": 12, "hidden_size": 8, "intermediate_size": 8, "head_dim": 4,
               "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tiny_tokenizer()))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>",
             "unk_token": "<unk>",
             "pad_token": "<pad>", "model_max_length": 64}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    names = [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    ]
    save_file({name: np.ones((2, 2), "f4") for name in names}, folder / "shard.safetensors")
    index = {"metadata": {"total_size": 48}, "weight_map": dict.fromkeys(names, "shard.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text(
        "---\nlanguage: [en]\nlanguage_megabytes: {en: 3.5}\ndatasets: [x]\n---\n# toy\n"
    )
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [1, 2], "suppress_tokens": [3]})
    )


@kind("model config", "config.json", break_json, model_folder)
def _(folder: Path) -> None:
    from harness_transformers.opening import build_skeleton, read_config
    from harness_transformers.references import open_files

    config = read_config(open_files(str(folder)))
    build_skeleton("toy", config, "eager")


for _file in ("tokenizer.json", "tokenizer_config.json"):

    @kind(f"model {_file}", _file, break_json, model_folder)
    def _(folder: Path) -> None:
        from harness_transformers.opening import read_tokenizer
        from harness_transformers.references import open_files

        with harness.parsing("the text cannot be encoded"):
            read_tokenizer(open_files(str(folder)))(["ab c"])


@kind("model index", "model.safetensors.index.json", break_json, model_folder)
def _(folder: Path) -> None:
    from harness_transformers.references import open_files
    from harness_transformers.weights import all_shards, part_shards

    files = open_files(str(folder))
    all_shards(files), part_shards(files, "layers")


@kind("model weights", "shard.safetensors", break_safetensors, model_folder)
def _(folder: Path) -> None:
    from harness_transformers.references import open_files
    from harness_transformers.weights import read_part

    read_part(open_files(str(folder)), "layers")


def image_encoder(folder: Path) -> None:
    """A ViT of two blocks, and how its images are resized."""
    from safetensors.numpy import save_file

    config = {"model_type": "vit", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2,
              "num_attention_heads": 2, "image_size": 8, "patch_size": 4, "num_channels": 3}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    about = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}, "resample": 2,
             "do_resize": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
             "rescale_factor": 0.004}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    names = [f"encoder.layer.{layer}.{part}.weight" for layer in range(2) for part in ("a", "b")]
    save_file({name: np.ones((2, 2), "f4") for name in names}, folder / "model.safetensors")


@kind("image encoder config", "config.json", break_json, image_encoder)
def _(folder: Path) -> None:
    from harness_transformers.modality import is_image_encoder
    from harness_transformers.opening import build_bare, read_config
    from harness_transformers.patches import find_patches
    from harness_transformers.references import open_files

    config = read_config(open_files(str(folder)), decoder=False)
    if is_image_encoder(config):
        find_patches("toy", build_bare("toy", config, "eager"), (3, 8, 8))


@kind("image processor", "preprocessor_config.json", break_json, image_encoder)
def _(folder: Path) -> None:
    from harness_transformers.processing import ImageProcessing
    from harness_transformers.references import open_files

    ImageProcessing.read(open_files(str(folder)))


@kind("image encoder weights", "model.safetensors", break_safetensors, image_encoder)
def _(folder: Path) -> None:
    from harness_transformers.references import open_files
    from harness_transformers.weights import read_tower

    read_tower(open_files(str(folder)), "", n_layers=2, n_blocks=1)


@kind("model card", "README.md", break_bytes, model_folder)
def _(folder: Path) -> None:
    from harness_open_clip.card import read_datasets
    from harness_transformers.card import read_languages, read_tasks
    from harness_transformers.references import open_files

    files = open_files(str(folder))
    read_languages(files), read_tasks(files), read_datasets(files)  # type: ignore[arg-type]


@kind(
    "adapter config",
    "adapter_config.json",
    break_json,
    put(adapter_config__json=json.dumps({"base_model_name_or_path": "x/y"})),
)
def _(folder: Path) -> None:
    from harness_transformers.refusals import describe_files

    describe_files(["adapter_config.json"], folder)


def clip(folder: Path) -> None:
    config = json.loads((WEIGHTS / "miniclip" / "open_clip_config.json").read_text())
    (folder / "open_clip_config.json").write_text(json.dumps(config))


@kind("open_clip config", "open_clip_config.json", break_json, clip)
def _(folder: Path) -> None:
    from harness_open_clip.preprocessing import Preprocessing
    from harness_open_clip.references import open_checkpoint
    from harness_open_clip.structure import find_layout
    from harness_open_clip.towers import build_vision

    checkpoint = open_checkpoint(str(folder), str(folder))
    find_layout("toy", build_vision(checkpoint))
    Preprocessing("toy", checkpoint.preprocessing, (8, 8))


# ── plugins and converters ───────────────────────────────────────────────────────────────────────────────


def plugin(folder: Path) -> None:
    about = folder / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[harness]\ntoy = no_such_module_anywhere\n[console_scripts]\nx = y:z\n"
    )


@kind("entry points", "toy-1.0.dist-info/entry_points.txt", break_bytes, plugin)
def _(folder: Path) -> None:
    import sys

    from harness.registry.loading import find_candidates, load_plugins

    sys.path.insert(0, str(folder))
    try:
        own = [each for each in find_candidates() if each.distribution.startswith("toy")]
        load_plugins(own)
    finally:
        sys.path.remove(str(folder))


@kind(
    "source of a plugin",
    "toy.py",
    break_bytes,
    put(toy__py="import os\nfrom a.b import c\ndef f():\n    import json\n"),
)
def _(folder: Path) -> None:
    from harness.registry.source import _imports

    _imports(folder / "toy.py")


@kind(
    "published study",
    "study.csv",
    break_bytes,
    put(
        study__csv="model,dataset,layer,width,top_n,binarized,sae_macro_f1,"
        "hidden_last_token_macro_f1\nx,y,1,16k,0,False,.5,.6\n"
    ),
)
def _(folder: Path) -> None:
    from harness_mosaic.published import _read_published

    _read_published(folder / "study.csv")


@kind("sae-probes", "x.csv", break_bytes, put(**{"x.csv": "prompt,target\n" + "a,0\nb,1\n" * 8}))
def _(folder: Path) -> None:
    from harness_probing.sae_probes import _read

    _read(folder / "x.csv")


# ── the test ─────────────────────────────────────────────────────────────────────────────────────────────


class TooLong(BaseException):
    """The try took more CPU time than it may."""


@contextlib.contextmanager
def bounds() -> Iterator[None]:
    """Let the block take SECONDS of CPU time, and BYTES more memory than the process has."""

    def stop(number: int, frame: Any) -> None:
        raise TooLong

    with Path("/proc/self/statm").open() as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def find_broken(folder: Path, kind_: Kind) -> Path:
    """Return the file that is broken; of a folder of files named by their checksums, the only one."""
    path = folder / kind_.file
    return (
        path
        if not path.is_dir()
        else next(each for each in sorted(path.iterdir()) if each.suffix in (".parquet", ".safetensors"))
    )


@pytest.fixture(scope="module", autouse=True)
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A finished run of a suite without models, and the board of it."""
    from harness.leaderboard.published.store import publish
    from harness.runs.folder import RunFolder

    folder = tmp_path_factory.mktemp("run")
    rows = "".join(
        json.dumps(
            {
                "text": f"{'good fine' if n % 2 else 'bad awful'} {n}",
                "label": "ab"[n % 2],
                "split": "test" if n < 12 else "train",
            }
        )
        + "\n"
        for n in range(40)
    )
    put(
        data__jsonl=rows,
        task__yaml="name: toy\nversion: 1\nsource: {file: data.jsonl}\n"
        "columns: {input: text, label: label, split: split}\nlanguages: [en]\nlicence: CC0\ncitation: x\n",
        suite__yaml="name: toy\ntasks: [toy]\nrepresentations: [majority, text_length]\nseeds: 1\n",
    )(folder)
    session = harness.open(device="cpu", cache_dir=folder / "cache", include=[folder / "task.yaml"])
    session.run(folder / "suite.yaml", output=folder / "run")
    publish(RunFolder(folder / "run"), folder / "board", name="board")
    patch = pytest.MonkeyPatch()
    patch.setenv("FUZZ_RUN", str(folder / "run"))
    patch.setenv("FUZZ_BOARD", str(folder / "board"))
    yield
    patch.undo()


@pytest.mark.parametrize("name", KINDS)
def test_fuzz_finds_no_broken_file_that_is_a_bug(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind_ = KINDS[name]
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "good"
    folder.mkdir()
    kind_.make(folder)
    path = find_broken(folder, kind_)
    good = path.read_bytes()
    kind_.read(folder)  # what is good is read, and libraries are imported before memory is bounded

    @seed(SEED)
    @settings(
        max_examples=TRIES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**62))
    def attempt(number: int) -> None:
        broken = kind_.break_(good, random.Random(number))
        target = path
        if path.parent.name == KEY and path.suffix == ".safetensors":  # named by its content
            for each in path.parent.glob("*.safetensors"):
                each.unlink()
            target = path.with_name(f"{hashlib.sha256(broken).hexdigest()}.safetensors")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(broken)
        try:
            with bounds():
                kind_.read(folder)
        except HarnessError as error:
            assert str(error)
        except BaseException as error:
            error.add_note(f"try {number} of '{name}'; the file begins {broken[:300]!r}")
            raise

    attempt()
