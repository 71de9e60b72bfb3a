"""Which lines of a page are its main text.

The steps: measure how much prose stands in each element; drop what calls itself navigation, advertising, comments and
the like, unless the page's prose is in it; take as container the element with the most prose for the least rest; add
what reads like it beside it; leave out lists of links, stray short lines, and headings of nothing. The thresholds were
set by hand on half of the sites of two public benchmarks; tests/benchmarks/extraction_quality.py measures both halves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.extract.fast.hints import AWAY, BODY, COMMENTS, HIDDEN, METADATA, VISIBLE
from stages.extract.fast.scan import (
    E_HINTS,
    E_LAST,
    E_PARENT,
    E_TAG,
    R_CHARACTERS,
    R_ELEMENT,
    R_LINE,
    R_LINKED,
    R_STOPS,
)  # fmt: skip
from stages.extract.fast.tags import BLOCK, DISCARD, HEADING, TAG
from stages.kernel import kernel

# Lengths are characters as scan.py counts them; shares are of the prose of the page.
SHORT_TEXT = 0.2  # a character outside prose and links is worth this much of one in prose
MIN_PAGE = 250  # less prose than this: comments and the like may be all the page has, or short lines and tables
APART_SHARE, LONE_APART_SHARE = 3.0, 0.5  # the second where there is less than MIN_PAGE besides
ASIDE_SHARES = (0.3, 0.1, 0.0)  # tried in turn until MIN_REST of the prose is left
MIN_REST = 0.5
NOISE = 0.3  # what a character of links and stray text costs a container
BODY_FACTOR, ARTICLE_FACTOR = 1.4, 1.2  # for containers that say what they are
NEIGHBOUR_PROSE = 2.0  # what stands beside the container needs this many times as much prose as noise to join it
MAX_CELL = 500  # longer cells: the table is there for its layout
STRAY = 40  # a line without stops that is shorter does not end a text

# Columns of a line's measures; the lines of one paragraph (line breaks) are measured together, at the first.
M_CHARACTERS, M_LINKED, M_STOPS = 0, 1, 2

# Columns of an element's place: the list entry, row of a table and preformatted text around it as elements, -1 if none,
# the number of lists around it, and the number of its cell in the row.
P_LIST_ENTRY, P_LIST_DEPTH, P_ROW, P_CELL, P_PRE = 0, 1, 2, 3, 4
PLACE_COLUMNS = 5

_BODY, _ARTICLE = TAG["body"], TAG["article"]
_P, _PRE, _QUOTE, _FORM, _ADDRESS = TAG["p"], TAG["pre"], TAG["blockquote"], TAG["form"], TAG["address"]
_UL, _OL, _LI, _DD, _DT = TAG["ul"], TAG["ol"], TAG["li"], TAG["dd"], TAG["dt"]
_TABLE, _TR, _TD, _TH, _CAPTION, _BR = TAG["table"], TAG["tr"], TAG["td"], TAG["th"], TAG["caption"], TAG["br"]
_TBODY, _THEAD, _TFOOT = TAG["tbody"], TAG["thead"], TAG["tfoot"]
_FIGCAPTION, _H1 = TAG["figcaption"], TAG["h1"]


@kernel
def _add_to_parents(elements: Any, values: Any) -> None:
    """Turn what stands directly in each element into what stands in it and its descendants."""
    for e in range(elements.shape[0] - 1, 0, -1):
        values[elements[e, E_PARENT]] += values[e]


@kernel
def _first_lines(lines: Any) -> Any:
    """For each line the first line of its paragraph."""
    first = np.zeros(lines.size, np.int64)
    for k in range(1, lines.size):
        first[k] = first[k - 1] if lines[k] == lines[k - 1] else k
    return first


@kernel
def _measures(runs: Any, first: Any, dropped: Any) -> Any:
    """Characters, of these in links, and stops of each paragraph, without what is dropped."""
    measures = np.zeros((first.size, 3), np.int64)
    for r in range(runs.shape[0]):
        if not dropped[runs[r, R_ELEMENT]]:
            k = first[runs[r, R_LINE]]
            measures[k, M_CHARACTERS] += runs[r, R_CHARACTERS]
            measures[k, M_LINKED] += runs[r, R_CHARACTERS] * runs[r, R_LINKED]
            measures[k, M_STOPS] += runs[r, R_STOPS]
    return measures


@kernel
def _is_prose(measure: Any, tag: int) -> bool:
    characters, linked, stops = int(measure[M_CHARACTERS]), int(measure[M_LINKED]), int(measure[M_STOPS])
    if 2 * linked > characters:
        return False
    if tag == _PRE:
        return characters >= 20
    if tag in (_P, _QUOTE):
        return characters >= 60 or (characters >= 25 and stops > 0)
    if tag in (_LI, _DD, _TD):
        return characters >= 60 and stops > 0
    return characters >= 80 and stops > 0


@kernel
def _prose_and_noise(elements: Any, lines: Any, measures: Any, short_text: float) -> tuple[Any, Any]:
    """For each element the characters of prose in it (those of short text at a discount), and those of all else."""
    prose, noise = np.zeros(elements.shape[0], np.float64), np.zeros(elements.shape[0], np.float64)
    for k in range(lines.size):
        characters, linked = measures[k, M_CHARACTERS], measures[k, M_LINKED]
        worth = 0.0
        if _is_prose(measures[k], elements[lines[k], E_TAG]):
            worth = 1.0
        elif linked < 0.3 * characters:
            worth = short_text
        prose[lines[k]] += worth * (characters - linked)
        noise[lines[k]] += characters - worth * (characters - linked)
    _add_to_parents(elements, prose)
    _add_to_parents(elements, noise)
    return prose, noise


@kernel
def _is_apart(tag: int, hints: int, properties: Any) -> bool:
    """Whether an element says of itself that it is no part of the main text."""
    if tag == _BODY or hints & BODY:
        return False
    if properties[tag] & DISCARD or hints & COMMENTS or tag == _FIGCAPTION:
        return True
    return hints & HIDDEN != 0 and not hints & VISIBLE


@kernel
def _prose_not_apart(elements: Any, prose: Any, properties: Any) -> float:
    total = float(prose[0])
    e = 1
    while e < elements.shape[0]:
        if _is_apart(elements[e, E_TAG], elements[e, E_HINTS], properties):
            total -= prose[e]
            e = elements[e, E_LAST]
        e += 1
    return total


@kernel
def _dropped(
    elements: Any, prose: Any, reference: float, apart_share: float, aside_share: float, properties: Any
) -> Any:
    """Which elements are dropped for what they are or say, if they hold no more than a share of the prose."""
    dropped = np.zeros(elements.shape[0], np.bool_)
    for e in range(1, elements.shape[0]):
        tag, hints = elements[e, E_TAG], elements[e, E_HINTS]
        if dropped[elements[e, E_PARENT]]:
            dropped[e] = True
        elif tag == _BODY:
            continue
        elif _is_apart(tag, hints, properties):
            dropped[e] = prose[e] <= apart_share * reference
        elif tag in (_FORM, _ADDRESS) or (hints & (AWAY | METADATA) and not hints & BODY and tag != _QUOTE):
            dropped[e] = prose[e] <= aside_share * reference
    return dropped


@kernel
def _container(elements: Any, prose: Any, noise: Any, dropped: Any) -> int:
    best, best_score = 0, -np.inf
    for e in range(elements.shape[0]):
        if dropped[e] or prose[e] == 0:
            continue
        hints, tag = elements[e, E_HINTS], elements[e, E_TAG]
        factor = 1.0
        if hints & BODY:
            factor = BODY_FACTOR
        elif tag == _ARTICLE:
            factor = ARTICLE_FACTOR
        score = factor * prose[e] - NOISE * noise[e]
        if score >= best_score:
            best, best_score = e, score
    return best


@kernel
def _chosen(elements: Any, container: int, prose: Any, noise: Any) -> Any:
    """Elements of the container, and those beside it that read like it (leads, the second half of a split text)."""
    chosen = np.zeros(elements.shape[0], np.bool_)
    chosen[container : elements[container, E_LAST] + 1] = True
    outer = elements[container, E_PARENT]
    if outer == 0 or elements[outer, E_TAG] == _BODY:
        return chosen
    chosen[outer] = True
    e = outer + 1
    while e <= elements[outer, E_LAST]:
        if e != container and prose[e] > NEIGHBOUR_PROSE * noise[e]:
            chosen[e : elements[e, E_LAST] + 1] = True
        e = elements[e, E_LAST] + 1
    return chosen


@kernel
def _places(elements: Any, characters: Any, properties: Any) -> Any:
    """The places of each element; rows only of tables that hold data: no blocks or long texts in their cells."""
    n = elements.shape[0]
    cells = np.zeros(n, np.int64)
    holds_data = np.ones(n, np.bool_)
    has_row = np.zeros(n, np.bool_)
    for e in range(n - 1, 0, -1):
        tag, parent = elements[e, E_TAG], elements[e, E_PARENT]
        if tag in (_TD, _TH):
            cells[parent] += 1
            if characters[e] > MAX_CELL:
                holds_data[parent] = False
        elif tag == _TR:
            has_row[parent] |= cells[e] > 1
        elif tag in (_TBODY, _THEAD, _TFOOT):
            has_row[parent] |= has_row[e]
        elif properties[tag] & BLOCK and tag != _CAPTION and tag != _BR:
            holds_data[parent] = False
        if not holds_data[e]:
            holds_data[parent] = False
    places = np.full((n, PLACE_COLUMNS), -1, np.int32)
    places[0, P_LIST_DEPTH] = 0
    in_data = np.zeros(n, np.bool_)
    next_cell = np.zeros(n, np.int32)
    for e in range(1, n):
        tag, parent = elements[e, E_TAG], elements[e, E_PARENT]
        places[e] = places[parent]
        in_data[e] = in_data[parent]
        if tag == _TABLE:
            in_data[e] = holds_data[e] and has_row[e]
        elif tag == _TR and in_data[e]:
            places[e, P_ROW] = e
        elif tag in (_TD, _TH) and in_data[e]:
            places[e, P_CELL] = next_cell[parent]
            next_cell[parent] += 1
        elif tag in (_LI, _DD):
            places[e, P_LIST_ENTRY] = e
        elif tag in (_UL, _OL):
            places[e, P_LIST_DEPTH] += 1
        elif tag == _PRE:
            places[e, P_PRE] = e
    return places


@kernel
def _link_lists(
    elements: Any, container: int, characters: Any, linked: Any, prose: Any, places: Any, properties: Any
) -> Any:
    """Block elements inside the container that are mostly links."""
    found = np.zeros(elements.shape[0], np.bool_)
    for e in range(1, elements.shape[0]):
        if found[elements[e, E_PARENT]] and e != container:
            found[e] = True
        elif (
            properties[elements[e, E_TAG]] & BLOCK
            and places[e, P_ROW] < 0
            and not e <= container <= elements[e, E_LAST]
        ):
            found[e] = linked[e] > 0.6 * characters[e] and prose[e] < 0.5 * characters[e]
    return found


@kernel
def _is_text_element(tag: int) -> bool:
    """Whether short lines are at home in it."""
    return tag in (_P, _QUOTE, _LI, _DD, _DT, _TD, _TH, _PRE)


@kernel
def _kept(
    elements: Any, lines: Any, first: Any, measures: Any, usable: Any, places: Any, is_sparse: bool, properties: Any
) -> Any:
    """Which lines in usable elements are kept, by their links, length and neighbours."""
    keep = np.zeros(lines.size, np.bool_)
    prose_seen = False
    for k in range(lines.size):
        e, measure = lines[k], measures[first[k]]
        characters, linked, tag = measure[M_CHARACTERS], measure[M_LINKED], elements[lines[k], E_TAG]
        if not usable[e] or characters == 0:
            continue
        is_prose = _is_prose(measure, tag)
        if properties[tag] & HEADING:
            keep[k] = 2 * linked < characters and (prose_seen or tag != _H1)
        elif linked > 0.7 * characters and places[e, P_ROW] < 0:
            continue
        elif is_prose:
            keep[k] = True
        else:
            is_long = characters >= 50 or measure[M_STOPS] > 0
            keep[k] = _is_text_element(tag) or ((prose_seen or is_sparse) and is_long)
        prose_seen = prose_seen or is_prose
    return keep


@kernel
def _trim(elements: Any, lines: Any, first: Any, measures: Any, keep: Any, properties: Any) -> None:
    """Take away stray lines at the end, then headings with nothing below them."""
    for k in range(lines.size - 1, -1, -1):
        if keep[k]:
            tag, measure = elements[lines[k], E_TAG], measures[first[k]]
            if measure[M_STOPS] > 0 or measure[M_CHARACTERS] >= STRAY or (_is_text_element(tag) and tag != _P):
                break
            keep[k] = False
    below = 0  # level of the nearest heading kept below, 9 if it is text
    for k in range(lines.size - 1, -1, -1):
        if keep[k]:
            tag = elements[lines[k], E_TAG]
            level = tag - _H1 + 1 if properties[tag] & HEADING else 9
            keep[k] = level == 9 or level < below
            below = level if keep[k] else below


@kernel
def choose(elements: Any, runs: Any, lines: Any, properties: Any) -> tuple[Any, Any, Any]:
    """Choose the lines of the main text.

    Args:
        elements, runs, lines: What scan.scan returned.
        properties: tags.PROPERTIES.

    Returns:
        For each line whether it is main text; for each element whether its own runs are left out; for each element
        its places (int32, number x PLACE_COLUMNS).
    """
    n = elements.shape[0]
    first = _first_lines(lines)
    dropped = np.zeros(n, np.bool_)
    measures = _measures(runs, first, dropped)
    all_prose, noise = _prose_and_noise(elements, lines, measures, SHORT_TEXT)
    reference = _prose_not_apart(elements, all_prose, properties)
    apart_share = APART_SHARE
    if reference < MIN_PAGE:
        reference, apart_share = all_prose[0], LONE_APART_SHARE
    prose = all_prose
    for aside_share in ASIDE_SHARES:
        dropped = _dropped(elements, all_prose, reference, apart_share, aside_share, properties)
        measures = _measures(runs, first, dropped)
        prose, noise = _prose_and_noise(elements, lines, measures, SHORT_TEXT)
        if prose[0] >= MIN_REST * reference:
            break
    is_sparse = prose[0] < MIN_PAGE
    if is_sparse:
        prose, noise = _prose_and_noise(elements, lines, measures, 1.0)
    container = _container(elements, prose, noise, dropped)

    characters, linked = np.zeros(n, np.float64), np.zeros(n, np.float64)
    for k in range(lines.size):
        characters[lines[k]] += measures[k, M_CHARACTERS]
        linked[lines[k]] += measures[k, M_LINKED]
    _add_to_parents(elements, characters)
    _add_to_parents(elements, linked)
    places = _places(elements, characters, properties)
    links = _link_lists(elements, container, characters, linked, prose, places, properties)
    usable = _chosen(elements, container, prose, noise) & ~dropped & ~links
    keep = _kept(elements, lines, first, measures, usable, places, is_sparse, properties)
    _trim(elements, lines, first, measures, keep, properties)
    return keep, dropped, places
