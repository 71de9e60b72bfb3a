"""Compiled prediction by a fastText model over the bytes of an Arrow column.

fastText spends its time on hashing every character n-gram of every word. Words repeat, so here the rows of the input
matrix that a word stands for are kept in a cache, and a document costs one look-up a word. The rows are then summed
in fastText's own order, in single precision, so that scores come out the same to the last bit, even those of documents
of many megabytes, whose rounding errors are larger than any tolerance.

What is imitated, all of https://github.com/facebookresearch/fastText: ``Dictionary::readWord`` and ``getLine`` (words
end at space, tab, line feed, vertical tab, form feed, carriage return and NUL, nowhere else; a line is never cut when
predicting; the word ``</s>`` ends it; its end counts as that word), ``computeSubwords``, ``addWordNgrams``,
``Model::computeHidden``, and for the best label ``HierarchicalSoftmaxLoss::dfs`` and ``Loss::findKBest``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.fasttext_model import HIERARCHICAL, SOFTMAX, Vocabulary, Weights

Integer: TypeAlias = Any  # of kernels: a Python number to start with, then numpy's, of the width that fastText uses
Real: TypeAlias = Any

END_OF_LINE = np.frombuffer(b"</s>", np.uint8)
LABEL_PREFIX = np.frombuffer(b"__label__", np.uint8)

CACHED_BYTES = 64  # longer words hardly repeat (links, unspaced scripts): their rows are computed each time
MAX_ROWS_OF_WORD = (CACHED_BYTES + 2) ** 2 + 1  # of a cached one, whatever the lengths of n-grams
FEW_ROWS = 8
WORDS = 1024  # that are looked up in one go
SLOTS = 1 << 19
MAX_CACHED_WORDS = SLOTS // 2
MAX_CACHED_ROWS = 4 << 20
PENDING_ROWS = 1 << 14  # rows of a document that are collected before they are summed

_NOT_A_WORD = -1  # in place of a number of rows: a label, which fastText leaves out

# Dictionary::hash, with the byte taken as signed
_FNV_BASIS_32, _FNV_PRIME_32 = np.uint32(2166136261), np.uint32(16777619)
# of the cache: of 260,000 words any two have the same 64 bits once in 5 * 10**8 times
_FNV_BASIS_64, _FNV_PRIME_64 = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_NGRAM_FACTOR = np.uint64(116049371)  # Dictionary::addWordNgrams

_LEAST_LOG = np.float32(math.log(1e-5))  # std_log(threshold 0): dfs follows no branch below
_SIGMOID_STEPS, _SIGMOID_LIMIT = 512, np.float32(8)


def _sigmoid_table() -> NDArray[np.float32]:
    values = [i * 2 * 8 / _SIGMOID_STEPS - 8 for i in range(_SIGMOID_STEPS + 1)]
    return np.array([1 / (1 + np.float32(math.exp(-x))) for x in values], np.float32)


_SIGMOID = _sigmoid_table()


def _key(word: NDArray[np.uint8]) -> np.uint64:
    key = int(_FNV_BASIS_64)
    for byte in word.tolist():
        key = (key ^ byte) * int(_FNV_PRIME_64) % 2**64
    return np.uint64(key)


_END_OF_LINE_KEY = _key(END_OF_LINE)


class WordCache(NamedTuple):
    """Rows by word, of all documents so far; starts anew when it is full. Not for two threads at once."""

    slots: NDArray[np.uint64]  # (SLOTS, 2): 64-bit hash of a word and where its record starts, 0: empty
    records: NDArray[np.int32]  # number of rows, fastText's hash of the word, rows
    used: NDArray[np.int64]  # (2,): words, and the end of the last record


class Scratch(NamedTuple):
    """Working memory of a document."""

    pending: NDArray[np.int32]  # (PENDING_ROWS,): rows not summed yet
    hidden: NDArray[np.float32]  # (dim,): the document's vector
    nodes: NDArray[np.int32]  # (2 * labels,): of the tree, yet to be visited
    logs: NDArray[np.float32]  # (2 * labels,): log probability of each
    word: NDArray[np.uint8]  # (CACHED_BYTES + 2,): a word with its brackets
    keys: NDArray[np.uint64]  # (WORDS,): 64-bit hashes of the words at hand
    firsts: NDArray[np.int64]  # (WORDS,): where each begins
    lasts: NDArray[np.int64]  # (WORDS,): where each ends
    found: NDArray[np.int64]  # (WORDS,): where its record starts


def word_cache() -> WordCache:
    """An empty cache. Takes up to 24 MB as it fills."""
    used = np.array([0, 1], np.int64)  # records start at 1, so that 0 can mean an empty slot
    return WordCache(np.zeros((SLOTS, 2), np.uint64), np.zeros(MAX_CACHED_ROWS, np.int32), used)


def scratch(weights: Weights) -> Scratch:
    """Working memory for a model."""
    labels = len(weights.output)
    return Scratch(
        pending=np.zeros(PENDING_ROWS, np.int32),
        hidden=np.zeros(weights.rows.shape[1], np.float32),
        nodes=np.zeros(2 * labels, np.int32),
        logs=np.zeros(2 * labels, np.float32),
        word=np.zeros(CACHED_BYTES + 2, np.uint8),
        keys=np.zeros(WORDS, np.uint64),
        firsts=np.zeros(WORDS, np.int64),
        lasts=np.zeros(WORDS, np.int64),
        found=np.zeros(WORDS, np.int64),
    )


@kernel
def best_labels(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    vocabulary: Vocabulary,
    weights: Weights,
    cache: WordCache,
    memory: Scratch,
    labels: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> None:
    """Write the most likely label of each text and its probability; -1 and 0 where no row stands for any of it."""
    for i in range(len(labels)):
        if read_text(data, offsets[i], offsets[i + 1], vocabulary, weights.rows, cache, memory):
            labels[i], scores[i] = best_label(weights, memory)
        else:
            labels[i], scores[i] = -1, np.float32(0)


@kernel
def all_labels(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    vocabulary: Vocabulary,
    weights: Weights,
    cache: WordCache,
    memory: Scratch,
    scores: NDArray[np.float32],
) -> None:
    """Write the probability of every label for each text, (texts, labels); 0 of those that fastText does not tell."""
    for i in range(len(scores)):
        scores[i] = 0
        if read_text(data, offsets[i], offsets[i + 1], vocabulary, weights.rows, cache, memory):
            score_labels(weights, memory, scores[i])


# The vector of a text


@kernel
def read_text(
    data: NDArray[np.uint8],
    position: Integer,
    end: Integer,
    vocabulary: Vocabulary,
    matrix: NDArray[np.float32],
    cache: WordCache,
    memory: Scratch,
) -> bool:
    """Compute the vector of a text, ``memory.hidden``: the mean of the rows that it stands for. False if none does."""
    keys, firsts, lasts, found = memory.keys, memory.firsts, memory.lasts, memory.found  # each access would count
    records, pending, hidden = cache.records, memory.pending, memory.hidden  # references, in every round of the loop
    hidden[:] = 0
    rows: Integer = 0
    waiting: Integer = 0  # rows that are not summed yet
    hashes = np.empty((end - position) // 2 + 2 if vocabulary.word_ngrams > 1 else 0, np.int32)
    words = 0
    is_over = False
    while not is_over:
        count, position, is_over = scan_words(data, position, end, keys, firsts, lasts)
        done = 0
        while done < count:
            known = learn_words(data, done, count, vocabulary, cache, memory)
            for i in range(done, known):
                record = found[i]
                if record == 0 or waiting + MAX_ROWS_OF_WORD > PENDING_ROWS:
                    sum_rows(matrix, pending, waiting, hidden)
                    rows += waiting
                    waiting = 0
                if record == 0:
                    word = data[firsts[i] : lasts[i]]
                    added, hash_ = sum_long_word(word, vocabulary, matrix, pending, hidden)
                    rows += max(added, 0)
                else:
                    added, hash_ = np.int64(records[record]), records[record + 1]
                    for j in range(FEW_ROWS):  # most words have no more, and a fixed number is copied at once
                        pending[waiting + j] = records[record + 2 + j]
                    for j in range(FEW_ROWS, added):
                        pending[waiting + j] = records[record + 2 + j]
                    waiting += added if added > 0 else 0
                if vocabulary.word_ngrams > 1 and added != _NOT_A_WORD:
                    hashes[words] = hash_
                    words += 1
            if known < count:
                empty_cache(cache)
            done = known
    sum_rows(matrix, pending, waiting, hidden)
    rows += waiting
    if vocabulary.word_ngrams > 1:
        rows += sum_word_ngrams(hashes[:words], vocabulary, matrix, hidden)
    if rows == 0:
        return False
    factor = np.float32(1.0 / rows)
    for j in range(len(hidden)):
        hidden[j] *= factor
    return True


@kernel
def scan_words(
    data: NDArray[np.uint8],
    position: Integer,
    end: Integer,
    keys: NDArray[np.uint64],
    firsts: NDArray[np.int64],
    lasts: NDArray[np.int64],
) -> tuple[Integer, Integer, bool]:
    """Find the next words of a text, as many as ``keys`` takes, and the 64-bit hash of each.

    Returns:
        How many, the position to go on from, and whether the text is over: its last word is then the end of line.
    """
    for count in range(len(keys)):
        while position < end and is_space(data[position]):
            position += 1
        key = _FNV_BASIS_64
        firsts[count] = position
        while position < end and not is_space(data[position]):
            key = (key ^ np.uint64(data[position])) * _FNV_PRIME_64
            position += 1
        lasts[count] = position
        if position == firsts[count]:
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
def learn_words(
    data: NDArray[np.uint8], done: Integer, count: Integer, vocabulary: Vocabulary, cache: WordCache, memory: Scratch
) -> Integer:
    """Write where the records of words ``done`` to ``count`` start into ``memory.found``; 0 for long words.

    Words that the cache does not know are put into it. Returns the first word that it has no room for, or ``count``.
    """
    slots, records, used, bracketed = cache.slots, cache.records, cache.used, memory.word
    keys, firsts, lasts, found = memory.keys, memory.firsts, memory.lasts, memory.found
    for i in range(done, count):
        first, last, key = firsts[i], lasts[i], keys[i]
        if last - first > CACHED_BYTES:
            found[i] = 0
            continue
        slot = np.int64((key ^ (key >> np.uint64(32))) & np.uint64(SLOTS - 1))
        while slots[slot, 1] != 0 and slots[slot, 0] != key:
            slot = (slot + 1) & (SLOTS - 1)
        record = np.int64(slots[slot, 1])
        if record == 0:
            record = used[1]
            if used[0] >= MAX_CACHED_WORDS or record + 2 + MAX_ROWS_OF_WORD > MAX_CACHED_ROWS:
                return i
            word = END_OF_LINE if key == _END_OF_LINE_KEY else data[first:last]
            rows = records[record + 2 : record + 2 + MAX_ROWS_OF_WORD]
            hash_ = fasttext_hash(word)
            entry = find_entry(word, hash_, vocabulary)
            rows[0] = max(entry, 0)
            added = 1 if entry >= 0 else 0
            if is_label(word, entry, vocabulary):
                added = _NOT_A_WORD
            elif key != _END_OF_LINE_KEY and vocabulary.longest > 0:
                bracket(word, bracketed)
                added, _ = subword_rows(bracketed[: len(word) + 2], 0, vocabulary, rows, added)
            records[record] = added
            records[record + 1] = np.int32(hash_)
            slots[slot, 0] = key
            slots[slot, 1] = np.uint64(record)
            used[0] += 1
            used[1] = record + 2 + max(added, 0)
        found[i] = record
    return count


@kernel
def empty_cache(cache: WordCache) -> None:
    cache.slots[:] = 0
    cache.used[0], cache.used[1] = 0, 1


@kernel
def sum_long_word(
    word: NDArray[np.uint8],
    vocabulary: Vocabulary,
    matrix: NDArray[np.float32],
    rows: NDArray[np.int32],
    total: NDArray[np.float32],
) -> tuple[Integer, Integer]:
    """Sum the rows of a word that is not cached, with ``rows`` as working memory.

    Returns:
        Their number, or _NOT_A_WORD, and fastText's hash of the word.
    """
    hash_ = fasttext_hash(word)
    entry = find_entry(word, hash_, vocabulary)
    if is_label(word, entry, vocabulary):
        return _NOT_A_WORD, np.int32(hash_)
    rows[0] = max(entry, 0)
    count = 1 if entry >= 0 else 0
    bracketed = np.empty(len(word) + 2, np.uint8)
    bracket(word, bracketed)
    summed = 0
    position = 0 if vocabulary.longest > 0 else len(bracketed)
    while count > 0 or position < len(bracketed):
        count, position = subword_rows(bracketed, position, vocabulary, rows, count)
        sum_rows(matrix, rows, count, total)
        summed += count
        count = 0
    return summed, np.int32(hash_)


@kernel
def bracket(word: NDArray[np.uint8], bracketed: NDArray[np.uint8]) -> None:
    bracketed[0] = 60  # <
    for i in range(len(word)):
        bracketed[i + 1] = word[i]
    bracketed[len(word) + 1] = 62  # >


@kernel
def fasttext_hash(word: NDArray[np.uint8]) -> Integer:
    """As ``fasttext_model.fasttext_hash``."""
    value = _FNV_BASIS_32
    for byte in word:
        value = np.uint32((value ^ np.uint32(np.int8(byte))) * _FNV_PRIME_32)
    return value


@kernel
def find_entry(word: NDArray[np.uint8], hash_: Integer, vocabulary: Vocabulary) -> Integer:
    """Number of a word or label in the vocabulary, or -1."""
    mask = len(vocabulary.table) - 1
    slot = np.int64(hash_) & mask
    while vocabulary.table[slot] >= 0:
        entry = np.int64(vocabulary.table[slot])
        start = vocabulary.ends[entry]
        if vocabulary.ends[entry + 1] - start == len(word):
            i = 0
            while i < len(word) and word[i] == vocabulary.text[start + i]:
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


@kernel
def subword_rows(
    word: NDArray[np.uint8], position: Integer, vocabulary: Vocabulary, rows: NDArray[np.int32], count: Integer
) -> tuple[Integer, Integer]:
    """Append to ``rows``, which holds ``count``, those of the character n-grams that start at ``position`` or later.

    Returns:
        How many ``rows`` holds now, and the end of ``word``, or the position to go on from where it might overflow.
    """
    buckets, inverse = vocabulary.buckets, 1.0 / vocabulary.buckets
    kept_bits, kept_before, words = vocabulary.kept_bits, vocabulary.kept_before, vocabulary.words
    shortest, longest, size = vocabulary.shortest, vocabulary.longest, len(word)
    while position < size and count + min(longest, size) <= len(rows):
        start = position
        value = _FNV_BASIS_32
        characters = 0
        while position < size and characters < longest:
            value = np.uint32((value ^ np.uint32(np.int8(word[position]))) * _FNV_PRIME_32)
            position += 1
            while position < size and (word[position] & 0xC0) == 0x80:
                value = np.uint32((value ^ np.uint32(np.int8(word[position]))) * _FNV_PRIME_32)
                position += 1
            characters += 1
            is_bracket = characters == 1 and (start == 0 or position == size)
            if characters >= shortest and not is_bracket:
                bucket = remainder(value, buckets, inverse)
                row = bucket_row(bucket, words, kept_bits, kept_before)
                if row >= 0:
                    rows[count] = row
                    count += 1
        position = start + 1
        while position < size and (word[position] & 0xC0) == 0x80:
            position += 1
    return count, position


@kernel
def remainder(value: Integer, divisor: Integer, inverse: Real) -> Integer:
    """``value % divisor`` of 32-bit numbers in half the time of a division."""
    rest = np.int64(value) - np.int64(np.float64(value) * inverse) * divisor
    if rest < 0:
        return rest + divisor
    return rest - divisor if rest >= divisor else rest


@kernel
def bucket_row(
    bucket: Integer, words: Integer, kept_bits: NDArray[np.uint64], kept_before: NDArray[np.int32]
) -> Integer:
    """Row of an n-gram's bucket, or -1 if it was pruned. The bits fit into a core's own cache; a table would not."""
    if len(kept_bits) == 0:
        return words + bucket
    bits = kept_bits[bucket >> 6]
    bit = np.uint64(1) << np.uint64(bucket & 63)
    if bits & bit == 0:
        return -1
    return words + kept_before[bucket >> 6] + ones(bits & (bit - np.uint64(1)))


@kernel
def ones(bits: Integer) -> Integer:
    """How many bits are set, by sums within ever wider fields (H. S. Warren, Hacker's Delight, section 5-1)."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def sum_word_ngrams(
    hashes: NDArray[np.int32], vocabulary: Vocabulary, matrix: NDArray[np.float32], total: NDArray[np.float32]
) -> Integer:
    """Sum the rows of all n-grams of words; returns their number."""
    row = np.empty(1, np.int32)
    count = 0
    for i in range(len(hashes)):
        value = np.uint64(np.int64(hashes[i]))
        for j in range(i + 1, min(len(hashes), i + vocabulary.word_ngrams)):
            value = value * _NGRAM_FACTOR + np.uint64(np.int64(hashes[j]))
            row[0] = bucket_row(
                np.int64(value % np.uint64(vocabulary.buckets)),
                vocabulary.words,
                vocabulary.kept_bits,
                vocabulary.kept_before,
            )
            if row[0] >= 0:
                sum_rows(matrix, row, 1, total)
                count += 1
    return count


