"""Files of a new package: the templates of its kind, filled in and written."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from harness.api.errors import UsageError, WriteError
from harness.api.protocols import API_VERSION
from harness.api.text import printable
from harness.registry.source import OWN
from harness.scaffold.kinds import ABOUT, KINDS, TEMPLATES, with_article
from harness.scaffold.names import Names
from harness.storage.atomic import whole_file

LICENCES: Mapping[str, str] = {"apache-2.0": "Apache-2.0", "mit": "MIT"}
"""Licence, as `harness new` takes it → its SPDX identifier."""

_BASE = "base"
_SUFFIX = ".jinja"
"""Ending of a template's name: without it, installers would compile the templates as Python."""
_PACKAGE = "{{ cookiecutter.module }}"
_LONGEST = 120


@dataclass(frozen=True, kw_only=True)
class Package:
    """Package to be made: its kind, its names, the SPDX identifier of its licence, and who holds it."""

    kind: str
    names: Names
    licence: str
    author: str

    @property
    def context(self) -> dict[str, str | int]:
        """Values for the templates, which ask for them as `cookiecutter.NAME`."""
        return {
            "kind": self.kind,
            "article": with_article(self.kind).split()[0].capitalize(),
            "name": self.names.offer,
            "module": self.names.module,
            "project": self.names.project,
            "summary": KINDS[self.kind].summary,
            "licence": self.licence,
            "author": self.author,
            "author_quoted": json.dumps(self.author, ensure_ascii=False),
            "harness_version": version(OWN),
            "interface": API_VERSION,
            "show": spell("show", self.names.offer) if KINDS[self.kind].offered else spell("ls plugins"),
            "check": spell("check", self.names.module),
            "run": self.run,
        }

    @property
    def run(self) -> str:
        """The command that puts the plugin on a board of its own, or to its use."""
        kind = KINDS[self.kind]
        return spell(kind.command, kind.run.format(name=self.names.offer), f"-o runs/{self.names.offer}")


def spell(*words: str) -> str:
    """Return a command of the harness."""
    return " ".join(("harness", *words))


def read_author(text: str | None, names: Names) -> str:
    """Return the holder of the licence; where none is given, a placeholder. Raise UsageError for what is no name."""
    if text is None:
        return f"The authors of {names.project}"
    if not text.strip() or len(text) > _LONGEST or not text.isprintable():
        raise UsageError(
            f"'{printable(text)[:_LONGEST]}' cannot be the name of an author: take one line of at most {_LONGEST} "
            "letters"
        )
    return text.strip()


def write_package(package: Package, folder: Path, *, replace: bool) -> tuple[str, ...]:
    """Write all files of a package into a folder, and return their paths below it.

    With `replace`, files of the same names are replaced, and others stay. Raise UsageError where the folder holds
    something and `replace` is not given, and WriteError where it cannot be written.
    """
    try:
        if not replace and (folder.is_symlink() or folder.exists()) and not _is_empty(folder):
            raise UsageError(f"there is '{folder}' already: --replace")
        with tempfile.TemporaryDirectory() as name:
            made = _fill_in(package, Path(name))
            found = sorted(path for path in made.rglob("*") if path.is_file())
            for path in found:
                with whole_file(folder / path.relative_to(made)) as temporary:
                    shutil.copyfile(path, temporary)
            return tuple(path.relative_to(made).as_posix() for path in found)
    except OSError as error:
        raise WriteError.from_os(f"'{folder}'", error) from error


def list_next(package: Package, folder: Path) -> Sequence[str]:
    """Return the commands to go on with, in their order."""
    install = 'pip install -e ".[dev]"'
    return (
        f"cd {shlex.quote(str(folder))}",
        install,
        "pytest",
        spell("check", package.names.module),
        package.run,
    )


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _fill_in(package: Package, workshop: Path) -> Path:
    """Return a folder in the workshop with the files of a package."""
    from cookiecutter.generate import generate_files  # slow to import

    template = workshop / "template"
    for name in (_BASE, package.kind):
        _lay_out(TEMPLATES / name, template / "{{ cookiecutter.project }}")
    made = workshop / "made"
    # Hooks are programs in a template; ours has none, and none may be run.
    return Path(
        generate_files(template, {"cookiecutter": package.context}, output_dir=made, accept_hooks=False)
    )


def _lay_out(source: Path, target: Path) -> None:
    """Copy templates under the names that cookiecutter fills in.

    Modes of files stay behind: those of an installed package may be read-only.
    """
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_dir() or "__pycache__" in parts or path.name == ABOUT:
            continue
        named = [_PACKAGE if part == "package" else part.replace("dot-", ".", 1) for part in parts]
        place = target.joinpath(*named)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place.with_name(place.name.removesuffix(_SUFFIX)))
