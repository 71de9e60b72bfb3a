"""What stands in for trafilatura's functions."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from copy import copy
from functools import lru_cache
from typing import Any

import htmldate.core
import htmldate.utils
import lxml.html
import trafilatura.core
import trafilatura.external
import trafilatura.htmlprocessing
import trafilatura.main_extractor
import trafilatura.metadata
import trafilatura.readability_lxml
import trafilatura.settings
import trafilatura.utils
import trafilatura.xml
import trafilatura.xpaths
from lxml import etree

from stages.extract.trafilatura_speed import paragraphs, readability
from stages.extract.trafilatura_speed.xpaths import MAX_VALUES, Element, UnsupportedXPathError, Walk

BASELINE: Any = importlib.import_module("trafilatura.baseline")  # trafilatura.baseline is its function of that name
DATES: Any = htmldate.core

Expression = Callable[[Element], list[Element]]

UNLIKELY = "readability"
"""Stands among the names of lists for what readability may remove."""


def install() -> None:
    """Put everything in place. To be called once."""
    _install_elements()
    pruning = _install_walks()
    _replace(trafilatura.htmlprocessing, "tree_cleaning", _TreeCleaning())
    links = _LinkDensity()
    _replace(trafilatura.main_extractor, "prune_unwanted_sections", links.prune_unwanted_sections)
    _replace(trafilatura.htmlprocessing, "delete_by_link_density", links.delete_by_link_density)
    _replace(trafilatura.htmlprocessing, "link_density_test", links.link_density_test)
    readability.Document.unlikely = pruning.unlikely
    trafilatura.external.ReadabilityDocument = readability.Document
    _replace(trafilatura.core, "_extract_and_compare", _extract_and_compare)
    _replace(trafilatura.xml, "process_element", _Serializer().process_element)
    trafilatura.external.ParagraphMaker = paragraphs.ParagraphMaker
    trafilatura.external.classify_paragraphs = paragraphs.classify_paragraphs
    DATES.is_date_candidate = _DateCandidates()
    DATES.plausible_year_filter = _YearFilter()
    trafilatura.utils.INVALID_XML_CHARS = _InvalidCharacters(trafilatura.utils.INVALID_XML_CHARS)


def _replace(module: Any, name: str, stand_in: Any) -> None:
    """Put ``stand_in`` wherever trafilatura and htmldate hold what ``module`` calls ``name``."""
    original = getattr(module, name)
    for path, holder in list(sys.modules.items()):
        if path.partition(".")[0] in ("trafilatura", "htmldate"):
            for key, value in list(vars(holder).items()):
                if value is original:
                    setattr(holder, key, stand_in)


# ---------------------------------------------------------------- elements


class FastElement(lxml.html.HtmlElement):  # type: ignore[misc]
    """An element of the trees that trafilatura and htmldate parse, with shorter ways to the same answers."""

    PLAIN_STRINGS = frozenset({"//p//text()"})
    """Expressions whose strings are joined and never asked for the element they come from."""

    def text_content(self) -> str:
        """An element without children has the text that ``text`` says: no need to ask XPath for it."""
        if len(self):
            text: str = super().text_content()
            return text
        return self.text or ""

    def xpath(self, _path: str, **options: Any) -> Any:
        """The original compiles the expression at each call, and walks the tree once for each of its alternatives."""
        return super().xpath(_path, **options) if options else _compiled(_path)(self)


@lru_cache(256)
def _compiled(path: str) -> Any:
    xpath = etree.XPath(path, smart_strings=path not in FastElement.PLAIN_STRINGS)
    try:
        walk = Walk([xpath])
    except UnsupportedXPathError:
        return xpath
    return lambda tree: walk(tree)[0]


def _install_elements() -> None:
    """lxml.html calls a Python function for the class of each element that Python touches; here lxml decides itself.

    The difference: forms, inputs and labels are elements as all others, without the accessors to their values, which
    trafilatura, htmldate and justext do not use.
    """
    lookup = etree.ElementDefaultClassLookup(
        element=FastElement,
        comment=lxml.html.HtmlComment,
        pi=lxml.html.HtmlProcessingInstruction,
        entity=lxml.html.HtmlEntity,
    )
    fragments = lxml.html.HTMLParser()
    for parser in (trafilatura.utils.HTML_PARSER, htmldate.utils.HTML_PARSER, fragments):
        parser.set_element_class_lookup(lookup)

    def fragment_fromstring(html: str, create_parent: bool | str = False) -> Element:
        return lxml.html.fragment_fromstring(html, create_parent=create_parent, parser=fragments)

    trafilatura.readability_lxml.fragment_fromstring = fragment_fromstring
    BASELINE.fragment_fromstring = fragment_fromstring


# ---------------------------------------------------------------- XPath expressions


def _install_walks() -> _Pruning:
    # nothing changes the tree while extract_metadata runs (htmldate and extract_author work on copies)
    page = _Shared(
        *("TITLE_XPATHS", "AUTHOR_XPATHS", "AUTHOR_DISCARD_XPATHS", "CATEGORIES_XPATHS", "TAGS_XPATHS"),
        *(_Pruning.RAW, _Pruning.COMMENTS),
    )
    pruning = _Pruning(page)
    _replace(trafilatura.htmlprocessing, "prune_unwanted_nodes", pruning)
    _replace(trafilatura.main_extractor, "prune_unwanted_sections", pruning.prune_unwanted_sections)
    _replace(trafilatura.core, "trafilatura_sequence", pruning.trafilatura_sequence)
    trafilatura.main_extractor.BODY_XPATH = pruning.body_expressions()
    basic_cleaning = Walk([trafilatura.settings.BASIC_CLEAN_XPATH])
    BASELINE.BASIC_CLEAN_XPATH = lambda tree: basic_cleaning(tree)[0]
    for name in ("TITLE_XPATHS", "CATEGORIES_XPATHS", "TAGS_XPATHS"):
        setattr(trafilatura.metadata, name, page.expressions(name))
    metadata = _Metadata(page)
    _replace(trafilatura.metadata, "extract_metadata", metadata.extract_metadata)
    trafilatura.metadata.extract_author = metadata.extract_author
    return pruning


class _Shared:
    """Lists of expressions that are asked of one tree in turn, answered by one walk at the first of them.

    In between, nothing but what they select is removed. Elements that were selected and are gone by the time they
    are to be removed, being inside of others, may then be removed from these, which nobody sees. No other removal
    changes what is selected: of these expressions, one looks at more than the element itself, and it comes first.
    """

    def __init__(self, *names: str) -> None:
        self.lists = {
            name: [readability.MAY_BE_UNLIKELY] if name == UNLIKELY else getattr(trafilatura.xpaths, name)
            for name in names
        }
        self._walk = Walk([xpath for expressions in self.lists.values() for xpath in expressions])
        self.forget()

    def forget(self) -> None:
        """The tree is about to change in other ways, or to go."""
        self._tree: Element = None
        self._found: dict[str, list[list[Element]]] = {}

    def knows(self, tree: Element) -> bool:
        """Whether this very tree was walked."""
        return self._tree is tree

    def found(self, tree: Element, name: str) -> list[list[Element]]:
        """What each expression of a list selects."""
        if self._tree is not tree:
            found = iter(self._walk(tree))
            self._tree, self._found = tree, {key: [next(found) for _ in self.lists[key]] for key in self.lists}
        return self._found[name]

    def expressions(self, name: str) -> list[Expression]:
        """The expressions of a list, to be called like XPath objects."""

        def expression(index: int) -> Expression:
            return lambda tree: self.found(tree, name)[index]

        return [expression(index) for index in range(len(self.lists[name]))]


class _Pruning:
    """prune_unwanted_nodes with the elements that its expressions select found in one walk.

    The original evaluates an expression after what the ones before it selected is gone; see _Shared for why that
    makes no difference.
    """

    RAW, COMMENTS = "RAW_TREE_PRUNE_XPATH", "REMOVE_COMMENTS_AND_LISTS_XPATH"
    CONVERTED_COMMENTS, BODY, OVERALL = "REMOVE_COMMENTS_XPATH", "BODY_XPATH", "OVERALL_DISCARD_XPATH"
    SECTIONS = (OVERALL, "DISCARD_IMAGE_ELEMENTS", "TEASER_DISCARD_XPATH", "PRECISION_DISCARD_XPATH")

    def __init__(self, page: _Shared) -> None:
        self.original = trafilatura.htmlprocessing.prune_unwanted_nodes
        self._prune_unwanted_sections = trafilatura.main_extractor.prune_unwanted_sections
        self._page = page
        self._sequence = trafilatura.core.trafilatura_sequence
        self._raw = _Shared(self.RAW, self.COMMENTS)  # if metadata are not wanted
        # in precision mode readability gets the page itself, of which nothing else was removed by then
        self._raw_precision = _Shared(self.RAW, self.COMMENTS, self.OVERALL, UNLIKELY)
        self._compared = _Shared(self.OVERALL, UNLIKELY)  # if metadata are wanted
        self._precision = False
        self._converted = _Shared(self.CONVERTED_COMMENTS, self.BODY)
        self._sections = _Shared(*self.SECTIONS)
        self._in_sections = False
        # by the lists' addresses: the module keeps the lists, and so the addresses
        self._names = {
            id(value): name
            for name, value in vars(trafilatura.xpaths).items()
            if isinstance(value, list) and value and all(isinstance(xpath, etree.XPath) for xpath in value)
        }
        self._walks = {name: Walk(getattr(trafilatura.xpaths, name)) for name in self._names.values()}

    def trafilatura_sequence(self, tree: Element, options: Any, *arguments: Any, **named: Any) -> Any:
        """The original, in which all lists but those for metadata are asked."""
        self._precision = options.focus == "precision"
        try:
            return self._sequence(tree, options, *arguments, **named)
        finally:
            for shared in (self._raw, self._raw_precision, self._compared, self._converted):
                shared.forget()

    def body_expressions(self) -> list[Expression]:
        """BODY_XPATH, of which the caller takes the first match, and changes the tree if there is one."""

        def expression(index: int) -> Expression:
            def first(tree: Element) -> list[Element]:
                found = self._converted.found(tree, self.BODY)[index]
                if found:
                    self._converted.forget()
                return found

            return first

        return [expression(index) for index in range(len(trafilatura.xpaths.BODY_XPATH))]

    def unlikely(self, tree: Element) -> list[Element] | None:
        """The elements of a page that readability may remove, and more, if the page was walked.

        Some may be gone. None if it was not walked.
        """
        for shared in (self._raw_precision, self._compared):
            if shared.knows(tree):
                return shared.found(tree, UNLIKELY)[0]
        return None

    def prune_unwanted_sections(self, *arguments: Any, **named: Any) -> Element:
        """The original, while four lists share a walk."""
        self._in_sections = True
        try:
            return self._prune_unwanted_sections(*arguments, **named)
        finally:
            self._in_sections = False
            self._sections.forget()

    def __call__(self, tree: Element, nodelist: list[Any], with_backup: bool = False) -> Element:
        name = self._names.get(id(nodelist))
        if name is None:
            self._page.forget()
            return self.original(tree, nodelist, with_backup)
        found = [elements for elements in self._found(tree, name) if elements]
        if not found:
            return tree
        return self.original(tree, [_constant(elements) for elements in found], with_backup)

    def _found(self, tree: Element, name: str) -> list[list[Element]]:
        if name in (self.RAW, self.COMMENTS):
            if not self._page.knows(tree):
                return (self._raw_precision if self._precision else self._raw).found(tree, name)
            found = self._page.found(tree, name)
            if name == self.COMMENTS:
                self._page.forget()
            return found
        if name == self.CONVERTED_COMMENTS:
            found = self._converted.found(tree, name)
            if any(found):
                self._converted.forget()  # what BODY_XPATH selects first may go, too
            return found
        if self._in_sections and name in self.SECTIONS:
            return self._sections.found(tree, name)
        if name == self.OVERALL and self._precision:
            return (self._raw_precision if self._raw_precision.knows(tree) else self._compared).found(tree, name)
        return self._walks[name](tree)


def _constant(elements: list[Element]) -> Expression:
    return lambda tree: elements


class _Metadata:
    """extract_metadata and extract_author on what was found in the page."""

    def __init__(self, page: _Shared) -> None:
        self._page = page
        self._extract_metadata = trafilatura.metadata.extract_metadata
        self._extract_author = trafilatura.metadata.extract_author

    def extract_metadata(self, *arguments: Any, **named: Any) -> Any:
        self._page.forget()
        return self._extract_metadata(*arguments, **named)

    def extract_author(self, tree: Element) -> str | None:
        """The original copies the tree, removes the elements of AUTHOR_DISCARD_XPATHS, and looks for an author.

        Without a copy, the removed elements and what is inside them are left out; only if a removed one is inside a
        candidate, whose text it would be missing from, the original takes over.
        """
        discarded = {element for elements in self._page.found(tree, "AUTHOR_DISCARD_XPATHS") for element in elements}
        candidates = [
            [
                element
                for element in elements
                if element not in discarded and not any(outer in discarded for outer in element.iterancestors())
            ]
            for elements in self._page.found(tree, "AUTHOR_XPATHS")
        ]
        every = {element for elements in candidates for element in elements}
        if not every:
            return None
        if any(outer in every for element in discarded for outer in element.iterancestors()):
            author: str | None = self._extract_author(tree)
            return author
        author = trafilatura.metadata.extract_metainfo(tree, [_constant(e) for e in candidates], len_limit=120)
        return trafilatura.metadata.normalize_authors(None, author) if author else author


# ---------------------------------------------------------------- functions


def _extract_and_compare(cleaned: Element, backup: Element, tree: Element, options: Any) -> tuple[Element, str]:
    """The original, without a copy for readability in precision mode, where nothing comes after the comparison."""
    body, text = trafilatura.core.extract_content(cleaned, options)
    if not options.fast:
        compared = tree if options.focus == "precision" else copy(tree)
        body, text = trafilatura.core.compare_extraction(backup, compared, body, text, options)
    return body, text


class _Serializer:
    """process_element with a short way for table cells that hold text or nothing."""

    def __init__(self) -> None:
        self.original = trafilatura.xml.process_element

    def process_element(
        self, element: Element, texts: list[str], include_formatting: bool, in_cell: bool = False, in_item: bool = False
    ) -> None:
        if element.tag != "cell" or len(element) or element.tail:
            self.original(element, texts, include_formatting, in_cell, in_item)
            return
        if element.getprevious() is None:
            texts.append("| ")
        if text := element.text:
            texts.append(text.strip().replace("|", "\\|").replace("\n", " "))
        texts.append(" | ")


class _TreeCleaning:
    """tree_cleaning with a list of tags to remove that leaves out those the tree does not have.

    The original walks the tree once for each of some fifty tags; walks for absent tags change nothing. ("form", which
    the original takes out of the list, and "script" always stay: for lxml an empty list of tags means any tag.)
    """

    def __init__(self) -> None:
        self.original = trafilatura.htmlprocessing.tree_cleaning

    def __call__(self, tree: Element, options: Any) -> Element:
        cleaned = trafilatura.htmlprocessing.MANUALLY_CLEANED
        present = {element.tag for element in tree.iter(*cleaned)} | {"form", "script"}
        trafilatura.htmlprocessing.MANUALLY_CLEANED = [tag for tag in cleaned if tag in present]
        try:
            return self.original(tree, options)
        finally:
            trafilatura.htmlprocessing.MANUALLY_CLEANED = cleaned


class _LinkDensity:
    """delete_by_link_density with elements passed over that hold no link: the test says no to them at once.

    The elements that hold links are collected once for all passes of prune_unwanted_sections. What it removes in
    between can only take links away, and the elements that lost theirs are still tested by the original.
    """

    def __init__(self) -> None:
        self._prune_unwanted_sections = trafilatura.main_extractor.prune_unwanted_sections
        self._delete_by_link_density = trafilatura.htmlprocessing.delete_by_link_density
        self._link_density_test = trafilatura.htmlprocessing.link_density_test
        self._linked: set[Element] | None = None

    def prune_unwanted_sections(self, *arguments: Any, **named: Any) -> Element:
        try:
            return self._prune_unwanted_sections(*arguments, **named)
        finally:
            self._linked = None

    def delete_by_link_density(self, subtree: Element, *options: Any, **named: Any) -> Element:
        if self._linked is None:
            self._linked = linked = set()
            for link in subtree.iter("ref"):
                outer = link.getparent()
                while outer is not None and outer not in linked:
                    linked.add(outer)
                    outer = outer.getparent()
        return self._delete_by_link_density(subtree, *options, **named) if self._linked else subtree

    def link_density_test(self, element: Element, favor_precision: bool = False) -> tuple[bool, bool]:
        if self._linked is not None and element not in self._linked:
            return False, False
        result: tuple[bool, bool] = self._link_density_test(element, favor_precision)
        return result


class _Attributes(dict[str, str]):
    """An element, as far as is_date_candidate is concerned."""

    @property
    def attrib(self) -> dict[str, str]:
        return self


class _DateCandidates:
    """htmldate's is_date_candidate, which looks at three attributes only, remembered by these."""

    def __init__(self) -> None:
        original = DATES.is_date_candidate
        self._verdict = lru_cache(MAX_VALUES)(lambda attributes: original(_Attributes(attributes)))

    def __call__(self, element: Element) -> bool:
        attributes = tuple(pair for pair in element.items() if pair[0] in ("id", "class", "itemprop"))
        return bool(attributes) and self._verdict(attributes)


