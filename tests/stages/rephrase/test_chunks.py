"""Long documents: where they are cut, and how the answers about their passages are put together."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rephrase.chunks import chunks_of, separators_of, stitched
from stages.rephrase.tokens import TokenCounter
from tests.real_texts import real_texts

estimate = TokenCounter().count


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def cut(text: str, most: int, count=words) -> list[str]:
    return [chunk.text for chunk in chunks_of(text, count, most)]


texts = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["\n\n", "\n", ". ", "。", "# Head\n\n", "- point\n", "```\n", "<table>", "</table>"]),
        st.sampled_from(["| a |\n", "👩‍🔬", "e\u0301", " "]),
    ),
    max_size=60,
).map("".join)


@given(texts, st.integers(1, 80), st.floats(0, 0.9))
def test_no_character_is_lost_or_changed_and_no_chunk_is_too_long(text: str, most: int, share: float) -> None:
    overlap = int(share * most)
    chunks = chunks_of(text, characters, most, overlap)
    assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text
    for before, chunk in pairwise(chunks):
        assert before.start <= chunk.overlap_start <= chunk.start == before.end
        assert chunk.start - chunk.overlap_start <= overlap
    for chunk in chunks:
        assert chunk.text == text[chunk.overlap_start : chunk.end]
        assert chunk.tokens == len(chunk.text) <= most


@given(texts, st.integers(4, 60))
def test_a_count_that_is_not_a_sum_holds_too(text: str, most: int) -> None:
    """Tokenizers may count more for a whole than for its parts, or fewer."""

    def odd(parts: Sequence[str]) -> list[int]:
        return [len(part) + len(part) // 10 - (len(part) > 20) for part in parts]

    chunks = chunks_of(text, odd, most)
    assert "".join(chunk.text for chunk in chunks) == text
    assert [chunk.tokens for chunk in chunks] == odd([chunk.text for chunk in chunks])
    assert all(chunk.tokens <= most for chunk in chunks)


def test_a_whole_that_counts_more_than_its_parts_is_cut_again() -> None:
    def squares(parts: Sequence[str]) -> list[int]:
        return [len(part) ** 2 // 10 for part in parts]

    assert max(squares(cut("a b. C d. " * 9, 40, squares))) <= 40


def test_a_short_document_is_one_chunk_and_an_empty_one_none() -> None:
    assert cut("one two\n\nthree", 3) == ["one two\n\nthree"]
    assert cut("", 3) == []


def test_cuts_are_between_paragraphs_first() -> None:
    text = "one two\nthree\n\nfour five\n\n\nsix seven eight"
    assert cut(text, 5) == ["one two\nthree\n\nfour five\n\n\n", "six seven eight"]


def test_then_between_lines_sentences_words_and_characters() -> None:
    assert cut("a b. c d\ne f. g h\n", 4) == ["a b. c d\n", "e f. g h\n"]
    assert cut("A b c. D e f. G h.", 3) == ["A b c. ", "D e f. ", "G h."]
    assert cut("a b c d e f g h", 4) == ["a b c d ", "e f g h"]
    assert cut("abcdefgh", 4, characters) == ["abcd", "efgh"]


def test_sentences_of_scripts_without_blanks() -> None:
    text = "東京は首都です。人口は多い。京都は古都の一つです。"
    assert cut(text, 14, characters) == ["東京は首都です。人口は多い。", "京都は古都の一つです。"]


@pytest.mark.parametrize(
    ("sentence", "until_point"),
    [
        ("Dr. Smith met her there.", 1),
        ("J. R. Tolkien met her.", 2),
        ("See Fig. 3 and four.", 2),
        ("Nimm z.B. Mehl und Brot.", 2),
        ("It rose. but then fell.", 2),
    ],
)
def test_a_point_within_a_sentence_ends_none(sentence: str, until_point: int) -> None:
    before = "word " * (4 - 2 * until_point) + "end. "  # so that a cut at the point would make equal chunks
    assert cut(before + sentence, 5) == [before, sentence]


def test_signs_of_one_character_stay_together() -> None:
    family = "👨‍👩‍👧‍👦"
    assert cut(family * 4, 2 * len(family), characters) == [family * 2, family * 2]
    assert cut(family * 3, 2 * len(family) + 3, characters) == [family * 2, family]
    assert "".join(cut(family * 3, 2, characters)) == family * 3
    assert max(map(len, cut(family * 3, 2, characters))) <= 2


def test_a_character_of_too_many_tokens_is_a_chunk_of_its_own() -> None:
    assert cut("ab", 1, lambda parts: [3 * len(part) for part in parts]) == ["a", "b"]


@pytest.mark.parametrize(
    "block",
    [
        "```\ncode one\n\ncode two\n```\n",
        "- one point\n\n- two points\n",
        "The points are:\n\n- one\n- two\n",
        "<table>\n<tr>\n\n<td>x</td></tr>\n</table>\n",
        "| a | b |\n| c | d |\n",
        "# A heading\n\nits text\n",
        "1. first\n\n2. second\n",
    ],
)
def test_what_belongs_together_is_not_cut_where_it_fits(block: str) -> None:
    size = len(block.split())
    text = f"{'word ' * (size - 2)}\n\n{block}\n{'more ' * size}\n"
    assert any(block in chunk for chunk in cut(text, size + 1))


def test_a_heading_goes_with_what_follows_it() -> None:
    assert cut("one two\n\n# Head\n\nthree four five six", 6) == ["one two\n\n", "# Head\n\nthree four five six"]


def test_a_block_of_code_that_does_not_fit_is_cut_between_lines() -> None:
    code = "```\n" + "".join(f"x{i} = {i}\n" for i in range(20)) + "```\n"
    chunks = cut(code, 25)
    assert "".join(chunks) == code
    assert all(chunk.endswith("\n") for chunk in chunks)


def test_chunks_are_of_about_equal_size() -> None:
    assert words(cut("\n\n".join(["one two three"] * 7), 18)) == [12, 9]
    assert words(cut("word " * 1000, 300)) == [250] * 4


def test_an_overlap_is_whole_sentences_of_the_chunk_before() -> None:
    chunks = chunks_of("One two three. Four five. Six.\n\nSeven eight nine ten. Eleven.", words, 9, overlap_tokens=3)
    assert [chunk.text for chunk in chunks] == [
        "One two three. Four five. Six.\n\n",
        "Four five. Six.\n\nSeven eight nine ten. Eleven.",
    ]
    assert chunks[1].overlap_start < chunks[1].start == chunks[0].end


def test_a_sentence_that_is_over_the_overlap_is_not_repeated() -> None:
    chunks = chunks_of("One two three. Four five. Six.\n\nSeven eight nine ten. Eleven.", words, 9, overlap_tokens=2)
    assert chunks[1].text == "Six.\n\nSeven eight nine ten. Eleven."


def test_an_overlap_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="an overlap of 5 tokens leaves no room in chunks of 5"):
        chunks_of("text", words, 5, 5)


def test_real_documents_fill_their_chunks(shared_data: Path) -> None:
    filled = []
    for number, document in enumerate(real_texts(shared_data)):
        if number % 60:
            continue
        chunks = chunks_of(document.text, estimate, 480)
        counts = estimate([chunk.text for chunk in chunks])
        assert "".join(chunk.text for chunk in chunks) == document.text
        assert max(counts) <= 480
        if len(chunks) > 1:
            filled.append(sum(counts) / len(counts) / 480)
    assert sum(filled) / len(filled) > 0.7
    assert min(filled) > 0.45


# Putting together


@given(st.lists(st.text(alphabet="ab \n", min_size=1), min_size=1))
def test_parts_stand_in_order_with_their_separators(parts: list[str]) -> None:
    whole = stitched(parts, ["|"] * (len(parts) - 1))
    assert whole == "|".join(part.strip() for part in parts if part.strip())


@given(texts.filter(str.strip), st.integers(1, 40))
def test_copies_of_chunks_make_the_text_again_but_for_white_space(text: str, most: int) -> None:
    chunks = chunks_of(text, characters, most)
    again = stitched([chunk.text for chunk in chunks], separators_of(text, chunks))
    assert again.split() == text.split() or "".join(again.split()) == "".join(text.split())


def test_separators_are_those_of_the_document() -> None:
    text = "a b.\n\nc d.\ne f. G h\n"
    chunks = chunks_of(text, words, 2)
    assert separators_of(text, chunks) == ["\n\n", "\n", " "]
    assert separators_of("人人生而自由", chunks_of("人人生而自由", characters, 3)) == [""]


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (
            ["A. Two three four five six seven.", "Two three four five six seven. B."],
            "A. Two three four five six seven. B.",
        ),
        (
            ["A. Two three four five, six seven", "two Three four — five six seven. B."],
            "A. Two three four five, six seven B.",
        ),
        (["One two three.", "Two three. Four."], "One two three. Two three. Four."),
        (["東京は日本の首都です。", "日本の首都です。人口は多い。"], "東京は日本の首都です。 人口は多い。"),
        (["One two three four five six.", "Something else."], "One two three four five six. Something else."),
    ],
)
def test_what_two_answers_about_overlapping_chunks_share_is_told_once(parts: list[str], whole: str) -> None:
    assert stitched(parts, [" "], had_overlap=True) == whole


def test_without_an_overlap_repeated_words_stay() -> None:
    refrain = "and the mill went round and round"
    assert stitched([refrain, refrain], ["\n"]) == f"{refrain}\n{refrain}"


@given(st.lists(st.sampled_from("abcdefghij"), min_size=12, max_size=60), st.integers(6, 10))
def test_copies_of_overlapping_chunks_tell_everything(letters: list[str], overlap: int) -> None:
    """Each word of the text is there, in order; at a repetition in the text itself, one may be told once."""
    numbered = [f"{letter}{i}" for i, letter in enumerate(letters)]
    middle = len(numbered) // 2
    one, two = " ".join(numbered[:middle]), " ".join(numbered[max(0, middle - overlap) :])
    shared = middle - max(0, middle - overlap)
    expected = numbered if shared >= 6 else numbered[:middle] + numbered[max(0, middle - overlap) :]
    assert stitched([one, two], [" "], had_overlap=True).split() == expected
