"""Runs that learn in one place and are tested in another: pairs of languages, pairs of models. Through the command
line, with toy regimes and alignments whose answers are known.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

PLUGIN = '''
from dataclasses import replace
import harness

class Pairs:
    """Every language to every language."""
    def __call__(self, examples, rows, seed):
        def of(part, language): return tuple(row for row in part if examples.languages[row] == language)
        tags = sorted(set(examples.languages))
        return [
            replace(rows, train=of(rows.train, a), validation=of(rows.validation, a), test=of(rows.test, b))
            for a in tags for b in tags if of(rows.train, a) and of(rows.test, b)
        ]

class Broken(Pairs):
    def __init__(self, how): self.how = how
    def __call__(self, examples, rows, seed):
        made = super().__call__(examples, rows, seed)
        if self.how == "twin": return [replace(made[0], train=made[0].train[1:], test=made[0].train[:1])]
        if self.how == "twice": return [made[0], made[0]]
        return []

class Reversed:
    """Knows that the columns of two models stand in reverse."""
    def fit(self, source, target): self.n = source.shape[1]; return self
    def transform(self, target): return target[:, ::-1][:, :self.n]

class Same:
    def fit(self, source, target):
        if source.shape != target.shape: raise ValueError("unlike")
        return self
    def transform(self, target): return target

@harness.hookimpl
def harness_regimes():
    make = lambda *, how: Broken(how)
    return [
        harness.RegimeSpec(name="pairs", summary="", make=Pairs, by_language=True, moves_test=True),
        harness.RegimeSpec(name="broken", summary="", make=make, by_language=True, moves_test=True),
    ]

@harness.hookimpl
def harness_alignments():
    return [harness.AlignmentSpec(name="same", summary="", make=Same)]
'''

WORDS = {"de": ("gut", "schlecht"), "en": ("good", "bad"), "yo": ("dara", "buru")}


def rows_of(n: int = 60, languages: tuple[str, ...] = ("de", "en", "yo")) -> list[dict[str, Any]]:
    """`n` items in several languages; one word, another in each language, tells the label."""
    return [
        {
            "text": f"{language} item {i} {WORDS[language][i % 2]}",
            "label": ("pos", "neg")[i % 2],
            "lang": language,
            "item": i,
            "split": ("train", "train", "validation", "test")[i // 2 % 4] if n >= 8 else "train",
        }
        for i in range(n)
        for language in languages
    ]


Run = Callable[..., Any]


@pytest.fixture
def run(harness_command: Any, install: Any, tmp_path: Path) -> Run:
    """`run(rows, suite fields…)` → the command's result; its records and the folder are beside it."""
    install(PLUGIN)

    def call(rows: list[dict[str, Any]], *more: str, suite: str = "", output: str = "out") -> Any:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / "data.jsonl").write_text(text, "utf-8")
        (tmp_path / "task.yaml").write_text(
            "name: toy\nsource: {file: data.jsonl}\nlicence: CC0\ncitation: none\nlanguages: [de, en, yo]\n"
            "columns: {language: lang, group: item}\n"
        )
        base = "tasks: [toy]\npoolings: [max]\nclassifiers: ['logreg(C=1.0)']\n"
        if "representations" not in suite:
            base += "models: [{ref: minigemma-s, sites: [resid_post.0]}]\n"
            base += "representations: [hidden, 'random_sae[width=64,k=8]', tfidf]\n"
        (tmp_path / "suite.yaml").write_text(f"name: toy\n{base}{suite}")
        return harness_command(
            "run", "suite.yaml", "--include", "task.yaml", "-o", output, "-d", "cpu", *more
        )

    return call


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text("utf-8").splitlines()]


# ── languages ────────────────────────────────────────────────────────────────────────────────────────────


