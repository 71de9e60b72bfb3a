"""What a model answered, read as what its style asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import regex

from stages.rephrase.styles import Style
from stages.rephrase.wrappings import unwrapped, without_reasoning


class QuestionAnswer(NamedTuple):
    """A question and its answer, without labels."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """A model's answer without what does not belong to the text."""

    text: str
    questions: tuple[QuestionAnswer, ...] = ()  # of styles that ask for them
    problem: str = ""  # short and stable: why it is not what the style asks for; "" if it is


def cleaned(answer: str, style: Style, passage: str) -> ParsedAnswer:
    """A model's answer about a passage, without what stands around it and in the one form of the style's format.

    Lists have one point a line, each behind "- "; pairs stand as "Question: ..." and "Answer: ..." with empty lines
    between the pairs. Cleaning what has been cleaned changes nothing. Problems:

    - ``unfinished_reasoning``, ``empty``
    - ``not_a_list``: fewer than two points, or other text between them
    - ``no_questions`` (for ``faq``: fewer than two), ``question_without_answer``, ``text_beside_questions``
    - ``no_table``, ``uneven_table``
    """
    text = without_reasoning(answer)
    if text is None:
        return ParsedAnswer("", problem="unfinished_reasoning")
    text = unwrapped(text, style, passage)
    if not text:
        return ParsedAnswer("", problem="empty")
    match style.format:
        case "text":
            return ParsedAnswer(text)
        case "list":
            return _list_of(text)
        case "questions" | "faq":
            return _questions_of(text, least=2 if style.format == "faq" else 1)
        case "table":
            return _table_of(text)


def rendered(answer: ParsedAnswer, style: Style) -> str:
    """The text of a document made of an answer; of its pairs, those that it still has."""
    if style.format == "table":
        return "\n\n".join([_split_at_questions(answer.text)[0], *map(_pair_text, answer.questions)]).strip()
    return _pairs_text(answer.questions) if style.format in ("questions", "faq") else answer.text


def _pairs_text(pairs: Sequence[QuestionAnswer]) -> str:
    return "\n\n".join(map(_pair_text, pairs))


def _pair_text(pair: QuestionAnswer) -> str:
    return f"Question: {pair.question}\nAnswer: {pair.answer}"


# Lists

_BULLET = regex.compile(
    r"\s*(?:(?:[-*+•‣◦▪–—·●]|\(?\d{1,3}[.)]|\d{1,3}\.\s*-)\s+|[-•●·]|\(?\d{1,3}(?:[、．）]\s*|[.)](?=\p{L}|\*\*)))(?=\S)"
)
_LEAD = regex.compile(r".*[:：][*_]*|\#{1,6} .*|(?:\*\*|__)[^*\n]+(?:\*\*|__)")


def _list_of(text: str) -> ParsedAnswer:
    """Points behind bullets of any kind. Indented lines belong to the point before; headings and lines that lead in are
    dropped."""
    points: list[str] = []
    beside = 0
    for line in filter(str.strip, text.split("\n")):
        if bullet := _BULLET.match(line):
            points.append(line[bullet.end() :].strip())
        elif points and line[0].isspace():
            points[-1] += " " + line.strip()
        elif not _LEAD.fullmatch(line.strip()):
            beside += 1
    if len(points) < 2 or beside:
        return ParsedAnswer(text, problem="not_a_list")
    return ParsedAnswer("\n".join(f"- {point}" for point in points))


# Questions and answers

_BEFORE_LABEL = r"^[ \t]*(?:[-*+•>]+[ \t]+)?(?:\#{1,6}[ \t]*)?(?:\(?\d{1,3}[.)、][ \t]*)?[*_]{0,3}"
_BEHIND_LABEL = (
    r"[ \t]*(?:\#?\d{1,3})?[ \t]*(?:\([^()\n]{1,40}\))?[ \t]*[*_]{0,3}[ \t]*"
    r"(?:[:：][ \t]*[*_]{0,3}|(?=\n))"  # a colon, or a line of its own
)
_BEHIND_LETTER = r"(?:\d{0,3}[*_]{0,3}[:：]|\d{1,3}[.)])[*_]{0,3}"
_QUESTION = (
    "question|frage|pregunta|pergunta|domanda|vraag|spørgsmål|spørsmål|fråga|kysymys|pytanie|otázka|kérdés|soru"
    "|întrebare|вопрос|питання|ερώτηση|سؤال|السؤال|प्रश्न|問題|问题|質問|問|问|질문|คำถาม|câu hỏi|pertanyaan"
)
_ANSWER = (
    "(?:correct )?answer|antwort|réponse|respuesta|resposta|risposta|antwoord|svar|vastaus|odpowiedź|odpověď|odpoveď"
    "|válasz|cevap|yanıt|răspuns|ответ|відповідь|απάντηση|جواب|الجواب|إجابة|الإجابة|उत्तर|答案|回答|答え|答|대답|답변|답|คำตอบ"
    "|trả lời|câu trả lời|jawaban"
)
_LABEL = regex.compile(
    rf"{_BEFORE_LABEL}(?:(?P<question>(?:{_QUESTION}){_BEHIND_LABEL}|Q{_BEHIND_LETTER})"
    rf"|(?P<answer>(?:{_ANSWER}){_BEHIND_LABEL}|A{_BEHIND_LETTER}))",
    regex.IGNORECASE | regex.MULTILINE,
)
_LETTER = regex.compile(r"[QA](?!\p{L})", regex.IGNORECASE)
_ANSWER_IN_LINE = regex.compile(
    rf"(?<=[?？؟;][*_]{{0,3}})[ \t]*[*_]{{0,3}}(?:{_ANSWER}|A)[*_]{{0,3}}[:：][*_]{{0,3}}"
    rf"|(?<=[.!。][*_]{{0,3}})[ \t]+[*_]{{0,3}}Answer[*_]{{0,3}}[:：][*_]{{0,3}}",
    regex.IGNORECASE,
)
_MARKED_QUESTION = regex.compile(  # a heading, a numbered line or a line in bold type that ends with a question mark
    r"^[ \t]*(?:\#{1,6}[ \t]+|\(?\d{1,3}[.)][ \t]+|[-*•][ \t]+(?=\*\*)|(?=\*\*))(?:\d{1,3}[.)][ \t]*)?"
    r"(?:\*\*|__)?(?P<text>[^\n]*[?？؟])(?:\*\*|__)?[ \t]*$",
    regex.MULTILINE,
)
_HEADINGS_AT_END = regex.compile(r"(?:\n[ \t]*(?:[-*_=]{3,}|\#{1,6}[ \t][^\n]*|\*\*[^\n*?]*\*\*:?)?[ \t]*)+\Z")
MOST_LEAD_WORDS = 30
"""Of what may stand before the first question, such as a heading; it is dropped."""


