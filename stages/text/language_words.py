"""Compiled: the words of a text, and the rows of a fastText model's input matrix that each stands for.

fastText spends its time on hashing every character n-gram of every word. Words repeat, so the rows of short ones are
kept in a cache, and a document costs one look-up a word.

What is imitated, all of https://github.com/facebookresearch/fastText: ``Dictionary::readWord`` and ``getLine`` (words
end at space, tab, line feed, vertical tab, form feed, carriage return and NUL, nowhere else; a line is never cut when
predicting; the word ``</s>`` ends it; its end counts as that word) and ``computeSubwords``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.fasttext_model import Vocabulary
from stages.text.instructions import eight_bytes, ones, trailing_zeros
from stages.text.words_borrowed import borrowed, inlined

Integer: TypeAlias = Any  # of kernels: a Python number to start with, then numpy's, of the width that fastText uses

END_OF_LINE = np.frombuffer(b"</s>", np.uint8)
LABEL_PREFIX = np.frombuffer(b"__label__", np.uint8)

CACHED_BYTES = 64  # longer words hardly repeat (links, unspaced scripts): their rows are computed each time
FEW_ROWS = 8
SLOTS = 1 << 19
MAX_CACHED_WORDS = SLOTS // 2
MAX_CACHED_ROWS = 4 << 20
STARTS = 128  # characters whose n-grams are hashed at a time: those of a cached word, its brackets too, and more
SHORT = 16

NOT_A_WORD = -1  # in place of a number of rows: a label, which fastText leaves out

_FNV_BASIS, _FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)  # Dictionary::hash, with the byte taken as signed
_SIGN = np.uint32(0xFFFFFF00)  # of a byte from 128 on
_BYTE = np.uint32(0xFF)

# Of the cache's keys, odd and without pattern (digits of pi and of the golden ratio). Of 260,000 words any two have the
# same 64 bits once in 5 * 10**8 times.
_KEY_BASIS, _KEY_FACTOR = np.uint64(0x243F6A8885A308D3), np.uint64(0x9E3779B97F4A7C15)
_MASKS = np.array([2 ** (8 * size) - 1 for size in range(9)], np.uint64)
_THIRTY_THREES, _HIGH_BITS = np.uint64(0x2121212121212121), np.uint64(0x8080808080808080)


def _key(word: bytes) -> np.uint64:
    """As ``extended_key``, of a word of up to eight bytes."""
    key = (int(_KEY_BASIS) ^ int.from_bytes(word, "little")) * int(_KEY_FACTOR) % 2**64
    return np.uint64(key ^ key >> 32)


_END_OF_LINE_KEY = _key(END_OF_LINE.tobytes())


class WordCache(NamedTuple):
    """Rows by word, of all documents so far; starts anew when it is full. Not for two threads at once."""

    slots: NDArray[np.uint64]  # (SLOTS, 2): 64-bit hash of a word and where its record starts, 0: empty
    records: NDArray[np.int32]  # number of rows, fastText's hash of the word, rows
    used: NDArray[np.int64]  # (2,): words, and the end of the last record


class Ngrams(NamedTuple):
    """Working memory for the character n-grams of a word."""

    characters: NDArray[np.uint32]  # (STARTS + longest,): the UTF-8 bytes of each, the first lowest
    hashes: NDArray[np.uint32]  # (STARTS,): of the n-gram that starts at each
    buckets: NDArray[np.uint32]  # (STARTS,): of those n-grams
    found: NDArray[np.int32]  # (longest + 1, STARTS): row by length and start, -1: pruned
    rows: NDArray[np.int32]  # (1 + STARTS * longest,)
    division: NDArray[np.uint64]  # (2,): inverse and shift, to divide by the number of buckets


def word_cache() -> WordCache:
    """An empty cache. Takes up to 24 MB as it fills."""
    used = np.array([0, 1], np.int64)  # records start at 1, so that 0 can mean an empty slot
    return WordCache(np.zeros((SLOTS, 2), np.uint64), np.zeros(MAX_CACHED_ROWS, np.int32), used)


def ngrams(vocabulary: Vocabulary) -> Ngrams:
    """Working memory for a vocabulary."""
    longest, shift = vocabulary.longest, 31 + vocabulary.buckets.bit_length()
    return Ngrams(
        characters=np.zeros(STARTS + longest, np.uint32),
        hashes=np.zeros(STARTS, np.uint32),
        buckets=np.zeros(STARTS, np.uint32),
        found=np.zeros((longest + 1, STARTS), np.int32),
        rows=np.zeros(1 + STARTS * longest, np.int32),
        division=np.array([2**shift // max(vocabulary.buckets, 1), shift], np.uint64),
    )


# Words


@kernel
def scan_words(
    data: NDArray[np.uint8],
    position: Integer,
    end: Integer,
    keys: NDArray[np.uint64],
    firsts: NDArray[np.int64],
    lasts: NDArray[np.int64],
) -> tuple[Integer, Integer, bool]:
    """Find the next words of a text, as many as ``keys`` takes, and the key of each.

    Returns:
        How many, the position to go on from, and whether the text is over: its last word is then the end of line.
    """
    for count in range(len(keys)):
        while position < end and is_space(data[position]):
            position += 1
        first, key = position, _KEY_BASIS
        while position < end:
            bytes_ = eight_bytes(data, position) if position + 8 <= len(data) else last_bytes(data, position)
            size = min(trailing_zeros(up_to_space(bytes_)) >> 3, end - position)
            if size > 0:
                key = extended_key(key, bytes_ & _MASKS[size])
                position += size
            if size < 8 and position < end:
                if is_space(data[position]):
                    break
                key = extended_key(key, np.uint64(data[position]))  # another control character
                position += 1
        firsts[count], lasts[count] = first, position
        if position == first:
            key = _END_OF_LINE_KEY
        keys[count] = key
        if key == _END_OF_LINE_KEY:
            return count + 1, position, True
    return len(keys), position, False


@kernel
def is_space(byte: Integer) -> bool:
    """Whether words end here: space, NUL, or one of tab, line feed, vertical tab, form feed, carriage return."""
    return bool(byte <= 32 and (byte == 32 or byte == 0 or 9 <= byte <= 13))


@kernel
def last_bytes(data: NDArray[np.uint8], position: Integer) -> np.uint64:
    """As ``eight_bytes``, with zeros for those behind the end of the data."""
    bytes_ = np.uint64(0)
    for i in range(len(data) - position):
        bytes_ |= np.uint64(data[position + i]) << np.uint64(8 * i)
    return bytes_


@kernel
def up_to_space(bytes_: np.uint64) -> np.uint64:
    """Eight bytes whose lowest bit set is in the first of the given bytes that is at most 32 (a space).

    By H. S. Warren, Hacker's Delight, section 6-1.
    """
    return (bytes_ - _THIRTY_THREES) & ~bytes_ & _HIGH_BITS


@kernel
def extended_key(key: np.uint64, bytes_: np.uint64) -> np.uint64:
    """Key of a word's bytes so far and up to eight more. One-to-one in both."""
    key = (key ^ bytes_) * _KEY_FACTOR
    return key ^ (key >> np.uint64(32))