def test_every_pair_of_languages_is_a_cell_and_the_model_runs_once_a_row(run: Run, tmp_path: Path) -> None:
    result = run(rows_of(), suite="regimes: [pairs]\n")
    assert result.code == 0, result.err
    found = records(tmp_path / "out")
    pairs = defaultdict(set)
    for record in found:
        pairs[record["representation"]].add((record["train_language"], record["test_language"]))
        assert (record["n_train"], record["regime"]) == (32, "pairs") or record["n_train"] < 60
    tags = ("de", "en", "yo")
    assert all(each == {(a, b) for a in tags for b in tags} for each in pairs.values())
    tokens = {record["cost"]["tokens"] for record in found if record["model"]}
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "forward" for event in events) == 1
    assert len(tokens) == 1  # every cell is of the one pass
    again = run(rows_of(), suite="regimes: [pairs]\n")
    assert again.code == 0
    assert len(records(tmp_path / "out")) == len(found)


def test_a_pair_learns_and_chooses_in_one_language_and_is_tested_in_another(run: Run, tmp_path: Path) -> None:
    assert run(rows_of(), suite="regimes: [pairs]\n").code == 0
    by_pair = {
        (record["train_language"], record["test_language"]): record
        for record in records(tmp_path / "out")
        if record["representation"] == "tfidf"
    }
    for (train, test), record in by_pair.items():
        frame = pd.read_parquet(tmp_path / "out" / "predictions" / f"{record['cell_id']}.parquet")
        assert len(frame) == record["n_test"] == 14
        assert frame["group"].is_unique
        # Words of one language say nothing in another; in their own all.
        value = record["metrics"]["macro_f1"]["value"]
        assert value == 1.0 if train == test else value < 0.8


def test_what_is_learnt_in_one_language_is_the_same_wherever_it_is_tested(run: Run, tmp_path: Path) -> None:
    assert run(rows_of(), suite="regimes: [pairs]\n").code == 0
    learnt = defaultdict(set)
    for record in records(tmp_path / "out"):
        learnt[record["representation"], record["train_language"]].add(json.dumps(record["used"]))
    assert all(len(used) == 1 for used in learnt.values())


def test_one_pair_at_a_time_gives_what_all_at_once_give(run: Run, tmp_path: Path) -> None:
    """What was learnt once for many is what each alone would have learnt: an interrupted run cannot differ."""
    assert run(rows_of(), suite="regimes: [pairs]\n").code == 0
    whole = {record["cell_id"]: record for record in records(tmp_path / "out")}
    results = tmp_path / "out" / "results.jsonl"
    kept = results.read_text("utf-8").splitlines()[::2]
    results.write_text("".join(line + "\n" for line in kept), "utf-8")
    assert run(rows_of(), suite="regimes: [pairs]\n").code == 0
    resumed = {record["cell_id"]: record for record in records(tmp_path / "out")}
    for cell_id, record in whole.items():
        assert resumed[cell_id]["predictions_hash"] == record["predictions_hash"]
        assert resumed[cell_id]["sharing"] == record["sharing"]
        assert resumed[cell_id]["metrics"] == record["metrics"]


def test_sharing_is_recorded_for_dictionaries_between_languages_only(run: Run, tmp_path: Path) -> None:
    assert run(rows_of(), suite="regimes: [pairs]\n").code == 0
    for record in records(tmp_path / "out"):
        wanted = record["representation"].startswith("random_sae") and (
            record["train_language"] != record["test_language"]
        )
        assert (record["sharing"] is not None) == wanted
        if wanted:
            assert 0 <= record["sharing"]["weight"] <= 1
            assert record["sharing"]["both"] > 0


def test_languages_that_are_only_learnt_from_or_tested_on_are_said(run: Run, tmp_path: Path) -> None:
    rows = [row for row in rows_of() if (row["lang"], row["split"]) != ("yo", "test")]
    rows = [row for row in rows if row["lang"] != "de" or row["split"] == "test"]
    result = run(rows, suite="regimes: [pairs]\n")
    assert result.code == 0, result.err
    assert "note: task 'toy' has no training rows in de, which can only be tested on" in result.err
    assert "note: task 'toy' has no test rows in yo, which can only be learnt from" in result.err
    found = {(record["train_language"], record["test_language"]) for record in records(tmp_path / "out")}
    assert found == {("en", "de"), ("en", "en"), ("yo", "de"), ("yo", "en")}


