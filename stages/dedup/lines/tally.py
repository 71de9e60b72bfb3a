"""How many documents have a hash, and the best of them: a hash table that grows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.dedup.lines.kernels import Hashes, look_up, move_tally, tally
from stages.text.utf8 import table_bits

SLOT_BYTES = 20
BYTES_PER_HASH = 2 * 2 * SLOT_BYTES + 2 * SLOT_BYTES  # slots are up to a quarter full; while growing, both tables exist


class Tally:
    """Counts of hashes that are not 0."""

    def __init__(self) -> None:
        self._distinct = 0
        self._make(1 << 10)

    def _make(self, slots: int) -> None:
        self._keys: Hashes = np.zeros(slots, np.uint64)
        self._documents: NDArray[np.uint32] = np.zeros(slots, np.uint32)
        self._best: Hashes = np.zeros(slots, np.uint64)

    def add(self, hashes: Hashes, ranks: Hashes) -> None:
        """Count one document of this rank for each hash."""
        self._grow(self._distinct + len(hashes))
        self._distinct += tally(hashes, ranks, self._keys, self._documents, self._best)

    def _grow(self, distinct: int) -> None:
        slots = 1 << table_bits(distinct)
        if slots > len(self._keys):
            old = (self._keys, self._documents, self._best)
            self._make(slots)
            move_tally(*old, self._keys, self._documents, self._best)

    def look_up(self, hashes: Hashes) -> tuple[NDArray[np.uint32], Hashes]:
        """Documents and lowest rank of each hash; 0 for hash 0."""
        return look_up(hashes, self._keys, self._documents, self._best)
