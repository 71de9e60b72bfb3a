"""trafilatura's fork of readability with its answers about one element remembered.

Scoring asks for the length of the same links once for each block around them, and for the class weight of the same
class names on every page.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from lxml.html import HtmlElement
from trafilatura.readability_lxml import FRAME_TAGS, REGEXES, text_length
from trafilatura.readability_lxml import Document as Original

Element = Any  # lxml is untyped

MAX_VALUES = 20_000
"""Attribute values remembered, as in xpaths.py."""


@lru_cache(MAX_VALUES)
def _weight(attribute: str) -> int:
    """What class_weight adds for one class or id."""
    return 25 * bool(REGEXES["positiveRe"].search(attribute)) - 25 * bool(REGEXES["negativeRe"].search(attribute))


@lru_cache(MAX_VALUES)
def _is_unlikely(*attributes: str | None) -> bool:
    """The verdict of remove_unlikely_candidates on class and id, which the original remembers for one document."""
    joined = " ".join(filter(None, attributes)).lower()  # too short to match if shorter than the original allows
    return bool(REGEXES["unlikelyCandidatesRe"].search(joined)) and not REGEXES["okMaybeItsACandidateRe"].search(joined)


class Document(Original):  # type: ignore[misc]
    """Stands in for readability_lxml.Document."""

    __slots__ = ("_link_lengths",)

    def __init__(self, doc: HtmlElement, min_text_length: int = 25) -> None:
        super().__init__(doc, min_text_length)
        self._link_lengths: dict[Element, int] | None = None  # None while the tree changes

    def class_weight(self, elem: Element) -> int:
        return sum(_weight(attribute) for attribute in (elem.get("class"), elem.get("id")) if attribute)

    def score_paragraphs(self) -> Any:
        self._link_lengths = {}  # the tree stays as it is while paragraphs are scored
        try:
            return super().score_paragraphs()
        finally:
            self._link_lengths = None

    def get_link_density(self, elem: Element) -> float:
        links = elem.iterdescendants("a")
        lengths = self._link_lengths
        if lengths is None:
            in_links = sum(map(text_length, links))
        else:
            in_links = 0
            for link in links:
                length = lengths.get(link)
                if length is None:
                    length = lengths[link] = text_length(link)
                in_links += length
        # no text in links: the quotient is 0 whatever the length
        return in_links / (text_length(elem) or 1) if in_links else 0.0

    def remove_unlikely_candidates(self) -> None:
        for elem in list(self.doc.iterdescendants("*")):
            if _is_unlikely(elem.get("class"), elem.get("id")) and elem.tag not in FRAME_TAGS:
                elem.drop_tree()
