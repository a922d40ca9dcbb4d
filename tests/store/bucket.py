"""A real S3 server on loopback (moto's), with a bucket, for tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from harness.store.place import results_folder

REGION = "us-east-1"


@contextmanager
def serving(port: int = 0) -> Iterator[int]:
    """A server with the bucket `bench`, at the port that it gives, until the end of the block."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        client.create_bucket(Bucket="bench")
        yield port
    finally:
        server.stop()


def folder(port: int, prefix: str) -> Path:
    """A store in the bucket, as `--results` takes it."""
    return results_folder(f"s3://bench/{prefix}?endpoint_override=127.0.0.1:{port}&scheme=http&region={REGION}")
