"""The process that reads PDFs is killed, replaced, and never left behind; a page that breaks it costs that page."""

import gc
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from stages.pdf import process
from stages.pdf.process import Limits, PdfProcess
from stages.pdf.reading import ReadingOptions, UnreadablePdf
from tests.stages.pdf.faulty_worker import VARIABLE, FaultyProcess
from tests.stages.pdf_files import text_pdf

OPTIONS = ReadingOptions(ocr="off")
PROSE = "A line of prose, long enough to be read from its text layer: page {}."


def prose_pdf(path: Path, pages: int) -> Path:
    return text_pdf(path, [PROSE.format(number) for number in range(pages)])


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def lanes(pages: Iterator[process.Page]) -> str:
    """ "t" for each page of text, the reason for each that failed."""
    return " ".join(page.reason if page.lane == "failed" else page.lane[0] for page in pages)


def faulty(monkeypatch: pytest.MonkeyPatch, faults: dict[str, str], **limits: float) -> FaultyProcess:
    monkeypatch.setenv(VARIABLE, json.dumps(faults))
    return FaultyProcess(OPTIONS, Limits(**limits))


@pytest.fixture(scope="module")
def reader() -> Iterator[PdfProcess]:
    """A process for all tests that do not harm it."""
    with PdfProcess(OPTIONS, Limits()) as found:
        yield found


def test_one_process_reads_file_after_file(tmp_path):
    with PdfProcess(OPTIONS, Limits()) as reader:
        path = prose_pdf(tmp_path / "a.pdf", 2)
        assert reader.page_count(path) == 2
        assert [page.text for page in reader.pages(path, 0, 2)] == [PROSE.format(0), PROSE.format(1)]
        first = reader.pid
        assert lanes(reader.pages(prose_pdf(tmp_path / "b.pdf", 3), 1, 3)) == "t t"
        assert reader.pid == first
    assert has_ended(first)


def test_a_file_that_is_replaced_between_two_requests_is_read_anew(tmp_path, reader):
    path = prose_pdf(tmp_path / "a.pdf", 3)
    next(reader.pages(path, 0, 3))
    text_pdf(path, ["The other file has pages of other words, which are also long enough for a layer."] * 3)
    assert reader.page_count(path) == 3
    assert "other words" in next(reader.pages(path, 1, 3)).text


def test_an_unreadable_file_does_not_end_the_process(tmp_path, reader):
    (tmp_path / "a.pdf").write_bytes(b"no PDF")
    with pytest.raises(UnreadablePdf) as refused:
        reader.page_count(tmp_path / "a.pdf")
    first = reader.pid
    assert refused.value.reason == "unreadable"
    assert reader.page_count(prose_pdf(tmp_path / "b.pdf", 3)) == 3
    assert reader.pid == first


def test_a_death_between_two_files_is_nobody_s_failure(tmp_path, monkeypatch):
    path = prose_pdf(tmp_path / "a.pdf", 1)
    with faulty(monkeypatch, {}) as reader:
        reader.page_count(path)
        os.kill(reader.pid, signal.SIGKILL)
        while not has_ended(reader.pid):
            time.sleep(0.01)
        assert lanes(reader.pages(path, 0, 1)) == "t"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("segfault", "crashed"),
        ("hang", "deadline"),
        ("growth", "memory"),
        ("burst", "memory"),
        ("killed", "memory"),
        ("error", "reading_error"),
        ("flood", "too_much_text"),
    ],
)
def test_what_breaks_on_a_page_costs_that_page(tmp_path, monkeypatch, fault, reason):
    path = prose_pdf(tmp_path / "a.pdf", 4)
    with faulty(monkeypatch, {"1": fault}, page_deadline_s=2, max_memory_bytes=400 << 20) as reader:
        pages = list(reader.pages(path, 0, 4))
        assert lanes(iter(pages)) == f"t {reason} t t"
        assert [page.number for page in pages] == [0, 1, 2, 3]
        assert pages[2].text == "page 2"


def test_a_file_that_kills_three_times_in_a_row_is_given_up(tmp_path, monkeypatch):
    path = prose_pdf(tmp_path / "a.pdf", 40)
    with faulty(monkeypatch, {"*": "hang"}, page_deadline_s=0.5) as reader:
        began = time.monotonic()
        assert lanes(reader.pages(path, 0, 40)) == " ".join(["deadline"] * 3 + ["given_up"] * 37)
        assert time.monotonic() - began < 20  # 3 deadlines and 3 starts of a process, not 40


def test_deaths_with_pages_between_them_do_not_end_a_file(tmp_path, monkeypatch):
    path = prose_pdf(tmp_path / "a.pdf", 7)
    with faulty(monkeypatch, {"0": "segfault", "1": "segfault", "3": "segfault", "5": "segfault"}) as reader:
        assert lanes(reader.pages(path, 0, 7)) == "crashed crashed t crashed t crashed t"


def test_a_file_of_which_more_than_twenty_pages_in_a_row_fail_is_given_up(tmp_path, monkeypatch):
    path = prose_pdf(tmp_path / "a.pdf", 30)
    with faulty(monkeypatch, {str(page): "error" for page in range(20)}) as reader:
        assert lanes(reader.pages(path, 0, 30)).split() == ["reading_error"] * 20 + ["t"] * 10
    with faulty(monkeypatch, {str(page): "error" for page in range(21)}) as reader:
        assert lanes(reader.pages(path, 0, 30)).split() == ["reading_error"] * 21 + ["given_up"] * 9
    with faulty(monkeypatch, {str(page): "error" for page in range(30) if page != 15}) as reader:
        assert "given_up" not in lanes(reader.pages(path, 0, 30))


