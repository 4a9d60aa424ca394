"""`harness card`: the card of a folder of dictionaries, made of their records; and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness_minigemma.model import WEIGHTS

ARM = {"name": "dictionary", "explained_variance": 0.9, "median_explained_variance": 0.8, "l0": 9.5, "dead": 0.25,
       "small_channels_explained_variance": 0.6, "all_tokens_explained_variance": 0.95, "recovered": 0.97}  # fmt: skip
REPORT: dict[str, Any] = {
    "tokens": 3000, "dead": 0.25, "l0_share": 0.0125,
    "arms": [ARM, {**ARM, "name": "pca[n=10]", "explained_variance": 0.7}, {"name": "gone", "note": "too large"},
             {"name": "mean", "explained_variance": 0.0}],
    "validation": {"features": 9, "with_reading": 0.5, "holding": 0.5, "validated": 0.25, "precision": 0.5,
                   "unseen_precision": 0.5, "kinds": {"token": 3}},
    "large_channels": [{"number": 163, "variance_share": 0.47}],
    "outliers": {"tokens": 12, "limit": 16607.1, "max_norm_ratio": 3.0, "variance_share": 0.93},
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "model": "hf", "site": "resid_post.8", "tokens": 2_001_000, "seconds": 9_000.0, "hardware": "2 CPU cores",
    "date": "2026-11-30T22:24:23+00:00", "texts": {"count": 47_000, "sha256": "0", "passes": 1},
    "recipe": {"architecture": "batchtopk", "width": 760, "l0": 10, "max_norm_ratio": 3.0},
    "heldout": {"explained_variance": 0.9, "median_explained_variance": 0.8, "l0": 9.4, "tokens": 32_663, "dead": 0.3},
    "left_out": {"limit": 16607.1, "seen": 20189, "left_out": 86},
}  # fmt: skip
PLACE = "layer_8/width_760/average_l0_9"


def write(folder: Path, place: str = PLACE, *, training: Any = TRAINING, report: Any = REPORT) -> Path:
    """A folder of a dictionary with the records given; the card never reads its weights."""
    (folder / place).mkdir(parents=True)
    (folder / place / "params.npz").touch()
    for name, record in (("training.json", training), ("report.json", report)):
        if record is not None:
            (folder / place / name).write_text(json.dumps(record), "utf-8")
    return folder


def rows(card: str, heading: str) -> list[list[str]]:
    """The cells of each table below a heading, up to the next one."""
    section = card.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]


def test_a_card_states_training_figures_licence_and_sources(harness_command, tmp_path):
    manifest = tmp_path / "manifest.json"
    part = {
        "repo": "org/set *.xml",
        "register": "drama",
        "licence": "CC BY-SA 4.0",
        "attribution": "A. Author",
    }
    manifest.write_text(json.dumps([{**part, "lang": lang, "mb_raw": 3} for lang in ("de", "ru")]), "utf-8")
    scope = write(tmp_path / "my-scope")
    told = harness_command("card", scope, "--model", "gemma-3-270m", "--licence", "CC BY 4.0", "--manifest", manifest,
                           "--note", "A *note*.")  # fmt: skip
    assert told.code == 0, told.err
    assert told.out == f"{scope / 'README.md'}: 1 dictionary\n"
    card = (scope / "README.md").read_text("utf-8")
    assert card.startswith("# my-scope\n\nA *note*.\n\nSparse autoencoders of gemma-3-270m ")
    assert "\n\nLicence: CC BY 4.0.\n\n" in card
    head, _, row = rows(card, "Training")[:3]
    assert dict(zip(head, row, strict=True)) == {
        "dictionary": f"`{PLACE}`", "site": "resid_post.8", "tokens": "2,001,000", "time": "2.5 h",
        "hardware": "2 CPU cores", "date": "2026-11-30",
    }  # fmt: skip
    assert rows(card, "Training")[5] == [f"`{PLACE}`", "3", "16,607", "86", "20,189"]
    own, pca = (rows(card, "Held-out text")[place] for place in (2, 5))
    assert own == [
        f"`{PLACE}`",
        "0.900",
        "0.600",
        "0.800",
        "0.950",
        "9.5",
        "1.25%",
        "25.0%",
        "0.970",
        "25.0%",
    ]
    assert pca == [f"`{PLACE}`", "pca[n=10]", "0.700", "0.600", "0.800", "0.950", "9.5", "25.0%", "0.970"]
    assert len(rows(card, "Held-out text")) == 6  # neither bounds nor arms that were not measured
    assert f"more than 10% of the variance each (number, share): `{PLACE}` 163 (47%)." in card
    assert "12 (above 16,607, 3 times the median; 93% of the squared distances from the mean)" in card
    assert rows(card, "Data")[2:] == [["org/set", "drama", "de ru", "CC BY-SA 4.0", "A. Author"]]


def test_columns_that_earlier_reports_lack_are_left_out():
    from harness.dictionary_report.card import read_dictionaries, to_markdown

    card = to_markdown("x", read_dictionaries(WEIGHTS / "minigemma-s-scope"), model="minigemma-s")
    assert rows(card, "Held-out text")[0] == [
        "dictionary", "explained variance", "median", "L0", "L0 / width", "dead", "recovered", "validated",
    ]  # fmt: skip
    assert "Small channels" not in card and "Outlier" not in card


def test_without_reports_the_figures_are_those_of_the_training(harness_command, tmp_path):
    told = harness_command("card", write(tmp_path, report=None), "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out)["dictionaries"] == [PLACE]
    card = (tmp_path / "README.md").read_text("utf-8")
    assert rows(card, "Held-out data")[2] == [f"`{PLACE}`", "32,663", "0.900", "0.800", "9.4", "30.0%"]


def test_dictionaries_stand_by_layer_and_width(tmp_path):
    from harness.dictionary_report.card import read_dictionaries

    for place, width in (("layer_13/width_8/average_l0_2", 8), ("layer_4/width_1k/average_l0_2", 1024),
                         ("layer_4/width_512/average_l0_3", 512)):  # fmt: skip
        write(tmp_path, place, training={**TRAINING, "recipe": {"architecture": "tied", "width": width}})
    assert [one.folder.split("/average")[0] for one in read_dictionaries(tmp_path)] == [
        "layer_4/width_512", "layer_4/width_1k", "layer_13/width_8",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("training", "report", "code", "sentence"),
    [
        (None, REPORT, 3, "training.json' cannot be read (there is no such file): `harness train"),
        ({**TRAINING, "tokens": "many"}, REPORT, 3, "training.json' cannot be read (tokens: "),
        (TRAINING, {**REPORT, "arms": []}, 3, "report.json' has no arms"),
        (
            TRAINING,
            [],
            3,
            "report.json' cannot be read (it holds a list where a mapping of fields should be)",
        ),
        (TRAINING, {"tokens": 3}, 3, "report.json' cannot be read (dead: field required)"),
    ],
)
def test_a_record_that_is_none_is_one_sentence(harness_command, tmp_path, training, report, code, sentence):
    told = harness_command("card", write(tmp_path, training=training, report=report))
    assert (told.code, len(told.said)) == (code, 1)
    assert sentence in told.said[0]
    assert not (tmp_path / "README.md").exists()


@pytest.mark.parametrize(
    ("field", "own", "other"), [("site", "resid_post.8", "resid_post.5"), ("width", 760, 512)]
)
def test_a_report_on_another_dictionary_is_refused(harness_command, tmp_path, field, own, other):
    assert harness_command("card", write(tmp_path / "own", report={**REPORT, field: own})).code == 0
    told = harness_command("card", write(tmp_path / "other", report={**REPORT, field: other}))
    assert (told.code, len(told.said)) == (3, 1)
    assert (
        f"is on a dictionary of the {field} {other}, and the training.json beside it on one of {own}"
        in told.said[0]
    )


def test_a_folder_without_dictionaries_and_one_with_some_reports_are_refused(harness_command, tmp_path):
    told = harness_command("card", tmp_path)
    assert told.code == 3
    assert "holds no dictionaries, layer_L/width_W/average_l0_N/params.npz" in told.said[0]
    write(write(tmp_path), "layer_9/width_760/average_l0_9", report=None)
    told = harness_command("card", tmp_path)
    assert told.code == 3
    assert "layer_9/width_760/average_l0_9' has no report.json, and others have one" in told.said[0]


def test_a_list_of_sources_that_is_none_is_one_sentence(harness_command, tmp_path):
    manifest = tmp_path / "manifest.json"
    for text, reason in (
        ('{"repo": 1}', "it holds a mapping of fields"),
        ('[{"repo": "x"}]', "0.licence: field required"),
        ("", "it is empty"),
    ):
        manifest.write_text(text, "utf-8")
        told = harness_command("card", write(tmp_path / reason), "--manifest", manifest)
        assert (told.code, len(told.said)) == (3, 1)
        assert f"manifest.json' cannot be read ({reason}): it should be a JSON list" in told.said[0]


def test_a_card_that_is_there_is_replaced_only_on_demand(harness_command, tmp_path):
    write(tmp_path)
    (tmp_path / "README.md").write_text("by hand", "utf-8")
    told = harness_command("card", tmp_path)
    assert told.code == 2
    assert told.said == [f"harness: there is '{tmp_path / 'README.md'}' already: --replace"]
    assert (tmp_path / "README.md").read_text("utf-8") == "by hand"
    assert harness_command("card", tmp_path, "--replace").code == 0


def test_dictionaries_of_several_models_need_one_name(harness_command, tmp_path):
    write(write(tmp_path), "layer_9/width_760/average_l0_9", training={**TRAINING, "model": "other"})
    told = harness_command("card", tmp_path)
    assert told.code == 2
    assert "the dictionaries are of hf, other: name the model with --model" in told.said[0]
    assert harness_command("card", tmp_path, "--model", "both").code == 0
