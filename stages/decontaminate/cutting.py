"""Cutting passages out of a text, as GPT-3 did (arXiv:2005.14165, appendix C)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Span = tuple[int, int]  # first character and the one behind the last

MAX_WORD_CHARACTERS = 50  # a cut is moved by no more than this to spare a word
PIECE_SEPARATOR = "\n\n"


def cut(text: str, passages: Sequence[Span], margin: int, min_piece_characters: int) -> tuple[str, int]:
    """Cut passages out with ``margin`` characters on both sides, and what is left of words there.

    Returns:
        The pieces of at least ``min_piece_characters``, joined by blank lines, and the number of cuts.
    """
    cuts = list(_merged((_before(text, start - margin), _after(text, end + margin)) for start, end in sorted(passages)))
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(text)]
    pieces = [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return PIECE_SEPARATOR.join(piece for piece in pieces if len(piece) >= max(1, min_piece_characters)), len(cuts)


def _merged(spans: Iterator[Span]) -> Iterator[Span]:
    """Spans by their starts, those that touch or overlap as one."""
    last: Span | None = None
    for start, end in spans:
        if last is None:
            last = start, end
        elif start <= last[1]:
            last = last[0], max(last[1], end)
        else:
            yield last
            last = start, end
    if last is not None:
        yield last


def _before(text: str, place: int) -> int:
    """The start of the word at ``place``."""
    if place <= 0:
        return 0
    word = text[max(0, place - MAX_WORD_CHARACTERS) : place].split()[-1:]
    return (
        place - len(word[0]) if word and text[place - 1 : place + 1].strip() == text[place - 1 : place + 1] else place
    )


def _after(text: str, place: int) -> int:
    """The end of the word that ``place`` stands in."""
    if place >= len(text):
        return len(text)
    word = text[place : place + MAX_WORD_CHARACTERS].split()[:1]
    return (
        place + len(word[0]) if word and text[place - 1 : place + 1].strip() == text[place - 1 : place + 1] else place
    )
