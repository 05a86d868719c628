"""An object store for tests: moto's server in a thread."""

import random
import urllib.request
from collections.abc import Iterator

import pytest

from testing.services import free_port


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A server that speaks S3, with a bucket; its address."""
    from moto.server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
    urllib.request.urlopen(request).close()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """The settings name an object store, which is empty. It is not chosen for new bytes."""
    monkeypatch.setenv("DFAD_S3_ENDPOINT", s3_server)
    monkeypatch.setenv("DFAD_S3_URL", f"s3://bucket/{random.SystemRandom().randrange(10**12)}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
