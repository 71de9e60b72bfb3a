"""trafilatura's fork of readability with its answers about one element remembered.

Scoring asks for the length of the same links once for each block around them, and for the class weight of the same
class names on every page.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf
from operator import attrgetter
from typing import Any

from lxml import etree
from lxml.html import HtmlElement
from trafilatura.readability_lxml import FRAME_TAGS, REGEXES, Candidate, text_length
from trafilatura.readability_lxml import Document as Original

from stages.extract.trafilatura_speed.xpaths import MAX_VALUES, Element


@lru_cache(MAX_VALUES)
def _weight(attribute: str) -> int:
    """What class_weight adds for one class or id."""
    return 25 * bool(REGEXES["positiveRe"].search(attribute)) - 25 * bool(REGEXES["negativeRe"].search(attribute))


@lru_cache(MAX_VALUES)
def _is_unlikely(*attributes: str | None) -> bool:
    """The verdict of remove_unlikely_candidates on class and id, which the original remembers for one document."""
    joined = " ".join(filter(None, attributes)).lower()  # too short to match if shorter than the original allows
    return bool(REGEXES["unlikelyCandidatesRe"].search(joined)) and not REGEXES["okMaybeItsACandidateRe"].search(joined)


_PATTERN = REGEXES["unlikelyCandidatesRe"].pattern
MAY_BE_UNLIKELY = etree.XPath(
    f".//*[re:test(@class, '{_PATTERN}', 'i') or re:test(@id, '{_PATTERN}', 'i')]",
    namespaces={"re": "http://exslt.org/regular-expressions"},
)
"""Selects all elements that remove_unlikely_candidates may remove: no alternative of its pattern has a space in it,
so that each is found in class or in id if it is found in both joined by one."""


class _Scores(dict[Element, Candidate]):
    """Candidates by element, each scaled by its link density when it is first asked for by element."""

    def __init__(self, unscaled: dict[Element, Candidate], link_density: Callable[[Element], float]) -> None:
        super().__init__(unscaled)
        self._unscaled = set(unscaled)
        self._link_density = link_density

    def __getitem__(self, elem: Element) -> Candidate:
        candidate = super().__getitem__(elem)
        if elem in self._unscaled:
            self._unscaled.remove(elem)
            candidate.score *= 1 - self._link_density(elem)
        return candidate

    def best(self) -> Candidate | None:
        """The first of those with the highest scaled score.

        Scaling cannot raise a score, unless it is negative: most candidates are out of the race as they are.
        """
        best = -inf
        for elem, candidate in sorted(self.items(), key=lambda pair: (pair[1].score >= 0, -pair[1].score)):
            if 0 <= candidate.score < best:
                break
            best = max(best, self[elem].score)
        scaled = (candidate for elem, candidate in self.items() if elem not in self._unscaled)
        return max(scaled, key=attrgetter("score"), default=None)


class Document(Original):  # type: ignore[misc]
    """Stands in for readability_lxml.Document."""

    __slots__ = ("_link_lengths", "_scoring")

    unlikely: Callable[[Element], list[Element] | None] = staticmethod(lambda tree: None)
    """What MAY_BE_UNLIKELY selects in a tree, and elements that are gone; None if it is not known."""

    def __init__(self, doc: HtmlElement, min_text_length: int = 25) -> None:
        super().__init__(doc, min_text_length)
        self._link_lengths: dict[Element, int] | None = None  # None while the tree changes
        self._scoring = False

    def class_weight(self, elem: Element) -> int:
        return sum(_weight(attribute) for attribute in (elem.get("class"), elem.get("id")) if attribute)

    def score_paragraphs(self) -> Any:
        self._scoring = True
        try:
            scores = super().score_paragraphs()
        finally:
            self._scoring = False
        self._link_lengths = {}  # the text of elements stays as it is until sanitize
        return _Scores(scores, self.get_link_density)

    def select_best_candidate(self, candidates: _Scores) -> Candidate | None:
        return candidates.best()

    def get_link_density(self, elem: Element) -> float:
        if self._scoring:
            return 0.0  # _Scores scales
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

    def sanitize(self, node: Element, candidates: _Scores) -> str:
        for elem in node.iter():
            if elem in candidates:
                candidates[elem]  # scale it while its text is what it was
        self._link_lengths = None
        summary: str = super().sanitize(node, candidates)
        return summary

    def remove_unlikely_candidates(self) -> None:
        known = self.unlikely(self.doc)
        for elem in list(self.doc.iterdescendants("*")) if known is None else known:
            if (
                _is_unlikely(elem.get("class"), elem.get("id"))
                and elem.tag not in FRAME_TAGS
                and elem.getparent() is not None
            ):
                elem.drop_tree()
