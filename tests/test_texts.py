"""Plain texts in every format, and images, held out by their row's word or by their content, in an order no file
decides.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pytest

from harness import Image, decode_image
from harness.api.errors import UnavailableError
from harness.data.corpus import read_corpus
from harness.training.images import read_image_corpus

NUMBERED = [f"text number {number}" for number in range(400)]


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def both(*sources: Path) -> tuple[list[str], list[str]]:
    return list(read_corpus(sources, "train")), list(read_corpus(sources, "heldout"))


WORDS = ["eins zwei", "три", "four\nlines of five", *NUMBERED[:80]]


def as_lines(folder: Path) -> Path:
    return write_lines(folder / "a.jsonl", [{"text": word} for word in WORDS])


def as_array(folder: Path) -> Path:
    (folder / "a.json").write_text(json.dumps([{"text": word, "id": 1} for word in WORDS]))
    return folder / "a.json"


def as_parquet(folder: Path) -> Path:
    pd.DataFrame({"text": WORDS}).to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def as_table(folder: Path) -> Path:
    pd.DataFrame({"text": WORDS}).to_csv(folder / "a.csv")
    return folder / "a.csv"


def as_text(folder: Path) -> Path:
    (folder / "a.txt").write_text("\n\n\n".join(WORDS), "utf-8")
    return folder / "a.txt"


def as_compressed(folder: Path) -> Path:
    packed = folder / "a.jsonl.zst"
    with pa.output_stream(packed, compression="zstd") as file:
        file.write(as_lines(folder).read_bytes())
    return packed


@pytest.mark.parametrize("write", [as_lines, as_array, as_parquet, as_table, as_text, as_compressed])
def test_every_format_gives_the_same_texts(write: object, tmp_path: Path) -> None:
    assert callable(write)
    train, heldout = both(write(tmp_path))
    assert sorted(train + heldout) == sorted(WORDS)


def test_a_row_that_names_its_split_is_where_it_says(tmp_path: Path) -> None:
    names = ["train", "validation", "valid", "dev", "test", None]
    path = write_lines(
        tmp_path / "a.jsonl", [{"text": f"t{n}", "split": name} for n, name in enumerate(names)]
    )
    train, heldout = both(path)
    assert "t0" in train
    assert {"t1", "t2", "t3", "t4"} <= set(heldout)
    assert set(train) | set(heldout) == {f"t{n}" for n in range(6)}


def test_without_a_split_a_twentieth_is_held_out_by_content_alone(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", [{"text": text} for text in NUMBERED])
    (tmp_path / "parts").mkdir()
    for number in range(3):
        rows = [{"text": text} for text in reversed(NUMBERED[number::3])]
        write_lines(tmp_path / "parts" / f"{number}.jsonl", rows)
    train, heldout = both(one)
    assert both(tmp_path / "parts") == (train, heldout)
    assert not set(train) & set(heldout)
    assert sorted(train + heldout) == sorted(NUMBERED)
    assert 8 <= len(heldout) <= 35


def test_a_text_that_is_held_out_anywhere_is_not_learnt_from(tmp_path: Path) -> None:
    """Whichever row comes first, and whether it says so or its content does."""
    train, heldout = both(write_lines(tmp_path / "plain.jsonl", [{"text": text} for text in NUMBERED]))
    for folder, names in (("first", "ab"), ("last", "ba")):
        (tmp_path / folder).mkdir()
        write_lines(
            tmp_path / folder / f"{names[0]}.jsonl",
            [{"text": train[0], "split": "test"}, {"text": heldout[0]}],
        )
        rows = [{"text": text, "split": "train"} for text in (*train, heldout[0])]
        write_lines(tmp_path / folder / f"{names[1]}.jsonl", rows)
        learnt, measured = both(tmp_path / folder)
        assert learnt == train[1:]
        assert sorted(measured) == sorted([train[0], heldout[0]])
    path = write_lines(tmp_path / "a.jsonl", [{"text": "t", "split": name} for name in ("train", "test")])
    with pytest.raises(UnavailableError, match="no training texts"):
        list(read_corpus([path], "train"))


def test_the_order_mixes_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_lines(
            tmp_path / f"{name}.jsonl", [{"text": f"{name} {text}", "split": "train"} for text in NUMBERED]
        )
    first = [text[0] for text in read_corpus([tmp_path], "train")][:100]
    assert 30 < first.count("a") < 70


def test_of_too_much_text_the_first_of_that_order_are_kept(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": text} for text in NUMBERED])
    some = list(read_corpus([path], "train", characters=500))
    assert some == list(read_corpus([path], "train"))[: len(some)]
    assert 450 < sum(map(len, some)) <= 500


def test_empty_texts_repeated_texts_and_half_characters_are_left_out(tmp_path: Path) -> None:
    texts = ["", "  ", None, 3, "twice", "twice", "half \ud800a"]
    path = write_lines(tmp_path / "a.jsonl", [{"text": text, "split": "train"} for text in texts])
    assert sorted(read_corpus([path], "train")) == ["half a", "twice"]


def test_a_folder_may_hold_files_of_something_else(tmp_path: Path) -> None:
    as_lines(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"licence": "CC0"}))
    (tmp_path / "README.md").write_text("no data")
    train, heldout = both(tmp_path)
    assert sorted(train + heldout) == sorted(WORDS)


def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text"')
    (tmp_path / "list.jsonl").write_text("[1]\n")
    (tmp_path / "broken.parquet").write_text("no parquet")
    (tmp_path / "other.docx").write_text("")
    (tmp_path / "latin.jsonl").write_bytes('{"text": "ä"}\n'.encode("latin-1"))
    write_lines(tmp_path / "column.jsonl", [{"body": "a"}])
    write_lines(tmp_path / "split.jsonl", [{"text": "a", "split": "later"}])
    write_lines(tmp_path / "blank.jsonl", [{"text": " "}])
    said = {
        "nowhere.jsonl": "there is no file or folder",
        "empty": "has no file that ends in .parquet, .csv, .jsonl",
        "broken.jsonl": "cannot be read",
        "list.jsonl": "line 1 is no JSON object",
        "broken.parquet": "cannot be read",
        "other.docx": "is none of .parquet, .csv",
        "latin.jsonl": "cannot be read",
        "column.jsonl": "has no column 'text'",
        "split.jsonl": "has a split 'later'",
        "blank.jsonl": "no training texts",
    }
    for name, words in said.items():
        with pytest.raises(UnavailableError, match=words) as caught:
            list(read_corpus([tmp_path / name], "train"))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


# ── images ───────────────────────────────────────────────────────────────────────────────────────────────


def picture(number: int) -> bytes:
    """A PNG of noise that is the number's own."""
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    PIL.Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


