"""How good the text of a PDF is, as far as the text itself and the way it was read can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.filter import Filter, Rule
from pipeline.stage import StageConfig
from stages.pdf.page import Page

QUALITY_COLUMNS = (
    pa.field("pdf.garbage_share", pa.float64()),
    pa.field("pdf.dictionary_share", pa.float64()),
    pa.field("pdf.ocr_confidence", pa.float64()),
    pa.field("pdf.quality", pa.float64()),
)

WORDS_LOOKED_UP = 2_000
"""Of a document, at equal distances: the share is then within 0.02 of that of all words, nineteen times of twenty."""
MIN_WORDS = 20
"""Of fewer, no share is told."""
LANGUAGE_CHARACTERS = 20_000
USUAL_DICTIONARY_SHARE = 0.9
"""Sound text reaches it: names and terms are the rest. Measured: docs/pdf.md."""

_WORD = re.compile(r"[^\W\d_]{2,40}")
_OTHER_CODES = {"sh": "hbs", "hr": "hbs", "sr": "hbs", "bs": "hbs", "no": "nb"}  # fastText's code -> the dictionary's


def quality_of(pages: Sequence[Page], text: str) -> dict[str, float | None]:
    """QUALITY_COLUMNS of a document: shares of its characters and words, 0 to 1, null where nothing can be said.

    ``pdf.quality`` is the product of the share of characters that are no garbage, of pages that could be read, of the
    OCR's confidence (1 for text layers, by character), and of known words, measured against USUAL_DICTIONARY_SHARE.
    """
    characters = sum(page.characters for page in pages)
    garbage = sum(page.garbage for page in pages) / max(1, characters)
    known = dictionary_share(text)
    confidence = _averaged(pages, without_ocr=None)
    read = sum(page.lane not in ("failed", "unread") for page in pages) / len(pages)
    quality = (1 - min(1.0, garbage)) * read * (_averaged(pages, without_ocr=1.0) or 0.0)
    if known is not None:
        quality *= min(1.0, known / USUAL_DICTIONARY_SHARE)
    return {
        "pdf.garbage_share": garbage,
        "pdf.dictionary_share": known,
        "pdf.ocr_confidence": confidence,
        "pdf.quality": quality,
    }


def _averaged(pages: Sequence[Page], without_ocr: float | None) -> float | None:
    """The confidence of pages, averaged by character; ``without_ocr`` is that of pages that were not read by OCR."""
    told = [(without_ocr if page.confidence is None else page.confidence, page.characters) for page in pages]
    weighed = [(confidence, weight) for confidence, weight in told if confidence is not None and weight]
    if not weighed:
        return None
    return sum(confidence * weight for confidence, weight in weighed) / sum(weight for _, weight in weighed)


def dictionary_share(text: str) -> float | None:
    """Share of the words that a dictionary of the text's language knows, capitalised ones apart that it does not know:
    names are no sign of bad text. None where there is no dictionary, or too few words."""
    words = _WORD.findall(text)
    language = _language(text) if len(words) >= MIN_WORDS else None
    if language is None:
        return None
    step = max(1, len(words) // WORDS_LOOKED_UP)
    looked_up = words[::step]
    known = sum(_is_known(word, language) for word in looked_up)
    names: int = sum(word[0].isupper() and not _is_known(word, language) for word in looked_up)
    return known / max(1, len(looked_up) - names)


def _language(text: str) -> str | None:
    """The dictionary's code of the language of a text."""
    from simplemma.strategies.dictionaries.dictionary_factory import SUPPORTED_LANGUAGES

    from stages.filters.language import model_path
    from stages.text.language import language_identifier

    start = re.sub(r"\s+", " ", text[:LANGUAGE_CHARACTERS])
    labels, _ = language_identifier(model_path(None)).identify(pa.array([start]))
    code = labels[0].as_py()
    code = _OTHER_CODES.get(code, code)
    return code if code in SUPPORTED_LANGUAGES else None


@lru_cache(maxsize=200_000)
def _is_known(word: str, language: str) -> bool:
    from simplemma import is_known

    return bool(is_known(word, lang=language) or is_known(word.lower(), lang=language))


class PdfQualityConfig(StageConfig):
    """Thresholds of pdf_quality; null: no rule."""

    min_quality: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    """Of the score as a whole: the product of what the other rules look at."""

    max_garbage_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of characters that no writer wrote: unmapped, control, private use, replacement."""

    min_dictionary_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of words that a dictionary knows, in languages that have one here (54)."""

    min_ocr_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the pages read by OCR; text layers have none and stay."""


class PdfQuality(Filter[PdfQualityConfig]):
    """Drop PDFs whose text is bad: garbage characters, words that no dictionary knows, uncertain OCR."""

    name = "pdf_quality"
    config_type = PdfQualityConfig
    requires = tuple(column.name for column in QUALITY_COLUMNS)
    provides = ()
    measures: ClassVar[Mapping[str, pa.DataType]] = {column.name: column.type for column in QUALITY_COLUMNS}
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("garbage", "pdf.garbage_share", ">", "max_garbage_share", "of characters are garbage"),
        Rule("unknown_words", "pdf.dictionary_share", "<", "min_dictionary_share", "of words are known"),
        Rule("uncertain_ocr", "pdf.ocr_confidence", "<", "min_ocr_confidence", "OCR confidence"),
        Rule("low_quality", "pdf.quality", "<", "min_quality", "quality"),
    )

    def measure(self, batch: pa.Table) -> pa.Table:
        """Nothing is left to measure: the pages' stage did, where the pages still were."""
        return batch
