"""Documents and removals of a source, gathered into batches of a useful size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.stage import Outcome, Removal, documents

BATCH_ROWS = 500
BATCH_BYTES = 16_000_000


def batched(source: str, records: Iterable[Mapping[str, Any] | Removal]) -> Iterator[Outcome]:
    """All documents and removals of a source, a batch at a time."""
    batch = Batch(source)
    for record in records:
        yield from batch.add(record)
    yield batch.rest()


class Batch:
    """What has been read of ``source`` since the last outcome."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._rows: list[Mapping[str, Any]] = []
        self._removed: list[Removal] = []
        self._text_bytes = 0

    def add(self, record: Mapping[str, Any] | Removal) -> Iterator[Outcome]:
        """Take in a document or a removal; gives the batch out once it is full."""
        if isinstance(record, Removal):
            self._removed.append(record)
        else:
            self._rows.append(record)
            self._text_bytes += len(record["text"])
        if len(self._rows) + len(self._removed) >= BATCH_ROWS or self._text_bytes >= BATCH_BYTES:
            yield self.rest()

    def rest(self) -> Outcome:
        """What there is, which then is no longer there."""
        outcome = Outcome(documents(self._rows), self._removed, {self._source: len(self._rows) + len(self._removed)})
        self._rows, self._removed, self._text_bytes = [], [], 0
        return outcome
