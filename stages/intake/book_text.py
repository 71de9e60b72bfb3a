"""The text of one XHTML file of a book, as plain text or as Markdown.

A book's file is all main text, so nothing is guessed: every word is kept, and elements decide about lines only.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any

HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
SECTIONS = (
    "article",
    "aside",
    "body",
    "div",
    "footer",
    "header",
    "level1",
    "level2",
    "level3",
    "main",
    "nav",
    "section",
)
PARAGRAPHS = ("address", "center", "details", "figcaption", "figure", "form", "hr", "p", "summary")
LISTS_AND_TABLES = ("dd", "dl", "dt", "ol", "tbody", "tfoot", "thead", "ul")
BLOCKS = frozenset((*HEADINGS, *SECTIONS, *PARAGRAPHS, *LISTS_AND_TABLES))
IGNORED = frozenset(("script", "style", "head", "template", "audio", "video", "object", "svg", "iframe"))
EMPHASIS = {"em": "*", "i": "*", "strong": "**", "b": "**", "code": "`"}
OPS_TYPE = "epub:type"
_SPACE = re.compile(r"[ \t\n\r\f]+")  # not the no-break space, which is a character of the text
_BLANKS = re.compile(" {2,}")
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{2,40})""", re.IGNORECASE)


def types_of(content: bytes) -> set[str]:
    """What a file says that it is as a whole: epub:type of its body, or of the only element in it.

    Raises:
        ValueError: it cannot be parsed.
    """
    body = _body(content)
    only = list(body.iterchildren("*"))
    elements = [body, *only] if len(only) == 1 else [body]
    return {kind for element in elements for kind in (element.get(OPS_TYPE) or "").split()}


def book_text(content: bytes, markdown: bool) -> str:
    """The text of an XHTML file: blocks with a blank line between them; lines of tables, lists and code stay lines.

    Raises:
        ValueError: it cannot be parsed.
    """
    from lxml import etree

    writer = _Writer(markdown)
    walk = etree.iterwalk(_body(content), events=("start", "end"))  # no recursion: nesting has no bound
    for event, element in walk:
        tag = element.tag
        if event == "start" and (tag in IGNORED or tag == "math"):
            walk.skip_subtree()
            if tag == "math":
                writer.inline(element.get("alttext") or "".join(element.itertext()))
        elif event == "start":
            writer.start(tag)
            writer.inline(element.text or "")
        else:
            writer.end(tag)
            writer.inline(element.tail or "")
    return writer.text()


def _body(content: bytes) -> Any:
    from lxml import etree, html

    declared = _ENCODING.search(content[:512])
    encoding = declared[1].decode() if declared else "utf-8"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    # the parser for HTML, which knows the entities and expands none that a book defines
    options = {"remove_comments": True, "remove_pis": True, "huge_tree": True}
    try:
        parser = html.HTMLParser(encoding=encoding, **options)
    except LookupError:
        parser = html.HTMLParser(encoding="utf-8", **options)
    try:
        root = html.document_fromstring(content, parser)
    except etree.ParserError:  # an empty file
        root = html.document_fromstring("<p></p>", parser)
    for error in parser.error_log:
        if error.level == etree.ErrorLevels.FATAL:  # then the rest of the file is not in the tree
            raise ValueError(error.message)
    return next(root.iter("body"), root)


@dataclass(slots=True)
class _Margin:
    """What stands before the lines of a list entry or a quotation."""

    first: str
    rest: str
    is_entry: bool = False
    is_used: bool = False  # the first line has been written


