"""One file that torch.save wrote, in a folder or on the hub: where it lies, and what is in it.

Only tensors and plain values are read. A pickle may hold any object, and reading those may run any code: a file that
holds more is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

import harness
from harness_saes.gemma_scope import full_reference
from harness_saes.repository import HubRepository, LocalRepository, Repository

VISION = "vision"
"""The tower whose activations dictionaries of image models read."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The file `name` of a repository, which `ref` leads to; `place` is where it lies, as far as names of folders say
    something.
    """

    ref: str
    repository: Repository
    name: str
    place: str

    @classmethod
    def find(cls, ref: str, name: str) -> Checkpoint:
        """A file, or the file `name` of a folder, here or on the hub."""
        path = Path(ref).expanduser()
        if path.is_file() or path.is_dir():
            folder = path.parent if path.is_file() else path
            own = path.name if path.is_file() else name
            return cls(ref=ref, repository=LocalRepository(folder), name=own, place=str(folder.resolve()))
        repository = HubRepository.parse(ref.removesuffix(f"/{name}"))
        return cls(ref=ref, repository=repository, name=f"{repository.folder}/{name}".lstrip("/"), place=ref)

    @property
    def file(self) -> str:
        """Its name without folders."""
        return self.name.rpartition("/")[2]

    @property
    def path(self) -> Path | None:
        """Its path, if it is on this machine."""
        return self.repository.local(self.name)

    def beside(self, name: str) -> str:
        """The name of another file in its folder."""
        return f"{self.name.rpartition('/')[0]}/{name}".lstrip("/")

    def reference(self, *, depth: int = 1) -> str:
        """The exact dictionary; of a local folder the last `depth` parts."""
        return full_reference(self.repository, self.name, depth=depth)

    def check_site(self, trained_on: harness.Site | None, site: harness.Site, *, any_site: bool) -> None:
        """UsageError at another place than it was trained on. Where no more is known than that it was a vision tower,
        any layer of its residual stream will do.
        """
        of_stream = (site.tower, site.kind) == (VISION, "resid_post")
        fits = of_stream if trained_on is None else site == trained_on
        if any_site or fits:
            return
        where = f"'{trained_on}'" if trained_on else "the residual stream of a vision tower"
        raise harness.UsageError(
            f"dictionary '{self.ref}' was trained on {where}, not on '{site}'; any_site=true reads it there all the "
            f"same"
        )

    def read(self, source: Path | IO[bytes]) -> Any:
        """What was saved; of a path tensors stay on disk until they are used. MissingError for anything but tensors and
        plain values.
        """
        try:
            mapped = isinstance(source, Path) and zipfile.is_zipfile(source)
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
        except Exception as error:  # torch, pickle and zipfile raise what they like
            # torch has one type for a damaged file and for one of Python objects; the text only chooses the sentence.
            if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
                raise harness.MissingError(
                    f"dictionary '{self.ref}': {self.file} holds Python objects beside tensors, and reading those may "
                    f"run code, so it is not read: save the state dict alone, with torch.save(sae.state_dict(), path)"
                ) from error
            raise harness.MissingError(
                f"dictionary '{self.ref}': {self.file} cannot be read as a file of PyTorch tensors: fetch it again"
            ) from error

    def tensor(self, tensors: Any, name: str) -> torch.Tensor:
        """The tensor of that name in a state dict, as it is stored; MissingError where there is none of floats."""
        held = tensors if isinstance(tensors, Mapping) else {}
        found = held.get(name)
        if not isinstance(found, torch.Tensor):
            raise harness.MissingError(
                f"dictionary '{self.ref}' has no {name}; {self.file} holds: "
                f"{', '.join(sorted(map(str, held))) or 'nothing'}"
            )
        if not found.is_floating_point():
            dtype = str(found.dtype).removeprefix("torch.")
            raise harness.MissingError(f"dictionary '{self.ref}': {name} holds {dtype}, not floats")
        return found

    def take(self, tensors: Any, names: Sequence[str], device: str) -> dict[str, torch.Tensor]:
        """The tensors of those names, in float32 on a device; copies, so that nothing hangs on a file that somebody may
        replace.
        """
        return {
            name: self.tensor(tensors, name).detach().to(device, torch.float32, copy=True) for name in names
        }
