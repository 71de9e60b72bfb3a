"""The process that reads PDFs is killed, replaced, and never left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stages.extract.pdf import PdfLimits, UnreadablePdf
from stages.extract.pdf_worker import PdfWorker
from tests.stages.pdf_files import image_pdf, text_pdf

AUTO = PdfLimits("auto", max_pages=1000, max_page_pixels=4_000_000)
PROSE = "A page of prose that is long enough to be read from its text layer and not from its picture."


def signal_reader(worker: PdfWorker, number: int) -> threading.Timer:
    """Send a signal to the process of ``worker`` in half a second, while it reads."""
    assert worker.pid is not None
    timer = threading.Timer(0.5, os.kill, (worker.pid, number))
    timer.start()
    return timer


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_one_process_reads_file_after_file(tmp_path):
    with PdfWorker(AUTO, 60) as worker:
        assert [page.lane for page in worker.pages(text_pdf(tmp_path / "a.pdf", [PROSE]))] == ["text"]
        first = worker.pid
        assert len(worker.pages(text_pdf(tmp_path / "b.pdf", [PROSE, PROSE]))) == 2
        assert worker.pid == first
    assert has_ended(first)


def test_an_unreadable_file_does_not_end_the_process(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"no PDF")
    with PdfWorker(AUTO, 60) as worker:
        with pytest.raises(UnreadablePdf) as refused:
            worker.pages(tmp_path / "a.pdf")
        assert refused.value.reason == "unreadable"
        first = worker.pid
        worker.pages(text_pdf(tmp_path / "b.pdf", [PROSE]))
        assert worker.pid == first


def test_a_death_between_two_files_is_not_the_next_file_s_failure(tmp_path):
    small = text_pdf(tmp_path / "a.pdf", [PROSE])
    with PdfWorker(AUTO, 60) as worker:
        worker.pages(small)
        os.kill(worker.pid, signal.SIGKILL)
        while not has_ended(worker.pid):
            time.sleep(0.01)
        assert [page.lane for page in worker.pages(small)] == ["text"]


@pytest.mark.parametrize(("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "SIGKILL")])
def test_a_crash_fails_its_file_and_the_next_is_read(tmp_path, number, name):
    scans = image_pdf(tmp_path / "a.pdf", [PROSE] * 8)
    small = text_pdf(tmp_path / "b.pdf", [PROSE])
    with PdfWorker(AUTO, 60) as worker:
        worker.pages(small)
        signal_reader(worker, number)
        with pytest.raises(UnreadablePdf, match=name) as crashed:
            worker.pages(scans)
        assert crashed.value.reason == "crashed"
        assert [page.lane for page in worker.pages(small)] == ["text"]


def test_a_hang_is_killed_at_the_page_s_deadline(tmp_path):
    scans = image_pdf(tmp_path / "a.pdf", [PROSE] * 8)
    small = text_pdf(tmp_path / "b.pdf", [PROSE])
    with PdfWorker(AUTO, 4) as worker:
        worker.pages(small)
        stopped = worker.pid
        signal_reader(worker, signal.SIGSTOP)  # a stopped process answers no more than one that hangs in C
        with pytest.raises(UnreadablePdf, match="took more than 4 s") as hung:
            worker.pages(scans)
        assert hung.value.reason == "deadline"
        assert has_ended(stopped)
        assert [page.lane for page in worker.pages(small)] == ["text"]


def test_the_reader_dies_with_its_parent(tmp_path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from stages.extract.pdf import PdfLimits; from stages.extract.pdf_worker import PdfWorker\n"
        "worker = PdfWorker(PdfLimits('auto', 10, 10**6), 60); worker.pages(Path(sys.argv[1]))\n"
        "print(worker.pid, flush=True); time.sleep(60)\n"
    )
    path = text_pdf(tmp_path / "a.pdf", [PROSE])
    parent = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not has_ended(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 10
    while not has_ended(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert has_ended(child)
