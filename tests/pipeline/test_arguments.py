"""Arguments of the command line that name files: URLs do what paths do."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import arguments, storage
from pipeline.cli import app
from pipeline.errors import InputError, RecipeError
from tests.pipeline.test_rethreshold import run
from tests.servers import Fault, FaultyServer, faulty_server, put_objects, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as endpoint:
        put_objects(endpoint, "bucket", {})
        yield endpoint


@pytest.fixture
def front(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(upstream=s3) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("SLUICE_SCRATCH", str(tmp_path / "scratch"))
        yield front


def client(front: FaultyServer) -> Any:
    return botocore.session.get_session().create_client("s3", region_name="us-east-1", endpoint_url=front.upstream)


def content(front: FaultyServer, key: str) -> bytes:
    body: bytes = client(front).get_object(Bucket="bucket", Key=key)["Body"].read()
    return body


def keys(front: FaultyServer, prefix: str) -> list[str]:
    found = client(front).list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", ())
    return [f["Key"] for f in found]


def said(*command: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, command)))
    if status == 0 and result.exception:
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output


def in_the_store(front: FaultyServer, folder: Path, key: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = f"{key}/{path.relative_to(folder).as_posix()}"
            client(front).put_object(Bucket="bucket", Key=name, Body=path.read_bytes())


THRESHOLDS = ("--set", "words.min_words=1", "--set", "capitals.max_capitals=2")


def test_a_selection_of_a_run_in_a_store_lies_in_the_store(front: FaultyServer, tmp_path: Path) -> None:
    run(tmp_path)
    local = said("rethreshold", tmp_path / "run", "kept", *THRESHOLDS)
    (selection,) = (tmp_path / "run" / "selections").glob("*.parquet")
    wanted = pq.read_table(selection)
    shutil.rmtree(tmp_path / "run" / "selections")
    in_the_store(front, tmp_path / "run", "chosen-by-default")
    told = said("rethreshold", "s3://bucket/chosen-by-default", "kept", *THRESHOLDS)
    name = f"chosen-by-default/selections/{selection.name}"
    assert f"The selection is in s3://bucket/{name}:" in told
    assert told.splitlines()[:-1] == local.splitlines()[:-1]
    (tmp_path / "fetched.parquet").write_bytes(content(front, name))
    assert pq.read_table(tmp_path / "fetched.parquet").equals(wanted)
    assert keys(front, "chosen-by-default/selections/") == [name]


def test_a_selection_can_be_written_to_a_url(front: FaultyServer, tmp_path: Path) -> None:
    run(tmp_path)
    told = said("rethreshold", tmp_path / "run", "kept", *THRESHOLDS, "--out", "s3://bucket/out/chosen.parquet")
    assert "The selection is in s3://bucket/out/chosen.parquet:" in told
    assert keys(front, "out/") == ["out/chosen.parquet"]


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    mixtures = np.random.default_rng(0).dirichlet(np.ones(3), 16)
    folder = tmp_path / "tables"
    folder.mkdir()
    write_csv(folder / "ratios.csv", ["index", "a", "b", "c"], [[i, *row] for i, row in enumerate(mixtures)])
    losses = 2 - mixtures @ np.array([0.3, 0.2, 0.1])
    write_csv(folder / "losses.csv", ["index", "loss"], [[i, loss] for i, loss in enumerate(losses)])
    return folder


def test_the_mix_commands_read_and_write_urls(front: FaultyServer, tables: Path) -> None:
    in_the_store(front, tables, "tables")
    url = "s3://bucket/tables"
    told = said(
        "mix", "fit", "--mixtures", f"{url}/ratios.csv", "--metrics", f"{url}/losses.csv", "--out", f"{url}/fit"
    )
    local = said(
        "mix", "fit", "--mixtures", tables / "ratios.csv", "--metrics", tables / "losses.csv", "--out", tables / "fit"
    )
    assert told.replace(url, str(tables)) == local
    assert content(front, "tables/fit") == (tables / "fit").read_bytes()
    told = said("mix", "predict", f"{url}/fit", "--mixtures", f"{url}/ratios.csv", "--out", f"{url}/predicted.csv")
    assert f"{url}/predicted.csv" in told
    said("mix", "predict", tables / "fit", "--mixtures", tables / "ratios.csv", "--out", tables / "predicted.csv")
    assert content(front, "tables/predicted.csv") == (tables / "predicted.csv").read_bytes()


def test_nothing_is_said_to_be_written_that_the_store_refuses(front: FaultyServer, tables: Path) -> None:
    front.choose = lambda r: Fault("status", 403) if r.method == "PUT" else None
    given = ["--mixtures", str(tables / "ratios.csv"), "--metrics", str(tables / "losses.csv")]
    result = CliRunner().invoke(app, ["mix", "fit", *given, "--out", "s3://bucket/refused/fit"])
    assert "403" in str(result.exception)
    assert result.output == ""
    assert keys(front, "refused/") == []


def test_a_file_that_is_not_there_is_told_by_its_url(front: FaultyServer) -> None:
    with pytest.raises(InputError, match=r"no file matches s3://bucket/none.txt"):
        arguments.input_file("s3://bucket/none.txt")


def test_nothing_can_be_written_to_a_web_server() -> None:
    with pytest.raises(RecipeError, match=r"https://example.org: Sluice writes into"):
        arguments.output_file("https://example.org/fit")


def test_paths_are_what_they_say() -> None:
    assert arguments.folder("a/b") == arguments.input_file("a/b") == arguments.output_file("a/b") == Path("a/b")
    assert storage.store_of(arguments.output_file("a/b")) is None
