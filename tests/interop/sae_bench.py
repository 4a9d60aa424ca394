"""Validation of exported files by the package sae-bench itself, part of `make interop`.

Installs the pinned package, without its dependencies, into a temporary folder, exports a published board, and has the
package's own type and its JSON Schema read every file. Exit code 1 if one is refused.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "sae-bench==0.6.0"
SCHEMA = "sae_bench/evals/sparse_probing/eval_output_schema_sparse_probing.json"


def main() -> None:
    """Export, and print a line for each file that the package reads."""
    with tempfile.TemporaryDirectory(prefix="sae-bench-") as folder:
        packages, exported = Path(folder) / "packages", Path(folder) / "exported"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages, PACKAGE]
        subprocess.run(pip, check=True)
        board = ROOT / "leaderboards" / "probing-ksparse"
        export = ["-m", "harness", "export", board, "--format", "saebench", "-o", exported]
        subprocess.run([sys.executable, *export], check=True, stdout=subprocess.DEVNULL)
        sys.path.insert(0, str(packages))
        from sae_bench.evals.sparse_probing.eval_output import SparseProbingEvalOutput

        reader = TypeAdapter(SparseProbingEvalOutput)
        schema = Draft202012Validator(json.loads((packages / SCHEMA).read_text("utf-8")))
        files = sorted(exported.glob("*.json"))
        for path in files:
            found = json.loads(path.read_text("utf-8"))
            read = reader.validate_python(found)
            schema.validate(found)
            metrics = found["eval_result_metrics"]
            for arm in ("llm", "sae"):
                for field, value in metrics[arm].items():
                    assert getattr(getattr(read.eval_result_metrics, arm), field) == value, (path.name, field)
            print(f"{PACKAGE} reads {path.name}: {len(read.eval_result_details)} datasets")
        sys.exit(0 if files else "nothing was exported")


if __name__ == "__main__":
    main()