def test_a_language_with_another_label_is_not_tested_by_one_that_lacks_it(run: Run, tmp_path: Path) -> None:
    rows = rows_of()
    for row in rows:
        if row["lang"] == "de" and row["item"] % 3 == 0:
            row["label"] = "other"
    result = run(rows, suite="regimes: [pairs]\n")
    assert result.code == 0, result.err
    assert "no training rows of 'other' in en" in result.err
    found = {(record["train_language"], record["test_language"]) for record in records(tmp_path / "out")}
    assert ("en", "de") not in found
    assert {("de", "en"), ("en", "yo"), ("de", "de")} <= found


def test_labels_that_no_two_languages_share_leave_their_own_only(run: Run, tmp_path: Path) -> None:
    rows = rows_of(languages=("de", "en"))
    for row in rows:
        row["label"] = f"{row['lang']}-{row['label']}"
    assert run(rows, suite="regimes: [pairs]\n").code == 0
    assert {(r["train_language"], r["test_language"]) for r in records(tmp_path / "out")} == {
        ("de", "de"), ("en", "en"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("twin", "tests on rows that are no test rows"),
        ("twice", "from de to de twice"),
        ("none", "no two languages"),
    ],
)
def test_a_regime_by_language_that_breaks_the_rules_is_refused(run: Run, how: str, said: str) -> None:
    result = run(rows_of(), suite=f"regimes: ['broken(how={how})']\n")
    assert result.code in (2, 3)
    assert said in result.err
    assert len(result.said) == 1


def test_the_rows_of_a_pair_are_held_to_the_data(run: Run, harness_command: Any, tmp_path: Path) -> None:
    assert run(rows_of(), suite="regimes: [pairs]\n").code == 0
    checked = harness_command("validate", "out", "--include", "task.yaml", "--data-dir", tmp_path)
    assert checked.code == 0, checked.out + checked.err


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────

BETWEEN = """
models:
  - {ref: minigemma-s, sites: [resid_post.0]}
  - {ref: "minigemma-s[max_length=64]", sites: [resid_post.0]}
representations: [hidden, "random_sae[width=64,k=8]", tfidf]
transfers: [{from: minigemma-s, to: "minigemma-s[max_length=64]"}]
alignments: [same]
"""


def test_a_classifier_carried_to_the_same_model_predicts_what_it_did(run: Run, tmp_path: Path) -> None:
    """Short texts are the same for two maximum lengths, so with nothing to align all must agree."""
    result = run(rows_of(), suite=BETWEEN)
    assert result.code == 0, result.err
    found = records(tmp_path / "out")
    carried = [record for record in found if record["learnt_on"]]
    assert len(carried) == 2
    for record in carried:
        assert (record["learnt_on"], record["alignment"]) == ("minigemma-s", "same")
        (own,) = (
            each
            for each in found
            if each["model"] == "minigemma-s" and each["representation"] == record["representation"]
        )
        assert record["predictions_hash"] == own["predictions_hash"]
        assert record["cell_id"] != own["cell_id"]
        assert record["origins"]["alignment"]


def test_a_classifier_is_carried_to_a_model_of_another_size(run: Run, tmp_path: Path) -> None:
    suite = BETWEEN.replace('"minigemma-s[max_length=64]"', "minigemma-m").replace(
        "alignments: [same]", "alignments: [least_squares]"
    )
    result = run(rows_of(), suite=suite)
    assert result.code == 0, result.err
    carried = [record for record in records(tmp_path / "out") if record["learnt_on"]]
    assert {record["model"] for record in carried} == {"minigemma-m"}
    assert {record["alignment"] for record in carried} == {"least_squares"}
    hidden = next(record for record in carried if record["representation"] == "hidden")
    assert hidden["metrics"]["macro_f1"]["value"] > 0.8  # one word tells the label in both models


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("alignments: [same]", "", "has no alignments"),
        ("from: minigemma-s,", "from: minigemma-x,", "did you mean 'minigemma-s'"),
        ('to: "minigemma-s[max_length=64]"', "to: minigemma-s", "to itself"),
        ("alignments: [same]", "alignments: [sane]", "there is no alignment 'sane'"),
        (
            "- {ref: minigemma-s, sites: [resid_post.0]}",
            "- {ref: minigemma-s, sites: ['resid_post.[0,1]']}",
            "as many sites",
        ),
    ],
)
def test_a_transfer_that_cannot_be_is_one_sentence(run: Run, old: str, new: str, said: str) -> None:
    assert old in BETWEEN
    result = run(rows_of(), suite=BETWEEN.replace(old, new, 1))
    assert result.code == 2
    assert said in result.err
    assert len(result.said) == 1


