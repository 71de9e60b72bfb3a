"""Hashes of the words of a text, for signatures: where it is ASCII, in less than a nanosecond a byte.

The words are those of ``stages.dedup.shingles.words``; ``word_hash`` says in plain Python what is hashed. The kernel
works in three steps, each a loop without surprises for the processor: case-folded bytes and a bit for each that belongs
to a word, 64 at a time; the edges of words, from the bits; a hash for each word, eight bytes at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.cgutils import pointer_add
from numba.extending import intrinsic
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.instructions import eight_bytes, ones, trailing_zeros
from stages.text.normalized_words import ALONE, EXPANDS, MAY_JOIN, decoded

BLOCK = 64  # bytes that are folded at a time: one register of AVX-512, two of AVX2
MAX_GROWTH = 12  # times that folding makes a character longer: U+FDFA becomes 18 letters and spaces
SLACK = 2 * BLOCK  # bytes behind the folded text that may be written and read
_EDGES_AT_A_TIME = 8
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)

START = np.uint64(0xCBF29CE484222325)
FACTOR = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
SHORT = 16  # bytes of a word that is dealt with without a loop
# [bytes of a word]: bits of those in its first and second eight
FIRST = np.array([(1 << 8 * min(size, 8)) - 1 for size in range(SHORT + 1)], np.uint64)
SECOND = np.array([(1 << 8 * max(size - 8, 0)) - 1 for size in range(SHORT + 1)], np.uint64)


class Room(NamedTuple):
    """Working memory for one text of a batch."""

    folded: NDArray[np.uint8]
    marks: NDArray[np.uint64]  # bit i % 64 of marks[i // 64]: folded[i] belongs to a word
    edges: NDArray[np.int64]  # where each word starts and ends in ``folded``, in turns
    tail: NDArray[np.uint8]  # (BLOCK,): the last bytes of the batch


def room_for(folded_bytes: int) -> Room:
    """Working memory for texts of up to so many bytes once folded; what is not used costs nothing."""
    return Room(
        folded=np.empty(folded_bytes + SLACK, np.uint8),
        marks=np.empty(folded_bytes // BLOCK + 3, np.uint64),
        edges=np.empty(folded_bytes + 1 + _EDGES_AT_A_TIME, np.int64),
        tail=np.zeros(BLOCK, np.uint8),
    )


def word_hash(word: str) -> int:
    """Hash of a word: an xorshift-multiply round for each eight bytes of its UTF-8, at least two."""
    content = word.encode()
    content += bytes(max(SHORT - len(content), -len(content) % 8))
    found = int(START)
    for at in range(0, len(content), 8):
        found = (found ^ int.from_bytes(content[at : at + 8], "little")) * int(FACTOR) % 2**64
        found ^= found >> 32
    return found


@intrinsic  # type: ignore[untyped-decorator]
def fold_block(typing_context: Any, source: Any, start: Any, target: Any, at: Any) -> Any:
    """``target[at:at + 64] = source[start:start + 64]`` with ASCII capitals lowered.

    Returns three uint64: a bit for each ASCII letter and digit, for each underscore, and for each byte that is not
    ASCII. All of it must exist.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(ir.IntType(8), BLOCK)

        def all_of(value: int) -> Any:
            return ir.Constant(kind, [value] * BLOCK)

        def is_between(values: Any, first: str, last: str) -> Any:
            size = ord(last) - ord(first) + 1
            return builder.icmp_unsigned("<", builder.sub(values, all_of(ord(first))), all_of(size))

        def bits(found: Any) -> Any:
            return builder.bitcast(found, ir.IntType(64))

        values = builder.load(_vector_at(context, builder, kind, signature.args[0], *arguments[:2]), align=1)
        lowered = builder.or_(values, builder.select(is_between(values, "A", "Z"), all_of(32), all_of(0)))
        builder.store(lowered, _vector_at(context, builder, kind, signature.args[2], *arguments[2:]), align=1)
        letters, digits = is_between(lowered, "a", "z"), is_between(values, "0", "9")
        underscores = builder.icmp_unsigned("==", values, all_of(ord("_")))
        others = builder.icmp_signed("<", values, all_of(0))
        found = [bits(builder.or_(letters, digits)), bits(underscores), bits(others)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.uint64, 3)(source, types.int64, target, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def copy_sixteen(typing_context: Any, source: Any, start: Any, target: Any, at: Any) -> Any:
    """``target[at:at + 16] = source[start:start + 16]`` of arrays of bytes. All of it must exist."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(ir.IntType(8), 16)
        from_ = _vector_at(context, builder, kind, signature.args[0], arguments[0], arguments[1])
        to = _vector_at(context, builder, kind, signature.args[2], arguments[2], arguments[3])
        builder.store(builder.load(from_, align=1), to, align=1)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), code


def _vector_at(context: Any, builder: Any, kind: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to a vector that begins at an entry of an array of bytes."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(pointer_add(builder, data, index, ir.IntType(8).as_pointer()), kind.as_pointer())


@kernel
def mark(marks: NDArray[np.uint64], at: int, bits: np.uint64) -> None:
    """Append up to 64 bits at bit ``at``; all later ones of this number and the next become 0."""
    place, shift = at >> 6, np.uint64(at & 63)
    if shift:
        marks[place] |= bits << shift
        marks[place + 1] = bits >> (np.uint64(64) - shift)
    else:
        marks[place] = bits
        marks[place + 1] = np.uint64(0)


@kernel
def append(unit: int, folded: NDArray[np.uint8], marks: NDArray[np.uint64], to: int) -> int:
    """Append a folded character (an entry of the table of characters without EXPANDS) as UTF-8."""
    code = unit & (ALONE - 1)
    first = to + (1 if unit & ALONE else 0)
    if code < 0x80:
        folded[first] = code
        size = 1
    elif code < 0x800:
        folded[first] = 0xC0 | code >> 6
        folded[first + 1] = 0x80 | code & 0x3F
        size = 2
    elif code < 0x10000:
        folded[first] = 0xE0 | code >> 12
        folded[first + 1] = 0x80 | code >> 6 & 0x3F
        folded[first + 2] = 0x80 | code & 0x3F
        size = 3
    else:
        folded[first] = 0xF0 | code >> 18
        folded[first + 1] = 0x80 | code >> 12 & 0x3F
        folded[first + 2] = 0x80 | code >> 6 & 0x3F
        folded[first + 3] = 0x80 | code & 0x3F
        size = 4
    if unit == 0:
        mark(marks, to, np.uint64(0))
        return to + 1
    bits = (_ONE << np.uint64(size)) - _ONE
    if unit & ALONE:  # a gap on both sides
        mark(marks, to, bits << _ONE)
        return to + size + 2
    mark(marks, to, bits)
    return to + size


@kernel
def fold(
    content: NDArray[np.uint8],
    begin: int,
    end: int,
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
    room: Room,
) -> int:
    """Write the text ``content[begin:end]`` to ``room.folded`` and mark what belongs to words; gives its size."""
    folded, marks, tail = room.folded, room.marks, room.tail
    at, to = begin, 0
    marks[0] = np.uint64(0)
    while at < end:
        size = min(BLOCK, end - at)
        if at + BLOCK <= len(content):
            words, underscores, others = fold_block(content, at, folded, to)
        else:
            for i in range(size):
                tail[i] = content[at + i]
            words, underscores, others = fold_block(tail, 0, folded, to)
        size = min(size, trailing_zeros(others))
        if size:
            mark(marks, to, (words | underscores) & (_ALL >> np.uint64(BLOCK - size)))
            at += size
            to += size
        while at < end and content[at] >= 0x80:
            code, at = decoded(content, at, end)
            unit = int(table[code]) & ~MAY_JOIN
            if unit & EXPANDS:
                expansion = unit ^ EXPANDS
                for i in range(expansions[expansion]):
                    to = append(int(expansions[expansion + 1 + i]), folded, marks, to)
            else:
                to = append(unit, folded, marks, to)
    return to


@kernel
def find_words(marks: NDArray[np.uint64], size: int, edges: NDArray[np.int64]) -> int:
    """Write where each word of the folded text starts and ends; gives the number of words."""
    found = 0
    before = np.uint64(0)
    for place in range((size >> 6) + 1):
        bits = marks[np.uint64(place)]
        changes = bits ^ (bits << _ONE | before)
        before = bits >> np.uint64(63)
        at = np.uint64(found)
        found += ones(changes)
        while changes:
            for i in range(_EDGES_AT_A_TIME):  # too many are overwritten: cheaper than to ask after each
                edges[at + np.uint64(i)] = (place << 6) + trailing_zeros(changes)
                changes &= changes - _ONE
            at += np.uint64(_EDGES_AT_A_TIME)
    return found >> 1


@kernel
def hash_words(folded: NDArray[np.uint8], edges: NDArray[np.int64], count: int, hashes: NDArray[np.uint64]) -> None:
    """Write the hash of each word, as ``word_hash``."""
    for i in range(np.uint64(count)):
        edge = np.uint64(2) * i
        start = edges[edge]
        size = edges[edge + _ONE] - start
        short = np.uint64(min(size, SHORT))
        found = _round(START, eight_bytes(folded, start) & FIRST[short])
        found = _round(found, eight_bytes(folded, start + 8) & SECOND[short])
        if size > SHORT:
            for at in range(SHORT, size, 8):
                found = _round(found, eight_bytes(folded, start + at) & FIRST[np.uint64(min(size - at, 8))])
        hashes[i] = found


@kernel
def _round(found: np.uint64, eight: np.uint64) -> np.uint64:
    found = (found ^ eight) * FACTOR
    return found ^ (found >> _HALF)


@kernel
def folded_bytes(content: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[int, int]:
    """What the longest of these texts may take once folded, and what all of them may."""
    most, total = 0, 0
    for text in range(len(offsets) - 1):
        others = 0
        for i in range(np.uint64(offsets[text]), np.uint64(offsets[text + 1])):
            others += content[i] >= np.uint8(0x80)
        size = offsets[text + 1] - offsets[text] + (MAX_GROWTH - 1) * others
        most = max(most, size)
        total += size
    return most, total