@kernel
def learn_words(
    data: NDArray[np.uint8],
    done: Integer,
    keys: NDArray[np.uint64],
    firsts: NDArray[np.int64],
    lasts: NDArray[np.int64],
    vocabulary: Vocabulary,
    cache: WordCache,
    memory: Ngrams,
    found: NDArray[np.int64],
) -> Integer:
    """Write where the records of the words from ``done`` on start into ``found``; 0 for long words.

    Words that the cache does not know are put into it. Returns the first word that it has no room for, or their number.
    """
    slots, used, end_of_records = borrowed(cache.slots), borrowed(cache.used), len(cache.records)
    for i in range(done, len(keys)):
        key = keys[i]
        if lasts[i] - firsts[i] > CACHED_BYTES:
            found[i] = 0
            continue
        slot = np.int64(key & np.uint64(SLOTS - 1))
        while slots[slot, 1] != 0 and slots[slot, 0] != key:
            slot = (slot + 1) & (SLOTS - 1)
        record = np.int64(slots[slot, 1])
        if record == 0:
            record = used[1]
            if used[0] >= MAX_CACHED_WORDS or record + 2 + len(memory.rows) > end_of_records:
                return i
            word = END_OF_LINE if key == _END_OF_LINE_KEY else data[firsts[i] : lasts[i]]
            used[1] = write_record(word, key == _END_OF_LINE_KEY, vocabulary, memory, cache.records, record)
            used[0] += 1
            slots[slot, 0], slots[slot, 1] = key, np.uint64(record)
        found[i] = record
    return len(keys)


@kernel
def empty_cache(cache: WordCache) -> None:
    cache.slots[:] = 0
    cache.used[0], cache.used[1] = 0, 1


