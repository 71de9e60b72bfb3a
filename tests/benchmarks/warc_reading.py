"""Pages per CPU second out of WARC files, beside datatrove and FastWARC: `python -m tests.benchmarks.warc_reading`.

Real pages are written as Common Crawl lays them out (request, response and metadata records, one gzip member each)
and read back to (URL, date, text) by each reader in a process of its own, in turns. Text is decoded in the same way
for all, datatrove's: UTF-8, else what cchardet says, else the page is dropped. Ratios are medians over the rounds of
our CPU seconds beside the other's in the same round; the least of the seconds gives the pages per CPU second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data"
READERS = ("sluice", "datatrove", "datatrove with isal", "FastWARC")
DEMANDED = {"datatrove": (2.0, 3.0), "datatrove with isal": (1.2, 1.8)}  # at least, and the goal
SMALL_BYTES = 60_000  # pages up to this size come to a mean of about 30 KB, as those of Common Crawl do
MIN_PAGES = 600
LIMIT_BYTES = 10 << 20


class PageText(NamedTuple):
    """What a reader gives for a page."""

    url: str
    date: str
    text: str


def main() -> None:
    """Write the files, read them by all readers, and print who took how long and whether all read the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        answer_requests(arguments.reader, arguments.file)
        return
    with tempfile.TemporaryDirectory() as folder:
        for title, path, pages, page_bytes in written_files(Path(folder)):
            print(
                f"\n{title}: {pages} pages, {page_bytes / pages / 1000:.0f} KB each, {path.stat().st_size / 1e6:.1f} MB"
            )
            compare(path, pages, arguments.rounds)


def written_files(folder: Path) -> Iterator[tuple[str, Path, int, int]]:
    """Title, path, pages and bytes of HTML of each WARC file."""
    from stages.demo_corpus.warc_writer import Exchange, exchange_members, warcinfo
    from tests.real_pages import real_pages

    pages = [page.html for page in real_pages(DATA)]
    small = [html for html in pages if 2000 < len(html) < SMALL_BYTES]
    small *= -(-MIN_PAGES // len(small))
    for title, bodies in (("all real pages", pages), ("small real pages", small)):
        path = folder / f"{title.replace(' ', '_')}" / "a.warc.gz"
        path.parent.mkdir()
        with path.open("wb") as file:
            file.write(warcinfo(path.name, seed=1))
            for number, html in enumerate(bodies):
                exchange = Exchange(f"https://example.org/{number}", "200 OK", "text/html", html)
                members = exchange_members(exchange, number, seed=1)
                file.write(members.request + members.response + members.metadata)
        yield title, path, len(bodies), sum(map(len, bodies))


def compare(path: Path, pages: int, rounds: int) -> None:
    """Let the readers read a file in turns, and print rates, ratios and differences."""
    children = {reader: start(reader, path) for reader in READERS}
    texts = {reader: dict(ask(child, "texts")) for reader, child in children.items()}  # warms all up, too
    seconds: dict[str, list[float]] = {reader: [] for reader in READERS}
    for _ in range(rounds):
        for reader, child in children.items():
            seconds[reader].append(ask(child, "seconds"))
    for child in children.values():
        child.communicate()
    print(f"{'':<22}{'pages per CPU s':>16}{'we are faster by':>18}{'at least':>10}{'goal':>6}   texts equal to ours")
    for reader in READERS:
        ratio = statistics.median(other / our for other, our in zip(seconds[reader], seconds["sluice"], strict=True))
        least, goal = DEMANDED.get(reader, ("", ""))
        equal = sum(texts["sluice"].get(url) == digest for url, digest in texts[reader].items())
        rate = pages / min(seconds[reader])
        print(f"{reader:<22}{rate:>16,.0f}{ratio:>17.2f}x{least:>10}{goal:>6}   {equal} of {len(texts[reader])}")
        missing = texts["sluice"].keys() - texts[reader].keys()
        if missing:
            print(f"{'':<22}does not give {len(missing)} pages that we give: {sorted(missing)[:5]}")


def start(reader: str, path: Path) -> subprocess.Popen[str]:
    """A process that reads the file each time it is asked to."""
    command = [sys.executable, "-m", "tests.benchmarks.warc_reading", "--reader", reader, "--file", str(path)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY
    )


def ask(child: subprocess.Popen[str], what: str):
    assert child.stdin
    assert child.stdout
    child.stdin.write(what + "\n")
    child.stdin.flush()
    return json.loads(child.stdout.readline())


def answer_requests(reader: str, path: Path) -> None:
    """Read the file once for each line of standard input; answer with CPU seconds, or a digest of each page."""
    import cchardet  # noqa: F401  (imported before anything is timed, as all use it)

    if reader == "datatrove":
        sys.modules["isal"] = None  # type: ignore[assignment]  # as where it is not installed
    pages = readers()[reader]
    answers = sys.stdout
    sys.stdout = sys.stderr  # datatrove logs
    for request in sys.stdin:
        if request.strip() == "texts":
            answer: object = [(page.url, digest(page)) for page in pages(path)]
        else:
            started = time.process_time()
            for _ in pages(path):
                pass
            answer = time.process_time() - started
        print(json.dumps(answer), file=answers, flush=True)


def digest(page: PageText) -> str:
    return hashlib.sha256(f"{page.date} {page.text}".encode("utf-8", "surrogatepass")).hexdigest()


def decoded(html: bytes) -> str | None:
    """As datatrove decodes."""
    import cchardet

    try:
        return html.decode()
    except UnicodeDecodeError:
        charset = cchardet.detect(html)["encoding"]
    try:
        return html.decode(charset) if charset else None
    except (UnicodeDecodeError, LookupError):
        return None


def readers() -> dict[str, Callable[[Path], Iterator[PageText]]]:
    return {"sluice": sluice, "datatrove": datatrove, "datatrove with isal": datatrove, "FastWARC": fastwarc}


def sluice(path: Path) -> Iterator[PageText]:
    from stages.intake.http import decoded_body, parsed
    from stages.intake.warc import Damage, records

    with path.open("rb", buffering=0) as file:
        for record in records(file, frozenset({"response"}), LIMIT_BYTES):
            assert not isinstance(record, Damage)
            if record.block is not None:
                text = decoded(decoded_body(parsed(record.block), LIMIT_BYTES))
                if text:
                    yield PageText(record.headers["warc-target-uri"], record.headers["warc-date"], text)


def datatrove(path: Path) -> Iterator[PageText]:
    from datatrove.pipeline.readers import WarcReader
    from fsspec.compression import compr

    assert ("isal" in compr["gzip"].__name__) == (sys.modules.get("isal") is not None)
    for document in WarcReader(str(path.parent), glob_pattern=path.name).run():
        yield PageText(document.metadata["url"], document.metadata["date"], document.text)


def fastwarc(path: Path) -> Iterator[PageText]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with path.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
            text = decoded(record.reader.read())
            if text:
                yield PageText(record.headers["WARC-Target-URI"], record.headers["WARC-Date"], text)


if __name__ == "__main__":
    main()
