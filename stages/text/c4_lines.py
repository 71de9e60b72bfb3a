"""C4's rules for lines, for a batch of texts at once: which lines stay, and what is left of them.

What they mean is said by ``stages.text.reference.c4``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel
from stages.text.sentences import count_sentences
from stages.text.unicode_tables import DIGIT
from stages.text.utf8 import (
    break_at,
    characters,
    code_point,
    copy_bytes,
    count_byte,
    find_break,
    is_near_space,
    skip_space,
    space_at,
    strip_end,
)

COUNTS = (
    "lines",
    "kept_lines",
    "long_word_lines",
    "unpunctuated_lines",
    "short_lines",
    "javascript_lines",
    "policy_lines",
    "sentences",
    "lorem_ipsum_lines",
    "curly_bracket_lines",
    "curly_bracket_first",
)
LINES, KEPT, LONG_WORD, UNPUNCTUATED, SHORT, JAVASCRIPT, POLICY = range(7)
SENTENCES, LOREM_IPSUM, CURLY_BRACKET, CURLY_BRACKET_FIRST = range(7, 11)
POLICY_PHRASES = (
    "cookie policy",
    "privacy policy",
    "terms of use",
    "use cookies",
    "use of cookies",
    "uses cookies",
)
_HAS_LOREM_IPSUM, _HAS_JAVASCRIPT, _HAS_POLICY = 1, 2, 4
_PHRASES = sorted(
    [("lorem ipsum", _HAS_LOREM_IPSUM), ("javascript", _HAS_JAVASCRIPT)]
    + [(phrase, _HAS_POLICY) for phrase in POLICY_PHRASES]
)
_PHRASE_BYTES = np.frombuffer("".join(phrase for phrase, _ in _PHRASES).encode(), np.uint8)
_PHRASE_BOUNDS = np.cumsum([0, *(len(phrase) for phrase, _ in _PHRASES)])
_PHRASE_FLAGS = np.array([flag for _, flag in _PHRASES])


def _by_first_byte() -> NDArray[np.int64]:
    """For each byte, upper case or lower, the first phrase that begins with it and the first that no longer does."""
    first = [ord(phrase[0]) for phrase, _ in _PHRASES]
    lower = [ord(chr(byte).lower()) if byte < 0x80 else 0 for byte in range(256)]
    found = [(np.searchsorted(first, byte), np.searchsorted(first, byte, side="right")) for byte in lower]
    return np.array(found, np.int64)


_SQUARE_BRACKET, _CURLY_BRACKET = np.uint8(ord("[")), np.uint8(ord("{"))
_LOWER = np.uint8(0x20)  # the bit that tells lower case from upper in ASCII
_ONE, _TWO, _THREE, _FOUR = (np.uint64(i) for i in (1, 2, 3, 4))
_BY_FIRST_BYTE = _by_first_byte()
_MAY_BEGIN_PHRASE = _BY_FIRST_BYTE[:, 0] < _BY_FIRST_BYTE[:, 1]
_MAY_BE_SPACE = np.isin(np.arange(256), [*range(9, 14), *range(28, 33), 0xC2, 0xE1, 0xE2, 0xE3])
_EDIT, _CITATION_NEEDED = np.frombuffer(b"edit]", np.uint8), np.frombuffer(b"citation needed]", np.uint8)


@kernel
def split_lines(
    data: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First byte and end of each line of a batch of texts, and the number of each text's first line."""
    rows = len(offsets) - 1
    first_lines = np.zeros(rows + 1, np.int64)
    room = rows
    for i in range(np.uint64(offsets[0]), np.uint64(offsets[rows])):  # a line end has one of these bytes
        byte = data[i]
        room += (byte < 0x20) | (byte == 0x85) | (byte == 0xA8) | (byte == 0xA9)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    count = 0
    for row in range(rows):
        line, end = offsets[row], offsets[row + 1]
        while line < end:
            starts[count], ends[count] = line, find_break(data, line, end)
            line = ends[count] + break_at(data, ends[count], end) if ends[count] < end else end
            count += 1
        first_lines[row + 1] = count
    return starts[:count], ends[:count], first_lines


