"""Runs made by hand in; out, what a board says of languages: pairs, means over them, resamples of items, pictures."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import f1_score

from harness.api.events import Score
from harness.cli.leaderboard import command
from harness.figures.lettering import paint
from harness.leaderboard import (
    Board,
    Row,
    build,
    check_published,
    compare,
    publish,
    to_markdown,
    write,
)
from harness.leaderboard.analyses.scripts import script_of
from harness.leaderboard.files import render
from harness.leaderboard.pages import heatmap as pictures
from harness.leaderboard.scoring import score_units
from harness.leaderboard.selection import read_cells
from harness.probing.shared_features import Sharing
from harness.registry.loading import load_plugins
from harness.runs.folder import RunFolder
from harness.runs.record import Record, hash_predictions
from harness.stats.bootstrap import bootstrap_seed, bootstrap_weights, percentile_interval

CLASSES = ("a", "b", "c")
N = 120
SEEN = {"en": 900.0, "de": 300.0, "fr": 200.0, "es": 80.0, "sw": 0.0}

# fmt: off
COLUMNS = [
    "task", "model", "representation", "width", "regime", "train_language", "test_language", "macro_f1", "low", "high",
    "delta_vs_hidden", "delta_low", "delta_high", "n_train", "n_validation", "n_test", "chance", "seen_train",
    "seen_test", "weight_shared", "weight_even",
    "features_both", "features_only_train", "features_only_test", "top_overlap", "trained_on", "flags",
]
# fmt: on


class Run(RunFolder):
    """A run folder filled by hand: parallel rows, the same labels in every language; a prediction is right as often as
    its arm's skill.
    """

    def __init__(self, path: Path, *, n: int = N) -> None:
        super().__init__(path)
        (path / "predictions").mkdir(parents=True, exist_ok=True)
        self.n = n
        self.truths: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}

    def about(self) -> dict[str, Any]:
        return super().about() if self.exists else {"suite": {"name": "tests"}}

    def put(
        self,
        representation: str,
        train: str,
        test: str,
        *,
        skill: float = 0.7,
        luck: int = 0,
        regime: str | None = None,
        seen: dict[str, float] | None = SEEN,
        grouped: bool = True,
        labels_of: int = 0,
        rows: NDArray[Any] | None = None,
        name_item: Callable[[int], str] = "item {}".format,
        **fields: Any,
    ) -> Record:
        given: dict[str, Any] = {
            "task": "topics", "model": "mini", "site": "resid_post.2", "pooling": "mean",
            "width": 64 if representation == "hidden" else 512, **fields,
        }  # fmt: skip
        if given["model"] is None:
            given |= {"site": None, "pooling": None, "tokens": None, "width": None}
            seen = None
        regime = regime or ("native" if train == test else "zero_shot")
        labels = (
            np.random.default_rng(labels_of).integers(len(CLASSES), size=self.n) if rows is None else rows
        )
        n = len(labels)
        generator = np.random.default_rng(luck)
        guesses = generator.integers(len(CLASSES), size=n)
        predicted = np.where(generator.random(n) < skill, labels, guesses)
        ids = [f"{given['task']}-{test}-{row:04}" for row in range(n)]
        names = np.array(CLASSES)
        told = [given["task"], given["model"], given["width"], given.get("learnt_on"), given.get("seed", 0)]
        cell_id = "-".join(map(str, (representation, train, test, regime, *told))).replace("/", "_")
        languages = {*train.split("+"), *test.split("+")}
        record = Record(
            **{
                "cell_id": cell_id,
                "status": "ok",
                "suite": "tests",
                "task_version": 1,
                "modality": "text",
                "train_language": train,
                "test_language": test,
                "seen": None if seen is None else {one: seen.get(one, 0.0) for one in languages},
                "model_hash": None,
                "representation": representation,
                "representation_hash": None,
                "control": representation.startswith("pca"),
                "transform": "none",
                "classifier": "logreg",
                "regime": regime,
                "seed": 0,
                "n_train": 90,
                "n_validation": 12,
                "n_test": n,
                "metrics": {
                    "macro_f1": Score(value=f1_score(labels, predicted, average="macro")),
                    "accuracy": Score(value=float(np.mean(labels == predicted))),
                },
                "validation_metrics": {"macro_f1": 0.5},
                "predictions_hash": hash_predictions(ids, names[labels], names[predicted]),
                **given,
            }
        )
        self.add(record)
        self.truths[cell_id] = labels, predicted
        self.write_predictions(
            cell_id,
            example_ids=ids,
            labels=list(names[labels]),
            predictions=list(names[predicted]),
            scores=np.eye(len(names))[predicted],
            classes=CLASSES,
            groups=[name_item(row) for row in range(n)] if grouped else (),
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


def fill(run: Run, languages: Sequence[str] = tuple(SEEN), *, task: str = "topics", **fields: Any) -> None:
    """Hidden states, a dictionary and words, from each language to each; what goes across is worse."""
    luck = 0
    for train in languages:
        for test in languages:
            for name, skill in (("hidden", 0.8), ("sae", 0.7), ("tfidf", 0.6)):
                luck += 1
                sharing = None
                if name == "sae" and train != test:
                    sharing = Sharing(
                        weight=luck % 7 / 7,
                        even=luck % 5 / 5,
                        both=luck,
                        only_train=2,
                        only_test=3,
                        overlap=None,
                    )
                run.put(
                    name,
                    train,
                    test,
                    skill=skill - 0.2 * (train != test) - 0.05 * languages.index(test),
                    luck=luck,
                    sharing=sharing,
                    **{"task": task, "model": None if name == "tfidf" else "mini", **fields},
                )


def find(board: Board, representation: str) -> Row:
    (row,) = [row for row in board.rows if row.representation == representation]
    return row


def read(board: Board, name: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(render(board)[name]))


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


# ── resamples ────────────────────────────────────────────────────────────────────────────────────────────


def _width(row: Row) -> float:
    assert row.macro_f1 is not None
    low, high = row.macro_f1.interval
    return high - low


def test_every_item_in_ten_languages_says_no_more_than_in_one(tmp_path: Path) -> None:
    languages = [f"l{number}" for number in range(10)]
    one, parallel, apart = (Run(tmp_path / name) for name in ("one", "parallel", "apart"))
    one.put("hidden", "l0", "l0", luck=5)
    for number, language in enumerate(languages):
        parallel.put("hidden", language, language, luck=5)
        apart.put("hidden", language, language, luck=5 + number, labels_of=number, grouped=False)
    widths = [_width(build([run]).rows[0]) for run in (one, parallel, apart)]
    assert widths[1] == pytest.approx(widths[0], abs=1e-12)
    assert widths[2] == pytest.approx(widths[0] / np.sqrt(10), rel=0.2)


def test_a_task_in_one_language_is_drawn_as_ever(run: Run) -> None:
    record = run.put("hidden", "en", "en", luck=3)
    labels, predicted = run.truths[record.cell_id]
    weights = bootstrap_weights(labels, resamples=100, seed=bootstrap_seed("topics"))
    wanted = [f1_score(labels, predicted, average="macro", sample_weight=weight) for weight in weights]
    (result,) = build([run], resamples=100).rows[0].results
    assert result.macro_f1.samples == pytest.approx(wanted)


def test_pairs_take_the_plain_number_of_resamples_and_what_rows_are_ranked_by_enough(run: Run) -> None:
    languages = [f"l{number:02}" for number in range(11)]
    for language in languages:
        run.put("hidden", language, language, luck=1)
    run.put("hidden", "l00", "l01", luck=2)
    (row,) = build([run], resamples=300).rows
    assert len(row.results) == 11 and {len(result.macro_f1.samples) for result in row.results} == {1100}
    (other,) = row.others
    assert len(other.macro_f1.samples) == 300


def test_two_runs_of_parallel_rows_are_compared_by_items_too(tmp_path: Path) -> None:
    one, many = Run(tmp_path / "one"), Run(tmp_path / "many")
    other, others = Run(tmp_path / "other"), Run(tmp_path / "others")
    for language in ("en", *"abcdefghi"):
        for single, run, luck in ((one, many, 1), (other, others, 2)):
            run.put("hidden", language, language, luck=luck)
            if language == "en":
                single.put("hidden", language, language, luck=luck)
    (single,), (mean,) = compare(one, other).overall, compare(many, others).overall
    assert mean.tasks == 10
    assert mean.change.interval == pytest.approx(single.change.interval, abs=1e-12)


def test_a_published_run_and_a_run_folder_draw_the_same_items_as_one_run_of_both(tmp_path: Path) -> None:
    """One group is called by a number, as it might be in a folder."""
    whole, published, folder = (Run(tmp_path / name) for name in ("whole", "published", "folder"))
    for run, train, test in ((published, "en", "en"), (folder, "de", "de"), (folder, "en", "de")):
        for one in (whole, run):
            for luck, name in enumerate(("hidden", "sae")):
                one.put(name, train, test, luck=len(train + test) + luck, name_item="{}".format)
    publish(published.finished(), tmp_path / "board", name="x")
    invoke("build", whole.finished().path, "-o", tmp_path / "one")
    invoke("build", tmp_path / "board", folder.finished().path, "-o", tmp_path / "two")
    for name in ("leaderboard.csv", "matrix.csv", "matrix-summary.csv"):
        assert (tmp_path / "two" / name).read_text("utf-8") == (tmp_path / "one" / name).read_text("utf-8")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "balanced_accuracy"])
def test_where_a_resample_lacks_a_class_in_one_language_the_value_stands_in(run: Run, metric: Any) -> None:
    """German has other items than English: two of class a, and one of class b."""
    run.put("hidden", "en", "en", luck=1)
    labels = np.array([0, 0, 1])
    record = run.put("hidden", "de", "de", skill=1.0, rows=labels, name_item="german {}".format)
    cells: dict[Any, list[Any]] = defaultdict(list)
    for cell in read_cells([run]):
        cells[cell.unit].append(cell)
    scored = {
        unit.test_language: scores
        for unit, scores in score_units(cells, metric=metric, resamples=lambda _: 1000)
    }
    (few,) = scored["de"].by_cell.values()
    assert record.cell_id in scored["de"].by_cell
    assert np.isfinite(few.samples).all() and set(few.samples) == {few.value}
    (many,) = scored["en"].by_cell.values()
    assert len(set(many.samples)) > 100


# ── what rows are ranked by ──────────────────────────────────────────────────────────────────────────────


def test_rows_are_ranked_by_languages_that_are_learnt_by_themselves(run: Run) -> None:
    fill(run)
    run.put("hidden", "de", "de", regime="translations(source=en)", luck=77)
    board = build([run])
    assert [task.name for task in board.tasks] == [f"topics[{language}] native" for language in sorted(SEEN)]
    text = to_markdown(board)
    assert "each language learnt and tested by itself (below, what was learnt otherwise)" in text
    assert "→" not in text.split("## Task by task")[1]
    assert "[across languages and data](leaderboard-matrix.md)" in text


def test_many_languages_are_counted_in_names_which_stay_unlike(run: Run) -> None:
    run.put("hidden", "en", "en")
    run.put("hidden", "de+en+es+fr", "sw", regime="leave_one_out")
    run.put("hidden", "de+en+es", "fr", regime="leave_one_out")
    run.put("hidden", "de+en+es+fr", "sw", regime="some")
    run.put("hidden", "de+en+es+it", "sw", regime="some")
    (row,) = build([run]).rows
    assert {result.task for result in row.others} == {
        "topics[4 languages→sw] leave_one_out",
        "topics[de+en+es→fr] leave_one_out",
        "topics[de+en+es+fr→sw] some",
        "topics[de+en+es+it→sw] some",
    }


def test_what_is_learnt_from_another_models_features_is_a_regime_of_its_own(run: Run) -> None:
    for regime in ("full", "size(n=16)"):
        run.put("sae", "en", "en", regime=regime, luck=1)
        run.put("sae", "en", "en", regime=regime, luck=2, learnt_on="tiny", alignment="match")
    board = build([run])
    assert [task.name for task in board.tasks] == ["topics"]
    frame = read(board, "leaderboard-regimes.csv")
    assert list(frame["regime"]) == [
        "full",
        "from tiny by match",
        "size(n=16)",
        "size(n=16) from tiny by match",
    ]
    assert not {"matrix.csv", "leaderboard-matrix.md"} & set(render(board))


def test_regimes_are_compared_by_tested_language_over_the_mean_of_what_was_learnt_from(run: Run) -> None:
    fill(run, ("en", "de", "fr"))
    for test, train in (("en", "de+fr"), ("de", "en+fr"), ("fr", "de+en")):
        for luck, name in enumerate(("hidden", "sae")):
            run.put(name, train, test, regime="leave_one_out", luck=50 + luck)
    for test in ("de", "fr"):
        for luck, name in enumerate(("hidden", "sae")):
            run.put(name, f"{test}+en", test, regime="few_shot(k=8, source=en)", luck=60 + luck)
    board = build([run])
    frame = read(board, "leaderboard-regimes.csv")
    frame = frame[frame["representation"] == "sae"].set_index("regime")
    assert set(frame["n_tasks"]) == {2} and len(frame) == 4  # nothing but English has rows under few_shot
    pairs = read(board, "matrix.csv")
    pairs = pairs[(pairs["representation"] == "sae") & (pairs["test_language"] != "en")]
    wanted = pairs.groupby(["regime", "test_language"])[["macro_f1", "delta_vs_hidden"]].mean()
    wanted = wanted.groupby("regime").mean()
    for column in wanted:
        assert frame[column].to_dict() == pytest.approx(wanted[column].to_dict(), abs=2e-6)


# ── matrices ─────────────────────────────────────────────────────────────────────────────────────────────


def test_every_pair_stands_in_the_file_with_its_difference_and_what_is_shared(
    run: Run, tmp_path: Path
) -> None:
    fill(run)
    invoke("build", run.finished().path, "-o", tmp_path / "board")
    frame = pd.read_csv(tmp_path / "board" / "matrix.csv")
    assert list(frame) == COLUMNS and len(frame) == 3 * 25
    place = ["train_language", "test_language"]
    own, hidden = (
        frame[frame["representation"] == name].set_index(place).sort_index() for name in ("sae", "hidden")
    )
    assert (own["delta_vs_hidden"] - (own["macro_f1"] - hidden["macro_f1"])).abs().max() < 2e-6
    assert frame[frame["model"] == "—"][["delta_vs_hidden", "seen_train", "seen_test"]].isna().all(axis=None)
    for record in run.records():
        line = frame[
            (frame["representation"] == record.representation)
            & (frame["train_language"] == record.train_language)
            & (frame["test_language"] == record.test_language)
        ].iloc[0]
        assert line["macro_f1"] == pytest.approx(record.metrics["macro_f1"].value, abs=1e-6)
        assert line["low"] <= line["macro_f1"] <= line["high"] and line["n_test"] == N
        assert (line["n_train"], line["n_validation"]) == (record.n_train, record.n_validation) == (90, 12)
        if record.seen:
            assert line["seen_train"] == record.seen[record.train_language]
        if record.sharing:
            assert line["weight_shared"] == pytest.approx(record.sharing.weight, abs=1e-6)
            assert line["features_both"] == record.sharing.both and np.isnan(line["top_overlap"])
    tasks = pd.read_csv(tmp_path / "board" / "leaderboard-tasks.csv")
    assert not tasks["task"].str.contains("→").any()


def test_means_are_over_seen_languages_and_the_others_stand_apart(run: Run) -> None:
    fill(run)
    board = build([run])
    pairs, found = read(board, "matrix.csv"), read(board, "matrix-summary.csv")
    pairs["across"] = pairs["train_language"] != pairs["test_language"]
    seen = pairs[["seen_train", "seen_test"]].min(axis=1)
    pairs["languages"] = np.where(seen.isna(), "all", np.where(seen > 0, "seen", "unseen"))
    assert set(found["languages"]) == {"seen", "unseen", "all"}
    assert set(found[found["representation"] == "tfidf"]["languages"]) == {"all"}
    for _, line in found.iterrows():
        same = pairs[
            (pairs["representation"] == line["representation"])
            & (pairs["languages"] == line["languages"])
            & (pairs["across"] == line["learnt"].startswith("zero_shot"))
        ]
        if line["learnt"] == "zero_shot from en":
            same = same[same["train_language"] == "en"]
        by_test = same.groupby("test_language")["macro_f1"].mean()
        assert (line["n_pairs"], line["n_languages"]) == (len(same), len(by_test))
        assert line["macro_f1"] == pytest.approx(by_test.mean(), abs=2e-6)
        assert line["worst_language"] == by_test.idxmin()
        assert line["worst_macro_f1"] == pytest.approx(by_test.min(), abs=2e-6)
        if line["languages"] == "seen" and len(by_test) > 2:
            wanted = spearmanr(np.log([SEEN[test] for test in by_test.index]), by_test).statistic
            assert line["resource_spearman"] == pytest.approx(wanted, abs=2e-6)
            assert line["resource_languages"] == len(by_test)
        else:
            assert np.isnan(line["resource_spearman"])
    text = render(board)["leaderboard-matrix.md"]
    assert "mini never saw: sw." in text and "### Languages that the model never saw" in text
    assert "models that do not say what they saw" in text


def test_a_mean_of_fewer_languages_than_others_in_its_column_says_of_how_many(run: Run) -> None:
    languages = ("en", "de", "fr", "es")
    for luck, (train, test) in enumerate((train, test) for train in languages for test in languages):
        run.put("sae", train, test, luck=luck)
        run.put("pca(k=64)", train, test, luck=luck + 20)
        if test != "es":
            run.put("hidden", train, test, luck=luck + 40)
        if (train, test) != ("de", "de"):
            run.put("sae", train, test, luck=luck + 60, width=9)
    board = build([run])
    frame = read(board, "matrix-summary.csv").set_index(["representation", "width", "learnt"])
    assert frame.loc[("sae", 512, "zero_shot"), ["n_languages", "n_delta", "n_gap"]].tolist() == [4, 3, 4]
    assert frame.loc[("sae", 9, "zero_shot"), ["n_languages", "n_delta", "n_gap"]].tolist() == [4, 3, 3]
    assert frame.loc[("sae", 9, "native"), ["n_languages", "n_delta", "n_gap"]].tolist() == [3, 2, 0]
    tables = {
        table.split(":")[0].strip("| "): [line.split(" | ") for line in table.splitlines()]
        for table in render(board)["leaderboard-matrix.md"].split("\n\n")
        if table.startswith("| ")
    }

    def cell(table: str, name: str, width: int, learnt: str) -> str:
        head, _, *lines = tables[table]
        (line,) = [line for line in lines if line[1:3] == [name, str(width)]]
        return line[head.index(learnt)].removesuffix(" |").partition("] ")[2]

    assert cell("macro-F1", "sae", 512, "native") == ""
    assert cell("macro-F1", "sae", 9, "native") == "(3/4)"
    assert cell("gap", "sae", 512, "zero_shot") == ""
    assert cell("gap", "sae", 9, "zero_shot") == cell("gap", "hidden", 64, "zero_shot") == "(3/4)"
    assert cell("Δ hidden", "sae", 512, "native") == cell("Δ hidden", "sae", 9, "zero_shot") == ""
    assert cell("Δ hidden", "sae", 9, "native") == "(2/3)"


def test_the_gap_is_paired_over_the_items(run: Run) -> None:
    """Native minus the mean of what is learnt elsewhere, on the same draws, with scikit-learn's macro-F1."""
    languages = ("en", "de", "fr")
    fill(run, languages)
    line = (
        read(build([run], resamples=300), "matrix-summary.csv")
        .set_index(["representation", "learnt"])
        .loc[("hidden", "zero_shot")]
    )
    labels = np.random.default_rng(0).integers(len(CLASSES), size=N)
    weights = bootstrap_weights(labels, resamples=300, seed=bootstrap_seed("topics"))
    predicted = {
        (record.train_language, record.test_language): run.truths[record.cell_id][1]
        for record in run.records()
        if record.representation == "hidden"
    }

    def gap(score: dict[tuple[str, str], Any]) -> Any:
        return np.mean(
            [
                score[test, test]
                - np.mean([score[train, test] for train in languages if train != test], axis=0)
                for test in languages
            ],
            axis=0,
        )

    def resampled(guess: NDArray[Any]) -> NDArray[Any]:
        """Return the macro-F1 of each draw by its formula, which is scikit-learn's for every twentieth draw."""
        draws = weights.astype(np.float64)
        macro = np.mean(
            [
                2
                * draws
                @ ((labels == one) & (guess == one))
                / (draws @ (labels == one) + draws @ (guess == one))
                for one in np.unique(labels)
            ],
            axis=0,
        )
        for draw, found in zip(draws[::20], macro[::20], strict=True):
            wanted = f1_score(labels, guess, average="macro", sample_weight=draw)
            assert found == pytest.approx(wanted, abs=1e-12)
        return macro

    low, high = percentile_interval(gap({place: resampled(guess) for place, guess in predicted.items()}))
    whole = {place: f1_score(labels, guess, average="macro") for place, guess in predicted.items()}
    assert line["gap"] == pytest.approx(gap(whole), abs=1e-6)
    assert (line["gap_low"], line["gap_high"]) == pytest.approx((low, high), abs=1e-6)


