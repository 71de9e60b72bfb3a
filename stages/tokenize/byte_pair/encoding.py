"""The loop that turns the bytes of a batch of texts into ids."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.instructions import borrowed_arrays
from stages.text.utf8 import code_point
from stages.text.words_borrowed import borrowed, inlined
from stages.tokenize.byte_pair.cache import IN_SLOT_IDS, LONGEST_BYTES, Cache, find, key_of, remember
from stages.tokenize.byte_pair.classes import BLOCK_BITS, UNSTABLE, Classes
from stages.tokenize.byte_pair.merging import Merges, merge
from stages.tokenize.byte_pair.splitting import pre_token_end

_ONE, _TWO, _THREE, _HALF = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(32)
SPARE_IDS = IN_SLOT_IDS
"""What `encode_texts` may write behind the last id: the three of a slot are written whether or not there are three."""


class Rules(NamedTuple):
    """All that decides which ids a text gets."""

    split: int  # GPT2, CL100K or O200K
    most_digits: int  # of a pre-token; 0: any number
    classes: Classes
    merges: Merges
    whole: Cache  # pre-tokens that are never merged, with their ids; one of no use is empty
    has_whole: bool


@kernel
def encode_texts(
    rules: Rules,
    cache: Cache,
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    ids: NDArray[Any],
    ends: NDArray[np.int64],
) -> int:
    """Write the ids of each text and where they end; returns the number of ids.

    ``ids`` has room for one id a byte and SPARE_IDS more.
    """
    rules, cache = borrowed_arrays(rules), borrowed_arrays(cache)
    data, offsets, ids, ends = borrowed(data), borrowed(offsets), borrowed(ids), borrowed(ends)
    symbols, ranks = np.empty(2 * LONGEST_BYTES, np.uint32), np.empty(2 * LONGEST_BYTES, np.uint32)
    written = 0
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        while at < end:
            stop = pre_token_end(rules.split, rules.most_digits, rules.classes, data, at, end)
            length = stop - at
            if length > LONGEST_BYTES:
                written = _write_long(rules, data, at, length, ids, written)
                at = stop
                continue
            first, second = key_of(data, at, length)
            slot, is_known = find(cache, data, at, length, first, second)
            if is_known:
                written = _write_known(cache, slot, ids, written)
            else:
                count = _symbols(rules, data, at, length, first, second, symbols, ranks)
                for i in range(count):
                    ids[written + i] = symbols[i]
                written += count
                remember(cache, slot, data, at, length, first, second, symbols, count)
            at = stop
        ends[text] = written
    return written


@inlined
def _write_known(cache: Cache, slot: np.uint64, ids: NDArray[Any], written: int) -> int:
    """Three ids are written at once and counted after: faster than to look first how many there are."""
    two, three = cache.slots[slot + _TWO], cache.slots[slot + _THREE]
    count = int(np.uint32(two))
    if count <= IN_SLOT_IDS:
        ids[written] = np.uint32(two >> _HALF)
        ids[written + 1] = np.uint32(three)
        ids[written + 2] = np.uint32(three >> _HALF)
    else:
        place = int(np.int64(two >> _HALF))
        for i in range(count):
            ids[written + i] = cache.more_ids[place + i]
    return written + count


@kernel
def _symbols(
    rules: Rules,
    data: NDArray[np.uint8],
    start: int,
    length: int,
    first: np.uint64,
    second: np.uint64,
    symbols: NDArray[np.uint32],
    ranks: NDArray[np.uint32],
) -> int:
    if rules.has_whole:
        slot, is_known = find(rules.whole, data, start, length, first, second)
        if is_known:
            symbols[0] = np.uint32(rules.whole.slots[slot + _TWO] >> _HALF)
            return 1
    return merge(rules.merges, data, start, length, symbols, ranks)


@kernel
def _write_long(rules: Rules, data: NDArray[np.uint8], start: int, length: int, ids: NDArray[Any], written: int) -> int:
    symbols, ranks = np.empty(length, np.uint32), np.empty(length, np.uint32)
    first, second = key_of(data, start, length)
    count = _symbols(rules, data, start, length, first, second, symbols, ranks)
    for i in range(count):
        ids[written + i] = symbols[i]
    return written + count


@kernel
def keep_whole(whole: Cache, data: NDArray[np.uint8], offsets: NDArray[np.int64], ids: NDArray[np.uint32]) -> bool:
    """Give each text one id. False: the table is too small for them."""
    for text in range(len(ids)):
        start, length = offsets[text], offsets[text + 1] - offsets[text]
        first, second = key_of(data, start, length)
        slot, is_known = find(whole, data, start, length, first, second)
        if is_known or slot >= np.uint64(len(whole.slots)):
            return False
        remember(whole, slot, data, start, length, first, second, ids[text : text + 1], 1)
    return bool(whole.used[0] == len(ids))


@kernel
def unstable_texts(
    classes: Classes, data: NDArray[np.uint8], offsets: NDArray[np.int64], unstable: NDArray[np.bool_]
) -> int:
    """Mark the texts that may change when they are normalised to NFC; returns their number."""
    classes, data, offsets = borrowed_arrays(classes), borrowed(data), borrowed(offsets)
    count = 0
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        unstable[text] = False
        while at < end:
            if data[at] < 0xCC:  # below U+0300 there are no marks, and nothing composes or changes
                at += 1
                continue
            code, length = code_point(data, at, end)
            if classes.bits[int(classes.blocks[code >> BLOCK_BITS]) << BLOCK_BITS | code & 127] & UNSTABLE:
                unstable[text] = True
                count += 1
                break
            at += length
    return count
