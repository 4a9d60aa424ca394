"""Readers of data: every value is read as the file has it, whatever the file is called."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from harness_labelling.labels import read_items
from PIL import Image

from harness.api.data import Conversation
from harness.api.errors import HarnessError, UnavailableError, UsageError
from harness.api.tasks import Columns, FileSource, HubSource, TaskSpec
from harness.cli.features import read_texts
from harness.config.task_file import read_task
from harness.data.corpus import read_corpus
from harness.data.task import TaskData, load_task
from harness.session import open as open_session
from harness.storage.paths import local_path
from harness.training.images import read_image_corpus

WEIGHTS = Path(__file__).parents[1] / "plugins" / "harness_minigemma" / "weights"


def load(source: Path | HubSource, modality: Any = "text", **columns: Any) -> TaskData:
    if modality == "image":
        columns = {"input": "image", **columns}
    source = FileSource(file=source) if isinstance(source, Path) else source
    return load_task(
        TaskSpec(
            name="toy",
            version=1,
            summary="",
            modality=modality,
            source=source,
            languages=("en",),
            licence="CC0",
            citation="",
            columns=Columns(**columns),
        )
    )


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(path: Path, *changes: Mapping[str, Any], n: int = 40, **fields: Callable[[int], Any]) -> Path:
    """JSON lines of two classes; the first rows are changed."""
    makers = {"text": lambda row: f"text {row}", "label": lambda row: "ab"[row % 2], **fields}
    rows = [{name: make(row) for name, make in makers.items()} for row in range(n)]
    rows = [{**row, **(changes[number] if number < len(changes) else {})} for number, row in enumerate(rows)]
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "label",
    ["0.10", "1e3", "null", "true", "NaN", "NA", "2024-01-01", "2024-01-01T10:00:00Z", "007", "1,000"],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_label_is_spelled_as_in_the_file(tmp_path: Path, label: str, suffix: str) -> None:
    rows = [{"text": f"text {row}", "label": (label, "1")[row % 2]} for row in range(40)]
    frame, path = pd.DataFrame(rows), tmp_path / f"data.{suffix}"
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False)
    assert load(path).classes == tuple(sorted((label, "1")))


@pytest.mark.parametrize(
    ("values", "said"),
    [(["0.10", "0.2", 0.2], "row 2: 0.2 under 'label' is a number, and other rows have text there"),
     (["yes", "no", True], "row 2: True under 'label' is true or false, and other rows have text there"),
     ([1, 2, 1, "2"], "row 3: '2' under 'label' is text, and other rows have a number there"),
     ([1, 0, False, 1], "row 2: False under 'label' is true or false, and other rows have a number"),
     ([1, 2, 1.0], r"row 2: 'label' is 1.0, elsewhere 1: spell one number in one way"),
     (["a", ["b"]], "row 1: the label is list, neither text nor a number"),
     (["a", "b", None], "row 2 has no label")],
)  # fmt: skip
def test_a_label_of_another_type_than_the_rest_is_refused_by_row(
    tmp_path: Path, values: list[Any], said: str
) -> None:
    file = lines(tmp_path / "data.jsonl", *({"label": value} for value in values), n=len(values))
    with pytest.raises(UnavailableError, match=f"^task 'toy' {said}"):
        load(file)


def test_a_group_of_another_type_than_the_rest_is_refused_by_row(tmp_path: Path) -> None:
    file = lines(tmp_path / "data.jsonl", {"group": 1}, group=str)
    with pytest.raises(
        UnavailableError, match="row 0: 1 under 'group' is a number, and other rows have text"
    ):
        load(file, group="group")


def test_numbers_as_labels_keep_their_names_beside_other_numbers(tmp_path: Path) -> None:
    assert load(lines(tmp_path / "a.jsonl", label=lambda row: row % 3)).classes == ("0", "1", "2")
    assert load(lines(tmp_path / "b.jsonl", label=lambda row: (1, 2.5)[row % 2])).classes == ("1", "2.5")
    assert load(lines(tmp_path / "c.jsonl", label=lambda row: row % 2 == 0)).classes == ("False", "True")


def test_a_conversation_among_texts_loses_no_row(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]
    data = load(lines(tmp_path / "data.jsonl", {}, {"text": said}, {"text": None}))
    assert len(data.examples) == 39 and data.hygiene.empty == 1
    assert str(data.examples.inputs[1]) == "hello\ngood day"


GOOD = [{"text": f"text {row}\u2028", "label": "ab"[row % 2]} for row in range(40)]
"""Rows with a character that ends a line elsewhere."""
JSON: Mapping[str, str] = {
    "bom": "\ufeff" + "".join(json.dumps(row) + "\n" for row in GOOD),
    "crlf": "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in GOOD),
    "blank_lines": "\n \n" + "\n\n".join(json.dumps(row) for row in GOOD) + "\n\t\n",
    "no_last_newline": "\n".join(json.dumps(row) for row in GOOD),
    "list": json.dumps(GOOD),
    "over_lines": "\n".join(json.dumps(row, indent=2) for row in GOOD),
    "other_order": "\n".join(json.dumps(dict(reversed(row.items()))) for row in GOOD),
    "other_columns": "\n".join(json.dumps({**row, f"n{number}": 1}) for number, row in enumerate(GOOD)),
}


@pytest.mark.parametrize("form", JSON)
def test_every_form_of_json_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    data = load(write(tmp_path / "data.jsonl", JSON[form]))
    assert (
        data.fingerprint == load(write(tmp_path / "plain.json", "\n".join(map(json.dumps, GOOD)))).fingerprint
    )
    assert list(data.examples.inputs) == [row["text"] for row in GOOD]


TABLE = ["text,label", *(f"text {row},{'ab'[row % 2]}" for row in range(40))]
CSV: Mapping[str, str] = {
    "bom": "\ufeff" + "\n".join(TABLE),
    "crlf": "\r\n".join(TABLE) + "\r\n",
    "blank_lines": "\n" + "\n\n".join(TABLE) + "\n  \n",
    "quoted": "\n".join(",".join(f'"{field}"' for field in line.split(",")) for line in TABLE),
    "comma_in_the_header_too": "\n".join(f"{line}," for line in TABLE),
}


@pytest.mark.parametrize("form", CSV)
def test_every_form_of_csv_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    data = load(write(tmp_path / "data.csv", CSV[form]))
    assert data.fingerprint == load(write(tmp_path / "plain.csv", "\n".join(TABLE))).fingerprint
    assert list(data.examples.inputs) == [f"text {row}" for row in range(40)]


def test_texts_of_a_csv_with_quotes_lines_and_great_length_are_read_whole(tmp_path: Path) -> None:
    texts = ['5" pipe', 'she said "no, never"', "two\nlines", "two\r\nlines", "long " * 50_000]
    written = ['5" pipe', *('"' + text.replace('"', '""') + '"' for text in texts[1:])]
    content = "text,label\n" + "".join(f"{text},a\nother {row},b\n" for row, text in enumerate(written))
    assert list(load(write(tmp_path / "data.csv", content)).examples.inputs[::2]) == texts


FAULTY = {
    "field_too_many": ("text,label\ngood,a\nno, never,b\n", "row 2 has 3 fields, the header 2 (line 3): put a text"),
    "field_too_few": ("text,label\n\ngood\n", "row 1 has 1 field, the header 2 (line 3): write a comma for each"),
    "comma_at_the_end": ("text,label\ngood,a,\nbad,b,\n", "row 1 has 3 fields, the header 2 (line 2): remove"),
    "backslashes": ('text,label\n"he said \\"no\\" ok",a\n', "row 1 (line 2) ends a quoted text"),
    "open_quote": ('text,label\ngood,a\n"two\nlines,b\nmore,b\n', "row 2 (line 3) opens a quoted text that never ends"),
    "text_twice": ("text,label,text\ngood,a,b\n", "the column 'text' stands twice in it: rename one"),
    "other_names": ("body;class\na;b\n", "its header has none of 'text', 'label', 'split' where commas separate "
                    "it, and by semicolons the columns 'body', 'class': give the columns these names, or write commas"),
    "two_separators": ("a,b;text;label\na,b;c;d\n", "commas separate it, and by semicolons the columns 'a,b', 't"),
    "two_readings": ("text;x\tlabel;y\ta;text;b\ttext\n", "and by semicolons the columns 'text', 'x\\tlabel'"),
    "semicolon_too_many": ("text;label\ngood;a;\n", "row 1 has 3 fields, the header 2 (line 2): remove the semicolon"),
    "empty": ("", "it is empty, without a header"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTY)
def test_a_csv_that_could_be_misread_is_refused_by_row(tmp_path: Path, fault: str) -> None:
    content, said = FAULTY[fault]
    with pytest.raises(UnavailableError) as caught:
        load(write(tmp_path / "data.csv", content))
    assert f"'{tmp_path}/data.csv' cannot be read as csv: " in str(caught.value) and said in str(caught.value)
    with pytest.raises(UnavailableError):
        list(read_corpus([tmp_path / "data.csv"], "train"))


# ── endings, separators and packed files ─────────────────────────────────────────────────────────────────


ROWS = [{"text": f"text {row}", "label": "ab"[row % 2], "prompt": f"text {row}"} for row in range(40)]


def separated(mark: str) -> bytes:
    return "\n".join(mark.join(row) for row in [list(ROWS[0]), *(row.values() for row in ROWS)]).encode()


def pack(data: bytes, how: str) -> bytes:
    """Data packed in two parts, one after another, as `cat` joins them."""
    sink = io.BytesIO()
    for part in (data[:99], data[99:]):
        with pa.CompressedOutputStream(pa.PythonFile(sink, "w"), how) as stream:
            stream.write(part)
            sink.close = lambda: None  # type: ignore[method-assign]
    return sink.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FORMS: Mapping[str, bytes] = {
    "a.jsonl": LINES,
    "a.tsv": separated("\t"),
    "a.csv": separated(";"),
    "tabs.csv": separated("\t"),
    "quoted.csv": b'"text";"label";"prompt"\n' + separated(";").partition(b"\n")[2],
    "A.CSV": separated(","),
    "A.JsonL": LINES,
    "a.csv.gz": pack(separated(","), "gzip"),
    "a.TSV.GZ": pack(separated("\t"), "gzip"),
    "a.csv.zst": pack(separated(";"), "zstd"),
    "a.jsonl.gz": pack(LINES, "gzip"),
    "a.jsonl.zst": pack(LINES, "zstd"),
    "a.json.gz": pack(json.dumps(ROWS).encode(), "gzip"),
}


def read_everywhere(file: Path) -> list[Callable[[], Any]]:
    return [
        lambda: load(file),
        lambda: [*read_corpus([file], "train"), *read_corpus([file], "heldout")],
        lambda: read_texts(file),
        lambda: read_items(file, "refusal"),
    ]


@pytest.mark.parametrize("name", FORMS)
def test_every_ending_of_a_table_is_read_wherever_tables_are_read(tmp_path: Path, name: str) -> None:
    wanted = [row["text"] for row in ROWS]
    data, corpus, texts, items = (read() for read in read_everywhere(write(tmp_path / name, FORMS[name])))
    assert list(data.examples.inputs) == wanted and data.examples.labels[:3] == ("a", "b", "a")
    assert sorted(corpus) == sorted(wanted) and list(texts) == wanted
    assert [row.item.prompt for row in items] == wanted
    assert set(read_corpus([tmp_path], "train")) <= set(wanted)


def test_a_declared_separator_is_the_one_that_is_read_by(tmp_path: Path) -> None:
    file = write(tmp_path / "data.csv", b"a,b;" + separated(";").replace(b"\n", b"\n1,2;"))
    task = write(
        tmp_path / "task.yaml",
        "name: toy\nsource: {file: data.csv, separator: ';'}\nlicence: CC0\ncitation: none\n",
    )
    assert list(load_task(read_task(task)).examples.inputs) == [row["text"] for row in ROWS]
    with pytest.raises(
        UnavailableError, match='a task file may say which separator is right, as separator: ";"'
    ):
        load(file)
    commas = load(write(tmp_path / "data.csv", separated(",")))
    assert commas.fingerprint == load(write(tmp_path / "other.tsv", separated("\t"))).fingerprint
    task.write_text(task.read_text().replace("';'", "';;'"))
    with pytest.raises(UsageError, match=r"line 2: source\.separator: input should be ',', ';'"):
        read_task(task)
    with pytest.raises(UnavailableError, match="where tabs separate it, and by commas the columns 'text'"):
        load(write(tmp_path / "data.tsv", separated(",")))


UNREADABLE = {
    "cut.jsonl.gz": (FORMS["a.jsonl.gz"][:-9], "it cannot be unpacked with gzip: Truncated compressed stream"),
    "cut.jsonl.zst": (FORMS["a.jsonl.zst"][:-9], "it cannot be unpacked with zstd: Truncated compressed stream"),
    "plain.jsonl.gz": (LINES, "it cannot be unpacked with gzip: "),
    "more.csv.gz": (FORMS["a.csv.gz"] + b"more", "it cannot be unpacked with gzip: "),
    "gzip.jsonl": (FORMS["a.jsonl.gz"], "it is packed with gzip: give it a name that ends in .gz too"),
    "zstd.csv": (FORMS["a.csv.zst"], "it is packed with zstd: give it a name that ends in .zst too"),
    "book.csv": (b"PK\x03\x04 ...", "it is an archive or a workbook, no text: save its table as CSV (UTF-8)"),
    "rows.jsonl": (b"PAR1\x15 ... PAR1", "it is a parquet file: give it a name that ends in .parquet"),
    "excel.tsv": (separated("\t").decode().encode("utf-16"), "it is UTF-16 text: save it as UTF-8"),
    "bomb.csv.gz": (pack(b"text,label,prompt\n" + b"a" * 3_000_000, "gzip"), "bytes unpack to more than 200 times"),
    "bomb.jsonl.zst": (pack(b'{"text": "' + b" " * 3_000_000, "zstd"), "unpack it and name the unpacked file"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_unpacked_is_one_sentence_wherever_it_is_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.data.formats.FLOOR", 2**20)
    content, said = UNREADABLE[name]
    for read in read_everywhere(write(tmp_path / name, content)):
        with pytest.raises(HarnessError) as caught:
            read()
        assert said in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


def test_texts_of_a_plain_file_are_separated_by_empty_lines_for_features_as_for_training(
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "a.txt", "one\ntwo\n\n\nthree\n")
    assert read_texts(file) == ["one\ntwo", "three"]
    assert read_texts(write(tmp_path / "a.txt.gz", pack(b"alone\n", "gzip"))) == ["alone"]
    with pytest.raises(UsageError, match="has lines and no empty line"):
        read_texts(write(file, "one\ntwo\n"))
    with pytest.raises(UsageError, match=r"has no column text or messages; it has: body"):
        read_texts(write(tmp_path / "a.csv", "body\nhello\n"))


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


SAID = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "good day"}]
NOTATIONS: Mapping[str, Any] = {
    "parts": [
        {"role": "user", "content": parts("hello ", "there")},
        {**SAID[1], "content": parts("good day")},
    ],
    "answers_of_an_interface": [
        SAID[0],
        {**SAID[1], "content": [{"type": "output_text", "text": "good day"}]},
    ],
    "other_keys": [SAID[0], {**SAID[1], "tool_calls": [], "function_call": None, "name": "x"}],
    "json": json.dumps(SAID),
    "json_of_parts": json.dumps([{"content": parts("hello there"), "role": "user"}, SAID[1]], indent=1),
}
STRANGE: Mapping[str, tuple[Any, str]] = {
    "image": ([{"role": "user", "content": [*parts("see"), {"type": "image_url", "image_url": {"url": "x"}}]}],
              "message 1 of the conversation has a part of the type 'image_url' where only"),
    "part_of_text": ([{"role": "user", "content": ["hello"]}], "has a part without a type, str, where only"),
    "tool": ([SAID[0], {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
             'message 2 of the conversation calls a tool under "tool_calls", which is no text: write the call into'),
    "other_names": ([{"from": "human", "value": "hello"}],
                    'message 1 of the conversation has no text under "role", and has: from, value'),
    "python": (str(SAID), "its messages are written as Python prints them, not as JSON: write them with json.dumps"),
    "cut": (json.dumps(SAID)[:-9], "its text begins like messages in JSON, and is no JSON: character 79: Unterm"),
    "deep": ('[{"role": "user", "content": ' + "[" * 90_000, "is no JSON: it is nested too deep"),
    "twice": ('[{"role": "user", "role": "user", "content": "a"}]', "the key 'role' stands twice in one object"),
    "half": ('[{"role": "user", "content": "\\ud83d"}]', "it holds half of a character, a lone surrogate"),
    "number": (7, "the input is int, not text"),
    "digits": ('[{"role": "user", "content": "a", "n": ' + "1" * 5000 + "}]", "a number in it has thousands of digits"),
}  # fmt: skip


def read_inputs(tmp_path: Path, value: Any, suffix: str) -> Iterator[Callable[[], Any]]:
    """Readers of the first input of a table of each kind."""
    for columns in ({"text": value, "label": "a"}, {"prompt": value}):
        rows = [
            columns,
            *({**columns, "label": "ab"[n % 2], next(iter(columns)): f"x{n}"} for n in range(40)),
        ]
        file = tmp_path / f"{next(iter(columns))}{suffix}"
        if suffix == ".jsonl":
            write(file, "".join(json.dumps(row) + "\n" for row in rows))
        else:
            pd.DataFrame(rows).to_csv(file, index=False)
        if "text" not in columns:
            yield lambda file=file: read_items(file, "refusal")[0].item.prompt
            return
        yield lambda file=file: load(file).examples.inputs[0]
        if isinstance(value, str) or suffix == ".csv":
            yield lambda file=file: read_texts(file)[0]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_every_notation_of_a_conversation_is_the_same_one(tmp_path: Path, notation: str) -> None:
    value = NOTATIONS[notation]
    for suffix in (".jsonl", ".csv")[: 2 if isinstance(value, str) else 1]:
        for read in read_inputs(tmp_path, value, suffix):
            assert read() == Conversation.parse(SAID)


@pytest.mark.parametrize("what", STRANGE)
def test_messages_that_are_no_text_are_refused_by_row(tmp_path: Path, what: str) -> None:
    value, said = STRANGE[what]
    for suffix in (".jsonl", ".csv")[: 2 if isinstance(value, str) else 1]:
        for read in read_inputs(tmp_path, value, suffix):
            with pytest.raises(HarnessError, match=r"row|line") as caught:
                read()
            assert said in str(caught.value)


def test_items_in_a_csv_have_their_lists_as_json(tmp_path: Path) -> None:
    rows = [
        {"prompt": "1 + 1 =", "choices": '["2", "3"]', "answer": "2"},
        {"prompt": "x", "choices": '["a", "b"]', "answer": "1"},
    ]
    file = tmp_path / "a.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    assert [(row.item.choices, row.item.right) for row in read_items(file, "sum")] == [
        (("2", "3"), 0),
        (("a", "b"), 1),
    ]
    for column, value, said in (
        ("choices", "a, b", "row 1 has a text under 'choices' that is no list in JSON: write"),
        ("choices", '{"a": 1}', "row 1 has no list of texts under 'choices'"),
        ("answer", "9" * 5000, "is none of its choices"),
        ("answer", "2.0", "is none of its choices"),
    ):
        pd.DataFrame([{**rows[1], column: value}]).to_csv(file, index=False)
        with pytest.raises(UsageError) as caught:
            read_items(file, "sum")
        assert said in str(caught.value)


def test_a_text_that_only_looks_like_json_stays_a_text(tmp_path: Path) -> None:
    for text in ('["hello"]', '[{"user": "x"}]', "[{", '{"role": "user", "content": "x"}', "[{'a': 1}]"):
        for read in read_inputs(tmp_path, text, ".csv"):
            assert read() == text


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────


BROKEN = {
    "key_twice": ('{"text": "a", "label": "b"}\n{"text": "a", "label": "b", "text": "c"}', "line 2"),
    "key_twice_inside": ('{"text": [{"role": "user", "content": "a", "content": "b"}]}', "line 1"),
    "cut": ('{"text": "a", "label": "b"}\n{"text": "a", "la', "line 2"),
    "comma_between": ('{"text": "a"},\n{"text": "b"}', "line 1"),
    "number": ('{"text": "a"}\n7\n', "line 2"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_json_is_refused_by_line_wherever_it_is_read(tmp_path: Path, fault: str) -> None:
    content, said = BROKEN[fault]
    file = write(tmp_path / "data.jsonl", content)
    readers: list[Callable[[], Any]] = [
        lambda: load(file),
        lambda: list(read_corpus([file], "train")),
        lambda: read_texts(file),
        lambda: read_items(file, "refusal"),
    ]
    for read in readers:
        with pytest.raises((UnavailableError, UsageError)) as caught:
            read()
        assert said in str(caught.value) and "data.jsonl" in str(caught.value)


def test_a_row_of_a_corpus_without_a_text_ends_no_file_and_numbers_of_a_csv_are_texts(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"note": "none"}, {"text": "one"}, {"id": 3}, {"text": "two"}]
    file = write(tmp_path / "a.jsonl", "".join(json.dumps({**row, "split": "train"}) + "\n" for row in rows))
    assert sorted(read_corpus([file], "train")) == ["one", "two"]
    numbers = write(tmp_path / "b.csv", "text,split\n1,train\n02,train\n3.0,train\n")
    assert sorted(read_corpus([numbers], "train")) == ["02", "1", "3.0"]


def test_mixed_values_that_datasets_wrote_as_json_are_read_as_they_were(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "hello"}]
    features = datasets.Features({"text": datasets.Json(), "label": datasets.Value("string")})
    rows = [{"text": said if row == 3 else f"text {row}", "label": "ab"[row % 2]} for row in range(40)]
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "data.parquet")
    assert [str(one) for one in load(tmp_path / "data.parquet").examples.inputs[2:4]] == ["text 2", "hello"]


# ── splits in files of their own ─────────────────────────────────────────────────────────────────────────


def frame(start: int, n: int = 20, **more: Any) -> pd.DataFrame:
    """Rows of two classes whose texts no other start has."""
    return pd.DataFrame(
        {"text": [f"text {start + row}" for row in range(n)], "label": ["a", "b"] * (n // 2), **more}
    )


def fill(folder: Path, *names: str, **frames: pd.DataFrame) -> Path:
    """A folder with a table under each name, of other rows, or of those that are given for it; or other files."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = frames.get(path.name.partition(".")[0], frame(1000 * number))
        kind = next(
            iter(suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".card")), ""
        )
        if kind == ".parquet":
            rows.to_parquet(path)
        elif kind == ".jsonl":
            rows.to_json(path, orient="records", lines=True)
        elif kind in (".csv", ".tsv"):
            rows.to_csv(path, index=False, sep="\t" if kind == ".tsv" else ",")
        else:
            path.write_text("no data")
    return folder


