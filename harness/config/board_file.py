"""Reader of `board.yaml`: the runs that a published board is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from harness.api.errors import UsageError
from harness.config.suite import Reference
from harness.config.yaml import Name, Strict, Whole, read_yaml


class RunChoice(Strict):
    """One run of a published board: a suite or a part of it, and how it is run."""

    name: Name | None = None
    """The name of the run among others."""
    suite: str
    """A suite by name, or a file relative to the folder of the board."""
    models: tuple[str, ...] | None = None
    """The models to run, instead of all of the suite; none if empty."""
    representations: tuple[Reference, ...] | None = None
    """The representations to run, instead of all of the suite."""
    batch_size: Annotated[Whole, Field(ge=1)] | Literal["auto"] = "auto"
    """Examples in a batch."""
    cache: Literal["shared", "own"] = "shared"
    """Use of the usual cache; without it features are computed for this run alone."""
    folder: str = Field(default=".", pattern=r"^(\.|[A-Za-z0-9][A-Za-z0-9._-]*)$")
    """The folder below the board's that the run is published in."""

    @property
    def overrides(self) -> dict[str, Any]:
        """The overrides of `read_suite` that select this part of the suite."""
        settings = ["models=[]"] if self.models == () else []
        if self.representations is not None:
            settings.append(f"representations={json.dumps(self.representations)}")
        return {"models": self.models or (), "settings": settings}


class Awaited(Strict):
    """A model that a board should have, and has not been run."""

    model: str
    """The model, as `harness run -m` takes it."""
    suite: str
    """The suite to run it in, which has dictionaries for it."""


class BoardFile(Strict):
    """The runs that a published board is made of, and the commands that leave other results beside it."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["runs"]}, {"required": ["commands"]}]}
    )

    about: str = ""
    """A paragraph that the page begins with."""
    awaited: tuple[Awaited, ...] = ()
    """Models that the page shows as empty lines, each with the command that runs it."""
    runs: tuple[RunChoice, ...] = Field(default=(), min_length=1)
    """The runs; each of several has a `name`."""
    commands: tuple[str, ...] = Field(default=(), min_length=1)
    """Commands of plugins that leave results, written as after `harness`, without `-o`."""


@dataclass(frozen=True, kw_only=True)
class About:
    """Part of `board.yaml` that is for the readers of a board."""

    text: str = ""
    awaited: tuple[Awaited, ...] = ()
    beside: tuple[str, ...] = ()
    """Folders of the other boards that the same file makes, as seen from the board's own."""


NOTHING_SAID = About()
"""Part for readers of a board without `board.yaml`."""


def read_about(folder: Path) -> About:
    """Return what `board.yaml` in `folder` says to readers, or the one above it, if that makes the board in `folder`;
    nothing without one.
    """
    own = folder.resolve()  # the folder `.` has a name, and one above it
    for place, name in ((folder, "."), (own.parent, own.name)):
        path = place / "board.yaml"
        if path.is_file():
            try:
                file = read_yaml(path, "board").validate(BoardFile)
            except UsageError:
                if name == ".":
                    raise
                continue  # a file above the board need not be of boards
            places = [run.folder for run in file.runs]
            if file.commands or not places:  # results lie in the folder itself
                places.append(".")
            folders = dict.fromkeys(places)
            if name not in folders:
                continue
            others = (other for other in folders if other != name)
            up = "" if name == "." else "../"
            return About(
                text=file.about.strip() if name == "." else "",
                awaited=file.awaited if name == "." else (),
                beside=tuple(f"{up}{other}" if other != "." else ".." for other in others),
            )
    return NOTHING_SAID


def read_board(folder: Path) -> tuple[RunChoice, ...]:
    """Return the runs in `board.yaml` of `folder`, else one run of the suite named like the folder.

    A suite that is a file is relative to `folder`. Raise UsageError when two runs have one name, or where the file
    lists neither runs nor commands.
    """
    path = folder / "board.yaml"
    if not path.is_file():
        return (RunChoice(suite=folder.resolve().name),)
    file = read_yaml(path, "board")
    board = file.validate(BoardFile)
    runs = board.runs
    if not runs and not board.commands:
        raise UsageError(f"{file.where} lists neither runs nor commands, of which a board is made")
    names = [run.name for run in runs if run.name is not None]
    if len(names) < len(runs) > 1:
        raise UsageError(f"{file.where}: each of several runs needs a name of its own")
    file.check_twins(("runs",), "run", names)
    return tuple(run.model_copy(update={"suite": _find_suite(folder, run.suite)}) for run in runs)


def read_commands(folder: Path) -> tuple[str, ...]:
    """Return the commands in `board.yaml` of `folder` that leave results there; none without the file."""
    path = folder / "board.yaml"
    return read_yaml(path, "board").validate(BoardFile).commands if path.is_file() else ()


def _find_suite(folder: Path, suite: str) -> str:
    return str(folder / suite) if Path(suite).suffix in {".yaml", ".yml"} else suite