def _questions_of(text: str, least: int) -> ParsedAnswer:
    lead, questions = _split_at_questions(text)
    pairs = _pairs(questions)
    if len(lead.split()) > MOST_LEAD_WORDS and pairs:
        return ParsedAnswer(text, problem="text_beside_questions")
    if pairs is None:
        return ParsedAnswer(text, problem="question_without_answer")
    if len(pairs) < least:
        return ParsedAnswer(text, problem="no_questions")
    return ParsedAnswer(_pairs_text(pairs), tuple(pairs))


def _split_at_questions(text: str) -> tuple[str, str]:
    """What stands before the first question, and the rest with all questions and answers behind labels."""
    if not any(found["question"] for found in _LABEL.finditer(text)):
        text = _MARKED_QUESTION.sub(r"Question: \g<text>\nAnswer: ", text)
        text = regex.sub(rf"Answer: \s*(?={_BEFORE_LABEL}(?:{_ANSWER}|A){_BEHIND_LABEL})", "", text, flags=_LABEL.flags)
    first = next((found.start() for found in _LABEL.finditer(text) if found["question"]), len(text))
    return text[:first].strip(), _ANSWER_IN_LINE.sub("\nAnswer: ", text[first:])


def _pairs(text: str) -> list[QuestionAnswer] | None:
    """The pairs of a text with labels; None if they do not take turns, or one has no text."""
    labels = _labels(text)
    borders = [(label.start(), label.end()) for label in labels] + [(len(text), len(text))]
    contents = [_tidy(text[begin:end]) for (_, begin), (end, _) in pairwise(borders)]
    is_question = [label["question"] is not None for label in labels]
    if is_question != [True, False] * (len(labels) // 2) or not all(contents):
        return None
    return [QuestionAnswer(*pair) for pair in zip(contents[::2], contents[1::2], strict=True)]


def _labels(text: str) -> list[regex.Match[str]]:
    """The labels of a text. Letters are none ("A: 1891" is an option to choose from) where questions have words."""
    labels = list(_LABEL.finditer(text))
    if any(label["question"] and not _LETTER.match(label["question"]) for label in labels):
        return [label for label in labels if not _LETTER.match(label[0].strip(" \t*_#>-+•"))]
    return labels


def _tidy(content: str) -> str:
    """A question or an answer without headings and rules behind it, and without the end of a bold label."""
    content = _HEADINGS_AT_END.sub("", content.rstrip()).strip()
    if content.endswith("**") and content.count("**") % 2:
        content = content[:-2].rstrip()
    return content


# Tables with questions

_TABLE_LINE = regex.compile(r"\s*\|.*\|\s*|[^|\n]+(?<!\\)\|.*")
_TABLE_RULE = regex.compile(r"\s*\|?(?:\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?\s*")
_COLUMN_BORDER = regex.compile(r"(?<!\\)\|")


def _table_of(text: str) -> ParsedAnswer:
    """A Markdown table, perhaps with a caption, and the pairs below it."""
    table, questions = _split_at_questions(text)
    all_lines = table.split("\n")
    rows = [i for i, line in enumerate(all_lines) if _TABLE_LINE.fullmatch(line)]
    lines = [all_lines[i] for i in rows]
    if len(lines) < 3 or not _TABLE_RULE.fullmatch(lines[1]):
        return ParsedAnswer(text, problem="no_table")
    if len({_columns(line) for line in lines}) > 1:
        return ParsedAnswer(text, problem="uneven_table")
    pairs = _pairs(questions)
    if not pairs:
        return ParsedAnswer(text, problem="no_questions" if pairs is not None else "question_without_answer")
    table = "\n".join(all_lines[: rows[-1] + 1])  # what stands behind it leads to the questions
    return ParsedAnswer(f"{table}\n\n{_pairs_text(pairs)}", tuple(pairs))


def _columns(line: str) -> int:
    return len(_COLUMN_BORDER.split(line.strip().removeprefix("|").removesuffix("|")))
