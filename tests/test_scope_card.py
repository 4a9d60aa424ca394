"""The cards of the embedded dictionaries, from what training and reports left beside them; and what ships."""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path

import pytest
from harness_gemma import SCOPE
from harness_minigemma.model import SIZES, WEIGHTS

from harness.dictionary_report import card

SHIPPED = sorted(WEIGHTS.glob("minigemma-*-scope/layer_*/width_*/average_l0_*"))
REAL = sorted(SCOPE.glob("layer_*/width_*/average_l0_*"))


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


def test_the_real_model_has_small_dictionaries_at_three_depths_that_saw_two_million_tokens_and_no_outliers() -> (
    None
):
    assert {path.parts[-3] for path in REAL} == {"layer_4", "layer_8", "layer_13"} and len(REAL) == 3
    assert sum(path.stat().st_size for path in SCOPE.rglob("*") if path.is_file()) < 20_000_000
    text = (SCOPE / "README.md").read_text("utf-8")
    assert "CC BY 4.0" in text and "PROVISIONAL" not in text
    for folder in REAL:
        training = json.loads((folder / "training.json").read_text("utf-8"))
        assert training["tokens"] >= 2_000_000 and training["recipe"]["max_norm_ratio"] == 3
        assert f"{training['tokens']:,}" in text


@pytest.mark.parametrize("folder", [*SHIPPED, *REAL], ids=lambda path: "/".join(path.parts[-4:]))
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


@pytest.mark.parametrize("name", [path.name for path in sorted(WEIGHTS.glob("*-scope"))])
def test_the_card_that_ships_is_made_of_what_lies_beside_the_dictionaries(name: str) -> None:
    folder, model = WEIGHTS / name, name.removesuffix("-scope")
    shipped = (folder / "README.md").read_text("utf-8")
    _, *paragraphs = shipped.split("\n\n")
    notes = list(takewhile(lambda one: not one.startswith("Sparse autoencoders of"), paragraphs))
    assert shipped == card.to_markdown(name, card.read_dictionaries(folder), model=model, notes=notes)
    training = json.loads((WEIGHTS / model / "training.json").read_text("utf-8"))
    assert ("PROVISIONAL" in shipped) == training["provisional"]
