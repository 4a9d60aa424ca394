"""Runs made by hand in, boards out: choices, comparisons, ranks, and what the files say."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from sklearn.metrics import f1_score

from harness.api.errors import NothingSelectedError, UnavailableError
from harness.api.events import Score
from harness.data.cleaning import Hygiene
from harness.leaderboard import Board, Row, build, to_csv, to_frame, to_markdown, write
from harness.leaderboard.files import render
from harness.runs.folder import RunFolder
from harness.runs.record import Cost, Record
from harness.stats.bootstrap import bootstrap_seed, bootstrap_weights, percentile_interval

# fmt: off
COLUMNS = [
    "rank", "model", "representation", "width", "site", "pooling", "transform", "classifier", "n_tasks",
    "macro_f1", "macro_f1_low", "macro_f1_high",
    "delta_vs_hidden", "delta_low", "delta_high",
    "delta_matched", "delta_matched_low", "delta_matched_high",
    "won", "tied", "lost", "tokens_per_s", "flags", "suite",
]
# fmt: on


class Run(RunFolder):
    """A run folder filled by hand. Every task has its own labels; an arm is right as often as its skill."""

    def __init__(self, path: Path, *, n: int = 400, classes: Sequence[str] = ("a", "b", "c")) -> None:
        super().__init__(path)
        (path / "predictions").mkdir(parents=True, exist_ok=True)
        self.n, self.classes = n, classes

    def about(self) -> dict[str, Any]:
        return super().about() if self.exists else {"suite": {"name": "tests"}}

    def put(
        self,
        representation: str = "hidden",
        *,
        skill: float = 0.7,
        validation: float | None = 0.5,
        luck: int = 0,
        n: int | None = None,
        shuffle: int = 0,
        **fields: Any,
    ) -> Record:
        given = {
            "task": "spam",
            "model": "mini",
            "site": "resid_post.2",
            "pooling": "mean",
            "seed": 0,
            **fields,
        }
        names = (
            "task",
            "model",
            "site",
            "pooling",
            "transform",
            "classifier",
            "seed",
            "width",
            "test_language",
        )
        cell_id = "-".join([representation, *(str(given.get(name, "")) for name in names)])
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
                "width": 64,
                "transform": "none",
                "classifier": "logreg",
                "validation_metrics": {} if validation is None else {"macro_f1": validation},
                **given,
            }
        )
        self.add(record)
        if record.status == "ok":
            self.predict(record, skill=skill, luck=luck, n=n or self.n, shuffle=shuffle)
        return record

    def predict(self, record: Record, *, skill: float, luck: int, n: int, shuffle: int) -> None:
        labels = np.random.default_rng(1000 + len(record.task)).integers(len(self.classes), size=n)
        generator = np.random.default_rng(luck)
        guesses = generator.integers(len(self.classes), size=n)
        predicted = np.where(generator.random(n) < skill, labels, guesses)
        order = np.random.default_rng(shuffle).permutation(n)
        names = np.array(self.classes)
        self.write_predictions(
            record.cell_id,
            example_ids=[f"{record.task}-{row:05}" for row in order],
            labels=list(names[labels][order]),
            predictions=list(names[predicted][order]),
            scores=np.eye(len(names))[predicted][order],
            classes=self.classes,
        )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def find(board: Board, representation: str) -> Row:
    (row,) = [row for row in board.rows if row.representation == representation]
    return row


def line(board: Board, representation: str) -> dict[str, Any]:
    frame = to_frame(board)
    return dict(frame[frame["representation"] == representation].iloc[0])


def test_the_choice_is_the_best_on_validation_whatever_test_says(run: Run) -> None:
    run.put(pooling="max", validation=0.6, skill=0.3)
    run.put(pooling="mean", validation=0.5, skill=0.95)
    assert line(build([run]), "hidden")["pooling"] == "max"


def test_the_token_set_is_chosen_on_validation_like_the_pooling(run: Run) -> None:
    for tokens, validation, skill in (("all", 0.6, 0.9), ("content", 0.5, 0.2)):
        run.put(tokens=tokens, validation=validation, skill=skill, cell_id=f"hidden-{tokens}")
        run.put("sae", tokens=tokens, validation=1 - validation, skill=0.6, cell_id=f"sae-{tokens}", luck=1)
    run.put("pca", tokens="content", luck=2)
    run.put("tfidf", model=None, site=None, pooling=None, tokens=None, luck=3)
    board = build([run])
    chosen = {row.representation: line(board, row.representation)["tokens"] for row in board.rows}
    assert chosen == {"hidden": "all", "sae": "content", "pca": "content", "tfidf": ""}
    assert find(board, "sae").flags == () and find(board, "pca").flags == ("searched:1/2",)
    assert line(board, "sae")["delta_vs_hidden"] < 0 < line(board, "sae")["delta_matched"]
    assert "| tokens |" in to_markdown(board)


def test_a_board_of_content_alone_says_nothing_of_tokens(run: Run) -> None:
    run.put()
    run.put(
        "tfidf", model=None, site=None, pooling=None
    )  # as an older harness wrote it, with tokens' default
    board = build([run])
    assert "tokens |" not in to_markdown(board).replace("tokens/s |", "")
    assert [line(board, name)["tokens"] for name in ("hidden", "tfidf")] == ["content", ""]


def test_permuted_test_labels_change_no_choice(run: Run) -> None:
    generator = np.random.default_rng(0)
    records = [
        run.put(name, task=task, site=site, pooling=pooling, validation=generator.random(), luck=luck)
        for luck, (name, task, site, pooling) in enumerate(
            (name, task, site, pooling)
            for name in ("hidden", "sae", "pca")
            for task in ("spam", "banking")
            for site in ("resid_post.2", "resid_post.4")
            for pooling in ("max", "mean")
        )
    ]
    before = build([run])
    for record in records:
        path = run.path / "predictions" / f"{record.cell_id}.parquet"
        frame = pd.read_parquet(path).sort_values("example_id")
        frame["label"] = np.random.default_rng(7).permutation(frame["label"].to_numpy(object))
        frame.to_parquet(path, index=False)
    after = build([run])
    assert _chosen(before) == _chosen(after)
    assert find(before, "sae").macro_f1.value != find(after, "sae").macro_f1.value  # type: ignore[union-attr]


def _chosen(board: Board) -> dict[str, list[str]]:
    return {row.representation: [cell.record.cell_id for cell in row.cells] for row in board.rows}


def test_a_tie_on_validation_goes_to_the_first_in_natural_order(run: Run) -> None:
    for site in ("resid_post.12", "resid_post.5"):
        for pooling in ("mean", "max"):
            run.put(site=site, pooling=pooling)
    found = line(build([run]), "hidden")
    assert (found["site"], found["pooling"]) == ("resid_post.5", "max")


def test_a_cell_without_a_validation_score_is_chosen_last(run: Run) -> None:
    run.put(pooling="first", validation=None)
    run.put(pooling="mean", validation=0.0)
    assert line(build([run]), "hidden")["pooling"] == "mean"


def test_equal_arms_tie_with_a_difference_of_exactly_nothing(run: Run) -> None:
    for task in ("spam", "banking"):
        run.put("hidden", task=task, luck=3)
        run.put("sae", task=task, luck=3, width=512, shuffle=9)
    board = build([run])
    row = line(board, "sae")
    assert [row[name] for name in COLUMNS[12:18]] == [0.0] * 6
    assert (row["won"], row["tied"], row["lost"]) == (0, 2, 0)
    assert {row.rank for row in board.rows} == {1}
    text = to_markdown(board)
    assert ".000 [.000, .000]" in text and text.count("| 1–2 |") == 2 and "0 / 2 / 0" in text
    assert "won |" not in text.split("## Task by task")[1]


@pytest.mark.parametrize(("skill", "outcome"), [(0.95, "won"), (0.4, "lost")])
def test_a_planted_difference_is_found_with_its_sign(run: Run, skill: float, outcome: str) -> None:
    for task in ("spam", "banking", "hate"):
        run.put("hidden", task=task, luck=1)
        run.put("sae", task=task, luck=2, skill=skill)
    board = build([run])
    row = line(board, "sae")
    sign = 1 if outcome == "won" else -1
    assert row[outcome] == 3
    assert sign * row["delta_vs_hidden"] > 0 and min(sign * row["delta_low"], sign * row["delta_high"]) > 0
    assert row["rank"] == (1 if outcome == "won" else 2)
    assert board.rows[0].representation == ("sae" if outcome == "won" else "hidden")
    assert outcome in to_markdown(board)


def test_small_differences_are_ties(run: Run) -> None:
    run.put("hidden", skill=0.7, luck=1)
    run.put("sae", skill=0.71, luck=2)
    board = build([run])
    assert {(row.rank, row.last_rank) for row in board.rows} == {(1, 2)}
    assert line(board, "sae")["tied"] == 1


def test_scores_and_intervals_are_those_of_scikit_learn_on_shared_weights(run: Run) -> None:
    cells = {name: run.put(name, luck=luck) for luck, name in enumerate(("hidden", "sae"))}
    frames = {
        name: run.predictions(cell.cell_id).sort_values("example_id").astype(object)
        for name, cell in cells.items()
    }
    y = np.searchsorted(run.classes, frames["sae"]["label"].to_numpy(str))
    weights = bootstrap_weights(y, resamples=1000, seed=bootstrap_seed("spam"))
    samples = {
        name: [
            f1_score(frame["label"], frame["prediction"], average="macro", sample_weight=weight)
            for weight in weights[:60]
        ]
        for name, frame in frames.items()
    }
    board = build([run])
    row = find(board, "sae")
    assert row.macro_f1 is not None and row.delta is not None
    expected = f1_score(frames["sae"]["label"], frames["sae"]["prediction"], average="macro")
    assert row.macro_f1.value == pytest.approx(expected, abs=1e-12)
    assert row.macro_f1.samples[:60] == pytest.approx(samples["sae"])
    assert row.delta.samples[:60] == pytest.approx(np.subtract(samples["sae"], samples["hidden"]))
    assert line(board, "sae")["delta_low"] == percentile_interval(row.delta.samples)[0]


def test_matched_compares_at_the_rows_own_choice(run: Run) -> None:
    run.put("hidden", pooling="mean", validation=0.9, skill=0.9, luck=1)
    run.put("hidden", pooling="max", validation=0.2, skill=0.3, luck=2)
    run.put("sae", pooling="max", validation=0.5, skill=0.6, luck=3)
    row = line(build([run]), "sae")
    assert row["delta_vs_hidden"] < -0.1 and row["delta_matched"] > 0.1


def test_a_missing_counterpart_leaves_its_columns_empty(run: Run) -> None:
    run.put("hidden", pooling="mean")
    run.put("sae", pooling="topn_count(n=20)")
    row = line(build([run]), "sae")
    assert pd.isna(row["delta_matched"]) and not pd.isna(row["delta_vs_hidden"])


def test_a_counterpart_for_some_tasks_is_flagged(run: Run) -> None:
    run.put("hidden", task="spam")
    run.put("hidden", task="banking", pooling="max")
    for task in ("spam", "banking"):
        run.put("sae", task=task)
    assert find(build([run]), "sae").flags == ("matched:1/2", "searched:1/2+1")


def test_each_model_is_compared_with_its_own_hidden_states(run: Run) -> None:
    run.put("hidden", model="small", skill=0.3, luck=1)
    run.put("hidden", model="large", skill=0.9, luck=2, width=128)
    run.put("sae", model="small", skill=0.6, luck=3, width=512)
    assert line(build([run]), "sae")["delta_vs_hidden"] > 0.1


def test_a_baseline_of_any_name_is_compared_with_as_hidden_states_are(tmp_path: Path) -> None:
    boards = []
    for name, flags in (("hidden", {}), ("own_states", {"baseline": True})):
        run = Run(tmp_path / name)
        run.put(name, skill=0.3, luck=1, pooling="max", validation=0.6, **flags)
        run.put(name, skill=0.5, luck=2, pooling="mean", **flags)
        run.put("sae", skill=0.7, luck=3, pooling="mean", width=512)
        boards.append(build([run]))
    known, other = (line(board, "sae") for board in boards)
    for column in [*COLUMNS[12:18], "won", "tied", "lost", "flags"]:
        assert known[column] == other[column]
    assert known["delta_vs_hidden"] > known["delta_matched"] > 0
    assert find(boards[1], "own_states").is_baseline and pd.isna(line(boards[1], "own_states")["delta_low"])
    assert to_markdown(boards[0]) == to_markdown(boards[1]).replace("own_states", "hidden")


def test_rows_are_ranked_under_the_regime_that_changes_nothing_whatever_its_name(tmp_path: Path) -> None:
    boards = []
    for name, flags in (("full", {}), ("as_it_is", {"natural": "task"})):
        run = Run(tmp_path / name)
        for luck, regime in enumerate((name, "size(n=8)")):
            run.put(regime=regime, luck=luck, cell_id=regime, **(flags if regime == name else {}))
        boards.append(build([run]))
    for board in boards:
        (row,) = board.rows
        assert [result.task for result in row.results] == ["spam"]
        assert [result.task for result in row.others] == ["spam size(n=8)"]


def test_two_regimes_that_change_nothing_are_told_apart_by_name(run: Run) -> None:
    run.put(regime="full", cell_id="a")
    run.put(regime="as_it_is", natural="task", cell_id="b", luck=1)
    (row,) = build([run]).rows
    assert [result.task for result in row.results] == ["spam as_it_is", "spam full"]


def test_hidden_and_input_arms_are_compared_with_nothing(run: Run) -> None:
    run.put("hidden")
    run.put("tfidf", model=None, site=None, pooling=None, width=None)
    board = build([run])
    for name in ("hidden", "tfidf"):
        row = line(board, name)
        assert all(pd.isna(row[column]) for column in [*COLUMNS[12:18], "won", "tied", "lost"])
    assert line(board, "tfidf")["model"] == "—"
    assert find(board, "tfidf").width is None


def test_seeds_are_chosen_one_by_one_and_averaged(run: Run) -> None:
    cells = [
        run.put("sae", seed=0, pooling="max", validation=0.9, luck=1, skill=0.5),
        run.put("sae", seed=1, pooling="mean", validation=0.9, luck=2, skill=0.9),
    ]
    run.put("sae", seed=0, pooling="mean", validation=0.1, luck=3)
    run.put("sae", seed=1, pooling="max", validation=0.1, luck=4)
    row = line(build([run]), "sae")
    frames = [run.predictions(cell.cell_id) for cell in cells]
    scores = [f1_score(frame["label"], frame["prediction"], average="macro") for frame in frames]
    assert row["macro_f1"] == pytest.approx(np.mean(scores))
    assert row["seed_sd"] == pytest.approx(np.std(scores, ddof=1))
    assert (row["pooling"], row["seeds"]) == ("max/mean", 2)


def test_choices_that_differ_between_tasks_are_joined(run: Run) -> None:
    for task, pooling in zip(("a", "bb", "ccc", "dddd"), ("max", "mean", "last", "sum"), strict=True):
        run.put("sae", task=task, pooling=pooling)
    row = line(build([run]), "sae")
    assert (row["site"], row["pooling"]) == ("resid_post.2", "last/max/mean/…")


def test_arms_on_other_rows_are_not_compared(run: Run) -> None:
    one, other = run.put("hidden", n=400), run.put("sae", n=399)
    with pytest.raises(UnavailableError) as caught:
        build([run])
    assert one.cell_id in str(caught.value) and other.cell_id in str(caught.value)


def test_damaged_predictions_are_named(run: Run) -> None:
    cell = run.put()
    (run.path / "predictions" / f"{cell.cell_id}.parquet").write_bytes(b"PAR1")
    with pytest.raises(UnavailableError, match="missing or damaged"):
        build([run])


def test_a_prediction_outside_the_classes_is_named(run: Run) -> None:
    cell = run.put()
    path = run.path / "predictions" / f"{cell.cell_id}.parquet"
    frame = pd.read_parquet(path)
    frame.loc[3, "prediction"] = "zebra"
    frame.to_parquet(path, index=False)
    with pytest.raises(UnavailableError, match="zebra"):
        build([run])


def test_nothing_that_ended_well_makes_no_board(run: Run) -> None:
    with pytest.raises(NothingSelectedError):
        build([run])
    run.put(status="failed", error="broken")
    with pytest.raises(NothingSelectedError, match="none of 1 cells"):
        build([run])
    with pytest.raises(NothingSelectedError):
        build([])


def test_failed_cells_are_counted_not_hidden(run: Run) -> None:
    run.put("hidden", flags=("limited",))
    run.put("hidden", pooling="max", status="failed", error="broken")
    run.put("sae", status="oom", error="out of memory")
    board = build([run])
    assert find(board, "hidden").flags == ("limited", "failed:1")
    row = find(board, "sae")
    assert (row.rank, row.macro_f1, row.flags) == (None, None, ("failed:1", "incomplete"))
    assert "failed:1, incomplete" in to_markdown(board)


def test_a_row_that_misses_a_task_is_shown_but_not_ranked(run: Run) -> None:
    for task in ("spam", "banking"):
        run.put("hidden", task=task, skill=0.5)
    run.put("sae", task="spam", skill=1.0)
    board = build([run])
    row = board.rows[-1]
    assert (row.representation, row.rank, row.flags) == ("sae", None, ("incomplete",))
    assert row.count("won") == 1 and board.rows[0].rank == 1


def test_a_later_run_replaces_a_failed_cell(tmp_path: Path) -> None:
    first, second = Run(tmp_path / "first"), Run(tmp_path / "second")
    first.put(status="failed", error="broken")
    second.put()
    for order in ([first, second], [second, first]):
        assert find(build(order), "hidden").flags == ()


def test_a_difference_on_many_tasks_can_still_be_significant(run: Run) -> None:
    for number in range(30):
        run.put("hidden", task=f"task{number:02}", luck=1, n=120)
        run.put("sae", task=f"task{number:02}", luck=2, n=120, skill=1.0 if number == 0 else 0.7)
    board = build([run])
    assert board.resamples == 3000
    assert find(board, "sae").results[0].verdict == "won"


def test_a_row_is_a_model_a_representation_and_a_width(run: Run) -> None:
    run.put("sae", width=512)
    run.put("sae", width=1024)
    run.put("sae", width=512, site="resid_post.4")
    assert sorted(row.width or 0 for row in build([run]).rows) == [512, 1024]


def test_hidden_states_of_several_widths_are_one_counterpart(run: Run) -> None:
    run.put("hidden", width=64, validation=0.5, skill=0.4, luck=1)
    run.put("hidden", width=256, site="attn_z.2", validation=0.9, skill=0.9, luck=2)
    run.put("sae", width=512, skill=0.6, luck=3)
    row = line(build([run]), "sae")
    assert row["delta_vs_hidden"] < -0.1 < 0.1 < row["delta_matched"]


def test_languages_are_tasks_of_their_own(run: Run) -> None:
    for language in ("de", "en"):
        run.put("hidden", test_language=language)
    board = build([run])
    assert [task.name for task in board.tasks] == ["spam[en→de]", "spam[en]"]
    assert line(board, "hidden")["n_tasks"] == 2


def test_the_frame_and_the_csv_have_the_agreed_columns(run: Run) -> None:
    run.put("hidden", cost=Cost(tokens_per_s=10.0))
    run.put("random_sae[k=32]", width=512, cost=Cost(tokens_per_s=30.0))
    run.put("random_sae[k=32]", width=512, pooling="max", cost=Cost(tokens_per_s=20.0), validation=0.1)
    run.put("random_sae[k=32]", width=512, pooling="sum", validation=0.1)
    board = build([run])
    frame = to_frame(board)
    assert list(frame.columns)[: len(COLUMNS)] == COLUMNS
    back = pd.read_csv(io.StringIO(to_csv(board)))
    assert list(back.columns)[: len(COLUMNS)] == COLUMNS
    assert len(back) == 2 and "nan" not in to_csv(board).lower()
    assert line(board, "random_sae[k=32]")["tokens_per_s"] == 25.0
    assert frame["suite"].unique().tolist() == ["tests"]


def test_other_metrics_are_averaged_or_left_out(run: Run) -> None:
    for task, value in (("spam", 0.8), ("banking", 0.9)):
        metrics = {"accuracy": Score(value=value)} | ({"auroc": Score(value=1.0)} if task == "spam" else {})
        run.put("hidden", task=task, metrics=metrics)
    row = line(build([run]), "hidden")
    assert row["accuracy"] == pytest.approx(0.85) and pd.isna(row["auroc"])


def test_markdown_shows_numbers_signs_and_what_was_removed(run: Run) -> None:
    run.put("hidden", luck=1, hygiene=Hygiene(duplicates=3, leaks=17, cut=2))
    run.put("sae", luck=2, skill=0.3, hygiene=Hygiene(duplicates=3, leaks=17, cut=5))
    run.put("majority", model=None, site=None, pooling=None, width=None, skill=0.0)
    text = to_markdown(build([run]))
    assert text.startswith("# Leaderboard: tests\n")
    assert "| spam | 3 | 17 | — | 0 | 0 | 5 |" in text  # a record without the count of near leaks
    assert "Near leaks were not counted in 1 of 1 tasks" in text
    assert "[−." in text and "| lost |" in text and "| majority |" in text
    assert "nan" not in text.lower().replace("banan", "") and "None" not in text


def test_names_can_break_neither_table_nor_page(run: Run) -> None:
    run.put("sae|<script>\n\x07`x`", model="mo|del\u202e")
    text = to_markdown(build([run]))
    assert "<script>" not in text and "\x07" not in text and "\u202e" not in text
    assert "sae\\|&lt;script&gt;" in text
    table = text.split("\n\n")[2].splitlines()
    assert len(table) == 3
    assert len({row.replace("\\|", "").count("|") for row in table}) == 1


def test_names_are_no_markup_on_any_page_of_a_board(run: Run, tmp_path: Path) -> None:
    name = "![a](http://b.c/d.png) *e* _f_ # ~~g~~ [h](i) <b>j</b> `k` | $l$ =1+1"
    fields = {"task": name, "model": name, "suite": name, "regime": name, "transform": name, "flags": (name,)}
    places = [(arm, *pair) for arm in ("hidden", name) for pair in (("en", "en"), ("en", name), (name, name))]
    for number, (arm, train, test) in enumerate(places):
        languages = {"train_language": train, "test_language": test}
        run.put(arm, cell_id=str(number), width=number // 3, **fields, **languages)
    texts = render(build([run]), tmp_path)
    assert {"leaderboard.md", "leaderboard-matrix.md", "matrix.csv"} <= {*texts}
    for page, text in ((page, text) for page, text in texts.items() if page.endswith((".md", ".csv"))):
        assert "http://" not in text or page.endswith(".csv")
        tags = {*re.findall(r"<(\w+)", MarkdownIt("commonmark").enable("table").render(text))}
        wanted = {"h1", "h2", "h3", "p", "a", "em", "table", "thead", "tbody", "tr", "th", "td"}
        assert page.endswith(".csv") or tags <= wanted
        for made in re.findall(r"(?<!\\)\]\((.*?)\)", text if page.endswith(".md") else ""):
            assert re.fullmatch(r"(leaderboard|matrix/)[A-Za-z0-9.=_-]+", made)


def test_the_files_are_written_whole(run: Run, tmp_path: Path) -> None:
    run.put("hidden")
    board = build([run])
    write(board, tmp_path / "out")
    write(board, tmp_path / "out")
    names = [
        *("leaderboard-tasks.csv", "leaderboard-tasks.parquet", "leaderboard.csv", "leaderboard.html"),
        *("leaderboard.json", "leaderboard.md", "leaderboard.parquet", "leaderboard.tex"),
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / "leaderboard.md").read_text("utf-8") == to_markdown(board)
    assert (tmp_path / "out" / "leaderboard.csv").read_text("utf-8") == to_csv(board)


def test_a_board_of_many_tasks_takes_one_line_a_task_and_model(run: Run) -> None:
    for number in range(21):
        run.put("hidden", task=f"task{number:02}", luck=1, n=120)
        run.put("sae", task=f"task{number:02}", luck=2, n=120, skill=1.0 if number == 0 else 0.7, width=512)
    board = build([run])
    lines = to_markdown(board).splitlines()
    place = lines.index("| task | hidden 64 | sae 512 |")
    assert len([text for text in lines if text.startswith("| task")]) == 2 * 21 + 2
    first, second = find(board, "hidden").results[0], find(board, "sae").results[0]
    assert second.delta is not None
    values = f"{first.macro_f1.value:.3f}".lstrip("0"), f"{second.delta.value:+.3f}".replace("0.", ".")
    assert lines[place + 2] == f"| task00 | {values[0]} | {values[1]} won |"


def test_every_number_of_every_task_stands_in_a_file_of_its_own(run: Run, tmp_path: Path) -> None:
    for task in ("spam", "banking"):
        run.put("hidden", task=task, luck=1)
        run.put("sae", task=task, luck=2, skill=0.95, width=512)
    board = build([run])
    write(board, tmp_path)
    frame = pd.read_csv(tmp_path / "leaderboard-tasks.csv").set_index(["representation", "task"])
    assert len(frame) == 4
    for result in find(board, "sae").results:
        found = frame.loc[("sae", result.task)]
        assert result.delta is not None and found["outcome"] == result.verdict == "won"
        assert found["macro_f1"] == pytest.approx(result.macro_f1.value, abs=1e-6)
        assert found["delta_vs_hidden_low"] == pytest.approx(result.delta.interval[0], abs=1e-6)
        assert found["p_value"] == pytest.approx(result.p_value, abs=1e-6)
    assert pd.isna(frame.loc[("hidden", "spam")]["delta_vs_hidden"])


def test_a_board_does_not_depend_on_the_order_of_records(tmp_path: Path) -> None:
    boards = []
    for number, names in enumerate((["hidden", "sae", "pca"], ["pca", "hidden", "sae"])):
        run = Run(tmp_path / str(number))
        for name in names:
            run.put(name, luck=len(name), width=64 + len(name))
        boards.append(to_csv(build([run])))
    assert boards[0] == boards[1]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"data": "other"}, "task 'spam' has other data"),
        ({"model_hash": "other"}, "model 'mini' has other weights"),
        ({"representation_hash": "other"}, "representation 'sae' is another one"),
    ],
)
def test_one_name_for_two_things_makes_no_board(
    tmp_path: Path, fields: dict[str, str], sentence: str
) -> None:
    same = {"data": "d", "model_hash": "m", "representation_hash": "r"}
    one, other = Run(tmp_path / "one"), Run(tmp_path / "other")
    one.put("sae", **same)
    other.put("sae", pooling="max", **{**same, **fields})
    with pytest.raises(UnavailableError, match=sentence):
        build([one, other])


def test_one_name_for_two_protocols_makes_no_board(tmp_path: Path) -> None:
    one, other = Run(tmp_path / "one"), Run(tmp_path / "other")
    one.put("hidden", protocol_hash="p")
    other.put("sae", protocol_hash="q")
    with pytest.raises(UnavailableError, match="'mean none logreg' stands for another revision or grid"):
        build([one, other])


def test_a_row_that_searched_less_than_its_hidden_states_says_so(run: Run) -> None:
    for pooling in ("mean", "max"):
        run.put("hidden", pooling=pooling)
    run.put("sae", pooling="mean")
    assert find(build([run]), "sae").flags == ("searched:1/2",)
    for pooling in ("max", "sum", "last"):
        run.put("sae", pooling=pooling)
    assert find(build([run]), "sae").flags == ("searched:2/2+2",)


def test_cells_that_were_chosen_on_folds_are_counted(run: Run) -> None:
    for task in ("spam", "banking"):
        run.put("hidden", task=task, selected_on="validation")
        run.put("sae", task=task, luck=1, selected_on="folds" if task == "spam" else "validation")
        run.put("sae", task=task, luck=1, pooling="max", validation=0.1, selected_on="folds")  # not chosen
    board = build([run])
    assert "folds:1/2" in find(board, "sae").flags
    assert not any("folds" in flag for flag in find(board, "hidden").flags)
    assert "n of the row's m cells were chosen on folds of the training rows" in to_markdown(board)


def test_a_board_chosen_on_validation_says_nothing_of_folds(run: Run) -> None:
    run.put("hidden")
    assert find(build([run]), "hidden").flags == () and "folds" not in to_markdown(build([run]))


def test_near_chance_the_page_sends_its_reader_to_auroc_where_there_is_one(run: Run, tmp_path: Path) -> None:
    run.put("hidden")
    said = "may be one of how often classes are predicted"
    assert f"{said}." in to_markdown(build([run]))
    other = Run(tmp_path / "other")
    for number in range(21):
        other.put("hidden", task=f"task{number:02}", n=60, metrics={"auroc": Score(value=0.7)})
        for count in (1, 21):
            if number + 1 == count:
                assert f"{said}: read AUROC beside it." in to_markdown(build([other]))


def test_names_are_ordered_by_the_numbers_in_them() -> None:
    from harness.leaderboard.selection import in_natural_order

    for names in (
        ["resid_post.5", "resid_post.12"],
        ["size(n=16)", "size(n=64)", "size(n=256)"],
        ["imbalance(share=0.02,n=400)", "imbalance(share=0.05,n=400)", "imbalance(share=0.2,n=400)"],
        ["full", "label_noise(rate=0.1)", "label_noise(rate=0.4)"],
    ):
        turned = names[::-1]
        assert sorted(turned, key=in_natural_order) == names