SPLIT_LAYOUTS: Mapping[str, tuple[tuple[str, ...], Mapping[str, int]]] = {
    "two_files": (("train.csv", "test.csv"), {"train": 20, "test": 20}),
    "three_files": (("train.jsonl", "validation.jsonl", "test.jsonl"), {"train": 20, "validation": 20, "test": 20}),
    "other_spellings": (("Train.CSV", "dev.jsonl", "TEST.tsv"), {"train": 20, "validation": 20, "test": 20}),
    "packed": (("train.csv.gz", "test.csv"), {"train": 20, "test": 20}),
    "shards": (("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
               {"train": 40, "test": 20}),
    "as_on_the_hub": (("README.md", ".gitattributes", "data/train-00000-of-00001.parquet",
                       "data/test-00000-of-00001.parquet"), {"train": 20, "test": 20}),
    "folders": (("train/one.jsonl", "train/two.jsonl", "test/one.jsonl"), {"train": 40, "test": 20}),
    "no_data_beside": (("train.csv", "test.csv", "README.md", "LICENSE", "info.json", "test.csv.card.json"),
                       {"train": 20, "test": 20}),
}  # fmt: skip


@pytest.mark.parametrize("layout", SPLIT_LAYOUTS)
def test_a_folder_of_splits_is_read_whole_and_keeps_its_splits(tmp_path: Path, layout: str) -> None:
    names, splits = SPLIT_LAYOUTS[layout]
    folder = fill(tmp_path / "set", *names)
    assert Counter(load(folder).examples.splits) == splits
    assert Counter(load(folder, split="file_split").examples.splits) == splits


def test_a_folder_of_images_in_tables_is_read_by_its_splits(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "test")):
        rows = [{"image": {"bytes": png(20 * number + row)}, "label": "ab"[row % 2]} for row in range(20)]
        pd.DataFrame(rows).to_parquet(tmp_path / f"{name}-00000-of-00001.parquet")
    assert Counter(load(tmp_path, "image").examples.splits) == {"train": 20, "test": 20}


