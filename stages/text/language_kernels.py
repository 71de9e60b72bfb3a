"""Compiled prediction by a fastText model over the bytes of an Arrow column.

The rows of the input matrix that a text stands for are summed in fastText's own order, in single precision, so that
scores come out the same to the last bit, even those of documents of many megabytes, whose rounding errors are larger
than any tolerance.

What is imitated, all of https://github.com/facebookresearch/fastText: ``Dictionary::addWordNgrams``,
``Model::computeHidden``, and for the best label ``HierarchicalSoftmaxLoss::dfs`` and ``Loss::findKBest``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.fasttext_model import HIERARCHICAL, SOFTMAX, Vocabulary, Weights
from stages.text.instructions import LANES, add_eight_rows, borrowed_arrays, copy_eight
from stages.text.language_words import (
    FEW_ROWS,
    NOT_A_WORD,
    Ngrams,
    WordCache,
    empty_cache,
    kept_row,
    learn_words,
    ngram_rows,
    ngrams,
    scan_words,
    word_row,
)

Integer: TypeAlias = Any  # of kernels: a Python number to start with, then numpy's, of the width that fastText uses
Real: TypeAlias = Any

WORDS = 1024  # that are looked up in one go
PENDING_ROWS = 1 << 13  # rows of a document that are collected before they are summed

_NGRAM_FACTOR = np.uint64(116049371)  # Dictionary::addWordNgrams

_LEAST_LOG = np.float32(math.log(1e-5))  # std_log(threshold 0): dfs follows no branch below
_SIGMOID_STEPS, _SIGMOID_LIMIT = 512, np.float32(8)


def _sigmoid_table() -> NDArray[np.float32]:
    values = [i * 2 * 8 / _SIGMOID_STEPS - 8 for i in range(_SIGMOID_STEPS + 1)]
    return np.array([1 / (1 + np.float32(math.exp(-x))) for x in values], np.float32)


_SIGMOID = _sigmoid_table()


class Scratch(NamedTuple):
    """Working memory of a document."""

    pending: NDArray[np.int32]  # rows not summed yet: PENDING_ROWS and those of one more word
    hidden: NDArray[np.float32]  # (columns of the input matrix,): the document's vector
    nodes: NDArray[np.int32]  # (2 * labels,): of the tree, yet to be visited
    logs: NDArray[np.float32]  # (2 * labels,): log probability of each
    keys: NDArray[np.uint64]  # (WORDS,): of the words at hand
    firsts: NDArray[np.int64]  # (WORDS,): where each begins
    lasts: NDArray[np.int64]  # (WORDS,): where each ends
    found: NDArray[np.int64]  # (WORDS,): where its record starts
    ngrams: Ngrams


def scratch(vocabulary: Vocabulary, weights: Weights) -> Scratch:
    """Working memory for a model."""
    labels, memory = len(weights.output), ngrams(vocabulary)
    return Scratch(
        pending=np.zeros(PENDING_ROWS + len(memory.rows) + FEW_ROWS, np.int32),
        hidden=np.zeros(weights.rows.shape[1], np.float32),
        nodes=np.zeros(2 * labels, np.int32),
        logs=np.zeros(2 * labels, np.float32),
        keys=np.zeros(WORDS, np.uint64),
        firsts=np.zeros(WORDS, np.int64),
        lasts=np.zeros(WORDS, np.int64),
        found=np.zeros(WORDS, np.int64),
        ngrams=memory,
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
    vocabulary, weights = borrowed_arrays(vocabulary), borrowed_arrays(weights)
    cache, memory = borrowed_arrays(cache), borrowed_arrays(memory)
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
    vocabulary, weights = borrowed_arrays(vocabulary), borrowed_arrays(weights)
    cache, memory = borrowed_arrays(cache), borrowed_arrays(memory)
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
            known = learn_words(data, done, keys[:count], firsts, lasts, vocabulary, cache, memory.ngrams, found)
            for i in range(done, known):
                record = found[i]
                if record == 0 or waiting > PENDING_ROWS:
                    sum_rows(matrix, pending, waiting, hidden)
                    rows += waiting
                    waiting = 0
                if record == 0:
                    hash_, added = sum_long_word(data[firsts[i] : lasts[i]], vocabulary, matrix, memory.ngrams, hidden)
                    rows += max(added, 0)
                else:
                    added, hash_ = np.int64(records[record]), records[record + 1]
                    copy_eight(records, record + 2, pending, waiting)  # most words have no more
                    for j in range(FEW_ROWS, added):
                        pending[waiting + j] = records[record + 2 + j]
                    waiting += max(added, 0)
                if vocabulary.word_ngrams > 1 and added != NOT_A_WORD:
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
def sum_long_word(
    word: NDArray[np.uint8],
    vocabulary: Vocabulary,
    matrix: NDArray[np.float32],
    memory: Ngrams,
    total: NDArray[np.float32],
) -> tuple[Integer, Integer]:
    """Sum the rows of a word that is not cached.

    Returns:
        fastText's hash of the word, and the number of rows or NOT_A_WORD.
    """
    hash_, count = word_row(word, vocabulary, memory.rows)
    if count == NOT_A_WORD:
        return hash_, count
    summed: Integer = 0
    position: Integer = -1
    filled: Integer = 0
    while position < 0 or filled > 0:
        count, position, filled = ngram_rows(word, position, filled, vocabulary, memory, count)
        sum_rows(matrix, memory.rows, count, total)
        summed += count
        count = 0
    return hash_, summed


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
            bucket = value % np.uint64(vocabulary.buckets)
            if len(vocabulary.kept_bits) == 0:
                row[0] = vocabulary.words + np.int64(bucket)
            else:
                row[0] = kept_row(bucket, vocabulary.words, vocabulary.kept_bits, vocabulary.kept_before)
            if row[0] >= 0:
                sum_rows(matrix, row, 1, total)
                count += 1
    return count


@kernel
def sum_rows(matrix: NDArray[np.float32], rows: NDArray[np.int32], count: Integer, total: NDArray[np.float32]) -> None:
    """Add rows of a matrix to ``total``, one after the other as fastText does."""
    eights = count - count % 8
    for column in range(0, len(total), LANES):
        for i in range(0, eights, 8):
            add_eight_rows(total, matrix, column, rows, i)
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
    for j in range(weights.output.shape[1]):
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
