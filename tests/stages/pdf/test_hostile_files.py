"""Files made to exhaust their reader take a bounded time and memory, and cost no sound page beside them."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.pdf.page import Page
from stages.pdf.process import Limits, PdfProcess
from stages.pdf.reading import ReadingOptions
from tests.stages.pdf import hostile_files
from tests.stages.pdf.page_rows import Read

DEADLINE_S = 20.0
MEMORY_BYTES = 500 << 20
MOST_S = 60.0  # two pages and the starts of two processes, on a machine that has other work
SOUND = "A sound page beside a hostile one"


def read(path: Path) -> list[Page]:
    """All pages; checks time and memory."""
    began = time.monotonic()
    with PdfProcess(
        ReadingOptions(ocr="off"), Limits(page_deadline_s=DEADLINE_S, max_memory_bytes=MEMORY_BYTES)
    ) as reader:
        pages = list(reader.pages(path, 0, reader.page_count(path)))
        assert reader.peak_memory_bytes < 2 * MEMORY_BYTES
    assert time.monotonic() - began < MOST_S
    return pages


@pytest.mark.parametrize(
    "made",
    [
        hostile_files.huge_page,
        lambda path: hostile_files.picture_of_zeros(path, 1 << 28),
        lambda path: hostile_files.text_of_zeros(path, 1 << 28),
        hostile_files.form_that_draws_itself,
        lambda path: hostile_files.forms_that_double(path, 30),
        hostile_files.length_that_refers_to_itself,
        lambda path: hostile_files.array_without_end(path, 1_000_000),
        pytest.param(lambda path: hostile_files.picture_of_zeros(path, 1 << 31), marks=pytest.mark.slow),
        pytest.param(lambda path: hostile_files.text_of_zeros(path, 1 << 31), marks=pytest.mark.slow),
    ],
    ids=[
        *("huge page", "picture of 256 MB", "256 MB of operators", "own form", "doubling forms", "own length"),
        *("open arrays", "picture of 2 GB", "2 GB of operators"),
    ],
)
def test_a_hostile_page_costs_at_most_itself(tmp_path, made: Callable[[Path], Path]):
    hostile, sound = read(made(tmp_path / "a.pdf"))
    assert SOUND in sound.text
    if hostile.lane == "failed":
        assert hostile.reason in ("memory", "deadline", "page_size")


def test_a_page_tree_of_twenty_thousand_levels_has_no_pages_that_load(tmp_path):
    (page,) = read(hostile_files.nested_page_tree(tmp_path / "a.pdf", 20_000))
    assert page.lane == "failed"


def test_a_page_tree_in_a_circle_claims_too_many_pages(tmp_path):
    hostile_files.page_tree_in_a_circle(tmp_path / "a.pdf")
    assert Read(files=tmp_path).ends == [("failed", "too_many_pages")]


def test_the_picture_of_a_huge_page_is_no_larger_than_asked_for(tmp_path):
    with PdfProcess(ReadingOptions(ocr="off"), Limits(max_memory_bytes=MEMORY_BYTES)) as reader:
        assert len(reader.render(hostile_files.huge_page(tmp_path / "a.pdf"), 0, 500)) < 500 * 500 * 3
        assert reader.peak_memory_bytes < MEMORY_BYTES