def test_an_alignment_that_fails_is_a_failed_cell_and_ends_nothing(run: Run, tmp_path: Path) -> None:
    suite = BETWEEN.replace('"minigemma-s[max_length=64]"', "minigemma-m")
    assert run(rows_of(), suite=suite).code == 1
    by_status = defaultdict(list)
    for record in records(tmp_path / "out"):
        by_status[record["status"]].append(record)
    assert (
        len(by_status["failed"]) == 1
    )  # hidden states are of other widths; the random dictionaries are as wide
    assert "unlike" in by_status["failed"][0]["error"]
    assert len(by_status["ok"]) == 6


def test_an_alignment_is_fitted_once_though_probes_on_it_fail(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.runs import work

    def fail(*arguments: Any, **more: Any) -> Any:
        raise RuntimeError("no fit")

    def align(self: Any, *arguments: Any) -> Any:
        aligned.append(self)
        return real(self, *arguments)

    aligned: list[Any] = []
    real = work.TransferWork._align
    monkeypatch.setattr(work, "probe", fail)
    monkeypatch.setattr(work.TransferWork, "_align", align)
    two = ("--set", 'classifiers=["logreg(C=1.0)", "logreg(C=2.0)"]')
    assert run(rows_of(), *two, suite=BETWEEN).code == 1
    assert [record["status"] for record in records(tmp_path / "out")].count("failed") == 4
    assert len(aligned) == 2


def test_without_one_of_its_models_a_transfer_goes(run: Run, harness_command: Any, tmp_path: Path) -> None:
    run(rows_of(), "-m", "minigemma-s", suite=BETWEEN)
    assert all(record["learnt_on"] is None for record in records(tmp_path / "out"))


def test_a_dictionary_that_cannot_be_loaded_fails_its_own_transfer_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import harness.runs.forward as forward

    real = forward.make_readings

    def broken(missing: Any, device: str, fitted: Any) -> Any:
        readings, faults = real(missing, device, fitted)
        bad = {one.key: RuntimeError("torn") for one in missing if one.representation.name == "random_sae"}
        return [one for one in readings if not set(getattr(one, "keys", ())) & bad.keys()], {**faults, **bad}

    monkeypatch.setattr("harness.runs.featurizer.make_readings", broken)
    assert run(rows_of(), suite=BETWEEN).code == 1
    carried = [record for record in records(tmp_path / "out") if record["learnt_on"]]
    assert {(record["representation"], record["status"]) for record in carried} == {
        ("hidden", "ok"),
        ("random_sae[width=64,k=8]", "failed"),
    }


def test_what_was_carried_stays_when_its_source_cannot_be_had(run: Run, tmp_path: Path) -> None:
    import shutil

    import harness_minigemma

    source = tmp_path / "source-model"
    shutil.copytree(harness_minigemma.WEIGHTS / "minigemma-s", source)
    suite = BETWEEN.replace("ref: minigemma-s,", f'ref: "{source}",', 1).replace(
        "from: minigemma-s", f'from: "{source}"'
    )
    assert run(rows_of(), suite=suite).code == 0
    before = {record["cell_id"] for record in records(tmp_path / "out") if record["learnt_on"]}
    (source / "model.safetensors").unlink()
    assert run(rows_of(), suite=suite).code == 1
    from harness.runs.folder import RunFolder

    kept = {record.cell_id for record in RunFolder(tmp_path / "out").records() if record.learnt_on}
    assert kept == before and before