@kernel
def _word_end(data: NDArray[np.uint8], at: int, end: int) -> int:
    while at < end and not (_MAY_BE_SPACE[data[np.uint64(at)]] and space_at(data, at, end)):
        at += 1
    return at


@kernel
def _words(data: NDArray[np.uint8], start: int, end: int, enough: int) -> int:
    """Words between white space, but no more than ``enough`` (which is at least 1)."""
    words, is_in_word, at = 0, False, start
    while at < end:
        length = 0
        if _MAY_BE_SPACE[data[np.uint64(at)]]:
            length = 1 if data[np.uint64(at)] < 0x80 else space_at(data, at, end)
        if length:
            is_in_word = False
            at += length
            continue
        if not is_in_word:
            is_in_word = True
            words += 1
            if words == enough:
                break
        at += 1
    return words


@kernel
def _has_long_word(data: NDArray[np.uint8], start: int, end: int, max_characters: int) -> bool:
    """Whether a word has more than ``max_characters``; looks backwards for white space from where one would have."""
    at = start
    while end - at > max_characters:
        space = at + max_characters
        while space >= at and not (_MAY_BE_SPACE[data[space]] and space_at(data, space, end)):
            space -= 1
        if space >= at:
            at = space + space_at(data, space, end)
            continue
        word_end = _word_end(data, at, end)
        if characters(data, at, word_end) > max_characters:
            return True
        at = word_end
    return False


@kernel
def _phrase_at(data: NDArray[np.uint8], at: int, end: int, phrase: int) -> bool:
    """Whether a phrase is at ``at`` in any case.

    The Kelvin sign (U+212A) is the only letter outside ASCII whose lower case is a letter of a phrase.
    """
    for i in range(_PHRASE_BOUNDS[phrase], _PHRASE_BOUNDS[phrase + 1]):
        if at >= end:
            return False
        byte, wanted = data[at], _PHRASE_BYTES[i]
        if ord("A") <= byte <= ord("Z"):
            byte |= np.uint8(0x20)
        if byte == wanted:
            at += 1
        elif wanted == ord("k") and at + 2 < end and byte == 0xE2 and data[at + 1] == 0x84 and data[at + 2] == 0xAA:
            at += 3
        else:
            return False
    return True


@kernel
def _may_have_phrase(data: NDArray[np.uint8], start: int, end: int) -> bool:
    """False only if no phrase is in the text in any case: a quick look at five bytes that each must have."""
    found = False
    for i in range(np.uint64(start), np.uint64(max(start, end - 4))):
        a, b, c = data[i] | _LOWER, data[i + _ONE] | _LOWER, data[i + _TWO] | _LOWER
        d, e = data[i + _THREE] | _LOWER, data[i + _FOUR] | _LOWER
        found |= (a == ord("l")) & (b == ord("o")) & (c == ord("r")) & (d == ord("e")) & (e == ord("m"))
        found |= (a == ord("j")) & (b == ord("a")) & (c == ord("v")) & (d == ord("a")) & (e == ord("s"))
        found |= (a == ord("f")) & (b == ord(" ")) & (c == ord("u")) & (d == ord("s")) & (e == ord("e"))
        found |= (a == ord("v")) & (b == ord("a")) & (c == ord("c")) & (d == ord("y")) & (e == ord(" "))
        found |= (
            (a == ord("c")) & (b == ord("o")) & (c == ord("o")) & (((d == ord("k")) & (e == ord("i"))) | (d == 0xE2))
        )
    return found


@kernel
def _phrases(data: NDArray[np.uint8], start: int, end: int) -> int:
    """Which kinds of phrase are in a line."""
    found = 0
    for at in range(start, end):
        if _MAY_BEGIN_PHRASE[data[at]]:
            for phrase in range(_BY_FIRST_BYTE[data[at], 0], _BY_FIRST_BYTE[data[at], 1]):
                if _phrase_at(data, at, end, phrase):
                    found |= _PHRASE_FLAGS[phrase]
    return found


