"""The observer by itself; what holds for every observer is checked by the harness."""

import harness_mlflow

import harness

CELL = harness.CellFinished(
    cell_id="1",
    status="ok",
    suite="a suite",
    task="a task",
    modality="text",
    train_language="en",
    test_language="en",
    representation="lsa",
    transform="none",
    classifier="knn",
    regime="full",
    seed=0,
    metrics={"macro_f1": harness.Score(value=0.5)},
)


def test_cells_are_runs_with_their_parameters_and_metrics(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    harness_mlflow.harness_run_started(
        harness.RunStarted(suite="a suite", folder=tmp_path, n_cells=1, done=0)
    )
    harness_mlflow.harness_cell_finished(CELL)
    from mlflow import MlflowClient

    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("a suite")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["representation"] == "lsa" and "model" not in run.data.params
    assert (run.data.metrics, run.info.status) == ({"macro_f1": 0.5}, "FINISHED")
