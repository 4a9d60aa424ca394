"""Runs made by hand in; what a board says beside its ranking out: the ablation, regimes, choices with and without
dictionaries, noise, and what classifiers go by.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from sklearn.metrics import f1_score

from harness.api.events import Score
from harness.leaderboard import (
    Board,
    Row,
    build,
    check_published,
    publish,
    remove,
    to_csv,
    to_frame,
    to_markdown,
    write,
)
from harness.leaderboard.analyses.quiver import is_dictionary
from harness.leaderboard.files import FILES, FRAMES, PAGE, PICTURES, render
from harness.leaderboard.published import store as module
from harness.probing.attribution import TopFeature
from harness.registry.loading import load_plugins
from harness.runs.folder import RunFolder
from harness.runs.record import Cost, Record, hash_predictions
from harness.stats.bootstrap import bootstrap_seed, bootstrap_weights, percentile_interval, rank_intervals
from harness.validation.reliability import LEAD, read_shipped

CLASSES = ("a", "b", "c")
N = 200


class Run(RunFolder):
    """A run folder filled by hand, whole once it is finished. An arm is right as often as its skill."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        (path / "predictions").mkdir(parents=True, exist_ok=True)

    def about(self) -> dict[str, Any]:
        return super().about() if self.exists else {"suite": {"name": "tests"}}

    def put(
        self,
        representation: str = "hidden",
        *,
        skill: float = 0.7,
        validation: float = 0.5,
        luck: int = 0,
        wrong: int = 0,
        **fields: Any,
    ) -> Record:
        """A cell of 200 test rows; the first `wrong` of them are predicted otherwise than luck has it."""
        given: dict[str, Any] = {
            "task": "spam",
            "model": "mini",
            "site": "resid_post.2",
            "pooling": "mean",
            "transform": "none",
            "classifier": "logreg",
            "regime": "full",
            "seed": 0,
            "width": 64 if representation == "hidden" else 512,
            **fields,
        }
        if given["model"] is None:
            given |= {"site": None, "pooling": None, "tokens": None, "width": None}
        labels = np.random.default_rng(len(given["task"])).integers(len(CLASSES), size=N)
        generator = np.random.default_rng(luck)
        predicted = np.where(generator.random(N) < skill, labels, generator.integers(len(CLASSES), size=N))
        predicted[:wrong] = (predicted[:wrong] + 1) % len(CLASSES)
        ids = [f"{given['task']}-{row:04}" for row in range(N)]
        names = np.array(CLASSES)
        score = f1_score(labels, predicted, average="macro")
        cell_id = "-".join(
            [representation, *(str(value) for value in given.values() if type(value) in (str, int))]
        )
        record = Record(
            **{
                "cell_id": cell_id.replace("/", "_"),
                "status": "ok",
                "suite": "tests",
                "task_version": 1,
                "modality": "text",
                "train_language": "en",
                "test_language": "en",
                "model_hash": None,
                "representation": representation,
                "representation_hash": None,
                "control": representation.startswith(("pca", "random")),
                "n_test": N,
                "metrics": {
                    "macro_f1": Score(value=score),
                    "accuracy": Score(value=float(np.mean(labels == predicted))),
                },
                "validation_metrics": {"macro_f1": validation},
                "predictions_hash": hash_predictions(ids, names[labels], names[predicted]),
                **given,
            }
        )
        self.add(record)
        self.write_predictions(
            record.cell_id,
            example_ids=ids,
            labels=list(names[labels]),
            predictions=list(names[predicted]),
            scores=np.eye(len(names))[predicted],
            classes=CLASSES,
        )
        return record

    def finished(self) -> Run:
        """The same run as `harness run` leaves it."""
        cells = [record.cell_id for record in self.records()]
        self.start(suite={"name": "tests"}, cells=cells, argv=[], plugins=load_plugins([]), device="cpu")
        self.finish("finished")
        return self


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def find(board: Board, representation: str) -> Row:
    (row,) = [row for row in board.rows if row.representation == representation]
    return row


def read(board: Board, name: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(render(board)[name]))


def fill(run: Run, *, tasks: tuple[str, ...] = ("spam", "banking"), seeds: int = 2) -> None:
    """Hidden states and a dictionary at two sites × two poolings, and words."""
    generator = np.random.default_rng(5)
    for task in tasks:
        for seed in range(seeds):
            run.put("tfidf", model=None, task=task, seed=seed, luck=9)
            for name in ("hidden", "sae"):
                for site in ("resid_post.2", "resid_post.10"):
                    for pooling in ("max", "mean"):
                        run.put(
                            name,
                            task=task,
                            seed=seed,
                            site=site,
                            pooling=pooling,
                            validation=generator.random(),
                            luck=int(generator.integers(99)),
                            skill=generator.uniform(0.4, 0.9),
                        )


