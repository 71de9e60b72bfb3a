"""Words as the gates compare them: without case, accents and endings, and without the words that any text uses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

import regex

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext

STEM_LETTERS = 5
"""Words count as the same if they begin with the same letters: so inflected and derived forms meet in any language
that inflects at the end. Truncation at five is what McNamee and Mayfield (Character N-gram Tokenization for European
Language Text Retrieval, 2004) found about as good as stemming rules in eight European languages."""

FEWEST_LETTERS = 3  # of a content word
REMEMBERED_TEXTS = 256  # a text is asked about by several gates, and a source by each of its answers

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
"""Scripts that do not part words by spaces: there, pairs of characters stand for words."""

_RUN = regex.compile(rf"[{UNSPACED}\u30fc]+|[[\p{{L}}\p{{M}}]--[{UNSPACED}\u30fc]]+", regex.V1)
_ASCII_RUN = re.compile(r"[a-z]+")  # as _RUN finds them, faster
_UNSPACED_RUN = regex.compile(rf"[{UNSPACED}\u30fc]+", regex.V1)
_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae"})  # no compatibility forms, but written either way
_MARKS = regex.compile(r"\p{Mn}+")

STOP_LISTS = {
    **{"af": "Afrikaans", "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "bs": "Bosnian", "ca": "Catalan"},
    **{"cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish"},
    **{"et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fr": "French", "ga": "Irish"},
    **{"gl": "Galician", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian"},
    **{"id": "Indonesian", "is": "Icelandic", "it": "Italian", "kk": "Kazakh", "ko": "Korean", "la": "Latin"},
    **{"lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "mr": "Marathi", "ms": "Malay", "nl": "Dutch"},
    **{"nn": "Norwegian_Nynorsk", "no": "Norwegian_Bokmal", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian"},
    **{"ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish"},
    **{"sw": "Swahili", "ta": "Tamil", "te": "Telugu", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu"},
    **{"uz": "Uzbek", "vi": "Vietnamese"},
}
"""justext's lists of a language's commonest words in Wikipedia, by language. They hold more than function words
("city", "released"), which suits: a word that stands in any text says nothing about this one."""

OFTEN_MET = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru")  # asked where the language is not known


def folded(text: str) -> str:
    """The text in lower case, without accents and compatibility forms."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))).translate(
        _LIGATURES
    )


@cache
def stop_words(language: str | None) -> frozenset[str]:
    """The folded words of a language that say nothing about the text they stand in; none if there is no list."""
    import justext

    languages = OFTEN_MET if language is None else (language,)
    names = [STOP_LISTS[code] for code in languages if code in STOP_LISTS]
    return frozenset(run for name in names for word in justext.get_stoplist(name) for run in _RUN.findall(folded(word)))


def stems(words: Iterable[str], stopped: frozenset[str] = frozenset()) -> Iterator[str]:
    """The stems of folded words, in order, without stopped and very short ones; pairs in scripts without spaces."""
    for word in words:
        if not word.isascii() and _UNSPACED_RUN.match(word):
            yield from _pairs(word)
        elif len(word) >= FEWEST_LETTERS and word not in stopped:
            is_short_plural = len(word) == STEM_LETTERS and word[-1] == "s" and word[-2] not in "su"  # "goals"
            yield word[:-1] if is_short_plural else word[:STEM_LETTERS]


@lru_cache(REMEMBERED_TEXTS)
def words(text: str) -> tuple[str, ...]:
    """The folded words of a text, without numbers; a run in a script without spaces is one."""
    form = folded(text)
    return tuple(_ASCII_RUN.findall(form) if form.isascii() else _RUN.findall(form))


def whole_words(text: str) -> Iterator[str]:
    """The folded words of a text, in order, and pairs of characters in scripts without spaces."""
    for word in words(text):
        if not word.isascii() and _UNSPACED_RUN.match(word):
            yield from _pairs(word)
        else:
            yield word


def _pairs(run: str) -> Iterator[str]:
    return (run[i : i + 2] for i in range(max(1, len(run) - 1)))


@lru_cache(REMEMBERED_TEXTS)
def content_stems(text: str, language: str | None) -> tuple[str, ...]:
    """The stems of a text's content words, in order."""
    return tuple(stems(words(text), stop_words(language)))


@lru_cache(REMEMBERED_TEXTS)
def all_stems(text: str) -> frozenset[str]:
    """The stems of all words of a text: of stopped ones too, whose other forms may be content words elsewhere."""
    return frozenset(stems(words(text)))


@lru_cache(REMEMBERED_TEXTS)
def size(text: str) -> float:
    """Length of a text in words; a character of a script without spaces counts as half a word."""
    unspaced = 0.0 if text.isascii() else sum(map(len, _UNSPACED_RUN.findall(text))) / 2
    return unspaced + len((_UNSPACED_RUN.sub(" ", text) if unspaced else text).split())


def told(answer: ParsedAnswer, context: GateContext) -> str:
    """What an answer claims: its text or, where it consists of questions, their answers."""
    if context.format in ("questions", "faq"):
        return "\n".join(pair.answer for pair in answer.questions)
    return answer.text