STRAY: Mapping[str, tuple[tuple[str, ...], str]] = {
    "another_table": (("train.csv", "test.csv", "old.csv"),
                      "'old.csv' is no table that is named like a split, and lies beside such: move it away"),
    "another_file": (("train.csv", "test.csv", "notes.docx"), "'notes.docx' is no table"),
    "another_folder": (("train.csv", "test.csv", "raw/a.csv"), "'raw/a.csv' is no table that is named"),
    "file_in_a_split": (("train/a.csv", "test/a.csv", "test/a.log"), "'test/a.log' is no table"),
    "two_formats": (("train.csv", "train.jsonl", "test.csv"), "'train.csv' and 'train.jsonl' are both of the split"),
    "two_spellings": (("train.csv", "val.csv", "valid.csv"), "'val.csv' and 'valid.csv' are both of the split 'val"),
    "whole_and_shards": (("train.csv", "train-00000-of-00001.csv"), "are both of the split 'train': keep one"),
    "missing_shard": (("train-00000-of-00003.csv", "train-00002-of-00003.csv", "test.csv"),
                      "'train-00000-of-00003.csv' is one of 3 shards, and these numbers are missing: 00001; fetch"),
    "no_split": (("data.csv",), "is named like a split (train.csv, test-00000-of-00002.parquet): name one"),
    "empty": (("README.md",), "has no table that is named like a split"),
}  # fmt: skip


