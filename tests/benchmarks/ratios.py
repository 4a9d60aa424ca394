"""Compare the ratios of a pytest-benchmark file with the committed ones: exit code 1 where one is 20 % worse.

    python tests/benchmarks/ratios.py MEASURED.json [--update]

`--update` commits to what was measured, in results/ratios.json. Seconds are never compared: machines differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

COMMITTED = Path(__file__).parent / "results" / "ratios.json"

LOWER_IS_BETTER: Mapping[str, bool] = {
    "over_limit": True,
    "bytes_a_non_zero": True,
    "read_over_checksum": True,
    "write_over_checksum": True,
    "times_faster": False,
}
"""Names of ratios in the `extra_info` of a benchmark."""

WORSE = 1.2
"""Factor at which a ratio counts as worse: on shared machines the same code differs by up to a tenth."""


def read_ratios(path: Path) -> dict[str, float]:
    """Return the ratios of a file of pytest-benchmark, by `TEST: RATIO`."""
    benchmarks = json.loads(path.read_text("utf-8"))["benchmarks"]
    return {
        f"{one['name']}: {name}": float(one["extra_info"][name])
        for one in benchmarks
        for name in LOWER_IS_BETTER
        if name in one["extra_info"]
    }


def find_worse(measured: Mapping[str, float], committed: Mapping[str, float]) -> list[str]:
    """Return a sentence for each committed ratio that is worse now, or that was not measured."""
    found = []
    for name, before in committed.items():
        now = measured.get(name)
        if now is None:
            found.append(f"{name} was not measured: it was {before:.2f}")
        elif (now / before if LOWER_IS_BETTER[name.rsplit(": ", 1)[1]] else before / now) > WORSE:
            found.append(f"{name} is {now:.2f}, and was {before:.2f}")
    return found


def main() -> int:
    """Compare, or update."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--update", action="store_true")
    asked = parser.parse_args()
    measured = read_ratios(asked.measured)
    if asked.update:
        COMMITTED.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n", "utf-8")
        return 0
    worse = find_worse(measured, json.loads(COMMITTED.read_text("utf-8")))
    for sentence in worse:
        print(sentence, file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
