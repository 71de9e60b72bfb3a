"""The HTML of a forum post as plain text or Markdown. Posts use few elements; code and lists matter most."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from stages.intake.wikitext import script

_BREAK = "\1"  # a <br>, until white space is put in order; HTML text cannot hold this character
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_BLOCKS = _HEADINGS | {"p", "div", "pre", "ul", "ol", "blockquote", "hr", "table", "dl", "dt", "dd", "section", "li"}
_INVISIBLE = frozenset({"script", "style", "head", "title"})
_EMPHASIS = {"em": "*", "i": "*", "strong": "**", "b": "**", "del": "~~", "s": "~~", "strike": "~~"}


def post_text(html: str, markdown: bool) -> str:
    """The text of a post: blocks with an empty line between, lists as "- " and "1. ", quotes as "> ".

    Code keeps its lines and spaces. With ``markdown`` it stands in fences, and headings, emphasis, links and images are
    marked as well.

    Raises:
        ValueError: HTML that lxml cannot take.
    """
    import lxml.html

    if not html.strip():
        return ""
    try:
        root = lxml.html.fragment_fromstring(html, create_parent="div")
    except (lxml.etree.LxmlError, AssertionError) as error:  # the latter: a frameset has no body
        raise ValueError(str(error)) from error
    return "\n\n".join(_blocks(root, markdown))


def _blocks(element: Any, markdown: bool) -> list[str]:
    """The blocks inside an element; text between them is a block of its own."""
    blocks: list[str] = []
    inline = [element.text or ""]

    def end_line() -> None:
        if line := _in_order("".join(inline)):
            blocks.append(line)
        inline.clear()

    for child in element:
        if child.tag in _BLOCKS:
            end_line()
            blocks.extend(filter(None, _block(child, markdown)))
        elif isinstance(child.tag, str) and child.find(".//pre") is not None:
            end_line()
            blocks.extend(_blocks(child, markdown))  # an inline element around blocks
        else:
            inline.append(_inline(child, markdown))
        inline.append(child.tail or "")
    end_line()
    return blocks


def _block(element: Any, markdown: bool) -> list[str]:
    tag = element.tag
    if tag == "pre":
        return [_code(element, markdown)]
    if tag in ("ul", "ol"):
        return ["\n".join(_list_lines(element, markdown))]
    if tag == "table":
        return ["\n".join(_table_lines(element, markdown))]
    if tag == "hr":
        return ["---"] if markdown else []
    blocks = _blocks(element, markdown)
    if tag == "blockquote":
        return [_indented("\n\n".join(blocks), "> ", "> ")] if blocks else []
    if tag in _HEADINGS and markdown:
        return [f"{'#' * int(tag[1])} {' '.join(blocks)}"] if blocks else []
    return blocks


def _code(element: Any, markdown: bool) -> str:
    code: str = element.text_content().strip("\n").rstrip()
    if not code or not markdown:
        return code
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    language = re.search(r"\blang(?:uage)?-([\w+#-]+)", " ".join(element.xpath("@class | code/@class")))
    return f"{fence}{language[1] if language else ''}\n{code}\n{fence}"


def _list_lines(element: Any, markdown: bool) -> Iterator[str]:
    entries = [child for child in element if isinstance(child.tag, str)]
    for number, entry in enumerate(entries, 1):
        mark = f"{number}. " if element.tag == "ol" else "- "
        blocks = _block(entry, markdown) if entry.tag in ("ul", "ol") else _blocks(entry, markdown)
        # a list inside an entry follows its line at once, further paragraphs behind an empty line
        text = "\n\n".join(blocks)
        text = re.sub(r"\n\n(?=(?:- |1\. ))", "\n", text)
        if text:
            yield _indented(text, mark, " " * len(mark))


def _table_lines(element: Any, markdown: bool) -> Iterator[str]:
    for number, row in enumerate(element.xpath("./tr | ./*[self::thead or self::tbody or self::tfoot]/tr")):
        cells = [" ".join(" ".join(_blocks(cell, markdown)).split()) for cell in row if cell.tag in ("td", "th")]
        yield f"| {' | '.join(cells)} |" if markdown else " | ".join(cells)
        if markdown and number == 0:
            yield "|" + " --- |" * len(cells)


def _inline(element: Any, markdown: bool) -> str:
    tag = element.tag
    if not isinstance(tag, str) or tag in _INVISIBLE:
        return ""
    if tag == "br":
        return _BREAK
    if tag == "img":
        return f"![{element.get('alt', '')}]({element.get('src', '')})" if markdown else ""
    parts = [element.text or ""]
    for child in element:
        parts += [_inline(child, markdown), child.tail or ""]
    text = "".join(parts)
    if tag in ("sup", "sub"):
        return script(text, tag)
    if not markdown or not text.strip():
        return text
    if tag in ("code", "kbd"):
        ticks = "``" if "`" in text else "`"
        return f"{ticks}{text.strip()}{ticks}"
    if tag == "a" and element.get("href", "").startswith(("http://", "https://")):
        return f"[{text.strip()}]({element.get('href')})"
    if tag in _EMPHASIS:
        return f"{_EMPHASIS[tag]}{text.strip()}{_EMPHASIS[tag]}"
    return text


def _in_order(text: str) -> str:
    """White space as a browser shows it."""
    return "\n".join(" ".join(line.split()) for line in text.split(_BREAK)).strip()


def _indented(text: str, first: str, others: str) -> str:
    lines = text.split("\n")
    return "\n".join(((others if at else first) + line).rstrip() for at, line in enumerate(lines))
