"""Credentials that a recipe or the environment holds are in no file that a run leaves, and in nothing it prints."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.credentials import places_left_out, without_credentials
from pipeline.run import Run
from tests.chat_server import ChatServer, Reply, completion
from tests.conftest import S3_SECRET, Sluice
from tests.servers import FaultyServer
from tests.stages.rephrase.conftest import PAGES, Asked

PASSWORD, SIGNATURE, OTHER = "p4ssw0rd-of-a-test", "s1gnature-of-a-test", "0ther-secret-of-a-test"
SECRETS = (PASSWORD, SIGNATURE, OTHER, S3_SECRET)


def leaks(folder: Path) -> list[str]:
    """Each file under a folder that holds a secret, in its name, its bytes or the rows of its Parquet."""
    found = []
    for path in sorted(folder.rglob("*")):
        content = str(path.relative_to(folder)).encode()
        if path.is_file():
            content += path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            content += repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
        found += [f"{path}: {secret}" for secret in SECRETS if secret.encode() in content]
    return found


def with_credentials(url: str, path: str) -> str:
    """A URL with a password, a signature, and a part of its query that is neither."""
    parts = urlsplit(url)
    return f"http://user:{PASSWORD}@{parts.netloc}/{path}?edition=2&X-Amz-Signature={SIGNATURE}&key={OTHER}"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    documents = "\n".join(json.dumps({"text": f"{page} {i}"}) for i, page in enumerate([PAGES["mill"]] * 3))
    made = FaultyServer({"docs.jsonl": documents.encode(), "broken.jsonl": b'{"text": "whole"}\n{"text": '})
    yield made
    made.close()


@pytest.fixture
def models() -> Iterator[ChatServer[Asked]]:
    def reply(request: Asked, before: int) -> Reply:
        if not request.passage:
            return completion("yes")
        question = "Question: What did the mill grind?\nAnswer: The mill ground corn for the town."
        return completion(question) if before else Reply(500, f"no worker for {SIGNATURE}".encode())

    with ChatServer(reply, request_type=Asked) as server:
        yield server


def write_recipe(folder: Path, server: FaultyServer, **artifacts: dict[str, object]) -> Path:
    files = [with_credentials(server.url, name) for name in ("docs.jsonl", "broken.jsonl", "absent.jsonl")]
    remote = {"tries": 1, "backoff_s": 0.01}
    docs = {"stage": "json_lines", "files": files, "source": "docs", "remote": remote}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "secrets", "artifacts": {"docs": docs, **artifacts}}))
    return path


def check(tmp_path: Path, sluice: Sluice, printed: str) -> None:
    """Nothing of it is in the run's folder, nor in what was printed, or is by the commands that read a run."""
    run = tmp_path / "run"
    printed += sluice("status", run) + sluice("report", run)
    assert leaks(run) == []
    assert [secret for secret in SECRETS if secret in printed] == []


def test_a_run_leaves_and_prints_no_credential_of_a_url(tmp_path: Path, sluice: Sluice, server: FaultyServer) -> None:
    recipe = write_recipe(tmp_path, server)
    files = json.dumps(yaml.safe_load(recipe.read_text())["artifacts"]["docs"]["files"])
    printed = sluice.run(recipe, "--set", f"docs.files={files}")
    assert any(SIGNATURE in request.path for request in server.requests)
    ledger = Run.open(tmp_path / "run").artifacts()["docs"].ledger.last()["docs"]
    assert ledger.failed == {"not_found": 1, "bad_json": 1}
    check(tmp_path, sluice, printed)


@pytest.mark.slow
def test_a_run_leaves_and_prints_no_credential_of_a_model_server(
    tmp_path: Path, sluice: Sluice, server: FaultyServer, models: ChatServer[Asked]
) -> None:
    endpoint = models.url.replace("://", f"://user:{PASSWORD}@")
    answers = {
        **{"stage": "rephrase", "from": "docs", "style": "questions", "model": "m", "max_synthetic_share": 0.9},
        **{"endpoints": [endpoint], "api_key_variable": "AWS_SECRET_ACCESS_KEY"},
    }
    printed = sluice.run(write_recipe(tmp_path, server, answers=answers))
    assert models.requests
    check(tmp_path, sluice, printed)


