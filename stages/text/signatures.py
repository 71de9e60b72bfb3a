"""MinHash signatures of many texts at once.

A shingle is a run of words; its 32-bit hash goes through datasketch's "affine32" permutations (a * h + b modulo 2**32
after MurmurHash3's finaliser), which are as accurate as 61-bit ones at a third of the cost. The rows of a band make one
64-bit key. ``reference_bands`` says the same in plain Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.normalized_words import HASH_FACTOR, HASH_START, characters, finished, scan, texts_of

SEED = 1  # of the permutations; part of the stage's version: indexes of another seed cannot be compared
MASK = 0xFFFFFFFF


@cache
def permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Multipliers and summands of datasketch's permutations."""
    from datasketch import MinHash

    a, b = MinHash(num_perm=count, seed=SEED, scheme="affine32").permutations
    return np.ascontiguousarray(a, np.uint32), np.ascontiguousarray(b, np.uint32)


def signed(
    column: pa.Array | pa.ChunkedArray, ngram: int, bands: int, rows: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint64]]:
    """Word hashes of all texts one after another, where each text's begin (one more than texts), and band keys.

    Keys are (texts, bands); a text without words has none that mean anything.
    """
    texts = texts_of(column)
    table, expansions = characters()
    a, b = permutations(bands * rows)
    size = int(texts.offsets[-1] - texts.offsets[0])
    hashes = np.empty(2 * size + 2, np.uint64)
    places = np.empty((2, 2 * size + 2), np.int32)
    firsts = np.zeros(len(texts) + 1, np.int64)
    keys = np.zeros((len(texts), bands), np.uint64)
    _sign(texts.content, texts.offsets, table, expansions, ngram, rows, a, b, hashes, places, firsts, keys)
    return hashes[: firsts[-1]], firsts, keys


@kernel
def _sign(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    ngram: int,
    rows: int,
    a: NDArray[np.uint32],
    b: NDArray[np.uint32],
    hashes: NDArray[np.uint64],
    places: NDArray[np.int32],
    firsts: NDArray[np.int64],
    keys: NDArray[np.uint64],
) -> None:
    least = np.empty(len(a), np.uint32)
    room = np.empty(len(hashes), np.uint32)
    for text in range(len(offsets) - 1):
        first = firsts[text]
        count = scan(content, offsets[text], offsets[text + 1], table, expansions, hashes[first:], places[0], places[1])
        firsts[text + 1] = first + count
        if count:
            shingles = room[: _shingles(hashes[first : first + count], ngram, room)]
            for k in range(len(a)):
                least[k] = _least(shingles, a[k], b[k])
            _band_keys(least, rows, keys[text])


@kernel
def _shingles(words: NDArray[np.uint64], ngram: int, shingles: NDArray[np.uint32]) -> int:
    """Write the mixed hash of each run of words; gives their number."""
    count = max(1, len(words) - ngram + 1)
    for start in range(count):
        shingle = HASH_START
        for i in range(start, min(start + ngram, len(words))):
            shingle = (shingle ^ words[i]) * HASH_FACTOR
        shingles[start] = _mixed(np.uint32(finished(shingle) >> np.uint64(32)))
    return count


@kernel
def _least(shingles: NDArray[np.uint32], a: np.uint32, b: np.uint32) -> np.uint32:
    """The least value of one permutation: the loop is over shingles, so that it runs in vector registers."""
    least = np.uint32(MASK)
    for i in range(len(shingles)):
        least = min(least, np.uint32(a * shingles[i] + b))
    return least


@kernel
def _mixed(value: np.uint32) -> np.uint32:
    """MurmurHash3's finaliser for 32 bits."""
    value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(value ^ (value >> np.uint32(16)))


@kernel
def _band_keys(least: NDArray[np.uint32], rows: int, keys: NDArray[np.uint64]) -> None:
    for band in range(len(keys)):
        key = HASH_START ^ np.uint64(band)
        for row in range(band * rows, (band + 1) * rows):
            key = (key ^ np.uint64(least[row])) * HASH_FACTOR
            key ^= key >> np.uint64(32)
        keys[band] = finished(key)


def reference_bands(words: Sequence[int], ngram: int, bands: int, rows: int) -> list[int]:
    """Band keys of one text's word hashes, through datasketch; empty without words."""
    from datasketch import MinHash

    if not words:
        return []
    signature = MinHash(num_perm=bands * rows, seed=SEED, scheme="affine32", hashfunc=lambda shingle: shingle)
    runs = range(max(1, len(words) - ngram + 1))
    signature.update_batch([_reference_shingle(words[i : i + ngram]) for i in runs])
    keys = []
    for band in range(bands):
        key = int(HASH_START) ^ band
        for value in signature.hashvalues[band * rows : (band + 1) * rows].tolist():
            key = (key ^ value) * int(HASH_FACTOR) % 2**64
            key ^= key >> 32
        keys.append(_reference_finished(key))
    return keys


def _reference_shingle(words: Sequence[int]) -> int:
    shingle = int(HASH_START)
    for word in words:
        shingle = (shingle ^ word) * int(HASH_FACTOR) % 2**64
    return _reference_finished(shingle) >> 32


def _reference_finished(value: int) -> int:
    value = (value ^ (value >> 33)) * 0xFF51AFD7ED558CCD % 2**64
    return value ^ (value >> 33)
