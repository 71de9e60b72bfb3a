"""HTML and SVG as nested function calls. Every plain string is cleaned and escaped; only ``element`` makes markup."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

SPACE = "\u00a0"  # between a number and its unit
JOINERS = "\u200c\u200d"
VOID = frozenset({"meta", "wbr"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Node = str | int | float | None | Iterable["Node"]


def clean(text: str) -> str:
    """``text`` without control, bidirectional and other invisible characters; newlines and tabs stay.

    Such characters can hide or reorder what a sample shows, and some are not allowed in XML at all.
    """
    return "".join(c for c in text if c in "\n\t" or c in JOINERS or unicodedata.category(c) not in _INVISIBLE)


_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Cn"})


def rendered(node: Node) -> Markup:
    """The markup of a node: strings escaped, sequences one after another, None nothing."""
    if node is None:
        return Markup("")
    if isinstance(node, Markup):
        return node
    if isinstance(node, str):
        return Markup(html.escape(clean(node)))
    if isinstance(node, int | float):
        return Markup(node)
    return Markup("".join(map(rendered, node)))


def element(name: str, /, *children: Node, **attributes: str | int | float | None) -> Markup:
    """One element. ``class_`` is class, ``aria_label`` is aria-label; an attribute that is None is left out."""
    text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(clean(_attribute(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{text}/>")
    return Markup(f"<{name}{text}>{rendered(children)}</{name}>")


def _attribute(value: str | int | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def breakable(label: str) -> list[Markup]:
    """A name such as ``web_clean.gopher_quality`` that may go to the next line after a dot or underscore."""
    return [rendered([part, element("wbr")]) for part in re.split(r"(?<=[._])", label)]


def section(anchor: str, title: str, *children: Node) -> Markup:
    """A landmark with a heading, reachable from the navigation."""
    return element(
        "section",
        element("h2", title, id=f"{anchor}-heading"),
        *children,
        id=anchor,
        aria_labelledby=f"{anchor}-heading",
    )


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Node]], class_: str | None = None) -> Markup:
    """A table that scrolls sideways where it does not fit.

    The first column heads its row. A column whose name starts with "#" holds numbers and is aligned to the right,
    one starting with "~" holds bars and is wide.
    """
    kinds = [{"#": "n", "~": "b"}.get(name[:1]) for name in columns]
    head = element(
        "tr", *(element("th", n.lstrip("#~"), scope="col", class_=k) for n, k in zip(columns, kinds, strict=True))
    )
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    ]
    whole = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", head),
        element("tbody", body),
        class_=class_,
    )
    return element("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def cards(facts: Iterable[tuple[str, Node]]) -> Markup:
    """Headline numbers: (what, value)."""
    return element(
        "dl",
        *(element("div", element("dt", what), element("dd", value)) for what, value in facts),
        class_="facts",
    )


def note(*children: Node, kind: str = "note") -> Markup:
    """A remark that must not be overlooked; ``kind`` is note, warning or failure."""
    return element("p", *children, class_=f"remark {kind}")


def number(value: float) -> str:
    """1,234 for a count, four significant digits for anything else."""
    if float(value).is_integer():
        return f"{int(value):,}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def rounded(value: float) -> str:
    """1,234 below ten thousand; 61.2 k, 2.10 M, 3.40 B above."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            scaled = value / (1e3 if unit == "k" else size)
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{SPACE}{unit}"
    return number(round(value))


def percent(share: float) -> str:
    """12 %, 1.2 %, < 0.1 %."""
    if 0 < share < 0.001:
        return f"<{SPACE}0.1{SPACE}%"
    return f"{100 * share:.{1 if 0 < share < 0.0995 or 0.9 < share < 1 else 0}f}{SPACE}%"


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 4 min 12 s, 3 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60}{SPACE}s"
    return f"{whole // 3600}{SPACE}h {whole % 3600 // 60:02d}{SPACE}min"


def size(size_bytes: float) -> str:
    """In the decimal unit that fits: 812 B, 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f}{SPACE}{unit}" if unit == "B" else f"{size_bytes:.3g}{SPACE}{unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f}{SPACE}TB"


def signed(value: float, digits: int = 3) -> str:
    """With a sign (a true minus), so that better and worse cannot be confused."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def plural(n: int, what: str) -> str:
    """1 document, 2 documents."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