@kernel
def _follows(data: NDArray[np.uint8], at: int, end: int, wanted: NDArray[np.uint8]) -> bool:
    if end - at < len(wanted):
        return False
    same = True
    for i in range(len(wanted)):
        same &= data[at + i] == wanted[i]
    return same


@kernel
def _citation_at(data: NDArray[np.uint8], at: int, end: int, table: NDArray[np.uint32]) -> int:
    """Length in bytes of a mark of Wikipedia (``[12]``, ``[]``, ``[edit]``, ``[citation needed]``); else 0."""
    if data[at] != ord("["):
        return 0
    if _follows(data, at + 1, end, _EDIT):
        return 1 + len(_EDIT)
    if _follows(data, at + 1, end, _CITATION_NEEDED):
        return 1 + len(_CITATION_NEEDED)
    digit = at + 1
    while digit < end:
        if data[digit] == ord("]"):
            return digit + 1 - at
        character, length = code_point(data, digit, end)
        if not table[character] & DIGIT:
            break
        digit += length
    return 0


@kernel
def _without_citations(
    data: NDArray[np.uint8], start: int, end: int, table: NDArray[np.uint32], out: NDArray[np.uint8], position: int
) -> int:
    """Write ``data[start:end]`` without citations to ``out`` from ``position`` on; return where it ends."""
    at = start
    while at < end:
        length = _citation_at(data, at, end, table)
        if length:
            at += length
        else:
            out[position] = data[at]
            position += 1
            at += 1
    return position


@kernel
def _stripped(out: NDArray[np.uint8], start: int, end: int) -> int:
    """Strip ``out[start:end]`` in place; return its new end."""
    text = skip_space(out, start, end)
    end = strip_end(out, text, end)
    for i in range(end - text):
        out[start + i] = out[text + i]
    return start + end - text


