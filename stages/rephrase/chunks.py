"""Passages of long documents, and their answers put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import regex

CountTokens = Callable[[Sequence[str]], list[int]]
Span = tuple[int, int]

SMALL_GROUP = 32  # pieces of less than a chunk's size over this stand together


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document. Positions are characters of the document; the ends are exclusive."""

    text: str  # from overlap_start to end
    start: int  # where the chunk before ends
    end: int
    overlap_start: int  # at most start: what lies between stands in the chunk before, too
    tokens: int


def chunks_of(text: str, count_tokens: CountTokens, most_tokens: int, overlap_tokens: int = 0) -> list[Chunk]:
    """Split a document into passages of at most ``most_tokens`` and of about equal size; none if it is empty.

    They are cut between paragraphs; a paragraph that is too long, between its lines, then sentences, then words, then
    characters. Lists, tables, fenced code and a heading with what follows it are held together where they fit. No
    character is lost or changed: ``text[chunk.start : chunk.end]`` of all chunks together is the text. A single
    character may be over the limit.

    Args:
        overlap_tokens: how much of the end of the chunk before a chunk may repeat, in whole sentences or lines.

    Raises:
        ValueError: the overlap leaves no room.
    """
    if not 0 <= overlap_tokens < most_tokens:
        raise ValueError(f"an overlap of {overlap_tokens} tokens leaves no room in chunks of {most_tokens}")
    if not text:
        return []
    if (count := count_tokens([text])[0]) <= most_tokens:
        return [Chunk(text, 0, len(text), 0, count)]
    room = most_tokens - overlap_tokens
    pieces, tokens = _pieces(text, count_tokens, room)
    ends, tokens = _grouped([end for _, end in pieces], tokens, room // SMALL_GROUP)
    borders = [0, *_packed(ends, tokens, room)]
    spans, tokens = _within(text, list(pairwise(borders)), count_tokens, room)
    starts = _overlap_starts(text, spans, count_tokens, overlap_tokens)
    texts = [text[o:end] for (_, end), o in zip(spans, starts, strict=True)]
    if overlap_tokens:
        tokens = count_tokens(texts)
    return [Chunk(t, *span, o, n) for t, span, o, n in zip(texts, spans, starts, tokens, strict=True)]


def _pieces(text: str, count_tokens: CountTokens, most_tokens: int) -> tuple[list[Span], list[int]]:
    """What is not cut, in order, with its tokens: the largest units that fit."""
    spans, tokens = [(0, len(text))], [most_tokens + 1]
    for split in (_sections, _paragraphs, _lines, _sentences):
        finer: list[Span] = []
        for (start, end), count in zip(spans, tokens, strict=True):
            finer += [(start, end)] if count <= most_tokens else split(text, start, end)
        if finer != spans:
            spans, tokens = finer, count_tokens([text[start:end] for start, end in finer])
    if max(tokens) <= most_tokens:
        return spans, tokens
    shreds: list[Span] = []
    for span, count in zip(spans, tokens, strict=True):
        shreds += [span] if count <= most_tokens else _shreds(text, span, count_tokens, most_tokens)
    return shreds, count_tokens([text[start:end] for start, end in shreds])


def _shreds(text: str, span: Span, count_tokens: CountTokens, most_tokens: int) -> list[Span]:
    """A sentence that is too long, in parts small enough to fill chunks with: here no border is better than another."""
    small = max(1, most_tokens // 8)
    shreds = [span]
    while True:
        counts = count_tokens([text[start:end] for start, end in shreds])
        finer: list[Span] = []
        for (start, end), count in zip(shreds, counts, strict=True):
            if count > most_tokens:
                finer += _parts(text, start, end)
            else:
                finer += _halves(text, start, end) if count > small else [(start, end)]
        if finer == shreds:
            return shreds
        shreds = finer


def _grouped(ends: Sequence[int], tokens: Sequence[int], most_tokens: int) -> tuple[list[int], list[int]]:
    """The pieces, small ones together: packing tries all that one chunk may hold, and lines may be of a few tokens."""
    grouped_ends, grouped = [ends[0]], [tokens[0]]
    for end, count in zip(ends[1:], tokens[1:], strict=True):
        if grouped[-1] + count <= most_tokens:
            grouped_ends[-1], grouped[-1] = end, grouped[-1] + count
        else:
            grouped_ends.append(end)
            grouped.append(count)
    return grouped_ends, grouped


def _packed(ends: Sequence[int], tokens: Sequence[int], most_tokens: int) -> list[int]:
    """Ends of the fewest chunks that hold the pieces, and of these the most even (least sum of squares)."""
    best: list[tuple[int, int, int]] = [(0, 0, 0)]  # of so many pieces: chunks, squares, minus where the last begins
    for last in range(1, len(tokens) + 1):
        held, choices = 0, []
        for first in range(last - 1, -1, -1):
            held += tokens[first]
            if held > most_tokens and first < last - 1:
                break
            chunks, squares, _ = best[first]
            choices.append((chunks + 1, squares + held**2, -first))
        best.append(min(choices))
    borders, at = [], len(tokens)
    while at:
        borders.append(ends[at - 1])
        at = -best[at][2]
    return borders[::-1]


def _within(text: str, spans: list[Span], count_tokens: CountTokens, most_tokens: int) -> tuple[list[Span], list[int]]:
    """The spans, those cut again that have more tokens as a whole than in pieces, and the tokens of each."""
    counts = count_tokens([text[start:end] for start, end in spans])
    held: list[Span] = []
    tokens: list[int] = []
    for (start, end), count in zip(spans, counts, strict=True):
        parts = _parts(text, start, end) if count > most_tokens else [(start, end)]
        finer, of_finer = _within(text, parts, count_tokens, most_tokens) if len(parts) > 1 else (parts, [count])
        held += finer
        tokens += of_finer
    return held, tokens


def _overlap_starts(text: str, spans: Sequence[Span], count_tokens: CountTokens, overlap_tokens: int) -> list[int]:
    """Where each span's overlap begins: at the earliest sentence or line of the span before that fits."""
    if not overlap_tokens:
        return [start for start, _ in spans]
    starts = [0]
    for before, (start, _) in pairwise(spans):
        candidates = [s for line in _lines(text, *before) for s, _ in _sentences(text, *line)][1:]
        counts = count_tokens([text[candidate:start] for candidate in candidates])
        starts.append(next((c for c, n in zip(candidates, counts, strict=True) if n <= overlap_tokens), start))
    return starts


# How a text falls into parts. Each function gives spans that follow each other from start to end; white space belongs
# to the part before it.

_PARAGRAPH = regex.compile(r"\S[^\n]*(?:\n(?![^\S\n]*\n)[^\n]*)*(?:\n[^\S\n]*)*")
_HEADING = regex.compile(r"#{1,6} [^\n]*\s*\Z|[^\n]*\n(?:=+|-+)\s*\Z")
_BULLET = regex.compile(r"[^\S\n]*(?:[-*+•‣◦–]|\(?(?:\d{1,3}|[a-zA-Z])[.)])[^\S\n]")
_CODE_FENCE = regex.compile(r"^[^\S\n]*(```|~~~)", regex.MULTILINE)
_TABLE_TAG = regex.compile(r"<(/?)table\b", regex.IGNORECASE)
_LINE = regex.compile(r"[^\n]*\n\s*|[^\n]+\Z")
_ABBREVIATION = r"\b(?:\p{Lu}|\p{L}\.\p{L}|Dr|Mr|Mrs|Ms|Prof|St|Nr|No|Fig|Eq|Abb|vs|al|cf|ca|bzw|Art|Abs|Vol|pp?)"
_SENTENCE_END = regex.compile(
    rf"(?<!{_ABBREVIATION}|[.!?…])[.!?…]++[\"'”’»«)\]]*+\s++(?=[^\p{{Ll}}])|[。！？｡．؟।॥။]++[”’」』）\"')\]]*+\s*+"
)


def _paragraphs(text: str, start: int, end: int) -> list[Span]:
    begins = [found.start() for found in _PARAGRAPH.finditer(text, start, end)]
    return _spans(start, end, begins)


def _sections(text: str, start: int, end: int) -> list[Span]:
    """Paragraphs; those of one list, one table, one block of code, and headings with what follows, are one."""
    begins: list[int] = []
    is_open, before = False, ""
    for first, last in _paragraphs(text, start, end):
        paragraph = text[first:last]
        of_one_list = _BULLET.match(paragraph) and (_BULLET.match(before) or before.rstrip().endswith(":"))
        if not (is_open or of_one_list or _HEADING.fullmatch(before)):
            begins.append(first)
        is_open = _is_open(paragraph, is_open)
        before = paragraph
    return _spans(start, end, begins)


def _is_open(paragraph: str, was_open: bool) -> bool:
    """Whether a block of code or a table goes on behind this paragraph."""
    fences = len(_CODE_FENCE.findall(paragraph))
    if was_open and not fences:
        return not _TABLE_TAG.search(paragraph) or _opened_tables(paragraph) >= 0
    return (was_open + fences) % 2 == 1 or (not was_open and _opened_tables(paragraph) > 0)


def _opened_tables(paragraph: str) -> int:
    return sum(-1 if closing else 1 for closing in _TABLE_TAG.findall(paragraph))


def _lines(text: str, start: int, end: int) -> list[Span]:
    return _spans(start, end, [found.start() for found in _LINE.finditer(text, start, end)])


def _sentences(text: str, start: int, end: int) -> list[Span]:
    return _spans(start, end, [found.end() for found in _SENTENCE_END.finditer(text, start, end)])


_WORD_BORDER = regex.compile(r"(?<=\s)(?=\S)")
_CHARACTER = regex.compile(r"\X")
_LONGEST_CHARACTER = 40  # code points


def _halves(text: str, start: int, end: int) -> list[Span]:
    """Two parts, cut near the middle between words, or between characters as readers see them; one if it is one."""
    middle, slack = (start + end) // 2, (end - start) // 4
    borders = [found.start() for found in _WORD_BORDER.finditer(text, middle - slack, middle + slack)]
    if not borders:
        near = max(start, middle - _LONGEST_CHARACTER), min(end, middle + _LONGEST_CHARACTER)
        borders = [found.end() for found in _CHARACTER.finditer(text, *near)]
    borders = [border for border in borders if start < border < end]
    return _spans(start, end, [min(borders, key=lambda border: abs(border - middle))] if borders else [])


def _parts(text: str, start: int, end: int) -> list[Span]:
    """Two parts or, of what readers see as one character, its code points."""
    halves = _halves(text, start, end)
    return halves if len(halves) > 1 else [(at, at + 1) for at in range(start, end)]


def _spans(start: int, end: int, begins: Sequence[int]) -> list[Span]:
    borders = [start, *(b for b in begins if start < b < end), end]
    return list(pairwise(borders))


# Putting together

_UNIT = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|[\p{L}\p{M}\p{N}]+")
_MARKS = regex.compile(r"[^\p{L}\p{M}\p{N}\s]*")
LEAST_SHARED_WORDS = 6
_MOST_SHARED_WORDS = 400


def separators_of(text: str, chunks: Sequence[Chunk]) -> list[str]:
    """What stands between the chunks of a text: an empty line, a line end (and the indentation of the line that
    follows), a blank or nothing."""
    return [_separator(text, before, after) for before, after in pairwise(chunks)]


def _separator(text: str, before: Chunk, after: Chunk) -> str:
    chunk, following = text[before.start : before.end], text[after.start : after.end]
    space = chunk[len(chunk.rstrip()) :] + following[: len(following) - len(following.lstrip())]
    lines = space.count("\n")
    return "\n" * min(lines, 2) + space.rpartition("\n")[2] if lines else " " if space else ""


def stitched(parts: Sequence[str], separators: Sequence[str], had_overlap: bool = False) -> str:
    """The answers about a document's chunks as one text, without their outer white space, in order.

    Args:
        separators: what to put between them: see ``separators_of``.
        had_overlap: the chunks overlapped: where a part begins with the words (``LEAST_SHARED_WORDS`` of them or more)
            with which the one before ends, these are told once.
    """
    text = ""
    for part, separator in zip(parts, ["", *separators], strict=True):
        part = part.strip()
        if had_overlap:
            part = part[_shared_end(text, part) :].lstrip()
        text = text + separator + part if text and part else text or part
    return text


def _shared_end(before: str, after: str) -> int:
    """Where the words end in ``after`` with which ``before`` ends and ``after`` begins; 0 if they are too few."""
    last = [found[0].casefold() for found in _UNIT.finditer(before)][-_MOST_SHARED_WORDS:]
    first = list(islice(_UNIT.finditer(after), _MOST_SHARED_WORDS))
    words = [found[0].casefold() for found in first]
    for shared in range(min(len(last), len(words)), LEAST_SHARED_WORDS - 1, -1):
        if last[-shared:] == words[:shared]:
            return int(_MARKS.match(after, first[shared - 1].end()).end())
    return 0