def test_pages_behind_the_deadline_of_the_file_are_not_read(tmp_path, monkeypatch):
    path = prose_pdf(tmp_path / "a.pdf", 30)
    with faulty(monkeypatch, {"*": "slow"}, file_deadline_s=2) as reader:
        found = lanes(reader.pages(path, 0, 30)).split()
    assert found == sorted(found, reverse=True)
    assert 1 <= found.count("t") <= 7
    assert found.count("file_deadline") == 30 - found.count("t")


@pytest.mark.parametrize(
    ("fault", "reason", "evidence"),
    [
        ("segfault", "crashed", "died with signal SIGSEGV"),
        ("hang", "deadline", "more than 2 s"),
        ("growth", "memory", r"\d+ MiB > 400 MiB"),
        ("killed", "memory", "killed, as the kernel does"),
    ],
)
def test_a_file_that_cannot_even_be_opened_is_refused(tmp_path, monkeypatch, fault, reason, evidence):
    path = prose_pdf(tmp_path / "a.pdf", 1)
    with faulty(monkeypatch, {"count": fault}, page_deadline_s=2, max_memory_bytes=400 << 20) as reader:
        with pytest.raises(UnreadablePdf, match=evidence) as refused:
            reader.page_count(path)
        assert refused.value.reason == reason
        assert reader.pid is None
        monkeypatch.setenv(VARIABLE, "{}")
        assert reader.page_count(path) == 1


def test_the_process_is_replaced_between_two_pages_once_it_is_large(tmp_path, monkeypatch):
    path = prose_pdf(tmp_path / "a.pdf", 3)
    with faulty(monkeypatch, {}) as reader:
        pages = reader.pages(path, 0, 3)
        found = [next(pages)]
        first = reader.pid
        monkeypatch.setattr(process, "RECYCLE_BYTES", 1 << 20)
        found += pages
        assert reader.pid != first
        assert has_ended(first)
        assert [page.text for page in found] == ["page 0", "page 1", "page 2"]


def test_a_large_process_does_not_wait_for_the_next_task(tmp_path, monkeypatch):
    path = prose_pdf(tmp_path / "a.pdf", 1)
    with faulty(monkeypatch, {}) as reader:
        reader.page_count(path)
        reader.rest()
        assert reader.pid is not None
        monkeypatch.setattr(process, "IDLE_BYTES", 1 << 20)
        reader.rest()
        assert reader.pid is None
        assert reader.peak_memory_bytes > 10 << 20  # of a process that is no more


def test_the_peak_of_a_page_that_took_too_much_memory_is_told(tmp_path, monkeypatch):
    path = prose_pdf(tmp_path / "a.pdf", 1)
    with faulty(monkeypatch, {"0": "growth"}, max_memory_bytes=500 << 20) as reader:
        assert lanes(reader.pages(path, 0, 1)) == "memory"
        assert 500 << 20 < reader.peak_memory_bytes < 1500 << 20


def test_pages_of_which_nobody_wants_the_rest_do_not_get_into_the_next_file(tmp_path, reader):
    one, other = prose_pdf(tmp_path / "a.pdf", 3), text_pdf(tmp_path / "b.pdf", ["Another file " * 10] * 3)
    next(reader.pages(one, 0, 3))
    assert [page.text.split()[0] for page in reader.pages(other, 0, 3)] == ["Another"] * 3


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def ink(image: Image.Image) -> int:
    """Number of dark pixels."""
    return sum(image.convert("L").histogram()[:128])


def test_a_picture_has_the_size_and_the_turn_asked_for(tmp_path, reader):
    path = prose_pdf(tmp_path / "a.pdf", 2)  # A4, one line at its top
    upright, turned = (picture(reader.render(path, 1, 842, rotation)) for rotation in (0, 90))
    assert (upright.size, turned.size) == ((596, 842), (842, 596))
    assert upright.format == "PNG"
    assert ink(upright.crop((0, 0, 596, 421))) == ink(upright) > 0
    assert ink(turned.crop((421, 0, 842, 596))) == ink(turned) > 0


def test_a_picture_between_two_pages_does_not_disturb_reading(tmp_path, reader):
    path = prose_pdf(tmp_path / "a.pdf", 3)
    found = []
    for page in reader.pages(path, 0, 3):
        reader.render(path, page.number, 100)
        found.append(page.text)
    assert found == [PROSE.format(number) for number in range(3)]


def test_a_page_that_is_not_there_has_no_picture(tmp_path, reader):
    path = prose_pdf(tmp_path / "a.pdf", 1)
    with pytest.raises(UnreadablePdf):
        reader.render(path, 7, 100)
    assert picture(reader.render(path, 0, 100)).size == (71, 100)


def test_the_process_ends_with_its_owner(tmp_path):
    reader = PdfProcess(OPTIONS, Limits())
    reader.page_count(prose_pdf(tmp_path / "a.pdf", 1))
    child = reader.pid
    assert child is not None
    del reader
    gc.collect()
    assert has_ended(child)


def test_the_process_ends_with_its_parent(tmp_path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from stages.pdf.process import Limits, PdfProcess; from stages.pdf.reading import ReadingOptions\n"
        "reader = PdfProcess(ReadingOptions(), Limits()); reader.page_count(Path(sys.argv[1]))\n"
        "print(reader.pid, flush=True); time.sleep(60)\n"
    )
    path = prose_pdf(tmp_path / "a.pdf", 1)
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
