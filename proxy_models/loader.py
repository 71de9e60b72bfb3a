"""Which sequence is trained on when: a pure function of the slot number.

A run of N slots draws sequences from S sources. Slot -> (source, draw, epoch, sequence):

  totals     draws n_d of each source d by largest remainder, so they sum to N exactly
  placement  draw j of source d stands at (j + 1/2) / n_d of the run; slots are the draws in order of place,
             so each prefix of the run holds its share of each source to within the number of sources
  epoch      draw j is in epoch j // (sequences of d); each epoch is a new Feistel permutation of the
             sequences, so no order is stored and any epoch is reached at once

Any block of slots is computed without the slots before it: resume is one integer, and any number of readers
can share a run. A source's text is one concatenation cut every `context` tokens; see
TokenBody.sequence_count. Runs of several phases, ranks and other ways to pack are in phases.py and batches.py.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from proxy_models.shards import Integers, TokenBody, TokenReader

# 4 rounds make a pseudorandom permutation of a large range (Luby and Rackoff 1988); a small range needs more.
FEISTEL_ROUNDS = 8
# The order then costs a few calls for each run every 64 steps, not every step.
STEPS_PLANNED_AT_ONCE = 64

MOST_SLOTS = 2**48  # places are float64: a draw then stands at its own to within a small part of a slot
SUBSET_KEY = 0x51CE  # which sequences a cut source keeps is the same for every seed


class MixtureError(Exception):
    """A mixture that the tokens cannot serve. The message says how long a run they can."""


class Draws(NamedTuple):
    """What a block of slots reads; each int64 [slots]."""

    source: Integers
    draw: Integers
    epoch: Integers
    sequence: Integers


def draw_totals(ratios: Sequence[float], slots: int) -> Integers:
    """Draws of each source by largest remainder: int64 [S], in sum `slots`, each within 1 of its share."""
    if not 1 <= slots <= MOST_SLOTS:
        raise MixtureError(f"a run has from 1 to {MOST_SLOTS} slots, not {slots}")
    weights = np.asarray(ratios, dtype=np.float64)
    with np.errstate(over="ignore"):
        whole = weights.sum()
    if weights.ndim != 1 or not np.isfinite(whole) or weights.min() < 0 or whole <= 0:
        raise MixtureError(f"mixture ratios must be finite, none negative, and not all zero: {list(ratios)}")
    shares = weights / whole * slots
    totals = np.floor(shares).astype(np.int64)
    # Stable sort: of equal remainders the earlier source wins.
    neediest = np.argsort(totals - shares, kind="stable")
    totals[neediest[: slots - totals.sum()]] += 1
    return totals


def unit_limits(sequences: Integers, max_epochs: float | None) -> NDArray[np.float64]:
    """How many sequences of each source may be read: [S], infinite for no limit, 0 of a source that has none."""
    if max_epochs is not None and not max_epochs > 0:
        raise MixtureError(f"max_epochs must be above 0, not {max_epochs}")
    epochs = np.inf if max_epochs is None else max_epochs
    return np.where(sequences > 0, np.floor(epochs * np.maximum(sequences, 1)), 0)


def longest_served(is_served: Callable[[int], bool], too_long: int) -> int:
    """A length that is served while one more is not, 0 if 1 is not. too_long: one that is not.

    Searched, not reckoned: what rounding gives to the other sources makes a run longer than limit / share.
    """
    served = 0
    while too_long - served > 1:
        length = (served + too_long) // 2
        served, too_long = (length, too_long) if is_served(length) else (served, length)
    return served


class MatchedCut(NamedTuple):
    """sequences: for Order.max_sequences, [S]. notes: where repetition could not be matched, and what to do."""

    sequences: tuple[int, ...]
    notes: tuple[str, ...]


def matched_cut(sources: Sequence[str], available: Sequence[int], share: float) -> MatchedCut:
    """The sequences to which each source is cut, so that a short run repeats it as often as a long one would.

    A run of T tokens that draws the share p of them from a source of n reads it p * T / n times. A proxy of
    `share` * T tokens reads it as often if it has share * n of them, whatever p is; mixtures fitted to runs that
    repeat less misjudge the small sources (arXiv 2606.07597). Rounding to whole sequences is exact to within
    half a sequence, so a source always keeps at least one, and one that should keep less is noted.

    available: sequences of each source, [S]. share: tokens of the short run for one of the long run, both counted
    in the vocabulary of `available`.
    """
    if not share > 0:
        raise MixtureError(f"a run of {share} times the target's tokens cannot stand for it")
    wanted = [share * count for count in available]
    sequences = tuple(min(count, max(1, math.floor(want + 0.5))) for count, want in zip(available, wanted, strict=True))
    notes = [
        f"source {name}: {want:.2g} of its {count} sequences would match the target's repetition, less than one; it "
        f"keeps one, and is repeated {1 / want:.3g} times less than it will be. Train {1 / want:.3g} times as many "
        "tokens, or at a shorter context"
        for name, count, want in zip(sources, available, wanted, strict=True)
        if 0 < want < 1
    ]
    if share > 1:
        notes.append(f"the run has {share:.3g} times the target's tokens, and repeats every source so much more")
    return MatchedCut(sequences, tuple(notes))


@dataclass(frozen=True)
class Order:
    """The order of one run.

    ratios: share of each source, [S], any positive sum. available: sequences of each source, [S].
    max_epochs: how often a source may be read through; None for no limit.
    max_sequences: sequences each source is cut to, [S], so that a short proxy repeats a source as often as
    the long run it stands for; the cut keeps the same sequences for every seed, and a smaller cut keeps
    some of a larger one.
    parts, read_before: of a phase, see PhasedOrder. A sequence of `available` is then a unit of parts[d] shorter
    sequences, which are what is drawn, and read_before[d] units were read by earlier phases; [S] each.

    Raises MixtureError before anything is read if a source would have to be read more often than max_epochs.
    """

    ratios: tuple[float, ...]
    available: tuple[int, ...]
    slots: int
    seed: int
    max_epochs: float | None = None
    max_sequences: tuple[int, ...] | None = None
    parts: tuple[int, ...] | None = None
    read_before: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.ratios) != len(self.available):
            raise MixtureError(f"{len(self.ratios)} ratios for {len(self.available)} sources")
        if self.max_sequences is not None and len(self.max_sequences) != len(self.available):
            raise MixtureError(f"{len(self.max_sequences)} cuts for {len(self.available)} sources")
        limits = (unit_limits(self.sequences, self.max_epochs) - self._read_before) * self._parts
        over = np.flatnonzero(self.totals > limits)
        if len(over):
            feasible = longest_served(lambda slots: bool(np.all(draw_totals(self.ratios, slots) <= limits)), self.slots)
            needs = "; ".join(f"source {d} needs {self.totals[d]} draws of {self.sequences[d]} sequences" for d in over)
            raise MixtureError(
                f"{self.slots} slots under max_epochs {self.max_epochs} cannot be served: {needs}. "
                f"The largest feasible run of this mixture has {feasible} slots"
            )

    @cached_property
    def sequences(self) -> Integers:
        """Sequences of each source after the cut: int64 [S]."""
        available = np.asarray(self.available, dtype=np.int64)
        if self.max_sequences is None:
            return available
        return np.minimum(available, np.asarray(self.max_sequences, dtype=np.int64))

    @cached_property
    def totals(self) -> Integers:
        """Draws of each source in the whole run: int64 [S]."""
        return draw_totals(self.ratios, self.slots)

    @cached_property
    def _parts(self) -> Integers:
        return np.asarray(self.parts or [1] * len(self.available), dtype=np.int64)

    @cached_property
    def _read_before(self) -> Integers:
        return np.asarray(self.read_before or [0] * len(self.available), dtype=np.int64)

    def block(self, first: int, last: int) -> Draws:
        """What slots first..last-1 read. Cost grows with the block, not with `first`."""
        if not 0 <= first <= last <= self.slots:
            raise IndexError(f"slots {first}..{last} of a run of {self.slots}")
        source, draw = self._placed(first, last)
        available = np.asarray(self.available, dtype=np.int64)
        units = -(-self.totals // self._parts)
        epoch, sequence = _shuffled(
            source, draw, self.sequences, available, self._parts, self._read_before, units, np.uint64(self.seed % 2**64)
        )
        return Draws(source, draw, epoch, sequence)

    def _placed(self, first: int, last: int) -> tuple[Integers, Integers]:
        """Source and draw of each slot in first..last-1.

        Of source d, n_d * x draws stand before place x, to within 1/2; of all S together N * x, to within
        S/2. So the draws between places (first - S) / N and (last + S) / N are sure to contain the block, with S/2 of
        them to spare for what rounding does to a place.
        """
        margin = len(self.totals)
        begin = self._draws_before((first - margin) / self.slots)
        end = self._draws_before((last + margin) / self.slots)
        source = np.repeat(np.arange(margin), end - begin)
        draw = np.arange(len(source)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
        draw += begin[source]
        in_order = np.lexsort((source, self._place(source, draw)))[first - begin.sum() : last - begin.sum()]
        return source[in_order], draw[in_order]

    def _place(self, source: Integers, draw: Integers) -> NDArray[np.float64]:
        return (draw + 0.5) / self.totals[source]

    def _draws_before(self, place: float) -> Integers:
        """How many draws of each source stand before `place`, to within rounding: int64 [S]."""
        return np.clip(np.ceil(self.totals * place - 0.5), 0, self.totals).astype(np.int64)


@njit(cache=True, nogil=True)
def _shuffled(
    source: Integers,
    draw: Integers,
    sequences: Integers,
    available: Integers,
    parts: Integers,
    read_before: Integers,
    units: Integers,
    seed: np.uint64,
) -> tuple[Integers, Integers]:
    """Epoch and sequence of each draw, int64 [n]; sequences, available, parts, read_before: [S], see Order.

    units: how many of each source the order reads, [S]. Its parts are permuted among all that it reads of one epoch.
    """
    epoch, sequence = np.empty_like(draw), np.empty_like(draw)
    for i in range(len(draw)):
        d, within, part = source[i], draw[i], 0
        first = 0  # of the order's units, the first in this draw's epoch
        if parts[d] > 1:
            in_epoch = sequences[d] - read_before[d] % sequences[d]
            if within >= in_epoch * parts[d]:
                whole_epochs = (within // parts[d] - in_epoch) // sequences[d]
                first = in_epoch + whole_epochs * sequences[d]
                in_epoch = sequences[d]
            size = min(in_epoch, units[d] - first) * parts[d]
            within = permuted(within - first * parts[d], size, _key(_mixed(seed), d, read_before[d] + first))
            within, part = within // parts[d], within % parts[d]
        unit = read_before[d] + first + within
        epoch[i] = unit // sequences[d]
        unit = permuted(unit % sequences[d], sequences[d], _key(seed, d, epoch[i]))
        if sequences[d] < available[d]:
            unit = permuted(unit, available[d], _key(SUBSET_KEY, d, 0))
        sequence[i] = unit * parts[d] + part
    return epoch, sequence


@njit(cache=True, nogil=True)
def permuted(value: int, size: int, key: np.uint64) -> int:
    """Where a permutation of 0..size-1 sends `value`: one permutation for each key, none of them stored.

    A Feistel network permutes 0..4^h-1, the smallest such range that holds `size`; a value that leaves 0..size-1
    is sent through again until it is back (cycle walking, Black and Rogaway 2002), under 4 passes on average.
    """
    half = np.uint64(1)
    while size - 1 >> 2 * half:
        half += np.uint64(1)
    mask = (np.uint64(1) << half) - np.uint64(1)
    walking = np.uint64(value)
    while True:
        left, right = walking >> half, walking & mask
        for turn in range(FEISTEL_ROUNDS):
            left, right = right, left ^ (_mixed(right ^ _mixed(key + np.uint64(turn))) & mask)
        walking = (left << half) | right
        if walking < np.uint64(size):
            return np.int64(walking)


@njit(cache=True, nogil=True)
def _mixed(value: np.uint64) -> np.uint64:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014); unsigned arithmetic wraps by design."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def _key(seed: np.uint64, source: int, epoch: int) -> np.uint64:
    """Of the permutation of one epoch of a source."""
    return _mixed(_mixed(_mixed(_mixed(np.uint64(seed)) ^ np.uint64(source))) ^ np.uint64(epoch))


def read_sequences(reader: TokenReader, source: Integers, sequence: Integers, context: int) -> Integers:
    """The tokens of each draw: int64 [n, context + 1]; inputs are [:, :-1], targets [:, 1:].

    reader: of the bodies of all sources. source, sequence: int64 [n], as Order.block returns them.
    """
    return reader.rows(source, sequence * context, context + 1)


def read_batches(
    bodies: Sequence[TokenBody], orders: Sequence[Order], batch: int, context: int, first_step: int
) -> Iterator[tuple[int, Integers]]:
    """Step and what each of K runs reads at it, int64 [K, batch, context + 1], from first_step to the end.

    bodies: one for each source. orders: one for each run, all of the same length, a whole number of batches.
    """
    reader = TokenReader(bodies)
    steps = orders[0].slots // batch
    for planned in range(first_step, steps, STEPS_PLANNED_AT_ONCE):
        last = min(planned + STEPS_PLANNED_AT_ONCE, steps)
        draws = [order.block(planned * batch, last * batch) for order in orders]
        source = np.stack([d.source for d in draws])  # [K, planned steps * batch]
        sequence = np.stack([d.sequence for d in draws])
        for step in range(planned, last):
            now = slice((step - planned) * batch, (step - planned + 1) * batch)
            rows = read_sequences(reader, source[:, now].ravel(), sequence[:, now].ravel(), context)
            yield step, rows.reshape(len(orders), batch, context + 1)
