"""What a line is, which lines are the same, and what a text is without some of them: kernels against plain Python."""

import itertools
import re
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.dedup.lines.folding import folded
from stages.dedup.lines.kernels import LONG, count_words, cut_units, is_first_in_text, look_up, places_in, split_units
from stages.dedup.lines.options import LineCountsConfig
from stages.dedup.lines.tally import Tally
from stages.dedup.lines.units import Units, units_of
from stages.text.utf8 import bytes_and_offsets
from tests.stages.text.nasty import CHARACTERS, texts

LINES = LineCountsConfig()
PARAGRAPHS = LineCountsConfig(unit="paragraph")
EVERYTHING = LineCountsConfig.model_validate(
    {"per_domain": {"min_characters": 1}, "over_corpus": {"min_characters": 1}, "ignore_numbers": False}
)


def column(*batch: str | None) -> pa.Array:
    return pa.array(batch, pa.large_string())


def strings(units: Units) -> list[list[str]]:
    """The units of each text."""
    found = [units.data[a:b].tobytes().decode() for a, b in zip(units.starts, units.ends, strict=True)]
    return [found[a:b] for a, b in itertools.pairwise(units.firsts.tolist())]


def plain_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def plain_paragraphs(text: str) -> list[str]:
    """Runs of lines that are not blank, without the end of the last one."""
    runs = itertools.groupby(text.splitlines(keepends=True), key=lambda line: bool(line.strip()))
    joined = ["".join(lines) for is_run, lines in runs if is_run]
    return [run[: len(run) - len(last_line(run)) + len(last_line(run).splitlines()[0])] for run in joined]


def last_line(run: str) -> str:
    return run.splitlines(keepends=True)[-1]


def without(text: str, cut: set[int], paragraphs: bool) -> str:
    """The text without the units of these numbers, in plain Python."""
    units = plain_paragraphs(text) if paragraphs else plain_lines(text)
    gaps, rest = [], text
    for unit in units:
        gap, _, rest = rest.partition(unit)
        gaps.append(gap)
    gaps.append(rest)
    if not cut:
        return text
    kept = [i for i in range(len(units)) if i not in cut]
    out = gaps[0] if 0 in kept else ""
    for a, b in itertools.pairwise(kept):
        between = gaps[b]
        if b > a + 1:
            has_blank = any(len(gap.splitlines()) > 1 for gap in gaps[a + 1 : b + 1])
            between = "\n\n" if has_blank else "\n"
        out += units[a] + between
    if kept:
        out += units[kept[-1]] + (gaps[-1] if kept[-1] == len(units) - 1 else "")
    return out


@given(st.lists(texts(), max_size=5))
@example(["", "one\r\ntwo\rthree\x0bfour\u2028five\u2029six\x85seven", "\n\n", " \t\n\u3000\nx"])
def test_lines_are_those_of_splitlines_that_are_not_blank(batch: list[str]) -> None:
    assert strings(units_of(column(*batch), LINES)) == [plain_lines(text) for text in batch]


@given(st.lists(texts(), max_size=5))
@example(["a\nb\n\n\nc\r\n \r\nd", "\n\na"])
def test_paragraphs_are_runs_of_lines_between_blank_ones(batch: list[str]) -> None:
    assert strings(units_of(column(*batch), PARAGRAPHS)) == [plain_paragraphs(text) for text in batch]


def test_null_is_empty_and_a_slice_is_a_batch_of_its_own() -> None:
    batch = column("zero", "one\ntwo", None, "three").slice(1)
    assert strings(units_of(batch, LINES)) == [["one", "two"], [], ["three"]]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("12 Comments", "0comments"),
        ("Posted on 2024-05-01, 10:15", "postedon0"),
        ("Café — CAFE\u0301!", "cafecafe"),
        ("ﬁne ½ x²", "fine0x0"),
        ("下一篇：关于我们", "下一篇关于我们"),
        ("١٢٣ قرآن", "0قران"),
        ("שָׁלוֹם", "שלום"),
        ("★ ★ ★ — * * *", ""),
        ("soft\u00adhyphen\u200b", "softhyphen"),
    ],
)
def test_only_letters_count_and_numbers_are_all_alike(text: str, kept: str) -> None:
    assert folded(text, ignore_numbers=True) == kept


