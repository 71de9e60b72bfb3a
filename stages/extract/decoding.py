"""Bytes of a web page to text: what the bytes themselves prove, then what is declared, then detection.

Labels are read as browsers read them (https://encoding.spec.whatwg.org/), with three deliberate departures, each for
the sake of text that browsers would lose or garble:

* Valid UTF-8 outranks any declaration: other encodings hardly ever form valid multi-byte sequences by chance, while
  servers declare wrongly all the time.
* ``hz-gb-2312`` and ``iso-2022-kr`` are decoded. Browsers replace such pages because of attacks by script; a text
  runs none.
* UTF-16 without declaration or byte order mark is recognised by its zero bytes.
"""

from __future__ import annotations

import codecs
import re

MAX_REPLACED = 0.001
"""Share of undecodable characters up to which a declared charset is believed (one bad byte must not garble a page)."""

MIN_VALID_PER_BAD = 10
"""Valid multi-byte characters per bad byte from which a page is UTF-8 with damage. Pages are cut or pasted together;
in GB 2312, the encoding that imitates UTF-8 most often, about one pair in seven forms a valid sequence."""

META_BYTES = 4096  # browsers look at 1024; pages with long heads declare later
_UTF16_BYTES = 1024  # looked at for zero bytes
_MIN_ZERO_SHARE = 0.1  # of one half of these bytes; markup alone makes more, even in a Chinese page

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"""<meta[^>]{0,300}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{2,40})""", re.IGNORECASE)
_HTML_LANG = re.compile(rb"""<html[^>]{0,300}?\slang\s*=\s*["']?\s*([a-z]{2})\b""", re.IGNORECASE)

# Labels whose meaning to browsers differs from Python's or which resiliparse maps to something narrower. Microsoft's
# code pages contain the standards of which they are named after; gb18030 contains gb2312 and gbk.
_READ_AS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc-kr": "cp949",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
}
_ALSO_DECODED = {"hz-gb-2312": "hz", "hz": "hz", "iso-2022-kr": "iso2022_kr", "csiso2022kr": "iso2022_kr"}

# Detection by letter frequencies takes these for the Latin letters of languages it does not know. On the web they are
# rarer than such languages, so they stand only where the page states a language that is written in them.
_RARE_LATIN = {
    "iso8859-3": {"mt", "eo"},
    "iso8859-4": {"lt", "lv", "et"},
    "iso8859-10": {"is", "kl", "se"},
    "iso8859-13": {"lt", "lv", "et"},
    "iso8859-14": {"cy", "ga", "gd", "br"},
    "iso8859-16": {"ro"},
    "cp852": {"cs", "pl", "sk", "hu", "hr", "sl", "ro"},
    "cp865": {"no", "nb", "nn", "da"},
    "mac-latin2": {"cs", "pl", "sk", "hu", "hr"},
    "viscii": {"vi"},
}


def decoded(html: bytes, charset: str | None) -> str:
    """The page as text; ``charset`` is what the server declared. Never fails: what cannot be read becomes U+FFFD.

    In this order: byte order mark; zero bytes of UTF-16; valid UTF-8, also with little damage; the declared charset
    (header before XML declaration before meta element) if the bytes bear it out; detection (uchardet).
    """
    for mark, encoding in _BOMS:
        if html.startswith(mark):
            return html[len(mark) :].decode(encoding, "replace")
    declared = _declared(html[:META_BYTES], charset)
    if byte_order := _utf16(html[:_UTF16_BYTES]):
        return html.decode(byte_order, "replace")
    if (seven_bit := _seven_bit(html, declared)) and (text := _readable(html, seven_bit)) is not None:
        return text
    if (text := _utf8(html)) is not None:
        return text
    for encoding in declared:
        if (text := _readable(html, encoding)) is not None:
            return text
    return html.decode(_detected(html), "replace")


def _declared(head: bytes, charset: str | None) -> list[str]:
    """Python's names of the encodings that are declared, the most credible first."""
    in_document = [match[1].decode() for match in (_XML.search(head), _META.search(head)) if match]
    # a declaration that can be read as ASCII is not in UTF-16, says WHATWG
    ascii_declared = [name for label in in_document if (name := _codec(label)) and not name.startswith("utf-16")]
    header = _codec(charset) if charset else None
    return [header, *ascii_declared] if header else ascii_declared


def _codec(label: str) -> str | None:
    """Python's name of the encoding that browsers understand by a label; None if they understand none."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    label = label.strip().lower()
    if label in _ALSO_DECODED:
        return _ALSO_DECODED[label]
    if label in ("x-user-defined", "x-mac-cyrillic", "x-mac-ukrainian"):
        return "cp1252" if label == "x-user-defined" else "mac-cyrillic"
    name = map_encoding_to_html5(label, False)
    if not name:
        return None
    if name.lower().startswith("utf-16"):
        return "utf-16-be" if name.lower().replace("_", "-").endswith("be") else "utf-16-le"
    name = codecs.lookup(name).name
    return _READ_AS.get(name, name)


def _readable(html: bytes, encoding: str) -> str | None:
    """The text if next to nothing of it had to be replaced."""
    text = html.decode(encoding, "replace")
    return text if text.count("\ufffd") <= 1 + MAX_REPLACED * len(text) else None


def _utf16(head: bytes) -> str | None:
    """The byte order of UTF-16 whose ASCII characters show as zero bytes at every other place."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    fewer, more = sorted((even, odd))
    if more < _MIN_ZERO_SHARE * len(head) / 2 or more == 0 or fewer > more / 2:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _seven_bit(html: bytes, declared: list[str]) -> str | None:
    """An encoding that writes two-byte characters in ASCII, which would pass for UTF-8."""
    for name in declared:
        if name.startswith(("iso2022", "hz")):
            return name
    if b"\x1b" in html and b"\x1b$" in html:  # one byte is found ten times as fast as two
        return "iso2022_jp"
    if html.isascii() and b"~{" in html and _guess(html).startswith("hz"):
        return "hz"
    return None


def _utf8(html: bytes) -> str | None:
    """The text if the bytes are UTF-8, or were before something damaged them."""
    try:
        return html.decode("utf-8")
    except UnicodeDecodeError:
        text = html.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    valid = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
    return text if valid >= MIN_VALID_PER_BAD * bad else None


def _detected(html: bytes) -> str:
    """The most likely encoding by content; windows-1252, as in browsers, where nothing speaks for another."""
    label = _guess(html)
    language = match[1].decode().lower() if (match := _HTML_LANG.search(html[:META_BYTES])) else ""
    if label in ("", "ascii", "utf-8"):  # damaged beyond belief, or too few letters to tell
        return "cp1252"
    if label == "uhc":
        return "cp949"
    if label.startswith("koi8"):
        return "koi8-u"  # has the letters of koi8-r too, in place of a few lines of box drawing
    label = {"ibm852": "cp852", "ibm865": "cp865", "mac-centraleurope": "mac-latin2"}.get(label, label)
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return "cp1252"
    if language not in _RARE_LATIN.get(name, {language}):
        return "cp1252"
    return _READ_AS.get(name, name)


def _guess(html: bytes) -> str:
    """uchardet's own name of the encoding; "" if it has no idea."""
    from resiliparse.parse.encoding import detect_encoding

    return (detect_encoding(html, html5_compatible=False) or "").lower()
