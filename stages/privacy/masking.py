"""From candidates to spans of private data, and from spans to the masked text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import pyarrow as pa

from stages.privacy import addresses, credentials, payments, phones
from stages.privacy.addresses import Extent
from stages.privacy.scan import Candidate, Kind, candidates

PrivateType = Literal["secret", "iban", "credit_card", "email", "ip_address", "phone"]
TYPES: tuple[PrivateType, ...] = get_args(PrivateType)
"""In order of precedence: where two overlap, the type named first is masked; of one type, the one that starts first."""

_KINDS: dict[PrivateType, tuple[Kind, ...]] = {
    "secret": (Kind.TOKEN, Kind.KEY_BLOCK, Kind.AT),
    "iban": (Kind.ACCOUNT,),
    "credit_card": (Kind.NUMBER,),
    "email": (Kind.AT,),
    "ip_address": (Kind.DOTTED, Kind.COLONS),
    "phone": (Kind.NUMBER,),
}


class Span(NamedTuple):
    """A placeholder and what it stands for; positions are characters, ends are exclusive."""

    type: PrivateType
    start: int  # in the masked text
    end: int
    original_start: int  # in the text before
    original_end: int


class Found(NamedTuple):
    """Private data in a text."""

    type: PrivateType
    start: int
    end: int


@dataclass(frozen=True)
class Detector:
    """What to look for."""

    types: frozenset[PrivateType]
    only_public_ips: bool = True
    strict: bool = True

    def kinds(self) -> frozenset[Kind]:
        """Kinds of candidate that the types need."""
        return frozenset(kind for name in self.types for kind in _KINDS[name])

    def found(self, text: str, places: Sequence[Candidate], regions: Sequence[str]) -> list[Found]:
        """Private data at the candidates, without overlaps, in order."""
        by_type: dict[PrivateType, list[Found]] = {name: [] for name in TYPES}
        for place in places:
            last_email = by_type["email"][-1].end if by_type["email"] else 0
            for found in self._at(text, place, regions, last_email):
                by_type[found.type].append(found)
        return _without_overlaps([sorted(by_type[name], key=lambda f: (f.start, -f.end)) for name in TYPES])

    def _at(self, text: str, place: Candidate, regions: Sequence[str], last_email: int) -> Iterator[Found]:
        kind, start, end = place
        if kind is Kind.NUMBER:
            if "credit_card" in self.types and end - start >= 13:
                yield from (Found("credit_card", *extent) for extent in payments.cards(text, start, end))
            if "phone" in self.types:
                yield from (Found("phone", *extent) for extent in phones.phones(text, start, end, regions))
        elif kind is Kind.TOKEN:
            yield from (Found("secret", *extent) for extent in credentials.tokens(text, start, end))
        elif kind is Kind.DOTTED:
            extents = addresses.ipv4(text, start, end, self.strict, self.only_public_ips)
            yield from (Found("ip_address", *extent) for extent in extents)
        elif kind is Kind.AT:
            if "secret" in self.types:
                yield from _if_any("secret", credentials.password_in_url(text, start))
            if "email" in self.types:
                yield from _if_any("email", addresses.email(text, start, self.strict, last_email))
        elif kind is Kind.ACCOUNT:
            yield from _if_any("iban", payments.iban(text, start))
        elif kind is Kind.KEY_BLOCK:
            yield from _if_any("secret", credentials.key_block(text, start))
        elif self.strict:
            yield from _if_any("ip_address", addresses.ipv6(text, start, end, self.only_public_ips))


def _if_any(name: PrivateType, extent: Extent | None) -> Iterator[Found]:
    if extent is not None:
        yield Found(name, *extent)


def _without_overlaps(by_precedence: Sequence[Sequence[Found]]) -> list[Found]:
    taken: list[Found] = []
    for group in by_precedence:
        starts, ends = [f.start for f in taken], [f.end for f in taken]
        last_end = 0
        for found in group:
            before = bisect_left(starts, found.end)  # spans already taken that start before this one ends
            if found.start >= last_end and (before == 0 or ends[before - 1] <= found.start):
                taken.append(found)
                last_end = found.end
        taken.sort(key=lambda f: f.start)
    return taken


def replaced(text: str, found: Sequence[Found], placeholders: Mapping[PrivateType, str]) -> tuple[str, list[Span]]:
    """The text with a placeholder for each finding (in order, without overlaps), and where each stands now."""
    pieces, spans, position, length = [], [], 0, 0
    for name, start, end in found:
        placeholder = placeholders[name]
        pieces += [text[position:start], placeholder]
        length += start - position
        spans.append(Span(name, length, length + len(placeholder), start, end))
        length += len(placeholder)
        position = end
    pieces.append(text[position:])
    return "".join(pieces), spans


def composed(earlier: Sequence[Span], later: Sequence[Span]) -> list[Span]:
    """Two maskings of a text, one after the other, as if they were one. What the later one swallowed is gone."""
    if not earlier or not later:
        return list(earlier or later)
    forward = _Shift([s.original_end for s in later], [s.end for s in later])
    back = _Shift([s.end for s in earlier], [s.original_end for s in earlier])
    starts = [span.original_start for span in later]
    result = []
    for span in earlier:
        before = bisect_left(starts, span.end)
        if before == 0 or later[before - 1].original_end <= span.start:
            shift = forward.at(span.start)
            result.append(span._replace(start=span.start + shift, end=span.end + shift))
    for span in later:
        start, end = span.original_start, span.original_end
        result.append(span._replace(original_start=start + back.at(start), original_end=end + back.at(end)))
    return sorted(result, key=lambda s: s.start)


class _Shift:
    """How far characters that stand outside of all spans moved."""

    def __init__(self, ends_before: Sequence[int], ends_after: Sequence[int]) -> None:
        self._ends = ends_before
        self._shifts = [0, *(after - before for before, after in zip(ends_before, ends_after, strict=True))]

    def at(self, position: int) -> int:
        return self._shifts[bisect_right(self._ends, position)]


MAX_PASSES = 8
"""A mask can free what stood beside it (a number that was joined to another): texts with masks are read again until
nothing is found. Real text needs two passes; the bound keeps the time linear on text made to need more."""


def masked(
    texts: pa.Array,
    detector: Detector,
    placeholders: Mapping[PrivateType, str],
    regions: Callable[[int], Sequence[str]],
) -> dict[int, tuple[str, list[Span]]]:
    """The texts that hold private data, masked, with their spans, by row.

    Args:
        regions: for a row, the regions whose national way to write phone numbers counts.
    """
    result: dict[int, tuple[str, list[Span]]] = {}
    rows = list(range(len(texts)))
    for _ in range(MAX_PASSES):
        again: dict[int, str] = {}
        for n, places in candidates(texts, detector.kinds()):
            row, text = rows[n], texts[n].as_py()
            found = [
                f
                for f in detector.found(text, places, regions(row))
                if not _is_in_placeholder(text, f, placeholders.values())
            ]
            if found:
                again[row], spans = replaced(text, found, placeholders)
                result[row] = again[row], composed(result[row][1], spans) if row in result else spans
        if not again:
            break
        rows, texts = list(again), pa.array(again.values(), pa.large_string())
    return result


def _is_in_placeholder(text: str, found: Found, placeholders: Iterable[str]) -> bool:
    """Whether the finding is (part of) a placeholder that looks like what it replaces, such as a made-up address."""
    return any(text.find(p, max(0, found.end - len(p)), found.start + len(p)) >= 0 for p in placeholders)
