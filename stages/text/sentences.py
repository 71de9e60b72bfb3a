"""Sentences of English text, as datatrove finds them: by spaCy's sentencizer over spaCy's tokens.

A sentence goes on over the punctuation that follows its end, and begins anew at the next token that is none. spaCy
makes a token of white space too, unless it is one blank between two words. A text without tokens is one sentence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.unicode_tables import SENTENCE_END, UNICODE_PUNCTUATION
from stages.text.utf8 import code_point

_OTHER, _PUNCTUATION, _END = 0, 1, 2


@kernel
def _kind(data: NDArray[np.uint8], start: int, end: int, table: NDArray[np.uint32]) -> int:
    """What the sentencizer makes of a word."""
    if data[start] < 0x80 and not table[data[start]] & UNICODE_PUNCTUATION:
        return _OTHER  # the marks in ASCII that end a sentence are punctuation
    character, length = code_point(data, start, end)
    if start + length == end and table[character] & SENTENCE_END:
        return _END
    at = start
    while at < end:
        character, length = code_point(data, at, end)
        if not table[character] & UNICODE_PUNCTUATION:
            return _OTHER
        at += length
    return _PUNCTUATION


@kernel
def _is_space_token(data: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether spaCy makes a token of the white space between two words, or after the last."""
    return end > start and not (end == start + 1 and data[start] == ord(" "))


@kernel
def count_sentences(
    data: NDArray[np.uint8],
    start: int,
    end: int,
    word_starts: NDArray[np.int64],
    word_ends: NDArray[np.int64],
    first_word: int,
    last_word: int,
    table: NDArray[np.uint32],
) -> int:
    """Sentences of ``data[start:end]``, whose words are ``first_word`` to ``last_word - 1``; at least 1."""
    sentences, is_ended, at = 1, False, start
    for word in range(first_word, last_word):
        if is_ended and _is_space_token(data, at, word_starts[word]):
            sentences += 1
            is_ended = False
        at = word_ends[word]
        kind = _kind(data, word_starts[word], at, table)
        if kind == _END:
            is_ended = True
        elif is_ended and kind == _OTHER:
            sentences += 1
            is_ended = False
    return sentences + (is_ended and _is_space_token(data, at, end))


@kernel
def split_sentences(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    word_starts: NDArray[np.int64],
    word_ends: NDArray[np.int64],
    firsts: NDArray[np.int64],
    table: NDArray[np.uint32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First byte and end of each sentence of a batch of texts, and the number of each text's first sentence.

    A sentence begins where the one before ends, so white space between them belongs to the second.
    """
    rows = len(offsets) - 1
    starts, ends = np.empty(len(word_starts) + 2 * rows, np.int64), np.empty(len(word_starts) + 2 * rows, np.int64)
    first_sentences = np.zeros(rows + 1, np.int64)
    count = 0
    for row in range(rows):
        begin, at, is_ended = offsets[row], offsets[row], False
        for word in range(firsts[row], firsts[row + 1]):
            kind = _kind(data, word_starts[word], word_ends[word], table)
            if is_ended and (_is_space_token(data, at, word_starts[word]) or kind == _OTHER):
                starts[count], ends[count] = begin, at
                count += 1
                begin, is_ended = at, False
            at = word_ends[word]
            if kind == _END:
                is_ended = True
        if is_ended and _is_space_token(data, at, offsets[row + 1]):
            starts[count], ends[count] = begin, at
            count += 1
            begin = at
        starts[count], ends[count] = begin, offsets[row + 1]
        count += 1
        first_sentences[row + 1] = count
    return starts[:count], ends[:count], first_sentences