def test_names_can_break_neither_the_page_of_matrices_nor_its_tables(run: Run, tmp_path: Path) -> None:
    task = "<b>x|y</b>](http://z)"
    fill(run, ("en", "sw"), task=task, model="a|b<i>/../c")
    board = build([run])
    write(board, tmp_path / "board")
    page = (tmp_path / "board" / "leaderboard-matrix.md").read_text("utf-8")
    html = MarkdownIt("commonmark").enable("table").render(page)
    assert "<b>" not in html and "<i>" not in html and 'href="http://z' not in html
    found = {path.name for path in (tmp_path / "board" / "matrix").iterdir()}
    assert len(found) == 3 and all(f"](matrix/{name})" in page for name in found)


def test_small_matrices_are_text_and_large_ones_are_not(run: Run, tmp_path: Path) -> None:
    fill(run, ("en", "de", "sw"))
    page = render(build([run]))["leaderboard-matrix.md"]
    assert "| en | de | sw* |" in page and "| sw* | " in page
    assert page.count("### mini ") == 2  # hidden states and the dictionary
    large = Run(tmp_path / "large", n=30)
    for test in (f"l{number:02}" for number in range(15)):
        large.put("hidden", "l00", test)
    assert "### mini" not in render(build([large]))["leaderboard-matrix.md"]