@pytest.mark.parametrize("layout", STRAY)
def test_a_folder_of_splits_with_anything_that_would_be_lost_is_refused(tmp_path: Path, layout: str) -> None:
    names, said = STRAY[layout]
    with pytest.raises(UnavailableError) as caught:
        load(fill(tmp_path / "set", *names))
    assert said in str(caught.value) and f"'{tmp_path}/set'" in str(caught.value)


def split_task(folder: Path, files: str, more: str = "") -> TaskSpec:
    text = f"name: toy\nsource: {{{files}}}\nlicence: CC0\ncitation: none\n{more}"
    return read_task(write(folder / "task.yaml", text))


def test_a_task_file_names_the_files_of_each_split(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv", "b.jsonl", "c.csv", c=frame(990))  # ten of them are also in a.csv's successor
    data = load_task(split_task(tmp_path, "files: {train: [a.csv, b.jsonl], test: c.csv}"))
    assert Counter(data.examples.splits) == {"train": 40, "test": 10} and data.hygiene.leaks == 10
    same = split_task(tmp_path, "files: {test: c.csv, training: [a.csv, b.jsonl]}")
    assert load_task(same).fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            "files: {train: a.csv, holdout: b.csv}",
            "source.files has 'holdout', which is none of train, training",
        ),
        (
            "files: {train: a.csv, dev: b.csv, val: b.csv}",
            "source.files has two names for the split 'validation'",
        ),
        ("files: {train: a.csv, test: []}", "source.files has no file for the split 'test'"),
        ("files: {train: a.csv}, file: b.csv", "source needs either 'hub', 'file' or 'files'"),
        ("files: {}", "source needs either 'hub', 'file' or 'files'"),
        ("files: {train: a.csv, test: b.xlsx}", "b.xlsx' is none of .parquet"),
        ("files: {train: a.csv, test: gone.csv}", "there is no file '"),
        ("files: {train: a.csv, test: other.csv}", "other.csv' has no column 'label', which '"),
        ("files: {train: a.csv, test: holes.csv}", "task 'toy' row 3 of 'holes.csv' has no label"),
        (
            "files: {train: a.csv, test: said.csv}",
            "row 20 is in the split 'test', and its column 'split' says 'train'",
        ),
        ("files: {train: a.csv, test: head.csv}", "task 'toy' has no rows in '"),
        ("files: {train: b.csv, test: b.csv}", "has no test rows left; removed were 20 leaks"),
        (
            "files: {train: a.csv, test: bad.csv}",
            "bad.csv' cannot be read as csv: row 1 has 1 field, the header 2",
        ),
    ],
)
def test_files_of_splits_that_do_not_fit_are_refused_by_name(tmp_path: Path, files: str, said: str) -> None:
    fill(tmp_path, "a.csv", "b.csv", "said.csv", a=frame(0, split="train"), said=frame(50, split="train"))
    fill(tmp_path, "holes.csv", holes=frame(100).assign(label=["a", "b", "a", None] * 5))
    fill(tmp_path, "other.csv", other=frame(200).rename(columns={"label": "class"}))
    write(tmp_path / "bad.csv", "text,label\nalone\n")
    write(tmp_path / "head.csv", "text,label\n")
    with pytest.raises(HarnessError) as caught:
        load_task(split_task(tmp_path, files))
    assert said in str(caught.value)
    fill(tmp_path, "a.csv")
    with pytest.raises(UsageError, match="has the files of each split, and no split by its columns"):
        load_task(split_task(tmp_path, "files: {train: a.csv, test: b.csv}", "columns: {split: null}\n"))