@kernel
def sum_rows(matrix: NDArray[np.float32], rows: NDArray[np.int32], count: Integer, total: NDArray[np.float32]) -> None:
    """Add rows of a matrix to ``total``, one after the other as fastText does (by eight, to store sums less often)."""
    eights = count - count % 8
    for i in range(0, eights, 8):
        a, b, c, d = matrix[rows[i]], matrix[rows[i + 1]], matrix[rows[i + 2]], matrix[rows[i + 3]]
        e, f, g, h = matrix[rows[i + 4]], matrix[rows[i + 5]], matrix[rows[i + 6]], matrix[rows[i + 7]]
        for j in range(len(total)):
            total[j] = total[j] + a[j] + b[j] + c[j] + d[j] + e[j] + f[j] + g[j] + h[j]
    for i in range(eights, count):
        for j in range(len(total)):
            total[j] += matrix[rows[i], j]


# Labels


@kernel
def best_label(weights: Weights, memory: Scratch) -> tuple[Integer, Real]:
    """The most likely label and its probability. Of labels that are equal to the last bit the later, as in fastText."""
    best: Integer = -1
    best_log: Real = np.float32(-np.inf)
    if weights.loss != HIERARCHICAL:
        score_flat(weights, memory)
        for label in range(len(weights.output)):
            if memory.logs[label] >= best_log:
                best, best_log = label, memory.logs[label]
        return best, np.float32(math.exp(best_log))
    # fastText visits rare labels first. A likely label, found by always following the likelier branch, tells which
    # branches cannot hold the best one. Down a branch, log may rise by 1e-5 a level; twice that is left for rounding.
    least = max(_LEAST_LOG, likely_leaf(weights, memory) - np.float32(2e-5 * len(weights.output)))
    count = start_descent(weights, memory)
    while count > 0:
        count -= 1
        node, log = memory.nodes[count], memory.logs[count]
        if log < least or log < best_log:
            continue
        if weights.left[node] < 0:
            best, best_log = node, log
        else:
            count = visit_children(node, log, count, weights, memory)
    return best, np.float32(math.exp(best_log))


