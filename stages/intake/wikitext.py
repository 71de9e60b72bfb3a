"""Wikitext as the text that a reader of the page sees, without what stands beside the article.

mwparserfromhell parses; here each node of its tree is written out. Marks (control characters, which XML cannot hold)
stand for what can only be decided once whole lines are known: where a list line starts, where something was left out,
where a block lies whose white space counts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

LIST, LEFT_OUT, HEADING, BLOCK, BLOCK_END = "\1", "\2", "\3", "\4", "\5"
_CONTROL = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127, 0xAD])

CANONICAL_HIDDEN = frozenset({"file", "image", "category", "media"})
"""English names of the namespaces whose links show no text; every wiki knows them beside its own."""

FIRST_ARGUMENT_SHOWN = (
    "abbr", "big", "bigger", "blockquote", "ce", "chem", "chem2", "code", "cquote", "dfn", "em",
    "formatnum", "ill", "kbd", "larger", "math", "mono", "mvar", "nobold", "nobr", "noitalic", "nowrap",
    "nowraplinks", "poemquote", "quote", "samp", "sc", "section", "small", "smallcaps", "smaller", "strong",
    "tooltip", "tq", "tt", "var",
)  # fmt: skip
SHOWN_ARGUMENT: dict[str, int] = {
    **dict.fromkeys(FIRST_ARGUMENT_SHOWN, 1),
    "interlanguage link": 1,
    "color": 2,
    "lang": 2,
    "transl": 2,
    "transliteration": 2,
}
"""Templates that show one of their arguments, by its number (the last one if there are fewer)."""

WRITTEN: dict[str, str] = {
    "!": "|",
    "=": "=",
    "'": "'",
    "'s": "'s",
    "nbsp": " ",
    "spaces": " ",
    "space": " ",
    "thinsp": " ",
    "hair space": " ",
    "snd": " – ",
    "spnd": " – ",
    "spaced ndash": " – ",
    "ndash": "–",
    "endash": "–",
    "mdash": "—",
    "emdash": "—",
    "spaced mdash": " — ",
    "bull": " • ",
    "dot": " · ",
    "·": " · ",
    "pi": "π",
    "okina": "ʻ",
    "hamza": "ʼ",
}
"""Templates that stand for a character or two."""

DROPPED_TAGS = frozenset((
    "categorytree", "chart", "gallery", "graph", "hiero", "imagemap", "includeonly", "indicator",
    "inputbox", "mapframe", "maplink", "ref", "references", "score", "script", "section", "style",
    "templatedata", "templatestyles", "timeline",
))  # fmt: skip
RAW_TAGS = frozenset({"math", "ce", "chem", "nowiki", "pre", "source", "syntaxhighlight"})
PARAGRAPH_TAGS = frozenset({"blockquote", "center", "div", "dl", "ol", "p", "poem", "ul"})

NOT_THE_ARTICLE = re.compile(
    r"\b(?:ambox|catlinks|hatnote|infobox\w*|mbox\w*|metadata|navbox\w*|noprint|sidebar|sistersitebox|toc|vertical-navbox)\b"
    r"|display\s*:\s*none",
    re.IGNORECASE,
)
"""In the class or style of an element: boxes beside, above and below the article (the classes of Wikipedia's print
style sheet and of its mobile site's content filter)."""

LANGUAGE_LINK = re.compile(r"(?:[a-z]{2,3}(?:-[a-z]{2,8})*|simple)$")
"""Prefix of a link to the same article in another language; such links stand beside the article, not in it."""

_QUOTES = re.compile("''+")
_SWITCH = re.compile(r"__([^\W\d_]+)__")
_STRAY_TAG = re.compile(
    r"</?(?:abbr|b|big|blockquote|center|cite|code|del|div|em|font|i|ins|includeonly|li|noinclude|onlyinclude|p|ref|s|"
    r"small|span|strong|sub|sup|table|td|th|tr|tt|u|ul)\b[^<>\n]*>",
    re.IGNORECASE,
)
_SUPERSCRIPT = str.maketrans("0123456789+-−–()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁽⁾ⁿ")
_SUBSCRIPT = str.maketrans("0123456789+-−–()n", "₀₁₂₃₄₅₆₇₈₉₊₋₋₋₍₎ₙ")
_RANGE = {"to": " to ", "and": " and ", "or": " or ", "by": " × ", "x": " × ", "×": " × "}
_RANGE |= {"-": "–", "–": "–", "to(-)": "–", "+/-": " ± ", "±": " ± "}
"""What {{convert}} shows between two numbers."""


@dataclass(frozen=True, slots=True)
class WikitextOptions:
    """How wikitext is written out."""

    markdown: bool = False
    tables: bool = False
    hidden_namespaces: frozenset[str] = CANONICAL_HIDDEN  # lower case: links into them are left out


def plain_text(wikitext: str, options: WikitextOptions = WikitextOptions()) -> str:
    """The text of a page; "" if nothing of it is text.

    Raises:
        mwparserfromhell.parser.ParserError: the parser lost its way.
        RecursionError: nested too deeply.
    """
    import mwparserfromhell

    # bold and italics are left to this module: unclosed ones make the parser try again and again
    code = mwparserfromhell.parse(wikitext.translate(_CONTROL), skip_style_tags=True)
    writer = _Writer(options)
    return writer.finished(writer.written(code))


class _Writer:
    """Writes the nodes of one page."""

    def __init__(self, options: WikitextOptions) -> None:
        self._options = options
        self._blocks: list[str] = []  # text whose white space counts

    def written(self, code: Any) -> str:
        """Nodes as text with marks."""
        return "".join(map(self._node, code.nodes))

    def _node(self, node: Any) -> str:
        return _WRITERS[type(node).__name__](self, node)

    def _text(self, node: Any) -> str:
        text = _QUOTES.sub(_literal_quotes, node.value)
        return _SWITCH.sub(_unswitched, _STRAY_TAG.sub("", text))

    def _left_out(self, node: Any) -> str:
        return LEFT_OUT

    def _entity(self, node: Any) -> str:
        try:
            character: str = node.normalize()
        except (ValueError, OverflowError):
            return str(node)
        return _printable(character)

    def _heading(self, node: Any) -> str:
        return f"\n{HEADING}{node.level} {self._one_line(node.title)}\n"

    def _wikilink(self, node: Any) -> str:
        title = str(node.title).strip()
        prefix, colon, _ = title.partition(":")
        prefix = prefix.strip().replace("_", " ")
        if colon and (prefix.lower() in self._options.hidden_namespaces or LANGUAGE_LINK.match(prefix)):
            return LEFT_OUT
        shown = self.written(node.text) if node.text is not None else ""
        return shown if shown.strip() else self.written(node.title).strip().lstrip(":#")

    def _external_link(self, node: Any) -> str:
        if node.title is not None:
            return self.written(node.title)
        return LEFT_OUT if node.brackets else str(node.url)

    def _tag(self, node: Any) -> str:
        name = str(node.tag).strip().lower()
        if node.wiki_markup and node.self_closing:
            return "\n" if name == "hr" else LIST + str(node.wiki_markup)
        if name in DROPPED_TAGS or NOT_THE_ARTICLE.search(_attributes(node, "class", "style")):
            return LEFT_OUT
        if name in RAW_TAGS:
            return self._raw(name, node)
        if name == "table":
            return self._table(node)
        if name == "br":
            return "\n"
        contents = self.written(node.contents) if node.contents is not None else ""
        if name in ("sup", "sub"):
            return script(contents, name)
        if name == "code" and self._options.markdown and contents.strip():
            return f"`{contents.strip()}`"
        if name == "li":
            return f"\n{LIST}*{contents.strip()}"
        if name in PARAGRAPH_TAGS:
            return f"\n{contents}\n"
        return contents

    def _raw(self, name: str, node: Any) -> str:
        """Elements whose contents are no wikitext."""
        content = _decoded_entities(str(node.contents)) if node.contents is not None else ""
        if name == "nowiki":
            return self._kept(content)
        if name in ("math", "ce", "chem"):
            mark = "$$" if _attributes(node, "display").strip("\"' ") == "block" else "$"
            formula = content.strip() if name == "math" else f"\\ce{{{content.strip()}}}"
            return self._kept(f"{mark}{formula}{mark}") if content.strip() else LEFT_OUT
        if node.has("inline"):
            return self._kept(f"`{content.strip()}`" if self._options.markdown else content.strip())
        content = content.strip("\n").rstrip()
        if not content:
            return LEFT_OUT
        if self._options.markdown:
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", content)), default=0))
            content = f"{fence}{_attributes(node, 'lang').strip()}\n{content}\n{fence}"
        return f"\n\n{self._kept(content)}\n\n"

    def _kept(self, text: str) -> str:
        self._blocks.append(text)
        return f"{BLOCK}{len(self._blocks) - 1}{BLOCK_END}"

    def _table(self, node: Any) -> str:
        if not self._options.tables:
            return f"\n{LEFT_OUT}\n"
        caption = ""
        rows: list[list[str]] = [[]]
        for tag in _descendants(node.contents, {"tr", "td", "th", "caption"}):
            name = str(tag.tag).strip().lower()
            if name == "tr":
                rows.append([])
                continue
            cell = self._one_line(tag.contents)
            # the parser takes a caption's "|+" for a cell that starts with "+"
            if name == "caption" or (not any(rows) and str(tag.contents).startswith("+")):
                caption = cell.removeprefix("+").strip()
            else:
                rows[-1].append(cell)
        lines = [self._row(row) for row in rows if any(cell.strip(LEFT_OUT) for cell in row)]
        if self._options.markdown and lines:
            width = max(len(row) for row in rows)
            lines.insert(1, "|" + " --- |" * width)
        return "\n\n" + "\n".join([caption, ""] * bool(caption) + lines) + "\n\n" if lines else LEFT_OUT

    def _row(self, cells: Sequence[str]) -> str:
        line = " | ".join(cell.strip(LEFT_OUT + " ") for cell in cells)
        return f"| {line} |" if self._options.markdown else line

    def _one_line(self, code: Any) -> str:
        return " ".join(re.sub(f"{LIST}[*#:;]", " ", self.written(code)).split())

    def _template(self, node: Any) -> str:
        name = str(node.name).strip().replace("_", " ").lower()
        if name in WRITTEN:
            return WRITTEN[name]
        arguments = [self.written(a.value).strip() for a in node.params if str(a.name).strip().isdigit()]
        if not arguments:
            function, colon, argument = name.partition(":")
            return argument if colon and function in ("formatnum", "lc", "uc", "lcfirst", "ucfirst") else LEFT_OUT
        if name in SHOWN_ARGUMENT:
            return arguments[min(SHOWN_ARGUMENT[name], len(arguments)) - 1]
        if name.startswith("lang-"):
            return arguments[0]
        if name in ("convert", "cvt"):
            return _quantity(arguments)
        if name == "val":
            unit = node.get("u").value if node.has("u") else ""
            return f"{arguments[0]} {self.written(unit) if unit else ''}".strip()
        if name in ("frac", "fraction", "sfrac"):
            return " ".join([*arguments[:-2], "/".join(arguments[-2:])]) if len(arguments) > 1 else f"1/{arguments[0]}"
        if name in ("circa", "c."):
            return f"c. {arguments[0]}"
        if name == "as of":
            return f"As of {'-'.join(arguments)}"
        return LEFT_OUT

    def finished(self, text: str) -> str:
        """Marks resolved, lines and white space put in order, headings without a text left out."""
        text = _without_gaps(text.replace("\xa0", " "))
        lines = [line for line in map(self._line, text.split("\n")) if line is not None]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(self._with_text(lines))).strip("\n")
        return re.sub(f"{BLOCK}([0-9]+){BLOCK_END}", self._block, text).strip()

    def _block(self, mark: re.Match[str]) -> str:
        # a block inside a block: code in a template in a table, say
        return re.sub(f"{BLOCK}([0-9]+){BLOCK_END}", self._block, self._blocks[int(mark[1])])

    def _line(self, line: str) -> str | None:
        """A line with its list marks as "- ", one level two spaces; None if there is nothing behind them."""
        marks = re.match(f"(?:{LIST}[*#:;])+", line)
        rest = line[marks.end() :] if marks else line
        rest = re.sub(f" *{LIST}[*#:;] *", ": ", rest)  # "; term : definition"
        if marks or not rest.startswith(HEADING):  # a heading in a cell or in the argument of a template
            rest = re.sub(f"{HEADING}[0-9] ", "", rest)
        if marks is None:
            # one leading space makes preformatted text, in which further ones count
            return rest.removeprefix(" ").rstrip() if rest[:2] == "  " else rest.strip()
        levels = marks[0].replace(LIST, "")
        rest = rest.strip()
        if not rest or levels[-1] in ":;":
            return rest or None
        return "  " * (sum(level in "*#" for level in levels) - 1) + "- " + rest

    def _with_text(self, lines: Sequence[str]) -> list[str]:
        """Lines without the headings of sections in which there are none."""
        kept: list[str] = []
        innermost = 7  # lowest level among the headings since the last line of text, seen from the end
        has_text = False
        for line in reversed(lines):
            if not line.startswith(HEADING):
                if line:
                    has_text, innermost = True, 7
                kept.append(line)
                continue
            level, _, title = line[1:].partition(" ")
            if has_text and int(level) < innermost:
                innermost = int(level)
                kept += ["", f"{'#' * innermost} {title}" if self._options.markdown else title, ""]
        return kept[::-1]