def test_the_account_of_an_error_holds_no_credential(tmp_path: Path, sluice: Sluice, server: FaultyServer) -> None:
    told = f"no answer from {with_credentials(server.url, 'v1')}"
    fails = {"from": "docs", "chain": [{"tests.security.stages:Raises": {"message": told}}]}
    printed = sluice.run(write_recipe(tmp_path, server, kept=fails), status=1)
    assert "no answer from" in (tmp_path / "run/error.log").read_text()
    check(tmp_path, sluice, printed)


def test_a_run_goes_on_from_its_own_copy_of_the_recipe_once_the_credentials_are_given(
    tmp_path: Path, sluice: Sluice, server: FaultyServer
) -> None:
    recipe = write_recipe(tmp_path, server)
    sluice.run(recipe)
    copy, run = tmp_path / "run/recipe.yaml", ("--out", tmp_path / "run")
    refused = sluice("run", copy, *run, status=2)
    assert "'docs.files.0': a credential was left out of this copy of a recipe" in refused
    assert f"{copy}:" in refused
    files = json.dumps(yaml.safe_load(recipe.read_text())["artifacts"]["docs"]["files"])
    assert "nothing was run" in sluice("run", copy, *run, "--set", f"docs.files={files}")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "docs.file=URL"], "unknown option 'file'"),
        (["--set", "doc.files=URL"], "the recipe has no 'doc'"),
        (["--set", "docs.files=[URL"], "not valid YAML"),
        (["--set", "docs.remote=URL"], "docs"),
        (["--set", "docs.remote.endpoint=['URL']"], "docs"),
        (["--set", "URL"], "expected key=value"),
        (["--set", "seed=URL"], "'seed' must be an integer"),
        (["--set", "name=URL"], "'name' must be letters"),
        (["--set", "docs.from=[{a: 'URL'}]"], "'from' must be an artifact's name"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
def test_a_wrong_option_is_told_without_its_credentials(
    tmp_path: Path, sluice_alone: Sluice, server: FaultyServer, options: list[str], told: str
) -> None:
    url = with_credentials(server.url, "docs.jsonl")
    printed = sluice_alone(
        "validate", write_recipe(tmp_path, server), *(option.replace("URL", url) for option in options), status=2
    )
    assert told in printed
    assert [secret for secret in SECRETS if secret in printed] == []


@pytest.mark.parametrize(
    ("url", "copy"),
    [
        ("https://host/a.gz", "https://host/a.gz"),
        ("https://user:word@host/a.gz", "https://LEFT-OUT@host/a.gz"),
        ("https://token@host/a.gz", "https://LEFT-OUT@host/a.gz"),
        ("s3://key:word@bucket/a.gz", "s3://LEFT-OUT@bucket/a.gz"),
        ("abfs://container@account/a.gz", "abfs://container@account/a.gz"),
        ("https://host/a?X-Amz-Signature=1&part=2", "https://host/a?X-Amz-Signature=LEFT-OUT&part=LEFT-OUT"),
        ("https://host/a?word", "https://host/a?LEFT-OUT"),
        ("https://host/a#word", "https://host/a#LEFT-OUT"),
        ("az://box/a?sv=1&sig=2", "az://box/a?sv=LEFT-OUT&sig=LEFT-OUT"),
        ("s3://bucket/part-?.gz", "s3://bucket/part-?.gz"),
        ("/data/part-?=1.gz", "/data/part-?=1.gz"),
        ("see https://a:b@c/ and https://d/?e=f now", "see https://LEFT-OUT@c/ and https://d/?e=LEFT-OUT now"),
    ],
)
def test_a_copy_keeps_all_of_a_url_that_is_no_credential(url: str, copy: str) -> None:
    assert without_credentials({"files": [url], "n": 1, "f": None}) == {"files": [copy], "n": 1, "f": None}
    assert without_credentials(copy) == copy
    assert list(places_left_out({"files": ["x", copy]})) == ([("files", 1)] if copy != url else [])
