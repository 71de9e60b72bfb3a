"""Lines put together: words broken at a line's end are made whole."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stages.pdf.page import LINE_END_HYPHEN

HYPHENS = "-\u2010" + LINE_END_HYPHEN

_NOT_TEXT = re.compile("[\x00\x01\x03-\x08\x0b-\x1f\x7f\ud800-\udfff\ufeff\ufffe\uffff]")
_SPACES = re.compile(r"[^\S\n]+")
_MARKED = re.compile(rf"([^\W\d_]{{0,40}}){LINE_END_HYPHEN}\s?([^\W\d_]{{0,40}})")
# letters are counted to 40 so that a page without spaces takes no time quadratic in its length
_HYPHENATED_WORD = re.compile(r"[^\W\d_]{1,40}-[^\W\d_]{1,40}")
_LAST_LETTERS = re.compile(r"[^\W\d_]{1,40}$")
_FIRST_LETTERS = re.compile(r"[^\W\d_]{1,40}")


def cleaned(line: str) -> str:
    """A line without characters that are no text, blanks folded; marks of hyphens stay."""
    return _SPACES.sub(" ", _NOT_TEXT.sub("", line.replace("\r", " "))).strip()


def hyphenated_words(lines: Iterable[str]) -> frozenset[str]:
    """Words (lower case) that have a hyphen within a line: they keep it at a line's end too."""
    return frozenset(word.lower() for line in lines for word in _HYPHENATED_WORD.findall(line))


class Joiner:
    """Puts lines and paragraphs of a document together, and counts the words that it made whole."""

    def __init__(self, hyphenated: frozenset[str]) -> None:
        self._hyphenated = hyphenated
        self.repaired = 0

    def joined(self, lines: Iterable[str]) -> str:
        """One paragraph of these lines."""
        parts: list[str] = []
        for line in lines:
            if LINE_END_HYPHEN in line:
                line = _MARKED.sub(self._healed_mark, line[:-1]) + line[-1].replace(LINE_END_HYPHEN, "-")
            if not line:
                continue
            if parts:
                parts[-1], line = self._seam(parts[-1], line)
            parts.append(line)
        return "".join(parts)

    def _seam(self, before: str, line: str) -> tuple[str, str]:
        """The ends of two lines, such that they only need to be written one after the other."""
        if before[-1] in HYPHENS and len(before) > 1:
            if line[0].islower() and before[-2].isalpha():
                start, end = _LAST_LETTERS.search(before[-41:-1]), _FIRST_LETTERS.match(line)
                if start and end:
                    return before[:-1] + self._hyphen(start[0], end[0]), line
            return before[:-1] + "-", line if before[-2] != " " else f" {line}"
        if _is_cjk(before[-1]) and _is_cjk(line[0]):
            return before, line
        return before, f" {line}"

    def _healed_mark(self, word: re.Match[str]) -> str:
        if word[1] and word[2] and word[2][0].islower():
            return word[1] + self._hyphen(word[1], word[2]) + word[2]
        return f"{word[1]}-{word[2]}"

    def _hyphen(self, start: str, end: str) -> str:
        """What stands between the halves of a word in running text."""
        if f"{start}-{end}".lower() in self._hyphenated:
            return "-"
        self.repaired += 1
        return ""


def _is_cjk(character: str) -> bool:
    """Han, kana and their punctuation, which are written without spaces; Hangul is not."""
    return "\u2e80" <= character <= "\ua4cf" or "\uf900" <= character <= "\ufaff" or "\uff00" <= character <= "\uffef"
