"""Changes that an upload makes at its target: files of others stay, and its own are known by a list that it leaves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from harness.api.errors import UsageError, name_some

LIST = "uploaded.json"
"""Name of the list of the files of an upload, beside them."""

_HUBS_OWN = {".gitattributes"}
"""Files that the hub keeps in every repository."""


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """List of an upload: the board, and the SHA-256 of each file by its path."""

    board: str
    files: Mapping[str, str]

    @classmethod
    def of(cls, board: str, files: Mapping[str, bytes]) -> Uploaded:
        """Return the list of files."""
        return cls(
            board=board, files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        )

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Uploaded | None:
        """Return the list that an earlier upload left; None for a file of that name that is none."""
        board, files = found.get("board"), found.get("files")
        if not isinstance(board, str) or not isinstance(files, dict):
            return None
        hashes = {str(name): str(digest) for name, digest in files.items()}
        sound = all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes.values())
        return cls(board=board, files=hashes) if sound else None

    def to_bytes(self) -> bytes:
        """Return the contents of the file."""
        text = json.dumps({"board": self.board, "files": self.files}, indent=1, ensure_ascii=False)
        return f"{text}\n".encode()


def find_removed(
    where: str, present: Set[str], earlier: Uploaded | None, new: Uploaded, *, replace: bool
) -> set[str]:
    """Return the files of an earlier upload that are `present` at the target and that the new one lacks.

    Without `replace`, raise UsageError for a target with files of others or another board.
    """
    own = {LIST, *earlier.files} if earlier else set[str]()
    foreign = sorted(present - own - _HUBS_OWN)
    if foreign and not replace:
        raise UsageError(
            f"{where} holds other files ({name_some(foreign)}): with --replace the board is put beside them, in place"
            " of those of the same name, and none is removed"
        )
    if earlier and earlier.board != new.board and not replace:
        raise UsageError(
            f"{where} holds the board '{earlier.board}': with --replace '{new.board}' takes its place"
        )
    return (own & present) - new.files.keys() - {LIST}