def test_pictures_can_be_opened_and_have_a_place_for_every_pair(run: Run, tmp_path: Path) -> None:
    fill(run)
    write(build([run]), tmp_path)
    folder = tmp_path / "matrix"
    assert {path.name for path in folder.iterdir()} == {
        "topics-mini-hidden-64.png",
        "topics-mini-sae-512.png",
        "topics-tfidf.png",
    }
    for name, maps in (("topics-mini-hidden-64.png", 1), ("topics-mini-sae-512.png", 3)):
        image = Image.open(folder / name)
        side = 5 * pictures.cell_size(5)
        assert image.size[1] == maps * (pictures.TOP + side + pictures.BOTTOM)
        assert image.size[0] >= pictures.LEFT + side + pictures.RIGHT
        assert "date" not in str(image.info).lower() and "time" not in str(image.info).lower()
    image = Image.open(folder / "topics-mini-hidden-64.png").convert("RGB")
    half = pictures.cell_size(5)
    best, worst = (
        image.getpixel((pictures.LEFT + half * column + 4, pictures.TOP + 4)) for column in (0, 4)
    )  # English to itself, and to Swahili
    assert isinstance(best, tuple) and isinstance(worst, tuple)
    assert luminance(np.array(best[:3])) > luminance(np.array(worst[:3]))


