"""The card of the family's dictionaries, from what training and reports left beside them; and what ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness_minigemma import scope
from harness_minigemma.model import SIZES, WEIGHTS

SHIPPED = sorted(WEIGHTS.glob("minigemma-*-scope/layer_*/width_*/average_l0_*"))


def test_every_size_ships_with_dictionaries_at_three_depths_and_one_that_is_wider() -> None:
    found = {
        size: sorted(
            (int(path.parts[-3].removeprefix("layer_")), path.parts[-2])
            for path in SHIPPED
            if path.parts[-4] == f"minigemma-{size}-scope"
        )
        for size in SIZES
    }
    assert found == {
        "s": [(0, "width_512"), (1, "width_2k"), (1, "width_512"), (2, "width_512")],
        "m": [(1, "width_1k"), (2, "width_1k"), (2, "width_4k"), (4, "width_1k")],
        "l": [(1, "width_1792"), (3, "width_1792"), (3, "width_7168"), (5, "width_1792")],
    }


def test_models_and_dictionaries_together_are_small() -> None:
    family = [path for folder in WEIGHTS.glob("minigemma-*") for path in folder.rglob("*")]
    weights = [path for path in family if path.suffix in {".npz", ".safetensors"}]
    assert sum(path.stat().st_size for path in weights) < 40_000_000


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: "/".join(path.parts[-4:]))
def test_every_dictionary_that_ships_tells_how_it_was_trained_and_what_it_is_worth(folder: Path) -> None:
    training, reported = (
        json.loads((folder / name).read_text("utf-8")) for name in ("training.json", "report.json")
    )
    assert training["recipe"]["width"] == reported["width"]
    assert training["site"] == reported["site"]
    assert folder.name == f"average_l0_{round(training['heldout']['l0'])}"
    assert reported["arms"][0]["l0"] == pytest.approx(training["heldout"]["l0"], rel=0.25)
    card = (folder.parents[2] / "README.md").read_text("utf-8")
    assert f"`{'/'.join(folder.parts[-3:])}`" in card


@pytest.mark.parametrize("size", SIZES)
def test_the_card_that_ships_is_made_of_what_lies_beside_the_dictionaries(size: str) -> None:
    folder = WEIGHTS / f"minigemma-{size}-scope"
    training = json.loads((WEIGHTS / f"minigemma-{size}" / "training.json").read_text("utf-8"))
    text = scope.scope_card(
        f"minigemma-{size}", scope.read_reports(folder), provisional=training["provisional"]
    )
    assert (folder / "README.md").read_text("utf-8") == text
    assert ("PROVISIONAL" in text) == training["provisional"]


def test_a_dictionary_without_a_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no dictionaries"):
        scope.read_reports(tmp_path)
    folder = tmp_path / "layer_0" / "width_512" / "average_l0_9"
    folder.mkdir(parents=True)
    (folder / "params.npz").touch()
    (folder / "training.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"average_l0_9 has no report\.json"):
        scope.read_reports(tmp_path)
