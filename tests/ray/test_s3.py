"""A run of which store and folder are on a real S3 server: workers and driver share nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from s3_server import serving_s3


def test_store_and_run_folder_on_s3(
    runs: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.storage.remote import RemotePlace

    began, folder = time.monotonic(), runs.folder
    with serving_s3() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        options = ("--executor", "ray[jobs=2]", "--store", "s3://bucket/store", "-o", "s3://bucket/run")
        runs.run("ray", *options)
        place = RemotePlace("s3://bucket/run")
        for name in place.every_name():
            (folder / "ray" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "ray" / name).write_bytes(place.read(name))
        stored = {
            name.split("/")[1]
            for name in RemotePlace("s3://bucket/store").every_name()
            if name.startswith("features/")
        }
    difference = runs.check_equal("ray")
    assert stored == set(runs.features("alone"))
    assert not (folder / "cache-ray" / "features").exists()
    assert len(runs.events("ray", "worker")) == 2
    tell("store and folder on S3", "", 1, difference, time.monotonic() - began)