class _YearFilter:
    """htmldate's plausible_year_filter on the digits of a page and what is next to them.

    Its patterns, but for two, match digits, single separators between them, and one character that is no digit on
    either side. So of each run of characters that are no digits the first and the last do: the matches are the same.
    """

    DIGITS_ONLY = (
        *("THREE_PATTERN", "THREE_LOOSE_PATTERN", "SELECT_YMD_PATTERN", "DATESTRINGS_PATTERN", "SLASHES_PATTERN"),
        *("YYYYMM_PATTERN", "MMYYYY_PATTERN"),
    )
    INSIDE_OF_RUN = re.compile(r"(?<=\D)\D+(?=\D)")

    def __init__(self) -> None:
        self.original = DATES.plausible_year_filter
        self._patterns = {getattr(htmldate.core, name) for name in self.DIGITS_ONLY}
        self._page = self._digits = ""

    def __call__(self, htmlstring: str, *, pattern: re.Pattern[str], **options: Any) -> Any:
        if pattern in self._patterns:
            if self._page is not htmlstring:
                self._page, self._digits = htmlstring, self.INSIDE_OF_RUN.sub("", htmlstring)
            htmlstring = self._digits
        return self.original(htmlstring, pattern=pattern, **options)


class _InvalidCharacters:
    """INVALID_XML_CHARS, a pattern for single characters: to look for each of them is faster where there is none."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self._characters = [character for character in map(chr, range(sys.maxunicode + 1)) if pattern.match(character)]

    def sub(self, replacement: str, text: str) -> str:
        if any(character in text for character in self._characters):
            return self.pattern.sub(replacement, text)
        return text
