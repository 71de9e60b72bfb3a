"""What documents are compared by: runs of normalised words."""

from __future__ import annotations

import unicodedata

import regex

# One character of a script that is written without spaces, or a word: letters, digits and the marks on them, which
# are the vowels of Indic scripts, Thai, Hebrew and Arabic. Properties, not ranges of literal characters: editors
# normalise some of those to others. Hangul syllables are parts of words.
_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
WORD = regex.compile(rf"(?V1)[{_SPACELESS}]|[\w--[{_SPACELESS}]]+")

UNSEEN = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
"""Soft hyphens, joiners and marks of direction: they stand inside words and are not seen (Unicode: NFKC_Casefold)."""


def words(text: str) -> list[str]:
    """Case-folded words (NFKC) without punctuation, whitespace and what is not seen."""
    found: list[str] = WORD.findall(UNSEEN.sub("", unicodedata.normalize("NFKC", text).casefold()))
    return found


def shingles(document_words: list[str], size: int) -> list[bytes]:
    """Distinct runs of ``size`` words, sorted; a shorter document is one shingle, an empty one none."""
    if not document_words:
        return []
    runs = range(max(1, len(document_words) - size + 1))
    return sorted({" ".join(document_words[i : i + size]).encode() for i in runs})


def jaccard(a: set[bytes], b: set[bytes]) -> float:
    """Share of common elements, 0 to 1; 0 if both are empty."""
    union = len(a | b)
    return len(a & b) / union if union else 0.0
