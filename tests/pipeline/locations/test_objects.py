"""Object stores as places to write to: S3 (moto, behind faults), and fsspec's own store in memory."""

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import MachineError, RecipeError
from pipeline.locations import objects
from pipeline.locations.location import RemoteOptions
from pipeline.locations.objects import ObjectStore, parsed_store
from tests.servers import Fault, FaultyServer

MIB = 1 << 20


@pytest.fixture
def s3_store(s3_front: FaultyServer, credentials: None) -> ObjectStore:
    return ObjectStore(f"s3://closed-bucket/{uuid.uuid4().hex}", RemoteOptions(endpoint=s3_front.url, backoff_s=0.01))


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest, s3_store: ObjectStore) -> ObjectStore:
    if request.param == "s3":
        return s3_store
    return ObjectStore(f"memory://{uuid.uuid4().hex}/run", RemoteOptions())


def test_what_is_written_is_read_listed_copied_and_deleted(store: ObjectStore, tmp_path: Path) -> None:
    store.check()
    store.put("a/one", b"1")
    store.put("a/one", b"11")
    store.put("a/b/two", b"222")
    (tmp_path / "file").write_bytes(b"3333")
    store.upload("c/three", tmp_path / "file")
    store.copy("c/three", "c/four")
    assert [(found.key, found.size_bytes) for found in store.found("a/")] == [("a/b/two", 3), ("a/one", 2)]
    assert store.folders("") == ["a", "c"]
    assert store.folders("nothing/") == []
    assert [store.read(key) for key in ("a/one", "c/three", "c/four", "absent")] == [b"11", b"3333", b"3333", None]
    with store.opened("c/four") as file:
        file.seek(2)
        assert file.read() == b"33"
    assert [store.exists(key) for key in ("a/one", "a/on", "a", "a/b/two")] == [True, False, False, True]
    store.delete(["a/one", "absent"])
    assert [found.key for found in store.found("")] == ["a/b/two", "c/four", "c/three"]
    assert abs(store.clock_s() - (store.found("a/")[0].modified_s or 0)) < 60


def test_a_taken_name_is_refused(store: ObjectStore) -> None:
    assert store.put_if_absent("name", b"first")
    assert not store.put_if_absent("name", b"second")
    assert store.read("name") == b"first"


def test_of_many_at_once_one_gets_the_name(s3_store: ObjectStore) -> None:
    with ThreadPoolExecutor(12) as threads:
        won = list(threads.map(lambda i: s3_store.put_if_absent("name", b"%d" % i), range(12)))
    assert sum(won) == 1
    assert s3_store.read("name") == b"%d" % won.index(True)


@pytest.mark.parametrize("size", [5 * MIB, 5 * MIB + 1, 11 * MIB])
def test_a_large_file_goes_up_in_pieces_each_tried_again(
    s3_store: ObjectStore, s3_front: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(objects, "ONE_REQUEST_BYTES", 5 * MIB)
    monkeypatch.setattr(objects, "COPIED_PIECE_BYTES", 5 * MIB)
    content = random.Random(size).randbytes(size)
    (tmp_path / "large").write_bytes(content)
    s3_front.faults = [None, Fault("status", 503), None, Fault("reset")]
    s3_store.upload("large", tmp_path / "large")
    s3_store.copy("large", "copy")
    assert s3_store.read("large") == s3_store.read("copy") == content
    assert s3_store.unfinished_uploads() == []


def test_an_upload_that_fails_leaves_nothing(
    s3_store: ObjectStore, s3_front: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ONE_REQUEST_BYTES", 5 * MIB)
    (tmp_path / "large").write_bytes(bytes(11 * MIB))
    s3_front.choose = lambda request: Fault("status", 403) if "partNumber=2" in request.path else None
    with pytest.raises(MachineError, match="credentials that may read, write, list and delete there"):
        s3_store.upload("large", tmp_path / "large")
    assert s3_store.read("large") is None
    assert s3_store.unfinished_uploads() == []


@pytest.mark.parametrize("url", ["https://host/run", "s3://", "s3:///run", "sftp://host/run", "s3://bucket/run?x=1"])
def test_runs_are_kept_in_object_stores_only(url: str) -> None:
    with pytest.raises(RecipeError, match="Sluice writes into folders, and into object stores"):
        parsed_store(url)


def test_a_slash_at_the_end_changes_nothing() -> None:
    assert parsed_store("S3://bucket/a/run/") == "s3://bucket/a/run"
