"""The same in plain Python, by looking at all windows: what the phases are compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from stages.dedup.shingles import words


@dataclass(frozen=True)
class RankedText:
    """A document as far as repeated passages are concerned."""

    id: str
    family: str  # id of its parent, or its own
    text: str


def repeated_words(texts: Sequence[RankedText], min_tokens: int, within_document: bool = True) -> dict[str, set[int]]:
    """Numbers of the words to cut, by document id, where there are any.

    Args:
        texts: the most wanted first.
    """
    windows: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)  # document, first word
    for document, text in enumerate(texts):
        its_words = words(text.text)
        for first in range(len(its_words) - min_tokens + 1):
            windows[tuple(its_words[first : first + min_tokens])].append((document, first))
    repeated: dict[str, set[int]] = defaultdict(set)
    for places in windows.values():
        for document, first in places:
            own = min(other_first for other, other_first in places if other == document)
            is_within = within_document and first >= own + min_tokens
            is_elsewhere = any(
                other < document and texts[other].family != texts[document].family for other, _ in places
            )
            if is_within or is_elsewhere:
                repeated[texts[document].id].update(range(first, first + min_tokens))
    return dict(repeated)
