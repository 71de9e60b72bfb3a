"""Bytes of a source file as text."""

from __future__ import annotations

import io
import tokenize

_DECLARING_LANGUAGES = frozenset({"python", "cython", "ruby"})


def decoded(content: bytes, language: str = "") -> str:
    """The text of a source file, without a byte order mark.

    It is UTF-8 unless it begins with UTF-16's byte order mark or, in Python and Ruby, with the declaration of another
    encoding (PEP 263).

    Raises:
        ValueError: not in that encoding, or it holds a NUL as binary files do; the message says at which byte.
    """
    encoding = "utf-8-sig"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in content:
        raise ValueError(f"a NUL at byte {content.index(0)}")
    elif language in _DECLARING_LANGUAGES and b"coding" in content[:400]:
        encoding = _declared_encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        shown = "UTF-8" if encoding == "utf-8-sig" else encoding
        raise ValueError(f"not {shown} at byte {error.start}") from error
    except LookupError as error:
        raise ValueError(f"{encoding} is no encoding of text") from error
    if "\0" in text:
        raise ValueError(f"a NUL at character {text.index(chr(0))}")
    return text


def _declared_encoding(content: bytes) -> str:
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
    except SyntaxError:  # an encoding that Python does not know, or no UTF-8 where that is declared
        return "utf-8-sig"
    return "utf-8-sig" if encoding == "utf-8" else encoding


def lines_of(text: str) -> list[str]:
    """The lines of code, without their ends."""
    # not splitlines: a form feed or U+2028 inside a literal does not end a line of code
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def count_lines(text: str) -> int:
    """Number of lines that ``lines_of`` gives."""
    if "\r" in text:
        return len(lines_of(text))
    return text.count("\n") + (not text.endswith("\n"))