def script(text: str, tag: str) -> str:
    """The contents of a <sup> or <sub> in Unicode's own superscripts or subscripts, where it has them all: 10⁶."""
    written = text.translate(_SUPERSCRIPT if tag == "sup" else _SUBSCRIPT)
    return text if set(written) & set(text) else written


def _without_gaps(text: str) -> str:
    """Text in which nothing shows that something was left out: no empty brackets, double or stray spaces."""
    gap = LEFT_OUT
    text = re.sub(rf"^[ \t{gap}]*{gap}[ \t{gap}]*(?:\n|$)", "", text, flags=re.MULTILINE)
    text = re.sub(rf"[ \t]*\([\s,;:/{gap}]*{gap}[\s,;:/{gap}]*\)", gap, text)
    text = re.sub(rf"\([ ,;:]*{gap}[ ,;:{gap}]*", "(", text)
    text = re.sub(rf"[ ,;]*{gap}[ ,;{gap}]*\)", ")", text)
    text = re.sub(rf"[ \t]*{gap}[ \t{gap}]*(?=[,.;:!?)\n]|$)", "", text)
    text = re.sub(rf"^((?:{LIST}[*#:;])*)[ \t]*{gap}[ \t{gap}]*", r"\1", text, flags=re.MULTILINE)
    text = re.sub(rf" ?{gap}[ {gap}]*", lambda gaps: " " if " " in gaps[0] else "", text)
    return re.sub(r"(?<=\S) {2,}(?=\S)", " ", text)


