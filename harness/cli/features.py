"""`harness features`: texts in, a file of pooled features out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import click

from harness.api.data import Conversation
from harness.api.errors import EmptyInputWarning, UnavailableError, UsageError
from harness.cli.options import batch_option, json_option, machine_options, open_session, read_batch_size


@click.command("features")
@click.option("-m", "--model", required=True, metavar="REF", help="Model.")
@click.option("--site", required=True, help="Where to read, for example resid_post.12.")
@click.option("--representation", default="hidden", show_default=True, metavar="REF", help="What to pool.")
@click.option("--tokens", default="content", show_default=True, help="content, all, prompt, last(k=…).")
@click.option("--pooling", default="mean", show_default=True, help="How to pool.")
@click.option("--dtype", help="The model's dtype, as a parameter of the model.")
@click.option(
    "--input",
    "source",
    required=True,
    type=click.Path(path_type=Path),
    help='JSON lines {"id", "text"}, or "messages".',
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help=".npz (CSR) or .npy (dense)."
)
@machine_options
@batch_option
@json_option
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
    """Write one row for each line of the input, in its order."""
    if output.suffix not in {".npz", ".npy"}:
        raise UsageError(f"'{output}' must end in .npz (CSR) or .npy (dense)")
    texts = read_texts(source)
    session = open_session(context, **machine)
    parameters = {"dtype": dtype} if dtype else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        matrix = session.features(
            texts,
            model={"ref": model, **parameters},
            site=site,
            representation=representation,
            tokens=tokens,
            pooling=pooling,
            batch_size=read_batch_size(batch_size),
        )
    for warning in caught:
        if issubclass(warning.category, EmptyInputWarning):
            click.echo(f"harness: {warning.message}", err=True)
    write_matrix(matrix, output)
    shape = f"{matrix.shape[0]} × {matrix.shape[1]}"
    click.echo(
        json.dumps({"rows": matrix.shape[0], "features": matrix.shape[1]})
        if as_json
        else f"{output}: {shape}"
    )


def read_texts(path: Path) -> list[str | Conversation]:
    """The texts and conversations of a JSON-lines file; UsageError with the line number of the first that is not
    as it should be.
    """
    try:
        # Not splitlines: a text may hold U+2028, U+0085 and others that end a line for it, but not in JSON lines.
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"'{path}' is not UTF-8 text") from error
    except OSError as error:
        raise UnavailableError(f"'{path}' cannot be read: {error.strerror}") from error
    texts = [
        _text(line, f"'{path}' line {number}") for number, line in enumerate(lines, start=1) if line.strip()
    ]
    if not texts:
        raise UsageError(f"'{path}' holds no texts")
    return texts


def _text(line: str, where: str) -> str | Conversation:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON") from error
    if isinstance(row, dict) and isinstance(row.get("text"), str):
        _check_characters(row["text"], where)
        return str(row["text"])
    if isinstance(row, dict) and isinstance(row.get("messages"), list):
        try:
            conversation = Conversation.parse(row["messages"])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
        _check_characters(str(conversation), where)
        return conversation
    raise UsageError(f'{where} has no "text" and no list of "messages"')


def _check_characters(text: str, where: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{where} holds half a character (a lone surrogate)")


def write_matrix(matrix: Any, path: Path) -> None:
    """scipy's CSR in a .npz file, an array in a .npy file, whole or not at all."""
    import numpy as np
    from scipy import sparse

    from harness.storage.atomic import whole_file

    with whole_file(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npz":
            sparse.save_npz(file, sparse.csr_array(matrix))
        else:
            dense = matrix.toarray() if sparse.issparse(matrix) else matrix
            np.save(file, dense, allow_pickle=False)
