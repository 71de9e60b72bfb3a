"""The n-grams of evaluation texts: which there are, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.decontaminate.evaluation import EvaluationText
from stages.kernel import kernel
from stages.text.normalized_words import NOT_A_NUMBER, characters, finished, scan, texts_of

BLOCK_BYTES = 8 << 20  # of text whose words are found at a time
MAX_PLACES_PER_TEXT = 8  # of one n-gram in one text: bounds the work on "0 0 0 0 0 ..."
BITS_PER_NGRAM = 16  # of the Bloom filter: with 4 bits set in one 64-bit word, about 0.6 % false positives
EXAMPLES = 3
NGRAM_FACTOR = np.uint64(0xD6E8FEB86659FD93)  # odd, of no structure: base of the rolling hash over words
_SIX_BITS = np.uint64(63)


@dataclass(frozen=True)
class NgramIndex:
    """Evaluation texts as word hashes, and their n-grams sorted by hash.

    A word stands at its place in all texts laid end to end; an n-gram stands where its first word does.
    """

    size: int  # words in an n-gram
    tasks: tuple[str, ...]
    # of each text
    task: NDArray[np.int32]
    row: NDArray[np.int64]
    ngrams: NDArray[np.int32]  # distinct ones that count
    # of each place
    words: NDArray[np.uint64]
    text: NDArray[np.int32]
    counts: NDArray[np.bool_]  # an n-gram that counts stands here
    # of each n-gram that counts, by hash
    hashes: NDArray[np.uint64]
    first: NDArray[np.int64]  # where its places begin; one more than there are n-grams
    places: NDArray[np.int32]
    # to find an n-gram
    shift: np.uint64  # that leaves the upper bits of a hash
    directory: NDArray[np.int32]  # number of the first n-gram whose hash has at least these upper bits
    bloom: NDArray[np.uint64]  # one word a probe
    # of what is not looked for
    ignored_ngrams: int
    ignored_examples: tuple[str, ...]  # those in most rows
    rows: dict[str, int]  # by task
    rows_not_looked_for: dict[str, int]  # by task: none of their texts has an n-gram that counts

    @property
    def size_bytes(self) -> int:
        """Memory of all arrays."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


def ngram_index(
    texts: Sequence[EvaluationText], size: int, max_rows_per_ngram: int | None, ignored: Sequence[str] = ()
) -> NgramIndex:
    """Index the n-grams of ``size`` words of ``texts``, but for those of numbers alone.

    Args:
        max_rows_per_ngram: n-grams in more rows do not count; None: all count.
        ignored: texts whose n-grams do not count.
    """
    unique: dict[tuple[str, str], int] = {}  # a passage that several rows of a task repeat is one text
    records: dict[tuple[str, int], int] = {}  # rows of all tasks, counted
    number_of_text = np.array([unique.setdefault((t.task, t.text), len(unique)) for t in texts], np.int64)
    record_of_text = np.array([records.setdefault((t.task, t.row), len(records)) for t in texts], np.int32)
    tasks = {task: number for number, task in enumerate(dict.fromkeys(task for task, _ in records))}
    once = np.unique(number_of_text, return_index=True)[1]
    texts, record = [texts[i] for i in once.tolist()], record_of_text[once]
    words, lengths = _words([text.text for text in texts])
    text_at = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    at = _places(lengths, size)
    at = at[_with_words(words, size)[at]]
    hashes = ngram_hashes(words, size)[at]

    order = np.argsort(hashes)
    ignored_words, ignored_lengths = _words(ignored)
    ignored_hashes = np.sort(ngram_hashes(ignored_words, size)[_places(ignored_lengths, size)])
    max_rows = len(records) if max_rows_per_ngram is None else max_rows_per_ngram
    counting = _grouped(hashes[order], at[order], text_at, record, max_rows, ignored_hashes)
    hashes, first, at, ngrams, counts, common, rows_of_common = counting
    most = common[np.lexsort((common, -rows_of_common))]  # of equally common ones, those that stand first
    bits = max(1, len(hashes).bit_length())
    shift = np.uint64(64 - bits)
    directory = np.searchsorted(hashes >> shift, np.arange((1 << bits) + 1, dtype=np.uint64))
    looked_for = np.zeros(len(records), np.bool_)
    looked_for[record_of_text[ngrams[number_of_text] > 0]] = True
    task_of_record = np.array([tasks[task] for task, _ in records], np.int32)
    return NgramIndex(
        size=size,
        tasks=tuple(tasks),
        task=np.array([tasks[text.task] for text in texts], np.int32),
        row=np.array([text.row for text in texts], np.int64),
        ngrams=ngrams,
        words=words,
        text=text_at,
        counts=counts,
        hashes=hashes,
        first=first,
        places=at,
        shift=shift,
        directory=directory.astype(np.int32),
        bloom=_bloom(hashes),
        ignored_ngrams=len(common),
        ignored_examples=tuple(
            _shown(texts[text_at[i]].text, i - int(lengths[: text_at[i]].sum()), size) for i in most[:EXAMPLES].tolist()
        ),
        rows=_by_task(tuple(tasks), task_of_record),
        rows_not_looked_for=_by_task(tuple(tasks), task_of_record[~looked_for]),
    )


def _by_task(tasks: Sequence[str], numbers: NDArray[np.int32]) -> dict[str, int]:
    return {tasks[i]: int(n) for i, n in enumerate(np.bincount(numbers, minlength=len(tasks)))}


