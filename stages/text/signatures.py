"""MinHash signatures and content hashes of many texts at once.

A shingle is a run of words; its 32-bit hash goes through datasketch's "affine32" permutations (a * h + b modulo 2**32
after MurmurHash3's finaliser), which are as accurate as 61-bit ones at a third of the cost. The rows of a band make one
64-bit key. ``reference_signature`` says the same in plain Python. With ``words="datatrove"`` words, shingles and
permutations are datatrove's, see ``datatrove_signatures``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.datatrove_signatures import datatrove_signatures
from stages.text.folded_words import (
    FACTOR,
    START,
    Room,
    find_words,
    fold,
    folded_bytes,
    hash_words,
    room_for,
    word_hash,
)
from stages.text.instructions import borrowed_arrays
from stages.text.normalized_words import characters, finished, texts_of
from stages.text.words_borrowed import borrowed

WordKind = Literal["sluice", "datatrove"]

SEED = 1  # of the permutations; part of the stage's version: indexes of another seed cannot be compared
MASK = 0xFFFFFFFF
AT_A_TIME = 8  # shingles that a permutation takes in one go
LANES = 8  # of a vector register
_CONTENT_FACTOR = np.uint64(0xD6E8FEB86659FD93)  # odd, of Mulvey's rrmxmx
_HALF = np.uint64(32)


class Signatures(NamedTuple):
    """What texts are compared by. Rows of texts without a shingle hold nothing that means anything."""

    words: NDArray[np.int64]  # (texts,)
    content_hashes: NDArray[np.uint64]  # (texts, 2): 128 bits of the words in their order
    has_shingles: NDArray[np.bool_]  # (texts,)
    keys: NDArray[np.uint64]  # (texts, bands)
    audits: NDArray[np.uint64]  # (texts,): least value of one more permutation, independent of those of the bands


class Shingles(NamedTuple):
    """Working memory for the shingles of one text."""

    words: NDArray[np.uint64]  # hash of each word
    runs: NDArray[np.uint64]  # hash of each shingle
    mixed: NDArray[np.uint32]  # the same in 32 bits


def signed(
    column: pa.Array | pa.ChunkedArray, ngram: int, bands: int, rows: int, words: WordKind = "sluice"
) -> Signatures:
    """Signatures of a column of strings; null is empty.

    Args:
        column: the texts.
        ngram: words in a shingle. A text of fewer is one shingle; for datatrove it has none.
        bands: keys of a text.
        rows: permutations that make a key.
        words: whose words, shingles and permutations. Content hashes are of Sluice's words in any case: for datatrove,
            texts that differ only in numbers or signs of other scripts are equal.
    """
    found = Signatures(
        words=np.zeros(len(column), np.int64),
        content_hashes=np.zeros((len(column), 2), np.uint64),
        has_shingles=np.zeros(len(column), np.bool_),
        keys=np.zeros((len(column), bands), np.uint64),
        audits=np.zeros(len(column), np.uint64),
    )
    own = bands * rows if words == "sluice" else 0
    texts = texts_of(column, with_places=False)
    most, _ = folded_bytes(texts.content, texts.offsets)
    memory = (room_for(most), _shingles_for(most))
    _sign(texts.content, texts.offsets, *characters(), ngram, rows, *permutations(own), *memory, found)
    if words == "datatrove":
        least, shingles, offsets = datatrove_signatures(column, ngram, bands * rows)
        _write_all_keys(least, rows, shingles, offsets, found)
    return found


def shingle_sets(
    column: pa.Array | pa.ChunkedArray, ngram: int, words: WordKind = "sluice"
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The shingles of each text, for true Jaccard similarity.

    Returns:
        values: the 32-bit hashes of all texts one after another, ascending and distinct within a text. Of two texts of
            n shingles in all, any two different ones have one hash with a probability below n**2 / 2**33.
        offsets: (texts + 1,): ``values[offsets[i]:offsets[i + 1]]`` are those of text i.
    """
    if words == "datatrove":
        _, hashes, offsets = datatrove_signatures(column, ngram, 0)
        values = (hashes >> _HALF).astype(np.uint32)
    else:
        texts = texts_of(column, with_places=False)
        most, total = folded_bytes(texts.content, texts.offsets)
        values, offsets = np.empty(total // 2 + len(texts) + AT_A_TIME, np.uint32), np.zeros(len(texts) + 1, np.int64)
        memory = (room_for(most), _shingles_for(most))
        _write_shingles(texts.content, texts.offsets, *characters(), ngram, *memory, values, offsets)
    return _distinct(values, offsets)


def _distinct(values: NDArray[np.uint32], offsets: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Values of each text sorted and without repeated ones."""
    # one sort by text and value: numpy's takes a third of the time of many small ones in a kernel
    keys = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint64) << _HALF, np.diff(offsets))
    keys |= values[: offsets[-1]]
    keys.sort()
    is_first = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    counts = np.concatenate([[0], np.cumsum(is_first)])
    return keys[is_first].astype(np.uint32), counts[offsets]


@cache
def permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Multipliers and summands of datasketch's permutations."""
    from datasketch import MinHash

    if count == 0:
        return np.empty(0, np.uint32), np.empty(0, np.uint32)
    a, b = MinHash(num_perm=count, seed=SEED, scheme="affine32").permutations
    return np.ascontiguousarray(a, np.uint32), np.ascontiguousarray(b, np.uint32)


def _shingles_for(folded_bytes: int) -> Shingles:
    """Working memory for texts of up to so many bytes once folded."""
    most = folded_bytes // 2 + 1
    return Shingles(np.empty(most, np.uint64), np.empty(most, np.uint64), np.empty(most + AT_A_TIME, np.uint32))


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
    room: Room,
    shingles: Shingles,
    found: Signatures,
) -> None:
    """Fill ``found``; without permutations, words and content hashes alone."""
    room, shingles, found = borrowed_arrays(room), borrowed_arrays(shingles), borrowed_arrays(found)
    content, table, expansions = borrowed(content), borrowed(table), borrowed(expansions)
    least = np.empty(len(a), np.uint32)
    lanes = np.empty((2, LANES), np.uint64)
    for text in range(len(offsets) - 1):
        count = _read_words(content, offsets[text], offsets[text + 1], table, expansions, room, shingles.words)
        found.words[text] = count
        if count == 0:
            continue
        _hash_content(shingles.words, count, lanes, found.content_hashes[text])
        if len(a):
            runs = _hash_runs(shingles.words, count, ngram, shingles.runs)
            _mix(shingles.runs, runs, shingles.mixed)
            _least(shingles.mixed, runs, a, b, least)
            _write_keys(least, rows, found.keys[text])
            found.audits[text] = _least_audit(shingles.runs, 0, runs)
            found.has_shingles[text] = True


@kernel
def _write_all_keys(
    least: NDArray[np.uint64], rows: int, shingles: NDArray[np.uint64], offsets: NDArray[np.int64], found: Signatures
) -> None:
    """What datatrove's signatures are worth to ``found``."""
    for text in range(len(least)):
        first, last = offsets[text], offsets[text + 1]
        if first < last:
            _write_keys(least[text], rows, found.keys[text])
            found.audits[text] = _least_audit(shingles, first, last)
            found.has_shingles[text] = True


@kernel
def _write_shingles(
    content: NDArray[np.uint8],
    starts: NDArray[np.int64],
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    ngram: int,
    room: Room,
    shingles: Shingles,
    values: NDArray[np.uint32],
    offsets: NDArray[np.int64],
) -> None:
    """Write the hashes of the shingles of all texts in their order."""
    room, shingles = borrowed_arrays(room), borrowed_arrays(shingles)
    content, table, expansions = borrowed(content), borrowed(table), borrowed(expansions)
    for text in range(len(starts) - 1):
        count = _read_words(content, starts[text], starts[text + 1], table, expansions, room, shingles.words)
        runs = 0
        if count:
            runs = _hash_runs(shingles.words, count, ngram, shingles.runs)
            _mix(shingles.runs, runs, values[offsets[text] :])
        offsets[text + 1] = offsets[text] + runs


@kernel
def _read_words(
    content: NDArray[np.uint8],
    begin: int,
    end: int,
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    room: Room,
    hashes: NDArray[np.uint64],
) -> int:
    """Write the hashes of the words of one text; gives their number."""
    count = find_words(room.marks, fold(content, begin, end, table, expansions, room), room.edges)
    hash_words(room.folded, room.edges, count, hashes)
    return count


@kernel
def _hash_content(words: NDArray[np.uint64], count: int, lanes: NDArray[np.uint64], found: NDArray[np.uint64]) -> None:
    """Write 128 bits of all words: two times LANES chains of multiplication and xorshift, word i in chain i % LANES.

    One chain each takes twice as long: every step waits for the one before.
    """
    lanes[0], lanes[1] = START, _CONTENT_FACTOR
    whole = count // LANES * LANES
    for i in range(0, whole, LANES):
        for lane in range(LANES):
            word = words[np.uint64(i + lane)]
            lanes[0, lane] = _absorbed(lanes[0, lane], word, FACTOR)
            lanes[1, lane] = _absorbed(lanes[1, lane], word, _CONTENT_FACTOR)
    for i in range(whole, count):
        lanes[0, i - whole] = _absorbed(lanes[0, i - whole], words[i], FACTOR)
        lanes[1, i - whole] = _absorbed(lanes[1, i - whole], words[i], _CONTENT_FACTOR)
    first = second = np.uint64(count)
    for lane in range(LANES):
        first = _absorbed(first, lanes[0, lane], FACTOR)
        second = _absorbed(second, lanes[1, lane], _CONTENT_FACTOR)
    found[0] = finished(first)
    found[1] = finished(second)


@kernel
def _absorbed(chain: np.uint64, value: np.uint64, factor: np.uint64) -> np.uint64:
    chain = (chain ^ value) * factor
    return chain ^ (chain >> _HALF)


@kernel
def _hash_runs(words: NDArray[np.uint64], count: int, ngram: int, runs: NDArray[np.uint64]) -> int:
    """Write the hash of each run of words; gives their number. The loops over runs are for vector registers."""
    size = min(ngram, count)
    found = count - size + 1
    for i in range(np.uint64(found)):
        runs[i] = words[i]
    for place in range(1, size):
        for i in range(np.uint64(found)):
            runs[i] = runs[i] * FACTOR + words[i + np.uint64(place)]
    for i in range(np.uint64(found)):
        runs[i] = finished(runs[i])
    return found


@kernel
def _least_audit(runs: NDArray[np.uint64], first: int, last: int) -> np.uint64:
    """Least hash of a shingle with its halves exchanged: the bits that the bands see come last."""
    least = np.uint64(0xFFFFFFFFFFFFFFFF)
    for i in range(np.uint64(first), np.uint64(last)):
        least = min(least, runs[i] << _HALF | runs[i] >> _HALF)
    return least


@kernel
def _mix(runs: NDArray[np.uint64], count: int, mixed: NDArray[np.uint32]) -> None:
    """Write 32 bits for each shingle, and the last one AT_A_TIME times more."""
    for i in range(np.uint64(count)):
        mixed[i] = _mixed(np.uint32(runs[i] >> _HALF))
    for i in range(count, count + AT_A_TIME):
        mixed[i] = mixed[count - 1]


@kernel
def _mixed(value: np.uint32) -> np.uint32:
    """MurmurHash3's finaliser for 32 bits."""
    value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(value ^ (value >> np.uint32(16)))


@kernel
def _least(
    shingles: NDArray[np.uint32], count: int, a: NDArray[np.uint32], b: NDArray[np.uint32], least: NDArray[np.uint32]
) -> None:
    """Write the least value of each permutation; ``shingles`` must go on with any of them for AT_A_TIME more.

    The inner loop is over permutations, so that each vector register holds many of them; eight shingles at a time share
    the loads of a, b and the least so far.
    """
    least[:] = np.uint32(MASK)
    for i in range(0, count, AT_A_TIME):
        s0, s1, s2, s3 = shingles[i], shingles[i + 1], shingles[i + 2], shingles[i + 3]
        s4, s5, s6, s7 = shingles[i + 4], shingles[i + 5], shingles[i + 6], shingles[i + 7]
        for k in range(len(a)):
            m, n = a[k], b[k]
            first = min(
                min(np.uint32(m * s0 + n), np.uint32(m * s1 + n)), min(np.uint32(m * s2 + n), np.uint32(m * s3 + n))
            )
            last = min(
                min(np.uint32(m * s4 + n), np.uint32(m * s5 + n)), min(np.uint32(m * s6 + n), np.uint32(m * s7 + n))
            )
            least[k] = min(least[k], min(first, last))


@kernel
def _write_keys(least: NDArray[np.uint32], rows: int, keys: NDArray[np.uint64]) -> None:
    for band in range(len(keys)):
        key = START ^ np.uint64(band)
        for row in range(band * rows, (band + 1) * rows):
            key = (key ^ np.uint64(least[row])) * FACTOR
            key ^= key >> _HALF
        keys[band] = finished(key)


class ReferenceSignature(NamedTuple):
    """What ``signed`` finds of one text, in Python numbers; all are empty or None without words."""

    content_hash: tuple[int, ...]
    keys: list[int]
    audit: int | None


def reference_signature(words: Sequence[str], ngram: int, bands: int, rows: int) -> ReferenceSignature:
    """Signature of a text of these words, the permutations by datasketch."""
    from datasketch import MinHash

    if not words:
        return ReferenceSignature((), [], None)
    runs = reference_runs(words, ngram)
    signature = MinHash(num_perm=bands * rows, seed=SEED, scheme="affine32", hashfunc=lambda shingle: shingle)
    signature.update_batch([run >> 32 for run in runs])
    least = np.array_split(signature.hashvalues, bands)
    keys = [_reference_key(band, values.tolist()) for band, values in enumerate(least)]
    return ReferenceSignature(_reference_content(words), keys, min((run << 32 | run >> 32) % 2**64 for run in runs))


def reference_runs(words: Sequence[str], ngram: int) -> list[int]:
    """64-bit hash of each run of words."""
    found = []
    for start in range(max(1, len(words) - ngram + 1) if words else 0):
        run = 0
        for word in words[start : start + ngram]:
            run = (run * int(FACTOR) + word_hash(word)) % 2**64
        found.append(_reference_finished(run))
    return found


def reference_shingle_set(words: Sequence[str], ngram: int) -> list[int]:
    """What ``shingle_sets`` finds of a text of these words."""
    return sorted({_reference_mixed(run >> 32) for run in reference_runs(words, ngram)})


def _reference_content(words: Sequence[str]) -> tuple[int, ...]:
    found = []
    for start, factor in ((int(START), int(FACTOR)), (int(_CONTENT_FACTOR), int(_CONTENT_FACTOR))):
        lanes = [start] * LANES
        for i, word in enumerate(words):
            lanes[i % LANES] = _reference_absorbed(lanes[i % LANES], word_hash(word), factor)
        chain = len(words)
        for lane in lanes:
            chain = _reference_absorbed(chain, lane, factor)
        found.append(_reference_finished(chain))
    return tuple(found)


def _reference_absorbed(chain: int, value: int, factor: int) -> int:
    chain = (chain ^ value) * factor % 2**64
    return chain ^ (chain >> 32)


def _reference_key(band: int, least: Sequence[int]) -> int:
    key = int(START) ^ band
    for value in least:
        key = (key ^ value) * int(FACTOR) % 2**64
        key ^= key >> 32
    return _reference_finished(key)


def _reference_finished(value: int) -> int:
    value = (value ^ (value >> 33)) * 0xFF51AFD7ED558CCD % 2**64
    return value ^ (value >> 33)


def _reference_mixed(value: int) -> int:
    value = (value ^ (value >> 16)) * 0x85EBCA6B % 2**32
    value = (value ^ (value >> 13)) * 0xC2B2AE35 % 2**32
    return value ^ (value >> 16)
