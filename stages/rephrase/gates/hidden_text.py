"""Text as a reader sees it, and text that nobody sees."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata

FEWEST_HIDDEN_WORDS = 3

_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u206a-\u206f\ufe00-\ufe0f\ufeff]")
_TAGS = re.compile(r"[\U000e0020-\U000e007e]+")  # ASCII once more, without a shape
_TAGS_START = 0xE0000
_LOOK_ALIKES = str.maketrans("аеорсухіѕԁһјԛԝАВЕКМНОРСТХІЅЈ", "aeopcyxisdhjqwABEKMHOPCTXISJ")
_MIXED_WORD = re.compile(r"\b(?=\w*[a-zA-Z])(?=\w*[а-яА-ЯіѕԁһјԛԝІЅЈ])\w+\b")
_SPACED_OUT = re.compile(r"\b(?:\w[ .\-_*]){3,}\w\b")  # l i k e  t h i s
_BETWEEN_LETTERS = re.compile(r"[ .\-_*]")
_BASE64 = re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{24,}={0,2}(?![\w+/])")


def shown(text: str) -> str:
    """The text without invisible characters, letters of another script that look alike, and spaced-out words."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", _TAGS.sub("", text)))
        text = _MIXED_WORD.sub(lambda word: word.group().translate(_LOOK_ALIKES), text)
    return _SPACED_OUT.sub(lambda word: _BETWEEN_LETTERS.sub("", word.group()), text)


def hidden(text: str) -> list[str]:
    """What a text says in characters without a shape, or in Base64: passages of at least FEWEST_HIDDEN_WORDS words."""
    found = (
        [] if text.isascii() else ["".join(chr(ord(sign) - _TAGS_START) for sign in run) for run in _TAGS.findall(text)]
    )
    for code in _BASE64.findall(text):
        try:
            found.append(base64.b64decode(code + "=" * (-len(code) % 4), validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue
    return [passage for passage in found if len(passage.split()) >= FEWEST_HIDDEN_WORDS and passage.isprintable()]
