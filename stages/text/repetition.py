"""Gopher's measures of repetition, for a batch of texts at once.

What a measure is, is said by ``stages.text.reference.repetition``. Here no n-gram is made: words are compared by their
hashes (61 bits), and most n-grams are not looked at, because they cannot occur twice:

- an n-gram (words in order) occurs twice only where both (n-1)-grams in it do;
- the duplicate n-grams are compared without the spaces between words, so ``a nother`` equals ``an other`` and the
  words themselves need not occur twice. But the bytes from the first word on must: of two equal n-grams of 5 or more
  words, either both start with the same 16 bytes; or both are shorter than 16, so the first five words of each are,
  and both start with the same 8; or both are shorter than 8, so the first five words of each are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.utf8 import (
    NEWLINE,
    characters,
    duplicates,
    eight_bytes,
    find_newline,
    most_newlines,
    skip_space,
    spread,
    strip_end,
    table_bits,
)
from stages.text.words_hash import joined

TOP_N_GRAMS = (2, 3, 4)
DUPLICATE_N_GRAMS = (5, 6, 7, 8, 9, 10)
MEASURES = (
    "dup_para_frac",
    "dup_para_char_frac",
    "dup_line_frac",
    "dup_line_char_frac",
    *(f"top_{n}_gram" for n in TOP_N_GRAMS),
    *(f"dup_{n}_gram" for n in DUPLICATE_N_GRAMS),
)
WINDOW = 16
_COLUMNS = len(MEASURES)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_ZERO, _ONE, _FIVE = np.uint64(0), np.uint64(1), np.uint64(5)


@kernel
def _split_at_newlines(
    data: NDArray[np.uint8], start: int, end: int, least: int, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> int:
    r"""Write the segments between runs of ``least`` or more ``\n``; return how many there are (at least one)."""
    count, begin, at = 0, start, start
    while True:
        at = find_newline(data, at, end)
        if at == end:
            break
        run = at
        while run < end and data[run] == NEWLINE:
            run += 1
        if run - at >= least:
            starts[count], ends[count] = begin, at
            count += 1
            begin = run
        at = run
    starts[count], ends[count] = begin, end
    return count + 1


@kernel
def _top_n_gram(
    hashes: NDArray[np.uint64],
    first_word: int,
    n_grams: int,
    n: int,
    candidate: NDArray[np.bool_],
    entry: NDArray[np.int32],
    counts: NDArray[np.int32],
    firsts: NDArray[np.int32],
    keys: NDArray[np.uint64],
    slots: NDArray[np.int32],
) -> tuple[int, int]:
    """Times that the most frequent n-gram occurs, and where it is first; of equally frequent ones the first.

    Only n-grams at candidates can occur twice. On return, candidates are the (n+1)-grams that can.
    """
    candidates = 0
    for i in range(np.uint64(n_grams)):
        candidates += candidate[i]
    bits = table_bits(candidates)
    mask = np.uint64((1 << bits) - 1)
    keys[: 1 << bits] = 0
    entries, first = 0, np.uint64(first_word)
    for i in range(np.uint64(n_grams)):  # unsigned, as all positions here: see stages.text.utf8
        if not candidate[i]:
            continue
        key = hashes[first + i]
        for k in range(np.uint64(1), np.uint64(n)):
            key = key * _MIX + hashes[first + i + k]
        key = max(key, _ONE)  # 0 is a free slot
        slot = np.uint64(spread(key, bits))
        while keys[slot] and keys[slot] != key:
            slot = (slot + _ONE) & mask
        if keys[slot] == 0:
            keys[slot] = key
            slots[slot] = entries
            firsts[entries], counts[entries] = i, 0
            entries += 1
        entry[i] = slots[slot]
        counts[np.uint64(slots[slot])] += 1
    most, where = 1, 0
    for other in range(entries):  # in order of first occurrence
        if counts[other] > most:
            most, where = counts[other], firsts[other]
    for i in range(np.uint64(n_grams)):
        candidate[i] = candidate[i] and counts[np.uint64(entry[i])] > 1
    for i in range(np.uint64(n_grams - 1)):
        candidate[i] &= candidate[i + _ONE]
    return most, where


@kernel
def _windows(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    first_word: int,
    words: int,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    at: NDArray[np.int64],
) -> None:
    """The first 16 bytes of each word and those after it, as two numbers, and how many bytes of words are before it.

    What is between words does not count; after the last one there are zeros.
    """
    at[0] = 0
    for w in range(words):
        at[w + 1] = at[w] + ends[first_word + w] - starts[first_word + w]
    next_low, next_high = _ZERO, _ZERO
    for w in range(words - 1, -1, -1):
        start, length = starts[first_word + w], at[w + 1] - at[w]
        own_low, own_high = _ZERO, _ZERO
        if start + 8 <= len(data):
            own_low = eight_bytes(data, start)
            if length < 8:
                own_low &= (_ONE << np.uint64(8 * length)) - _ONE
        else:
            own_low = _bytes_as_number(data, start, min(8, length))
        if length < 8:
            shift = np.uint64(8 * length)
            own_low |= next_low << shift
            own_high = next_low >> (np.uint64(64) - shift) | next_high << shift
        elif length == 8:
            own_high = next_low
        elif length < 16:
            own_high = _bytes_as_number(data, start + 8, length - 8) | next_low << np.uint64(8 * (length - 8))
        else:
            own_high = eight_bytes(data, start + 8)
        low[w], high[w] = own_low, own_high
        next_low, next_high = own_low, own_high


@kernel
def _bytes_as_number(data: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """Up to eight bytes as a little-endian number."""
    if start + 8 <= len(data):
        eight = eight_bytes(data, start)
        return eight if length >= 8 else eight & ((_ONE << np.uint64(8 * length)) - _ONE)
    found = _ZERO
    for i in range(length - 1, -1, -1):
        found = found << np.uint64(8) | np.uint64(data[start + i])
    return found


@kernel
def _mark(
    words: int,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    at: NDArray[np.int64],
    marked: NDArray[np.bool_],
    slots: NDArray[np.int32],
) -> None:
    """Mark the words at which an n-gram of five or more words may start that occurs twice."""
    bits = table_bits(words)
    mask = np.uint64((1 << bits) - 1)
    marked[:words] = False
    slots[: 1 << bits] = 0
    short = 0
    for w in range(np.uint64(words - 4)):
        short += at[w + _FIVE] - at[w] < WINDOW
        slot = np.uint64(spread(low[w] * _MIX + high[w], bits))
        while slots[slot]:
            other = np.uint64(slots[slot] - 1)
            if low[other] == low[w] and high[other] == high[w]:
                marked[w] = marked[other] = True
                break
            slot = (slot + _ONE) & mask
        else:
            slots[slot] = np.int64(w) + 1
    if short < 2:
        return
    slots[: 1 << bits] = 0
    for w in range(np.uint64(words - 4)):
        length = at[w + _FIVE] - at[w]
        if length >= WINDOW:
            continue
        marked[w] |= length < 8  # but others may be equal to an n-gram from here on, so it is looked up all the same
        slot = np.uint64(spread(low[w] * _MIX, bits))
        while slots[slot]:
            other = np.uint64(slots[slot] - 1)
            if low[other] == low[w]:
                marked[w] = marked[other] = True
                break
            slot = (slot + _ONE) & mask
        else:
            slots[slot] = np.int64(w) + 1


@kernel
def _duplicate_n_grams(
    hashes: NDArray[np.uint64],
    lengths: NDArray[np.int32],
    first_word: int,
    words: int,
    at: NDArray[np.int64],
    spots: NDArray[np.int32],
    marked: int,
    running: NDArray[np.uint64],
    slots: NDArray[np.int32],
    repeated_characters: NDArray[np.int64],
) -> None:
    """Characters in n-grams that have occurred before, for n from 5 to 10; an n-gram that has is stepped over whole."""
    for s in range(marked):
        key = hashes[first_word + spots[s]]
        for w in range(spots[s] + 1, spots[s] + 4):
            key = joined(key, hashes[first_word + w], at[w + 1] - at[w])
        running[s] = key
    bits = table_bits(marked)
    mask = (1 << bits) - 1
    for n in range(5, 11):
        slots[: mask + 1] = 0
        repeated, next_word = 0, 0
        for s in range(marked):
            spot = spots[s]
            last = spot + n - 1
            if last >= words:
                break
            length = at[last + 1] - at[spot]
            key = joined(running[s], hashes[first_word + last], at[last + 1] - at[last])
            running[s] = key
            if spot < next_word:
                continue
            slot = spread(key, bits)
            while slots[slot]:
                other = slots[slot] - 1
                if running[other] == key and at[spots[other] + n] - at[spots[other]] == length:
                    for w in range(spot, spot + n):
                        repeated += lengths[first_word + w]
                    next_word = spot + n
                    break
                slot = (slot + 1) & mask
            else:
                slots[slot] = s + 1
        repeated_characters[n - 5] = repeated


@kernel
def repetition(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    lengths: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    firsts: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Characters of each text, and its ``MEASURES`` (n x 13; NaN: nothing to divide by, or too few words).

    The arguments are the arrays of ``stages.text.words.Words``.
    """
    rows = len(offsets) - 1
    size = np.zeros(rows, np.int64)
    measured = np.full((rows, _COLUMNS), np.nan)
    most_words = 0
    for row in range(rows):
        most_words = max(most_words, firsts[row + 1] - firsts[row])
    segments = most_newlines(data, offsets) + 1
    segment_starts, segment_ends = np.empty(segments, np.int64), np.empty(segments, np.int64)
    segment_hashes = np.empty(segments, np.uint64)
    slots = np.empty(1 << table_bits(max(segments, most_words)), np.int32)
    candidate, entry = np.empty(most_words + 1, np.bool_), np.empty(most_words + 1, np.int32)
    counts, first_at = np.empty(most_words + 1, np.int32), np.empty(most_words + 1, np.int32)
    low, high = np.empty(most_words, np.uint64), np.empty(most_words, np.uint64)
    at, keys = np.empty(most_words + 1, np.int64), np.empty(1 << table_bits(most_words), np.uint64)
    running, repeated = np.empty(most_words + 1, np.uint64), np.empty(6, np.int64)
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        if start == end:
            continue
        total = characters(data, start, end)
        size[row] = total

        stripped = skip_space(data, start, end)
        count = _split_at_newlines(data, stripped, strip_end(data, stripped, end), 2, segment_starts, segment_ends)
        elements, inside = duplicates(data, segment_starts, segment_ends, count, segment_hashes, slots)
        measured[row, 0], measured[row, 1] = elements / count, inside / total
        count = _split_at_newlines(data, start, end, 1, segment_starts, segment_ends)
        elements, inside = duplicates(data, segment_starts, segment_ends, count, segment_hashes, slots)
        measured[row, 2], measured[row, 3] = elements / count, inside / total

        first_word = firsts[row]
        words = firsts[row + 1] - first_word
        candidate[:words] = True
        for n in range(2, 5):
            n_grams = words - n + 1
            if n_grams < 1:
                break
            most, where = _top_n_gram(hashes, first_word, n_grams, n, candidate, entry, counts, first_at, keys, slots)
            length = n - 1
            for w in range(where, where + n):
                length += lengths[first_word + w]
            measured[row, 2 + n] = length * most / total

        repeated[:] = 0
        if words > 5:
            _windows(data, starts, ends, first_word, words, low, high, at)
            _mark(words, low, high, at, candidate, slots)
            marked = 0
            for w in range(words - 4):
                if candidate[w]:
                    entry[marked] = w
                    marked += 1
            if marked > 1:
                _duplicate_n_grams(hashes, lengths, first_word, words, at, entry, marked, running, slots, repeated)
        for n in range(6):
            measured[row, 7 + n] = repeated[n] / total
    return size, measured
