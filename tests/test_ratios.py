"""The comparison of benchmarks with the committed ratios."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "benchmarks" / "ratios.py"
find_worse = runpy.run_path(str(SCRIPT))["find_worse"]


@pytest.mark.parametrize(
    ("name", "now", "is_worse"),
    [
        ("a: over_limit", 1.3, True),
        ("a: over_limit", 1.1, False),
        ("a: over_limit", 0.2, False),
        ("a: times_faster", 0.8, True),
        ("a: times_faster", 0.9, False),
        ("b: over_limit", 1.0, True),
    ],
)
def test_a_ratio_is_worse_at_twenty_percent_or_where_it_is_missing(
    name: str, now: float, is_worse: bool
) -> None:
    committed = {f"a: {name.split(': ')[1]}": 1.0}
    assert bool(find_worse({name: now}, committed)) is is_worse


def test_the_script_reads_what_pytest_benchmark_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = {"benchmarks": [{"name": "a", "extra_info": {"over_limit": 1.5, "rows": 3}}]}
    (tmp_path / "measured.json").write_text(json.dumps(written), "utf-8")
    monkeypatch.setattr(sys, "argv", ["ratios.py", str(tmp_path / "measured.json")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 1  # nothing of what is committed was measured
    assert "was not measured" in capsys.readouterr().err
