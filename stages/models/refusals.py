"""Refusals: answers in which a model speaks for itself."""

from __future__ import annotations

import re

REFUSAL_WORDS = 80
"""A refusal is short; a longer answer that begins like one is a text that does."""

_REFUSAL = re.compile(
    r"i['’]?m (?:really |very |so )?(?:sorry|unable|not able)|i am (?:sorry|unable|not able)|sorry,|i apologi[sz]e"
    r"|(?:unfortunately,? )?i (?:can(?:no|['’])t|am not able|do not have the ability|do not see|don['’]t see)"
    r"|as an ai\b",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Whether the model answers for itself instead of doing what it is asked."""
    return bool(_REFUSAL.match(text.lstrip("\"'*_ \n"))) and len(text.split()) <= REFUSAL_WORDS
