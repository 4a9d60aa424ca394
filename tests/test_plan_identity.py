"""Identities of every shipped suite that can be planned offline: a change of the code's shape changes none of them.

`python tests/test_plan_identity.py` writes `plan_identity.json` anew; do that only where a number is meant to change,
and say which and why in the changelog.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pytest

import harness
from harness.planning.cells import Plan
from harness.planning.cost import estimate

FILE = Path(__file__).with_name("plan_identity.json")
QUICK = (
    "crosslingual-quick",
    "mosaic-noise",
    "planted",
    "probing-noise",
    "quickstart",
    "safety-text",
    "vision",
    "vision-quick",
)
"""Suites of every kind of bundle that take a minute together; all of them take seven (`make test-identities`)."""
TIMED = ("safety-text", "general-text", "behaviours")
"""Suites whose published runs ran alone on two cores, so that the time they took is known."""
LEADERBOARDS = Path(__file__).parent.parent / "leaderboards"
KINDS = ("cells", "features", "fitted", "gate")


def digest(keys: Iterable[str | None]) -> list[object]:
    """Return how many distinct keys there are, and one SHA-256 over all of them, sorted."""
    present = sorted({key for key in keys if key})
    return [len(present), hashlib.sha256("\n".join(present).encode()).hexdigest()[:32]]


def identities(plan: Plan) -> dict[str, dict[str, list[object]]]:
    """Return, for each bundle and transfer of a plan, the digests of its cell ids and of its three kinds of key."""
    assert not plan.left_out
    bundles = {bundle.name: bundle for bundle in plan.bundles}
    bundles |= {transfer.name: transfer.target for transfer in plan.transfers}
    found = {}
    for name, bundle in bundles.items():
        keys = (
            [cell.cell_id for cell in bundle.cells],
            [features.key for features in bundle.model_features],
            [features.fitted_key for features in bundle.model_features],
            [features.gate_key for features in bundle.model_features],
        )
        found[name] = {kind: digest(each) for kind, each in zip(KINDS, keys, strict=True)}
    return found


def expected() -> dict[str, dict[str, dict[str, list[object]]]]:
    """Return the committed identities: suite → bundle → kind → [count, digest]."""
    return json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}


@pytest.fixture(scope="module")
def session() -> harness.Session:
    return harness.open(data_dir=os.environ.get("HARNESS_DATA_DIR"), device="cpu")


@pytest.fixture(scope="module")
def planned(request, session) -> tuple[str, Plan]:
    """A suite and its plan, which the tests of this file share: `scope` groups these by suite."""
    suite = request.param
    if session.data_dir is None:
        pytest.skip("HARNESS_DATA_DIR is not set: the identities are of the mirrored datasets")
    if suite not in QUICK and not os.environ.get("HARNESS_ALL_IDENTITIES"):
        pytest.skip("planned by `make test-identities` only")
    return suite, session.plan(suite)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("planned", sorted(expected()), indirect=True, scope="module")
def test_every_identity_of_a_shipped_suite_is_what_it_was(planned):
    suite, plan = planned
    assert identities(plan) == expected()[suite]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("planned", TIMED, indirect=True, scope="module")
def test_a_plan_expects_what_the_published_run_took_within_a_factor_of_two(planned):
    """Deterministic, since both are on record."""
    suite, plan = planned
    (path,) = (LEADERBOARDS / suite).glob("*.env.json")
    about = json.loads(path.read_text("utf-8"))
    began, ended = (datetime.fromisoformat(time) for time in (about["starts"][0]["time"], about["finished"]))
    taken = (ended - began).total_seconds()
    assert len(plan.cells) == about["cells"]
    expected = sum(estimate(one, device="cpu", cached=lambda key: False).seconds for one in plan.bundles)
    assert taken / 2 < expected < 2 * taken


def write() -> None:
    """Write the identities of every suite that can be planned here."""
    import time

    opened = harness.open(device="cpu")
    found = {}
    for suite in opened.registry.names("suites"):
        began = time.perf_counter()
        try:
            found[suite] = identities(opened.plan(suite))
        except (harness.HarnessError, AssertionError) as error:
            print(f"{suite}: left out: {str(error)[:100]}")
            continue
        cells = sum(int(one["cells"][0]) for one in found[suite].values())  # type: ignore[call-overload]
        print(
            f"{suite}: {len(found[suite])} bundles, {cells} cells, {time.perf_counter() - began:.1f} s",
            flush=True,
        )
    FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    write()
