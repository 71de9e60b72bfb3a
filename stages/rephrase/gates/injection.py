"""Signs that a model obeyed a command in the page instead of rewriting the page.

Commands are looked for in the source alone: sentences that address a model, take its instructions back, speak of its
answer, or fake the marks of a conversation. Where there are none, nothing was obeyed. Where there are, an answer that
drops them or tells of them is sound; one that is about something else than the rest of the page, or has what only the
command says without telling of a command, has obeyed. A command is as rare in sound pages as its price is high, so
that the bounds here are stricter than those of the gates that every answer meets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.command_phrases import (
    ANNOUNCES,
    COMMAND_WORDS,
    FORBIDS,
    Certainty,
    certainty,
    is_suspect,
    speech,
)
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.hidden_text import hidden, shown
from stages.rephrase.gates.phrases import pattern
from stages.rephrase.gates.words import STEM_LETTERS, all_stems, content_stems, folded, words

REMEMBERED_SOURCES = 64  # a source is asked about by each of its answers
FEWEST_STEMS = 12  # content words of a page outside of its commands, from which on a share of them says something
MIN_SUPPORT = 0.5  # share of the answer's content words that stand in the page outside of its commands
MIN_SUPPORT_BY_MISTAKE = 0.3  # the same, where the commands may as well be meant for people
MIN_SENTENCE_SUPPORT = 0.1  # of a single sentence: of 32 human paraphrases none has one below it, three below 0.15
SENTENCE_STEMS = 4  # content words of a sentence, from which on that share says something
PAYLOAD_STEMS = 3  # words in a sentence that only the command has
PAYLOAD_SHARE = 0.4  # or fewer, if they are so much of the sentence
MIN_COMMAND_SUPPORT = 0.8  # or one, if the command has nearly all of the sentence, or the rest of the page nothing
FOLLOWING_WORDS = 100  # of a paragraph that begins with a command, which then is all command
FOLLOWING_SHARE = 0.4  # of the page's words, which it then may have
ADDRESS_WORDS = 14  # of a sentence that ends in : or ! and only addresses somebody
MAX_UPPER_SHARE = 0.6  # of the answer's letters, where those of the page have less than half of that

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"'”’)\]*]*\s+|(?<=[。！？])")
_QUOTED = re.compile(r"[\"“«‘`']\s?([^\"”»’`'\n]{2,80}?)\s?[\"”»’`']")
_STANDS_OUT = re.compile(
    r"\b(?:[A-Z][A-Z0-9_-]{3,}|\w*[a-z]+[0-9]+\w*|\w*[0-9]+[a-z]+\w*|[A-Za-z]+[_-][A-Za-z0-9_-]*\d\w*|[a-z]+[A-Z]\w+)\b"
)
_ADDRESS = re.compile(
    r"(?:\w+://|www\.)[^\s)>\"']+|\S+@[\w-]+(?:\.[\w-]+)+|\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|org|net|io|info|biz|co|example|test)"
    r"\b[\w/.?=-]*",
    re.IGNORECASE,
)
_PICTOGRAM = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]")


@dataclass(frozen=True, slots=True)
class Page:
    """A page taken apart."""

    commands: tuple[str, ...]  # sentences that command
    rest: str
    certainty: Certainty  # that the commands are meant for a model


def injection(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many signs there are that a command of the page was obeyed; 0 in a sound answer, and for a page without one.

    Signs: the answer is not about what the page says outside of its commands; a sentence of it is not; it has the
    words, addresses or pictograms that only the command has, without telling of a command; it shouts though the page
    does not; it is silent on what the command forbids to mention.
    """
    page = taken_apart(source)
    if page.certainty is Certainty.NONE:
        return 0.0
    language = context.language
    own = _own_sentences(shown(answer.text), page, language)
    known = all_stems(page.rest)
    support, stems = _support("\n".join(own), known, language)
    is_long_enough = len(known) >= FEWEST_STEMS
    if page.certainty is not Certainty.SURE:
        is_most = 2 * len(known) >= len(all_stems(source))
        strays = is_long_enough and is_most and bool(stems) and support < MIN_SUPPORT_BY_MISTAKE
        carries = page.certainty is Certainty.LIKELY and any(_carries(sentence, page, language) for sentence in own)
        return float(strays + carries)
    signs = (
        is_long_enough and support < MIN_SUPPORT,
        is_long_enough and any(_strays(sentence, known, language) for sentence in own),
        any(_carries(sentence, page, language) for sentence in own),
        _insists("\n".join(own), page, language),
        _upper_share(answer.text) > MAX_UPPER_SHARE > 2 * _upper_share(page.rest),
        bool(set(_PICTOGRAM.findall(answer.text)).difference(page.rest)),
        _is_silent(answer.text, page, language),
    )
    return float(sum(signs))


@lru_cache(REMEMBERED_SOURCES)
def taken_apart(source: str) -> Page:
    """The sentences of a page that command, and the rest."""
    unseen, text = hidden(source), shown(source)
    if not unseen and not is_suspect(text):
        return Page((), source, Certainty.NONE)
    commands, rest = list(unseen), []
    highest = Certainty.SURE if unseen else Certainty.NONE
    size, is_announced = len(text.split()), False
    for paragraph in text.split("\n"):
        sentences = _sentences(paragraph)
        certainties = [certainty(sentence) for sentence in sentences]
        if not sentences or (max(certainties) is Certainty.NONE and not is_announced):
            rest.append(paragraph)
            continue
        highest = max(highest, *certainties)
        length = len(paragraph.split())
        is_all = (is_announced or certainties[0] is Certainty.SURE) and length <= min(
            FOLLOWING_WORDS, FOLLOWING_SHARE * size
        )
        for sentence, sure in zip(sentences, certainties, strict=True):
            is_command = is_all or is_announced or sure is not Certainty.NONE
            (commands if is_command else rest).append(sentence)
            is_announced = sure is Certainty.SURE and _announces(sentence)
    return Page(tuple(commands), "\n".join(rest), highest)


