"""Pairs of question and answer: whether the source answers them, and whether one is asked twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import regex

from stages.rephrase.answers import ParsedAnswer, QuestionAnswer
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.leaks import meta_talk
from stages.rephrase.gates.phrases import pattern
from stages.rephrase.gates.unsupported_numbers import unsupported_numbers
from stages.rephrase.gates.words import UNSPACED, all_stems, content_stems, folded, words

MIN_QUESTION_SUPPORT = 0.5
"""Share of the content words of a question and its answer that stand in the source: questions bring words of their
own ("explain", "advantage")."""
MIN_QUESTION_SUPPORT_BY_SIGNS = 0.3
"""The same in scripts without spaces, where the words of asking make pairs of signs with those around them."""
MIN_SHARE_ASKED = 0.3
"""The same of the question alone: of three content words, one ("What does the hotline cost?")."""
MIN_ANSWER_SUPPORT = 0.6
"""Share of an answer's content words that stand in the source or in its question."""
SAME_QUESTION = 0.8  # share of all different words of two questions that both have
SAME_CONTENT = 0.6  # of the content words, if the answers are the same as well
FEWEST_QUESTION_WORDS = 3
FEWEST_QUESTION_SIGNS = 4  # in a script without spaces

_UNSPACED = regex.compile(f"[{UNSPACED}]")
_CHOICE = re.compile(r"^\s*(?:[-*•]\s*)?\(?[A-Ea-e1-5][).:]\s.*$", re.MULTILINE)
_CHOSEN = re.compile(r"^\s*\(?[A-Ea-e1-5][).:]\s+")
_LITTLE_WORDS = frozenset(
    {"a", "an", "the", "is", "are", "was", "were", "be", "been", "do", "does", "did", "has", "have", "had", "of", "in"}
    | {"on", "at", "to", "for", "by", "and", "or", "that", "this", "these", "those", "it", "its"}
)


def question_support(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the pairs that the source answers, whether asked twice or not; 1 where there are no pairs."""
    return _share([_is_supported(source, pair, context) for pair in answer.questions])


def duplicate_questions(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many pairs ask what a pair before them asks."""
    return float(sum(_are_repeated(answer.questions, context.language)))


def questions_kept(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the pairs that are sound, see ``sound_pairs``; 1 where there are no pairs."""
    return _share(sound_pairs(source, answer, context))


def sound_pairs(source: str, answer: ParsedAnswer, context: GateContext) -> list[bool]:
    """Of each pair, in order, whether to keep it: the source answers it, and no pair before it asks the same."""
    repeated = _are_repeated(answer.questions, context.language)
    return [
        not is_repeated and _is_supported(source, pair, context)
        for pair, is_repeated in zip(answer.questions, repeated, strict=True)
    ]


def _is_supported(source: str, pair: QuestionAnswer, context: GateContext) -> bool:
    """Whether the question is one, about what the source is about, and its answer from the source."""
    asked, told = _CHOICE.sub("", pair.question).strip() or pair.question, _CHOSEN.sub("", pair.answer).strip()
    if not _is_question(asked) or not told:
        return False
    if _says("unanswered", told) and not _says("unanswered", source):
        return False
    if _says("about_the_text", asked) and not _says("about_the_text", source):
        return False
    known = all_stems(source)
    least = MIN_QUESTION_SUPPORT_BY_SIGNS if _UNSPACED.search(asked) else MIN_QUESTION_SUPPORT
    if _supported_share(f"{asked}\n{told}", known, context) < least:
        return False
    if _supported_share(asked, known, context) < MIN_SHARE_ASKED:
        return False
    claimed = told[_verdict_end(told) :]
    if _supported_share(claimed, known | all_stems(asked), context) < MIN_ANSWER_SUPPORT:
        return False
    if meta_talk(source, ParsedAnswer(claimed), context):
        return False
    as_text = replace(context, format="text")
    asked_numbers = unsupported_numbers(source, ParsedAnswer(asked), as_text)
    return not asked_numbers and not unsupported_numbers(f"{source}\n{asked}", ParsedAnswer(claimed), as_text)


def _says(phrase: str, text: str) -> bool:
    return bool(pattern(phrase).search(text.lower()))


def _verdict_end(answer: str) -> int:
    """The end of the yes or no that an answer begins with; 0 if it begins otherwise."""
    verdict = pattern("verdict").match(answer.lower())
    return verdict.end() if verdict else 0


def _is_question(text: str) -> bool:
    found = words(text)
    return (
        len(found) >= FEWEST_QUESTION_WORDS
        or sum(map(len, found)) >= 3 * FEWEST_QUESTION_SIGNS
        or (not text.isascii() and sum(map(len, found)) >= FEWEST_QUESTION_SIGNS)
    )


def _supported_share(text: str, known: frozenset[str], context: GateContext) -> float:
    stems = content_stems(text, context.language)
    return sum(stem in known for stem in stems) / len(stems) if stems else 1.0


def _are_repeated(pairs: Sequence[QuestionAnswer], language: str | None) -> list[bool]:
    """Of each pair, whether one before it asks the same: in nearly the same words, or in much the same and with the
    same answer."""
    asked = [_asked(pair.question) for pair in pairs]
    contents = [frozenset(content_stems(pair.question, language)) for pair in pairs]
    answers = [" ".join(folded(pair.answer).split()).rstrip(".!") for pair in pairs]
    return [
        any(
            _jaccard(asked[i], asked[n]) >= SAME_QUESTION
            or (
                answers[i] == answers[n]
                and _verdict_end(answers[n]) < len(answers[n])
                and _jaccard(contents[i], contents[n]) >= SAME_CONTENT
            )
            for i in range(n)
        )
        for n in range(len(pairs))
    ]


def _asked(question: str) -> frozenset[str]:
    """Words and numbers of a question, little words aside; pairs of signs in scripts without spaces."""
    return (frozenset(words(question)) | frozenset(re.findall(r"\d+", question)) | all_stems(question)) - _LITTLE_WORDS


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 1.0


def _share(sound: Sequence[bool]) -> float:
    return sum(sound) / len(sound) if sound else 1.0