@kernel
def likely_leaf(weights: Weights, memory: Scratch) -> Real:
    """Log probability of the label at the end of the likelier branches."""
    node: Integer = len(weights.left) - 1
    log: Real = np.float32(0)
    while weights.left[node] >= 0:
        visit_children(node, log, 0, weights, memory)
        likelier = 0 if memory.logs[0] > memory.logs[1] else 1
        node, log = np.int64(memory.nodes[likelier]), memory.logs[likelier]
    return log


@kernel
def score_labels(weights: Weights, memory: Scratch, scores: NDArray[np.float32]) -> None:
    """Write the probability of each label; less than 1e-5 becomes 0 by hierarchical softmax."""
    if weights.loss != HIERARCHICAL:
        score_flat(weights, memory)
        for label in range(len(scores)):
            scores[label] = np.float32(math.exp(memory.logs[label]))
        return
    count = start_descent(weights, memory)
    while count > 0:
        count -= 1
        node, log = memory.nodes[count], memory.logs[count]
        if log < _LEAST_LOG:
            continue
        if weights.left[node] < 0:
            scores[node] = np.float32(math.exp(log))
        else:
            count = visit_children(node, log, count, weights, memory)


@kernel
def start_descent(weights: Weights, memory: Scratch) -> Integer:
    memory.nodes[0] = len(weights.left) - 1
    memory.logs[0] = 0
    return 1


