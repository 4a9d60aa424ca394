"""An observer: each run of the harness is an experiment of MLflow, and each of its cells a run there.

They go where MLFLOW_TRACKING_URI says, else into the folder `mlruns` of the run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from mlflow import MlflowClient

HARNESS_API = 1

PARAMETERS = (
    "task",
    "model",
    "site",
    "representation",
    "pooling",
    "transform",
    "classifier",
    "regime",
    "test_language",
)

_open: list[tuple[MlflowClient, str]] = []
"""The client and the experiment of the run that goes on, if one does."""


@harness.hookimpl
def harness_run_started(event: harness.RunStarted) -> None:
    # Since MLflow 3 a store of files is refused unless it is asked for, and every import tells a server of MLflow's
    # makers that it happened. Whoever wants either sets these variables.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(
        os.environ.get("MLFLOW_TRACKING_URI") or (event.folder / "mlruns").resolve().as_uri()
    )
    known = client.get_experiment_by_name(event.suite)
    _open[:] = [(client, known.experiment_id if known else client.create_experiment(event.suite))]


@harness.hookimpl
def harness_cell_finished(event: harness.CellFinished) -> None:
    for client, experiment in _open:
        run = client.create_run(experiment, run_name=event.cell_id, tags={"mlflow.user": ""}).info.run_id
        for name in PARAMETERS:
            if value := getattr(event, name):
                client.log_param(run, name, value)
        for name, score in event.metrics.items():
            client.log_metric(run, name, score.value)
        client.set_terminated(run, "FINISHED" if event.status == "ok" else "FAILED")


@harness.hookimpl
def harness_run_finished(event: harness.RunFinished) -> None:
    _open.clear()
