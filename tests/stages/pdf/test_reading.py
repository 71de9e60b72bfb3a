"""Pages as they are read: lanes, reasons, what is kept when OCR is off or says less."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from stages.pdf.page import Page
from stages.pdf.reading import OcrMode, ReadingOptions, UnreadablePdf, opened, pages_of
from tests.stages.pdf.routing_files import (
    VERA,
    SuiteFile,
    SuitePage,
    draw_lines,
    draw_picture,
    font,
    lines_of,
    picture,
    prose,
)

TEXT = prose(random.Random(1), "English", 120)
Draw = Callable[[Canvas], None]


def text_page(text: str = TEXT, name: str = "Times-Roman") -> Draw:
    return partial(draw_lines, lines=lines_of(text, 70), name=name, size=12)


def scan(text: str = TEXT) -> Draw:
    return partial(draw_picture, image=picture(text_page(text)))


def read(folder: Path, *draws: Draw, ocr: OcrMode = "auto", remap: Callable[[int], int] | None = None) -> list[Page]:
    """The pages of a document of which each is drawn so."""
    made = SuiteFile("document", [SuitePage("", draw, ()) for draw in draws], remap)
    return list(pages_of(made.write(folder), 0, None, ReadingOptions(ocr=ocr)))


def words_of(page: Page) -> set[str]:
    return set(page.text.replace("\x02", "").split())


def test_a_text_layer_is_taken_as_it_is(tmp_path: Path) -> None:
    (page,) = read(tmp_path, text_page())
    assert (page.lane, page.reason, page.hard, page.confidence) == ("text", "sound", "", None)
    assert words_of(page) == set(TEXT.split())
    assert page.characters == len(TEXT.replace(" ", ""))
    assert (round(page.width), round(page.height)) == (595, 842)


def test_a_scan_is_read_by_ocr(tmp_path: Path) -> None:
    (page,) = read(tmp_path, scan())
    assert (page.lane, page.reason) == ("ocr", "little_text")
    assert page.confidence is not None
    assert page.confidence > 0.92
    assert len(words_of(page) & set(TEXT.split())) > 0.8 * len(set(TEXT.split()))


def test_without_ocr_a_scan_stays_unread_and_a_text_layer_is_read(tmp_path: Path) -> None:
    pages = read(tmp_path, scan(), text_page(), ocr="off")
    assert [(page.lane, page.reason) for page in pages] == [("unread", "little_text"), ("text", "sound")]


def test_a_blank_page_is_blank_whatever_is_asked_for(tmp_path: Path) -> None:
    for ocr in ("auto", "off", "always"):
        (page,) = read(tmp_path, lambda canvas: None, ocr=ocr)
        assert (page.lane, page.text) == ("blank", "")


def test_ocr_of_all_pages_can_be_asked_for(tmp_path: Path) -> None:
    (page,) = read(tmp_path, text_page(TEXT[:200]), ocr="always")
    assert (page.lane, page.reason) == ("ocr", "asked")


def slide(canvas: Canvas, in_picture: str = "") -> None:
    """Little text above a picture."""

    def draw(ground: Canvas) -> None:
        ground.setFillGray(0.8)
        ground.circle(300, 400, 250, fill=1)
        ground.setFillGray(0)
        draw_lines(ground, [in_picture], size=24, left=150, top=400)

    draw_picture(canvas, picture(draw))
    draw_lines(canvas, lines_of(TEXT[:150], 40), size=20, top=780)


def test_a_sound_text_layer_stays_if_ocr_finds_nothing_elsewhere(tmp_path: Path) -> None:
    (page,) = read(tmp_path, slide)
    assert (page.lane, page.reason) == ("text", "ocr_says_no_more")
    assert words_of(page) == set(TEXT[:150].split())


def test_what_ocr_finds_in_a_picture_is_added_to_a_sound_text_layer(tmp_path: Path) -> None:
    (page,) = read(tmp_path, partial(slide, in_picture="written in the picture"))
    assert (page.lane, page.reason) == ("ocr", "pictures")
    assert words_of(page) == set(TEXT[:150].split()) | {"written", "in", "the", "picture"}


def test_a_hidden_layer_is_read_as_what_an_earlier_ocr_has_said(tmp_path: Path) -> None:
    def page_with_layer(canvas: Canvas) -> None:
        scan()(canvas)
        draw_lines(canvas, lines_of(TEXT, 70), size=12, mode=3)

    (page,) = read(tmp_path, page_with_layer)
    assert (page.lane, page.reason) == ("ocr_layer", "hidden")
    assert words_of(page) == set(TEXT.split())


def shifted(code: int) -> int:
    return code + 1 if chr(code).isalpha() and chr(code).lower() != "z" else code


def test_a_cipher_font_is_found_out_by_ocr_and_stays_condemned(tmp_path: Path) -> None:
    cipher = font("ReadCipher", VERA / "Vera.ttf")
    few = "measurement temperature significant government particular important"  # too few to be judged alone
    long, short = text_page(TEXT, cipher), text_page(few, cipher)
    first, second = read(tmp_path, long, short, remap=shifted)
    assert (first.lane, first.reason) == (second.lane, second.reason) == ("ocr", "implausible")
    assert len(words_of(first) & set(TEXT.split())) > 0.8 * len(set(TEXT.split()))


def test_a_cipher_font_without_ocr_leaves_the_page_unread(tmp_path: Path) -> None:
    (page,) = read(tmp_path, text_page(TEXT, font("ReadCipher2", VERA / "Vera.ttf")), remap=shifted, ocr="off")
    assert (page.lane, page.reason) == ("unread", "implausible")


def test_strange_words_are_kept_once_ocr_has_read_them_too(tmp_path: Path) -> None:
    rng = random.Random(2)
    codes = " ".join("".join(rng.choices("BCDFGHJKLMNPQRSTVWXZ", k=6)) for _ in range(90))
    first, second = read(tmp_path, text_page(codes), text_page(codes[:400]))
    assert (first.lane, first.reason) == ("text", "witnessed")
    assert second.lane == "text"


def test_a_range_of_pages_is_read_alone(tmp_path: Path) -> None:
    made = SuiteFile("many", [SuitePage("", text_page(f"Page {number} {TEXT}"), ()) for number in range(5)])
    path = made.write(tmp_path)
    whole = list(pages_of(path, 0, None, ReadingOptions()))
    assert [page.number for page in whole] == [0, 1, 2, 3, 4]
    assert list(pages_of(path, 2, 4, ReadingOptions())) == whole[2:4]
    assert list(pages_of(path, 4, 99, ReadingOptions())) == whole[4:]


def encrypted(folder: Path, password: str) -> Path:
    path = folder / "locked.pdf"
    canvas = Canvas(str(path), encrypt=StandardEncryption(password, ownerPassword="owner"))
    text_page()(canvas)
    canvas.save()
    return path


def test_an_empty_password_opens_a_file(tmp_path: Path) -> None:
    (page,) = pages_of(encrypted(tmp_path, ""), 0, None, ReadingOptions())
    assert words_of(page) == set(TEXT.split())


def test_a_password_keeps_it_shut(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePdf) as refused, opened(encrypted(tmp_path, "secret")):
        pass
    assert refused.value.reason == "encrypted"


def test_a_file_that_is_no_pdf_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "no.pdf"
    path.write_bytes(b"%PDF-1.7\nnothing follows")
    with pytest.raises(UnreadablePdf) as refused:
        list(pages_of(path, 0, None, ReadingOptions()))
    assert refused.value.reason == "unreadable"


def test_the_shifted_alphabet_of_a_real_paper_is_found_out(shared_data: Path) -> None:
    (page,) = pages_of(shared_data / "pdf/olmocr/olmo-page-1.pdf", 0, None, ReadingOptions())
    assert (page.lane, page.reason) == ("ocr", "implausible")
    assert "Accelerating the Science of Language Models" in page.text


def test_the_unmapped_letters_of_a_real_bitmap_font_are_taken(shared_data: Path) -> None:
    (page,) = pages_of(shared_data / "pdf/pdfjs/issue918.pdf", 0, None, ReadingOptions())
    assert (page.lane, page.reason) == ("text", "witnessed")
    assert "distancing the signifier" in " ".join(page.text.split())  # its fi is code 28 of TeX's second encoding


def test_a_page_too_thin_to_show_a_letter_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "thin.pdf"
    canvas = Canvas(str(path), pagesize=(200, 200), invariant=True)
    canvas.setCropBox((0, 100, 200, 100.0005))
    canvas.drawString(20, 100, "nobody sees this")
    canvas.showPage()
    canvas.save()
    (page,) = pages_of(path, 0, None, ReadingOptions(ocr="off"))
    assert (page.lane, page.reason) == ("failed", "page_size")


def test_a_range_of_pages_knows_fonts_from_the_pages_before_it(tmp_path: Path) -> None:
    cipher = font("ReadCipher3", VERA / "Vera.ttf")
    few = "measurement temperature significant government particular important"
    draws = [text_page(TEXT, cipher), *[text_page(few, cipher)] * 3]
    path = SuiteFile("document", [SuitePage("", draw, ()) for draw in draws], shifted).write(tmp_path)
    options = ReadingOptions(ocr="off")
    whole = list(pages_of(path, 0, None, options))
    assert [page.lane for page in whole] == ["unread"] * 4
    assert list(pages_of(path, 2, None, options, learns=True)) == whole[2:]
    assert [page.lane for page in pages_of(path, 2, None, options)] == ["text"] * 2, "pages that say too little"
