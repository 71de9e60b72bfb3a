"""The compiled scan finds what its regular expressions say."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from stages.privacy.scan import Candidate, Kind, candidates, reference_candidates
from tests.stages.privacy.examples import EXAMPLES

ALL = frozenset(Kind)
PIECES = [
    "1",
    "22",
    "256.",
    ".",
    ":",
    "::",
    "@",
    "-----BEGIN ",
    "B",
    "AB12",
    " ",
    "-",
    "/",
    "\n",
    "é",
    "\u00a0",
    "\u2013",
]
PIECES += ["字", "abc", "Xy9", "AKIA", "f", "_", "+", "(", ")", "[", "sk-", "=", "\U0001f600"]
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


def scanned(texts: list[str], wanted: frozenset[Kind] = ALL) -> list[list[Candidate]]:
    found: list[list[Candidate]] = [[] for _ in texts]
    for row, places in candidates(pa.array(texts, pa.large_string()), wanted):
        found[row] = sorted(places)
    return found


@given(st.lists(st.one_of(texts, st.text()), min_size=1, max_size=4))
def test_the_kernel_finds_what_the_regular_expressions_find(batch: list[str]) -> None:
    assert scanned(batch) == [reference_candidates(text) for text in batch]


def test_the_kernel_agrees_on_every_example() -> None:
    batch = [text for examples in EXAMPLES.values() for text in examples]
    assert scanned(batch) == [reference_candidates(text) for text in batch]


def test_positions_are_characters() -> None:
    assert scanned(["é字@b"]) == [[Candidate(Kind.AT, 2, 3)]]


def test_only_wanted_kinds_are_returned() -> None:
    assert scanned(["a@b 1.2.3.4"], frozenset({Kind.DOTTED})) == [[Candidate(Kind.DOTTED, 4, 11)]]


def test_a_text_with_more_candidates_than_room_is_read_whole() -> None:
    assert len(scanned(["a@b " * 5000])[0]) == 5000


def test_a_slice_of_a_column_is_read_from_its_place() -> None:
    column = pa.array(["a@b", "prose", "xx@y"], pa.large_string()).slice(1)
    assert [(row, place.start) for row, places in candidates(column, ALL) for place in places] == [(1, 2)]


def test_prose_has_no_candidates() -> None:
    text = "In 1999, the well-known state-of-the-art (see 12.5 and page 1,024) cost $3.50; e.g. NATO: 5-10 times."
    assert scanned([text]) == [[]]


def test_a_run_of_sixteen_is_found_wherever_it_stands() -> None:
    batch = [f"{'x' * before}{' ' * gap}a1B2c3D4e5F6g7H8" for before in range(20) for gap in range(1, 36)]
    assert [len(places) for places in scanned(batch)] == [1] * len(batch)