def _literal_quotes(quotes: re.Match[str]) -> str:
    """What MediaWiki shows of a run of apostrophes: of four one, of more than five all but five."""
    count = len(quotes[0])
    return "'" if count == 4 else "'" * max(0, count - 5)


def _unswitched(switch: re.Match[str]) -> str:
    return "" if switch[1] == switch[1].upper() else switch[0]


def _printable(text: str) -> str:
    """Without control characters and halves of surrogate pairs, which have no UTF-8."""
    return text.translate(_CONTROL).encode("utf-8", "ignore").decode()


def _decoded_entities(text: str) -> str:
    return _printable(html.unescape(text))


def _attributes(node: Any, *names: str) -> str:
    return " ".join(str(node.get(name).value) for name in names if node.has(name))


def _descendants(code: Any, names: set[str]) -> Iterator[Any]:
    """Tags of these names inside ``code``, in order; not those inside the cells found."""
    for node in code.nodes if code is not None else ():
        name = str(getattr(node, "tag", "")).strip().lower()
        if name in names:
            yield node
        if name in ("tr", "tbody", "thead", "tfoot"):
            yield from _descendants(node.contents, names)


def _quantity(arguments: Sequence[str]) -> str:
    """{{convert|5|-|10|km|mi}} as "5–10 km": the value with the unit it was given in."""
    shown = ""
    for argument in arguments:
        if argument in _RANGE:
            shown += _RANGE[argument]
        elif argument[:1].isdigit() or argument[:1] in "-−+.":
            shown += argument
        else:
            return f"{shown} {argument}".strip()
    return shown


_WRITERS: dict[str, Callable[[_Writer, Any], str]] = {
    "Text": _Writer._text,
    "Comment": _Writer._left_out,
    "Argument": _Writer._left_out,
    "HTMLEntity": _Writer._entity,
    "Heading": _Writer._heading,
    "Wikilink": _Writer._wikilink,
    "ExternalLink": _Writer._external_link,
    "Tag": _Writer._tag,
    "Template": _Writer._template,
}
