"""The engines that find the main text of a page. Each parses a page once, for everything that is read from it."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from stages.extract.markdown import mark_blank_lines_of_code, repaired
from stages.extract.page_facts import add_head_metadata, page_facts
from stages.extract.pages import ExtractionOptions, Facts

# References to control characters: trafilatura gives a page up on meeting one, because XML does not allow them.
_CONTROL_REFERENCE = re.compile(
    r"&#(?:0*(?:[0-8]|1[124-9]|2\d|3[01])|[xX]0*(?:[0-8bBcCeEfF]|1[\da-fA-F]));?(?![\da-fA-F])"
)

_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def storable(text: str) -> str:
    """``text`` without what no text has: control characters but tab and line feed, lone surrogates (which have no
    UTF-8 form) and the code points that Unicode sets apart as no characters."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _NOT_TEXT.sub("", text)


class Engine(ABC):
    """A way to the main text. ``tree`` is what ``parsed`` returned."""

    def __init__(self, options: ExtractionOptions) -> None:
        self._options = options

    @abstractmethod
    def parsed(self, html: str) -> Any:
        """The tree of a page; None if it is no HTML."""

    @abstractmethod
    def facts(self, tree: Any, url: str | None) -> Facts:
        """What the page says about itself. Title, date and author may come with the main text instead."""

    @abstractmethod
    def main_text(self, tree: Any, url: str | None, facts: Facts) -> str:
        """The main text, "" if there is none; may add to ``facts``."""


class Trafilatura(Engine):
    """trafilatura (Barbaresi 2021) on trees of lxml, which it finds the same text in as in the page's string.

    Its duplicate test stays off: it would make a text depend on the pages before.
    """

    def __init__(self, options: ExtractionOptions) -> None:
        super().__init__(options)
        import trafilatura

        from stages.extract import trafilatura_speed

        with suppress(trafilatura_speed.UnsupportedVersionError):  # ExtractHtml.note tells the user
            trafilatura_speed.install()
        self._extraction = trafilatura.bare_extraction
        logging.getLogger("trafilatura").setLevel(logging.CRITICAL)

    def parsed(self, html: str) -> Any:
        from trafilatura.utils import load_html

        return load_html(_CONTROL_REFERENCE.sub("", html))

    def facts(self, tree: Any, url: str | None) -> Facts:
        root = tree.getroottree().getroot()
        metas = [meta.get for meta in root.iter("meta")]
        links = sum("href" in link.attrib for link in root.iter("a"))
        return page_facts(root.get, metas, [link.get for link in root.iter("link")], links, url)

    def main_text(self, tree: Any, url: str | None, facts: Facts) -> str:
        options = self._options
        if options.markdown:
            mark_blank_lines_of_code(tree)
        document = self._extraction(
            tree,
            url=url,
            fast=not options.compare,
            favor_precision=options.precision,
            favor_recall=options.recall,
            include_comments=False,
            include_tables=options.tables,
            include_formatting=options.markdown,
            deduplicate=False,
            with_metadata=options.metadata,
        )
        if document is None:
            return ""
        facts.title, facts.date, facts.author = document.title, document.date, document.author
        text: str = document.text or ""
        return repaired(text, document.title) if options.markdown and text else text


class Resiliparse(Engine):
    """Resiliparse (Bevendorff et al. 2018): simple rules over a tree of lexbor, compiled."""

    def parsed(self, html: str) -> Any:
        from resiliparse.parse.html import HTMLTree

        return HTMLTree.parse(html)

    def facts(self, tree: Any, url: str | None) -> Facts:
        document = tree.document
        # by selectors: going through the collection that get_elements_by_tag_name returns takes quadratic time
        root = document.query_selector("html") or document
        metas = [meta.getattr for meta in document.query_selector_all("meta")]
        relations = [link.getattr for link in document.query_selector_all("link[rel]")]
        found = page_facts(root.getattr, metas, relations, len(document.query_selector_all("a[href]")), url)
        if self._options.metadata:
            add_head_metadata(found, metas, tree.title)
        return found

    def main_text(self, tree: Any, url: str | None, facts: Facts) -> str:
        from resiliparse.extract.html2text import extract_plain_text

        text: str = extract_plain_text(
            tree,
            main_content=True,
            preserve_formatting=True,
            list_bullets=True,
            alt_texts=False,
            links=False,
            form_fields=False,
            noscript=False,
            comments=False,
            skip_elements=None if self._options.tables else ["table"],
        )
        return text


class Fast(Engine):
    """This project's own: one pass over the bytes and a few rules, compiled by numba."""

    def __init__(self, options: ExtractionOptions) -> None:
        super().__init__(options)
        from stages.extract.fast import FastOptions, FastPage

        self._page = FastPage
        self._fast_options = FastOptions(tables=options.tables, markdown=options.markdown)
        FastPage("<html><body><p>Compile now: the first page's deadline is for the page.").extract(self._fast_options)

    def parsed(self, html: str) -> Any:
        return self._page(html)

    def facts(self, tree: Any, url: str | None) -> Facts:
        [root] = tree.attributes("html") or [{}]
        metas = [meta.get for meta in tree.attributes("meta")]
        relations = [link.get for link in tree.attributes("link")]
        found = page_facts(root.get, metas, relations, tree.links, url)
        if self._options.metadata:
            add_head_metadata(found, metas, tree.title)
        return found

    def main_text(self, tree: Any, url: str | None, facts: Facts) -> str:
        text: str = tree.extract(self._fast_options).text
        return repaired(text, facts.title) if self._options.markdown and text else text


ENGINES: dict[str, type[Engine]] = {"trafilatura": Trafilatura, "resiliparse": Resiliparse, "fast": Fast}