def luminance(colour: np.ndarray) -> float:
    """Return the relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.1)."""
    parts = colour / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_lightness_rises_with_the_number_and_falls_away_from_no_difference() -> None:
    levels = np.linspace(0, 1, 101)
    rising, away = (
        [luminance(colour) for colour in paint(levels, colours)]
        for colours in (pictures.SEQUENTIAL, pictures.DIVERGING)
    )
    assert (np.diff(rising) > -1e-3).all()
    assert int(np.argmax(away)) == 50 and away[0] == pytest.approx(away[-1], abs=0.08)


def test_a_board_without_pairs_has_no_matrix_and_takes_an_earlier_one_away(run: Run, tmp_path: Path) -> None:
    alone = Run(tmp_path / "alone")
    alone.put("hidden", "en", "en")
    fill(run, ("en", "de"))
    folder = tmp_path / "board"
    write(build([run]), folder)
    (folder / "matrix" / "notes.txt").write_text("mine", "utf-8")
    assert (folder / "matrix.csv").is_file() and len(list((folder / "matrix").iterdir())) == 4
    write(build([alone]), folder)
    assert not list(folder.glob("*matrix*.*"))
    assert [path.name for path in (folder / "matrix").iterdir()] == ["notes.txt"]


def test_what_is_published_gives_the_same_matrices_and_is_checked_for_its_pictures(
    run: Run, tmp_path: Path
) -> None:
    fill(run)
    board = tmp_path / "board"
    publish(run.finished(), board, name="x")
    assert check_published(board) == ()
    write(build([run]), tmp_path / "own")
    for name in ("matrix.csv", "matrix-summary.csv", "leaderboard.csv", "leaderboard-regimes.csv"):
        assert (board / name).read_bytes() == (tmp_path / "own" / name).read_bytes(), name
    assert not any(b"item 1" in path.read_bytes() for path in board.iterdir() if path.is_file())
    (board / "matrix" / "topics-tfidf.png").write_bytes(b"drawn elsewhere")
    assert check_published(board) == ()
    (board / "matrix" / "topics-tfidf.png").rename(board / "matrix" / "stray.png")
    assert [finding.split("; ")[0].split("/")[-1] for finding in check_published(board)] == [
        "stray.png' shows what no published run has",
        "topics-tfidf.png' is missing",
    ]


