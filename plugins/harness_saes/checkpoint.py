"""Reader of single-file PyTorch checkpoints, in a folder or on the hub.

Only tensors and plain values are read. Unpickling other objects can run arbitrary code, so a file that holds
any is refused.
"""

from __future__ import annotations

import pickle
import posixpath
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import harness
from harness_saes.refusals import check_pair, no_autoencoder, wrong_site
from harness_saes.repository import HubRepository, LocalRepository, Repository, full_reference

if TYPE_CHECKING:
    import torch

VISION = "vision"
"""Tower whose activations the dictionaries of image models read."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """File `name` of a repository, found through the reference `ref`.

    `place` is its folder or reference, whose names may say where the dictionary was trained.
    """

    ref: str
    repository: Repository
    name: str
    place: str

    @classmethod
    def find(cls, ref: str, name: str) -> Checkpoint:
        """Find a file, or the file `name` of a folder, on this machine or on the hub."""
        path = harness.local_path(ref)
        if path.is_file() or path.is_dir():
            folder = path.parent if path.is_file() else path
            own = path.name if path.is_file() else name
            return cls(ref=ref, repository=LocalRepository(folder), name=own, place=str(folder.resolve()))
        repository = HubRepository.parse(ref.removesuffix(f"/{name}"))
        return cls(ref=ref, repository=repository, name=f"{repository.folder}/{name}".lstrip("/"), place=ref)

    @property
    def file(self) -> str:
        """File name without folders."""
        return self.name.rpartition("/")[2]

    @property
    def path(self) -> Path | None:
        """Path of the file; None if it is not on this machine."""
        return self.repository.local(self.name)

    def beside(self, name: str) -> str:
        """Return the name of another file in the same folder, or in the one above for `../NAME`."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.name), name))

    def reference(self, *, depth: int = 1) -> str:
        """Return the exact reference; for a local folder, its last `depth` parts."""
        return full_reference(self.repository, self.name, depth=depth)

    def check_site(self, trained_on: harness.Site | None, site: harness.Site, *, any_site: bool) -> None:
        """Raise UsageError unless `site` is where the dictionary was trained.

        If that is unknown, every layer of a vision tower's residual stream is accepted.
        """
        of_stream = (site.tower, site.kind) == (VISION, "resid_post")
        fits = of_stream if trained_on is None else site == trained_on
        if any_site or fits:
            return
        where = f"'{trained_on}'" if trained_on else "the residual stream of a vision tower"
        raise wrong_site(self.ref, where, site)

    def read(self, source: Path | IO[bytes]) -> Any:
        """Load a file of tensors and plain values; raise UnavailableError for anything else.

        Tensors of a path are memory-mapped.
        """
        import torch

        said = f"dictionary '{self.ref}': {self.file} cannot be read as a file of PyTorch tensors"
        with harness.parsing(said, hint="fetch it again"):
            try:
                mapped = isinstance(source, Path) and zipfile.is_zipfile(source)
                self._check_unpacked(source)
                return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
            except pickle.UnpicklingError as error:
                # torch has one type for a damaged file and for one of Python objects; the text only chooses the
                # sentence.
                if "GLOBAL" not in str(error):
                    raise
                raise harness.UnavailableError(
                    f"dictionary '{self.ref}': {self.file} is not read, as Python objects in it could run code: ask "
                    f"its author for the tensors alone, torch.save(sae.state_dict(), path)"
                ) from error

    def _check_unpacked(self, source: Path | IO[bytes]) -> None:
        """Raise OSError for an archive of far more bytes than the file has; torch unpacks what is compressed."""
        if zipfile.is_zipfile(source) and self.path:
            with zipfile.ZipFile(source) as archive:
                harness.check_unpacked(self.path, sum(entry.file_size for entry in archive.infolist()))
        if not isinstance(source, Path):
            source.seek(0)

    def require(self, name: str, held: Collection[Any]) -> None:
        """Raise UnavailableError that says what the file holds unless `name` is among the tensors that it `held`."""
        if name not in held:
            raise harness.UnavailableError(
                f"dictionary '{self.ref}' has no {name}; {self.file} holds: "
                f"{harness.name_some(sorted(map(str, held)), nothing='nothing')}"
            )

    def tensor(self, tensors: Any, name: str) -> torch.Tensor:
        """Return a floating-point tensor of a state dict by name; raise UnavailableError if there is none."""
        import torch

        held = tensors if isinstance(tensors, Mapping) else {}
        self.require(name, {key for key, value in held.items() if isinstance(value, torch.Tensor)})
        found: torch.Tensor = held[name]
        if found.layout is not torch.strided or found.is_meta:
            what = "no data" if found.is_meta else "a sparse tensor"
            raise harness.UnavailableError(
                f"dictionary '{self.ref}': {name} holds {what}, and only dense tensors are read: ask its author for one"
            )
        # A tensor may repeat the few numbers of its storage by a stride of 0, and would take all its room when copied.
        if found.numel() * found.itemsize > found.untyped_storage().nbytes():
            raise harness.UnavailableError(
                f"dictionary '{self.ref}': {name} says that it is {list(found.shape)}, and holds "
                f"{found.untyped_storage().nbytes():,} bytes: fetch it again"
            )
        if not found.is_floating_point():
            dtype = str(found.dtype).removeprefix("torch.")
            raise harness.UnavailableError(f"dictionary '{self.ref}': {name} holds {dtype}, not floats")
        return found

    def check_pair(self, tensors: Any) -> None:
        """Raise UsageError if a state dict is that of a transcoder: by a skip path, or by the size of its output."""
        held = tensors if isinstance(tensors, Mapping) else {}
        if "W_skip" in held:
            raise no_autoencoder(self.ref, "transcoder")
        check_pair(self.ref, *(getattr(held.get(name), "shape", ()) for name in ("W_enc", "W_dec")))

    def take(self, tensors: Any, names: Sequence[str], device: str) -> dict[str, torch.Tensor]:
        """Return the named tensors in float32 on a device."""
        import torch

        # Copies: a memory-mapped file may be replaced while the dictionary is in use.
        return {
            name: self.tensor(tensors, name).detach().to(device, torch.float32, copy=True) for name in names
        }
