"""An S3 server of the package moto, on this machine, started by a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "a-key",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1",
}


@contextmanager
def serving_s3(bucket: str = "bucket") -> Iterator[dict[str, str]]:
    """Serve an empty bucket; yield the environment variables by which s3fs finds it."""
    pytest.importorskip("s3fs", reason="the package s3fs is not installed")
    server_module = pytest.importorskip("moto.server", reason="the package moto[s3] is not installed")
    import s3fs

    server = server_module.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        system = s3fs.S3FileSystem(
            key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=url,
            skip_instance_cache=True,
        )
        system.mkdir(bucket)
        yield {**CREDENTIALS, "AWS_ENDPOINT_URL": url}
    finally:
        server.stop()
