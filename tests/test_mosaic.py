"""What the MOSAIC study did, against plain torch and scikit-learn written down from its source."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness_mosaic
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import DataLoader, TensorDataset

from harness import Examples, Partition, UnavailableError
from harness.data.partitions import make_draws
from harness.registry.catalog import Choice

Array = np.ndarray[Any, Any]


def make_partition(examples: Examples, regime: Choice, seed: int) -> Partition:
    """The one partition of a regime that does not go by languages."""
    (draw,) = make_draws(examples, regime, seed)
    return draw.partition


def offered(kind: str, name: str) -> Any:
    """The spec that the package offers under a name."""
    specs = getattr(harness_mosaic, f"harness_{kind}")()
    return next(spec for spec in specs if spec.name == name)


def make(kind: str, name: str, **parameters: Any) -> Any:
    return offered(kind, name).make(**parameters)


def choice(name: str, **parameters: Any) -> Choice:
    return Choice(
        kind="regimes",
        name=name,
        spec=offered("regimes", name),
        plugin="mosaic",
        distribution="sae-harness",
        parameters=parameters,
        given=parameters,
    )


def table(n: int = 300, width: int = 40, n_classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Rows from which something, but not all, can be learnt; classes of unlike sizes."""
    random = np.random.default_rng(seed)
    y = random.choice(n_classes, size=n, p=np.arange(1, n_classes + 1) / sum(range(1, n_classes + 1)))
    X = random.normal(size=(n, width)) * (random.random((n, width)) < 0.3)
    return (3 * X + 0.8 * np.eye(n_classes, width)[y]).astype(np.float32), y