def _announces(sentence: str) -> bool:
    """Whether a command only addresses somebody, or ends the passage, and what it wants follows."""
    return len(sentence.split()) <= ADDRESS_WORDS and bool(ANNOUNCES.search(sentence))


def _sentences(text: str) -> list[str]:
    return [part.strip() for line in text.split("\n") for part in _SENTENCE_END.split(line) if part.strip()]


def _own_sentences(text: str, page: Page, language: str | None) -> list[str]:
    """The sentences of an answer that neither copy a command together with what it wants, nor tell of one."""
    sentences = _sentences(text)
    answered, wanted = {words(s) for s in sentences}, {words(s): certainty(s) for s in page.commands}
    copied = set(wanted) if all(w in answered for w, sure in wanted.items() if sure is Certainty.SURE) else set()
    return [s for s in sentences if words(s) not in copied and not _tells(s, page, language)]


def _tells(sentence: str, page: Page, language: str | None) -> bool:
    """Whether a sentence of the answer says that there is a command, or what it is."""
    lowered = sentence.lower()
    is_soft = page.certainty is not Certainty.SURE and not _verbs(page).isdisjoint(_verb_stems(words(sentence)))
    if not is_soft and not pattern("report").search(lowered) and certainty(sentence) is not Certainty.SURE:
        return False
    known = all_stems("\n".join((*page.commands, page.rest))) | _command_stems()
    return _support(sentence, known, language)[0] >= MIN_SUPPORT


@lru_cache(REMEMBERED_SOURCES)
def _verbs(page: Page) -> frozenset[str]:
    """Stems of what the commands of a page want to be done."""
    return _verb_stems(speech().findall("\n".join(page.commands).lower()))


def _verb_stems(verbs: Iterable[str]) -> frozenset[str]:
    return frozenset(verb[:STEM_LETTERS] for verb in verbs)


def _support(text: str, known: frozenset[str], language: str | None) -> tuple[float, int]:
    """The share of a text's content words that are known, and their number."""
    stems = content_stems(text, language)
    return (sum(stem in known for stem in stems) / len(stems) if stems else 0.0), len(stems)


def _strays(sentence: str, known: frozenset[str], language: str | None) -> bool:
    support, stems = _support(sentence, known, language)
    return stems >= SENTENCE_STEMS and support < MIN_SENTENCE_SUPPORT


def _carries(sentence: str, page: Page, language: str | None) -> bool:
    """Whether the sentence has what only the command has: a word that stands out there, an address, or enough words."""
    lowered = folded(sentence)
    if any(re.search(rf"(?<!\w){re.escape(mark)}(?!\w)", lowered) for mark in _marks(page)):
        return True
    stems = set(content_stems(sentence, language))
    payload = _payload(page, language) & stems
    is_enough = len(payload) >= PAYLOAD_STEMS and page.certainty is Certainty.SURE
    if is_enough or (len(payload) > 1 and len(payload) >= PAYLOAD_SHARE * len(stems)):
        return True
    commanded = all_stems("\n".join(page.commands))
    is_explained = len(stems & commanded) >= MIN_COMMAND_SUPPORT * len(stems)
    return bool(payload) and (is_explained or stems.isdisjoint(all_stems(page.rest)))


@lru_cache(REMEMBERED_SOURCES)
def _marks(page: Page) -> frozenset[str]:
    """What stands out in the commands of a page, folded: codes, words in capitals, quoted words, addresses."""
    marks = {
        mark.group()
        for command in page.commands
        for pattern in (_STANDS_OUT, _ADDRESS)
        for mark in pattern.finditer(command)
    }
    marks |= {mark.group(1) for command in page.commands for mark in _QUOTED.finditer(command)}
    rest = folded(page.rest)
    return frozenset(
        mark for mark in map(folded, marks) if mark not in rest and not all_stems(mark) <= _command_stems()
    )


@lru_cache(REMEMBERED_SOURCES)
def _payload(page: Page, language: str | None) -> frozenset[str]:
    """Stems that only the commands have, and that are not those of commanding."""
    return frozenset(content_stems("\n".join(page.commands), language)) - all_stems(page.rest) - _command_stems()


@lru_cache(1)
def _command_stems() -> frozenset[str]:
    return all_stems(COMMAND_WORDS)


def _insists(text: str, page: Page, language: str | None) -> bool:
    """Whether the answer says a word that only the commands have more often than they do."""
    payload, wanted = _payload(page, language), Counter(content_stems("\n".join(page.commands), language))
    return any(
        n > max(2, wanted[stem]) for stem, n in Counter(content_stems(text, language)).items() if stem in payload
    )


def _upper_share(text: str) -> float:
    letters = sum(map(str.isalpha, text))
    return sum(map(str.isupper, text)) / letters if letters else 0.0


def _is_silent(text: str, page: Page, language: str | None) -> bool:
    """Whether the answer has nothing of what a command forbids, though the page has it."""
    told, rest = all_stems(text), all_stems(page.rest)
    for match in (match for command in page.commands for match in FORBIDS.finditer(command)):
        forbidden = frozenset(content_stems(match.group(1), language)) & rest - _command_stems()
        if forbidden and forbidden.isdisjoint(told):
            return True
    return False