# ── the ablation ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_ablation_goes_by_the_best_on_validation_at_each_value_and_by_shared_resamples(run: Run) -> None:
    fill(run, tasks=("spam",), seeds=1)
    board = build([run])
    records = pd.DataFrame(
        [
            {**record.model_dump(include={"representation", "site", "pooling", "cell_id"}), "record": record}
            for record in run.records()
        ]
    )
    records["validation"] = [record.validation_metrics["macro_f1"] for record in records.pop("record")]

    def scores(name: str, pooling: str) -> tuple[float, list[float], float]:
        cells = records[(records["representation"] == name) & (records["pooling"] == pooling)]
        best = cells.loc[cells["validation"].idxmax()]
        frame = run.predictions(best["cell_id"]).astype(object)
        weights = bootstrap_weights(
            np.searchsorted(CLASSES, frame["label"].to_numpy(str)),
            resamples=1000,
            seed=bootstrap_seed("spam"),
        )
        samples = [
            f1_score(frame["label"], frame["prediction"], average="macro", sample_weight=weight)
            for weight in weights[:40]
        ]
        return f1_score(frame["label"], frame["prediction"], average="macro"), samples, best["validation"]

    for pooling in ("max", "mean"):
        (one,) = [
            each for each in board.ablation if (each.value, each.row.representation) == (pooling, "sae")
        ]
        (value, samples, validation), (other, others, _) = scores("sae", pooling), scores("hidden", pooling)
        assert one.macro_f1.value == pytest.approx(value) and one.validation == pytest.approx(validation)
        assert one.macro_f1.samples[:40] == pytest.approx(samples)
        assert one.delta is not None and one.delta.value == pytest.approx(value - other)
        assert one.delta.samples[:40] == pytest.approx(np.subtract(samples, others))


def test_the_ablation_has_a_line_for_each_value_of_an_axis_that_was_searched(run: Run) -> None:
    fill(run)
    frame = read(build([run]), "leaderboard-ablation.csv")
    assert list(frame.columns) == [
        "axis", "value", "model", "representation", "width", "n_tasks", "macro_f1", "macro_f1_low", "macro_f1_high",
        "auroc", "validation_macro_f1", "delta_vs_hidden", "delta_vs_hidden_low", "delta_vs_hidden_high",
        "compared_with",
    ]  # fmt: skip
    found = frame.groupby("axis", sort=False)["value"].unique().map(list).to_dict()
    assert found == {"site": ["resid_post.2", "resid_post.10"], "pooling": ["max", "mean"]}
    assert set(frame["representation"]) == {"hidden", "sae"} and set(frame["n_tasks"]) == {2}
    assert frame[frame["representation"] == "hidden"]["delta_vs_hidden"].isna().all()


def test_the_ablation_averages_over_seeds_and_tasks(run: Run) -> None:
    fill(run)
    frame = read(build([run]), "leaderboard-ablation.csv").set_index(["representation", "value"])
    best: dict[tuple[str, int], Record] = {}
    for record in run.records():
        if (record.representation, record.pooling) == ("sae", "max"):
            place = (record.task, record.seed)
            best[place] = max(
                best.get(place, record), record, key=lambda one: one.validation_metrics["macro_f1"]
            )
    assert len(best) == 4
    expected = np.mean([record.metrics["macro_f1"].value for record in best.values()])
    assert frame.loc[("sae", "max"), "macro_f1"] == pytest.approx(expected, abs=1e-6)


def test_a_value_that_hidden_states_do_not_have_is_compared_with_hidden_overall_and_says_so(run: Run) -> None:
    run.put("hidden", pooling="mean", skill=0.5, validation=0.9, luck=1)
    run.put("hidden", pooling="max", skill=0.9, validation=0.1, luck=2)
    for luck, pooling in enumerate(("max", "topn_count(n=8)")):
        run.put("sae", pooling=pooling, skill=0.7, luck=3 + luck)
    board = build([run])
    frame = read(board, "leaderboard-ablation.csv").set_index(["representation", "value"])
    assert frame.loc[("sae", "max"), "compared_with"] == "hidden at the value"
    assert frame.loc[("sae", "topn_count(n=8)"), "compared_with"] == "hidden overall"
    assert (
        frame.loc[("sae", "max"), "delta_vs_hidden"]
        < 0
        < frame.loc[("sae", "topn_count(n=8)"), "delta_vs_hidden"]
    )
    page = render(board)["leaderboard-ablation.md"]
    assert page.count("†") == 2 and "where † stands" in page


def test_the_page_of_the_ablation_is_labelled_and_linked(run: Run) -> None:
    fill(run)
    texts = render(build([run]))
    page = texts["leaderboard-ablation.md"]
    assert page.startswith("# Ablation: tests\n") and "no leaderboard" in page
    assert "## Site" in page and "## Pooling" in page and "## Classifier" not in page
    assert "[the ablation](leaderboard-ablation.md)" in texts["leaderboard.md"]


