"""Passages cut out of a text."""

from hypothesis import given
from hypothesis import strategies as st

from stages.decontaminate.cutting import cut

TEXT = "one two three four five six seven eight nine ten"


def test_a_cut_takes_the_passage_its_margin_and_whole_words() -> None:
    start, end = TEXT.index("five"), TEXT.index("six") + 3
    assert cut(TEXT, [(start, end)], margin=0, min_piece_characters=1) == (
        "one two three four\n\nseven eight nine ten",
        1,
    )
    assert cut(TEXT, [(start, end)], margin=3, min_piece_characters=1) == ("one two three\n\neight nine ten", 1)


def test_cuts_that_touch_are_one() -> None:
    passages = [(TEXT.index("six"), TEXT.index("seven")), (TEXT.index("four"), TEXT.index("five"))]
    assert cut(TEXT, passages, 0, 1) == ("one two three\n\nfive\n\nseven eight nine ten", 2)
    assert cut(TEXT, passages, 4, 1) == ("one two\n\neight nine ten", 1)


def test_short_pieces_go() -> None:
    start, end = TEXT.index("two"), TEXT.index("three")
    assert cut(TEXT, [(start, end)], 0, 4) == ("three four five six seven eight nine ten", 1)
    assert cut(TEXT, [(0, len(TEXT))], 0, 1) == ("", 1)


def test_text_without_spaces_is_cut_at_the_margin() -> None:
    text = "我" * 1000
    left, _ = cut(text, [(500, 510)], 100, 1)
    assert 1000 - 210 - 2 * 50 <= len(left.replace("\n", "")) <= 790


@given(
    st.text("ab \n", max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4),
    st.integers(0, 5),
)
def test_no_character_of_a_passage_stays_and_nothing_is_added(text, pairs, margin) -> None:
    passages = [(min(a, b, len(text)), min(max(a, b), len(text))) for a, b in pairs]
    marked = list(text)
    for start, end in passages:
        marked[start:end] = "\x00" * (end - start)
    left, _ = cut("".join(marked), passages, margin, 1)
    assert "\x00" not in left
    assert len(left.replace("\n", "").replace(" ", "")) <= len(text)