def write_images(path: Path, images: Iterable[Any], splits: Sequence[str | None] | None = None) -> Path:
    rows = [{"image": image, "label": "any"} for image in images]
    if splits is not None:
        rows = [{**row, "split": split} for row, split in zip(rows, splits, strict=True)]
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)
    return path


def ids(images: Iterable[Image]) -> list[str]:
    return [image.id for image in images]


PICTURES = [picture(number) for number in range(200)]


def test_images_of_a_table_and_of_a_folder_are_the_same_and_held_out_by_content(tmp_path: Path) -> None:
    """Whatever files and folders they come in, and in whatever format that loses nothing."""
    table = write_images(tmp_path / "a.parquet", PICTURES)
    wrapped = write_images(
        tmp_path / "b.parquet", [{"bytes": image, "path": None} for image in PICTURES[::-1]]
    )
    for number, image in enumerate(PICTURES):
        folder = tmp_path / "folder" / f"class {number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        if number % 2:
            (folder / f"{number}.PNG").write_bytes(image)
        else:
            PIL.Image.open(io.BytesIO(image)).save(folder / f"{number}.bmp")
    (tmp_path / "folder" / "README.md").write_text("no image")
    train, heldout = read_image_corpus([table])
    assert ids(train) == sorted(ids(train)) and ids(heldout) == sorted(ids(heldout))
    assert len(set(ids(train)) | set(ids(heldout))) == len(PICTURES)
    assert 2 <= len(heldout) <= 25
    for source in (wrapped, tmp_path / "folder"):
        assert [ids(part) for part in read_image_corpus([source])] == [ids(train), ids(heldout)]
    assert all(isinstance(image.encoded, Path) for image in read_image_corpus([tmp_path / "folder"])[0])
    assert decode_image(train[0]).size == train[0].size == (4, 4)