@kernel
def write_record(
    word: NDArray[np.uint8],
    is_end_of_line: bool,
    vocabulary: Vocabulary,
    memory: Ngrams,
    records: NDArray[np.int32],
    record: Integer,
) -> Integer:
    """Write the record of a word that is cached; returns its end."""
    hash_, count = word_row(word, vocabulary, memory.rows)
    if count >= 0 and not is_end_of_line:
        count, _, _ = ngram_rows(word, -1, 0, vocabulary, memory, count)
    records[record], records[record + 1] = count, hash_
    for i in range(count):
        records[record + 2 + i] = memory.rows[i]
    return record + 2 + max(count, 0)


@kernel
def word_row(word: NDArray[np.uint8], vocabulary: Vocabulary, rows: NDArray[np.int32]) -> tuple[Integer, Integer]:
    """Put the row of the word as a whole, if there is one, into ``rows``.

    Returns:
        fastText's hash of the word (0 of a long one if nobody needs it), and 1, 0 or NOT_A_WORD.
    """
    hash_ = np.uint32(0)
    entry: Integer = -1
    if len(word) <= CACHED_BYTES or vocabulary.word_ngrams > 1 or vocabulary.longest_entry > CACHED_BYTES:
        hash_ = fasttext_hash(word)
        entry = find_entry(word, hash_, vocabulary)
    rows[0] = max(entry, 0)
    if is_label(word, entry, vocabulary):
        return np.int32(hash_), NOT_A_WORD
    return np.int32(hash_), 1 if entry >= 0 else 0


@kernel
def fasttext_hash(word: NDArray[np.uint8]) -> Integer:
    """As ``fasttext_model.fasttext_hash``."""
    value = _FNV_BASIS
    for byte in word:
        value = np.uint32((value ^ np.uint32(np.int8(byte))) * _FNV_PRIME)
    return value


@kernel
def find_entry(word: NDArray[np.uint8], hash_: Integer, vocabulary: Vocabulary) -> Integer:
    """Number of a word or label in the vocabulary, or -1."""
    table, ends, text = borrowed(vocabulary.table), borrowed(vocabulary.ends), borrowed(vocabulary.text)
    mask = len(table) - 1
    slot = np.int64(hash_) & mask
    while table[slot] >= 0:
        entry = np.int64(table[slot])
        start = ends[entry]
        if ends[entry + 1] - start == len(word):
            i = 0
            while i < len(word) and word[i] == text[start + i]:
                i += 1
            if i == len(word):
                return entry
        slot = (slot + 1) & mask
    return -1


@kernel
def is_label(word: NDArray[np.uint8], entry: Integer, vocabulary: Vocabulary) -> bool:
    """Whether fastText takes a word of the text for a label, and so leaves it out."""
    if entry >= 0:
        return bool(entry >= vocabulary.words)
    if len(word) < len(LABEL_PREFIX):
        return False
    i = 0
    while i < len(LABEL_PREFIX) and word[i] == LABEL_PREFIX[i]:
        i += 1
    return i == len(LABEL_PREFIX)


# Character n-grams of a word between brackets


@kernel
def ngram_rows(
    word: NDArray[np.uint8],
    position: Integer,
    filled: Integer,
    vocabulary: Vocabulary,
    memory: Ngrams,
    count: Integer,
) -> tuple[Integer, Integer, Integer]:
    """Append to ``memory.rows``, which holds ``count``, those of the n-grams that start at the next STARTS characters.

    Args:
        position: byte of the word to read on from; -1 to begin.
        filled: how many characters ``memory`` holds already, 0 to begin.

    Returns:
        How many rows there are now, and ``position`` and ``filled`` to go on with; 0 filled: the word is over.
    """
    characters, rows = borrowed(memory.characters), borrowed(memory.rows)
    longest = vocabulary.longest
    if longest == 0:
        return count, len(word), 0
    is_first = position < 0
    if is_first:
        characters[0] = 60  # <
        position, filled = 0, 1
    position, filled = read_characters(word, position, characters, filled)
    starts = min(filled, STARTS)
    if starts <= SHORT:  # constants, for which LLVM writes vector instructions without a rest
        find_rows(SHORT, vocabulary, memory)
    elif starts <= 2 * SHORT:
        find_rows(2 * SHORT, vocabulary, memory)
    elif starts <= 4 * SHORT:
        find_rows(4 * SHORT, vocabulary, memory)
    else:
        find_rows(STARTS, vocabulary, memory)
    found, shortest = borrowed(memory.found), vocabulary.shortest
    for size in range(2, longest + 1):
        found[size, max(filled - size + 1, 0) : starts] = -1  # over the word's end
    if shortest == 1 and is_first:
        found[1, 0] = -1  # no bracket alone
    if shortest == 1 and position > len(word) and starts == filled:
        found[1, filled - 1] = -1
    for start in range(starts):
        for size in range(shortest, longest + 1):
            row = found[np.uint64(size), np.uint64(start)]
            rows[np.uint64(count)] = row
            count += row >= 0
    for i in range(starts, filled):
        characters[i - starts] = characters[i]
    return count, position, filled - starts