def test_numbers_can_be_told_apart() -> None:
    assert folded("Population: 12,345 (٣)", ignore_numbers=False) == "population123453"


@given(st.text(CHARACTERS, max_size=60))
def test_canonically_equal_texts_are_the_same(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, text), True) == folded(text, True)


near_each_other = st.lists(st.sampled_from(["a", "B", "é", "e\u0301", "1", "23", "٣", " ", ",", "中", "\ufdfa"])).map(
    "".join
)


@given(st.lists(st.text(CHARACTERS, min_size=1, max_size=40) | near_each_other, max_size=12), st.booleans())
def test_lines_have_one_hash_if_and_only_if_they_are_folded_alike(batch: list[str], ignore_numbers: bool) -> None:
    config = EVERYTHING.model_copy(update={"ignore_numbers": ignore_numbers})
    found: dict[str, int] = {}
    units = units_of(column(*batch), config)
    for line, hashed in zip(itertools.chain(*map(plain_lines, batch)), units.hashes.tolist(), strict=True):
        key = folded(line, ignore_numbers)
        assert found.setdefault(key, hashed) == hashed
        assert (hashed == 0) == (key == "")
    assert len(set(found.values())) == len(found)


def test_a_line_is_hashed_alike_however_long_what_is_passed_over_in_it_is() -> None:
    """Over the borders of what is folded at a time, with characters that become many."""
    words = "\ufdfa ".join(f"wörd{i}x" for i in range(4000))
    spaced = words.replace(" ", " , " * 700)
    a, b, c = units_of(column(words, spaced, words + "y"), LINES).hashes.tolist()
    assert a == b != c


def test_lengths_are_counted_in_letters_and_say_for_which_rule_a_line_counts() -> None:
    line = "a. b, c! d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n"
    batch = [line[:19], line[:17], line, line[:-1], "1234567890", "一二三四五六七八"]
    lengths = [len(folded(text, True)) for text in batch]
    assert lengths == [8, 7, 40, 39, 1, 8]
    hashes = units_of(column(*batch), LINES).hashes.tolist()
    assert [h != 0 for h in hashes] == [True, False, True, True, False, True]
    assert [h & int(LONG) for h in hashes] == [0, 0, 1, 0, 0, 0]


def test_bytes_that_are_no_utf8_are_read_to_their_end_and_no_further() -> None:
    bad = [b"a caf\xc3", b"\xe2\x80", b"\xff\xfe line of bytes\n\xf0\x9f\x98", b"x" * 30 + b"\xe2\x80\xa8" + b"y" * 30]
    offsets = np.cumsum([0, *map(len, bad)])
    array = pa.LargeStringArray.from_buffers(4, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(b"".join(bad)))
    units = units_of(array, EVERYTHING)
    assert np.diff(units.firsts).tolist() == [1, 1, 2, 2]
    alone = [units_of(array.slice(i, 1).take([0]), EVERYTHING).hashes.tolist() for i in range(4)]
    assert list(itertools.chain(*alone)) == units.hashes.tolist()


def test_a_line_of_ten_megabytes_is_a_line() -> None:
    units = units_of(column("word " * 2_000_000 + "\nend of the text"), LINES)
    assert len(units.hashes) == 2


@given(st.lists(st.lists(st.integers(0, 6), max_size=30), max_size=6))
def test_a_line_counts_once_in_a_text(batch: list[list[int]]) -> None:
    hashes = np.array([h << 40 for text in batch for h in text], np.uint64)
    firsts = np.cumsum([0, *map(len, batch)])
    found = is_first_in_text(hashes, firsts)
    assert found.tolist() == [h != 0 and h not in text[:i] for text in batch for i, h in enumerate(text)]


