"""The router: which way each page is read, over a generated suite of more than 200 pages."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.pdf.ocr.reader import OcrPage
from stages.pdf.page import Fragment, Page
from stages.pdf.plausibility import Judgement
from stages.pdf.reading import DocumentReader, ReadingOptions, opened, pages_of
from stages.pdf.routing import FontTrials, Route, route
from stages.pdf.signals import Signals
from tests.stages.pdf.routing_files import SuiteFile
from tests.stages.pdf.routing_suite import documents

MIN_PAGES = 200
MIN_RIGHT = 0.97

SOUND = Judgement(pairs=2000, strangeness=0.03, lost="", is_signs=False)
SCRAMBLED = Judgement(pairs=2000, strangeness=0.6, lost="", is_signs=False)
UNSURE = Judgement(pairs=20, strangeness=0.0, lost="", is_signs=False)
PROSE = Signals(characters=2000, fonts={"Times": SOUND})


class SparingReader(DocumentReader):
    """Uses OCR once, or not at all: else what is known to be written on the page stands for what OCR reads."""

    def __init__(self, document: Any, made: SuiteFile, has_witness: bool) -> None:
        super().__init__(document, ReadingOptions())
        self._made, self._has_witness = made, has_witness
        self._number = 0

    def page(self, number: int) -> Page:
        self._number = number
        return super().page(number)

    def _ocr(self, page: Any) -> OcrPage:
        if self._has_witness:
            self._has_witness = False
            return super()._ocr(page)
        truth = self._made.pages[self._number].truth
        fragments = (Fragment(0, 0, 500, 10, truth, 10),) if truth else ()
        return OcrPage(fragments, None, 0, *page.get_size(), dpi=150)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[SuiteFile, Path]]:
    folder = tmp_path_factory.mktemp("suite")
    return [(made, made.write(folder)) for made in documents()]


REAL_WITNESS = ("cipher_shift_-1", "signs")
"""Two of the documents whose letters are in question; the test of all takes minutes."""


def test_of_more_than_200_pages_the_router_sends_97_percent_the_right_way(suite: list[tuple[SuiteFile, Path]]) -> None:
    wrong, count = [], 0
    for made, path in suite:
        with opened(path) as document:
            reader = SparingReader(document, made, has_witness=made.name in REAL_WITNESS)
            for number, expected in enumerate(made.pages):
                page = reader.page(number)
                count += 1
                if page.lane not in expected.lanes:
                    wrong.append(f"{made.name}, page {number + 1}, {expected.kind}: {page.lane} ({page.reason})")
    assert count >= MIN_PAGES
    assert len(wrong) <= (1 - MIN_RIGHT) * count, "\n".join(wrong)


@pytest.mark.slow
def test_with_ocr_wherever_the_router_asks_for_it_97_percent_end_in_the_right_lane(
    suite: list[tuple[SuiteFile, Path]],
) -> None:
    ends: Counter[bool] = Counter()
    wrong = []
    for made, path in suite:
        for expected, page in zip(made.pages, pages_of(path, 0, None, ReadingOptions()), strict=True):
            ends[page.lane in expected.lanes] += 1
            if page.lane not in expected.lanes:
                wrong.append(f"{made.name}, page {page.number + 1}, {expected.kind}: {page.lane} ({page.reason})")
    assert ends[True] >= MIN_RIGHT * ends.total(), "\n".join(wrong)


def test_sound_text_is_taken() -> None:
    assert route(PROSE, FontTrials()) == Route("text", "sound")


def test_a_page_without_ink_is_blank() -> None:
    assert route(Signals(ink_share=0.0, loose_ink_share=0.0), FontTrials()) == Route("blank", "no_ink")


def test_ink_without_text_is_read_by_ocr() -> None:
    assert route(Signals(ink_share=0.02, loose_ink_share=0.02), FontTrials()) == Route("ocr", "little_text")


def test_a_few_words_are_taken_if_nothing_else_is_on_the_page() -> None:
    assert route(Signals(characters=12, ink_share=0.002, loose_ink_share=0.0), FontTrials()) == Route("text", "short")


def test_a_few_words_beside_ink_send_the_page_to_ocr() -> None:
    found = route(Signals(characters=12, ink_share=0.02, loose_ink_share=0.018), FontTrials())
    assert found == Route("ocr", "little_text", adds=True)


def test_a_few_words_in_a_condemned_font_are_read_by_ocr() -> None:
    trials = FontTrials()
    trials.condemned.add("Cipher")
    few = Signals(characters=12, ink_share=0.002, loose_ink_share=0.0, fonts={"Cipher": UNSURE})
    assert route(few, trials) == Route("ocr", "little_text")


def test_characters_without_meaning_send_the_page_to_ocr() -> None:
    assert route(replace(PROSE, garbage=40), FontTrials()) == Route("ocr", "garbage")
    assert route(replace(PROSE, garbage=39), FontTrials()).lane == "text"


def test_characters_without_a_mapping_send_the_page_to_ocr_unless_they_read_as_language() -> None:
    unmapped = replace(PROSE, unmapped_share=0.5)
    assert route(replace(unmapped, fonts={"Times": UNSURE}), FontTrials()) == Route("ocr", "unmapped")
    assert route(unmapped, FontTrials()) == Route("doubt", "unmapped")


def test_pictures_over_half_of_a_page_with_little_text_send_it_to_ocr() -> None:
    slide = replace(PROSE, characters=300, image_coverage=0.5)
    assert route(slide, FontTrials()) == Route("ocr", "pictures", adds=True)
    assert route(replace(slide, characters=600), FontTrials()).lane == "text"
    assert route(replace(slide, image_coverage=0.49), FontTrials()).lane == "text"


def test_more_outlines_than_characters_send_the_page_to_ocr() -> None:
    assert route(replace(PROSE, characters=80, outlines=900), FontTrials()) == Route("ocr", "outlines", adds=True)


def test_a_hidden_layer_is_taken_if_it_reads_as_language_and_is_clean() -> None:
    scan = Signals(hidden=1500, image_coverage=1.0, hidden_layer=SOUND, hidden_noise_share=0.05)
    assert route(scan, FontTrials()) == Route("ocr_layer", "hidden")
    assert route(replace(scan, hidden_layer=SCRAMBLED), FontTrials()) == Route("ocr", "hidden_implausible")
    assert route(replace(scan, hidden_noise_share=0.3), FontTrials()) == Route("ocr", "hidden_implausible")


def test_letters_of_no_language_are_put_to_a_witness_once_for_each_font() -> None:
    trials = FontTrials()
    cipher = replace(PROSE, fonts={"Cipher": SCRAMBLED, "Times": SOUND})
    assert route(cipher, trials) == Route("doubt", "implausible")
    trials.cleared.add("Cipher")
    assert route(cipher, trials) == Route("text", "sound")


def test_a_condemned_font_sends_every_page_to_ocr_that_does_not_speak_for_itself() -> None:
    trials = FontTrials()
    trials.condemned.add("Cipher")
    assert route(replace(PROSE, fonts={"Cipher": SCRAMBLED}), trials) == Route("ocr", "implausible")
    assert route(replace(PROSE, fonts={"Cipher": UNSURE}), trials) == Route("ocr", "implausible")
    assert route(replace(PROSE, fonts={"Cipher": SOUND}), trials) == Route("text", "sound")
