"""The text layer of a page: where its text stands, and that it says what a reader sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reportlab.lib.colors import Color, black, white
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from stages.pdf.characters import characters_of
from stages.pdf.fonts import OT1, T1, decode
from stages.pdf.page import Fragment
from stages.pdf.reading import opened
from stages.pdf.text_layer import LINE_END_HYPHEN, fragments_of, normalised, text_layer, unseen
from tests.stages.pdf.routing_files import VERA, _told_as, font

Draw = Callable[[Canvas], None]


def drawn(folder: Path, draw: Draw, size: tuple[float, float] = (400, 300)) -> list[Fragment]:
    """The fragments of a page that was drawn so."""
    path = folder / "page.pdf"
    canvas = Canvas(str(path), pagesize=size, invariant=True)
    canvas.setFont("Helvetica", 12)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    with opened(path) as document:
        return fragments_of(document[0])


def texts(fragments: list[Fragment]) -> list[str]:
    return [fragment.text.rstrip() for fragment in fragments]


def test_a_line_is_one_fragment_with_its_place_size_and_font(tmp_path: Path) -> None:
    (line,) = drawn(tmp_path, lambda canvas: canvas.drawString(50, 200, "Plain words in a line"))
    assert line.text == "Plain words in a line"
    assert (line.font, line.is_bold, line.size) == ("Helvetica", False, 12)
    assert line.left == pytest.approx(50, abs=1.5)
    assert line.top < 100 < line.bottom  # the baseline is 200 points above the foot of 300
    assert line.bottom - line.top == pytest.approx(12, abs=2)


def test_a_new_font_a_raised_letter_and_a_wide_gap_begin_fragments(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        text = canvas.beginText(50, 200)
        text.setFont("Helvetica", 12)
        text.textOut("energy is mc")
        text.setRise(5)
        text.setFont("Helvetica", 8)
        text.textOut("2")
        text.setRise(0)
        text.setFont("Helvetica-Bold", 12)
        text.textOut(" bold")
        canvas.drawText(text)
        canvas.drawString(300, 200, "far")

    fragments = drawn(tmp_path, draw)
    assert texts(fragments) == ["energy is mc", "2", "bold", "far"]
    assert [fragment.is_bold for fragment in fragments] == [False, False, True, True]
    assert fragments[1].bottom < fragments[0].bottom - 3


def test_fragments_keep_the_order_of_the_file(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(50, 100, "written first, at the foot")
        canvas.drawString(50, 200, "written second, at the head")

    assert texts(drawn(tmp_path, draw)) == ["written first, at the foot", "written second, at the head"]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_boxes_are_those_of_the_page_as_it_is_shown(tmp_path: Path, degrees: int) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(degrees)
        canvas.drawString(50, 200, "upper left")

    path = tmp_path / "turned.pdf"
    canvas = Canvas(str(path), pagesize=(300, 300), invariant=True)
    draw(canvas)
    canvas.save()
    with opened(path) as document:
        page = document[0]
        ink = np.argwhere(np.asarray(page.render(scale=1, grayscale=True).to_pil()) < 128)
        characters = characters_of(page)
        boxes = characters.boxes[characters.runs >= 0]
    top, left = ink.min(axis=0)
    bottom, right = ink.max(axis=0)
    assert boxes[:, 0].min() == pytest.approx(left, abs=2)
    assert boxes[:, 1].min() == pytest.approx(top, abs=2)
    assert boxes[:, 2].max() == pytest.approx(right, abs=2)
    assert boxes[:, 3].max() == pytest.approx(bottom, abs=2)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_text_that_is_turned_reads_as_if_it_were_upright(tmp_path: Path, degrees: int) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.translate(150, 150)
        canvas.rotate(degrees)
        canvas.setFont("Helvetica", 12)
        canvas.drawString(-100, 20, "The first line of the text,")
        canvas.drawString(-100, 0, "and below it the second.")

    first, second = sorted(drawn(tmp_path, draw, size=(300, 300)), key=lambda line: line.top)
    assert (first.text, second.text) == ("The first line of the text,", "and below it the second.")
    assert first.right - first.left > 5 * (first.bottom - first.top)
    assert first.bottom <= second.top + 5
    assert first.left == pytest.approx(second.left, abs=2)


def test_words_of_text_that_is_upside_down_come_in_their_order(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.translate(300, 150)
        canvas.rotate(180)
        canvas.setFont("Helvetica", 12)
        for place, word in enumerate(("each", "word", "by", "itself")):
            canvas.drawString(40 * place, 20, word)

    assert texts(drawn(tmp_path, draw)) == ["each", "word", "by", "itself"]


def test_the_note_at_the_margin_that_runs_upwards_is_a_fragment_of_its_own(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        for row in range(8):
            canvas.drawString(80, 250 - 15 * row, "upright text of the page in eight lines")
        canvas.rotate(90)
        canvas.drawString(60, -30, "stamp at the margin")

    stamp = drawn(tmp_path, draw)[-1]
    assert stamp.text == "stamp at the margin"
    assert stamp.bottom - stamp.top > 5 * (stamp.right - stamp.left)


def test_what_is_outside_of_the_crop_box_is_left_out(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setCropBox((0, 100, 400, 300))
        canvas.drawString(50, 200, "within")
        canvas.drawString(50, 50, "outside")

    (within,) = drawn(tmp_path, draw)
    assert within.text == "within"
    assert within.top < 100 < within.bottom


def picture_over(canvas: Canvas) -> None:
    canvas.drawImage(ImageReader(Image.new("L", (40, 40), 200)), 0, 0, 400, 300)


def test_invisible_tiny_white_clipped_and_covered_text_is_left_out(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(50, 20, "covered by a picture that is painted later")
        picture_over(canvas)
        canvas.setFillColor(black)
        canvas.drawString(50, 250, "visible")
        invisible = canvas.beginText(50, 200)
        invisible.setTextRenderMode(3)
        invisible.textOut("invisible")
        canvas.drawText(invisible)
        canvas.setFont("Helvetica", 1)
        canvas.drawString(50, 180, "tiny")
        canvas.setFont("Helvetica", 12)
        canvas.setFillColor(white)
        canvas.rect(50, 140, 200, 30, fill=1, stroke=0)
        canvas.drawString(60, 150, "white on white")
        canvas.setFillColor(black)
        clip = canvas.beginPath()
        clip.rect(0, 0, 10, 10)
        canvas.clipPath(clip, stroke=0)
        canvas.drawString(50, 100, "clipped away")

    assert texts(drawn(tmp_path, draw)) == ["visible"]


def test_white_text_on_a_dark_ground_is_kept(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFillColor(Color(0.1, 0.1, 0.4))
        canvas.rect(0, 0, 400, 300, fill=1)
        canvas.setFillColor(white)
        canvas.drawString(50, 200, "white on blue")

    assert texts(drawn(tmp_path, draw)) == ["white on blue"]


def test_text_below_a_transparent_picture_is_kept(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(50, 200, "a stamp has been set upon this")
        canvas.drawImage(ImageReader(Image.new("RGBA", (40, 40), (255, 0, 0, 60))), 0, 0, 400, 300, mask="auto")

    assert texts(drawn(tmp_path, draw)) == ["a stamp has been set upon this"]


def test_a_page_looks_the_same_after_its_text_was_held_to_its_picture(tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    canvas = Canvas(str(path), pagesize=(400, 300))
    canvas.rect(0, 0, 400, 300, fill=1)
    canvas.setFillColor(white)
    canvas.drawString(50, 200, "white on black")
    canvas.save()
    with opened(path) as document:
        page = document[0]
        before = page.render().to_numpy().copy()
        assert not unseen(page, characters_of(page)).any()
        assert (page.render().to_numpy() == before).all()


def test_of_a_picture_within_a_form_only_what_its_clip_path_leaves_covers_the_page(tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    canvas = Canvas(str(path), pagesize=(400, 400))
    canvas.beginForm("whole")
    canvas.drawImage(ImageReader(Image.new("L", (40, 40), 200)), 0, 0, 400, 400)
    canvas.endForm()
    clip = canvas.beginPath()
    clip.rect(0, 0, 100, 100)
    canvas.clipPath(clip, stroke=0)
    canvas.doForm("whole")
    canvas.save()
    with opened(path) as document:
        assert characters_of(document[0]).image_coverage == pytest.approx(1 / 16, abs=0.02)


def told(folder: Path, text: str, remap: Callable[[int], int]) -> list[Fragment]:
    """A page on which a font draws this text and tells other characters."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont(font(f"Told{abs(hash(text))}", VERA / "Vera.ttf"), 12)
        canvas.drawString(50, 200, text)

    with _told_as(remap):
        return drawn(folder, draw)


