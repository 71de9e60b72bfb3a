"""Documents and removals of a source, gathered into batches of a useful size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.stage import Outcome, Removal, documents

BATCH_ROWS = 500
BATCH_BYTES = 16_000_000


def batched(
    source: str, records: Iterable[Mapping[str, Any] | Removal], columns: Sequence[pa.Field] = ()
) -> Iterator[Outcome]:
    """All documents and removals of a source, a batch at a time; for ``columns`` see ``Batch``."""
    batch = Batch(source, columns)
    for record in records:
        yield from batch.add(record)
    yield batch.rest()


class Batch:
    """What has been read of ``source`` since the last outcome.

    Args:
        columns: beside those of DOCUMENT_SCHEMA; a document holds an Arrow array of length 1 for each of them.
    """

    def __init__(self, source: str, columns: Sequence[pa.Field] = ()) -> None:
        self._source = source
        self._columns = columns
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
        kept = documents(self._rows)
        for column in self._columns:
            values = pa.chunked_array([row[column.name] for row in self._rows], column.type)
            kept = kept.append_column(column, values.combine_chunks())
        outcome = Outcome(kept, self._removed, {self._source: len(self._rows) + len(self._removed)})
        self._rows, self._removed, self._text_bytes = [], [], 0
        return outcome
