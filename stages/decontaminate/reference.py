"""The same matches in plain Python: what the kernels are compared with."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from stages.decontaminate.evaluation import EvaluationText
from stages.decontaminate.index import MAX_PLACES_PER_TEXT
from stages.dedup.shingles import words

NUMBER = re.compile("[0-9]+")
Run = tuple[int, int, int, float]  # evaluation text, first word, words (two Chinese characters are one), overlap


def runs(
    texts: Sequence[EvaluationText], size: int, max_rows_per_ngram: int | None, ignored: Sequence[str], document: str
) -> list[Run]:
    """The runs of words that ``document`` shares with ``texts`` (each of which has another content)."""
    evaluation = [words(text.text) for text in texts]
    rows: dict[tuple[str, ...], set[tuple[str, int]]] = defaultdict(set)
    for text, its_words in zip(texts, evaluation, strict=True):
        for ngram in _ngrams(its_words, size):
            rows[ngram].add((text.task, text.row))
    not_counted = {ngram for text in ignored for ngram in _ngrams(words(text), size)}
    not_counted |= {ngram for ngram in rows if all(NUMBER.fullmatch(word) for word in ngram)}
    counted = {n for n, where in rows.items() if len(where) <= (max_rows_per_ngram or len(texts))} - not_counted

    document_words = words(document)
    document_ngrams = _ngrams(document_words, size)
    found: list[Run] = []
    for number, its_words in enumerate(evaluation):
        ngrams = _ngrams(its_words, size)
        counting = set(ngrams) & counted
        overlap = len(counting & set(document_ngrams)) / max(1, len(counting))
        known = 0  # n-grams of the document up to which a run is known
        for at, ngram in enumerate(document_ngrams):
            if at < known or ngram not in counting:
                continue
            longest = max(
                _length(document_ngrams[at:], ngrams[place:], counted)
                for place in [i for i, other in enumerate(ngrams) if other == ngram][:MAX_PLACES_PER_TEXT]
            )
            passage = document_words[at : at + longest + size - 1]
            alone = sum(words(f"a{word}") == ["a", word] for word in passage)
            found.append((number, at, len(passage) - (alone + 1) // 2, overlap))
            known = at + longest
    return sorted(found, key=lambda run: (run[1], run[0]))


def _ngrams(its_words: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(its_words[i : i + size]) for i in range(len(its_words) - size + 1)]


def _length(a: list[tuple[str, ...]], b: list[tuple[str, ...]], counted: set[tuple[str, ...]]) -> int:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length] and a[length] in counted:
        length += 1
    return length