@kernel
def visit_children(node: Integer, log: Real, count: Integer, weights: Weights, memory: Scratch) -> Integer:
    """Put the children of a node on the stack, the left one on top."""
    product = output_product(node - len(weights.output), weights, memory)
    share = np.float32(1.0 / np.float64(np.float32(1) + math.exp(-product)))
    memory.nodes[count] = weights.right[node]
    memory.logs[count] = log + standard_log(share)
    memory.nodes[count + 1] = weights.left[node]
    memory.logs[count + 1] = log + standard_log(np.float32(1.0 - np.float64(share)))
    return count + 2


@kernel
def output_product(row: Integer, weights: Weights, memory: Scratch) -> Real:
    product = np.float32(0)
    for j in range(len(memory.hidden)):
        product += weights.output[row, j] * memory.hidden[j]
    return product * weights.output_norms[row]


@kernel
def standard_log(value: Real) -> Real:
    """``std_log`` of fastText. It makes probabilities a little larger than 1 possible."""
    return np.float32(math.log(np.float64(value) + 1e-5))


@kernel
def score_flat(weights: Weights, memory: Scratch) -> None:
    """Write the log probability of each label into ``memory.logs``."""
    labels = len(weights.output)
    for label in range(labels):
        memory.logs[label] = output_product(label, weights, memory)
    if weights.loss == SOFTMAX:
        largest = memory.logs[:labels].max()
        total = np.float32(0)
        for label in range(labels):
            memory.logs[label] = math.exp(memory.logs[label] - largest)
            total += memory.logs[label]
        for label in range(labels):
            memory.logs[label] = standard_log(memory.logs[label] / total)
    else:
        for label in range(labels):
            memory.logs[label] = standard_log(sigmoid(memory.logs[label]))


@kernel
def sigmoid(value: Real) -> Real:
    """From a table, as ``Loss::sigmoid`` of fastText does."""
    if value < -_SIGMOID_LIMIT:
        return np.float32(0)
    if value > _SIGMOID_LIMIT:
        return np.float32(1)
    step = np.float32(np.float32((value + _SIGMOID_LIMIT) * np.float32(_SIGMOID_STEPS)) / _SIGMOID_LIMIT)
    return _SIGMOID[np.int64(step / np.float32(2))]
