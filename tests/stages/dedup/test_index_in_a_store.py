"""An index of earlier documents in an object store is that of a folder."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest

from pipeline import storage
from pipeline.errors import MachineError, RecipeError, StageError
from stages.dedup.index.folder import Indexed, IndexPart, add_part, indexed_before, indexed_parts
from stages.dedup.index.stage import IndexConfig
from stages.dedup.stage import DedupConfig
from tests.conftest import REPOSITORY
from tests.servers import Fault, FaultyServer, faulty_server, put_objects, s3_server
from tests.stages.dedup.test_index import TEXTS, edited, ingest, kept, reasons

KEY = "index"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def front(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyServer]:
    put_objects(s3, bucket(tmp_path), {})
    with faulty_server(upstream=s3) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("SLUICE_SCRATCH", str(tmp_path / "scratch"))
        yield front


def bucket(folder: Path) -> str:
    """One of the test's own."""
    return folder.name.replace("_", "-").lower()


def index_of(folder: Path) -> str:
    return f"s3://{bucket(folder)}/{KEY}"


def objects(front: FaultyServer, folder: Path) -> dict[str, bytes]:
    s3 = botocore.session.get_session().create_client("s3", region_name="us-east-1", endpoint_url=front.upstream)
    found = s3.list_objects_v2(Bucket=bucket(folder)).get("Contents", ())
    return {f["Key"]: s3.get_object(Bucket=bucket(folder), Key=f["Key"])["Body"].read() for f in found}


def test_a_store_holds_and_gives_what_a_folder_does(front: FaultyServer, tmp_path: Path) -> None:
    first = {"z": TEXTS[0], "y": TEXTS[1]}
    second = {"a": TEXTS[0].title(), "b": edited(TEXTS[1], 59), "c": TEXTS[2]}
    (tmp_path / "local").mkdir()
    for crawl, documents in (("first", first), ("second", second)):
        local = ingest(tmp_path / "local", crawl, documents)
        stored = ingest(tmp_path, crawl, documents, against=index_of(tmp_path))
    assert kept(stored) == kept(local) == {"c"}
    assert reasons(stored) == reasons(local) == {"a": "exact_duplicate", "b": "near_duplicate"}
    folder = tmp_path / "local" / "index"
    files = {f"index/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    manifests = {name for name in files if name.endswith(".json")}
    found = objects(front, tmp_path)
    assert found.keys() == files.keys()
    assert {name: found[name] for name in found if name not in manifests} == {
        name: files[name] for name in files if name not in manifests
    }
    assert not list((tmp_path / "scratch").rglob("*.parquet"))  # of what tasks have fetched


def test_a_run_that_is_given_again_finds_what_it_found(front: FaultyServer, tmp_path: Path) -> None:
    options = {"against": index_of(tmp_path)}
    ingest(tmp_path, "first", {"z": TEXTS[0]}, **options)
    before = objects(front, tmp_path)
    assert kept(ingest(tmp_path, "first", {"z": TEXTS[0]}, run="again", **options)) == {"z"}
    assert objects(front, tmp_path) == before


def test_an_index_that_is_not_there_is_told_by_its_url(front: FaultyServer, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"{index_of(tmp_path)} holds no index"):
        ingest(tmp_path, "first", {"z": TEXTS[0]}, against=index_of(tmp_path), add_as=None)


def test_a_web_server_holds_no_index(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"https://example.org/index: .* object stores"):
        ingest(tmp_path, "first", {"z": TEXTS[0]}, against="https://example.org/index")


def test_a_part_that_is_missing_or_cut_is_told(front: FaultyServer, tmp_path: Path) -> None:
    ingest(tmp_path, "first", {"z": TEXTS[0]}, against=index_of(tmp_path))
    (part,) = (name for name in objects(front, tmp_path) if "/parts/" in name)
    folder = storage.store_path(index_of(tmp_path))
    path = folder / part.removeprefix("index/")
    content = storage.read_bytes(path)
    storage.replace(path, content[:-1])
    with pytest.raises(RecipeError, match=f"{index_of(tmp_path)}/parts/.*is damaged"):
        ingest(tmp_path, "second", {"a": TEXTS[1]}, against=index_of(tmp_path))
    storage.remove(path)
    with pytest.raises(RecipeError, match=f"{index_of(tmp_path)}/parts/.*is missing"):
        ingest(tmp_path, "second", {"a": TEXTS[1]}, against=index_of(tmp_path))


def test_a_store_that_does_not_refuse_a_taken_name_takes_no_generation(front: FaultyServer, tmp_path: Path) -> None:
    plain = front._server.RequestHandlerClass

    class Forgetful(plain):  # type: ignore[misc, valid-type]
        def do_PUT(self) -> None:  # noqa: N802
            del self.headers["If-None-Match"]
            super().do_PUT()

    front._server.RequestHandlerClass = Forgetful
    with pytest.raises((MachineError, StageError), match="does not refuse a name that is taken"):
        ingest(tmp_path, "first", {"z": TEXTS[0]}, against=index_of(tmp_path))
    assert not any("/generations/" in name for name in objects(front, tmp_path))


def test_another_machine_works_on_its_own_mirror(front: FaultyServer, tmp_path: Path) -> None:
    """Options and the paths of tasks say themselves which store they are of, without the driver's environment."""
    ingest(tmp_path, "first", {"z": TEXTS[0]}, against=index_of(tmp_path))
    config = DedupConfig.model_validate({"against": index_of(tmp_path)})
    assert config.model_dump(mode="json")["against"] == index_of(tmp_path)
    assert config.against is not None
    (part,) = indexed_parts(indexed_before(config.against, None, signatures_of(front, tmp_path)))
    (tmp_path / "sent").write_bytes(pickle.dumps(part.path))
    there = (
        "import pickle, sys; from pipeline import storage\n"
        "path = pickle.load(open(sys.argv[1], 'rb')); print(path); print(storage.shown(path))\n"
        "print(storage.sha256_of(storage.fetched(path)))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "AWS_ENDPOINT_URL"}
    environment |= {"SLUICE_SCRATCH": str(tmp_path / "elsewhere"), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", there, str(tmp_path / "sent")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path, url, sha256 = done.stdout.splitlines()
    assert path.startswith(str(tmp_path / "elsewhere"))
    assert url == f"{index_of(tmp_path)}/parts/{sha256}.parquet"


def test_on_every_machine_it_is_the_same_index(front: FaultyServer, tmp_path: Path) -> None:
    indexed = Indexed.model_validate({"folder": index_of(tmp_path), "generation": 0, "digest": "d"})
    assert IndexConfig(indexed=indexed, add_as="first").identity()["indexed"] == [index_of(tmp_path), "d"]


def signatures_of(front: FaultyServer, folder: Path) -> dict[str, object]:
    manifest = objects(front, folder)["index/generations/1.json"]
    return dict(json.loads(manifest)["signatures"])


def test_a_part_whose_upload_fails_is_not_there(front: FaultyServer, tmp_path: Path) -> None:
    folder, file = storage.store_path(index_of(tmp_path)), tmp_path / "part.parquet"
    file.write_bytes(b"12345")
    front.choose = lambda r: Fault("status", 403) if r.method == "PUT" else None
    with pytest.raises(MachineError, match="403"):
        add_part(folder, file, 1)
    assert objects(front, tmp_path) == {}
    front.choose = None
    part = add_part(folder, file, 1)
    assert part == IndexPart(part.sha256, 1, 5)
    assert list(objects(front, tmp_path)) == [f"index/parts/{part.sha256}.parquet"]
