"""Real web pages from ../shared/data, in a stable order, for tests and benchmarks that compare extractors."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.stage import Context
from stages.intake.common_crawl import CommonCrawl, CommonCrawlConfig

ARTICLES = "article_extraction_benchmark"
SNIPPETS = "trafilatura_eval"
READABILITY = "readability_test_pages"
WEBMAINBENCH = "webmainbench_sample"
WARC = "warc"


@dataclass(frozen=True, slots=True)
class RealPage:
    """A page as published, in whatever encoding it came."""

    name: str  # unique within its set
    html: bytes
    url: str | None
    set: str  # one of the names above


def real_pages(folder: Path) -> Iterator[RealPage]:
    """All pages under ``folder`` (../shared/data): about 900, no page twice.

    Pages of WARC files are the HTML responses with status 200, as the common_crawl stage reads them.
    """
    seen: set[bytes] = set()
    for pages in (_articles(folder), _snippets(folder), _readability(folder), _webmainbench(folder), _warc(folder)):
        for page in pages:
            if page.html not in seen:
                seen.add(page.html)
                yield page


def article_benchmark(folder: Path) -> Iterator[tuple[RealPage, str]]:
    """The pages of article_extraction_benchmark, each with its articleBody as a person marked it."""
    for page, truth in _with_truth(folder, ARTICLES):
        yield page, truth["articleBody"]


def snippets(folder: Path) -> Iterator[tuple[RealPage, list[str], list[str]]]:
    """The pages of trafilatura_eval, each with snippets that its main text must hold, and that it must not hold."""
    for page, truth in _with_truth(folder, SNIPPETS):
        yield page, truth["with"], truth["without"]


def _with_truth(folder: Path, name: str) -> Iterator[tuple[RealPage, dict[str, Any]]]:
    root = folder / "html_extraction" / name
    pages = _unpacked(root / "pages.tar.zst")
    for row in _json_lines(root / "ground_truth.jsonl.zst"):
        yield RealPage(row["file"], pages[row["file"]], row["url"], name), row


def _articles(folder: Path) -> Iterator[RealPage]:
    return (page for page, _ in _with_truth(folder, ARTICLES))


def _snippets(folder: Path) -> Iterator[RealPage]:
    return (page for page, _ in _with_truth(folder, SNIPPETS))


def _readability(folder: Path) -> Iterator[RealPage]:
    files = _unpacked(folder / "html_extraction" / READABILITY / "pages.tar.zst")
    for name, content in files.items():
        if name.endswith("/source.html"):
            yield RealPage(name.partition("/")[0], content, None, READABILITY)


def _webmainbench(folder: Path) -> Iterator[RealPage]:
    for row in _json_lines(folder / "html_extraction" / WEBMAINBENCH / "pages_with_ground_truth.jsonl.zst"):
        yield RealPage(row["track_id"], row["html"].encode(), row["url"], WEBMAINBENCH)


def _warc(folder: Path) -> Iterator[RealPage]:
    stage = CommonCrawl(CommonCrawlConfig(files=(str(folder / "warc"),)))
    for split in stage.splits():
        for outcome in stage.read(split, WARC, Context(seed=1)):
            for row in outcome.kept.select(["id", "url", "payload"]).to_pylist():
                yield RealPage(row["id"], row["payload"], row["url"], WARC)


def _unpacked(path: Path) -> dict[str, bytes]:
    """Files of a ``.tar.zst`` by name, in name order."""
    raw = pa.CompressedInputStream(path, "zstd").read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        members = sorted((m for m in archive.getmembers() if m.isfile()), key=lambda m: m.name)
        return {m.name: file.read() for m in members if (file := archive.extractfile(m))}


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in pa.CompressedInputStream(path, "zstd").read().splitlines():
        yield json.loads(line)
