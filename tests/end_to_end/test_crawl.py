"""A crawl read from servers that misbehave, through the command line, on a cluster of two raylets."""

import random
from pathlib import Path

import pytest
import yaml

from pipeline.run import Run
from tests.conftest import S3_SECRET, Sluice
from tests.crawl_mirror import CRAWL, CrawledPage, build_mirror
from tests.servers import Fault, faulty_server, put_objects, s3_server
from tests.stages.in_process import removed_from, rows_of

SENTENCE = "This is page {i} of the {host} site, and it says something of its own about the number {i}. "
REMOTE = {"timeout_s": 2, "backoff_s": 0.02, "tries": 30, "connections": 4}


def page(i: int) -> CrawledPage:
    """A page large enough that a file of them takes several requests."""
    host = f"h{i % 5}.example.{'is' if i % 10 < 2 else 'org'}"
    paragraphs = "".join(f"<p>{SENTENCE.format(i=i * 1000 + j, host=host) * 4}</p>" for j in range(6))
    noise = random.Random(i).randbytes(30_000).hex()  # does not compress: files become large enough for several ranges
    body = f"<html><head><title>{i}</title></head><body><article>{paragraphs}</article><!-- {noise} --></body></html>"
    return CrawledPage(f"http://{host}/{i}", body.encode())


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = [[page(i) for i in range(start, start + 25)] for start in range(0, 75, 25)]
    return build_mirror(tmp_path_factory.mktemp("crawl"), files, index_files=2)


def contents(mirror: Path) -> dict[str, bytes]:
    return {str(p.relative_to(mirror)): p.read_bytes() for p in mirror.rglob("*") if p.is_file()}


def recipe(folder: Path, base: str | Path, **options: object) -> Path:
    """Pages and their text."""
    pages = {"stage": "common_crawl", "crawl": CRAWL, "base": str(base), "source": "web", **options}
    artifacts = {"pages": pages, "text": {"stage": "extract_html", "from": "pages"}}
    folder.mkdir()
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "crawl", "artifacts": artifacts}))
    return path


def documents(recipe: Path) -> list[dict[str, object]]:
    rows = rows_of(Run.open(recipe.parent / "run").artifacts()["text"])
    assert len({row["id"] for row in rows}) == len(rows)
    return sorted(rows, key=lambda row: str(row["id"]))


def faults(seed: int):
    """A fault for about half of the requests, of every kind that a server may recover from."""
    chance = random.Random(seed)
    kinds = [
        Fault("status", 503, {"Retry-After": "0"}),
        Fault("status", 503, body=b"<Error><Code>SlowDown</Code></Error>"),
        Fault("status", 429),
        Fault("status", 500),
        Fault("reset", after=70_000),
        Fault("truncate", after=30_000),
        Fault("stall", after=10_000),
        Fault("wrong_range", after=7),
        Fault("ignore_range"),
        Fault("short_range", after=100_000),
    ]
    return lambda request: chance.choice(kinds) if chance.random() < 0.5 else None


def test_faults_of_the_server_change_nothing(sluice: Sluice, mirror: Path, tmp_path: Path) -> None:
    undisturbed = recipe(tmp_path / "undisturbed", mirror)
    sluice.run(undisturbed)
    assert len(documents(undisturbed)) == 75
    with faulty_server(contents(mirror)) as server:
        server.choose = faults(seed=1)
        disturbed = recipe(tmp_path / "disturbed", server.url, remote=REMOTE)
        sluice.run(disturbed)
        bad = [request for request in server.requests if request.status >= 400]
    assert documents(disturbed) == documents(undisturbed)
    assert len(bad) > 3, "the server was to misbehave"


def test_a_file_that_cannot_be_had_ends_in_the_ledger_and_is_read_by_retry(
    sluice: Sluice, mirror: Path, tmp_path: Path
) -> None:
    with faulty_server(contents(mirror)) as server:
        server.choose = lambda request: Fault("status", 500) if request.path.endswith("00001.warc.gz") else None
        path = recipe(tmp_path / "r", server.url, remote=REMOTE | {"tries": 3})
        output = sluice.run(path)
        removed = removed_from(Run.open(path.parent / "run").artifacts()["text"])
        failed = [row for row in removed if row["verdict"] == "failed"]
        assert len(documents(path)) == 50
        server.choose = None
        assert "nothing was run" in sluice.run(path), "what failed is not tried again unasked"
        assert "text: 1 parts are read again" in sluice.run(path, "--retry")
    (end,) = failed
    assert end["reason"] == "unreachable"
    assert end["evidence"].startswith(f"crawl-data/{CRAWL}/segments/1.1/warc/{CRAWL}-00001.warc.gz")
    assert "3 attempts" in end["evidence"]
    assert "warning: text, crawl-data" in output
    assert len(documents(path)) == 75


def test_a_selection_downloads_little_more_than_its_records(sluice: Sluice, mirror: Path, tmp_path: Path) -> None:
    with faulty_server(contents(mirror)) as server:
        path = recipe(tmp_path / "r", server.url, select={"tlds": "is"}, remote=REMOTE)
        sluice.run(path)
        warc = [request for request in server.requests if request.path.endswith(".warc.gz")]
    chosen = [i for i in range(75) if i % 10 < 2]
    assert sorted(row["url"] for row in documents(path)) == sorted(page(i).url for i in chosen)
    assert len(warc) == len(chosen) / 2, "neighbours are read by one request"
    downloaded = sum(request.range[1] - request.range[0] for request in warc)
    crawl_bytes = sum(path.stat().st_size for path in mirror.rglob("*.warc.gz"))
    assert downloaded < 0.25 * crawl_bytes


def test_signed_reads_from_s3(sluice: Sluice, mirror: Path, tmp_path: Path) -> None:
    with s3_server() as endpoint:
        put_objects(endpoint, "commoncrawl", contents(mirror))
        path = recipe(tmp_path / "r", "s3://commoncrawl", remote=REMOTE | {"endpoint": endpoint}, limit=1)
        sluice.run(path, "--set", "text.metadata=false")
        written = (path.parent / "run" / "recipe.yaml").read_text()
    assert sorted(row["url"] for row in documents(path)) == sorted(page(i).url for i in range(25))
    assert S3_SECRET not in written