def test_ligatures_become_letters(tmp_path: Path) -> None:
    (line,) = told(tmp_path, "e#ective", lambda code: 0xFB00 if code == ord("#") else code)
    assert line.text == "effective"


def test_what_is_smaller_in_size_only_keeps_its_meaning() -> None:
    assert normalised("10\u00b2 \u2082 \u00bd \u2460 \uff01") == "10\u00b2 \u2082 \u00bd \u2460 \uff01"
    assert normalised("\ufefb\u2f00") == "\u0644\u0627\u4e00"  # Arabic and Han letters behind their shapes


def test_soft_hyphens_go_and_odd_spaces_become_spaces(tmp_path: Path) -> None:
    (line,) = told(tmp_path, "soft~ly#spoken", lambda code: {ord("~"): 0xAD, ord("#"): 0x2003}.get(code, code))
    assert line.text == "softly spoken"


def test_a_hyphen_at_the_end_of_a_line_is_one_mark(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(50, 200, "a word of many sylla-")
        canvas.drawString(50, 185, "bles is broken")

    first, second = drawn(tmp_path, draw)
    assert first.text == f"a word of many sylla{LINE_END_HYPHEN}"
    assert second.text == "bles is broken"


def test_an_accent_that_is_set_on_a_letter_becomes_one_letter_with_it(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(50, 200, "na")
        left = 50 + canvas.stringWidth("na")
        canvas.drawString(left - 0.3, 200, "\u00a8")  # as TeX sets it
        canvas.drawString(left, 200, "ive")

    assert "".join(texts(drawn(tmp_path, draw))) == "na\u00efve"


def test_letterspaced_headings_are_closed_up_and_keep_their_words(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        left = 50.0
        for letter in "TABLE OF CONTENTS":
            canvas.drawString(left, 200, letter)
            left += canvas.stringWidth(letter) + 3

    assert texts(drawn(tmp_path, draw)) == ["TABLE OF CONTENTS"]


def test_a_list_of_letters_stays_one(tmp_path: Path) -> None:
    assert texts(drawn(tmp_path, lambda canvas: canvas.drawString(50, 200, "A B C D E F G"))) == ["A B C D E F G"]


def test_signs_of_symbol_fonts_in_the_private_use_area_are_told(tmp_path: Path) -> None:
    pi_and_bullet = np.array([0xF070, 0xF0B7], np.uint32)
    path = tmp_path / "symbol.pdf"
    canvas = Canvas(str(path))
    canvas.setFont("Symbol", 12)
    canvas.drawString(50, 700, "\u03c0")
    canvas.save()
    with opened(path) as document:
        page = document[0]
        address = characters_of(page).fonts[0]
        decode(pi_and_bullet, np.zeros(2, np.uint8), np.array([address, address]))
    assert "".join(map(chr, pi_and_bullet)) == "\u03c0\u2022"


def test_the_tables_of_tex_have_the_ligatures_where_its_fonts_have_them() -> None:
    assert (OT1[0x0C - 11], OT1[0x0E - 11], OT1[0x1A - 11]) == ("\ufb01", "\ufb03", "\u00e6")
    assert (T1[0x1C - 12], T1[0x10 - 12], T1[0x15 - 12]) == ("\ufb01", "\u201c", "\u2013")


def test_a_page_without_text_has_no_fragments(tmp_path: Path) -> None:
    assert drawn(tmp_path, lambda canvas: canvas.rect(10, 10, 50, 50)) == []


@given(
    st.lists(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12), min_size=1, max_size=6
    )
)
def test_every_visible_character_is_in_a_fragment(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    written = " ".join(words)
    fragments = drawn(tmp_path_factory.mktemp("page"), lambda canvas: canvas.drawString(20, 100, written), (900, 200))
    # a hyphen between letters may be taken for one at a line's end, an accent be set on its neighbour
    said = "".join(fragment.text for fragment in fragments).replace(LINE_END_HYPHEN, "-")
    assert said.replace(" ", "") == written.replace(" ", "")


def test_no_visible_character_of_real_pages_is_lost(shared_data: Path) -> None:
    for name in ("docling/2305.03393v1-pg9.pdf", "olmocr/lots_of_sci_tables.pdf", "pdfjs/issue13211.pdf"):
        with opened(shared_data / "pdf" / name) as document:
            page = document[0]
            characters = characters_of(page)
            layer = text_layer(characters, unseen(page, characters))
            text_page = page.get_textpage()
            raw = text_page.get_text_range()
            letters = sorted(letter for letter in raw if letter.isascii() and letter.isalnum())
            ours = sorted(letter for f in layer.fragments for letter in f.text if letter.isascii() and letter.isalnum())
            text_page.close()
        assert ours == letters, name


def test_the_sizes_of_a_real_bitmap_font_are_those_of_its_glyphs(shared_data: Path) -> None:
    with opened(shared_data / "pdf/olmocr/large_prompt_hint3.pdf") as document:
        sizes = [fragment.size for fragment in fragments_of(document[1])]
    assert 7 < float(np.median(sizes)) < 13  # the file says 0.12
