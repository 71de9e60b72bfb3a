"""Pictures of pages and of their halves, and the texts of halves made one."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.pdf.vision.pictures import StoredPictures, UndrawnPageError, halves_of, is_blank, stitched
from tests.stages.pdf.vision.pages import HEIGHT, TOP, WIDTH, WORDS, picture


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize(
    ("rotation", "size", "top"),
    [
        (0, (WIDTH, HEIGHT), (WIDTH // 2, 0)),
        (90, (HEIGHT, WIDTH), (HEIGHT - 1, WIDTH // 2)),
        (180, (WIDTH, HEIGHT), (WIDTH // 2, HEIGHT - 1)),
        (270, (HEIGHT, WIDTH), (0, WIDTH // 2)),
    ],
)
def test_pages_are_turned_clockwise(rotation: int, size: tuple[int, int], top: tuple[int, int]) -> None:
    turned = opened(StoredPictures("p").render({"p": picture(1)}, 1288, rotation))
    assert (turned.size, turned.getpixel(top)) == (size, TOP)


def test_larger_pictures_shrink_and_smaller_ones_stay() -> None:
    assert opened(StoredPictures("p").render({"p": picture(1)}, 140, 0)).size == (100, 140)
    assert opened(StoredPictures("p").render({"p": picture(1)}, 9000, 0)).size == (WIDTH, HEIGHT)


def test_a_row_without_a_picture_says_so() -> None:
    with pytest.raises(UndrawnPageError, match=r"pdf\.picture"):
        StoredPictures("pdf.picture").render({"pdf.picture": None}, 100, 0)


def test_halves_overlap_and_cover_the_page() -> None:
    upper, lower = map(opened, halves_of(picture(1)))
    assert upper.size == lower.size == (WIDTH, 154)
    assert upper.tobytes() == opened(picture(1)).crop((0, 0, WIDTH, 154)).tobytes()
    assert lower.tobytes() == opened(picture(1)).crop((0, HEIGHT - 154, WIDTH, HEIGHT)).tobytes()


def test_paper_and_specks_are_blank_and_a_line_of_print_is_not() -> None:
    upper, lower = halves_of(picture(1, lower_half_is_blank=True))
    assert not is_blank(upper)
    assert is_blank(lower)
    specks = Image.new("L", (1288, 1288), 255)
    for n in range(400):
        specks.putpixel((n * 997 % 1288, n * 463 % 1288), 0)
    content = io.BytesIO()
    specks.save(content, "PNG")
    assert is_blank(content.getvalue())


@pytest.mark.parametrize(
    ("upper", "lower", "whole"),
    [
        ("a b c d e f", "c d e f g h", "a b c d e f g h"),
        ("a\n\nb c d e f", "c d e f\n\ng", "a\n\nb c d e f\n\ng"),
        ("a b c d e f g~", "~b c d e f g h", "a b c d e f g h"),  # cut lines at both edges
        ("a b c", "x y z", "a b c\n\nx y z"),
        ("", "x y z", "x y z"),
        ("a b c", "", "a b c"),
        ("", "", ""),
    ],
)
def test_common_words_of_two_halves_count_once(upper: str, lower: str, whole: str) -> None:
    assert stitched(upper, lower) == whole


def test_words_that_come_again_far_from_the_edges_are_no_overlap() -> None:
    filler = " ".join(f"w{n}" for n in range(60))
    upper, lower = f"once upon a time {filler}", f"{filler[::-1]} once upon a time there"
    assert stitched(upper, lower) == f"{upper}\n\n{lower}"


@given(words=st.lists(st.sampled_from([f"w{n}" for n in range(500)]), min_size=30, max_size=300, unique=True))
def test_halves_with_a_common_part_give_the_page(words: list[str]) -> None:
    middle = len(words) // 2
    upper, lower = " ".join(words[: middle + 5]), " ".join(words[middle - 5 :])
    assert stitched(upper, lower) == " ".join(words)


@given(upper=st.text(max_size=80), lower=st.text(max_size=80))
def test_no_word_of_unlike_halves_is_lost(upper: str, lower: str) -> None:
    together = stitched(upper, "xylophone " + lower)
    assert len(together.split()) >= len(lower.split())


def test_a_page_in_two_halves_reads_as_one() -> None:
    words = WORDS.split()
    assert stitched(" ".join(words[:55]), " ".join(words[45:])) == WORDS
