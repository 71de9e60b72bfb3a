"""Whether the names in an answer are those of the source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import regex

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.command_phrases import Certainty
from stages.rephrase.gates.context import GateContext
from stages.rephrase.gates.injection import taken_apart
from stages.rephrase.gates.number_words import MONTH_NUMBERS
from stages.rephrase.gates.places import Span, is_place_of_another
from stages.rephrase.gates.words import REMEMBERED_TEXTS, folded, stop_words, told, words

NOUNS_ARE_CAPITALISED = frozenset(("de", "lb"))
"""Languages in which a capital letter makes no name: there, a name is a capitalised word that no dictionary knows."""

FEWEST_SHARED_LETTERS = 4  # at the beginning of two forms of a name: "Italy", "Italian"
MOST_OTHER_LETTERS = 3  # behind them, in the longer form
FEWEST_LETTERS_OF_A_SLIP = 5  # longer names may differ by a letter: "Goggle"
FEWEST_PART_LETTERS = 6  # of either part of a compound
HEADING_WORDS = 12
WEAK = 0.5  # an acronym, or a word where any would be capitalised
WEAKEST = 0.25  # a word that is also in the dictionary

_TOKEN_OF = r"""(?P<title>\b(?:[{upper}]|Dr|Mr|Mrs|Ms|Prof|St|Mme|Sr|Sra)\.(?=\s?[{upper}]))
    |(?P<capitalised>(?<![{cased}])(?:[{upper}][{cased}]+|[{lower}]+[{upper}][{cased}]*))
    |[{cased}]+|{other}\d+|[.!?:;,|"()\[\]\#\u2022\u201c\u201d]"""
_TOKEN = regex.compile(
    _TOKEN_OF.format(upper=r"\p{Lu}", lower=r"\p{Ll}", cased=r"\p{Lu}\p{Ll}\p{M}", other=r"\p{L}|"), regex.VERBOSE
)
_ASCII_TOKEN = re.compile(_TOKEN_OF.format(upper="A-Z", lower="a-z", cased="A-Za-z", other=""), re.VERBOSE)
_CASED_RUN = regex.compile(r"[\p{Lu}\p{Ll}\p{M}]+")
_OF_PLACES = (
    *("ienne", "iennes", "iens", "ien", "aises", "aise", "ais", "oises", "oise", "ois", "ian", "ians", "ean", "eans"),
    *("ischen", "ischer", "isches", "ische", "isch", "eses", "ese", "esa", "esas", "ish", "ans", "anos", "ano", "ana"),
)
"""Endings that make an adjective or an inhabitant of a place's name: "Marseille", "marseillaise"."""
_BREAKS = frozenset('.!?:;\u2022|#"\u201c\u201d([')
_TITLE_RUN = regex.compile(r"\b\p{Lu}[\p{L}\p{M}]*(?:[ -](?:[\p{Ll}\p{M}]{2,3} ){0,2}\p{Lu}[\p{L}\p{M}]*)+")
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_LINE = regex.compile(r"[^\n]+")
_LINE_END = regex.compile(r"[.!?,;]\W*$")


@dataclass(frozen=True, slots=True)
class Name:
    """A run of name words in a text."""

    words: tuple[str, ...]
    span: Span
    weight: float = 1.0  # that it is a name at all, and not a word that looks like one


@lru_cache(REMEMBERED_TEXTS)
def names(text: str, language: str | None) -> tuple[Name, ...]:
    """The names in a text, in order: runs of capitalised words, words in capitals or of mixed case.

    A capitalised word that begins a sentence, and one in a heading, is a name only if no dictionary of the language
    knows it. Scripts without capitals have no names here.
    """
    found: list[Name] = []
    token = _ASCII_TOKEN if text.isascii() else _TOKEN
    for line in _LINE.finditer(text):
        is_heading = _is_heading(line.group())
        run: list[re.Match[str]] = []
        is_start = run_is_weak = True
        for match in token.finditer(text, *line.span()):
            kind = match.lastgroup
            if kind == "title":
                continue
            is_weak = is_start or is_heading
            if kind == "capitalised" and _is_name(match.group(), is_weak, language):
                run_is_weak = run_is_weak if run else is_weak
                run.append(match)
            elif run:
                found.append(_name(run, run_is_weak, language))
                run = []
            is_start = match.group() in _BREAKS
        if run:
            found.append(_name(run, run_is_weak, language))
    return tuple(found)


def _name(run: Sequence[re.Match[str]], is_weak: bool, language: str | None) -> Name:
    words = tuple(match.group() for match in run)
    weight = 1.0
    if len(run) == 1 and (is_weak or words[0].isupper() or language in NOUNS_ARE_CAPITALISED):
        weight = WEAK
    elif len(run) == 1 and _is_known(words[0], language) and not _is_proper(words[0], language):
        weight = WEAKEST
    return Name(words, (run[0].start(), run[-1].end()), weight)


def _is_heading(line: str) -> bool:
    """Whether the words of a line are capitalised because they are a heading's."""
    found = [word for word in line.split() if word[0].isalpha()]
    if not 0 < len(found) <= HEADING_WORDS or _LINE_END.search(line):
        return bool(found) and line.isupper()
    return sum(word[0].isupper() for word in found) >= 0.6 * len(found)


def _is_name(word: str, is_weak: bool, language: str | None) -> bool:
    if word[0].islower() or not word[1:].islower():  # iPhone, NASA, McDonald
        return not (is_weak and word.isupper() and _is_known(word, language))
    if folded(word) in stop_words(language):
        return False
    if is_weak or language in NOUNS_ARE_CAPITALISED:
        return not _is_known(word, language)
    return not _is_inflected(word, language)


@lru_cache(1 << 16)
def _is_known(word: str, language: str | None) -> bool:
    """Whether a dictionary of the language has the word in lower case; without a dictionary every word is known."""
    import simplemma

    try:
        return len(word) < FEWEST_SHARED_LETTERS or simplemma.is_known(word.lower(), lang=language or "en")
    except ValueError:
        return True


@lru_cache(1 << 16)
def _is_proper(word: str, language: str | None) -> bool:
    """Whether a dictionary of the language has the word with a capital letter only: "Oregon", but not "Parliament"."""
    import simplemma

    try:
        return simplemma.lemmatize(word.lower(), lang=language or "en")[:1].isupper()
    except ValueError:
        return False


@lru_cache(1 << 16)
def _is_inflected(word: str, language: str | None) -> bool:
    """Whether a capitalised word is a form of a common word, as in a title: "Uses", "Updated"."""
    import simplemma

    try:
        return simplemma.lemmatize(word.lower(), lang=language or "en").casefold() != word.casefold()
    except ValueError:
        return False


@lru_cache(REMEMBERED_TEXTS)
def _initials(text: str) -> str:
    return "".join(word[0] for word in words(text))


@lru_cache(REMEMBERED_TEXTS)
def _known(text: str) -> frozenset[str]:
    """The folded words of a text, and those parts of them that ``names`` takes for words."""
    known = frozenset(words(text))
    return known if text.isascii() else known.union(map(folded, _CASED_RUN.findall(text)))


def unsupported_words(name: Name, source: str, spelt_out: frozenset[str] = frozenset()) -> list[str]:
    """The words of a name that do not stand in the source, in any form of theirs, nor are those of ``spelt_out``."""
    return [word for word in name.words if folded(word) not in spelt_out and not _is_word_supported(word, source)]


@lru_cache(REMEMBERED_TEXTS)
def _spelt_out(text: str, source: str) -> frozenset[str]:
    """The words of a text that spell out an acronym of its source: "Member of Parliament" for "MP"."""
    acronyms = _acronyms(source)
    found: set[str] = set()
    for run in _TITLE_RUN.finditer(text) if acronyms else ():
        capitalised = [word for word in _WORD.findall(run.group()) if word[0].isupper()]
        for start, end in combinations(range(len(capitalised) + 1), 2):
            if "".join(word[0] for word in capitalised[start:end]).upper() in acronyms:
                found.update(map(folded, capitalised[start:end]))
    return frozenset(found)


@lru_cache(REMEMBERED_TEXTS)
def _acronyms(text: str) -> frozenset[str]:
    return frozenset(regex.findall(r"\b\p{Lu}{2,}\b", text))


@lru_cache(REMEMBERED_TEXTS)
def _abbreviations(text: str) -> frozenset[str]:
    """What may stand for longer words: "Calif." and "CA", folded."""
    return frozenset(map(folded, regex.findall(r"\b\p{Lu}\p{Ll}{1,5}(?=\.)|\b\p{Lu}{2}\b", text)))


def _is_word_supported(word: str, source: str) -> bool:
    known = _known(source)
    form = folded(word)
    if form in known:
        return True
    if word.isupper() and form in _initials(source):
        return True
    if set(word) <= set("IVXLC") or form in MONTH_NUMBERS:
        return True
    if any(form.startswith(short) and len(form) > len(short) + 1 for short in _abbreviations(source)):
        return True
    return any(_are_forms(form, other) or _is_slip(form, other) for other in known) or _is_compound(form, source)


@lru_cache(1 << 12)
def _is_compound(form: str, source: str) -> bool:
    """Whether a word joins the beginning and the end of words of the source: "Forschungszulage" for "Forschungs- und
    Lehrzulage"."""
    known = [word for word in _known(source) if len(word) >= FEWEST_PART_LETTERS]
    return any(
        any(w.startswith(form[:i]) for w in known) and any(w.endswith(form[i:]) for w in known)
        for i in range(FEWEST_PART_LETTERS, len(form) - FEWEST_PART_LETTERS + 1)
    )


def _are_forms(a: str, b: str) -> bool:
    """Whether two words are forms of one: "Germany" and "German", "Bellman" and "Bellmans"."""
    shared = _shared(a, b)
    if shared < FEWEST_SHARED_LETTERS:
        return False
    short, long = sorted((a, b), key=len)
    if shared >= len(long) - MOST_OTHER_LETTERS:
        return True
    ending = next((e for e in _OF_PLACES if long.endswith(e)), None)
    return ending is not None and shared >= max(len(long) - len(ending) - 1, len(short) - 2)


def _is_slip(a: str, b: str) -> bool:
    """Whether two words differ by one letter."""
    longer = max(len(a), len(b))
    if longer < FEWEST_LETTERS_OF_A_SLIP or abs(len(a) - len(b)) > 1:
        return False
    return _shared(a, b) + _shared(a[::-1], b[::-1]) >= longer - 1


def _shared(a: str, b: str) -> int:
    """How many letters two words begin with alike."""
    shared = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        shared += 1
    return shared


def _judged(source: str, answer: ParsedAnswer, context: GateContext) -> list[tuple[Name, list[str]]]:
    """Each name of the answer, with those of its words that do not stand in the source."""
    text = told(answer, context)
    spelt_out = _spelt_out(text, source)
    return [(name, unsupported_words(name, source, spelt_out)) for name in names(text, context.language)]


def entity_precision(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the answer's names that stand in the source; 1 if it has none."""
    judged = _judged(source, answer, context)
    return sum(not missing for _, missing in judged) / len(judged) if judged else 1.0


def unsupported_entities(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many different words in the answer's names do not stand in the source.

    A lone word counts for less where it may be no name: see WEAK and WEAKEST.
    """
    weights: dict[str, float] = {}
    for name, missing in _judged(source, answer, context):
        for word in missing:
            form = folded(word)
            weights[form] = max(weights.get(form, 0.0), name.weight)
    return float(sum(weights.values()))


def changed_entities(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """How many names of the answer stand where the source has another name, which the answer lacks."""
    text = told(answer, context)
    new = [name for name, missing in _judged(source, answer, context) if missing]
    if not new:
        return 0.0
    lost = [name.span for name in names(source, context.language) if unsupported_words(name, text)]
    return float(sum(is_place_of_another(text, name.span, source, lost, context.language) for name in new))


def entity_recall(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the source's different names that stand in the answer, those in commands to a model apart, which a sound
    answer leaves out; 1 if it has none."""
    text = told(answer, context)
    page = taken_apart(source)
    told_by = page.rest if page.certainty is Certainty.SURE else source
    found = {name.words: name for name in names(told_by, context.language)}
    return sum(not unsupported_words(name, text) for name in found.values()) / len(found) if found else 1.0
