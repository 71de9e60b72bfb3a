"""The lines or paragraphs of a batch of documents, and their hashes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.dedup.lines.folding import fold_table
from stages.dedup.lines.kernels import Bytes, Hashes, Places, hash_units, split_units
from stages.dedup.lines.options import LineCountsConfig, UnitsConfig
from stages.text.utf8 import bytes_and_offsets

CODE_COLUMN = "source_code.lines"  # which the stage source_code fills for each of its documents


class Units(NamedTuple):
    """Units of all texts of a batch."""

    data: Bytes
    offsets: Places  # (texts + 1,) in data
    starts: Places  # (units,) first byte in data
    ends: Places
    firsts: Places  # (texts + 1,) first unit of each text
    hashes: Hashes  # (units,) 0: too short to be counted

    def rows(self) -> NDArray[np.int64]:
        """Number of the text of each unit."""
        return np.repeat(np.arange(len(self.firsts) - 1), np.diff(self.firsts))


def units_of(texts: pa.Array | pa.ChunkedArray, config: LineCountsConfig) -> Units:
    """Split and hash texts; null is empty."""
    data, offsets = bytes_and_offsets(texts)
    starts, ends, firsts = split_units(data, offsets, config.unit == "paragraph")
    tables = fold_table(config.ignore_numbers)
    hashes = hash_units(data, starts, ends, *tables, config.min_characters(), config.min_long())
    return Units(data, offsets, starts, ends, firsts, hashes)


def are_looked_at(batch: pa.Table, config: UnitsConfig) -> NDArray[np.bool_]:
    """Which documents the options mean."""
    looked_at = np.ones(batch.num_rows, np.bool_)
    if config.sources:
        looked_at &= pc.is_in(batch["source"], pa.array(config.sources)).to_numpy(zero_copy_only=False)
    if not config.include_code and CODE_COLUMN in batch.column_names:
        looked_at &= batch[CODE_COLUMN].is_null().to_numpy(zero_copy_only=False)
    return looked_at
