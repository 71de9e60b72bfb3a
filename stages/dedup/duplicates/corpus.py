"""Where documents are: the parts of all inputs in one order, and the ranges into which their places are divided.

A document's *location* is a number of 64 bits: its part's place in this order, and its row in the part. The signatures
of a part are in the same rows as its documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import Artifact, DocumentPart, document_parts
from pipeline.errors import StageError

ROW_BITS = 32
ROW_MASK = (1 << ROW_BITS) - 1


@dataclass(frozen=True)
class SignedPart:
    """A part of the documents, and its signatures; of an index, both are one file."""

    number: int  # upper bits of its documents' locations
    input: int  # place of its artifact among the inputs: earlier ones are wanted more
    documents: DocumentPart
    signatures: DocumentPart
    is_indexed: bool = False


@dataclass(frozen=True)
class Corpus:
    """All parts that are compared with each other; those of an index stand behind the others."""

    parts: tuple[SignedPart, ...]

    @staticmethod
    def of(signatures: Artifact, originals: Sequence[Artifact], indexed: Sequence[DocumentPart] = ()) -> Corpus:
        """The parts of these documents, most wanted artifact first, and of their signatures; and those of an index.

        Raises:
            StageError: signatures and documents do not belong together.
        """
        documents = [(i, part) for i, artifact in enumerate(originals) for part in document_parts([artifact])]
        signed = document_parts([signatures])
        if [part.rows for _, part in documents] != [part.rows for part in signed]:
            raise StageError(
                f"{signatures.name} does not hold a row for each document of "
                f"{', '.join(artifact.name for artifact in originals)}: this is a bug of dedup_signatures"
            )
        new = [SignedPart(n, i, d, s) for n, ((i, d), s) in enumerate(zip(documents, signed, strict=True))]
        known = [SignedPart(n, 0, part, part, is_indexed=True) for n, part in enumerate(indexed, len(new))]
        return Corpus((*new, *known))

    @property
    def new_parts(self) -> tuple[SignedPart, ...]:
        """The parts whose documents are decided about."""
        return tuple(part for part in self.parts if not part.is_indexed)

    @property
    def rows(self) -> int:
        return sum(part.documents.rows for part in self.parts)

    def groups(self, rows: int) -> list[list[SignedPart]]:
        """The parts, in order, in groups of at most so many documents, or of a single part with more."""
        found: list[list[SignedPart]] = []
        size = 0
        for part in self.parts:
            size += part.documents.rows
            if not found or size > rows:
                found.append([])
                size = part.documents.rows
            found[-1].append(part)
        return found

    def borders(self, ranges: int) -> list[int]:
        """The first location of each range but the first, so that ranges hold about equal numbers of documents."""
        ends = np.cumsum([part.documents.rows for part in self.parts])
        found = []
        for n in range(1, ranges):
            row = self.rows * n // ranges
            part = int(np.searchsorted(ends, row, side="right"))
            before = int(ends[part - 1]) if part else 0
            found.append(part << ROW_BITS | row - before)
        return found

    def parts_in(self, borders: Sequence[int], number: int) -> list[SignedPart]:
        """The parts that have documents in a range."""
        begin = borders[number - 1] if number else 0
        end = borders[number] if number < len(borders) else len(self.parts) << ROW_BITS
        return [
            part
            for part in self.parts
            if part.number << ROW_BITS < end and (part.number << ROW_BITS) + part.documents.rows > begin
        ]


def ranges_of_part(part: int, rows: int, borders: Sequence[int]) -> range:
    """The ranges in which a part's documents lie."""
    first = np.searchsorted(borders, part << ROW_BITS, side="right")
    last = np.searchsorted(borders, (part << ROW_BITS) + max(rows - 1, 0), side="right")
    return range(int(first), int(last) + 1)


def range_of(locations: NDArray[np.uint64], borders: Sequence[int]) -> NDArray[np.int64]:
    """The range of each location."""
    found: NDArray[np.int64] = np.searchsorted(np.array(borders, np.uint64), locations, side="right")
    return found


def rows_of(locations: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The row of each location in its part."""
    rows: NDArray[np.int64] = (locations & np.uint64(ROW_MASK)).astype(np.int64)
    return rows
