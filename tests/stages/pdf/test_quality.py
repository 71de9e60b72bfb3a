"""The quality of a PDF's text: what lowers it, and by how much."""

import random

import pytest

from stages.pdf.page import Lane, Page
from stages.pdf.quality import PdfQuality, PdfQualityConfig, dictionary_share, quality_of

PROSE = (
    "The temperature of the water was measured every morning before the sun rose over the hills, and the results were "
    "written into a table which the students later compared with those of the previous year. "
) * 3
GERMAN = (
    "Die Temperatur des Wassers wurde jeden Morgen gemessen, bevor die Sonne über den Hügeln aufging, und die "
    "Ergebnisse wurden in eine Tabelle geschrieben, die später mit denen des Vorjahres verglichen wurde. "
) * 3


def shifted(text: str) -> str:
    """Each letter replaced by the one three places on, as by a font without a sound character map."""
    return "".join(chr((ord(c) - 97 + 3) % 26 + 97) if "a" <= c <= "z" else c for c in text)


def misread(text: str, share: float) -> str:
    """This share of the letters replaced by others."""
    chance = random.Random(1)
    return "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") if chance.random() < share else c for c in text)


def page(lane: Lane = "text", confidence: float | None = None, garbage: int = 0, characters: int = 1000) -> Page:
    return Page(0, lane, confidence=confidence, garbage=garbage, characters=characters)


@pytest.mark.parametrize("text", [PROSE, GERMAN])
def test_a_dictionary_of_its_language_knows_the_words_of_sound_text(text: str) -> None:
    share = dictionary_share(text)
    assert share is not None
    assert share > 0.95


def test_a_shifted_alphabet_has_no_known_words() -> None:
    share = dictionary_share(shifted(PROSE))
    assert share is not None
    assert share < 0.3


def test_misread_letters_lower_the_share_of_known_words() -> None:
    sound, slightly, badly = (dictionary_share(misread(PROSE, share)) or 0.0 for share in (0, 0.03, 0.2))
    assert sound > slightly > badly


def test_names_that_no_dictionary_has_do_not_count_against_a_text() -> None:
    assert dictionary_share(PROSE + "Xyqqz Wzplk Qrvvt " * 10) == dictionary_share(PROSE)


@pytest.mark.parametrize("text", ["", "Only a few words.", "水温每天早上测量。" * 30])
def test_nothing_is_said_of_few_words_or_without_a_dictionary(text: str) -> None:
    assert dictionary_share(text) is None


def test_a_sound_text_layer_has_the_highest_quality() -> None:
    measured = quality_of([page(), page()], PROSE)
    assert measured["pdf.quality"] == 1.0
    assert measured["pdf.garbage_share"] == 0.0
    assert measured["pdf.ocr_confidence"] is None


def test_quality_falls_with_garbage_with_uncertain_ocr_and_with_pages_that_were_not_read() -> None:
    assert quality_of([page(garbage=100)], PROSE)["pdf.quality"] == pytest.approx(0.9)
    assert quality_of([page("ocr", 0.8)], PROSE)["pdf.quality"] == pytest.approx(0.8)
    assert quality_of([page(), page("failed", characters=0)], PROSE)["pdf.quality"] == pytest.approx(0.5)


def test_confidence_is_averaged_by_character_over_the_pages_read_by_ocr() -> None:
    pages = [page("ocr", 0.9, characters=300), page("ocr", 0.5, characters=100), page("text", characters=10_000)]
    assert quality_of(pages, PROSE)["pdf.ocr_confidence"] == pytest.approx(0.8)


def test_a_filter_drops_by_what_was_measured() -> None:
    import pyarrow as pa

    rows = [quality_of([page()], PROSE), quality_of([page("ocr", 0.4)], PROSE)]
    batch = pa.Table.from_pylist([{"id": str(i), "source": "papers", "text": PROSE, **r} for i, r in enumerate(rows)])
    outcome = PdfQuality(PdfQualityConfig()).process(batch)
    assert outcome.kept["id"].to_pylist() == ["0"]
    (gone,) = outcome.removed
    assert (gone.reason, gone.evidence) == ("low_quality", "0.4 quality < 0.5")