def test_a_board_without_a_search_has_no_ablation_and_loses_a_stale_one(run: Run, tmp_path: Path) -> None:
    fill(run)
    write(build([run]), tmp_path / "out")
    assert (tmp_path / "out" / "leaderboard-ablation.csv").is_file()
    plain = Run(tmp_path / "plain")
    plain.put("hidden")
    plain.put("sae", luck=1)
    write(build([plain]), tmp_path / "out")
    assert not [path.name for path in (tmp_path / "out").iterdir() if "ablation" in path.name]
    assert "blation" not in to_markdown(build([plain]))
    write(build([run]), tmp_path / "out")
    remove(tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_row_whose_predictions_are_not_there_is_left_out_by_name(run: Run) -> None:
    fill(run, tasks=("spam",), seeds=1)
    for pooling, skill in (("max", 0.8), ("mean", 0.7)):
        run.put("pca", pooling=pooling, validation=skill, skill=skill, luck=50)
    before = build([run])
    for record in run.records():
        if record.representation == "pca" and record.pooling == "mean":
            (run.path / "predictions" / f"{record.cell_id}.parquet").unlink()
    after = build([run])
    assert {one.row.representation for one in before.ablation} == {"hidden", "sae", "pca"}
    assert {one.row.representation for one in after.ablation} == {"hidden", "sae"}
    assert (
        "Left out, as not all predictions they need are there: mini pca."
        in (render(after)["leaderboard-ablation.md"])
    )
    assert to_csv(before) == to_csv(after)


def test_a_published_run_keeps_its_ablation(run: Run, tmp_path: Path) -> None:
    fill(run)
    published = publish(run.finished(), tmp_path / "board", name="x")
    texts = [render(build([one])) for one in (published, run)]
    pages = [text.pop(PAGE) for text in texts]
    assert texts[0] == texts[1]
    assert pages[0] != pages[1]  # which says what each run is
    assert (tmp_path / "board" / "leaderboard-ablation.csv").is_file()
    assert check_published(tmp_path / "board") == ()
    (tmp_path / "board" / "leaderboard-regimes.csv").write_text("stale\n", "utf-8")
    (said,) = check_published(tmp_path / "board")
    assert "leaderboard-regimes.csv' is not what the published runs give" in said


def test_a_run_too_large_with_its_ablation_is_published_without_and_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(run)
    whole = publish(run.finished(), tmp_path / "whole", name="x")
    monkeypatch.setattr(module, "LIMIT", whole.size - 1)
    compressed = publish(run, tmp_path / "compressed", name="x")
    assert compressed.path.suffix == ".gz" and (tmp_path / "compressed" / "leaderboard-ablation.md").is_file()
    monkeypatch.setattr(module, "LIMIT", compressed.size - 1)
    less = publish(run, tmp_path / "less", name="x")
    assert less.size < compressed.size and to_csv(build([less])) == to_csv(build([whole]))
    assert not list((tmp_path / "less").glob("leaderboard-ablation*"))
    assert "no ablation over what was searched" in (tmp_path / "less" / "leaderboard.md").read_text("utf-8")
    assert check_published(tmp_path / "less") == ()


# ── regimes ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def learnt(run: Run) -> Run:
    """Full and two sizes; the dictionary is ahead with few rows and behind with all."""
    for task in ("spam", "banking"):
        for luck, (regime, hidden, sae) in enumerate(
            (("full", 0.9, 0.6), ("size(n=64)", 0.6, 0.7), ("size(n=16)", 0.3, 0.8))
        ):
            area = {"auroc": Score(value=hidden)}
            run.put("hidden", task=task, regime=regime, skill=hidden, luck=luck, metrics=area)
            run.put("sae", task=task, regime=regime, skill=sae, luck=luck + 10, metrics=area)
    return run


def test_rows_are_ranked_by_what_was_learnt_as_it_is_where_that_is_there(learnt: Run, tmp_path: Path) -> None:
    alone = Run(tmp_path / "alone")
    for task in ("spam", "banking"):
        alone.put("hidden", task=task, skill=0.9, luck=0, metrics={"auroc": Score(value=0.9)})
        alone.put("sae", task=task, skill=0.6, luck=10, metrics={"auroc": Score(value=0.9)})
    board = build([learnt])
    assert to_csv(board) == to_csv(build([alone]))
    assert [task.name for task in board.tasks] == ["banking", "spam"]
    assert board.rows[0].representation == "hidden"
    text = to_markdown(board)
    assert "learnt under the regime full (below, the others)" in text
    assert "regime" not in to_markdown(build([alone])).lower()


def test_regimes_stand_in_natural_order_with_their_own_differences(learnt: Run) -> None:
    board = build([learnt])
    frame = read(board, "leaderboard-regimes.csv")
    assert list(frame["regime"]) == ["full", "size(n=16)", "size(n=64)"] * 2
    found = frame[frame["representation"] == "sae"].set_index("regime")
    assert found.loc["full", "delta_vs_hidden_high"] < 0 < found.loc["size(n=16)", "delta_vs_hidden_low"]
    assert set(frame["n_tasks"]) == {2} and found.loc["size(n=16)", "auroc"] == pytest.approx(0.3)
    scores = {
        record.task: record
        for record in learnt.records()
        if (record.representation, record.regime) == ("sae", "full")
    }
    value = np.mean(
        [
            f1_score(frame["label"].astype(str), frame["prediction"].astype(str), average="macro")
            for frame in (learnt.predictions(record.cell_id) for record in scores.values())
        ]
    )
    assert found.loc["full", "macro_f1"] == pytest.approx(value, abs=1e-6)
    section = to_markdown(board).split("## Regimes")[1].split("\n## ")[0]
    assert (
        section.count("| full | size(n=16) | size(n=64) |") == 3 and "under every regime (2), with" in section
    )


def test_what_the_difference_of_carried_classifiers_is_against_is_said_below_the_tables(learnt: Run) -> None:
    said = "against hidden states carried by the same alignment; the scores above say which alignment"
    assert said not in to_markdown(build([learnt]))
    for luck, name in enumerate(("hidden", "sae")):
        for task in ("spam", "banking"):
            learnt.put(name, task=task, learnt_on="tiny", alignment="match", luck=luck)
    section = to_markdown(build([learnt])).split("## Regimes")[1].split("\n## ")[0]
    assert "from tiny by match" in section and said in section.split("| Δ hidden: model")[1]


def test_results_under_every_regime_stand_in_the_file_of_tasks(learnt: Run) -> None:
    frame = read(build([learnt]), "leaderboard-tasks.csv")
    assert len(frame) == 12
    own = frame[(frame["representation"] == "sae") & frame["task"].str.endswith("size(n=16)")]
    assert list(own["outcome"]) == ["won", "won"]


def test_without_the_regime_full_rows_are_ranked_by_all(run: Run) -> None:
    for luck, regime in enumerate(("size(n=16)", "size(n=64)")):
        run.put("hidden", regime=regime, luck=luck)
        run.put("sae", regime=regime, luck=luck + 5)
    board = build([run])
    assert [task.name for task in board.tasks] == ["spam size(n=16)", "spam size(n=64)"]
    assert "## Regimes" in to_markdown(board) and "(below, the others)" not in to_markdown(board)


def test_a_board_without_the_regime_full_says_that_it_is_a_mean_over_regimes(learnt: Run, run: Run) -> None:
    said = "its mean over tasks and over regimes, as no task was learnt as it is"
    assert said not in to_markdown(build([learnt]))
    other = Run(run.path.parent / "other")
    for luck, regime in enumerate(("size(n=16)", "size(n=64)")):
        other.put("hidden", regime=regime, luck=luck)
        if not luck:
            assert "over regimes" not in to_markdown(build([other]))
    assert said in to_markdown(build([other]))


def test_regimes_are_compared_on_the_tasks_that_all_of_them_have(run: Run) -> None:
    """Of the hard task one regime has too few rows: it would seem the better for it."""
    scores = {}
    for task, hard in (("spam", 0.0), ("banking", 0.1), ("hate", 0.6)):
        for luck, regime in enumerate(("full", "size(n=64)", "size(n=16)")):
            if (task, regime) != ("hate", "size(n=16)"):
                for name in ("hidden", "sae"):
                    area = {"auroc": Score(value=0.9 - hard)}
                    record = run.put(
                        name,
                        task=task,
                        regime=regime,
                        skill=0.9 - hard,
                        luck=luck + (5 if name == "sae" else 0),
                        metrics=area,
                    )
                    frame = run.predictions(record.cell_id).astype(str)
                    score = f1_score(frame["label"], frame["prediction"], average="macro")
                    scores[name, task, regime] = score
    board = build([run])
    frame = read(board, "leaderboard-regimes.csv").set_index(["representation", "regime"])
    assert set(frame["n_tasks"]) == {2} and frame["auroc"].tolist() == pytest.approx([0.85] * 6)
    for regime in ("full", "size(n=64)", "size(n=16)"):
        hidden, sae = (
            [scores[name, task, regime] for task in ("spam", "banking")] for name in ("hidden", "sae")
        )
        assert frame.loc[("sae", regime), "macro_f1"] == pytest.approx(np.mean(sae), abs=1e-6)
        delta = np.mean(np.subtract(sae, hidden))
        assert frame.loc[("sae", regime), "delta_vs_hidden"] == pytest.approx(delta, abs=1e-6)
    section = to_markdown(board).split("## Regimes")[1].split("\n## ")[0]
    assert "under every regime (2; left out, as a regime lacks them: hate), with" in section
    assert "tasks) |" not in section and "task) |" not in section
    assert find(board, "hidden").macro_f1.value == pytest.approx(  # type: ignore[union-attr]
        np.mean([scores["hidden", task, "full"] for task in ("spam", "banking", "hate")])
    )


def test_a_row_that_lacks_tasks_under_a_regime_says_how_many_its_numbers_are_of(run: Run) -> None:
    tasks = ("spam", "banking", "hate")
    for task in tasks:
        for luck, regime in enumerate(("full", "size(n=16)")):
            run.put("hidden", task=task, regime=regime, luck=luck)
            if (task, regime) not in (("spam", "full"), ("spam", "size(n=16)")):
                run.put("sae", task=task, regime=regime, luck=luck + 5)
        run.put("pca", task=task, regime="full", luck=9)
    board = build([run])
    frame = read(board, "leaderboard-regimes.csv").set_index(["representation", "regime"])
    counts = {place: int(n) for place, n in frame["n_tasks"].items()}
    assert counts == {
        ("hidden", "full"): 3, ("hidden", "size(n=16)"): 3, ("sae", "full"): 2, ("sae", "size(n=16)"): 2,
        ("pca", "full"): 3,
    }  # fmt: skip
    section = to_markdown(board).split("## Regimes")[1].split("\n## ")[0]
    assert "under every regime (3; a number of other tasks has their number beside it)" in section
    lines = [text for text in section.splitlines() if "| sae |" in text]
    assert len(lines) == 2 and all(text.count("(2 tasks) |") == 2 for text in lines)
    assert not any("tasks)" in text for text in section.splitlines() if "| hidden |" in text)


def test_a_difference_is_of_the_tasks_on_which_there_is_one_under_every_regime(run: Run) -> None:
    for task in ("spam", "banking"):
        for luck, regime in enumerate(("full", "size(n=16)")):
            run.put("sae", task=task, regime=regime, luck=luck + 5)
            if (task, regime) != ("spam", "size(n=16)"):
                run.put("hidden", task=task, regime=regime, luck=luck)
    board = build([run])
    frame = read(board, "leaderboard-regimes.csv").set_index(["representation", "regime"])
    (alone,) = [result for result in find(board, "sae").results if result.task == "banking"]
    assert alone.delta is not None
    assert frame.loc[("sae", "full"), "delta_vs_hidden"] == pytest.approx(alone.delta.value, abs=1e-6)
    assert frame.loc[("sae", "full"), "n_tasks"] == 2
    assert "] (1 task) |" in to_markdown(board).split("Δ hidden: model")[1].split("\n\n")[0]


def test_without_a_task_in_common_each_number_says_how_many_tasks_it_is_of(run: Run) -> None:
    for task, regime in (("spam", "full"), ("banking", "full"), ("hate", "size(n=16)")):
        run.put("hidden", task=task, regime=regime)
    section = to_markdown(build([run])).split("## Regimes")[1].split("\n## ")[0]
    assert "none was learnt under every regime" in section
    assert "(2 tasks) |" in section and "(1 task) |" in section


def test_regimes_that_were_chosen_on_folds_are_named(learnt: Run) -> None:
    assert "folds" not in to_markdown(build([learnt]))
    learnt.put("hidden", regime="size(n=16)", validation=0.9, selected_on="folds")
    board = build([learnt])
    assert "for itself, on folds of the training rows under size(n=16). Mean" in to_markdown(board)
    assert not any(
        "folds" in flag for row in board.rows for flag in row.flags
    )  # none that rows are ranked by


# ── with and without dictionaries ────────────────────────────────────────────────────────────────────────


def test_a_dictionary_is_taken_where_it_is_best_on_validation(run: Run) -> None:
    run.put("hidden", task="spam", validation=0.5, skill=0.5, luck=1)
    run.put("pca", task="spam", validation=0.6, skill=0.6, luck=2)
    run.put("sae", task="spam", validation=0.7, skill=0.9, luck=3)
    run.put("hidden", task="banking", validation=0.5, skill=0.5, luck=4)
    tfidf = run.put("tfidf", task="banking", model=None, validation=0.8, skill=0.8, luck=5)
    run.put("sae", task="banking", validation=0.7, skill=0.9, luck=6)
    board = build([run])
    (one,) = board.quivers
    assert (one.model, one.n_tasks, one.taken, one.choices, one.unknown) == ("mini", 2, 1, 2, ())
    by_name = {(record.representation, record.task): record for record in run.records()}
    pca, sae = (by_name[name, "spam"].metrics["macro_f1"].value for name in ("pca", "sae"))
    words = tfidf.metrics["macro_f1"].value
    assert one.without.value == pytest.approx((pca + words) / 2)
    assert one.added.value == pytest.approx((sae + words) / 2)
    assert one.delta.value == pytest.approx((sae - pca) / 2) and one.delta.interval[0] > 0
    assert "| mini | " in to_markdown(board).split("with and without dictionaries")[1].split("##")[0]


def test_a_tie_on_validation_takes_no_dictionary(run: Run) -> None:
    run.put("hidden", validation=0.7, luck=1)
    run.put("sae", validation=0.7, luck=2)
    (one,) = build([run]).quivers
    assert one.taken == 0 and one.delta.value == 0 and one.delta.interval == (0, 0)


def test_several_models_are_also_taken_together(run: Run) -> None:
    for model, validation in (("mini-2", 0.5), ("mini-10", 0.6)):
        run.put("hidden", model=model, validation=validation)
        run.put("sae", model=model, validation=validation + 0.1, luck=1)
    run.put("hidden", model="plain", validation=0.65, luck=2)
    quivers = build([run]).quivers
    assert [one.model for one in quivers] == ["mini-2", "mini-10", None]
    assert quivers[-1].taken == 1 and quivers[-1].without.value != quivers[0].without.value


def test_representations_of_older_records_count_as_far_as_they_are_known(run: Run) -> None:
    run.put("hidden", control=None)
    known = run.put("sae", control=None, dictionary="mini/layer_2", luck=1)
    unknown = run.put("random_sae[k=16]", control=None, validation=0.9, luck=2)
    assert is_dictionary(known) is True and is_dictionary(unknown) is None
    board = build([run])
    assert board.quivers[0].unknown == ("random_sae[k=16]",)
    assert "Left out, as their records do not say what they are: random_sae[k=16]." in to_markdown(board)


def test_a_board_without_dictionaries_asks_nothing_of_them(run: Run) -> None:
    run.put("hidden")
    run.put("pca", luck=1)
    assert build([run]).quivers == () and "with and without" not in to_markdown(build([run]))


# ── noise ────────────────────────────────────────────────────────────────────────────────────────────────


def test_seeds_that_vary_are_shown_with_their_number(run: Run) -> None:
    scores = [run.put("hidden", seed=seed, luck=seed).metrics["macro_f1"].value for seed in range(3)]
    board = build([run])
    row = find(board, "hidden")
    assert row.seed_means == pytest.approx(scores)
    assert row.seed_sd == pytest.approx(np.std(scores, ddof=1)) and row.seed_range == pytest.approx(
        np.ptp(scores)
    )
    assert "| mini | hidden | 64 | 3 | ." in to_markdown(board).split("## Noise floor")[1]
    assert "repeats" not in to_markdown(board)


def test_cells_that_two_runs_hold_are_a_floor_of_noise(tmp_path: Path) -> None:
    one, other = Run(tmp_path / "one"), Run(tmp_path / "other")
    apart = []
    for pooling, wrong in (("max", 0), ("mean", 4), ("sum", 10)):
        first = one.put("hidden", pooling=pooling, luck=1, cost=Cost(seconds=1))
        second = other.put("hidden", pooling=pooling, luck=1, wrong=wrong, cost=Cost(seconds=2))
        assert first.cell_id == second.cell_id
        apart.append(abs(first.metrics["macro_f1"].value - second.metrics["macro_f1"].value))
    one.put("sae", luck=2)
    board = build([one, other])
    repeats = find(board, "hidden").repeats
    assert repeats is not None and repeats.cells == 3 and find(board, "sae").repeats is None
    assert repeats.median == pytest.approx(np.median(apart)) and repeats.largest == pytest.approx(max(apart))
    assert repeats.differing == pytest.approx(14 / (3 * N))
    assert f"| mini | hidden | 64 | 3 | {np.median(apart):.4f}".replace("0.", ".") in to_markdown(board)
    assert to_frame(board).set_index("representation").loc["hidden", "repeats"] == 3


def test_a_copy_of_a_run_is_no_repeat(run: Run, tmp_path: Path) -> None:
    fill(run)
    published = publish(run.finished(), tmp_path / "board", name="x")
    assert "repeats" not in to_markdown(build([run, run, published]))


# ── budget and ranks over tasks ──────────────────────────────────────────────────────────────────────────


def test_what_a_choice_was_made_from_is_counted(run: Run) -> None:
    for pooling in ("max", "mean"):
        run.put("hidden", pooling=pooling, tried=5)
        run.put("sae", pooling=pooling, tried=5, luck=1)
    run.put("hidden", task="banking", tried=5)
    run.put("sae", task="banking", tried=0, luck=1)
    board = build([run])
    assert find(board, "hidden").tried == (5, 10) and find(board, "sae").tried is None
    frame = to_frame(board).set_index("representation")
    assert frame.loc["hidden", "tried"] == 10 and pd.isna(frame.loc["sae", "tried"])
    text = to_markdown(board)
    assert "| 5–10 |" in text and "| tried |" in text


def test_ranks_over_tasks_are_those_of_the_two_stage_bootstrap_from_five_tasks_on(run: Run) -> None:
    for number in range(5):
        task = f"task{number}"
        run.put("hidden", task=task, luck=number)
        run.put("sae", task=task, luck=number + 10, skill=0.95 if number < 3 else 0.3)
        run.put("pca", task=task, luck=number + 20, skill=0.1)
        if number == 3:
            assert all(row.rank_interval is None for row in build([run]).rows)
    board = build([run])
    rows = [find(board, name) for name in ("hidden", "sae", "pca")]
    samples = np.stack([[result.macro_f1.samples for result in row.results] for row in rows], axis=1)
    low, high = rank_intervals(samples, seed=0)
    assert [row.rank_interval for row in rows] == list(zip(low, high, strict=True))
    frame = to_frame(board).set_index("representation")
    assert (frame.loc["sae", "rank_low"], frame.loc["pca", "rank_high"]) == (1, 3)
    assert "tasks are drawn anew too" in to_markdown(board)


def test_regimes_and_languages_of_a_task_are_drawn_with_it_and_count_once(run: Run) -> None:
    def put(number: int, regime: str, language: str) -> None:
        for place, (name, skill) in enumerate((("hidden", 0.7), ("sae", 0.75 if number < 3 else 0.65))):
            run.put(
                name,
                task=f"task{number}",
                regime=regime,
                train_language=language,
                test_language=language,
                skill=skill,
                luck=number + 10 * place,
            )

    for number in range(5):
        if number == 4:
            assert all(row.rank_interval is None for row in build([run]).rows)  # of eight results, four tasks
        put(number, "size(n=16)", "en")
        put(number, "size(n=64)", "en")
    put(0, "size(n=64)", "de")
    board = build([run])
    rows = [find(board, name) for name in ("hidden", "sae")]
    names = [f"task{number}" for number in range(5)]
    sums = np.stack(
        [
            [
                sum(result.macro_f1.samples for result in row.results if result.cells[0].record.task == name)
                for row in rows
            ]
            for name in names
        ]
    )
    assert len(board.tasks) == 11 and sums.shape == (5, 2, board.resamples)
    low, high = rank_intervals(sums, seed=0)  # ranks of sums are those of means
    assert [row.rank_interval for row in rows] == list(zip(low, high, strict=True))


def test_a_task_under_four_regimes_says_no_more_of_other_tasks_than_under_one(tmp_path: Path) -> None:
    boards = []
    for n in (1, 4):
        run = Run(tmp_path / str(n))
        for number in range(6):
            for size in range(n):
                regime = f"size(n={size})"
                run.put("hidden", task=f"task{number}", regime=regime, skill=0.7, luck=number)
                skill = 0.8 if number < 5 else 0.55
                run.put("sae", task=f"task{number}", regime=regime, skill=skill, luck=number + 10)
        boards.append(build([run], resamples=2400))
    one, four = ([row.rank_interval for row in board.rows] for board in boards)
    assert one == four == [(1, 2), (1, 2)]


def test_rows_that_are_told_apart_share_no_group_though_their_places_overlap(run: Run) -> None:
    """The middle row is noisier against each neighbour than these are against each other."""
    for name, luck, wrong in (("hidden", 1, 0), ("pca", 1, 12), ("sae", 3, 0)):
        run.put(name, luck=luck, wrong=wrong, skill=0.7)
    board = build([run])
    first, second = find(board, "hidden"), find(board, "pca")
    assert first.macro_f1 is not None and second.macro_f1 is not None
    assert percentile_interval(first.macro_f1.samples - second.macro_f1.samples)[0] > 0
    assert second.rank is not None and first.last_rank is not None and second.rank <= first.last_rank
    assert not set(first.ties) & set(second.ties)
    for row in board.rows:
        for other in board.rows:
            assert row.macro_f1 is not None and other.macro_f1 is not None
            low, high = percentile_interval(row.macro_f1.samples - other.macro_f1.samples)
            assert bool(set(row.ties) & set(other.ties)) == (low <= 0 <= high)
    assert set(board.rows[0].ties) >= {0}


def test_rows_that_noise_leaves_in_one_place_share_a_group(run: Run) -> None:
    run.put("hidden", luck=1)
    run.put("sae", luck=1)
    run.put("pca", skill=0.1, luck=2)
    board = build([run])
    assert [find(board, name).ties for name in ("hidden", "sae", "pca")] == [(0,), (0,), (1,)]
    assert list(to_frame(board)["ties"]) == ["1", "1", "2"]


# ── what classifiers go by ───────────────────────────────────────────────────────────────────────────────


def feature(number: int, **fields: Any) -> TopFeature:
    given: dict[str, Any] = {"label": "a", "weight": -1.25, "effect": 1.0, "means": {"a": 0.5, "rest": 2.0}}
    return TopFeature(**{"feature": number, **given, **fields})


def test_the_features_of_each_row_stand_on_a_page_of_their_own(run: Run) -> None:
    used = (
        feature(7, link="https://www.neuronpedia.org/mini/2/7", snippets=("Buy now", "second")),
        *(feature(number) for number in (8, 9, 10)),
    )
    run.put("sae", seed=0, used=used)
    run.put("sae", seed=1, used=(feature(99),))
    run.put("hidden", luck=1)
    texts = render(build([run]))
    page = texts["leaderboard-features.md"]
    assert (
        "| spam | [7](https://www.neuronpedia.org/mini/2/7) | a | −1.25 | rest 2, a 0.5 | Buy now |" in page
    )
    assert "| 9 |" in page and "| 10 |" not in page and "99" not in page and "second" not in page
    assert "## mini sae 512" in page and "hidden 64" not in page
    assert "[what classifiers go by](leaderboard-features.md)" in texts["leaderboard.md"]
    assert "Buy now" not in texts["leaderboard.md"]


def test_text_of_the_data_stays_text_on_the_page(run: Run) -> None:
    bad = "![x](http://evil.example/a.png) <script>a|b</script>\n`c` [y](javascript:z) www.evil.example me@evil.example"
    used = (feature(1, snippets=(bad,), label="<b>|", link="javascript:alert(1)"),)
    run.put("sae", used=used)
    page = render(build([run]))["leaderboard-features.md"]
    (line,) = [text for text in page.splitlines() if text.startswith("| spam")]
    made = MarkdownIt("commonmark").enable("table").render(page)
    assert made.count("<a ") == 1 and "leaderboard.md" in made.split("<a ")[1]  # our own
    assert not any(tag in made for tag in ("<img", "<script", "<code", "<b>"))
    assert "![x](http://evil.example/a.png) &lt;script&gt;a|b&lt;/script&gt; `c` [y](javascript:z)" in made
    bare = line.replace("\\:", "").replace("www\\.", "")  # what some readers turn into a link by itself
    assert "://" not in bare and "www." not in bare
    assert line.replace("\\|", "").count("|") == 7


@pytest.mark.parametrize(
    "link", ["https://a.example/x)y", "https://a.example/ x", "ftp://a.example", "https://a|b", ""]
)
def test_a_link_that_is_no_plain_address_is_not_made(run: Run, link: str) -> None:
    run.put("sae", used=(feature(1, link=link),))
    assert "| spam | 1 | a |" in render(build([run]))["leaderboard-features.md"]


def test_texts_of_the_data_are_not_published(run: Run, tmp_path: Path) -> None:
    run.put("sae", used=(feature(7, snippets=("a private letter",)),))
    run.put("hidden", luck=1)
    published = publish(run.finished(), tmp_path / "board", name="x")
    publish(run, tmp_path / "board", name="x")  # the same run again is no other run
    for path in (tmp_path / "board").iterdir():
        assert b"private" not in path.read_bytes()
    assert [record.used[0].feature for record in published.records() if record.used] == [7]
    assert "| text |" not in (tmp_path / "board" / "leaderboard-features.md").read_text("utf-8")
    assert check_published(tmp_path / "board") == ()


def test_every_file_that_a_board_may_have_is_known_to_its_removal(run: Run, tmp_path: Path) -> None:
    fill(run)
    run.put("hidden", regime="size(n=16)", used=(feature(1),))
    run.put("hidden", regime="zero_shot", test_language="de")
    run.put("sae", used=(feature(1),), validation=2.0, luck=1)
    out = tmp_path / "out"
    write(build([run]), out)
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, *FRAMES, PAGE, PICTURES])
    remove(out)
    assert not list(out.iterdir())


def test_intervals_on_the_page_are_those_of_the_samples(run: Run) -> None:
    fill(run)
    board = build([run])
    frame = read(board, "leaderboard-ablation.csv")
    one = board.ablation[0]
    assert tuple(frame.loc[0, ["macro_f1_low", "macro_f1_high"]]) == pytest.approx(
        percentile_interval(one.macro_f1.samples), abs=1e-6
    )


def test_a_board_with_dictionaries_names_the_signal_to_noise_of_what_it_ranks_by(tmp_path: Path) -> None:
    with_one, without = Run(tmp_path / "with"), Run(tmp_path / "without")
    for run in (with_one, without):
        run.put()
    with_one.put("scope", dictionary="0" * 64)
    texts = [to_markdown(build([one])) for one in (with_one, without)]
    shipped = read_shipped()
    lead = shipped.find(LEAD)
    assert lead.run is not None
    value = f"{lead.run.value:.1f} [{lead.run.low:.1f}, {lead.run.high:.1f}]"
    said = (
        f"has a signal-to-noise of {value} from the first to the last checkpoint, and tells {lead.n_told} of"
    )
    assert [text.count(said) for text in texts] == [1, 0]
