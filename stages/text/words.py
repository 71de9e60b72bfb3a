"""Words of a batch of texts, found once for all filters that count, compare or hash them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.text.chunk import ROWS
from stages.text.splitters import Splitter, splitter
from stages.text.utf8 import bytes_and_offsets, read_only
from stages.text.words_hash import hash_of
from stages.text.words_kernel import scan_texts
from stages.text.words_rules import Rules, english_rules

PUNCTUATION = np.uint8(1)  # bits of Words.flags
ALPHABETIC = np.uint8(2)
COLUMNS_AT_FIRST = 1024  # of the array for the characters of one chunk

_latest = threading.local()


@dataclass(frozen=True)
class Words:
    """Words of a batch of texts. English ones are as datatrove finds them: by spaCy's blank English tokenizer.

    One difference is on purpose: from the second text of a process on spaCy fails at the word IS_ALPHA, and datatrove
    then deletes it from the text; here it is a word as any other.
    """

    data: NDArray[np.uint8]  # UTF-8 bytes of the batch
    offsets: NDArray[np.int64]  # data[offsets[i]:offsets[i + 1]] are the bytes of text i; a null text is empty
    starts: NDArray[np.int64]  # first byte of each word in `data`
    ends: NDArray[np.int64]  # byte after its last
    lengths: NDArray[np.int32]  # characters
    hashes: NDArray[np.uint64]  # of the word's bytes, see words_hash.py: equal words have equal hashes
    flags: NDArray[
        np.uint8
    ]  # PUNCTUATION: all characters are in datatrove's PUNCTUATION_SET; ALPHABETIC: any isalpha()
    firsts: NDArray[np.int64]  # words[firsts[i]:firsts[i + 1]] are those of text i

    def of(self, text: int) -> list[str]:
        """Words of one text as strings (for evidence and tests: slow)."""
        words = range(self.firsts[text], self.firsts[text + 1])
        return [self.data[self.starts[w] : self.ends[w]].tobytes().decode() for w in words]


def scanned(batch: pa.Table, language: str = "en") -> tuple[pa.Table, Words]:
    """The words of a batch's texts, and the batch to hand on.

    The words of the latest batch are remembered by the memory that its text lies in, so the filters of a chain, which
    all get the same text, split it once. This costs nothing, where columns with the words would have to be copied.
    """
    texts = batch["text"]
    known: tuple[pa.ChunkedArray, str, Words] | None = getattr(_latest, "words", None)
    if known is None or known[1] != language or not _is_same_memory(known[0], texts):
        known = _latest.words = (texts, language, words_of(texts, language))
    return batch, known[2]


def words_of(texts: pa.Array | pa.ChunkedArray, language: str = "en") -> Words:
    """Split each text (large_string) into words. Null counts as empty.

    Time is linear in the bytes for English, also for megabytes without whitespace. Memory is about 30 bytes a word, and
    40 a character of the longest run without whitespace.

    Args:
        texts: the texts; other kinds of string are converted.
        language: see `stages.text.splitters.splitter`.

    Raises:
        InputError: the language has no splitter, or its package is not installed.
        StageError: the installed spaCy splits English by rules that the kernels do not know.
    """
    data, offsets = bytes_and_offsets(texts)
    if language == "en":
        return _english_words(english_rules(), data, offsets)
    return _split_words(splitter(language), data, offsets)


def warm_up() -> None:
    """Compile or load the kernels and the rules, so that the first batch is as fast as the others."""
    words_of(pa.array(["one word"], pa.large_string()))


def _english_words(rules: Rules, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Words:
    sizes = np.diff(offsets)
    firsts = np.zeros(len(offsets), np.int64)
    chunk = np.empty((ROWS, COLUMNS_AT_FIRST), np.int64)
    parts = []
    text, found = 0, 0
    while text < len(sizes):
        left = sizes[text:]
        columns = _columns(int(max(left.max(), left.sum() // 4 + 1024)))  # English has 5 bytes a word; else come again
        done, columns_needed = scan_texts(rules, data, offsets, text, chunk, firsts, *columns)
        parts.append([column[: firsts[done]] for column in columns])
        firsts[text : done + 1] += found
        text, found = done, int(firsts[done])
        if columns_needed:
            chunk = np.empty((ROWS, max(columns_needed, 2 * chunk.shape[1])), np.int64)
    if not parts:
        parts = [_columns(0)]
    starts, ends, lengths, hashes, flags = parts[0]
    if len(parts) > 1:
        starts, ends, lengths, hashes, flags = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Words(data, offsets, starts, ends, lengths, hashes, flags, firsts)


def _columns(words: int) -> list[NDArray[Any]]:
    """Room for starts, ends, lengths, hashes and flags."""
    return [np.empty(words, kind) for kind in (np.int64, np.int64, np.int32, np.uint64, np.uint8)]


def _split_words(split: Splitter, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Words:
    """Words by a splitter in Python. One that is not in the text as it is gets bytes of its own behind the texts."""
    found: list[tuple[int, int, str]] = []
    firsts = [0]
    altered = bytearray()
    for start, end in pairwise(offsets.tolist()):
        text = data[start:end].tobytes().decode()
        at, byte = 0, start
        for word in split.words(text):
            place = text.find(word, at)
            if place < 0:
                word_start = len(data) + len(altered)
                altered += word.encode()
                found.append((word_start, len(data) + len(altered), word))
                continue
            byte += len(text[at:place].encode())
            found.append((byte, byte + len(word.encode()), word))
            at, byte = place + len(word), found[-1][1]
        firsts.append(len(found))
    data = np.concatenate([data, np.frombuffer(bytes(altered), np.uint8)])
    punctuation = _punctuation()
    flags = [
        all(c in punctuation for c in word) * int(PUNCTUATION) + any(map(str.isalpha, word)) * int(ALPHABETIC)
        for _, _, word in found
    ]
    return Words(
        read_only(data),
        offsets,
        np.array([start for start, _, _ in found], np.int64),
        np.array([end for _, end, _ in found], np.int64),
        np.array([len(word) for _, _, word in found], np.int32),
        np.array([hash_of(data, start, end) for start, end, _ in found], np.uint64),
        np.array(flags, np.uint8),
        np.array(firsts, np.int64),
    )


def _is_same_memory(a: pa.ChunkedArray, b: pa.ChunkedArray) -> bool:
    return _memory(a) == _memory(b)


def _memory(texts: pa.ChunkedArray) -> list[tuple[int, ...]]:
    """Where the texts lie. Of arrays that are both alive, equal places mean equal texts: Arrow arrays do not change."""
    return [
        (chunk.offset, len(chunk), *((buffer.address if buffer else 0) for buffer in chunk.buffers()))
        for chunk in texts.chunks
    ]


@cache
def _punctuation() -> frozenset[str]:
    from datatrove.utils.text import PUNCTUATION_SET

    return frozenset(PUNCTUATION_SET)
