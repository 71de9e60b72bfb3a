"""What two documents are compared by: normalised text for exact duplicates, word n-grams for near-duplicates."""

from __future__ import annotations

import re
import unicodedata

import xxhash

# A word, or one character of a script that is written without spaces (Han, kana; Hangul syllables are words).
WORD = re.compile(r"[㐀-䶿一-鿿豈-﫿぀-ヿ]|[^\W㐀-䶿一-鿿豈-﫿぀-ヿ]+")


def words(text: str) -> list[str]:
    """Lower-cased words (NFKC) without punctuation, whitespace and case."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def shingles(document_words: list[str], size: int) -> list[bytes]:
    """Distinct runs of ``size`` words, sorted; a shorter document is one shingle, an empty one none."""
    if not document_words:
        return []
    runs = range(max(1, len(document_words) - size + 1))
    return sorted({" ".join(document_words[i : i + size]).encode() for i in runs})


def content_hash(document_words: list[str]) -> str:
    """128-bit hash (hex) of the normalised text: equal for texts that differ in case, space and punctuation only."""
    return xxhash.xxh3_128_hexdigest(" ".join(document_words).encode())


def jaccard(a: set[bytes], b: set[bytes]) -> float:
    """Share of common elements, 0 to 1; 0 if both are empty."""
    union = len(a | b)
    return len(a & b) / union if union else 0.0
