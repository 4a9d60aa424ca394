"""Checkpoints of original libraries, what these compute from them, and the comparison with the harness."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import harness_saes
import torch

import harness
from harness.dictionaries.dictionary import Dictionary

LARGEST_DIFFERENCE = 1e-5
"""Largest difference that is accepted, relative to the largest value of the original."""
MOST_BYTES = 50_000
"""Room of one format's golden vectors."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One checkpoint, written by its library, and what that library computes from it in float32.

    `path` is what a reference names: a folder or file in a folder of this case's own below the folder that `cases` was
    given. `x` is `[tokens, d_in]`, `features [tokens, d_sae]`, and `rebuilt [tokens, d_in]`, None where the library
    does not decode. `options` are those of the reference. Only cases of `golden` become golden vectors.
    """

    name: str
    path: Path
    site: str
    x: torch.Tensor
    features: torch.Tensor
    rebuilt: torch.Tensor | None
    options: Mapping[str, Any] = field(default_factory=dict)
    golden: bool = True


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Largest difference of features, and of reconstructions (None without), relative to the largest value."""

    features: float
    rebuilt: float | None

    @property
    def largest(self) -> float:
        """The larger of both."""
        return max(self.features, self.rebuilt or 0.0)


def open_dictionary(path: Path, site: str, options: Mapping[str, Any]) -> harness.PlacedRepresentation:
    """Return the dictionary at a path as a suite would get it."""
    spec = harness_saes.harness_resolve_representation(str(path)) or harness_saes.resolve_or_refuse(str(path))
    assert spec is not None, f"no reader takes {path}"
    model: Any = SimpleNamespace(architecture="llama", name="model")
    placed = spec.make(**options).at(model, harness.Site.parse(site))
    assert not isinstance(placed, str)
    return placed


def compare(case: Case) -> Difference:
    """Return how far the harness is from the original, with and without the decoder, at once and by slices."""
    placed = open_dictionary(case.path, case.site, case.options)
    assert placed.load_whole is not None
    assert (placed.d_in, placed.width) == (case.x.shape[1], case.features.shape[1])
    bare, whole = placed.load("cpu"), placed.load_whole("cpu")
    assert isinstance(bare, Dictionary) and isinstance(whole, Dictionary)
    assert bare.W_dec is None, "a dictionary without decoder was asked for"
    assert bool((case.features != 0).any()), "no feature is active, so that nothing is compared"
    slices = torch.cat([part for _, part in bare.slices(case.x, 5)], 1)
    features = max(distance(each, case.features) for each in (bare.encode(case.x), slices))
    if case.rebuilt is None:
        return Difference(features=features, rebuilt=None)
    rebuilt, _ = whole.rebuild(case.x, 5)
    return Difference(features=features, rebuilt=distance(rebuilt, case.rebuilt))


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference relative to the largest value; infinite unless all is finite."""
    assert ours.shape == theirs.shape
    found = float((ours - theirs).abs().max() / theirs.abs().max())
    return found if found == found else float("inf")


# ── golden vectors ───────────────────────────────────────────────────────────────────────────────────────


def write_golden(cases: list[Case], folder: Path, above: Path, *, written_by: str) -> int:
    """Write the checkpoints below `above` and their values to `folder`; return the bytes that they take."""
    shutil.rmtree(folder, ignore_errors=True)
    for case in cases:
        own = case.path.relative_to(above).parts[0]
        folder.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (above / own).is_dir() else shutil.copy
        copy(above / own, folder / own)
        said = {
            "name": case.name,
            "written_by": written_by,
            "checkpoint": case.path.relative_to(above).as_posix(),
            "site": case.site,
            "options": dict(case.options),
            "x": _as_lists(case.x),
            "features": _as_lists(case.features),
            "rebuilt": None if case.rebuilt is None else _as_lists(case.rebuilt),
        }
        (folder / f"{own}.json").write_text(json.dumps(said, separators=(",", ":")) + "\n")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _as_lists(values: torch.Tensor) -> list[list[float]]:
    # Nine significant digits hold every float32.
    return [[float(f"{value:.9g}") for value in row] for row in values.float().tolist()]


def read_golden(path: Path) -> Case:
    """Return a case of golden vectors from its JSON file."""
    said = json.loads(path.read_text())
    return Case(
        name=said["name"],
        path=path.parent / said["checkpoint"],
        site=said["site"],
        x=torch.tensor(said["x"]),
        features=torch.tensor(said["features"]),
        rebuilt=None if said["rebuilt"] is None else torch.tensor(said["rebuilt"]),
        options=said["options"],
    )
