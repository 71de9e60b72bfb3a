"""Totals of a population from a sample of it, each with an interval. Knows numbers only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import gammaln

BOOTSTRAP_SAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """An estimate and the range in which the truth lies at the level that was asked for."""

    low: float
    value: float
    high: float

    @staticmethod
    def exactly(value: float) -> Interval:
        return Interval(value, value, value)

    @staticmethod
    def sum(intervals: Iterable[Interval]) -> Interval:
        """Of amounts that may err together: bounds add up."""
        found = [(0.0, 0.0, 0.0), *((one.low, one.value, one.high) for one in intervals)]
        return Interval(*map(sum, zip(*found, strict=True)))

    def times(self, other: Interval) -> Interval:
        """The product of two amounts that are not negative."""
        return Interval(self.low * other.low, self.value * other.value, self.high * other.high)

    def scaled(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.value * factor, self.high * factor)

    def widened(self, share: float) -> Interval:
        """The same with this share of each bound added and taken off."""
        return Interval(self.low * (1 - share), self.value, self.high * (1 + share))


def ratio_total(
    sizes: Sequence[float], amounts: Sequence[float], clusters: int, total_size: float, level: float
) -> Interval:
    """Total of an amount over all clusters, from a simple random sample of them drawn without replacement.

    The ratio estimator of cluster sampling and its variance: W. G. Cochran, Sampling Techniques, 3rd edition (1977),
    sections 6.3 and 9A.1, with Student's t of n - 1 degrees of freedom.

    Args:
        sizes: of each sampled cluster, such as the bytes of an input file; (n,).
        amounts: of each sampled cluster, such as the documents that came of it; (n,).
        clusters: how many there are in all.
        total_size: of all clusters.
        level: of the interval, such as 0.9. Of a single cluster among others nothing is known of the spread: the
            interval then reaches from what it has to infinity.
    """
    x, y = np.asarray(sizes, float), np.asarray(amounts, float)
    n, seen = len(x), float(y.sum())
    if n >= clusters or not total_size:
        return Interval.exactly(seen)
    if not x.sum():
        return Interval(seen, seen, np.inf)
    ratio = seen / float(x.sum())
    value = ratio * total_size
    if n == 1:
        return Interval(seen, value, np.inf)
    variance = clusters**2 * (1 - n / clusters) / n * float(((y - ratio * x) ** 2).sum()) / (n - 1)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * variance**0.5
    return Interval(max(value - half, seen), value, value + half)


def distinct_total(spread: Sequence[int], files: int, share: float, level: float, seed: int = 0) -> Interval:
    """How many distinct documents a corpus has, from those of a sample of its files.

    A small sample sees few of the duplicates that lie in different files, and how many more there are is not identified
    by it (Charikar, Chaudhuri, Motwani and Narasayya, Towards estimation error guarantees for distinct values, PODS
    2000). What is identified are bounds that hold whatever the duplicates are. With f1 and f2, the documents that one
    and two files of the sample have, c the files of the corpus that one lies in, and q the share of files drawn, the
    expectations of

        a = f1 (1 - q) / q          is the sum of c (1 - q)^c,
        b = 2 f2 ((1 - q) / q)^2    is the sum of c (c - 1) (1 - q)^c,

    (b times n / (n - 1), as the n files are drawn without replacement), while the documents not seen are the sum of
    (1 - q)^c. So they are at most a, and at least a^2 / (a + b) by the Cauchy-Schwarz inequality (the argument of A.
    Chao, Scandinavian Journal of Statistics 11 (1984), for sampling without replacement). Chance is added by a Poisson
    bootstrap of the documents seen. Between the bounds, the value goes on as the sample does from half of its files to
    all of them (``grown``).

    Args:
        spread: of each distinct document of the sample, in how many of its files it lies; (documents,).
        files: of the sample.
        share: of the corpus' files, or rather of what lies in them, that the sample is.
        level: of the interval, such as 0.9.
    """
    counts = np.asarray(spread, np.int64)
    seen = float(len(counts))
    if share >= 1 or not seen:
        return Interval.exactly(seen)
    f1, f2 = int((counts == 1).sum()), int((counts == 2).sum())
    rest = len(counts) - f1 - f2
    draws = np.random.default_rng(seed).poisson([f1, f2, rest], size=(BOOTSTRAP_SAMPLES, 3)).astype(float)
    least, most = _unseen(draws[:, 0], draws[:, 1] * files / max(files - 1, 1), share)
    tail = (1 - level) / 2
    low = max(seen, float(np.quantile(draws.sum(axis=1) + least, tail)))
    high = float(np.quantile(draws.sum(axis=1) + most, 1 - tail))
    return Interval(low, min(max(grown(counts, files, 1 / share), low), high), high)


def _unseen(f1: np.ndarray, f2: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The least and the most that documents not seen can be."""
    odds = (1 - share) / share
    a, b = f1 * odds, 2 * f2 * odds**2
    return np.divide(a**2, a + b, out=np.zeros_like(a), where=a + b > 0), a


def grown(spread: np.ndarray, files: int, times: float) -> float:
    """Distinct documents of a corpus so many times the sample, if they grow by the same power of the corpus as they do
    from half of the sample's files to all of them (the law of Herdan and Heaps)."""
    half = files // 2
    if not half or half == files:
        return float(len(spread)) * times
    outside = np.minimum(spread, files)
    # the chance that half of the files are all among those that a document in c does not lie in: C(files - c, half) /
    # C(files, half)
    without = np.where(
        files - outside >= half,
        np.exp(
            gammaln(files - outside + 1)
            - gammaln(np.maximum(files - outside - half, 0) + 1)
            - gammaln(files + 1)
            + gammaln(files - half + 1)
        ),
        0.0,
    )
    of_half = float((1 - without).sum())
    power = np.log(len(spread) / of_half) / np.log(files / half)
    return float(len(spread) * times ** min(power, 1.0))
