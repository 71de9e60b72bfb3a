"""Fonts of a text layer: their names, and the letters behind codes that PDFium has no Unicode value for."""

from __future__ import annotations

import ctypes
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.pdf.kernels.pdfium import UNMAPPED

BOLD_WEIGHT = 600
"""Of CSS's and PDF's scale from 100 to 900, on which 400 is regular and 700 bold."""
BOLD_NAMES = ("bold", "black", "heavy", "demi", "-medi", "cmbx", "cmssbx", "sfbx", "ecbx", "lmbx")
"""Parts of the names of bold fonts, lower case; NimbusRomNo9L-Medi, CMBX10, SFBX1000 and their kin are TeX's."""


class Font(NamedTuple):
    """What a text layer tells of a font."""

    name: str  # without the prefix of a subset
    is_bold: bool
    key: str  # the same font of a document has the same; fonts that differ rarely do


def font_of(address: int) -> Font:
    """The font behind an FPDF_FONT, which has to be that of an open page."""
    import pypdfium2.raw as pdfium_c

    font = ctypes.cast(address, pdfium_c.FPDF_FONT)
    buffer = ctypes.create_string_buffer(256)
    length = pdfium_c.FPDFFont_GetBaseFontName(font, buffer, len(buffer))
    whole = buffer.raw[: max(min(length, len(buffer)) - 1, 0)].decode("utf-8", "replace")
    size = ctypes.c_size_t()
    pdfium_c.FPDFFont_GetFontData(font, None, 0, size)
    name = _SUBSET.sub("", whole)
    is_bold = pdfium_c.FPDFFont_GetWeight(font) >= BOLD_WEIGHT or any(part in name.lower() for part in BOLD_NAMES)
    return Font(name, is_bold, f"{whole}/{size.value}")


_SUBSET = re.compile(r"^[A-Z]{6}\+")

OT1 = (
    "\ufb00\ufb01\ufb02\ufb03\ufb04\u0131\u0237\u0060\u00b4\u02c7\u02d8\u00af\u02da\u00b8"
    "\u00df\u00e6\u0153\u00f8\u00c6\u0152\u00d8"
)
"""TeX's first encoding of text fonts from code 11 to 31: ligatures, accents, letters."""
T1 = (
    "\u02db\u201a\u2039\u203a\u201c\u201d\u201e\u00ab\u00bb\u2013\u2014\u200b\u2070\u0131\u0237"
    "\ufb00\ufb01\ufb02\ufb03\ufb04"
)
"""Its second, named after Cork, from code 12 to 31."""
FIRST_OT1, FIRST_T1 = 11, 12
OT1_LIGATURES, T1_LIGATURES = list(range(11, 16)), list(range(27, 32))

SYMBOL = (
    " !\u2200#\u2203%&\u220b()\u2217+,\u2212./0123456789:;<=>?"
    "\u2245\u0391\u0392\u03a7\u0394\u0395\u03a6\u0393\u0397\u0399\u03d1\u039a\u039b\u039c\u039d\u039f"
    "\u03a0\u0398\u03a1\u03a3\u03a4\u03a5\u03c2\u03a9\u039e\u03a8\u0396[\u2234]\u22a5_"
    "\u203e\u03b1\u03b2\u03c7\u03b4\u03b5\u03c6\u03b3\u03b7\u03b9\u03d5\u03ba\u03bb\u03bc\u03bd\u03bf"
    "\u03c0\u03b8\u03c1\u03c3\u03c4\u03c5\u03d6\u03c9\u03be\u03c8\u03b6{|}\u223c\u007f"
    + "\ufffd"
    * 32
    + "\u20ac\u03d2\u2032\u2264\u2044\u221e\u0192\u2663\u2666\u2665\u2660\u2194\u2190\u2191\u2192\u2193"
    "\u00b0\u00b1\u2033\u2265\u00d7\u221d\u2202\u2022\u00f7\u2260\u2261\u2248\u2026\u23d0\u23af\u21b5"
    "\u2135\u2111\u211c\u2118\u2297\u2295\u2205\u2229\u222a\u2283\u2287\u2284\u2282\u2286\u2208\u2209"
    "\u2220\u2207\u00ae\u00a9\u2122\u220f\u221a\u22c5\u00ac\u2227\u2228\u21d4\u21d0\u21d1\u21d2\u21d3"
    "\u25ca\u2329\u00ae\u00a9\u2122\u2211\u239b\u239c\u239d\u23a1\u23a2\u23a3\u23a7\u23a8\u23a9\u23aa"
    "\ufffd\u232a\u222b\u2320\u23ae\u2321\u239e\u239f\u23a0\u23a4\u23a5\u23a6\u23ab\u23ac\u23ad\ufffd"
)
"""Adobe's encoding of Symbol from code 32 to 255 (ISO 32000-1, annex D.5)."""
FIRST_SYMBOL = 0xF020
"""Word writes the codes of symbol fonts into the private-use area behind 0xF000."""
BULLET = 0x2022
_PICTURE_FONT = re.compile("wingding|webding|dingbat", re.IGNORECASE)


def decode(codes: NDArray[np.uint32], flags: NDArray[np.uint8], fonts: NDArray[np.int64]) -> None:
    """Put letters in the place of codes that are known to stand for them.

    Args:
        codes: (n,) to change.
        flags: (n,) of kernels.pdfium.
        fonts: (n,) FPDF_FONT of each character, 0 if it has none.
    """
    is_private = (codes >= FIRST_SYMBOL) & (codes < FIRST_SYMBOL + len(SYMBOL))
    is_control = ((flags & UNMAPPED) != 0) & (codes < 32) & (codes >= FIRST_OT1)
    for address in np.unique(fonts[is_private | is_control]).tolist():
        if address == 0:
            continue
        name = font_of(address).name
        drawn = fonts == address
        if "symbol" in name.lower():
            found = np.flatnonzero(drawn & is_private)
            codes[found] = [ord(SYMBOL[code - FIRST_SYMBOL]) for code in codes[found].tolist()]
        elif _PICTURE_FONT.search(name):  # arrows, squares, ticks: before the entries of lists, nearly all
            codes[drawn & is_private] = BULLET
        elif not name:  # TeX's bitmap fonts have none
            found = np.flatnonzero(drawn & is_control)
            codes[found] = _tex_letters(codes[found])


def _tex_letters(codes: NDArray[np.uint32]) -> list[int]:
    is_first = np.isin(codes, OT1_LIGATURES).sum() > np.isin(codes, T1_LIGATURES).sum()
    table, first = (OT1, FIRST_OT1) if is_first else (T1, FIRST_T1)
    return [ord(table[code - first]) if code >= first else code for code in codes.tolist()]
