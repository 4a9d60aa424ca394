"""Command `harness features`: write pooled features of texts to a file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from harness.api.data import Conversation
from harness.api.errors import EmptyInputWarning, FlagWarning, UsageError, name_some
from harness.cli import options as shared
from harness.cli.streams import echo
from harness.storage.parsing import parsing, reason_of
from harness.storage.strict_json import parse_json


@click.command("features")
@shared.model_option
@click.option("--site", required=True, help="Read at this site, for example resid_post.12.")
@click.option(
    "--representation", default="hidden", show_default=True, metavar="REF", help="Pool this representation."
)
@click.option(
    "--tokens", default="content", show_default=True, help="Pool over content, all, prompt or last(k=…)."
)
@click.option("--pooling", default="mean", show_default=True, help="Pool in this way.")
@shared.dtype_option
@click.option(
    "--input",
    "source",
    required=True,
    type=shared.PATH,
    help='Read a table with "text" or "messages" (.jsonl, .parquet, .csv …), or a .txt.',
)
@click.option(
    "-o", "--output", required=True, type=shared.PATH, help="Write to this file, .npz (CSR) or .npy (dense)."
)
@shared.machine_options
@shared.batch_option
@shared.json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    model: str,
    site: str,
    representation: str,
    tokens: str,
    pooling: str,
    dtype: str | None,
    source: Path,
    output: Path,
    batch_size: str,
    as_json: bool,
    **machine: Any,
) -> None:
    """Write one row of features for each row of the input, in its order."""
    if output.suffix not in {".npz", ".npy"}:
        raise UsageError(f"'{output}' must end in .npz (CSR) or .npy (dense)")
    texts = read_texts(source)
    session = shared.open_session(context, **machine)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        matrix = session.features(
            texts,
            model=shared.model_fields(model, dtype),
            site=site,
            representation=representation,
            tokens=tokens,
            pooling=pooling,
            batch_size=shared.read_batch_size(batch_size),
        )
    for warning in caught:
        if issubclass(warning.category, EmptyInputWarning | FlagWarning):
            echo(f"harness: {warning.message}", err=True)
    write_matrix(matrix, output)
    shape = f"{matrix.shape[0]} × {matrix.shape[1]}"
    echo(
        json.dumps({"rows": matrix.shape[0], "features": matrix.shape[1]})
        if as_json
        else f"{output}: {shape}"
    )


def read_texts(path: Path) -> list[str | Conversation]:
    """Read the texts and conversations of a file: a table's column `text` or `messages`; texts of a .txt.

    A name without the ending of a table is JSON lines. Raises UsageError with the line or row of the first fault.
    """
    from harness.data.formats import endings_of, format_of

    with parsing(f"'{path}' cannot be read"):
        try:
            if format_of(path) == "txt":
                texts: list[str | Conversation] = [*_read_plain(path)]
            elif format_of(path) is None or endings_of(path)[0] == ".jsonl":
                texts = [*_read_lines(path)]
            else:
                texts = [*_read_rows(path)]
        except ValueError as error:  # what is in the file, not that it cannot be opened
            raise UsageError(f"'{path}' cannot be read: {reason_of(error)}") from error
    if not texts:
        raise UsageError(f"'{path}' holds no texts")
    return texts


def _read_plain(path: Path) -> Iterator[str]:
    from harness.data.corpus import read_paragraphs

    texts = [text.removesuffix("\n") for text in read_paragraphs(path) if text.strip()]
    if len(texts) == 1 and "\n" in texts[0]:
        raise UsageError(
            f"'{path}' has lines and no empty line: texts of a .txt are separated by empty lines; where each line is "
            'a text, write JSON lines ({"text": …}) or a .csv with a column text'
        )
    yield from texts


def _read_lines(path: Path) -> Iterator[str | Conversation]:
    from harness.data.formats import open_text

    # Not splitlines, which also ends lines at U+2028, U+0085 and others that a JSON text may hold.
    with open_text(path, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _parse_line(line, f"'{path}' line {number}")


def _read_rows(path: Path) -> Iterator[str | Conversation]:
    from harness.data.sources import read_table

    columns = read_table(path, needed=("text", "messages"))
    if "text" in columns and "messages" in columns:
        raise UsageError(f"'{path}' has columns text and messages: keep the one that is meant")
    name = next((name for name in ("text", "messages") if name in columns), None)
    if name is None:
        raise UsageError(f"'{path}' has no column text or messages; it has: {name_some(sorted(columns))}")
    for number, value in enumerate(columns[name]):
        yield _parse(value, f"'{path}' row {number}", name)


def _parse_line(line: str, where: str) -> str | Conversation:
    with parsing(f"{where} is not JSON", kind=UsageError):
        row = parse_json(line)
    if isinstance(row, dict) and row.get("text") and row.get("messages"):
        raise UsageError(f"{where} has both text and messages: keep the one that is meant")
    for name, kinds in (("text", str), ("messages", str | list)):
        if isinstance(row, dict) and isinstance(row.get(name), kinds):
            one = _parse(row[name], where, name)
            _check_characters(str(one), where)
            return one
    raise UsageError(f'{where} has no "text" and no list of "messages"')


def _parse(value: Any, where: str, name: str) -> str | Conversation:
    from harness.data.inputs import parse_input

    try:
        one = parse_input(value)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    if name == "messages" and isinstance(one, str):
        raise UsageError(f'{where} has no "text" and no list of "messages"')
    return one


def _check_characters(text: str, where: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{where} holds half a character (a lone surrogate)")


def write_matrix(matrix: Any, path: Path) -> None:
    """Write a scipy CSR matrix as .npz or an array as .npy, atomically."""
    import numpy as np
    from scipy import sparse

    from harness.storage.atomic import whole_file

    with whole_file(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npz":
            sparse.save_npz(file, sparse.csr_array(matrix))
        else:
            dense = matrix.toarray() if sparse.issparse(matrix) else matrix
            np.save(file, dense, allow_pickle=False)
