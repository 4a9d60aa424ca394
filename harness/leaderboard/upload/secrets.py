"""Search for what must not leave this machine: keys to an account, and paths that name a user's home folder."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import GateError
from harness.storage.hub import find_token
from harness.storage.parsing import parsing

if TYPE_CHECKING:
    import pyarrow as pa

_KEYS = re.compile(
    r"(?<![A-Za-z0-9])"
    r"(hf_[A-Za-z0-9]{20,}|gh[opsu]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|AKIA[A-Z0-9]{16}(?![A-Za-z0-9]))"
)
"""Keys by the form that the hub, GitHub and Amazon give them."""

_SECRET_NAME = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY)(_|$)", re.I)
"""Names of variables of the environment that hold a secret."""

_SHORTEST = 8
"""Fewest characters of a secret: shorter values, such as 1 or true, stand in any text."""

_HOMES = re.compile(r"(?<![\w.~-])(/(?:home|Users)/[\w.-]+(?=/)|[A-Za-z]:\\{1,2}Users\\{1,2}[\w.-]+)")


def check_no_secrets(files: Mapping[str, bytes]) -> None:
    """Raise GateError, which names the first file that holds a key, a secret of the environment or the path of a home
    folder.
    """
    secrets, home = _find_secrets(), str(Path.home())
    own = re.compile(rf"(?<![\w.~-]){re.escape(home)}(?=[/\\])" if len(home) > 1 else r"(?!)")
    for name, data in files.items():
        for text in (name, *_texts(name, data)):
            if _KEYS.search(text) or any(secret in text for secret in secrets):
                raise GateError(
                    f"'{name}' holds a token or password, so nothing is uploaded: remove it there, and make a new one,"
                    " for others may have read it"
                )
            if found := own.search(text) or _HOMES.search(text):
                raise GateError(
                    f"'{name}' names the home folder '{found[0]}', so nothing is uploaded: run anew with models and"
                    " dictionaries named by relative paths or by their ids on the hub"
                )


def _find_secrets() -> set[str]:
    """Return the secrets that this process knows."""
    values = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)} | {find_token() or ""}
    return {value for value in values if len(value) >= _SHORTEST}


def _texts(name: str, data: bytes) -> Iterator[str]:
    """Yield the texts of a file: of a table in parquet every text in it, of packed text what it unpacks to."""
    if name.endswith(".parquet"):
        with parsing(f"'{name}' cannot be read"):
            yield "\n".join(_strings_of_table(data))
    else:
        text = gzip.decompress(data) if name.endswith(".gz") else data
        yield text.decode("utf-8", "replace")


def _strings_of_table(data: bytes) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(data))
    yield str(table.schema)
    for column in table.columns:
        for chunk in column.chunks:
            yield from _strings(chunk)


def _strings(array: pa.Array[Any]) -> Iterator[str]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from filter(None, array.unique().to_pylist())
    elif pa.types.is_dictionary(kind):
        yield from _strings(array.dictionary)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_struct(kind):
        inner = array.flatten()
        for each in inner if isinstance(inner, list) else [inner]:
            yield from _strings(each)