class _Writer:
    """Takes elements and text in document order and writes blocks of lines."""

    def __init__(self, markdown: bool) -> None:
        self._markdown = markdown
        self._out: list[str] = []
        self._inline: list[str] = []  # of the block that is open
        self._emphasis: list[int] = []  # where in it emphasis began
        self._margins: list[_Margin] = []
        self._lists: list[int | None] = []  # number of the last entry of each open list; None: not numbered
        self._wrote_entry = False  # the last block belongs to a list
        self._preformatted = 0
        self._heading = ""
        self._tables = 0
        self._rows: list[list[str]] = []  # of the outermost open table

    def text(self) -> str:
        """All that was written."""
        self._end_block()
        return "".join(self._out)

    def inline(self, text: str) -> None:
        """Text of the block that is open."""
        text = text.replace("\xad", "")  # soft hyphens are for the layout
        self._inline.append(text if self._preformatted else _SPACE.sub(" ", text))

    def start(self, tag: str) -> None:
        """An element begins."""
        if tag == "br":
            self._inline.append("\n")
        elif tag in EMPHASIS:
            self._emphasis.append(len(self._inline))
        elif self._tables and tag != "table":
            self._start_in_table(tag)
        elif tag in BLOCKS or tag in ("li", "blockquote", "pre", "table"):
            self._end_block()
            self._start_block(tag)

    def end(self, tag: str) -> None:
        """An element ends."""
        if tag in EMPHASIS:
            self._end_emphasis(EMPHASIS[tag])
        elif self._tables and tag != "table":
            if tag in BLOCKS or tag in ("li", "pre", "blockquote"):
                self._inline.append(" ")
            elif tag in ("td", "th") and self._tables == 1:
                self._end_cell()
            elif tag == "caption" and self._tables == 1:
                self._end_block()
        elif tag in BLOCKS or tag in ("li", "blockquote", "pre", "table"):
            self._end_element(tag)

    def _start_block(self, tag: str) -> None:
        if tag in ("ul", "ol"):
            self._lists.append(0 if tag == "ol" else None)
        elif tag == "li":
            self._margins.append(self._entry_margin())
        elif tag == "blockquote":
            quote = "> " if self._markdown else ""
            self._margins.append(_Margin(quote, quote))
        elif tag == "pre":
            self._preformatted += 1
        elif tag == "table":
            self._tables += 1
        elif tag in HEADINGS and self._markdown:
            self._heading = HEADINGS[tag]
        elif tag == "hr" and self._markdown:
            self._write("---")

    def _entry_margin(self) -> _Margin:
        bullet = "- "
        if self._lists and self._lists[-1] is not None:
            self._lists[-1] += 1
            bullet = f"{self._lists[-1]}. "
        return _Margin(bullet, " " * len(bullet), is_entry=True)

    def _end_element(self, tag: str) -> None:
        if tag == "table":
            self._tables -= 1
            if not self._tables:
                self._end_table()
            return
        self._end_block()
        if tag in ("ul", "ol"):
            self._lists.pop()
            self._wrote_entry = self._wrote_entry and bool(self._lists)
        elif tag in ("li", "blockquote"):
            self._margins.pop()
        elif tag == "pre":
            self._preformatted -= 1
        elif tag in HEADINGS:
            self._heading = ""

    def _end_emphasis(self, mark: str) -> None:
        if not self._emphasis:
            return  # a block ended since
        begin = self._emphasis.pop()
        if not self._markdown or self._preformatted or self._heading:
            return
        text = "".join(self._inline[begin:])
        if core := text.strip():
            before, _, after = text.partition(core)
            self._inline[begin:] = [f"{before}{mark}{core}{mark}{after}"]

    def _start_in_table(self, tag: str) -> None:
        if self._tables > 1:  # a table inside a cell is text of the cell
            self._inline.append(" ")
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._end_block()  # what stands between the cells is no cell
        elif tag in BLOCKS or tag in ("li", "pre", "blockquote"):
            self._inline.append(" ")

    def _end_cell(self) -> None:
        if not self._rows:
            self._rows.append([])
        self._rows[-1].append(" ".join("".join(self._inline).split()))
        self._inline.clear()
        self._emphasis.clear()

    def _end_table(self) -> None:
        rows, self._rows = [row for row in self._rows if any(row)], []
        self._end_block()
        width = max(map(len, rows), default=0)
        if width == 1:  # a table for the layout
            for (cell,) in rows:
                self._write(cell)
        elif rows and self._markdown:
            cells = [[cell.replace("|", "\\|") for cell in row] + [""] * (width - len(row)) for row in rows]
            cells.insert(1, ["---"] * width)
            self._write("\n".join(f"| {' | '.join(row)} |" for row in cells))
        elif rows:
            self._write("\n".join("\t".join(row) for row in rows))

    def _end_block(self) -> None:
        text = "".join(self._inline)
        self._inline.clear()
        self._emphasis.clear()
        if not text.strip():
            return
        if self._preformatted:
            code = text.strip("\n")
            self._write(f"```\n{code}\n```" if self._markdown else code)
        else:
            lines = [_BLANKS.sub(" ", line).strip(" ") for line in text.strip().split("\n")]
            self._write(self._heading + (" " if self._heading else "\n").join(lines))

    def _write(self, block: str) -> None:
        begins_entry = any(margin.is_entry and not margin.is_used for margin in self._margins)
        in_list = any(margin.is_entry for margin in self._margins)
        if self._out:
            self._out.append("\n" if begins_entry and self._wrote_entry else "\n\n")
        rest = "".join(margin.rest for margin in self._margins)
        first = "".join(margin.rest if margin.is_used else margin.first for margin in self._margins)
        self._out.append(first + block.replace("\n", f"\n{rest}"))
        self._wrote_entry = in_list
        for margin in self._margins:
            margin.is_used = True
