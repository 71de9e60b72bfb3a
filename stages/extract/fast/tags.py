"""The HTML element names that matter here, as numbers with properties, for the kernels of this folder."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Properties, one bit each.
VOID = 1  # has no content and no end tag
RAW = 2  # its content is no markup, and no text of the page
BLOCK = 4  # begins and ends a line of text
SPECIAL = 8  # an end tag of an inline element does not reach beyond it (HTML standard, "special" elements)
CLOSES_P = 16  # its start ends an open paragraph
SCOPE = 32  # an end tag of a block does not reach beyond it
HEADING = 64
DISCARD = 128  # never main text
HEAD = 256  # may stand in the head

_PROPERTIES: dict[str, int] = {}


def _define(names: str, properties: int) -> None:
    for name in names.split():
        _PROPERTIES[name] = _PROPERTIES.get(name, 0) | properties


_define("#unknown #document html head body", 0)
_define("area base br col embed frame hr img input link meta param source track wbr", VOID)
_define("script style textarea title iframe noembed noframes xmp template", RAW)
_define("base link meta script style title noscript template", HEAD)
_define(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer form", BLOCK
)
_define("header hgroup hr main menu nav ol p pre section summary table ul listing search h1 h2 h3 h4 h5 h6", BLOCK)
_define(" ".join(name for name, bits in _PROPERTIES.items() if bits & BLOCK), CLOSES_P)
_define("noscript body br caption dd dt head html legend li optgroup option select tbody td tfoot th thead tr", BLOCK)
_define(" ".join(name for name, bits in _PROPERTIES.items() if bits & BLOCK), SPECIAL)
_define("button object applet marquee svg math audio video canvas", SPECIAL)
_define("#document table td th caption object applet marquee svg math button", SCOPE)
_define("h1 h2 h3 h4 h5 h6", HEADING)
_define(
    "nav aside footer button select option optgroup datalist object applet audio video canvas svg math map", DISCARD
)
_define("noscript rt rp", DISCARD)
_define("menu dialog input embed legend label progress output menuitem search", DISCARD)
_define("a abbr b big cite code del em font i ins kbd mark q s samp small span strike strong sub sup time tt u var", 0)
_define("ruby foreignobject", 0)

NAMES = tuple(_PROPERTIES)
TAG = {name: number for number, name in enumerate(NAMES)}
PROPERTIES: npt.NDArray[np.int32] = np.array([_PROPERTIES[name] for name in NAMES], np.int32)

_FNV_PRIME, _FNV_OFFSET = 0x100000001B3, 0xCBF29CE484222325
TABLE_BITS = 11


def name_hash(name: str) -> int:
    """FNV-1a, 64 bits, of the lower-case name; the scanner computes the same byte by byte."""
    value = _FNV_OFFSET
    for byte in name.encode():
        value = (value ^ byte) * _FNV_PRIME % 2**64
    return value


def _table(names: dict[str, int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16]]:
    """Open-addressing table from name hash to number."""
    size = 1 << TABLE_BITS
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.int16)
    for name, number in names.items():
        key = name_hash(name)
        slot = key >> (64 - TABLE_BITS)
        while keys[slot]:
            slot = (slot + 1) % size
        keys[slot], values[slot] = key, number
    return keys, values


TAG_KEYS, TAG_VALUES = _table(TAG)

ATTRIBUTES = ("#other", "class", "id", "role", "itemprop", "href", "hidden", "aria-hidden", "style", "lang", "rel")
ATTRIBUTE = {name: number for number, name in enumerate(ATTRIBUTES)}
ATTRIBUTE_KEYS, ATTRIBUTE_VALUES = _table(ATTRIBUTE)