def plain_probe(X: Array, y: Array, *, seed: int, copied: bool) -> torch.nn.Linear:
    """The study's loop: loaders, weighted loss, Adam, StepLR, and a state that is a copy or only a view."""
    X_train, X_val, y_train, y_val = train_test_split(
        X, y, test_size=0.1 / (1 - 0.2), random_state=42, stratify=y
    )
    train = TensorDataset(torch.tensor(X_train), torch.tensor(y_train))
    val_loader = DataLoader(TensorDataset(torch.tensor(X_val), torch.tensor(y_val)), batch_size=128)
    weights = compute_class_weight(class_weight="balanced", classes=np.unique(y), y=y_train)
    draws = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(X.shape[1], len(np.unique(y)))
    with torch.no_grad():
        for parameter in (model.weight, model.bias):
            parameter.uniform_(-(X.shape[1] ** -0.5), X.shape[1] ** -0.5, generator=draws)
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float32))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=100, gamma=0.1)
    best_loss, no_better, best_state = float("inf"), 0, model.state_dict()
    for _ in range(10_000):
        order = torch.randperm(len(train), generator=draws).tolist()
        batches: Any = [order[start : start + 128] for start in range(0, len(order), 128)]
        for features, labels in DataLoader(train, batch_sampler=batches):
            loss = criterion(model(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            val_loss = sum(criterion(model(f), labels).item() for f, labels in val_loader) / len(val_loader)
        scheduler.step()
        if val_loss < best_loss:
            best_loss, no_better = val_loss, 0
            best_state = copy.deepcopy(model.state_dict()) if copied else model.state_dict()
        else:
            no_better += 1
            if no_better >= 20:
                break
    model.load_state_dict(best_state)
    return model


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("restore", [False, True])
def test_the_probe_is_a_plain_torch_loop_with_the_studys_fault_or_without(
    restore: bool, n_classes: int
) -> None:
    X, y = table(n_classes=n_classes)
    wanted = plain_probe(X, y, seed=7, copied=restore)
    probe = make("classifiers", "mosaic_probe", restore=restore, seed=7).fit(X, y)
    with torch.no_grad():
        expected = wanted(torch.tensor(X)).softmax(dim=1).numpy()
    np.testing.assert_allclose(probe.predict_proba(X), expected, atol=1e-5)


def test_the_fault_keeps_other_weights_than_the_best() -> None:
    X, y = table(width=200)  # enough features to learn the rows by heart
    last, best = (make("classifiers", "mosaic_probe", restore=each).fit(X, y) for each in (False, True))
    assert np.abs(last.predict_proba(X) - best.predict_proba(X)).max() > 0.01
    assert not make("classifiers", "mosaic_probe").restore


def test_the_fault_stands_in_the_probes_summary() -> None:
    assert "instead of the best (its fault)" in offered("classifiers", "mosaic_probe").summary


def test_the_probe_is_the_same_on_sparse_rows_and_leaves_the_global_generator_alone() -> None:
    X, y = table()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    dense, thin = (make("classifiers", "mosaic_probe").fit(rows, y) for rows in (X, sparse.csr_array(X)))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(dense.predict_proba(X), thin.predict_proba(sparse.csr_array(X)))


def test_only_the_seed_moves_the_probe() -> None:
    X, y = table()
    one, same, other = (make("classifiers", "mosaic_probe", seed=seed).fit(X, y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.predict_proba(X), same.predict_proba(X))
    assert np.abs(one.predict_proba(X) - other.predict_proba(X)).max() > 0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_probes_weights_are_of_its_decision_functions(n_classes: int) -> None:
    X, y = table(n_classes=n_classes)
    probe = make("classifiers", "mosaic_probe").fit(X, y)
    odds = np.log(probe.predict_proba(X))
    found, wanted = X @ probe.weights.T, odds - odds[:, ::-1] if n_classes == 2 else odds
    rest = wanted - found
    rest -= rest[:, :1] if n_classes > 2 else 0
    np.testing.assert_allclose(rest, np.broadcast_to(rest[0], rest.shape), atol=1e-3)


def test_a_probe_without_two_rows_of_a_class_says_so() -> None:
    X, y = table(60)
    y[:] = 0
    y[0] = 1
    with pytest.raises(UnavailableError, match="mosaic_probe cannot cut off rows to stop on from 60"):
        make("classifiers", "mosaic_probe").fit(X, y)


def test_a_strange_parameter_is_refused_before_anything_is_fitted() -> None:
    with pytest.raises(ValueError, match="restore=yes must be true or false"):
        make("classifiers", "mosaic_probe", restore="yes")


def test_the_other_classifiers_are_scikit_learns() -> None:
    X, y = table()
    tree = make("classifiers", "mosaic_tree", depth=3, min_samples_leaf=2).fit(X, y)
    weights = dict(enumerate(compute_class_weight(class_weight="balanced", classes=np.unique(y), y=y)))
    wanted: Any = DecisionTreeClassifier(
        max_depth=3, min_samples_leaf=2, class_weight=weights, random_state=42
    )
    np.testing.assert_array_equal(tree.predict_proba(X), wanted.fit(X, y).predict_proba(X))
    logreg = make("classifiers", "mosaic_logreg").fit(X, y)
    wanted = LogisticRegression(class_weight="balanced", max_iter=10_000)
    np.testing.assert_allclose(logreg.predict_proba(X), wanted.fit(X, y).predict_proba(X), atol=1e-6)


# ── the split ────────────────────────────────────────────────────────────────────────────────────────────


def examples(n: int = 200) -> Examples:
    """Three classes of unlike sizes; official splits in turn."""
    labels = [("a", "b", "b", "c", "c", "c")[row % 6] for row in range(n)]
    splits: Sequence[Any] = [("train", "train", "train", "test", "validation")[row % 5] for row in range(n)]
    return Examples(
        ids=tuple(f"{row * 7919 % 1009:04d}" for row in range(n)),
        inputs=tuple(f"text {row}" for row in range(n)),
        labels=tuple(labels),
        splits=tuple(splits),
        languages=("en",) * n,
        groups=(None,) * n,
    )


def plain_split(rows: Sequence[int], labels: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
    """The study's two calls, on row numbers."""
    y = np.array([labels[row] for row in rows])
    kept, test, y_kept, _ = train_test_split(np.array(rows), y, test_size=0.2, random_state=42, stratify=y)
    train, validation = train_test_split(kept, test_size=0.1 / (1 - 0.2), random_state=42, stratify=y_kept)
    return train.tolist(), validation.tolist(), test.tolist()


def test_the_split_is_scikit_learns_over_rows_in_file_order() -> None:
    data = examples(1500)
    rows = range(1500)
    made = make_partition(data, choice("mosaic_split"), seed=0)
    assert (list(made.train), list(made.validation), list(made.test)) == plain_split(rows, data.labels)
    assert [len(part) / len(rows) for part in (made.train, made.validation, made.test)] == [0.7, 0.1, 0.2]
    assert made.labels == data.labels


def test_every_seed_and_every_given_partition_has_the_same_split() -> None:
    data = examples()
    regime = make("regimes", "mosaic_split")
    nothing = Partition(train=(), validation=(), test=(), labels=data.labels)
    assert regime(data, nothing, 0) == regime(data, nothing, 3)
    assert offered("regimes", "mosaic_split").moves_test


def test_without_holding_out_the_probe_learns_from_the_studys_rows_and_stops_on_its() -> None:
    data = examples()
    held, kept = (make("regimes", "mosaic_split", hold_out=each) for each in (True, False))
    nothing = Partition(train=(), validation=(), test=(), labels=data.labels)
    held, kept = held(data, nothing, 0), kept(data, nothing, 0)
    assert kept.test == held.test and not kept.validation
    y = np.unique(data.labels, return_inverse=True)[1][list(kept.train)]
    # As MosaicProbe cuts the rows that it is given.
    inner, outer = train_test_split(kept.train, test_size=0.1 / 0.8, random_state=42, stratify=y)
    assert (tuple(inner), tuple(outer)) == (held.train, held.validation)


def test_a_split_that_cannot_be_made_says_why() -> None:
    data = examples(7)
    with pytest.raises(UnavailableError, match="mosaic_split cannot cut 7 rows by label"):
        make_partition(data, choice("mosaic_split"), seed=0)


@pytest.mark.data
def test_the_rows_of_a_set_are_those_of_the_one_split_that_the_study_took() -> None:
    import os

    import pandas as pd

    from harness.data.task import load_task

    home = os.environ.get("HARNESS_DATA_DIR")
    if not home:
        pytest.skip("needs the mirrored datasets (HARNESS_DATA_DIR)")
    spec = next(task for task in harness_mosaic.harness_tasks() if task.name == "mosaic_banking77")
    data = load_task(spec, data_dir=Path(home))
    frame = pd.read_parquet(Path(home) / "banking77" / "data.parquet")
    assert set(data.examples.inputs) <= set(frame.text[frame.split == "train"])
    assert len(data.examples) > 0.99 * (frame.split == "train").sum()


# ── what the faults do ───────────────────────────────────────────────────────────────────────────────────


def test_the_page_of_faults_holds_what_the_published_runs_give() -> None:
    from harness_mosaic.faults import write_table

    folder = Path(__file__).parents[1] / "leaderboards" / "mosaic-faults"
    assert write_table(folder) in (folder / "README.md").read_text("utf-8")


def test_faults_of_an_empty_folder_end_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness_mosaic.faults import main

    assert main([str(tmp_path)]) == 3
    assert "`harness leaderboard make leaderboards/mosaic-faults` publishes it" in capsys.readouterr().err
    assert main([]) == 2


# ── the published table ──────────────────────────────────────────────────────────────────────────────────


def test_the_studys_table_is_that_of_the_run_in_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import csv
    import io

    from harness_mosaic.published import command

    (run,) = (Path(__file__).parents[1] / "leaderboards" / "mosaic-faults" / "all").glob("*.jsonl*")
    command.main([str(run)], standalone_mode=False)
    printed = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert len(rows) == 2 * 2 * 4 * 3 * 2  # models, layers, sets, top_n, binarized
    assert {(row["model"], row["layer"]) for row in rows} == {
        ("minigemma-m", "2"), ("minigemma-m", "4"), ("minigemma-l", "3"), ("minigemma-l", "5"),
    }  # fmt: skip
    assert {row["top_n"] for row in rows} == {"0", "20", "50"} and {row["width"] for row in rows} == {
        "1k",
        "1792",
    }
    (tmp_path / "table.csv").write_text("\n".join(printed.splitlines()[:3]) + "\n")
    command.main([str(run), "--against", str(tmp_path / "table.csv")], standalone_mode=False)
    both = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(both) == 2
    assert all(row["published_sae_macro_f1"] == row["sae_macro_f1"] for row in both)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "cannot be read as the results of a run"),
        (["empty.jsonl"], "no dictionary beside a hidden state of the last token"),
    ],
)
def test_what_is_no_run_of_it_ends_in_one_sentence(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from harness_mosaic.published import command

    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").write_text("")
    with pytest.raises(SystemExit) as ended:
        command.main(arguments, standalone_mode=False)
    assert ended.value.code == 3
    assert said in capsys.readouterr().err