def test_a_mirror_may_be_a_dataset_as_it_lies_on_the_hub(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "test")):
        rows = {"body": [f"text {20 * number + row}" for row in range(20)], "class": [0, 1] * 10}
        features = datasets.Features(
            {"body": datasets.Value("string"), "class": datasets.ClassLabel(names=["no", "yes"])}
        )
        path = tmp_path / "toy" / "plain" / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    columns = Columns(input="body", label="class")
    source = HubSource(hub="org/toy", revision="0" * 40, config="plain", columns=columns, labels={"no": "n"})
    spec = replace(split_task(tmp_path, "file: none.csv"), source=source)
    data = load_task(spec, data_dir=tmp_path)
    assert Counter(data.examples.splits) == {"train": 20, "test": 20} and data.classes == ("n", "yes")
    shutil.rmtree(tmp_path / "toy" / "plain")
    fill(tmp_path / "toy", "train.csv", "test.csv")  # the task's own mirror, with its own names
    assert load_task(spec, data_dir=tmp_path).classes == ("a", "b")


# ── a column called split ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., HubSource]:
    """Datasets as they stand on the hub, in a local folder; each file's name says its split."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")

    def make(own: Callable[[int, str], str], *names: str) -> HubSource:
        for number, name in enumerate(names):
            rows = range(number * 20, number * 20 + 20)
            columns = {
                "text": [f"text {row}" for row in rows],
                "label": ["ab"[row % 2] for row in rows],
                "split": [own(row, name) for row in rows],
            }
            (tmp_path / "hub").mkdir(exist_ok=True)
            datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "hub" / f"{name}.parquet")
        return HubSource(hub=str(tmp_path / "hub"), revision="0" * 40)

    return make


def test_a_column_called_split_of_an_undivided_hub_dataset_is_its_split(hub: Any) -> None:
    data = load(hub(lambda row, name: "test" if row < 5 else "train", "train"))
    assert Counter(data.examples.splits) == {"train": 15, "test": 5}


def test_a_column_called_split_that_contradicts_the_hubs_splits_is_refused_with_a_way_out(hub: Any) -> None:
    assert len(load(hub(lambda row, name: name, "train", "test")).examples) == 40
    source = hub(lambda row, name: "train", "train", "test")
    with pytest.raises(
        UnavailableError, match="row 20 is in the split 'test', and its column 'split' says 'train'"
    ):
        load(source)
    assert Counter(load(source, split="file_split").examples.splits) == {"train": 20, "test": 20}


def test_a_folder_that_is_called_like_a_dataset_on_the_hub_is_not_read_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "org" / "name" / "train.jsonl")
    with pytest.raises(
        UnavailableError, match="the folder 'org/name' would be read in place of the dataset on the hub"
    ):
        load(HubSource(hub="org/name", revision="0" * 40))


# ── folders of images ────────────────────────────────────────────────────────────────────────────────────


def png(number: int) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(number).integers(256, size=(6, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def pictures(folder: Path, *places: str, n: int = 10, **texts: str) -> Path:
    """A folder with `n` images at each place, which is a folder or a file with `{}` for a number; and other files."""
    count = 0
    for place in places:
        for number in range(n if "{}" in place else 1):
            write(folder / place.format(number), png(count))
            count += 1
    for name, text in texts.items():
        write(folder / name.replace("__", "/").replace("_csv", ".csv").replace("_jsonl", ".jsonl"), text)
    return folder


def named(*places: str, n: int = 10, split: Mapping[str, str] | None = None) -> str:
    """A metadata.csv of two classes in turn, with a column `split` by place if there is one."""
    rows = [(place, place.format(number), "ab"[number % 2]) for place in places for number in range(n)]
    head = "file_name,label" + (",split" if split else "")
    return "\n".join(
        [head, *(f"{name},{label}" + (f",{split[place]}" if split else "") for place, name, label in rows)]
    )


LAYOUTS: Mapping[str, tuple[Callable[[Path], Path], tuple[str, ...], Mapping[str, int] | int, tuple[str, ...]]] = {
    "capitals": (
        lambda at: pictures(at, "Train/cat/{}.png", "Train/dog/{}.png", "Test/cat/{}.png", "Test/dog/{}.png"),
        ("cat", "dog"), {"train": 20, "test": 20}, ()),
    "words_in_names": (
        lambda at: pictures(at, "in/train station {}.png", "in/test tubes {}.png", "out/{}.png", "out/val-{}.png"),
        ("in", "out"), 40, ()),
    "a_class_called_train": (
        lambda at: pictures(at, "train/{}.png", "car/{}.png"), ("car", "train"), 20, ()),
    "classes_called_train_and_test": (
        lambda at: pictures(at, "train/{}.png", "test/{}.png"), ("test", "train"), 20, ()),
    "train_beside_others_holds_folders": (
        lambda at: pictures(at, "train/old/{}.png", "train/new/{}.png", "car/old/{}.png", "car/new/{}.png"),
        ("car", "train"), 40, ()),
    "a_year_below_the_class": (
        lambda at: pictures(at, "in/2020/{}.png", "out/2020/{}.png", "out/2021/{}.png"), ("in", "out"), 30, ()),
    "one_folder_around_all": (
        lambda at: pictures(at, "photos/dev/a/{}.png", "photos/dev/b/{}.png", "photos/train/a/{}.png",
                            "photos/train/b/{}.png", "photos/test/a/{}.png", "photos/test/b/{}.png"),
        ("a", "b"), {"train": 20, "validation": 20, "test": 20}, ()),
    "files_without_a_class": (
        lambda at: pictures(at, "train/a/{}.png", "train/b/{}.png", "test/a/{}.png", "test/b/{}.png",
                            "train/stray.png", "top.png", "test/a/x.zip", "test/a/.hidden.png", "README.md"),
        ("a", "b"), {"train": 20, "test": 20},
        ("'test/a/x.zip': format", "'top.png': unlabelled", "'train/stray.png': unlabelled")),
    "metadata_with_a_split": (
        lambda at: pictures(at, "x/{}.png", "y/{}.png",
                            metadata_csv=named("x/{}.png", "y/{}.png",
                                               split={"x/{}.png": "test", "y/{}.png": "train"})),
        ("a", "b"), {"test": 10, "train": 10}, ()),
    "metadata_names_some": (
        lambda at: pictures(at, "{}.png", "more.png", "list.txt", metadata_csv=named("{}.png") + "\ngone.png,a"),
        ("a", "b"), 10,
        ("'list.txt': unlisted", "'more.png': unlisted", "row 10 ('gone.png'): no_file")),
    "metadata_at_the_top_of_splits": (
        lambda at: pictures(at, "train/{}.png", "test/{}.png", metadata_csv=named("train/{}.png", "test/{}.png")),
        ("a", "b"), {"train": 10, "test": 10}, ()),
    "metadata_of_another_ending": (
        lambda at: pictures(at, "x/{}.png", **{"Metadata.TSV": named("x/{}.png").replace(",", "\t")}),
        ("a", "b"), 10, ()),
    "metadata_in_each_split": (
        lambda at: pictures(at, "Train/{}.png", "Test/{}.png", Train__metadata_csv=named("{}.png"),
                            Test__metadata_csv=named("{}.png")),
        ("a", "b"), {"train": 10, "test": 10}, ()),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_images_is_read_whole_and_folders_alone_say_what_is_what(
    tmp_path: Path, layout: str
) -> None:
    make, classes, splits, faults = LAYOUTS[layout]
    data = load(make(tmp_path / "set"), "image")
    assert data.classes == classes
    if isinstance(splits, int):
        assert len(data.examples) == splits
    else:
        assert Counter(data.examples.splits) == splits
    assert sorted(fault.rpartition(": ")[0] for fault in data.hygiene.faults) == sorted(faults)
    assert data.hygiene.broken == len(faults)


CONTRADICTORY: Mapping[str, tuple[Callable[[Path], Path], str]] = {
    "splits_by_case": (
        lambda at: pictures(at, "Train/a/{}.png", "train/b/{}.png", "test/a/{}.png"),
        "its folders 'Train' and 'train' differ only by case or accents: join or rename them"),
    "classes_by_case": (
        lambda at: pictures(at, "train/Cat/{}.png", "train/b/{}.png", "test/cat/{}.png", "test/b/{}.png"),
        "its folders 'Cat' and 'cat' differ only by case"),
    "classes_by_accents": (
        lambda at: pictures(at, "caf\u00e9/{}.png", "cafe\u0301/{}.png"), "differ only by case or accents"),
    "a_split_without_classes": (
        lambda at: pictures(at, "train/a/{}.png", "train/b/{}.png", "test/{}.png"),
        "'train' holds folders of classes and 'test' none, though both are named like splits"),
    "a_split_that_is_not_read": (
        lambda at: pictures(at, "train/a/{}.png", "train/b/{}.png", "test/a/{}.heic", "test/b/{}.heic"),
        "no file that is read as an image lies in 'test', a folder named like a split"),
    "metadata_against_a_folder": (
        lambda at: pictures(at, "train/{}.png", "test/{}.png", metadata_csv=named(
            "train/{}.png", "test/{}.png", split={"train/{}.png": "train", "test/{}.png": "train"})),
        "'test/0.png' lies in a folder of the split 'test', and 'metadata.csv' says 'train': name the right one"),
    "metadata_of_one_split_only": (
        lambda at: pictures(at, "train/{}.png", "test/a/{}.png", train__metadata_csv=named("{}.png")),
        "no row of the metadata names a file in 'test'"),
    "metadata_twice": (
        lambda at: pictures(at, "{}.png", metadata_csv=named("{}.png"), metadata_jsonl="{}"),
        "'metadata.csv' and 'metadata.jsonl' lie side by side: keep one"),
    "metadata_without_names": (
        lambda at: pictures(at, "{}.png", metadata_csv="name,label\n0.png,a"),
        "'metadata.csv' has no column 'file_name'"),
    "metadata_with_an_image": (
        lambda at: pictures(at, "{}.png", metadata_csv="file_name,image\n0.png,a"),
        "'metadata.csv' has a column 'image'"),
    "ragged_metadata": (
        lambda at: pictures(at, "{}.png", metadata_csv="file_name,label\n0.png,a,b"),
        "'metadata.csv': row 1 has 3 fields, the header 2 (line 2)"),
}  # fmt: skip


@pytest.mark.parametrize("layout", CONTRADICTORY)
def test_a_folder_of_images_with_two_readings_is_refused(tmp_path: Path, layout: str) -> None:
    make, said = CONTRADICTORY[layout]
    with pytest.raises(UnavailableError) as caught:
        load(make(tmp_path / "set"), "image")
    assert f"'{tmp_path}/set' cannot be read as a folder of images: " in str(caught.value)
    assert said in str(caught.value)


def test_a_link_to_a_folder_above_is_followed_once(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", "a/{}.png", "b/{}.png")
    (folder / "a" / "loop").symlink_to(folder)
    assert len(load(folder, "image").examples) == 20


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = ["d[1]", "a::b", "**", "*", "~name", "d?", "{a,b}", "label=3", "s3:", "#1 %20"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_no_pattern_for_any_reader_of_data(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside each file is one that the name as a pattern would find, and each reader is given a relative path."""
    monkeypatch.chdir(tmp_path)
    rows = {place: [f"{place} {row}" for row in range(30)] for place in ("d1", "da", name)}
    for place, texts in rows.items():
        table = {"text": texts, "label": ["ab"[row % 2] for row in range(30)], "prompt": texts}
        table["split"] = ["test" if row % 5 == 0 else "train" for row in range(30)]
        made = pd.DataFrame(table)
        Path(place).mkdir()
        made.to_parquet(tmp_path / place / f"{place}.parquet")
        made.to_csv(tmp_path / place / f"{place}.csv", index=False)
        made.to_json(tmp_path / place / f"{place}.jsonl", orient="records", lines=True)
    for suffix in ("parquet", "csv", "jsonl"):
        file = Path(name) / f"{name}.{suffix}"
        assert list(load(file).examples.inputs) == rows[name]
        assert {*read_corpus([file], "train"), *read_corpus([file], "heldout")} == set(rows[name])
        if suffix != "csv":
            assert [row.item.prompt for row in read_items(file, "refusal")] == rows[name]
    assert read_texts(Path(name) / f"{name}.jsonl") == rows[name]
    pictures(Path(name) / "set", "a/{}.png", "b/{}.png", n=30)
    assert len(load(Path(name) / "set", "image").examples) == 60
    assert sum(map(len, read_image_corpus([Path(name) / "set"]))) == 60