@kernel
def _is_punctuated(data: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether a line ends as a sentence does, and not with an ellipsis."""
    if start == end:
        return False
    last = data[end - 1]
    if last == ord("."):
        return bool(end - start < 3 or data[end - 2] != ord(".") or data[end - 3] != ord("."))
    return bool(last == ord("?") or last == ord("!") or last == ord('"') or last == ord("'"))


@kernel
def _doubled(array: NDArray[np.int64]) -> NDArray[np.int64]:
    longer = np.empty(2 * len(array), np.int64)
    longer[: len(array)] = array
    return longer


@kernel
def edit_lines(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    line_starts: NDArray[np.int64],
    line_ends: NDArray[np.int64],
    first_lines: NDArray[np.int64],
    word_starts: NDArray[np.int64],
    word_ends: NDArray[np.int64],
    firsts: NDArray[np.int64],
    table: NDArray[np.uint32],
    max_word_characters: int,
    min_words: int,
    punctuated: bool,
    without_citations: bool,
    strip_edited: bool,
    without_javascript: bool,
    without_policy: bool,
    separator: int,
    lines_are_sentences: bool,
    words_are_english: bool,
) -> tuple[
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.uint8],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
]:
    """What is left of each text, and what was counted in it.

    ``data``, ``offsets``, ``word_starts``, ``word_ends`` and ``firsts`` are of ``stages.text.words.Words``, ``table``
    is the ``character_table``.

    Returns:
        ``COUNTS`` of each text (n x 11); words in its kept lines, as far as their sentences are counted; bytes; first
        byte and end in them of what is left of each text; text, first byte and end of each kept line whose sentences
        are not counted yet, because its words have changed or are not split as English.
    """
    rows = len(offsets) - 1
    counts, kept_words = np.zeros((rows, len(COUNTS)), np.int32), np.zeros(rows, np.int64)
    out = np.empty(offsets[rows] - offsets[0] + len(line_starts) + 1, np.uint8)
    starts, ends = np.empty(rows, np.int64), np.empty(rows, np.int64)
    open_rows, open_starts, open_ends = np.empty(16, np.int64), np.empty(16, np.int64), np.empty(16, np.int64)
    still_open, position = 0, 0
    for row in range(rows):
        begin = position
        word, last_word = firsts[row], firsts[row + 1]
        has_bracket = without_citations and count_byte(data, offsets[row], offsets[row + 1], _SQUARE_BRACKET) > 0
        has_curly = count_byte(data, offsets[row], offsets[row + 1], _CURLY_BRACKET) > 0
        has_phrase = _may_have_phrase(data, offsets[row], offsets[row + 1])
        counts[row, LINES] = first_lines[row + 1] - first_lines[row]
        for line in range(first_lines[row], first_lines[row + 1]):
            start, end = line_starts[line], line_ends[line]
            if start < end and is_near_space(data[start]):
                start = skip_space(data, start, end)
            if start < end and is_near_space(data[end - 1]):
                end = strip_end(data, start, end)
            if _has_long_word(data, start, end, max_word_characters):
                counts[row, LONG_WORD] += 1
                continue

            text = position + (counts[row, KEPT] > 0)  # a separator comes before it
            if has_bracket and count_byte(data, start, end, _SQUARE_BRACKET):
                text_end = _without_citations(data, start, end, table, out, text)
            else:
                text_end = text + end - start
                copy_bytes(data, start, end, out, text)
            is_edited = text_end - text < end - start
            if is_edited and strip_edited:
                text_end = _stripped(out, text, text_end)

            if punctuated and not _is_punctuated(out, text, text_end):
                counts[row, UNPUNCTUATED] += 1
                continue
            if min_words > 0 and _words(data, start, end, min_words) < min_words:
                counts[row, SHORT] += 1
                continue
            phrases = _phrases(out, text, text_end) if has_phrase or is_edited else 0
            counts[row, LOREM_IPSUM] += (phrases & _HAS_LOREM_IPSUM) != 0
            if without_javascript and phrases & _HAS_JAVASCRIPT:
                counts[row, JAVASCRIPT] += 1
                continue
            if has_curly and count_byte(out, text, text_end, _CURLY_BRACKET):
                counts[row, CURLY_BRACKET] += 1
                counts[row, CURLY_BRACKET_FIRST] |= counts[row, LOREM_IPSUM] == 0
            if without_policy and phrases & _HAS_POLICY:
                counts[row, POLICY] += 1
                continue

            if lines_are_sentences:
                counts[row, SENTENCES] += 1
            elif words_are_english and not is_edited:
                while word < last_word and word_starts[word] < start:
                    word += 1
                first = word
                while word < last_word and word_ends[word] <= end:
                    word += 1
                counts[row, SENTENCES] += count_sentences(data, start, end, word_starts, word_ends, first, word, table)
                kept_words[row] += word - first
            else:
                if still_open == len(open_rows):
                    open_rows, open_starts, open_ends = _doubled(open_rows), _doubled(open_starts), _doubled(open_ends)
                open_rows[still_open], open_starts[still_open], open_ends[still_open] = row, text, text_end
                still_open += 1
            if counts[row, KEPT]:
                out[position] = separator
            counts[row, KEPT] += 1
            position = text_end
        starts[row] = skip_space(out, begin, position)
        ends[row] = strip_end(out, starts[row], position)
    return (
        counts,
        kept_words,
        out[:position],
        starts,
        ends,
        open_rows[:still_open],
        open_starts[:still_open],
        open_ends[:still_open],
    )


@kernel
def count_sentences_of_texts(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    word_starts: NDArray[np.int64],
    word_ends: NDArray[np.int64],
    firsts: NDArray[np.int64],
    table: NDArray[np.uint32],
) -> NDArray[np.int64]:
    """Sentences of each text."""
    found = np.empty(len(offsets) - 1, np.int64)
    for row in range(len(offsets) - 1):
        found[row] = count_sentences(
            data, offsets[row], offsets[row + 1], word_starts, word_ends, firsts[row], firsts[row + 1], table
        )
    return found


@kernel
def cut_out(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes and offsets of texts that lie in ``data``."""
    offsets = np.zeros(len(starts) + 1, np.int64)
    for row in range(len(starts)):
        offsets[row + 1] = offsets[row] + ends[row] - starts[row]
    out = np.empty(offsets[len(starts)], np.uint8)
    for row in range(len(starts)):
        copy_bytes(data, starts[row], ends[row], out, offsets[row])
    return out, offsets
