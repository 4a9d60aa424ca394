"""Comparison of every reader of dictionaries with the library whose format it reads: `make interop`.

A module here is one library. It has FORMAT (as the matrix names it), LIBRARY (the distribution; empty where none can be
installed, and formulas stand for it), VERSION (where it is not the one of requirements.txt), GOLDEN (the folder below
tests/golden) and `cases(folder)`, which writes random
checkpoints with that library into folders of their own below `folder` and yields a `case.Case` for each.

Makes an environment in a temporary folder, installs requirements.txt there, compares, writes the golden vectors, and
prints the matrix as Markdown. Exit code 1 above a relative difference of 1e-5.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULES: tuple[str, ...] = (
    "sae_lens_",
    "sae_lens_5_",
    "sae_lens_loaders",
    "dictionary_learning_",
    "sparsify_",
    "openmoss_",
    "saev_",
    "formulas",
)
"""Modules of this folder, one a library."""
_INSIDE = "--inside"


def main() -> int:
    """Make the environment and compare in it; return the exit code."""
    if sys.version_info[:2] not in {(3, 11), (3, 12)}:
        sys.exit("the original libraries need Python 3.11 or 3.12: make .venv with one of them")
    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        python = _make_environment(Path(folder) / "venv")
        places = os.pathsep.join(str(ROOT / part) for part in ("", "plugins", "tasks", "tests"))
        settings = {
            "INTEROP_OLDER": f"{folder}/venv/older",
            "PYTHONPATH": places,
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
            "HARNESS_CACHE_DIR": f"{folder}/cache",
        }
        return subprocess.run(
            [python, __file__, _INSIDE, *sys.argv[1:]],
            env={**os.environ, **settings},
            cwd=folder,
            check=False,
        ).returncode


def _make_environment(folder: Path) -> Path:
    """Make an environment that has the pinned libraries, and below them what this one has; return its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    packages = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    (Path(packages.strip()) / "below.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--ignore-installed", "-r", HERE / "requirements.txt"], check=True)
    subprocess.run([*pip, "--target", folder / "older", "-r", HERE / "older.txt"], check=True)
    return python


def compare_all(modules: list[str]) -> int:
    """Compare, write the golden vectors and print the matrix; return the exit code."""
    import torch

    from interop.case import LARGEST_DIFFERENCE, MOST_BYTES, compare, write_golden

    torch.set_num_threads(1)
    bad = []
    lines = ["| format | original library | checkpoint | features | decoder |", "|---|---|---|---|---|"]
    for name in modules or MODULES:
        module = importlib.import_module(f"interop.{name}")
        known = getattr(module, "VERSION", None) or (version(module.LIBRARY) if module.LIBRARY else "")
        library = f"{module.LIBRARY} {known}" if module.LIBRARY else "formula"
        with tempfile.TemporaryDirectory() as folder:
            cases = list(module.cases(Path(folder)))
            for case in cases:
                found = compare(case)
                decoder = "–" if found.rebuilt is None else f"{found.rebuilt:.0e}"
                lines.append(
                    f"| {module.FORMAT} | {library} | {case.name} | {found.features:.0e} | {decoder} |"
                )
                if not found.largest <= LARGEST_DIFFERENCE:
                    bad.append(f"{module.FORMAT}, {case.name}: {found.largest:.1e}")
            kept = [case for case in cases if case.golden]
            if not kept:
                continue
            size = write_golden(kept, ROOT / "tests/golden" / module.GOLDEN, Path(folder), written_by=library)
        if size > MOST_BYTES:
            bad.append(f"{module.FORMAT}: golden vectors of {size:,} bytes, of {MOST_BYTES:,} at most")
    print("\n".join(lines))
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(compare_all(sys.argv[2:]) if sys.argv[1:2] == [_INSIDE] else main())
