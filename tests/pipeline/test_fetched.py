"""A recipe at a URL, and options that name files by URL: what they hold is what a path would give, on every machine."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from pipeline import storage
from pipeline.errors import RecipeError, StageError
from pipeline.fetched import FetchedPath, bring, fetched, location_of, told
from pipeline.graph import Graph, build_graph
from pipeline.recipe import load_recipe
from stages.filters.urls.stage import UrlFilterConfig
from tests.conftest import REPOSITORY
from tests.servers import Fault, FaultyServer, faulty_server, put_objects, s3_server

RECIPE = """
artifacts:
  docs: {stage: json_lines, files: docs/*.jsonl}
  good:
    from: docs
    chain:
      - url_filter: {lists: {mine: lists/bad.txt}}
      - decontaminate: {files: ../sets/*.jsonl, ngram: 5}
"""
OBJECTS = {
    "recipes/here/recipe.yaml": RECIPE.encode(),
    "recipes/here/docs/a.jsonl": b'{"text": "one"}\n',
    "recipes/here/lists/bad.txt": b"bad.example\n",
    "recipes/sets/quiz.jsonl": b'{"question": "which of these many rivers is by far the longest of all"}\n',
    "recipes/sets/other.jsonl": b'{"question": "which of those many mountains is by far the highest of all"}\n',
    "recipes/sets/notes.txt": b"no set",
}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def front(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyServer]:
    """A store with a recipe and all that it names, behind a server that counts requests."""
    put_objects(s3, "bucket", OBJECTS)
    with faulty_server(upstream=s3) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("SLUICE_SCRATCH", str(tmp_path / "scratch"))
        yield front


def put(front: FaultyServer, key: str, content: bytes) -> None:
    client = botocore.session.get_session().create_client("s3", region_name="us-east-1", endpoint_url=front.url)
    client.put_object(Bucket="bucket", Key=key, Body=content)


def configured(options: dict[str, Any]) -> UrlFilterConfig:
    return UrlFilterConfig.model_validate(options, context={"base": "/"})


def identities(graph: Graph) -> list[Any]:
    return [step.stage.config.identity() for node in graph.nodes for step in node.steps]


def gets(front: FaultyServer, name: str) -> int:
    return sum(r.method == "GET" and r.path.partition("?")[0].endswith(name) for r in front.requests)


def test_a_recipe_at_a_url_is_that_of_a_folder(front: FaultyServer, tmp_path: Path) -> None:
    for key, content in OBJECTS.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(content)
    local = build_graph(load_recipe(tmp_path / "recipes/here/recipe.yaml"))
    stored = build_graph(load_recipe("s3://bucket/recipes/here/recipe.yaml"))
    assert identities(stored) == identities(local)
    (source,) = [node for node in stored.nodes if node.splits]
    assert [file.location for split in source.splits for file in split.files] == [
        "s3://bucket/recipes/here/docs/a.jsonl"
    ]
    assert stored.recipe.name == "recipe"


def test_the_content_behind_a_url_is_in_the_identity(front: FaultyServer) -> None:
    def now() -> list[Any]:
        return identities(build_graph(load_recipe("s3://bucket/recipes/here/recipe.yaml")))

    before = now()
    put(front, "recipes/here/lists/bad.txt", b"odd.example\n")
    assert now() != before
    put(front, "recipes/here/lists/bad.txt", b"bad.example\n")
    assert now() == before


def test_what_a_url_names_is_fetched_once_to_a_machine(front: FaultyServer) -> None:
    first = fetched("s3://bucket/recipes/sets/quiz.jsonl")
    again = fetched("s3://bucket/recipes/sets/quiz.jsonl")
    assert first == again
    assert first.read_bytes() == OBJECTS["recipes/sets/quiz.jsonl"]
    assert gets(front, "/quiz.jsonl") == 1


def test_a_folder_and_a_pattern_are_those_of_the_store(front: FaultyServer) -> None:
    folder = fetched("s3://bucket/recipes/sets/")
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "other.jsonl", "quiz.jsonl"]
    assert folder.name == "sets"
    pattern = fetched("s3://bucket/recipes/s*/*.jsonl")
    assert sorted(path.name for path in pattern.parent.parent.glob("s*/*")) == ["other.jsonl", "quiz.jsonl"]
    assert pattern.name == "*.jsonl"


def test_a_file_of_a_web_server_is_fetched_again_only_once_it_has_changed(front: FaultyServer) -> None:
    with faulty_server({"list.txt": b"bad.example\n" * 30_000}) as web:  # more than is asked for at first
        web.etags["list.txt"] = '"1"'
        url = f"{web.url}/list.txt?token=secret"
        path = fetched(url)
        assert path.name == "list.txt"
        assert path.read_bytes() == web.files["list.txt"]
        assert "secret" not in str(path)
        before = len(web.requests)
        assert fetched(url) == path
        assert len(web.requests) == before + 1  # which asks whether it has changed
        web.files["list.txt"], web.etags["list.txt"] = b"worse.example\n", '"2"'
        assert fetched(url).read_bytes() == b"worse.example\n"


def test_a_file_of_which_its_server_tells_no_version_is_read_each_time(front: FaultyServer) -> None:
    with faulty_server({"list.txt": b"1"}) as web:
        assert fetched(f"{web.url}/list.txt").read_bytes() == b"1"
        web.files["list.txt"] = b"2"
        assert fetched(f"{web.url}/list.txt").read_bytes() == b"2"


def test_another_machine_fetches_the_same_for_itself(
    front: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the driver's environment: how to reach the store comes with the task."""
    config = configured({"lists": {"mine": "s3://bucket/recipes/here/lists/bad.txt"}})
    (tmp_path / "config").write_bytes(pickle.dumps(config))
    there = (
        "import pickle, sys; from pipeline.fetched import bring\n"
        "config = pickle.load(open(sys.argv[1], 'rb')); bring([config])\n"
        "path, = config.lists['mine'].files; print(path); print(path.read_text(), end='')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "AWS_ENDPOINT_URL"}
    environment |= {"SLUICE_SCRATCH": str(tmp_path / "elsewhere"), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", there, str(tmp_path / "config")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    path, content = done.stdout.splitlines()
    assert path.startswith(str(tmp_path / "elsewhere"))
    assert content == "bad.example"


def test_what_has_changed_since_the_run_began_is_refused(
    front: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured({"lists": {"mine": "s3://bucket/recipes/here/lists/bad.txt"}})
    sent = pickle.dumps(config)
    put(front, "recipes/here/lists/bad.txt", b"worse.example\n")
    monkeypatch.setenv("SLUICE_SCRATCH", str(tmp_path / "elsewhere"))
    with pytest.raises(StageError, match=r"s3://bucket/recipes/here/lists/bad.txt has changed since the run began"):
        bring([pickle.loads(sent)])
    assert not [path for path in (tmp_path / "elsewhere" / "fetched").iterdir() if path.is_dir()]


def test_an_option_is_told_as_its_url(front: FaultyServer) -> None:
    url = "s3://bucket/recipes/here/lists/bad.txt"
    config = configured({"lists": {"mine": url}})
    assert config.model_dump(mode="json")["lists"]["mine"]["files"] == [url]
    (path,) = config.lists["mine"].files
    assert location_of(path) == url
    assert told(f"{path}: line 3 is no domain") == f"{url}: line 3 is no domain"


def test_a_url_with_nothing_behind_it_is_a_problem_of_the_recipe(front: FaultyServer, tmp_path: Path) -> None:
    put(front, "recipes/here/recipe.yaml", RECIPE.replace("bad.txt", "absent.txt").encode())
    with pytest.raises(RecipeError) as caught:
        build_graph(load_recipe("s3://bucket/recipes/here/recipe.yaml"))
    problem = str(caught.value).splitlines()[0]
    assert problem.startswith("s3://bucket/recipes/here/recipe.yaml:7:")
    assert "no file matches s3://bucket/recipes/here/lists/absent.txt" in problem


def test_an_absent_recipe_is_told(front: FaultyServer) -> None:
    with pytest.raises(RecipeError, match=r"s3://bucket/none.yaml: there is no such recipe"):
        load_recipe("s3://bucket/none.yaml")


def test_a_relative_path_does_not_leave_the_bucket(front: FaultyServer) -> None:
    put(front, "recipes/here/recipe.yaml", RECIPE.replace("lists/", "../../../other/").encode())
    with pytest.raises(RecipeError, match=r"other/bad.txt leads out of s3://bucket"):
        build_graph(load_recipe("s3://bucket/recipes/here/recipe.yaml"))


def test_an_object_whose_name_leads_elsewhere_is_refused(front: FaultyServer, tmp_path: Path) -> None:
    put(front, "sets/../../../evil.txt", b"")
    with pytest.raises(RecipeError, match="cannot be the name of a file on this machine"):
        graph_with_list(tmp_path, "s3://bucket/sets/")


def graph_with_list(folder: Path, url: str) -> Graph:
    (folder / "docs.jsonl").write_text('{"text": "one"}\n')
    (folder / "recipe.yaml").write_text(
        "artifacts:\n  docs: {stage: json_lines, files: docs.jsonl}\n"
        f"  good: {{from: docs, chain: [url_filter: {{lists: {{mine: '{url}'}}}}]}}\n"
    )
    return build_graph(load_recipe(folder / "recipe.yaml"))


def test_a_fetch_that_breaks_off_for_good_leaves_nothing(
    front: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.choose = lambda r: Fault("status", 403) if r.method == "GET" and "bad.txt" in r.path else None
    with pytest.raises(RecipeError, match="403"):
        graph_with_list(tmp_path, "s3://bucket/recipes/here/lists/bad.txt")
    assert not list((storage.scratch() / "fetched").iterdir())


def test_derived_paths_travel_too(front: FaultyServer) -> None:
    folder = fetched("s3://bucket/recipes/sets/")
    again = pickle.loads(pickle.dumps(folder / "quiz.jsonl"))
    assert again == folder / "quiz.jsonl"
    assert isinstance(again, FetchedPath)


def test_for_the_options_of_a_finished_run_nothing_is_fetched(front: FaultyServer) -> None:
    url = "s3://bucket/recipes/here/lists/bad.txt"
    config = UrlFilterConfig.model_validate({"lists": {"mine": url}})
    assert not front.requests
    assert config.model_dump(mode="json")["lists"]["mine"]["files"] == [url]
