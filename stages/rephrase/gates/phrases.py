"""The phrases of ``phrases.yaml``, as regular expressions."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PHRASES_FILE = Path(__file__).with_name("phrases.yaml")

_STARTS = (r"\b", "^", r"\A")
_WORDS_NAME = re.compile(r"\{([a-z_]+)\}")


@cache
def patterns(name: str) -> tuple[re.Pattern[str], ...]:
    """The entries of a list of phrases, each compiled. They are looked for in text in lower case."""
    return tuple(re.compile(written_out(entry), re.MULTILINE) for entry in _phrases()[name])


@cache
def pattern(name: str) -> re.Pattern[str]:
    """All entries of a list of phrases as one regular expression.

    What starts at the same kind of place stands together behind that place: a tenth of the time, since Python's
    engine else asks for the place once for each entry, at every character.
    """
    entries = [written_out(entry) for entry in _phrases()[name]]
    starts = {start: [entry.removeprefix(start) for entry in entries if entry.startswith(start)] for start in _STARTS}
    grouped = [f"{start}(?:{'|'.join(rest)})" for start, rest in starts.items() if rest]
    return re.compile("|".join((*grouped, *(e for e in entries if not e.startswith(_STARTS)))), re.MULTILINE)


def written_out(expression: str) -> str:
    """A regular expression in which each ``{name}`` is replaced by the words of that name."""
    while _WORDS_NAME.search(expression):
        expression = _WORDS_NAME.sub(lambda found: str(_phrases()["words"][found.group(1)]), expression)
    return expression


@cache
def _phrases() -> dict[str, Any]:
    phrases: dict[str, Any] = yaml.safe_load(PHRASES_FILE.read_text("utf-8"))
    return phrases
