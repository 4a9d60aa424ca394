"""The catalogue of bad input: what was wrong, what the harness says to it, how it ends, and what it leaves alone.

One table, one test over it, through the real command line. `python -m pytest tests/test_bad_input.py -s -q` prints
the table: name, exit code, sentence.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.cli import execute
from harness.leaderboard.files import FILES, FRAMES, PAGE

SUITE = """\
name: toy
version: 1
tasks: [toy_task]
models:
  - ref: minigemma-s
    sites: [resid_post.1]
representations: [hidden, majority]
poolings: [mean]
transforms: [none]
classifiers: [logreg]
seeds: 1
"""

TASK = """\
name: toy_task
version: 1
source: {file: data.jsonl}
columns: {input: text, label: label, split: split}
languages: [en]
licence: CC0
citation: nobody
"""

MODEL = Path(__file__).parents[1] / "plugins" / "harness_minigemma" / "weights" / "minigemma-s"

RUN = "run suite.yaml --include task.yaml -o {run}"
"""The command that made the earlier run, which is finished: the same again has nothing to do."""

OWN = "run own.yaml --include task.yaml -o {own}"
"""The same for the run of a model and a dictionary that lie in folders."""

FEATURES = "features -m minigemma-s --site resid_post.1 --input texts.jsonl -o out.npy"

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One bad input: how it is made in a folder of good ones, the command, its exit code, and what the one sentence
    must hold. Where the exit code is 0 or 1 it may stand on stdout or in a record's error.
    """

    name: str
    command: str
    code: int
    holds: tuple[str, ...]
    make: Make = lambda folder: None
    env: dict[str, str] = field(default_factory=dict)
    mends: str = ""
    """The one file that the command may replace, because it is the broken one."""
    begins: bool = False
    """Whether the command has begun when it is refused, so that the run's own notes change."""


def rows() -> list[dict[str, Any]]:
    """40 labelled texts that words alone tell apart; 12 of them are test rows."""
    return [
        {
            "text": f"{'good fine lovely' if row % 2 else 'bad awful nasty'} thing number {row}",
            "label": "good" if row % 2 else "bad",
            "split": "test" if row < 12 else "train",
        }
        for row in range(40)
    ]


def write_good(folder: Path) -> None:
    """Everything a command needs, without a fault."""
    (folder / "suite.yaml").write_text(SUITE)
    own = SUITE.replace("minigemma-s", "./model").replace("[hidden, majority]", "[hidden, ./sae]")
    (folder / "own.yaml").write_text(own)
    (folder / "task.yaml").write_text(TASK)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (folder / "texts.jsonl").write_text('{"id": 0, "text": "one"}\n{"id": 1, "text": "two"}\n')


# ── how inputs are made bad ──────────────────────────────────────────────────────────────────────────────


def both(*makes: Make) -> Make:
    def make(folder: Path) -> None:
        for one in makes:
            one(folder)

    return make


