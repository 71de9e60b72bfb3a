"""Servers for the tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.servers import FaultyServer, faulty_server, put_objects, s3_server

DATA = random.Random(0).randbytes(1_500_000)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """An HTTP server that serves DATA as ``data.bin``."""
    with faulty_server({"data.bin": DATA}) as found:
        yield found


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """URL of an S3 store with a public bucket (``open``) and a private one (``closed``)."""
    objects = {
        "data.bin": DATA,
        "a/one.gz": b"1",
        "a/b/two.gz": b"22",
        "a/b/two.txt": b"222",
        "empty": b"",
        "a/folder/": b"",
    }
    with s3_server() as endpoint:
        put_objects(endpoint, "open-bucket", objects, public=True)
        put_objects(endpoint, "closed-bucket", objects)
        yield endpoint


@pytest.fixture
def s3_front(s3: str) -> Iterator[FaultyServer]:
    """A server of faults in front of that store."""
    with faulty_server(upstream=s3) as found:
        yield found


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that the store of the tests takes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
