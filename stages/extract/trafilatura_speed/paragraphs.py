"""justext's paragraphs and their first classification, without SAX events and without texts made over and over.

justext builds, for each paragraph, the path of tags and an XPath that nobody reads, and joins and normalises its text
anew for every question. Here one recursion over the tree makes each text once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from justext.core import PARAGRAPH_TAGS, define_stoplist
from justext.utils import normalize_whitespace

Element = Any  # lxml is untyped


def normalized(text: str) -> str:
    """justext's normalize_whitespace: each run of white space becomes "\\n" if it holds a line break, else " "."""
    if "\n" in text or "\r" in text:
        result: str = normalize_whitespace(text)
        return result
    words = " ".join(text.split())
    if not words:
        return " " if text else ""
    before = " " if text[0].isspace() else ""
    after = " " if text[-1].isspace() else ""
    return f"{before}{words}{after}"


class Paragraph:
    """What trafilatura and justext's second classification ask of justext.paragraph.Paragraph."""

    __slots__ = ("cf_class", "chars_count_in_links", "class_type", "heading", "in_select", "text")

    def __init__(self, text: str, chars_count_in_links: int, in_select: bool) -> None:
        self.text = text
        self.chars_count_in_links = chars_count_in_links
        self.in_select = in_select  # some tag of the path to it has "select" in its name
        self.heading = False
        self.cf_class = self.class_type = ""

    @property
    def is_boilerplate(self) -> bool:
        return self.class_type != "good"


class ParagraphMaker:
    """Stands in for justext.core.ParagraphMaker; same rules, see startElementNS, endElementNS and characters there."""

    def __init__(self) -> None:
        self.paragraphs: list[Paragraph] = []
        self._texts: list[str] = []
        self._in_links = 0
        self._link = self._br = False
        self._selects = 0  # open tags with "select" in their name
        self._starts_in_select = False

    @classmethod
    def make_paragraphs(cls, root: Element) -> list[Paragraph]:
        """The paragraphs of a tree that hold text. The root counts as an element among others, tail included."""
        maker = cls()
        maker._element(root)
        maker._start_paragraph()
        return maker.paragraphs

    def _start_paragraph(self) -> None:
        if self._texts and (text := normalized("".join(self._texts).strip())):
            self.paragraphs.append(Paragraph(text, self._in_links, self._starts_in_select))
        self._texts, self._in_links, self._starts_in_select = [], 0, self._selects > 0

    def _characters(self, content: str) -> None:
        if content.isspace():
            return
        text = normalized(content)
        self._texts.append(text)
        if self._link:
            self._in_links += len(text)
        self._br = False

    def _element(self, element: Element) -> None:
        name = element.tag
        if isinstance(name, str):  # neither a comment nor a processing instruction
            if name[:1] == "{":
                name = name.rpartition("}")[2]
            select = "select" in name
            starts_paragraph = name in PARAGRAPH_TAGS
            self._selects += select
            if starts_paragraph or (name == "br" and self._br):
                self._start_paragraph()
            else:
                self._br = name == "br"
                if self._br:
                    self._texts.append(" ")
                elif name == "a":
                    self._link = True
            if text := element.text:
                self._characters(text)
            for child in element:
                self._element(child)
            self._selects -= select
            if starts_paragraph:
                self._start_paragraph()
            if name == "a":
                self._link = False
        if tail := element.tail:
            self._characters(tail)


_stopwords: tuple[Any, frozenset[str]] = (None, frozenset())


def _lower_case(stoplist: Iterable[str]) -> frozenset[str]:
    """justext's define_stoplist, without hashing 100,000 words at each call to find the same list remembered."""
    global _stopwords
    if _stopwords[0] is not stoplist:
        _stopwords = (stoplist, define_stoplist(stoplist))
    return _stopwords[1]


def classify_paragraphs(
    paragraphs: Sequence[Paragraph],
    stoplist: Iterable[str],
    length_low: int,
    length_high: int,
    stopwords_low: float,
    stopwords_high: float,
    max_link_density: float,
    no_headings: bool,
) -> None:
    """Stands in for justext.core.classify_paragraphs: words are counted only where their number matters.

    Lengths are in characters, the rest are shares. Texts are not empty here, so that neither share divides by 0.

    Raises:
        ValueError: headings are wanted; trafilatura never does.
    """
    if not no_headings:
        raise ValueError("headings are not supported")
    stopwords = _lower_case(stoplist)
    for paragraph in paragraphs:
        text, length = paragraph.text, len(paragraph.text)
        if (
            paragraph.chars_count_in_links / length > max_link_density
            or "\xa9" in text
            or "&copy" in text
            or paragraph.in_select
        ):
            paragraph.cf_class = "bad"
        elif length < length_low:
            paragraph.cf_class = "bad" if paragraph.chars_count_in_links > 0 else "short"
        else:
            words = text.lower().split()
            density = sum(map(stopwords.__contains__, words)) / len(words)
            if density >= stopwords_high:
                paragraph.cf_class = "good" if length > length_high else "neargood"
            else:
                paragraph.cf_class = "neargood" if density >= stopwords_low else "bad"
