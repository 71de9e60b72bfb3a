"""A Bloom filter with counters: how many documents have a line, never too few, seldom too many.

The filter of Fan, Cao, Almeida and Broder (Summary Cache, 2000), with counters of eight bits that stay at 255. Adding
is commutative, so counts depend neither on the order of documents nor on parts. The hash space is divided into segments
of at most ``SEGMENT_UNITS`` expected units, each with a filter of its own that fits the processor's cache; a task holds
those of its partition.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.dedup.lines.kernels import Hashes, mixed
from stages.kernel import kernel

SEGMENT_UNITS = 1024
_HALF = np.uint64(32)


class Filter(NamedTuple):
    """Measures of the filter of a corpus."""

    segment_bits: int  # segments are 2**segment_bits, told by the first bits of a hash
    segment_bytes: int  # counters in a segment
    probes: int  # counters that a unit adds to
    error_rate: float  # expected share of the units in one document that seem to be in more

    @property
    def size_bytes(self) -> int:
        return self.segment_bytes << self.segment_bits


def filter_for(units: int, error_rate: float, partition_bits: int) -> Filter:
    """The smallest filter for so many different units at most.

    Args:
        units: distinct pairs of unit and document, which are at least as many as distinct units.
        error_rate: probability, at most, that another unit touched each of a unit's counters.
        partition_bits: 2**partition_bits partitions at most, so that a segment lies in one partition. It changes the
            result only where a partition has fewer than ``SEGMENT_UNITS`` units.
    """
    segment_bits = max(partition_bits, math.ceil(math.log2(max(1.0, units / SEGMENT_UNITS))))
    load = max(1.0, units / (1 << segment_bits))
    probes = max(1, round(-math.log2(error_rate)))
    size = math.ceil(load * probes / math.log(2))
    while (expected := expected_error_rate(load, size, probes)) > error_rate:
        size = math.ceil(size * 1.01)
    return Filter(segment_bits, size, probes, expected)


def expected_error_rate(load: float, size: int, probes: int) -> float:
    """Probability that a unit's counters were all touched by others (Bloom 1970), over the sizes of segments.

    Args:
        load: mean number of units in a segment; their numbers are Poisson distributed.
        size: counters of a segment.
    """
    spread = 8 * math.sqrt(load) + 8
    loads = np.arange(max(0, math.floor(load - spread)), math.ceil(load + spread) + 1)
    log_factorials = np.array([math.lgamma(n + 1) for n in loads.tolist()])
    probabilities = np.exp(loads * math.log(load) - load - log_factorials)
    touched = 1 - (1 - 1 / size) ** (probes * loads)
    return float((probabilities * touched**probes).sum())


@kernel
def _counter(unit: np.uint64, probe: int, base: int, size: int) -> int:
    """Place of a probe: double hashing by two halves of a hash (Kirsch and Mitzenmacher 2006), with a cubic term."""
    first, second = unit >> _HALF, (unit & np.uint64(0xFFFFFFFF)) | np.uint64(1)
    turn = np.uint64(probe)
    place = first + turn * second + turn * turn * turn
    return base + int(np.int64(place % np.uint64(size)))


@kernel
def add_units(
    units: Hashes, counters: NDArray[np.uint8], first_segment: int, segment_bits: int, size: int, probes: int
) -> None:
    """Count units. Of probes that meet in one counter, one counts.

    Args:
        counters: of the segments from ``first_segment`` on, ``size`` each.
    """
    touched = np.empty(probes, np.int64)
    for i in range(len(units)):
        base = segment_of(units[i], segment_bits, first_segment) * size
        key = mixed(units[i])
        for probe in range(probes):
            touched[probe] = _counter(key, probe, base, size)
            is_new = True
            for earlier in range(probe):
                is_new = is_new and touched[earlier] != touched[probe]
            if is_new and counters[touched[probe]] < 255:
                counters[touched[probe]] += 1


@kernel
def segment_of(unit: np.uint64, segment_bits: int, first_segment: int) -> int:
    segment = np.int64(unit >> np.uint64(64 - segment_bits)) if segment_bits else np.int64(0)
    return int(segment) - first_segment


@kernel
def counts_of(
    units: Hashes, counters: NDArray[np.uint8], first_segment: int, segment_bits: int, size: int, probes: int
) -> NDArray[np.uint32]:
    """Least of each unit's counters: at least the number of times that it was added, if that is below 255."""
    counts = np.full(len(units), 255, np.uint32)
    for i in range(len(units)):
        base = segment_of(units[i], segment_bits, first_segment) * size
        key = mixed(units[i])
        for probe in range(probes):
            counts[i] = min(counts[i], np.uint32(counters[_counter(key, probe, base, size)]))
    return counts