@given(st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1 << 60)), max_size=300), max_size=5))
def test_a_tally_is_a_counter_with_the_lowest_rank(batches: list[list[tuple[int, int]]]) -> None:
    tally = Tally()
    counts: Counter[int] = Counter()
    best: dict[int, int] = {}
    for batch in batches:
        tally.add(np.array([h << 30 for h, _ in batch], np.uint64), np.array([r for _, r in batch], np.uint64))
        for hashed, rank in batch:
            counts[hashed] += hashed > 0
            best[hashed] = min(rank, best.get(hashed, rank))
    documents, ranks = tally.look_up(np.arange(42, dtype=np.uint64) << np.uint64(30))
    assert documents.tolist() == [counts[h] for h in range(42)]
    assert ranks.tolist() == [best.get(h, 0) if h else 0 for h in range(42)]


def test_a_tally_grows() -> None:
    hashes = np.random.default_rng(1).integers(1, 1 << 63, 30_000).astype(np.uint64)
    tally = Tally()
    for batch in np.split(hashes, 10):
        tally.add(batch, batch)
    tally.add(hashes, hashes + np.uint64(1))
    documents, ranks = tally.look_up(hashes)
    assert set(documents.tolist()) == {2}
    assert (ranks == hashes).all()


@given(texts(), st.sets(st.integers(0, 12)), st.booleans())
@example("a\n\n\nb\n\nc\n", {1}, False)
@example("  a\nb\n", {0}, False)
@example("a\r\nb\r\nc", {1}, False)
@example("a\nb\n\nc\nd", {1, 2}, False)
@example("a\n\nb\n\nc\n\n", {0, 2}, True)
def test_cut_texts_keep_all_else_and_no_run_of_blank_lines(text: str, cut: set[int], paragraphs: bool) -> None:
    data, offsets = bytes_and_offsets(column("before\n", text, "behind"))
    starts, ends, firsts = split_units(data, offsets, paragraphs)
    is_cut = np.zeros(len(starts), np.bool_)
    is_cut[[firsts[1] + i for i in cut if firsts[1] + i < firsts[2]]] = True
    out, out_offsets = cut_units(data, offsets, starts, ends, firsts, is_cut)
    found = [out[a:b].tobytes().decode() for a, b in itertools.pairwise(out_offsets.tolist())]
    count = int(firsts[2] - firsts[1])
    assert found == ["before\n", without(text, {i for i in cut if i < count}, paragraphs), "behind"]


def test_units_are_looked_up_among_those_of_their_own_text() -> None:
    hashes, firsts = np.array([5, 3, 9, 5], np.uint64), np.array([0, 3, 4])
    wanted, wanted_firsts = np.array([3, 5, 9], np.uint64), np.array([0, 2, 3])
    assert places_in(hashes, firsts, wanted, wanted_firsts).tolist() == [1, 0, -1, -1]


def test_nothing_is_found_in_an_empty_table() -> None:
    empty = np.zeros(4, np.uint64)
    documents, _ = look_up(np.array([0, 7], np.uint64), empty, np.zeros(4, np.uint32), empty)
    assert documents.tolist() == [0, 0]


@given(texts())
@example("你好 世界 hello")
def test_words_are_what_white_space_divides_and_single_chinese_characters(text: str) -> None:
    counts = count_words(*bytes_and_offsets(column(text, "two words")))
    words = re.findall("[^\0- ]+", text)
    assert counts.tolist() == [len(words) + len(re.findall("[\u0e00-\u10bf\u1780-\u17ff\u3000-\u9fff]", text)), 2]


def test_scripts_without_spaces_are_counted_by_character():
    texts = ["สวัสดี", "ສະບາຍ", "မြန်", "ខ្មែរ", "नमस्ते दुनिया", "한국어 글", "ქართული"]
    counts = count_words(*bytes_and_offsets(pa.array(texts, pa.large_string()))).tolist()
    assert [count - 1 for count in counts] == [6, 5, 4, 5, 1, 1, 0]