def test_an_image_whose_row_names_its_split_is_where_that_says_and_held_out_comes_first(
    tmp_path: Path,
) -> None:
    names = ["train", "validation", "test", "dev", "train", "train"]
    path = write_images(tmp_path / "a.parquet", [*PICTURES[:5], PICTURES[1]], names)
    train, heldout = read_image_corpus([path, write_images(tmp_path / "b.parquet", PICTURES[4:5], ["test"])])
    assert len(train) == 1 and len(heldout) == 4
    assert decode_image(train[0]).tobytes() == PIL.Image.open(io.BytesIO(PICTURES[0])).tobytes()


def test_broken_images_are_left_out_and_counted_in_one_line(tmp_path: Path) -> None:
    broken = [PICTURES[0][:40], b"", None, b"no image"]
    path = write_images(tmp_path / "a.parquet", [*PICTURES, *broken])
    said: list[str] = []
    train, heldout = read_image_corpus([path], tell=said.append)
    assert len(train) + len(heldout) == len(PICTURES)
    assert len(said) == 1 and said[0].startswith(
        "4 of 204 images are broken and left out; of the first, its header as PNG cannot be read: the file ends early"
    )
    said.clear()
    read_image_corpus([write_images(tmp_path / "b.parquet", PICTURES)], tell=said.append)
    assert not said


def test_of_too_many_images_those_with_the_lowest_ids_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_images(tmp_path / "a.parquet", PICTURES)
    train, _ = read_image_corpus([path])
    monkeypatch.setattr("harness.training.images.IMAGE_BYTES", 2000)
    some, _ = read_image_corpus([path])
    assert 0 < len(some) < len(train) and ids(some) == ids(train)[: len(some)]
    assert sum(len(image.encoded) for image in some if isinstance(image.encoded, bytes)) <= 2000


def test_what_holds_no_images_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "broken.parquet").write_text("no parquet")
    pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "column.parquet")
    write_images(tmp_path / "split.parquet", PICTURES[:2], ["train", "later"])
    write_images(tmp_path / "train.parquet", PICTURES[:2], ["train", "train"])
    write_images(tmp_path / "test.parquet", PICTURES[:2], ["test", "test"])
    write_images(tmp_path / "bad.parquet", [b"no image"], ["train"])
    said = {
        "nowhere": "there is no file or folder",
        "empty": "has no file that ends in .parquet, .png",
        "texts.jsonl": "is none of .parquet, .png",
        "broken.parquet": "cannot be read",
        "column.parquet": "has no rows with a column 'image'",
        "split.parquet": "has a split 'later'",
        "train.parquet": "there are no held-out images",
        "test.parquet": "there are no training images",
        "bad.parquet": "there are no training images",
    }
    for name, words in said.items():
        with pytest.raises(UnavailableError, match=words) as caught:
            read_image_corpus([tmp_path / name])
        assert name in str(caught.value) and "\n" not in str(caught.value)
    mixed = tmp_path / "mixed"
    write_images(mixed / "a.parquet", PICTURES[:2], ["train", "test"])
    pd.DataFrame({"text": ["a"]}).to_parquet(mixed / "b.parquet")
    assert [len(part) for part in read_image_corpus([mixed])] == [1, 1]
