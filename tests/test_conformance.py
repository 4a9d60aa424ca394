"""Checks of plugins: a plugin of each kind that passes all of them, and for each check one that fails it alone."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from conformance_faults import FAULTS, FILES, GOOD, Fault

from harness.registry.opening import open_registry
from harness.testing.check import Outcome
from harness.testing.checks import CHECKS
from harness.testing.run import find_trials, run_trial

SLOW = {"reproducible", "listing", "stable"}
"""Checks that ask another process; for all plugins of a kind together one is asked."""


@pytest.fixture
def outcomes(install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Outcome]]:
    """`outcomes(source)` → what all checks say of a plugin with this source, those of another process where wanted."""

    def call(source: str, files: dict[str, str] = FILES, *, elsewhere: bool = False) -> list[Outcome]:
        folder = install(source, name="tried")
        for name, text in files.items():
            (folder / name).write_text(text)
        monkeypatch.setenv("HARNESS_PLUGINS", "tried,classifiers,poolings,baselines,regimes,quickstart")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        (tmp_path / "temporary").mkdir()
        for name in ("here", "folder"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / "here")
        registry = open_registry()
        assert not registry.faults, registry.faults
        failed: set[tuple[str, str, str]] = set()
        trials = find_trials(registry, "tried", tmp_path / "folder")
        found = [run_trial(one, failed) for one in trials if elsewhere or one.check.name not in SLOW]
        return [one for one in found if one is not None]

    return call


def failed(found: list[Outcome]) -> set[tuple[str, str]]:
    return {(one.kind, one.check) for one in found if one.status == "failed"}


@pytest.mark.slow
def test_a_good_plugin_of_each_kind_passes_every_check(outcomes: Any) -> None:
    found = outcomes("\n".join(GOOD.values()), elsewhere=True)
    assert {
        f"{one.kind} {one.offer} {one.check}: {one.sentence}" for one in found if one.status != "passed"
    } == set()
    passed = {(one.kind, one.check) for one in found}
    assert passed == {(kind, check.name) for check in CHECKS for kind in check.kinds}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.check not in SLOW], ids=str)
def test_a_faulty_plugin_fails_the_check_of_its_fault_and_no_other(outcomes: Any, fault: Fault) -> None:
    found = outcomes(*broken(fault))
    assert failed(found) == {(fault.kind, fault.check)}, [one for one in found if one.status == "failed"]
    assert {one.status for one in found} >= {"failed"}


def broken(fault: Fault) -> tuple[str, dict[str, str]]:
    """The source of a faulty plugin, and the files beside it."""
    source, files = GOOD[fault.kind], dict(FILES)
    if fault.file:
        assert files[fault.file].count(fault.old) == 1
        files[fault.file] = files[fault.file].replace(fault.old, fault.new)
    else:
        assert fault.old in source, f"{fault}: the good plugin does not hold {fault.old!r}"
        source = source.replace(fault.old, fault.new)
    return source, files


@pytest.mark.slow
def test_results_that_depend_on_the_process_fail_there_alone(outcomes: Any) -> None:
    """One plugin with offers of all kinds, so that one other process is asked."""
    faults = [fault for fault in FAULTS if fault.check == "reproducible"]
    found = outcomes("\n".join(broken(fault)[0] for fault in faults), elsewhere=True)
    assert failed(found) == {(fault.kind, "reproducible") for fault in faults}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.check in ("listing", "stable")], ids=str
)
def test_a_plugin_whose_listing_is_wrong_fails_there_alone(outcomes: Any, fault: Fault) -> None:
    assert failed(outcomes(*broken(fault), elsewhere=True)) == {("plugins", fault.check)}


@pytest.mark.slow
def test_one_that_ends_the_other_process_takes_no_other_offer_with_it(outcomes: Any) -> None:
    ends = "    import os, sys\n    if os.environ.get('PYTHONHASHSEED') == '12345':\n        sys.exit(3)\n"
    made = "    return Floored(floor)"
    found = outcomes(
        GOOD["poolings"].replace(made, f"{ends}{made}") + "\n" + GOOD["transforms"], elsewhere=True
    )
    assert failed(found) == {("poolings", "reproducible")}


VALID = """
    import os, pathlib, tempfile, torch
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "made").mkdir()
        pathlib.Path(folder, "made", "note").write_text("gone again")
    os.makedirs(pathlib.Path.home(), exist_ok=True)

    def pooling(values, offsets):
        factor = torch.tensor([2.0], device=values.device) * torch.as_tensor(0.5, device=values.device)
        more = values.new_tensor([0.0])
        parts = [values[start:end] for start, end in zip(offsets[:-1], offsets[1:])]
        return torch.stack([part[-1] * factor + more for part in parts])

    return pooling
