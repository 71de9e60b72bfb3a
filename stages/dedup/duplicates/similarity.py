"""True similarity of two documents: Jaccard's, of their sets of shingle hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.kernel import kernel

BLOCK_STEPS = 32  # between two looks at whether the sets can still be similar enough


@kernel
def jaccard_from(a: NDArray[np.uint32], b: NDArray[np.uint32], threshold: float) -> float:
    """Jaccard similarity (0 to 1; 0 if both sets are empty), or -1 where it is below the threshold.

    Sets are ascending arrays of distinct values. Exact: the quotient of two counts, rounded once.
    """
    needed = _least_common(len(a), len(b), threshold)
    common = _common(a, b, needed)
    if common < needed:
        return -1.0
    return _quotient(len(a), len(b), common)


@kernel
def _quotient(a: int, b: int, common: int) -> float:
    union = a + b - common
    if union == 0:
        return 0.0
    return common / union


@kernel
def _least_common(a: int, b: int, threshold: float) -> int:
    """The least number of common values with which sets of these sizes reach the threshold."""
    if threshold <= 0.0:
        return 0
    needed = int(threshold / (1.0 + threshold) * (a + b))  # common / (a + b - common) = threshold
    while needed <= min(a, b) and _quotient(a, b, needed) < threshold:
        needed += 1
    return needed


@kernel
def _common(a: NDArray[np.uint32], b: NDArray[np.uint32], needed: int) -> int:
    """Number of common values, or -1 as soon as they are sure to be fewer than needed."""
    spare_a, spare_b = len(a) - needed, len(b) - needed  # values of each that may be without a partner
    at_a = at_b = common = 0
    while at_a - common <= spare_a and at_b - common <= spare_b:
        # a step goes on by at most one in either set, so these need no look at the ends, and have no branches
        steps = min(BLOCK_STEPS, len(a) - at_a, len(b) - at_b)
        if steps == 0:
            return common
        for _ in range(steps):
            x, y = a[np.uint64(at_a)], b[np.uint64(at_b)]
            common += x == y
            at_a += x <= y
            at_b += y <= x
    return -1
