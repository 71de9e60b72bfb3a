"""One pass over the bytes of a page: elements, runs of text and lines of text, as arrays.

The rules are those of the HTML standard (https://html.spec.whatwg.org/multipage/parsing.html) as far as they decide
which text stands in which element: tags, comments and raw text as its tokenizer finds them, void elements, implied end
tags, scopes, drawings. Left out: the adoption agency, foster parenting and most insertion modes; what they would move
stays where it is in the source. Nothing recurses; like in browsers no tree is deeper than MAX_DEPTH, which also bounds
every search of the stack, so that time is linear in the size of any page.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.extract.fast.hints import HIDDEN
from stages.extract.fast.tags import (
    ATTRIBUTE,
    BLOCK,
    CLOSES_P,
    HEAD,
    HEADING,
    RAW,
    SCOPE,
    SPECIAL,
    TABLE_BITS,
    TAG,
    VOID,
)  # fmt: skip
from stages.kernel import kernel

MAX_DEPTH = 512

# Columns of an element.
E_TAG = 0
E_PARENT = 1
E_HINTS = 2  # bits of hints.py
E_START = 3  # byte of its "<"
E_LAST = 4  # its last descendant, itself if it has none
ELEMENT_COLUMNS = 5

# Columns of a run: text between two tags.
R_ELEMENT = 0
R_START = 1
R_END = 2
R_LINE = 3  # the line that it is part of
R_LINKED = 4  # 1 in a link
R_CHARACTERS = 5  # white space folded; ideographs, kana and hangul count twice: they say more
R_STOPS = 6  # commas, full stops, question and exclamation marks
RUN_COLUMNS = 7

# Facts of a page: where the text of its title begins and ends, where its html element begins, how many links it has.
F_TITLE, F_TITLE_END, F_HTML, F_LINKS = 0, 1, 2, 3
FACTS = 4

_ROOT, _HTML, _HEAD, _BODY, _TITLE = TAG["#document"], TAG["html"], TAG["head"], TAG["body"], TAG["title"]
_P, _A, _BR, _HR, _PRE, _ADDRESS, _DIV = (
    TAG["p"],
    TAG["a"],
    TAG["br"],
    TAG["hr"],
    TAG["pre"],
    TAG["address"],
    TAG["div"],
)
_LI, _DD, _DT, _OPTION = TAG["li"], TAG["dd"], TAG["dt"], TAG["option"]
_TABLE, _TR, _TD, _TH, _CAPTION = TAG["table"], TAG["tr"], TAG["td"], TAG["th"], TAG["caption"]
_TBODY, _THEAD, _TFOOT = TAG["tbody"], TAG["thead"], TAG["tfoot"]
_SVG, _FOREIGN_OBJECT = TAG["svg"], TAG["foreignobject"]
_ITEMPROP, _HREF, _HIDDEN = ATTRIBUTE["itemprop"], ATTRIBUTE["href"], ATTRIBUTE["hidden"]
_ARIA_HIDDEN, _STYLE = ATTRIBUTE["aria-hidden"], ATTRIBUTE["style"]

_SPACE = 26  # symbol of hints.py


@kernel
def _is_space(byte: int) -> bool:
    return byte == 32 or byte == 9 or byte == 10 or byte == 12 or byte == 13


@kernel
def _lower(byte: int) -> int:
    return byte + 32 if 65 <= byte <= 90 else byte


@kernel
def _is_letter(byte: int) -> bool:
    return 97 <= _lower(byte) <= 122


@kernel
def _lookup(key: Any, keys: Any, values: Any) -> int:
    slot = np.int64(key >> np.uint64(64 - TABLE_BITS))
    while keys[slot] != np.uint64(0):
        if keys[slot] == key:
            return int(values[slot])
        slot = (slot + 1) & ((1 << TABLE_BITS) - 1)
    return 0


@kernel
def _name(source: Any, at: int) -> tuple[Any, int]:
    """Hash (tags.name_hash) of the name that starts at ``at``, and the first byte after it."""
    key = np.uint64(0xCBF29CE484222325)
    while at < source.size:
        byte = source[at]
        if _is_space(byte) or byte == ord("/") or byte == ord(">") or byte == ord("="):
            break
        key = (key ^ np.uint64(_lower(byte))) * np.uint64(0x100000001B3)
        at += 1
    return key, at


@kernel
def _hints(source: Any, start: int, end: int, transitions: Any, reports: Any) -> int:
    """Bits that the words of an attribute value report."""
    state = transitions[0, _SPACE]
    bits = 0
    after_space, after_small = True, False
    for at in range(start, end + 1):
        byte = source[at] if at < end else 32
        if 65 <= byte <= 90 and after_small:
            state = transitions[state, _SPACE]
            bits |= reports[state]
        after_small = 97 <= byte <= 122
        if _is_letter(byte):
            state = transitions[state, _lower(byte) - 97]
            after_space = False
        elif byte >= 128:
            state = transitions[state, _SPACE + 1]
            after_space = False
        elif not after_space:
            state = transitions[state, _SPACE]
            after_space = True
        bits |= reports[state]
    return bits


@kernel
def _is_display_none(source: Any, start: int, end: int) -> bool:
    """Whether a style attribute has ``display:none``."""
    for at in range(start, end - 11):
        if _lower(source[at]) == ord("d") and _lower(source[at + 6]) == ord("y") and source[at + 7] == ord(":"):
            value = at + 8 + (source[at + 8] == 32)
            if value + 4 <= end and _lower(source[value]) == ord("n") and _lower(source[value + 3]) == ord("e"):
                return True
    return False


@kernel
def _raw_end(source: Any, at: int, name: int, name_length: int) -> int:
    """Where the end tag of a raw-text element begins (its name stands at ``name``), or the end of the page."""
    while at < source.size - name_length - 1:
        if source[at] == ord("<") and source[at + 1] == ord("/"):
            same = 0
            while same < name_length and _lower(source[at + 2 + same]) == _lower(source[name + same]):
                same += 1
            if same == name_length:
                return at
        at += 1
    return int(source.size)


@kernel
def _markup_end(source: Any, at: int) -> int:
    """First byte after the comment, doctype, end tag or processing instruction that starts at ``at``."""
    end = int(source.size)
    if at + 4 <= end and source[at + 1] == ord("!") and source[at + 2] == ord("-") and source[at + 3] == ord("-"):
        at += 4
        if at < end and source[at] == ord(">"):  # <!-->
            return at + 1
        if at + 1 < end and source[at] == ord("-") and source[at + 1] == ord(">"):  # <!--->
            return at + 2
        while at + 2 < end:
            if source[at] == ord("-") and source[at + 1] == ord("-"):
                if source[at + 2] == ord(">"):
                    return at + 3
                if source[at + 2] == ord("!") and at + 3 < end and source[at + 3] == ord(">"):
                    return at + 4
            at += 1
        return end
    while at < end and source[at] != ord(">"):
        at += 1
    return min(at + 1, end)


@kernel
def _entity(source: Any, at: int) -> tuple[int, bool]:
    """Length of the character reference at ``at`` (1 if it is none), and whether it stands for a space."""
    for length in range(3, min(11, source.size - at + 1)):
        byte = source[at + length - 1]
        if byte == ord(";"):
            first, second = source[at + 1], source[at + 2]
            is_nbsp = first == ord("n") and second == ord("b") and length == 6
            is_160 = first == ord("#") and second == ord("1") and source[at + 3] == ord("6") and length == 6
            return length, is_nbsp or is_160
        if not (48 <= byte <= 57 or _is_letter(byte) or byte == ord("#")):
            break
    return 1, False


@kernel
def _is_wide_stop(source: Any, at: int) -> bool:
    """Whether 、 。 ！ ， or ？ starts at ``at``."""
    if at + 2 >= source.size:
        return False
    first, second, third = source[at], source[at + 1], source[at + 2]
    if first == 0xE3:
        return bool(second == 0x80 and 0x81 <= third <= 0x82)
    return bool(first == 0xEF and second == 0xBC and third in (0x81, 0x8C, 0x9F))


@kernel
def _text(source: Any, at: int) -> tuple[int, int, int]:
    """The text from ``at`` on: first byte after it, characters, stops."""
    characters, stops = 0, 0
    in_space = True
    while at < source.size:
        byte = source[at]
        if byte == ord("<") and at + 1 < source.size:
            following = source[at + 1]
            if _is_letter(following) or following == ord("/") or following == ord("!") or following == ord("?"):
                break
        if byte <= 32:
            in_space = True
        elif byte & 0xC0 != 0x80:  # first byte of a character
            length, is_space = 1, False
            if byte == ord("&"):
                length, is_space = _entity(source, at)
            if is_space:
                in_space = True
            else:
                characters += 1 if in_space and characters else 0
                characters += 2 if 0xE3 <= byte < 0xF0 else 1
                in_space = False
                if byte == ord(",") or byte == ord(".") or byte == ord("?") or byte == ord("!"):
                    stops += 1
                elif byte >= 0xE3:
                    stops += _is_wide_stop(source, at)
            at += length - 1
        at += 1
    return at, characters, stops


@kernel
def _attributes(
    source: Any, at: int, keys: Any, values: Any, transitions: Any, reports: Any
) -> tuple[int, bool, int, bool, bool]:
    """The attributes from ``at`` on: first byte after the tag, whether it ends, hints, has a href, ends with "/"."""
    hints = 0
    has_href, self_closing = False, False
    end = source.size
    while at < end:
        byte = source[at]
        if byte == ord(">"):
            return at + 1, True, hints, has_href, self_closing
        if _is_space(byte) or byte == ord("/"):
            self_closing = byte == ord("/")
            at += 1
            continue
        self_closing = False
        start = at
        key, at = _name(source, at)
        if at == start:  # a "=" where a name should be
            at += 1
            continue
        while at < end and _is_space(source[at]):
            at += 1
        value, value_end = at, at
        if at < end and source[at] == ord("="):
            at += 1
            while at < end and _is_space(source[at]):
                at += 1
            if at < end and (source[at] == ord('"') or source[at] == ord("'")):
                quote = source[at]
                value = at + 1
                at = value
                while at < end and source[at] != quote:
                    at += 1
                value_end = at
                at += 1
            else:
                value = at
                while at < end and not _is_space(source[at]) and source[at] != ord(">"):
                    at += 1
                value_end = at
        attribute = _lookup(key, keys, values)
        if 1 <= attribute <= _ITEMPROP:
            hints |= _hints(source, value, value_end, transitions, reports)
        elif attribute == _HREF:
            has_href = True
        elif attribute == _HIDDEN:
            hints |= HIDDEN
        elif attribute == _ARIA_HIDDEN:
            if value_end - value == 4 and source[value] == ord("t"):
                hints |= HIDDEN
        elif attribute == _STYLE and _is_display_none(source, value, value_end):
            hints |= HIDDEN
    return end, False, 0, False, False


@kernel
def _is_section(tag: int) -> bool:
    return tag in (_TBODY, _THEAD, _TFOOT)


@kernel
def _is_table_part(tag: int) -> bool:
    return tag in (_TR, _TD, _TH) or _is_section(tag)


@kernel
def _level_closed_by(tag: int, tags: Any, depth: int, properties: Any) -> int:
    """Depth of the element that an end tag closes, -1 if none."""
    bits = properties[tag]
    for level in range(depth, 0, -1):
        other = tags[level]
        if other == tag or (bits & HEADING and properties[other] & HEADING):
            return level
        if tag == _TABLE:
            continue
        if _is_table_part(tag):
            if other == _TABLE:
                return -1
        elif properties[other] & SCOPE or (not bits & SPECIAL and properties[other] & SPECIAL):
            return -1
    return -1


@kernel
def _level_kept_by(tag: int, tags: Any, depth: int, open_count: Any, properties: Any) -> int:
    """Depth down to which elements stay open where an element starts: the standard's implied end tags."""
    bits = properties[tag]
    keep = depth
    if open_count[_SVG] and not open_count[_FOREIGN_OBJECT] and bits & BLOCK:  # cannot stand in a drawing: ends it
        while tags[keep] != _SVG:
            keep -= 1
        keep -= 1
    if bits & CLOSES_P and open_count[_P]:
        level = keep
        while level > 0 and tags[level] != _P and not properties[tags[level]] & SCOPE:
            level -= 1
        if tags[level] == _P:
            keep = level - 1
    if bits & HEADING and properties[tags[keep]] & HEADING:
        keep -= 1
    elif tag in (_LI, _DD, _DT):
        for level in range(keep, 0, -1):
            other = tags[level]
            if other == tag or (tag != _LI and other in (_DD, _DT)):
                return level - 1
            if properties[other] & SPECIAL and other != _ADDRESS and other != _DIV and other != _P:
                break
    elif _is_table_part(tag) and open_count[_TABLE]:
        level = keep
        while tags[level] != _TABLE:
            other = tags[level]
            is_cell = other in (_TD, _TH)
            if (
                is_cell
                or other == _CAPTION
                or (tag != _TD and tag != _TH and (other == _TR or (tag != _TR and _is_section(other))))
            ):
                keep = level - 1
            level -= 1
    elif tag == _OPTION and tags[keep] == _OPTION:
        keep -= 1
    elif tag == _A and open_count[_A]:  # links do not nest
        level = keep
        while level > 0 and tags[level] != _A and not properties[tags[level]] & (SPECIAL | SCOPE):
            level -= 1
        if tags[level] == _A:
            keep = level - 1
    return keep


