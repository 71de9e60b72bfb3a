"""The reading of UTF-8 in kernels is that of Python's strings."""

import sys
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from stages.text import utf8
from tests.stages.text.nasty import texts


def array(data):
    return np.frombuffer(data if isinstance(data, bytes) else data.encode(), np.uint8)


def characters():
    """All up to the last that is white space or ends a line, and every 97th above."""
    for c in (*range(0x3100), *range(0x3100, sys.maxunicode + 1, 97)):
        if not 0xD800 <= c <= 0xDFFF:
            yield chr(c)


def test_white_space_line_ends_and_characters_are_pythons():
    for character in characters():
        data = array(character)
        assert utf8.space_at(data, 0, len(data)) == (len(data) if character.isspace() else 0)
        assert utf8.break_at(data, 0, len(data)) == (len(data) if len((character + "x").splitlines()) > 1 else 0)
        assert utf8.code_point(data, 0, len(data)) == (ord(character), len(data))
        assert utf8.characters(data, 0, len(data)) == 1


TEXTS = pa.array(["skipped", "über", None, "", "x", "語"], pa.large_string())
READ = ["über", "", "", "x", "語"]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (TEXTS.slice(1), READ),
        (TEXTS.slice(3, 2), ["", "x"]),
        (TEXTS.cast(pa.string()).slice(1), READ),
        (TEXTS.dictionary_encode().slice(1), READ),
        (pa.chunked_array([TEXTS.slice(1, 2), TEXTS.slice(3)]), READ),
        (pa.chunked_array([TEXTS]).slice(4), ["x", "語"]),
        (pa.array([None, None]), ["", ""]),
        (TEXTS.slice(0, 0), []),
        (TEXTS.slice(6), []),
        (pa.array([], pa.string()), []),
        (pa.chunked_array([], pa.large_string()), []),
        # Arrow allows no offsets where there is no text
        (pa.Array.from_buffers(pa.large_string(), 0, [None, pa.py_buffer(b""), pa.py_buffer(b"")]), []),
    ],
)
def test_the_bytes_of_any_column_of_strings_are_those_of_its_texts(column, expected):
    data, offsets = utf8.bytes_and_offsets(column)
    assert [data[start:end].tobytes().decode() for start, end in pairwise(offsets)] == expected
    assert data.dtype == np.uint8
    assert offsets.dtype == np.int64
    assert len(offsets) == len(expected) + 1
    assert not data.flags.writeable
    assert not offsets.flags.writeable


def test_bytes_of_large_strings_are_not_copied():
    column = pa.array(["some", "texts"], pa.large_string())
    assert utf8.bytes_and_offsets(column)[0].ctypes.data == column.buffers()[2].address


def test_what_lies_under_a_null_is_not_read():
    hidden = pa.Array.from_buffers(
        pa.large_string(), 2, [pa.py_buffer(b"\x02"), *pa.array(["ab", "c"], pa.large_string()).buffers()[1:]]
    )
    offsets = utf8.bytes_and_offsets(hidden)[1]
    assert hidden.to_pylist() == [None, "c"]
    assert np.diff(offsets).tolist() == [0, 1]


@given(texts())
def test_strip_is_pythons(text):
    data = array(text)
    start = utf8.skip_space(data, 0, len(data))
    assert data[start:].tobytes().decode() == text.lstrip()
    assert data[: utf8.strip_end(data, 0, len(data))].tobytes().decode() == text.rstrip()


@given(texts())
def test_line_ends_are_found_wherever_they_are(text):
    data = array(text)
    found, at = [], 0
    while at < len(data):
        end = utf8.find_break(data, at, len(data))
        found.append(data[at:end].tobytes().decode())
        at = end + utf8.break_at(data, end, len(data)) if end < len(data) else end
    assert found == text.splitlines()


@given(texts())
def test_newlines_are_found_wherever_they_are(text):
    data = array(text)
    assert utf8.find_newline(data, 0, len(data)) == (data.tobytes().find(b"\n") if "\n" in text else len(data))
    assert utf8.count_byte(data, 0, len(data), utf8.NEWLINE) == text.count("\n")


def test_bytes_that_are_no_text_are_not_read_past_their_end():
    for data in (b"\xc2", b"\xe2", b"\xe2\x80", b"\xf0\x9f\x98", b"\xff" * 9, b"\x80\x80", b"a\xe3\x80"):
        found = array(data)
        for at in range(len(data)):
            assert 0 <= utf8.space_at(found, at, len(found)) <= len(found) - at
            assert 0 <= utf8.break_at(found, at, len(found)) <= len(found) - at
            character, length = utf8.code_point(found, at, len(found))
            assert 0 <= character <= sys.maxunicode
            assert 1 <= length <= len(found) - at
        assert 0 <= utf8.strip_end(found, 0, len(found)) <= len(found)


def test_duplicates_are_counted_in_segments_and_characters():
    data = array("über|x|über||x|über|")
    bounds = [0, *(i + 1 for i, byte in enumerate(data) if byte == ord("|"))]
    starts, ends = np.array(bounds[:-1]), np.array(bounds[1:]) - 1
    slots, hashes = np.empty(1 << utf8.table_bits(6), np.int32), np.empty(6, np.uint64)
    assert utf8.duplicates(data, starts, ends, 6, hashes, slots) == (3, 4 + 1 + 4)
