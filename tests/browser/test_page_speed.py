"""Time in a real browser of a page with 5,000 lines × 60 columns: from the address to the drawn table, and of a sort.

`HARNESS_BROWSER=1 pytest tests/browser --benchmark-only`. Milliseconds are those of the browser's own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 5

SORT = """async (key) => {
  const began = performance.now();
  document.querySelector(`.tabulator-col[tabulator-field="${key}"] button`).click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  return performance.now() - began;
}"""
"""Sort by a column, and wait until the browser has drawn what it gives."""


def test_a_page_of_5000_lines_opens(benchmark: Any, large: Callable[[int], Path], open_page: Any) -> None:
    path = large(5_000)
    ready = []

    def measure() -> None:
        ready.append(float(open_page(path).page.evaluate("document.documentElement.dataset.ready")))

    benchmark.pedantic(measure, rounds=ROUNDS)
    benchmark.extra_info["ms until drawn, median"] = sorted(ready)[len(ready) // 2]
    benchmark.extra_info["bytes"] = path.stat().st_size
    assert len(ready) >= ROUNDS and min(ready) > 0 and path.stat().st_size < 8_000_000


def test_a_table_of_5000_lines_is_sorted(
    benchmark: Any, large: Callable[[int], Path], open_page: Any
) -> None:
    opened = open_page(large(5_000))
    spent: list[float] = []

    def measure() -> None:
        spent.extend(opened.page.evaluate(SORT, key) for key in ("macro_f1", "representation"))

    benchmark.pedantic(measure, rounds=ROUNDS)
    benchmark.extra_info["ms a sort, median"] = sorted(spent)[len(spent) // 2]
    column = opened.page.locator('.tabulator-col[tabulator-field="representation"]')
    assert len(spent) >= 2 * ROUNDS and column.get_attribute("aria-sort") in ("ascending", "descending")