def put(name: str, content: str | bytes) -> Make:
    """A file with this content."""

    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def edit(name: str, old: str, new: str) -> Make:
    """A file with a part of its text replaced."""

    def make(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return make


def remove(name: str) -> Make:
    return lambda folder: (folder / name).unlink()


def cut(name: str) -> Make:
    """A file without its second half."""

    def make(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return make


def suite(old: str, new: str) -> Make:
    return edit("suite.yaml", old, new)


def task(old: str, new: str) -> Make:
    return edit("task.yaml", old, new)


def source(name: str, content: str | bytes) -> Make:
    """The task's data in a file of this name."""
    return both(task("data.jsonl", name), put(name, content))


def changed(**columns: Any) -> Make:
    """The task's rows with some columns replaced: by a value, or by what a function makes of the row's number."""

    def make(folder: Path) -> None:
        lines = []
        for number, row in enumerate(rows()):
            new = {
                key: value(number, row[key]) if callable(value) else value for key, value in columns.items()
            }
            lines.append(json.dumps({**row, **new}) + "\n")
        (folder / "data.jsonl").write_text("".join(lines))

    return make


def parquet(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> Make:
    """The task's data as parquet, changed as a frame."""

    def make(folder: Path) -> None:
        task("data.jsonl", "data.parquet")(folder)
        change(pd.DataFrame(rows())).to_parquet(folder / "data.parquet")

    return make


def repeated_columns(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    task("data.jsonl", "data.parquet")(folder)
    columns = [[row[key] for row in rows()] for key in ("text", "text", "label")]
    pq.write_table(
        pa.table([pa.array(column) for column in columns], names=["text", "text", "label"]),
        folder / "data.parquet",
    )


def model(folder: Path) -> None:
    """The model and the dictionary of OWN, as they should be."""
    shutil.copytree(MODEL, folder / "model")
    dictionary()(folder)


def silent(folder: Path) -> None:
    """A tokenizer that finds nothing in any text."""
    path = folder / "model" / "tokenizer.json"
    nothing = {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": nothing}))


def weights(change: Callable[[dict[str, Any]], object]) -> Make:
    """The model with its tensors changed."""

    def make(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        model(folder)
        path = folder / "model" / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return make


NEEDED = "model.layers.1.mlp.down_proj.weight"


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "W_enc": rng.normal(size=(64, 32)).astype("f4"),
        "W_dec": rng.normal(size=(32, 64)).astype("f4"),
        "b_enc": np.zeros(32, "f4"),
        "b_dec": np.zeros(64, "f4"),
        "threshold": np.full(32, 0.1, "f4"),
    }


def dictionary(without: str = "", **changed: Any) -> Make:
    """A dictionary of 32 features in `sae`, with some arrays replaced or left out."""

    def make(folder: Path) -> None:
        (folder / "sae").mkdir(exist_ok=True)
        parts = {key: array for key, array in {**arrays(), **changed}.items() if key != without}
        np.savez(folder / "sae" / "params.npz", **parts)

    return make


def sae(*makes: Make) -> Make:
    """A good model, and a dictionary spoilt so."""
    return both(model, *makes)


def copied(name: str, change: Callable[[bytes], bytes | str] | None) -> Make:
    """A copy of the earlier run in `copy`, with one file edited, or removed."""

    def make(folder: Path) -> None:
        shutil.copytree(os.environ["EARLIER"], folder / "copy", dirs_exist_ok=True)
        (path,) = sorted((folder / "copy").glob(name))[:1]
        if change is None:
            path.unlink()
        else:
            new = change(path.read_bytes())
            path.write_bytes(new if isinstance(new, bytes) else new.encode())

    return make


def record(number: int = 0, **fields: Any) -> Callable[[bytes], str]:
    """results.jsonl with fields of one line changed."""

    def change(data: bytes) -> str:
        lines = [json.loads(line) for line in data.splitlines()]
        lines[number] |= fields
        return "".join(json.dumps(line) + "\n" for line in lines)

    return change


def about(**fields: Any) -> Callable[[bytes], str]:
    """run.json with some fields changed."""
    return lambda data: json.dumps({**json.loads(data), **fields})


def other_rows(data: bytes) -> bytes:
    """Predictions of examples that the other arms do not have."""
    import io

    frame = pd.read_parquet(io.BytesIO(data))
    frame["example_id"] = [f"{number:016x}" for number in range(len(frame))]
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


LAUGHS = "name: toy\na0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)
)

# ── the table ────────────────────────────────────────────────────────────────────────────────────────────

# fmt: off
UNKNOWN = [
    Case("a command", "rnu suite.yaml", 2, ("there is no command 'rnu'; did you mean 'run'?",)),
    Case("a command of leaderboard", "leaderboard biuld x", 2, ("'biuld'",)),
    Case("an option", f"{RUN} --colour", 2, ("No such option", "--colour")),
    Case("a kind to list", "ls flowers", 2, ("there is no kind 'flowers'; known: ", "(`harness ls --help` lists all)")),
    Case("a thing to show", "show logrge", 2, ("nothing is called 'logrge'; did you mean 'logreg'?",)),
    Case("a suite", "run quickstrat -o {run}", 2, ("no suite 'quickstrat'", "did you mean 'quickstart'?")),
    Case("a suite file", "run nowhere/toy.yaml -o {run}", 3, ("suite 'nowhere/toy.yaml' cannot be read",)),
    Case("a folder as a suite file", "run here.yaml -o {run}", 3, ("suite 'here.yaml' cannot be read",),
         lambda folder: (folder / "here.yaml").mkdir()),
    Case("a task", f"{RUN} -t toy_tsak", 2, ("there is no task 'toy_tsak'",)),
    Case("a task in the suite", RUN, 2, ("there is no task 'tsak'",), suite("[toy_task]", "[tsak]")),
    Case("a model", f"{RUN} -m minigema-s", 2, ("no model 'minigema-s'; did you mean 'minigemma-s'?",)),
    Case("a model's folder", f"{RUN} -m ./nowhere", 2, ("there is no model './nowhere'",)),
    Case("a model of the hub, offline", f"{RUN} -m no-org/no-model", 3, ("model 'no-org/no-model'",)),
    Case("a revision", f"{RUN} -m google/gemma-2-2b@c0ffee0", 3, ("google/gemma-2-2b@c0ffee0",)),
    Case("a dtype", f"{RUN} --dtype int3", 2, ("takes dtype float32, bfloat16, float16, not 'int3'",)),
    Case("a parameter of a model", f"{RUN} -m minigemma-s[dtyp=x]", 2, ("no parameter 'dtyp'; did you mean 'dtype'?",)),
    Case("a value of a model", f"{RUN} -m minigemma-s[max_length=0]", 2, ("max_length of at least", "not 0")),
    Case("a representation", f"{RUN} --set representations=[hiden]", 2,
         ("no representation 'hiden'; did you mean 'hidden'?",)),
    Case("a representation's folder", f"{RUN} --set representations=[./nowhere]", 2, ("'./nowhere'",)),
    Case("a dictionary of the hub, offline", f"{RUN} --set representations=[google/gemma-scope-none]", 3,
         ("google/gemma-scope-none",)),
    Case("a parameter of a representation", f"{RUN} --set 'representations=[\"random_sae[wide=3]\"]'", 2,
         ("representation 'random_sae'", "has no parameter 'wide'; it takes: width, k, seed")),
    Case("a value of a representation", f"{RUN} --set 'representations=[\"random_sae[k=-3]\"]'", 2,
         ("random_sae", "-3")),
    Case("a value of pca", f"{RUN} --set 'representations=[\"pca[n=many]\"]'", 2, ("pca", "many")),
    Case("a reference that does not close", f"{RUN} --set 'representations=[\"random_sae[k=3\"]'", 2,
         ("'random_sae[k=3' is not of the form NAME",)),
    Case("a parameter without a value", f"{RUN} --set 'representations=[\"random_sae[k=]\"]'", 2, ("'k='",
         "is not of the form key=value")),
    Case("a parameter twice", f"{RUN} --set 'representations=[\"random_sae[k=3,k=4]\"]'", 2,
         ("'k' stands twice",)),
    Case("a pooling", f"{RUN} --set poolings=[avg]", 2, ("there is no pooling 'avg'; known: max, last, mean",)),
    Case("a parameter of a pooling", f"{RUN} --set 'poolings=[count(x=1)]'", 2, ("pooling 'count'",
         "has no parameter 'x'; it takes: t")),
    Case("a parameter where there is none", f"{RUN} --set 'poolings=[mean(x=1)]'", 2, ("it takes none",)),
    Case("a value of a pooling", f"{RUN} --set 'poolings=[count(t=high)]'", 2, ("pooling 'count'", "high")),
    Case("a count of tokens", f"{RUN} --set 'poolings=[topn_count(n=0)]'", 2, ("pooling 'topn_count'", "0")),
    Case("a transform", f"{RUN} --set transforms=[non]", 2, ("no transform 'non'; did you mean 'none'?",)),
    Case("a parameter of a transform", f"{RUN} --set 'transforms=[binarize(x=1)]'", 2, ("transform 'binarize'",
         "has no parameter 'x'; it takes: t")),
    Case("a value of a transform", f"{RUN} --set 'transforms=[binarize(t=high)]'", 2, ("transform 'binarize'",
         "high")),
    Case("a classifier", f"{RUN} --set classifiers=[logreq]", 2,
         ("no classifier 'logreq'; did you mean 'logreg'?",)),
    Case("a parameter of a classifier", f"{RUN} --set 'classifiers=[logreg(c=1)]'", 2, ("classifier 'logreg'",
         "has no parameter 'c'; it takes: C, max_iter")),
    Case("a value of a classifier", f"{RUN} --set 'classifiers=[logreg(C=-1)]'", 2, ("classifier 'logreg'",
         "C=-1")),
    Case("a value that is not finite", f"{RUN} --set 'poolings=[count(t=.nan)]'", 2, ("pooling 'count'",
         "cannot take t=nan")),
    Case("a kind of site", f"{RUN} --set models.0.sites=resid_pre.1", 2, ("no site 'resid_pre.1': the",
         "write resid_post.0")),
    Case("a kind of site that nothing has", f"{RUN} --set models.0.sites=residue.1", 2, ("no site 'residue.1': it has",
         "resid_post.LAYER")),
    Case("a site without a layer", f"{RUN} --set models.0.sites=resid_post", 2, ("not of the form KIND.LAYER",)),
    Case("a layer too deep", f"{RUN} --set models.0.sites=resid_post.9", 2,
         ("no site 'resid_post.9': its layers are 0 to 3",)),
    Case("a layer of 500 digits", f"{RUN} --set models.0.sites=resid_post.{'9' * 500}", 2,
         ("neither a layer nor a depth",)),
    Case("a layer of 5000 digits", f"{RUN} --set models.0.sites=resid_post.{'9' * 5000}", 2, ("resid_post.999",)),
    Case("a layer below zero", f"{RUN} --set models.0.sites=resid_post.-1", 2,
         ("'-1' is neither a layer nor a depth",)),
    Case("a depth of none", f"{RUN} --set models.0.sites=resid_post.0%", 2,
         ("'0%' is neither a layer nor a depth",)),
    Case("a depth beyond the model", f"{RUN} --set models.0.sites=resid_post.101%", 2, ("'101%' is neither",)),
    Case("no site at all", f"{RUN} --set models.0.sites=[]", 2, ("models.0.sites must not be empty",)),
    Case("a module named as a plugin", f"-p no_such_module {RUN}", 3, ("no_such_module",)),
    Case("a plugin to leave out", f"-p no:texd {RUN}", 2,
         ("no installed plugin is called 'texd'; did you mean 'text'?",)),
    Case("a plugin in HARNESS_PLUGINS", RUN, 2, ("no installed plugin is called 'texd'",),
         env={"HARNESS_PLUGINS": "texd"}),
    Case("a device", f"{RUN} -d tpu", 2, ("device 'tpu' is none of auto, cpu, cuda, cuda:N",)),
    Case("a device's number", f"{RUN} -d cuda:x", 2, ("device 'cuda:x' is none of",)),
    Case("a device that is not there", f"{RUN} -d cuda:99", 3, ("device 'cuda:99' is not there",)),
    Case("a batch of none", f"{RUN} -b 0", 2, ("'0' is neither auto nor a positive number",)),
    Case("a batch in words", f"{RUN} -b many", 2, ("'many' is neither auto nor a positive number",)),
    Case("a token set", f"{RUN} --set tokens=x", 2, ("no token set 'x'; known: all, cls, content, last, prompt",)),
    Case("a template", f"{RUN} -m minigemma-s[template=x]", 2, ("takes template none, chat, PATH.jinja, not 'x'",)),
    Case("a cache", "cache info --cache-dir nowhere", 3, ("there is no cache in 'nowhere'",)),
    Case("a cache that is a file", "cache verify --cache-dir task.yaml", 3, ("there is no cache in 'task.yaml'",)),
    Case("nothing to prune", "cache prune", 2, ("say what to prune: --older-than AGE",)),
    Case("an age in words", "cache prune --older-than old", 2, ("'old' is not of the form 30d or 12h",)),
    Case("a size in words", "cache prune --max-size big", 2, ("'big' is not of the form 20GB",)),
    Case("seeds of none", f"{RUN} --seeds 0", 2, ("--seeds", "0 is not in the range x>=1")),
    Case("rows of none", f"{RUN} -L 0", 2, ("--limit", "0 is not in the range x>=1")),
    Case("rows in words", f"{RUN} -L few", 2, ("'few' is not a valid integer",)),
    Case("a setting without a value", f"{RUN} --set poolings", 2,
         ("--set 'poolings' is not of the form a.b=value",)),
    Case("a setting of no field", f"{RUN} --set colour=red", 2, ("there is no field 'colour'",)),
    Case("a setting below no field", f"{RUN} --set colour.of.it=red", 2, ("there is no field 'colour'",)),
    Case("a setting beyond the list", f"{RUN} --set poolings.7=max", 2, ("the suite has no place '7' there",)),
    Case("a setting inside a word", f"{RUN} --set name.x=1", 2, ("the suite has no place 'x' there",)),
    Case("a setting that is no YAML", f"{RUN} --set name=[", 2, ("'[' is not a YAML value",)),
    Case("a setting nested without end", f"{RUN} --set poolings={'[' * 3000}", 2,
         ("--set 'poolings' line 1: nested deeper than 16 levels",)),
    Case("a setting with an alias", f"{RUN} --set 'poolings=[&a [*a]]'", 2, ("the alias '*a' is not read",)),
    Case("seeds without end", f"{RUN} --seeds 999999999", 2, ("seeds must not be more than 1000",)),
    Case("models that are a number, and -m", f"{RUN} -m minigema-s", 2, ("no model 'minigema-s'",),
         suite("models:\n  - ref: minigemma-s\n    sites: [resid_post.1]", "models: 7")),
    Case("tasks that are a number, and -t", f"{RUN} -t toy_tsak", 2, ("no task 'toy_tsak'",), suite("[toy_task]", "7")),
    Case("a task without a name, and -t", f"{RUN} -t toy_tsak", 2, ("no task 'toy_tsak'",),
         suite("[toy_task]", "[{limit: 3}]")),
    Case("a module that is no plugin", "-p json ls plugins", 0, ("json", "implements no hook of the harness")),
    Case("a width of none", f"{RUN} --set 'representations=[\"random_sae[width=0]\"]'", 2, ("random_sae", "width=0")),
    Case("a random seed in words", f"{RUN} --set 'representations=[\"random_sae[seed=x]\"]'", 2,
         ("random_sae", "takes a number as seed, not x")),
    Case("a setting of the wrong type", f"{RUN} --set limit=few", 2, ("limit: input should be a valid integer",)),
    Case("a setting that empties the suite", f"{RUN} --set tasks=[]", 2, ("tasks must not be empty",)),
    Case("a setting without models", f"{RUN} --set models=[]", 2, ("need a model, but no models",)),
    Case("a run folder that is a file", "run suite.yaml --include task.yaml -o task.yaml", 3,
         ("the run folder 'task.yaml' cannot be made",)),
    Case("a run folder below a file", "run suite.yaml --include task.yaml -o task.yaml/out", 3,
         ("the run folder 'task.yaml/out' cannot be made",)),
    Case("the run folder of another suite", f"{RUN} --set poolings=[max]", 2,
         ("holds a run of another suite (it differs in poolings.0); choose another -o",)),
    Case("a data folder that is not there", f"{RUN} --data-dir nowhere", 3,
         ("the data folder 'nowhere' does not exist",)),
    Case("HARNESS_DATA_DIR that is not there", RUN, 3, ("the data folder 'nowhere' does not exist",),
         env={"HARNESS_DATA_DIR": "nowhere"}),
    Case("HARNESS_DATA_DIR that is not there, where no data is read", FEATURES, 0, ("out.npy: 2 × 64",),
         env={"HARNESS_DATA_DIR": "nowhere"}),
    Case("a cache folder that is a file", f"{RUN.replace('{run}', 'new')} --cache-dir task.yaml", 3,
         ("the cache 'task.yaml' cannot be written", "--cache-dir or HARNESS_CACHE_DIR"), begins=True),
    Case("HARNESS_CACHE_DIR that is a file", RUN.replace("{run}", "new"), 3,
         ("the cache 'task.yaml' cannot be written", "--cache-dir or HARNESS_CACHE_DIR"), begins=True,
         env={"HARNESS_CACHE_DIR": "task.yaml"}),
    Case("a task file in a folder that is not there", "run suite.yaml --include missing/task.yaml -o {run}", 3,
         ("task 'missing/task.yaml' cannot be read",)),
    Case("a folder as a task file", "run suite.yaml --include . -o {run}", 3, ("task '.' cannot be read",)),
    Case("one task file twice", f"{RUN} --include task.yaml", 2,
         ("task 'toy_task' is given twice: in 'task.yaml' line 1 and in 'task.yaml' line 1",)),
    Case("data of a mirror that is not given", f"{RUN} -t sms_spam", 3, ("task 'sms_spam'", "--data-dir")),
    Case("data that the mirror lacks", f"{RUN} -t sms_spam --data-dir .", 3, ("task 'sms_spam'",)),
]

DATA = [
    Case("no file", RUN, 3, ("task 'toy_task': there is no file", "data.jsonl"), remove("data.jsonl")),
    Case("a folder", RUN, 3, ("data.jsonl' has no table that is named like a split",), both(remove("data.jsonl"),
         lambda folder: (folder / "data.jsonl").mkdir())),
    Case("a folder of splits with another table", RUN, 3, ("'old.csv' is no table that is named like a split",),
         both(task("data.jsonl", "set"), put("set/train.csv", "text,label\n"), put("set/old.csv", "text,label\n"))),
    Case("a split's file without rows", RUN, 3, ("task 'toy_task' has no rows in 'test.csv'",), both(
         task("file: data.jsonl", "files: {train: data.jsonl, test: test.csv}"), put("test.csv", "text,label\n"))),
    Case("files of splits that are none", RUN, 2, ("source.files has 'train2', which is none of train",),
         task("file: data.jsonl", "files: {train2: data.jsonl}")),
    Case("files of splits and no split", RUN, 2, ("leave out 'split: null'",), both(
         task("file: data.jsonl", "files: {train: data.jsonl}"), task("split: split", "split: null"))),
    Case("a packed file cut short", RUN, 3, ("data.csv.gz' cannot be read as csv: it cannot be unpacked with gzip",),
         source("data.csv.gz", gzip.compress(b"text,label\na,b\n")[:-4])),
    Case("a packed file without its ending", RUN, 3, ("it is packed with gzip: give it a name that ends in .gz",),
         source("data.csv", gzip.compress(b"text,label\na,b\n"))),
    Case("a few bytes that unpack to many", RUN, 3, ("unpack to more than 200 times as many: if that is right",),
         source("data.csv.gz", gzip.compress(b"text,label\n" + bytes(20_000_000), 1))),
    Case("a csv by semicolons without the columns", RUN, 3,
         ("where commas separate it, and by semicolons the columns 'body', 'class'",),
         source("data.csv", "body;class\na;b\n")),
    Case("a separator of two characters", RUN, 2, ("task.yaml' line 3: source.separator:",),
         task("data.jsonl}", "data.jsonl, separator: '||'}")),
    Case("a file of another kind", RUN, 2, ("data.xlsx' is none of .parquet, .csv, .jsonl",),
         source("data.xlsx", "x")),
    *(
        Case(
            f"an empty {suffix}", RUN, 3, ("task 'toy_task'", f"data.{suffix}"), source(f"data.{suffix}", "")
        )
        for suffix in ("parquet", "csv", "jsonl")
    ),
    Case("a csv with a head only", RUN, 3, ("task 'toy_task' has no rows",), source("data.csv",
         "text,label,split\n")),
    Case("a parquet without rows", RUN, 3, ("task 'toy_task'", "data.parquet"),
         parquet(lambda frame: frame.head(0))),
    Case("a parquet cut short", RUN, 3, ("data.parquet' cannot be read as parquet",), both(parquet(),
         cut("data.parquet"))),
    Case("text named parquet", RUN, 3, ("data.parquet' cannot be read as parquet",), source("data.parquet",
         "text\n")),
    Case("a pointer to large file storage", RUN, 3, ("data.parquet' cannot be read", "it is a pointer of Git LFS"),
         source("data.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")),
    Case("no column of labels", RUN, 3, ("has no column 'label'; it has: split, text",),
         parquet(lambda frame: frame.drop(columns="label"))),
    Case("no column of texts", RUN, 3, ("has no column 'text'; it has: label, split",),
         parquet(lambda frame: frame.drop(columns="text"))),
    Case("a column of splits that is not there", RUN, 3, ("has no column 'fold'",), task("split: split",
         "split: fold")),
    Case("a label that is null", RUN, 3, ("task 'toy_task' row 3 has no label",), changed(label=lambda n,
         label: None if n == 3 else label)),
    Case("a label that is empty", RUN, 3, ("row 3 has no label",), changed(label=lambda n,
         label: "" if n == 3 else label)),
    Case("a label that is NaN in parquet", RUN, 3, ("row 3 has no label",),
         parquet(lambda frame: frame.assign(label=[float("nan") if n == 3 else n % 2 for n in range(40)]))),
    Case("a label that is NaN in jsonl", RUN, 3, ("row 3",), changed(label=lambda n,
         label: (float("nan") if n == 3 else float(n % 2)))),
    Case("a label that is blank", RUN, 3, ("row 3 has no label",), changed(label=lambda n,
         label: "  " if n == 3 else label)),
    Case("labels that are lists", RUN, 3, ("row 0", "label", "list"), changed(label=lambda n, label: [label])),
    Case("no labels at all", RUN, 3, ("row 0 has no label",), changed(label=None)),
    Case("one class", RUN, 3, ("task 'toy_task' has one class only: 'good'",), changed(label="good")),
    Case("no training rows", RUN, 3, ("task 'toy_task' has no train rows",), changed(split="test")),
    Case("no test rows", RUN, 3, ("task 'toy_task' has no",), changed(split="validation")),
    Case("a split that is unknown", RUN, 3, ("has a split 'holdout', which is none of train, validation, test",),
         changed(split=lambda n, split: "holdout" if n == 3 else split)),
    Case("a split that is null", RUN, 3, ("split",), changed(split=lambda n, split: None if n == 3 else split)),
    Case("a label that only test has", RUN, 3, ("the label 'odd' outside training only",),
         changed(label=lambda n, label: "odd" if n < 4 else label)),
    Case("labels of another spelling in test", RUN, 3, ("outside training only",), changed(label=lambda n,
         label: label.upper() if n < 12 else label)),
    Case("a csv that is not UTF-8", RUN, 3, ("data.csv' cannot be read as csv",), source("data.csv",
         "text,label\nMüller,a\nMeier,b\n".encode("latin-1"))),
    Case("a jsonl that is not UTF-8", RUN, 3, ("data.jsonl' cannot be read as json",), source("data.jsonl",
         '{"text": "Müller", "label": "a"}\n'.encode("latin-1"))),
    Case("a jsonl broken in the middle", RUN, 3, ("data.jsonl' cannot be read as json",), edit("data.jsonl",
         '{"text": "bad awful nasty thing number 8"', '{"text": "bad')),
    Case("a ragged csv", RUN, 3, ("data.csv' cannot be read as csv",), source("data.csv",
         "text,label\na,b\na,b,c,d\n")),
    Case("a csv whose quotes do not close", RUN, 3, ("data.csv",), source("data.csv",
         'text,label\n"a,b\nc,d\n')),
    Case("a csv with a column twice", RUN, 3, ("'text'", "twice"), source("data.csv",
         "text,text,label\n" + "".join(f"a{n},b{n},{'xy'[n % 2]}\n" for n in range(40)))),
    Case("a parquet with a column twice", RUN, 3, ("task 'toy_task'", "data.parquet"), repeated_columns),
    Case("texts that are numbers", RUN, 3, ("row 0: the input is int, not text",), changed(text=lambda n,
         text: n)),
    Case("texts that are lists", RUN, 3, ("row 0: message 1 of the conversation",), changed(text=lambda n,
         text: [text])),
    Case("messages with an image", RUN, 3,
         ("row 0: message 1 of the conversation has a part of the type 'image_url'", "or leave the row out"),
         changed(text=lambda n, text: [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}])),
    Case("messages that call a tool", RUN, 3, ('message 1 of the conversation calls a tool under "tool_calls"',),
         changed(text=lambda n, text: [{"role": "assistant", "tool_calls": [{"id": n}]}])),
    Case("messages as Python prints them", RUN, 3, ("row 0: its messages are written as Python prints them",),
         changed(text=lambda n, text: str([{"role": "user", "content": text}]))),
    Case("messages in a text that is cut", RUN, 3, ("row 0: its text begins like messages in JSON, and is no JSON",),
         changed(text=lambda n, text: json.dumps([{"role": "user", "content": text}])[:-3])),
    Case("texts that are bytes", RUN, 3, ("row 0: the input is bytes, not text",),
         parquet(lambda frame: frame.assign(text=[text.encode() for text in frame["text"]]))),
    Case("texts that are objects", RUN, 3, ("row 0: the input is dict, not text",), changed(text=lambda n,
         text: {"en": text})),
    Case("texts with lone surrogates", RUN, 3, ("data.jsonl",), changed(text=lambda n, text: f"\ud800{text}")),
    Case("texts with NUL characters", "run suite.yaml --include task.yaml -o out", 0, ("2 cells;",),
         changed(text=lambda n, text: f"a\0b {text}")),
    Case("one text of nothing but spaces", "run suite.yaml --include task.yaml -o out", 0, ("2 cells;",),
         changed(text=lambda n, text: " \n\t" if n == 3 else text)),
    Case("texts of nothing but spaces", RUN, 3, ("task 'toy_task'", "no train rows", "40 empty"),
         changed(text=" \n\t")),
    Case("texts without content for the tokenizer", OWN, 3,
         ("task 'toy_task' has no train rows left; removed were 40 empty",), both(model, silent)),
    Case("one row", RUN, 3, ("task 'toy_task' has no test rows",), source("data.jsonl",
         '{"text": "a", "label": "b"}\n')),
    Case("the same row forty times", RUN, 3, ("task 'toy_task'", "duplicates"), changed(text="again", label="a",
         split=lambda n, split: "train")),
    Case("test rows that all stand in training", RUN, 3, ("has no test rows", "leaks"), changed(text=lambda n,
         text: f"text {n % 12 + (12 if n >= 24 else 0)}", label=lambda n, label: "ab"[n % 2], split=lambda n,
         split: "test" if n < 12 else "train")),
    Case("two labels for every text", RUN, 3, ("task 'toy_task'", "40 conflicts"), changed(text=lambda n,
         text: f"text {n // 2}", label=lambda n, label: "ab"[n % 2])),
    Case("training rows of one group", "run suite.yaml --include task.yaml -o out", 3,
         ("too few rows, or groups of them, to hold out validation rows",), both(task("split: split}",
         "split: split, group: g}"),
         lambda folder: (folder / "data.jsonl").write_text("".join(json.dumps({**row,
         "g": row["split"]}) + "\n" for row in rows())))),
]

WEIGHTS = [
    Case("a folder without config.json", OWN, 3, ("model './model' is a file of weights (model.safetensors) without",),
         both(model, remove("model/config.json"))),
    Case("a config.json that is no JSON", OWN, 3, ("model './model': config.json is broken",), both(model,
         put("model/config.json", "{"))),
    Case("a config.json that is empty", OWN, 3, ("model './model': config.json is broken",), both(model,
         put("model/config.json", ""))),
    Case("a config.json that is a list", OWN, 3, ("model './model': config.json is broken",), both(model,
         put("model/config.json", "[1]"))),
    Case("an architecture nobody knows", OWN, 3, ("model './model': its config.json", "gemma9"), both(model,
         edit("model/config.json", '"gemma2"', '"gemma9"'))),
    Case("an architecture that is no decoder", OWN, 2, ("model './model' (t5) is not a text decoder",),
         both(model, put("model/config.json", '{"model_type": "t5"}'))),
    Case("a config.json of another size", OWN, 1, ("model './model'", "another shape"), both(model,
         edit("model/config.json", '"intermediate_size": 256', '"intermediate_size": 96'))),
    Case("safetensors cut short", OWN, 1, ("model './model': model.safetensors is broken",), both(model,
         cut("model/model.safetensors"))),
    Case("text named safetensors", OWN, 1, ("model './model': model.safetensors is broken",), both(model,
         put("model/model.safetensors", "hello"))),
    Case("an index that is no JSON", OWN, 3, ("model './model': model.safetensors.index.json is broken",),
         both(model, put("model/model.safetensors.index.json", "{"), remove("model/model.safetensors"))),
    Case("weights that are NaN", OWN, 1, ("model './model'", "down_proj", "not finite"),
         weights(lambda tensors: tensors[NEEDED].fill_(float("nan")))),
    Case("weights of another shape", OWN, 1, ("model './model'", "down_proj", "another shape"),
         weights(lambda tensors: tensors.update({NEEDED: tensors[NEEDED][:, :7].clone()}))),
    Case("a tensor that is missing", OWN, 1, ("model './model': its weights lack layers.1.mlp.down_proj.weight",),
         weights(lambda tensors: tensors.pop(NEEDED))),
    Case("weights that are integers", OWN, 1, ("model './model'", "down_proj", "int32"),
         weights(lambda tensors: tensors.update({NEEDED: tensors[NEEDED].int()}))),
    Case("no weights", OWN, 3, ("model './model' has no file model.safetensors",), both(model,
         remove("model/model.safetensors"))),
    Case("pickled weights alone", OWN, 3, ("no file model.safetensors",
         "pickled weights (pytorch_model.bin), which are never read"),
         both(model, remove("model/model.safetensors"), put("model/pytorch_model.bin", b"\x80\x04code"))),
    Case("no tokenizer", OWN, 3, ("model './model' has no file tokenizer.json",), both(model,
         remove("model/tokenizer.json"))),
    Case("a tokenizer that is broken", OWN, 3, ("model './model': its tokenizer cannot be read",), both(model,
         cut("model/tokenizer.json"))),
    Case("no dictionary in the folder", OWN, 3, ("./sae",), sae(remove("sae/params.npz"), put("sae/README.md",
         "soon"))),
    Case("params.npz cut short", OWN, 1, ("sae/params.npz' cannot be read as a Gemma Scope dictionary",),
         sae(cut("sae/params.npz"))),
    Case("text named npz", OWN, 1, ("sae/params.npz' cannot be read",), sae(put("sae/params.npz", "hello"))),
    Case("a dictionary's NaN", OWN, 1, ("dictionary './sae': W_enc holds values that are not finite",),
         sae(dictionary(W_enc=np.full((64, 32), np.nan, "f4")))),
    Case("a threshold of another shape", OWN, 1, ("dictionary './sae': threshold is [3], not [32]",),
         sae(dictionary(threshold=np.ones(3, "f4")))),
    Case("W_enc of three dimensions", OWN, 1, ("W_enc has 3 dimensions, not 2",),
         sae(dictionary(W_enc=np.ones((4, 4, 4), "f4")))),
    Case("W_enc of integers", OWN, 1, ("sae/params.npz", "W_enc", "int64"), sae(dictionary(W_enc=np.ones((64,
         32), "i8")))),
    Case("b_enc of integers", OWN, 1, ("./sae", "b_enc", "int64"), sae(dictionary(b_enc=np.ones(32, "i8")))),
    Case("pickled arrays", OWN, 1, ("dictionary './sae' cannot be read",),
         sae(dictionary(b_enc=np.array([object] * 32, dtype=object)))),
    Case("W_enc as a pickle", OWN, 1, ("sae/params.npz", "W_enc", "object"), sae(dictionary(W_enc=np.full((64,
         32), None, dtype=object)))),
    Case("an array that is missing", OWN, 1, ("dictionary './sae' has no threshold", "holds: W_enc"),
         sae(dictionary(without="threshold"))),
    Case("a dictionary of no features", OWN, 1, ("sae/params.npz", "W_enc", "no features"),
         sae(dictionary(W_enc=np.ones((64, 0), "f4"), b_enc=np.ones(0, "f4"), threshold=np.ones(0, "f4")))),
    Case("a dictionary of another model", OWN, 2, ("reads activations of size 48", "'./model' has size 64"),
         sae(dictionary(W_enc=np.ones((48, 32), "f4"), W_dec=np.ones((32, 48), "f4"), b_dec=np.ones(48, "f4")))),
]

RESUME = "run suite.yaml --include task.yaml -o copy"
BUILD = "leaderboard build copy"

RECORDS = [
    *(
        Case(
            f"{name}, {what}",
            command,
            3,
            ("copy/results.jsonl' line 1 is not a valid record",),
            copied("results.jsonl", change),
        )
        for name, change in {
            "a line that is no JSON": lambda data: b"{" + data,
            "a field renamed": lambda data: data.replace(b'"seed"', b'"sede"', 1),
            "a field that is unknown": record(colour="red"),
            "a metric of another type": record(metrics={"macro_f1": "good"}),
            "a status nobody knows": record(status="fine"),
            "a schema version in words": record(schema_version="one"),
        }.items()
        for what, command in (("run again", RESUME), ("on a board", BUILD))
    ),
    Case("a metric that is NaN", RESUME, 3, ("line 1 is not a valid record",), copied("results.jsonl",
         record(metrics={"macro_f1": {"value": float("nan")}}))),
    Case("bytes that are no text", RESUME, 3, ("line 1 is not a valid record",), copied("results.jsonl",
         lambda data: b"\xff\xfe\n" + data)),
    Case("every line twice", RESUME, 0, ("2 cells;",), copied("results.jsonl", lambda data: data + data)),
    Case("a last line cut short", RESUME, 0, ("2 cells;",), copied("results.jsonl", lambda data: data[:-9])),
    Case("no results, on a board", BUILD, 5, ("'copy': none of 0 cells ended well",), copied("results.jsonl",
         None)),
    *(
        Case(
            f"run.json {name}, {what}",
            command,
            3,
            ("copy/run.json' is damaged",),
            copied("run.json", change),
        )
        for name, change in {
            "that is empty": lambda data: b"",
            "cut short": lambda data: data[:40],
            "that is a list": lambda data: b"[]",
            "without its suite": lambda data: b'{"schema_version": 1}',
            "with a suite that is no mapping": about(suite="toy"),
            "with cells that are no list": about(cells=7),
            "with a version in words": about(schema_version="one"),
        }.items()
        for what, command in (("run again", RESUME), ("on a board", BUILD))
    ),
    Case("a record of a newer harness, run again", RESUME, 3,
         ("copy/results.jsonl' line 1 was written by a newer harness",),
         copied("results.jsonl", record(schema_version=99))),
    Case("a record of a newer harness, on a board", BUILD, 3,
         ("copy/results.jsonl' line 1 was written by a newer harness",),
         copied("results.jsonl", record(schema_version=99))),
    Case("run.json of a newer harness", RESUME, 3, ("the run in 'copy' was written by a newer harness",),
         copied("run.json", about(schema_version=99))),
    Case("run.json that is a list, listed", "ls runs", 0, ("runs/copy/run.json' is damaged",),
         both(copied("run.json", lambda data: b"[]"), lambda folder: shutil.copytree(folder / "copy",
         folder / "runs" / "copy"))),
    Case("run.json without its suite, listed", "ls runs", 0,
         ("runs/copy/run.json' is damaged",), both(copied("run.json", about(suite=None)),
         lambda folder: shutil.copytree(folder / "copy", folder / "runs" / "copy"))),
    Case("no run, on a board", "leaderboard build nowhere", 3, ("there is no run in 'nowhere'",)),
    Case("a file as a run, on a board", "leaderboard build task.yaml", 3, ("'task.yaml",)),
    Case("a board that is a file", "leaderboard build {run} -o task.yaml", 3,
         ("'task.yaml' is a file, not a folder",)),
    Case("predictions cut short, on a board", BUILD, 3, (".parquet' are missing or damaged",),
         copied("predictions/*", lambda data: data[:200])),
    Case("predictions that are missing, on a board", BUILD, 3, (".parquet' are missing or damaged",),
         copied("predictions/*", None)),
    Case("predictions of other rows, on a board", BUILD, 3,
         ("are not those that were scored", "the same `harness run` again"), copied("predictions/*", other_rows)),
    Case("predictions cut short, run again", RESUME, 0, ("2 cells;",), copied("predictions/*",
         lambda data: data[:200]), mends="copy/predictions/*"),
    Case("predictions that are missing, run again", RESUME, 0, ("2 cells;",), copied("predictions/*", None)),
    Case("predictions of other rows, run again", RESUME, 0, ("1 finished cells were run again", "2 cells;"),
         copied("predictions/*", other_rows), mends="copy/predictions/*"),
]

YAML = [
    *(
        Case(f"suite: {name}", RUN, 2, ("suite 'suite.yaml'", *holds), suite(old, new))
        for name, old, new, *holds in (
            ("a field that is unknown", "version: 1", "colour: red", "line 2: there is no field 'colour'"),
            ("a field of a task that is unknown", "[toy_task]", "[{name: toy_task, rows: 3}]", "line 3",
                 "tasks.0.rows"),
            ("a field twice", "seeds: 1", "version: 2", "line 11: 'version' stands twice"),
            ("a field twice inside", "ref: minigemma-s", "ref: minigemma-s\n    ref: x",
                 "line 6: 'ref' stands twice"),
            ("a tab", "    sites", "\tsites", "not valid YAML: line 6", "'\\t'"),
            ("a bracket that does not close", "[none]", "[none", "not valid YAML: line 10"),
            ("an indent that does not fit", "    sites", "   sites", "not valid YAML: line 6"),
            ("a tag", "seeds: 1", "seeds: !!python/name:os.system 1", "not valid YAML: line 11"),
            ("two documents", "seeds: 1", "---\nseeds: 1", "not valid YAML: line 11"),
            ("a control character", "seeds: 1", "summary: \x07", "line 11"),
            ("an alias", "representations: [hidden, majority]", "representations: &a [hidden]\nsummary: *a",
                 "line 8", "*a"),
            ("a merge key", "    sites: [resid_post.1]", "    <<: {sites: [resid_post.1]}", "line 6", "<<"),
            ("an alias of itself", "[mean]", "&a [*a]", "line 8", "*a"),
            ("an alias of nothing", "[mean]", "[*none]", "line 8", "none"),
            ("a list as a field's name", "seeds: 1", "? [seeds]\n: 1",
                 "line 11: a field's name must be plain text"),
            ("a number as a field's name", "seeds: 1", "7: 1", "line 11", "7"),
            ("nothing as a field's name", "seeds: 1", "~: 1", "line 11", "~"),
            ("a name that is a number", "name: toy", "name: 7", "line 1: name"),
            ("a name that is a path", "name: toy", "name: ../up", "line 1: name"),
            ("a name that is nothing", "name: toy", "name:", "line 1: name"),
            ("a version in words", "version: 1", "version: two",
                 "line 2: version: input should be a valid integer"),
            ("a version that is yes", "version: 1", "version: yes",
                 "line 2: version: input should be a valid integer"),
            ("a version of 5000 digits", "version: 1", f"version: {'9' * 5000}", "line 2"),
            ("tasks that are a word", "[toy_task]", "toy_task", "line 3: tasks: input should be a list"),
            ("tasks that are a mapping", "[toy_task]", "{name: toy_task}",
                 "line 3: tasks: input should be a list"),
            ("a task that is a number", "[toy_task]", "[7]", "line 3: tasks.0.name: 7 is read as a number"),
            ("a task that is a list", "[toy_task]", "[[toy_task]]",
                 "line 3: tasks.0: input should be a mapping"),
            ("a limit that is yes", "[toy_task]", "[{name: toy_task, limit: yes}]", "line 3: tasks.0.limit"),
            ("a limit of none", "[toy_task]", "[{name: toy_task, limit: 0}]", "line 3: tasks.0.limit"),
            ("no tasks", "[toy_task]", "[]", "line 3: tasks must not be empty"),
            ("models that are a word", "models:\n  - ref: minigemma-s\n    sites: [resid_post.1]", "models: m",
                 "line 4: models: input should be a list"),
            ("a model without its name", "ref: minigemma-s", "dtype: float32",
                 "line 5: the field 'models.0.ref' is missing"),
            ("a model that is a number", "  - ref: minigemma-s\n    sites: [resid_post.1]", "  - 7",
                 "line 5: models.0.ref: 7 is read as a number"),
            ("sites that are a number", "[resid_post.1]", "1", "line 6: models.0.sites"),
            ("no sites", "[resid_post.1]", "[]", "line 6: models.0.sites must not be empty"),
            ("a representation that is a number", "[hidden, majority]", "[hidden, 7]",
                 "line 7: representations.1"),
            ("a representation that is nothing", "[hidden, majority]", "[hidden, ~]", "line 7: representations.1"),
            ("representations that are nothing", "[hidden, majority]", "", "line 7: representations"),
            ("no representations", "[hidden, majority]", "[]", "line 7: representations must not be empty"),
            ("a pooling that is a list", "[mean]", "[[mean]]", "line 8: poolings.0"),
            ("a pooling without a name", "[mean]", "[{t: 1}]", "line 8: poolings.0: a mapping needs a 'name'"),
            ("no poolings", "[mean]", "[]", "line 8: poolings must not be empty"),
            ("a parameter that is NaN", "[mean]", "[{name: count, t: .nan}]", "line 8", ".nan"),
            ("a parameter that is infinite", "[mean]", "[{name: count, t: -.inf}]", "line 8", "-.inf"),
            ("a parameter that is a date", "[mean]", "[{name: count, t: 2020-01-01}]", "line 8", "2020-01-01"),
            ("a parameter that is no date", "[mean]", "[{name: count, t: 2020-13-45}]", "line 8", "2020-13-45"),
            ("a parameter that is a huge number", "[mean]", f"[{{name: count, t: {'9' * 30}}}]", "line 8",
                 "999"),
            ("a parameter that is a set", "[mean]", "[{name: count, t: !!set {a}}]", "line 8"),
            ("a parameter that is bytes", "[mean]", "[{name: count, t: !!binary aGk=}]", "line 8"),
            ("nested a thousand deep", "[mean]", "[" * 1000 + "]" * 1000, "line 8"),
            ("nested fifty deep", "[mean]", f"[{{name: count, t: {'[' * 50 + ']' * 50}}}]", "line 8"),
            ("a transform that is yes", "[none]", "[yes]", "line 9: transforms.0"),
            ("classifiers that are a word", "[logreg]", "logreg",
                 "line 10: classifiers: input should be a list"),
            ("seeds in words", "seeds: 1", "seeds: three", "line 11: seeds: input should be a list"),
            ("seeds that are yes", "seeds: 1", "seeds: yes", "line 11: seeds"),
            ("a seed that is yes", "seeds: 1", "seeds: [yes]", "line 11: seeds.0"),
            ("seeds of none", "seeds: 1", "seeds: 0", "line 11: seeds must not be empty"),
            ("seeds below zero", "seeds: 1", "seeds: -3", "line 11: seeds must not be empty"),
            ("a seed below zero", "seeds: 1", "seeds: [-1]", "line 11: seeds.0"),
            ("seeds without end", "seeds: 1", "seeds: 999999999999", "line 11: seeds"),
            ("a seed beyond 32 bits", "seeds: 1", "seeds: [99999999999]", "line 11: seeds.0"),
            ("a limit in words", "seeds: 1", "limit: few", "line 11: limit: input should be a valid integer"),
        )
    ),
    *(
        Case(f"suite: {name}", RUN, 2, holds, suite(old, new))
        for name, old, new, *holds in (
            ("a task twice", "[toy_task]", "[toy_task, toy_task]", "task 'toy_task' is given twice: on line 3"),
            ("a model twice", "models:", "models:\n  - {ref: minigemma-s, sites: [resid_post.1]}",
                 "model 'minigemma-s' is given twice: on line 5 and on line 6"),
            ("a representation twice", "[hidden, majority]", "[hidden, hidden]",
                 "representation 'hidden' is given twice: on line 7"),
            ("a seed twice", "seeds: 1", "seeds: [0, 0]", "seed '0' is given twice: on line 11"),
            ("sites that have no layer", "[resid_post.1]", "[resid_post.x%]", "neither a layer nor a depth"),
        )
    ),
    *(
        Case(f"suite: {name}", RUN, 2, ("suite 'suite.yaml'", *holds), put("suite.yaml", content))
        for name, content, *holds in (
            ("an empty file", "", "is not a mapping of fields"),
            ("nothing but remarks", "# soon\n", "is not a mapping of fields"),
            ("a list", "- toy\n", "is not a mapping of fields"),
            ("a word", "toy\n", "is not a mapping of fields"),
            ("a billion laughs", LAUGHS, "line 3", "*a0"),
            ("latin-1", "name: Müller\n".encode("latin-1"), "is not UTF-8 text"),
            ("bytes", bytes(range(256)), "is not UTF-8 text"),
        )
    ),
    Case("suite: a byte-order mark", RUN, 0, ("2 cells;",), put("suite.yaml",
         b"\xef\xbb\xbf" + SUITE.encode())),
    Case("suite: lines that end in CR LF", RUN, 0, ("2 cells;",), put("suite.yaml", SUITE.replace("\n",
         "\r\n"))),
    *(
        Case(f"task: {name}", RUN, 2, ("task 'task.yaml'", *holds), task(old, new))
        for name, old, new, *holds in (
            ("a field that is unknown", "licence", "license", "line 6: there is no field 'license'"),
            ("a field twice", "licence: CC0", "version: 2", "line 6: 'version' stands twice"),
            ("a field that is missing", "licence: CC0\n", "", "the field 'licence' is missing"),
            ("an alias", "[en]", "&a [en]\nsummary: *a", "line 6", "*a"),
            ("a name that is a number", "name: toy_task", "name: 7", "line 1: name"),
            ("a version that is yes", "version: 1", "version: yes", "line 2: version"),
            ("a source that is a word", "{file: data.jsonl}", "data.jsonl",
                 "line 3: source: input should be a mapping"),
            ("a source of both kinds", "{file: data.jsonl}", "{file: a, hub: b, revision: c}",
                 "either 'hub', 'file' or 'files'"),
            ("a source of the hub without its revision", "{file: data.jsonl}", "{hub: org/name}",
                 "needs source.revision"),
            ("a file that is a number", "data.jsonl", "7", "line 3: source.file"),
            ("columns that are a list", "{input: text, label: label, split: split}", "[text]",
                 "line 4: columns: input should be a mapping"),
            ("a column that is a list", "input: text", "input: [text]", "line 4: columns.input"),
            ("a column nobody knows", "input: text", "inputs: text",
                 "line 4: there is no field 'columns.inputs'"),
            ("a modality nobody knows", "version: 1", "modality: sound", "line 2: modality"),
            ("a metric nobody knows", "version: 1", "metric: vibes", "line 2: metric"),
            ("languages that are a word", "[en]", "en", "line 5: languages: input should be a list"),
            ("no languages", "[en]", "[]", "line 5: languages must not be empty"),
            ("a warning in words", "licence: CC0", "licence: CC0\ncontent_warning: maybe",
                 "line 7: content_warning"),
            ("a date", "citation: nobody", "citation: 2020-01-01", "line 7", "2020-01-01"),
            ("a tab", "licence", "\tlicence", "not valid YAML: line 6"),
        )
    ),
    Case("task: an empty file", RUN, 2, ("task 'task.yaml' is not a mapping of fields",), put("task.yaml", "")),
    Case("task: a list", RUN, 2, ("task 'task.yaml' is not a mapping of fields",), put("task.yaml", "- a\n")),
    Case("task: bytes", RUN, 2, ("'task.yaml' is not valid YAML: it is not UTF-8",), put("task.yaml", b"\xff\xfe")),
    Case("task: a billion laughs", RUN, 2, ("task 'task.yaml' line 3", "*a0"), put("task.yaml", LAUGHS)),
]

TEXTS = [
    *(
        Case(name, FEATURES, 2, holds, put("texts.jsonl", content))
        for name, content, *holds in (
            ("a line that is no JSON", '{"text": "a"}\n{"text": \n', "'texts.jsonl' line 2 is not JSON"),
            ("no text on a line", '{"text": "a"}\n\n{"txt": "b"}\n', "'texts.jsonl' line 3 has no \"text\""),
            ("a line that is a list", '["a"]\n', "'texts.jsonl' line 1 has no \"text\""),
            ("a text that is a number", '{"text": 7}\n', "'texts.jsonl' line 1 has no \"text\""),
            ("a text that is nothing", '{"text": null}\n', "'texts.jsonl' line 1 has no \"text\""),
            ("a text that is a lone surrogate", '{"text": "a"}\n{"text": "\\ud800"}\n', "'texts.jsonl' line 2"),
            ("a message that is a number", '{"messages": [7]}', "'texts.jsonl' line 1: message 1 of the conversation"),
            ("a message without its text", '{"messages": [{"role": "user"}]}', "line 1: message 1", '"content"'),
            ("a message without its role", '{"messages": [{"content": "a"}]}', "line 1: message 1", '"role"'),
            ("messages that are a text", '{"messages": "a"}', "'texts.jsonl' line 1 has no"),
            ("a message with a lone surrogate", '{"messages": [{"role": "user", "content": "\\ud800"}]}', "line 1"),
            ("a line nested without end", "[" * 100_000 + "\n", "'texts.jsonl' line 1"),
            ("an empty file", "", "'texts.jsonl' holds no texts"),
            ("empty lines alone", "\n\n", "'texts.jsonl' holds no texts"),
            ("latin-1", '{"text": "Müller"}'.encode("latin-1"), "'texts.jsonl' cannot be read: it is not UTF-8 text"),
        )
    ),
    Case("no file of texts", FEATURES, 3, ("'texts.jsonl' cannot be read",), remove("texts.jsonl")),
    Case("a folder of texts", FEATURES.replace("texts.jsonl", "."), 3, ("'.' cannot be read",)),
    Case("an output of another kind", FEATURES.replace("out.npy", "out.csv"), 2, ("'out.csv' must end in .npz",)),
    Case("an output below a file", FEATURES.replace("out.npy", "task.yaml/out.npy"), 3,
         ("'task.yaml/out.npy' cannot be written",)),
    Case("an output that is a folder", FEATURES.replace("out.npy", "here.npy"), 3,
         ("'here.npy' cannot be written",), lambda folder: (folder / "here.npy").mkdir()),
    Case("a token set nobody knows", f"{FEATURES} --tokens x", 2, ("no token set 'x'; known: all, cls, content",)),
    Case("the last none of the tokens", f"{FEATURES} --tokens 'last(k=0)'", 2, ("token set 'last' needs k", "not 0")),
    Case("several sites", FEATURES.replace("resid_post.1", "resid_post.[0,1]"), 2, ("at one site, not at 2",)),
    Case("a representation that reads no activations", f"{FEATURES} --representation tfidf", 2,
         ("representation 'tfidf'", "reads no activations")),
    Case("an unknown pooling of features", f"{FEATURES} --pooling avg", 2, ("there is no pooling 'avg'",)),
    Case("a text without content", FEATURES, 0, ("1 of 2 inputs have no content tokens; their rows are zero",),
         put("texts.jsonl", '{"text": ""}\n{"text": "a"}\n')),
]

# fmt: on
CATALOGUE = {
    f"{kind}: {case.name}" if kind != "yaml" else case.name: case
    for kind, cases in {
        "unknown": UNKNOWN,
        "data": DATA,
        "weights": WEIGHTS,
        "records": RECORDS,
        "yaml": YAML,
        "features": TEXTS,
    }.items()
    for case in cases
}

# ── the test ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two finished runs, and the cache that they left warm."""
    folder = tmp_path_factory.mktemp("earlier")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HARNESS_CACHE_DIR", str(folder / "cache"))
        patch.delenv("HARNESS_DATA_DIR", raising=False)
        write_good(folder)
        model(folder)
        for command in (RUN, OWN):
            assert execute(["-p", "no:progress", *shlex.split(command.format(run="run", own="own"))]) == 0
    yield folder


@pytest.fixture(scope="module")
def told() -> Iterator[list[tuple[str, int, str]]]:
    """What every case ended in; printed as a table at the end, which `-s` shows."""
    lines: list[tuple[str, int, str]] = []
    yield lines
    print("\n| bad input | exit code | sentence |\n|---|---|---|")
    for name, code, sentence in lines:
        print(f"| {name} | {code} | {sentence.replace('|', '¦')} |")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", CATALOGUE)
def test_bad_input_ends_in_one_sentence_and_costs_no_earlier_result(
    name: str,
    earlier: Path,
    told: list[tuple[str, int, str]],
    harness_command: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = CATALOGUE[name]
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(earlier / "cache"))
    monkeypatch.setenv("EARLIER", str(earlier / "run"))
    for key, value in case.env.items():
        monkeypatch.setenv(key, value)
    write_good(tmp_path)
    case.make(tmp_path)
    before, here = contents(earlier), contents(tmp_path)
    arguments = shlex.split(case.command.format(run=earlier / "run", own=earlier / "own"))
    result = harness_command("-p", "no:progress", *arguments)
    after, there = contents(earlier), contents(tmp_path)
    sentence = one_sentence(case, result, failures({**before, **here}, {**after, **there}))
    told.append((name, result.code, shorten(sentence, earlier, tmp_path)))
    assert result.code == case.code, result.err
    for fragment in case.holds:
        assert fragment in sentence
    check_untouched(before, after, case)
    check_untouched(here, there, case)


def one_sentence(case: Case, result: Any, failures: set[str]) -> str:
    """The one sentence of a refusal; of what went on, all that it said, and why cells failed."""
    assert "Traceback" not in result.err + result.out
    if case.code > 1:
        (line,) = result.said
        assert line.startswith("harness: ")
        assert result.out == ""
        return str(line.removeprefix("harness: "))
    if case.code == 1:
        left_out = "harness: left out: "
        said = {line.removeprefix(left_out) for line in result.said if line.startswith(left_out)}
        (error,) = failures | said
        assert "\n" not in error
        return error
    assert all(line.startswith(("harness: ", "note: ")) for line in result.said)
    return " ".join(line for line in [*result.said, *result.out.splitlines()[-2:]])


def failures(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """The errors of all cells that failed since."""
    new = [
        line
        for name, data in after.items()
        if Path(name).name == "results.jsonl" and data != before.get(name)
        for line in data[before.get(name, b"").rfind(b"\n") + 1 :].splitlines()
    ]
    return {row["error"] for row in map(json.loads, new) if row["status"] == "failed"}


def check_untouched(before: dict[str, bytes], after: dict[str, bytes], case: Case) -> None:
    """A refusal changes no file and makes none. What goes on may add files, and lines behind the last whole one."""
    if case.code > 1 and not case.begins:
        assert after == before
        return
    for name, data in before.items():
        if Path(name).name == "results.jsonl":
            assert after[name].startswith(data[: data.rfind(b"\n") + 1])
        elif Path(name).name not in NOTES and not (case.mends and Path(name).match(case.mends)):
            assert after[name] == data, name


NOTES = ("run.json", "env.json", "events.jsonl", PAGE, *FILES, *FRAMES)
"""What a run writes anew whenever it begins or ends."""


def shorten(sentence: str, *folders: Path) -> str:
    """A sentence without the places of this test's folders and with long words cut."""
    for folder in folders:
        sentence = sentence.replace(f"{folder}/", "").replace(str(folder), ".")
    return re.sub(r"(\S{60})\S+", r"\1…", sentence)


# ── ten megabytes ────────────────────────────────────────────────────────────────────────────────────────


def peaks(folder: Path, *texts: str) -> list[int]:
    """The most memory, in MiB, that a process of its own has taken by the end of each run: one training text is one of
    these.
    """
    for number, text in enumerate(texts):
        (folder / str(number)).mkdir()
        write_good(folder / str(number))
        changed(text=lambda n, old, text=text: text if n == 20 else old)(folder / str(number))
    program = (
        "import os, resource, sys; from harness.cli import execute\n"
        "for name in sorted(os.listdir()):\n"
        "    os.chdir(name)\n"
        "    assert execute(sys.argv[1:]) == 0\n"
        "    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
        "    os.chdir('..')"
    )
    command = ["-p", "no:progress", *shlex.split("run suite.yaml --include task.yaml -o out")]
    done = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    return [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak ")]


@pytest.mark.long
@pytest.mark.slow
def test_a_text_of_ten_megabytes_is_cut_and_counted_and_takes_little_memory(tmp_path: Path) -> None:
    usual, largest = peaks(tmp_path, "good fine lovely thing", "good fine lovely thing " * 450_000)
    assert largest < usual + 400
    lines = (tmp_path / "1" / "out" / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines[-2:]]
    assert {record["status"] for record in records} == {"ok"}
    assert {record["representation"]: record["hygiene"]["cut"] for record in records} == {
        "hidden": 1,
        "majority": 0,  # which reads no text, and so cuts none
    }