def test_items_are_known_across_runs_that_were_published_apart(tmp_path: Path) -> None:
    both = Run(tmp_path / "both")
    for language, luck in (("en", 1), ("de", 2)):
        run = Run(tmp_path / language)
        for one in (both, run):
            one.put("hidden", language, language, luck=luck)
        publish(run.finished(), tmp_path / "apart", name=language)
    publish(both.finished(), tmp_path / "together", name="both")
    apart, together = (pd.read_csv(tmp_path / name / "leaderboard.csv") for name in ("apart", "together"))
    assert apart["macro_f1_low"].tolist() == together["macro_f1_low"].tolist()


def test_tasks_that_learn_from_several_others_stand_by_what_they_learnt_from(run: Run) -> None:
    for luck, (task, other) in enumerate(
        [("x", None), ("y", None), ("y_by_x", "x"), ("z_by_x", "x"), ("x_by_y", "y")]
    ):
        n_train = 70 + 5 * luck
        run.put("hidden", "en", "en", regime="full", task=task, trained_on=other, luck=luck, n_train=n_train)
    assert "matrix.csv" not in render(build([run]))
    run.put("hidden", "en", "en", regime="full", task="z_by_y", trained_on="y", luck=9)
    board = build([run])
    frame = read(board, "matrix.csv")
    assert set(zip(frame["trained_on"], frame["task"], strict=True)) == {
        ("x", "x"), ("x", "y_by_x"), ("x", "z_by_x"), ("y", "y"), ("y", "x_by_y"), ("y", "z_by_y"),
    }  # fmt: skip
    section = render(board)["leaderboard-matrix.md"].split("## Across data sets")[1]
    assert "| learnt from | tested on | n_train | n_test |" in section
    assert f"| x | x | 70 | {N} |" in section and f"| x | y_by_x | 80 | {N} |" in section
    assert "matrix-summary.csv" not in render(board)