def test_a_task_file_reads_the_file_that_it_names(tmp_path: Path) -> None:
    for place in ("d1", "d[1]"):
        lines(tmp_path / f"{place}.jsonl", text=lambda row, place=place: f"{place} {row}")
    text = "name: toy\nsource: {file: 'd[1].jsonl'}\nlicence: CC0\ncitation: none\n"
    session = open_session(include=[write(tmp_path / "t[1].yaml", text)], device="cpu")
    assert load_task(session.included[0]).examples.inputs[0] == "d[1] 0"


@pytest.mark.parametrize("name", ["m[1]", "a::b", "~m", "m[site=1]", "m(1)"])
def test_a_model_and_a_dictionary_are_read_from_a_folder_of_any_name(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    shutil.copytree(WEIGHTS / "minigemma-s", Path(name))
    file = next((WEIGHTS / "minigemma-s-scope" / "layer_1").glob("*/*/params.npz"))
    Path("s", name).mkdir(parents=True)
    shutil.copy(file, Path("s", name))
    session = open_session(device="cpu")
    given = {"site": "resid_post.1", "pooling": "mean"}
    made = session.features(["one text"], model=f"./{name}", representation=f"s/{name}", **given)
    right = session.features(["one text"], model="minigemma-s", representation=str(file), **given)
    assert abs(made - right).max() == 0 and made.nnz


def test_a_tilde_is_the_home_folder_unless_something_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert local_path("~/x") == Path("/home/somebody/x")
    assert local_path("~no-such-user/x") == Path("~no-such-user/x")
    Path("~").mkdir()
    write(Path("~/x"), "")
    assert local_path("~/x") == Path("~/x")


def test_a_reference_that_is_too_long_for_a_path_is_one_sentence() -> None:
    with pytest.raises(HarnessError):
        open_session(device="cpu").registry.choose("representations", "a/" + "b" * 5000)
