"""What gives an answer away: a loop, or a model that speaks for itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.models.loops import longest_run, loop
from stages.models.refusals import is_refusal
from tests.stages.pdf.vision.pages import WORDS

SENTENCE = "The members of the council agreed to begin the work in spring. "


@pytest.mark.parametrize(
    "text",
    [
        WORDS + " the wall" * 20,
        WORDS + " and" * 30,
        SENTENCE * 6,
        "\n".join([WORDS, *[SENTENCE] * 6]),
        "\n\n".join(f"{n}. The wall of pier {n} is cracked" for n in range(1, 30)),  # it counts on
        "\n\n".join(f"{n}. The wall of pier {n} is cracked" for n in range(1, 12)),
        "\n".join(f"{SENTENCE}\nLine {chr(97 + n)} differs." for n in range(20)),  # others stand between
        WORDS + "." * 400,
        WORDS + " - = " * 400,
        "壁に亀裂が" * 10,
        WORDS + " " + "ha" * 200,
        "\n".join(["one two", "three four five"] * 20),
    ],
)
def test_a_loop_is_found(text: str) -> None:
    assert " times: " in loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word",
        WORDS,
        SENTENCE * 3,
        "Contents\n" + "\n".join(f"Chapter {n} {'. ' * 60} {n * 7}" for n in range(12)),
        "\n".join(f"Figure {n} {'.' * 60} {n * 7}" for n in range(40)),
        "\n".join(f"{n} {n * n} {n * 3} {n + 5} {n} {n} {n}" for n in range(40)),
        "\n".join("Name: " + "_" * 120 for _ in range(6)),
        " ".join(str(n) for n in range(1900, 2100)),  # numbers are alike once they count as equal, and no loop
        "\n".join(["| | | |"] * 100),
        "<table>" + "<tr><td>0</td><td>0</td></tr>\n" * 200 + "</table>",
        "no, no, no, no! " * 3,
    ],
)
def test_a_sound_page_is_none(text: str) -> None:
    assert loop(text) == ""


@given(st.text(alphabet="ab .\n|<td>", max_size=300))
def test_any_text_has_a_loop_or_none(text: str) -> None:
    assert isinstance(loop(text), str)


@given(passage=st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=40), copies=st.integers(20, 30))
def test_twenty_copies_of_any_passage_are_a_loop(passage: list[str], copies: int) -> None:
    assert loop(WORDS + "\n" + " ".join(passage * copies)) or not any(map(str.isalpha, "".join(passage)))


def test_long_answers_are_looked_at_whole() -> None:
    assert not loop(" ".join(f"{n % 977}x{n % 131}" for n in range(100_000)))
    assert loop("ab" * 500_000)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, I cannot read this image.",
        "I am unable to view images.",
        "Sorry, the image is too blurry.",
        "Unfortunately, I cannot make out any text.",
        "**I cannot** transcribe this page.",
        "As an AI language model, I do not see pictures.",
        "I don't see any text in this image.",
    ],
)
def test_a_model_that_speaks_for_itself_declines(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text", ["", WORDS, "I came, I saw.", "Sorry seems to be the hardest word", "I am sorry to say " + WORDS * 2]
)
def test_a_page_may_begin_likewise(text: str) -> None:
    assert not is_refusal(text)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=60), st.integers(1, 8))
def test_the_longest_run_is_that_of_a_plain_search(codes: list[int], period: int) -> None:
    """As numpy finds it: between places where a sign differs from the one a period before it."""
    period = min(period, len(codes) - 1)
    signs = np.array(codes)
    edges = np.concatenate(([-1], np.flatnonzero(signs[period:] != signs[:-period]), [len(codes) - period]))
    lengths = np.diff(edges) - 1
    start, length = longest_run(signs, period)
    assert length == lengths.max()
    if length:
        assert start == edges[lengths.argmax()] + 1