def test_cells_of_several_seeds_count_once_a_pair(run: Run) -> None:
    for seed in (0, 1):
        fill(run, ("en", "de"), seed=seed)
    frame = read(build([run]), "matrix.csv")
    assert len(frame) == 12
    assert find(build([run]), "sae").results[0].n_test == N


@pytest.mark.parametrize(
    ("tag", "script"),
    [("de", "Latn"), ("hi", "Deva"), ("hi-Latn", "Latn"), ("zh-Hans", "Hani"), ("zh-Hant", "Hani"), ("zh", "Hani"),
     ("pt-MZ", "Latn"), ("sr-Latn-RS", "Latn"), ("am", "Ethi"), ("tlh", None)],
)  # fmt: skip
def test_the_script_of_a_tag_is_the_one_it_names_or_its_language_has(tag: str, script: str | None) -> None:
    assert script_of(tag) == script


SCRIPTS = {
    "Latn": "af az bm ca ceb cs cy da de en es et eu fi fr ga gl ha hr hu id ig is it jv lg ln lt lv mg ms mt nb nl nn "
    "no ny om pcm pl pt ro rw sk sl sn so sq st su sv sw tl tn tr ts tw uz vi wo xh yo zu",
    "Cyrl": "be bg kk ky mk mn ru sr tg tt uk",
    "Arab": "ar arq ary arz ckb fa ks ps sd ug ur",
    "Deva": "bho hi mai mr ne sa", "Hani": "yue zh", "Beng": "as bn", "Ethi": "am ti", "Hebr": "he yi",
    "Armn": "hy", "Geor": "ka", "Grek": "el", "Gujr": "gu", "Guru": "pa", "Jpan": "ja", "Khmr": "km", "Knda": "kn",
    "Kore": "ko", "Laoo": "lo", "Mlym": "ml", "Mymr": "my", "Orya": "or", "Sinh": "si", "Taml": "ta", "Telu": "te",
    "Thaa": "dv", "Thai": "th", "Tibt": "bo",
}  # fmt: skip
"""Scripts of the languages that multilingual sets are in, written down by hand."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_languages_of_multilingual_sets_have_the_script_they_are_written_in(script: str) -> None:
    assert {tag: script_of(tag) for tag in SCRIPTS[script].split()} == dict.fromkeys(
        SCRIPTS[script].split(), script
    )


@pytest.mark.parametrize("tag", ["", "und", "mul", "zxx", "x-own", "no tag", "a+b", "notatag"])
def test_what_names_no_known_language_has_no_script(tag: str) -> None:
    assert script_of(tag) is None


def test_pairs_within_a_script_and_across_scripts_have_means_of_their_own(run: Run, tmp_path: Path) -> None:
    tags = ("de", "en", "ru", "uk")
    luck = 0
    for train in tags:
        for test in tags:
            luck += 1
            skill = 0.9 if train == test else 0.6 if script_of(train) == script_of(test) else 0.2
            run.put("sae", train, test, skill=skill, luck=luck, seen=dict.fromkeys(tags, 1.0))
    invoke("build", run.finished().path, "-o", tmp_path / "board")
    matrix = pd.read_csv(tmp_path / "board" / "matrix.csv").query("train_language != test_language")
    summary = pd.read_csv(tmp_path / "board" / "matrix-summary.csv").set_index("learnt")
    within = matrix.train_language.map(script_of) == matrix.test_language.map(script_of)
    for name, own, n in (("within a script", within, 4), ("across scripts", ~within, 8)):
        line = summary.loc[f"zero_shot {name}"]
        wanted = matrix[own].groupby("test_language").macro_f1.mean().mean()
        assert line.macro_f1 == pytest.approx(wanted, abs=1e-5)
        assert line.n_pairs == n


def test_what_dictionaries_share_stands_on_the_page_in_the_mean_over_pairs(run: Run, tmp_path: Path) -> None:
    fill(run)
    invoke("build", run.finished().path, "-o", tmp_path / "board")
    page = (tmp_path / "board" / "leaderboard-matrix.md").read_text("utf-8")
    frame = (
        pd.read_csv(tmp_path / "board" / "matrix.csv")
        .query("representation == 'sae'")
        .dropna(subset="weight_even")
    )
    wanted = spearmanr(frame.weight_even, frame.macro_f1).statistic
    (line,) = [
        line
        for line in page.splitlines()
        if line.startswith("| mini | sae |") and f"| {len(frame)} |" in line
    ]
    cells = [cell.strip() for cell in line.split("|")]
    assert float(cells[5]) == pytest.approx(frame.weight_shared.mean(), abs=6e-4)
    assert float(cells[6]) == pytest.approx(frame.weight_even.mean(), abs=6e-4)
    assert float(cells[-2].replace("−", "-")) == pytest.approx(wanted, abs=6e-4)