"""
"""Body of a factory: the last token, with what a check could take for a write or a mix of devices."""


def test_what_a_valid_pooling_may_do_fails_no_check(outcomes: Any) -> None:
    old, new = "    return Floored(floor)", VALID.strip("\n")
    source = GOOD["poolings"].replace(old, new)
    given = "floor: float = -9.0"
    source = source.replace(given, f'{given}, of: list | None = None, by: dict = {{"a": (1, 2)}}')
    assert failed(outcomes(source)) == set()


def test_a_number_that_was_made_up_and_is_refused_skips_the_offer(outcomes: Any) -> None:
    refuses = "    if floor < 100:\n        raise harness.UsageError('floor is 100 at least')\n"
    source = GOOD["poolings"].replace("floor: float = -9.0", "floor: float")
    found = outcomes(source.replace("    return Floored(floor)", f"{refuses}    return Floored(floor)"))
    assert {one.status for one in found if one.kind == "poolings"} == {"skipped"}
    assert {one.sentence for one in found if one.kind == "poolings"} == {
        "its parameter 'floor' has no default: check it as floored(floor=…)"
    }


def test_a_classifier_without_weights_keeps_the_contract(outcomes: Any) -> None:
    assert failed(outcomes(GOOD["classifiers"].replace("(0.0, 0.5)", "(1.0, 0.5)"))) == set()


def test_a_room_of_the_harness_is_no_public_name(outcomes: Any) -> None:
    assert failed(outcomes(GOOD["plugins"].replace("import json", "from harness import stats"))) == {
        ("plugins", "public-names")
    }


@pytest.mark.parametrize(
    ("model", "is_path"), [("someone/apple", False), ("/app", True), ("/app/weights", True)]
)
def test_a_name_that_holds_the_letters_of_the_folder_is_no_path(
    monkeypatch: pytest.MonkeyPatch, model: str, is_path: bool
) -> None:
    from harness.testing.check import CheckFailed
    from harness.testing.checks.representations import _check_identity

    monkeypatch.setattr(Path, "cwd", lambda: Path("/app"))
    try:
        _check_identity({"model": model})
    except CheckFailed:
        assert is_path
    else:
        assert not is_path


def test_every_check_of_every_kind_has_one_faulty_plugin() -> None:
    assert Counter((fault.kind, fault.check) for fault in FAULTS) == Counter(
        (kind, check.name) for check in CHECKS for kind in check.kinds
    )


def test_every_kind_of_offer_is_checked() -> None:
    from harness.registry.loading import OFFERED

    assert {*GOOD} == {*OFFERED, "plugins"}


QUICK = (
    "alignments",
    "annotation",
    "autointerp",
    "baselines",
    "classifiers",
    "erasure",
    "labelling",
    "local",
    "mosaic",
    "patching",
    "poolings",
    "progress",
    "regimes",
    "saes",
)
"""Plugins of the harness whose checks take seconds; `make test-proofs` checks all of them, as strangers' are."""


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`faults(name)` → the checks that an offer or a plugin of the harness fails."""

    def call(name: str, *, model: str | None = None, elsewhere: bool = False) -> list[str]:
        monkeypatch.chdir(tmp_path)
        registry, failed = open_registry(), set[tuple[str, str, str]]()
        trials = find_trials(registry, name, tmp_path, beside={"models": model} if model else {})
        found = [run_trial(one, failed) for one in trials if elsewhere or one.check.name not in SLOW]
        assert any(one and one.status == "passed" for one in found)
        return [f"{one.offer} {one.check}: {one.sentence}" for one in found if one and one.status == "failed"]

    return call


@pytest.mark.parametrize("plugin", QUICK)
def test_the_plugins_of_the_harness_keep_the_contracts(faults: Any, plugin: str) -> None:
    assert faults(plugin) == []


@pytest.mark.parametrize(
    ("offer", "model"),
    [
        pytest.param("minigemma-s", None, marks=pytest.mark.long),
        ("minigemma-scope", "minigemma-s"),
        ("few_shot(k=4, source=en)", None),
        ("translations(source=en)", None),
        ("imbalance(share=0.5, n=12)", None),
    ],
)
def test_offers_that_need_a_parameter_or_a_model_keep_the_contracts(
    faults: Any, offer: str, model: str
) -> None:
    assert faults(offer, model=model) == []


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("plugin", sorted(point.name for point in entry_points(group="harness")))
def test_every_plugin_of_the_harness_keeps_the_contracts_in_another_process_too(
    faults: Any, plugin: str
) -> None:
    assert faults(plugin, elsewhere=True) == []
