"""A parsed page: what its head says, and its main text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.extract.fast import hints, tags
from stages.extract.fast.choose import P_CELL, P_LIST_DEPTH, P_LIST_ENTRY, P_PRE, P_ROW, choose
from stages.extract.fast.render import Line, folded, rendered
from stages.extract.fast.scan import (
    E_START,
    E_TAG,
    F_HTML,
    F_LINKS,
    F_TITLE,
    F_TITLE_END,
    R_CHARACTERS,
    R_ELEMENT,
    R_END,
    R_LINE,
    R_START,
    scan,
)

MIN_TEXT = 250
"""Characters below which the text of a page is looked for in its metadata, as pages drawn by scripts have it."""

_ATTRIBUTE = re.compile(rb"""[\s/]*([^\s"'<>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_NAME = re.compile(rb"<[^\s/>]+")
_ARTICLE_BODY = re.compile(rb'"articleBody"\s*:\s*("(?:[^"\\]|\\.)*")')
_MARKUP = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class FastOptions:
    """How text is extracted."""

    tables: bool = True  # keep tables of data
    markdown: bool = False  # headings, lists, tables and code as Markdown


@dataclass(frozen=True, slots=True)
class FastExtract:
    """Main text ("" if none) and title of a page."""

    text: str
    title: str | None


class FastPage:
    """A page parsed once: what its head says, its links and its main text come from the same pass over its bytes."""

    def __init__(self, html: str) -> None:
        self._source = html.encode("utf-8", "replace")  # a lone surrogate has no UTF-8 form
        markup = min(self._source.count(b"<"), self._source.count(b">"))
        self._elements, self._runs, self._lines, facts = scan(
            np.frombuffer(self._source, np.uint8), markup, tags.PROPERTIES, tags.TAG_KEYS, tags.TAG_VALUES,
            tags.ATTRIBUTE_KEYS, tags.ATTRIBUTE_VALUES, hints.TRANSITIONS, hints.REPORTS,
        )  # fmt: skip
        self._facts: list[int] = facts.tolist()

    @property
    def title(self) -> str | None:
        """The page's og:title, else the text of its title element."""
        for attributes in self._all("meta", b"og:title"):
            if attributes.get("property") == "og:title" and attributes.get("content"):
                return attributes["content"]
        return folded(self._source[self._facts[F_TITLE] : self._facts[F_TITLE_END]]) or None

    @property
    def links(self) -> int:
        """Number of <a href>."""
        return int(self._facts[F_LINKS])

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """Attributes, by lower-case name, of each element of this name ("html", "meta", "link", "a" and others)."""
        if tag == "html":
            return [] if self._facts[F_HTML] < 0 else [self._attributes(self._facts[F_HTML])]
        return list(self._all(tag))

    def quick_text(self, characters: int) -> str:
        """The start of the page's text, menus and all, at most so many characters."""
        enough = np.searchsorted(np.cumsum(self._runs[:, R_CHARACTERS]), 2 * characters) + 1  # some count twice
        runs = self._runs[:enough, [R_START, R_END]].tolist()
        return folded(b" ".join(self._source[start:end] for start, end in runs))[:characters]

    def extract(self, options: FastOptions | None = None) -> FastExtract:
        """Main text and title."""
        options = options or FastOptions()
        keep, dropped, places = choose(self._elements, self._runs, self._lines, tags.PROPERTIES)
        if not options.tables:
            keep &= places[self._lines, P_ROW] < 0
        text = rendered(self._kept_lines(keep, dropped, places), options.markdown)
        if len(text) < MIN_TEXT:
            text = max(text, self._article_body(), key=len)
        return FastExtract(text, self.title)

    def _kept_lines(self, keep: Any, dropped: Any, places: Any) -> list[Line]:
        runs = self._runs[keep[self._runs[:, R_LINE]] & ~dropped[self._runs[:, R_ELEMENT]]]
        pieces: dict[int, list[bytes]] = {}
        for line, start, end in runs[:, [R_LINE, R_START, R_END]].tolist():
            pieces.setdefault(line, []).append(self._source[start:end])
        numbers = list(pieces)
        blocks = self._lines[numbers]
        kept_tags = self._elements[blocks, E_TAG].tolist()
        columns = places[blocks][:, [P_LIST_ENTRY, P_LIST_DEPTH, P_ROW, P_CELL, P_PRE]].tolist()
        return [
            Line(b"".join(pieces[number]), tags.NAMES[tag], *place)
            for number, tag, place in zip(numbers, kept_tags, columns, strict=True)
        ]

    def _article_body(self) -> str:
        """The text that JSON-LD metadata (schema.org) gives, longest first; "" if none."""
        bodies = [""]
        for match in _ARTICLE_BODY.finditer(self._source):
            try:
                body = json.loads(match[1], strict=False)
            except ValueError:
                continue  # cut off or not JSON: as good as absent
            paragraphs = _MARKUP.sub("\n", body).splitlines()
            bodies.append("\n".join(text for line in paragraphs if (text := folded(line.encode("utf-8", "replace")))))
        return max(bodies, key=len)

    def _all(self, tag: str, word: bytes = b"") -> Iterator[dict[str, str]]:
        """Attributes of each start tag of this name that has the word somewhere."""
        starts = self._elements[self._elements[:, E_TAG] == tags.TAG[tag], E_START]
        for start in starts.tolist():
            if not word or self._source.find(word, start, self._source.find(b">", start)) >= 0:
                yield self._attributes(start)

    def _attributes(self, start: int) -> dict[str, str]:
        """Attributes of the start tag at a byte, the first of each name."""
        name = _NAME.match(self._source, start)
        found: dict[str, str] = {}
        at = name.end() if name else start
        while match := _ATTRIBUTE.match(self._source, at):
            found.setdefault(
                match[1].decode("utf-8", "replace").lower(), folded(match[2] or match[3] or match[4] or b"")
            )
            at = match.end()
        return found


def extract(html: str, options: FastOptions | None = None) -> FastExtract:
    """Main text and title of a decoded page."""
    return FastPage(html).extract(options)
