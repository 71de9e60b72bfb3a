"""Whether an answer is in the language, or languages, of its source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import pyarrow as pa

from stages.filters.language import model_path
from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates.context import GateContext
from stages.text.language import LanguageIdentifier, language_identifier

PIECE_LETTERS = 120
"""Letters that are judged together: some twenty words, on which lid.176 seldom errs in larger languages."""
FEWEST_LETTERS = 40  # of a text, from which on its language is asked for at all
MIN_SHARE = 0.1  # of the source's letters, from which on a language is one of the source's
MIN_PROBABILITY = 0.6  # from which on a piece of the answer is in a language that is not the source's
REMEMBERED_TEXTS = 64  # a source is asked about by each of its answers

_CONFUSABLE = (
    # which the model takes for each other, or of which one is written as the other
    "hr sr bs sh sl mk", "no nb nn da sv", "id ms jv su min", "zh yue wuu ja", "pt gl", "es ast an ca oc", "cs sk pl",
    "ru uk be bg", "nl af li vls fy nds", "de als bar nds lb ksh pfl", "fr oc wa ca", "it lmo pms scn vec nap sc co",
    "hi mr ne sa bh mai gom", "tr az tk crh", "ar arz", "fa mzn azb ckb glk ps", "ur pnb", "fi et vep krl",
    "tl ceb war pam bcl ilo", "ro rm", "en sco", "tt ba kk ky", "bn as bpy", "la it eo ia io vo ie", "ko", "he yi",
)  # fmt: skip
_RELATED = {code: frozenset(group.split()) for group in _CONFUSABLE for code in group.split()}
_NO_LANGUAGE = re.compile(
    r"```.*?```|\$\$.+?\$\$|\$[^$\n]+\$|\\\[.+?\\\]|\\\(.+?\\\)|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|`[^`\n]+`"
    r"|\w+://\S+|\S+@\S+|</?[a-zA-Z][^<>]*>|<[A-Z_]+>",
    re.DOTALL,
)
_CODE_LINE = re.compile(r"[{};]\s*$|^\s*(?:[#$>]|//|import |def |class |return |\w+\s*=[^=])|[=<>]=|\(\)|->|\|.*\|")
_SENTENCE_END = re.compile(r"\n|(?<=[.!?。！？])\s*")


def language_kept(source: str, answer: ParsedAnswer, context: GateContext) -> float:
    """Share of the answer's letters that stand in a language of the source; 1 where it is too short to tell.

    The identifier judges pieces of some twenty words, so that half an answer in another language shows. Code, formulas
    and addresses are in no language; languages that the identifier takes for each other count as one.
    """
    own = _languages(source) | ({context.language} if context.language else frozenset())
    pieces = _pieces(answer.text)
    total = sum(letters for _, letters in pieces)
    if not own or total < FEWEST_LETTERS:
        return 1.0
    accepted = own.union(*(_RELATED.get(code, frozenset()) for code in own))
    foreign = sum(
        letters
        for letters, label, probability in _identified(pieces)
        if label not in accepted and probability >= MIN_PROBABILITY
    )
    return 1 - foreign / total


@lru_cache(REMEMBERED_TEXTS)
def _languages(text: str) -> frozenset[str]:
    """Languages in which at least MIN_SHARE of a text stands; none if it is too short to tell."""
    shares: Counter[str] = Counter()
    for letters, label, _ in _identified(_pieces(text)):
        shares[label] += letters
    total = shares.total()
    return frozenset(label for label, n in shares.items() if n >= MIN_SHARE * total >= MIN_SHARE * FEWEST_LETTERS)


def _identified(pieces: Sequence[tuple[str, int]]) -> list[tuple[int, str, float]]:
    """Letters, language and its probability of each piece."""
    labels, probabilities = _identifier().identify(pa.array([text for text, _ in pieces], pa.large_string()))
    found = zip(pieces, labels.to_pylist(), probabilities.to_pylist(), strict=True)
    return [(letters, label, probability) for (_, letters), label, probability in found]


@lru_cache(1)
def _identifier() -> LanguageIdentifier:
    return language_identifier(model_path(None))


def _pieces(text: str) -> list[tuple[str, int]]:
    """The text in stretches of lines or sentences of about PIECE_LETTERS letters, without what is no language, and
    the letters of each."""
    pieces: list[tuple[str, int]] = []
    piece, letters = "", 0
    for sentence in _SENTENCE_END.split(_NO_LANGUAGE.sub(" ", text)):
        count = sum(map(str.isalpha, sentence))
        if 2 * count < len(sentence.strip()) or _CODE_LINE.search(sentence):
            continue
        piece, letters = f"{piece} {sentence}", letters + count
        if letters >= PIECE_LETTERS:
            pieces.append((piece, letters))
            piece, letters = "", 0
    if pieces and letters < FEWEST_LETTERS:
        last, count = pieces[-1]
        pieces[-1] = (last + piece, count + letters)
    elif letters:
        pieces.append((piece, letters))
    return pieces