@kernel
def read_characters(
    word: NDArray[np.uint8], position: Integer, characters: NDArray[np.uint32], filled: Integer
) -> tuple[Integer, Integer]:
    """Append the characters of a word and ``>`` to ``characters``, as many as it takes.

    Bytes that are not UTF-8 make up characters that fastText's need not equal.
    """
    size, room = len(word), len(characters)
    while position < size and filled < room:
        lead = word[position]
        width = min(1 + int(lead >= 0xC0) + int(lead >= 0xE0) + int(lead >= 0xF0), size - position)
        if width == 1:
            characters[filled] = lead
        else:
            bytes_ = eight_bytes(word, position) if position + 8 <= size else last_bytes(word, position)
            characters[filled] = np.uint32(bytes_ & _MASKS[width])
        filled += 1
        position += width
    if position == size and filled < room:
        characters[filled] = 62  # >
        filled += 1
        position += 1
    return position, filled


@inlined
def find_rows(starts: Integer, vocabulary: Vocabulary, memory: Ngrams) -> None:
    """Write the rows of all n-grams that start at the first ``starts`` characters into ``memory.found``.

    Characters of one to four bytes are hashed by the same steps, so that BLOCK of them go through vector instructions;
    up to BLOCK - 1 n-grams more than needed.
    """
    characters, hashes, found = borrowed(memory.characters), borrowed(memory.hashes), borrowed(memory.found)
    words, kept_bits, kept_before = vocabulary.words, borrowed(vocabulary.kept_bits), borrowed(vocabulary.kept_before)
    buckets, divisor = borrowed(memory.buckets), np.uint64(vocabulary.buckets)
    inverse, shift = memory.division[0], memory.division[1]
    hashes[:] = _FNV_BASIS
    for size in range(1, vocabulary.longest + 1):
        added, rows = characters[size - 1 :], found[size]
        if size < vocabulary.shortest:
            for i in range(starts):
                hashes[i] = extended_hash(hashes[i], added[i])
            continue
        for i in range(starts):
            hash_ = extended_hash(hashes[i], added[i])
            hashes[i] = hash_
            buckets[i] = np.uint32(remainder(hash_, divisor, inverse, shift))
        if len(kept_bits) == 0:
            for i in range(starts):
                rows[i] = words + np.int64(buckets[i])
        else:
            for i in range(starts):
                rows[i] = kept_row(np.uint64(buckets[i]), words, kept_bits, kept_before)


@kernel
def extended_hash(hash_: np.uint32, character: np.uint32) -> np.uint32:
    """fastText's hash of an n-gram with one more character, given its UTF-8 bytes, the first lowest."""
    lead = character & _BYTE
    one = np.uint32((hash_ ^ np.uint32(np.int8(lead))) * _FNV_PRIME)
    two = np.uint32((one ^ (_SIGN | (character >> np.uint32(8)) & _BYTE)) * _FNV_PRIME)
    three = np.uint32((two ^ (_SIGN | (character >> np.uint32(16)) & _BYTE)) * _FNV_PRIME)
    four = np.uint32((three ^ (_SIGN | character >> np.uint32(24))) * _FNV_PRIME)
    short = two if lead >= 0xC0 else one
    long = four if lead >= 0xF0 else three
    return long if lead >= 0xE0 else short


@kernel
def remainder(value: np.uint32, divisor: np.uint64, inverse: np.uint64, shift: np.uint64) -> np.uint64:
    """``value % divisor``, given ``inverse = 2**shift // divisor``: the quotient is at most one too small, if shift
    is 32 or more (H. S. Warren, Hacker's Delight, section 10-9)."""
    rest = np.uint64(value) - ((np.uint64(value) * inverse) >> shift) * divisor
    return rest - divisor if rest >= divisor else rest


@kernel
def kept_row(
    bucket: np.uint64, words: Integer, kept_bits: NDArray[np.uint64], kept_before: NDArray[np.int32]
) -> Integer:
    """Row of an n-gram's bucket, or -1 if it was pruned. The bits fit into a core's own cache; a table would not."""
    place = bucket & np.uint64(63)
    group = bucket >> np.uint64(6)
    bits = kept_bits[group]
    above = bits >> place
    row = words + np.int64(kept_before[group]) + ones(bits ^ (above << place))
    return row if above & np.uint64(1) else np.int64(-1)