def _words(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the words of all texts, and how many each has."""
    words: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    lengths: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for block in _blocks(texts):
        found = texts_of(pa.array(block, pa.large_string()))
        hashes, counts = _scan_all(found.content, found.offsets, *characters())
        words.append(hashes)
        lengths.append(counts)
    return np.concatenate(words), np.concatenate(lengths)


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _places(lengths: NDArray[np.int64], size: int) -> NDArray[np.int32]:
    """Where n-grams begin that end in the same text."""
    ends = np.cumsum(lengths)
    left = np.repeat(ends, lengths) - np.arange(lengths.sum())
    return np.flatnonzero(left >= size).astype(np.int32)


def _with_words(words: NDArray[np.uint64], size: int) -> NDArray[np.bool_]:
    """Whether the n-gram that begins at each word holds one that is no number: "1 2 3 4 5 6 7 8" is no leak."""
    before = np.append(0, np.cumsum(words & NOT_A_NUMBER != 0))
    result: NDArray[np.bool_] = before[np.minimum(np.arange(len(words)) + size, len(words))] > before[:-1]
    return result


def _shown(text: str, word: int, size: int) -> str:
    from stages.dedup.shingles import words

    return " ".join(words(text)[word : word + size])


@kernel
def _scan_all(
    content: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    table: NDArray[np.int32],
    expansions: NDArray[np.int32],
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    room = 2 * (offsets[-1] - offsets[0])
    hashes = np.empty(room, np.uint64)
    starts = np.empty(room, np.int32)
    ends = np.empty(room, np.int32)
    lengths = np.zeros(len(offsets) - 1, np.int64)
    count = 0
    for text in range(len(offsets) - 1):
        lengths[text] = scan(
            content, offsets[text], offsets[text + 1], table, expansions, hashes[count:], starts[count:], ends[count:]
        )
        count += lengths[text]
    return hashes[:count].copy(), lengths


@kernel
def _grouped(
    hashes: NDArray[np.uint64],
    at: NDArray[np.int32],
    text_at: NDArray[np.int32],
    record: NDArray[np.int32],
    max_rows: int,
    ignored: NDArray[np.uint64],
) -> tuple[
    NDArray[np.uint64],
    NDArray[np.int64],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.bool_],
    NDArray[np.int32],
    NDArray[np.int32],
]:
    """From n-grams by hash with their places: those that count and those that do not.

    Args:
        record: of each text, the number of its row among the rows of all tasks.

    Returns:
        Of the n-grams that count: hashes, where their places begin, places, number in each text, and at each place
        whether one stands there. Of the others: their first places, and the rows that they are in.
    """
    found = np.empty(len(hashes), np.uint64)
    first = np.zeros(len(hashes) + 1, np.int64)
    places = np.empty(len(hashes), np.int32)
    ngrams = np.zeros(len(record), np.int32)
    counts = np.zeros(len(text_at), np.bool_)
    common = np.empty(len(hashes), np.int32)
    rows_of_common = np.empty(len(hashes), np.int32)
    number = common_number = place_number = begin = 0
    while begin < len(hashes):
        end = begin + 1
        while end < len(hashes) and hashes[end] == hashes[begin]:
            end += 1
        here = at[begin:end]
        if len(here) > 1:
            here.sort()
        rows, last = 0, -1
        for place in here:
            rows += record[text_at[place]] != last
            last = record[text_at[place]]
        in_ignored = np.searchsorted(ignored, hashes[begin])
        if rows > max_rows or (in_ignored < len(ignored) and ignored[in_ignored] == hashes[begin]):
            common[common_number] = here[0]
            rows_of_common[common_number] = rows
            common_number += 1
        else:
            found[number] = hashes[begin]
            text, copies = -1, 0
            for place in here:
                counts[place] = True
                if text_at[place] != text:
                    text, copies = text_at[place], 0
                    ngrams[text] += 1
                if copies < MAX_PLACES_PER_TEXT:
                    places[place_number] = place
                    place_number += 1
                copies += 1
            number += 1
            first[number] = place_number
        begin = end
    return (
        found[:number].copy(),
        first[: number + 1].copy(),
        places[:place_number].copy(),
        ngrams,
        counts,
        common[:common_number].copy(),
        rows_of_common[:common_number].copy(),
    )


@kernel
def ngram_hashes(words: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    """The hash of the n-gram that begins at each word; 0 where fewer than ``size`` words are left."""
    hashes = np.zeros(len(words), np.uint64)
    rolling = np.uint64(0)
    leaving = factor_of_leaving(size)
    for i in range(len(words)):
        if i >= size:
            rolling -= words[i - size] * leaving
        rolling = rolling * NGRAM_FACTOR + words[i]
        if i >= size - 1:
            hashes[i - size + 1] = finished(rolling)
    return hashes


@kernel
def factor_of_leaving(size: int) -> np.uint64:
    """What the oldest word of an n-gram is multiplied with in the rolling hash."""
    factor = np.uint64(1)
    for _ in range(size - 1):
        factor *= NGRAM_FACTOR
    return factor


@kernel
def bloom_bits(ngram: np.uint64) -> np.uint64:
    """The four bits of an n-gram in its word of the Bloom filter."""
    one = np.uint64(1)
    return (
        (one << (ngram & _SIX_BITS))
        | (one << (ngram >> np.uint64(6) & _SIX_BITS))
        | (one << (ngram >> np.uint64(12) & _SIX_BITS))
        | (one << (ngram >> np.uint64(18) & _SIX_BITS))
    )


@kernel
def _bloom(ngrams: NDArray[np.uint64]) -> NDArray[np.uint64]:
    size = 1
    while size * 64 < len(ngrams) * BITS_PER_NGRAM:
        size *= 2
    bloom = np.zeros(size, np.uint64)
    for i in range(len(ngrams)):
        bloom[np.int64(ngrams[i] >> np.uint64(24)) & (size - 1)] |= bloom_bits(ngrams[i])
    return bloom