@kernel
def _close(keep: int, depth: int, stack: Any, tags: Any, open_count: Any, elements: Any, last: int) -> int:
    """Close the elements above depth ``keep``; ``last`` is the newest element. Returns the new depth."""
    while depth > keep:
        elements[stack[depth], E_LAST] = last
        open_count[tags[depth]] -= 1
        depth -= 1
    return depth


@kernel
def scan(
    source: Any,
    capacity: int,
    properties: Any,
    tag_keys: Any,
    tag_values: Any,
    attribute_keys: Any,
    attribute_values: Any,
    transitions: Any,
    reports: Any,
) -> Any:
    """Elements, runs, lines and facts of a page.

    Args:
        source: The page as UTF-8 bytes.
        capacity: At least the number of tags and comments in it.
        properties, tag_keys, tag_values, attribute_keys, attribute_values: The tables of tags.py.
        transitions, reports: The tables of hints.py.

    Returns:
        elements (int32, number x ELEMENT_COLUMNS, the document itself first, parents before children); runs (int32,
        number x RUN_COLUMNS); for each line of text the innermost block element around it; facts (int64).
    """  # fmt: skip
    end = source.size
    elements = np.zeros((capacity + 2, ELEMENT_COLUMNS), np.int32)
    runs = np.zeros((capacity + 2, RUN_COLUMNS), np.int32)
    lines = np.zeros(capacity + 2, np.int32)
    facts = np.zeros(FACTS, np.int64)
    facts[F_HTML] = -1
    elements[0, E_TAG] = _ROOT
    count, run_count, line_count = 1, 0, 0
    stack, tags = np.zeros(MAX_DEPTH + 1, np.int32), np.zeros(MAX_DEPTH + 1, np.int32)  # open elements and their tags
    tags[0] = _ROOT
    depth = 0
    open_count = np.zeros(properties.size, np.int32)  # by tag
    link = MAX_DEPTH + 1  # depth of the link that text is in; beyond the stack if none
    at_boundary = True  # the next text begins a line
    body_seen = False
    at = 0
    while at < end:
        start = at
        at, characters, stops = _text(source, at)
        if at > start and (characters or not at_boundary or open_count[_PRE]):
            if characters and tags[depth] == _HEAD:
                depth = _close(depth - 1, depth, stack, tags, open_count, elements, count - 1)
            if at_boundary:
                level = depth
                while level > 0 and not properties[tags[level]] & BLOCK:
                    level -= 1
                lines[line_count] = stack[level]
                line_count += 1
                at_boundary = False
            runs[run_count, R_ELEMENT] = stack[depth]
            runs[run_count, R_START] = start
            runs[run_count, R_END] = at
            runs[run_count, R_LINE] = line_count - 1
            runs[run_count, R_LINKED] = link <= depth
            runs[run_count, R_CHARACTERS] = characters
            runs[run_count, R_STOPS] = stops
            run_count += 1
        if at >= end:
            break

        opening = at
        if source[at + 1] == ord("!") or source[at + 1] == ord("?"):
            at = _markup_end(source, at)
            continue
        if source[at + 1] == ord("/"):
            key, at = _name(source, at + 2)
            at = _markup_end(source, at)
            tag = _lookup(key, tag_keys, tag_values)
            if properties[tag] & BLOCK or tag == _BR:
                at_boundary = True
            if tag == _A:
                link = MAX_DEPTH + 1
            if open_count[tag] and tag != _BODY:
                level = _level_closed_by(tag, tags, depth, properties)
                if level > 0:
                    depth = _close(level - 1, depth, stack, tags, open_count, elements, count - 1)
            if link > depth:
                link = MAX_DEPTH + 1
            continue

        key, at = _name(source, at + 1)
        name_length = at - opening - 1
        tag = _lookup(key, tag_keys, tag_values)
        at, is_complete, hints, has_href, self_closing = _attributes(
            source, at, attribute_keys, attribute_values, transitions, reports
        )
        if not is_complete:
            break  # an unfinished tag at the end of the page is no tag
        bits = properties[tag]
        if tag == _HTML:
            facts[F_HTML] = opening if facts[F_HTML] < 0 else facts[F_HTML]
            continue
        if tag == _BODY:
            if body_seen:
                continue
            body_seen = True
            keep = 0
        elif tags[depth] == _HEAD and not bits & HEAD:
            keep = depth - 1
        else:
            keep = _level_kept_by(tag, tags, depth, open_count, properties)
            if keep == MAX_DEPTH and not bits & (VOID | RAW):
                keep -= 1
        depth = _close(keep, depth, stack, tags, open_count, elements, count - 1)
        if link > depth or tag == _A:
            link = MAX_DEPTH + 1

        if bits & BLOCK or tag in (_BR, _HR):
            at_boundary = True
        elements[count, E_TAG] = tag
        elements[count, E_PARENT] = stack[depth]
        elements[count, E_HINTS] = hints
        elements[count, E_START] = opening
        elements[count, E_LAST] = count
        count += 1
        in_svg = open_count[_SVG] > 0 and not open_count[_FOREIGN_OBJECT]
        if bits & VOID or (self_closing and (in_svg or tag == _SVG)):
            continue
        if bits & RAW and not (in_svg and tag == _TITLE):
            content = at
            at = _raw_end(source, at, opening + 1, name_length)
            if tag == _TITLE and not facts[F_TITLE_END]:
                facts[F_TITLE], facts[F_TITLE_END] = content, at
            at = _markup_end(source, at)
            continue
        depth += 1
        stack[depth] = count - 1
        tags[depth] = tag
        open_count[tag] += 1
        if tag == _A and has_href:
            link = depth
            facts[F_LINKS] += 1
    _close(-1, depth, stack, tags, open_count, elements, count - 1)
    return elements[:count], runs[:run_count], lines[:line_count], facts
