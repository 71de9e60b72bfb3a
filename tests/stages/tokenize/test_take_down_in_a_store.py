"""Documents leave a run in an object store by a copy of it in a folder, and nothing brings them back."""

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from rich.console import Console

from pipeline import commands, storage
from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.executors import InProcess
from pipeline.explain import explain
from pipeline.graph import build_graph
from pipeline.progress import Display
from pipeline.recipe import recipe_of
from pipeline.run import InputDigests, Run
from pipeline.runner import Scheduler, sealed_artifacts, stage_progress
from pipeline.take_down import Request, TakenDown
from stages.tokenize.take_down import rewritten
from tests.servers import put_objects, s3_server
from tests.stages.tokenize.test_take_down import recipe, write_corpus

URL = "s3://bucket/runs/web"
GONE = "web/web.jsonl@0"


def reach(store: str, scratch: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", store)
    patch.setenv("AWS_ACCESS_KEY_ID", "key")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    patch.setenv("SLUICE_SCRATCH", str(scratch))


@dataclass(frozen=True)
class Finished:
    """A run in a store: where its input lies, and all of its objects."""

    store: str
    folder: Path
    objects: dict[str, bytes]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    with s3_server() as store, pytest.MonkeyPatch.context() as patch:
        put_objects(store, "bucket", {})
        reach(store, tmp_path_factory.mktemp("scratch"), patch)
        replace_by({})  # all servers of a process have the same objects
        run_in_the_store(folder)
        yield Finished(store, folder, objects())


@pytest.fixture
def corpus(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the input; the run is as it was, and nothing of it has been fetched."""
    reach(finished.store, tmp_path / "scratch", monkeypatch)
    replace_by(finished.objects)
    return finished.folder


def run_in_the_store(folder: Path, **options: Any) -> dict[str, Artifact]:
    graph = build_graph(recipe_of(folder / "recipe.yaml", {"name": "here", "artifacts": recipe(**options)}))
    run = Run(storage.mirror_of(URL))
    digests = InputDigests(run.folder)
    sealed = sealed_artifacts(run, graph, digests)
    run.begin(graph, {})
    run.state.artifacts.update({name: artifact.fingerprint for name, artifact in sealed.items()})
    run.save_state()
    display = Display(Console(file=io.StringIO()), stage_progress(graph, sealed))
    Scheduler(run, graph, sealed, digests, display).execute(InProcess())
    return sealed


def client() -> Any:
    return botocore.session.get_session().create_client("s3", region_name="us-east-1")


def objects() -> dict[str, bytes]:
    s3, prefix = client(), URL.removeprefix("s3://bucket/") + "/"
    found = s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", ())
    return {f["Key"].removeprefix(prefix): s3.get_object(Bucket="bucket", Key=f["Key"])["Body"].read() for f in found}


def copied(folder: Path) -> Path:
    """As `aws s3 sync URL FOLDER`."""
    for name, content in objects().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def brought_back(folder: Path) -> None:
    """As `aws s3 sync FOLDER URL --delete --exclude .lock`."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    replace_by({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})


def replace_by(wanted: Mapping[str, bytes]) -> None:
    s3, prefix, before = client(), URL.removeprefix("s3://bucket/"), objects()
    for name, content in wanted.items():
        if before.get(name) != content:
            s3.put_object(Bucket="bucket", Key=f"{prefix}/{name}", Body=content)
    for name in before.keys() - wanted.keys():
        s3.delete_object(Bucket="bucket", Key=f"{prefix}/{name}")


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run in a store that has a state, and nothing yet."""
    with s3_server() as store:
        put_objects(store, "bucket", {})
        reach(store, tmp_path / "scratch", monkeypatch)
        replace_by({"run.json": b'{"name": "web"}'})
        yield


def test_it_is_refused_with_what_to_do_and_nothing_is_changed(begun: None) -> None:
    with pytest.raises(StageError, match=f"{URL}: in an object store .* copy it to a folder, .*docs/object-stores.md"):
        commands.take_down(storage.mirror_of(URL), [GONE], None, None, rewritten)
    assert objects() == {"run.json": b'{"name": "web"}'}


def test_the_list_is_that_of_the_store(begun: None) -> None:
    run = storage.mirror_of(URL)
    assert TakenDown.of(run).documents == set()
    TakenDown((Request("2026-11-23T12:00:00Z", (GONE,)),)).save(run)
    assert "taken_down.json" in objects()
    assert TakenDown.of(run).documents == {GONE}


@pytest.mark.slow
def test_what_it_would_do_is_told_as_of_a_folder(corpus: Path, tmp_path: Path) -> None:
    before = objects()
    values, lines = commands.take_down(storage.mirror_of(URL), [GONE], None, None, rewritten, dry_run=True)
    assert objects() == before
    local = copied(tmp_path / "local")
    expected, local_lines = commands.take_down(local, [GONE], None, None, rewritten, dry_run=True)
    assert values == expected
    assert values["changed"][0]["documents"] == 1
    assert [line.replace(URL, str(local)) for line in lines] == local_lines


@pytest.mark.slow
def test_by_a_copy_the_documents_leave_the_store(corpus: Path, tmp_path: Path) -> None:
    local = copied(tmp_path / "local")
    commands.take_down(local, [GONE], None, None, rewritten)
    brought_back(local)
    shutil.rmtree(local)
    sealed = run_in_the_store(corpus)  # takes up all artifacts as they are there
    assert sealed["tokens"].summary["taken_down"]["documents"] == 1
    assert "taken down" in explain(storage.mirror_of(URL), GONE).as_text()
    folder = sealed["tokens"].files_folder
    assert (
        GONE in json.loads(storage.read_bytes(storage.mirror_of(URL) / "taken_down.json"))["requests"][0]["documents"]
    )
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == [
        "taken_down.parquet",
        "tokenizer.json",
        "tokens.json",
    ]


@pytest.mark.slow
def test_shards_that_are_made_anew_in_the_store_are_held_to_the_list(corpus: Path, tmp_path: Path) -> None:
    local = copied(tmp_path / "local")
    commands.take_down(local, [GONE], None, None, rewritten)
    brought_back(local)
    with pytest.raises(StageError, match=f"have been taken down .*{URL}/taken_down.json.*sluice take-down {URL}'"):
        run_in_the_store(corpus, vocabulary=299)
