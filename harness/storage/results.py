"""Results that commands of plugins leave: one JSON file each, validated by a model of the plugin."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from harness.api.errors import WriteError
from harness.storage.atomic import whole_file
from harness.storage.parsing import parsing
from harness.storage.reading import read_description
from harness.storage.strict_json import parse_json


class ResultModel(BaseModel):
    """Base of the models of results: immutable, without other fields or numbers than declared and finite ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_Result = TypeVar("_Result", bound=BaseModel)


def read_result(path: Path, model: type[_Result], *, command: str) -> _Result:
    """Return the result in a file. Raise UnavailableError for a file that holds none of `command`, such as `patch`."""
    with parsing(f"'{path}' is no result of harness {command}", hint="remove it"):
        text = read_description(path).decode()
        parse_json(text)  # refuses what pydantic would read: a key that stands twice
        return model.model_validate_json(text)


def check_writable(folder: Path) -> None:
    """Raise WriteError where no result can be written into a folder, before the work that would be lost; leave nothing
    there.
    """
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise WriteError.from_os(f"'{folder}'", error) from error


def write_result(result: BaseModel, folder: Path, *parts: str) -> Path:
    """Write a result into a folder, in a file named by `parts`, its kind first, in place of an earlier one of that
    name; return its path. Raise WriteError when the disk refuses.
    """
    name = re.sub("[^A-Za-z0-9._]+", "-", "-".join(parts)).strip("-")
    with whole_file(folder / f"{name}.json") as temporary:
        temporary.write_text(result.model_dump_json(indent=1) + "\n", "utf-8")
    return folder / f"{name}.json"
