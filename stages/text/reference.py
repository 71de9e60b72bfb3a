"""What the heuristic filters measure, in plain Python: slow, and the meaning of the kernels beside it.

Each function gives a text's measures by name, as datatrove 0.10.1 computes them within its filters. A ratio is None
where there is nothing to divide by. ``words`` are the text's words as ``stages.text.words`` splits them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from stages.text.c4_lines import COUNTS, POLICY_PHRASES
from stages.text.repetition import DUPLICATE_N_GRAMS, TOP_N_GRAMS

Measures = dict[str, int | float | None]

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
TERMINAL_PUNCTUATION = (".", "?", "!", '"', "'")


def _ratio(count: float, of: int) -> float | None:
    return count / of if of else None


def quality(text: str, words: Sequence[str], stop_words: Collection[str], punctuation: Collection[str]) -> Measures:
    """Gopher's quality (Rae et al. 2021, appendix A.1.1). Words of nothing but ``punctuation`` count as symbols."""
    lengths = [len(word) for word in words if any(character not in punctuation for character in word)]
    lines = text.splitlines()
    return {
        "words": len(lengths),
        "stop_words": len(set(stop_words).intersection(words)),
        "mean_word_length": _ratio(sum(lengths), len(lengths)),
        "hash_ratio": _ratio(text.count("#"), len(words)),
        "ellipsis_ratio": _ratio(text.count("...") + text.count("…"), len(words)),
        "bullet_lines": _ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        "ellipsis_lines": _ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        "alphabetic_words": _ratio(sum(any(map(str.isalpha, word)) for word in words), len(words)),
    }


def repetition(text: str, words: Sequence[str]) -> Measures:
    """Gopher's repetition (Rae et al. 2021, table A1). Fractions of characters are of all characters of the text."""
    measured: Measures = {"characters": len(text)}
    for name, segments in (("para", re.split(r"\n{2,}", text.strip())), ("line", re.split(r"\n+", text))):
        elements, inside = _duplicates(segments)
        measured[f"dup_{name}_frac"] = elements / len(segments) if text else None
        measured[f"dup_{name}_char_frac"] = _ratio(inside, len(text))
    for n in TOP_N_GRAMS:
        n_grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        [(most_frequent, count)] = n_grams.most_common(1) or [("", 0)]
        measured[f"top_{n}_gram"] = _ratio(len(most_frequent) * count, len(text)) if n_grams else None
    for n in DUPLICATE_N_GRAMS:
        measured[f"dup_{n}_gram"] = _ratio(_characters_in_duplicate_n_grams(words, n), len(text))
    return measured


def _duplicates(segments: Sequence[str]) -> tuple[int, int]:
    """How many segments have occurred before, and the characters in those."""
    seen: set[str] = set()
    repeated = []
    for segment in segments:
        if segment in seen:
            repeated.append(len(segment))
        seen.add(segment)
    return len(repeated), sum(repeated)


def _characters_in_duplicate_n_grams(words: Sequence[str], n: int) -> int:
    """A repeated n-gram is stepped over whole, so that no character counts twice; words are joined without spaces."""
    seen: set[str] = set()
    repeated, at = 0, 0
    while at <= len(words) - n:
        n_gram = "".join(words[at : at + n])
        if n_gram in seen:
            repeated += len(n_gram)
            at += n
        else:
            seen.add(n_gram)
            at += 1
    return repeated


def web_lines(text: str, words: Sequence[str], endings: tuple[str, ...], short_characters: int) -> Measures:
    """FineWeb's line rules (Penedo et al. 2024, section 3.6). Blank lines do not count."""
    lines = [line for line in text.split("\n") if line.strip()]
    measured: Measures = dict.fromkeys(("line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"))
    if lines:
        newlines = text.count("\n")
        measured["line_punct_ratio"] = sum(line.endswith(endings) for line in lines) / len(lines)
        measured["short_line_ratio"] = sum(len(line) <= short_characters for line in lines) / len(lines)
        measured["char_dup_ratio"] = _duplicates(lines)[1] / (len(text) - newlines)
        measured["list_ratio"] = _ratio(newlines, len(words))
    return {"lines": len(lines)} | measured


def sentences(text: str, words: Sequence[str]) -> list[str]:
    """Sentences of English as spaCy's sentencizer finds them; what is between two belongs to the second."""
    import unicodedata

    from spacy.pipeline import Sentencizer

    found, begin, at, is_ended = [], 0, 0, False
    for word in words:
        start = text.index(word, at)
        is_end = word in Sentencizer.default_punct_chars
        is_punctuation = all(unicodedata.category(character).startswith("P") for character in word)
        if is_ended and (text[at:start] not in ("", " ") or not (is_end or is_punctuation)):
            found.append(text[begin:at])
            begin, is_ended = at, False
        at = start + len(word)
        is_ended |= is_end
    if is_ended and text[at:] not in ("", " "):
        found.append(text[begin:at])
        begin = at
    return [*found, text[begin:]]


@dataclass(frozen=True)
class LineRules:
    """The options of ``c4`` (see ``stages.filters.c4.C4Config``); -1: no limit."""

    by_sentences: bool = False
    max_word_length: int = 1000
    remove_citations: bool = True
    strip_after_citations: bool = False
    remove_unpunctuated_lines: bool = True
    min_words_per_line: int = 3
    remove_javascript_lines: bool = True
    remove_policy_lines: bool = True


def c4(text: str, rules: LineRules, split: Callable[[str], list[str]]) -> tuple[str, Measures]:
    """What C4's line rules (Raffel et al. 2020, section 2.2) leave of a text, and counts; ``split`` finds sentences."""
    counted = dict.fromkeys(COUNTS, 0)
    kept = []
    for line in split(text) if rules.by_sentences else text.splitlines():
        counted["lines"] += 1
        line = line.strip()
        words = line.split()
        if rules.max_word_length != -1 and any(len(word) > rules.max_word_length for word in words):
            counted["long_word_lines"] += 1
            continue
        if rules.remove_citations:
            without = CITATION.sub("", line)
            line = without.strip() if rules.strip_after_citations else without
        if rules.remove_unpunctuated_lines and (not line.endswith(TERMINAL_PUNCTUATION) or line.endswith("...")):
            counted["unpunctuated_lines"] += 1
            continue
        if len(words) < rules.min_words_per_line:
            counted["short_lines"] += 1
            continue
        lower = line.lower()
        counted["lorem_ipsum_lines"] += "lorem ipsum" in lower
        if rules.remove_javascript_lines and "javascript" in lower:
            counted["javascript_lines"] += 1
            continue
        if "{" in line:
            counted["curly_bracket_lines"] += 1
            counted["curly_bracket_first"] |= counted["lorem_ipsum_lines"] == 0
        if rules.remove_policy_lines and any(phrase in lower for phrase in POLICY_PHRASES):
            counted["policy_lines"] += 1
            continue
        counted["sentences"] += 1 if rules.by_sentences else len(split(line))
        kept.append(line)
    counted["kept_lines"] = len(kept)
    return (" " if rules.by_sentences else "\n").join(kept).strip(), {**counted}
