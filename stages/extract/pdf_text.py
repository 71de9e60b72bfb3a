"""From the lines of a PDF's pages to running text: running heads out, words and paragraphs whole again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from stages.extract.pdf import LINE_END_HYPHENS

EDGE_LINES = 3
"""Lines at the top and at the bottom of a page among which running heads and page numbers are looked for."""
MIN_HEAD_PAGES = 3
MIN_HEAD_SHARE = 0.25
"""A line is a running head if it stands at the edge of at least 3 pages and of a quarter of them: left and
right pages often differ."""
FULL_LINE_SHARE = 0.75
"""A line that reaches this share of the page's usual length was broken by the typesetter, not the author."""
PARAGRAPH_END = (".", "!", "?", ":", "\u3002", "\uff01", "\uff1f")

_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufeff\ufffe\uffff]")
_SPACES = re.compile(r"[^\S\n]+")
_BROKEN_WORD = re.compile(rf"([^\W\d_]{{0,40}})[{LINE_END_HYPHENS}]([^\W\d_]{{0,40}})")
# letters are counted to 40 so that a page without spaces takes no time quadratic in its length
_HYPHENATED_WORD = re.compile(r"[^\W\d_]{1,40}-[^\W\d_]{1,40}")
_BULLET = re.compile(r"([•◦▪‣·*–—-]|\(?(\d{1,3}|[a-zA-Z])[.)])\s")
_LAST_LETTERS = re.compile(r"[^\W\d_]+-$")
_FIRST_LETTERS = re.compile(r"[^\W\d_]+")
_CJK_FIRST = "\u2e80"


def text_of(pages: Sequence[str]) -> str:
    """The text of a document from that of its pages: one paragraph a line, paragraphs joined across pages."""
    words = frozenset(word.lower() for page in pages for word in _HYPHENATED_WORD.findall(page))
    lines = without_running_heads([_lines(page, words) for page in pages])
    paragraphs: list[str] = []
    for page in lines:
        found = joined_lines(page, words)
        if paragraphs and found and _continues(paragraphs[-1], found[0]):
            paragraphs[-1] = _joined(paragraphs[-1], found.pop(0), words)
        paragraphs += found
    return "\n".join(paragraphs)


def _lines(page: str, hyphenated: frozenset[str]) -> list[str]:
    page = page.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    # PDFium has put the word's halves together, with its mark between them
    page = _BROKEN_WORD.sub(lambda word: _healed(word[1], word[2], hyphenated), page)
    page = _SPACES.sub(" ", _NOT_TEXT.sub("", page))
    return [line.strip() for line in page.split("\n") if line.strip()]


def without_running_heads(pages: Sequence[Sequence[str]]) -> list[list[str]]:
    """The pages' lines without those that recur, digits aside, at the edges of several pages."""
    seen: Counter[str] = Counter()
    for page in pages:
        seen.update({_masked(page[index]) for index in _edges(page)})
    written = sum(1 for page in pages if page)
    least = max(MIN_HEAD_PAGES, MIN_HEAD_SHARE * written)
    heads = {line for line, count in seen.items() if count >= least and _may_be_head(line)}
    cleaned = []
    for page in pages:
        edges = _edges(page)
        cleaned.append([line for i, line in enumerate(page) if i not in edges or _masked(line) not in heads])
    return cleaned


def _edges(page: Sequence[str]) -> set[int]:
    # a third at most at either end: pages of a form or of slides may be alike from top to bottom
    reach = min(EDGE_LINES, len(page) // 3)
    return {i for i in range(len(page)) if i < reach or i >= len(page) - reach}


def _masked(line: str) -> str:
    return re.sub(r"\d+", "#", line).casefold()


def _may_be_head(masked: str) -> bool:
    # rows of a table that runs over pages are numbers too; a page number has one or two ("3 / 12")
    return any(character.isalpha() for character in masked) or masked.count("#") <= 2


def joined_lines(lines: Sequence[str], hyphenated: frozenset[str] = frozenset()) -> list[str]:
    """The paragraphs of a page: a line is joined to the next if it is about as long as the page's lines are.

    Args:
        lines: of one page.
        hyphenated: words (lower case) that keep their hyphen when it falls at a line's end.
    """
    if not lines:
        return []
    usual = sorted(map(len, lines))[int(0.8 * (len(lines) - 1))]
    paragraphs = [lines[0]]
    for previous, line in pairwise(lines):
        full = len(previous) >= FULL_LINE_SHARE * usual
        begins = _BULLET.match(line) or (previous.endswith(PARAGRAPH_END) and len(previous) < 0.9 * usual)
        if _is_broken_word(previous, line) or (full and not begins):
            paragraphs[-1] = _joined(paragraphs[-1], line, hyphenated)
        else:
            paragraphs.append(line)
    return paragraphs


def _is_broken_word(line: str, following: str) -> bool:
    return line.endswith("-") and line[-2:-1].isalpha() and following[0].islower()


def _continues(paragraph: str, following: str) -> bool:
    """Whether a page starts in the middle of the paragraph that the page before ends in."""
    return not paragraph.endswith(PARAGRAPH_END) and following[0].islower()


def _joined(text: str, line: str, hyphenated: frozenset[str]) -> str:
    if _is_broken_word(text, line):
        start, end = _LAST_LETTERS.search(text[-40:]), _FIRST_LETTERS.match(line)
        if start and end:
            word = _healed(start[0].removesuffix("-"), end[0], hyphenated)
            return text.removesuffix(start[0]) + word + line[end.end() :]
    if text.endswith("-") or (text[-1] >= _CJK_FIRST and line[0] >= _CJK_FIRST):
        return text + line
    return f"{text} {line}"


def _healed(start: str, end: str, hyphenated: frozenset[str]) -> str:
    """A word that was broken at a line's end: its hyphen stays if the document has it within a line too."""
    return f"{start}-{end}" if f"{start}-{end}".lower() in hyphenated else start + end
