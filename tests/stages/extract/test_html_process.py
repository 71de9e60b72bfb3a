"""The process that extracts: deadlines, memory, crashes, its end, and pages made to hurt."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import StageError
from stages.extract import html_process
from stages.extract.html_process import HtmlProcess
from stages.extract.pages import ExtractionOptions, Page

SENTENCE = "The committee met in the old hall and spoke about the rivers of the county for a long time. "
ARTICLE = Page(f"<html><body><article><p>{SENTENCE * 4}</p></article></body></html>".encode(), None, None)
SLOW = Page(("<html><body><article>" + f"<p>{SENTENCE}</p>" * 120_000).encode(), None, None)  # takes many seconds
HUNGRY = Page(b"<html><body><p>" + b"x<br>" * 1_000_000, None, None)  # takes 1 GB


@pytest.fixture
def process():
    process = HtmlProcess(ExtractionOptions(), deadline_s=60, max_memory_bytes=2 << 30)
    yield process
    process.stop()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ends_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_page_is_read_without_what_is_left_of_a_longer_one_before_it(process):
    start = f"<html><body><article><p>{SENTENCE * 4}".encode()
    longer = Page(start + b"<p>The mayor left the town before the winter came and nobody knew why." * 200, None, None)
    assert "mayor" in process.extract(longer).text
    shorter = process.extract(Page(start, None, None)).text
    assert SENTENCE.strip() in shorter
    assert "mayor" not in shorter
    assert process.extract(Page(b"", None, None)).ending == ("dropped", "no_main_text", "none in 0 bytes")


def test_what_the_server_declared_reaches_the_process_with_the_page(process):
    html = f"<html><body><article><p>{SENTENCE * 4}Ελλάδα</p></article></body></html>".encode("iso8859-7")
    link = b'<link rel="canonical" href="/rivers">'
    extract = process.extract(Page(html.replace(b"<body>", link + b"<body>"), "iso-8859-7", "https://example.org/a"))
    assert extract.text.endswith("Ελλάδα")
    assert extract.facts.canonical_url == "https://example.org/rivers"


def test_a_page_over_the_deadline_fails_and_the_next_one_is_extracted():
    process = HtmlProcess(ExtractionOptions(), deadline_s=2, max_memory_bytes=2 << 30)
    started = time.monotonic()
    slow = process.extract(SLOW)
    assert time.monotonic() - started < 3.9  # after 4 s it would have ended itself
    after = process.extract(ARTICLE)
    process.stop()
    assert slow.ending == ("failed", "deadline", "more than 2 s")
    assert SENTENCE.strip() in after.text


def test_a_page_that_eats_memory_fails_and_the_next_one_is_extracted():
    process = HtmlProcess(ExtractionOptions(), deadline_s=60, max_memory_bytes=256 << 20)
    hungry, after = process.extract(HUNGRY), process.extract(ARTICLE)
    process.stop()
    verdict, reason, evidence = hungry.ending
    assert (verdict, reason) == ("failed", "memory")
    assert evidence.endswith(" MiB > 256 MiB")
    assert SENTENCE.strip() in after.text


@pytest.mark.parametrize(
    ("sent", "ending"),
    [
        (signal.SIGSEGV, ("failed", "crashed", "the extracting process died with signal SIGSEGV")),
        (
            signal.SIGKILL,
            ("failed", "memory", "the extracting process was killed, as the kernel does when memory runs out"),
        ),
    ],
)
def test_a_crash_costs_the_page_that_is_being_worked_on(process, sent, ending):
    threading.Timer(0.5, os.kill, (process.pid, sent)).start()
    assert process.extract(SLOW).ending == ending
    assert SENTENCE.strip() in process.extract(ARTICLE).text


def test_a_process_that_dies_between_two_pages_costs_none(process):
    os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.3)
    assert SENTENCE.strip() in process.extract(ARTICLE).text


def test_an_interrupted_page_does_not_answer_for_the_next_one(process):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    with pytest.raises(KeyboardInterrupt):
        process.extract(SLOW)
    signal.signal(signal.SIGUSR1, before)
    other = Page(ARTICLE.html.replace(b"committee", b"commission"), None, None)
    assert "The commission met" in process.extract(other).text


def test_a_process_that_has_grown_is_replaced_between_two_pages(process, monkeypatch):
    first = process.pid
    process.extract(ARTICLE)
    assert process.pid == first
    monkeypatch.setattr(html_process, "RECYCLE_BYTES", 10 << 20)
    assert SENTENCE.strip() in process.extract(ARTICLE).text
    assert process.pid != first
    assert ends_within(first, 1)


def test_a_replaced_process_leaves_no_open_files(process):
    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.3)
    process.extract(ARTICLE)
    assert open_files() == before


def test_the_kernel_takes_the_process_first_when_memory_runs_out(process):
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"


def test_a_process_that_cannot_start_is_an_error():
    with pytest.raises(StageError, match="did not start"):
        HtmlProcess(ExtractionOptions(engine="none"), 60, 2 << 30)  # type: ignore[arg-type]


PARENT = """
import os, sys, threading
from stages.extract.html_process import HtmlProcess
from stages.extract.pages import ExtractionOptions
from tests.stages.extract.test_html_process import SLOW
process = HtmlProcess(ExtractionOptions(), deadline_s=1.5, max_memory_bytes=2 << 30)
print(process.pid, flush=True)
if sys.argv[1] == "at work":
    threading.Timer(0.5, os._exit, (0,)).start()
    process.extract(SLOW)
os._exit(0)
"""


@pytest.mark.parametrize("parent_ends", ["idle", "at work"])
def test_the_process_ends_with_its_parent(parent_ends):
    command = [sys.executable, "-c", PARENT, parent_ends]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
    assert ends_within(int(done.stdout), 5)


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse", "fast"])
@pytest.mark.parametrize(
    "html",
    [
        pytest.param(b"<html><body>" + b"<div>" * 100_000 + SENTENCE.encode() * 5, id="100,000 nested elements"),
        pytest.param(b"<html><body>" + b"<b></b>" * 1_000_000 + SENTENCE.encode() * 5, id="1,000,000 empty elements"),
        pytest.param((f"<html><body><p>{SENTENCE * 20}" * 5700).encode(), id="10 MB of text"),
        pytest.param(b"<html><body><p " + b"a=b " * 2_500_000 + b">" + SENTENCE.encode() * 5, id="a 10 MB tag"),
    ],
)
@pytest.mark.slow
def test_no_page_outlives_its_deadline(engine, html):
    """Extracted or failed, but in time, and the next page is not harmed."""
    process = HtmlProcess(ExtractionOptions(engine=engine), deadline_s=3, max_memory_bytes=2 << 30)
    started = time.monotonic()
    extract = process.extract(Page(html, None, None))
    assert time.monotonic() - started < 6
    assert extract.text or extract.ending[1] in ("deadline", "no_main_text", "extraction_error")
    assert SENTENCE.strip() in process.extract(ARTICLE).text
    process.stop()
