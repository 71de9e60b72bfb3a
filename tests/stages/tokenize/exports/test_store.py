"""An export in an object store is the one in a folder, and is whole once its export.json is there."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from pipeline import storage
from pipeline.clean import clean_export
from pipeline.errors import InputError, MachineError
from stages.tokenize.exports import export
from tests.conftest import REPOSITORY
from tests.servers import Fault, FaultyServer, faulty_server, put_objects, s3_server
from tests.stages.tokenize.exports.folders import write_tokens


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def front(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyServer]:
    put_objects(s3, tmp_path.name.replace("_", "-").lower(), {})
    with faulty_server(upstream=s3) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("SLUICE_SCRATCH", str(tmp_path / "scratch"))
        yield front


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path / "tokens")


@pytest.fixture
def out(front: FaultyServer, tmp_path: Path) -> Path:
    return storage.mirror_of(url_of(tmp_path))


def url_of(folder: Path) -> str:
    """A place in a bucket of the test's own."""
    return f"s3://{folder.name.replace('_', '-').lower()}/exports/web"


def client(front: FaultyServer) -> Any:
    return botocore.session.get_session().create_client("s3", region_name="us-east-1", endpoint_url=front.upstream)


def objects(front: FaultyServer, out: Path) -> dict[str, bytes]:
    bucket, _, prefix = storage.shown(out).removeprefix("s3://").partition("/")
    s3 = client(front)
    found = s3.list_objects_v2(Bucket=bucket).get("Contents", ())
    return {
        f["Key"].removeprefix(prefix + "/"): s3.get_object(Bucket=bucket, Key=f["Key"])["Body"].read() for f in found
    }


@pytest.mark.parametrize("form", ["megatron", "olmo", "mds"])
def test_the_objects_are_the_files_of_a_folder(
    front: FaultyServer, out: Path, tokens: Path, tmp_path: Path, form: str
) -> None:
    exported = export(tokens, out, form)
    export(tokens, tmp_path / "local", form)
    local = {p.relative_to(tmp_path / "local").as_posix(): p.read_bytes() for p in (tmp_path / "local").rglob("*.*")}
    assert objects(front, out) == local
    assert storage.shown(exported.folder) == url_of(tmp_path)
    assert exported.linked_bytes == 0
    assert not list((tmp_path / "scratch").rglob("*.bin"))


def test_until_the_last_object_there_is_no_export_json(front: FaultyServer, out: Path, tokens: Path) -> None:
    export(tokens, out, "olmo")
    puts = [r.path.rpartition("/")[2] for r in front.requests if r.method == "PUT"]
    assert puts[-1] == "export.json"
    assert puts.count("unfinished.json") == 1
    assert puts.count("export.json") == 1


def test_what_lies_there_is_not_touched(front: FaultyServer, out: Path, tokens: Path) -> None:
    export(tokens, out, "olmo")
    before = objects(front, out)
    with pytest.raises(InputError, match="holds objects already"):
        export(tokens, out, "megatron")
    assert objects(front, out) == before


def test_an_export_that_the_store_refuses_leaves_nothing(front: FaultyServer, out: Path, tokens: Path) -> None:
    front.choose = lambda r: Fault("status", 403) if r.method == "PUT" and "train-00001" in r.path else None
    with pytest.raises(MachineError, match="403"):
        export(tokens, out, "olmo")
    assert objects(front, out) == {}


def test_an_answer_that_is_lost_loses_no_export(front: FaultyServer, out: Path, tokens: Path) -> None:
    lost = {"export.json", "README.md"}

    def choose(request: Any) -> Fault | None:
        name = request.path.rpartition("/")[2]
        if request.method == "PUT" and name in lost:
            lost.discard(name)
            return Fault("reset")
        return None

    front.choose = choose
    export(tokens, out, "olmo")
    assert not lost
    assert "export.json" in objects(front, out)


def test_what_a_killed_export_left_is_told_and_cleaned_once_it_is_old(
    front: FaultyServer, out: Path, tokens: Path, tmp_path: Path
) -> None:
    front.choose = lambda r: Fault("status", 503) if r.method == "PUT" and "export.json" in r.path else None
    command = [sys.executable, "-m", "pipeline.cli", "export", str(tokens), "--format", "olmo", "--out"]
    process = subprocess.Popen([*command, url_of(tmp_path)], cwd=REPOSITORY)
    while not any("/export.json" in r.path for r in front.requests):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    front.choose = None
    left = objects(front, out)
    assert "unfinished.json" in left
    assert len(left) > 3
    with pytest.raises(InputError, match="sluice clean s3://"):
        export(tokens, out, "olmo")
    assert clean_export(out, 3600.0) == []
    assert objects(front, out) == left
    assert {storage.key_of(leftover.path) for leftover in clean_export(out, 0.0, dry_run=True)} == set(left)
    assert objects(front, out) == left
    clean_export(out, 0.0)
    assert objects(front, out) == {}
    export(tokens, out, "olmo")


def test_a_whole_export_whose_last_step_was_killed_is_kept(front: FaultyServer, out: Path, tokens: Path) -> None:
    export(tokens, out, "olmo")
    before = objects(front, out)
    names = list(before)
    storage.replace(out / "unfinished.json", json.dumps({"record": "export.json", "files": names}).encode())
    assert len(clean_export(out, 0.0)) == 1
    assert objects(front, out) == before


def test_only_one_of_two_exports_to_one_place_is_made(
    front: FaultyServer, out: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is begun and done when the first is about to bring its files."""
    from pipeline import publishing

    upload = publishing._upload

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(publishing, "_upload", upload)
        export(tokens, out, "megatron")
        upload(*arguments)

    monkeypatch.setattr(publishing, "_upload", late)
    with pytest.raises(InputError, match="holds objects already"):
        export(tokens, out, "olmo")
    found = objects(front, out)
    assert json.loads(found["export.json"])["format"] == "megatron"
    assert "unfinished.json" not in found


def test_an_export_that_another_has_begun_meanwhile_is_left_to_it(
    front: FaultyServer, out: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import publishing

    upload = publishing._upload

    def late(*arguments: Any) -> None:
        storage.replace(out / "unfinished.json", b"{}")
        upload(*arguments)

    monkeypatch.setattr(publishing, "_upload", late)
    with pytest.raises(InputError, match="is being written by another command"):
        export(tokens, out, "olmo")
    assert objects(front, out) == {"unfinished.json": b"{}"}


def test_the_command_takes_a_url(front: FaultyServer, out: Path, tokens: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "export", str(tokens), "--format", "olmo", "--out"]
    done = subprocess.run([*command, url_of(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{url_of(tmp_path)}: 14 tokens of ")
    shutil.rmtree(tokens)
    assert "export.json" in objects(front, out)
