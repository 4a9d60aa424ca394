"""Hidden states against what should know less: which rows are controls, and the arithmetic of the comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score

from harness.cli import execute
from harness.leaderboard import build, to_markdown
from harness.leaderboard.analyses.controls import controls
from harness.runs.folder import RunFolder
from harness.runs.record import Record

RANDOM = "minigemma-s[random_weights=0]"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("controls") / "out"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HARNESS_PLUGINS", "HARNESS_DATA_DIR", "HARNESS_DEBUG"):
            patch.delenv(name, raising=False)
        code = execute([
            "run", "quickstart", "-t", "quickstart_topic", "-t", "quickstart_roles", "-m", "minigemma-s", "-m", RANDOM,
            "--set", "representations=[hidden, 'random_sae[k=4]', text_length, majority]", "--set", "poolings=[mean]",
            "-L", "200", "-o", str(folder), "--cache-dir", str(folder.parent / "cache"), "-d", "cpu",
        ])  # fmt: skip
    assert code == 0
    return RunFolder(folder)


def test_controls_are_arms_without_a_model_and_the_same_model_otherwise(run):
    board = build([run])
    found = list(controls(board))
    assert {(one.model, one.control) for one in found} == {
        ("minigemma-s", "text_length"), ("minigemma-s", "majority"), ("minigemma-s", RANDOM),
    }  # fmt: skip
    rows = {(row.model, row.representation): row for row in board.rows}
    hidden = rows["minigemma-s", "hidden"]
    for one in found:
        other = rows[RANDOM, "hidden"] if one.control == RANDOM else rows[None, one.control]
        for task, difference in one.differences:
            mine, theirs = (
                next(result.macro_f1.value for result in row.results if result.task == task)
                for row in (hidden, other)
            )
            chance = next(summary.chance for summary in board.tasks if summary.name == task)
            assert difference.value == pytest.approx(mine - max(theirs, chance))
            low, high = difference.interval
            assert low <= difference.value <= high
        assert sum(one.count(sign) for sign in (1, 0, -1)) == len(one.differences) == 2
        assert one.least[1].value == min(difference.value for _, difference in one.differences)
        assert one.mean.value == pytest.approx(sum(each.value for _, each in one.differences) / 2)


def test_the_page_shows_them_and_a_board_without_models_does_not(run, harness_command):
    page = (run.path / "leaderboard.md").read_text("utf-8")
    section = page.split("## Hidden states against what should know less")[1].split("##")[0]
    assert f"| minigemma-s | {RANDOM} |" in section
    assert f"| {RANDOM} | majority |" not in section
    told = harness_command(
        "run", "quickstart", "-t", "quickstart_topic", "-o", "words", "-L", 100,
        "--set", "representations=[tfidf, majority]", "--set", "models=[]",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "should know less" not in Path("words/leaderboard.md").read_text("utf-8")


def test_what_scores_below_guessing_is_no_easier_to_beat_than_a_guess(tmp_path: Path) -> None:
    """Hidden states know nothing of a balanced task; the most frequent class scores a third there, a guess a half."""
    run = RunFolder(tmp_path / "run")
    (run.path / "predictions").mkdir(parents=True)
    generator = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 300)
    arms = {
        ("m[max_length=256]", "hidden"): generator.permutation(labels),
        (None, "majority"): np.full(600, "a"),
        (None, "length"): np.where(generator.random(600) < 0.4, labels, generator.permutation(labels)),
    }
    for (model, name), predicted in arms.items():
        record = Record(
            cell_id=name, status="ok", suite="tests", task="coin", task_version=1, modality="text",
            train_language="en", test_language="en", model=model, model_hash=None, site=None, representation=name,
            representation_hash=None, width=8, pooling=None, transform="none", classifier="logreg", seed=0,
            validation_metrics={"macro_f1": 0.5},
        )  # fmt: skip
        run.add(record)
        run.write_predictions(
            name,
            example_ids=[f"{row:04}" for row in range(600)],
            labels=list(labels),
            predictions=list(predicted),
            scores=np.stack([predicted == "a", predicted == "b"], axis=1).astype(float),
            classes=("a", "b"),
        )
    board = build([run])
    dummy = DummyClassifier(strategy="uniform", random_state=0).fit(labels[:, None], labels)
    guesses = [
        f1_score(labels, dummy.predict(labels[:, None]), average="macro") for dummy.random_state in range(200)
    ]
    assert board.tasks[0].chance == pytest.approx(np.mean(guesses), abs=0.005)
    rows = {row.representation: row.macro_f1 for row in board.rows}
    hidden, majority, length = (rows[name] for name in ("hidden", "majority", "length"))
    assert hidden and majority and length and (hidden.samples > majority.samples).all()
    found = {one.control: one for one in controls(board)}
    assert [found["majority"].count(sign) for sign in (1, 0, -1)] == [0, 1, 0]
    (_, difference) = found["majority"].least
    assert difference.value == pytest.approx(hidden.value - board.tasks[0].chance)
    assert difference.samples == pytest.approx(hidden.samples - board.tasks[0].chance)
    (_, difference) = found["length"].least  # above chance, so it stands as it is
    assert length.value > board.tasks[0].chance
    assert difference.samples == pytest.approx(hidden.samples - length.samples)
    assert "chance takes its place" in to_markdown(board)
